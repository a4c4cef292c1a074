//! The world of one run: nodes, connections and clients under one clock, and what happens to them.
//!
//! States: setting up (accounts are made, nothing goes wrong), faults, winding down (everything
//! heals), audited. Invariant: everything that decides comes from the seed; nothing is ordered by
//! memory addresses or hash maps.

mod clients;
mod faults;
mod link;
mod machines;
mod phases;
mod readers;
mod restore;
mod wires;

use crate::clients::Client;
use crate::coverage::Coverage;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::network::Connection;
use crate::node::Node;
use crate::options::Options;
use crate::schedule::Schedule;
use faults::Fault;
use fsm::{Digest, Mono, Rng, Token, Wall};
use link::Unsettled;
use mailstore::face::{Completion, UserId};
use std::collections::BTreeMap;
use vspace::{GroupId, Inward, SessionId};

/// Wall clock at the start: 2026-11-21T05:00:00Z.
const WALL_START_MS: i64 = 1_795_237_200_000;

/// Which start of which node something is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    node: usize,
    incarnation: u32,
}

/// What is planned.
#[derive(Debug)]
enum Event {
    /// Something reaches a worker group.
    Arrive {
        life: Life,
        group: GroupId,
        inward: Box<Inward>,
    },
    /// A worker group has a deadline, or work left.
    Run {
        life: Life,
        group: GroupId,
    },
    /// The write under way ends.
    Written {
        life: Life,
    },
    /// The client of a connection looks at what has come.
    Hear {
        life: Life,
        session: SessionId,
    },
    /// The session of a connection gets its next piece.
    Feed {
        life: Life,
        session: SessionId,
    },
    Wake {
        client: usize,
        serial: u64,
    },
    Fault(Fault),
    Restart {
        node: usize,
    },
    /// A packet reaches another node.
    Flight(Box<wires::Flight>),
    /// Two nodes find each other.
    Meet {
        pair: (usize, usize),
    },
    /// The disk has space again.
    Emptied {
        life: Life,
    },
}

/// A client and its connection.
#[derive(Debug)]
struct Slot {
    client: Box<dyn Client>,
    session: Option<SessionId>,
    /// The last wish to be woken counts.
    serial: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SettingUp,
    Faults,
    WindingDown,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub failure: Option<Failure>,
    /// Equal options give equal traces.
    pub trace: u64,
    /// Steps of machines.
    pub steps: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    pub promised: u64,
    pub bodies_checked: u64,
    pub coverage: Coverage,
}

/// See the head of the file.
#[derive(Debug)]
pub struct World {
    options: Options,
    rng: Rng,
    schedule: Schedule<Event>,
    nodes: Vec<Node>,
    wires: wires::Wires,
    connections: BTreeMap<SessionId, Connection>,
    clients: Vec<Slot>,
    users: Vec<UserId>,
    ledger: Ledger,
    coverage: Coverage,
    trace: Digest,
    phase: Phase,
    wall_skew_ms: i64,
    /// Steps of shards that are gone.
    steps_before: u64,
    /// What operators were answered.
    answers: BTreeMap<Token, Completion>,
    /// Writes of unknown outcome.
    unsettled: Unsettled,
    /// The last backup, if there is one.
    backup: Option<restore::Backup>,
    /// What the store knows of restorations.
    restored: mailstore::mailbox::Restored,
    /// Users whose stored data were damaged on purpose: they are owed no more than the truth.
    harmed: crate::invariants::Harm,
    /// What an extension knows, by user.
    readers: Vec<readers::Reader>,
    tokens_of_readers: u64,
}

impl World {
    /// A node with accounts and clients, before anything goes wrong.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let rng = Rng::new(options.seed, 0x51B);
        Self {
            rng,
            schedule: Schedule::default(),
            nodes: (0..options.scenario.nodes).map(Node::new).collect(),
            wires: wires::Wires::default(),
            connections: BTreeMap::new(),
            clients: Vec::new(),
            users: Vec::new(),
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            trace: Digest::default(),
            phase: Phase::SettingUp,
            wall_skew_ms: 0,
            steps_before: 0,
            answers: BTreeMap::new(),
            unsettled: Unsettled::default(),
            backup: None,
            restored: mailstore::mailbox::Restored::default(),
            harmed: crate::invariants::Harm::default(),
            readers: Vec::new(),
            tokens_of_readers: 0,
            options,
        }
    }

    /// Runs to the end.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        let failure = self.play().err();
        if failure.is_some() && self.nodes.len() > 1 {
            // For who looks into it.
            let shards = self.nodes.iter().flat_map(|node| &node.shards);
            shards.for_each(|shard| eprintln!("{}", shard.waits()));
        }
        for node in &self.nodes {
            for shard in &node.shards {
                self.trace.word(shard.trace());
                faults::count_inputs(&mut self.coverage, shard);
            }
        }
        Outcome {
            failure,
            trace: self.trace.value(),
            steps: self.steps(),
            virtual_ms: self.schedule.now() / 1_000_000,
            promised: self.ledger.counts.promised,
            bodies_checked: self.ledger.counts.bodies_checked,
            coverage: self.coverage,
        }
    }

    fn now(&self) -> (Mono, Wall) {
        let mono = self.schedule.now();
        let millis = i64::try_from(mono / 1_000_000).unwrap_or(i64::MAX);
        (Mono(mono), Wall(WALL_START_MS + self.wall_skew_ms + millis))
    }

    fn life(&self, node: usize) -> Life {
        Life { node, incarnation: self.nodes[node].incarnation }
    }

    fn is_over(&self, life: Life) -> bool {
        let node = &self.nodes[life.node];
        node.incarnation != life.incarnation || !node.is_up()
    }

    /// Steps of machines so far.
    fn steps(&self) -> u64 {
        let shards = self.nodes.iter().flat_map(|node| &node.shards);
        self.steps_before + shards.map(|shard| shard.stats().steps).sum::<u64>()
    }

    /// Until when the node that an event is for stands still.
    fn pause_of(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::Arrive { life, .. }
            | Event::Run { life, .. }
            | Event::Written { life }
            | Event::Feed { life, .. } => life.node,
            Event::Flight(flight) => flight.to_node(),
            Event::Hear { .. }
            | Event::Wake { .. }
            | Event::Fault(_)
            | Event::Restart { .. }
            | Event::Meet { .. }
            | Event::Emptied { .. } => return None,
        };
        let until = self.nodes[node].paused_until;
        (until > self.schedule.now()).then_some(until)
    }

    /// Lets the next event happen; false when nothing is planned.
    fn happen(&mut self) -> Result<bool, Failure> {
        let Some(event) = self.schedule.next() else { return Ok(false) };
        self.trace.word(self.schedule.now());
        if let Some(until) = self.pause_of(&event) {
            // It stands still; what it has to do waits.
            self.schedule.at(until, event);
            return Ok(true);
        }
        match event {
            Event::Flight(flight) => self.on_flight(*flight)?,
            Event::Meet { pair } => self.on_meet(pair),
            Event::Arrive { life, group, inward } => {
                if !self.is_over(life) {
                    self.accept(life.node, group, *inward);
                    self.run_group(life.node, group)?;
                }
            }
            Event::Run { life, group } => {
                if !self.is_over(life) {
                    self.nodes[life.node].wakes[usize::from(group.0)] = None;
                    self.run_group(life.node, group)?;
                }
            }
            Event::Written { life } => {
                if !self.is_over(life) {
                    self.on_written(life)?;
                }
            }
            Event::Hear { life, session } => {
                if !self.is_over(life) {
                    self.on_hear(life, session)?;
                }
            }
            Event::Feed { life, session } => {
                if !self.is_over(life) {
                    self.on_feed(life, session)?;
                }
            }
            Event::Wake { client, serial } => {
                if self.clients[client].serial == serial {
                    self.with_client(client, |client, cx| {
                        client.woke(cx);
                        Ok(())
                    })?;
                }
            }
            Event::Fault(fault) => self.on_fault(fault)?,
            Event::Restart { node } => self.start(node)?,
            Event::Emptied { life } => {
                if life.incarnation == self.nodes[life.node].incarnation {
                    self.nodes[life.node].disk.store.set_bytes_max(None);
                    self.tell_space(life.node, vspace::Space::Ample);
                }
            }
        }
        Ok(true)
    }
}
