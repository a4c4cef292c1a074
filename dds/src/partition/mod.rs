//! The partition machine: serves the requests for one partition from one brick, as the primary of a replica group of one.
//!
//! States: `Asleep` -> `Waking` (the partition record is read at the first change) -> `Awake`; `Stopped` after a fatal error.
//! Reads need no state: they see what is durable, in whatever state the partition is.
//!
//! Invariants: changes of one route or blob are judged in the order they were asked; groups leave numbered without gaps and
//! are answered in that order; nothing that depends on a group is answered before the group is durable, refusals included;
//! every request gets exactly one answer.
//!
//! Absences: no clock, no timer, no random number; an idle partition holds no memory beyond this struct.

mod blobs;
mod check;
mod collect;
mod group_builder;
mod log;
mod reads;
mod subject;
mod writes;

use crate::layout::{self, Damaged, PartitionRecord};
use crate::{
    Column, Group, GroupVersion, Limits, Outcome, PartitionId, Read, ReadDone, Refusal, Request,
    Response, StoreError,
};
pub use check::within as within_limits;
use fsm::{Cx, Digest, Machine, Token, Wall};
use log::{Health, Log};
use reads::{BlobRange, Cut, Get, Next, Scan, ScanAsked};
use std::collections::BTreeMap;
use std::sync::Arc;
use subject::{Subject, Task};

/// Everything that can happen to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `from` is whatever the executor wants to have back in [`Effect::Answer`].
    Asked { from: u64, token: Token, request: Request },
    /// The completion of [`Effect::Commit`].
    Stored { token: Token, result: Result<(), StoreError> },
    /// The completion of [`Effect::Read`]. Misses of memory are the executor's to resolve.
    ReadDone { token: Token, result: Result<ReadDone, StoreError> },
    /// The replica group goes on without this machine: whatever waits is answered as well as is known here.
    Ceased,
}

/// Everything a partition may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Answer { to: u64, token: Token, response: Response },
    Commit { token: Token, group: Group },
    Read { token: Token, read: Read },
}

/// The machine of one partition.
#[derive(Debug)]
pub struct Partition {
    core: Core,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked for a change yet.
    Asleep,
    /// The partition record is being read; changes wait.
    Waking {
        queued: Vec<(Asker, Change)>,
    },
    Awake(Box<Log>),
    /// The brick must stop: every change is refused.
    Stopped,
}

/// What every state needs.
#[derive(Debug)]
struct Core {
    id: PartitionId,
    version: GroupVersion,
    limits: Arc<Limits>,
    reads: BTreeMap<Token, ReadFor>,
    /// Requests without an answer yet.
    unanswered: usize,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Client {
        from: u64,
        token: Token,
    },
    /// One blob of a collection, by the number of its job.
    Job(u64),
}

/// A request that changes something.
#[derive(Debug)]
enum Change {
    Task(Subject, Task),
    Collect { expired_before: Wall, blobs_max: usize },
}

impl Change {
    fn refused(&self, refusal: Refusal) -> Response {
        match self {
            Self::Task(_, task) => task.refused(refusal),
            Self::Collect { .. } => Response::Refused(refusal),
        }
    }
}

/// What a read under way is for.
#[derive(Debug)]
enum ReadFor {
    Waking,
    Record(Subject),
    Judging(Subject, Get),
    Get(Asker, Get),
    Scan(Asker, Scan),
    Chunks(Asker, BlobRange),
    /// Chunks ended within the range; the record says whether the blob does.
    BlobEnd(Asker, BlobRange, bytes::Bytes),
    Expired {
        asker: Asker,
        expired_before: Wall,
    },
}

impl Core {
    fn answer(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, response: Response) {
        match asker {
            Asker::Client { from, token } => {
                self.unanswered -= 1;
                cx.emit(Effect::Answer { to: from, token, response });
            }
            Asker::Job(_) => unreachable!("answers to jobs are taken by the log"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_, Effect>, read: Read, read_for: ReadFor) -> Token {
        let token = cx.fresh_token();
        self.reads.insert(token, read_for);
        cx.emit(Effect::Read { token, read });
        token
    }

    fn on_get(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, next: Next<Get, reads::Found>) {
        match next {
            Next::Read(read, get) => {
                self.read(cx, read, ReadFor::Get(asker, get));
            }
            Next::Done(found) => self.answer(cx, asker, reads::got(found)),
        }
    }

    fn on_scan(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, next: Next<Scan, Response>) {
        match next {
            Next::Read(read, scan) => {
                self.read(cx, read, ReadFor::Scan(asker, scan));
            }
            Next::Done(response) => self.answer(cx, asker, response),
        }
    }

    fn on_chunks(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        range: BlobRange,
        result: Result<ReadDone, StoreError>,
    ) {
        let cut = reads::values_of(result).map(|chunks| range.cut(&chunks));
        match cut {
            Ok(Cut::Whole(bytes)) => self.answer(cx, asker, Response::BlobRead(bytes)),
            Ok(Cut::Ended(bytes)) => {
                let keys = vec![layout::blob_key(self.id, range.blob)];
                let read = Read::Get { column: Column::Meta, keys };
                self.read(cx, read, ReadFor::BlobEnd(asker, range, bytes));
            }
            Err(refusal) => self.answer(cx, asker, Response::Refused(refusal)),
        }
    }
}

impl Partition {
    /// The partition `partition` of a replica group of this `version`. Holds no memory until it is asked something.
    #[must_use]
    pub fn new(partition: PartitionId, version: GroupVersion, limits: Arc<Limits>) -> Self {
        let reads = BTreeMap::new();
        let core = Core { id: partition, version, limits, reads, unanswered: 0 };
        Self { core, state: State::Asleep }
    }

    /// Nothing is under way: the machine may be dropped and made again at will.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.core.unanswered == 0 && self.core.reads.is_empty()
    }

    fn on_asked(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, request: Request) {
        self.core.unanswered += 1;
        let overloaded = self.core.unanswered > self.core.limits.tasks_max;
        let verdict = if overloaded { Err(Refusal::Overloaded) } else { Ok(()) };
        let verdict = verdict.and_then(|()| check::request(&request, &self.core));
        if let Err(refusal) = verdict {
            let response = check::refused(&request, refusal);
            return self.core.answer(cx, asker, response);
        }
        match request {
            Request::Claim { route } => self.on_task(cx, asker, Subject::Route(route), Task::Claim),
            Request::Write(batch) => {
                let subject = Subject::Route(batch.route.clone());
                self.on_task(cx, asker, subject, Task::Write(batch));
            }
            Request::Get { route, keys } => {
                let next = Get::begin(self.core.id, route, keys);
                self.core.on_get(cx, asker, next);
            }
            Request::Scan { route, from, to, reverse, entries_max } => {
                let asked = ScanAsked { route, from, to, reverse, entries_max };
                let next = Scan::new(asked, &self.core.limits).next(self.core.id);
                self.core.on_scan(cx, asker, next);
            }
            Request::PutChunk { blob, index, bytes, expires } => {
                let task = Task::PutChunk { index, bytes, expires };
                self.on_task(cx, asker, Subject::Blob(blob), task);
            }
            Request::RenewBlob { blob, expires } => {
                self.on_task(cx, asker, Subject::Blob(blob), Task::Renew { expires });
            }
            Request::ReadBlob { blob, offset, len } => {
                let range = BlobRange { blob, offset, len };
                let read = range.read(self.core.id);
                self.core.read(cx, read, ReadFor::Chunks(asker, range));
            }
            Request::CollectBlobs { partition: _, expired_before, blobs_max } => {
                self.on_change(cx, asker, Change::Collect { expired_before, blobs_max });
            }
            Request::DropBlob { blob } => {
                self.on_task(cx, asker, Subject::Blob(blob), Task::Drop);
            }
        }
    }

    fn on_task(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, subject: Subject, task: Task) {
        self.on_change(cx, asker, Change::Task(subject, task));
    }

    fn on_change(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, change: Change) {
        match &mut self.state {
            State::Asleep => {
                let keys = vec![layout::partition_key(self.core.id)];
                self.core.read(cx, Read::Get { column: Column::Log, keys }, ReadFor::Waking);
                self.state = State::Waking { queued: vec![(asker, change)] };
            }
            State::Waking { queued } => queued.push((asker, change)),
            State::Awake(log) => log.on_change(&mut self.core, cx, asker, change),
            State::Stopped => {
                self.core.answer(cx, asker, change.refused(Refusal::Unavailable));
            }
        }
    }

    fn on_read_done(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        result: Result<ReadDone, StoreError>,
    ) {
        // A completion that comes twice finds nothing that waits.
        let Some(read_for) = self.core.reads.remove(&token) else { return };
        let id = self.core.id;
        let core = &mut self.core;
        match read_for {
            ReadFor::Waking => self.on_woken(cx, result),
            ReadFor::Record(subject) => {
                if let State::Awake(log) = &mut self.state {
                    log.on_record(core, cx, (subject, token), result);
                }
            }
            ReadFor::Judging(subject, get) => {
                if let State::Awake(log) = &mut self.state {
                    let next = reads::values_of(result).map(|values| get.on_got(id, values));
                    log.on_versions(core, cx, (subject, token), next);
                }
            }
            ReadFor::Get(asker, get) => match reads::values_of(result) {
                Ok(values) => core.on_get(cx, asker, get.on_got(id, values)),
                Err(refusal) => core.answer(cx, asker, Response::Refused(refusal)),
            },
            ReadFor::Scan(asker, scan) => match reads::entries_of(result) {
                Ok((found, more)) => core.on_scan(cx, asker, scan.on_scanned(id, found, more)),
                Err(refusal) => core.answer(cx, asker, Response::Refused(refusal)),
            },
            ReadFor::Chunks(asker, range) => core.on_chunks(cx, asker, range, result),
            ReadFor::BlobEnd(asker, range, bytes) => {
                let response = blobs::at_end(range, bytes, reads::values_of(result));
                core.answer(cx, asker, response);
            }
            ReadFor::Expired { asker, expired_before } => match &mut self.state {
                State::Awake(log) => log.on_expired(core, cx, (asker, expired_before), result),
                State::Asleep | State::Waking { .. } | State::Stopped => {
                    core.answer(cx, asker, Response::Refused(Refusal::Unavailable));
                }
            },
        }
    }

    /// The partition record has been read: the changes that waited have their turn.
    fn on_woken(&mut self, cx: &mut Cx<'_, Effect>, result: Result<ReadDone, StoreError>) {
        let State::Waking { queued } = std::mem::replace(&mut self.state, State::Asleep) else {
            return;
        };
        let record = reads::values_of(result)
            .and_then(|values| self.stands_at(values.first().and_then(Option::as_ref)));
        match record {
            Ok(record) => {
                let mut log = Box::new(Log::new(record));
                for (asker, change) in queued {
                    log.on_change(&mut self.core, cx, asker, change);
                }
                self.state = State::Awake(log);
            }
            Err(refusal) => {
                for (asker, change) in queued {
                    self.core.answer(cx, asker, change.refused(refusal.clone()));
                }
            }
        }
    }

    /// Groups under way may apply or not; what was not judged yet does not.
    fn on_ceased(&mut self, cx: &mut Cx<'_, Effect>) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Asleep | State::Stopped => {}
            State::Waking { queued } => {
                for (asker, change) in queued {
                    self.core.answer(cx, asker, change.refused(Refusal::Unavailable));
                }
            }
            State::Awake(mut log) => log.stop(&mut self.core, cx),
        }
        for read_for in std::mem::take(&mut self.core.reads).into_values() {
            match read_for {
                // What these are read for has been answered with its state.
                ReadFor::Waking | ReadFor::Record(_) | ReadFor::Judging(..) => {}
                ReadFor::Get(asker, _)
                | ReadFor::Scan(asker, _)
                | ReadFor::Chunks(asker, _)
                | ReadFor::BlobEnd(asker, ..)
                | ReadFor::Expired { asker, .. } => {
                    self.core.answer(cx, asker, Response::Refused(Refusal::Unavailable));
                }
            }
        }
    }

    fn stands_at(&self, stored: Option<&bytes::Bytes>) -> Result<PartitionRecord, Refusal> {
        let version = self.core.version;
        let Some(stored) = stored else {
            return Ok(PartitionRecord { version, ..PartitionRecord::default() });
        };
        let record = PartitionRecord::decode(stored)
            .map_err(|damaged: Damaged| Refusal::Corrupt { what: damaged.to_string() })?;
        // A brick that has seen a newer replica group must not serve an older one.
        if record.version > version {
            return Err(Refusal::Unavailable);
        }
        Ok(PartitionRecord { version, ..record })
    }
}

impl Machine for Partition {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Asked { from, token, request } => {
                self.on_asked(cx, Asker::Client { from, token }, request);
            }
            Input::Stored { token, result } => {
                let State::Awake(log) = &mut self.state else { return };
                match log.on_stored(&mut self.core, cx, token, result) {
                    Health::Serving => {}
                    Health::Stopped => self.state = State::Stopped,
                }
            }
            Input::ReadDone { token, result } => self.on_read_done(cx, token, result),
            Input::Ceased => self.on_ceased(cx),
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(u64::from(self.core.id.0));
        digest.word(self.core.version.0);
        digest.word(self.core.unanswered as u64);
        for token in self.core.reads.keys() {
            digest.word(token.0);
        }
        match &self.state {
            State::Asleep => digest.word(0),
            State::Waking { queued } => digest.word(1 + ((queued.len() as u64) << 2)),
            State::Awake(log) => log.digest(digest),
            State::Stopped => digest.word(3),
        }
    }
}

/// What becomes of an answer whose group was refused.
fn refused(response: &Response, refusal: Refusal) -> Response {
    match response {
        Response::Wrote(_) => Response::Wrote(Outcome::Refused(refusal)),
        Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. }
        | Response::Refused(_) => Response::Refused(refusal),
    }
}

/// What becomes of an answer when nobody knows whether its group applied.
fn unknown(response: &Response) -> Response {
    match response {
        Response::Wrote(_) => Response::Wrote(Outcome::Unknown),
        Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. }
        | Response::Refused(_) => Response::Refused(Refusal::Unavailable),
    }
}
