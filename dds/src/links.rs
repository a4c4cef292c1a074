//! The links machine: who of the other nodes is heard of, and which leases hold between them.
//!
//! It pings every node that the map knows. The answer to a ping is a lease: the node that answers promises to take part in no
//! newer version of any group that the asker leads before the grace time is over. The asker counts its lease from when it
//! sent the ping, on its own clock; the other remembers its promise from when it answered, for the longer grace time: so a
//! drift of clocks up to an eighth is harmless, and so is any delay on the way.
//!
//! Invariants: a node that the map has given up, or knows under another session, is granted nothing; a node just started
//! behaves as if it had promised everybody everything.

use crate::cluster::{NodeId, Session, Start};
use crate::report::Report;
use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Times of pings and leases. Design section 4.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Between two pings to one node.
    pub ping_every: Duration,
    /// How long a lease holds, counted by who has it.
    pub lease: Duration,
    /// How long a promise binds, counted by who gave it.
    pub grace: Duration,
    /// A node that was not heard of for so long is silent.
    pub silent_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_millis(200),
            lease: Duration::from_secs(1),
            grace: Duration::from_millis(1300),
            silent_after: Duration::from_millis(400),
        }
    }
}

/// What a node is registered as: numbers of sessions begin anew with a new data directory, runs of a process never meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub session: Session,
    pub start: Start,
}

/// What nodes say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `sent` is the asker's clock. `report`: what it says of itself, if it says anything.
    Ping { run: Run, sent: Mono, report: Option<Arc<Report>> },
    /// The answer; `sent` is that of the ping.
    Pong { run: Run, sent: Mono, granted: bool },
}

/// A node as the map knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    pub run: Run,
    pub is_up: bool,
}

/// Everything that can happen to the links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The nodes of the map: others are forgotten.
    NodesAre(Vec<(NodeId, NodeState)>),
    /// What this node is registered as; nothing while it is not.
    RunIs(Option<Run>),
    /// What this node says of itself from now on.
    ReportIs(Arc<Report>),
    Received {
        from: NodeId,
        message: Message,
    },
    TimerFired(TimerKey),
}

/// Everything that the links may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        message: Message,
    },
    /// The lease from this node holds until then.
    LeaseIs {
        from: NodeId,
        until: Mono,
    },
    /// A ping came: for the sessions of the control leader.
    Heard {
        node: NodeId,
        run: Run,
    },
    /// A node says something new of itself.
    Reported {
        node: NodeId,
        report: Arc<Report>,
    },
    /// Nothing came for as long as a member may be silent; told again as long as that lasts.
    Silent {
        node: NodeId,
    },
}

const TICK: TimerKey = TimerKey(1);

/// See the head of the file.
#[derive(Debug)]
pub struct Links {
    me: NodeId,
    run: Option<Run>,
    limits: Limits,
    /// When this machine began: before that it may have promised anything.
    started: Mono,
    report: Option<Arc<Report>>,
    peers: BTreeMap<NodeId, Peer>,
    /// What was promised to nodes that have left binds until then.
    promised_left: Mono,
}

#[derive(Clone, Debug)]
struct Peer {
    state: NodeState,
    heard: Mono,
    /// What was promised to it binds until then.
    promised: Mono,
    /// What it said last.
    report: Option<Arc<Report>>,
}

impl Links {
    #[must_use]
    pub fn new(me: NodeId, limits: Limits, now: Mono) -> Self {
        let (peers, promised_left) = (BTreeMap::new(), Mono(0));
        Self { me, run: None, limits, started: now, report: None, peers, promised_left }
    }

    /// Until then, nodes that are given up may hold a lease from this node. Where the map knows no other node, none does.
    #[must_use]
    pub fn fence_at(&self) -> Mono {
        if self.peers.is_empty() {
            return self.promised_left;
        }
        let down = self.peers.values().filter(|peer| !peer.state.is_up);
        let promised = down.map(|peer| peer.promised).max();
        let promised = promised.unwrap_or_default().max(self.promised_left);
        self.started.plus(self.limits.grace).max(promised)
    }

    fn on_nodes(&mut self, cx: &mut Cx<'_, Effect>, nodes: Vec<(NodeId, NodeState)>) {
        let first = self.peers.is_empty();
        let now = cx.mono();
        let known: BTreeSet<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
        for (_, left) in self.peers.extract_if(.., |node, _| !known.contains(node)) {
            self.promised_left = self.promised_left.max(left.promised);
        }
        for (node, state) in nodes {
            if node == self.me {
                continue;
            }
            let fresh = Peer { state, heard: now, promised: Mono(0), report: None };
            let peer = self.peers.entry(node).or_insert(fresh);
            if peer.state.run != state.run {
                // It says anew what it says.
                peer.report = None;
            }
            peer.state = state;
        }
        if first && !self.peers.is_empty() {
            self.tick(cx);
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Effect>, from: NodeId, message: Message) {
        let now = cx.mono();
        let Some(peer) = self.peers.get_mut(&from) else { return };
        peer.heard = now;
        match message {
            Message::Ping { run, sent, report } => {
                cx.emit(Effect::Heard { node: from, run });
                if let Some(report) = report.filter(|report| peer.report.as_ref() != Some(report)) {
                    peer.report = Some(Arc::clone(&report));
                    cx.emit(Effect::Reported { node: from, report });
                }
                let granted = peer.state.is_up && peer.state.run == run;
                if granted {
                    peer.promised = now.plus(self.limits.grace);
                }
                let message = Message::Pong { run, sent, granted };
                cx.emit(Effect::Send { to: from, message });
            }
            Message::Pong { run, sent, granted } => {
                if granted && Some(run) == self.run && sent <= now {
                    let until = sent.plus(self.limits.lease);
                    cx.emit(Effect::LeaseIs { from, until });
                }
            }
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_, Effect>) {
        let now = cx.mono();
        for (node, peer) in &self.peers {
            if let Some(run) = self.run {
                let message = Message::Ping { run, sent: now, report: self.report.clone() };
                cx.emit(Effect::Send { to: *node, message });
            }
            if now.since(peer.heard) >= self.limits.silent_after {
                cx.emit(Effect::Silent { node: *node });
            }
        }
        cx.arm(TICK, self.limits.ping_every);
    }
}

impl Machine for Links {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::NodesAre(nodes) => self.on_nodes(cx, nodes),
            Input::RunIs(run) => self.run = run,
            Input::ReportIs(report) => self.report = Some(report),
            Input::Received { from, message } => self.on_message(cx, from, message),
            Input::TimerFired(_) => self.tick(cx),
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.run.map_or(0, |run| run.session.0));
        for (node, peer) in &self.peers {
            digest.word(u64::from(node.0));
            digest.word(peer.state.run.session.0 ^ u64::from(peer.state.is_up));
            digest.word(peer.heard.0);
            digest.word(peer.promised.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsm::{Budget, Host, Stepped, Wall};

    const OTHER: NodeId = NodeId(2);

    fn run(session: u64) -> Run {
        Run { session: Session(session), start: Start(1) }
    }

    struct Stand {
        links: Links,
        host: Host,
    }

    impl Stand {
        fn new() -> Self {
            let mut stand = Self {
                links: Links::new(NodeId(1), Limits::default(), Mono(0)),
                host: Host::new(1, 1),
            };
            stand.step(0, Input::RunIs(Some(run(7))));
            stand.nodes(0, true);
            stand
        }

        fn nodes(&mut self, millis: u64, is_up: bool) -> Vec<Effect> {
            let state = NodeState { run: run(3), is_up };
            self.step(millis, Input::NodesAre(vec![(OTHER, state)]))
        }

        fn step(&mut self, millis: u64, input: Input) -> Vec<Effect> {
            let mut stepped = Stepped::default();
            let now = (Mono(millis * 1_000_000), Wall(0));
            self.host.step(&mut self.links, &mut stepped, now, Budget::new(1), input);
            stepped.effects
        }

        fn ping(&mut self, millis: u64, session: u64) -> bool {
            let message = Message::Ping { run: run(session), sent: Mono(5), report: None };
            let effects = self.step(millis, Input::Received { from: OTHER, message });
            match effects[..] {
                [
                    Effect::Heard { .. },
                    Effect::Send { message: Message::Pong { granted, sent: Mono(5), .. }, .. },
                ] => granted,
                _ => panic!("{effects:?}"),
            }
        }
    }

    #[test]
    fn a_node_that_is_given_up_or_of_another_session_gets_no_lease() {
        let mut stand = Stand::new();
        assert!(stand.ping(2000, 3));
        assert_eq!(stand.links.fence_at(), Mono(1_300_000_000));
        assert!(!stand.ping(2100, 2));
        stand.nodes(2200, false);
        assert!(!stand.ping(2300, 3));
        // The promise binds from when it was given.
        assert_eq!(stand.links.fence_at(), Mono(3_300_000_000));
    }

    #[test]
    fn a_lease_counts_from_the_ping() {
        let mut stand = Stand::new();
        let mut pong = |session, sent, granted| {
            let message = Message::Pong { run: run(session), sent: Mono(sent), granted };
            stand.step(900, Input::Received { from: OTHER, message })
        };
        let until = Mono(1_100_000_000);
        assert_eq!(pong(7, 100_000_000, true), [Effect::LeaseIs { from: OTHER, until }]);
        assert_eq!(pong(7, 100_000_000, false), []);
        assert_eq!(pong(6, 100_000_000, true), []);
        assert_eq!(pong(7, 1_000_000_000, true), []);
    }

    #[test]
    fn a_node_that_left_is_forgotten_but_not_what_was_promised_to_it() {
        let mut stand = Stand::new();
        assert!(stand.ping(2000, 3));
        stand.nodes(2100, false);
        stand.step(2200, Input::NodesAre(vec![]));
        assert_eq!(stand.links.fence_at(), Mono(3_300_000_000));
        let effects = stand.step(9_000, Input::TimerFired(TICK));
        assert_eq!(effects, [], "it is neither pinged nor missed");
        let message = Message::Ping { run: run(3), sent: Mono(5), report: None };
        assert_eq!(stand.step(9_000, Input::Received { from: OTHER, message }), []);
    }

    #[test]
    fn what_a_node_says_of_itself_is_told_when_it_is_new() {
        let mut stand = Stand::new();
        let mine = Arc::new(Report { load: 5, ..Report::default() });
        stand.step(100, Input::ReportIs(Arc::clone(&mine)));
        let sent = stand.step(200, Input::TimerFired(TICK));
        let said = |effect: &Effect| match effect {
            Effect::Send { message: Message::Ping { report, .. }, .. } => report.clone(),
            _ => None,
        };
        assert_eq!(sent.iter().find_map(said), Some(mine));
        let mut hear = |load| {
            let report = Some(Arc::new(Report { load, ..Report::default() }));
            let message = Message::Ping { run: run(3), sent: Mono(5), report };
            let effects = stand.step(300, Input::Received { from: OTHER, message });
            effects.iter().any(|effect| matches!(effect, Effect::Reported { .. }))
        };
        assert_eq!([7, 7, 8].map(&mut hear), [true, false, true]);
    }

    #[test]
    fn silence_is_told() {
        let mut stand = Stand::new();
        let silent = |effects: Vec<Effect>| effects.contains(&Effect::Silent { node: OTHER });
        assert!(!silent(stand.step(200, Input::TimerFired(TICK))));
        assert!(silent(stand.step(400, Input::TimerFired(TICK))));
        stand.ping(500, 3);
        assert!(!silent(stand.step(600, Input::TimerFired(TICK))));
    }
}
