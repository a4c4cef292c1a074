//! Changes of the group that its primary asks the map for: who is removed, who is promoted, who takes over.

use super::{Phase, Primary, Standing};
use crate::cluster::{GroupChange, NodeId};
use crate::replica::Effect;
use crate::replica::core::{Context, Core};

impl Primary {
    /// Asks for the promotion of a learner that has all that was decided.
    pub(super) fn promote(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        match self.phase {
            Phase::Settling { .. } | Phase::Serving => {}
            Phase::Fencing | Phase::Gathering | Phase::Fetching { .. } | Phase::Leaving { .. } => {
                return;
            }
        }
        if let Some(node) = self.promoting {
            // It may have been granted: until that is known, it is asked for.
            if self.asked.is_none() {
                self.ask(core, cx, GroupChange::Promote(node));
            }
            return;
        }
        let decided = match self.phase {
            Phase::Settling { through } => through,
            _ => core.log.decided,
        };
        let ready = self.peers.iter().find(|(_, peer)| {
            !peer.in_sync && matches!(peer.standing, Standing::Following) && peer.acked >= decided
        });
        if let Some((node, _)) = ready {
            let node = *node;
            self.promoting = Some(node);
            self.ask(core, cx, GroupChange::Promote(node));
        }
    }

    /// Asks the map for a change, unless a weightier one is under way.
    pub fn ask(&mut self, core: &Core, cx: Context<'_, '_>, change: GroupChange) {
        let weight = |change: &GroupChange| match change {
            GroupChange::AddLearner(_) => 0,
            GroupChange::Promote(_) | GroupChange::HandOver(_) => 1,
            GroupChange::Remove(_) => 2,
            GroupChange::Expel(_) => 3,
            GroupChange::StepDown | GroupChange::Resign => 4,
        };
        let now = cx.mono();
        // Who asked to lead no more waits for the answer to that, however long, and asks for nothing else.
        if self.asked.is_some_and(|(before, _)| gives_up_lead(before) && before != change) {
            return;
        }
        if let Some((before, at)) = &self.asked
            && weight(before) >= weight(&change)
            && now.since(*at) < core.limits.ask_after
        {
            return;
        }
        self.asked = Some((change, now));
        cx.emit(Effect::Ask { expect: core.view.group.version, change });
        self.keep_looking(core, cx);
    }

    /// A request to the map that got no answer is made again where it may have been granted, and forgotten otherwise: what
    /// led to it is looked at anew.
    pub(super) fn ask_again(&mut self, core: &Core, cx: Context<'_, '_>) {
        let Some((change, at)) = self.asked else { return };
        if cx.mono().since(at) < core.limits.ask_after {
            return;
        }
        self.asked = None;
        match change {
            GroupChange::StepDown | GroupChange::Resign | GroupChange::Promote(_) => {
                self.ask(core, cx, change);
            }
            // Asked again by who leaves.
            GroupChange::HandOver(_) => {}
            GroupChange::Remove(_) | GroupChange::Expel(_) | GroupChange::AddLearner(_) => {}
        }
    }

    /// The controller wishes a change of this group.
    pub fn suggest(&mut self, core: &mut Core, cx: Context<'_, '_>, change: GroupChange) {
        match (self.phase, change) {
            (Phase::Serving, GroupChange::HandOver(to))
                if !self.asked.is_some_and(|(asked, _)| gives_up_lead(asked)) =>
            {
                self.phase = Phase::Leaving { to, asked: false };
                self.leave(core, cx);
                self.keep_looking(core, cx);
            }
            (
                Phase::Serving | Phase::Settling { .. },
                GroupChange::AddLearner(_) | GroupChange::Remove(_),
            ) if !self.scrub.is_repairing() => self.ask(core, cx, change),
            (
                Phase::Fencing
                | Phase::Gathering
                | Phase::Fetching { .. }
                | Phase::Settling { .. }
                | Phase::Serving
                | Phase::Leaving { .. },
                _,
            ) => {}
        }
    }

    /// Hands over once nothing is under way. From the request on nothing is answered until it is known what became of it.
    pub(super) fn leave(&mut self, core: &Core, cx: Context<'_, '_>) {
        if let Phase::Leaving { to, asked } = self.phase
            && core.log.decided == core.log.last().number
            && self.tokens.is_empty()
        {
            if !asked {
                self.asked = None;
            }
            self.phase = Phase::Leaving { to, asked: true };
            self.ask(core, cx, GroupChange::HandOver(to));
        }
    }

    /// The group is still this one's: what was held goes on.
    pub(super) fn take_back(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.phase = Phase::Serving;
        for (token, group) in std::mem::take(&mut self.held) {
            self.propose(core, cx, token, group);
        }
    }

    /// Whether a group that frees no space must be refused: a member would owe it that has no space for it. A member without
    /// which the set is large enough is to go; what comes until then is owed all the same, for as long as that takes.
    pub(super) fn lacks_space(&mut self, core: &Core, cx: Context<'_, '_>) -> bool {
        let now = cx.mono();
        if core.is_full(now) {
            return true;
        }
        let in_sync = &core.view.group.in_sync;
        let full = || in_sync.iter().copied().filter(|node| core.view.exhausted.contains(node));
        let Some(first) = full().next() else {
            self.evicting = None;
            return false;
        };
        if in_sync.len() - full().count() < core.view.min_in_sync.max(1) {
            return true;
        }
        let since = *self.evicting.get_or_insert(now);
        self.ask(core, cx, GroupChange::Remove(first));
        now.since(since) >= core.limits.ask_after
    }

    /// A learner that has no space for a copy is not filled any more.
    pub(super) fn give_up_full(&mut self, core: &Core, cx: Context<'_, '_>) {
        let full = |node: &&NodeId| core.view.exhausted.contains(*node);
        if let Some(node) = core.view.group.learners.iter().find(full).copied() {
            self.ask(core, cx, GroupChange::Remove(node));
        }
    }

    /// The map refused the change: it is of another version, or can't be.
    pub fn on_refused(&mut self, core: &mut Core, cx: Context<'_, '_>, change: GroupChange) {
        if self.asked.is_some_and(|(asked, _)| asked == change) {
            self.asked = None;
            self.promoting = self.promoting.filter(|node| change != GroupChange::Promote(*node));
            if change == GroupChange::Resign {
                self.on_resign_refused(cx);
            }
            if let Phase::Leaving { .. } = self.phase
                && gives_up_lead(change)
            {
                self.take_back(core, cx);
            }
        }
    }

    /// A peer is silent: whoever waits for its word, or its lease, waits in vain.
    pub fn on_silent(&mut self, core: &Core, cx: Context<'_, '_>, node: NodeId) {
        if self.peers.get(&node).is_some_and(|peer| peer.in_sync) {
            self.ask(core, cx, GroupChange::Remove(node));
        }
    }
}

/// Whether whoever takes over by `change` need not wait for the leases of this primary.
pub(super) fn gives_up_lead(change: GroupChange) -> bool {
    match change {
        GroupChange::HandOver(_) | GroupChange::StepDown | GroupChange::Resign => true,
        GroupChange::Remove(_)
        | GroupChange::Expel(_)
        | GroupChange::AddLearner(_)
        | GroupChange::Promote(_) => false,
    }
}
