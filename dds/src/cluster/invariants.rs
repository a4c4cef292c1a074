//! What must be true of a cluster map, and of two in a row. For tests and for simulations; a map that comes from a peer or a
//! disk is checked too.

use super::{ClusterMap, Command, Delta, NodeId, NodeState, ReplicaGroup};
use crate::PartitionId;

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (partition {partition:?})")]
pub struct Broken {
    pub what: &'static str,
    pub partition: Option<PartitionId>,
}

type Checked = Result<(), Broken>;

/// What is true of every map.
///
/// # Errors
/// The first property that does not hold.
pub fn invariant_sound(map: &ClusterMap) -> Checked {
    let count = usize::from(map.settings.partitions);
    check(map.groups.len() == count, "there is one group per partition", None)?;
    let fits = count == 0 || (count.is_power_of_two() && count <= 16_384);
    check(fits, "the count of partitions is a power of two", None)?;
    check(is_rising(&map.voters), "voters are in order", None)?;
    for (partition, group) in map.partitions() {
        invariant_group(map, group).map_err(|what| Broken { what, partition: Some(partition) })?;
    }
    for (&partition, placement) in &map.placements {
        let leads = map.group(partition).is_some_and(|group| group.primary == Some(placement.node));
        let fits = placement.arrived || (map.is_up(placement.node) && !leads);
        let known = map.group(partition).is_some() && map.nodes.contains_key(&placement.node);
        check(known && fits, "who is placed is there, or on its way", Some(partition))?;
    }
    for (&partition, suggestion) in &map.suggestions {
        let fits = suggestion.partition == partition
            && map.group(partition).is_some_and(|group| group.version == suggestion.expect);
        check(fits, "a suggestion fits its group", Some(partition))?;
    }
    Ok(())
}

fn invariant_group(map: &ClusterMap, group: &ReplicaGroup) -> Result<(), &'static str> {
    let lists = [&group.in_sync, &group.learners, &group.candidates];
    let known = |node: &NodeId| map.nodes.contains_key(node);
    let holds = [
        (lists.iter().all(|list| is_rising(list)), "members are in order, once each"),
        (lists.iter().all(|list| list.iter().all(known)), "members are nodes of the cluster"),
        (
            !group.learners.iter().any(|&node| group.is_in_sync(node) || group.is_candidate(node)),
            "a learner is neither in sync nor a candidate",
        ),
        (group.primary.is_none_or(|node| group.is_in_sync(node)), "the primary is in sync"),
        (group.primary.is_none_or(|node| map.is_up(node)), "the primary is up"),
        (
            group.primary.is_some() || !group.in_sync.iter().any(|&node| map.is_up(node)),
            "there is a primary where an in-sync member is up",
        ),
        (
            group.primary.is_none() || group.in_sync.iter().all(|&node| map.is_up(node)),
            "members that are down have left where others are up",
        ),
        (
            group.in_sync.len() < map.min_in_sync() || group.candidates == group.in_sync,
            "a set that acknowledges is what candidates are",
        ),
        (
            !group.in_sync.is_empty() || group.candidates.is_empty(),
            "a group without holders has no candidates",
        ),
        (group.version.0 > 0, "versions begin with 1"),
    ];
    match holds.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, what)) => Err(what),
    }
}

/// What is true of the map `after` a `command` that was applied to the map `before` and gave `delta`.
///
/// # Errors
/// The first property that does not hold.
pub fn invariant_followed(
    before: &ClusterMap,
    command: &Command,
    (after, delta): (&ClusterMap, &Delta),
) -> Checked {
    let mut watcher = before.as_watched();
    watcher.patch(delta);
    check(watcher == after.as_watched(), "the delta is the whole difference", None)?;
    for (partition, group) in after.partitions() {
        let Some(old) = before.group(partition) else { continue };
        let here = Some(partition);
        let rose = group.version > old.version;
        check(rose || group == old, "every change raises the version", here)?;
        invariant_holders(command, (before, old), (after, group))
            .map_err(|what| Broken { what, partition: here })?;
    }
    Ok(())
}

fn invariant_holders(
    command: &Command,
    (before, old): (&ClusterMap, &ReplicaGroup),
    (after, group): (&ClusterMap, &ReplicaGroup),
) -> Result<(), &'static str> {
    if matches!(command, Command::UnsafeRecover { .. }) {
        return Ok(());
    }
    let intact = |node: &NodeId| match (before.node(*node), after.node(*node)) {
        (Some(old), Some(new)) => old.incarnation == new.incarnation,
        (Some(_) | None, None) | (None, Some(_)) => false,
    };
    let promoted = |node: &NodeId| {
        matches!(command, Command::ChangeGroup { change, .. } if change.node() == Some(*node))
            && old.is_learner(*node)
    };
    let all_left = !old.in_sync.iter().any(|node| group.is_in_sync(*node));
    for node in group.in_sync.iter().filter(|node| !old.is_in_sync(**node)) {
        let took_over = all_left && old.is_candidate(*node) && intact(node);
        if !promoted(node) && !took_over {
            return Err("a member becomes in-sync by promotion or as a candidate alone");
        }
    }
    let resigned = old.primary.filter(|_| {
        let resign = super::GroupChange::Resign;
        matches!(command, Command::ChangeGroup { change, .. } if *change == resign)
    });
    let trusted = |node: &NodeId| intact(node) && Some(*node) != resigned;
    if group.in_sync.is_empty() && old.candidates.iter().chain(&old.in_sync).any(trusted) {
        return Err("the last holder is never lost");
    }
    let down = |node: NodeId| after.node(node).is_none_or(|known| known.state == NodeState::Down);
    if group.primary != old.primary && group.primary.is_some_and(down) {
        return Err("who takes over is up");
    }
    Ok(())
}

fn check(holds: bool, what: &'static str, partition: Option<PartitionId>) -> Checked {
    if holds { Ok(()) } else { Err(Broken { what, partition }) }
}

fn is_rising(nodes: &[NodeId]) -> bool {
    nodes.is_sorted_by(|a, b| a < b)
}
