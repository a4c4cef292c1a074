//! A node's store stages and one worker group without sockets: the production shard, worker, writer and readers.
//!
//! Group 1 is the brick's; group 0 is where the clients stand, and owns no machine.

use super::load::Table;
use crate::bench::args::{DdsArgs, Sync};
use ::dds::cluster::{ClusterMap, Command, Delta};
use ::dds::control::Boot;
use ::dds::{DpMap, Durability, Request, Response, Store};
use anyhow::{Context, bail};
use dds_rocksdb::{RocksStore, StoreConfig};
use mailstore::face::TaskRefusal;
use stages::{
    Around, Clock, CommitDone, Drained, HashOrder, Host, PortReceiver, PortSender, Readers,
    StageStats, Turn, Worker, WorkerConfig, Writer, WriterConfig, commits_to, port,
};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use vspace::{
    Completion, ConnectionOrder, GroupId, Inward, LogEvent, MembershipSetup, Neighbour, News,
    NodeId, Packet, SessionId, SessionLine, Shard, ShardConfig, Standing, Ticket, Verdict,
};

const CLIENTS: GroupId = GroupId(0);
const BRICK: GroupId = GroupId(1);
const GROUPS: u8 = 2;

/// Batches that may wait in a queue of tasks; nothing is sent on that lane here.
const PARCELS_MAX: usize = 1 << 16;
/// Answers taken at once.
const DRAIN_MAX: usize = 1024;

/// A running brick.
pub struct Brick {
    /// Where requests go.
    requests: PortSender<Inward>,
    /// Where answers arrive.
    answers: PortReceiver<Inward>,
    pub writer_stats: Arc<StageStats>,
    map: DpMap,
    worker: JoinHandle<()>,
    writer: Writer<Ticket>,
    readers: Readers<Inward>,
}

impl Brick {
    /// Opens a store in `dir` and starts the threads.
    pub fn start(args: &DdsArgs, dir: &Path) -> anyhow::Result<Self> {
        let mut config = StoreConfig::new(dir.join("store"));
        config.memory.cache_bytes = args.cache << 20;
        config.memory.write_buffer_bytes = args.write_buffer << 20;
        config.sync = args.sync == Sync::Always;
        let store = RocksStore::open(&config).context("the store can't be opened")?;
        let store: Arc<dyn Store> = Arc::new(store);
        let worker_stats = Arc::new(StageStats::default());
        let (requests, inbox) = port::<Inward>(PARCELS_MAX, &worker_stats);
        let (answering, answers) = port::<Inward>(PARCELS_MAX, &Arc::new(StageStats::default()));
        let (writer, readers) = start_store_stages(args, &store, &requests)?;
        let writer_stats = Arc::clone(&writer.stats);
        let map = DpMap { partitions: 1024, hash_key: (1, 2) };
        let around = Around {
            port: inbox,
            writer: writer.sender.clone(),
            readers: readers.sender.clone(),
            neighbours: vec![answering, requests.clone()],
            store,
            stats: worker_stats,
            gauges: Arc::default(),
            run_match: Arc::new(|_, _| Err(TaskRefusal::Unavailable)),
        };
        requests.complete(Clock.mono(), founded(&map));
        let worker = std::thread::Builder::new().name("worker".into()).spawn(move || {
            let shard = ShardConfig::new(map, BRICK, GROUPS);
            let shard = Shard::new(shard, (Clock.mono(), Clock.wall()));
            until_closed(Worker::new(shard, BRICK, WorkerConfig::default(), around));
        })?;
        Ok(Self { requests, answers, writer_stats, map, worker, writer, readers })
    }

    /// Whether a partition of the brick's group holds `route`.
    #[must_use]
    pub fn holds(&self, route: &[u8]) -> bool {
        self.map.partition_of(route).0 % u16::from(GROUPS) == u16::from(BRICK.0)
    }

    /// Ends the threads. Nothing may be under way.
    pub fn stop(self) {
        self.requests.complete(Clock.mono(), vec![Inward::Stop]);
        drop(self.requests);
        // A panic of the worker has already been printed.
        let _ended = self.worker.join();
        self.readers.join();
        self.writer.join();
    }
}

impl Table for Brick {
    fn ask(&mut self, requests: Vec<(usize, Request)>) {
        let asked = |(at, request): (usize, Request)| {
            let (origin, request) = (at as u64, Box::new(request));
            Inward::Neighbour(Neighbour::DdsAsked { from: CLIENTS, origin, request })
        };
        self.requests.complete(Clock.mono(), requests.into_iter().map(asked).collect());
    }

    fn answers(&mut self, into: &mut Vec<(usize, Response)>) -> anyhow::Result<()> {
        let mut got = Vec::new();
        loop {
            match self.answers.drain(Clock.mono(), DRAIN_MAX, &mut got) {
                Drained::Took(0) => self.answers.wait(),
                Drained::Took(_) => break,
                Drained::Disconnected => bail!("the worker has ended"),
            }
        }
        for inward in got {
            match inward {
                Inward::Neighbour(Neighbour::DdsDone { origin, response }) => {
                    into.push((usize::try_from(origin)?, *response));
                }
                // What it counts of itself is for nodes of a cluster.
                Inward::Neighbour(Neighbour::Counted { .. }) => {}
                other => bail!("the worker sent {other:?}"),
            }
        }
        Ok(())
    }
}

/// What a node that has founded a cluster of its own tells its worker groups.
fn founded(map: &DpMap) -> Vec<Inward> {
    let setup = MembershipSetup::alone(map);
    let Boot::Found(settings) = setup.boot else { return Vec::new() };
    let (node, incarnation, site) = (NodeId(1), setup.incarnation, setup.site);
    let mut cluster = ClusterMap::default();
    cluster.apply(1, &Command::Found { node, incarnation, site, settings });
    let delta = Arc::new(Delta::whole(&cluster));
    let news = [News::Map { delta, fence_at: fsm::Mono(0) }, News::Registered];
    news.map(|news| Inward::Neighbour(Neighbour::News(news))).into()
}

fn start_store_stages(
    args: &DdsArgs,
    store: &Arc<dyn Store>,
    worker: &PortSender<Inward>,
) -> anyhow::Result<(Writer<Ticket>, Readers<Inward>)> {
    let durability = match args.sync {
        Sync::Always => Durability::Synced,
        Sync::Never => Durability::Buffered,
    };
    let config = WriterConfig { durability, ..WriterConfig::default() };
    let nobody: Box<dyn Fn(fsm::Mono, Vec<CommitDone<Ticket>>) + Send> = Box::new(|_, _| {});
    let done = vec![nobody, commits_to(worker.clone())];
    let writer = Writer::start(
        config,
        Arc::clone(store),
        done,
        Box::new(|error| eprintln!("hikyaku: the store has failed: {error}")),
    )?;
    let answer = worker.clone();
    let readers =
        Readers::start(2, PARCELS_MAX, Arc::new(move |_, now, done| answer.complete(now, done)))?;
    Ok((writer, readers))
}

fn until_closed(mut worker: Worker) {
    loop {
        match worker.turn(&mut NoSockets) {
            Turn::More => {}
            // Partitions arm no timers.
            Turn::Rest(_) => worker.port().wait(),
            Turn::Closed => return,
        }
    }
}

/// Partitions ask nothing of a node but its store.
struct NoSockets;

impl Host for NoSockets {
    fn connection(&mut self, _session: SessionId, _order: ConnectionOrder) {}
    fn log(&mut self, _event: LogEvent) {}
    fn hash(&mut self, _order: HashOrder) {}
    fn decide(&mut self, _: SessionId, _: fsm::Token, _: Arc<mailstore::face::Question>) {}
    fn operator_done(&mut self, _session: SessionId, _token: fsm::Token, _done: Completion) {}

    fn operator_notice(&mut self, _session: SessionId, _notice: vspace::Notice) {}
    fn wake(&mut self, _wake: vspace::Wake) {}
    fn sessions(&mut self, _token: fsm::Token, _lines: Vec<SessionLine>) {}
    fn kicked(&mut self, _token: fsm::Token, _count: u64) {}
    fn kick_told(&mut self, _token: fsm::Token, _unanswered: Vec<NodeId>) {}
    fn loaded(&mut self, _token: fsm::Token, _loaded: bool) {}
    fn clients_done(&mut self, _answers: Vec<(u64, vspace::DdsResponse)>) {}
    fn passed(&mut self, _passed: vspace::Passed) {}
    fn scrubbed(&mut self, _token: fsm::Token, _round: vspace::ScrubRound, _missed: Vec<NodeId>) {}
    fn packets(&mut self, _packets: Vec<(NodeId, Packet)>) {}
    fn standing(&mut self, _standing: Standing) {}
    fn decided(&mut self, _token: fsm::Token, _verdict: Verdict) {}
    fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::dds::{Group, Read, ReadDone, RouteKey, SortKey, StoreError, Tier};
    use bytes::Bytes;

    /// Holds nothing, and knows that without the disk.
    struct Empty;

    impl Store for Empty {
        fn commit(&self, _groups: &[Group], _durability: Durability) -> Result<(), StoreError> {
            Ok(())
        }

        fn read(&self, read: &Read, _tier: Tier) -> Result<ReadDone, StoreError> {
            match read {
                Read::Get { keys, .. } => Ok(ReadDone::Got(vec![None; keys.len()])),
                Read::Scan { .. } => Ok(ReadDone::Scanned { entries: Vec::new(), more: false }),
                Read::Sum { .. } => Ok(ReadDone::Miss),
            }
        }
    }

    /// The turns that a worker takes for one get that memory can answer.
    fn turns_of_a_get(config: WorkerConfig) -> usize {
        let map = DpMap { partitions: 1024, hash_key: (1, 2) };
        let stats = Arc::new(StageStats::default());
        let (requests, inbox) = port::<Inward>(PARCELS_MAX, &stats);
        let (answering, answers) = port::<Inward>(PARCELS_MAX, &stats);
        let (writer, _writes) = port(PARCELS_MAX, &stats);
        let (readers, _reads) = port(PARCELS_MAX, &stats);
        let around = Around {
            port: inbox,
            writer,
            readers,
            neighbours: vec![answering, requests.clone()],
            store: Arc::new(Empty),
            stats,
            gauges: Arc::default(),
            run_match: Arc::new(|_, _| Err(TaskRefusal::Unavailable)),
        };
        let shard = ShardConfig::new(map, BRICK, GROUPS);
        let shard = Shard::new(shard, (Clock.mono(), Clock.wall()));
        let mut worker = Worker::new(shard, BRICK, config, around);
        requests.complete(Clock.mono(), founded(&map));
        while worker.turn(&mut NoSockets) == Turn::More {}
        let held = |route: &Bytes| map.partition_of(route).0 % u16::from(GROUPS) == 1;
        let route = (0_u32..).map(|n| Bytes::from(n.to_string())).find(held);
        let route = RouteKey(route.expect("half of the routes are the brick's"));
        let request =
            Box::new(Request::Get { route, keys: vec![SortKey(Bytes::from_static(b"key"))] });
        let asked = Neighbour::DdsAsked { from: CLIENTS, origin: 7, request };
        requests.complete(Clock.mono(), vec![Inward::Neighbour(asked)]);
        let mut turns = 1;
        while worker.turn(&mut NoSockets) == Turn::More {
            turns += 1;
        }
        let mut got = Vec::new();
        answers.drain(Clock.mono(), DRAIN_MAX, &mut got);
        let done = |inward: &Inward| {
            matches!(inward, Inward::Neighbour(Neighbour::DdsDone { origin: 7, .. }))
        };
        assert!(got.iter().any(done), "no answer among {got:?}");
        turns
    }

    #[test]
    fn a_turn_goes_on_while_memory_answers_within_its_steps() {
        assert_eq!(turns_of_a_get(WorkerConfig::default()), 1);
        assert!(turns_of_a_get(WorkerConfig::of(1)) > 1);
    }
}
