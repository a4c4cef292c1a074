//! What a store knows of itself: how many partitions it has, and the key that spreads users over them, both fixed when it is
//! made; and the restorations that led to it.

use anyhow::{Context, bail};
use bytes::Bytes;
use dds::{
    Chain, Column, DpMap, Durability, Group, PartitionId, Read, ReadDone, Store, StoreError,
    StoreOp, Tier,
};
use mailstore::mailbox::Restored;

/// Key of the partition map in the log column. Partition groups have longer keys.
const KEY: &[u8] = b"dp-map";
/// Key of the restorations, beside it.
const RESTORED_KEY: &[u8] = b"restored";
const RESTORED_BYTES: usize = 13;
/// Version of both records.
const VERSION: u8 = 1;
const RECORD_BYTES: usize = 19;

/// Everything of it.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub map: DpMap,
    pub restored: Restored,
}

/// The identity of the store, made on its first start with `partitions` partitions.
///
/// # Errors
/// When the store can't be read or written, or has another number of partitions than configured.
pub fn load_or_create(store: &dyn Store, partitions: u16) -> anyhow::Result<Identity> {
    Ok(Identity { map: load_or_create_map(store, partitions)?, restored: restored(store)? })
}

fn load_or_create_map(store: &dyn Store, partitions: u16) -> anyhow::Result<DpMap> {
    if let Some(map) = load_map(store)? {
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
    put(store, KEY, encode(&map)).context("the partition map can't be written")?;
    Ok(map)
}

/// The map of a store, if it was ever started.
///
/// # Errors
/// When it can't be read, or is damaged.
pub fn load_map(store: &dyn Store) -> anyhow::Result<Option<DpMap>> {
    let record = get(store, KEY).context("the partition map can't be read")?;
    let decoded = record.map(|record| decode(&record).context("the partition map is damaged"));
    decoded.transpose()
}

/// The restorations that led to a store.
///
/// # Errors
/// When they can't be read, or are damaged.
pub fn restored(store: &dyn Store) -> anyhow::Result<Restored> {
    let record = get(store, RESTORED_KEY).context("the restorations can't be read")?;
    let decoded =
        record.map(|record| decode_restored(&record).context("the restorations are damaged"));
    Ok(decoded.transpose()?.unwrap_or_default())
}

/// Notes in a store that was just made of a backup what the next start has to know. `steps`: how often that backup was
/// restored, this time included.
///
/// # Errors
/// When the store can't be read or written.
pub fn note_restoration(store: &dyn Store, steps: u32, unix_micros: u64) -> anyhow::Result<()> {
    let before = restored(store)?;
    // A clock that goes backwards must not make two restorations look like one.
    let unix_micros = unix_micros.max(before.unix_micros.saturating_add(1));
    let now = Restored { steps: before.steps.saturating_add(steps.max(1)), unix_micros };
    put(store, RESTORED_KEY, encode_restored(now)).context("the restoration can't be noted")
}

fn get(store: &dyn Store, key: &'static [u8]) -> Result<Option<Bytes>, StoreError> {
    let read = Read::Get { column: Column::Log, keys: vec![Bytes::from_static(key)] };
    Ok(match store.read(&read, Tier::Disk)? {
        ReadDone::Got(values) => values.into_iter().next().flatten(),
        ReadDone::Scanned { .. } | ReadDone::Miss => None,
    })
}

fn put(store: &dyn Store, key: &'static [u8], value: Bytes) -> Result<(), StoreError> {
    let group = Group {
        partition: PartitionId(0),
        bytes: key.len() + value.len(),
        ops: vec![StoreOp::Put { column: Column::Log, key: Bytes::from_static(key), value }],
        frees_space: false,
        chain: Chain::Starts,
    };
    store.commit(&[group], Durability::Synced)
}

fn encode_restored(restored: Restored) -> Bytes {
    let mut record = Vec::with_capacity(RESTORED_BYTES);
    record.push(VERSION);
    record.extend_from_slice(&restored.steps.to_be_bytes());
    record.extend_from_slice(&restored.unix_micros.to_be_bytes());
    record.into()
}

fn decode_restored(record: &[u8]) -> Option<Restored> {
    let record: &[u8; RESTORED_BYTES] = record.try_into().ok()?;
    let (version, rest) = record.split_first()?;
    let (steps, micros) = rest.split_first_chunk::<4>()?;
    let unix_micros = u64::from_be_bytes(micros.try_into().ok()?);
    let restored = Restored { steps: u32::from_be_bytes(*steps), unix_micros };
    (*version == VERSION).then_some(restored)
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
        let restored = Restored { steps: 3, unix_micros: 0x0405 };
        let record = encode_restored(restored);
        assert_eq!(&record[..], [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 4, 5]);
        assert_eq!(decode_restored(&record), Some(restored));
        assert_eq!(decode_restored(&[1; 12]), None);
    }

    #[test]
    fn restorations_add_up() {
        let store = dds::MemoryStore::new();
        assert_eq!(restored(&store).expect("readable"), Restored::default());
        note_restoration(&store, 1, 100).expect("noted");
        assert_eq!(restored(&store).expect("there"), Restored { steps: 1, unix_micros: 100 });
        note_restoration(&store, 2, 50).expect("noted");
        assert_eq!(restored(&store).expect("there"), Restored { steps: 3, unix_micros: 101 });
    }
}
