//! Reads of one moment, past the cache, whatever is written meanwhile: what a check goes through.

use crate::RocksStore;
use crate::read::{Order, Page, options};
use dds::{Read, ReadDone, StoreError, Tier};
use rocksdb::{DB, ReadOptions, SnapshotWithThreadMode};

/// The store as it was at one moment.
pub struct Moment<'a> {
    store: &'a RocksStore,
    snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl std::fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment").finish_non_exhaustive()
    }
}

impl RocksStore {
    /// The store as it is now, until this is dropped.
    #[must_use]
    pub fn moment(&self) -> Moment<'_> {
        Moment { store: self, snapshot: self.db.snapshot() }
    }

    /// Bytes that there are to read, about.
    #[must_use]
    pub fn bytes_estimated(&self) -> u64 {
        let stats = self.stats();
        stats.table_bytes + stats.blob_file_bytes.saturating_sub(stats.blob_garbage_bytes)
    }
}

impl Moment<'_> {
    /// Reads, and checks every checksum on the way.
    ///
    /// # Errors
    /// `Corrupt` and `Io`.
    pub fn read(&self, read: &Read) -> Result<ReadDone, StoreError> {
        match read {
            Read::Get { column, keys } => {
                self.store.get_with(*column, keys, (&self.options(), Tier::Disk))
            }
            Read::Scan { column, from, to, reverse, entries_max, bytes_max } => {
                let page = Page { entries_max: *entries_max, bytes_max: *bytes_max };
                let order = if *reverse { Order::Down } else { Order::Up };
                let options = (self.options(), Tier::Disk);
                self.store.scan_with(options, *column, (from, to), (order, page))
            }
            Read::Sum { column, from, to, bytes_max } => {
                self.store.page_sum(self.options(), *column, (from, to), *bytes_max)
            }
        }
    }

    fn options(&self) -> ReadOptions {
        let mut options = options(Tier::Disk);
        options.set_snapshot(&self.snapshot);
        options.fill_cache(false);
        options
    }
}
