//! When everything rests, all in-sync replicas of a partition hold the same, records of the replicas themselves left out.

use crate::failure::Failure;
use bytes::Bytes;
use dds::cluster::NodeId;
use dds::{Column, MemoryStore, PartitionId, layout};
use std::collections::BTreeMap;

/// What a node holds of a partition.
pub type Held = BTreeMap<(Column, Bytes), Bytes>;

/// What a store holds of a partition.
#[must_use]
pub fn held(store: &MemoryStore, partition: PartitionId) -> Held {
    let (from, to) = layout::partition_range(partition);
    let own = |column: &Column| matches!(column, Column::Meta | Column::Bodies);
    let entries = store.visible().into_iter();
    entries
        .filter(|(column, key, _)| own(column) && *key >= from && *key < to)
        .map(|(column, key, value)| ((column, key), value))
        .collect()
}

/// The same of all partitions.
#[must_use]
pub fn by_partition(store: &MemoryStore) -> BTreeMap<PartitionId, Held> {
    let mut all: BTreeMap<PartitionId, Held> = BTreeMap::new();
    for (column, key, value) in store.visible() {
        if let (Column::Meta | Column::Bodies, &[high, low, ..]) = (column, &key[..]) {
            let partition = PartitionId(u16::from_be_bytes([high, low]));
            all.entry(partition).or_default().insert((column, key), value);
        }
    }
    all
}

/// # Errors
/// When two replicas hold different things.
pub fn check(
    partition: PartitionId,
    replicas: impl IntoIterator<Item = (NodeId, Held)>,
) -> Result<(), Failure> {
    let mut replicas = replicas.into_iter();
    let Some((first, expected)) = replicas.next() else { return Ok(()) };
    for (node, held) in replicas {
        if held != expected {
            let differs = differing(&expected, &held);
            let what = format!("{partition:?} at {first:?} and {node:?}: {differs}");
            return Err(Failure::new("replicas_agree", what));
        }
    }
    Ok(())
}

fn differing(one: &Held, other: &Held) -> String {
    let missing = one.iter().find(|(key, value)| other.get(*key) != Some(value));
    let more = other.iter().find(|(key, value)| one.get(*key) != Some(value));
    let show = |found: Option<(&(Column, Bytes), &Bytes)>| {
        found.map(|((column, key), value)| {
            format!("{column:?} {key:?} {:?}", value.slice(..value.len().min(16)))
        })
    };
    format!("{:?} against {:?}", show(missing), show(more))
}
