//! Changes of one replica group that its primary or the operator asks for.

use super::succession::{Surroundings, enter, leave, on_lost, raise};
use super::{GroupChange, NodeId, Objection, ReplicaGroup};

/// What `group` becomes when its primary `by` asks for `change`.
pub(super) fn changed(
    group: &ReplicaGroup,
    at: &Surroundings<'_>,
    change: GroupChange,
    by: NodeId,
) -> Result<ReplicaGroup, Objection> {
    if group.primary != Some(by) {
        return Err(Objection::NotPrimary);
    }
    let mut next = group.clone();
    match change {
        GroupChange::Remove(node) => remove(&mut next, node, by)?,
        GroupChange::Expel(node) => {
            let candidate = node != by && leave(&mut next.candidates, node);
            match remove(&mut next, node, by) {
                Err(Objection::NotMember) if candidate => {}
                other => other?,
            }
        }
        GroupChange::AddLearner(node) => {
            check_up(at, node)?;
            if group.is_member(node) {
                return Err(Objection::AlreadyMember);
            }
            // It may drop everything to catch up.
            leave(&mut next.candidates, node);
            enter(&mut next.learners, node);
        }
        GroupChange::Promote(node) => {
            check_up(at, node)?;
            if !leave(&mut next.learners, node) {
                return Err(Objection::NotMember);
            }
            enter(&mut next.in_sync, node);
        }
        GroupChange::HandOver(node) => {
            check_up(at, node)?;
            if node == by || !group.is_in_sync(node) {
                return Err(Objection::NotMember);
            }
            next.primary = Some(node);
            next.consented = true;
        }
        GroupChange::StepDown => {
            next.primary = Some(at.heir(&group.in_sync, Some(by)).ok_or(Objection::NoSuccessor)?);
            next.consented = true;
        }
        GroupChange::Resign => return resigned(next, at, by),
    }
    raise(&mut next, at);
    Ok(next)
}

/// What `group`, which has no primary, becomes when `from` is made its only holder.
pub(super) fn recovered(
    group: &ReplicaGroup,
    at: &Surroundings<'_>,
    from: NodeId,
) -> Result<ReplicaGroup, Objection> {
    if group.primary.is_some() {
        return Err(Objection::HasPrimary);
    }
    let mut next = ReplicaGroup { version: group.version, ..ReplicaGroup::sole(from) };
    raise(&mut next, at);
    Ok(next)
}

fn remove(group: &mut ReplicaGroup, node: NodeId, by: NodeId) -> Result<(), Objection> {
    let removed =
        node != by && (leave(&mut group.in_sync, node) | leave(&mut group.learners, node));
    if removed { Ok(()) } else { Err(Objection::NotMember) }
}

fn resigned(
    mut group: ReplicaGroup,
    at: &Surroundings<'_>,
    by: NodeId,
) -> Result<ReplicaGroup, Objection> {
    // What is damaged counts as lost.
    on_lost(&mut group, at, by);
    group.consented = true;
    if group.primary.is_some() { Ok(group) } else { Err(Objection::NoSuccessor) }
}

fn check_up(at: &Surroundings<'_>, node: NodeId) -> Result<(), Objection> {
    if !at.nodes.contains_key(&node) {
        Err(Objection::UnknownNode)
    } else if at.is_up(node) {
        Ok(())
    } else {
        Err(Objection::NodeIsDown)
    }
}
