//! Bytes that arrived and were not yet read, in the pieces they came in.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// A queue of bytes. Empty, it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Input {
    first: Bytes,
    later: VecDeque<Bytes>,
    later_len: usize,
}

impl Input {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.first.is_empty() {
            self.first = bytes;
        } else if !bytes.is_empty() {
            self.later_len += bytes.len();
            self.later.push_back(bytes);
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.first.len() + self.later_len
    }

    /// The piece at the front; empty when there is none.
    pub(super) fn front(&self) -> &[u8] {
        &self.first
    }

    /// Takes `len` bytes, at most all, of the piece at the front.
    pub(super) fn take(&mut self, len: usize) -> Bytes {
        let taken = self.first.split_to(len.min(self.first.len()));
        self.refill();
        taken
    }

    /// Drops `len` bytes, at most all, of the piece at the front.
    pub(super) fn skip(&mut self, len: usize) {
        self.first.advance(len.min(self.first.len()));
        self.refill();
    }

    fn refill(&mut self) {
        if !self.first.is_empty() {
            return;
        }
        // An empty slice would keep its buffer alive.
        self.first = self.later.pop_front().unwrap_or_default();
        self.later_len -= if self.later_len == 0 { 0 } else { self.first.len() };
        if self.later.is_empty() {
            self.later = VecDeque::new();
        }
    }
}
