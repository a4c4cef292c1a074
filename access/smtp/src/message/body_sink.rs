//! Where the bytes of a message go as they come: kept inline while few, else written as chunks of a blob.
//!
//! States: `Inline` -> `Chunked`. Invariants: every chunk but the last has `dds::CHUNK_BYTES`; at most one chunk's worth of
//! bytes is buffered here; `body` is asked for only when no chunk is under way.

use super::Fault;
use bytes::Bytes;
use dds::{BlobId, CHUNK_BYTES};
use fsm::{Cx, Duration, Token};
use mailstore::face::{
    BlobTask, Body, Holders, INLINE_BYTES_MAX, LONE_BYTES_MAX, Lane, SessionEffect, Task,
};

/// The bytes of one message.
#[derive(Debug)]
pub struct BodySink {
    kept: Kept,
    bytes: u64,
    bytes_max: u64,
    inline_max: usize,
    chunk_life: Duration,
    head: Head,
}

#[derive(Debug)]
enum Kept {
    Inline(Vec<u8>),
    Chunked(Chunked),
}

#[derive(Debug)]
struct Chunked {
    blob: BlobId,
    /// Index of the chunk that is filling.
    index: u32,
    filling: Vec<u8>,
    under_way: Vec<Token>,
    head: Head,
}

/// Whether the first chunk stays in memory until the message is handed over.
#[derive(Clone, Debug)]
pub enum Head {
    Dropped,
    Wanted,
    Kept(Bytes),
}

/// What the completion of a chunk means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sunk {
    /// The chunk was one of ours.
    Ours,
    /// Nobody here waits for it.
    Foreign,
}

impl BodySink {
    /// An empty body. `announced` octets are made room for, as far as they are kept inline; what one mailbox alone will hold
    /// is kept so though it is long.
    #[must_use]
    pub fn new(
        announced: u64,
        holders: Holders,
        (bytes_max, chunk_life): (u64, Duration),
        head: Head,
    ) -> Self {
        let inline_max = match holders {
            Holders::One => LONE_BYTES_MAX,
            Holders::Several => INLINE_BYTES_MAX,
        };
        let room = usize::try_from(announced).unwrap_or(usize::MAX).min(inline_max);
        let kept = Kept::Inline(Vec::with_capacity(room));
        Self { kept, bytes: 0, bytes_max, inline_max, chunk_life, head }
    }

    /// Octets so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Chunks being written.
    #[must_use]
    pub fn under_way(&self) -> usize {
        match &self.kept {
            Kept::Inline(_) => 0,
            Kept::Chunked(chunked) => chunked.under_way.len(),
        }
    }

    /// Adds `text`.
    ///
    /// # Errors
    /// `TooBig`.
    pub fn push(&mut self, cx: &mut Cx<'_, SessionEffect>, text: &[u8]) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        if self.bytes > self.bytes_max {
            return Err(Fault::TooBig);
        }
        match &mut self.kept {
            Kept::Inline(kept) if kept.len() + text.len() <= self.inline_max => {
                kept.extend_from_slice(text);
            }
            Kept::Inline(kept) => {
                let blob =
                    BlobId(u128::from(cx.rng().next_u64()) << 64 | u128::from(cx.rng().next_u64()));
                let filling = std::mem::take(kept);
                let head = self.head.clone();
                let mut chunked = Chunked { blob, index: 0, filling, under_way: Vec::new(), head };
                chunked.push(cx, text, self.chunk_life);
                self.kept = Kept::Chunked(chunked);
            }
            Kept::Chunked(chunked) => chunked.push(cx, text, self.chunk_life),
        }
        Ok(())
    }

    /// No more bytes come: what is left of a chunked body is written.
    pub fn finish(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        match &mut self.kept {
            Kept::Chunked(chunked) if !chunked.filling.is_empty() => {
                chunked.write(cx, self.chunk_life);
            }
            Kept::Chunked(_) | Kept::Inline(_) => {}
        }
    }

    /// A chunk was written, or could not be.
    pub fn on_written(&mut self, token: Token) -> Sunk {
        let Kept::Chunked(chunked) = &mut self.kept else { return Sunk::Foreign };
        match chunked.under_way.iter().position(|&awaited| awaited == token) {
            Some(at) => {
                chunked.under_way.swap_remove(at);
                Sunk::Ours
            }
            None => Sunk::Foreign,
        }
    }

    /// The body to hand over and its beginning, after `finish` and once no chunk is under way.
    #[must_use]
    pub fn body(self) -> (Body, Bytes) {
        assert_eq!(self.under_way(), 0, "a body is handed over when all of it is durable");
        match self.kept {
            Kept::Inline(kept) => {
                let kept = Bytes::from(kept);
                (Body::Inline(kept.clone()), kept)
            }
            Kept::Chunked(Chunked { blob, head, .. }) => {
                let head = match head {
                    Head::Kept(head) => head,
                    Head::Dropped | Head::Wanted => Bytes::new(),
                };
                (Body::Blob { blob, len: self.bytes, holders: Holders::One }, head)
            }
        }
    }

    /// The message is refused: what was written may go.
    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) {
        match self.kept {
            Kept::Inline(_) => {}
            Kept::Chunked(chunked) => drop_blob(cx, chunked.blob),
        }
    }
}

/// Asks for a blob that nobody was told of to be dropped. The answer does not matter: it expires by itself as well.
pub fn drop_blob(cx: &mut Cx<'_, SessionEffect>, blob: BlobId) {
    let task = Task::Blob(BlobTask::Drop { blob });
    let token = cx.fresh_token();
    cx.emit(SessionEffect::Submit { token, lane: Lane::Delivery, task });
}

impl Chunked {
    fn push(&mut self, cx: &mut Cx<'_, SessionEffect>, mut text: &[u8], life: Duration) {
        while !text.is_empty() {
            let room = CHUNK_BYTES - self.filling.len();
            let (now, later) = text.split_at(room.min(text.len()));
            if self.filling.capacity() == 0 {
                self.filling.reserve_exact(CHUNK_BYTES);
            }
            self.filling.extend_from_slice(now);
            text = later;
            if self.filling.len() == CHUNK_BYTES {
                self.write(cx, life);
            }
        }
    }

    fn write(&mut self, cx: &mut Cx<'_, SessionEffect>, life: Duration) {
        let bytes = Bytes::from(std::mem::take(&mut self.filling));
        if matches!(self.head, Head::Wanted) {
            self.head = Head::Kept(bytes.clone());
        }
        let token = cx.fresh_token();
        let task =
            Task::Blob(BlobTask::PutChunk { blob: self.blob, index: self.index, bytes, life });
        cx.emit(SessionEffect::Submit { token, lane: Lane::Delivery, task });
        self.under_way.push(token);
        self.index += 1;
    }
}
