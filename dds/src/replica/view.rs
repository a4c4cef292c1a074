//! What the map says of a group, as one node sees it.

use crate::cluster::{NodeId, ReplicaGroup};
use fsm::Mono;
use std::collections::BTreeSet;
use std::sync::Arc;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub group: ReplicaGroup,
    /// In-sync members without which nothing is acknowledged.
    pub min_in_sync: usize,
    /// In-sync members that there should be.
    pub wanted: usize,
    /// No lease that this node may have granted to a node given up holds from here on.
    pub fence_at: Mono,
    /// Nodes whose stores take nothing but what frees space, as far as they have told.
    pub exhausted: Arc<BTreeSet<NodeId>>,
}

impl View {
    /// Whether writes may be acknowledged.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        self.group.may_acknowledge(self.min_in_sync)
    }

    /// Whether entries stay for a member that is missing or catching up.
    #[must_use]
    pub fn keeps_entries(&self) -> bool {
        self.is_short() || !self.group.learners.is_empty()
    }

    /// Whether fewer members are in sync than there should be.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.group.in_sync.len() < self.wanted
    }

    /// Whether `node` has no part in a group that is complete without it.
    #[must_use]
    pub fn needs_no(&self, node: NodeId) -> bool {
        let has_part = self.group.is_in_sync(node) || self.group.is_learner(node);
        !has_part && self.group.primary.is_some() && !self.is_short()
    }

    /// Whether groups are logged before they are applied: not in a group of one that wants no more.
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.group.in_sync.len() > 1 || self.keeps_entries()
    }
}
