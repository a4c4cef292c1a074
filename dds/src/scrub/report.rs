//! What a scrub has done and found.

use crate::Column;
use crate::cluster::NodeId;
use bytes::Bytes;
use fsm::Wall;
use serde::{Deserialize, Serialize};

/// What became of a permit to look at one slice of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes were read here; there is more.
    Read { bytes: u64 },
    /// Not now: the group changes, or the slice does. Another permit is welcome in a while.
    Waits,
    /// Everything was looked at.
    Done(Passed),
    /// Another node leads the partition.
    NotLed,
}

/// What was found in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Of keys and values here, those of the last slice included.
    pub bytes: u64,
    /// The first ones.
    pub findings: Vec<Finding>,
    /// Slices that were not the same on all replicas, or could not be read on one.
    pub differences: u64,
    /// Replicas that are built anew.
    pub repairs: u64,
    /// Slices of which nobody can say what they held. Nothing was repaired in this partition.
    pub undecided: u64,
    /// Fewer copies were there to be compared than there should be.
    pub short: bool,
}

/// What is wrong with a slice of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// On this node; `None`: nobody knows on which.
    pub node: Option<NodeId>,
    pub trouble: Trouble,
    pub column: Column,
    /// The slice begins behind this physical key.
    pub after: Bytes,
}

/// See [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("a checksum is wrong")]
    Damaged,
    #[error("it holds something else than most others")]
    Outvoted,
    #[error("the replicas differ, and no majority says who is right")]
    Undecided,
    #[error("no replica can read it")]
    Lost,
}

impl Trouble {
    /// It is known what the slice held.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Damaged | Self::Outvoted => true,
            Self::Undecided | Self::Lost => false,
        }
    }
}

/// What one round over everything that a node, or a part of it, leads has come to. Rounds of several add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    pub partitions: u64,
    /// Of keys and values, on the primaries.
    pub bytes: u64,
    pub differences: u64,
    pub repairs: u64,
    pub undecided: u64,
    /// Partitions that were not, or may not have been, compared to their end: their group changed all the time, or lacked a copy,
    /// or they changed hands during a round that somebody asked for.
    pub unfinished: u64,
    /// Milliseconds since 1970; of several rounds the oldest.
    pub ended_ms: i64,
}

impl Round {
    /// A partition was looked at.
    pub fn note(&mut self, passed: &Passed) {
        self.partitions += 1;
        self.bytes += passed.bytes;
        self.differences += passed.differences;
        self.repairs += passed.repairs;
        self.undecided += passed.undecided;
        self.unfinished += u64::from(passed.short);
    }

    /// Adds what another part of the cluster has come to.
    pub fn add(&mut self, other: &Self) {
        self.partitions += other.partitions;
        self.bytes += other.bytes;
        self.differences += other.differences;
        self.repairs += other.repairs;
        self.undecided += other.undecided;
        self.unfinished += other.unfinished;
        self.ended_ms = match (self.ended_ms, other.ended_ms) {
            (0, ended) | (ended, 0) => ended,
            (one, other) => one.min(other),
        };
    }

    /// The round is over.
    pub fn end(&mut self, now: Wall) {
        self.ended_ms = now.0;
    }
}
