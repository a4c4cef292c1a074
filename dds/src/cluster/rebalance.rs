//! From the map as it is to the map as it should be, a few steps at a time: what the control leader suggests to primaries.
//!
//! It suggests, and the primary of the partition asks for the change once it can: a suggestion is part of the map
//! ([`super::Command::Suggest`]), so that it reaches the primary in order with the version it is for, outlives a change of the
//! control leader, and ends with that version. What is under way is read off the map: suggestions and learners.
//!
//! Invariants: a surplus member goes only when the others are as many as wanted; a primary moves only to a member that is in
//! sync and up, and never from where the operator wants it while that node has space; at no time more is under way than the throttle allows.
//!
//! Cost: where replicas should be is computed when nodes change; a step looks at partitions that are not as they should be.

use super::placement::{Candidate, wanted_replicas};
use super::{ClusterMap, Delta, GroupChange, NodeId, ReplicaGroup, Suggestion};
use crate::PartitionId;
use std::collections::{BTreeMap, BTreeSet};

/// How much may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Partitions with too few replicas that get one more.
    pub repairs_max: usize,
    /// Partitions whose replicas or primaries move only for the sake of balance or of a draining node.
    pub moves_max: usize,
}

/// What else decides on the next suggestions.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    pub throttle: Throttle,
    /// Nodes whose stores take nothing but what frees space: they get nothing new.
    pub exhausted: &'a BTreeSet<NodeId>,
    /// Partitions with so much work that it decides who leads them, not their number.
    pub busy: &'a BTreeSet<PartitionId>,
}

/// Primaries of one node over another that are left alone, besides a sixteenth of what it leads: moving one costs its
/// clients a moment, and gains little.
const SPREAD_SLACK: usize = 2;

/// Knows how far the map is from what it should be. Rebuilt from the map by each control leader.
#[derive(Debug, Default)]
pub struct Rebalancer {
    candidates: Vec<Candidate>,
    replicas: usize,
    /// One per partition, the best primary first.
    wanted: Vec<Vec<NodeId>>,
    /// Partitions that may have to change.
    unsettled: BTreeSet<PartitionId>,
    /// Primaries may be spread unevenly.
    spread: bool,
}

/// One step, and which limit it counts against.
enum Step {
    Repair(GroupChange),
    Move(GroupChange),
}

impl Rebalancer {
    /// The map has changed by `delta`. When other nodes are `absent` for long, or at the beginning, it is the whole map.
    pub fn on_changed(&mut self, map: &ClusterMap, delta: &Delta, absent: &BTreeSet<NodeId>) {
        if delta.whole || !delta.nodes.is_empty() || delta.settings.is_some() {
            self.want(map, map.candidates(absent), delta.whole);
            self.unsettled.extend(map.partitions().map(|(partition, _)| partition));
        }
        for (partition, _) in &delta.placements {
            let wanted = self.wanted_of(map, *partition);
            if let Some(before) = self.wanted.get_mut(usize::from(partition.0)) {
                *before = wanted;
            }
            self.unsettled.insert(*partition);
        }
        self.unsettled.extend(delta.groups.iter().map(|(partition, _)| *partition));
        self.unsettled.extend(delta.suggestions.iter().map(|(partition, _)| *partition));
        self.spread |= !delta.is_empty();
    }

    fn want(&mut self, map: &ClusterMap, candidates: Vec<Candidate>, anew: bool) {
        let replicas = usize::from(map.settings.replicas);
        if candidates == self.candidates && replicas == self.replicas && !anew {
            return;
        }
        self.candidates = candidates;
        self.replicas = replicas;
        self.wanted =
            map.partitions().map(|(partition, _)| self.wanted_of(map, partition)).collect();
    }

    fn wanted_of(&self, map: &ClusterMap, partition: PartitionId) -> Vec<NodeId> {
        wanted_replicas(&self.candidates, partition, self.replicas, map.placed(partition))
    }

    /// Partitions that may have to change, those first that the operator waits for.
    fn in_turn(&self, map: &ClusterMap) -> Vec<PartitionId> {
        let placed = |partition: &PartitionId| map.placements.contains_key(partition);
        let (mut first, rest): (Vec<_>, Vec<_>) = self.unsettled.iter().copied().partition(placed);
        first.extend(rest);
        first
    }

    /// Other partitions are busy now.
    pub fn look_again(&mut self) {
        self.spread = true;
    }

    /// Whether [`Self::next_changes`] would look at anything.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled.is_empty() && !self.spread
    }

    /// The next suggestions. What does not fit under the throttle stays for later.
    pub fn next_changes(&mut self, map: &ClusterMap, at: Conditions<'_>) -> Vec<Suggestion> {
        let throttle = at.throttle;
        let (mut repairs, mut moves) = under_way(map);
        let (mut chosen, mut settled) = (Vec::new(), Vec::new());
        for partition in self.in_turn(map) {
            let Some(group) = map.group(partition) else { continue };
            let Some(wanted) = self.wanted.get(usize::from(partition.0)) else { continue };
            // A change of either brings the partition back here.
            let waits = map.suggestions.contains_key(&partition) || group.primary.is_none();
            let aim = Aim { wanted, placed: map.placed(partition), exhausted: at.exhausted };
            let step = if waits { None } else { next_step(map, group, &aim) };
            let change = match step {
                None => {
                    settled.push(partition);
                    continue;
                }
                Some(Step::Repair(change)) if repairs < throttle.repairs_max => {
                    repairs += 1;
                    change
                }
                Some(Step::Move(change)) if moves < throttle.moves_max => {
                    moves += 1;
                    change
                }
                Some(Step::Repair(_) | Step::Move(_)) => continue,
            };
            chosen.push(Suggestion { partition, expect: group.version, change });
        }
        for partition in settled {
            self.unsettled.remove(&partition);
        }
        if self.unsettled.is_empty() && chosen.is_empty() && self.spread {
            let room = throttle.moves_max.saturating_sub(moves);
            chosen = self.spread_primaries(map, room, &at);
            // Looked at again when one of them has moved.
            self.spread = chosen.len() >= room;
        }
        chosen
    }

    /// Moves primaries from nodes that lead more than their share, while all replicas are in their places.
    fn spread_primaries(
        &self,
        map: &ClusterMap,
        room: usize,
        at: &Conditions<'_>,
    ) -> Vec<Suggestion> {
        let able = |candidate: &&Candidate| {
            let full = at.exhausted.contains(&candidate.node);
            map.is_up(candidate.node) && candidate.weight > 0 && !full
        };
        let able: BTreeMap<NodeId, usize> = self
            .candidates
            .iter()
            .filter(able)
            .map(|candidate| (candidate.node, candidate.weight as usize))
            .collect();
        let mut led: BTreeMap<NodeId, usize> = able.keys().map(|&node| (node, 0)).collect();
        for (_, group) in map.partitions() {
            if let Some(count) = group.primary.and_then(|primary| led.get_mut(&primary)) {
                *count += 1;
            }
        }
        let weights: usize = able.values().sum();
        let share = |node: NodeId| {
            (map.groups.len() * able.get(&node).copied().unwrap_or(0)).div_ceil(weights.max(1))
        };
        let mut chosen = Vec::new();
        for (partition, group) in map.partitions() {
            if chosen.len() >= room {
                break;
            }
            if map.placements.contains_key(&partition) || at.busy.contains(&partition) {
                continue;
            }
            let Some(from) = group.primary.filter(|primary| led.contains_key(primary)) else {
                continue;
            };
            let surplus = led[&from].saturating_sub(share(from));
            if surplus <= SPREAD_SLACK + led[&from] / 16 {
                continue;
            }
            let missing = |node: &NodeId| share(*node).saturating_sub(led[node]);
            let heirs = group.in_sync.iter().copied().filter(|node| led.contains_key(node));
            let Some(to) = heirs.max_by_key(missing).filter(|to| missing(to) > 0) else { continue };
            *led.entry(from).or_default() -= 1;
            *led.entry(to).or_default() += 1;
            let change = GroupChange::HandOver(to);
            chosen.push(Suggestion { partition, expect: group.version, change });
        }
        chosen
    }
}

/// Partitions that are being repaired, and that are being moved.
fn under_way(map: &ClusterMap) -> (usize, usize) {
    let replicas = usize::from(map.settings.replicas);
    let busy = map.partitions().filter(|(partition, group)| {
        map.suggestions.contains_key(partition)
            || (group.primary.is_some() && !group.learners.is_empty())
    });
    busy.fold((0, 0), |(repairs, moves), (partition, group)| {
        let adds = map
            .suggestion(partition)
            .is_none_or(|suggestion| matches!(suggestion.change, GroupChange::AddLearner(_)));
        let repair = adds && group.in_sync.len() < replicas;
        (repairs + usize::from(repair), moves + usize::from(!repair))
    })
}

/// What one partition should become.
struct Aim<'a> {
    /// The best primary first.
    wanted: &'a [NodeId],
    placed: Option<NodeId>,
    exhausted: &'a BTreeSet<NodeId>,
}

/// The next step of one partition that has a primary.
fn next_step(map: &ClusterMap, group: &ReplicaGroup, aim: &Aim<'_>) -> Option<Step> {
    let primary = group.primary?;
    let wanted = aim.wanted;
    let leads = |node: &NodeId| map.is_up(*node) && group.is_in_sync(*node);
    let has_room = |node: &NodeId| !aim.exhausted.contains(node);
    // Who drains, or is gone for long, is not wanted, wherever it was placed.
    if let Some(placed) =
        aim.placed.filter(|node| wanted.contains(node) && leads(node) && has_room(node))
        && placed != primary
    {
        return Some(Step::Move(GroupChange::HandOver(placed)));
    }
    // A primary without space refuses what others have room for.
    if !has_room(&primary)
        && let Some(&heir) = wanted.iter().find(|node| leads(node) && has_room(node))
    {
        return Some(Step::Move(GroupChange::HandOver(heir)));
    }
    if let Some(&stray) = group.learners.iter().find(|node| !wanted.contains(node)) {
        return Some(Step::Move(GroupChange::Remove(stray)));
    }
    if !group.learners.is_empty() {
        return None;
    }
    let mut missing = wanted.iter().filter(|&&node| map.is_up(node) && !group.is_in_sync(node));
    if let Some(&node) = missing.clone().find(|&node| has_room(node)) {
        let change = GroupChange::AddLearner(node);
        let few = group.in_sync.len() < wanted.len();
        return Some(if few { Step::Repair(change) } else { Step::Move(change) });
    }
    if group.in_sync.len() <= wanted.len() || missing.next().is_some() {
        return None;
    }
    let surplus = group.in_sync.iter().copied().filter(|node| !wanted.contains(node));
    // The primary goes last, and only after it has handed over.
    let stray = surplus.min_by_key(|&node| node == primary)?;
    if stray != primary {
        return Some(Step::Move(GroupChange::Remove(stray)));
    }
    let heir = wanted.iter().find(|node| leads(node))?;
    Some(Step::Move(GroupChange::HandOver(*heir)))
}
