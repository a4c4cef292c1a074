//! Who holds and who leads a partition after nodes came and went.
//!
//! Invariants: a group keeps its last holder; whoever takes over holds all that was acknowledged; where a member that is up
//! remains, members that are down leave; every change raises the version.

use super::map::is_up;
use super::placement::preference;
use super::{Node, NodeId, ReplicaGroup};
use crate::PartitionId;
use std::collections::BTreeMap;

/// What a transition of one group needs to know of the rest of the map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub nodes: &'a BTreeMap<NodeId, Node>,
    pub partition: PartitionId,
    pub min_in_sync: usize,
}

impl Surroundings<'_> {
    pub fn is_up(&self, node: NodeId) -> bool {
        is_up(self.nodes, node)
    }

    /// The one of `members` that should lead next: up, not `except`, not draining if it can be helped. The preference differs
    /// from partition to partition, so that what a node led does not all go to one other.
    pub fn heir(&self, members: &[NodeId], except: Option<NodeId>) -> Option<NodeId> {
        let draining = |node| self.nodes.get(&node).is_some_and(|known| known.draining);
        let able = members.iter().copied().filter(|&node| Some(node) != except && self.is_up(node));
        able.min_by_key(|&node| (draining(node), preference(self.partition, node)))
    }
}

/// `node` was silent for too long; it is down in `at` already. True when the group changed.
pub(super) fn on_given_up(group: &mut ReplicaGroup, at: &Surroundings<'_>, node: NodeId) -> bool {
    let mut changed = leave(&mut group.learners, node);
    if group.in_sync.iter().any(|&other| at.is_up(other)) {
        changed |= leave(&mut group.in_sync, node);
    }
    if group.primary == Some(node) {
        group.primary = at.heir(&group.in_sync, None);
        group.consented = false;
        changed = true;
    }
    if changed {
        raise(group, at);
    }
    changed
}

/// `node` has begun a new session with what it held; it is up in `at` already. True when the group changed.
pub(super) fn on_returned(group: &mut ReplicaGroup, at: &Surroundings<'_>, node: NodeId) -> bool {
    if group.primary == Some(node) {
        // The session in which it led is over, though nobody had noticed yet.
        group.primary = at.heir(&group.in_sync, Some(node)).or(Some(node));
    } else if group.primary.is_none() && group.is_in_sync(node) {
        group.primary = Some(node);
        group.in_sync.retain(|&other| at.is_up(other));
    } else {
        return false;
    }
    group.consented = false;
    raise(group, at);
    true
}

/// `node` has lost what it held. True when the group changed.
pub(super) fn on_lost(group: &mut ReplicaGroup, at: &Surroundings<'_>, node: NodeId) -> bool {
    let known = leave(&mut group.learners, node) | leave(&mut group.candidates, node);
    let held = leave(&mut group.in_sync, node);
    if held && group.in_sync.is_empty() {
        take_over(group, at);
    }
    if held && group.primary.is_none_or(|primary| primary == node) {
        group.primary = at.heir(&group.in_sync, None);
        group.consented = false;
    }
    if known || held {
        raise(group, at);
    }
    known || held
}

/// Every in-sync member has lost what it held. The set was too small to acknowledge anything since it was that of the
/// candidates: each of them holds all that was ever acknowledged.
fn take_over(group: &mut ReplicaGroup, at: &Surroundings<'_>) {
    let up = group.candidates.iter().copied().filter(|&node| at.is_up(node));
    group.in_sync = up.collect();
    if group.in_sync.is_empty() {
        group.in_sync.clone_from(&group.candidates);
    }
}

/// A change is complete: it gets its version, and a set that can acknowledge is what candidates are from now on.
pub(super) fn raise(group: &mut ReplicaGroup, at: &Surroundings<'_>) {
    group.version.0 = group.version.0.saturating_add(1);
    if group.in_sync.len() >= at.min_in_sync {
        group.candidates.clone_from(&group.in_sync);
    }
}

/// Takes `node` out of `members`; true when it was there.
pub(super) fn leave(members: &mut Vec<NodeId>, node: NodeId) -> bool {
    let found = members.binary_search(&node);
    if let Ok(at) = found {
        members.remove(at);
    }
    found.is_ok()
}

/// Puts `node` into `members`, in order.
pub(super) fn enter(members: &mut Vec<NodeId>, node: NodeId) {
    if let Err(at) = members.binary_search(&node) {
        members.insert(at, node);
    }
}
