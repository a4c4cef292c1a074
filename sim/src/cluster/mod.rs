//! Several nodes and their replicated hash table: control, links, seats and disks of every node under one seed, with clients that know
//! what they were promised.
//!
//! In the first phase faults happen; then everything heals, and within bounded time every group has all its members in sync,
//! every queue is empty, every client its answer, and all replicas hold the same.
//!
//! Absences: nothing here reads a clock, a file or a random source; equal options give equal runs.

mod checks;
mod clients;
mod faults;
mod fills;
mod mutate;
mod node;
mod options;
mod recover;
mod reports;
mod requests;
mod scrubs;
mod seats;
mod steps;

pub use options::{ClusterMutation, ClusterOptions, ClusterScenario};

use crate::coverage::Coverage;
use crate::failure::Failure;
use crate::invariants::{History, Leaders};
use crate::schedule::Schedule;
use crate::world::Outcome;
use bytes::Bytes;
use clients::{Client, Doing};
use dds::cluster::{ClusterMap, GroupChange, Incarnation, NodeId};
use dds::control::CONTROL;
use dds::replica::Message;
use dds::{GroupVersion, Limits, PartitionId, Read, Request, Response, StoreError, links, replica};
use faults::Fault;
use fsm::{Digest, Rng, TimerKey, Token};
use node::{Node, Owner};
use scrubs::Rot;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which start of which node something is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    node: NodeId,
    life: u32,
}

/// What nodes send each other.
#[derive(Clone, Debug)]
enum Packet {
    Links(links::Message),
    Replica { partition: PartitionId, message: Message },
    Control(Bytes),
}

/// What is planned.
#[derive(Debug)]
enum Event {
    Packet {
        to: NodeId,
        from: NodeId,
        packet: Packet,
    },
    Timer {
        life: Life,
        owner: Owner,
        key: TimerKey,
    },
    /// The write under way ends.
    Written {
        life: Life,
    },
    Stored {
        life: Life,
        partition: PartitionId,
        token: Token,
        result: Result<(), StoreError>,
    },
    Read {
        life: Life,
        partition: PartitionId,
        token: Token,
        read: Read,
    },
    /// The node looks at what its map suggests, and whom it could ask to be let in.
    Follow {
        life: Life,
    },
    /// The node says something of itself.
    Report {
        life: Life,
    },
    /// There is room on the disk again.
    Emptied {
        node: NodeId,
    },
    /// The map is asked for a change.
    Change {
        life: Life,
        partition: PartitionId,
        expect: GroupVersion,
        change: GroupChange,
    },
    /// A seat may scrub a slice.
    Permit {
        life: Life,
        partition: PartitionId,
        begins: bool,
    },
    Act {
        client: usize,
    },
    Asked {
        node: NodeId,
        origin: u64,
        request: Request,
    },
    Answered {
        origin: u64,
        response: Response,
    },
    Fault(Fault),
    /// The operator acts.
    Recover {
        founder: NodeId,
    },
    Start {
        node: NodeId,
    },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Cluster {
    options: ClusterOptions,
    rng: Rng,
    schedule: Schedule<Event>,
    /// The newest map that any node has.
    map: ClusterMap,
    /// Until then no message of the control group arrives.
    control_gone_until: u64,
    /// When a disk was replaced last.
    disk_lost_at: u64,
    nodes: BTreeMap<NodeId, Node>,
    /// Until when the second hears nothing from the first.
    cuts: BTreeMap<(NodeId, NodeId), u64>,
    clients: Vec<Client>,
    /// Pages that may still come to each node.
    allowances: BTreeMap<NodeId, fills::Allowance>,
    reliefs: reports::Reliefs,
    /// Which node led each version.
    leaders: Leaders,
    histories: BTreeMap<(u64, u64), History>,
    limits: (Arc<Limits>, Arc<replica::Limits>),
    origins: u64,
    values: u64,
    /// Changes of groups that were asked for.
    asked: u64,
    steps: u64,
    answered: u64,
    trace: Digest,
    coverage: Coverage,
    healed: bool,
    /// All nodes are stopped until the operator has recovered one of them.
    recovering: bool,
    /// Copies that were damaged on purpose, one of a partition.
    rotten: BTreeMap<PartitionId, (NodeId, Rot)>,
    /// Rounds of scrubs that were asked for, and have not ended.
    rounds_left: usize,
    /// What was answered first about a slice: for a mistake made on purpose.
    first_seen: BTreeMap<u64, replica::Seen>,
    failure: Option<Failure>,
}

/// Virtual time in which a healed cluster must have come to rest, in nanoseconds.
const REST_WITHIN: u64 = 120_000_000_000;

impl Cluster {
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        let mut rng = Rng::new(options.seed, 0xC105);
        let scenario = options.scenario;
        let mut nodes = BTreeMap::new();
        for number in 1..=scenario.nodes {
            let id = NodeId(number);
            let drift = i64::try_from(rng.below(100_000)).unwrap_or(0) - 50_000;
            let incarnation = Incarnation(rng.next_u64());
            let offset = rng.below(1 << 40);
            nodes.insert(id, Node::new(id, incarnation, drift, offset));
        }
        let replication = replica::Limits {
            // Small, so that learners are filled as well as caught up.
            keep_bytes_max: 16 * 1024,
            page_bytes_max: fills::PAGE_BYTES,
            append_bytes_max: 8 * 1024,
            // So that a tail takes several questions.
            bodies_keys_max: 2,
            look_bytes_max: 2 * 1024,
            clear_after: fsm::Duration::from_secs(2),
            ..replica::Limits::default()
        };
        let mut cluster = Self {
            map: ClusterMap::default(),
            control_gone_until: 0,
            disk_lost_at: 0,
            rng,
            schedule: Schedule::default(),
            nodes,
            cuts: BTreeMap::new(),
            clients: Vec::new(),
            allowances: BTreeMap::new(),
            leaders: Leaders::default(),
            reliefs: reports::Reliefs::default(),
            histories: BTreeMap::new(),
            limits: (Arc::default(), Arc::new(replication)),
            origins: 0,
            values: 0,
            asked: 0,
            steps: 0,
            answered: 0,
            trace: Digest::default(),
            coverage: Coverage::default(),
            healed: false,
            recovering: false,
            rotten: BTreeMap::new(),
            rounds_left: 0,
            first_seen: BTreeMap::new(),
            failure: None,
            options,
        };
        cluster.set_up();
        cluster
    }

    fn set_up(&mut self) {
        let scenario = self.options.scenario;
        for number in 1..=scenario.nodes {
            self.schedule
                .after(u64::from(number) * 1_000_000, Event::Start { node: NodeId(number) });
        }
        for number in 0..scenario.clients {
            let route = number % (scenario.clients / 2).max(1);
            self.clients.push(Client {
                route,
                numbered: number < scenario.clients / 2,
                epoch: None,
                seq: 1,
                doing: Doing::Rest,
                origin: 0,
                asked_at: 0,
                node: 1,
            });
            let client = self.clients.len() - 1;
            self.schedule.after(5_000_000, Event::Act { client });
        }
        self.plan_faults();
    }

    /// Runs until so many steps were done, heals, and judges.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        while self.steps < self.options.steps && self.failure.is_none() {
            self.happen();
        }
        if self.failure.is_none() {
            self.heal();
            self.come_to_rest();
        }
        if self.failure.is_none() && self.options.scenario.rots {
            self.rot_some();
            // A partition that changes hands meanwhile may be missed once.
            for _ in 0..2 {
                self.scrub_all();
                self.come_to_rest();
            }
        }
        if self.failure.is_none() {
            self.failure = self.judge().err();
        }
        Outcome {
            failure: self.failure,
            trace: self.trace.value(),
            steps: self.steps,
            virtual_ms: self.schedule.now() / 1_000_000,
            promised: self.answered,
            bodies_checked: 0,
            coverage: self.coverage,
        }
    }

    fn come_to_rest(&mut self) {
        let deadline = self.schedule.now() + REST_WITHIN;
        while self.failure.is_none() && !self.is_at_rest() {
            if self.schedule.now() > deadline {
                self.fail("comes_to_rest", self.unrest());
                break;
            }
            for _ in 0..500 {
                self.happen();
            }
        }
    }

    fn fail(&mut self, invariant: &'static str, what: String) {
        self.failure.get_or_insert(Failure::new(invariant, what));
    }

    /// Whether what is meant for this life still finds it.
    fn lives(&self, life: Life) -> bool {
        self.nodes
            .get(&life.node)
            .is_some_and(|node| node.life == life.life && node.running.is_some())
    }

    /// When the node stands still: what happens to it happens later.
    fn paused(&self, node: NodeId) -> Option<u64> {
        let until = self.nodes.get(&node)?.paused_until;
        (until > self.schedule.now()).then_some(until)
    }

    fn happen(&mut self) {
        let Some(event) = self.schedule.next() else { return };
        self.trace.word(self.schedule.now());
        let whom = match &event {
            Event::Timer { life, .. }
            | Event::Stored { life, .. }
            | Event::Read { life, .. }
            | Event::Change { life, .. }
            | Event::Permit { life, .. }
            | Event::Report { life }
            | Event::Follow { life } => {
                if !self.lives(*life) {
                    return;
                }
                Some(life.node)
            }
            Event::Packet { to, .. } => Some(*to),
            Event::Asked { node, .. } => Some(*node),
            Event::Written { .. }
            | Event::Emptied { .. }
            | Event::Act { .. }
            | Event::Answered { .. }
            | Event::Fault(_)
            | Event::Recover { .. }
            | Event::Start { .. } => None,
        };
        if let Some(until) = whom.and_then(|node| self.paused(node)) {
            return self.schedule.at(until, event);
        }
        self.take(event);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Packet { to, from, packet } => self.on_packet(to, from, packet),
            Event::Timer { life, owner, key } => self.on_timer(life, owner, key),
            Event::Written { life } => {
                if self.lives(life) {
                    self.on_written(life.node);
                }
            }
            Event::Stored { life, partition, token, result } => {
                if partition == CONTROL {
                    let input = dds::control::Input::Stored { token, result };
                    return self.step_control(life.node, input);
                }
                let input = dds::seat::Input::Stored { token, result };
                self.step_seat(life.node, partition, input);
            }
            Event::Read { life, partition, token, read } => {
                let result = self.nodes[&life.node].disk.read(&read, dds::Tier::Disk);
                if partition == CONTROL {
                    let input = dds::control::Input::ReadDone { token, result };
                    return self.step_control(life.node, input);
                }
                let input = dds::seat::Input::ReadDone { token, result };
                self.step_seat(life.node, partition, input);
            }
            Event::Follow { life } => self.on_follow(life),
            Event::Report { life } => self.on_report(life),
            Event::Emptied { node } => self.empty(node),
            Event::Change { life, partition, expect, change } => {
                self.on_change(life, partition, (expect, change));
            }
            Event::Permit { life, partition, begins } => self.on_permit(life, partition, begins),
            Event::Act { client } => self.act(client),
            Event::Asked { node, origin, request } => self.on_asked(node, origin, request),
            Event::Answered { origin, response } => self.on_answered(origin, response),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Recover { founder } => self.recover(founder),
            Event::Start { node } => {
                if !self.recovering {
                    self.start(node);
                }
            }
        }
    }
}
