//! Sections that are not a range of the message: decoded parts, filtered headers. They are made piece by piece; only the page
//! asked for is kept, and where the next page goes on.
//!
//! Invariants: what is held does not grow with the section; a checkpoint only spares work, so that forgetting one is harmless.

use crate::face::{EmailId, SectionRead, SessionId};
use crate::mime::{Decoder, HeaderFilter};
use bytes::BytesMut;
use std::collections::VecDeque;

/// What the bytes go through.
#[derive(Clone, Debug)]
pub enum Through {
    Decoder(Decoder),
    Filter(HeaderFilter),
}

impl Through {
    /// Appends what a piece becomes; false when it can't be decoded.
    fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Self::Decoder(decoder) => decoder.push(piece, out).is_ok(),
            Self::Filter(filter) => {
                filter.push(piece, out);
                true
            }
        }
    }

    fn finish(self, out: &mut Vec<u8>) {
        match self {
            Self::Decoder(decoder) => decoder.finish(out),
            Self::Filter(filter) => filter.finish(out),
        }
    }
}

/// A place between two pieces.
#[derive(Clone, Debug)]
struct Place {
    through: Through,
    /// Bytes of the source before it.
    source: u64,
    /// Bytes made before it.
    made: u64,
}

/// One page of a transformed section being made.
#[derive(Debug)]
pub struct Transform {
    at: Place,
    /// The last place before the end of the page: the next one can go on there.
    resume: Place,
    /// The page asked for.
    offset: u64,
    end: u64,
    page: BytesMut,
    /// Bytes of the whole section, when an earlier page has found out.
    total: Option<u64>,
    out: Vec<u8>,
}

impl Transform {
    /// The page from `offset`, `len` bytes, of a section made by `through`.
    #[must_use]
    pub fn new(through: Through, (offset, len): (u64, u64)) -> Self {
        let at = Place { through, source: 0, made: 0 };
        Self {
            resume: at.clone(),
            at,
            offset,
            end: offset.saturating_add(len),
            page: BytesMut::new(),
            total: None,
            out: Vec::new(),
        }
    }

    /// Goes on where an earlier page of the same section left, if that helps.
    #[must_use]
    pub fn resumed(mut self, checkpoint: Option<Checkpoint>) -> Self {
        if let Some(Checkpoint { key: _, place, total }) = checkpoint {
            self.total = Some(total);
            if place.made <= self.offset {
                self.resume = place.clone();
                self.at = place;
            }
        }
        self
    }

    /// Bytes of the source that need not be read again.
    #[must_use]
    pub fn source_at(&self) -> u64 {
        self.at.source
    }

    /// Whether the page is complete and the total known.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.total.is_some() && self.at.made >= self.end
    }

    /// Takes the next piece; false when it can't be decoded.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> bool {
        if self.at.made <= self.end {
            self.resume = self.at.clone();
        }
        let decoded = self.at.through.push(piece, &mut self.out);
        self.at.source += piece.len() as u64;
        self.keep();
        decoded
    }

    /// Keeps what belongs to the page of what was made last.
    fn keep(&mut self) {
        let before = self.at.made;
        let after = before.saturating_add(self.out.len() as u64);
        let (from, to) = (self.offset.max(before), self.end.min(after));
        if from < to {
            let at = |place: u64| usize::try_from(place - before).unwrap_or(self.out.len());
            self.page.extend_from_slice(&self.out[at(from)..at(to)]);
        }
        self.out.clear();
        self.at.made = after;
    }

    /// The page, and where the next one may go on.
    #[must_use]
    pub fn finish(mut self, key: CheckpointKey) -> (SectionRead, Checkpoint) {
        let total = match self.total {
            Some(total) if self.at.made >= self.end => total,
            Some(_) | None => {
                self.at.through.clone().finish(&mut self.out);
                self.keep();
                self.at.made
            }
        };
        let bytes = self.page.freeze();
        (SectionRead::Page { bytes, total }, Checkpoint { key, place: self.resume, total })
    }
}

/// What a checkpoint is of: who reads, and which section of which message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointKey {
    pub session: SessionId,
    pub email: EmailId,
    pub section: crate::face::Section,
}

/// Where the next page of a section goes on.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    key: CheckpointKey,
    place: Place,
    total: u64,
}

/// The latest checkpoints.
#[derive(Debug, Default)]
pub struct Checkpoints(VecDeque<Checkpoint>);

/// Sections read page by page at once, of one user; a few hundred bytes each.
const CHECKPOINTS_MAX: usize = 32;

impl Checkpoints {
    pub fn take(&mut self, key: &CheckpointKey) -> Option<Checkpoint> {
        let at = self.0.iter().position(|checkpoint| checkpoint.key == *key)?;
        self.0.remove(at)
    }

    /// Remembers one, unless its section has been read to the end.
    pub fn put(&mut self, checkpoint: Checkpoint, end: u64) {
        if end >= checkpoint.total {
            return;
        }
        if self.0.len() >= CHECKPOINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(checkpoint);
    }

    /// A session has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.0.retain(|checkpoint| checkpoint.key.session != session);
    }
}
