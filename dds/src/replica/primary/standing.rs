//! How a round begins: members say where they stand, the longest log is taken, and every log becomes one with it.

use super::{Peer, Phase, Primary, Standing};
use crate::cluster::{GroupChange, NodeId};
use crate::replica::core::{Context, Core};
use crate::replica::entry::Entry;
use crate::replica::entry::Mark;
use crate::replica::fill::{self, Fill};
use crate::replica::message::{Body, Stand};
use bytes::Bytes;
use std::sync::Arc;

impl Primary {
    pub(super) fn on_stand(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        stand: Stand,
    ) {
        let round = self.round;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        match &peer.standing {
            Standing::Asked | Standing::Dropping => {}
            Standing::Filling(fill) if fill.is_paused() => {}
            Standing::Filling(_) | Standing::Following | Standing::Stood(_) => return,
        }
        peer.since = cx.mono();
        // What a member has applied was decided, whoever knows.
        if core.log.mark_at(stand.applied.number) == Some(stand.applied) {
            core.log.decided = core.log.decided.max(stand.applied.number);
            core.apply(cx);
        }
        if peer.in_sync {
            // It has applied what is not here: this log has lost its tail.
            if stand.applied.number > core.log.last().number {
                return self.ask(core, cx, GroupChange::Resign);
            }
            peer.standing = Standing::Stood(stand);
            return self.gathered(core, cx);
        }
        peer.decided = stand.applied.number;
        let matches = |mark: Mark| core.log.mark_at(mark.number) == Some(mark);
        if let Some((mark, next)) = stand.filling
            && let Standing::Filling(fill) = &mut peer.standing
            && fill.resumes(mark, next)
        {
            (peer.acked, peer.sent) = (stand.last.number, stand.last.number);
        } else if stand.whole && matches(stand.last) {
            peer.standing = Standing::Following;
            (peer.acked, peer.sent) = (stand.last.number, stand.last.number);
        } else if stand.whole && matches(stand.applied) && stand.last != stand.applied {
            peer.standing = Standing::Dropping;
            return core.send(cx, from, round, Body::DropTail { last: stand.last });
        } else {
            peer.standing = Standing::Filling(Fill::waiting());
        }
        self.pump(core, cx, from);
    }

    /// A member does not know of this round: it has started anew. What it said before counts for nothing any more.
    pub fn on_apart(&mut self, core: &mut Core, cx: Context<'_, '_>, from: NodeId) {
        let asked = |peer: &Peer| matches!(peer.standing, Standing::Asked);
        if self.peers.get(&from).is_none_or(asked) {
            return;
        }
        match self.phase {
            // It may lead no more already.
            Phase::Leaving { asked: true, .. } => return,
            Phase::Leaving { asked: false, .. } => self.take_back(core, cx),
            Phase::Fencing
            | Phase::Gathering
            | Phase::Fetching { .. }
            | Phase::Settling { .. }
            | Phase::Serving => {}
        }
        self.gather(core, cx);
    }

    /// A member that drops its tail asks what some keys hold. Where that is open here, too, it is filled instead.
    pub(super) fn on_fetch_bodies(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        mut keys: Vec<Bytes>,
    ) {
        // The answer is one message: the member asks for the rest.
        keys.truncate(core.limits.bodies_keys_max);
        if fill::ask_bodies(core, cx, (from, self.round), keys) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from).filter(|peer| !peer.in_sync) {
            peer.standing = Standing::Filling(Fill::waiting());
            self.pump(core, cx, from);
        }
    }

    /// Goes on when every in-sync member has said where it stands.
    pub(super) fn gathered(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        if self.phase != Phase::Gathering {
            return;
        }
        let mut longest = (core.log.last().number, core.me);
        for (node, peer) in self.peers.iter().filter(|(_, peer)| peer.in_sync) {
            match &peer.standing {
                Standing::Stood(stand) => longest = longest.max((stand.last.number, *node)),
                Standing::Asked
                | Standing::Following
                | Standing::Dropping
                | Standing::Filling(_) => return,
            }
        }
        let (until, from) = longest;
        if until > core.log.last().number {
            if self.serving {
                // Nobody can have more than the primary that made it all: it has lost its tail.
                return self.ask(core, cx, GroupChange::Resign);
            }
            self.phase = Phase::Fetching { from, until };
            let after = core.log.last().number;
            return core.send(cx, from, self.round, Body::Fetch { after });
        }
        self.settle(core, cx);
    }

    pub(super) fn on_fetched(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        sender: NodeId,
        entries: Vec<Arc<Entry>>,
    ) {
        let Phase::Fetching { from, until } = self.phase else { return };
        if sender != from {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.since = cx.mono();
        }
        let mut end = core.log.last();
        let mut fresh = Vec::new();
        for entry in entries {
            if entry.number == end.number.wrapping_add(1) && entry.before == end.hash {
                end = entry.mark();
                fresh.push(entry);
            }
        }
        if !fresh.is_empty() {
            core.log_entries(cx, fresh);
        }
        if core.log.last().number >= until {
            self.settle(core, cx);
        } else {
            let after = core.log.last().number;
            core.send(cx, from, self.round, Body::Fetch { after });
        }
    }

    /// All logs of the set are prefixes of this one now, or something was lost.
    pub(super) fn settle(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let faulty = self.peers.iter().find(|(_, peer)| match &peer.standing {
            Standing::Stood(stand) => !is_sound(core, stand),
            Standing::Asked | Standing::Following | Standing::Dropping | Standing::Filling(_) => {
                false
            }
        });
        if let Some((node, _)) = faulty {
            return self.ask(core, cx, GroupChange::Expel(*node));
        }
        for peer in self.peers.values_mut() {
            if let Standing::Stood(stand) = &peer.standing {
                (peer.acked, peer.sent) = (stand.last.number, stand.last.number);
                (peer.standing, peer.since) = (Standing::Following, cx.mono());
            }
        }
        self.phase = Phase::Settling { through: core.log.last().number };
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.pump(core, cx, node);
        }
        self.decide(core, cx);
    }
}

/// Whether an in-sync member has all that it must. Less than what was decided it had acknowledged, and lost.
fn is_sound(core: &Core, stand: &Stand) -> bool {
    stand.whole
        && stand.last.number >= core.log.decided
        && core.log.mark_at(stand.last.number) == Some(stand.last)
}
