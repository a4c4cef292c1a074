//! The disk of one node: the store in memory behind a queue of writes that take time, as the store
//! writer of the executor has.
//!
//! States: idle, or one write under way. Invariants: writes end in the order they began; what a
//! crash finds under way survives as a prefix; a value that rotted is never returned, the read
//! fails.

use crate::options::Mutation;
use bytes::Bytes;
use dds::{
    Chains, Column, Durability, Group, MemoryStore, Read, ReadDone, Store, StoreError, StoreOp,
    Tier,
};
use fsm::Rng;
use mailstore::expiry::Expiry;
use mailstore::mailbox::format::{LogEntry, StoredRecord};
use std::collections::{BTreeSet, VecDeque};
use vspace::{GroupId, Ticket};

/// A group on its way to the disk.
#[derive(Debug)]
pub struct Job {
    pub from: GroupId,
    pub ticket: Ticket,
    pub queued: u64,
    pub group: Group,
    /// A write of groups that need not be synced is not.
    pub durability: Durability,
}

/// What became of a [`Job`].
#[derive(Debug)]
pub struct Done {
    pub from: GroupId,
    pub ticket: Ticket,
    pub queued: u64,
    pub result: Result<(), StoreError>,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What was not synced is lost, but for a prefix.
    PowerLoss,
    /// The machine lives on: what was written stays.
    Killed,
}

/// Bytes of one write, as the writer of the executor has.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Disk {
    pub store: MemoryStore,
    chains: Chains,
    queued: VecDeque<Job>,
    writing: Vec<Job>,
    rotten: BTreeSet<(Column, bytes::Bytes)>,
}

impl Disk {
    pub fn submit(&mut self, job: Job) {
        self.queued.push_back(job);
    }

    /// Begins to write everything that is queued; false when a write is under way already, or
    /// nothing is queued.
    pub fn begin(&mut self) -> bool {
        if !self.writing.is_empty() || self.queued.is_empty() {
            return false;
        }
        let mut bytes = 0;
        while let Some(job) = self.queued.front() {
            bytes += job.group.bytes;
            if bytes > WRITE_BYTES_MAX && !self.writing.is_empty() {
                break;
            }
            self.writing.extend(self.queued.pop_front());
        }
        true
    }

    /// Groups that are queued or being written.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.writing.len() + self.queued.len()
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.writing.is_empty() && self.queued.is_empty()
    }

    /// The write under way ends.
    pub fn finish(&mut self, rng: &mut Rng, mutation: Option<Mutation>) -> Vec<Done> {
        let jobs = std::mem::take(&mut self.writing);
        let synced = jobs.iter().any(|job| job.durability == Durability::Synced);
        let (heads, mut groups): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.from, job.ticket, job.queued), job.group)).unzip();
        let durability = match mutation {
            Some(Mutation::DropSync) if rng.chance(1, 2) => Durability::Buffered,
            _ if synced => Durability::Synced,
            _ => Durability::Buffered,
        };
        if mutation == Some(Mutation::SkipRenewal) {
            groups.iter_mut().for_each(skip_renewal);
        }
        if mutation == Some(Mutation::ReleaseShared) {
            groups.iter_mut().flat_map(|group| &mut group.ops).for_each(take_for_own);
        }
        if mutation == Some(Mutation::KeepOwn) {
            groups.iter_mut().flat_map(|group| &mut group.ops).for_each(keep_own);
        }
        if mutation == Some(Mutation::HideGap) {
            groups.iter_mut().flat_map(|group| &mut group.ops).for_each(hide_gap);
        }
        if mutation == Some(Mutation::ForgetSaved) {
            groups.iter_mut().flat_map(|group| &mut group.ops).for_each(forget_saved);
        }
        let results = self.chains.commit(&self.store, &groups, durability);
        if !self.rotten.is_empty() {
            let applied = groups.iter().zip(&results).filter(|(_, result)| result.is_ok());
            applied.for_each(|(group, _)| forget_rot(&mut self.rotten, group));
        }
        heads
            .into_iter()
            .zip(results)
            .map(|((from, ticket, queued), result)| Done { from, ticket, queued, result })
            .collect()
    }

    /// The next write fails and has no effect.
    pub fn fail_next(&mut self, error: StoreError) {
        // A refused write of several groups is tried group by group.
        let commits = vec![error.clone(), error];
        self.store.set_faults(dds::memory_store::Faults { commits, ..Default::default() });
    }

    /// The node ends: of the write under way a prefix stays. How many groups were lost.
    pub fn end(&mut self, rng: &mut Rng, end: End) -> usize {
        let writing = std::mem::take(&mut self.writing);
        let kept = usize::try_from(rng.below(writing.len() as u64 + 1)).unwrap_or(0);
        self.store.set_faults(dds::memory_store::Faults::default());
        for job in writing.iter().take(kept) {
            // What is refused here was never acknowledged.
            let groups = std::slice::from_ref(&job.group);
            self.chains.commit(&self.store, groups, Durability::Buffered);
        }
        let lost = writing.len() - kept + self.queued.len();
        self.queued.clear();
        self.chains = Chains::default();
        let unsynced = self.store.unsynced() as u64;
        let survivors = match end {
            End::PowerLoss => usize::try_from(rng.below(unsynced + 1)).unwrap_or(0),
            End::Killed => usize::MAX,
        };
        lost + self.store.power_loss(survivors)
    }

    /// Reads, and notices rot as a checksum would.
    ///
    /// # Errors
    /// `Corrupt` when what was asked for holds a rotten value.
    pub fn read(&self, read: &Read, tier: Tier) -> Result<ReadDone, StoreError> {
        let rotten = !self.rotten.is_empty()
            && match read {
                Read::Get { column, keys } => {
                    keys.iter().any(|key| self.rotten.contains(&(*column, key.clone())))
                }
                Read::Scan { column, from, to, .. } | Read::Sum { column, from, to, .. } => {
                    let range = (*column, from.clone())..(*column, to.clone());
                    range.start < range.end && self.rotten.range(range).next().is_some()
                }
            };
        if rotten {
            return Err(StoreError::Corrupt("a checksum does not match".into()));
        }
        self.store.read(read, tier)
    }

    /// Some of what it holds can't be read.
    #[must_use]
    pub fn is_rotten(&self) -> bool {
        !self.rotten.is_empty()
    }

    /// The disk is another one, with these entries.
    pub fn replace(&mut self, entries: &[(Column, bytes::Bytes, bytes::Bytes)]) {
        self.store = MemoryStore::new();
        self.rotten.clear();
        let put = |(column, key, value): &(Column, bytes::Bytes, bytes::Bytes)| StoreOp::Put {
            column: *column,
            key: key.clone(),
            value: value.clone(),
        };
        let group = Group {
            partition: dds::PartitionId(0),
            bytes: 0,
            ops: entries.iter().map(put).collect(),
            frees_space: false,
            chain: dds::Chain::Starts,
        };
        self.store.commit(&[group], Durability::Synced).expect("an empty store has no faults");
    }

    /// A value can't be read any more. The key.
    pub fn rot(&mut self, rng: &mut Rng) -> Option<(Column, bytes::Bytes)> {
        let (column, key, _) = self.any(rng)?;
        self.rotten.insert((column, key.clone()));
        Some((column, key))
    }

    /// This value can't be read any more.
    pub fn rot_at(&mut self, column: Column, key: bytes::Bytes) {
        self.rotten.insert((column, key));
    }

    /// A value is cut short, and nobody notices. The key.
    pub fn cut(&mut self, rng: &mut Rng) -> Option<(Column, bytes::Bytes)> {
        let (column, key, value) = self.any(rng)?;
        if value.is_empty() {
            return None;
        }
        let len = usize::try_from(rng.below(value.len() as u64)).unwrap_or(0);
        self.store.corrupt(column, &key, value.slice(..len));
        Some((column, key))
    }

    fn any(&self, rng: &mut Rng) -> Option<(Column, bytes::Bytes, bytes::Bytes)> {
        let mut all = self.store.durable();
        // A node whose control plane is damaged does not start, and says so.
        all.retain(|(_, key, _)| !key.starts_with(&dds::control::CONTROL.0.to_be_bytes()));
        let at = usize::try_from(rng.below(all.len() as u64)).unwrap_or(0);
        (at < all.len()).then(|| all.swap_remove(at))
    }
}

fn forget_rot(rotten: &mut BTreeSet<(Column, bytes::Bytes)>, group: &Group) {
    for op in &group.ops {
        match op {
            StoreOp::Put { column, key, .. } | StoreOp::Delete { column, key } => {
                rotten.remove(&(*column, key.clone()));
            }
            StoreOp::DeleteRange { column, from, to } => {
                rotten.retain(|(at, key)| at != column || key < from || key >= to);
            }
        }
    }
}

/// The value of a user's reference to a blob: version, format, id, perhaps a mark of its own.
fn blob_reference(op: &mut StoreOp) -> Option<&mut bytes::Bytes> {
    match op {
        StoreOp::Put { key, value, .. } => {
            let is_user = key.get(2..4) == Some(&[9, b'u']);
            (is_user && key.get(12) == Some(&0x41)).then_some(value)
        }
        StoreOp::Delete { .. } | StoreOp::DeleteRange { .. } => None,
    }
}

/// What the hash table writes before each value.
const STAMP_BYTES: usize = 8;
const REFERENCE_BYTES: usize = STAMP_BYTES + 1 + 16;

/// Marks a reference as the only one that there will be.
fn take_for_own(op: &mut StoreOp) {
    if let Some(value) = blob_reference(op).filter(|value| value.len() == REFERENCE_BYTES) {
        *value = [&value[..], &[1]].concat().into();
    }
}

/// Takes the mark away.
fn keep_own(op: &mut StoreOp) {
    if let Some(value) = blob_reference(op) {
        value.truncate(REFERENCE_BYTES);
    }
}

/// Takes the mark of missed events from a cursor of the event log.
fn hide_gap(op: &mut StoreOp) {
    if let StoreOp::Put { key, value, .. } = op
        && key.get(2..4) == Some(&[9, b'u'])
        && key.get(12) == Some(&0x1C)
    {
        *value = [&value[..value.len() - 1], &[0]].concat().into();
    }
}

fn arrived_at_once(value: &[u8]) -> Option<Bytes> {
    let LogEntry::Arrived(mut rows) = LogEntry::decode(value).ok()? else { return None };
    rows.metas.iter_mut().for_each(|meta| meta.saved = 0);
    Some(LogEntry::Arrived(rows).encode())
}

fn expiring_at_once(value: &Bytes) -> Option<Bytes> {
    let stored = StoredRecord::decode(value).ok()?;
    let expiry = Expiry::decode(stored.value).ok()?;
    // As long as it was: what a user keeps is counted.
    let since = expiry.since.saturating_sub(60 * 86_400);
    let value = Expiry { since, ..expiry }.encode();
    Some(StoredRecord { version: stored.version, value }.encode())
}

/// Takes from rows that arrive when they came into their folder; and that days are counted at all begins two months earlier.
fn forget_saved(op: &mut StoreOp) {
    let StoreOp::Put { key, value, .. } = op else { return };
    if key.get(2..4) != Some(&[9, b'u']) {
        return;
    }
    let (stamp, own) = (value.slice(..STAMP_BYTES), value.slice(STAMP_BYTES..));
    let other = match key.get(12) {
        Some(&0x21) => arrived_at_once(&own),
        Some(&0x24) => expiring_at_once(&own),
        _ => None,
    };
    if let Some(other) = other {
        *value = [stamp, other].concat().into();
    }
}

/// Takes the renewal of a blob out of a group: what belongs to a blob, where no chunk is written or
/// deleted.
fn skip_renewal(group: &mut Group) {
    let own = |key: &Bytes, kind: u8| key.get(2) == Some(&0) && key.get(3) == Some(&kind);
    let key_of = |op: &StoreOp| match op {
        StoreOp::Put { key, .. } | StoreOp::Delete { key, .. } => key.clone(),
        StoreOp::DeleteRange { from, .. } => from.clone(),
    };
    let chunks = group.ops.iter().any(|op| own(&key_of(op), b'c'));
    let record =
        group.ops.iter().any(|op| matches!(op, StoreOp::Put { key, .. } if own(key, b'b')));
    if record && !chunks {
        group.ops.retain(|op| !own(&key_of(op), b'b') && !own(&key_of(op), b'e'));
    }
}
