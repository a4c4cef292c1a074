//! What a store is told when it is created and never again: how many partitions it has, and the key that spreads users over
//! them.

use anyhow::{Context, bail};
use bytes::Bytes;
use dds::{
    Chain, Column, DpMap, Durability, Group, PartitionId, Read, ReadDone, Store, StoreOp, Tier,
};

/// Key of the partition map in the log column. Partition groups have longer keys.
const KEY: &[u8] = b"dp-map";
/// Version of the record.
const VERSION: u8 = 1;
const RECORD_BYTES: usize = 19;

/// The map of the store, made on its first start with `partitions` partitions.
///
/// # Errors
/// When the store can't be read or written, or has another number of partitions than configured.
pub fn load_or_create(store: &dyn Store, partitions: u16) -> anyhow::Result<DpMap> {
    let read = Read::Get { column: Column::Log, keys: vec![Bytes::from_static(KEY)] };
    let found = match store.read(&read, Tier::Disk).context("the partition map can't be read")? {
        ReadDone::Got(values) => values.into_iter().next().flatten(),
        ReadDone::Scanned { .. } | ReadDone::Miss => None,
    };
    if let Some(record) = found {
        let map = decode(&record).context("the partition map of the store is damaged")?;
        if map.partitions != partitions {
            bail!(
                "the store has {} partitions, the configuration says {partitions}: the number is \
                 fixed when a store is made; set cluster.partitions = {}",
                map.partitions,
                map.partitions
            );
        }
        return Ok(map);
    }
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let (low, high) = key.split_at(8);
    let word = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let map = DpMap { partitions, hash_key: (word(low), word(high)) };
    let value = encode(&map);
    let group = Group {
        partition: PartitionId(0),
        bytes: KEY.len() + value.len(),
        ops: vec![StoreOp::Put { column: Column::Log, key: Bytes::from_static(KEY), value }],
        frees_space: false,
        chain: Chain::Starts,
    };
    store.commit(&[group], Durability::Synced).context("the partition map can't be written")?;
    Ok(map)
}

fn encode(map: &DpMap) -> Bytes {
    let mut record = Vec::with_capacity(RECORD_BYTES);
    record.push(VERSION);
    record.extend_from_slice(&map.partitions.to_be_bytes());
    record.extend_from_slice(&map.hash_key.0.to_be_bytes());
    record.extend_from_slice(&map.hash_key.1.to_be_bytes());
    record.into()
}

fn decode(record: &[u8]) -> Option<DpMap> {
    let record: &[u8; RECORD_BYTES] = record.try_into().ok()?;
    let (version, rest) = record.split_first()?;
    let (partitions, keys) = rest.split_first_chunk::<2>()?;
    let (low, high) = keys.split_first_chunk::<8>()?;
    let high: [u8; 8] = high.try_into().ok()?;
    let partitions = u16::from_be_bytes(*partitions);
    let hash_key = (u64::from_be_bytes(*low), u64::from_be_bytes(high));
    let valid = *version == VERSION && partitions.is_power_of_two() && partitions <= 16_384;
    valid.then_some(DpMap { partitions, hash_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_the_map() {
        let map = DpMap { partitions: 1024, hash_key: (1, 0x0203) };
        let record = encode(&map);
        let golden = [1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 3];
        assert_eq!(&record[..], golden);
        assert_eq!(decode(&record), Some(map));
        assert_eq!(decode(&golden[..18]), None);
        assert_eq!(decode(&[2; 19]), None);
    }
}
