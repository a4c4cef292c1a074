//! Between worker threads and the rest of the node: what [`crate::edge::Service`] asks, answered by logs, TLS material, the
//! hash pool, and whoever waits for an operator's answer.

use super::full_text::NodeIndex;
use crate::control::{ScrubReport, Woken};
use crate::edge::{Doorkeeper, ListenerState, Service};
use crate::extensions::Deciding;
use crate::life::Stranger;
use crate::passwords::{HashDone, HashJob, HashKind, HashOutcome, HashPool, Secret};
use crate::tls::TlsContext;
use dds::cluster::{ClusterMap, Command, Relief, Session};
use dds::scrub::Round;
use dds::{PartitionId, Report};
use fsm::Token;
use mailstore::directory::HashVerdict;
use mailstore::face::{Decision, LogEvent, Notice, Question, SessionId, SessionInput, UserId};
use rustls::ServerConfig;
use stages::{Clock, HashOrder, PortSender};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use vspace::{
    Completion, DdsResponse, Inward, NodeId, Packet, Passed, SessionLine, Standing, Verdict, Wake,
    group_of,
};

/// Damaged mailboxes that are remembered; with more of them the disk is gone.
const DAMAGED_MAX: usize = 100;

/// Findings of the scrub that are remembered.
const FOUND_MAX: usize = 20;

/// The node's side of its workers.
pub struct Bridge {
    pub tls: Arc<TlsContext>,
    pub listeners: Vec<Arc<ListenerState>>,
    pub door: Arc<Doorkeeper>,
    /// The full-text index.
    pub index: Arc<NodeIndex>,
    ports: OnceLock<Vec<PortSender<Inward>>>,
    pool: OnceLock<Arc<HashPool>>,
    /// Only where extensions decide.
    deciding: OnceLock<Deciding>,
    operators: Mutex<HashMap<u64, oneshot::Sender<Completion>>>,
    /// Who listens for what masters tell sessions of the node's own.
    listening: Mutex<HashMap<SessionId, mpsc::UnboundedSender<Notice>>>,
    /// Who reads event logs, by session.
    feeds: Mutex<HashMap<SessionId, mpsc::UnboundedSender<Woken>>>,
    session_lists: Mutex<HashMap<u64, oneshot::Sender<Vec<SessionLine>>>>,
    kicks: Mutex<HashMap<u64, oneshot::Sender<u64>>>,
    user_kicks: Mutex<HashMap<u64, oneshot::Sender<Vec<NodeId>>>>,
    looks: Mutex<HashMap<u64, oneshot::Sender<bool>>>,
    /// Mailboxes that were found damaged since the start, and how.
    damaged: Mutex<BTreeMap<UserId, String>>,
    /// The last findings of the scrub, oldest first.
    found: Mutex<VecDeque<String>>,
    scrubs: Mutex<HashMap<u64, oneshot::Sender<ScrubReport>>>,
    tokens: AtomicU64,
    /// The way to the other nodes; none on a node alone.
    peers: OnceLock<mpsc::UnboundedSender<crate::peers::Batch>>,
    /// What has been sent to them.
    pub traffic: Arc<crate::peers::Traffic>,
    /// How the links with them stand.
    pub standings: Arc<crate::peers::Standings>,
    commands: Mutex<HashMap<u64, oneshot::Sender<Verdict>>>,
    /// Only a benchmark has some.
    clients: OnceLock<Arc<dyn HashTableClients>>,
    cluster: Mutex<ClusterView>,
    /// Told once, when the node has no place in its cluster any more.
    endings: watch::Sender<Option<Ending>>,
    pub is_ready: AtomicBool,
    pub became_ready: Notify,
}

/// The cluster as this node knows it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    pub map: ClusterMap,
    pub leader: Option<NodeId>,
    /// What this node is registered as; none while it is not.
    pub session: Option<Session>,
    /// What nodes say of themselves, this one among them.
    pub reports: BTreeMap<NodeId, Arc<Report>>,
}

/// Clients of the hash table in the process of the node. Called by workers, which must not wait.
pub trait HashTableClients: Send + Sync {
    /// Answers, by the number that each client gave its request.
    fn done(&self, answers: Vec<(u64, DdsResponse)>);
    /// A request that is followed has passed.
    fn passed(&self, passed: Passed);
}

/// Why a node stops by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Removed,
    OldImage,
    /// The cluster goes on without it.
    LeftBehind,
    /// It is a cluster of its own beside that of others.
    FoundedApart,
    Stopped(String),
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    pub fn new(
        tls: Arc<TlsContext>,
        listeners: Vec<Arc<ListenerState>>,
        door: Arc<Doorkeeper>,
        index: Arc<NodeIndex>,
    ) -> Self {
        Self {
            tls,
            listeners,
            door,
            index,
            ports: OnceLock::new(),
            pool: OnceLock::new(),
            deciding: OnceLock::new(),
            operators: Mutex::default(),
            listening: Mutex::default(),
            feeds: Mutex::default(),
            session_lists: Mutex::default(),
            kicks: Mutex::default(),
            user_kicks: Mutex::default(),
            looks: Mutex::default(),
            damaged: Mutex::default(),
            found: Mutex::default(),
            scrubs: Mutex::default(),
            // Of every run others: another node may still answer an earlier one.
            tokens: AtomicU64::new(super::draw().unwrap_or_default() >> 2),
            peers: OnceLock::new(),
            traffic: Arc::default(),
            standings: Arc::default(),
            commands: Mutex::default(),
            clients: OnceLock::new(),
            cluster: Mutex::default(),
            endings: watch::channel(None).0,
            is_ready: AtomicBool::new(false),
            became_ready: Notify::new(),
        }
    }

    /// Joins the workers and the hash pool to the bridge; once, before anything runs.
    pub fn join(&self, ports: Vec<PortSender<Inward>>, pool: Arc<HashPool>) {
        let twice = "a node starts once";
        assert!(self.ports.set(ports).is_ok(), "{twice}");
        assert!(self.pool.set(pool).is_ok(), "{twice}");
    }

    /// Joins the deciding extensions.
    pub fn join_deciding(&self, deciding: Deciding) {
        assert!(self.deciding.set(deciding).is_ok(), "a node starts once");
    }

    /// The way to them; `None`: the file names none, or the node is starting.
    pub fn deciding(&self) -> Option<Deciding> {
        self.deciding.get().cloned()
    }

    /// Gives a session what was decided about its message.
    pub fn decided(&self, session: SessionId, token: Token, decisions: Vec<Decision>) {
        let input = SessionInput::Decided { token, decisions };
        self.tell(usize::from(group_of(session).0), Inward::Session { session, input });
    }

    /// Joins the connections with other nodes.
    pub fn join_peers(&self, peers: mpsc::UnboundedSender<crate::peers::Batch>) {
        assert!(self.peers.set(peers).is_ok(), "a node starts once");
    }

    /// Joins clients of the hash table.
    pub fn join_clients(&self, clients: Arc<dyn HashTableClients>) {
        assert!(self.clients.set(clients).is_ok(), "a node starts once");
    }

    /// The way to the worker groups.
    pub fn ports(&self) -> &[PortSender<Inward>] {
        self.ports.get().map_or(&[], Vec::as_slice)
    }

    /// The cluster as this node knows it.
    pub fn cluster(&self) -> ClusterView {
        lock(&self.cluster).clone()
    }

    /// A node of another cluster has shown itself to node `me`. One that is alone has to give way: the same users would be
    /// served twice.
    pub fn meet(&self, me: NodeId, stranger: Stranger) {
        let fresh = super::place::is_fresh(&lock(&self.cluster).map, me);
        let ending = match stranger {
            Stranger::Later => Ending::LeftBehind,
            Stranger::Apart if fresh => Ending::FoundedApart,
            Stranger::Apart | Stranger::Earlier => return,
        };
        self.endings.send_replace(Some(ending));
    }

    /// Looks at it without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&ClusterView) -> T) -> T {
        look(&lock(&self.cluster))
    }

    /// Changes when the node has to stop by itself.
    pub fn endings(&self) -> watch::Receiver<Option<Ending>> {
        self.endings.subscribe()
    }

    /// Asks for a change of the cluster map.
    pub async fn command(&self, command: Command) -> Option<Verdict> {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.commands).insert(token.0, tell);
        self.tell(0, Inward::Command { token, command });
        told.await.ok()
    }

    pub fn pool(&self) -> Option<&Arc<HashPool>> {
        self.pool.get()
    }

    /// Sends to a worker group.
    pub fn tell(&self, group: usize, inward: Inward) {
        if let Some(port) = self.ports.get().and_then(|ports| ports.get(group)) {
            port.complete(Clock.mono(), vec![inward]);
        }
    }

    pub fn groups(&self) -> usize {
        self.ports.get().map_or(0, Vec::len)
    }

    fn token(&self) -> Token {
        Token(self.tokens.fetch_add(1, Relaxed) + 1)
    }

    /// Does a task under an operator's session.
    pub async fn submit(
        &self,
        session: SessionId,
        task: mailstore::face::Task,
    ) -> Option<Completion> {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.operators).insert(token.0, tell);
        self.tell(0, Inward::Operator { session, token, task });
        told.await.ok()
    }

    /// What masters tell a session of the node's own, from now on.
    pub fn listen(&self, session: SessionId) -> mpsc::UnboundedReceiver<Notice> {
        let (tell, told) = mpsc::unbounded_channel();
        lock(&self.listening).insert(session, tell);
        told
    }

    /// What wakes the reader of event logs under this session, from now on.
    pub fn feed(&self, session: SessionId) -> mpsc::UnboundedReceiver<Woken> {
        let (tell, told) = mpsc::unbounded_channel();
        lock(&self.feeds).insert(session, tell);
        told
    }

    /// A session of the node's own ends.
    pub fn end_own(&self, session: SessionId) {
        lock(&self.listening).remove(&session);
        lock(&self.feeds).remove(&session);
        self.tell(0, Inward::OperatorGone { session });
    }

    /// The sessions of one group.
    pub async fn list_sessions(&self, group: usize) -> Vec<SessionLine> {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.session_lists).insert(token.0, tell);
        self.tell(group, Inward::ListSessions { token });
        told.await.unwrap_or_default()
    }

    /// Ends sessions of one group.
    pub async fn kick(&self, group: usize, sessions: Vec<SessionId>) -> u64 {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.kicks).insert(token.0, tell);
        self.tell(group, Inward::KickSessions { token, sessions });
        told.await.unwrap_or(0)
    }

    /// Ends the sessions of a user on every node; the nodes that did not answer.
    pub async fn kick_user(&self, user: UserId) -> Vec<NodeId> {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.user_kicks).insert(token.0, tell);
        self.tell(0, Inward::KickUser { token, user });
        told.await.unwrap_or_default()
    }

    /// Whether the master of a user is in memory.
    pub async fn is_loaded(&self, group: usize, user: UserId) -> bool {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.looks).insert(token.0, tell);
        self.tell(group, Inward::IsLoaded { token, user });
        told.await.unwrap_or(false)
    }

    /// Scrubs everything, on all nodes.
    pub async fn scrub(&self) -> Option<ScrubReport> {
        let token = self.token();
        let (tell, told) = oneshot::channel();
        lock(&self.scrubs).insert(token.0, tell);
        self.tell(0, Inward::Scrub { token });
        told.await.ok()
    }

    /// The last findings of the scrub, oldest first.
    pub fn scrub_findings(&self) -> Vec<String> {
        lock(&self.found).iter().cloned().collect()
    }

    /// Mailboxes that were found damaged since the start, and how.
    pub fn damaged(&self) -> BTreeMap<UserId, String> {
        lock(&self.damaged).clone()
    }

    /// Queues a job for the hash pool; a full queue is answered at once.
    fn hash(&self, peer: IpAddr, (token, waiter): (Token, HashWaiter), kind: HashKind) {
        let Some(pool) = self.pool.get() else { return };
        let id = token.0 << 1 | waiter as u64;
        if pool.submit(HashJob { id, peer, kind }).is_err() {
            self.tell(0, answer_of(token, waiter, None));
        }
    }

    /// The hash pool has an answer.
    pub fn on_hash_done(&self, done: HashDone) {
        let waiter =
            if done.id & 1 == 0 { HashWaiter::Verification } else { HashWaiter::Replacement };
        self.tell(0, answer_of(Token(done.id >> 1), waiter, Some(done.outcome)));
    }
}

/// What the directory waits for; the lowest bit of a job's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HashWaiter {
    Verification = 0,
    Replacement = 1,
}

/// `None`: the pool had no room.
fn answer_of(token: Token, waiter: HashWaiter, outcome: Option<HashOutcome>) -> Inward {
    match waiter {
        HashWaiter::Verification => {
            let verdict = match outcome {
                Some(HashOutcome::Matched { .. }) => HashVerdict::Matches,
                Some(HashOutcome::Mismatched | HashOutcome::Made(_) | HashOutcome::Failed) => {
                    HashVerdict::Differs
                }
                None => HashVerdict::Busy,
            };
            Inward::Hashed { token, verdict }
        }
        HashWaiter::Replacement => {
            let phc = match outcome {
                Some(HashOutcome::Made(stored)) => Some(stored),
                Some(
                    HashOutcome::Matched { .. } | HashOutcome::Mismatched | HashOutcome::Failed,
                )
                | None => None,
            };
            Inward::Rehashed { token, phc }
        }
    }
}

impl Service for Bridge {
    fn tls_config(&self) -> Arc<ServerConfig> {
        self.tls.server_config()
    }

    fn log(&self, event: LogEvent) {
        if let LogEvent::Trouble { user: Some(user), what, .. } = &event {
            let mut damaged = lock(&self.damaged);
            if damaged.len() < DAMAGED_MAX || damaged.contains_key(user) {
                damaged.insert(*user, what.clone());
            }
        }
        if let LogEvent::Trouble { part: "scrub", what, .. } = &event {
            let mut found = lock(&self.found);
            if found.len() >= FOUND_MAX {
                found.pop_front();
            }
            found.push_back(what.clone());
        }
        crate::log::write_event(event);
    }

    fn hash(&self, _group: usize, order: HashOrder) {
        match order {
            HashOrder::Verify { token, peer, phc, secret } => {
                let kind =
                    HashKind::Verify { stored: phc.into(), secret: Secret::new(secret.to_vec()) };
                self.hash(peer, (token, HashWaiter::Verification), kind);
            }
            HashOrder::Make { token, secret } => {
                let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                let kind = HashKind::Make { secret: Secret::new(secret.to_vec()) };
                self.hash(peer, (token, HashWaiter::Replacement), kind);
            }
        }
    }

    fn decide(&self, session: SessionId, token: Token, question: Arc<Question>) {
        match self.deciding.get() {
            Some(deciding) => deciding.ask(session, token, question),
            // The node is starting, or ends.
            None => self.decided(session, token, Vec::new()),
        }
    }

    fn operator_done(&self, _session: SessionId, token: Token, completion: Completion) {
        if let Some(tell) = lock(&self.operators).remove(&token.0) {
            let _told = tell.send(completion);
        }
    }

    fn operator_notice(&self, session: SessionId, notice: Notice) {
        if let Some(tell) = lock(&self.listening).get(&session) {
            let _told = tell.send(notice);
        }
    }

    fn wake(&self, wake: Wake) {
        let feeds = lock(&self.feeds);
        match wake {
            Wake::Stirred { session, user } => {
                if let Some(tell) = feeds.get(&session) {
                    let _told = tell.send(Woken::Stirred(user));
                }
            }
            Wake::Unsure { partitions } => {
                let partitions: Arc<[PartitionId]> = partitions.into();
                for tell in feeds.values() {
                    let _told = tell.send(Woken::Unsure(Arc::clone(&partitions)));
                }
            }
        }
    }

    fn sessions(&self, token: Token, lines: Vec<SessionLine>) {
        if let Some(tell) = lock(&self.session_lists).remove(&token.0) {
            let _told = tell.send(lines);
        }
    }

    fn kicked(&self, token: Token, count: u64) {
        if let Some(tell) = lock(&self.kicks).remove(&token.0) {
            let _told = tell.send(count);
        }
    }

    fn kick_told(&self, token: Token, unanswered: Vec<NodeId>) {
        if let Some(tell) = lock(&self.user_kicks).remove(&token.0) {
            let _told = tell.send(unanswered);
        }
    }

    fn loaded(&self, token: Token, loaded: bool) {
        if let Some(tell) = lock(&self.looks).remove(&token.0) {
            let _told = tell.send(loaded);
        }
    }

    fn clients_done(&self, answers: Vec<(u64, DdsResponse)>) {
        if let Some(clients) = self.clients.get() {
            clients.done(answers);
        }
    }

    fn passed(&self, passed: Passed) {
        if let Some(clients) = self.clients.get() {
            clients.passed(passed);
        }
    }

    fn scrubbed(&self, token: Token, round: Round, missed: Vec<NodeId>) {
        if let Some(tell) = lock(&self.scrubs).remove(&token.0) {
            let missed_nodes = missed.into_iter().map(|node| node.0).collect();
            let _told = tell.send(ScrubReport { round, missed_nodes });
        }
    }

    fn packets(&self, packets: Vec<(NodeId, Packet)>) {
        if let Some(peers) = self.peers.get() {
            // The thread ends with the process.
            let _sent = peers.send(packets);
        }
    }

    fn standing(&self, standing: Standing) {
        use crate::config::LogLevel;
        let ending = match standing {
            Standing::Map(delta) => {
                let view = &mut *lock(&self.cluster);
                view.map.patch(&delta);
                view.reports.retain(|node, _| view.map.nodes.contains_key(node));
                return;
            }
            Standing::Registered(session) => {
                lock(&self.cluster).session = Some(session);
                return;
            }
            Standing::Unregistered => {
                lock(&self.cluster).session = None;
                return;
            }
            Standing::Leader(leader) => {
                lock(&self.cluster).leader = leader;
                return;
            }
            Standing::Reported { node, report } => {
                lock(&self.cluster).reports.insert(node, report);
                return;
            }
            Standing::Event(dds::control::Event::Relieving(relief)) => return note_relief(&relief),
            Standing::Event(event) => {
                let with = vec![("event", format!("{event:?}"))];
                return crate::log::note(LogLevel::Info, "control plane", with);
            }
            Standing::Removed => Ending::Removed,
            Standing::OldImage => Ending::OldImage,
            Standing::Stopped(why) => Ending::Stopped(why),
        };
        self.endings.send_replace(Some(ending));
    }

    fn decided(&self, token: Token, verdict: Verdict) {
        if let Some(tell) = lock(&self.commands).remove(&token.0) {
            let _told = tell.send(verdict);
        }
    }

    fn ready(&self) {
        self.is_ready.store(true, Relaxed);
        self.became_ready.notify_waiters();
    }

    fn connection_ended(&self, (listener, ip): (usize, IpAddr)) {
        if let Some(state) = self.listeners.get(listener) {
            state.open.fetch_sub(1, Relaxed);
        }
        self.door.leave(ip);
    }
}

/// This node leads the control group, and moves a hot partition.
fn note_relief(relief: &Relief) {
    crate::metrics::COUNTERS.relieved.add(1);
    let fields = vec![
        ("partition", relief.partition.0.to_string()),
        ("load", relief.load.to_string()),
        ("from", relief.from.0.to_string()),
        ("from_load", relief.from_load.to_string()),
        ("to", relief.to.0.to_string()),
        ("to_load", relief.to_load.to_string()),
    ];
    crate::log::note(crate::config::LogLevel::Info, "hot partition moves", fields);
}
