//! What a store knows of itself: how many partitions it has, and the key that spreads users over them, both fixed when it is
//! made; and the restorations that led to it.

use crate::life::Life;
use anyhow::{Context, bail};
use bytes::Bytes;
use dds::cluster::{Incarnation, NodeId};
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

/// Key of what the data directory is to its cluster, beside it.
const MEMBER_KEY: &[u8] = b"member";
const MEMBER_BYTES: usize = 12;

/// Key of the life of the cluster that the data directory belongs to, beside it. Absent in the first one.
const LIFE_KEY: &[u8] = b"life";

/// Everything of it.
#[derive(Clone, Debug)]
pub struct Identity {
    pub map: DpMap,
    pub restored: Restored,
    pub member: Member,
    pub life: Life,
}

/// What a cluster that there is tells who comes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub map: DpMap,
    pub restored: Restored,
    pub life: Life,
}

/// What a data directory is to its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    /// Drawn when the directory was made, and anew when it turned out to be an old image of itself.
    pub incarnation: Incarnation,
    /// It came to a cluster that there was; otherwise it has founded one.
    pub joined: bool,
}

/// The identity of the store, if it was ever started.
///
/// # Errors
/// When the store can't be read, has another number of partitions than configured, or belongs to another node.
pub fn load(store: &dyn Store, partitions: u16, me: NodeId) -> anyhow::Result<Option<Identity>> {
    let Some(map) = load_map(store)? else { return Ok(None) };
    if map.partitions != partitions {
        bail!(
            "the store has {} partitions, the configuration says {partitions}: the number is \
             fixed when a store is made; set cluster.partitions = {}",
            map.partitions,
            map.partitions
        );
    }
    let member = match get(store, MEMBER_KEY).context("the member record can't be read")? {
        Some(record) => decode_member(&record).context("the member record is damaged")?,
        None => {
            // Of a release that knew no clusters: it is the first node of its own.
            let member =
                Member { node: NodeId(1), incarnation: draw_incarnation()?, joined: false };
            put_member(store, member)?;
            member
        }
    };
    if member.node != me {
        bail!(
            "the data directory belongs to node number {}, the file lists this node as number {}: the order of \
             [[node]] must stay as it was, new nodes come last. If it is of a trial, move it away, and this node joins",
            member.node.0,
            me.0
        );
    }
    Ok(Some(Identity { map, restored: restored(store)?, member, life: life(store)? }))
}

/// Makes the identity of a new store: of a cluster of its own with `partitions` partitions, or of the one that there is.
///
/// # Errors
/// When the store can't be written.
pub fn create(
    store: &dyn Store,
    (partitions, joins): (u16, Option<Known>),
    node: NodeId,
) -> anyhow::Result<Identity> {
    let joined = joins.is_some();
    let known = match joins {
        Some(known) => known,
        None => Known {
            map: DpMap { partitions, hash_key: (draw()?, draw()?) },
            restored: Restored::default(),
            life: Life::default(),
        },
    };
    let member = Member { node, incarnation: draw_incarnation()?, joined };
    let Known { map, restored, life } = known;
    let identity = Identity { map, restored, member, life };
    let made = commit(store, records_of(&identity)).and_then(|()| {
        // Last: without it the store was never started.
        put(store, KEY, encode(&map))
    });
    made.context("the identity of the node can't be written")?;
    Ok(identity)
}

/// The data directory goes on in a later life of its cluster, which keeps it. It has to be let in there, with what it holds.
///
/// # Errors
/// When the store can't be written.
pub fn adopt(store: &dyn Store, identity: &Identity, known: Known) -> anyhow::Result<Identity> {
    let before = identity.member;
    let incarnation = known.life.incarnation(before.incarnation);
    let member = Member { incarnation, joined: true, ..before };
    let Known { map, restored, life } = known;
    let identity = Identity { map, restored, member, life };
    let mut ops = records_of(&identity);
    ops.push(dds::control::forget());
    commit(store, ops).context("the next life of the cluster can't be noted")?;
    Ok(identity)
}

/// The records of an identity, but for the map.
#[must_use]
pub fn records_of(identity: &Identity) -> Vec<StoreOp> {
    let record = |key: &'static [u8], value| StoreOp::Put {
        column: Column::Log,
        key: Bytes::from_static(key),
        value,
    };
    let mut ops = vec![record(MEMBER_KEY, encode_member(identity.member))];
    if identity.life != Life::default() {
        ops.push(record(LIFE_KEY, encode_life(&identity.life)));
    }
    if identity.restored != Restored::default() {
        ops.push(record(RESTORED_KEY, encode_restored(identity.restored)));
    }
    ops
}

/// The number of the node whose store it is; that of the first, when it knows none.
///
/// # Errors
/// When it can't be read, or is damaged.
pub fn member_of(store: &dyn Store) -> anyhow::Result<NodeId> {
    let record = get(store, MEMBER_KEY).context("the member record can't be read")?;
    let member = record.map(|it| decode_member(&it).context("the member record is damaged"));
    Ok(member.transpose()?.map_or(NodeId(1), |member| member.node))
}

/// The life of the cluster that a store belongs to.
///
/// # Errors
/// When it can't be read, or is damaged.
pub fn life(store: &dyn Store) -> anyhow::Result<Life> {
    let record = get(store, LIFE_KEY).context("the life of the cluster can't be read")?;
    let decoded = record
        .map(|record| decode_life(&record).context("the record of the cluster's life is damaged"));
    Ok(decoded.transpose()?.unwrap_or_default())
}

/// The data directory is an old image of itself: from the next start on it is another, which has to be let in anew.
///
/// # Errors
/// When the store can't be written.
pub fn renew(store: &dyn Store, member: Member) -> anyhow::Result<()> {
    put_member(store, Member { incarnation: draw_incarnation()?, joined: true, ..member })
}

fn put_member(store: &dyn Store, member: Member) -> anyhow::Result<()> {
    put(store, MEMBER_KEY, encode_member(member)).context("the member record can't be written")
}

fn draw_incarnation() -> anyhow::Result<Incarnation> {
    Ok(Incarnation(draw()?))
}

/// A random number.
pub fn draw() -> anyhow::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    Ok(u64::from_be_bytes(bytes))
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
    let now = restored_again(restored(store)?, steps, unix_micros);
    put(store, RESTORED_KEY, encode_restored(now)).context("the restoration can't be noted")
}

/// The restorations, with one more.
#[must_use]
pub fn restored_again(before: Restored, steps: u32, unix_micros: u64) -> Restored {
    // A clock that goes backwards must not make two restorations look like one.
    let unix_micros = unix_micros.max(before.unix_micros.saturating_add(1));
    Restored { steps: before.steps.saturating_add(steps.max(1)), unix_micros }
}

fn get(store: &dyn Store, key: &'static [u8]) -> Result<Option<Bytes>, StoreError> {
    let read = Read::Get { column: Column::Log, keys: vec![Bytes::from_static(key)] };
    Ok(match store.read(&read, Tier::Disk)? {
        ReadDone::Got(values) => values.into_iter().next().flatten(),
        ReadDone::Scanned { .. } | ReadDone::Summed(_) | ReadDone::Miss => None,
    })
}

fn put(store: &dyn Store, key: &'static [u8], value: Bytes) -> Result<(), StoreError> {
    let key = Bytes::from_static(key);
    commit(store, vec![StoreOp::Put { column: Column::Log, key, value }])
}

/// Writes all of it or nothing.
///
/// # Errors
/// Those of the store.
pub fn commit(store: &dyn Store, ops: Vec<StoreOp>) -> Result<(), StoreError> {
    let weight = |op: &StoreOp| match op {
        StoreOp::Put { key, value, .. } => key.len() + value.len(),
        StoreOp::Delete { key, .. } => key.len(),
        StoreOp::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    let bytes = ops.iter().map(weight).sum();
    let (partition, chain) = (PartitionId(0), Chain::Starts);
    let group = Group { partition, bytes, ops, frees_space: false, chain };
    store.commit(&[group], Durability::Synced)
}

fn encode_life(life: &Life) -> Bytes {
    let mut record = vec![VERSION];
    record.extend_from_slice(&life.number.to_be_bytes());
    record.extend_from_slice(&life.id.to_be_bytes());
    for (node, incarnation) in &life.kept {
        record.extend_from_slice(&node.to_be_bytes());
        record.extend_from_slice(&incarnation.to_be_bytes());
    }
    record.into()
}

fn decode_life(record: &[u8]) -> Option<Life> {
    let (&version, rest) = record.split_first()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let mut kept = Vec::new();
    let (pairs, tail) = rest.as_chunks::<10>();
    for pair in pairs {
        let (node, incarnation) = pair.split_first_chunk::<2>()?;
        let incarnation = u64::from_be_bytes(incarnation.try_into().ok()?);
        kept.push((u16::from_be_bytes(*node), incarnation));
    }
    let life = Life { number: u32::from_be_bytes(*number), id: u64::from_be_bytes(*id), kept };
    (version == VERSION && tail.is_empty()).then_some(life)
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

fn encode_member(member: Member) -> Bytes {
    let mut record = Vec::with_capacity(MEMBER_BYTES);
    record.push(VERSION);
    record.extend_from_slice(&member.node.0.to_be_bytes());
    record.extend_from_slice(&member.incarnation.0.to_be_bytes());
    record.push(u8::from(member.joined));
    record.into()
}

fn decode_member(record: &[u8]) -> Option<Member> {
    let record: &[u8; MEMBER_BYTES] = record.try_into().ok()?;
    let (version, rest) = record.split_first()?;
    let (node, rest) = rest.split_first_chunk::<2>()?;
    let (incarnation, joined) = rest.split_first_chunk::<8>()?;
    let member = Member {
        node: NodeId(u16::from_be_bytes(*node)),
        incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
        joined: joined == [1],
    };
    (*version == VERSION && member.node.0 > 0).then_some(member)
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
        let member = Member { node: NodeId(3), incarnation: Incarnation(0x0506), joined: true };
        let record = encode_member(member);
        assert_eq!(&record[..], [1, 0, 3, 0, 0, 0, 0, 0, 0, 5, 6, 1]);
        assert_eq!(decode_member(&record), Some(member));
        assert_eq!(decode_member(&record[..11]), None);
        let life = Life { number: 2, id: 0x0708, kept: vec![(3, 0x0506)] };
        let record = encode_life(&life);
        let golden = [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 7, 8, 0, 3, 0, 0, 0, 0, 0, 0, 5, 6];
        assert_eq!(&record[..], golden);
        assert_eq!(decode_life(&golden), Some(life));
        assert_eq!(decode_life(&golden[..22]), None);
    }

    #[test]
    fn a_later_life_is_adopted_with_what_it_says_of_restorations() {
        let store = dds::MemoryStore::new();
        let made = create(&store, (8, None), NodeId(2)).expect("made");
        let life = Life { number: 1, id: 9, kept: vec![(2, made.member.incarnation.0)] };
        let restored = Restored { steps: 1, unix_micros: 5 };
        let known = Known { map: made.map, restored, life: life.clone() };
        adopt(&store, &made, known).expect("written");
        let loaded = load(&store, 8, NodeId(2)).expect("readable").expect("made");
        assert_eq!((loaded.life.clone(), loaded.restored), (life, restored));
        assert_eq!(loaded.member.incarnation, loaded.life.incarnation(made.member.incarnation));
        assert!(loaded.member.joined);
    }

    #[test]
    fn a_directory_keeps_its_number_and_is_another_once_it_was_an_old_image() {
        let store = dds::MemoryStore::new();
        assert!(load(&store, 8, NodeId(2)).expect("readable").is_none());
        let map = DpMap { partitions: 8, hash_key: (5, 6) };
        let known = Known { map, restored: Restored::default(), life: Life::default() };
        let made = create(&store, (8, Some(known)), NodeId(2)).expect("made");
        assert!(load(&store, 16, NodeId(2)).is_err());
        assert!(load(&store, 8, NodeId(3)).is_err());
        let loaded = load(&store, 8, NodeId(2)).expect("readable").expect("made");
        assert_eq!((loaded.map, loaded.member), (map, made.member));
        renew(&store, made.member).expect("written");
        let renewed = load(&store, 8, NodeId(2)).expect("readable").expect("made").member;
        assert!(renewed.joined && renewed.incarnation != made.member.incarnation);
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
