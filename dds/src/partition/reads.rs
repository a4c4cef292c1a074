//! What clients read: gets, scans and blobs. Reads see what is durable and wait for nothing else; they need no state.

use crate::layout::{self, Damaged};
use crate::{
    BlobId, CHUNK_BYTES, Column, Entry, Limits, PartitionId, Read, ReadDone, Refusal, Response,
    RouteKey, SortKey, StoreError,
};
use bytes::{Bytes, BytesMut};

/// The parts of `from..to` that each column keeps, in order. Keys of the partition itself are left out.
pub fn column_ranges(from: &SortKey, to: &SortKey) -> Vec<(Column, SortKey, SortKey)> {
    let least = SortKey(Bytes::from_static(&[1]));
    let body = SortKey(Bytes::from_static(&[SortKey::BODY_FIRST]));
    let meta = (Column::Meta, from.max(&least), to.min(&body));
    let bodies = (Column::Bodies, from.max(&body), to);
    [meta, bodies]
        .into_iter()
        .filter(|(_, from, to)| from < to)
        .map(|(column, from, to)| (column, from.clone(), to.clone()))
        .collect()
}

/// The stored values of a get, one slot per key.
pub type Found = Vec<Option<Bytes>>;

/// A get of several keys, one column after the other.
#[derive(Debug)]
pub struct Get {
    route: RouteKey,
    keys: Vec<SortKey>,
    found: Vec<Option<Bytes>>,
    column: Column,
}

/// What comes next of a read.
#[derive(Debug)]
pub enum Next<R, T> {
    /// Another read, and what to do with it.
    Read(Read, R),
    Done(T),
}

impl Get {
    /// The first read; `Done` at once without keys.
    pub fn begin(
        partition: PartitionId,
        route: RouteKey,
        keys: Vec<SortKey>,
    ) -> Next<Self, Vec<Option<Bytes>>> {
        let found = vec![None; keys.len()];
        let get = Self { route, keys, found, column: Column::Meta };
        match get.read(partition) {
            Some(read) => Next::Read(read, get),
            None => get.bodies(partition),
        }
    }

    /// Takes what one column said.
    pub fn on_got(
        mut self,
        partition: PartitionId,
        values: Vec<Option<Bytes>>,
    ) -> Next<Self, Vec<Option<Bytes>>> {
        let column = self.column;
        let asked = self.keys.iter().zip(&mut self.found);
        let slots = asked.filter(|(key, _)| layout::column_of(key) == column);
        for ((_, slot), value) in slots.zip(values) {
            *slot = value;
        }
        match column {
            Column::Meta => self.bodies(partition),
            Column::Bodies | Column::Log => Next::Done(self.found),
        }
    }

    fn bodies(mut self, partition: PartitionId) -> Next<Self, Vec<Option<Bytes>>> {
        self.column = Column::Bodies;
        match self.read(partition) {
            Some(read) => Next::Read(read, self),
            None => Next::Done(self.found),
        }
    }

    fn read(&self, partition: PartitionId) -> Option<Read> {
        let column = self.column;
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(|key| layout::column_of(key) == column)
            .map(|key| layout::entry_key(partition, &self.route, &key.0))
            .collect();
        (!keys.is_empty()).then_some(Read::Get { column, keys })
    }
}

/// The answer to a get.
pub fn got(found: Vec<Option<Bytes>>) -> Response {
    let entries: Result<Vec<_>, Damaged> =
        found.into_iter().map(|stored| stored.map(layout::split_entry).transpose()).collect();
    entries.map_or_else(|damaged| Response::Refused(corrupt(damaged)), Response::Got)
}

/// The fields of [`crate::Request::Scan`].
#[derive(Debug)]
pub struct ScanAsked {
    pub route: RouteKey,
    pub from: SortKey,
    pub to: SortKey,
    pub reverse: bool,
    pub entries_max: usize,
}

/// A scan, one column after the other.
#[derive(Debug)]
pub struct Scan {
    route: RouteKey,
    /// What is still to be read, the next part last.
    parts: Vec<(Column, SortKey, SortKey)>,
    reverse: bool,
    entries_max: usize,
    bytes_max: usize,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Scan {
    /// Prepares a scan.
    pub fn new(asked: ScanAsked, limits: &Limits) -> Self {
        let ScanAsked { route, from, to, reverse, entries_max } = asked;
        let mut parts = column_ranges(&from, &to);
        if !reverse {
            parts.reverse();
        }
        let bytes_max = limits.scan_bytes_max;
        Self { route, parts, reverse, entries_max, bytes_max, entries: Vec::new(), bytes: 0 }
    }

    /// The next read, or the answer.
    pub fn next(mut self, partition: PartitionId) -> Next<Self, Response> {
        let Some((column, from, to)) = self.parts.pop() else {
            return Next::Done(Response::Scanned { entries: self.entries, more: false });
        };
        let entries_max = self.entries_max.saturating_sub(self.entries.len());
        let bytes_max = self.bytes_max.saturating_sub(self.bytes);
        if entries_max == 0 || (bytes_max == 0 && !self.entries.is_empty()) {
            // Whether the rest holds entries is not known: the next page says it.
            return Next::Done(Response::Scanned { entries: self.entries, more: true });
        }
        let read = Read::Scan {
            column,
            from: layout::entry_key(partition, &self.route, &from.0),
            to: layout::entry_key(partition, &self.route, &to.0),
            reverse: self.reverse,
            entries_max,
            bytes_max,
        };
        Next::Read(read, self)
    }

    /// Takes what one column said.
    pub fn on_scanned(
        mut self,
        partition: PartitionId,
        found: Vec<(Bytes, Bytes)>,
        more: bool,
    ) -> Next<Self, Response> {
        let prefix = layout::prefix_bytes(&self.route);
        self.entries.reserve(found.len());
        for (key, stored) in found {
            self.bytes += key.len() + stored.len();
            let Ok((value, version)) = layout::split_entry(stored) else {
                return Next::Done(Response::Refused(corrupt(Damaged("entry"))));
            };
            let key = SortKey(key.slice(prefix.min(key.len())..));
            self.entries.push(Entry { key, value, version });
        }
        if more {
            return Next::Done(Response::Scanned { entries: self.entries, more });
        }
        self.next(partition)
    }
}

/// A read of part of a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobRange {
    pub blob: BlobId,
    pub offset: u64,
    pub len: u64,
}

impl BlobRange {
    /// The chunks that hold the range; at least one, so that an absent blob is noticed.
    pub fn read(&self, partition: PartitionId) -> Read {
        let chunk = CHUNK_BYTES as u64;
        let first = self.offset / chunk;
        let last = self.offset.saturating_add(self.len.max(1) - 1) / chunk;
        let index = |chunk: u64| u32::try_from(chunk).unwrap_or(u32::MAX);
        let keys = (index(first)..=index(last))
            .map(|index| layout::chunk_key(partition, self.blob, index))
            .collect();
        Read::Get { column: Column::Bodies, keys }
    }

    /// Cuts the range from its chunks. Whether a missing chunk is the end of the blob or damage only its record can say.
    pub fn cut(&self, chunks: &[Option<Bytes>]) -> Cut {
        let mut skip = usize::try_from(self.offset % CHUNK_BYTES as u64).unwrap_or(0);
        let mut left = usize::try_from(self.len).unwrap_or(usize::MAX);
        let mut pieces: Vec<Bytes> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let Some(chunk) = chunk else {
                return Cut::Ended(concat(&pieces));
            };
            let piece = chunk.slice(skip.min(chunk.len())..);
            let piece = piece.slice(..left.min(piece.len()));
            (skip, left) = (0, left - piece.len());
            pieces.push(piece);
            if chunk.len() != CHUNK_BYTES {
                break;
            }
        }
        Cut::Whole(concat(&pieces))
    }

    /// Bytes that the range has in a blob with this record.
    pub fn bytes_in(&self, record: &layout::BlobRecord) -> u64 {
        let full = u64::from(record.chunks.saturating_sub(1)) * CHUNK_BYTES as u64;
        let end = full + u64::from(record.last_bytes);
        self.offset.saturating_add(self.len).min(end).saturating_sub(self.offset)
    }
}

/// What the chunks of a range gave.
#[derive(Debug)]
pub enum Cut {
    Whole(Bytes),
    /// A chunk is missing behind these bytes.
    Ended(Bytes),
}

fn concat(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        several => {
            let mut whole = BytesMut::with_capacity(several.iter().map(Bytes::len).sum());
            several.iter().for_each(|piece| whole.extend_from_slice(piece));
            whole.freeze()
        }
    }
}

/// Why a request is refused when its stored data are damaged.
pub fn corrupt(damaged: Damaged) -> Refusal {
    Refusal::Corrupt { what: damaged.to_string() }
}

/// Why a request is refused when the store can't read or write.
pub fn refusal_of(error: &StoreError) -> Refusal {
    match error {
        StoreError::NoSpace => Refusal::NoSpace,
        StoreError::Corrupt(what) => Refusal::Corrupt { what: what.clone() },
        StoreError::Io(_) | StoreError::Fatal(_) => Refusal::Unavailable,
    }
}

/// The values of a get; anything else is a broken store or an executor that passes a miss on.
pub fn values_of(result: Result<ReadDone, StoreError>) -> Result<Vec<Option<Bytes>>, Refusal> {
    match result {
        Ok(ReadDone::Got(values)) => Ok(values),
        Ok(ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss) => {
            Err(Refusal::Unavailable)
        }
        Err(error) => Err(refusal_of(&error)),
    }
}

/// The entries of a scan, and whether there are more.
pub fn entries_of(
    result: Result<ReadDone, StoreError>,
) -> Result<(Vec<(Bytes, Bytes)>, bool), Refusal> {
    match result {
        Ok(ReadDone::Scanned { entries, more }) => Ok((entries, more)),
        Ok(ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss) => Err(Refusal::Unavailable),
        Err(error) => Err(refusal_of(&error)),
    }
}
