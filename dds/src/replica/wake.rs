//! Reads the log of a replica from its disk: the records, then the entries, then the bodies that entries refer to.

use super::Effect;
use super::core::Context;
use super::entry::{Entry, Mark, Placing};
use super::log::{Found, Log};
use crate::layout::{self, PartitionRecord, ReplicaRecord};
use crate::{Column, PartitionId, Read, ReadDone, StoreError, StoreOp};
use bytes::Bytes;
use fsm::Token;

/// Bytes of one page of entries. Our choice.
const PAGE_BYTES: usize = 1024 * 1024;

/// A log on its way in.
#[derive(Debug)]
pub struct Waking {
    partition: PartitionId,
    token: Token,
    step: Step,
    record: ReplicaRecord,
    applied: Mark,
    entries: Vec<(Entry, Placing)>,
    /// Places of values that stand elsewhere: entry, operation.
    placed: Vec<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Records,
    Entries,
    Bodies,
}

/// What comes of a read.
#[derive(Debug)]
pub enum Next {
    Reading,
    Found(Box<Log>),
    /// The disk can't be read for now.
    Unreadable,
    Damaged,
}

impl Waking {
    pub fn begin(cx: Context<'_, '_>, partition: PartitionId) -> Self {
        let keys = vec![layout::partition_key(partition), layout::replica_key(partition)];
        let read = Read::Get { column: Column::Log, keys };
        let token = cx.fresh_token();
        cx.emit(Effect::Read { token, read });
        Self {
            partition,
            token,
            step: Step::Records,
            record: ReplicaRecord::default(),
            applied: Mark::default(),
            entries: Vec::new(),
            placed: Vec::new(),
        }
    }

    pub fn on_read(
        &mut self,
        cx: Context<'_, '_>,
        token: Token,
        result: Result<ReadDone, StoreError>,
    ) -> Next {
        if token != self.token {
            return Next::Reading;
        }
        match (self.step, result) {
            (Step::Records, Ok(ReadDone::Got(values))) => self.on_records(cx, &values),
            (Step::Entries, Ok(ReadDone::Scanned { entries, more })) => {
                self.on_entries(cx, entries, more)
            }
            (Step::Bodies, Ok(ReadDone::Got(values))) => self.on_bodies(values),
            (Step::Records | Step::Entries | Step::Bodies, Err(StoreError::Io(_))) => {
                Next::Unreadable
            }
            (Step::Records | Step::Entries | Step::Bodies, _) => Next::Damaged,
        }
    }

    fn read(&mut self, cx: Context<'_, '_>, read: Read) -> Next {
        self.token = cx.fresh_token();
        cx.emit(Effect::Read { token: self.token, read });
        Next::Reading
    }

    fn on_records(&mut self, cx: Context<'_, '_>, values: &[Option<Bytes>]) -> Next {
        let value = |at: usize| values.get(at).and_then(Option::as_ref);
        let applied = value(0).map(|stored| PartitionRecord::decode(stored)).transpose();
        let record = value(1).map(|stored| ReplicaRecord::decode(stored)).transpose();
        let (Ok(applied), Ok(record)) = (applied, record) else { return Next::Damaged };
        let applied = applied.unwrap_or_default();
        self.applied = Mark { number: applied.number, hash: applied.hash };
        self.record = record.unwrap_or_default();
        self.step = Step::Entries;
        self.scan(cx, layout::log_key(self.partition, 0))
    }

    fn scan(&mut self, cx: Context<'_, '_>, from: Bytes) -> Next {
        let to = layout::log_key(self.partition, u64::MAX);
        let column = Column::Log;
        let (reverse, entries_max, bytes_max) = (false, usize::MAX, PAGE_BYTES);
        self.read(cx, Read::Scan { column, from, to, reverse, entries_max, bytes_max })
    }

    fn on_entries(&mut self, cx: Context<'_, '_>, found: Vec<(Bytes, Bytes)>, more: bool) -> Next {
        let mut last = None;
        for (key, value) in found {
            let Ok((entry, placed)) = Entry::decode(&key, &value) else { return Next::Damaged };
            let at = self.entries.len();
            last = Some(entry.number);
            let placing = if placed.is_empty() { Placing::Inline } else { Placing::Placed };
            self.placed.extend(placed.into_iter().map(|op| (at, op)));
            self.entries.push((entry, placing));
        }
        if let Some(last) = last.filter(|_| more) {
            return self.scan(cx, layout::log_key(self.partition, last.saturating_add(1)));
        }
        if self.placed.is_empty() {
            return self.found();
        }
        self.step = Step::Bodies;
        let key = |(entry, op): &(usize, usize)| match &self.entries[*entry].0.ops[*op] {
            StoreOp::Put { key, .. } | StoreOp::Delete { key, .. } => key.clone(),
            StoreOp::DeleteRange { from, .. } => from.clone(),
        };
        let keys = self.placed.iter().map(key).collect();
        self.read(cx, Read::Get { column: Column::Bodies, keys })
    }

    /// A value that is gone was deleted by a later entry, which is here too: the deletion may come earlier.
    fn on_bodies(&mut self, values: Vec<Option<Bytes>>) -> Next {
        for ((entry, op), value) in std::mem::take(&mut self.placed).into_iter().zip(values) {
            let op = &mut self.entries[entry].0.ops[op];
            let StoreOp::Put { column, key, .. } = op else { return Next::Damaged };
            let (column, key) = (*column, key.clone());
            *op = match value {
                Some(value) => StoreOp::Put { column, key, value },
                None => StoreOp::Delete { column, key },
            };
        }
        self.found()
    }

    fn found(&mut self) -> Next {
        let (record, applied) = (self.record, self.applied);
        let entries = std::mem::take(&mut self.entries);
        match Log::found(self.partition, Found { record, applied, entries }) {
            Some(log) => Next::Found(Box::new(log)),
            None => Next::Damaged,
        }
    }
}
