//! The world of one run: nodes, connections and clients under one clock, and what happens to them.
//!
//! States: setting up (accounts are made, nothing goes wrong), faults, winding down (everything
//! heals), audited. Invariant: everything that decides comes from the seed; nothing is ordered by
//! memory addresses or hash maps.

mod clients;
mod cluster;
pub mod deciding;
mod faults;
mod feeding;
mod frames;
mod link;
mod machines;
mod members;
mod mistakes;
mod phases;
mod readers;
mod rest;
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
    /// A worker group has work left.
    Run {
        life: Life,
        group: GroupId,
    },
    /// A worker group has a deadline, unless it has planned an earlier one since.
    Due {
        life: Life,
        group: GroupId,
        at: u64,
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
    /// The extension does something, unless another life of it has begun.
    Extension {
        life: u64,
        chore: feeding::Chore,
    },
    /// Something reaches its feeder.
    Feeding {
        life: u64,
        input: Box<events::Input>,
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
    /// The connection of two nodes is lost, unless it was lost before.
    Lose {
        pair: (usize, usize),
        epoch: u64,
    },
    /// An operator looks after the node that is to leave.
    Leave,
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
    /// Steps of machines so far.
    steps: u64,
    /// Who comes and goes.
    members: members::Members,
    /// From when and until when no word of the control plane arrives.
    control_gone_from: u64,
    control_gone_until: u64,
    /// Which node was seen to lead a version of a partition.
    leaders: crate::invariants::Leaders,
    /// What was noticed where nothing can be returned.
    broken: Option<Failure>,
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
    /// The extension that is fed.
    feeding: feeding::Feeding,
    /// Of what arrives from other nodes.
    limits: dds::Limits,
    /// With a mutation, tasks that were brought to another node.
    brought: mistakes::Brought,
    /// A buffer, reused.
    outward: Vec<vspace::Outward>,
}

impl World {
    /// A node with accounts and clients, before anything goes wrong.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut rng = Rng::new(options.seed, 0x51B);
        let mut nodes: Vec<Node> = (0..options.scenario.nodes).map(Node::new).collect();
        let drift_ppm = options.scenario.faults.drift_ppm;
        if drift_ppm > 0 {
            for node in &mut nodes {
                let ppm = i64::try_from(rng.below(2 * drift_ppm + 1)).unwrap_or(0);
                let most = i64::try_from(drift_ppm).unwrap_or(0);
                node.set_clock(ppm - most, rng.below(1 << 40));
            }
        }
        Self {
            rng,
            schedule: Schedule::default(),
            nodes,
            wires: wires::Wires::default(),
            connections: BTreeMap::new(),
            clients: Vec::new(),
            users: Vec::new(),
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            trace: Digest::default(),
            phase: Phase::SettingUp,
            wall_skew_ms: 0,
            steps: 0,
            members: members::Members::default(),
            control_gone_from: 0,
            control_gone_until: 0,
            leaders: crate::invariants::Leaders::default(),
            broken: None,
            answers: BTreeMap::new(),
            unsettled: Unsettled::default(),
            backup: None,
            restored: mailstore::mailbox::Restored::default(),
            harmed: crate::invariants::Harm::default(),
            readers: Vec::new(),
            tokens_of_readers: 0,
            feeding: feeding::Feeding::default(),
            limits: dds::Limits::default(),
            brought: mistakes::Brought::default(),
            outward: Vec::new(),
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
            steps: self.steps,
            virtual_ms: self.schedule.now() / 1_000_000,
            promised: self.ledger.counts.promised,
            bodies_checked: self.ledger.counts.bodies_checked,
            coverage: self.coverage,
        }
    }

    /// What the clocks of a node show.
    fn now(&self, node: usize) -> (Mono, Wall) {
        (self.nodes[node].mono(self.schedule.now()), self.wall())
    }

    fn wall(&self) -> Wall {
        let millis = i64::try_from(self.schedule.now() / 1_000_000).unwrap_or(i64::MAX);
        Wall(WALL_START_MS + self.wall_skew_ms + millis)
    }

    fn life(&self, node: usize) -> Life {
        Life { node, incarnation: self.nodes[node].incarnation }
    }

    fn is_over(&self, life: Life) -> bool {
        let node = &self.nodes[life.node];
        node.incarnation != life.incarnation || !node.is_up()
    }

    /// Until when the node that an event is for stands still.
    fn pause_of(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::Arrive { life, .. }
            | Event::Run { life, .. }
            | Event::Due { life, .. }
            | Event::Written { life }
            | Event::Feed { life, .. } => life.node,
            Event::Flight(flight) => flight.to_node(),
            Event::Hear { .. }
            | Event::Wake { .. }
            | Event::Extension { .. }
            | Event::Feeding { .. }
            | Event::Fault(_)
            | Event::Restart { .. }
            | Event::Meet { .. }
            | Event::Lose { .. }
            | Event::Leave
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
                    self.run_group(life.node, group)?;
                }
            }
            Event::Due { life, group, at } => {
                let place = usize::from(group.0);
                if !self.is_over(life) && self.nodes[life.node].wakes[place] == Some(at) {
                    self.nodes[life.node].wakes[place] = None;
                    self.run_group(life.node, group)?;
                }
            }
            Event::Lose { pair, epoch } => self.on_lose(pair, epoch),
            Event::Leave => self.on_leave()?,
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
            Event::Extension { life, chore } => self.on_extension(life, chore)?,
            Event::Feeding { life, input } => self.on_feeding(life, *input)?,
            Event::Fault(fault) => self.on_fault(fault)?,
            Event::Restart { node } => self.start(node)?,
            Event::Emptied { life } => {
                if life.incarnation == self.nodes[life.node].incarnation {
                    self.nodes[life.node].disk.store.set_bytes_max(None);
                    self.tell_space(life.node, vspace::Space::Ample);
                }
            }
        }
        self.broken.take().map_or(Ok(true), Err)
    }
}
