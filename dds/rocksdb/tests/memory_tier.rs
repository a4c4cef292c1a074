//! A read of [`Tier::Memory`] reads no file: RocksDB counts the blocks and blobs that this thread read.

use bytes::Bytes;
use dds::{Chain, Column, Durability, Group, PartitionId, Read, ReadDone, Store, StoreOp, Tier};
use dds_rocksdb::{Fit, MemoryConfig, RocksStore, SpaceConfig, StoreConfig};
use rocksdb::perf::{PerfContext, PerfStatsLevel, set_perf_stats};
use tempfile::TempDir;

const KEYS: u32 = 4000;

fn key(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Larger than what stays beside its key in `Bodies`; blocks of `Meta` hold a few of them.
fn value(number: u32) -> Bytes {
    Bytes::from(number.to_be_bytes().repeat(500))
}

fn group(number: u32) -> Group {
    let put = |column| StoreOp::Put { column, key: key(number), value: value(number) };
    let ops = vec![put(Column::Meta), put(Column::Bodies)];
    Group { partition: PartitionId(0), ops, bytes: 5000, frees_space: false, chain: Chain::Starts }
}

/// A store with [`KEYS`] in files, opened anew: no data in memory, but what stands in the index is.
fn cold_store() -> (TempDir, RocksStore) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = StoreConfig {
        sync: false,
        fit: Fit::Exact,
        space: SpaceConfig { low_bytes: 0, critical_bytes: 0, ballast_bytes: 0 },
        memory: MemoryConfig { cache_bytes: 32 << 20, write_buffer_bytes: 64 << 20 },
        ..StoreConfig::new(dir.path())
    };
    let store = RocksStore::open(&config).expect("it opens");
    let groups: Vec<Group> = (0..KEYS).map(group).collect();
    store.commit(&groups, Durability::Buffered).expect("it commits");
    store.flush().expect("it flushes");
    drop(store);
    let store = RocksStore::open(&config).expect("it opens again");
    for column in [Column::Meta, Column::Bodies] {
        let far = get(column, &[KEYS - 1]);
        assert_eq!(store.read(&far, Tier::Disk), Ok(found(&[KEYS - 1])));
        let known = store.read(&far, Tier::Memory);
        assert_eq!(known, Ok(found(&[KEYS - 1])), "index and filter are in memory");
    }
    (dir, store)
}

fn get(column: Column, numbers: &[u32]) -> Read {
    Read::Get { column, keys: numbers.iter().copied().map(key).collect() }
}

fn found(numbers: &[u32]) -> ReadDone {
    ReadDone::Got(numbers.iter().map(|number| Some(value(*number))).collect())
}

/// What the store answers from memory, and the blocks and blobs that were read from files for it.
fn from_memory(store: &RocksStore, read: &Read) -> (ReadDone, String) {
    set_perf_stats(PerfStatsLevel::EnableCount);
    let mut counts = PerfContext::default();
    counts.reset();
    let done = store.read(read, Tier::Memory).expect("it reads");
    let report = counts.report(true);
    let reads = report.split(", ").filter(|count| {
        ["block_read_count", "blob_read_count"].iter().any(|name| count.starts_with(name))
    });
    (done, reads.collect())
}

#[test]
fn what_is_not_in_the_cache_is_a_miss_and_no_read() {
    let (_dir, store) = cold_store();
    for column in [Column::Meta, Column::Bodies] {
        let scan = Read::Scan {
            column,
            from: key(0),
            to: key(100),
            reverse: false,
            entries_max: 100,
            bytes_max: usize::MAX,
        };
        // One alone, several of one block, of several blocks, one that is at hand before one that is not.
        for read in [
            get(column, &[0]),
            get(column, &[10, 11]),
            get(column, &[1, 100, 2000]),
            get(column, &[KEYS - 1, 1000]),
            scan,
        ] {
            assert_eq!(from_memory(&store, &read), (ReadDone::Miss, String::new()), "{read:?}");
        }
    }
}

#[test]
fn what_is_in_the_cache_is_found_without_a_read() {
    let (_dir, store) = cold_store();
    for column in [Column::Meta, Column::Bodies] {
        let numbers = [5, 500, 1500];
        let read = get(column, &numbers);
        assert_eq!(store.read(&read, Tier::Disk), Ok(found(&numbers)));
        assert_eq!(from_memory(&store, &read), (found(&numbers), String::new()), "{column:?}");
    }
}

/// Several keys are read as they were at one moment, though a writer changes all of them at once all the time.
#[test]
fn several_keys_are_of_one_moment() {
    const ROUNDS: u32 = 20_000;
    let (_dir, store) = cold_store();
    let numbers: Vec<u32> = (0..16).collect();
    let write = |round: u32| {
        let value = Bytes::copy_from_slice(&round.to_be_bytes());
        let put = |number: &u32| StoreOp::Put {
            column: Column::Meta,
            key: key(*number),
            value: value.clone(),
        };
        let group = Group { ops: numbers.iter().map(put).collect(), ..group(0) };
        store.commit(&[group], Durability::Buffered).expect("it commits");
    };
    write(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (1..ROUNDS).for_each(write));
        while !writer.is_finished() {
            match store.read(&get(Column::Meta, &numbers), Tier::Memory) {
                Ok(ReadDone::Got(values)) => {
                    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    });
}
