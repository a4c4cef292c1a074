//! A mailbox, the hash table below it, and everything it said.

use crate::face::*;
use crate::mailbox::{Effect, Input, Limits, Mailbox, NoIndex, Restored};
use bytes::Bytes;
use dds::{
    Batch, BlobId, Claimed, Entry, Epoch, Op, Outcome, Refusal, Request, Response, RouteKey, Seq,
    SortKey, Version,
};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What happens to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    AppliedUnknown,
    LostUnknown,
    NoSpace,
    /// Refused at the door: nobody has looked at the batch.
    Unavailable,
}

/// A hash table in memory.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub entries: BTreeMap<SortKey, Bytes>,
    pub writer: (Epoch, Seq),
    pub blobs: BTreeMap<BlobId, (Bytes, Wall)>,
    pub faults: VecDeque<Option<Fault>>,
    pub writes: usize,
    pub gets: usize,
    /// Blobs that are not in the store of this node, and keys whose groups it has not applied yet.
    pub elsewhere: (BTreeSet<BlobId>, BTreeSet<SortKey>),
    version: u64,
}

impl Table {
    pub fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Claim { .. } => {
                let previous = self.writer;
                self.writer = (Epoch(previous.0.0 + 1), Seq(0));
                Response::Claimed(Claimed { epoch: self.writer.0, previous })
            }
            Request::Write(batch) => Response::Wrote(self.write(batch)),
            Request::Get { keys, .. } => {
                assert!(!keys.is_empty());
                self.gets += 1;
                let get = |key: &SortKey| self.entries.get(key).map(|v| (v.clone(), Version(1)));
                Response::Got(keys.iter().map(get).collect())
            }
            Request::Scan { from, to, entries_max, .. } => {
                assert!(from <= to, "{from:?} {to:?}");
                // Small pages, so that paging is tested by every test.
                let mut range = self.entries.range(from..to);
                let entries: Vec<Entry> = range
                    .by_ref()
                    .take(entries_max.min(3))
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        value: value.clone(),
                        version: Version(1),
                    })
                    .collect();
                Response::Scanned { entries, more: range.next().is_some() }
            }
            Request::RenewBlob { blob, expires } => match self.blobs.get_mut(&blob) {
                Some(held) => {
                    held.1 = held.1.max(expires);
                    Response::Wrote(Outcome::Committed { version: Version(1) })
                }
                None => Response::Wrote(Outcome::Refused(Refusal::PreconditionFailed { index: 0 })),
            },
            Request::ReadBlob { blob, offset, len } => match self.blobs.get(&blob) {
                Some((bytes, _)) => {
                    let clamp = |at: u64| (at as usize).min(bytes.len());
                    Response::BlobRead(bytes.slice(clamp(offset)..clamp(offset + len)))
                }
                None => Response::Absent,
            },
            Request::DropBlob { blob } => {
                self.blobs.remove(&blob);
                Response::Wrote(Outcome::Committed { version: Version(1) })
            }
            Request::PutChunk { .. } | Request::CollectBlobs { .. } => {
                panic!("a master does not ask that")
            }
        }
    }

    fn write(&mut self, batch: Batch) -> Outcome {
        self.writes += 1;
        let writer = batch.writer.expect("a master numbers its batches");
        if writer.epoch < self.writer.0 {
            return Outcome::Refused(Refusal::Fenced { current: self.writer.0 });
        }
        let fault = self.faults.pop_front().flatten();
        if fault == Some(Fault::Unavailable) {
            return Outcome::Refused(Refusal::Unavailable);
        }
        let next = Seq(self.writer.1.0 + 1);
        if writer.seq > next {
            return Outcome::Refused(Refusal::SequenceGap { expected: next });
        }
        let bytes: usize = batch.ops.iter().map(op_bytes).sum();
        assert!(bytes <= 1024 * 1024, "a batch of {bytes} bytes");
        if writer.seq == next {
            match fault {
                Some(Fault::NoSpace) => return Outcome::Refused(Refusal::NoSpace),
                Some(Fault::LostUnknown) => return Outcome::Unknown,
                Some(Fault::AppliedUnknown | Fault::Unavailable) | None => {}
            }
            self.writer.1 = next;
            for op in batch.ops {
                self.apply(op);
            }
        }
        self.version += 1;
        if fault.is_some() {
            return Outcome::Unknown;
        }
        Outcome::Committed { version: Version(self.version) }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Put { key, value } => {
                assert!(value.len() <= 64 * 1024, "{key:?} has {} bytes", value.len());
                self.entries.insert(key, value);
            }
            Op::Delete { key } => {
                self.entries.remove(&key);
            }
            Op::DeleteRange { from, to } => {
                assert!(from <= to);
                let keys: Vec<SortKey> =
                    self.entries.range(from..to).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    self.entries.remove(&key);
                }
            }
        }
    }
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Put { key, value } => key.0.len() + value.len(),
        Op::Delete { key } => key.0.len(),
        Op::DeleteRange { from, to } => from.0.len() + to.0.len(),
    }
}

/// Everything around one mailbox.
pub struct World {
    pub mailbox: Mailbox,
    pub host: Host,
    pub table: Table,
    pub limits: Arc<Limits>,
    pub restored: Restored,
    /// Requests not answered yet, in order.
    pub requests: VecDeque<(Token, Request)>,
    pub answers: BTreeMap<Token, Result<UserDone, TaskRefusal>>,
    pub notices: Vec<(SessionId, Notice)>,
    pub logs: Vec<LogEvent>,
    /// Subscribers that were told of events.
    pub stirred: Vec<String>,
    pub matches: VecDeque<(Token, crate::mailbox::MatchJob)>,
    pub timers: BTreeMap<TimerKey, Mono>,
    pub now: u64,
    pub erased: bool,
    /// What the directory tells each new machine; `None`: nothing so far.
    pub account: Option<AccountFacts>,
    pub resumed: usize,
    next_token: u64,
    lives: u64,
}

pub const ANN: SessionId = SessionId(1);
pub const BOB: SessionId = SessionId(2);
pub const USER: UserId = UserId(7);

impl World {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        let mut world = Self {
            mailbox: Mailbox::new(USER, Arc::clone(&limits)),
            host: Host::new(1, 1),
            table: Table::default(),
            limits,
            restored: Restored::default(),
            requests: VecDeque::new(),
            answers: BTreeMap::new(),
            notices: Vec::new(),
            logs: Vec::new(),
            stirred: Vec::new(),
            matches: VecDeque::new(),
            timers: BTreeMap::new(),
            now: 1_000_000,
            erased: false,
            account: None,
            resumed: 0,
            next_token: 0,
            lives: 1,
        };
        world.tell_account(AccountFacts {
            address: "ann@example.org".into(),
            quota_bytes: None,
            quota_messages: None,
            enabled: true,
        });
        world
    }

    pub fn tell_account(&mut self, facts: AccountFacts) {
        self.account = Some(facts.clone());
        self.step(Input::AccountIs(facts));
    }

    pub fn step(&mut self, input: Input) {
        let mut stepped = Stepped::default();
        let now = (Mono(self.now * 1_000_000), Wall(1_700_000_000_000 + self.now as i64));
        self.host.step(&mut self.mailbox, &mut stepped, now, Budget::new(200), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in stepped.effects {
            match effect {
                Effect::Answer { to: _, token, done } => {
                    let before = self.answers.insert(token, done);
                    assert!(before.is_none(), "answered twice: {before:?}");
                }
                Effect::Dds { token, request } => self.requests.push_back((token, request)),
                Effect::Notify { session, notice } => self.notices.push((session, notice)),
                Effect::Match { token, job } => self.matches.push_back((token, job)),
                Effect::Log(event) => self.logs.push(event),
                Effect::Stirred { subscribers } => {
                    self.stirred.extend(subscribers.iter().map(|it| it.as_str().to_owned()));
                }
                Effect::Idle { .. } => {}
                Effect::Erased { .. } => self.erased = true,
            }
        }
        if stepped.yielded {
            self.resumed += 1;
            self.step(Input::Resumed);
        }
    }

    pub fn ask(&mut self, from: SessionId, task: UserTask) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.step(Input::Asked { from, token, task });
        token
    }

    /// Answers the oldest request.
    pub fn serve_one(&mut self) -> bool {
        let Some((token, request)) = self.requests.pop_front() else {
            return false;
        };
        let response = self.table.answer(request);
        self.step(Input::DdsDone { token, response });
        true
    }

    /// Answers requests and fires timers until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..1_000_000 {
            if self.serve_one() {
                continue;
            }
            if let Some((token, job)) = self.matches.pop_front() {
                let hits = job.run(&mut self.table.clone(), &NoIndex);
                self.step(Input::Matched { token, hits });
                continue;
            }
            let soon = self.now * 1_000_000 + 5_000_000_000;
            // The idle timer, the last one, does not count.
            let mut timers = self.timers.iter().filter(|(key, _)| key.0 != 2);
            let due = timers.find(|(_, at)| at.0 <= soon).map(|(key, _)| *key);
            let Some(key) = due else {
                return;
            };
            let at = self.timers.remove(&key).expect("just found");
            self.now = self.now.max(at.0 / 1_000_000);
            self.step(Input::TimerFired(key));
        }
        panic!("never settles");
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, from: SessionId, task: UserTask) -> Result<UserDone, TaskRefusal> {
        let token = self.ask(from, task);
        self.settle();
        self.answers.remove(&token).expect("answered")
    }

    pub fn done(&mut self, from: SessionId, task: UserTask) -> UserDone {
        let done = self.call(from, task.clone()).expect("not refused");
        assert!(!matches!(done, UserDone::Failed(_)), "{task:?}: {done:?}");
        done
    }

    pub fn error(&mut self, from: SessionId, task: UserTask) -> UserError {
        match self.call(from, task) {
            Ok(UserDone::Failed(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// The machine dies; of the requests under way the first `applied` reach the table. Another takes over.
    pub fn crash(&mut self, applied: usize) {
        for (_, request) in self.requests.drain(..).take(applied) {
            self.table.answer(request);
        }
        self.matches.clear();
        self.timers.clear();
        self.answers.clear();
        self.notices.clear();
        self.lives += 1;
        self.table.faults.clear();
        self.host = Host::new(self.lives, 1);
        self.mailbox = Mailbox::new(USER, Arc::clone(&self.limits)).restored(self.restored);
        if let Some(facts) = self.account.clone() {
            self.step(Input::AccountIs(facts));
        }
    }

    pub fn inbox(&mut self, from: SessionId) -> FolderOpened {
        self.open(from, "INBOX", OpenMode::ReadWrite)
    }

    pub fn open(&mut self, from: SessionId, name: &str, mode: OpenMode) -> FolderOpened {
        let task = UserTask::OpenFolder { name: folder(name), mode, known: None };
        match self.done(from, task) {
            UserDone::Opened(opened) => *opened,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&mut self, from: SessionId, folder: FolderId, since: ModSeq) -> FolderDiff {
        let task = UserTask::Sync { folder, since, expunges_told: since };
        match self.done(from, task) {
            UserDone::Synced(diff) => diff,
            other => panic!("{other:?}"),
        }
    }

    pub fn deliver(&mut self, number: u128) -> Uid {
        match self.done(ANN, UserTask::Deliver(delivery(number))) {
            UserDone::Delivered { uid, .. } => uid,
            other => panic!("{other:?}"),
        }
    }

    pub fn rows(&mut self, from: SessionId, folder: FolderId, want: Want) -> Vec<Row> {
        let mut all = Vec::new();
        let mut first = 1;
        loop {
            let uids = UidSet::from_range(first..=u32::MAX);
            let task = UserTask::Fetch { folder, uids, want, changed_since: None };
            let UserDone::Fetched { rows } = self.done(from, task) else { panic!("rows") };
            let Some(last) = rows.last() else {
                return all;
            };
            first = last.uid.0 + 1;
            all.extend(rows);
        }
    }

    pub fn section(
        &mut self,
        from: SessionId,
        (folder, uid): (FolderId, u32),
        section: Section,
    ) -> Bytes {
        let task =
            UserTask::ReadSection { folder, uid: Uid(uid), section, offset: 0, len: 100_000 };
        match self.done(from, task) {
            UserDone::Section(SectionRead::Page { bytes, total }) => {
                assert_eq!(bytes.len() as u64, total);
                bytes
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn store(
        &mut self,
        from: SessionId,
        folder: FolderId,
        (uids, change, flags): (&str, FlagChange, SystemFlags),
    ) -> Stored {
        let task = UserTask::Store {
            folder,
            uids: set(uids),
            change,
            flags,
            keywords: Vec::new(),
            unchanged_since: None,
        };
        match self.done(from, task) {
            UserDone::Stored(stored) => stored,
            other => panic!("{other:?}"),
        }
    }
}

impl crate::mailbox::BodyReader for Table {
    fn value(&mut self, _: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        Ok(self.entries.get(key).filter(|_| !self.elsewhere.1.contains(key)).cloned())
    }

    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal> {
        if self.elsewhere.0.contains(&blob) {
            return Ok(None);
        }
        match self.answer(Request::ReadBlob { blob, offset, len }) {
            Response::BlobRead(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }
}

pub fn folder(name: &str) -> FolderName {
    FolderName::new(name).expect("a name")
}

/// `1:3,7`.
pub fn set(text: &str) -> UidSet {
    let ranges = text.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        (first.parse().expect("a number"), last.parse().expect("a number"))
    });
    UidSet::from_ranges(ranges.collect())
}

/// A message with a number in it.
pub fn message(number: u128) -> Bytes {
    format!(
        "From: Sender {number} <s{number}@example.org>\r\nTo: ann@example.org\r\n\
         Subject: Number {number}\r\nMessage-ID: <m{number}@example.org>\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0100\r\n\r\nThis is body {number}.\r\n"
    )
    .into()
}

pub fn columns(message: &[u8]) -> Arc<Columns> {
    let mut scanner = crate::mime::Scanner::new(&crate::mime::Limits::default());
    scanner.push(message);
    Arc::new(scanner.finish())
}

pub fn delivery(number: u128) -> Deliver {
    let message = message(number);
    Deliver {
        delivery: DeliveryId(number),
        recipient: "ann@example.org".into(),
        folder: FolderName::inbox(),
        prefix: Bytes::from_static(b"Return-Path: <>\r\n"),
        columns: columns(&message),
        body: Body::Inline(message),
        filing: Filing::default(),
        promise: Promise::Open,
    }
}

pub fn new_message(number: u128) -> NewMessage {
    let message = message(number);
    NewMessage {
        flags: SystemFlags::default(),
        keywords: Vec::new(),
        internal_date: None,
        columns: columns(&message),
        body: Body::Inline(message),
    }
}

pub fn keyword(name: &str) -> Keyword {
    Keyword::new(name.as_bytes()).expect("an atom")
}
