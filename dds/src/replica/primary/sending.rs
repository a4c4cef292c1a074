//! What members are sent, and what is sent again; and who is late.

use super::{Peer, Phase, Primary, Standing};
use crate::cluster::{GroupChange, NodeId};
use crate::replica::core::{Context, Core, TICK};
use crate::replica::entry::Mark;
use crate::replica::fill::Fill;
use crate::replica::message::Body;
use crate::{ReadDone, StoreError};

impl Primary {
    /// Sends a member what it lacks, as far as the window allows.
    pub fn pump(&mut self, core: &mut Core, cx: Context<'_, '_>, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if let Standing::Filling(fill) = &mut peer.standing
            && let Some(body) = fill.next(core, cx, (node, peer.acked))
        {
            if let Body::Fill { mark } = &body {
                (peer.acked, peer.sent) = (mark.number, mark.number);
            }
            peer.since = cx.mono();
            core.send(cx, node, self.round, body);
        }
        if !peer.takes_entries() {
            return;
        }
        if peer.sent < core.log.base().number {
            // What it lacks is not kept any more.
            peer.standing = Standing::Filling(Fill::waiting());
            return;
        }
        let window = core.limits.window_bytes_max;
        let mut under_way: usize = 0;
        if peer.sent > peer.acked {
            let sent = core.log.entries_after(peer.acked, window);
            let sent = sent.iter().filter(|entry| entry.number <= peer.sent);
            under_way = sent.map(|entry| entry.bytes()).sum();
        }
        while peer.sent < core.log.last().number && under_way < window {
            let entries = core.log.entries_after(peer.sent, core.limits.append_bytes_max);
            let Some(last) = entries.last() else { break };
            peer.sent = last.number;
            under_way += entries.iter().map(|entry| entry.bytes()).sum::<usize>();
            let decided = core.log.decided;
            core.send(cx, node, self.round, Body::Append { entries, decided });
        }
    }

    /// Sends a member again what it has not answered; true when something is owed.
    pub(super) fn nudge(&mut self, core: &mut Core, cx: Context<'_, '_>, node: NodeId) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        let stale = cx.mono().since(peer.since) >= core.limits.resend_after;
        match &mut peer.standing {
            Standing::Asked | Standing::Dropping => {
                core.send(cx, node, self.round, Body::Join);
                return true;
            }
            Standing::Stood(_) => {
                if let Phase::Fetching { from, .. } = self.phase
                    && from == node
                {
                    let after = core.log.last().number;
                    core.send(cx, node, self.round, Body::Fetch { after });
                    return true;
                }
                return false;
            }
            Standing::Filling(fill) if fill.is_paused() => {
                core.send(cx, node, self.round, Body::Join);
                return true;
            }
            Standing::Filling(fill) => {
                if cx.mono().since(peer.since) >= core.limits.fill_resend_after {
                    peer.since = cx.mono();
                    if let Some(body) = fill.ask_after() {
                        core.send(cx, node, self.round, body);
                    }
                }
            }
            Standing::Following => {}
        }
        if stale && peer.sent > peer.acked {
            peer.sent = peer.acked;
        }
        let owed = peer.acked < core.log.last().number;
        if !owed && peer.takes_entries() && peer.decided < core.log.decided {
            // Nothing follows that would tell it.
            let (entries, decided) = (Vec::new(), core.log.decided);
            core.send(cx, node, self.round, Body::Append { entries, decided });
        }
        self.pump(core, cx, node);
        owed
    }

    /// Looks who is late, and what can go on.
    pub fn look_around(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.looks = false;
        let now = cx.mono();
        if self.phase == Phase::Fencing {
            if now < core.view.fence_at && !core.view.group.consented {
                self.looks = true;
                return cx.arm(TICK, core.view.fence_at.since(now).max(core.limits.tick));
            }
            return self.gather(core, cx);
        }
        self.ask_again(core, cx);
        self.gathered(core, cx);
        self.promote(core, cx);
        if let Phase::Leaving { .. } = self.phase {
            self.leave(core, cx);
        }
        self.look_again(core, cx);
        let last = core.log.last().number;
        let mut busy = self.phase != Phase::Serving || self.asked.is_some();
        busy |= self.scrub.is_busy();
        let mut late = None;
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            let waits = self.nudge(core, cx, node);
            busy |= waits;
            let Some(peer) = self.peers.get(&node) else { continue };
            let counts = peer.in_sync || self.promoting == Some(node);
            if waits && counts && now.since(peer.since) >= core.limits.silent_after {
                late = Some(node);
            }
            busy |= !peer.in_sync || peer.acked < last || peer.decided < core.log.decided;
        }
        if let Some(node) = late {
            self.ask(core, cx, GroupChange::Remove(node));
        }
        self.give_up_full(core, cx);
        if busy {
            self.keep_looking(core, cx);
        }
    }

    /// Looks around soon. The timer is not moved by work that keeps coming.
    pub(super) fn keep_looking(&mut self, core: &Core, cx: Context<'_, '_>) {
        if !std::mem::replace(&mut self.looks, true) {
            cx.arm(TICK, core.limits.tick);
        }
    }

    /// A page for a learner has been read.
    pub fn on_page_read(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        node: NodeId,
        place: (Mark, u32),
        result: Result<ReadDone, StoreError>,
    ) {
        let Ok(ReadDone::Scanned { entries, more }) = result else {
            return self.ask(core, cx, GroupChange::Resign);
        };
        if let Some(Peer { standing: Standing::Filling(fill), .. }) = self.peers.get_mut(&node)
            && fill.on_read(place, entries, (more, core.log.last().number))
        {
            self.pump(core, cx, node);
        }
    }

    pub(super) fn on_appended(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        (through, decided): (u64, u64),
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.decided = peer.decided.max(decided);
        if !peer.takes_entries() || through <= peer.acked || through > core.log.last().number {
            return;
        }
        peer.acked = through;
        peer.sent = peer.sent.max(through);
        peer.since = cx.mono();
        self.pump(core, cx, from);
        self.decide(core, cx);
        self.promote(core, cx);
    }
}
