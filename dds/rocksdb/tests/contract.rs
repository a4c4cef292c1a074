//! The contract of stores, on RocksDB.

use dds::Store;
use dds::contract::{self, Brick, Fullness};
use dds_rocksdb::{Fit, MemoryConfig, RocksStore, SpaceConfig, StoreConfig};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Rocks {
    dir: TempDir,
    config: StoreConfig,
    store: Option<RocksStore>,
    /// Count of directories used so far.
    used: u32,
}

impl Rocks {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = StoreConfig::new(dir.path().join("store0"));
        config.fit = Fit::Exact;
        config.space = SpaceConfig { low_bytes: 0, critical_bytes: 0, ballast_bytes: 0 };
        config.memory = MemoryConfig { cache_bytes: 8 << 20, write_buffer_bytes: 8 << 20 };
        let store = RocksStore::open(&config).expect("it opens");
        Self { dir, config, store: Some(store), used: 0 }
    }

    fn open(&mut self) {
        self.store = None;
        self.store = Some(RocksStore::open(&self.config).expect("it opens again"));
    }
}

impl Brick for Rocks {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("it is open")
    }

    fn reopen(&mut self) {
        self.open();
    }

    /// What the files hold at this moment is what is left: nothing has been closed in order. (What the kernel still keeps
    /// from the disk is beyond a test in one process: it survives here.) The tail of the log is torn as well.
    fn power_loss(&mut self) -> bool {
        self.used += 1;
        let copy: PathBuf = self.dir.path().join(format!("store{}", self.used));
        copy_dir(&self.config.dir, &copy);
        tear_log(&copy.join("db"));
        self.config.dir = copy;
        self.open();
        true
    }

    fn set_full(&mut self, fullness: Fullness) -> bool {
        self.config.space.critical_bytes = match fullness {
            Fullness::Full => u64::MAX,
            Fullness::Room => 0,
        };
        self.open();
        true
    }

    fn chill(&mut self) -> bool {
        self.store.as_ref().expect("it is open").flush().expect("it flushes");
        self.open();
        true
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new directory");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("it can be copied");
        }
    }
}

/// Appends half a record to the newest log, as a torn write leaves it.
fn tear_log(db: &Path) {
    let entries = std::fs::read_dir(db).expect("it is there");
    let logs = entries.map(|entry| entry.expect("it can be read").path());
    let newest = logs.filter(|path| path.extension().is_some_and(|is| is == "log")).max();
    let newest = newest.expect("a log");
    let mut log = std::fs::read(&newest).expect("it can be read");
    // Checksum, length 4096, type full: and then only a few bytes of it.
    log.extend_from_slice(&[0xAB, 0xCD, 0xEF, 0x01, 0x00, 0x10, 0x01, b't', b'o', b'r', b'n']);
    std::fs::write(newest, log).expect("it can be written");
}

#[test]
fn rocksdb_keeps_the_contract() {
    contract::all(Rocks::new);
}
