//! A user's own records: read from the store when they are asked for, never kept in memory; only how many they are is.
//!
//! Invariants: a write knows what it replaces, because it is the only change that depends on rows until its batch settles; so
//! that the usage in the store is the sum over the records in the store.

use super::change::{Asker, Change};
use super::core::Core;
use super::format::{RecordUsage, StoredRecord, keys};
use super::load::{got, scanned};
use super::machine::Effect;
use super::reading::Reading;
use super::{answer, fail};
use crate::face::{
    Collection, Expect, RECORD_BYTES_MAX, RECORD_CHANGES_MAX, RECORDS_PER_PAGE, Record,
    RecordChange, RecordName, RecordTask, RecordsDone, TaskRefusal, UserDone, UserError,
};
use dds::{Op, Request, Response, SortKey};
use fsm::Cx;
use std::collections::BTreeSet;

/// A read of records under way.
#[derive(Debug)]
pub enum RecordRead {
    List {
        asker: Asker,
    },
    Get {
        asker: Asker,
        name: RecordName,
    },
    /// What a write replaces.
    Before {
        asker: Asker,
        changes: Vec<RecordChange>,
    },
}

impl RecordRead {
    #[must_use]
    pub fn asker(&self) -> Asker {
        match self {
            Self::List { asker } | Self::Get { asker, .. } | Self::Before { asker, .. } => *asker,
        }
    }
}

/// A write of records whose batch is under way.
#[derive(Debug)]
pub struct RecordWrite {
    pub asker: Asker,
    pub done: RecordsDone,
    pub usage: RecordUsage,
    /// Nothing is put: it passes while the disk is full.
    pub makes_way: bool,
    /// Rules are among them.
    pub rules: bool,
}

impl Core {
    pub fn records(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, task: RecordTask) {
        match task {
            RecordTask::List { collection, after } => {
                let (first, to) = keys::records(collection);
                let from = after.map_or(first, |name| keys::next(&keys::record(collection, &name)));
                let route = self.context.route.clone();
                let entries_max = RECORDS_PER_PAGE;
                let request = Request::Scan { route, from, to, reverse: false, entries_max };
                self.read(cx, request, Reading::Records(RecordRead::List { asker }));
            }
            RecordTask::Get { collection, name } => {
                let key = keys::record(collection, &name);
                self.get(cx, vec![key], Reading::Records(RecordRead::Get { asker, name }));
            }
            RecordTask::Write(changes) => match refused(&changes) {
                Some(why) => fail(cx, asker, why),
                None => {
                    self.hold_exclusive();
                    let keys = changes.iter().map(key_of).collect();
                    let read = RecordRead::Before { asker, changes };
                    self.get(cx, keys, Reading::Records(read));
                }
            },
        }
    }

    pub fn on_records(&mut self, cx: &mut Cx<'_, Effect>, read: RecordRead, response: Response) {
        match read {
            RecordRead::List { asker } => {
                let page = scanned(response).and_then(|(entries, more)| {
                    let records = entries.iter().map(|entry| {
                        let name = keys::parse_record(&entry.key)?.1;
                        let StoredRecord { version, value } = StoredRecord::decode(&entry.value)?;
                        Ok(Record { name, version, value })
                    });
                    Ok(RecordsDone::Page {
                        records: records.collect::<Result<_, TaskRefusal>>()?,
                        more,
                    })
                });
                answer(cx, asker, page.map(UserDone::Records));
            }
            RecordRead::Get { asker, name } => {
                let page = one(response).map(|stored| {
                    let record = |StoredRecord { version, value }| Record { name, version, value };
                    let records = stored.map(record).into_iter().collect();
                    RecordsDone::Page { records, more: false }
                });
                answer(cx, asker, page.map(UserDone::Records));
            }
            RecordRead::Before { asker, changes } => match before(response, changes.len()) {
                Ok(before) => self.write_records(cx, asker, (changes, before)),
                Err(refusal) => {
                    self.release_exclusive();
                    answer(cx, asker, Err(refusal));
                }
            },
        }
    }

    fn write_records(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (changes, before): (Vec<RecordChange>, Vec<Option<StoredRecord>>),
    ) {
        // An outcome became unknown while it read: nothing is assigned until that is settled.
        if !self.may_write() {
            self.release_exclusive();
            return answer(cx, asker, Err(TaskRefusal::Overloaded));
        }
        let met = |(change, before): &(&RecordChange, &Option<StoredRecord>)| match change.expect {
            Expect::Anything => true,
            Expect::Absent => before.is_none(),
            Expect::Version(version) => before.as_ref().is_some_and(|it| it.version == version),
        };
        if let Some((change, _)) = changes.iter().zip(&before).find(|pair| !met(pair)) {
            let RecordChange { collection, name, .. } = change.clone();
            self.release_exclusive();
            let done = UserDone::Records(RecordsDone::Conflict { collection, name });
            return answer(cx, asker, Ok(done));
        }
        let rules = changes.iter().any(|change| change.collection == Collection::Rules);
        let usage = usage_after(self.own.usage, &changes, &before);
        let makes_way = changes.iter().all(|change| change.value.is_none());
        let limits = self.limits();
        let fits = usage.records <= limits.records_max && usage.bytes <= limits.records_bytes_max;
        if !fits && !makes_way {
            self.release_exclusive();
            return fail(cx, asker, UserError::Limit("too many settings and contacts".into()));
        }
        let version = self.next_mod_seq();
        let mut ops: Vec<Op> = changes
            .into_iter()
            .map(|change| match (key_of(&change), change.value) {
                (key, Some(value)) => {
                    Op::Put { key, value: StoredRecord { version, value }.encode() }
                }
                (key, None) => Op::Delete { key },
            })
            .collect();
        ops.push(Op::Put { key: keys::lone(keys::RECORD_USAGE), value: usage.encode() });
        // The version must not come again, and no header knows it.
        ops.push(self.root_op());
        let done = RecordsDone::Written { version };
        let write = RecordWrite { asker, done, usage, makes_way, rules };
        self.pipeline.submit(cx, ops, Change::Records(write));
    }

    pub fn records_written(&mut self, cx: &mut Cx<'_, Effect>, write: RecordWrite) {
        self.release_exclusive();
        self.own.usage = write.usage;
        self.house.expiring.on_records_written();
        answer(cx, write.asker, Ok(UserDone::Records(write.done)));
        if write.rules {
            self.rules_written(cx);
        }
    }
}

fn key_of(change: &RecordChange) -> SortKey {
    keys::record(change.collection, &change.name)
}

/// Why a write can't be done whatever is there.
fn refused(changes: &[RecordChange]) -> Option<UserError> {
    let names: BTreeSet<(Collection, &RecordName)> =
        changes.iter().map(|change| (change.collection, &change.name)).collect();
    let bytes = |change: &RecordChange| change.value.as_ref().map_or(0, |value| value.len());
    if changes.is_empty() || changes.len() > RECORD_CHANGES_MAX || names.len() < changes.len() {
        Some(UserError::Cannot("no such change of records".into()))
    } else if changes.iter().any(|change| bytes(change) > RECORD_BYTES_MAX) {
        Some(UserError::Limit("too long to be kept".into()))
    } else {
        None
    }
}

fn one(response: Response) -> Result<Option<StoredRecord>, TaskRefusal> {
    Ok(before(response, 1)?.pop().flatten())
}

fn before(response: Response, count: usize) -> Result<Vec<Option<StoredRecord>>, TaskRefusal> {
    let values = got(response)?;
    if values.len() != count {
        return Err(TaskRefusal::Damaged);
    }
    values.iter().map(|value| Ok(value.as_ref().map(StoredRecord::decode).transpose()?)).collect()
}

fn usage_after(
    mut usage: RecordUsage,
    changes: &[RecordChange],
    before: &[Option<StoredRecord>],
) -> RecordUsage {
    for (change, before) in changes.iter().zip(before) {
        let weight = |value: &bytes::Bytes| (change.name.as_str().len() + value.len()) as u64;
        if let Some(before) = before {
            usage.records = usage.records.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(weight(&before.value));
        }
        if let Some(value) = &change.value {
            usage.records = usage.records.saturating_add(1);
            usage.bytes = usage.bytes.saturating_add(weight(value));
        }
    }
    usage
}
