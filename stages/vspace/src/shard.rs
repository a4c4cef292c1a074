//! The machine that owns the machines of one worker group: starts and stops them, routes tasks and completions, admits work.
//!
//! One thread runs one shard: [`Shard::accept`] takes what arrived, [`Shard::run`] steps machines until nothing is left or
//! the budget is spent, and what the world shall do is collected in order. A user's mailbox and the partition that holds the
//! user's data live in the same shard, so that a delivery never changes thread on its way to the store.
//!
//! Invariants: every task that was admitted is answered once; credits are given back with the answer or the end of the
//! session; effects of one step leave in order.
//!
//! Must not know: sockets, threads, clocks, files. The simulator runs it as it is.

use crate::admission::Admission;
use crate::feeds::Feeds;
use crate::follow::{Followed, Passed};
use crate::kicks::Kicks;
use crate::membership::Membership;
use crate::names::{GroupId, MachineId};
use crate::origin::{Origin, Origins};
use crate::queue::{Queue, Rank};
use crate::reports::Gauge;
use crate::requests::AwayRequest;
use crate::scrub::Scrubbing;
use crate::seats::{Gated, SeatSlot};
use crate::session::{Session, SessionSlot};
use crate::tasks::{AwayTask, HeldTask};
use crate::timers::Timers;
use crate::work::{ConnectionOrder, Inward, Outward, Space, Ticket, WriteTimes};
use crate::{Population, ShardConfig, ShardStats, names};
use dds::cluster::{ClusterMap, NodeId};
use dds::{Leases, PartitionId, ReadDone, StoreError, control, fills, links, scrub, seat};
use fsm::{Budget, Digest, Host, Machine, Mono, Stepped, Token, Wall};
use hashbrown::HashMap;
use mailstore::delivery::Delivery;
use mailstore::directory::Directory;
use mailstore::face::{Protocol, SessionEffect, SessionId, SessionInput, UserId};
use mailstore::mailbox::Mailbox;
use mailstore::sweep::Sweep;
use mailstore::{delivery, directory, mailbox, sweep};
use rustc_hash::FxBuildHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Map<K, V> = HashMap<K, V, FxBuildHasher>;

/// Where the numbers of a run begin: each has far more room behind that than a run uses.
const SESSIONS_MASK: u64 = (1 << 37) - 1;
const MACHINES_SHIFT: u32 = 35;
const REQUESTS_MASK: u64 = (1 << 54) - 1;

/// Bits of the tokens of one machine: 4 billion.
const TOKEN_BITS: u32 = 32;

/// A machine and what outlives its steps.
#[derive(Debug)]
pub(crate) struct Slot<M> {
    pub machine: M,
    pub host: Host,
}

/// A mailbox and whether it may be dropped.
#[derive(Debug)]
pub(crate) struct MailboxSlot {
    pub slot: Slot<Mailbox>,
    pub idle_since: Option<Mono>,
    pub memory_bytes: usize,
}

/// One queued step.
#[derive(Debug)]
pub(crate) enum Work {
    Session(SessionId, SessionInput),
    Mailbox(UserId, mailbox::Input),
    Seat(PartitionId, seat::Input),
    Control(control::Input),
    Links(links::Input),
    Fills(fills::Input),
    Directory(directory::Input),
    Delivery(delivery::Input),
    Sweep(sweep::Input),
    Scrub(scrub::Input),
}

/// Buffers for the effects of a step, one per kind of machine, reused.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub session: Stepped<SessionEffect>,
    pub mailbox: Stepped<mailbox::Effect>,
    pub seat: Stepped<seat::Effect>,
    pub control: Stepped<control::Effect>,
    pub links: Stepped<links::Effect>,
    pub fills: Stepped<fills::Effect>,
    pub directory: Stepped<directory::Effect>,
    pub delivery: Stepped<delivery::Effect>,
    pub sweep: Stepped<sweep::Effect>,
}

/// All machines of one worker group.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) now: (Mono, Wall),
    pub(crate) queue: Queue<Work>,
    pub(crate) timers: Timers<MachineId>,
    pub(crate) sessions: Map<SessionId, Box<SessionSlot>>,
    /// IMAP sessions logged in, in all groups of all nodes, by the users whose mailboxes live here.
    pub(crate) imap_logins: Map<UserId, BTreeSet<SessionId>>,
    pub(crate) mailboxes: Map<UserId, Box<MailboxSlot>>,
    pub(crate) mailboxes_idle: BTreeSet<(Mono, UserId)>,
    pub(crate) mailbox_bytes: usize,
    /// The users of the mailboxes, by the partition that holds their data.
    pub(crate) masters: BTreeSet<(PartitionId, UserId)>,
    /// Mailboxes that the directory has to tell, anew, about their account.
    pub(crate) accountless: BTreeSet<UserId>,
    /// Mailboxes that are to be erased, of which nothing was heard yet.
    pub(crate) erasures: BTreeSet<UserId>,
    pub(crate) seats: Map<PartitionId, Box<SeatSlot>>,
    /// Seats that somebody waits for.
    pub(crate) waiting_seats: BTreeSet<PartitionId>,
    pub(crate) leases: Leases,
    /// Completions that wait for a lease.
    pub(crate) gated: BTreeMap<PartitionId, Vec<Gated>>,
    /// This group's copy of the cluster map.
    pub(crate) map: ClusterMap,
    /// From here on no lease of a node given up holds.
    pub(crate) fence_at: Mono,
    /// The map knows of this run.
    pub(crate) registered: bool,
    pub(crate) feeds: Feeds,
    /// Nodes that can be reached.
    pub(crate) peers: BTreeSet<NodeId>,
    /// Sessions of other nodes whose masters keep something for them here.
    pub(crate) guests: BTreeMap<NodeId, BTreeSet<(SessionId, UserId)>>,
    pub(crate) away_tasks: Map<(SessionId, Token), AwayTask>,
    pub(crate) held_tasks: Vec<HeldTask>,
    pub(crate) away_requests: BTreeMap<u64, AwayRequest>,
    /// Requests that wait for a primary: until when, number of the origin.
    pub(crate) held_requests: Vec<(Mono, u64, dds::Request)>,
    pub(crate) requests_sent: u64,
    /// When to look after what waits.
    pub(crate) look_at: Option<Mono>,
    /// Only in group 0.
    pub(crate) membership: Option<Box<Membership>>,
    /// Only in group 0 of the node that leads their partition, like the two below.
    pub(crate) directory: Option<Box<Slot<Directory>>>,
    pub(crate) delivery: Option<Box<Slot<Delivery>>>,
    pub(crate) sweep: Option<Box<Slot<Sweep>>>,
    pub(crate) scrub: Option<Box<Scrubbing>>,
    pub(crate) origins: Origins,
    pub(crate) followed: Followed,
    /// Whose masters keep something for a session of the node's own.
    pub(crate) operators: Map<SessionId, BTreeSet<UserId>>,
    pub(crate) admission: Admission,
    pub(crate) space: Space,
    pub(crate) gauge: Gauge,
    pub(crate) kicks: Kicks,
    pub(crate) waiting: VecDeque<crate::route::Waiting>,
    pub(crate) sessions_made: u64,
    pub(crate) machines_made: u64,
    pub(crate) stats: ShardStats,
    pub(crate) trace: Digest,
    pub(crate) buffers: Buffers,
    pub(crate) out: Vec<Outward>,
}

impl Shard {
    /// The shard of a group, empty but for the machines that always run.
    #[must_use]
    pub fn new(config: ShardConfig, now: (Mono, Wall)) -> Self {
        let admission = Admission::new(config.admission.clone());
        // Names of a run never meet those of an earlier one: another node may still answer it.
        let seed = config.seed;
        let (sessions, machines, requests) =
            (seed & SESSIONS_MASK, seed >> MACHINES_SHIFT, seed & REQUESTS_MASK);
        let scrub = Scrubbing::new(&config.scrub, (seed, config.group));
        let mut shard = Self {
            config,
            now,
            queue: Queue::default(),
            timers: Timers::default(),
            sessions: Map::default(),
            imap_logins: Map::default(),
            mailboxes: Map::default(),
            mailboxes_idle: BTreeSet::new(),
            mailbox_bytes: 0,
            masters: BTreeSet::new(),
            accountless: BTreeSet::new(),
            erasures: BTreeSet::new(),
            seats: Map::default(),
            waiting_seats: BTreeSet::new(),
            leases: Leases::default(),
            gated: BTreeMap::new(),
            map: ClusterMap::default(),
            fence_at: Mono(0),
            registered: false,
            feeds: Feeds::default(),
            peers: BTreeSet::new(),
            guests: BTreeMap::new(),
            away_tasks: Map::default(),
            held_tasks: Vec::new(),
            away_requests: BTreeMap::new(),
            held_requests: Vec::new(),
            requests_sent: requests,
            look_at: None,
            membership: None,
            directory: None,
            delivery: None,
            sweep: None,
            scrub: Some(Box::new(scrub)),
            origins: Origins::default(),
            followed: Followed::default(),
            operators: Map::default(),
            admission,
            space: Space::default(),
            gauge: Gauge::default(),
            kicks: Kicks::default(),
            waiting: VecDeque::new(),
            sessions_made: sessions,
            machines_made: machines,
            stats: ShardStats::default(),
            trace: Digest::default(),
            buffers: Buffers::default(),
            out: Vec::new(),
        };
        if shard.config.group == GroupId(0) {
            shard.start_membership();
        }
        shard
    }

    /// Every machine gets a random stream and tokens of its own: what comes for one that is gone, another does not know.
    pub(crate) fn new_host(&mut self) -> Host {
        self.machines_made += 1;
        let group = u64::from(self.config.group.0) << 56;
        let host = Host::new(self.config.seed, group | self.machines_made);
        host.with_tokens_above(self.machines_made << TOKEN_BITS)
    }

    /// An id for a session that is about to be opened in this group.
    pub fn next_session(&mut self) -> SessionId {
        self.sessions_made += 1;
        names::session_id(self.config.node, self.config.group, self.sessions_made)
    }

    /// The time of what is accepted from now on.
    pub fn set_now(&mut self, now: (Mono, Wall)) {
        self.now = now;
    }

    /// Takes something that arrived.
    pub fn accept(&mut self, inward: Inward) {
        match inward {
            Inward::Opened { session, peer } => {
                let machine = Session::new(peer.protocol, &self.config.sessions);
                let host = self.new_host();
                let slot = SessionSlot::new(machine, host, &peer, self.now.0);
                let rank = rank_of(peer.protocol);
                self.sessions.insert(session, Box::new(slot));
                self.push(rank, Work::Session(session, SessionInput::Opened(peer)));
            }
            Inward::Session { session, input } => {
                if let Some(slot) = self.sessions.get(&session) {
                    let rank = rank_of(slot.protocol);
                    self.push(rank, Work::Session(session, input));
                }
            }
            Inward::Stored { ticket, result, times } => self.on_stored(ticket, result, times),
            Inward::ReadDone { ticket, result } => self.on_read_done(ticket, result),
            Inward::Matched { user, token, hits } => {
                let input = mailbox::Input::Matched { token, hits };
                self.push(Rank::Completion, Work::Mailbox(user, input));
            }
            Inward::Hashed { token, verdict } => {
                let input = directory::Input::Hashed { token, verdict };
                self.push(Rank::Completion, Work::Directory(input));
            }
            Inward::Rehashed { token, phc } => {
                let input = directory::Input::Rehashed { token, phc };
                self.push(Rank::Completion, Work::Directory(input));
            }
            Inward::Operator { session, token, task } => self.on_operator(session, token, task),
            Inward::OperatorGone { session } => self.on_operator_gone(session),
            Inward::ListSessions { token } => self.on_list_sessions(token),
            Inward::KickSessions { token, sessions } => self.on_kick_sessions(token, &sessions),
            Inward::Client { origin, followed, request } => {
                self.ask_dds(Origin::Client { origin, followed }, *request);
            }
            Inward::KickUser { token, user } => self.on_kick_user(token, user),
            Inward::IsLoaded { token, user } => {
                let mailbox = self.mailboxes.get(&user);
                let loaded = mailbox.is_some_and(|mailbox| mailbox.slot.machine.is_loaded());
                self.out.push(Outward::Loaded { token, loaded });
            }
            Inward::Neighbour(message) => self.on_neighbour(message),
            Inward::Peer { from, packet } => self.on_peer(from, packet),
            Inward::Link { node, link } => self.on_link(node, link),
            Inward::Command { token, command } => self.on_operator_command(token, command),
            Inward::Scrub { token } => self.on_scrub_asked(token),
            Inward::SpaceIs(space) => self.on_space(space),
            Inward::LimitsAre(limits) => {
                self.admission.set_limits(limits.admission.clone());
                self.config.set_limits(*limits);
            }
            Inward::ShutDown => self.on_shut_down(),
            Inward::Stop => {}
        }
    }

    fn on_stored(&mut self, ticket: Ticket, result: Result<(), StoreError>, times: WriteTimes) {
        self.admission.observe(self.now.0, times.delay());
        if let Some(trace) = self.followed.on_stored(ticket) {
            self.out.push(Outward::Passed(Passed::Stored { trace, times }));
        }
        let Ticket { partition, token } = ticket;
        let work = match partition {
            control::CONTROL => Work::Control(control::Input::Stored { token, result }),
            partition => Work::Seat(partition, seat::Input::Stored { token, result }),
        };
        self.push(Rank::Completion, work);
    }

    fn on_read_done(
        &mut self,
        Ticket { partition, token }: Ticket,
        result: Result<ReadDone, StoreError>,
    ) {
        let work = match partition {
            control::CONTROL => Work::Control(control::Input::ReadDone { token, result }),
            partition => Work::Seat(partition, seat::Input::ReadDone { token, result }),
        };
        self.push(Rank::Completion, work);
    }

    fn on_space(&mut self, space: Space) {
        let changed = space != self.space;
        self.space = space;
        if !changed {
            return;
        }
        if self.sweep.is_some() {
            self.tell_room();
        }
        self.tell_seats_anew();
        self.report();
    }

    /// Tells the sweep how much room there is.
    pub(crate) fn tell_room(&mut self) {
        let room = match self.space {
            Space::Ample => sweep::Room::Ample,
            Space::Low | Space::Exhausted => sweep::Room::Scarce,
        };
        self.push(Rank::Rebalance, Work::Sweep(sweep::Input::RoomIs(room)));
    }

    fn on_shut_down(&mut self) {
        let sessions: BTreeSet<(SessionId, Rank)> =
            self.sessions.iter().map(|(id, slot)| (*id, rank_of(slot.protocol))).collect();
        for (session, rank) in sessions {
            // Behind the opening, which may still wait.
            self.push(rank, Work::Session(session, SessionInput::ShuttingDown));
        }
        self.hand_over_all();
    }

    pub(crate) fn push(&mut self, rank: Rank, work: Work) {
        self.queue.push(self.now.0, rank, work);
    }

    /// Steps machines until nothing is queued or `steps_max` is reached; appends what the world shall do to `out`. True when
    /// work is left.
    pub fn run(&mut self, now: (Mono, Wall), steps_max: usize, out: &mut Vec<Outward>) -> bool {
        self.now = now;
        std::mem::swap(&mut self.out, out);
        // What `accept` answered at once, such as a list of sessions.
        self.out.append(out);
        self.fire_timers();
        self.look_after();
        self.admit_waiting();
        let mut steps = 0;
        while steps < steps_max {
            let Some((queued, work)) = self.queue.pop() else { break };
            self.stats.on_step(now.0.since(queued));
            steps += 1;
            self.step(work);
        }
        self.stats.on_run(steps, self.queue.len());
        std::mem::swap(&mut self.out, out);
        !self.queue.is_empty()
    }

    /// When [`Shard::run`] has to be called at the latest, if nothing arrives before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let waiting = self.waiting.front().map(|first| first.refuse_at);
        [self.timers.next(), waiting, self.look_at].into_iter().flatten().min()
    }

    fn fire_timers(&mut self) {
        while let Some((machine, key)) = self.timers.pop_due(self.now.0) {
            let work = match machine {
                MachineId::Session(id) => Work::Session(id, SessionInput::TimerFired(key)),
                MachineId::Mailbox(id) => Work::Mailbox(id, mailbox::Input::TimerFired(key)),
                MachineId::Partition(id) => Work::Seat(id, seat::Input::TimerFired(key)),
                MachineId::Control => Work::Control(control::Input::TimerFired(key)),
                MachineId::Links => Work::Links(links::Input::TimerFired(key)),
                MachineId::Fills => Work::Fills(fills::Input::TimerFired(key)),
                MachineId::Directory => Work::Directory(directory::Input::TimerFired(key)),
                MachineId::Delivery => Work::Delivery(delivery::Input::TimerFired(key)),
                MachineId::Sweep => Work::Sweep(sweep::Input::TimerFired(key)),
                MachineId::Scrub => Work::Scrub(scrub::Input::TimerFired(key)),
            };
            self.push(Rank::Completion, work);
        }
    }

    fn step(&mut self, work: Work) {
        self.stats.inputs[crate::inputs::kind_of(&work)] += 1;
        match work {
            Work::Session(id, input) => self.step_session(id, input),
            Work::Mailbox(user, input) => self.step_mailbox(user, input),
            Work::Seat(id, input) => self.step_seat(id, input),
            Work::Control(input) => self.step_control(input),
            Work::Links(input) => self.step_links(input),
            Work::Fills(input) => self.step_fills(input),
            Work::Directory(input) => self.step_directory(input),
            Work::Delivery(input) => self.step_delivery(input),
            Work::Sweep(input) => self.step_sweep(input),
            Work::Scrub(input) => self.step_scrub(input),
        }
    }

    /// Steps one machine, arms its timers, notes the trace; true when it yielded.
    pub(crate) fn step_machine<M: Machine>(
        &mut self,
        id: MachineId,
        (machine, host): (&mut M, &mut Host),
        stepped: &mut Stepped<M::Effect>,
        input: M::Input,
    ) -> bool {
        host.step(machine, stepped, self.now, Budget::new(self.config.step_budget), input);
        for op in stepped.timers.drain(..) {
            match op {
                fsm::TimerOp::Arm { key, at } => self.timers.arm(id, key, at),
                fsm::TimerOp::Cancel { key } => self.timers.cancel(id, key),
            }
        }
        self.trace.word(names::trace_word(id) ^ stepped.effects.len() as u64);
        if self.config.trace_states {
            machine.digest(&mut self.trace);
        }
        std::mem::take(&mut stepped.yielded)
    }

    pub(crate) fn order(&mut self, session: SessionId, order: ConnectionOrder) {
        self.out.push(Outward::Connection { session, order });
    }

    /// The hash of every step so far: equal seeds give equal traces.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    #[must_use]
    pub fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// Credits under way and allowed, in bytes.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// This group's copy of the cluster map.
    #[must_use]
    pub fn map(&self) -> &ClusterMap {
        &self.map
    }

    /// Whether this node leads the control group; known in group 0.
    #[must_use]
    pub fn leads_control(&self) -> bool {
        self.membership.as_ref().is_some_and(|membership| membership.leads())
    }

    /// Whether this group has nothing to do: its copy of the map is as new as `map`, every seat is what that says and has
    /// nothing under way, nobody waits.
    #[must_use]
    pub fn is_at_rest(&self, map: &ClusterMap) -> bool {
        let me = self.me();
        let rests = |(partition, group): (PartitionId, &dds::cluster::ReplicaGroup)| {
            self.group_of_partition(partition) != self.config.group
                || !group.is_in_sync(me)
                || self.seats.get(&partition).is_some_and(|seat| {
                    let machine = &seat.slot.machine;
                    machine.replica().version() == group.version
                        && machine.replica().is_quiet()
                        && machine.leads() == (group.primary == Some(me))
                })
        };
        let waits = self.away_tasks.len()
            + self.away_requests.len()
            + self.held_tasks.len()
            + self.held_requests.len()
            + self.gated.len()
            + self.waiting_seats.len()
            + self.waiting.len()
            + self.queue.len();
        waits == 0 && self.map.index == map.index && map.partitions().all(rests)
    }

    /// What waits, and for what; for those who watch.
    #[must_use]
    pub fn waits(&self) -> String {
        let seats: BTreeMap<PartitionId, String> = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.waiting.is_empty() || !seat.slot.machine.replica().is_quiet())
            .map(|(id, seat)| (*id, seat.slot.machine.replica().summary()))
            .collect();
        let (tasks, requests) = (&self.away_tasks, &self.away_requests);
        let (held_tasks, held_requests) = (&self.held_tasks, &self.held_requests);
        let gated: Vec<PartitionId> = self.gated.keys().copied().collect();
        let (node, registered, peers) = (self.config.node, self.registered, &self.peers);
        format!(
            "node {node} registered {registered} peers {peers:?} seats {seats:?} tasks {tasks:?} requests {requests:?} held {held_tasks:?} {held_requests:?} \
             gated {gated:?}"
        )
    }

    /// What is in memory now.
    #[must_use]
    pub fn population(&self) -> Population {
        Population {
            sessions: self.sessions.len(),
            mailboxes: self.mailboxes.len(),
            partitions: self.seats.len(),
            accounts: self.directory.as_ref().map_or(0, |slot| slot.machine.account_count()),
            deliveries: self.delivery.as_ref().map_or(0, |slot| slot.machine.depth()),
            credits_taken: self.admission.taken(),
            credits_allowed: self.admission.allowed(),
            waiting: self.waiting.len(),
            waiting_max: self.admission.limits().waiting_max,
            held: self.stats.held,
            refused: self.stats.refused,
            scrubs: self.scrub.as_ref().map(|scrub| scrub.sums()).unwrap_or_default(),
        }
    }
}

/// Somebody waits at a screen behind POP3 and IMAP; mail comes in behind the others.
pub(crate) fn rank_of(protocol: Protocol) -> Rank {
    match protocol {
        Protocol::Imap | Protocol::Pop3 | Protocol::Http | Protocol::Submission => {
            Rank::Interactive
        }
        Protocol::Smtp | Protocol::Lmtp => Rank::Delivery,
    }
}
