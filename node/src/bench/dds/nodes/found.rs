//! What a run of a cluster has found: a line of JSON, rows of tables.

use super::order::{Report, Task};
use super::split::{self, Split};
use crate::bench::dds::Point;
use crate::bench::latencies::{Latencies, Summary};
use crate::bench::shown;
use crate::peers::Sent;
use serde::Serialize;

pub const HEADER: [&str; 17] = [
    "NODES",
    "PARTS",
    "BYTES",
    "CLIENTS",
    "GETS %",
    "GETS/S",
    "PUTS/S",
    "CPU US/OP",
    "WORKER",
    "WRITER",
    "PEERS",
    "FLUSH",
    "CLIENT US",
    "FSYNCS/PUT",
    "APPENDS/PUT",
    "ACKS/PUT",
    "AGAIN",
];

pub const STAGE_HEADER: [&str; 13] = [
    "NODES",
    "PARTS",
    "BYTES",
    "CLIENTS",
    "GETS %",
    "OF",
    "US",
    "EDGE",
    "QUEUE",
    "REPLICATE",
    "FSYNC",
    "REPLY",
    "TOTAL",
];

/// One run.
#[derive(Debug, Serialize)]
pub struct Line {
    bench: &'static str,
    nodes: usize,
    partitions: u16,
    replicas: usize,
    #[serde(flatten)]
    point: Point,
    /// One request in so many was followed.
    follow: u64,
    seconds: f64,
    ops_per_s: f64,
    gets_per_s: f64,
    puts_per_s: f64,
    get: Summary,
    put: Summary,
    /// Requests whose outcome nobody knew, or that found nobody to do them: the cluster was disturbed.
    asked_again: u64,
    cpu: Cpu,
    /// Syncs of the store, of one replica, of a put.
    fsyncs_per_put: f64,
    groups_per_sync: f64,
    /// Appends that a put sends to each other member, and what comes back: one of each is one round trip. Nobody waits for the
    /// rest: appends that only tell what is decided, once a pause begins, and what comes back of those.
    appends_per_put: f64,
    acks_per_put: f64,
    told_per_put: f64,
    other_replication_per_put: f64,
    /// Requests that went to another node.
    asks_per_op: f64,
    flushes_per_op: f64,
    bytes_per_op: f64,
    sent: Sent,
    get_stages: Option<Split>,
    put_stages: Option<Split>,
}

/// Microseconds of CPU of an operation, of all nodes together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    /// All but the clients.
    total_us: f64,
    worker_us: f64,
    writer_us: f64,
    /// The connections with other nodes.
    peers_us: f64,
    readers_us: f64,
    /// Flush and compaction.
    background_us: f64,
    other_us: f64,
    /// Clients, which a machine elsewhere would bear.
    clients_us: f64,
}

impl Cpu {
    fn add(&mut self, name: &str, us: f64) {
        if name == "clients" {
            self.clients_us += us;
            return;
        }
        self.total_us += us;
        match name {
            "writer" => self.writer_us += us,
            "peers" => self.peers_us += us,
            name if name.starts_with("worker-") => self.worker_us += us,
            name if name.starts_with("reader-") => self.readers_us += us,
            name if name.starts_with("rocksdb") => self.background_us += us,
            _ => self.other_us += us,
        }
    }
}

impl Line {
    /// # Errors
    /// When what was followed does not add up.
    pub fn new(
        (nodes, replicas, partitions): (usize, usize, u16),
        (point, task): (Point, &Task),
        reports: &[Report],
    ) -> anyhow::Result<Self> {
        let (mut gets, mut puts) = (Latencies::default(), Latencies::default());
        let mut sent = Sent::default();
        let (mut syncs, mut groups) = (0, 0);
        for report in reports {
            gets.merge(&report.gets);
            puts.merge(&report.puts);
            sent = sent.and(report.sent);
            syncs += report.syncs;
            groups += report.groups;
        }
        let ops = (gets.count() + puts.count()).max(1) as f64;
        let mut cpu = Cpu::default();
        for (name, seconds) in reports.iter().flat_map(|report| &report.cpu) {
            cpu.add(name, seconds * 1e6 / ops);
        }
        let seconds = reports.iter().map(|report| report.seconds).fold(0.0, f64::max);
        let rate = |count: u64| count as f64 / seconds.max(1e-9);
        let each = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let others = puts.count() * (replicas as u64 - 1);
        let (get_stages, put_stages) = split::split(reports)?;
        Ok(Self {
            bench: "dds-nodes",
            nodes,
            partitions,
            replicas,
            point,
            follow: task.follow,
            seconds,
            ops_per_s: ops / seconds.max(1e-9),
            gets_per_s: rate(gets.count()),
            puts_per_s: rate(puts.count()),
            get: gets.summary(),
            put: puts.summary(),
            asked_again: reports.iter().map(|report| report.asked_again).sum(),
            cpu,
            fsyncs_per_put: each(syncs, puts.count() * replicas as u64),
            groups_per_sync: each(groups, syncs),
            appends_per_put: each(sent.appends, others),
            acks_per_put: each(sent.acks.saturating_sub(sent.told), others),
            told_per_put: each(sent.told, others),
            other_replication_per_put: each(sent.other_replication, others),
            asks_per_op: sent.asks as f64 / ops,
            flushes_per_op: sent.flushes as f64 / ops,
            bytes_per_op: sent.bytes as f64 / ops,
            sent,
            get_stages,
            put_stages,
        })
    }

    fn head(&self) -> Vec<String> {
        let Point { size, clients, reads_percent } = self.point;
        let numbers = [self.nodes, self.partitions.into(), size, clients, reads_percent.into()];
        numbers.map(|number| number.to_string()).into()
    }

    pub fn row(&self) -> Vec<String> {
        let cpu = &self.cpu;
        let mut row = self.head();
        let numbers = [
            self.gets_per_s,
            self.puts_per_s,
            cpu.total_us,
            cpu.worker_us,
            cpu.writer_us,
            cpu.peers_us,
            cpu.background_us,
            cpu.clients_us,
            self.fsyncs_per_put,
            self.appends_per_put,
            self.acks_per_put,
            self.asked_again as f64,
        ];
        row.extend(numbers.map(shown::number));
        row
    }

    pub fn stage_rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for (of, split) in [("get", &self.get_stages), ("put", &self.put_stages)] {
            let Some(split) = split else { continue };
            type Of = fn(&Summary) -> f64;
            let kinds: [(&str, Of); 3] = [
                ("mean", |summary| summary.mean_us),
                ("p50", |summary| summary.p50_us),
                ("p99", |summary| summary.p99_us),
            ];
            for (name, kind) in kinds {
                let Split { edge, queue, replicate, fsync, reply, total, .. } = split;
                let stages = [edge, queue, replicate, fsync, reply, total];
                let mut row = self.head();
                row.extend([of.to_owned(), name.to_owned()]);
                row.extend(stages.map(|stage| shown::number(kind(stage))));
                rows.push(row);
            }
        }
        rows
    }
}
