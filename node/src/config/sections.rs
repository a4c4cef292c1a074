//! The sections of the file: their keys, defaults, and what makes no sense together.

use super::section::{Findings, Section};
use super::{Network, Size, Time};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// `[cluster]`.
#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    pub name: String,
    /// Copies of everything, once there are that many nodes.
    pub replicas: u32,
    /// Copies that must be durable before anything is acknowledged.
    pub min_in_sync: u32,
    /// Fixed when the store is created: a power of two, 1 to 16,384.
    pub partitions: u32,
    /// Bytes a second at which a node takes in what it lacks.
    pub fill_rate: Size,
    /// Whether primaries move from nodes with much work to others.
    pub balance_load: bool,
    /// Units of work a second that a node must have more than another before that.
    pub balance_load_min: u32,
    /// The least time between two such moves of one partition.
    pub balance_load_rest: Time,
    /// What nodes prove to each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "hikyaku".to_owned(),
            replicas: 3,
            min_in_sync: 2,
            partitions: 1024,
            fill_rate: Size(64 << 20),
            balance_load: true,
            balance_load_min: 1000,
            balance_load_rest: Time::from_secs(60),
            secret_file: None,
        }
    }
}

impl Cluster {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        if let Some(name) = section.string("name", findings) {
            it.name = name;
        }
        section.count("replicas", &mut it.replicas, findings);
        section.count("min_in_sync", &mut it.min_in_sync, findings);
        section.count("partitions", &mut it.partitions, findings);
        section.size("fill_rate", &mut it.fill_rate, findings);
        section.bool("balance_load", &mut it.balance_load, findings);
        section.count("balance_load_min", &mut it.balance_load_min, findings);
        section.time("balance_load_rest", &mut it.balance_load_rest, findings);
        it.secret_file = section.file("secret_file", findings);
        if it.fill_rate.0 == 0 {
            findings.error("cluster.fill_rate", "must be more than 0 B, in each second");
        }
        if it.min_in_sync > it.replicas {
            findings.error("cluster.min_in_sync", "must not exceed cluster.replicas");
        }
        if !it.partitions.is_power_of_two() || it.partitions > 16_384 {
            findings.error("cluster.partitions", "must be a power of two from 1 to 16384");
        }
        section.finish(findings);
        it
    }
}

/// One `[[node]]`.
#[derive(Clone, Debug, Serialize)]
pub struct NodeEntry {
    pub name: String,
    /// For banners, EHLO and Received; without it the name of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where other nodes reach this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The admin API of this node; without it that of `[listen]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    pub zone: String,
    pub data: PathBuf,
}

impl NodeEntry {
    /// The only node of a file that lists none.
    #[must_use]
    pub fn single(base: &Path) -> Self {
        Self {
            name: "node1".to_owned(),
            hostname: None,
            address: None,
            admin: None,
            zone: "default".to_owned(),
            data: base.join("hikyaku-data"),
        }
    }

    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::single(&findings.base);
        match section.string("name", findings) {
            Some(name) if is_node_name(&name) => it.name = name,
            Some(name) => findings.error(
                &section.key("name"),
                format!("{name:?}: use letters, digits and hyphens, at most 63"),
            ),
            None => findings.error(&section.key("name"), "is missing"),
        }
        let address = |text: &str| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("{text:?} is no address: write it as in \"10.0.0.1:2701\""))
        };
        let auto = |text: &str| match text.strip_suffix(":auto") {
            Some(host) => address(&format!("{host}:0")),
            None => address(text),
        };
        it.hostname = section.string("hostname", findings);
        it.address = section.parsed("address", findings, address);
        it.admin = section.parsed("admin", findings, auto);
        if let Some(zone) = section.string("zone", findings) {
            it.zone = zone;
        }
        if let Some(data) = section.file("data", findings) {
            it.data = data;
        }
        section.finish(findings);
        it
    }
}

fn is_node_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(is_letter)
}

/// `[tls]`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tls {
    /// Chosen by the server name that the client asks for; the first one is for those who ask for none, or for another.
    pub certificates: Vec<CertificatePair>,
}

/// A chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificatePair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut certificates = Vec::new();
        let one = (section.file("certificate", findings), section.file("key", findings));
        match one {
            (Some(certificate), Some(key)) => {
                certificates.push(CertificatePair { certificate, key });
            }
            (None, None) => {}
            (Some(_), None) => findings.error("tls.key", "is missing beside tls.certificate"),
            (None, Some(_)) => findings.error("tls.certificate", "is missing beside tls.key"),
        }
        match section.take("certificates") {
            None => {}
            Some(toml::Value::Array(list)) => {
                for (index, value) in list.into_iter().enumerate() {
                    let key = format!("tls.certificates[{index}]");
                    certificates.extend(read_pair(&key, value, findings));
                }
            }
            Some(_) => findings.error("tls.certificates", "must be a list of tables"),
        }
        if section.take("acme").is_some() {
            findings.not_yet("tls.acme", "certificates by ACME; use certificate and key files");
        }
        section.finish(findings);
        Self { certificates }
    }
}

fn read_pair(key: &str, value: toml::Value, findings: &mut Findings) -> Option<CertificatePair> {
    let toml::Value::Table(table) = value else {
        findings.error(key, "must be a table with certificate and key");
        return None;
    };
    let mut section = Section::new(key, table);
    let certificate = section.file("certificate", findings);
    let pair_key = section.file("key", findings);
    for (name, is_missing) in [("certificate", certificate.is_none()), ("key", pair_key.is_none())]
    {
        if is_missing {
            findings.error(&section.key(name), "is missing");
        }
    }
    section.finish(findings);
    Some(CertificatePair { certificate: certificate?, key: pair_key? })
}

/// `[auth]`.
#[derive(Clone, Debug, Serialize)]
pub struct Auth {
    /// Passwords may cross a loopback connection without TLS.
    pub allow_plaintext_on_loopback: bool,
    /// How long a verified credential is remembered; "0 s": not at all.
    pub cache_time: Time,
    pub cache_entries: u32,
    /// Memory of one argon2id hash. The OWASP cheat sheet holds 7 MiB with five passes equal to 19 MiB with two: it takes
    /// half the time, as it stays in the cache of a processor.
    pub argon2_memory: Size,
    /// Passes of one argon2id hash.
    pub argon2_iterations: u32,
    /// Threads that hash, and hashes that may wait for them.
    pub hash_threads: u32,
    pub hash_queue: u32,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            allow_plaintext_on_loopback: true,
            cache_time: Time::from_secs(120),
            cache_entries: 10_000,
            argon2_memory: Size(7 << 20),
            argon2_iterations: 5,
            hash_threads: 2,
            hash_queue: 1024,
        }
    }
}

impl Auth {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        let plaintext = &mut it.allow_plaintext_on_loopback;
        section.bool("allow_plaintext_on_loopback", plaintext, findings);
        section.time("cache_time", &mut it.cache_time, findings);
        section.count("cache_entries", &mut it.cache_entries, findings);
        section.size("argon2_memory", &mut it.argon2_memory, findings);
        section.count("argon2_iterations", &mut it.argon2_iterations, findings);
        section.count("hash_threads", &mut it.hash_threads, findings);
        section.count("hash_queue", &mut it.hash_queue, findings);
        // RFC 9106 section 3.1: at least 8 KiB a lane; the upper bound keeps a few hashes at once from taking the machine.
        if !(8 << 10..=1 << 30).contains(&it.argon2_memory.0) {
            findings.error("auth.argon2_memory", "must be from \"8 KiB\" to \"1 GiB\"");
        }
        if it.argon2_iterations > 100 {
            findings.error("auth.argon2_iterations", "must be at most 100");
        }
        for key in ["sql", "directory", "ldap"] {
            if section.take(key).is_some() {
                findings.not_yet(&section.key(key), "accounts from a foreign directory");
            }
        }
        section.finish(findings);
        it
    }
}

/// `[limits]`: reloaded on SIGHUP.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Largest message: SIZE, APPENDLIMIT. `protocols.md`.
    pub message_size: Size,
    /// Connections in all, over all listeners.
    pub connections: u32,
    pub connections_per_ip: u32,
    /// Then BYE [LIMIT]. `protocols.md`.
    pub imap_connections_per_user: u32,
    pub recipients: u32,
    /// From the banner to log-in.
    pub login_time: Time,
    pub smtp_idle: Time,
    pub imap_idle: Time,
    pub pop3_idle: Time,
    /// Bytes of tasks and messages under way: beyond it sockets are not read.
    pub credit: Size,
    /// Delay of queues that admission aims at.
    pub queue_delay: Time,
    /// From SIGTERM to the end.
    pub drain_time: Time,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: Size(50 << 20),
            connections: 20_000,
            connections_per_ip: 20_000,
            imap_connections_per_user: 50,
            recipients: 1000,
            login_time: Time::from_secs(60),
            smtp_idle: Time::from_secs(300),
            imap_idle: Time::from_secs(1800),
            pop3_idle: Time::from_secs(600),
            credit: Size(256 << 20),
            queue_delay: Time(std::time::Duration::from_millis(20)),
            drain_time: Time::from_secs(30),
        }
    }
}

impl Limits {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        section.size("message_size", &mut it.message_size, findings);
        section.count("connections", &mut it.connections, findings);
        section.count("connections_per_ip", &mut it.connections_per_ip, findings);
        let per_user = &mut it.imap_connections_per_user;
        section.count("imap_connections_per_user", per_user, findings);
        section.count("recipients", &mut it.recipients, findings);
        section.time("login_time", &mut it.login_time, findings);
        section.time("smtp_idle", &mut it.smtp_idle, findings);
        section.time("imap_idle", &mut it.imap_idle, findings);
        section.time("pop3_idle", &mut it.pop3_idle, findings);
        section.size("credit", &mut it.credit, findings);
        section.time("queue_delay", &mut it.queue_delay, findings);
        section.time("drain_time", &mut it.drain_time, findings);
        // RFC 5321 4.5.3.1.7: 64K octets at least; 4.5.3.1.8: 100 recipients at least.
        if it.message_size.0 < 64 << 10 || it.message_size.0 > 1 << 30 {
            findings.error("limits.message_size", "must be from \"64 KiB\" to \"1 GiB\"");
        }
        if it.recipients < 100 {
            findings.error("limits.recipients", "must be at least 100 (RFC 5321 4.5.3.1.8)");
        }
        section.finish(findings);
        it
    }
}

/// `[store]`.
#[derive(Clone, Debug, Serialize)]
pub struct Store {
    /// Blocks of the store kept in memory.
    pub cache: Size,
    /// Writes kept in memory before they are sorted into files.
    pub write_buffer: Size,
    /// Mailbox indexes kept in memory.
    pub index_cache: Size,
    /// Below this much free space deliveries get 452.
    pub space_low: Size,
    /// Below this only deletions pass.
    pub space_exhausted: Size,
    /// A file that is given up when space is exhausted, so that deleting still works.
    pub ballast: Size,
    /// In this time everything is read once, on all who hold it, and compared; zero: only by `hikyaku scrub`.
    pub scrub: Time,
    /// Bytes that a node reads for that in a second, of what it leads; zero: as fast as they come.
    pub scrub_rate: Size,
    /// False: an experiment. Nothing that is acknowledged is safe.
    pub sync: bool,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            cache: Size(64 << 20),
            write_buffer: Size(64 << 20),
            index_cache: Size(256 << 20),
            space_low: Size(512 << 20),
            space_exhausted: Size(128 << 20),
            ballast: Size(64 << 20),
            scrub: Time::from_secs(7 * 24 * 3600),
            scrub_rate: Size(16 << 20),
            sync: true,
        }
    }
}

impl Store {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        section.size("cache", &mut it.cache, findings);
        section.size("write_buffer", &mut it.write_buffer, findings);
        section.size("index_cache", &mut it.index_cache, findings);
        section.size("space_low", &mut it.space_low, findings);
        section.size("space_exhausted", &mut it.space_exhausted, findings);
        section.size("ballast", &mut it.ballast, findings);
        section.time("scrub", &mut it.scrub, findings);
        section.size("scrub_rate", &mut it.scrub_rate, findings);
        section.bool("sync", &mut it.sync, findings);
        if it.space_exhausted > it.space_low {
            findings.error("store.space_exhausted", "must not exceed store.space_low");
        }
        if it.write_buffer.0 < 1 << 20 {
            findings.error("store.write_buffer", "must be at least \"1 MiB\"");
        }
        section.finish(findings);
        it
    }
}

/// `[http]`: for webmail and the console.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Http {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    pub trusted_proxies: Vec<Network>,
}

impl Http {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let public_url = section.parsed("public_url", findings, |text| {
            if text.starts_with("https://") || text.starts_with("http://") {
                Ok(text.to_owned())
            } else {
                Err(format!("{text:?} is no address of a web site: begin with https://"))
            }
        });
        let trusted_proxies = section.networks("trusted_proxies", findings);
        section.finish(findings);
        Self { public_url, trusted_proxies }
    }
}

/// `[log]`: reloaded on SIGHUP.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
    /// Without it: standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What is written; each level includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should look at, failed log-ins and refusals included.
    Warn,
    /// One line per event.
    #[default]
    Info,
    Debug,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: LogLevel::Info, file: None }
    }
}

impl Log {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        let format = section.parsed("format", findings, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("{other:?}: must be \"text\" or \"json\"")),
        });
        it.format = format.unwrap_or(it.format);
        let level = section.parsed("level", findings, |text| match text {
            "error" => Ok(LogLevel::Error),
            "warn" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            other => Err(format!("{other:?}: must be \"error\", \"warn\", \"info\" or \"debug\"")),
        });
        it.level = level.unwrap_or(it.level);
        it.file = section.file("file", findings);
        section.finish(findings);
        it
    }
}

/// `[metrics]`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Metrics {
    /// `/metrics` on the admin address.
    pub enabled: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Metrics {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        section.bool("enabled", &mut it.enabled, findings);
        section.finish(findings);
        it
    }
}

/// `[stages]`: threads and queues.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stages {
    /// Threads that run machines; without it half the cores, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Threads that read from the disk.
    pub readers: u32,
    /// Messages that travel between two threads together, and that a worker takes before it runs local work.
    pub batch: u32,
    /// Groups of changes that one sync may carry. 1: no group commit, for measurements.
    pub groups_per_sync: u32,
    /// Tasks of one worker that may wait for credit; more are refused.
    pub queue: u32,
    /// Bytes of work that one worker lets in, whatever the delay of the queues is. For measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_credit: Option<Size>,
}

impl Default for Stages {
    fn default() -> Self {
        Self {
            workers: None,
            readers: 2,
            batch: 256,
            groups_per_sync: 4096,
            queue: 8192,
            fixed_credit: None,
        }
    }
}

impl Stages {
    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut it = Self::default();
        let (mut workers, mut fixed_credit) = (0, Size(0));
        section.count("workers", &mut workers, findings);
        section.count("readers", &mut it.readers, findings);
        section.count("batch", &mut it.batch, findings);
        section.count("groups_per_sync", &mut it.groups_per_sync, findings);
        section.count("queue", &mut it.queue, findings);
        section.size("fixed_credit", &mut fixed_credit, findings);
        it.workers = (workers > 0).then_some(workers);
        it.fixed_credit = (fixed_credit.0 > 0).then_some(fixed_credit);
        for (key, count) in [("workers", workers), ("readers", it.readers)] {
            if count > 256 {
                findings.error(&section.key(key), "must be at most 256");
            }
        }
        section.finish(findings);
        it
    }
}
