//! Gets and scans. A read of [`Tier::Memory`] never touches the disk: what is not in memory is a miss.

use crate::RocksStore;
use bytes::Bytes;
use dds::{Column, PageSum, ReadDone, StoreError, Tier};
use rocksdb::{ColumnFamily, ErrorKind, ReadOptions, ReadTier};

/// How much a scan may take.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub entries_max: usize,
    pub bytes_max: usize,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Up,
    Down,
}

/// Options for gets of `tier`.
pub fn options(tier: Tier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    match tier {
        Tier::Memory => options.set_read_tier(ReadTier::BlockCache),
        Tier::Disk => {}
    }
    options
}

/// What a failed read means.
pub fn error(error: &rocksdb::Error) -> StoreError {
    let message = error.as_ref().to_owned();
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt(message),
        _ => StoreError::Io(message),
    }
}

/// A miss is no error.
fn miss_or(failed: &rocksdb::Error, tier: Tier) -> Result<ReadDone, StoreError> {
    if tier == Tier::Memory && failed.kind() == ErrorKind::Incomplete {
        return Ok(ReadDone::Miss);
    }
    Err(error(failed))
}

impl RocksStore {
    pub(crate) fn get(
        &self,
        column: Column,
        keys: &[Bytes],
        tier: Tier,
    ) -> Result<ReadDone, StoreError> {
        let options = match tier {
            Tier::Memory => &self.memory_reads,
            Tier::Disk => &self.disk_reads,
        };
        self.get_with(column, keys, (options, tier))
    }

    pub(crate) fn get_with(
        &self,
        column: Column,
        keys: &[Bytes],
        (options, tier): (&ReadOptions, Tier),
    ) -> Result<ReadDone, StoreError> {
        let column = self.column(column);
        let found = match (keys, tier) {
            ([_], _) => self.one_by_one(column, keys, options),
            // RocksDB's MultiGet reads data blocks from files whatever the tier: `RetrieveMultipleBlocks` never looks at it.
            (_, Tier::Memory) => self.several_from_memory(column, keys, options),
            (_, Tier::Disk) => {
                let values = self.db.batched_multi_get_cf_opt(column, keys, false, options);
                values.into_iter().map(|value| Ok(value?.map(copied))).collect()
            }
        };
        found.map(ReadDone::Got).or_else(|failed| miss_or(&failed, tier))
    }

    /// The values of one moment, as MultiGet gives them. A snapshot takes the lock of the database: only when a write came
    /// between two gets.
    fn several_from_memory(
        &self,
        column: &ColumnFamily,
        keys: &[Bytes],
        options: &ReadOptions,
    ) -> Result<Vec<Option<Bytes>>, rocksdb::Error> {
        let before = self.db.latest_sequence_number();
        let found = self.one_by_one(column, keys, options)?;
        if self.db.latest_sequence_number() == before {
            return Ok(found);
        }
        let snapshot = self.db.snapshot();
        let mut options = self::options(Tier::Memory);
        options.set_snapshot(&snapshot);
        self.one_by_one(column, keys, &options)
    }

    fn one_by_one(
        &self,
        column: &ColumnFamily,
        keys: &[Bytes],
        options: &ReadOptions,
    ) -> Result<Vec<Option<Bytes>>, rocksdb::Error> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.db.get_pinned_cf_opt(column, key, options)?.map(copied));
        }
        Ok(found)
    }

    pub(crate) fn scan(
        &self,
        (column, tier): (Column, Tier),
        (from, to): (&Bytes, &Bytes),
        order: Order,
        page: Page,
    ) -> Result<ReadDone, StoreError> {
        self.scan_with((options(tier), tier), column, (from, to), (order, page))
    }

    pub(crate) fn scan_with(
        &self,
        (mut options, tier): (ReadOptions, Tier),
        column: Column,
        (from, to): (&Bytes, &Bytes),
        (order, page): (Order, Page),
    ) -> Result<ReadDone, StoreError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        if from >= to {
            return Ok(ReadDone::Scanned { entries, more: false });
        }
        // Whoever scans loads a machine, which keeps what it read: a second copy would only push others out of the cache.
        options.fill_cache(false);
        options.set_iterate_lower_bound(from.as_ref());
        options.set_iterate_upper_bound(to.as_ref());
        let mut iterator = self.db.raw_iterator_cf_opt(self.column(column), options);
        match order {
            Order::Up => iterator.seek_to_first(),
            Order::Down => iterator.seek_to_last(),
        }
        while let Some((key, value)) = iterator.item() {
            // At least one entry, so that a page never is empty while entries remain.
            if entries.len() >= page.entries_max || (bytes >= page.bytes_max && !entries.is_empty())
            {
                return Ok(ReadDone::Scanned { entries, more: true });
            }
            bytes += key.len() + value.len();
            entries.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            match order {
                Order::Up => iterator.next(),
                Order::Down => iterator.prev(),
            }
        }
        match iterator.status() {
            Ok(()) => Ok(ReadDone::Scanned { entries, more: false }),
            Err(failed) => miss_or(&failed, tier),
        }
    }
}

impl RocksStore {
    /// The sum of a page. What stands in memory is not read from the disk.
    pub(crate) fn page_sum(
        &self,
        options: ReadOptions,
        column: Column,
        range: (&Bytes, &Bytes),
        bytes_max: usize,
    ) -> Result<ReadDone, StoreError> {
        let page = Page { entries_max: usize::MAX, bytes_max };
        Ok(match self.scan_with((options, Tier::Disk), column, range, (Order::Up, page))? {
            ReadDone::Scanned { entries, more } => ReadDone::Summed(PageSum::of(&entries, more)),
            other @ (ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss) => other,
        })
    }
}

fn copied(value: rocksdb::DBPinnableSlice<'_>) -> Bytes {
    Bytes::copy_from_slice(&value)
}
