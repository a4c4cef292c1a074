//! What the control plane keeps in the brick, in the `Log` column.
//!
//! Its keys begin with the partition number 65,535: partitions go up to 16,383, so that no key of a partition is among them, and the
//! range is the last of the column. Groups of these records bear the same number.
//!
//! | key after the number | value |
//! |---|---|
//! | `0, 'e', index: u64` | an entry of the log |
//! | `0, 'h'` | hard state: term, vote, what is known to be committed |
//! | `0, 'n'` | the node record: node, incarnation, session |
//! | `0, 's'` | snapshot: the map and the members as of an index; the entries after it follow |
//!
//! A value is `1: u8` and the message of that name in `proto/hikyaku/cluster/v1/cluster.proto`.
//!
//! Invariants: entries are without gaps, and begin right after the snapshot; what is known to be committed lies between the snapshot
//! and the last entry. What is read is checked for both.

use crate::cluster::{Incarnation, NodeId, Session};
use crate::{Chain, Column, Group, PartitionId, Read, StoreOp};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use proto::cluster as wire;

/// The number in place of a partition's.
pub const CONTROL: PartitionId = PartitionId(u16::MAX);

const FORMAT: u8 = 1;
const OWN: u8 = 0;
const ENTRY: u8 = b'e';
const HARD_STATE: u8 = b'h';
const NODE: u8 = b'n';
const SNAPSHOT: u8 = b's';

/// Indexes and terms above this are refused, so that sums of them never overflow.
pub(super) const INDEX_MAX: u64 = 1 << 48;

/// Everything that was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    pub node: Option<wire::NodeRecord>,
    pub hard_state: Option<wire::HardState>,
    pub snapshot: Option<wire::Snapshot>,
    pub entries: Vec<wire::Entry>,
}

impl Records {
    /// Takes one record; they come in the order of their keys.
    ///
    /// # Errors
    /// What is damaged.
    pub fn take(&mut self, key: &[u8], value: &Bytes) -> Result<(), &'static str> {
        let (prefix, rest) = key.split_at_checked(4).ok_or("key")?;
        let kind = prefix.last().copied().unwrap_or(0);
        if prefix[..3] != [0xFF, 0xFF, OWN] || (kind != ENTRY && !rest.is_empty()) {
            return Err("key");
        }
        match kind {
            ENTRY => {
                let entry: wire::Entry = decode(value).ok_or("entry")?;
                let index = rest.try_into().map(u64::from_be_bytes);
                if index.ok() != Some(entry.index) {
                    return Err("entry");
                }
                self.entries.push(entry);
            }
            HARD_STATE => self.hard_state = Some(decode(value).ok_or("hard state")?),
            NODE => self.node = Some(decode(value).ok_or("node record")?),
            SNAPSHOT => self.snapshot = Some(decode(value).ok_or("snapshot")?),
            _ => return Err("key"),
        }
        Ok(())
    }

    /// Whether they fit together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), &'static str> {
        let metadata = self.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
        let (first, mut term) = match (metadata, self.hard_state.is_some()) {
            (Some(metadata), true) => (metadata.index, metadata.term),
            (None, _) if self.snapshot.is_none() && self.entries.is_empty() => (0, 0),
            (Some(_), false) | (None, _) => return Err("log without its beginning"),
        };
        let mut last = first;
        for entry in &self.entries {
            if entry.index != last + 1 || entry.term < term {
                return Err("log with a gap");
            }
            (last, term) = (entry.index, entry.term);
        }
        if let Some(hard_state) = &self.hard_state {
            let sound = (first..=last).contains(&hard_state.commit)
                && hard_state.term >= term
                && hard_state.term < INDEX_MAX
                && last < INDEX_MAX;
            if !sound {
                return Err("log that ends too early");
            }
        }
        Ok(())
    }
}

/// Reads the records from `key` on.
pub(super) fn scan(from: Bytes, (entries_max, bytes_max): (usize, usize)) -> Read {
    let (column, to, reverse) = (Column::Log, end(), false);
    Read::Scan { column, from, to, reverse, entries_max, bytes_max }
}

/// The key before all records.
pub(super) fn first() -> Bytes {
    Bytes::from_static(&[0xFF, 0xFF, OWN])
}

/// The key after all records.
fn end() -> Bytes {
    Bytes::from_static(&[0xFF, 0xFF, OWN + 1])
}

pub(super) fn put_entry(entry: &wire::Entry) -> StoreOp {
    put(entry_key(entry.index), entry)
}

pub(super) fn put_hard_state(hard_state: &wire::HardState) -> StoreOp {
    put(key(HARD_STATE), hard_state)
}

pub(super) fn put_snapshot(snapshot: &wire::Snapshot) -> StoreOp {
    put(key(SNAPSHOT), snapshot)
}

pub(super) fn put_node(node: NodeId, incarnation: Incarnation, session: Session) -> StoreOp {
    let record =
        wire::NodeRecord { node: node.0.into(), incarnation: incarnation.0, session: session.0 };
    put(key(NODE), &record)
}

/// Drops the entries `from..to`.
pub(super) fn drop_entries(from: u64, to: u64) -> StoreOp {
    StoreOp::DeleteRange { column: Column::Log, from: entry_key(from), to: entry_key(to) }
}

/// Drops everything.
pub(super) fn drop_all() -> StoreOp {
    StoreOp::DeleteRange { column: Column::Log, from: first(), to: end() }
}

/// One write. It counts as one that frees space: what the log takes is bounded, and a full brick must still learn who leads.
pub(super) fn group(ops: Vec<StoreOp>) -> Group {
    let weight = |op: &StoreOp| match op {
        StoreOp::Put { key, value, .. } => key.len() + value.len(),
        StoreOp::Delete { key, .. } => key.len(),
        StoreOp::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    let bytes = ops.iter().map(weight).sum();
    Group { partition: CONTROL, ops, bytes, frees_space: true, chain: Chain::Starts }
}

fn put(key: Bytes, record: &impl Message) -> StoreOp {
    let mut value = BytesMut::with_capacity(1 + record.encoded_len());
    value.put_u8(FORMAT);
    value.put_slice(&record.encode_to_vec());
    StoreOp::Put { column: Column::Log, key, value: value.freeze() }
}

fn decode<M: Message + Default>(value: &Bytes) -> Option<M> {
    let (&format, record) = value.split_first()?;
    if format == FORMAT { M::decode(record).ok() } else { None }
}

fn key(kind: u8) -> Bytes {
    Bytes::copy_from_slice(&[0xFF, 0xFF, OWN, kind])
}

fn entry_key(index: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(12);
    out.put_slice(&[0xFF, 0xFF, OWN, ENTRY]);
    out.put_u64(index);
    out.freeze()
}
