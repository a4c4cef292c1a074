//! What the fields of a message must keep to.

use super::limits::NUMBER_MAX;
use super::{Decoded, Malformed};
use crate::layout::{self, VERSION_BYTES};
use crate::{BlobId, CHUNK_BYTES, Column, Limits, PartitionId, RouteKey, SortKey};
use bytes::Bytes;

/// Partitions of a cluster at most: see [`crate::DpMap`].
const PARTITIONS_MAX: u16 = 16_384;

/// A number that counts: see [`NUMBER_MAX`].
pub(super) fn number(number: u64) -> Decoded<u64> {
    if number < NUMBER_MAX { Ok(number) } else { Err(Malformed("number out of range")) }
}

/// The number of a page; one more is a number too.
pub(super) fn page_index(index: u32) -> Decoded<u32> {
    if index < u32::MAX { Ok(index) } else { Err(Malformed("page out of range")) }
}

pub(super) fn partition(number: u32) -> Decoded<PartitionId> {
    let number = u16::try_from(number).ok().filter(|&number| number < PARTITIONS_MAX);
    number.map(PartitionId).ok_or(Malformed("partition number"))
}

pub(super) fn route(bytes: Bytes) -> Decoded<RouteKey> {
    at_most(bytes.len(), usize::from(u8::MAX), "route")?;
    Ok(RouteKey(bytes))
}

pub(super) fn blob(bytes: &Bytes) -> Decoded<BlobId> {
    let bytes = bytes[..].try_into().map_err(|_| Malformed("blob name"))?;
    Ok(BlobId(u128::from_be_bytes(bytes)))
}

pub(super) fn sort_key(bytes: Bytes, limits: &Limits) -> Decoded<SortKey> {
    at_most(bytes.len(), limits.key_bytes_max, "key")?;
    Ok(SortKey(bytes))
}

pub(super) fn value(bytes: Bytes, limits: &Limits) -> Decoded<Bytes> {
    at_most(bytes.len(), limits.value_bytes_max, "value")?;
    Ok(bytes)
}

pub(super) fn at_most(size: usize, max: usize, what: &'static str) -> Decoded<()> {
    if size <= max { Ok(()) } else { Err(Malformed(what)) }
}

/// Physical keys and values of one partition.
pub(super) struct Physical {
    partition: PartitionId,
    key_bytes_max: usize,
    value_bytes_max: usize,
}

impl Physical {
    pub fn new(partition: PartitionId, limits: &Limits) -> Self {
        let longest = RouteKey(Bytes::from_static(&[0; u8::MAX as usize]));
        let prefix = layout::prefix_bytes(&longest);
        let stored = limits.value_bytes_max.saturating_add(VERSION_BYTES);
        Self {
            partition,
            // Keys of the partition itself are shorter than the prefix, and its records than a chunk.
            key_bytes_max: limits.key_bytes_max.saturating_add(prefix),
            value_bytes_max: stored.max(CHUNK_BYTES),
        }
    }

    /// A key of this partition.
    pub fn key(&self, key: Bytes) -> Decoded<Bytes> {
        at_most(key.len(), self.key_bytes_max, "key")?;
        if key.starts_with(&self.partition.0.to_be_bytes()) {
            Ok(key)
        } else {
            Err(Malformed("key of another partition"))
        }
    }

    pub fn value(&self, value: Bytes) -> Decoded<Bytes> {
        at_most(value.len(), self.value_bytes_max, "value")?;
        Ok(value)
    }

    /// What an entry writes into `Log`: nothing but the partition record.
    pub fn log_key(&self, key: &Bytes) -> Decoded<()> {
        if *key == layout::partition_key(self.partition) {
            Ok(())
        } else {
            Err(Malformed("key of the log"))
        }
    }

    /// The column of an entry that is copied: those of the data.
    pub fn data_column(column: Column) -> Decoded<Column> {
        match column {
            Column::Meta | Column::Bodies => Ok(column),
            Column::Log => Err(Malformed("column of a page")),
        }
    }
}
