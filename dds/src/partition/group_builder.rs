//! Builds the group of one batch: physical keys and values in one buffer, the hash that chains the log, the weight.
//!
//! Invariant: every group ends with the partition record, so that (number, hash) in the store are those of the last
//! group that applied.

use crate::layout::{self, PartitionRecord, VERSION_BYTES};
use crate::{Chain, Column, Group, PartitionId, RouteKey, SortKey, StoreOp, Version};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes that the partition record adds to a group.
const TAIL_BYTES: usize = 4 + PartitionRecord::BYTES;

/// A group under construction.
#[derive(Debug)]
pub struct GroupBuilder {
    partition: PartitionId,
    /// What keys and values are cut from: one allocation for the whole group.
    buffer: BytesMut,
    ops: Vec<StoreOp>,
    bytes: usize,
}

impl GroupBuilder {
    /// A group with room for `ops` operations whose keys and values take `bytes`.
    pub fn new(partition: PartitionId, ops: usize, bytes: usize) -> Self {
        Self {
            partition,
            buffer: BytesMut::with_capacity(bytes + TAIL_BYTES),
            ops: Vec::with_capacity(ops + 1),
            bytes: 0,
        }
    }

    /// Entry `key` of `route` gets `value`.
    pub fn put_entry(&mut self, route: &RouteKey, key: &SortKey, value: &[u8], version: Version) {
        layout::put_entry_key(&mut self.buffer, self.partition, route, &key.0);
        let physical = self.cut();
        self.buffer.reserve(VERSION_BYTES + value.len());
        self.buffer.put_u64(version.0);
        self.buffer.put_slice(value);
        let value = self.cut();
        self.put(layout::column_of(key), physical, value);
    }

    /// Entry `key` of `route` is absent.
    pub fn delete_entry(&mut self, route: &RouteKey, key: &SortKey) {
        layout::put_entry_key(&mut self.buffer, self.partition, route, &key.0);
        let physical = self.cut();
        self.delete(layout::column_of(key), physical);
    }

    /// The entries `from..to` of `route` are absent.
    pub fn delete_entries(&mut self, route: &RouteKey, from: &SortKey, to: &SortKey) {
        for (column, from, to) in super::reads::column_ranges(from, to) {
            let from = layout::entry_key(self.partition, route, &from.0);
            let to = layout::entry_key(self.partition, route, &to.0);
            self.bytes += from.len() + to.len();
            self.ops.push(StoreOp::DeleteRange { column, from, to });
        }
    }

    /// The writer record of `route` becomes `record`.
    pub fn put_writer(&mut self, route: &RouteKey, record: &layout::WriterRecord) {
        layout::put_writer_key(&mut self.buffer, self.partition, route);
        let key = self.cut();
        record.encode(&mut self.buffer);
        let value = self.cut();
        self.put(Column::Meta, key, value);
    }

    /// `key` gets `value`.
    pub fn put(&mut self, column: Column, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.ops.push(StoreOp::Put { column, key, value });
    }

    /// `key` is absent.
    pub fn delete(&mut self, column: Column, key: Bytes) {
        self.bytes += key.len();
        self.ops.push(StoreOp::Delete { column, key });
    }

    /// The group that follows `before`, and where the log then stands.
    pub fn finish(
        mut self,
        before: &PartitionRecord,
        chain: Chain,
        frees_space: bool,
    ) -> (Group, PartitionRecord) {
        let record = PartitionRecord {
            version: before.version,
            number: before.number + 1,
            hash: self.ops.iter().fold(before.hash, hash_op),
        };
        layout::put_partition_key(&mut self.buffer, self.partition);
        let key = self.cut();
        record.encode(&mut self.buffer);
        let value = self.cut();
        self.put(Column::Log, key, value);
        let Self { partition, ops, bytes, .. } = self;
        (Group { partition, ops, bytes, frees_space, chain }, record)
    }

    fn cut(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

fn hash_op(hash: u32, op: &StoreOp) -> u32 {
    let (kind, column, key, value) = match op {
        StoreOp::Put { column, key, value } => (0, column, key, value.as_ref()),
        StoreOp::Delete { column, key } => (1, column, key, &[][..]),
        StoreOp::DeleteRange { column, from, to } => (2, column, from, to.as_ref()),
    };
    let column = match column {
        Column::Meta => 0,
        Column::Bodies => 1,
        Column::Log => 2,
    };
    let mut head = [0_u8; 10];
    head[0] = kind;
    head[1] = column;
    head[2..].copy_from_slice(&(key.len() as u64).to_be_bytes());
    let hash = crc32c::crc32c_append(hash, &head);
    crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value)
}
