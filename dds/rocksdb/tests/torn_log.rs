//! What a power failure leaves of the log, against what it can't leave: damage.

use bytes::Bytes;
use dds::{Chain, Column, Durability, Group, PartitionId, Read, ReadDone, Store, StoreOp, Tier};
use dds_rocksdb::{Fit, OpenError, RocksStore, SpaceConfig, StoreConfig};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A store as it is on disk after a kill, with the sizes of its log after each commit.
struct Crashed {
    dir: TempDir,
    ends: Vec<usize>,
    copies: std::cell::Cell<u32>,
}

fn config(dir: &Path) -> StoreConfig {
    let space = SpaceConfig { low_bytes: 0, critical_bytes: 0, ballast_bytes: 0 };
    StoreConfig { space, fit: Fit::Exact, ..StoreConfig::new(dir) }
}

/// Text without long runs of zeros, different for every key.
fn value(key: u8, bytes: usize) -> Bytes {
    (0..bytes).map(|at| key ^ (at % 251) as u8).collect()
}

/// The one log of a store.
fn log_of(store: &Path) -> PathBuf {
    let entries = std::fs::read_dir(store.join("db")).expect("it is there");
    let logs = entries.map(|entry| entry.expect("it can be read").path());
    logs.filter(|path| path.extension().is_some_and(|is| is == "log")).max().expect("a log")
}

fn commit(store: &RocksStore, key: u8, bytes: usize) {
    let (column, value) = (Column::Bodies, value(key, bytes));
    let ops = vec![StoreOp::Put { column, key: Bytes::copy_from_slice(&[key]), value }];
    let (partition, chain) = (PartitionId(0), Chain::Starts);
    let group = Group { partition, ops, bytes, frees_space: false, chain };
    store.commit(&[group], Durability::Synced).expect("it commits");
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

impl Crashed {
    /// Commits values of these sizes under the keys 0, 1, ..., each with a sync.
    fn with(sizes: &[usize]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let live = dir.path().join("live");
        let store = RocksStore::open(&config(&live)).expect("it opens");
        let log = log_of(&live);
        let length = || std::fs::metadata(&log).expect("there").len() as usize;
        let mut ends = vec![length()];
        for (key, bytes) in (0..).zip(sizes) {
            commit(&store, key, *bytes);
            ends.push(length());
        }
        copy_dir(&live, &dir.path().join("0"));
        Self { dir, ends, copies: std::cell::Cell::new(0) }
    }

    /// The bytes of the log that commit `number` wrote.
    fn record(&self, number: usize) -> Range<usize> {
        self.ends[number]..self.ends[number + 1]
    }

    /// The store with its log changed: which keys it holds, and whether it says that it was torn.
    fn opened(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<(Vec<u8>, bool), OpenError> {
        self.copies.set(self.copies.get() + 1);
        let copy = self.dir.path().join(self.copies.get().to_string());
        copy_dir(&self.dir.path().join("0"), &copy);
        let path = log_of(&copy);
        let mut log = std::fs::read(&path).expect("it can be read");
        change(&mut log);
        std::fs::write(&path, log).expect("it can be written");
        let store = RocksStore::open(&config(&copy))?;
        let torn = store.torn().is_some();
        let keys: Vec<u8> =
            (0..self.ends.len() as u8 - 1).filter(|key| has(&store, *key)).collect();
        // It works on, and the next start finds nothing torn.
        commit(&store, 0xEE, 100);
        drop(store);
        let store = RocksStore::open(&config(&copy)).expect("it opens again");
        assert!(store.torn().is_none() && has(&store, 0xEE));
        Ok((keys, torn))
    }
}

fn has(store: &RocksStore, key: u8) -> bool {
    let keys = vec![Bytes::copy_from_slice(&[key])];
    let read = Read::Get { column: Column::Bodies, keys };
    let Ok(ReadDone::Got(values)) = store.read(&read, Tier::Disk) else { panic!("it reads") };
    let Some(found) = &values[0] else { return false };
    assert_eq!(*found, value(key, found.len()), "whole or not at all");
    true
}

#[test]
fn holes_in_the_last_record_lose_that_record_and_nothing_else() {
    let crashed = Crashed::with(&[100, 70_000, 300, 2_000_000]);
    let last = crashed.record(3);
    assert!(last.len() > 2_000_000, "{last:?}");
    let cuts = [
        // The beginning is lost, what follows is there.
        last.start..last.start + 65_536,
        last.start..last.start + 600,
        // Somewhere within, and at the boundaries of blocks.
        last.start + 1_000..last.start + 9_000,
        last.start + 500_000..last.start + 500_512 + 511,
        (last.start / 32_768 + 3) * 32_768..(last.start / 32_768 + 5) * 32_768,
        // The end.
        last.end - 700..last.end,
        last.end - 20..last.end,
        last.clone(),
    ];
    for hole in cuts {
        let found = crashed.opened(|log| log[hole.clone()].fill(0)).expect("it opens");
        assert_eq!(found, (vec![0, 1, 2], true), "{hole:?}");
    }
    // Several holes.
    let found = crashed.opened(|log| {
        for at in last.clone().step_by(200_000) {
            log[at..last.end.min(at + 65_536)].fill(0);
        }
    });
    assert_eq!(found.expect("it opens").0, [0, 1, 2]);
}

#[test]
fn a_log_that_ends_anywhere_keeps_what_is_whole() {
    let crashed = Crashed::with(&[100, 70_000, 300]);
    let opened = |length: usize| crashed.opened(|log| log.truncate(length)).expect("it opens");
    assert_eq!(opened(crashed.ends[3]), (vec![0, 1, 2], false));
    for number in 0..3 {
        let record = crashed.record(number);
        let expected: Vec<u8> = (0..number as u8).collect();
        for length in [record.start + 1, record.start + 50, record.end - 1] {
            assert_eq!(opened(length).0, expected, "{length}");
        }
        assert_eq!(opened(record.start).0, expected);
    }
}

#[test]
fn damage_of_what_was_synced_is_no_torn_end() {
    let crashed = Crashed::with(&[100, 70_000, 300, 5_000, 200_000]);
    let damaged = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let refused = crashed.opened(change);
        assert!(matches!(refused, Err(OpenError::LogDamaged { .. })), "{what}: {refused:?}");
    };
    for number in 0..4 {
        let record = crashed.record(number);
        damaged(&|log| log[record.clone()].fill(0), "a whole record is gone");
        damaged(&|log| log[record.start + 4] ^= 0x40, "a length");
        damaged(&|log| log[record.start + 20] ^= 1, "a bit");
        damaged(&|log| log[record.end - 1] ^= 0x80, "the last bit");
    }
    // The bytes of the last record are there, and wrong: no power failure does that.
    let last = crashed.record(4);
    damaged(&|log| log[last.start + 40_000] ^= 1, "a bit of the last record");
}

#[test]
fn without_syncs_nothing_was_promised() {
    let crashed = Crashed::with(&[100, 3_000, 300]);
    let copy = crashed.dir.path().join("unsafe");
    copy_dir(&crashed.dir.path().join("0"), &copy);
    let path = log_of(&copy);
    let mut log = std::fs::read(&path).expect("it can be read");
    log[crashed.record(1)].fill(0);
    std::fs::write(&path, log).expect("it can be written");
    let store = RocksStore::open(&StoreConfig { sync: false, ..config(&copy) }).expect("it opens");
    assert!(has(&store, 0) && !has(&store, 1) && !has(&store, 2));
}
