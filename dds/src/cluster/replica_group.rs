//! The RG map's entry of one partition, and how it may change.
//!
//! Invariants: the primary is in sync; no node is a member twice; every change raises the version; `candidates` is the last
//! set of in-sync members that could acknowledge a write, without those that can't be trusted to hold it any more.

use super::NodeId;
use crate::GroupVersion;

/// Who holds a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaGroup {
    pub version: GroupVersion,
    /// Orders the writes of the partition. `None`: nobody who could is up.
    pub primary: Option<NodeId>,
    /// Hold all that was acknowledged; the primary among them. Rising. Empty only when every holder has lost its disk.
    pub in_sync: Vec<NodeId>,
    /// Catch up; count for nothing. Rising.
    pub learners: Vec<NodeId>,
    /// The in-sync set of the last version that could acknowledge writes: each of them holds all that was ever acknowledged,
    /// also when the set has shrunk since. A member that begins to catch up anew is none any more: it may drop what it had.
    /// Rising.
    pub candidates: Vec<NodeId>,
    /// At the last change of the primary the one before agreed: it answers nothing any more, and its lease need not run out.
    /// Changes that keep the primary keep this too. A primary may hand over only once it serves, so one step back is enough.
    pub consented: bool,
}

/// A change of one group, asked for by its primary. It applies only to the version that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// An in-sync member or a learner is slow or silent. What it holds stays trusted.
    Remove(NodeId),
    /// A member has lost or damaged what it acknowledged: it is removed, and is no candidate any more.
    Expel(NodeId),
    /// A node begins to catch up.
    AddLearner(NodeId),
    /// A learner has caught up, and every commit since has waited for it too.
    Promote(NodeId),
    /// An in-sync member takes over. The primary has stopped, and answers nothing until it knows what became of this.
    HandOver(NodeId),
    /// The store of the primary fails for now, and what it holds is intact: somebody else of the set takes over.
    StepDown,
    /// The primary itself is damaged: somebody else of the set takes over, and it leaves the set.
    Resign,
}

impl GroupChange {
    /// The node that the change is about; `None`: the primary itself.
    #[must_use]
    pub fn node(self) -> Option<NodeId> {
        match self {
            Self::Remove(node)
            | Self::Expel(node)
            | Self::AddLearner(node)
            | Self::Promote(node)
            | Self::HandOver(node) => Some(node),
            Self::StepDown | Self::Resign => None,
        }
    }
}

impl ReplicaGroup {
    /// A group of one.
    #[must_use]
    pub fn sole(node: NodeId) -> Self {
        Self {
            version: GroupVersion(1),
            primary: Some(node),
            in_sync: vec![node],
            learners: Vec::new(),
            candidates: vec![node],
            consented: false,
        }
    }

    #[must_use]
    pub fn is_in_sync(&self, node: NodeId) -> bool {
        self.in_sync.binary_search(&node).is_ok()
    }

    #[must_use]
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.learners.binary_search(&node).is_ok()
    }

    /// Whether `node` is an in-sync member or a learner.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_in_sync(node) || self.is_learner(node)
    }

    #[must_use]
    pub fn is_candidate(&self, node: NodeId) -> bool {
        self.candidates.binary_search(&node).is_ok()
    }

    /// In-sync members and learners, without `node`.
    pub fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.in_sync.iter().chain(&self.learners).copied().filter(move |other| *other != node)
    }

    /// Whether writes may be acknowledged.
    #[must_use]
    pub fn may_acknowledge(&self, min_in_sync: usize) -> bool {
        self.primary.is_some() && self.in_sync.len() >= min_in_sync
    }
}
