//! Deleted bodies give their space back.

use bytes::Bytes;
use dds::{Chain, Column, Durability, Group, PartitionId, Store, StoreOp};
use dds_rocksdb::{Fit, MemoryConfig, RocksStore, SpaceConfig, StoreConfig};
use std::path::Path;

fn key(number: u32) -> Bytes {
    // Neighbours in time are not neighbours in the table.
    Bytes::copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes())
}

fn group(ops: Vec<StoreOp>) -> Group {
    let partition = PartitionId(0);
    Group { partition, ops, bytes: 5000, frees_space: false, chain: Chain::Starts }
}

fn used_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("it is there").flatten();
    entries.flat_map(|entry| entry.metadata()).map(|metadata| metadata.len()).sum()
}

#[test]
fn delivering_and_deleting_many_times_the_budget_keeps_usage_bounded() {
    const LIVE: u32 = 2000;
    const BODY_BYTES: usize = 4700;
    let dir = tempfile::tempdir().expect("a directory");
    let config = StoreConfig {
        sync: false,
        fit: Fit::Exact,
        space: SpaceConfig { low_bytes: 0, critical_bytes: 0, ballast_bytes: 0 },
        memory: MemoryConfig { cache_bytes: 8 << 20, write_buffer_bytes: 16 << 20 },
        ..StoreConfig::new(dir.path())
    };
    let store = RocksStore::open(&config).expect("it opens");
    let value = Bytes::from(vec![b'x'; BODY_BYTES]);
    let column = Column::Bodies;
    let mut peak = 0;
    // Every hundredth message stays for ever, so that no blob file ever is all garbage.
    for first in (0..60_000).step_by(100) {
        let mut ops = Vec::new();
        for number in first..first + 100 {
            ops.push(StoreOp::Put { column, key: key(number), value: value.clone() });
            if let Some(old) = number.checked_sub(LIVE).filter(|old| old % 100 != 0) {
                ops.push(StoreOp::Delete { column, key: key(old) });
            }
        }
        store.commit(&[group(ops)], Durability::Buffered).expect("it commits");
        if first % 5000 == 0 {
            let used = used_bytes(&dir.path().join("db"));
            peak = peak.max(used);
        }
    }
    let written = 60_000 * BODY_BYTES as u64;
    // Nothing holds this writer up but full write buffers: how far compaction lags behind it is up to the machine.
    assert!(peak < written / 2, "{peak} bytes used at the peak, {written} written");
}
