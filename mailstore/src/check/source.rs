//! Pages of a column. A page that can't be read is asked for again in smaller pieces, until it is known which entry it is.

use super::Reads;
use bytes::Bytes;
use dds::{Column, Read, ReadDone, StoreError};

const ENTRIES: usize = 512;
const BYTES: usize = 1 << 20;

/// Entries of a range, rising.
#[derive(Debug)]
pub struct Pages {
    column: Column,
    from: Bytes,
    to: Bytes,
    entries_max: usize,
    ended: bool,
}

impl Pages {
    pub fn new(column: Column, from: Bytes, to: Bytes) -> Self {
        Self { column, from, to, entries_max: ENTRIES, ended: false }
    }

    /// The next page; `None` at the end.
    ///
    /// # Errors
    /// The next entry can't be read.
    pub fn next(&mut self, reads: &Reads<'_>) -> Result<Option<Vec<(Bytes, Bytes)>>, StoreError> {
        while !self.ended {
            let read = Read::Scan {
                column: self.column,
                from: self.from.clone(),
                to: self.to.clone(),
                reverse: false,
                entries_max: self.entries_max,
                bytes_max: BYTES,
            };
            match reads(&read) {
                Ok(ReadDone::Scanned { entries, more }) => {
                    self.ended = !more;
                    if let Some((last, _)) = entries.last() {
                        self.from = [&last[..], &[0]].concat().into();
                        return Ok(Some(entries));
                    }
                }
                Ok(ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss) => self.ended = true,
                Err(_) if self.entries_max > 1 => self.entries_max /= 8,
                Err(error) => return Err(error),
            }
            self.entries_max = self.entries_max.max(1);
        }
        Ok(None)
    }

    /// Goes on at `from`.
    pub fn skip_to(&mut self, from: Bytes) {
        self.from = from;
        self.ended = self.from >= self.to;
        self.entries_max = ENTRIES;
    }
}

/// One value.
///
/// # Errors
/// It can't be read.
pub fn get(reads: &Reads<'_>, column: Column, key: Bytes) -> Result<Option<Bytes>, StoreError> {
    match reads(&Read::Get { column, keys: vec![key] })? {
        ReadDone::Got(values) => Ok(values.into_iter().next().flatten()),
        ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss => Ok(None),
    }
}
