//! What every [`Store`] promises, as checks that its own tests call with a [`Brick`] of theirs.
//!
//! Each check panics with what is wrong. [`all`] runs them all, each on a fresh brick; what a brick can't do (lose its
//! power, fill up) is left out by its answer, never silently passed by a weaker check.

use crate::{
    Chain, Column, Durability, Group, PageSum, PartitionId, Read, ReadDone, Store, StoreError,
    StoreOp, Tier,
};
use bytes::Bytes;

/// A store under test, with the hands that reach around it.
pub trait Brick {
    /// The store as it is open now.
    fn store(&self) -> &dyn Store;

    /// Closes the store in order and opens it again.
    fn reopen(&mut self);

    /// Loses what is not synced, and opens the store again. False when this brick can't.
    fn power_loss(&mut self) -> bool;

    /// From now on only groups that free space have room; `false` ends it. Answers false when this brick can't.
    fn set_full(&mut self, fullness: Fullness) -> bool;

    /// Drops all caches, so that reads of [`Tier::Memory`] may miss. False when this brick can't.
    fn chill(&mut self) -> bool;
}

/// See [`Brick::set_full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fullness {
    Room,
    Full,
}

/// Runs every check, each on a brick that `fresh` makes.
pub fn all<B: Brick>(mut fresh: impl FnMut() -> B) {
    groups_are_atomic_and_in_order(&mut fresh());
    columns_are_apart(&mut fresh());
    gets_answer_each_key(&mut fresh());
    scans_page_in_both_directions(&mut fresh());
    sums_are_those_of_scans(&mut fresh());
    ranges_are_deleted(&mut fresh());
    large_values_survive(&mut fresh());
    many_partitions_share_the_columns(&mut fresh());
    synced_commits_survive_a_power_loss(&mut fresh());
    what_survives_is_a_prefix(&mut fresh());
    a_full_store_takes_only_what_frees_space(&mut fresh());
    memory_misses_and_never_lies(&mut fresh());
}

const COLUMNS: [Column; 3] = [Column::Meta, Column::Bodies, Column::Log];

fn bytes(bytes: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(bytes.as_ref())
}

fn put(column: Column, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> StoreOp {
    StoreOp::Put { column, key: bytes(key), value: bytes(value) }
}

fn delete(column: Column, key: impl AsRef<[u8]>) -> StoreOp {
    StoreOp::Delete { column, key: bytes(key) }
}

fn group(ops: Vec<StoreOp>) -> Group {
    let weight = |op: &StoreOp| match op {
        StoreOp::Put { key, value, .. } => key.len() + value.len(),
        StoreOp::Delete { key, .. } => key.len(),
        StoreOp::DeleteRange { from, to, .. } => from.len() + to.len(),
    };
    let bytes = ops.iter().map(weight).sum();
    let frees_space = ops.iter().all(|op| !matches!(op, StoreOp::Put { .. }));
    Group { partition: PartitionId(0), ops, bytes, frees_space, chain: Chain::Starts }
}

#[track_caller]
fn commit(brick: &impl Brick, ops: Vec<StoreOp>) {
    let committed = brick.store().commit(&[group(ops)], Durability::Synced);
    assert_eq!(committed, Ok(()), "a commit");
}

#[track_caller]
fn get(brick: &impl Brick, column: Column, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
    let read = Read::Get { column, keys: keys.iter().map(bytes).collect() };
    match brick.store().read(&read, Tier::Disk) {
        Ok(ReadDone::Got(values)) => values,
        other => panic!("a get of {column:?}: {other:?}"),
    }
}

#[track_caller]
fn get_one(brick: &impl Brick, column: Column, key: impl AsRef<[u8]>) -> Option<Bytes> {
    get(brick, column, &[key.as_ref()]).remove(0)
}

type Found = (Vec<(Bytes, Bytes)>, bool);

#[track_caller]
fn scan(brick: &impl Brick, read: &Read) -> Found {
    match brick.store().read(read, Tier::Disk) {
        Ok(ReadDone::Scanned { entries, more }) => (entries, more),
        other => panic!("{read:?}: {other:?}"),
    }
}

fn range(column: Column, from: &[u8], to: &[u8]) -> Read {
    Read::Scan {
        column,
        from: bytes(from),
        to: bytes(to),
        reverse: false,
        entries_max: usize::MAX,
        bytes_max: usize::MAX,
    }
}

/// Groups apply in order, operations of a group too, and a later one wins.
pub fn groups_are_atomic_and_in_order(brick: &mut impl Brick) {
    let first = group(vec![put(Column::Meta, "k", "1"), put(Column::Meta, "k", "2")]);
    let second = group(vec![delete(Column::Meta, "k"), put(Column::Bodies, "k", "b")]);
    let third = group(vec![put(Column::Meta, "k", "3"), put(Column::Meta, "gone", "x")]);
    let fourth = group(vec![delete(Column::Meta, "gone")]);
    let committed = brick.store().commit(&[first, second, third, fourth], Durability::Synced);
    assert_eq!(committed, Ok(()));
    for _ in 0..2 {
        assert_eq!(get_one(brick, Column::Meta, "k"), Some(bytes("3")));
        assert_eq!(get_one(brick, Column::Bodies, "k"), Some(bytes("b")));
        assert_eq!(get_one(brick, Column::Meta, "gone"), None);
        brick.reopen();
    }
    assert_eq!(brick.store().commit(&[], Durability::Synced), Ok(()), "no groups at all");
}

/// The same key in three columns is three entries.
pub fn columns_are_apart(brick: &mut impl Brick) {
    for column in COLUMNS {
        commit(brick, vec![put(column, "k", format!("{column:?}"))]);
    }
    for column in COLUMNS {
        assert_eq!(get_one(brick, column, "k"), Some(bytes(format!("{column:?}"))));
        assert_eq!(scan(brick, &range(column, b"", b"\xFF")).0.len(), 1);
    }
    commit(brick, vec![delete(Column::Bodies, "k")]);
    assert_eq!(get_one(brick, Column::Bodies, "k"), None);
    assert_eq!(get_one(brick, Column::Log, "k"), Some(bytes("Log")));
}

/// One slot per key, in the order asked, also for absent, repeated and empty-valued ones.
pub fn gets_answer_each_key(brick: &mut impl Brick) {
    commit(brick, vec![put(Column::Meta, "a", "1"), put(Column::Meta, "b", "")]);
    let found = get(brick, Column::Meta, &[b"b", b"x", b"a", b"a"]);
    assert_eq!(found, [Some(bytes("")), None, Some(bytes("1")), Some(bytes("1"))]);
    assert_eq!(get(brick, Column::Meta, &[]), []);
}

/// Half-open ranges, both directions, pages by count and by bytes; a page is never empty while entries remain.
pub fn scans_page_in_both_directions(brick: &mut impl Brick) {
    let keys: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![b'k', n * 6, 0xFF]).collect();
    commit(brick, keys.iter().map(|key| put(Column::Meta, key, [7; 100])).collect());
    let all = |found: &Found| found.0.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>();
    for reverse in [false, true] {
        let expected: Vec<_> =
            if reverse { keys.iter().rev().cloned().collect() } else { keys.clone() };
        for (entries_max, bytes_max) in
            [(usize::MAX, usize::MAX), (7, usize::MAX), (9, 250), (9, 1)]
        {
            let (mut from, mut to, mut seen) = (bytes("k"), bytes("l"), Vec::new());
            loop {
                let read = Read::Scan {
                    column: Column::Meta,
                    from: from.clone(),
                    to: to.clone(),
                    reverse,
                    entries_max,
                    bytes_max,
                };
                let page = scan(brick, &read);
                assert!(page.0.len() <= entries_max);
                assert!(page.0.len() <= bytes_max.div_ceil(103).max(1), "{} bytes", bytes_max);
                seen.extend(all(&page));
                if !page.1 {
                    break;
                }
                let last = seen.last().expect("a page with more behind it is not empty").clone();
                if reverse {
                    to = bytes(last);
                } else {
                    from = bytes([&last[..], &[0]].concat());
                }
            }
            assert_eq!(seen, expected, "reverse {reverse}, page {entries_max}/{bytes_max}");
        }
    }
    let half_open = scan(brick, &range(Column::Meta, &keys[3], &keys[5]));
    assert_eq!((all(&half_open), half_open.1), (keys[3..5].to_vec(), false));
    for (from, to) in [(&keys[5], &keys[3]), (&keys[3], &keys[3])] {
        assert_eq!(scan(brick, &range(Column::Meta, from, to)), (vec![], false));
    }
    let cut = Read::Scan {
        column: Column::Meta,
        from: bytes("k"),
        to: bytes("l"),
        reverse: false,
        entries_max: 40,
        bytes_max: usize::MAX,
    };
    assert!(!scan(brick, &cut).1, "a page that holds everything says so");
}

/// A sum is that of the page that a scan finds, and is never made in memory alone.
pub fn sums_are_those_of_scans(brick: &mut impl Brick) {
    for column in COLUMNS {
        let key = |n: u8| [b's', n];
        let value = |n: u8| vec![n; 300 * usize::from(n)];
        commit(brick, (0..12).map(|n| put(column, key(n), value(n))).collect());
        for bytes_max in [1, 2_000, usize::MAX] {
            let (mut from, to) = (bytes("s"), bytes("t"));
            loop {
                let page = (from.clone(), to.clone());
                let (entries, more) = scan(
                    brick,
                    &Read::Scan {
                        column,
                        from: page.0.clone(),
                        to: page.1.clone(),
                        reverse: false,
                        entries_max: usize::MAX,
                        bytes_max,
                    },
                );
                let read = Read::Sum { column, from: page.0, to: page.1, bytes_max };
                let sum = PageSum::of(&entries, more);
                assert_eq!(brick.store().read(&read, Tier::Memory), Ok(ReadDone::Miss));
                let summed = brick.store().read(&read, Tier::Disk);
                assert_eq!(summed, Ok(ReadDone::Summed(sum.clone())), "{column:?}");
                if !more {
                    break;
                }
                from = [&sum.last[..], &[0]].concat().into();
            }
        }
        let (from, to) = (bytes("t"), bytes("s"));
        let nothing = Read::Sum { column, from, to, bytes_max: 1 };
        let sum = Ok(ReadDone::Summed(PageSum::of(&[], false)));
        assert_eq!(brick.store().read(&nothing, Tier::Disk), sum);
    }
}

/// A deleted range takes what was there, half-open, and nothing that comes later, of one column.
pub fn ranges_are_deleted(brick: &mut impl Brick) {
    let names = ["a", "b", "c", "d"];
    for column in [Column::Meta, Column::Bodies] {
        commit(brick, names.map(|name| put(column, name, name)).to_vec());
    }
    let delete_range = |from: &str, to: &str| StoreOp::DeleteRange {
        column: Column::Meta,
        from: bytes(from),
        to: bytes(to),
    };
    let ops =
        vec![put(Column::Meta, "bb", "x"), delete_range("b", "d"), put(Column::Meta, "c", "2")];
    commit(brick, ops);
    commit(brick, vec![delete_range("d", "a"), delete_range("a", "a")]);
    for _ in 0..2 {
        let left: Vec<_> = scan(brick, &range(Column::Meta, b"", b"z"))
            .0
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(left, ["a", "c", "d"]);
        assert_eq!(get_one(brick, Column::Meta, "c"), Some(bytes("2")));
        assert_eq!(scan(brick, &range(Column::Bodies, b"", b"z")).0.len(), 4);
        brick.reopen();
    }
}

/// Chunks of a blob are as large as any value gets, in the column for bodies; and a batch of 1 MiB passes.
pub fn large_values_survive(brick: &mut impl Brick) {
    let value = |n: u32, len: usize| -> Vec<u8> {
        (0..len as u32).map(|at| (at.wrapping_mul(n + 1) >> 3) as u8).collect()
    };
    let sizes = [0, 1, 1023, 1024, 4700, 65_536, 262_144];
    for (n, size) in (0..).zip(sizes) {
        commit(brick, vec![put(Column::Bodies, [n as u8], value(n, size))]);
        commit(brick, vec![put(Column::Meta, [n as u8], value(n, size.min(65_544)))]);
    }
    let ops = (0..16_u32).map(|n| put(Column::Bodies, [9, n as u8], value(n, 65_536))).collect();
    commit(brick, ops);
    for _ in 0..2 {
        for (n, size) in (0..).zip(sizes) {
            assert!(get_one(brick, Column::Bodies, [n as u8]) == Some(bytes(value(n, size))));
            let short = value(n, size.min(65_544));
            assert!(get_one(brick, Column::Meta, [n as u8]) == Some(bytes(short)));
        }
        let found = scan(brick, &range(Column::Bodies, &[9], &[10])).0;
        assert_eq!(found.len(), 16);
        assert!(found.iter().zip(0..).all(|((_, found), n)| *found == value(n, 65_536)));
        brick.reopen();
    }
}

/// One write holds groups of many partitions.
pub fn many_partitions_share_the_columns(brick: &mut impl Brick) {
    let groups: Vec<_> = (0..1000_u16)
        .map(|partition| {
            let key = partition.to_be_bytes();
            let ops = COLUMNS.map(|column| put(column, key, key)).to_vec();
            Group { partition: PartitionId(partition), ..group(ops) }
        })
        .collect();
    assert_eq!(brick.store().commit(&groups, Durability::Synced), Ok(()));
    brick.reopen();
    for column in COLUMNS {
        let found = scan(brick, &range(column, &[0, 0], &[0xFF, 0xFF])).0;
        assert_eq!(found.len(), 1000, "{column:?}");
    }
}

/// Synced is synced, and what was buffered before it too.
pub fn synced_commits_survive_a_power_loss(brick: &mut impl Brick) {
    for n in 0..10_u8 {
        let durability = if n % 3 == 0 { Durability::Synced } else { Durability::Buffered };
        let ops = vec![put(Column::Meta, [n], "v"), put(Column::Bodies, [n], [n; 2000])];
        assert_eq!(brick.store().commit(&[group(ops)], durability), Ok(()));
    }
    if !brick.power_loss() {
        return;
    }
    for n in 0..=9_u8 {
        assert_eq!(get_one(brick, Column::Meta, [n]), Some(bytes("v")), "synced with group 9");
        assert_eq!(get_one(brick, Column::Bodies, [n]), Some(bytes([n; 2000])));
    }
}

/// Of groups that were not synced a prefix survives, each whole.
pub fn what_survives_is_a_prefix(brick: &mut impl Brick) {
    commit(brick, vec![put(Column::Meta, "synced", "v")]);
    for n in 0..20_u8 {
        let ops = vec![put(Column::Meta, [n], "v"), put(Column::Bodies, [n], [n; 3000])];
        assert_eq!(brick.store().commit(&[group(ops)], Durability::Buffered), Ok(()));
    }
    if !brick.power_loss() {
        return;
    }
    assert_eq!(get_one(brick, Column::Meta, "synced"), Some(bytes("v")));
    let there: Vec<_> = (0..20_u8)
        .map(|n| {
            let (meta, body) =
                (get_one(brick, Column::Meta, [n]), get_one(brick, Column::Bodies, [n]));
            assert_eq!(meta.is_some(), body.is_some(), "group {n} is whole or absent");
            meta.is_some()
        })
        .collect();
    let survivors = there.iter().take_while(|there| **there).count();
    assert!(there[survivors..].iter().all(|there| !there), "a prefix: {there:?}");
    commit(brick, vec![put(Column::Meta, "after", "v")]);
    brick.reopen();
    assert_eq!(get_one(brick, Column::Meta, "after"), Some(bytes("v")));
}

/// A full store leaves nothing of a refused write, still reads, frees, and recovers.
pub fn a_full_store_takes_only_what_frees_space(brick: &mut impl Brick) {
    commit(brick, vec![put(Column::Meta, "old", "v"), put(Column::Bodies, "old", [1; 9000])]);
    if !brick.set_full(Fullness::Full) {
        return;
    }
    let large = group(vec![put(Column::Meta, "new", "v"), put(Column::Bodies, "new", [2; 9000])]);
    let refused = brick.store().commit(std::slice::from_ref(&large), Durability::Synced);
    assert_eq!(refused, Err(StoreError::NoSpace));
    let small = group(vec![delete(Column::Meta, "unknown")]);
    let refused = brick.store().commit(&[small, large.clone()], Durability::Synced);
    assert_eq!(refused, Err(StoreError::NoSpace), "a write is refused as a whole");
    assert_eq!(get_one(brick, Column::Meta, "new"), None);
    assert_eq!(get_one(brick, Column::Bodies, "new"), None);
    assert_eq!(get_one(brick, Column::Bodies, "old"), Some(bytes([1; 9000])));
    commit(brick, vec![delete(Column::Meta, "old"), delete(Column::Bodies, "old")]);
    assert_eq!(get_one(brick, Column::Bodies, "old"), None);
    brick.set_full(Fullness::Room);
    assert_eq!(brick.store().commit(&[large], Durability::Synced), Ok(()));
    brick.reopen();
    assert_eq!(get_one(brick, Column::Bodies, "new"), Some(bytes([2; 9000])));
    assert_eq!(get_one(brick, Column::Meta, "old"), None);
}

/// What memory answers is what the disk answers; otherwise it is a miss, and after the disk's answer it may know.
pub fn memory_misses_and_never_lies(brick: &mut impl Brick) {
    let keys: Vec<[u8; 2]> = (0..300_u16).map(u16::to_be_bytes).collect();
    for (column, len) in [(Column::Meta, 300), (Column::Bodies, 3000)] {
        commit(brick, keys.iter().map(|key| put(column, key, vec![key[1]; len])).collect());
    }
    let gone: Vec<_> = keys.iter().step_by(3).collect();
    for column in [Column::Meta, Column::Bodies] {
        commit(brick, gone.iter().map(|key| delete(column, key)).collect());
    }
    for round in 0..2 {
        for column in [Column::Meta, Column::Bodies] {
            for (index, key) in keys.iter().enumerate() {
                let read = Read::Get { column, keys: vec![bytes(key)] };
                let truth = get_one(brick, column, key);
                assert_eq!(truth.is_none(), index % 3 == 0, "{column:?} {index}");
                match brick.store().read(&read, Tier::Memory) {
                    Ok(ReadDone::Miss) => {}
                    found => assert_eq!(found, Ok(ReadDone::Got(vec![truth])), "{column:?}"),
                }
            }
            let all = range(column, &[], &[0xFF]);
            let truth = scan(brick, &all);
            match brick.store().read(&all, Tier::Memory) {
                Ok(ReadDone::Miss) => {}
                Ok(ReadDone::Scanned { entries, more }) => assert!((entries, more) == truth),
                other => panic!("a scan of {column:?} in memory: {other:?}"),
            }
        }
        if round == 0 && !brick.chill() {
            return;
        }
        if round == 0 {
            let read = Read::Get { column: Column::Bodies, keys: vec![bytes(keys[1])] };
            let cold = brick.store().read(&read, Tier::Memory);
            assert_eq!(cold, Ok(ReadDone::Miss), "nothing is in memory now");
        }
    }
}
