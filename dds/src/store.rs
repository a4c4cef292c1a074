//! What a brick stands on: an ordered durable table with atomic groups.
//!
//! A `Store` blocks; it is called by the writer stage (one thread, whole groups at once) and by the reader pool, never by a
//! worker, except for [`Tier::Memory`] reads, which do no disk work. Groups are atomic; durability is a prefix of their order.

use crate::{PageSum, PartitionId};
use bytes::Bytes;

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Small values: metadata, writer records, accounts.
    Meta,
    /// Bodies and blob chunks: written once, kept apart from compaction.
    Bodies,
    /// Partition log groups, cluster map, brick identity.
    Log,
}

/// One change, with physical keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreOp {
    Put { column: Column, key: Bytes, value: Bytes },
    Delete { column: Column, key: Bytes },
    DeleteRange { column: Column, from: Bytes, to: Bytes },
}

/// Changes of one partition that apply all or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub partition: PartitionId,
    pub ops: Vec<StoreOp>,
    /// Bytes of all keys and values: the weight in credits and space watermarks.
    pub bytes: usize,
    /// Only frees space: allowed below the second space watermark.
    pub frees_space: bool,
    pub chain: Chain,
}

/// How a group depends on the groups of its partition before it. [`crate::Chains`] enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// No earlier group of the partition was under way when this one was made.
    Starts,
    /// Made while earlier groups were under way, on the assumption that they apply: when one of them was refused this one
    /// must be refused too, also when it reaches the store in a later write.
    Follows,
}

/// Whether a commit must be on stable storage before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// All groups so far survive a power loss.
    Synced,
    /// A later synced commit makes it durable; a crash of the machine may lose it.
    Buffered,
}

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Memory tables and block cache only; never touches the disk.
    Memory,
    /// Wherever the data are.
    Disk,
}

/// A read, with physical keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    Get {
        column: Column,
        keys: Vec<Bytes>,
    },
    Scan {
        column: Column,
        from: Bytes,
        to: Bytes,
        reverse: bool,
        entries_max: usize,
        bytes_max: usize,
    },
    /// The sum of what a scan upwards of so many bytes would find. It reads whatever memory does not hold, so it never is done in
    /// [`Tier::Memory`].
    Sum {
        column: Column,
        from: Bytes,
        to: Bytes,
        bytes_max: usize,
    },
}

impl Read {
    /// The column that it is about.
    #[must_use]
    pub fn column(&self) -> Column {
        match self {
            Self::Get { column, .. } | Self::Scan { column, .. } | Self::Sum { column, .. } => {
                *column
            }
        }
    }
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadDone {
    Got(Vec<Option<Bytes>>),
    Scanned {
        entries: Vec<(Bytes, Bytes)>,
        more: bool,
    },
    Summed(PageSum),
    /// Only with [`Tier::Memory`]: the answer needs the disk.
    Miss,
}

/// Why the store can't do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written; the store works on, and accepts groups that free space.
    #[error("no space left on the device")]
    NoSpace,
    /// Checksums or formats do not match. Reading elsewhere goes on.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// The operation failed and had no effect; it may be tried again.
    #[error("input/output error: {0}")]
    Io(String),
    /// The brick must stop: a failed sync leaves unknown what is durable.
    #[error("the store must stop: {0}")]
    Fatal(String),
}

/// An ordered durable table. One contract suite runs on every implementation.
pub trait Store: Send + Sync {
    /// Applies `groups` in order as one write. With [`Durability::Synced`] everything before and in it is durable on return.
    ///
    /// # Errors
    /// `NoSpace` and `Io`: none of the groups applied. `Fatal`: unknown what applied; the brick stops.
    fn commit(&self, groups: &[Group], durability: Durability) -> Result<(), StoreError>;

    /// Reads the state as of now.
    ///
    /// # Errors
    /// `Corrupt` and `Io`.
    fn read(&self, read: &Read, tier: Tier) -> Result<ReadDone, StoreError>;
}
