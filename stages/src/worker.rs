//! A worker group's loop: takes what arrived, runs the shard, sends one batch to each stage.
//!
//! The loop is driven from outside ([`Worker::turn`]), because a worker sleeps where its sockets are. It never blocks: reads
//! that the block cache can answer are answered at once, all others go to the reader pool.

use crate::readers::{ReadJob, ReadTask};
use crate::writer::{CommitDone, CommitJob};
use crate::{Clock, Drained, PortReceiver, PortSender, StageStats};
use fsm::{Mono, Token, Wall};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use vspace::store::{Read, Store, StoreError, Tier};
use vspace::{
    ConnectionOrder, DdsResponse, GroupId, Inward, LogEvent, Neighbour, NodeId, Outward, Packet,
    Passed, Question, ScrubRound, SessionId, SessionLine, Shard, Standing, Ticket, Verdict, Wake,
    WriteTimes,
};

/// How a worker batches. The defaults are the design; the others exist for the ablation of `make bench`.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Messages taken from other threads in one turn. Design section 3.
    pub messages_max: usize,
    /// Steps of machines in one turn: about 200 us.
    pub steps_max: usize,
}

impl WorkerConfig {
    /// Twice as many steps as messages, for what follows from them; of one message one step, which is the ablation.
    #[must_use]
    pub fn of(messages_max: usize) -> Self {
        let steps_max = if messages_max == 1 { 1 } else { messages_max * 2 };
        Self { messages_max, steps_max }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self::of(256)
    }
}

/// What a worker asks of the thread it runs on: sockets, logs, password hashes.
pub trait Host {
    /// To the connection of a session. Orders of one session come in order.
    fn connection(&mut self, session: SessionId, order: ConnectionOrder);
    fn log(&mut self, event: LogEvent);
    fn hash(&mut self, order: HashOrder);
    /// Deciding extensions are asked; the session hears of it, or not.
    fn decide(&mut self, session: SessionId, token: Token, question: Arc<Question>);
    fn operator_done(&mut self, session: SessionId, token: Token, completion: vspace::Completion);
    fn operator_notice(&mut self, session: SessionId, notice: vspace::Notice);
    /// For the readers of event logs on this node.
    fn wake(&mut self, wake: Wake);
    fn sessions(&mut self, token: Token, lines: Vec<SessionLine>);
    fn kicked(&mut self, token: Token, count: u64);
    /// Nodes that did not say that they have ended the sessions of a user.
    fn kick_told(&mut self, token: Token, unanswered: Vec<NodeId>);
    fn loaded(&mut self, token: Token, loaded: bool);
    /// The answers to clients of the hash table, by what each knows its request as.
    fn clients_done(&mut self, answers: Vec<(u64, DdsResponse)>);
    /// A request that is followed has passed.
    fn passed(&mut self, passed: Passed);
    /// A scrub that was asked for has ended; these nodes did not do their part.
    fn scrubbed(&mut self, token: Token, round: ScrubRound, missed: Vec<NodeId>);
    /// For other nodes, in order.
    fn packets(&mut self, packets: Vec<(NodeId, Packet)>);
    /// What this node is to its cluster.
    fn standing(&mut self, standing: Standing);
    fn decided(&mut self, token: Token, verdict: Verdict);
    /// The accounts are loaded.
    fn ready(&mut self);
}

/// Work for the hash pool.
#[derive(Debug)]
pub enum HashOrder {
    Verify { token: Token, peer: std::net::IpAddr, phc: String, secret: bytes::Bytes },
    Make { token: Token, secret: bytes::Bytes },
}

/// The stages around a worker.
pub struct Around {
    pub port: PortReceiver<Inward>,
    pub writer: PortSender<CommitJob<Ticket>>,
    pub readers: PortSender<ReadJob<Inward>>,
    /// Every group of the node, this one included.
    pub neighbours: Vec<PortSender<Inward>>,
    pub store: Arc<dyn Store>,
    pub stats: Arc<StageStats>,
    pub gauges: Arc<Gauges>,
    /// Runs a body search on a reader.
    pub run_match: RunMatch,
}

/// How a body search reads the store; see [`vspace::MatchJob`].
pub type RunMatch = Arc<
    dyn Fn(vspace::MatchJob, &dyn Store) -> Result<vspace::MatchHits, vspace::TaskRefusal>
        + Send
        + Sync,
>;

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("neighbours", &self.neighbours.len()).finish_non_exhaustive()
    }
}

/// What a worker group holds, as of its last turn; for whoever renders `status`.
#[derive(Debug, Default)]
pub struct Gauges(std::sync::Mutex<vspace::Population>);

impl Gauges {
    /// The population as of the last turn.
    #[must_use]
    pub fn get(&self) -> vspace::Population {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// One worker group on its thread.
#[derive(Debug)]
pub struct Worker {
    shard: Shard,
    group: GroupId,
    config: WorkerConfig,
    around: Around,
    inward: Vec<Inward>,
    out: Vec<Outward>,
    commits: Vec<CommitJob<Ticket>>,
    reads: Vec<ReadJob<Inward>>,
    letters: Vec<Vec<Inward>>,
    packets: Vec<(NodeId, Packet)>,
    answers: Vec<(u64, DdsResponse)>,
    counted: (u64, u64),
    stopping: bool,
}

/// What a turn left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do at once.
    More,
    /// Nothing until something arrives, or this deadline.
    Rest(Option<Mono>),
    /// The node stops.
    Closed,
}

impl Worker {
    #[must_use]
    pub fn new(shard: Shard, group: GroupId, config: WorkerConfig, around: Around) -> Self {
        let letters = around.neighbours.iter().map(|_| Vec::new()).collect();
        Self {
            shard,
            group,
            config,
            around,
            inward: Vec::new(),
            out: Vec::new(),
            commits: Vec::new(),
            reads: Vec::new(),
            letters,
            packets: Vec::new(),
            answers: Vec::new(),
            counted: (0, 0),
            stopping: false,
        }
    }

    /// The machines of this group: for what the sockets of the same thread bring.
    pub fn shard(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// Where other threads send to this worker, and how it sleeps.
    #[must_use]
    pub fn port(&self) -> &PortReceiver<Inward> {
        &self.around.port
    }

    /// Takes what the sockets of this thread brought, for the next turn.
    pub fn take(&mut self, inward: &mut Vec<Inward>) {
        self.inward.append(inward);
    }

    /// One round: drain, run, send.
    pub fn turn(&mut self, host: &mut dyn Host) -> Turn {
        let began = Clock.mono();
        let now = (began, Clock.wall());
        let mut inward = std::mem::take(&mut self.inward);
        let drained = self.around.port.drain(began, self.config.messages_max, &mut inward);
        let filled = matches!(drained, Drained::Took(count) if count >= self.config.messages_max);
        self.shard.set_now(now);
        for message in inward.drain(..) {
            self.stopping |= matches!(message, Inward::Stop);
            self.shard.accept(message);
        }
        self.inward = inward;
        let more = self.run(now, host);
        if !self.packets.is_empty() {
            host.packets(std::mem::take(&mut self.packets));
        }
        if !self.answers.is_empty() {
            host.clients_done(std::mem::take(&mut self.answers));
        }
        self.send(began);
        self.count(began);
        if more || filled {
            Turn::More
        } else if self.stopping || drained == Drained::Disconnected {
            Turn::Closed
        } else {
            Turn::Rest(self.shard.next_deadline())
        }
    }

    /// Runs the shard, and goes on while memory answers its reads: each time that a turn ends with work left, the sockets are
    /// asked between, which costs a system call. True when the steps of the turn are used up, and work is left.
    fn run(&mut self, now: (Mono, Wall), host: &mut dyn Host) -> bool {
        let mut left = self.config.steps_max;
        let mut out = std::mem::take(&mut self.out);
        let more = loop {
            let before = self.shard.stats().steps;
            let mut more = self.shard.run(now, left, &mut out);
            for outward in out.drain(..) {
                more |= self.on_outward(now.0, outward, host);
            }
            let stepped = self.shard.stats().steps - before;
            left = left.saturating_sub(usize::try_from(stepped).unwrap_or(usize::MAX));
            if !more || left == 0 {
                break more;
            }
        };
        self.out = out;
        more
    }

    /// True when the shard has something to do at once.
    fn on_outward(&mut self, now: Mono, outward: Outward, host: &mut dyn Host) -> bool {
        match outward {
            Outward::Connection { session, order } => host.connection(session, order),
            Outward::Commit { ticket, group, durability } => {
                let reply = usize::from(self.group.0);
                self.commits.push(CommitJob { reply, ticket, queued: now, group, durability });
            }
            Outward::Read { ticket, read } => return self.read(ticket, read),
            Outward::Match { user, token, job } => {
                let store = Arc::clone(&self.around.store);
                let run_match = Arc::clone(&self.around.run_match);
                self.read_later(Box::new(move || Inward::Matched {
                    user,
                    token,
                    hits: run_match(job, &*store),
                }));
            }
            Outward::VerifyHash { token, peer, phc, secret } => {
                host.hash(HashOrder::Verify { token, peer, phc, secret });
            }
            Outward::Rehash { token, secret } => host.hash(HashOrder::Make { token, secret }),
            Outward::Decide { session, token, question } => host.decide(session, token, question),
            Outward::Log(event) => host.log(event),
            Outward::OperatorDone { session, token, completion } => {
                host.operator_done(session, token, completion);
            }
            Outward::OperatorNotice { session, notice } => host.operator_notice(session, notice),
            Outward::Wake(wake) => host.wake(wake),
            Outward::Sessions { token, lines } => host.sessions(token, lines),
            Outward::Kicked { token, count } => host.kicked(token, count),
            Outward::KickTold { token, unanswered } => host.kick_told(token, unanswered),
            Outward::Loaded { token, loaded } => host.loaded(token, loaded),
            Outward::ClientDone { origin, response } => self.answers.push((origin, *response)),
            Outward::Passed(passed) => host.passed(passed),
            Outward::Scrubbed { token, round, missed } => host.scrubbed(token, round, missed),
            Outward::Neighbour { group, message } => self.tell(group, message),
            Outward::Peer { to, packet } => self.packets.push((to, packet)),
            Outward::Standing(standing) => host.standing(standing),
            Outward::Decided { token, verdict } => host.decided(token, verdict),
            Outward::Ready => host.ready(),
        }
        false
    }

    fn tell(&mut self, group: GroupId, message: Neighbour) {
        let letters = self.letters.get_mut(usize::from(group.0));
        letters.expect("groups are numbered below their count").push(Inward::Neighbour(message));
    }

    fn read(&mut self, ticket: Ticket, read: Read) -> bool {
        match self.around.store.read(&read, Tier::Memory) {
            Ok(vspace::store::ReadDone::Miss) | Err(StoreError::Io(_)) => {
                let store = Arc::clone(&self.around.store);
                self.read_later(Box::new(move || {
                    let result = store.read(&read, Tier::Disk);
                    Inward::ReadDone { ticket, result }
                }));
                false
            }
            result @ (Ok(_) | Err(_)) => {
                self.shard.accept(Inward::ReadDone { ticket, result });
                true
            }
        }
    }

    fn read_later(&mut self, task: ReadTask<Inward>) {
        self.reads.push(ReadJob { reply: usize::from(self.group.0), task });
    }

    /// One batch per destination thread.
    fn send(&mut self, now: Mono) {
        // What comes here was admitted, so its number is bounded: it travels as completions do.
        self.around.writer.complete(now, std::mem::take(&mut self.commits));
        self.around.readers.complete(now, std::mem::take(&mut self.reads));
        for (letters, neighbour) in self.letters.iter_mut().zip(&self.around.neighbours) {
            neighbour.complete(now, std::mem::take(letters));
        }
    }

    fn count(&mut self, began: Mono) {
        let stats = self.shard.stats();
        let (steps, runs) = (stats.steps, stats.runs);
        if runs > self.counted.1 {
            let service = Clock.mono().since(began).as_nanos();
            let counts = &self.around.stats;
            counts.service.record(u64::try_from(service).unwrap_or(u64::MAX), 1);
            counts.batch.record(steps - self.counted.0, 1);
            counts.served.fetch_add(steps - self.counted.0, Relaxed);
            counts.refusals.store(stats.refused, Relaxed);
            *self.around.gauges.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                self.shard.population();
            self.counted = (steps, runs);
        }
    }
}

/// Sends completions of the writer to a worker.
#[must_use]
pub fn commits_to(port: PortSender<Inward>) -> Box<dyn Fn(Mono, Vec<CommitDone<Ticket>>) + Send> {
    Box::new(move |now, done| {
        let inward = done.into_iter().map(|done| Inward::Stored {
            ticket: done.ticket,
            result: done.result,
            times: WriteTimes { queued: done.queued, began: done.began, ended: now },
        });
        port.complete(now, inward.collect());
    })
}
