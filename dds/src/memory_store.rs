//! A brick in memory: the reference that other stores are compared with, and the disk of a simulation.
//!
//! It keeps what is durable apart from what a power loss would take, refuses when it is full, and fails on demand. It is
//! deterministic: the same calls give the same results.
//!
//! Invariant: `applied` is `durable` with `unsynced` applied in order.

use crate::{Column, Durability, Group, PageSum, Read, ReadDone, Store, StoreError, StoreOp, Tier};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the store does to the next calls, besides its work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The next commits fail with these, in order, and apply nothing. A `Fatal` stops the store until a power loss; what
    /// it was given may or may not have applied, so here it has applied, unsynced.
    pub commits: Vec<StoreError>,
    /// The next reads fail with these, in order.
    pub reads: Vec<StoreError>,
    /// Reads of [`Tier::Memory`] miss.
    pub cold: bool,
    /// A commit that must be synced says that it is, and is not. A simulation must notice it.
    pub lying_sync: bool,
}

/// What the store has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub commits: u64,
    pub groups: u64,
    pub syncs: u64,
    pub reads: u64,
    pub misses: u64,
}

/// A [`Store`] in memory. See the head of the file.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Inner>);

type Table = BTreeMap<(Column, Bytes), Bytes>;

#[derive(Debug, Default)]
struct Inner {
    durable: Table,
    applied: Table,
    unsynced: Vec<Group>,
    bytes: usize,
    bytes_max: Option<usize>,
    stopped: bool,
    faults: Faults,
    counts: Counts,
}

impl MemoryStore {
    /// An empty store without a bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses the unsynced groups but the first `survivors`: a torn tail is a prefix. Clears faults and a fatal stop.
    /// Returns how many groups were lost.
    pub fn power_loss(&self, survivors: usize) -> usize {
        let inner = &mut *self.lock();
        let unsynced = std::mem::take(&mut inner.unsynced);
        let lost = unsynced.len().saturating_sub(survivors);
        for group in unsynced.iter().take(survivors) {
            apply(&mut inner.durable, group);
        }
        if lost > 0 {
            for group in unsynced.iter().rev() {
                inner.revert(group);
            }
        }
        inner.stopped = false;
        inner.faults = Faults::default();
        lost
    }

    /// Groups that a power loss would take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// Refuses groups, but for those that free space, once keys and values take more than `bytes_max`. `None`: no bound.
    pub fn set_bytes_max(&self, bytes_max: Option<usize>) {
        self.lock().bytes_max = bytes_max;
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Replaces the faults that the next calls meet.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// What has been done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Overwrites one stored value behind the store's back, durably: bit rot. False when there is no such entry.
    pub fn corrupt(&self, column: Column, key: &Bytes, value: Bytes) -> bool {
        let inner = &mut *self.lock();
        let entry = (column, key.clone());
        let known = inner.applied.contains_key(&entry);
        if known {
            inner.durable.insert(entry.clone(), value.clone());
            inner.applied.insert(entry, value);
            inner.bytes = weigh(&inner.applied);
        }
        known
    }

    /// Changes, adds or takes away one stored value behind the store's back, durably: a disk that lies.
    pub fn alter(&self, column: Column, key: &Bytes, value: Option<Bytes>) {
        let inner = &mut *self.lock();
        let entry = (column, key.clone());
        for table in [&mut inner.durable, &mut inner.applied] {
            match &value {
                Some(value) => table.insert(entry.clone(), value.clone()),
                None => table.remove(&entry),
            };
        }
        inner.bytes = weigh(&inner.applied);
    }

    /// Everything that would survive a power loss, in order: for decoders that judge a simulation.
    #[must_use]
    pub fn durable(&self) -> Vec<(Column, Bytes, Bytes)> {
        let inner = self.lock();
        let entries = inner.durable.iter();
        entries.map(|((column, key), value)| (*column, key.clone(), value.clone())).collect()
    }

    /// Everything that reads see now, in order.
    #[must_use]
    pub fn visible(&self) -> Vec<(Column, Bytes, Bytes)> {
        let inner = self.lock();
        let entries = inner.applied.iter();
        entries.map(|((column, key), value)| (*column, key.clone(), value.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&self, groups: &[Group], durability: Durability) -> Result<(), StoreError> {
        let inner = &mut *self.lock();
        if inner.stopped {
            return Err(StoreError::Fatal("the store has stopped".into()));
        }
        let fault = (!inner.faults.commits.is_empty()).then(|| inner.faults.commits.remove(0));
        if let Some(error) = fault {
            if matches!(error, StoreError::Fatal(_)) {
                inner.stopped = true;
                inner.apply(groups);
            }
            return Err(error);
        }
        if let Some(bytes_max) = inner.bytes_max {
            let growth: usize =
                groups.iter().filter(|group| !group.frees_space).map(|group| group.bytes).sum();
            if growth > 0 && inner.bytes.saturating_add(growth) > bytes_max {
                return Err(StoreError::NoSpace);
            }
        }
        inner.counts.commits += 1;
        inner.counts.groups += groups.len() as u64;
        inner.apply(groups);
        match durability {
            Durability::Synced if !inner.faults.lying_sync => {
                inner.counts.syncs += 1;
                let Inner { unsynced, durable, .. } = inner;
                unsynced.drain(..).for_each(|group| apply(durable, &group));
            }
            Durability::Synced | Durability::Buffered => {}
        }
        Ok(())
    }

    fn read(&self, read: &Read, tier: Tier) -> Result<ReadDone, StoreError> {
        let inner = &mut *self.lock();
        inner.counts.reads += 1;
        let sums = matches!(read, Read::Sum { .. });
        if tier == Tier::Memory && (inner.faults.cold || sums) {
            inner.counts.misses += 1;
            return Ok(ReadDone::Miss);
        }
        if !inner.faults.reads.is_empty() {
            return Err(inner.faults.reads.remove(0));
        }
        Ok(match read {
            Read::Get { column, keys } => {
                let value = |key: &Bytes| inner.applied.get(&(*column, key.clone())).cloned();
                ReadDone::Got(keys.iter().map(value).collect())
            }
            Read::Scan { column, from, to, reverse, entries_max, bytes_max } => {
                let range = range(*column, from, to);
                let page = (*entries_max, *bytes_max);
                match range.map(|range| inner.applied.range(range)) {
                    None => ReadDone::Scanned { entries: Vec::new(), more: false },
                    Some(entries) if *reverse => take_page(entries.rev(), page),
                    Some(entries) => take_page(entries, page),
                }
            }
            Read::Sum { column, from, to, bytes_max } => {
                let entries = range(*column, from, to).map(|range| inner.applied.range(range));
                let page = entries.map(|entries| take_page(entries, (usize::MAX, *bytes_max)));
                match page {
                    Some(ReadDone::Scanned { entries, more }) => {
                        ReadDone::Summed(PageSum::of(&entries, more))
                    }
                    Some(other) => other,
                    None => ReadDone::Summed(PageSum::of(&[], false)),
                }
            }
        })
    }
}

impl Inner {
    fn apply(&mut self, groups: &[Group]) {
        for group in groups {
            let before = weigh_touched(&self.applied, group);
            apply(&mut self.applied, group);
            let after = weigh_touched(&self.applied, group);
            self.bytes = (self.bytes + after).saturating_sub(before);
            self.unsynced.push(group.clone());
        }
    }

    /// What `group` names is as it is durable.
    fn revert(&mut self, group: &Group) {
        let before = weigh_touched(&self.applied, group);
        for op in &group.ops {
            match op {
                StoreOp::Put { column, key, .. } | StoreOp::Delete { column, key } => {
                    let entry = (*column, key.clone());
                    match self.durable.get(&entry).cloned() {
                        Some(value) => self.applied.insert(entry, value),
                        None => self.applied.remove(&entry),
                    };
                }
                StoreOp::DeleteRange { column, from, to } => {
                    let Some(range) = range(*column, from, to) else { continue };
                    let keys = self.applied.range(range.clone()).map(|(key, _)| key.clone());
                    for key in keys.collect::<Vec<_>>() {
                        self.applied.remove(&key);
                    }
                    let kept = self.durable.range(range);
                    self.applied.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
                }
            }
        }
        let after = weigh_touched(&self.applied, group);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }
}

type Bounds = (Bound<(Column, Bytes)>, Bound<(Column, Bytes)>);

/// The bounds of `from..to`; `None` when it is empty.
fn range(column: Column, from: &Bytes, to: &Bytes) -> Option<Bounds> {
    let (from, to) = ((column, from.clone()), (column, to.clone()));
    (from < to).then_some((Bound::Included(from), Bound::Excluded(to)))
}

/// At least one entry, so that a page never is empty while entries remain.
fn take_page<'a>(
    entries: impl Iterator<Item = (&'a (Column, Bytes), &'a Bytes)>,
    (entries_max, bytes_max): (usize, usize),
) -> ReadDone {
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for ((_, key), value) in entries {
        if taken.len() >= entries_max || (bytes >= bytes_max && !taken.is_empty()) {
            return ReadDone::Scanned { entries: taken, more: true };
        }
        bytes += key.len() + value.len();
        taken.push((key.clone(), value.clone()));
    }
    ReadDone::Scanned { entries: taken, more: false }
}

fn apply(table: &mut Table, group: &Group) {
    for op in &group.ops {
        match op {
            StoreOp::Put { column, key, value } => {
                table.insert((*column, key.clone()), value.clone());
            }
            StoreOp::Delete { column, key } => {
                table.remove(&(*column, key.clone()));
            }
            StoreOp::DeleteRange { column, from, to } => {
                let Some(range) = range(*column, from, to) else { continue };
                let keys: Vec<_> = table.range(range).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    table.remove(&key);
                }
            }
        }
    }
}

fn weigh(table: &Table) -> usize {
    table.iter().map(|((_, key), value)| key.len() + value.len()).sum()
}

/// Bytes of the entries that `group` names, each counted once.
fn weigh_touched(table: &Table, group: &Group) -> usize {
    let mut touched: BTreeMap<(Column, Bytes), usize> = BTreeMap::new();
    for op in &group.ops {
        match op {
            StoreOp::Put { column, key, .. } | StoreOp::Delete { column, key } => {
                let key = (*column, key.clone());
                if let Some(value) = table.get(&key) {
                    let weight = key.1.len() + value.len();
                    touched.insert(key, weight);
                }
            }
            StoreOp::DeleteRange { column, from, to } => {
                if let Some(range) = range(*column, from, to) {
                    let entries = table.range(range);
                    touched.extend(
                        entries.map(|(key, value)| (key.clone(), key.1.len() + value.len())),
                    );
                }
            }
        }
    }
    touched.values().sum()
}
