//! `/metrics`: the state of the node in the text format of Prometheus, rendered when asked.
//!
//! Every family stands in [`FAMILIES`], and in `docs/metrics.md`; a test compares the two. No mail address and no client
//! address is ever a label.

mod counters;
mod histogram;

pub use counters::{AUTH_RESULTS, COUNTERS, Counters, PROTOCOLS, auth_result};
pub use histogram::Histogram;

use crate::control::{AdmissionReport, Latency, NodeState, SpaceState, StageReport, StatusReport};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a family behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Summary,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// Name, kind and meaning of every family, in the order of the page.
const FAMILIES: &[(&str, Kind, &str)] = &[
    ("hikyaku_up_seconds", Kind::Gauge, "Time since the node started"),
    ("hikyaku_ready", Kind::Gauge, "1 while clients are served"),
    ("hikyaku_store_sync", Kind::Gauge, "1 when commits are synced; 0 is an experiment"),
    ("hikyaku_sessions", Kind::Gauge, "Sessions now"),
    ("hikyaku_users_loaded", Kind::Gauge, "Mailbox masters in memory"),
    ("hikyaku_accounts", Kind::Gauge, "Accounts of the cluster"),
    (
        "hikyaku_deliveries_pending",
        Kind::Gauge,
        "Acceptances of the cluster not yet delivered to everybody",
    ),
    ("hikyaku_listener_connections", Kind::Gauge, "Open connections by listener"),
    ("hikyaku_listener_accepted_total", Kind::Counter, "Connections taken by listener"),
    ("hikyaku_listener_refused_total", Kind::Counter, "Connections turned away by listener"),
    ("hikyaku_connections_total", Kind::Counter, "Sessions begun by protocol"),
    ("hikyaku_sessions_ended_total", Kind::Counter, "Sessions ended by protocol"),
    ("hikyaku_auth_total", Kind::Counter, "Log-ins by protocol and result"),
    ("hikyaku_refused_total", Kind::Counter, "Recipients and messages refused by protocol"),
    ("hikyaku_commands_total", Kind::Counter, "Commands of ended sessions by protocol"),
    ("hikyaku_errors_total", Kind::Counter, "Protocol errors of ended sessions by protocol"),
    ("hikyaku_bytes_in_total", Kind::Counter, "Bytes from clients of ended sessions by protocol"),
    ("hikyaku_bytes_out_total", Kind::Counter, "Bytes to clients of ended sessions by protocol"),
    ("hikyaku_messages_received_total", Kind::Counter, "Messages accepted from clients"),
    ("hikyaku_message_bytes_received_total", Kind::Counter, "Bytes of accepted messages"),
    ("hikyaku_messages_delivered_total", Kind::Counter, "Messages put into mailboxes"),
    (
        "hikyaku_deliveries_delayed_total",
        Kind::Counter,
        "Attempts to deliver that must be repeated",
    ),
    (
        "hikyaku_blobs_collected_total",
        Kind::Counter,
        "Large bodies that nobody referred to any more",
    ),
    ("hikyaku_troubles_total", Kind::Counter, "Times a part was held up or found damage"),
    ("hikyaku_log_lines_dropped_total", Kind::Counter, "Log lines there was no room for"),
    ("hikyaku_stage_depth", Kind::Gauge, "Entries waiting by stage"),
    ("hikyaku_stage_depth_max", Kind::Gauge, "Entries that may wait by stage"),
    ("hikyaku_stage_depth_peak", Kind::Gauge, "Most entries that ever waited by stage"),
    ("hikyaku_stage_wait_seconds", Kind::Summary, "Time in the queue by stage"),
    ("hikyaku_stage_service_seconds", Kind::Summary, "Time of work by stage"),
    ("hikyaku_stage_processed_total", Kind::Counter, "Entries done by stage"),
    ("hikyaku_stage_batches_total", Kind::Counter, "Batches done by stage"),
    ("hikyaku_stage_wakes_total", Kind::Counter, "Times a parked thread was woken by stage"),
    ("hikyaku_stage_hops_total", Kind::Counter, "Messages that changed thread by stage"),
    ("hikyaku_stage_refusals_total", Kind::Counter, "Entries refused by stage"),
    ("hikyaku_admission_taken_bytes", Kind::Gauge, "Bytes of work under way by stage"),
    (
        "hikyaku_admission_allowed_bytes",
        Kind::Gauge,
        "Bytes of work that may be under way by stage",
    ),
    ("hikyaku_admission_waiting", Kind::Gauge, "Tasks that wait to be let in by stage"),
    ("hikyaku_admission_waiting_max", Kind::Gauge, "Tasks that may wait to be let in by stage"),
    ("hikyaku_admission_held_total", Kind::Counter, "Tasks that had to wait to be let in by stage"),
    ("hikyaku_admission_refused_total", Kind::Counter, "Tasks not let in by stage"),
    ("hikyaku_store_groups_total", Kind::Counter, "Groups of changes committed"),
    ("hikyaku_store_batches_total", Kind::Counter, "Write batches that carried them"),
    ("hikyaku_store_syncs_total", Kind::Counter, "Syncs of the log of the store"),
    ("hikyaku_store_bytes_written_total", Kind::Counter, "Bytes of committed groups"),
    ("hikyaku_store_sync_seconds", Kind::Summary, "Time of one synced write"),
    ("hikyaku_store_disk_bytes_used", Kind::Gauge, "Bytes in live files of the store"),
    ("hikyaku_store_disk_bytes_free", Kind::Gauge, "Bytes free on the file system"),
    ("hikyaku_store_space_state", Kind::Gauge, "0 ample, 1 low, 2 exhausted"),
    ("hikyaku_store_cache_bytes", Kind::Gauge, "Bytes in the block cache"),
    ("hikyaku_store_memtable_bytes", Kind::Gauge, "Bytes in write buffers"),
    ("hikyaku_store_memory_hits_total", Kind::Counter, "Reads answered from memory"),
    ("hikyaku_store_memory_misses_total", Kind::Counter, "Reads that went to the disk"),
    ("hikyaku_store_errors", Kind::Gauge, "Background errors the store remembers"),
    ("hikyaku_partitions", Kind::Gauge, "Partitions"),
    ("hikyaku_partitions_awake", Kind::Gauge, "Partitions in memory"),
    ("hikyaku_partitions_under_replicated", Kind::Gauge, "Replica groups below their size"),
    ("hikyaku_partitions_unavailable", Kind::Gauge, "Partitions that are not served"),
    ("hikyaku_extension_connected", Kind::Gauge, "1 while an extension runs or is connected here"),
    ("hikyaku_extension_mailboxes", Kind::Gauge, "Mailboxes that an extension follows here"),
    (
        "hikyaku_extension_behind",
        Kind::Gauge,
        "Mailboxes with events that a connected extension has not dealt with",
    ),
    ("hikyaku_extension_behind_seconds", Kind::Gauge, "How long the first of them has been behind"),
    ("hikyaku_extension_batches_given_total", Kind::Counter, "Batches of events given"),
    ("hikyaku_extension_batches_taken_total", Kind::Counter, "Batches of events dealt with"),
    (
        "hikyaku_extension_resets_total",
        Kind::Counter,
        "Times an extension had to look at a mailbox anew",
    ),
    ("hikyaku_extension_ended_total", Kind::Counter, "Times an extension ended by itself"),
    ("hikyaku_extension_decided_total", Kind::Counter, "Messages that an extension decided about"),
    (
        "hikyaku_extension_missed_total",
        Kind::Counter,
        "Messages that went on without an extension that decides: away, late, busy",
    ),
    ("hikyaku_index_messages", Kind::Gauge, "Messages in the full-text index"),
    ("hikyaku_index_disk_bytes", Kind::Gauge, "Bytes of its files"),
    ("hikyaku_index_memory_bytes", Kind::Gauge, "Bytes of its vocabularies in memory"),
    ("hikyaku_index_mailboxes_due", Kind::Gauge, "Mailboxes with something to be indexed"),
    ("hikyaku_index_failing", Kind::Gauge, "1 while it can't be written"),
    ("hikyaku_index_added_total", Kind::Counter, "Messages indexed"),
    ("hikyaku_index_asked_total", Kind::Counter, "Messages that searches of text asked for"),
    ("hikyaku_index_decided_total", Kind::Counter, "Those that were decided without being read"),
    ("hikyaku_scrub_rounds_total", Kind::Counter, "Completed rounds of the scrub"),
    ("hikyaku_scrub_last_seconds", Kind::Gauge, "When the last round ended, in seconds since 1970"),
    ("hikyaku_scrub_partitions_total", Kind::Counter, "Partitions compared"),
    ("hikyaku_scrub_bytes_total", Kind::Counter, "Bytes read for that, of what this node leads"),
    (
        "hikyaku_scrub_differences_total",
        Kind::Counter,
        "Slices that differed, or could not be read",
    ),
    ("hikyaku_scrub_repaired_total", Kind::Counter, "Replicas found wrong and built anew"),
    ("hikyaku_scrub_undecided_total", Kind::Counter, "Slices of which nobody knows what they held"),
    ("hikyaku_scrub_unfinished_total", Kind::Counter, "Partitions not compared to their end"),
    ("hikyaku_load", Kind::Gauge, "Work of the partitions that this node leads, in units a second"),
    (
        "hikyaku_hot_partition_moves_total",
        Kind::Counter,
        "Moves of hot partitions that this node has chosen as leader of the control plane",
    ),
    ("hikyaku_process_resident_bytes", Kind::Gauge, "Memory of the process"),
    ("hikyaku_process_cpu_seconds_total", Kind::Counter, "CPU time of the process"),
    ("hikyaku_process_open_files", Kind::Gauge, "File descriptors of the process"),
];

/// Samples by family.
#[derive(Default)]
struct Page(BTreeMap<&'static str, String>);

impl Page {
    /// Adds a sample. A name that [`FAMILIES`] lacks is a bug of ours.
    fn sample(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        self.line(name, "", labels, value);
    }

    fn line(&mut self, name: &'static str, suffix: &str, labels: &[(&str, &str)], value: f64) {
        assert!(FAMILIES.iter().any(|(known, ..)| *known == name), "{name} is not in the table");
        let lines = self.0.entry(name).or_default();
        let shown: Vec<String> =
            labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escape(text))).collect();
        let labels =
            if shown.is_empty() { String::new() } else { format!("{{{}}}", shown.join(",")) };
        writeln!(lines, "{name}{suffix}{labels} {value}").expect("a string takes everything");
    }

    fn count(&mut self, name: &'static str, labels: &[(&str, &str)], value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "the text format knows only doubles")]
        self.sample(name, labels, value as f64);
    }

    fn summary(&mut self, name: &'static str, labels: &[(&str, &str)], of: Latency) {
        for (quantile, us) in [("0.5", of.p50_us), ("0.99", of.p99_us)] {
            let mut with: Vec<(&str, &str)> = labels.to_vec();
            with.push(("quantile", quantile));
            self.line(name, "", &with, seconds(us));
        }
        self.line(name, "_sum", labels, seconds(of.sum_us));
        #[expect(clippy::cast_precision_loss, reason = "the text format knows only doubles")]
        self.line(name, "_count", labels, of.count as f64);
    }

    fn finish(self) -> String {
        let mut page = String::with_capacity(16 * 1024);
        for (name, kind, help) in FAMILIES {
            let Some(lines) = self.0.get(name) else { continue };
            write!(page, "# HELP {name} {help}\n# TYPE {name} {}\n{lines}", kind.name())
                .expect("a string takes everything");
        }
        page
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of any run fit 53 bits")]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The page for `/metrics`.
#[must_use]
pub fn render(status: &StatusReport, counters: &Counters) -> String {
    let mut page = Page::default();
    node(&mut page, status);
    listeners(&mut page, status);
    events(&mut page, counters);
    for stage in &status.stages {
        stage_samples(&mut page, stage);
    }
    for admission in &status.admission {
        admission_samples(&mut page, admission);
    }
    store(&mut page, status);
    scrub(&mut page, status);
    extensions(&mut page, status);
    index(&mut page, status);
    process(&mut page);
    page.finish()
}

fn node(page: &mut Page, status: &StatusReport) {
    page.count("hikyaku_up_seconds", &[], status.uptime_seconds);
    page.count("hikyaku_ready", &[], u64::from(status.state == NodeState::Ready));
    page.count("hikyaku_store_sync", &[], u64::from(status.sync));
    page.count("hikyaku_sessions", &[], status.sessions);
    page.count("hikyaku_users_loaded", &[], status.users_loaded);
    page.count("hikyaku_accounts", &[], status.accounts);
    page.count("hikyaku_deliveries_pending", &[], status.deliveries_pending);
    page.count("hikyaku_partitions", &[], status.partitions.count);
    page.count("hikyaku_partitions_awake", &[], status.partitions.awake);
    let under_replicated = status.partitions.under_replicated;
    page.count("hikyaku_partitions_under_replicated", &[], under_replicated);
    page.count("hikyaku_partitions_unavailable", &[], status.partitions.unavailable);
    let own = status.nodes.iter().find(|node| node.name == status.node);
    page.count("hikyaku_load", &[], own.and_then(|node| node.load).unwrap_or(0));
    page.count("hikyaku_hot_partition_moves_total", &[], COUNTERS.relieved.get());
}

/// Listeners of one name (IPv4 and IPv6, say) are summed: their addresses are no labels.
fn listeners(page: &mut Page, status: &StatusReport) {
    let mut sums: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for listener in &status.listeners {
        let sum = sums.entry(&listener.name).or_default();
        sum.0 += listener.connections;
        sum.1 += listener.accepted;
        sum.2 += listener.refused;
    }
    for (name, (connections, accepted, refused)) in sums {
        let labels = [("listener", name)];
        page.count("hikyaku_listener_connections", &labels, connections);
        page.count("hikyaku_listener_accepted_total", &labels, accepted);
        page.count("hikyaku_listener_refused_total", &labels, refused);
    }
}

fn events(page: &mut Page, counters: &Counters) {
    for protocol in PROTOCOLS {
        let of = counters.of(protocol);
        let labels = [("protocol", protocol.name())];
        page.count("hikyaku_connections_total", &labels, of.connections.get());
        page.count("hikyaku_sessions_ended_total", &labels, of.sessions_ended.get());
        page.count("hikyaku_refused_total", &labels, of.refused.get());
        page.count("hikyaku_commands_total", &labels, of.commands.get());
        page.count("hikyaku_errors_total", &labels, of.errors.get());
        page.count("hikyaku_bytes_in_total", &labels, of.bytes_in.get());
        page.count("hikyaku_bytes_out_total", &labels, of.bytes_out.get());
        for (result, counter) in AUTH_RESULTS.iter().zip(&of.auth) {
            let labels = [("protocol", protocol.name()), ("result", result)];
            page.count("hikyaku_auth_total", &labels, counter.get());
        }
    }
    page.count("hikyaku_messages_received_total", &[], counters.received.get());
    page.count("hikyaku_message_bytes_received_total", &[], counters.received_bytes.get());
    page.count("hikyaku_messages_delivered_total", &[], counters.delivered.get());
    page.count("hikyaku_deliveries_delayed_total", &[], counters.delayed.get());
    page.count("hikyaku_blobs_collected_total", &[], counters.blobs_collected.get());
    page.count("hikyaku_troubles_total", &[], counters.troubles.get());
    page.count("hikyaku_log_lines_dropped_total", &[], counters.log_dropped.get());
}

fn stage_samples(page: &mut Page, stage: &StageReport) {
    let labels = [("stage", stage.name.as_str())];
    page.count("hikyaku_stage_depth", &labels, stage.depth);
    page.count("hikyaku_stage_depth_max", &labels, stage.depth_max);
    if let Some(peak) = stage.depth_peak {
        page.count("hikyaku_stage_depth_peak", &labels, peak);
    }
    page.summary("hikyaku_stage_wait_seconds", &labels, stage.wait);
    page.summary("hikyaku_stage_service_seconds", &labels, stage.service);
    page.count("hikyaku_stage_processed_total", &labels, stage.processed);
    page.count("hikyaku_stage_batches_total", &labels, stage.batches);
    page.count("hikyaku_stage_wakes_total", &labels, stage.wakes);
    page.count("hikyaku_stage_hops_total", &labels, stage.hops);
    page.count("hikyaku_stage_refusals_total", &labels, stage.refusals);
}

fn admission_samples(page: &mut Page, admission: &AdmissionReport) {
    let labels = [("stage", admission.name.as_str())];
    page.count("hikyaku_admission_taken_bytes", &labels, admission.taken_bytes);
    page.count("hikyaku_admission_allowed_bytes", &labels, admission.allowed_bytes);
    page.count("hikyaku_admission_waiting", &labels, admission.waiting);
    page.count("hikyaku_admission_waiting_max", &labels, admission.waiting_max);
    page.count("hikyaku_admission_held_total", &labels, admission.held);
    page.count("hikyaku_admission_refused_total", &labels, admission.refused);
}

fn store(page: &mut Page, status: &StatusReport) {
    let store = &status.store;
    let space = match store.space {
        SpaceState::Ample => 0,
        SpaceState::Low => 1,
        SpaceState::Exhausted => 2,
    };
    page.count("hikyaku_store_groups_total", &[], store.groups);
    page.count("hikyaku_store_batches_total", &[], store.batches);
    page.count("hikyaku_store_syncs_total", &[], store.syncs);
    page.count("hikyaku_store_bytes_written_total", &[], store.bytes_written);
    page.summary("hikyaku_store_sync_seconds", &[], store.sync_time);
    page.count("hikyaku_store_disk_bytes_used", &[], store.disk_bytes_used);
    page.count("hikyaku_store_disk_bytes_free", &[], store.disk_bytes_free);
    page.count("hikyaku_store_space_state", &[], space);
    page.count("hikyaku_store_cache_bytes", &[], store.cache_bytes);
    page.count("hikyaku_store_memtable_bytes", &[], store.memtable_bytes);
    page.count("hikyaku_store_memory_hits_total", &[], store.memory_hits);
    page.count("hikyaku_store_memory_misses_total", &[], store.memory_misses);
    page.count("hikyaku_store_errors", &[], store.errors.len() as u64);
}

fn extensions(page: &mut Page, status: &StatusReport) {
    for it in &status.extensions {
        let labels = [("extension", it.name.as_str())];
        page.count("hikyaku_extension_connected", &labels, u64::from(it.connected));
        page.count("hikyaku_extension_mailboxes", &labels, it.mailboxes);
        page.count("hikyaku_extension_behind", &labels, it.behind);
        page.count("hikyaku_extension_behind_seconds", &labels, it.behind_seconds);
        page.count("hikyaku_extension_batches_given_total", &labels, it.given);
        page.count("hikyaku_extension_batches_taken_total", &labels, it.taken);
        page.count("hikyaku_extension_resets_total", &labels, it.resets);
        page.count("hikyaku_extension_ended_total", &labels, it.ended);
        page.count("hikyaku_extension_decided_total", &labels, it.decided);
        for (why, count) in
            [("away", it.missed_away), ("late", it.missed_late), ("busy", it.missed_busy)]
        {
            let labels = [("extension", it.name.as_str()), ("why", why)];
            page.count("hikyaku_extension_missed_total", &labels, count);
        }
    }
}

fn index(page: &mut Page, status: &StatusReport) {
    let it = &status.index;
    page.count("hikyaku_index_messages", &[], it.messages);
    page.count("hikyaku_index_disk_bytes", &[], it.disk_bytes);
    page.count("hikyaku_index_memory_bytes", &[], it.memory_bytes);
    page.count("hikyaku_index_mailboxes_due", &[], it.due);
    page.count("hikyaku_index_failing", &[], u64::from(it.error.is_some()));
    page.count("hikyaku_index_added_total", &[], it.added);
    page.count("hikyaku_index_asked_total", &[], it.asked);
    page.count("hikyaku_index_decided_total", &[], it.decided);
}

fn scrub(page: &mut Page, status: &StatusReport) {
    let state = &status.scrub;
    let last_ms = state.last.map_or(0, |round| round.ended_ms);
    page.count("hikyaku_scrub_rounds_total", &[], state.rounds);
    let last = u64::try_from(last_ms / 1000).unwrap_or(0);
    page.count("hikyaku_scrub_last_seconds", &[], last);
    page.count("hikyaku_scrub_partitions_total", &[], state.all.partitions);
    page.count("hikyaku_scrub_bytes_total", &[], state.all.bytes);
    page.count("hikyaku_scrub_differences_total", &[], state.all.differences);
    page.count("hikyaku_scrub_repaired_total", &[], state.all.repairs);
    page.count("hikyaku_scrub_undecided_total", &[], state.all.undecided);
    page.count("hikyaku_scrub_unfinished_total", &[], state.all.unfinished);
}

/// From `/proc`; what can't be read there is left out.
fn process(page: &mut Page) {
    if let Some(kib) = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    }) {
        page.count("hikyaku_process_resident_bytes", &[], kib.saturating_mul(1024));
    }
    // proc(5): utime and stime are fields 14 and 15 of stat, in ticks of 1/100 s; the name in parentheses may hold blanks.
    if let Some(ticks) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        let (_, fields) = stat.rsplit_once(')')?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        times.sum::<Result<u64, _>>().ok()
    }) {
        page.sample("hikyaku_process_cpu_seconds_total", &[], seconds(ticks * 10_000));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.count("hikyaku_process_open_files", &[], files.count() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ListenerReport;

    fn status() -> StatusReport {
        let listener = |address: &str| ListenerReport {
            name: "imap".to_owned(),
            address: address.to_owned(),
            connections: 2,
            accepted: 5,
            refused: 0,
        };
        let name = "worker-0".to_owned();
        let stage = StageReport { name, depth_peak: Some(7), ..StageReport::default() };
        StatusReport {
            state: NodeState::Ready,
            listeners: vec![listener("127.0.0.1:143"), listener("[::1]:143")],
            stages: vec![stage],
            admission: vec![AdmissionReport { name: "worker-0".to_owned(), ..Default::default() }],
            extensions: vec![crate::control::ExtensionReport::default()],
            ..StatusReport::default()
        }
    }

    #[test]
    fn every_family_is_rendered_and_listeners_are_summed() {
        let page = render(&status(), &COUNTERS);
        for (name, kind, help) in FAMILIES {
            let head = format!("# HELP {name} {help}\n# TYPE {name} {}\n{name}", kind.name());
            assert!(page.contains(&head), "{name}");
        }
        assert!(page.contains("hikyaku_listener_connections{listener=\"imap\"} 4\n"), "{page}");
        assert!(
            page.contains("hikyaku_stage_wait_seconds{stage=\"worker-0\",quantile=\"0.99\"} 0\n")
        );
        assert!(!page.contains("127.0.0.1"));
    }

    #[test]
    fn the_documentation_lists_every_family() {
        let documented: Vec<(String, String, String)> = include_str!("../../../docs/metrics.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `hikyaku_"))
            .map(|line| {
                let mut cells = line.trim_end_matches('|').split('|').map(str::trim);
                let mut next = || cells.next().unwrap_or_default().to_owned();
                (format!("hikyaku_{}", next().trim_end_matches('`')), next(), next())
            })
            .collect();
        let known: Vec<(String, String, String)> = FAMILIES
            .iter()
            .map(|(name, kind, help)| {
                ((*name).to_owned(), kind.name().to_owned(), (*help).to_owned())
            })
            .collect();
        assert_eq!(documented, known);
    }
}
