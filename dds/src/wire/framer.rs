//! Cuts the bytes of a connection into frames: each stands behind its length, `u32` big-endian.
//!
//! States: `Open` -> `Broken`, for good, when a frame is announced that is too long: where the next one begins is not known then.
//!
//! Invariant: it holds no more than one frame of the largest size and its length, whatever arrives.

use super::limits::FRAME_BYTES_MAX;
use bytes::{Buf, Bytes, BytesMut};

const LENGTH_BYTES: usize = 4;

/// See the head of the file.
#[derive(Debug)]
pub struct Framer {
    frame_bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Open(BytesMut),
    Broken(FrameError),
}

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {bytes} bytes is too long")]
    TooLong { bytes: usize },
}

impl Default for Framer {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Framer {
    /// For frames of up to `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max, state: State::Open(BytesMut::new()) }
    }

    /// Takes bytes from the front of `bytes`, and says how many: at least one if [`Framer::take`] has answered that there is no
    /// whole frame. A broken framer takes none.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let State::Open(buffer) = &mut self.state else { return 0 };
        let room = self.frame_bytes_max.saturating_add(LENGTH_BYTES).saturating_sub(buffer.len());
        let taken = &bytes[..room.min(bytes.len())];
        buffer.extend_from_slice(taken);
        taken.len()
    }

    /// The next frame, if the whole of it has come.
    ///
    /// # Errors
    /// When it is announced as too long: the same from then on.
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let buffer = match &mut self.state {
            State::Open(buffer) => buffer,
            State::Broken(error) => return Err(*error),
        };
        let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if bytes > self.frame_bytes_max {
            let error = FrameError::TooLong { bytes };
            self.state = State::Broken(error);
            return Err(error);
        }
        if buffer.len() - LENGTH_BYTES < bytes {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        Ok(Some(buffer.split_to(bytes).freeze()))
    }

    /// Bytes that wait for the rest of their frame, or to be taken.
    #[must_use]
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Open(buffer) => buffer.len(),
            State::Broken(_) => 0,
        }
    }
}
