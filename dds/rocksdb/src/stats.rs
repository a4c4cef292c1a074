//! What the store has done and holds, for metrics.

use crate::options::{self, COLUMNS};
use crate::{RocksStore, SpaceState};
use dds::Column;
use rocksdb::{properties, statistics::Ticker};

/// Counters since the store was opened, and gauges as of now. All sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Commits, groups in them, and syncs that they waited for.
    pub commits: u64,
    pub groups: u64,
    pub syncs: u64,
    pub wal_bytes: u64,
    pub flush_bytes: u64,
    pub compaction_read_bytes: u64,
    pub compaction_write_bytes: u64,
    /// Bytes written to blob files, and those of them that were moved out of old ones.
    pub blob_bytes: u64,
    pub blob_gc_bytes: u64,
    /// Time that writes were held up by flush or compaction.
    pub stall_micros: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub cache_bytes: u64,
    pub memtable_bytes: u64,
    pub table_bytes: u64,
    /// Bytes in blob files, what is garbage of them included.
    pub blob_file_bytes: u64,
    pub blob_garbage_bytes: u64,
    /// Bytes that compaction still has to rewrite.
    pub compaction_pending_bytes: u64,
    pub background_errors: u64,
    pub keys_estimated: u64,
    /// Free bytes of the device, the ballast left out.
    pub free_bytes: u64,
}

impl RocksStore {
    /// What the store has done and holds. Takes some tens of microseconds.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let ticker = |ticker| self.options.get_ticker_count(ticker);
        let sum = |property: &rocksdb::properties::PropName| self.sum(property.as_str());
        let first = |property: &str| self.gauge(COLUMNS[0].1, property);
        let (commits, groups, syncs) = self.counts();
        let (blob_file_bytes, blob_garbage_bytes) = self.blob_bytes();
        StoreStats {
            commits,
            groups,
            syncs,
            wal_bytes: ticker(Ticker::WalFileBytes),
            flush_bytes: ticker(Ticker::FlushWriteBytes),
            compaction_read_bytes: ticker(Ticker::CompactReadBytes),
            compaction_write_bytes: ticker(Ticker::CompactWriteBytes),
            blob_bytes: ticker(Ticker::BlobDbBlobFileBytesWritten),
            blob_gc_bytes: ticker(Ticker::BlobDbGcBytesRelocated),
            stall_micros: ticker(Ticker::StallMicros),
            cache_hits: ticker(Ticker::BlockCacheHit),
            cache_misses: ticker(Ticker::BlockCacheMiss),
            cache_bytes: self.cache.get_usage() as u64,
            memtable_bytes: sum(properties::SIZE_ALL_MEM_TABLES),
            table_bytes: sum(properties::LIVE_SST_FILES_SIZE),
            blob_file_bytes,
            blob_garbage_bytes,
            compaction_pending_bytes: sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            background_errors: first(properties::BACKGROUND_ERRORS.as_str()),
            keys_estimated: sum(properties::ESTIMATE_NUM_KEYS),
            free_bytes: self.free_bytes(),
        }
    }

    /// How much room the device had at the last look.
    #[must_use]
    pub fn space(&self) -> SpaceState {
        self.space.state()
    }

    /// Looks at the device again: one system call. Every commit does it; call it also when none come.
    pub fn refresh_space(&self) -> SpaceState {
        self.space.refresh()
    }

    /// Bytes in blob files, and how many of them are garbage.
    pub(crate) fn blob_bytes(&self) -> (u64, u64) {
        let name = options::name_of(Column::Bodies);
        let total = self.gauge(name, "rocksdb.live-blob-file-size");
        (total, self.gauge(name, "rocksdb.live-blob-file-garbage-size"))
    }

    fn free_bytes(&self) -> u64 {
        self.space.free_bytes()
    }

    fn sum(&self, property: &str) -> u64 {
        COLUMNS.iter().map(|(_, name)| self.gauge(name, property)).sum()
    }

    fn gauge(&self, column: &str, property: &str) -> u64 {
        let handle = self.db.cf_handle(column);
        let value = handle.and_then(|handle| self.db.property_int_value_cf(handle, property).ok());
        value.flatten().unwrap_or(0)
    }
}
