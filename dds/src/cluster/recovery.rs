//! A cluster that goes on without nodes that are lost for good: the map of its next life.
//!
//! The control group can't make it: its majority is gone. An operator makes it from the copy of the map that one surviving node
//! has, the *founder*; that node votes alone from then on. Nodes that are kept come in again under incarnations of the new life,
//! with what they hold; all others are as if they had never been.
//!
//! Invariants: the new map is sound; every group has a version that no node of the life before has seen; who holds a partition
//! held it intact, as far as the copy of the map knows, or the partition is among the lost ones.

use super::map::NodeState;
use super::{ClusterMap, Incarnation, Node, NodeId, ReplicaGroup, Session, Start};
use crate::{GroupVersion, PartitionId};
use std::collections::BTreeMap;

/// By how much versions rise. Our choice: more than the nodes that are lost can have made since the founder heard of them.
const VERSIONS_SKIPPED: u64 = 1 << 20;

/// Who goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub founder: NodeId,
    /// With the incarnations of the new life; the founder is among them.
    pub kept: BTreeMap<NodeId, Incarnation>,
}

/// What becomes of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub map: ClusterMap,
    /// Partitions of which no node that is kept holds all that was acknowledged. The founder leads them with whatever it has.
    pub lost: Vec<PartitionId>,
}

impl ClusterMap {
    /// The nodes that hold all that was ever acknowledged of a partition, of those that `is_kept`.
    #[must_use]
    pub fn intact(&self, partition: PartitionId, is_kept: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let Some(group) = self.group(partition) else { return Vec::new() };
        let of = |nodes: &[NodeId]| -> Vec<NodeId> {
            nodes.iter().copied().filter(|&node| is_kept(node)).collect()
        };
        let in_sync = of(&group.in_sync);
        if in_sync.is_empty() { of(&group.candidates) } else { in_sync }
    }

    /// The map of the next life. `None`: the founder is no node of this one, or is not kept.
    #[must_use]
    pub fn recovered(&self, recovery: &Recovery) -> Option<Recovered> {
        let Recovery { founder, kept } = recovery;
        let mut nodes = BTreeMap::new();
        for (&node, &incarnation) in kept {
            let before = self.node(node)?;
            nodes.insert(node, next_life(before, incarnation, node == *founder));
        }
        if !nodes.contains_key(founder) {
            return None;
        }
        let mut lost = Vec::new();
        let mut groups = Vec::with_capacity(self.groups.len());
        for (partition, group) in self.partitions() {
            let holders = self.intact(partition, |node| kept.contains_key(&node));
            if holders.is_empty() {
                lost.push(partition);
            }
            groups.push(held_by(holders, *founder, group.version));
        }
        let mut map =
            Self { index: self.index.saturating_add(1), nodes, groups, ..Self::default() };
        // As in a young cluster: one copy is enough until there are as many as are wanted.
        map.settings = super::Settings { min_in_sync: 1, ..self.settings.clone() };
        map.voters = vec![*founder];
        Some(Recovered { map, lost })
    }
}

/// A node that has not registered in its new life yet. The founder leads at once, as who founds a cluster does.
fn next_life(before: &Node, incarnation: Incarnation, founds: bool) -> Node {
    let mut retired = before.retired.clone();
    retired.push(before.incarnation);
    let forgotten = retired.len().saturating_sub(super::apply::RETIRED_MAX);
    retired.drain(..forgotten);
    Node {
        incarnation,
        retired,
        session: Session(0),
        start: Start(0),
        state: if founds { NodeState::Up } else { NodeState::Down },
        draining: before.draining && !founds,
        ..before.clone()
    }
}

/// Only the founder is up: where it holds the partition it is alone, others are to catch up; where it does not, those who do
/// lead as soon as they come.
fn held_by(holders: Vec<NodeId>, founder: NodeId, before: GroupVersion) -> ReplicaGroup {
    let version = GroupVersion(before.0.saturating_add(VERSIONS_SKIPPED));
    if holders.is_empty() || holders.contains(&founder) {
        return ReplicaGroup { version, ..ReplicaGroup::sole(founder) };
    }
    let candidates = holders.clone();
    ReplicaGroup { version, in_sync: holders, candidates, ..ReplicaGroup::default() }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, invariant_sound};
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId(number)
    }

    fn map(sets: &[(&[u16], &[u16])]) -> ClusterMap {
        let ids = |list: &[u16]| list.iter().copied().map(NodeId).collect::<Vec<_>>();
        let group = |&(in_sync, candidates): &(&[u16], &[u16])| ReplicaGroup {
            version: GroupVersion(7),
            in_sync: ids(in_sync),
            candidates: ids(candidates),
            ..ReplicaGroup::default()
        };
        let known = |number: u16| {
            let incarnation = Incarnation(u64::from(number) * 10);
            (node(number), Node { incarnation, session: Session(4), ..Node::default() })
        };
        ClusterMap {
            index: 90,
            settings: Settings {
                partitions: u16::try_from(sets.len()).expect("few"),
                replicas: 3,
                min_in_sync: 2,
                min_in_sync_wanted: 2,
                ..Settings::default()
            },
            nodes: (1..=5).map(known).collect(),
            groups: sets.iter().map(group).collect(),
            voters: ids(&[1, 2, 3]),
            ..ClusterMap::default()
        }
    }

    fn keep(founder: u16, kept: &[u16]) -> Recovery {
        let kept = kept.iter().map(|&it| (node(it), Incarnation(u64::from(it) * 1000))).collect();
        Recovery { founder: node(founder), kept }
    }

    #[test]
    fn the_one_that_is_left_holds_everything_and_votes_alone() {
        let before = map(&[(&[1, 2, 3], &[1, 2, 3]), (&[3], &[2, 3])]);
        let Recovered { map, lost } = before.recovered(&keep(3, &[3])).expect("it is kept");
        assert_eq!(lost, []);
        invariant_sound(&map).expect("sound");
        assert_eq!(map.voters, [node(3)]);
        assert_eq!(map.nodes.keys().copied().collect::<Vec<_>>(), [node(3)]);
        assert_eq!(map.nodes[&node(3)].retired, [Incarnation(30)]);
        for group in &map.groups {
            assert_eq!((group.primary, &group.in_sync[..]), (Some(node(3)), &[node(3)][..]));
            assert!(group.version > GroupVersion(1000));
        }
        assert_eq!((map.min_in_sync(), map.settings.min_in_sync_wanted), (1, 2));
        assert_eq!(map.index, 91);
    }

    #[test]
    fn what_nobody_holds_is_told_and_what_a_candidate_holds_is_not_lost() {
        let sets: &[(&[u16], &[u16])] =
            &[(&[1, 2], &[1, 2]), (&[1], &[1, 4]), (&[2], &[2]), (&[4, 5], &[4, 5])];
        let Recovered { map, lost } = map(sets).recovered(&keep(5, &[4, 5])).expect("kept");
        assert_eq!(lost, [PartitionId(0), PartitionId(2)]);
        assert_eq!(map.groups[1].in_sync, [node(4)], "it holds what was acknowledged");
        assert_eq!(map.groups[1].primary, None, "it has to come first");
        assert_eq!(map.groups[0].primary, Some(node(5)));
        assert_eq!(map.groups[3].in_sync, [node(5)]);
        invariant_sound(&map).expect("sound");
        assert_eq!(map.nodes[&node(4)].state, NodeState::Down);
    }

    #[test]
    fn who_is_not_known_founds_nothing() {
        let before = map(&[(&[1], &[1])]);
        assert_eq!(before.recovered(&keep(9, &[9])), None);
        assert_eq!(before.recovered(&keep(1, &[2])), None);
    }
}
