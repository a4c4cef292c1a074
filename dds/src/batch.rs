//! An atomic write on one route, and its outcome.

use crate::{RouteKey, SortKey};
use bytes::Bytes;

/// Term of a route's writer. A higher epoch fences every lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Number of a batch within its writer's epoch, from 1. Batches of an epoch apply in sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Number of the partition's log group that wrote an entry last. Rises with every write of the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// Who writes: claimed with [`crate::Request::Claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    pub epoch: Epoch,
    pub seq: Seq,
}

/// One change of a batch. Whether an entry lives in the column for bodies is said by its key alone:
/// see [`SortKey::is_body`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The key has this value.
    Put { key: SortKey, value: Bytes },
    /// The key is absent.
    Delete { key: SortKey },
    /// Every key in `from..to` is absent.
    DeleteRange { from: SortKey, to: SortKey },
}

/// What must hold before a batch applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    pub key: SortKey,
    pub expect: Expect,
}

/// The state that a precondition demands of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Present,
    VersionIs(Version),
}

/// Changes that apply all or not at all, on one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub route: RouteKey,
    /// Numbers the batch. A refused batch doesn't use up its number: sent again it is judged anew.
    /// Without a writer the batch is judged by its preconditions alone, and its outcome is not remembered.
    pub writer: Option<Writer>,
    pub preconditions: Vec<Precondition>,
    /// It is a step toward deleting something, small, and without a body: it passes while only deletions do. A batch that
    /// deletes need not say so.
    pub makes_way: bool,
    pub ops: Vec<Op>,
}

/// What became of a batch. The same (route, epoch, seq) asked again gets the same answer while it stands in the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable on all in-sync replicas.
    Committed { version: Version },
    /// Nothing of it applies, now or later (until sent again).
    Refused(Refusal),
    /// It may or may not have applied. Ask again with the same (epoch, seq) for a definite answer.
    Unknown,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("precondition {index} does not hold")]
    PreconditionFailed { index: usize },
    #[error("another writer holds epoch {}", .current.0)]
    Fenced { current: Epoch },
    #[error("batch {} must come first", .expected.0)]
    SequenceGap { expected: Seq },
    #[error("the outcome has left the window")]
    Forgotten,
    #[error("over the limit: {what}")]
    TooLarge { what: &'static str },
    #[error("the key is reserved")]
    ReservedKey,
    #[error("no space left on the brick")]
    NoSpace,
    #[error("too many requests under way")]
    Overloaded,
    #[error("the partition is not served here now")]
    Unavailable,
    #[error("the stored data are damaged: {what}")]
    Corrupt { what: String },
}
