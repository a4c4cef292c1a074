//! What the admin API may ask of a running node, and the reports it gets back.
//!
//! [`Control`] is implemented by the running service and called by the admin server alone. Everything a session can ask goes
//! through [`Control::submit`]; the rest is what only an operator asks.
//!
//! Absences: nothing here knows gRPC, HTTP, sockets or how the node is wired inside.

use mailstore::face::{Completion, Notice, Protocol, SessionId, Task, UserId};
use serde::Serialize;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// An answer on its way.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, ControlError>> + Send + 'a>>;

/// Told (done, total) while long work runs; total is 0 while unknown.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// The running node as operators see it.
pub trait Control: Send + Sync + 'static {
    /// A session of the node's own, for tasks of operators and of browsers.
    fn open_session(&self) -> SessionId;

    /// Ends what [`Control::open_session`] began: its folders are closed, its pending appends dropped.
    fn close_session(&self, session: SessionId);

    /// What masters tell a session of the node's own, from now on until it is closed. Without it notices are dropped.
    fn listen(&self, session: SessionId) -> mpsc::UnboundedReceiver<Notice>;

    /// Does one task on behalf of a session of the node's own, on the lane for people who wait. `Completion::Refused` is an
    /// answer like others; the error is for a node that can't answer at all.
    fn submit(&self, session: SessionId, task: Task) -> Reply<'_, Completion>;

    /// Who is connected.
    fn sessions(&self) -> Reply<'_, Vec<SessionReport>>;

    /// Ends the sessions that match; how many there were.
    fn kick(&self, whom: Kick) -> Reply<'_, u64>;

    /// A snapshot of the node.
    fn status(&self) -> Reply<'_, StatusReport>;

    /// Which node and partition serve a user.
    fn locate(&self, user: UserId) -> Reply<'_, Location>;

    /// Asks the cluster for a change of one of its nodes, by name.
    fn change_node(&self, node: String, change: NodeChange) -> Reply<'_, ()>;

    /// How far a node is from holding what it should (joining), or nothing (draining).
    fn node_progress(&self, node: String, change: NodeChange) -> Reply<'_, NodeProgress>;

    /// Makes a node, by name, the master of a user; done when it is.
    fn move_user(&self, user: UserId, node: String) -> Reply<'_, Moved>;

    /// Writes a complete, consistent copy of the store into `dir`, which does not exist yet: all that was acknowledged before
    /// the call began.
    fn backup(&self, dir: PathBuf, progress: Progress) -> Reply<'_, BackupReport>;

    /// Verifies everything in the store as it is when the check begins: checksums, references, indexes against logs. Off
    /// the workers, past the cache.
    fn check(&self, progress: Progress) -> Reply<'_, CheckReport>;

    /// The largest message that is taken.
    fn message_bytes_max(&self) -> u64;

    /// Whether clients are served: `/readyz`.
    fn is_ready(&self) -> bool;
}

/// What an operator may want of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// It shall hold its share.
    Join,
    /// It shall hold nothing.
    Drain,
    /// It leaves the cluster, and holds nothing any more.
    Remove,
}

/// How far a change has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeProgress {
    /// Partitions that are as they should be, of how many.
    pub done: u64,
    pub total: u64,
    /// What keeps it, when something does.
    pub waits_for: String,
}

/// A mailbox that has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub partition: u16,
    pub from: String,
    pub to: String,
    pub elapsed_ms: u64,
}

/// A node as the cluster knows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NodeReport {
    pub number: u16,
    pub name: String,
    pub address: String,
    pub is_up: bool,
    pub draining: bool,
    pub voter: bool,
    pub leader: bool,
    pub session: u64,
    /// Partitions that it leads, holds in sync, and is being filled with.
    pub primaries: u64,
    pub in_sync: u64,
    pub learning: u64,
    pub zone: String,
}

/// The cluster as a whole.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ClusterReport {
    pub map_index: u64,
    pub replicas: u8,
    pub min_in_sync: u8,
    pub min_in_sync_wanted: u8,
    /// Partitions that are to change hands or members.
    pub moves: u64,
    pub feature_level: u32,
}

/// Why the node does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the node is stopping")]
    Stopping,
    /// The text names the thing, the reason and the next step.
    #[error("{0}")]
    Failed(String),
}

/// Sessions to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kick {
    Session(SessionId),
    /// All sessions of an account, by its canonical address.
    Account(String),
    Ip(IpAddr),
}

/// One line of `session list`.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    pub session: u64,
    #[serde(serialize_with = "protocol_name")]
    pub protocol: Protocol,
    pub ip: IpAddr,
    /// Once logged in.
    pub account: Option<String>,
    /// Version and cipher suite; `None`: plaintext.
    pub tls: Option<String>,
    pub connected_seconds: u64,
    /// Since the client last sent something.
    pub idle_seconds: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// In words of the protocol, as in `selected INBOX, IDLE`.
    pub activity: String,
}

fn protocol_name<S: serde::Serializer>(protocol: &Protocol, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(protocol.name())
}

/// The state of a node: `status`, and the source of `/metrics`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StatusReport {
    pub node: String,
    pub version: String,
    pub cluster: String,
    pub state: NodeState,
    pub pid: u32,
    pub uptime_seconds: u64,
    pub data: PathBuf,
    /// False: the node runs with `store.sync = false` and promises nothing.
    pub sync: bool,
    pub listeners: Vec<ListenerReport>,
    pub stages: Vec<StageReport>,
    pub admission: Vec<AdmissionReport>,
    pub store: StoreReport,
    pub partitions: PartitionsReport,
    pub sessions: u64,
    /// Masters in memory.
    pub users_loaded: u64,
    pub accounts: u64,
    /// Acceptances not yet delivered to all their recipients.
    pub deliveries_pending: u64,
    /// By number.
    pub nodes: Vec<NodeReport>,
    pub cluster_state: ClusterReport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    #[default]
    Starting,
    Ready,
    Draining,
}

/// One listener, with the address the kernel gave it.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerReport {
    /// The key of `[listen]`.
    pub name: String,
    /// `127.0.0.1:2143`, or `unix:/path`.
    pub address: String,
    pub connections: u64,
    pub accepted: u64,
    /// Turned away: too many connections, or no credit.
    pub refused: u64,
}

/// One stage: a worker, the store writer, the reader pool, the hash pool, the log writer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StageReport {
    pub name: String,
    /// Entries that wait now, and how many may; 0: what was admitted bounds them.
    pub depth: u64,
    pub depth_max: u64,
    /// Most that ever waited, where it is counted.
    pub depth_peak: Option<u64>,
    pub wait: Latency,
    pub service: Latency,
    pub processed: u64,
    pub batches: u64,
    /// Times a parked thread was woken.
    pub wakes: u64,
    /// Messages that changed thread to get here.
    pub hops: u64,
    pub refusals: u64,
}

/// What a worker lets in.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AdmissionReport {
    /// The stage.
    pub name: String,
    /// Bytes of work under way, and how many may be.
    pub taken_bytes: u64,
    pub allowed_bytes: u64,
    /// Tasks that wait now, and how many may.
    pub waiting: u64,
    pub waiting_max: u64,
    /// Tasks that had to wait, or were refused, since the start.
    pub held: u64,
    pub refused: u64,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub count: u64,
    pub sum_us: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

/// The brick.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoreReport {
    pub groups: u64,
    pub batches: u64,
    pub syncs: u64,
    pub bytes_written: u64,
    pub sync_time: Latency,
    /// Bytes in live files of the store.
    pub disk_bytes_used: u64,
    /// Bytes free on the file system of the data directory.
    pub disk_bytes_free: u64,
    pub cache_bytes: u64,
    pub memtable_bytes: u64,
    pub memory_hits: u64,
    pub memory_misses: u64,
    pub space: SpaceState,
    /// Damaged mailboxes that were met since the start, and how they are damaged.
    pub errors: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpaceState {
    #[default]
    Ample,
    /// Below the first watermark: deliveries get 452.
    Low,
    /// Below the second: only deletions pass.
    Exhausted,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PartitionsReport {
    pub count: u64,
    pub awake: u64,
    /// Replica groups with fewer in-sync replicas than configured.
    pub under_replicated: u64,
    /// Partitions with damage, or without replicas.
    pub unavailable: u64,
}

/// Where a mailbox is.
#[derive(Clone, Debug, Serialize)]
pub struct Location {
    pub node: String,
    pub partition: u16,
    pub worker: u16,
    pub loaded: bool,
    /// What is wrong with the mailbox or its partition, if anything.
    pub trouble: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    pub dir: PathBuf,
    pub files: u64,
    pub bytes: u64,
    /// What is damaged in the store, and in the copy.
    pub findings: Vec<Finding>,
}

/// What `check` found. Clean when `findings` is empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    pub entries: u64,
    pub bytes: u64,
    pub users: u64,
    pub messages: u64,
    pub blobs: u64,
    pub findings: Vec<Finding>,
}

/// One damage: what is damaged, how, and what to do.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub thing: String,
    pub reason: String,
    pub next_step: String,
}
