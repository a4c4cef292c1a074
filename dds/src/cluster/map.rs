//! The cluster map as it is: plain data, and questions to it.

use super::{Incarnation, NodeId, ReplicaGroup, Session, Settings, Site, Start, Suggestion};
use crate::{DpMap, GroupVersion, PartitionId};
use std::collections::BTreeMap;

/// Nodes of one cluster. Our choice: each of them is a member of the control group, and each pings all others.
pub const NODES_MAX: usize = 256;

/// In-sync members of one group that may be wanted. Our choice.
pub const REPLICAS_MAX: u8 = 7;

/// Whether a node takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    Up,
    /// Not yet registered, or given up since.
    #[default]
    Down,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub site: Site,
    pub incarnation: Incarnation,
    /// Incarnations that it had before: they never come back. Oldest first.
    pub retired: Vec<Incarnation>,
    /// The last registration under this incarnation; 0 before the first.
    pub session: Session,
    /// The run that registered.
    pub start: Start,
    pub state: NodeState,
    /// It shall hold nothing any more.
    pub draining: bool,
    /// The highest feature level that it knows.
    pub features: u32,
}

/// Who shall lead a partition, by the operator's word. It rests while the node is down for long or drains, and ends when the
/// operator says otherwise or the node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: NodeId,
    /// It has led the partition since that was said. Until then the placement is a move: it ends with the node's session.
    pub arrived: bool,
}

/// Who is there, and who holds what. Changes by commands alone: see `apply`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMap {
    /// Of the last entry of the control log that was applied.
    pub index: u64,
    pub settings: Settings,
    pub nodes: BTreeMap<NodeId, Node>,
    /// One per partition, in order.
    pub groups: Vec<ReplicaGroup>,
    /// What primaries should ask for next. Each fits the version of its group.
    pub suggestions: BTreeMap<PartitionId, Suggestion>,
    /// Nodes that vote in the control group. Rising.
    pub voters: Vec<NodeId>,
    /// Where the operator wants partitions to be led.
    pub placements: BTreeMap<PartitionId, Placement>,
    /// Number of the last proposal of each node's run that was applied. Not told to watchers.
    pub(super) marks: BTreeMap<NodeId, u64>,
}

impl ClusterMap {
    /// Whether [`super::Command::Found`] was applied.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        !self.groups.is_empty()
    }

    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        is_up(&self.nodes, node)
    }

    #[must_use]
    pub fn group(&self, partition: PartitionId) -> Option<&ReplicaGroup> {
        self.groups.get(usize::from(partition.0))
    }

    /// All groups with their partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &ReplicaGroup)> {
        // At most 16,384 partitions: the numbers fit.
        (0_u16..).map(PartitionId).zip(&self.groups)
    }

    /// What the primary of `partition` should ask for, if anything.
    #[must_use]
    pub fn suggestion(&self, partition: PartitionId) -> Option<Suggestion> {
        self.suggestions.get(&partition).copied()
    }

    /// Who shall lead `partition` by the operator's word, if anybody.
    #[must_use]
    pub fn placed(&self, partition: PartitionId) -> Option<NodeId> {
        self.placements.get(&partition).map(|placement| placement.node)
    }

    /// The hash that assigns route keys to partitions.
    #[must_use]
    pub fn dp_map(&self) -> DpMap {
        DpMap { partitions: self.settings.partitions, hash_key: self.settings.hash_key }
    }

    /// In-sync members without which nothing is acknowledged.
    #[must_use]
    pub fn min_in_sync(&self) -> usize {
        usize::from(self.settings.min_in_sync)
    }

    /// Whether `node` holds or may hold anything of any partition.
    #[must_use]
    pub fn holds_anything(&self, node: NodeId) -> bool {
        self.groups.iter().any(|group| group.is_member(node) || group.is_candidate(node))
    }

    /// Sum of all versions: rises with every change of any group.
    #[must_use]
    pub fn versions(&self) -> u64 {
        self.groups.iter().map(|group| group.version).fold(0, |sum, GroupVersion(version)| {
            let sum: u64 = sum;
            sum.saturating_add(version)
        })
    }
}

/// Whether `node` is up, of these `nodes`.
pub(super) fn is_up(nodes: &BTreeMap<NodeId, Node>, node: NodeId) -> bool {
    nodes.get(&node).is_some_and(|known| known.state == NodeState::Up)
}
