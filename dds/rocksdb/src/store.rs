//! The store itself: opening, committing, backing up.

use crate::garbage::Garbage;
use crate::home::{self, Home};
use crate::space::{self, Space};
use crate::tail::{self, Place, Tail};
use crate::{OpenError, SpaceState, StoreConfig, options, read};
use dds::{Column, Durability, Group, Read, ReadDone, Store, StoreError, StoreOp, Tier};
use rocksdb::{
    Cache, ColumnFamily, DB, DBRecoveryMode, Options, ReadOptions, WriteBatch, WriteOptions,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A [`dds::Store`] on RocksDB. See the head of the crate.
pub struct RocksStore {
    pub(crate) db: DB,
    pub(crate) options: Options,
    torn: Option<Place>,
    pub(crate) cache: Cache,
    pub(crate) space: Space,
    pub(crate) memory_reads: ReadOptions,
    pub(crate) disk_reads: ReadOptions,
    pub(crate) garbage: Garbage,
    synced: WriteOptions,
    buffered: WriteOptions,
    sync: bool,
    /// A commit has failed so that nobody knows what is durable.
    stopped: AtomicBool,
    commits: AtomicU64,
    groups: AtomicU64,
    syncs: AtomicU64,
    /// Declared last: the lock is let go when the database is closed.
    home: Home,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore").field("home", &self.home).finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens the store, or creates it.
    ///
    /// # Errors
    /// When another process has it open, when it is newer than this program, when it is damaged, or on the disk's errors.
    pub fn open(config: &StoreConfig) -> Result<Self, OpenError> {
        let home = Home::open(&config.dir)?;
        let config = &config.fitted(space::device_bytes(home.dir()));
        let space = Space::new(home.dir(), home.ballast(), config.space);
        let cache = Cache::new_lru_cache(config.memory.cache_bytes);
        let (db, options, torn) = open_database(config, &cache, home.database())?;
        let mut synced = WriteOptions::default();
        synced.set_sync(config.sync);
        let buffered = WriteOptions::default();
        Ok(Self {
            db,
            options,
            torn,
            cache,
            space,
            memory_reads: read::options(Tier::Memory),
            disk_reads: read::options(Tier::Disk),
            garbage: Garbage::default(),
            synced,
            buffered,
            sync: config.sync,
            stopped: AtomicBool::new(false),
            commits: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            home,
        })
    }

    /// Where the log was torn when the store was opened: a power failure came before the last write was synced, and nothing
    /// of that write is in the store.
    #[must_use]
    pub fn torn(&self) -> Option<&Place> {
        self.torn.as_ref()
    }

    /// Writes a complete copy of the store to `dir`, which must not exist: files are linked where the device allows it.
    /// The store goes on meanwhile; what was committed before the call is in the copy.
    ///
    /// # Errors
    /// When `dir` exists, and the disk's errors.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), OpenError> {
        let io = |source| OpenError::Io { path: dir.into(), source };
        if dir.exists() {
            return Err(io(std::io::ErrorKind::AlreadyExists.into()));
        }
        home::create_private(dir)?;
        let database = |error: rocksdb::Error| OpenError::Database {
            path: dir.into(),
            message: error.into_string(),
        };
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).map_err(database)?;
        checkpoint.create_checkpoint(dir.join("db")).map_err(database)?;
        // Last: a directory without it is not taken for a store.
        home::write_format(dir).map_err(io)
    }

    /// Writes all that is in memory to files, so that the next start has nothing to recover. For an orderly end.
    ///
    /// # Errors
    /// The disk's errors.
    pub fn flush(&self) -> Result<(), StoreError> {
        let columns: Vec<_> =
            options::COLUMNS.iter().map(|(column, _)| self.column(*column)).collect();
        let flush = rocksdb::FlushOptions::default();
        self.db.flush_cfs_opt(&columns, &flush).map_err(|error| read::error(&error))
    }

    /// Commits, groups and syncs since the store was opened.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.commits.load(Relaxed), self.groups.load(Relaxed), self.syncs.load(Relaxed))
    }

    pub(crate) fn column(&self, column: Column) -> &ColumnFamily {
        self.db.cf_handle(options::name_of(column)).expect("open() creates every column")
    }

    fn batch_of(&self, groups: &[Group]) -> WriteBatch {
        // Each record of a batch adds a tag, a column and two lengths.
        let bytes = groups.iter().map(|group| group.bytes + group.ops.len() * 12).sum::<usize>();
        let mut batch = WriteBatch::with_capacity_bytes(bytes + 12);
        let (meta, bodies, log) =
            (self.column(Column::Meta), self.column(Column::Bodies), self.column(Column::Log));
        let handle = |column: &Column| match column {
            Column::Meta => meta,
            Column::Bodies => bodies,
            Column::Log => log,
        };
        for op in groups.iter().flat_map(|group| &group.ops) {
            match op {
                StoreOp::Put { column, key, value } => batch.put_cf(handle(column), key, value),
                StoreOp::Delete { column, key } => batch.delete_cf(handle(column), key),
                StoreOp::DeleteRange { column, from, to } => {
                    if from < to {
                        batch.delete_range_cf(handle(column), from, to);
                    }
                }
            }
        }
        batch
    }

    /// What a failed write means. RocksDB has not applied it to its tables; but its log may hold it when the sync failed.
    fn refuse(&self, error: &rocksdb::Error) -> StoreError {
        let message = error.as_ref();
        let syncing = ["While fdatasync", "While fsync", "While sync", "While sync_file_range"];
        let full = ["No space left on device", "Disk quota exceeded"];
        if full.iter().any(|full| message.contains(full))
            && !syncing.iter().any(|syncing| message.contains(syncing))
        {
            self.space.exhausted();
            return StoreError::NoSpace;
        }
        self.stopped.store(true, Relaxed);
        StoreError::Fatal(message.to_owned())
    }
}

/// Opens RocksDB; leniently only when nothing that was synced would be dropped.
fn open_database(
    config: &StoreConfig,
    cache: &Cache,
    path: PathBuf,
) -> Result<(DB, Options, Option<Place>), OpenError> {
    let mut options = options::database(config);
    let mut torn = None;
    if !config.sync {
        // Nothing was promised: what follows the first hole goes.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    } else if path.exists() {
        let found = tail::examine(&path);
        match found.map_err(|source| OpenError::Io { path: path.clone(), source })? {
            Tail::Whole => {}
            Tail::Torn(place) => torn = Some(place),
            Tail::Damaged(Place { log: path, offset }) => {
                return Err(OpenError::LogDamaged { path, offset });
            }
        }
    }
    if torn.is_some() {
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    }
    let columns = options::columns(config, cache);
    let db = DB::open_cf_descriptors(&options, &path, columns)
        .map_err(|error| OpenError::Database { path, message: error.into_string() })?;
    Ok((db, options, torn))
}

impl Store for RocksStore {
    fn commit(&self, groups: &[Group], durability: Durability) -> Result<(), StoreError> {
        if self.stopped.load(Relaxed) {
            return Err(StoreError::Fatal("the store has stopped".into()));
        }
        if self.space.refresh() == SpaceState::Critical
            && groups.iter().any(|group| !group.frees_space)
        {
            return Err(StoreError::NoSpace);
        }
        let options = match durability {
            Durability::Synced => &self.synced,
            Durability::Buffered => &self.buffered,
        };
        self.db.write_opt(self.batch_of(groups), options).map_err(|error| self.refuse(&error))?;
        self.note_written(groups);
        self.commits.fetch_add(1, Relaxed);
        self.groups.fetch_add(groups.len() as u64, Relaxed);
        if durability == Durability::Synced && self.sync {
            self.syncs.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn read(&self, read: &Read, tier: Tier) -> Result<ReadDone, StoreError> {
        match read {
            Read::Get { column, keys } => self.get(*column, keys, tier),
            Read::Scan { column, from, to, reverse, entries_max, bytes_max } => {
                let page = read::Page { entries_max: *entries_max, bytes_max: *bytes_max };
                let order = if *reverse { read::Order::Down } else { read::Order::Up };
                self.scan((*column, tier), (from, to), order, page)
            }
            Read::Sum { .. } if tier == Tier::Memory => Ok(ReadDone::Miss),
            Read::Sum { column, from, to, bytes_max } => {
                self.page_sum(read::options(tier), *column, (from, to), *bytes_max)
            }
        }
    }
}
