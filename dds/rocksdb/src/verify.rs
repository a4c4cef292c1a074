//! Reads everything that is stored and checks every checksum on the way.

use crate::options::COLUMNS;
use crate::{RocksStore, read};
use dds::{Column, StoreError, Tier};

/// What a verification has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Entries between two reports of progress.
const REPORT_ENTRIES: u64 = 4096;

impl RocksStore {
    /// Bytes that [`RocksStore::verify`] is going to read, about.
    #[must_use]
    pub fn verify_bytes_estimated(&self) -> u64 {
        let stats = self.stats();
        stats.table_bytes + stats.blob_file_bytes.saturating_sub(stats.blob_garbage_bytes)
    }

    /// Reads every entry of every column, in order, past the cache, and gives each to `visit`. `progress` is called now
    /// and then with what has been read so far.
    ///
    /// # Errors
    /// `Corrupt` at the first entry that can't be read whole, or that `visit` finds wrong.
    pub fn verify(
        &self,
        mut visit: impl FnMut(Column, &[u8], &[u8]) -> Result<(), String>,
        mut progress: impl FnMut(Verified),
    ) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        for (column, name) in COLUMNS {
            let mut options = read::options(Tier::Disk);
            options.fill_cache(false);
            options.set_readahead_size(2 << 20);
            let mut iterator = self.db.raw_iterator_cf_opt(self.column(column), options);
            iterator.seek_to_first();
            while let Some((key, value)) = iterator.item() {
                visit(column, key, value)
                    .map_err(|what| StoreError::Corrupt(format!("column {name}: {what}")))?;
                verified.entries += 1;
                verified.bytes += (key.len() + value.len()) as u64;
                if verified.entries.is_multiple_of(REPORT_ENTRIES) {
                    progress(verified);
                }
                iterator.next();
            }
            iterator.status().map_err(|error| read::error(&error))?;
        }
        progress(verified);
        Ok(verified)
    }
}
