//! The log of one replica in memory: what is not applied yet, and what is kept for members that are missing.
//!
//! Invariants: entries are consecutive and chained; `applied <= applying <= decided <= last`; an entry leaves only when it is
//! being applied.

use super::entry::{Entry, Mark, Placing};
use crate::layout::{self, ReplicaRecord};
use crate::{Column, PartitionId, Read, StoreOp};
use bytes::Bytes;
use fsm::Digest;
use std::collections::VecDeque;
use std::sync::Arc;

/// An entry with how it was written.
#[derive(Clone, Debug)]
struct Kept {
    entry: Arc<Entry>,
    placing: Placing,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Log {
    partition: PartitionId,
    pub record: ReplicaRecord,
    /// The place before the first entry that is kept.
    base: Mark,
    /// In a log of one: the last group that is durable.
    passed: Mark,
    entries: VecDeque<Kept>,
    bytes: usize,
    /// Up to here everything is durable.
    pub durable: u64,
    /// Up to here everything was decided, as far as is known here.
    pub decided: u64,
    /// Up to here everything has been given to the store to be applied.
    applying: u64,
    /// Up to here reads see it.
    pub applied: u64,
}

/// Entries that were asked for have left the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What the disk holds of a log.
#[derive(Debug)]
pub struct Found {
    pub record: ReplicaRecord,
    /// What is applied.
    pub applied: Mark,
    /// Rising, from wherever they are kept.
    pub entries: Vec<(Entry, Placing)>,
}

impl Log {
    /// The log as the disk holds it. `None` when its entries do not follow each other.
    #[must_use]
    pub fn found(partition: PartitionId, found: Found) -> Option<Self> {
        let base = match found.entries.first() {
            Some((first, _)) => Mark { number: first.number.checked_sub(1)?, hash: first.before },
            None => found.applied,
        };
        let applied = found.applied.number;
        let mut log = Self {
            partition,
            record: found.record,
            base,
            passed: base,
            entries: VecDeque::new(),
            bytes: 0,
            durable: 0,
            decided: applied,
            applying: applied,
            applied,
        };
        for (entry, placing) in found.entries {
            if !log.fits(&entry) {
                return None;
            }
            log.keep(Arc::new(entry), placing);
        }
        log.durable = log.last().number;
        (log.mark_at(applied) == Some(found.applied)).then_some(log)
    }

    /// The log of a learner that has nothing, or nothing that can be read.
    #[must_use]
    pub fn lost(partition: PartitionId) -> Self {
        let record = ReplicaRecord { whole: false, ..ReplicaRecord::default() };
        Self {
            partition,
            record,
            base: Mark::default(),
            passed: Mark::default(),
            entries: VecDeque::new(),
            bytes: 0,
            durable: 0,
            decided: 0,
            applying: 0,
            applied: 0,
        }
    }

    /// The end of the log.
    #[must_use]
    pub fn last(&self) -> Mark {
        self.entries.back().map_or(self.base, |kept| kept.entry.mark())
    }

    /// The place before the first entry that is kept.
    #[must_use]
    pub fn base(&self) -> Mark {
        self.base
    }

    /// The place `number`, when the log reaches there.
    #[must_use]
    pub fn mark_at(&self, number: u64) -> Option<Mark> {
        if number == self.base.number {
            return Some(self.base);
        }
        self.at(number).map(|kept| kept.entry.mark())
    }

    /// What was given to the store to be applied.
    #[must_use]
    pub fn applying_mark(&self) -> Mark {
        self.mark_at(self.applying).unwrap_or(self.base)
    }

    fn at(&self, number: u64) -> Option<&Kept> {
        let behind = number.checked_sub(self.base.number)?.checked_sub(1)?;
        self.entries.get(usize::try_from(behind).ok()?)
    }

    /// Whether `entry` comes next.
    #[must_use]
    pub fn fits(&self, entry: &Entry) -> bool {
        let last = self.last();
        entry.number == last.number.wrapping_add(1) && entry.before == last.hash
    }

    /// Adds the next entry and says how to log it.
    pub fn push(&mut self, entry: Arc<Entry>, ops: &mut Vec<StoreOp>) {
        // A body that goes to its place ahead of a change that is not applied yet would be overwritten by it.
        let newest_first = self.entries.iter().rev();
        let mut unapplied = newest_first.take_while(|kept| kept.entry.number > self.applied);
        let behind = unapplied.any(|kept| kept.entry.applies_bodies(kept.placing));
        let placing = if behind || !self.record.whole { Placing::Inline } else { Placing::Placed };
        entry.log_ops(self.partition, placing, ops);
        self.keep(entry, placing);
    }

    fn keep(&mut self, entry: Arc<Entry>, placing: Placing) {
        self.bytes += entry.bytes();
        self.entries.push_back(Kept { entry, placing });
    }

    /// In a log of one: the next group goes straight to the store. `alone`: no other is on its way.
    pub fn pass(&mut self, mark: Mark, alone: bool) {
        if alone {
            self.passed = self.base;
        }
        self.base = mark;
    }

    /// Nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In a log of one, everything under way was answered, and some of it refused: the log ends with what is applied.
    pub fn pass_back(&mut self) {
        self.base = self.passed;
    }

    /// In a log of one, a group is durable: it is decided and applied with that.
    pub fn passed(&mut self, mark: Mark) {
        if mark.number > self.passed.number {
            self.passed = mark;
        }
        let through = mark.number;
        self.durable = self.durable.max(through);
        self.decided = self.decided.max(through);
        self.applying = self.applying.max(through);
        self.applied = self.applied.max(through);
    }

    /// Entries behind `after`, up to `bytes_max` but at least one.
    #[must_use]
    pub fn entries_after(&self, after: u64, bytes_max: usize) -> Vec<Arc<Entry>> {
        let skip = usize::try_from(after.saturating_sub(self.base.number)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut taken = Vec::new();
        for kept in self.entries.iter().skip(skip) {
            bytes += kept.entry.bytes();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.push(Arc::clone(&kept.entry));
        }
        taken
    }

    /// The lowest key of `column` behind `after` that entries behind `number` change; `Err` when some of them are kept no more.
    pub fn lowest_changed(
        &self,
        number: u64,
        (column, after): (Column, &Bytes),
    ) -> Result<Option<Bytes>, Gone> {
        if number < self.base.number {
            return Err(Gone);
        }
        let newest_first = self.entries.iter().rev().map(|kept| &kept.entry);
        let later = newest_first.take_while(|entry| entry.number > number);
        Ok(later.filter_map(|entry| entry.lowest_changed(column, after)).min().cloned())
    }

    /// The operations that apply what is decided, and take away entries that nobody needs: all that are applied, or when
    /// `keep_bytes` says so the oldest ones beyond that. `None`: nothing to do.
    pub fn apply(&mut self, keep_bytes: Option<usize>) -> Option<(Vec<StoreOp>, u64)> {
        if !self.record.whole || self.decided <= self.applying {
            return self.trim(keep_bytes).map(|ops| (ops, self.applying));
        }
        let mut ops = Vec::new();
        for number in self.applying + 1..=self.decided {
            let Some(kept) = self.at(number) else { break };
            kept.entry.apply_ops(kept.placing, &mut ops);
            self.applying = number;
        }
        ops.extend(self.trim(keep_bytes).unwrap_or_default());
        Some((ops, self.applying))
    }

    fn trim(&mut self, keep_bytes: Option<usize>) -> Option<Vec<StoreOp>> {
        let keep_bytes = keep_bytes.unwrap_or(0);
        let first = self.base.number + 1;
        while let Some(kept) = self.entries.front()
            && kept.entry.number <= self.applying
            && self.bytes > keep_bytes
        {
            self.base = kept.entry.mark();
            self.bytes -= kept.entry.bytes();
            self.entries.pop_front();
        }
        let gone = first..=self.base.number;
        let delete = |number| StoreOp::Delete {
            column: Column::Log,
            key: layout::log_key(self.partition, number),
        };
        (!gone.is_empty()).then(|| gone.map(delete).collect())
    }

    /// Keys of `Bodies` that entries write which are not being applied: what these hold here may be of no later log, when it
    /// was placed ahead or copied from who had placed it ahead.
    #[must_use]
    pub fn undecided_bodies(&self) -> Vec<Bytes> {
        self.unapplying().flat_map(|kept| kept.entry.body_keys().cloned()).collect()
    }

    fn unapplying(&self) -> impl Iterator<Item = &Kept> {
        let applying = self.applying;
        self.entries.iter().rev().take_while(move |kept| kept.entry.number > applying)
    }

    /// Forgets what is not being applied; the operations that do the same on the disk.
    pub fn drop_tail(&mut self, ops: &mut Vec<StoreOp>) {
        while let Some(kept) = self.entries.back()
            && kept.entry.number > self.applying
        {
            let key = layout::log_key(self.partition, kept.entry.number);
            ops.push(StoreOp::Delete { column: Column::Log, key });
            self.bytes -= kept.entry.bytes();
            self.entries.pop_back();
        }
        self.decided = self.decided.min(self.applying);
        self.durable = self.last().number;
    }

    /// Forgets everything; the log begins behind `mark`.
    pub fn restart(&mut self, mark: Mark, ops: &mut Vec<StoreOp>) {
        let (from, to) = layout::partition_range(self.partition);
        for column in [Column::Meta, Column::Bodies, Column::Log] {
            let (from, to) = (from.clone(), to.clone());
            ops.push(StoreOp::DeleteRange { column, from, to });
        }
        let joined = self.record.joined;
        self.record = ReplicaRecord { joined, whole: false, doubted: false, cleared: false };
        ops.push(self.record_op());
        self.entries.clear();
        self.bytes = 0;
        self.base = mark;
        let number = mark.number;
        (self.durable, self.decided, self.applying, self.applied) =
            (number, number, number, number);
    }

    /// Forgets everything but what was joined.
    pub fn clear(&mut self, ops: &mut Vec<StoreOp>) {
        self.restart(Mark::default(), ops);
        self.record.cleared = true;
        ops.push(self.record_op());
    }

    /// Whether the disk holds nothing that could be cleared.
    #[must_use]
    pub fn is_void(&self) -> bool {
        let unused = self.record == ReplicaRecord::default() && self.base == Mark::default();
        self.record.cleared || (unused && self.is_empty())
    }

    /// The operation that writes the replica record.
    #[must_use]
    pub fn record_op(&self) -> StoreOp {
        let key = layout::replica_key(self.partition);
        StoreOp::Put { column: Column::Log, key, value: self.record.encode() }
    }

    /// What must be applied before `read` may be done: everything that was decided so far, and when it meets a body that was
    /// placed ahead of its decision everything that was logged.
    #[must_use]
    pub fn needed_by(&self, read: &Read) -> u64 {
        let meets = match read {
            Read::Get { column: Column::Bodies, keys } => {
                self.meets_placed(|placed| keys.contains(placed))
            }
            Read::Scan { column: Column::Bodies, from, to, .. } => {
                self.meets_placed(|placed| from <= placed && placed < to)
            }
            Read::Get { .. } | Read::Scan { .. } | Read::Sum { .. } => false,
        };
        if meets { self.last().number } else { self.decided }
    }

    fn meets_placed(&self, meets: impl Fn(&Bytes) -> bool) -> bool {
        let mut placed = self.unapplying().filter(|kept| kept.placing == Placing::Placed);
        placed.any(|kept| kept.entry.placed_keys().any(&meets))
    }

    /// One line on where it stands.
    #[must_use]
    pub fn summary(&self) -> String {
        let (base, last, whole) = (self.base.number, self.last().number, self.record.whole);
        let (durable, decided) = (self.durable, self.decided);
        let (applying, applied) = (self.applying, self.applied);
        format!(
            "base {base} applied {applied} applying {applying} decided {decided} durable {durable} \
             last {last} whole {whole}"
        )
    }

    /// Folds what decides future behaviour.
    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.record.joined.0);
        digest.word(u64::from(self.record.doubted));
        for number in [self.base.number, self.durable, self.decided, self.applying, self.applied] {
            digest.word(number);
        }
        let last = self.last();
        digest.word(last.number);
        digest.word(u64::from(last.hash));
    }
}
