//! One node: its worker groups, its disk, and whether it runs.

use crate::disk::Disk;
use crate::options::Scenario;
use crate::world::deciding::PATIENCE_NANOS;
use bytes::Bytes;
use dds::cluster::{Incarnation, Session, Start};
use dds::control::Boot;
use dds::{
    BlobId, CHUNK_BYTES, Column, DpMap, Read, ReadDone, RouteKey, SortKey, StoreError, Tier, layout,
};
use fsm::{Duration, Mono, Wall};
use mailstore::face::TaskRefusal;
use mailstore::mailbox::{
    BodyIndex, BodyReader, BodyTest, Fetched, Known, MatchBody, MatchJob, NoIndex, Restored,
};
use std::sync::Arc;
use vspace::{GroupId, Shard, ShardConfig};

/// See the head of the file.
#[derive(Debug)]
pub struct Node {
    /// Of all nodes, from 0.
    index: u16,
    /// Rises with every start: what was planned for an earlier one does not happen.
    pub incarnation: u32,
    pub disk: Disk,
    /// One per worker group; none while the node is down.
    pub shards: Vec<Shard>,
    /// When each shard will be run at the latest, as planned.
    pub wakes: Vec<Option<u64>>,
    /// Ends the node between two effects of the next run.
    pub doomed: bool,
    pub stalled_until: u64,
    /// It stands still until then.
    pub paused_until: u64,
    /// Of the data directory: another one with every disk.
    pub directory: u64,
    /// It has belonged to the cluster: it does not found one again.
    pub has_run: bool,
    /// It was removed, and has not been let in again.
    pub joins: bool,
    /// What the program that runs there knows.
    pub release: u32,
    /// What is on its disk is older than what was there.
    pub is_stale: bool,
    /// A copy of the disk as it was.
    pub image: Option<Image>,
    /// Parts in a million that its clock is fast.
    drift_ppm: i64,
    /// What its clock showed at the beginning.
    offset: u64,
}

/// A copy of a disk, and what the map knew of it.
#[derive(Clone, Debug)]
pub struct Image {
    pub directory: u64,
    pub session: Session,
    pub entries: Vec<(Column, Bytes, Bytes)>,
}

impl Node {
    #[must_use]
    pub fn new(index: u16) -> Self {
        Self {
            index,
            incarnation: 0,
            disk: Disk::default(),
            shards: Vec::new(),
            wakes: Vec::new(),
            doomed: false,
            stalled_until: 0,
            paused_until: 0,
            directory: u64::from(index) + 1,
            has_run: false,
            joins: false,
            release: dds::cluster::PLACES,
            is_stale: false,
            image: None,
            drift_ppm: 0,
            offset: 0,
        }
    }

    /// Gives the node a clock of its own.
    pub fn set_clock(&mut self, drift_ppm: i64, offset: u64) {
        (self.drift_ppm, self.offset) = (drift_ppm, offset);
    }

    /// The node's own clock at a moment of the virtual one.
    #[must_use]
    pub fn mono(&self, now: u64) -> Mono {
        if self.drift_ppm == 0 {
            return Mono(self.offset + now);
        }
        let drifted = i128::from(now) * (1_000_000 + i128::from(self.drift_ppm)) / 1_000_000;
        Mono(self.offset + u64::try_from(drifted).unwrap_or(0))
    }

    /// The moment of the virtual clock at which the node's own shows `mono`.
    #[must_use]
    pub fn moment(&self, mono: Mono) -> u64 {
        let passed = mono.0.saturating_sub(self.offset);
        if self.drift_ppm == 0 {
            return passed;
        }
        let moment = i128::from(passed) * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm));
        // Rounding must not make a timer fire early.
        u64::try_from(moment).unwrap_or(u64::MAX).saturating_add(2)
    }

    /// The data directory takes another name, under which the cluster does not know it yet.
    pub fn rename(&mut self) {
        self.directory += 1 << 32;
        self.is_stale = false;
        self.image = None;
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.shards.is_empty()
    }

    /// Starts all worker groups on what the disk holds.
    pub fn start(
        &mut self,
        (scenario, restored): (&Scenario, Restored),
        seed: u64,
        now: (Mono, Wall),
    ) {
        let config = |group| {
            let seed = seed ^ u64::from(self.incarnation) << 32 ^ u64::from(self.index) << 56;
            let mut config = ShardConfig { restored, ..config(scenario, group, seed) };
            let number = u64::from(self.index) + 1;
            config.node = self.index + 1;
            config.membership.start = Start(number << 32 | u64::from(self.incarnation));
            config.membership.features = self.release;
            config.membership.incarnation = Incarnation(self.directory);
            if self.index > 0 || self.has_run {
                config.membership.boot = Boot::Join;
            }
            config
        };
        self.shards =
            (0..scenario.groups).map(|group| Shard::new(config(GroupId(group)), now)).collect();
        self.has_run = true;
        self.wakes = self.shards.iter().map(|_| None).collect();
        self.doomed = false;
        self.stalled_until = 0;
        self.paused_until = 0;
    }
}

/// The password that a hash of the simulation stands for. The old scheme is replaced at the first
/// log-in.
pub fn secret_in(phc: &str) -> Option<&str> {
    phc.strip_prefix("$argon2id$sim$").or_else(|| phc.strip_prefix("{SSHA512}"))
}

fn config(scenario: &Scenario, group: GroupId, seed: u64) -> ShardConfig {
    let mut config = ShardConfig::new(scenario.map(), group, scenario.groups);
    config.seed = seed;
    config.partition_group_offset = scenario.partition_group_offset;
    // Long searches give way: with several groups, after a fraction of what a real node grants.
    config.step_budget = if scenario.groups > 1 { 30 } else { 2_000 };
    config.mailbox_bytes_max = 512 * 1024;
    config.scrub.period = Duration::from_millis(scenario.load.scrub_ms);
    config.directory.dummy_phc = "$argon2id$sim$nobody".into();
    let mut mailbox = mailstore::mailbox::Limits {
        chunk_rows_max: 16,
        fold_entries: 12,
        fold_entries_most: 24,
        vanished_entries_max: 20,
        batch_rows_max: 8,
        block_rows_min: 2,
        events_bytes_max: 8 * 1024,
        events_age_max: Duration::from_secs(60),
        events_per_page: 7,
        idle_after: Duration::from_secs(2),
        // Looks for mail that expires come often, and nothing is ever old enough: what goes all the same is missed.
        expiry_first: Duration::from_secs(1),
        expiry_every: Duration::from_secs(3),
        // Beyond every retry of a run; what is older is forgotten.
        delivery_memory: Duration::from_secs(3_600),
        ..mailstore::mailbox::Limits::default()
    };
    let mut delivery = mailstore::delivery::Limits::default();
    let mut sweep = mailstore::sweep::Limits::default();
    let mut sessions = vspace::SessionLimits::default();
    let deciding = scenario.load.deciding.then(|| Duration::from_nanos(PATIENCE_NANOS));
    if deciding.is_some() {
        sessions.smtp = Arc::new(smtp::Limits { deciding, ..smtp::Limits::default() });
    }
    if scenario.load.short_lives {
        let life = Duration::from_secs(20);
        mailbox.blob_life = life;
        delivery.blob_life = life;
        sweep.blob_life = life;
        sweep.first_after = Duration::from_secs(2);
        sweep.every = Duration::from_secs(5);
        sweep.again_after = Duration::from_secs(1);
        sweep.grace = Duration::from_secs(2);
        let smtp = smtp::Limits { chunk_life: life, deciding, ..smtp::Limits::default() };
        let imap = imap::Limits { blob_life: life, ..imap::Limits::default() };
        sessions.smtp = Arc::new(smtp);
        sessions.imap = Arc::new(imap);
    }
    config.mailbox = Arc::new(mailbox);
    config.delivery = Arc::new(delivery);
    config.sweep = Arc::new(sweep);
    config.sessions = sessions;
    config
}

/// How a body search reads, as the reader pool of a real node does.
#[derive(Debug)]
pub struct DiskReader<'a>(pub &'a Disk, pub DpMap);

impl DiskReader<'_> {
    fn get(&self, column: Column, key: Bytes) -> Result<Option<Bytes>, TaskRefusal> {
        match self.0.read(&Read::Get { column, keys: vec![key] }, Tier::Disk) {
            Ok(ReadDone::Got(values)) => Ok(values.into_iter().next().flatten()),
            Ok(ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss)
            | Err(StoreError::Io(_) | StoreError::NoSpace | StoreError::Fatal(_)) => {
                Err(TaskRefusal::Unavailable)
            }
            Err(StoreError::Corrupt(_)) => Err(TaskRefusal::Damaged),
        }
    }
}

impl BodyReader for DiskReader<'_> {
    fn value(&mut self, route: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let physical = layout::entry_key(self.1.partition_of(&route.0), route, &key.0);
        match self.get(layout::column_of(key), physical)? {
            Some(stored) => {
                let (value, _) = layout::split_entry(stored).map_err(|_| TaskRefusal::Damaged)?;
                Ok(Some(value))
            }
            None => Ok(None),
        }
    }

    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal> {
        let chunk = CHUNK_BYTES as u64;
        let index = u32::try_from(offset / chunk).map_err(|_| TaskRefusal::Damaged)?;
        let key = layout::chunk_key(self.1.partition_of(&blob.to_bytes()), blob, index);
        let Some(stored) = self.get(Column::Bodies, key)? else { return Ok(None) };
        let from = usize::try_from(offset % chunk).unwrap_or(0).min(stored.len());
        let to = from.saturating_add(usize::try_from(len).unwrap_or(0)).min(stored.len());
        Ok((to > from).then(|| stored.slice(from..to)))
    }
}

/// An index in front of body searches: it knows some of the bodies that are on the disk, and of those the truth.
#[derive(Debug)]
pub struct HonestIndex<'a> {
    pub disk: &'a Disk,
    pub map: DpMap,
    /// Bit `n`: it knows those whose EMAILID leaves `n` when divided by 64.
    pub knows: u64,
}

impl BodyIndex for HonestIndex<'_> {
    fn known(&self, route: &RouteKey, tests: &[BodyTest], bodies: &[MatchBody]) -> Vec<Known> {
        let known = |body: &MatchBody| {
            if self.knows >> (body.email.0 % 64) & 1 == 0 {
                return Known::default();
            }
            let job = MatchJob {
                route: route.clone(),
                bodies: vec![body.clone()],
                reads_max: 1,
                tests: tests.into(),
                fetched: Fetched::default(),
            };
            let hits = job.run(&mut DiskReader(self.disk, self.map), &NoIndex);
            let bits = hits.ok().and_then(|hits| hits.bits.first().copied());
            bits.map_or_else(Known::default, |(_, yes)| Known { yes, no: !yes })
        };
        bodies.iter().map(known).collect()
    }
}
