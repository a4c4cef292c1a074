//! An awake partition: the groups under way, and the routes and blobs in use.
//!
//! Groups are pipelined: a task is judged against the state as it will be when all groups under way have applied. When one
//! of them is refused the state that later tasks were judged against never comes to be: the log is `broken`, nothing is
//! judged until every group under way has been answered (with the same refusal), and then everything is read again.
//!
//! Invariants: numbers of groups under way are consecutive; a slot with a group under way keeps its record; an answer is
//! withheld until the group it depends on is durable.

use super::blobs::{Blob, Verdict};
use super::collect::Job;
use super::group_builder::GroupBuilder;
use super::reads::{self, Get, Next};
use super::subject::{Judging, Phase, Record, Slot, Subject, Task, Touched};
use super::{Asker, Change, Core, Effect, ReadFor, refused, unknown, writes};
use crate::layout::{self, BlobRecord, Damaged, PartitionRecord, WriterRecord};
use crate::{
    Batch, BlobId, Chain, Column, Outcome, Read, ReadDone, Refusal, Response, SortKey, StoreError,
    Version,
};
use bytes::Bytes;
use fsm::{Cx, Digest, Token, Wall};
use std::collections::{BTreeMap, VecDeque};

/// Whether the partition can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Serving,
    Stopped,
}

/// A group to be, and the answer once it is durable.
#[derive(Debug)]
pub struct Plan {
    pub builder: GroupBuilder,
    pub response: Response,
    pub touched: Vec<Touched>,
    pub frees_space: bool,
}

#[derive(Debug)]
struct InFlight {
    token: Token,
    subject: Subject,
    /// Where the log stands once the group is durable.
    record: PartitionRecord,
    touched: Vec<Touched>,
    answer: (Asker, Response),
    /// Answers to others that depend on the group.
    riders: Vec<(Asker, Response)>,
    /// Set when the completion came, while those before it are awaited.
    result: Option<Result<(), StoreError>>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Log {
    durable: PartitionRecord,
    /// Where the log stands when everything under way has applied.
    next: PartitionRecord,
    in_flight: VecDeque<InFlight>,
    /// Why a group was refused, while later ones are still under way.
    broken: Option<StoreError>,
    slots: BTreeMap<Subject, Slot>,
    /// Count of slots at which idle ones are forgotten.
    slots_max: usize,
    uses: u64,
    pub(super) jobs: BTreeMap<u64, Job>,
    pub(super) jobs_begun: u64,
}

pub(super) type Context<'a, 'b> = &'a mut Cx<'b, Effect>;

impl Log {
    pub fn new(record: PartitionRecord) -> Self {
        Self {
            durable: record,
            next: record,
            in_flight: VecDeque::new(),
            broken: None,
            slots: BTreeMap::new(),
            slots_max: 0,
            uses: 0,
            jobs: BTreeMap::new(),
            jobs_begun: 0,
        }
    }

    pub fn on_change(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        asker: Asker,
        change: Change,
    ) {
        match change {
            Change::Task(subject, task) => self.on_task(core, cx, subject, (asker, task)),
            Change::Collect { expired_before, blobs_max } => {
                let entries_max = blobs_max.min(core.limits.blobs_collected_max);
                let read = Read::Scan {
                    column: Column::Meta,
                    from: layout::expiry_key(core.id, Wall(i64::MIN), BlobId(0)),
                    to: layout::expiry_key(core.id, expired_before, BlobId(0)),
                    reverse: false,
                    entries_max,
                    bytes_max: core.limits.scan_bytes_max,
                };
                core.read(cx, read, ReadFor::Expired { asker, expired_before });
            }
        }
    }

    pub(super) fn on_task(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        subject: Subject,
        (asker, task): (Asker, Task),
    ) {
        self.uses += 1;
        if self.slots.len() >= self.slots_max.max(core.limits.routes_cached_max) {
            self.forget_idle(core.limits.routes_cached_max);
        }
        let slot = self.slots.entry(subject.clone()).or_insert_with(Slot::new);
        slot.used = self.uses;
        let under_way = slot.queue.len() + slot.in_flight;
        if under_way >= core.limits.window_batches_max && matches!(asker, Asker::Client { .. }) {
            return core.answer(cx, asker, task.refused(Refusal::Overloaded));
        }
        slot.queue.push_back((asker, task));
        self.run(core, cx, &subject);
    }

    /// Judges the tasks of `subject` until one has to wait.
    fn run(&mut self, core: &mut Core, cx: Context<'_, '_>, subject: &Subject) {
        while self.broken.is_none() {
            let Some(slot) = self.slots.get_mut(subject) else { return };
            if !matches!(slot.phase, Phase::Open) {
                return;
            }
            let Some((_, task)) = slot.queue.front() else { break };
            if task.needs_record() && slot.record.is_none() {
                let key = match subject {
                    Subject::Route(route) => layout::writer_key(core.id, route),
                    Subject::Blob(blob) => layout::blob_key(core.id, *blob),
                };
                let read = Read::Get { column: Column::Meta, keys: vec![key] };
                let token = core.read(cx, read, ReadFor::Record(subject.clone()));
                slot.phase = Phase::Loading(token);
                return;
            }
            if let Task::Write(batch) = task
                && !batch.preconditions.is_empty()
                && check_batch_writer(slot.record.as_ref(), batch).is_ok()
            {
                return self.read_versions(core, cx, subject);
            }
            let Some((asker, task)) = slot.queue.pop_front() else { break };
            self.judge(core, cx, subject, (asker, task));
        }
        self.retire(subject);
    }

    /// Reads what the preconditions of the first task are about.
    fn read_versions(&mut self, core: &mut Core, cx: Context<'_, '_>, subject: &Subject) {
        let Some(slot) = self.slots.get_mut(subject) else { return };
        let Some((_, Task::Write(batch))) = slot.queue.front() else { return };
        let keys =
            batch.preconditions.iter().map(|precondition| precondition.key.clone()).collect();
        match Get::begin(core.id, batch.route.clone(), keys) {
            Next::Read(read, get) => {
                let token = core.read(cx, read, ReadFor::Judging(subject.clone(), get));
                slot.phase = Phase::Judging(Judging { token, settled: Vec::new() });
            }
            Next::Done(_) => unreachable!("there are preconditions, and each has a key"),
        }
    }

    /// Judges one task that waits for nothing.
    fn judge(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        subject: &Subject,
        (asker, task): (Asker, Task),
    ) {
        let version = Version(self.next.number + 1);
        let last = Version(self.next.number);
        let Some(slot) = self.slots.get_mut(subject) else { return };
        let plan = match (subject, task) {
            (Subject::Route(route), Task::Claim) => {
                writes::claim(core.id, route, writer_record(&mut slot.record))
            }
            (Subject::Route(_), Task::Write(batch)) => {
                if let Err(outcome) = check_batch_writer(slot.record.as_ref(), &batch) {
                    return self.withhold(core, cx, subject, (asker, Response::Wrote(outcome)));
                }
                let window = core.limits.window_batches_max;
                let writer = batch.writer.map(|_| (writer_record(&mut slot.record), window));
                writes::write(core.id, batch, version, writer)
            }
            (Subject::Blob(id), task) => {
                let record = blob_record(slot.record.as_ref());
                let blob = Blob { partition: core.id, id: *id, record, version, last };
                match blob.judge(task) {
                    Verdict::Answer(response) => {
                        return self.withhold(core, cx, subject, (asker, response));
                    }
                    Verdict::Commit(plan, record) => {
                        slot.record = Some(Record::Blob(record));
                        plan
                    }
                }
            }
            (Subject::Route(_), _) => unreachable!("tasks of blobs go to blobs"),
        };
        self.commit(cx, subject, asker, plan);
    }

    fn commit(&mut self, cx: Context<'_, '_>, subject: &Subject, asker: Asker, plan: Plan) {
        let Plan { builder, response, touched, frees_space } = plan;
        let chain = if self.in_flight.is_empty() { Chain::Starts } else { Chain::Follows };
        let (group, record) = builder.finish(&self.next, chain, frees_space);
        self.next = record;
        if let Some(slot) = self.slots.get_mut(subject) {
            slot.in_flight += 1;
            slot.last_number = record.number;
        }
        let token = cx.fresh_token();
        cx.emit(Effect::Commit { token, group });
        self.in_flight.push_back(InFlight {
            token,
            subject: subject.clone(),
            record,
            touched,
            answer: (asker, response),
            riders: Vec::new(),
            result: None,
        });
    }

    /// Gives an answer that needs no write, once what it depends on is durable.
    fn withhold(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        subject: &Subject,
        (asker, response): (Asker, Response),
    ) {
        let number = match response {
            Response::Wrote(Outcome::Committed { version }) => version.0,
            _ => self.slots.get(subject).map_or(0, |slot| slot.last_number),
        };
        let ahead = number.checked_sub(self.durable.number + 1);
        let group = ahead
            .and_then(|ahead| usize::try_from(ahead).ok())
            .and_then(|ahead| self.in_flight.get_mut(ahead));
        match group {
            Some(group) => group.riders.push((asker, response)),
            None => self.deliver(core, cx, asker, response),
        }
    }

    fn deliver(&mut self, core: &mut Core, cx: Context<'_, '_>, asker: Asker, response: Response) {
        match asker {
            Asker::Client { .. } => core.answer(cx, asker, response),
            Asker::Job(number) => self.on_job(core, cx, number, response),
        }
    }

    /// The record of a subject has been read.
    pub fn on_record(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        (subject, token): (Subject, Token),
        result: Result<ReadDone, StoreError>,
    ) {
        let Some(slot) = self.slots.get_mut(&subject) else { return };
        if !matches!(slot.phase, Phase::Loading(awaited) if awaited == token) {
            return;
        }
        slot.phase = Phase::Open;
        let stored = reads::values_of(result).map(|values| values.into_iter().next().flatten());
        match stored.and_then(|stored| decode_record(&subject, stored).map_err(reads::corrupt)) {
            Ok(record) => slot.record = Some(record),
            Err(refusal) => {
                for (asker, task) in std::mem::take(&mut slot.queue) {
                    self.deliver(core, cx, asker, task.refused(refusal.clone()));
                }
            }
        }
        self.run(core, cx, &subject);
    }

    /// The entries that the first task of a subject has preconditions on have been read.
    pub fn on_versions(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        (subject, token): (Subject, Token),
        next: Result<Next<Get, reads::Found>, Refusal>,
    ) {
        let Some(slot) = self.slots.get_mut(&subject) else { return };
        let Phase::Judging(judging) = &mut slot.phase else { return };
        if judging.token != token {
            return;
        }
        if self.broken.is_some() {
            // What it would be judged against never comes to be: its turn comes again when the log is mended.
            slot.phase = Phase::Open;
            return;
        }
        let found = match next {
            Ok(Next::Read(read, get)) => {
                judging.token = core.read(cx, read, ReadFor::Judging(subject, get));
                return;
            }
            Ok(Next::Done(found)) => found.into_iter().map(version_in).collect(),
            Err(refusal) => Err(refusal),
        };
        let settled = std::mem::take(&mut judging.settled);
        slot.phase = Phase::Open;
        let Some((asker, task)) = slot.queue.pop_front() else { return };
        let Task::Write(batch) = task else {
            unreachable!("only writes have preconditions, and they stay first in the queue")
        };
        let verdict = found.and_then(|found: Vec<Option<Version>>| {
            let failed = writes::first_failed(&batch.preconditions, |key, index| {
                self.overlaid(&subject, &settled, key)
                    .unwrap_or_else(|| found.get(index).copied().flatten())
            });
            failed.map_or(Ok(()), |index| Err(Refusal::PreconditionFailed { index }))
        });
        match verdict {
            Ok(()) => self.judge(core, cx, &subject, (asker, Task::Write(batch))),
            Err(refusal) => {
                let response = Response::Wrote(Outcome::Refused(refusal));
                self.withhold(core, cx, &subject, (asker, response));
            }
        }
        self.run(core, cx, &subject);
    }

    /// What groups under way, or durable since the read began, make of `key`.
    fn overlaid(
        &self,
        subject: &Subject,
        settled: &[(Version, Touched)],
        key: &SortKey,
    ) -> Option<Option<Version>> {
        let under_way = self.in_flight.iter().rev().filter(|group| group.subject == *subject);
        let under_way = under_way.flat_map(|group| {
            let version = Version(group.record.number);
            group.touched.iter().rev().map(move |touched| (version, touched))
        });
        let settled = settled.iter().rev().map(|(version, touched)| (*version, touched));
        under_way.chain(settled).find_map(|(version, touched)| touched.makes_of(key, version))
    }

    /// A group was committed or refused.
    pub fn on_stored(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        token: Token,
        result: Result<(), StoreError>,
    ) -> Health {
        let Ok(index) = self.in_flight.binary_search_by_key(&token, |group| group.token) else {
            // A completion that came twice.
            return Health::Serving;
        };
        self.in_flight[index].result.get_or_insert(result);
        while let Some(group) = self.in_flight.pop_front_if(|group| group.result.is_some()) {
            match (&self.broken, &group.result) {
                (None, Some(Ok(()))) => self.on_durable(core, cx, group),
                // Only a store that breaks its promises applies a group whose predecessor it refused.
                (Some(_), Some(Ok(()))) | (_, Some(Err(StoreError::Fatal(_)))) => {
                    self.in_flight.push_front(group);
                    self.stop(core, cx);
                    return Health::Stopped;
                }
                (_, Some(Err(error))) => {
                    let error = self.broken.get_or_insert_with(|| error.clone());
                    let refusal = reads::refusal_of(error);
                    for (asker, response) in group.riders.into_iter().chain([group.answer]) {
                        self.deliver(core, cx, asker, refused(&response, refusal.clone()));
                    }
                }
                (_, None) => unreachable!("only groups with a result are taken"),
            }
        }
        if self.broken.is_some() && self.in_flight.is_empty() {
            self.mend(core, cx);
        }
        Health::Serving
    }

    fn on_durable(&mut self, core: &mut Core, cx: Context<'_, '_>, group: InFlight) {
        self.durable = group.record;
        if let Some(slot) = self.slots.get_mut(&group.subject) {
            slot.in_flight -= 1;
            if let Phase::Judging(judging) = &mut slot.phase {
                let version = Version(group.record.number);
                let touched = group.touched.into_iter().map(|touched| (version, touched));
                judging.settled.extend(touched);
            }
        }
        let (asker, response) = group.answer;
        self.deliver(core, cx, asker, response);
        for (asker, response) in group.riders {
            self.deliver(core, cx, asker, response);
        }
        self.retire(&group.subject);
    }

    /// All groups behind a refused one have been refused too: starts again from what is durable.
    fn mend(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        self.broken = None;
        self.next = self.durable;
        for slot in self.slots.values_mut() {
            slot.record = None;
            slot.in_flight = 0;
            slot.last_number = 0;
            if matches!(slot.phase, Phase::Judging(_)) {
                slot.phase = Phase::Open;
            }
        }
        self.slots.retain(|_, slot| !slot.is_idle());
        let subjects: Vec<_> = self.slots.keys().cloned().collect();
        for subject in subjects {
            self.run(core, cx, &subject);
        }
    }

    /// Nobody knows what applied: answers everything, and ends.
    pub fn stop(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let groups: Vec<_> = self.in_flight.drain(..).collect();
        for group in groups {
            for (asker, response) in [group.answer].into_iter().chain(group.riders) {
                self.deliver(core, cx, asker, unknown(&response));
            }
        }
        for (_, slot) in std::mem::take(&mut self.slots) {
            for (asker, task) in slot.queue {
                self.deliver(core, cx, asker, task.refused(Refusal::Unavailable));
            }
        }
    }

    /// Forgets a subject of which nothing is known that would be of use later.
    fn retire(&mut self, subject: &Subject) {
        let spent =
            |slot: &Slot| slot.is_idle() && matches!(slot.record, None | Some(Record::Blob(None)));
        if self.slots.get(subject).is_some_and(spent) {
            self.slots.remove(subject);
        }
    }

    /// Forgets the idle subjects that were used longest ago, down to three quarters of `cached_max`.
    fn forget_idle(&mut self, cached_max: usize) {
        let mut idle: Vec<_> =
            self.slots.values().filter(|slot| slot.is_idle()).map(|slot| slot.used).collect();
        idle.sort_unstable();
        let surplus = self.slots.len().saturating_sub(cached_max - cached_max / 4);
        if let Some(&oldest_kept) = idle.get(surplus) {
            self.slots.retain(|_, slot| !slot.is_idle() || slot.used >= oldest_kept);
        } else {
            self.slots.retain(|_, slot| !slot.is_idle());
        }
        // When most are busy there is no point in looking again at once.
        self.slots_max = self.slots.len() + cached_max / 4 + 1;
    }

    /// Folds what decides future behaviour.
    pub fn digest(&self, digest: &mut Digest) {
        for record in [&self.durable, &self.next] {
            digest.word(record.number);
            digest.word(u64::from(record.hash));
        }
        digest.word(u64::from(self.broken.is_some()));
        for group in &self.in_flight {
            digest.word(group.token.0);
            digest.word(group.riders.len() as u64);
        }
        digest.word(self.slots.len() as u64);
        for slot in self.slots.values() {
            digest.word(slot.used);
            digest.word(slot.queue.len() as u64);
            digest.word(u64::from(slot.record.is_some()));
        }
        digest.word(self.jobs.len() as u64);
    }
}

/// The writer check of a batch; batches without a writer pass.
fn check_batch_writer(record: Option<&Record>, batch: &Batch) -> Result<(), Outcome> {
    match (batch.writer, record) {
        (Some(writer), Some(Record::Writer(record))) => writes::check_writer(record, writer),
        (Some(_), Some(Record::Blob(_)) | None) => {
            unreachable!("a batch with a writer waits for the writer record of its route")
        }
        (None, _) => Ok(()),
    }
}

/// The writer record that has been loaded for a route.
fn writer_record(record: &mut Option<Record>) -> &mut WriterRecord {
    match record {
        Some(Record::Writer(record)) => record,
        Some(Record::Blob(_)) | None => {
            unreachable!("tasks that need the writer record wait for it, and routes have no other")
        }
    }
}

fn blob_record(record: Option<&Record>) -> Option<BlobRecord> {
    match record {
        Some(Record::Blob(record)) => *record,
        Some(Record::Writer(_)) | None => {
            unreachable!("tasks of a blob wait for its record, and blobs have no other")
        }
    }
}

fn decode_record(subject: &Subject, stored: Option<Bytes>) -> Result<Record, Damaged> {
    Ok(match subject {
        Subject::Route(_) => {
            let record = stored.map(|stored| WriterRecord::decode(&stored)).transpose()?;
            Record::Writer(record.unwrap_or_default())
        }
        Subject::Blob(_) => {
            Record::Blob(stored.map(|stored| BlobRecord::decode(&stored)).transpose()?)
        }
    })
}

fn version_in(stored: Option<Bytes>) -> Result<Option<Version>, Refusal> {
    let split = stored.map(layout::split_entry).transpose().map_err(reads::corrupt)?;
    Ok(split.map(|(_, version)| version))
}
