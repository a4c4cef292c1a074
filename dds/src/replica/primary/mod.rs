//! A replica that orders the writes of its partition.
//!
//! A version begins with a round: every member is asked where it stands, which makes it refuse what is older. A primary that
//! was not one before waits first until no lease of a node given up can hold, then takes the longest log. When every in-sync
//! member has all of it, it serves. Members that do not answer are removed, which is the next version.
//!
//! Invariants: nothing is decided that an in-sync member lacks, nor below `min_in_sync` members; nothing is read while the log
//! ends with what was found at the beginning and is not decided.

mod changes;
mod scrub;
mod sending;
mod standing;

use super::Effect;
use super::core::{Context, Core, TICK, Written};
use super::entry::Entry;
use super::fill::Fill;
use super::message::{Body, Message, Round, Stand};
use crate::cluster::{GroupChange, NodeId};
use crate::{Chain, Durability, Group, StoreError};
use fsm::{Digest, Mono, Token};
use scrub::Scrub;
use std::collections::{BTreeMap, VecDeque};

/// See the head of the file.
#[derive(Debug)]
pub struct Primary {
    pub(super) round: Round,
    phase: Phase,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// Groups of the partition machine that wait for their decision.
    tokens: VecDeque<(u64, Token)>,
    /// Groups that came while the partition is being handed over.
    held: Vec<(Token, Group)>,
    /// There is a partition machine.
    serving: bool,
    /// A group was refused: those that build on it are refused too.
    refused: bool,
    /// The change of the group that was asked for, and when.
    asked: Option<(GroupChange, Mono)>,
    /// Its promotion was asked for in this version: decisions wait for it.
    promoting: Option<NodeId>,
    /// Since when the map is asked to remove a member that is short of space.
    evicting: Option<Mono>,
    /// The timer runs.
    looks: bool,
    scrub: Scrub,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until no lease that it may have granted holds.
    Fencing,
    /// Members say where they stand.
    Gathering,
    /// One has more than this replica: it sends it.
    Fetching {
        from: NodeId,
        until: u64,
    },
    /// Every in-sync member gets everything up to here.
    Settling {
        through: u64,
    },
    Serving,
    /// It hands over to this node once nothing is under way.
    Leaving {
        to: NodeId,
        asked: bool,
    },
}

/// A member as its primary sees it.
#[derive(Debug)]
pub struct Peer {
    pub(super) in_sync: bool,
    pub(super) standing: Standing,
    /// It has everything up to here, durably.
    pub(super) acked: u64,
    /// It was sent everything up to here.
    pub(super) sent: u64,
    /// It knows that everything up to here is decided.
    decided: u64,
    /// When it last made progress, or was first asked for some.
    pub(super) since: Mono,
}

#[derive(Debug)]
pub enum Standing {
    /// It has not answered yet.
    Asked,
    /// It stands, and its log is one with this one as far as it goes.
    Stood(Stand),
    Following,
    /// It forgets its tail.
    Dropping,
    Filling(Fill),
}

impl Peer {
    fn asked(in_sync: bool, now: Mono) -> Self {
        Self { in_sync, standing: Standing::Asked, acked: 0, sent: 0, decided: 0, since: now }
    }

    fn takes_entries(&self) -> bool {
        match &self.standing {
            Standing::Following => true,
            Standing::Filling(fill) => fill.is_open(),
            Standing::Asked | Standing::Stood(_) | Standing::Dropping => false,
        }
    }
}

impl Primary {
    pub fn begin(core: &mut Core, cx: Context<'_, '_>) -> Self {
        let mut primary = Self {
            round: Round(0),
            phase: Phase::Fencing,
            peers: BTreeMap::new(),
            tokens: VecDeque::new(),
            held: Vec::new(),
            serving: false,
            refused: false,
            asked: None,
            promoting: None,
            evicting: None,
            looks: false,
            scrub: Scrub::default(),
        };
        primary.look_around(core, cx);
        primary
    }

    /// The group has changed, and this is still its primary.
    pub fn next_version(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.asked = None;
        self.promoting = None;
        self.evicting = None;
        if !core.view.may_acknowledge() && core.log.decided < core.log.last().number {
            // Some of it may have been acknowledged before, and nobody knows which: until it can be decided, nothing is read.
            self.cease(core, cx);
        }
        if let Phase::Leaving { .. } = self.phase {
            self.take_back(core, cx);
        }
        if self.phase != Phase::Fencing {
            self.gather(core, cx);
        }
    }

    /// The partition machine ends, and with it whatever waits for an outcome.
    fn cease(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        // These were never logged anywhere.
        for (token, _) in self.held.drain(..) {
            let result = Err(StoreError::Io("the partition has moved".into()));
            cx.emit(Effect::Decided { token, result });
        }
        if std::mem::take(&mut self.serving) {
            cx.emit(Effect::Cease);
        }
        self.tokens.clear();
        core.forget_reads();
    }

    /// Somebody else is primary, or this replica can't go on.
    pub fn end(mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.cease(core, cx);
        let resigned = self.asked.is_some_and(|(asked, _)| asked == GroupChange::Resign);
        self.scrub.end(cx, u64::from(resigned));
        core.look = None;
        cx.cancel(TICK);
    }

    /// A write of this replica is done.
    pub fn on_written(&mut self, core: &mut Core, cx: Context<'_, '_>, written: Written) {
        match written {
            Written::Logged(_) => {
                self.decide(core, cx);
                self.promote(core, cx);
            }
            Written::Passed(_) => {
                self.decide(core, cx);
                self.pass_back(core);
                self.promote(core, cx);
            }
            Written::Applied(_) => {
                for node in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.pump(core, cx, node);
                }
            }
            Written::Doubted => self.repair(core, cx),
            Written::Joined(_) | Written::Dropped(_) | Written::Filled(..) | Written::Cleared => {}
        }
    }

    /// Every member has everything, and nothing is asked for.
    #[must_use]
    pub fn is_quiet(&self, core: &Core) -> bool {
        let last = core.log.last().number;
        self.phase == Phase::Serving
            && self.asked.is_none()
            && self
                .peers
                .values()
                .all(|peer| matches!(peer.standing, Standing::Following) && peer.acked == last)
    }

    fn gather(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.round = Round(cx.rng().next_u64());
        self.phase = Phase::Gathering;
        self.scrub.on_gather(cx);
        core.look = None;
        let now = cx.mono();
        let group = core.view.group.clone();
        let mut before = std::mem::take(&mut self.peers);
        for node in group.others(core.me) {
            let mut peer = Peer::asked(group.is_in_sync(node), now);
            // Whoever was being filled may go on with it.
            if let Some(Peer { standing: Standing::Filling(fill), .. }) = before.remove(&node) {
                peer.standing = Standing::Filling(fill.paused());
            }
            self.peers.insert(node, peer);
            core.send(cx, node, self.round, Body::Join);
        }
        // The fence of this replica itself: with whatever it writes next. One that stands needs no other.
        if core.log.record.joined != group.version || !self.peers.is_empty() {
            core.log.record.joined = group.version;
            let ops = vec![core.log.record_op()];
            core.write(cx, ops, Durability::Synced, Written::Joined(self.round));
        }
        self.keep_looking(core, cx);
        self.gathered(core, cx);
    }

    /// Up to where everybody whose word counts has the log.
    fn held_by_all(&self, core: &Core) -> u64 {
        let counts =
            |(node, peer): &(&NodeId, &Peer)| peer.in_sync || self.promoting == Some(**node);
        let acked = self.peers.iter().filter(counts).map(|(_, peer)| peer.acked);
        acked.min().unwrap_or(u64::MAX).min(core.log.durable)
    }

    pub fn decide(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let held = self.held_by_all(core);
        match self.phase {
            Phase::Fencing | Phase::Gathering | Phase::Fetching { .. } => return,
            Phase::Settling { through } => {
                if core.view.may_acknowledge() && held >= through {
                    core.log.decided = core.log.decided.max(through);
                }
                if core.log.decided < through {
                    return;
                }
                self.phase = Phase::Serving;
                self.serve(cx);
            }
            Phase::Serving | Phase::Leaving { .. } => {}
        }
        if core.view.may_acknowledge() {
            core.log.decided = core.log.decided.max(held);
        }
        let decided = core.log.decided;
        if self.peers.values().any(|peer| peer.decided < decided) {
            self.keep_looking(core, cx);
        }
        while let Some((number, token)) = self.tokens.front().copied()
            && number <= decided
        {
            self.tokens.pop_front();
            cx.emit(Effect::Decided { token, result: Ok(()) });
        }
        core.apply(cx);
        if let Phase::Leaving { .. } = self.phase {
            self.leave(core, cx);
        }
    }

    /// In a log of one the store has refused a group: the partition machine is told, which knows what builds on it.
    pub fn on_pass_refused(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        (through, error): (u64, StoreError),
    ) {
        // Completions may overtake each other on their way.
        if let Some(at) = self.tokens.iter().position(|(number, _)| *number == through)
            && let Some((_, token)) = self.tokens.remove(at)
        {
            cx.emit(Effect::Decided { token, result: Err(error) });
        }
        self.pass_back(core);
    }

    /// Once everything under way in a log of one was answered, the log ends with what is durable.
    fn pass_back(&self, core: &mut Core) {
        if self.tokens.is_empty() && core.log.is_empty() {
            core.log.pass_back();
        }
    }

    fn serve(&mut self, cx: Context<'_, '_>) {
        if !std::mem::replace(&mut self.serving, true) {
            self.refused = false;
            cx.emit(Effect::Serve);
        }
    }

    /// A group of the partition machine.
    pub fn propose(&mut self, core: &mut Core, cx: Context<'_, '_>, token: Token, group: Group) {
        if let Phase::Leaving { .. } = self.phase {
            return self.held.push((token, group));
        }
        self.refused &= group.chain == Chain::Follows;
        if !self.refused && self.serving && !group.frees_space && self.lacks_space(core, cx) {
            self.refused = true;
            return cx.emit(Effect::Decided { token, result: Err(StoreError::NoSpace) });
        }
        self.refused |= !core.view.may_acknowledge();
        if self.refused || !self.serving {
            let result = Err(StoreError::Io("too few replicas are in sync".into()));
            return cx.emit(Effect::Decided { token, result });
        }
        let entry = Entry::of_group(group, core.log.last()).expect("a partition machine's group");
        assert!(
            core.log.fits(&entry),
            "group {} does not follow: {}",
            entry.number,
            core.log.summary()
        );
        let alone = self.tokens.is_empty();
        self.tokens.push_back((entry.number, token));
        if !core.view.has_log() && core.log.is_empty() {
            core.log.pass(entry.mark(), alone);
            let written = Written::Passed(entry.mark());
            let group = entry.into_group(core.partition, core.chain());
            return core.commit(cx, group, Durability::Synced, written);
        }
        let (before, now) = (core.log.last().number, cx.mono());
        for peer in self.peers.values_mut().filter(|peer| peer.acked == before) {
            // Nothing was owed so far.
            peer.since = now;
        }
        core.log_new(cx, entry);
        for node in self.peers.keys().copied().collect::<Vec<_>>() {
            self.pump(core, cx, node);
        }
        self.keep_looking(core, cx);
    }

    pub fn on_message(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        message: Message,
    ) {
        // These come from whatever round: who sends them can't join another.
        if message.body == Body::Damaged {
            return self.ask(core, cx, GroupChange::Expel(from));
        }
        if message.body == Body::Failed {
            return self.ask(core, cx, GroupChange::Remove(from));
        }
        if message.round != self.round {
            return;
        }
        match message.body {
            Body::Stand(stand) => self.on_stand(core, cx, from, stand),
            Body::Apart => self.on_apart(core, cx, from),
            Body::Appended { through, decided } => {
                self.on_appended(core, cx, from, (through, decided));
            }
            Body::Looked { id, seen } => self.on_seen(core, cx, from, (id, seen)),
            Body::Fetched { entries } => self.on_fetched(core, cx, from, entries),
            Body::FetchBodies { keys } => self.on_fetch_bodies(core, cx, from, keys),
            Body::Filled { mark, index } => {
                if let Some(peer) = self.peers.get_mut(&from)
                    && let Standing::Filling(fill) = &mut peer.standing
                {
                    peer.since = cx.mono();
                    if fill.on_filled(mark, index) {
                        peer.standing = Standing::Following;
                    }
                    self.pump(core, cx, from);
                    self.keep_looking(core, cx);
                }
            }
            // Those are for members, or done with.
            Body::Join
            | Body::Damaged
            | Body::Failed
            | Body::Append { .. }
            | Body::Fetch { .. }
            | Body::DropTail { .. }
            | Body::Bodies { .. }
            | Body::Fill { .. }
            | Body::Look(_)
            | Body::Doubt
            | Body::Page { .. } => {}
        }
    }

    /// Whether reads and refusals may be answered now, as far as this replica knows. Leases are for the outside to look at.
    #[must_use]
    pub fn answers(&self) -> bool {
        let gives_up = self.asked.is_some_and(|(change, _)| changes::gives_up_lead(change));
        self.serving && !gives_up && !matches!(self.phase, Phase::Leaving { asked: true, .. })
    }

    /// Learners that are filled, and the bytes that each was sent.
    #[must_use]
    pub fn copies(&self) -> Vec<(NodeId, u64)> {
        let copy = |(node, peer): (&NodeId, &Peer)| match &peer.standing {
            Standing::Filling(fill) => Some((*node, fill.bytes())),
            Standing::Asked | Standing::Stood(_) | Standing::Following | Standing::Dropping => None,
        };
        self.peers.iter().filter_map(copy).collect()
    }

    /// Members in sync, and the entries of the log that each has not acknowledged yet.
    #[must_use]
    pub fn behind(&self, core: &Core) -> Vec<(NodeId, u64)> {
        let last = core.log.last().number;
        let in_sync = self.peers.iter().filter(|(_, peer)| peer.in_sync);
        in_sync.map(|(node, peer)| (*node, last.saturating_sub(peer.acked))).collect()
    }

    /// A learner that may be in sync already, for all that is known here: its lease counts too.
    pub fn promoting(&self) -> Option<NodeId> {
        self.promoting
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.round.0);
        digest.word(match self.phase {
            Phase::Fencing => 0,
            Phase::Gathering => 1,
            Phase::Fetching { until, .. } => 2 + (until << 3),
            Phase::Settling { through } => 3 + (through << 3),
            Phase::Serving => 4,
            Phase::Leaving { asked, .. } => 5 + u64::from(asked),
        });
        for (node, peer) in &self.peers {
            digest.word(u64::from(node.0));
            digest.word(peer.acked);
            digest.word(peer.sent);
        }
        digest.word(self.tokens.len() as u64);
        digest.word(u64::from(self.scrub.is_busy()));
        digest.word(self.promoting.map_or(0, |node| u64::from(node.0)));
    }
}
