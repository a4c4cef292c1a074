//! A node from its start to its stop.

use super::ServeOptions;
use super::bridge::{Bridge, Ending};
use super::control::{DRAINING, NodeControl, READY};
use super::full_text::NodeIndex;
use super::identity::{Identity, Member};
use super::place::{AdminCalls, Place};
use super::reload::Reloader;
use super::{identity, matching};
use crate::config::{Config, LogLevel, NodeEntry};
use crate::edge::{Arrival, Bound, Doorkeeper, Entrance, ListenerState};
use crate::log::LogWriter;
use crate::passwords::HashPool;
use crate::tls::TlsContext;
use anyhow::Context;
use dds::{DpMap, Durability, Store};
use dds_rocksdb::{RocksStore, StoreConfig};
use stages::{
    Around, Gauges, PortSender, Readers, StageStats, Worker, WorkerConfig, Writer, WriterConfig,
    commits_to, port,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use vspace::{GroupId, Inward, MembershipSetup, NodeId, Shard, ShardConfig, Ticket};

/// A write that takes longer than this means a disk that is gone. Design section 4.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a node that is not ready says why.
const WAITING_NOTED_EVERY: Duration = Duration::from_secs(5);

/// How long a node that stops waits for others to take over what it leads. Our choice: a planned move takes a tenth of a second.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(3);

/// How often the free space of the device is looked at.
const SPACE_LOOK_TIME: Duration = Duration::from_secs(1);

/// The threads of a running node.
pub(super) struct Threads {
    workers: Vec<JoinHandle<()>>,
    writer: Writer<Ticket>,
    readers: Readers<Inward>,
    closing: watch::Sender<bool>,
}

/// Runs the node until a signal ends it.
pub async fn serve(options: ServeOptions) -> anyhow::Result<()> {
    let config = Arc::new(options.config);
    let data = options.node.data.clone();
    prepare_data(&data)?;
    raise_descriptor_limit();
    let log = open_log(&config)?;
    let hostname: Arc<str> = host_name(options.node.hostname.as_deref()).into();
    let webmail_host = Arc::clone(&hostname);
    let (tls, store) = load_and_open(&config, &data, &hostname)?;
    let place = Place::new(&config, &options.node, &tls)?;
    let identity = place.identity(&config, &*store, options.found).await?;

    let bound = bind_all(&config)?;
    let door = Arc::new(Doorkeeper::new(hostname, &config));
    let index = Arc::new(NodeIndex::new(&data, identity.map));
    let bridge = Arc::new(Bridge::new(Arc::clone(&tls), states_of(&bound), door, index));
    let (threads, stages, calls) =
        start_node(&config, (&bridge, &store), (&place, &identity), bound)?;
    let clock = threads.writer.clock.clone();
    std::thread::Builder::new().name("watchdog".into()).spawn(move || watch_writes(&clock))?;

    let control = Arc::new(NodeControl::new(
        (Arc::clone(&bridge), Arc::clone(&store), &identity),
        Arc::clone(&config),
        (options.node.name.clone(), data.clone()),
        (stages, place.neighbours(&config, &identity)),
    ));
    let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = (admin_stopped, calls);
    let admin = start_admin((&config, &options.node), (&data, &tls), &control, stopped).await?;
    let mut endings = bridge.endings();
    tokio::select! {
        () = until_ready(&bridge) => {}
        error = ended(&mut endings, (&*store, identity.member)) => return Err(error),
    }
    // Until here a signal ends the process: it has promised nothing.
    let signals = Signals::new()?;
    announce(&bridge, &admin);
    let webmail =
        super::webmail::open_doors(&control, (&config, webmail_host), options.demo).await?;
    let extensions = super::extensions::Extensions::start(&control, &config).await?;
    println!("ready");
    control.state.store(READY, Relaxed);
    crate::systemd::notify("READY=1");

    tokio::spawn(super::history::keep(Arc::clone(&control)));
    tokio::spawn(watch_space(Arc::clone(&store), Arc::clone(&bridge)));
    tokio::spawn(crate::footprint::give_back());
    let reloader = Reloader {
        path: options.config_path,
        tls,
        log: Arc::clone(&log),
        control: Arc::clone(&control),
    };
    tokio::select! {
        () = signals.until_told(&reloader) => {}
        error = ended(&mut endings, (&*store, identity.member)) => return Err(error),
    }
    control.state.store(DRAINING, Relaxed);
    crate::systemd::notify("STOPPING=1");
    drop(stop_admin);
    webmail.stop().await;
    extensions.stop().await;
    stop(threads, (&bridge, place.me), control.limits().drain_time.0).await;
    // It answered its last call; a panic has been printed.
    let _ended = admin.task.await;
    flush(&store, &log);
    Ok(())
}

/// Brings to the disk what need not be there.
fn flush(store: &RocksStore, log: &LogWriter) {
    if let Err(error) = store.flush() {
        // Everything acknowledged is in the log of the store: the next start reads it from there.
        crate::log::note(LogLevel::Warn, "flush", vec![("reason", error.to_string())]);
    }
    log.flush();
}

fn open_log(config: &Config) -> anyhow::Result<Arc<LogWriter>> {
    let log = Arc::new(LogWriter::start(&config.log).context("the log can't be opened")?);
    crate::log::install(Arc::clone(&log));
    if !config.store.sync {
        let what = "store.sync = false: accepted mail is LOST when the machine stops";
        crate::log::note(LogLevel::Error, what, Vec::new());
    }
    Ok(log)
}

/// Tells on which addresses the node listens.
fn announce(bridge: &Bridge, admin: &Admin) {
    for state in &bridge.listeners {
        println!("listening {} {}", state.config.service.name(), state.address);
    }
    println!("listening admin {}", admin.address);
    println!("console {}", admin.console);
}

/// The threads of the node, and its connections with others.
pub(super) fn start_node(
    config: &Config,
    (bridge, store): (&Arc<Bridge>, &Arc<RocksStore>),
    (place, identity): (&Place, &Identity),
    bound: Vec<Bound>,
) -> anyhow::Result<(Threads, Stages, Option<AdminCalls>)> {
    let member = (identity, place.membership(config, identity)?);
    let (threads, stages, senders) = start_threads(config, bridge, store, member, bound)?;
    let mut calls = None;
    if let Some((mut setup, admin)) = place.peers(config, (identity, bridge), &senders)? {
        setup.traffic = Arc::clone(&bridge.traffic);
        setup.standings = Arc::clone(&bridge.standings);
        bridge.join_peers(crate::peers::start(setup)?);
        calls = Some(admin);
    }
    Ok((threads, stages, calls))
}

fn states_of(bound: &[Bound]) -> Vec<Arc<ListenerState>> {
    bound.iter().map(|bound| Arc::clone(&bound.state)).collect()
}

/// Waits until the node has no place in its cluster any more.
async fn ended(
    endings: &mut watch::Receiver<Option<Ending>>,
    (store, member): (&dyn Store, Member),
) -> anyhow::Error {
    let ending = match endings.wait_for(Option::is_some).await {
        Ok(ending) => ending.clone(),
        // Nobody is left to tell: so is nobody left to end.
        Err(_) => std::future::pending().await,
    };
    match ending {
        Some(Ending::OldImage) => match identity::renew(store, member) {
            Ok(()) => anyhow::anyhow!(
                "the data directory is an older image of itself, and others may hold what it lacks: start it \
                 again, it will join the cluster anew and be filled"
            ),
            Err(error) => error,
        },
        Some(Ending::Removed) => anyhow::anyhow!(
            "this node was removed from the cluster: take it out of the file, or empty its data directory to \
             let it join anew"
        ),
        Some(Ending::LeftBehind) => anyhow::anyhow!("{}", super::LEFT_BEHIND),
        Some(Ending::FoundedApart) => anyhow::anyhow!("{}", super::FOUNDED_APART),
        Some(Ending::Stopped(why)) => anyhow::anyhow!("the control plane can't go on: {why}"),
        None => anyhow::anyhow!("the node ends"),
    }
}

/// The running admin server.
struct Admin {
    address: String,
    /// Where a browser finds the console, and what opens it.
    console: String,
    task: tokio::task::JoinHandle<()>,
}

async fn start_admin(
    (config, node): (&Config, &NodeEntry),
    (data, tls): (&Path, &Arc<TlsContext>),
    control: &Arc<NodeControl>,
    (stopped, calls): (tokio::sync::oneshot::Receiver<()>, Option<AdminCalls>),
) -> anyhow::Result<Admin> {
    use crate::config::Address;
    let at = match config.admin_address(node) {
        Some(Address::Tcp(address)) => address,
        Some(Address::Unix(_)) | None => ([127, 0, 0, 1], 0).into(),
    };
    let listener = tokio::net::TcpListener::bind(at).await;
    let listener = listener.with_context(|| {
        format!("admin can't listen on {at}: is another node running? Change listen.admin")
    })?;
    let address = listener.local_addr()?;
    crate::admin::write_address(data, &address.to_string())?;
    let token_file = data.join(crate::admin::TOKEN_FILE).display().to_string();
    let scheme = if address.ip().is_loopback() { "http" } else { "https" };
    let console = format!("{scheme}://{address}/ (sign in with the token in {token_file})");
    let server = crate::admin::AdminServer {
        control: Arc::<NodeControl>::clone(control),
        hashes: Arc::clone(control.bridge.pool().context("the pool runs by now")?),
        token: crate::admin::Token::load_or_make(data)?,
        tls: (!address.ip().is_loopback()).then(|| Arc::clone(tls)),
        metrics: config.metrics.enabled,
        token_file,
        cluster: config.cluster.name.clone(),
    };
    let task = tokio::spawn(crate::admin::serve((listener, calls), server, async move {
        // Told by a message or by the end of the sender.
        let _told = stopped.await;
    }));
    Ok(Admin { address: address.to_string(), console, task })
}

pub(super) fn prepare_data(data: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("the data directory {} can't be made", data.display()))
}

/// As many descriptors as the system lets us have: every connection is one, and shells give 1,024 by default.
pub(super) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What can't be raised stays; listeners say so when they run out.
    let _raised =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

fn host_name(configured: Option<&str>) -> String {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    configured.map_or(machine, str::to_owned)
}

fn open_store(config: &Config, data: &Path) -> anyhow::Result<RocksStore> {
    let mut store = StoreConfig::new(data.join("store"));
    store.sync = config.store.sync;
    store.memory.cache_bytes = config.store.cache.bytes();
    store.memory.write_buffer_bytes = config.store.write_buffer.bytes();
    store.space.low_bytes = config.store.space_low.0;
    store.space.critical_bytes = config.store.space_exhausted.0;
    store.space.ballast_bytes = config.store.ballast.0;
    let store = RocksStore::open(&store).context("the store can't be opened")?;
    if let Some(place) = store.torn() {
        let fields =
            vec![("log", place.log.display().to_string()), ("offset", place.offset.to_string())];
        crate::log::note(LogLevel::Warn, "an unsynced write was torn, and is dropped", fields);
    }
    Ok(store)
}

/// The certificates and the store, both at once: one takes CPU, the other waits for the disk.
pub(super) fn load_and_open(
    config: &Config,
    data: &Path,
    hostname: &str,
) -> anyhow::Result<(Arc<TlsContext>, Arc<RocksStore>)> {
    std::thread::scope(|scope| {
        let tls = scope.spawn(|| TlsContext::load(&config.tls, data, hostname));
        let store = open_store(config, data)?;
        let tls =
            tls.join().map_err(|_| anyhow::anyhow!("loading the certificates panicked"))??;
        Ok((Arc::new(tls), Arc::new(store)))
    })
}

fn bind_all(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let mail = config.listen.listeners.iter().filter(|listener| listener.service.is_mail());
    mail.map(|listener| {
        crate::edge::bind(listener)
            .or_else(|error| bind_elsewhere(config, listener, error))
            .with_context(|| {
                format!(
                    "{} can't listen on {}: is another server running there? Change listen.{}",
                    listener.service.name(),
                    listener.address,
                    listener.service.name()
                )
            })
    })
    .collect()
}

/// What `status` reads of the running stages.
#[derive(Debug, Default)]
pub struct Stages {
    pub stats: Vec<(String, Arc<StageStats>)>,
    /// By worker group.
    pub gauges: Vec<Arc<Gauges>>,
}

/// A default port that somebody else holds must not keep a first start from working: the kernel chooses another, which is
/// printed. A port that was configured is never replaced.
fn bind_elsewhere(
    config: &Config,
    listener: &crate::config::Listener,
    error: std::io::Error,
) -> std::io::Result<Bound> {
    let taken = error.kind() == std::io::ErrorKind::AddrInUse;
    match &listener.address {
        crate::config::Address::Tcp(address) if taken && config.listen.is_default() => {
            let name = listener.service.name();
            eprintln!(
                "hikyaku: {address} is taken, {name} listens on another port; set listen.{name} \
                 in cluster.toml to choose one"
            );
            let elsewhere = std::net::SocketAddr::new(address.ip(), 0);
            let address = crate::config::Address::Tcp(elsewhere);
            crate::edge::bind(&crate::config::Listener { address, ..listener.clone() })
        }
        crate::config::Address::Tcp(_) | crate::config::Address::Unix(_) => Err(error),
    }
}

fn start_threads(
    config: &Config,
    bridge: &Arc<Bridge>,
    store: &Arc<RocksStore>,
    (identity, membership): (&Identity, MembershipSetup),
    bound: Vec<Bound>,
) -> anyhow::Result<(Threads, Stages, Vec<PortSender<Inward>>)> {
    let map = identity.map;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = config.stages.workers.map_or((cores / 2).max(1), |count| count as usize);
    let groups = u8::try_from(count).context("stages.workers is at most 255")?;
    let mut stages = Stages::default();
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for group in 0..count {
        let stats = Arc::new(StageStats::default());
        stages.stats.push((format!("worker-{group}"), Arc::clone(&stats)));
        stages.gauges.push(Arc::default());
        let (sender, receiver) = port::<Inward>(config.stages.queue as usize, &stats);
        senders.push(sender.in_parcels_of(config.stages.batch as usize));
        receivers.push((receiver, stats));
    }
    let shared: Arc<dyn Store> = Arc::<RocksStore>::clone(store);
    let (writer, readers) = start_store_stages(config, &shared, &senders)?;
    stages.stats.push(("writer".into(), Arc::clone(&writer.stats)));
    stages.stats.push(("readers".into(), Arc::clone(&readers.stats)));
    let answer = Arc::clone(bridge);
    let pool = Arc::new(HashPool::start(&config.auth, move |done| answer.on_hash_done(done))?);
    bridge.join(senders.clone(), pool);

    let (closing, closed) = watch::channel(false);
    let (doors, arrivals): (Vec<_>, Vec<_>) =
        (0..count).map(|_| mpsc::unbounded_channel::<Arrival>()).unzip();
    let mut listeners: Vec<(usize, Bound)> = bound.into_iter().enumerate().collect();
    let tag_key = random_bytes::<16>()?;
    let dummy_phc = bridge.pool().context("the pool has been joined")?.decoy();
    let mut workers = Vec::new();
    for (group, ((receiver, stats), arrivals)) in receivers.into_iter().zip(arrivals).enumerate() {
        let id = GroupId(u8::try_from(group).context("stages.workers is at most 255")?);
        let shard_config = ShardConfig {
            membership: membership.clone(),
            ..shard_config(config, (identity, id, groups), (tag_key, Arc::clone(&dummy_phc)))?
        };
        let around = Around {
            port: receiver,
            writer: writer.sender.clone(),
            readers: readers.sender.clone(),
            neighbours: senders.clone(),
            store: Arc::clone(&shared),
            stats,
            gauges: Arc::clone(&stages.gauges[group]),
            run_match: run_match(bridge, map),
        };
        let entrance = Entrance {
            arrivals,
            listeners: std::mem::take(&mut listeners),
            groups: doors.clone(),
            door: Arc::clone(&bridge.door),
            closing: closed.clone(),
        };
        let worker_config = WorkerConfig::of(config.stages.batch as usize);
        let service = Arc::clone(bridge);
        let run = move || {
            let now = (stages::Clock.mono(), stages::Clock.wall());
            let worker = Worker::new(Shard::new(shard_config, now), id, worker_config, around);
            if let Err(error) = crate::edge::run(worker, group, service, entrance) {
                eprintln!("hikyaku: worker {group} could not start: {error}");
                std::process::exit(1);
            }
        };
        workers.push(std::thread::Builder::new().name(format!("worker-{group}")).spawn(run)?);
    }
    Ok((Threads { workers, writer, readers, closing }, stages, senders))
}

/// Body searches ask the index, and read what it does not know.
fn run_match(bridge: &Bridge, map: DpMap) -> stages::RunMatch {
    let index = Arc::clone(&bridge.index);
    Arc::new(move |job, store: &dyn Store| {
        job.run(&mut matching::StoreReader { store, map }, &*index)
    })
}

fn start_store_stages(
    config: &Config,
    store: &Arc<dyn Store>,
    senders: &[PortSender<Inward>],
) -> anyhow::Result<(Writer<Ticket>, Readers<Inward>)> {
    let durability = if config.store.sync { Durability::Synced } else { Durability::Buffered };
    let writer_config = WriterConfig {
        groups_max: config.stages.groups_per_sync as usize,
        durability,
        ..WriterConfig::default()
    };
    let done = senders.iter().map(|sender| commits_to(sender.clone())).collect();
    let mut writer = Writer::start(
        writer_config,
        Arc::clone(store),
        done,
        // A brick whose sync failed does not know what it holds: only a restart finds out.
        Box::new(|error| {
            eprintln!("hikyaku: the store has failed and the node stops: {error}");
            std::process::abort();
        }),
    )?;
    writer.sender = writer.sender.in_parcels_of(config.stages.batch as usize);
    let answer = senders.to_vec();
    let readers = Readers::start(
        config.stages.readers as usize,
        1 << 16,
        Arc::new(move |group: usize, now, done| {
            if let Some(sender) = answer.get(group) {
                sender.complete(now, done);
            }
        }),
    )?;
    Ok((writer, readers))
}

fn random_bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(bytes)
}

fn shard_config(
    config: &Config,
    (identity, group, groups): (&Identity, GroupId, u8),
    (tag_key, dummy_phc): ([u8; 16], Arc<str>),
) -> anyhow::Result<ShardConfig> {
    let mut shard = ShardConfig::new(identity.map, group, groups);
    shard.node = identity.member.node.0;
    shard.restored = identity.restored;
    shard.seed = u64::from_le_bytes(random_bytes()?);
    shard.directory.tag_key = tag_key;
    shard.directory.dummy_phc = dummy_phc;
    shard.mailbox_bytes_max = config.store.index_cache.bytes();
    super::limits::apply(config, usize::from(groups), &mut shard);
    Ok(shard)
}

/// Looks at the device now and then: others fill it too.
async fn watch_space(store: Arc<RocksStore>, bridge: Arc<Bridge>) {
    use dds_rocksdb::SpaceState;
    let mut known = vspace::Space::Ample;
    loop {
        let space = match store.refresh_space() {
            SpaceState::Plenty => vspace::Space::Ample,
            SpaceState::Low => vspace::Space::Low,
            SpaceState::Critical => vspace::Space::Exhausted,
        };
        if space != known {
            let fields = vec![("space", format!("{space:?}").to_lowercase())];
            crate::log::note(LogLevel::Warn, "space of the store changed", fields);
            for group in 0..bridge.groups() {
                bridge.tell(group, Inward::SpaceIs(space));
            }
            known = space;
        }
        tokio::time::sleep(SPACE_LOOK_TIME).await;
    }
}

fn watch_writes(clock: &stages::WriteClock) {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        if clock.running(stages::Clock.mono()).is_some_and(|time| time > WRITE_TIME_MAX) {
            eprintln!("hikyaku: a write has taken over 10 s: the disk does not answer, stopping");
            std::process::abort();
        }
    }
}

async fn until_ready(bridge: &Bridge) {
    let mut noted = std::time::Instant::now();
    loop {
        if noted.elapsed() > WAITING_NOTED_EVERY {
            noted = std::time::Instant::now();
            crate::log::note(LogLevel::Warn, "not ready yet", bridge.cluster().waits_for());
        }
        let notified = bridge.became_ready.notified();
        if bridge.is_ready.load(Relaxed) {
            return;
        }
        // Looks again now and then: the notice may have come between the look and the wait.
        let _either = tokio::time::timeout(Duration::from_millis(50), notified).await;
    }
}

/// The signals that a node obeys. They are caught from the moment this exists: before the node says `ready`, so that whoever
/// waits for that may stop it at once.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; reloads on SIGHUP.
    async fn until_told(mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _signal = self.terminate.recv() => return,
                _signal = self.interrupt.recv() => return,
                _signal = self.hang_up.recv() => reloader.reload(),
            }
        }
    }
}

/// Ends sessions politely, then the threads, each after those that feed it.
async fn stop(threads: Threads, (bridge, me): (&Bridge, NodeId), drain_time: Duration) {
    // Nobody listens when no group accepts.
    let _told = threads.closing.send(true);
    for group in 0..bridge.groups() {
        bridge.tell(group, Inward::ShutDown);
    }
    let now = tokio::time::Instant::now();
    let (until, handed_over) = (now + drain_time, now + HAND_OVER_TIME_MAX.min(drain_time));
    while tokio::time::Instant::now() < handed_over && bridge.cluster().leads_for_others(me) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while tokio::time::Instant::now() < until {
        let mut sessions = 0;
        for group in 0..bridge.groups() {
            sessions += bridge.list_sessions(group).await.len();
        }
        if sessions == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for group in 0..bridge.groups() {
        bridge.tell(group, Inward::Stop);
    }
    for worker in threads.workers {
        // A panic of a worker has already been printed.
        let _ended = worker.join();
    }
    threads.readers.join();
    threads.writer.join();
}
