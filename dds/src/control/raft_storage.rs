//! The log as the raft crate reads it: all in memory. What it says is durable or on its way there; `raft_log` sees to that.

use super::log::MemberId;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::Cell;

/// Entries after a snapshot, and the snapshot.
#[derive(Debug)]
pub(super) struct LogStorage {
    pub hard_state: HardState,
    /// Members as of the beginning.
    members: ConfState,
    /// Index and term of the entry before the first that is kept.
    before: (u64, u64),
    entries: Vec<Entry>,
    /// Bytes of all entries' data.
    bytes: u64,
    /// Of the beginning or later; sent to peers.
    snapshot: Option<Snapshot>,
    /// A peer needs a snapshot, and there is none that fits.
    wanted: Cell<bool>,
}

impl LogStorage {
    pub fn new(hard_state: HardState, snapshot: Option<Snapshot>, entries: Vec<Entry>) -> Self {
        let mut storage = Self {
            hard_state,
            members: ConfState::default(),
            before: (0, 0),
            entries: Vec::new(),
            bytes: 0,
            snapshot: None,
            wanted: Cell::new(false),
        };
        if let Some(snapshot) = snapshot {
            storage.install(snapshot);
        }
        storage.append(&entries);
        storage
    }

    /// Appends, over what is there from the first new index on.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.before.0, "entries follow the snapshot");
        let keep = first.index - self.before.0 - 1;
        let keep = usize::try_from(keep).expect("as many entries are in memory");
        assert!(keep <= self.entries.len(), "entries follow each other");
        let dropped = self.entries.drain(keep..);
        self.bytes -= dropped.map(|entry| entry.data.len() as u64).sum::<u64>();
        self.bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        self.entries.extend_from_slice(entries);
    }

    /// Replaces everything.
    pub fn install(&mut self, snapshot: Snapshot) {
        let metadata = snapshot.get_metadata();
        self.before = (metadata.index, metadata.term);
        self.members = metadata.get_conf_state().clone();
        self.entries.clear();
        self.bytes = 0;
        self.offer(snapshot);
    }

    /// Replaces the entries that `snapshot` covers.
    pub fn compact(&mut self, snapshot: Snapshot) {
        let metadata = snapshot.get_metadata();
        let covered = metadata.index.saturating_sub(self.before.0);
        let covered = usize::try_from(covered).unwrap_or(usize::MAX).min(self.entries.len());
        let dropped = self.entries.drain(..covered);
        self.bytes -= dropped.map(|entry| entry.data.len() as u64).sum::<u64>();
        self.before = (metadata.index, metadata.term);
        self.members = metadata.get_conf_state().clone();
        self.offer(snapshot);
    }

    /// A snapshot for peers.
    pub fn offer(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
        self.wanted.set(false);
    }

    pub fn wants_snapshot(&self) -> bool {
        self.wanted.get()
    }

    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn first(&self) -> u64 {
        self.before.0 + 1
    }

    pub fn last(&self) -> u64 {
        self.before.0 + self.len()
    }
}

impl Storage for LogStorage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let at = |index: u64| usize::try_from(index - self.first()).ok();
        let range = at(low).zip(at(high.max(low)));
        let found = range.and_then(|(low, high)| self.entries.get(low..high));
        let found = found.ok_or(Error::Store(StorageError::Unavailable))?;
        let mut entries = found.to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        let at = index.checked_sub(self.first()).ok_or(Error::Store(StorageError::Compacted))?;
        let entry = usize::try_from(at).ok().and_then(|at| self.entries.get(at));
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let fits = self.snapshot.as_ref().filter(|snapshot| {
            let metadata = snapshot.get_metadata();
            let members = metadata.get_conf_state();
            // A member that does not find itself in the snapshot drops it.
            metadata.index >= self.before.0.max(request_index)
                && (members.voters.contains(&to) || members.learners.contains(&to))
        });
        if fits.is_none() {
            self.wanted.set(true);
        }
        fits.cloned().ok_or(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// The members' numbers, rising.
pub(super) fn rising(numbers: &[u64]) -> Vec<MemberId> {
    let mut members: Vec<_> = numbers.iter().copied().map(MemberId).collect();
    members.sort_unstable();
    members
}
