//! Bytes on their way to the client: one buffer per step, handed over whole.
//!
//! Invariants: between two steps the buffer holds nothing and owns no memory; `unsent_bytes` counts
//! what was handed over since the client last caught up, so that a client that never reads costs
//! bounded memory.
//!
//! Must not know: commands, folders, tasks.

use crate::codec::encode;
use bytes::{Bytes, BytesMut};

/// The output of a session.
#[derive(Debug, Default)]
pub struct Output {
    buffer: BytesMut,
    ready: Vec<Bytes>,
    unsent_bytes: u64,
    total_bytes: u64,
}

const CRLF: &[u8] = b"\r\n";
/// Pieces above this many bytes are handed over as they are, smaller ones are copied. A copy of 4
/// KiB costs about 100 ns, an extra piece in a `writev` about as much.
const COPY_BYTES_MAX: usize = 4 * 1024;

impl Output {
    /// Appends text or bytes.
    pub fn put(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.buffer.extend_from_slice(bytes.as_ref());
        self
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: impl Into<u64>) -> &mut Self {
        encode::put_number(&mut self.buffer, number);
        self
    }

    /// Ends a line.
    pub fn line(&mut self) -> &mut Self {
        self.put(CRLF)
    }

    /// Appends `bytes` without copying them when they are large.
    pub fn piece(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_BYTES_MAX {
            self.put(bytes);
        } else {
            self.cut();
            self.ready.push(bytes);
        }
    }

    /// The buffer, for codecs that append to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Makes room, so that the bytes of a page do not move while it grows.
    pub fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes);
    }

    fn cut(&mut self) {
        if !self.buffer.is_empty() {
            self.ready.push(std::mem::take(&mut self.buffer).freeze());
        }
    }

    /// Takes all that was appended since the last call, in order.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.cut();
        let ready = std::mem::take(&mut self.ready);
        let bytes: u64 = ready.iter().map(|piece| piece.len() as u64).sum();
        self.unsent_bytes += bytes;
        self.total_bytes += bytes;
        ready
    }

    /// Bytes appended and not yet taken.
    pub fn pending_bytes(&self) -> u64 {
        self.buffer.len() as u64 + self.ready.iter().map(|piece| piece.len() as u64).sum::<u64>()
    }

    /// Bytes since the client last caught up, those not yet taken included.
    pub fn undrained_bytes(&self) -> u64 {
        self.unsent_bytes + self.pending_bytes()
    }

    /// The client caught up.
    pub fn on_drained(&mut self) {
        self.unsent_bytes = 0;
    }

    /// Bytes of the whole session.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Where the next byte goes, to come back to with [`Output::rewind`]; `None` once a piece
    /// stands before it.
    pub fn mark(&self) -> Mark {
        Mark { pieces: self.ready.len(), at: self.buffer.len(), taken: self.total_bytes }
    }

    /// Forgets everything since `mark`; false when some of it has been taken already.
    pub fn rewind(&mut self, mark: Mark) -> bool {
        if self.total_bytes != mark.taken {
            return false;
        }
        if self.ready.len() > mark.pieces {
            // The buffer was cut behind the mark: what stood before the mark is the head of that
            // piece.
            let head = self.ready[mark.pieces].slice(..mark.at.min(self.ready[mark.pieces].len()));
            self.ready.truncate(mark.pieces);
            self.buffer.clear();
            self.buffer.extend_from_slice(&head);
        } else {
            self.buffer.truncate(mark.at);
        }
        true
    }
}

/// A place in the output, see [`Output::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pieces: usize,
    at: usize,
    taken: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewound_row_leaves_no_trace() {
        let mut output = Output::default();
        output.put("* OK before\r\n");
        let mark = output.mark();
        output.put("* 1 FETCH (BODY[] {5000}\r\n");
        output.piece(Bytes::from(vec![b'x'; 5000]));
        output.put(")");
        assert!(output.rewind(mark));
        assert_eq!(output.take(), [Bytes::from_static(b"* OK before\r\n")]);
        output.put("* 2");
        assert!(!output.rewind(mark), "taken bytes cannot be called back");
    }
}
