//! Who should be a member of the control group, and who should vote: the next step from the members as they are.
//!
//! Every node is a member. The voters are 5, 3 or 1 of those that have registered, as many as there are nodes for; who votes already
//! goes before others, and who shall leave comes last. Invariants: a member votes only after it has caught up; the leader is never taken out; a
//! voter becomes a learner before it goes.

use super::log::{MemberChange, MemberId, Members};
use crate::cluster::{ClusterMap, NodeId, NodeState};
use std::collections::BTreeSet;

/// What the leader should do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Change(MemberChange),
    /// Somebody else shall lead, so that this member can stop to vote.
    Transfer(MemberId),
}

/// The group as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership<'a> {
    pub map: &'a ClusterMap,
    pub members: &'a Members,
    /// The leader.
    pub me: MemberId,
    /// Nodes that are down for so long that they are replaced.
    pub absent: &'a BTreeSet<NodeId>,
}

/// The next step; `keeps_up` says whether a member answers and has caught up.
pub(super) fn next_step(
    membership: &Membership<'_>,
    keeps_up: impl Fn(MemberId) -> bool,
) -> Option<Step> {
    let Membership { map, members, .. } = *membership;
    if members.joint {
        return Some(Step::Change(MemberChange::LeaveJoint));
    }
    let present: BTreeSet<MemberId> =
        map.nodes.iter().map(|(&node, known)| MemberId::new(node, known.incarnation)).collect();
    let is_member =
        |member: &&MemberId| members.voters.contains(member) || members.learners.contains(member);
    if let Some(&fresh) = present.iter().find(|member| !is_member(member)) {
        return Some(Step::Change(MemberChange::AddLearner(fresh)));
    }
    if let Some(step) = next_voters(membership, keeps_up) {
        return Some(step);
    }
    let gone = members.learners.iter().find(|member| !present.contains(member));
    gone.map(|&gone| Step::Change(MemberChange::RemoveLearner(gone)))
}

fn next_voters(membership: &Membership<'_>, keeps_up: impl Fn(MemberId) -> bool) -> Option<Step> {
    let Membership { members, me, .. } = *membership;
    let wanted = wanted_voters(membership, &keeps_up);
    if wanted.is_empty() {
        return None;
    }
    let votes = |member: &MemberId| members.voters.contains(member);
    let enter: Vec<_> = wanted.iter().copied().filter(|member| !votes(member)).collect();
    let leave: Vec<_> =
        members.voters.iter().copied().filter(|voter| !wanted.contains(voter)).collect();
    let others: Vec<_> = leave.iter().copied().filter(|&voter| voter != me).collect();
    if !enter.is_empty() || !others.is_empty() {
        return Some(Step::Change(MemberChange::SetVoters { enter, leave: others }));
    }
    // Only this member is left to leave.
    let heir = wanted.into_iter().find(|&member| member != me && keeps_up(member));
    heir.filter(|_| !leave.is_empty()).map(Step::Transfer)
}

/// Present voters first, then members that are up and have caught up, then voters that are draining or long
/// gone: while nobody can replace them they still count. The lowest numbers of each.
fn wanted_voters(
    membership: &Membership<'_>,
    keeps_up: impl Fn(MemberId) -> bool,
) -> Vec<MemberId> {
    let Membership { map, members, absent, .. } = *membership;
    let mut able: Vec<(bool, bool, MemberId)> = Vec::new();
    for (&node, known) in &map.nodes {
        let member = MemberId::new(node, known.incarnation);
        let votes = members.voters.contains(&member);
        let up = known.session.0 > 0 && known.state == NodeState::Up;
        if votes || (up && !known.draining && keeps_up(member)) {
            able.push((known.draining || absent.contains(&node), !votes, member));
        }
    }
    able.sort_unstable();
    let count = match able.len() {
        0 => 0,
        1 | 2 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    able.into_iter().take(count).map(|(_, _, member)| member).collect()
}
