//! What a node says of itself, with every ping: for the control leader, for primaries, and for whoever looks at the cluster.
//!
//! A report replaces the one before; nothing depends on every one of them to arrive.

use crate::PartitionId;
use crate::cluster::NodeId;

/// Partitions that a report names. Our choice: more than the leader moves before the next report, and small beside a ping's frame.
pub const REPORT_PARTITIONS_MAX: usize = 16;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Work of the partitions that it leads, in units a second. The executor says what a unit is; it is the same on all nodes.
    pub load: u64,
    /// Those with the most work, the busiest first; at most [`REPORT_PARTITIONS_MAX`].
    pub busiest: Vec<(PartitionId, u32)>,
    /// Its store takes nothing but what frees space.
    pub exhausted: bool,
    /// What the directory and the delivery queue count, where they run.
    pub residents: Option<Residents>,
    /// Copies that it makes of partitions that it leads; at most [`REPORT_PARTITIONS_MAX`].
    pub copies: Vec<Copying>,
}

/// Counts of what runs once in a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    pub accounts: u64,
    /// Acceptances that were not delivered to everybody yet.
    pub deliveries: u64,
}

/// A copy under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copying {
    pub partition: PartitionId,
    /// The learner.
    pub node: NodeId,
    /// Sent so far.
    pub bytes: u64,
}
