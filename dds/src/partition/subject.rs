//! What tasks queue up for: one route or one blob, with its record and the tasks that wait for their turn.

use super::Asker;
use crate::layout::{BlobRecord, WriterRecord};
use crate::{Batch, BlobId, Outcome, Refusal, Response, RouteKey, SortKey, Version};
use bytes::Bytes;
use fsm::{Token, Wall};
use std::collections::VecDeque;

/// Tasks of one subject are judged in the order they were asked; different subjects don't wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Route(RouteKey),
    Blob(BlobId),
}

/// A task that changes something.
#[derive(Debug)]
pub enum Task {
    Claim,
    Write(Batch),
    PutChunk {
        index: u32,
        bytes: Bytes,
        expires: Wall,
    },
    Renew {
        expires: Wall,
    },
    Drop,
    /// Delete the blob when it expired before `expired_before`; the index lists it under `listed`.
    Collect {
        listed: Wall,
        expired_before: Wall,
    },
}

impl Task {
    /// Whether the record of the subject must be known. Batches without a writer don't look at it.
    pub fn needs_record(&self) -> bool {
        match self {
            Self::Write(batch) => batch.writer.is_some(),
            Self::Claim
            | Self::PutChunk { .. }
            | Self::Renew { .. }
            | Self::Drop
            | Self::Collect { .. } => true,
        }
    }

    /// The answer that refuses the task.
    pub fn refused(&self, refusal: Refusal) -> Response {
        match self {
            Self::Claim | Self::Collect { .. } => Response::Refused(refusal),
            Self::Write(_) | Self::PutChunk { .. } | Self::Renew { .. } | Self::Drop => {
                Response::Wrote(Outcome::Refused(refusal))
            }
        }
    }
}

/// The record as it will be when all groups under way have applied.
#[derive(Clone, Debug)]
pub enum Record {
    Writer(WriterRecord),
    /// `None`: there is no such blob.
    Blob(Option<BlobRecord>),
}

/// A change that is under way, as far as preconditions care.
#[derive(Clone, Debug)]
pub enum Touched {
    Put(SortKey),
    Deleted(SortKey),
    DeletedRange(SortKey, SortKey),
}

impl Touched {
    /// What it makes of `key`, if it does: its version, or that it is absent.
    pub fn makes_of(&self, key: &SortKey, version: Version) -> Option<Option<Version>> {
        match self {
            Self::Put(put) => (put == key).then_some(Some(version)),
            Self::Deleted(deleted) => (deleted == key).then_some(None),
            Self::DeletedRange(from, to) => (from <= key && key < to).then_some(None),
        }
    }
}

/// What a subject waits for.
#[derive(Debug)]
pub enum Phase {
    Open,
    /// Its record is being read.
    Loading(Token),
    /// The versions of the first task's preconditions are being read.
    Judging(Judging),
}

/// A task whose preconditions are being read. The task stays first in the queue.
#[derive(Debug)]
pub struct Judging {
    /// The read that is under way.
    pub token: Token,
    /// What became durable since the read began, oldest first: the read may have missed it.
    pub settled: Vec<(Version, Touched)>,
}

/// A subject that is in use or remembered.
#[derive(Debug)]
pub struct Slot {
    pub phase: Phase,
    pub record: Option<Record>,
    pub queue: VecDeque<(Asker, Task)>,
    /// Groups under way.
    pub in_flight: usize,
    /// Number of the last group.
    pub last_number: u64,
    /// When it was used last, in uses of the partition.
    pub used: u64,
}

impl Slot {
    /// A slot of which nothing is known yet.
    pub fn new() -> Self {
        Self {
            phase: Phase::Open,
            record: None,
            queue: VecDeque::new(),
            in_flight: 0,
            last_number: 0,
            used: 0,
        }
    }

    /// Nothing waits for anything: only the record is of use.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.queue.is_empty() && self.in_flight == 0
    }
}
