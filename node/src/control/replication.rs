//! Who holds which partition, who follows whom how far behind, and over which links.

use serde::Serialize;

/// The connections with another node.
#[derive(Clone, Debug, Serialize)]
pub struct LinkReport {
    pub node: String,
    pub is_up: bool,
    /// The node that carries them, when the straight way does not work.
    pub through: Option<String>,
    /// Since it is so; `None`: since the start.
    pub seconds: Option<u64>,
    /// Times that it was lost since the start.
    pub lost: u64,
}

/// How far a follower is behind the partitions that this node leads.
#[derive(Clone, Debug, Serialize)]
pub struct BehindReport {
    pub follower: String,
    pub partitions: u64,
    /// With something that it has not acknowledged.
    pub waiting: u64,
    pub groups: u64,
    pub groups_max: u64,
}

/// One partition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PartitionReport {
    pub partition: u16,
    pub state: &'static str,
    pub is_moving: bool,
    pub primary: Option<String>,
    pub in_sync: Vec<String>,
    pub learners: Vec<String>,
    pub version: u64,
    /// Where an operator has put it.
    pub placed: Option<String>,
}
