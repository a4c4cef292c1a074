//! Prints what the master of a mailbox costs: a delivery, and the large orders on a folder of 100,000 messages. The hash
//! table is a map in memory, so that the numbers are those of the master alone; its own time is left out.
//!
//! `cargo run --release -p mailstore --example mailbox_cost`

#![expect(clippy::disallowed_types, reason = "an example measures time")]

use bytes::Bytes;
use dds::{Claimed, Entry, Epoch, Op, Outcome, Request, Response, Seq, SortKey, Version};
use fsm::{Budget, Host, Mono, Stepped, Token, Wall};
use mailstore::face::*;
use mailstore::mailbox::{Effect, Input, Limits, Mailbox};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SESSION: SessionId = SessionId(1);
const MESSAGES: u32 = 100_000;

#[derive(Default)]
struct Table {
    entries: BTreeMap<SortKey, Bytes>,
    epoch: u64,
}

impl Table {
    fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Claim { .. } => {
                self.epoch += 1;
                let previous = (Epoch(self.epoch - 1), Seq(0));
                Response::Claimed(Claimed { epoch: Epoch(self.epoch), previous })
            }
            Request::Write(batch) => {
                for op in batch.ops {
                    match op {
                        Op::Put { key, value } => {
                            self.entries.insert(key, value);
                        }
                        Op::Delete { key } => {
                            self.entries.remove(&key);
                        }
                        Op::DeleteRange { from, to } => {
                            let range = self.entries.range(from..to);
                            let keys: Vec<SortKey> = range.map(|(key, _)| key.clone()).collect();
                            for key in keys {
                                self.entries.remove(&key);
                            }
                        }
                    }
                }
                Response::Wrote(Outcome::Committed { version: Version(1) })
            }
            Request::Get { keys, .. } => Response::Got(
                keys.iter().map(|key| Some((self.entries.get(key)?.clone(), Version(1)))).collect(),
            ),
            Request::Scan { from, to, entries_max, .. } => {
                let mut entries = Vec::new();
                let mut bytes = 0;
                let mut more = false;
                for (key, value) in self.entries.range(from..to) {
                    if entries.len() >= entries_max || bytes > 1024 * 1024 {
                        more = true;
                        break;
                    }
                    bytes += value.len();
                    let (key, value) = (key.clone(), value.clone());
                    entries.push(Entry { key, value, version: Version(1) });
                }
                Response::Scanned { entries, more }
            }
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    mailbox: Mailbox,
    host: Host,
    table: Table,
    requests: VecDeque<(Token, Request)>,
    answer: Option<UserDone>,
    own: Duration,
    longest: Duration,
    tokens: u64,
}

impl World {
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut stepped = Stepped::default();
            let now = (Mono(1), Wall(1_700_000_000_000));
            let begin = Instant::now();
            self.host.step(&mut self.mailbox, &mut stepped, now, Budget::new(2000), input);
            let took = begin.elapsed();
            self.own += took;
            self.longest = self.longest.max(took);
            for effect in stepped.effects {
                match effect {
                    Effect::Answer { done, .. } => self.answer = done.ok(),
                    Effect::Dds { token, request } => self.requests.push_back((token, request)),
                    Effect::Match { .. }
                    | Effect::Notify { .. }
                    | Effect::Stirred { .. }
                    | Effect::Log(_)
                    | Effect::Idle { .. }
                    | Effect::Erased { .. } => {}
                }
            }
            if stepped.yielded {
                inputs.push_back(Input::Resumed);
            }
        }
    }

    fn call(&mut self, task: UserTask) -> UserDone {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.step(Input::Asked { from: SESSION, token, task });
        loop {
            if let Some(done) = self.answer.take() {
                return done;
            }
            let (token, request) = self.requests.pop_front().expect("answered");
            let response = self.table.answer(request);
            self.step(Input::DdsDone { token, response });
        }
    }

    fn settle(&mut self) {
        while let Some((token, request)) = self.requests.pop_front() {
            let response = self.table.answer(request);
            self.step(Input::DdsDone { token, response });
        }
        self.answer = None;
    }

    /// Runs and prints the master's own time, and its longest step.
    fn timed<T>(&mut self, what: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        self.settle();
        self.own = Duration::ZERO;
        self.longest = Duration::ZERO;
        let begin = Instant::now();
        let done = run(self);
        let wall = begin.elapsed();
        println!(
            "{what:34} own {:>9.3} ms   longest step {:>8.3} ms   with the table {:>9.3} ms",
            self.own.as_secs_f64() * 1e3,
            self.longest.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3
        );
        done
    }

    fn restart(&mut self) {
        self.settle();
        self.mailbox = Mailbox::new(UserId(1), Arc::new(Limits::default()));
        self.tell_account();
    }

    fn tell_account(&mut self) {
        self.step(Input::AccountIs(AccountFacts {
            address: "ann@example.org".into(),
            quota_bytes: None,
            quota_messages: None,
            enabled: true,
        }));
    }

    fn open(&mut self) -> FolderOpened {
        let task = UserTask::OpenFolder {
            name: FolderName::inbox(),
            mode: OpenMode::ReadWrite,
            known: None,
        };
        match self.call(task) {
            UserDone::Opened(opened) => *opened,
            other => panic!("{other:?}"),
        }
    }

    fn fetch_all(&mut self, folder: FolderId, want: Want) -> usize {
        let mut first = 1;
        let mut count = 0;
        loop {
            let uids = UidSet::from_range(first..=first + 511);
            let task = UserTask::Fetch { folder, uids, want, changed_since: None };
            let UserDone::Fetched { rows } = self.call(task) else { panic!("rows") };
            count += rows.len();
            first += 512;
            if first > MESSAGES {
                return count;
            }
        }
    }

    fn search(&mut self, folder: FolderId, criteria: Criteria) -> u64 {
        match self.call(UserTask::Search { folder, criteria: Arc::new(criteria) }) {
            UserDone::Found { uids, .. } => uids.len(),
            other => panic!("{other:?}"),
        }
    }

    fn store(&mut self, folder: FolderId, change: FlagChange, flags: u8) {
        let task = UserTask::Store {
            folder,
            uids: UidSet::from_range(1..=MESSAGES),
            change,
            flags: SystemFlags(flags),
            keywords: Vec::new(),
            unchanged_since: None,
        };
        self.call(task);
    }
}

fn deliver(number: u32) -> Deliver {
    let message = Bytes::from(format!(
        "From: Sender {number} <s{number}@example.org>\r\nTo: ann@example.org\r\n\
         Subject: Number {number}\r\nMessage-ID: <m{number}@example.org>\r\n\
         Date: Sat, 21 Nov 2026 10:00:00 +0100\r\n\r\n{}\r\n",
        "body ".repeat(40)
    ));
    let mut scanner = mailstore::mime::Scanner::new(&mailstore::mime::Limits::default());
    scanner.push(&message);
    Deliver {
        delivery: DeliveryId(u128::from(number)),
        recipient: "ann@example.org".into(),
        folder: FolderName::inbox(),
        prefix: Bytes::from_static(b"Return-Path: <>\r\n"),
        columns: Arc::new(scanner.finish()),
        body: Body::Inline(message),
        filing: mailstore::face::Filing::default(),
        promise: Promise::Open,
    }
}

fn main() {
    let mut world = World {
        mailbox: Mailbox::new(UserId(1), Arc::new(Limits::default())),
        host: Host::new(1, 1),
        table: Table::default(),
        requests: VecDeque::new(),
        answer: None,
        own: Duration::ZERO,
        longest: Duration::ZERO,
        tokens: 0,
    };
    world.tell_account();
    let messages: Vec<Deliver> = (1..=MESSAGES).map(deliver).collect();
    world.timed("100,000 deliveries, housekeeping in", |world| {
        for message in messages {
            world.call(UserTask::Deliver(message));
        }
        world.settle();
    });
    world.restart();
    let folder = world.timed("SELECT after a restart", |world| world.open().folder);
    world.timed("SELECT again", |world| world.open());
    let all = Want { envelope: true, body: false, structure: false };
    world.timed("FETCH FLAGS of all", |world| world.fetch_all(folder, Want::default()));
    world.timed("FETCH ENVELOPE of all", |world| world.fetch_all(folder, all));
    let from = |text: &'static str| Criteria::From(Bytes::from_static(text.as_bytes()));
    world.timed("SEARCH FROM, first", |world| world.search(folder, from("sender 77")));
    world.timed("SEARCH FROM, again", |world| world.search(folder, from("s999@")));
    let since = Criteria::InternalDate(DayTest::Since(19_000));
    world.timed("SEARCH SINCE", |world| world.search(folder, since));
    let unseen = Criteria::Not(Box::new(Criteria::Flag(SystemFlag::Seen)));
    world.timed("SEARCH UNSEEN", |world| world.search(folder, unseen));
    world.timed("STORE +FLAGS on all", |world| world.store(folder, FlagChange::Add, 1));
    world.timed("STORE -FLAGS on all", |world| world.store(folder, FlagChange::Remove, 1));
    world.timed("housekeeping", World::settle);
    world.timed("STORE +FLAGS \\Deleted on all", |world| world.store(folder, FlagChange::Add, 8));
    world.timed("EXPUNGE of all", |world| world.call(UserTask::Expunge { folder, uids: None }));
}
