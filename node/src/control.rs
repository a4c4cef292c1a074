//! What the admin API may ask of a running node, and the reports it gets back.
//!
//! [`Control`] is implemented by the running service and called by the admin server alone. Everything a session can ask goes
//! through [`Control::submit`]; the rest is what only an operator asks.
//!
//! Absences: nothing here knows gRPC, HTTP, sockets or how the node is wired inside.

mod extensions;
mod lately;
mod replication;

pub use extensions::{ExtensionReport, IndexOrder, IndexReport};
pub use lately::{EventPlace, EventReport, EventsReport, EventsWanted, HistoryReport};
pub use operator_console::model::{
    Admission as AdmissionReport, ClusterState as ClusterReport, Latency,
    Listener as ListenerReport, Partitions as PartitionsReport, StagePoint,
};
pub use replication::{BehindReport, LinkReport, PartitionReport};

use crate::extensions::Deciding;
use dds::scrub::Round;
use mailstore::face::{Completion, Notice, Protocol, SessionId, Subscription, Task, UserId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
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

    /// What wakes the reader of event logs under this session, from now on until it is closed.
    fn feed(&self, session: SessionId) -> mpsc::UnboundedReceiver<Woken>;

    /// The partitions that this node leads: it is the master of the mailboxes in them.
    fn led(&self) -> BTreeSet<dds::PartitionId>;

    /// Does one task on behalf of a session of the node's own, on the lane for people who wait. `Completion::Refused` is an
    /// answer like others; the error is for a node that can't answer at all.
    fn submit(&self, session: SessionId, task: Task) -> Reply<'_, Completion>;

    /// Who is connected, and who has webmail open.
    fn sessions(&self) -> Reply<'_, Vec<SessionReport>>;

    /// Ends the sessions that match, of this node; how many there were. Browsers have to sign in again.
    fn kick(&self, whom: Kick) -> Reply<'_, u64>;

    /// Ends the sessions of a user on every node: on those that can't be reached now, when they are.
    fn kick_everywhere(&self, user: UserId) -> Reply<'_, ()>;

    /// A snapshot of the node.
    fn status(&self) -> Reply<'_, StatusReport>;

    /// Which node and partition serve a user.
    fn locate(&self, user: UserId) -> Reply<'_, Location>;

    /// Asks the cluster for a change of one of its nodes, by name.
    fn change_node(&self, node: String, change: NodeChange) -> Reply<'_, ()>;

    /// How far a node is from holding what it should (joining), or nothing (draining).
    fn node_progress(&self, node: String, change: NodeChange) -> Reply<'_, NodeProgress>;

    /// Makes a node, by name, the master of a user; done when it is. Without a name placement decides again.
    fn move_user(&self, user: UserId, node: String) -> Reply<'_, Moved>;

    /// Writes a complete, consistent copy of the store into `dir`, or a step of it: see [`BackupStep`].
    fn backup(&self, dir: PathBuf, step: BackupStep, progress: Progress)
    -> Reply<'_, BackupReport>;

    /// The cluster map, with everything that was agreed on before the call began.
    fn holders(&self) -> Reply<'_, HoldersReport>;

    /// What this node's copies of partitions hold; of none: of all that it holds in sync.
    fn survey(&self, partitions: Vec<u16>) -> Reply<'_, SurveyReport>;

    /// How many of these users have which node as their master, by number.
    fn masters(&self, users: &[UserId]) -> BTreeMap<u16, u64>;

    /// The master of a user, by name, and the partition.
    fn master(&self, user: UserId) -> (String, u16);

    /// Verifies everything in the store as it is when the check begins: checksums, references, indexes against logs. Off
    /// the workers, past the cache.
    fn check(&self, progress: Progress) -> Reply<'_, CheckReport>;

    /// The name of this node in the file.
    fn node_name(&self) -> String;

    /// The names of the other nodes of the cluster, by number.
    fn others(&self) -> Vec<String>;

    /// A connection on which another node answers what it answers operators, by name.
    fn reach(&self, node: String) -> Reply<'_, Box<dyn ByteStream>>;

    /// Starts a round of the scrub on every node, and waits for its end.
    fn scrub(&self) -> Reply<'_, ScrubReport>;

    /// What is kept of the log of this node, as far as it matches.
    fn events(&self, wanted: &EventsWanted) -> EventsReport;

    /// What the stages did in the last minutes.
    fn stage_history(&self) -> HistoryReport;

    /// Every partition, by number.
    fn partitions(&self) -> Vec<PartitionReport>;
    /// The full-text index of this node.
    fn index(&self) -> IndexReport;

    /// What is ordered begins soon; see [`IndexReport::due`].
    fn order_index(&self, order: IndexOrder) -> Result<(), ControlError>;

    /// An extension of the file that may subscribe, and whose mailboxes it follows.
    fn subscription(&self, extension: &str) -> Option<Subscription>;

    /// The way to the extensions that decide; `None`: the file names none, or the node is starting.
    fn deciding(&self) -> Option<Deciding>;

    /// The largest message that is taken.
    fn message_bytes_max(&self) -> u64;

    /// Whether clients are served: `/readyz`.
    fn is_ready(&self) -> bool;
}

/// Why a reader of event logs looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Woken {
    /// There is something in the mailbox of this user.
    Stirred(UserId),
    /// What masters of users in these partitions told may be lost.
    Unsure(Arc<[dds::PartitionId]>),
}

/// Bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What is done of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupStep {
    /// A whole backup of this node alone: all that was acknowledged before the call began, of what it holds.
    Alone,
    /// Only the copy of the store, into `dir`, which does not exist yet. Without the next step it is no backup.
    Copy,
    /// Makes the copy in `dir` part of the backup of a cluster that the manifest tells of.
    Finish { manifest: String },
}

/// Who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldersReport {
    /// Names by number.
    pub nodes: BTreeMap<u16, String>,
    pub min_in_sync: u8,
    /// By partition.
    pub groups: Vec<HolderReport>,
}

/// Who holds one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HolderReport {
    pub version: u64,
    pub primary: Option<u16>,
    /// Rising.
    pub in_sync: Vec<u16>,
}

/// What the copies of one node hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyReport {
    pub map_index: u64,
    pub copies: Vec<(u16, dds::survey::Copy)>,
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
    /// Work of the partitions that it leads, in units a second, when it has said so.
    pub load: Option<u64>,
    /// Its store takes nothing but what frees space.
    pub exhausted: bool,
    /// Of its data directory.
    pub incarnation: u64,
}

/// A partition that changes hands or members.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MoveReport {
    pub partition: u16,
    /// Empty: nobody leads it.
    pub primary: String,
    /// The node that the step is about.
    pub node: String,
    pub step: &'static str,
    /// By an operator: the node shall lead the partition.
    pub ordered: bool,
    pub copied_bytes: u64,
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
    /// Not counted of browsers.
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
    pub extensions: Vec<ExtensionReport>,
    pub scrub: ScrubState,
    pub index: IndexReport,
    /// By number of the partition; the first of them.
    pub moves: Vec<MoveReport>,
    /// With the other nodes.
    pub links: Vec<LinkReport>,
    pub behind: Vec<BehindReport>,
}

/// What the scrub of this node has done and found since the start, in partitions that it leads.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScrubState {
    /// Completed rounds of all its worker groups.
    pub rounds: u64,
    /// The last one of each group together; none before every group has completed one.
    pub last: Option<Round>,
    /// All rounds, the present one included.
    pub all: Round,
    /// The last findings, in words.
    pub findings: Vec<String>,
}

/// A round of the scrub over the whole cluster.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ScrubReport {
    pub round: Round,
    /// Numbers of nodes that were down, or were lost meanwhile.
    pub missed_nodes: Vec<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    #[default]
    Starting,
    Ready,
    Draining,
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

/// Where a mailbox is.
#[derive(Clone, Debug, Serialize)]
pub struct Location {
    pub node: String,
    /// Nodes with a copy in sync, by name.
    pub in_sync: Vec<String>,
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
    /// Of the data directory that was copied.
    pub incarnation: u64,
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
