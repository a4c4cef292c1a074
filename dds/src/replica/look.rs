//! One page of a replica, summed as it was at one place of the log: what a scrub compares.
//!
//! States: waiting until everything up to the place is applied -> reading. Writes go on meanwhile. An entry behind the place that
//! changes a key of the page spoils it: then what was read is of no one place, and the primary asks again.
//!
//! Invariant: a sum that is told is that of the page when exactly the entries up to the place were applied.

use super::core::{Context, Core, ReadFor};
use super::entry::Entry;
use crate::{Column, PageSum, Read, ReadDone, StoreError, layout};
use bytes::Bytes;

/// Bytes of a page at most, for entries of a log, which are few and read at once.
pub const LOOK_BYTES_MAX: u32 = 64 << 20;

/// Which page is looked at, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Names the question within a round.
    pub id: u64,
    /// The number of the last entry that counts.
    pub at: u64,
    pub column: Column,
    /// The page begins behind this key; empty: with the first one of the partition.
    pub after: Bytes,
    pub bytes_max: u32,
}

/// What a replica found in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Sum(PageSum),
    /// It could not be read as it was at that place: it was changed, or the disk was busy failing.
    Disturbed,
    /// A checksum is wrong.
    Damaged,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Look {
    slice: Slice,
    /// The lowest key of the slice that was changed since.
    changed: Option<Bytes>,
    reading: bool,
}

impl Look {
    pub fn is_at(&self, id: u64) -> bool {
        self.slice.id == id
    }

    /// Another entry is logged.
    pub fn note(&mut self, entry: &Entry) {
        if let Some(key) = entry.lowest_changed(self.slice.column, &self.slice.after)
            && self.changed.as_ref().is_none_or(|lowest| key < lowest)
        {
            self.changed = Some(key.clone());
        }
    }

    fn judge(&self, result: Result<ReadDone, StoreError>) -> Seen {
        match result {
            Ok(ReadDone::Summed(page)) => {
                let spoils = |key: &Bytes| !page.more || *key <= page.last;
                // Records of the replica itself are its own business: they must be readable.
                let own = self.slice.column == Column::Log;
                if !own && self.changed.as_ref().is_some_and(spoils) {
                    return Seen::Disturbed;
                }
                Seen::Sum(page)
            }
            Err(StoreError::Corrupt(_)) => Seen::Damaged,
            Ok(ReadDone::Got(_) | ReadDone::Scanned { .. } | ReadDone::Miss) | Err(_) => {
                Seen::Disturbed
            }
        }
    }
}

impl Core {
    /// Begins to look at a slice. `Some`: it can't be seen as it was any more.
    pub fn look(&mut self, slice: Slice) -> Option<Seen> {
        let changed = self.log.lowest_changed(slice.at, (slice.column, &slice.after));
        let changed = match changed {
            Ok(changed) => changed,
            Err(_) if slice.column == Column::Log => None,
            Err(_) => return Some(Seen::Disturbed),
        };
        self.look = Some(Look { slice, changed, reading: false });
        None
    }

    /// Reads the slice once everything up to its place is applied.
    pub fn look_on(&mut self, cx: Context<'_, '_>) {
        let Some(look) = &mut self.look else { return };
        if look.reading || self.log.applied < look.slice.at {
            return;
        }
        look.reading = true;
        let Slice { id, column, ref after, bytes_max, at: _ } = look.slice;
        let (first, to) = layout::partition_range(self.partition);
        let from = if after.is_empty() { first } else { Bytes::from([after, &[0][..]].concat()) };
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        self.read(cx, Read::Sum { column, from, to, bytes_max }, ReadFor::Look { id });
    }

    /// The page has been read. `None`: nobody waits for it any more.
    pub fn on_looked(&mut self, id: u64, result: Result<ReadDone, StoreError>) -> Option<Seen> {
        let look = self.look.take_if(|look| look.is_at(id))?;
        Some(look.judge(result))
    }
}
