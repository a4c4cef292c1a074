//! What a brick holds of a partition, as numbers that can be compared between nodes: two copies that have applied the same
//! groups hold the same, byte for byte.
//!
//! It reads one moment of a store, as a check does. Absences: what is in the values is nobody's business here.

use crate::layout::{self, Damaged, PartitionRecord, ReplicaRecord};
use crate::{Column, PartitionId, Read, ReadDone, StoreError};
use bytes::Bytes;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Entries and bytes of one page.
const PAGE: (usize, usize) = (512, 1 << 20);

/// How a survey reads: the same moment each time.
pub type Reads<'a> = dyn Fn(&Read) -> Result<ReadDone, StoreError> + 'a;

/// A copy of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Number and hash of the last group that is applied.
    pub applied: (u64, u32),
    /// No copy under construction.
    pub whole: bool,
    /// Over all small values.
    pub meta: u64,
    /// Over all bodies. `None` while there are groups that are logged and not applied: bodies of theirs are in place already.
    pub bodies: Option<u64>,
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Whether a brick's copy of a partition is whole.
///
/// # Errors
/// It can't be read.
pub fn is_whole(reads: &Reads<'_>, partition: PartitionId) -> Result<bool, Unreadable> {
    let stored = get(reads, layout::replica_key(partition))?;
    let record = stored.map(|stored| ReplicaRecord::decode(&stored)).transpose()?;
    Ok(record.unwrap_or_default().whole)
}

/// Reads a whole partition.
///
/// # Errors
/// It can't be read.
pub fn survey(reads: &Reads<'_>, partition: PartitionId) -> Result<Copy, Unreadable> {
    let stored = get(reads, layout::partition_key(partition))?;
    let record = stored.map(|stored| PartitionRecord::decode(&stored)).transpose()?;
    let applied = record.map_or((0, 0), |record| (record.number, record.hash));
    let next = layout::log_key(partition, applied.0.saturating_add(1));
    let log = scan(reads, Column::Log, (next, layout::log_key(partition, u64::MAX)), 1)?;
    let bodies = match log {
        (open, _) if open.is_empty() => Some(digest(reads, Column::Bodies, partition)?),
        _ => None,
    };
    let meta = digest(reads, Column::Meta, partition)?;
    Ok(Copy { applied, whole: is_whole(reads, partition)?, meta, bodies })
}

fn digest(reads: &Reads<'_>, column: Column, partition: PartitionId) -> Result<u64, Unreadable> {
    let (mut from, to) = layout::partition_range(partition);
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    loop {
        let (entries, more) = scan(reads, column, (from.clone(), to.clone()), PAGE.0)?;
        for (key, value) in &entries {
            for bytes in [key, value] {
                hasher.write_u64(bytes.len() as u64);
                hasher.write(bytes);
            }
        }
        match entries.last() {
            Some((last, _)) if more => from = [last, &[0_u8][..]].concat().into(),
            Some(_) | None => return Ok(hasher.finish()),
        }
    }
}

fn get(reads: &Reads<'_>, key: Bytes) -> Result<Option<Bytes>, StoreError> {
    match reads(&Read::Get { column: Column::Log, keys: vec![key] })? {
        ReadDone::Got(values) => Ok(values.into_iter().next().flatten()),
        ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss => Ok(None),
    }
}

type Page = (Vec<(Bytes, Bytes)>, bool);

fn scan(
    reads: &Reads<'_>,
    column: Column,
    (from, to): (Bytes, Bytes),
    entries_max: usize,
) -> Result<Page, StoreError> {
    let read = Read::Scan { column, from, to, reverse: false, entries_max, bytes_max: PAGE.1 };
    match reads(&read)? {
        ReadDone::Scanned { entries, more } => Ok((entries, more)),
        ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss => Ok((Vec::new(), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, Durability, Group, MemoryStore, Store, StoreOp, Tier};

    const P: PartitionId = PartitionId(3);

    fn put(store: &MemoryStore, column: Column, key: Bytes, value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        let ops = vec![StoreOp::Put { column, key, value }];
        let group = Group { partition: P, ops, bytes: 1, frees_space: false, chain: Chain::Starts };
        store.commit(&[group], Durability::Synced).expect("written");
    }

    fn look(store: &MemoryStore) -> Copy {
        survey(&|read| store.read(read, Tier::Disk), P).expect("readable")
    }

    fn key(rest: &[u8]) -> Bytes {
        [&P.0.to_be_bytes()[..], rest].concat().into()
    }

    #[test]
    fn what_differs_in_one_byte_differs_and_what_is_of_others_does_not_count() {
        let (one, two) = (MemoryStore::new(), MemoryStore::new());
        for store in [&one, &two] {
            put(store, Column::Meta, key(b"\x01ua"), b"meta");
            put(store, Column::Bodies, key(b"\x01ub"), b"body");
        }
        assert_eq!(look(&one), look(&two));
        put(&two, Column::Meta, Bytes::from_static(b"\0\x04\x01ua"), b"of another partition");
        assert_eq!(look(&one), look(&two));
        put(&two, Column::Bodies, key(b"\x01ub"), b"bodY");
        assert_eq!(look(&one).meta, look(&two).meta);
        assert_ne!(look(&one).bodies, look(&two).bodies);
        put(&two, Column::Meta, key(b"\x01uc"), b"");
        assert_ne!(look(&one).meta, look(&two).meta);
    }

    #[test]
    fn bodies_of_groups_that_are_not_applied_are_not_compared() {
        let store = MemoryStore::new();
        put(&store, Column::Log, layout::log_key(P, 1), b"entry");
        assert_eq!(look(&store).bodies, None);
        assert!(look(&store).whole);
        let record = ReplicaRecord { whole: false, ..ReplicaRecord::default() };
        put(&store, Column::Log, layout::replica_key(P), &record.encode());
        assert!(!look(&store).whole);
    }
}
