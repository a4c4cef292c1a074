//! Proposals of this node that wait for a verdict.
//!
//! Invariants: each gets one verdict, and is forgotten then; a verdict is read off this node's own copy of the log, so that it
//! does not come before what it is about, and no answer has to travel.

use super::{Effect, Limits};
use crate::cluster::{Command, NodeId, Proposal, Start, Verdict, encode_proposal};
use bytes::Bytes;
use fsm::{Cx, Mono, Token};
use std::collections::{BTreeMap, BTreeSet};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// Somebody on this node, who gets a verdict.
    Local {
        from: u64,
        token: Token,
    },
    Own(Errand),
}

/// What this machine itself has under way, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Errand {
    Join,
    Register,
    /// The rest is the leader's alone.
    GiveUp(NodeId),
    Suggest,
    ReachMinInSync,
}

impl Errand {
    /// It is void once this node leads no more.
    fn is_leaders(self) -> bool {
        match self {
            Self::Join | Self::Register => false,
            Self::GiveUp(_) | Self::Suggest | Self::ReachMinInSync => true,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    bytes: Bytes,
    asked: Mono,
    /// When it was sent last, and how.
    sent: Option<(Mono, Route)>,
}

/// How proposals reach the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// This node leads, in this term.
    Append { term: u64 },
    /// To the leader of this term, or to somebody who may know one.
    Send { to: NodeId, term: u64 },
}

#[derive(Debug)]
pub(super) struct Proposals {
    me: NodeId,
    start: Start,
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Which of this machine's own are among them.
    errands: BTreeSet<Errand>,
    /// The last route, and whether something may be due on it.
    route: Option<Route>,
    unsent: bool,
}

impl Proposals {
    pub fn new(me: NodeId, start: Start) -> Self {
        let (waiting, errands) = (BTreeMap::new(), BTreeSet::new());
        Self { me, start, last: 0, waiting, errands, route: None, unsent: false }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_asked(&self, errand: Errand) -> bool {
        self.errands.contains(&errand)
    }

    pub fn ask(&mut self, now: Mono, asker: Asker, command: Command) {
        self.last += 1;
        let (by, start, number) = (self.me, self.start, self.last);
        let bytes = encode_proposal(&Proposal { by, start, number, command });
        if let Asker::Own(errand) = asker {
            self.errands.insert(errand);
        }
        self.unsent = true;
        self.waiting.insert(number, Waiting { asker, bytes, asked: now, sent: None });
    }

    /// What has to be sent by `route`, in the order it was asked: what was not yet, or by another route, or long ago.
    pub fn due(&mut self, now: Mono, route: Route, limits: &Limits) -> Vec<(u64, Bytes)> {
        let same = self.route.replace(route) == Some(route);
        if same && !std::mem::take(&mut self.unsent) {
            return Vec::new();
        }
        self.unsent = false;
        let due = self.waiting.iter().filter(|(_, waiting)| match (waiting.sent, route) {
            (None, _) => true,
            (Some((_, before)), Route::Append { .. }) => before != route,
            (Some((at, before)), Route::Send { .. }) => {
                before != route || now.since(at) >= limits.resend_after
            }
        });
        due.map(|(&number, waiting)| (number, waiting.bytes.clone())).collect()
    }

    pub fn on_sent(&mut self, number: u64, now: Mono, route: Route) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.sent = Some((now, route));
        }
    }

    /// An entry was applied.
    pub fn on_applied(&mut self, cx: &mut Cx<'_, Effect>, proposal: &Proposal, verdict: Verdict) {
        if proposal.by != self.me || proposal.start != self.start {
            return;
        }
        // Not there: it was applied before, and this is a copy; or nobody waits any more.
        if let Some(waiting) = self.waiting.remove(&proposal.number) {
            self.decide(cx, waiting.asker, verdict);
        }
    }

    /// What was skipped by a snapshot can't be told from what is still to come.
    pub fn on_installed(&mut self, cx: &mut Cx<'_, Effect>) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            self.decide(cx, waiting.asker, Verdict::Unknown);
        }
    }

    /// What waits for too long is given up; what may have been lost is sent again.
    pub fn on_tick(&mut self, cx: &mut Cx<'_, Effect>, limits: &Limits) {
        let now = cx.mono();
        let late = |waiting: &Waiting| now.since(waiting.asked) >= limits.proposal_max;
        let late: Vec<_> = self.waiting.extract_if(.., |_, waiting| late(waiting)).collect();
        for (_, waiting) in late {
            self.decide(cx, waiting.asker, Verdict::Unknown);
        }
        self.unsent = !self.waiting.is_empty();
    }

    /// This node leads no more. What it asked for as the leader is the next one's to judge.
    pub fn on_leadership_lost(&mut self) {
        self.waiting.retain(|_, waiting| match waiting.asker {
            Asker::Local { .. } => true,
            Asker::Own(errand) => !errand.is_leaders(),
        });
        self.errands.retain(|errand| !errand.is_leaders());
    }

    fn decide(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, verdict: Verdict) {
        match asker {
            Asker::Local { from, token } => cx.emit(Effect::Decided { from, token, verdict }),
            Asker::Own(errand) => {
                self.errands.remove(&errand);
            }
        }
    }
}
