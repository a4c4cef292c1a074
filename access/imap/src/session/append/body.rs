//! The body of one appended message while it arrives: inline while it is small, else a blob, chunk
//! by chunk.
//!
//! Invariants: at most one chunk and the chunks in flight are in memory; a body is handed over only
//! when all its chunks are durable.

use super::super::limits::Limits;
use super::super::shared::Turn;
use super::line_ends::{LineEnds, Nul};
use crate::codec::{AppendMessage, FlagList, LiteralKind};
use bytes::{Bytes, BytesMut};
use dds::BlobId;
use fsm::Token;
use mailstore::face::{
    BlobDone, BlobTask, Body, Completion, Holders, InternalDate, NewMessage, TaskRefusal,
};
use mailstore::mime::{self, Scanner};
use std::sync::Arc;

/// A message on its way in.
#[derive(Debug)]
pub struct Incoming {
    flags: FlagList,
    internal_date: Option<InternalDate>,
    line_ends: LineEnds,
    scanner: Scanner,
    /// What is not yet in a chunk.
    buffer: BytesMut,
    bytes: u64,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    Inline,
    Chunks { blob: BlobId, next: u32, writing: Vec<Token> },
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    Nul,
    /// With the line ends made CRLF it is larger than announced, and too large.
    TooLarge,
    Refused(TaskRefusal),
    /// An answer of the wrong kind.
    Bug,
}

impl From<Nul> for BodyError {
    fn from(Nul: Nul) -> Self {
        Self::Nul
    }
}

impl Incoming {
    pub fn new(message: &AppendMessage, flags: FlagList) -> Self {
        let line_ends = match message.literal {
            LiteralKind::Text | LiteralKind::Utf8 => LineEnds::Made { after_cr: false },
            LiteralKind::Binary => LineEnds::Kept,
        };
        Self {
            flags,
            internal_date: message.internal_date,
            line_ends,
            scanner: Scanner::new(&mime::Limits::default()),
            buffer: BytesMut::new(),
            bytes: 0,
            storage: Storage::Inline,
        }
    }

    /// Whether more bytes may come, or chunks must be written first.
    pub fn has_room(&self, limits: &Limits) -> bool {
        match &self.storage {
            Storage::Inline => true,
            Storage::Chunks { blob: _, next: _, writing } => {
                writing.len() < limits.chunks_in_flight_max
            }
        }
    }

    /// Whether nothing is being written.
    pub fn is_settled(&self) -> bool {
        match &self.storage {
            Storage::Inline => true,
            Storage::Chunks { blob: _, next: _, writing } => writing.is_empty(),
        }
    }

    pub fn push(&mut self, turn: &mut Turn<'_, '_>, piece: &[u8]) -> Result<(), BodyError> {
        // A large piece is dealt with in slices, so that the buffer stays within about one chunk.
        for slice in piece.chunks(turn.shared.limits.chunk_bytes.max(1)) {
            let Self { line_ends, scanner, buffer, bytes, .. } = self;
            line_ends.push(slice, |text| {
                scanner.push(text);
                buffer.extend_from_slice(text);
                *bytes += text.len() as u64;
            })?;
            self.spill(turn)?;
        }
        Ok(())
    }

    /// Moves full chunks out of the buffer.
    fn spill(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), BodyError> {
        let limits = &turn.shared.limits;
        let (inline_max, chunk) = (limits.inline_bytes_max, limits.chunk_bytes.max(1));
        if self.bytes > limits.append_bytes_max {
            return Err(BodyError::TooLarge);
        }
        if matches!(self.storage, Storage::Inline) {
            if self.buffer.len() <= inline_max {
                return Ok(());
            }
            let rng = turn.cx.rng();
            let blob = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            self.storage = Storage::Chunks { blob: BlobId(blob), next: 0, writing: Vec::new() };
        }
        while self.buffer.len() >= chunk {
            let full = self.buffer.split_to(chunk).freeze();
            self.write(turn, full);
        }
        Ok(())
    }

    fn write(&mut self, turn: &mut Turn<'_, '_>, bytes: Bytes) {
        match &mut self.storage {
            Storage::Inline => {}
            Storage::Chunks { blob, next, writing } => {
                let (blob, index, life) = (*blob, *next, turn.shared.limits.blob_life);
                let token = turn.submit_blob(BlobTask::PutChunk { blob, index, bytes, life });
                *next += 1;
                writing.push(token);
            }
        }
    }

    /// All bytes have arrived.
    pub fn end(&mut self, turn: &mut Turn<'_, '_>) -> Result<(), BodyError> {
        let Self { line_ends, scanner, buffer, bytes, .. } = self;
        line_ends.finish(|text| {
            scanner.push(text);
            buffer.extend_from_slice(text);
            *bytes += text.len() as u64;
        });
        self.spill(turn)?;
        match self.storage {
            Storage::Inline => {}
            Storage::Chunks { .. } => {
                let rest = std::mem::take(&mut self.buffer).freeze();
                if !rest.is_empty() {
                    self.write(turn, rest);
                }
            }
        }
        Ok(())
    }

    /// A chunk is durable, or is not. Tokens of others are ignored.
    pub fn on_written(&mut self, token: Token, completion: &Completion) -> Result<(), BodyError> {
        let Storage::Chunks { blob: _, next: _, writing } = &mut self.storage else {
            return Ok(());
        };
        let Some(at) = writing.iter().position(|&awaited| awaited == token) else { return Ok(()) };
        writing.swap_remove(at);
        match completion {
            Completion::Blob(BlobDone::Written) => Ok(()),
            Completion::Refused(refusal) => Err(BodyError::Refused(*refusal)),
            Completion::Blob(BlobDone::Dropped)
            | Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_) => Err(BodyError::Bug),
        }
    }

    /// The message, once settled.
    pub fn into_message(self) -> NewMessage {
        let body = match self.storage {
            Storage::Inline => Body::Inline(self.buffer.freeze()),
            Storage::Chunks { blob, next: _, writing: _ } => {
                Body::Blob { blob, len: self.bytes, holders: Holders::One }
            }
        };
        NewMessage {
            flags: self.flags.system,
            keywords: self.flags.keywords,
            internal_date: self.internal_date,
            body,
            columns: Arc::new(self.scanner.finish()),
        }
    }

    /// The message is not wanted any more.
    pub fn discard(self, turn: &mut Turn<'_, '_>) {
        match self.storage {
            Storage::Inline => {}
            Storage::Chunks { blob, next: _, writing: _ } => {
                turn.submit_blob(BlobTask::Drop { blob });
            }
        }
    }
}
