//! The running node as operators see it.

use super::backup;
use super::bridge::Bridge;
use super::history::History;
use super::identity::Identity;
use super::place::Neighbours;
use super::running::Stages;
use crate::config::{Config, Limits};
use crate::control::{
    AdmissionReport, BackupReport, BackupStep, ByteStream, CheckReport, Control, ControlError,
    EventsReport, EventsWanted, HistoryReport, HoldersReport, IndexOrder, IndexReport, Kick,
    Latency, ListenerReport, Location, Moved, NodeChange, NodeProgress, NodeState, PartitionReport,
    PartitionsReport, Progress, Reply, ScrubReport, ScrubState, SessionReport, SpaceState,
    StageReport, StatusReport, StoreReport, SurveyReport, Woken,
};
use crate::edge::ListenerState;
use crate::extensions::{Deciding, Registry};
use dds::cluster::{Incarnation, NodeId, ReplicaGroup};
use dds::scrub::Round;
use dds::{DpMap, PartitionId, Residents};
use dds_rocksdb::RocksStore;
use mailstore::face::{
    Completion, FolderName, Notice, OpenMode, SessionId, Subscription, Task, UserId, UserTask,
};
use stages::{HistogramSnapshot, StageSnapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use vspace::operator_id;

/// What [`Control`] needs of the node.
pub struct NodeControl {
    pub bridge: Arc<Bridge>,
    pub store: Arc<RocksStore>,
    pub map: DpMap,
    /// Number of this node.
    pub node: u16,
    /// Of its data directory.
    pub incarnation: Incarnation,
    pub config: Arc<Config>,
    pub node_name: String,
    pub data: PathBuf,
    pub started: Instant,
    pub stages: Stages,
    pub neighbours: Neighbours,
    pub extensions: Arc<Registry>,
    pub(super) history: History,
    pub state: AtomicU8,
    /// Of the webmail, once they are open.
    pub web_listeners: OnceLock<Vec<Arc<ListenerState>>>,
    /// Who has webmail open here.
    pub present: Arc<crate::web::Present>,
    /// Those in force: SIGHUP changes them.
    limits: Mutex<Limits>,
    operators: AtomicU64,
}

/// States of a node in [`NodeControl::state`].
pub const READY: u8 = 1;
pub const DRAINING: u8 = 2;

impl NodeControl {
    #[must_use]
    pub fn new(
        (bridge, store, identity): (Arc<Bridge>, Arc<RocksStore>, &Identity),
        config: Arc<Config>,
        (node_name, data): (String, PathBuf),
        (stages, neighbours): (Stages, Neighbours),
    ) -> Self {
        Self {
            limits: Mutex::new(config.limits.clone()),
            bridge,
            store,
            map: identity.map,
            node: identity.member.node.0,
            incarnation: identity.member.incarnation,
            extensions: Arc::new(Registry::new(&config)),
            config,
            node_name,
            data,
            started: Instant::now(),
            stages,
            neighbours,
            history: History::default(),
            state: AtomicU8::new(0),
            web_listeners: OnceLock::new(),
            present: Arc::default(),
            // Of every run others: another node may still answer an earlier one.
            operators: AtomicU64::new(super::draw().unwrap_or_default() >> 27),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn state(&self) -> NodeState {
        match self.state.load(Relaxed) {
            READY => NodeState::Ready,
            DRAINING => NodeState::Draining,
            _ => NodeState::Starting,
        }
    }

    /// Of mail programs.
    async fn session_reports(&self) -> Vec<SessionReport> {
        let mut reports = Vec::new();
        for group in 0..self.bridge.groups() {
            for line in self.bridge.list_sessions(group).await {
                reports.push(SessionReport {
                    session: line.session.0,
                    protocol: line.protocol,
                    ip: line.ip,
                    account: line.address.map(|address| address.to_string()),
                    tls: line.tls.map(|tls| format!("{} {}", tls.version, tls.cipher)),
                    connected_seconds: line.age.as_secs(),
                    idle_seconds: line.idle.as_secs(),
                    bytes_in: line.bytes_in,
                    bytes_out: line.bytes_out,
                    activity: line.activity,
                });
            }
        }
        reports
    }

    pub(super) fn stage_reports(&self) -> Vec<StageReport> {
        let mut reports: Vec<_> = self
            .stages
            .stats
            .iter()
            .map(|(name, stats)| stage_report(&stats.snapshot(name)))
            .collect();
        reports.extend(self.bridge.pool().map(|pool| pool.report()));
        reports.extend(crate::log::report());
        reports
    }

    fn listener_reports(listeners: &[Arc<ListenerState>]) -> Vec<ListenerReport> {
        let report = |state: &Arc<ListenerState>| ListenerReport {
            name: state.config.service.name().to_owned(),
            address: state.address.clone(),
            connections: state.open.load(Relaxed),
            accepted: state.accepted.load(Relaxed),
            refused: state.refused.load(Relaxed),
        };
        listeners.iter().map(report).collect()
    }

    fn status_report(&self) -> StatusReport {
        let mut listeners = Self::listener_reports(&self.bridge.listeners);
        // Connections of browsers come and go with every page: what counts is who is there.
        let sessions: u64 = listeners.iter().map(|listener| listener.connections).sum();
        let sessions = sessions + self.present.count(Instant::now());
        let web = self.web_listeners.get().map(Vec::as_slice).unwrap_or_default();
        listeners.extend(Self::listener_reports(web));
        let view = self.bridge.cluster();
        let damaged = self.bridge.damaged();
        let held: Vec<_> = self.stages.gauges.iter().map(|gauges| gauges.get()).collect();
        let sum = |count: fn(&vspace::Population) -> usize| -> u64 {
            held.iter().map(|population| count(population) as u64).sum()
        };
        // What runs here is counted here; elsewhere as it was told last.
        let residents = match view.residents(self.node) {
            Some(told) => told,
            None => Residents {
                accounts: sum(|held| held.accounts),
                deliveries: sum(|held| held.deliveries),
            },
        };
        StatusReport {
            node: self.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.config.cluster.name.clone(),
            state: self.state(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            data: self.data.clone(),
            sync: self.config.store.sync,
            sessions,
            listeners,
            stages: self.stage_reports(),
            admission: held.iter().enumerate().map(admission_report).collect(),
            store: self.store_report(&damaged),
            partitions: PartitionsReport {
                count: u64::from(self.map.partitions),
                awake: sum(|held| held.partitions),
                under_replicated: view.under_replicated(),
                unavailable: view.unavailable() + self.partitions_of(&damaged),
            },
            nodes: view.nodes(&self.config),
            cluster_state: view.state(),
            extensions: self.extensions.reports(&self.node_name),
            scrub: self.scrub_state(&held),
            index: self.bridge.index.report(),
            users_loaded: sum(|held| held.mailboxes),
            moves: view.moves(&self.config),
            links: self.link_reports(),
            behind: self.behind_reports(&held),
            accounts: residents.accounts,
            deliveries_pending: residents.deliveries,
        }
    }
}

fn admission_report((group, held): (usize, &vspace::Population)) -> AdmissionReport {
    AdmissionReport {
        name: format!("worker-{group}"),
        taken_bytes: held.credits_taken,
        allowed_bytes: held.credits_allowed,
        waiting: held.waiting as u64,
        waiting_max: held.waiting_max as u64,
        held: held.held,
        refused: held.refused,
    }
}

fn stage_report(snapshot: &StageSnapshot) -> StageReport {
    StageReport {
        name: snapshot.name.clone(),
        depth: snapshot.depth,
        depth_max: 0,
        depth_peak: Some(snapshot.depth_peak),
        wait: latency(&snapshot.wait),
        service: latency(&snapshot.service),
        processed: snapshot.served,
        batches: snapshot.batch.count(),
        wakes: snapshot.wakes,
        hops: snapshot.hops,
        refusals: snapshot.refusals,
    }
}

fn latency(histogram: &HistogramSnapshot) -> Latency {
    Latency {
        count: histogram.count(),
        sum_us: histogram.sum / 1000,
        p50_us: histogram.quantile(500) / 1000,
        p99_us: histogram.quantile(990) / 1000,
        max_us: histogram.quantile(1000) / 1000,
    }
}

impl Control for NodeControl {
    fn open_session(&self) -> SessionId {
        operator_id(self.node, self.operators.fetch_add(1, Relaxed))
    }

    fn close_session(&self, session: SessionId) {
        self.bridge.end_own(session);
    }

    fn listen(&self, session: SessionId) -> mpsc::UnboundedReceiver<Notice> {
        self.bridge.listen(session)
    }

    fn feed(&self, session: SessionId) -> mpsc::UnboundedReceiver<Woken> {
        self.bridge.feed(session)
    }

    fn led(&self) -> BTreeSet<PartitionId> {
        self.bridge.look(|view| crate::extensions::led_by(&view.map, NodeId(self.node)))
    }

    fn submit(&self, session: SessionId, task: Task) -> Reply<'_, Completion> {
        Box::pin(
            async move { self.bridge.submit(session, task).await.ok_or(ControlError::Stopping) },
        )
    }

    fn sessions(&self) -> Reply<'_, Vec<SessionReport>> {
        Box::pin(async move {
            let mut reports = self.session_reports().await;
            reports.extend(self.present.reports(Instant::now()));
            Ok(reports)
        })
    }

    fn kick(&self, whom: Kick) -> Reply<'_, u64> {
        Box::pin(async move {
            let matches = |report: &SessionReport| match &whom {
                Kick::Session(session) => report.session == session.0,
                Kick::Account(address) => report
                    .account
                    .as_ref()
                    .is_some_and(|account| account.eq_ignore_ascii_case(address)),
                Kick::Ip(ip) => report.ip == *ip,
            };
            let reports = self.session_reports().await;
            let mut kicked = self.sign_out(&whom).await;
            for group in 0..self.bridge.groups() {
                let chosen = reports
                    .iter()
                    .filter(|report| matches(report))
                    .map(|report| SessionId(report.session))
                    .filter(|&id| usize::from(vspace::group_of(id).0) == group);
                kicked += self.bridge.kick(group, chosen.collect()).await;
            }
            Ok(kicked)
        })
    }

    fn kick_everywhere(&self, user: UserId) -> Reply<'_, ()> {
        Box::pin(async move {
            // Who has not answered by now is told again when it is reached.
            let _unanswered = self.bridge.kick_user(user).await;
            Ok(())
        })
    }

    fn status(&self) -> Reply<'_, StatusReport> {
        Box::pin(async move { Ok(self.status_report()) })
    }

    fn locate(&self, user: UserId) -> Reply<'_, Location> {
        Box::pin(async move {
            let partition = self.map.partition_of(&mailstore::mailbox::route(user).0);
            let groups = u16::try_from(self.bridge.groups().max(1)).unwrap_or(1);
            let worker = partition.0 % groups;
            let loaded = self.bridge.is_loaded(usize::from(worker), user).await;
            let trouble = self.trouble_of(user).await;
            let view = self.bridge.cluster();
            Ok(Location {
                node: view.primary_name(&self.config, partition),
                in_sync: view.names_in_sync(&self.config, partition),
                partition: partition.0,
                worker,
                loaded,
                trouble,
            })
        })
    }

    fn change_node(&self, node: String, change: NodeChange) -> Reply<'_, ()> {
        Box::pin(async move { self.change(&node, change).await })
    }

    fn node_progress(&self, node: String, change: NodeChange) -> Reply<'_, NodeProgress> {
        Box::pin(async move { self.progress(&node, change) })
    }

    fn move_user(&self, user: UserId, node: String) -> Reply<'_, Moved> {
        Box::pin(async move { self.place(user, &node).await })
    }

    fn backup(
        &self,
        dir: PathBuf,
        step: BackupStep,
        progress: Progress,
    ) -> Reply<'_, BackupReport> {
        Box::pin(async move { self.backup_to(dir, step, progress).await })
    }

    fn holders(&self) -> Reply<'_, HoldersReport> {
        Box::pin(async move { self.agreed_holders().await })
    }

    fn survey(&self, partitions: Vec<u16>) -> Reply<'_, SurveyReport> {
        Box::pin(async move { self.survey_copies(partitions).await })
    }

    fn masters(&self, users: &[UserId]) -> BTreeMap<u16, u64> {
        let view = self.bridge.cluster();
        let mut masters = BTreeMap::new();
        for user in users {
            let partition = self.map.partition_of(&mailstore::mailbox::route(*user).0);
            let primary = view.map.group(partition).and_then(|group| group.primary);
            *masters.entry(primary.map_or(0, |node| node.0)).or_default() += 1;
        }
        masters
    }

    fn master(&self, user: UserId) -> (String, u16) {
        let partition = self.map.partition_of(&mailstore::mailbox::route(user).0);
        (self.bridge.look(|view| view.primary_name(&self.config, partition)), partition.0)
    }

    fn check(&self, progress: Progress) -> Reply<'_, CheckReport> {
        Box::pin(async move { self.check_store(progress).await })
    }

    fn node_name(&self) -> String {
        self.node_name.clone()
    }

    fn others(&self) -> Vec<String> {
        self.other_nodes()
    }

    fn reach(&self, node: String) -> Reply<'_, Box<dyn ByteStream>> {
        Box::pin(async move { self.connect(&node).await })
    }

    fn scrub(&self) -> Reply<'_, ScrubReport> {
        Box::pin(async move { self.bridge.scrub().await.ok_or(ControlError::Stopping) })
    }

    fn events(&self, wanted: &EventsWanted) -> EventsReport {
        crate::log::recent(&self.node_name, wanted)
    }

    fn stage_history(&self) -> HistoryReport {
        self.history.report()
    }

    fn partitions(&self) -> Vec<PartitionReport> {
        self.bridge.look(|view| view.partitions(&self.config))
    }

    fn index(&self) -> IndexReport {
        self.bridge.index.report()
    }

    fn order_index(&self, order: IndexOrder) -> Result<(), ControlError> {
        let ordered = self.bridge.index.order(order);
        ordered.map_err(|error| ControlError::Failed(format!("the index: {error}")))
    }

    fn subscription(&self, extension: &str) -> Option<Subscription> {
        let all = super::extensions::subscriptions(&self.config);
        all.into_iter().find(|it| it.subscriber.as_str() == extension)
    }

    fn deciding(&self) -> Option<Deciding> {
        self.bridge.deciding()
    }

    fn message_bytes_max(&self) -> u64 {
        self.limits().message_size.0
    }

    fn is_ready(&self) -> bool {
        self.state() == NodeState::Ready
    }
}

impl NodeControl {
    /// Asks the mailbox for its folders and the rows of INBOX: what is wrong with it, if anything.
    async fn trouble_of(&self, user: UserId) -> Option<String> {
        let session = self.open_session();
        let inbox = UserTask::OpenFolder {
            name: FolderName::inbox(),
            mode: OpenMode::ReadOnly,
            known: None,
        };
        let mut trouble = None;
        for task in [UserTask::ListFolders, inbox] {
            let done = self.bridge.submit(session, Task::User { user, task }).await;
            if let Some(Completion::Refused(refusal)) = done {
                let found = self.bridge.damaged().remove(&user).unwrap_or(refusal.to_string());
                trouble = Some(format!("{found}; `hikyaku check` tells all that is damaged"));
                break;
            }
        }
        self.close_session(session);
        trouble.or_else(|| self.bridge.damaged().remove(&user))
    }

    fn scrub_state(&self, held: &[vspace::Population]) -> ScrubState {
        let sums = held.iter().map(|population| population.scrubs);
        let rounds = sums.clone().map(|sums| sums.rounds).min().unwrap_or(0);
        let (mut last, mut all) = (Round::default(), Round::default());
        for sums in sums {
            last.add(&sums.last);
            all.add(&sums.all);
        }
        let last = (rounds > 0).then_some(last);
        ScrubState { rounds, last, all, findings: self.bridge.scrub_findings() }
    }

    /// How many partitions hold something that was found damaged.
    fn partitions_of(&self, damaged: &BTreeMap<UserId, String>) -> u64 {
        let route = |user: &UserId| mailstore::mailbox::route(*user).0;
        let partitions: BTreeSet<_> =
            damaged.keys().map(|user| self.map.partition_of(&route(user))).collect();
        partitions.len() as u64
    }

    fn store_report(&self, damaged: &BTreeMap<UserId, String>) -> StoreReport {
        let stats = self.store.stats();
        let writer = self.stages.stats.iter().find(|(name, _)| name == "writer");
        StoreReport {
            groups: stats.groups,
            batches: stats.commits,
            syncs: stats.syncs,
            bytes_written: stats.wal_bytes + stats.flush_bytes + stats.compaction_write_bytes,
            sync_time: writer.map_or_else(Latency::default, |(name, stats)| {
                latency(&stats.snapshot(name).service)
            }),
            disk_bytes_used: stats.table_bytes + stats.blob_file_bytes,
            disk_bytes_free: stats.free_bytes,
            cache_bytes: stats.cache_bytes,
            memtable_bytes: stats.memtable_bytes,
            memory_hits: stats.cache_hits,
            memory_misses: stats.cache_misses,
            space: match self.store.space() {
                dds_rocksdb::SpaceState::Plenty => SpaceState::Ample,
                dds_rocksdb::SpaceState::Low => SpaceState::Low,
                dds_rocksdb::SpaceState::Critical => SpaceState::Exhausted,
            },
            errors: damaged.values().cloned().collect(),
        }
    }

    /// A checkpoint of the store, then the keys: files that don't change are linked, so it takes little time and space.
    async fn backup_to(
        &self,
        dir: PathBuf,
        step: BackupStep,
        progress: Progress,
    ) -> Result<BackupReport, ControlError> {
        let (data, incarnation) = (self.data.clone(), self.incarnation.0);
        let report = self.on_brick(move |brick| match step {
            BackupStep::Alone => backup::write(brick, &data, &dir, &*progress),
            BackupStep::Copy => {
                backup::copy(brick.store, &dir)?;
                let (files, bytes, findings) = (0, 0, Vec::new());
                Ok(BackupReport { dir, files, bytes, findings, incarnation })
            }
            BackupStep::Finish { manifest } => {
                backup::finish(brick, (&data, &dir), Some(&manifest), &*progress)
            }
        });
        report.await?.map_err(|error| ControlError::Failed(format!("{error:#}")))
    }

    async fn check_store(&self, progress: Progress) -> Result<CheckReport, ControlError> {
        self.on_brick(move |brick| backup::check(brick, &*progress)).await
    }

    async fn survey_copies(&self, partitions: Vec<u16>) -> Result<SurveyReport, ControlError> {
        let all = (0..self.map.partitions).map(PartitionId);
        let map_index = self.bridge.cluster().map.index;
        let wanted: Vec<PartitionId> = match partitions.as_slice() {
            [] => all.collect(),
            some => some.iter().copied().map(PartitionId).collect(),
        };
        let surveyed = self.on_brick(move |brick| {
            let mut copies = Vec::new();
            for partition in wanted {
                // Of one partition it has to be one moment; a moment keeps files, and all of them take long.
                let moment = brick.store.moment();
                if (brick.holds)(partition) {
                    let copy = dds::survey::survey(&|read| moment.read(read), partition)?;
                    copies.push((partition.0, copy));
                }
            }
            Ok(copies)
        });
        let failed = |error: dds::survey::Unreadable| ControlError::Failed(error.to_string());
        Ok(SurveyReport { map_index, copies: surveyed.await?.map_err(failed)? })
    }

    /// Runs long work on this node's brick, on a thread of its own.
    async fn on_brick<T: Send + 'static>(
        &self,
        work: impl FnOnce(&backup::Brick<'_>) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let (store, map) = (Arc::clone(&self.store), self.map);
        let (bridge, me) = (&self.bridge, NodeId(self.node));
        let view = bridge.cluster();
        let shared = view.map.nodes.len() > 1;
        let mine = |(partition, group): (PartitionId, &ReplicaGroup)| {
            group.is_in_sync(me).then_some(partition)
        };
        let held: BTreeSet<PartitionId> = view.map.partitions().filter_map(mine).collect();
        let run = move || {
            let holds = |partition| held.contains(&partition);
            work(&backup::Brick { store: &store, map, holds: &holds, shared })
        };
        let done = tokio::task::spawn_blocking(run).await;
        done.map_err(|error| ControlError::Failed(error.to_string()))
    }
}
