//! The answers of the admin API, as far as pages show them: `proto/hikyaku/admin/v1/admin.proto` says what each field means.
//! What a node tells of itself in the same words is said here alone.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A part of an answer that may be absent means the same as an empty one.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    pub node: String,
    pub version: String,
    pub cluster: String,
    pub state: String,
    pub pid: u32,
    pub uptime_seconds: u64,
    pub data: String,
    pub sync: bool,
    pub listeners: Vec<Listener>,
    pub stages: Vec<Stage>,
    #[serde(deserialize_with = "or_default")]
    pub store: Store,
    #[serde(deserialize_with = "or_default")]
    pub partitions: Partitions,
    pub sessions: u64,
    pub users_loaded: u64,
    pub accounts: u64,
    pub deliveries_pending: u64,
    pub admission: Vec<Admission>,
    pub nodes: Vec<Node>,
    #[serde(deserialize_with = "or_default")]
    pub cluster_state: ClusterState,
    pub sums: Option<Sums>,
    pub moves: Vec<Move>,
    #[serde(deserialize_with = "or_default")]
    pub scrub: ScrubState,
    pub links: Vec<Link>,
    pub behind: Vec<Behind>,
    pub extensions: Vec<Extension>,
}

impl Status {
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.nodes.len() < 2
    }

    #[must_use]
    pub fn up(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_up()).count()
    }

    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Why a node does not answer, when it does not.
    #[must_use]
    pub fn silence_of(&self, name: &str) -> Option<&str> {
        let answers = self.sums.iter().flat_map(|sums| &sums.answers);
        answers.filter(|it| it.node == name).find_map(|it| it.silent.as_deref())
    }

    /// Damaged mailboxes, of all nodes that answer.
    #[must_use]
    pub fn damage(&self) -> &[String] {
        self.sums.as_ref().map_or(&self.store.errors, |sums| &sums.errors)
    }

    /// Sessions, accounts, and bytes on disks, of all nodes that answer.
    #[must_use]
    pub fn sessions_in_all(&self) -> u64 {
        self.sums.as_ref().map_or(self.sessions, |sums| sums.sessions)
    }

    #[must_use]
    pub fn bytes_in_all(&self) -> u64 {
        self.sums.as_ref().map_or(self.store.disk_bytes_used, |sums| sums.disk_bytes_used)
    }

    /// Extensions on all nodes that answer, by name.
    #[must_use]
    pub fn extensions_in_all(&self) -> &[Extension] {
        self.sums.as_ref().map_or(&self.extensions, |sums| &sums.extensions)
    }

    #[must_use]
    pub fn loaded_in_all(&self) -> u64 {
        self.sums.as_ref().map_or(self.users_loaded, |sums| sums.users_loaded)
    }

    /// The largest count of accounts that a node is the master of, for bars beside each other.
    #[must_use]
    pub fn users_most(&self) -> u64 {
        self.nodes.iter().filter_map(|node| node.users).max().unwrap_or(0).max(1)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    pub number: u32,
    pub name: String,
    pub address: String,
    pub state: String,
    pub draining: bool,
    pub voter: bool,
    pub leader: bool,
    pub session: u64,
    pub primaries: u64,
    pub in_sync: u64,
    pub learning: u64,
    pub zone: String,
    pub users: Option<u64>,
    pub users_loaded: Option<u64>,
    pub sessions: Option<u64>,
    pub load: Option<u64>,
    pub exhausted: bool,
    pub incarnation: String,
    pub version: Option<String>,
    pub uptime_seconds: Option<u64>,
    pub disk_bytes_used: Option<u64>,
    pub disk_bytes_free: Option<u64>,
    pub space: Option<String>,
}

impl Node {
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "up"
    }

    #[must_use]
    pub fn role(&self) -> &'static str {
        match (self.leader, self.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "no vote",
        }
    }
}

/// The cluster as a whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct ClusterState {
    pub map_index: u64,
    pub replicas: u32,
    pub min_in_sync: u32,
    pub min_in_sync_wanted: u32,
    /// Partitions that are to change hands or members.
    pub moves: u64,
    pub feature_level: u32,
    /// Partitions with all replicas that there are nodes for, with fewer that serve, with too few to acknowledge anything, and
    /// without a primary.
    pub whole: u64,
    pub few: u64,
    pub too_few: u64,
    pub leaderless: u64,
    /// Copies that are being made, that are in sync, and that there should be.
    pub filling: u64,
    pub copies_in_sync: u64,
    pub copies_wanted: u64,
    /// Partitions that an operator has placed.
    pub placed: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sums {
    pub answers: Vec<Answer>,
    pub sessions: u64,
    pub users_loaded: u64,
    pub accounts: u64,
    pub deliveries_pending: u64,
    pub disk_bytes_used: u64,
    pub errors: Vec<String>,
    pub extensions: Vec<Extension>,
}

/// How far an extension is, on one node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Extension {
    pub name: String,
    pub node: String,
    pub inside: bool,
    pub connected: bool,
    pub decides: bool,
    pub asked_at: String,
    pub mailboxes: u64,
    pub behind: u64,
    pub behind_seconds: u64,
    pub decided: u64,
    pub missed_away: u64,
    pub missed_late: u64,
    pub missed_busy: u64,
}

impl Extension {
    /// In words, as `hikyaku status` has it.
    #[must_use]
    pub fn state(&self) -> String {
        match (self.inside, self.connected, self.asked_at.as_str()) {
            (true, true, _) => "runs".to_owned(),
            (true, false, _) => "restarts".to_owned(),
            (false, true, _) => "connected".to_owned(),
            (false, false, "") => "not connected".to_owned(),
            (false, false, node) => format!("asked at {node}"),
        }
    }

    /// Messages that went on without it.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed_away + self.missed_late + self.missed_busy
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Answer {
    pub node: String,
    pub silent: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Move {
    pub partition: u32,
    pub primary: String,
    pub node: String,
    pub step: String,
    pub ordered: bool,
    pub copied_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ScrubState {
    pub rounds: u64,
    pub last: Option<ScrubRound>,
    #[serde(deserialize_with = "or_default")]
    pub all: ScrubRound,
    pub findings: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct ScrubRound {
    pub partitions: u64,
    pub bytes: u64,
    pub differences: u64,
    pub repaired: u64,
    pub undecided: u64,
    pub unfinished: u64,
    pub ended_ms: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Link {
    pub node: String,
    pub state: String,
    pub seconds: Option<u64>,
    pub lost: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Behind {
    pub leader: String,
    pub follower: String,
    pub partitions: u64,
    pub waiting: u64,
    pub groups: u64,
    pub groups_max: u64,
}

/// What a worker lets in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Admission {
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

/// One listener, with the address the kernel gave it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Listener {
    /// The key of `[listen]`.
    pub name: String,
    /// `127.0.0.1:2143`, or `unix:/path`.
    pub address: String,
    pub connections: u64,
    pub accepted: u64,
    /// Turned away: too many connections, or no credit.
    pub refused: u64,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Latency {
    pub count: u64,
    pub sum_us: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Stage {
    pub name: String,
    pub depth: u64,
    pub depth_max: u64,
    #[serde(deserialize_with = "or_default")]
    pub wait: Latency,
    #[serde(deserialize_with = "or_default")]
    pub service: Latency,
    pub processed: u64,
    pub batches: u64,
    pub refusals: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Store {
    pub groups: u64,
    pub batches: u64,
    pub syncs: u64,
    pub bytes_written: u64,
    #[serde(deserialize_with = "or_default")]
    pub sync_time: Latency,
    pub disk_bytes_used: u64,
    pub disk_bytes_free: u64,
    pub cache_bytes: u64,
    pub memtable_bytes: u64,
    pub memory_hits: u64,
    pub memory_misses: u64,
    pub space: String,
    pub errors: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Partitions {
    pub count: u64,
    pub awake: u64,
    /// Replica groups with fewer in-sync replicas than configured.
    pub under_replicated: u64,
    /// Partitions with damage, or without replicas.
    pub unavailable: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct History {
    pub node: String,
    pub every_ms: u64,
    pub stages: Vec<StageSeries>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct StageSeries {
    pub name: String,
    pub points: Vec<StagePoint>,
}

/// What a stage did since the point before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct StagePoint {
    /// Its end, in milliseconds since 1970, and how long it was.
    pub unix_ms: i64,
    pub elapsed_ms: u64,
    /// Entries that waited at its end.
    pub depth: u64,
    pub processed: u64,
    pub batches: u64,
    pub refusals: u64,
    /// Means; 0 when there was nothing.
    pub wait_us: u64,
    pub service_us: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct PartitionList {
    pub partitions: Vec<Partition>,
    pub total: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Partition {
    pub partition: u32,
    pub state: String,
    pub primary: String,
    pub in_sync: Vec<String>,
    pub learners: Vec<String>,
    pub version: u64,
    pub placed: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct EventList {
    pub events: Vec<Event>,
    pub answers: Vec<Answer>,
    pub kinds: Vec<String>,
    pub more: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Event {
    #[serde(deserialize_with = "or_default")]
    pub place: EventPlace,
    pub level: String,
    pub kind: String,
    pub fields: Vec<EventField>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct EventPlace {
    pub unix_ms: i64,
    pub node: String,
    pub run: i64,
    pub number: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct EventField {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct AccountList {
    pub accounts: Vec<Account>,
    pub total: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Account {
    pub address: String,
    pub enabled: bool,
    pub display_name: String,
    pub quota_bytes: Option<u64>,
    pub quota_messages: Option<u64>,
    pub user: String,
    pub bytes_used: Option<u64>,
    pub messages_used: Option<u64>,
    pub node: Option<String>,
    pub partition: Option<u32>,
}

impl Account {
    /// What is used of the quota, in hundredths; `None`: there is no quota, or nobody knows.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let of = |used: Option<u64>, max: Option<u64>| {
            Some(used?.saturating_mul(100).checked_div(max?).unwrap_or(100))
        };
        of(self.bytes_used, self.quota_bytes).max(of(self.messages_used, self.quota_messages))
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct DomainList {
    pub domains: Vec<Domain>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Domain {
    pub domain: String,
    pub catch_all: Option<String>,
    pub subaddress_separator: Option<String>,
    pub default_quota_bytes: Option<u64>,
    pub accounts: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct AliasList {
    pub aliases: Vec<Alias>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Alias {
    pub alias: String,
    pub targets: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct SessionList {
    pub sessions: Vec<Session>,
    pub answers: Vec<Answer>,
}

impl SessionList {
    /// Accounts with at least one session.
    #[must_use]
    pub fn users(&self) -> usize {
        let accounts = self.sessions.iter().filter_map(|it| it.account.as_deref());
        accounts.collect::<BTreeSet<_>>().len()
    }

    /// How many of them over which protocol; whoever has several is counted with each.
    #[must_use]
    pub fn users_by_protocol(&self) -> BTreeMap<&str, usize> {
        let mut accounts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for it in &self.sessions {
            accounts.entry(it.over()).or_default().extend(it.account.as_deref());
        }
        accounts.retain(|_, accounts| !accounts.is_empty());
        accounts.into_iter().map(|(protocol, accounts)| (protocol, accounts.len())).collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Session {
    pub session: u64,
    pub protocol: String,
    pub ip: String,
    pub account: Option<String>,
    pub tls: Option<String>,
    pub connected_seconds: u64,
    pub idle_seconds: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub activity: String,
    pub node: String,
}

impl Session {
    #[must_use]
    pub fn is_browser(&self) -> bool {
        self.protocol == "http"
    }

    /// The protocol as people call it.
    #[must_use]
    pub fn over(&self) -> &str {
        if self.is_browser() { "webmail" } else { &self.protocol }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Locations {
    pub locations: Vec<Location>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Location {
    pub account: String,
    pub node: String,
    pub partition: u32,
    pub worker: u32,
    pub loaded: bool,
    pub trouble: Option<String>,
    pub in_sync: Vec<String>,
}
