//! One entry of a partition's log: a group with its place in the chain.
//!
//! On disk, in the `Log` column: `1: u8, version: u64, before: u32, hash: u32, flags: u8, count: u32`, then each operation as
//! `kind: u8, len: u32, key`, and for a put `len: u32, value`; at the end the CRC-32C of all that. The kind is that of the
//! operation (0 put, 1 delete, 2 range of keys, 3 put whose value stands at its place already) plus 16 times the column.
//! The number stands in the key.
//!
//! Invariant: bytes that come from a disk or a peer are decoded without panics.

use crate::layout::{self, Damaged, PartitionRecord};
use crate::{Chain, Column, Group, GroupVersion, PartitionId, StoreOp};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Values of body keys above this are written at their place, and the entry refers to them.
const PLACED_BYTES_MIN: usize = 1024;
const FORMAT: u8 = 1;
const FREES_SPACE: u8 = 1;
const PLACED: u8 = 3;

/// A group of operations at its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The version under which it was logged first.
    pub version: GroupVersion,
    pub number: u64,
    /// The hash of the entry before.
    pub before: u32,
    pub hash: u32,
    pub frees_space: bool,
    pub ops: Vec<StoreOp>,
}

/// The end of a log: number and hash of its last entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub number: u64,
    pub hash: u32,
}

/// How the operations of an entry are written when it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// Everything stands in the entry.
    Inline,
    /// Large values of body keys go to their place at once.
    Placed,
}

impl Entry {
    /// The entry of a group that a partition machine made: its last operation is the partition record.
    ///
    /// # Errors
    /// When it is not.
    pub fn of_group(group: Group, before: Mark) -> Result<Self, Damaged> {
        let Some(StoreOp::Put { column: Column::Log, value, .. }) = group.ops.last() else {
            return Err(Damaged("group"));
        };
        let record = PartitionRecord::decode(value)?;
        Ok(Self {
            version: record.version,
            number: record.number,
            before: before.hash,
            hash: record.hash,
            frees_space: group.frees_space,
            ops: group.ops,
        })
    }

    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { number: self.number, hash: self.hash }
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.ops.iter().map(op_bytes).sum()
    }

    /// Keys of `Bodies` that are written at their place ahead of the decision.
    pub fn placed_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.ops.iter().filter(|op| is_large_body(op)).filter_map(put_body)
    }

    /// Keys of `Bodies` that it writes, when it is logged or applied.
    pub fn body_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.ops.iter().filter_map(put_body)
    }

    /// Whether anything of `Bodies` changes when it is applied.
    #[must_use]
    pub fn applies_bodies(&self, placing: Placing) -> bool {
        self.ops.iter().any(|op| match op {
            StoreOp::Put { column, .. } => {
                *column == Column::Bodies && (placing == Placing::Inline || !is_large_body(op))
            }
            StoreOp::Delete { column, .. } | StoreOp::DeleteRange { column, .. } => {
                *column == Column::Bodies
            }
        })
    }

    /// The lowest key of `column` behind `after` that it changes, or `after` itself where a range of keys begins before it.
    #[must_use]
    pub fn lowest_changed<'a>(&'a self, column: Column, after: &'a Bytes) -> Option<&'a Bytes> {
        let changed = self.ops.iter().filter_map(|op| match op {
            StoreOp::Put { column: at, key, .. } | StoreOp::Delete { column: at, key } => {
                (*at == column && key > after).then_some(key)
            }
            StoreOp::DeleteRange { column: at, from, to } => {
                (*at == column && to > after).then_some(from.max(after))
            }
        });
        changed.min()
    }

    /// The operations that log it.
    pub fn log_ops(&self, partition: PartitionId, placing: Placing, ops: &mut Vec<StoreOp>) {
        let placed = |op: &&StoreOp| placing == Placing::Placed && is_large_body(op);
        ops.extend(self.ops.iter().filter(placed).cloned());
        ops.push(StoreOp::Put {
            column: Column::Log,
            key: layout::log_key(partition, self.number),
            value: self.encode(placing),
        });
    }

    /// The operations that apply it.
    pub fn apply_ops(&self, placing: Placing, ops: &mut Vec<StoreOp>) {
        let left = |op: &&StoreOp| placing == Placing::Inline || !is_large_body(op);
        ops.extend(self.ops.iter().filter(left).cloned());
    }

    /// The whole entry as a group of its own, for a log of one.
    #[must_use]
    pub fn into_group(self, partition: PartitionId, chain: Chain) -> Group {
        let bytes = self.bytes();
        Group { partition, ops: self.ops, bytes, frees_space: self.frees_space, chain }
    }

    fn encode(&self, placing: Placing) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.bytes() + 9 * self.ops.len());
        out.put_u8(FORMAT);
        out.put_u64(self.version.0);
        out.put_u32(self.before);
        out.put_u32(self.hash);
        out.put_u8(if self.frees_space { FREES_SPACE } else { 0 });
        put_len(&mut out, self.ops.len());
        for op in &self.ops {
            match op {
                StoreOp::Put { column, key, value: _ }
                    if placing == Placing::Placed && is_large_body(op) =>
                {
                    put_key(&mut out, PLACED, *column, key);
                }
                StoreOp::Put { column, key, value } => {
                    put_key(&mut out, 0, *column, key);
                    put_len(&mut out, value.len());
                    out.put_slice(value);
                }
                StoreOp::Delete { column, key } => put_key(&mut out, 1, *column, key),
                StoreOp::DeleteRange { column, from, to } => {
                    put_key(&mut out, 2, *column, from);
                    put_len(&mut out, to.len());
                    out.put_slice(to);
                }
            }
        }
        let sum = crc32c::crc32c(&out);
        out.put_u32(sum);
        out.freeze()
    }

    /// Reads an entry; the keys of values that stand at their place come with it, and their operations have no value yet.
    ///
    /// # Errors
    /// When the checksum or the form is wrong.
    pub fn decode(key: &[u8], stored: &Bytes) -> Result<(Self, Vec<usize>), Damaged> {
        let damaged = Damaged("log entry");
        let number = key.get(4..).and_then(|rest| rest.try_into().ok()).ok_or(damaged)?;
        let body = stored.len().checked_sub(4).ok_or(damaged)?;
        let mut rest = stored.slice(..body);
        let sum = u32::from_be_bytes(stored[body..].try_into().map_err(|_| damaged)?);
        if crc32c::crc32c(&rest) != sum || rest.len() < 22 || rest.get_u8() != FORMAT {
            return Err(damaged);
        }
        let version = GroupVersion(rest.get_u64());
        let (before, hash) = (rest.get_u32(), rest.get_u32());
        let frees_space = rest.get_u8() & FREES_SPACE != 0;
        let count = rest.get_u32() as usize;
        let mut ops = Vec::with_capacity(count.min(rest.len() / 5));
        let mut placed = Vec::new();
        for _ in 0..count {
            let (op, elsewhere) = take_op(&mut rest).ok_or(damaged)?;
            if elsewhere {
                placed.push(ops.len());
            }
            ops.push(op);
        }
        let number = u64::from_be_bytes(number);
        Ok((Self { version, number, before, hash, frees_space, ops }, placed))
    }
}

/// Whether `op` is a put that goes to its place when it is logged.
fn is_large_body(op: &StoreOp) -> bool {
    match op {
        StoreOp::Put { column: Column::Bodies, value, .. } => value.len() >= PLACED_BYTES_MIN,
        StoreOp::Put { .. } | StoreOp::Delete { .. } | StoreOp::DeleteRange { .. } => false,
    }
}

fn put_body(op: &StoreOp) -> Option<&Bytes> {
    match op {
        StoreOp::Put { column: Column::Bodies, key, .. } => Some(key),
        StoreOp::Put { .. } | StoreOp::Delete { .. } | StoreOp::DeleteRange { .. } => None,
    }
}

fn op_bytes(op: &StoreOp) -> usize {
    match op {
        StoreOp::Put { key, value, .. } => key.len() + value.len(),
        StoreOp::Delete { key, .. } => key.len(),
        StoreOp::DeleteRange { from, to, .. } => from.len() + to.len(),
    }
}

fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

fn put_key(out: &mut BytesMut, kind: u8, column: Column, key: &[u8]) {
    let column = match column {
        Column::Meta => 0,
        Column::Bodies => 1,
        Column::Log => 2,
    };
    out.put_u8(kind | column << 4);
    put_len(out, key.len());
    out.put_slice(key);
}

fn take_op(rest: &mut Bytes) -> Option<(StoreOp, bool)> {
    let kind = rest.try_get_u8().ok()?;
    let column = match kind >> 4 {
        0 => Column::Meta,
        1 => Column::Bodies,
        2 => Column::Log,
        _ => return None,
    };
    let key = take_bytes(rest)?;
    Some(match kind & 0x0F {
        0 => (StoreOp::Put { column, key, value: take_bytes(rest)? }, false),
        1 => (StoreOp::Delete { column, key }, false),
        2 => (StoreOp::DeleteRange { column, from: key, to: take_bytes(rest)? }, false),
        PLACED => (StoreOp::Put { column, key, value: Bytes::new() }, true),
        _ => return None,
    })
}

fn take_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let len = rest.try_get_u32().ok()? as usize;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: usize) -> Entry {
        let key = |text: &'static str| Bytes::from_static(text.as_bytes());
        let ops = vec![
            StoreOp::Put { column: Column::Bodies, key: key("b"), value: vec![7; body].into() },
            StoreOp::Delete { column: Column::Meta, key: key("d") },
            StoreOp::DeleteRange { column: Column::Bodies, from: key("f"), to: key("t") },
            StoreOp::Put { column: Column::Log, key: key("p"), value: key("v") },
        ];
        let (before, hash) = (0x0102_0304, 0x0506_0708);
        Entry { version: GroupVersion(9), number: 258, before, hash, frees_space: true, ops }
    }

    #[test]
    fn golden_bytes() {
        let mut ops = Vec::new();
        entry(2).log_ops(PartitionId(3), Placing::Placed, &mut ops);
        let [StoreOp::Put { column: Column::Log, key, value }] = &ops[..] else {
            panic!("{ops:?}")
        };
        assert_eq!(key, &b"\0\x03\0l\0\0\0\0\0\0\x01\x02"[..]);
        let golden = b"\x01\0\0\0\0\0\0\0\x09\x01\x02\x03\x04\x05\x06\x07\x08\x01\0\0\0\x04\
            \x10\0\0\0\x01b\0\0\0\x02\x07\x07\x01\0\0\0\x01d\x12\0\0\0\x01f\0\0\0\x01t\
            \x20\0\0\0\x01p\0\0\0\x01v";
        assert_eq!(value[..value.len() - 4], golden[..]);
        assert_eq!(Entry::decode(key, value), Ok((entry(2), vec![])));
    }

    #[test]
    fn a_large_body_goes_to_its_place() {
        let mut ops = Vec::new();
        entry(2000).log_ops(PartitionId(3), Placing::Placed, &mut ops);
        assert_eq!(ops.len(), 2);
        let StoreOp::Put { key, value, .. } = &ops[1] else { panic!("{ops:?}") };
        assert!(value.len() < 200);
        let (read, placed) = Entry::decode(key, value).expect("an entry");
        assert_eq!(placed, [0]);
        assert_eq!((read.mark(), read.ops.len()), (entry(2000).mark(), 4));
        let mut apply = Vec::new();
        entry(2000).apply_ops(Placing::Placed, &mut apply);
        assert_eq!(apply.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn damage_is_noticed(at: usize, bit in 0_u8..8) {
            let mut ops = Vec::new();
            entry(20).log_ops(PartitionId(3), Placing::Inline, &mut ops);
            let StoreOp::Put { key, value, .. } = &ops[0] else { panic!("{ops:?}") };
            let mut forged = value.to_vec();
            let at = at % forged.len();
            forged[at] ^= 1 << bit;
            proptest::prop_assert!(Entry::decode(key, &forged.into()).is_err());
        }

        #[test]
        fn any_bytes_decode_or_are_damaged(mut bytes: Vec<u8>) {
            let sum = crc32c::crc32c(&bytes);
            bytes.extend(sum.to_be_bytes());
            let _ = Entry::decode(&[0; 12], &bytes.into());
        }
    }
}
