//! What the session machine costs a row, over a folder of 100,000 messages. `cargo bench -p imap
//! --bench session`.
#![expect(clippy::disallowed_types, reason = "a benchmark measures time")]

use bytes::Bytes;
use fsm::{Budget, Host, Mono, Stepped, Wall};
use imap::{Limits, Session};
use mailstore::face::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of the folder.
const MESSAGES: u32 = 100_000;
/// Runs of each; the best counts.
const RUNS: usize = 5;

fn main() {
    println!("{:<44} {:>10} {:>10} {:>12}", "100,000 messages", "ms", "ns/row", "bytes");
    for (name, uids) in [("without gaps", whole()), ("every third gone", holes())] {
        for command in [
            "FETCH 1:* FLAGS",
            "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
            "FETCH 1:* ENVELOPE",
            "STORE 1:* +FLAGS (\\Flagged)",
            "SEARCH ALL",
        ] {
            let (best, bytes) = (0..RUNS)
                .map(|_| Bench::new(uids.clone()).run(command))
                .min()
                .expect("several runs");
            let rows = uids.len() as f64;
            let nanos = best.as_nanos() as f64;
            println!(
                "{:<44} {:>10.2} {:>10.1} {:>12}",
                format!("{command}, {name}"),
                nanos / 1e6,
                nanos / rows,
                bytes
            );
        }
    }
}

fn whole() -> UidSet {
    UidSet::from_range(1..=MESSAGES)
}

fn holes() -> UidSet {
    UidSet::from_ranges((0..MESSAGES / 2).map(|at| (at * 3 + 1, at * 3 + 2)).collect())
}

struct Bench {
    session: Session,
    host: Host,
    uids: UidSet,
    spent: Duration,
    bytes: usize,
    flagged: bool,
}

impl Bench {
    fn new(uids: UidSet) -> Self {
        let session = Session::new(Arc::new(Limits::default()));
        let host = Host::new(1, 1);
        let mut bench =
            Self { session, host, uids, spent: Duration::ZERO, bytes: 0, flagged: false };
        bench.feed(SessionInput::Opened(Arc::new(Peer {
            session: SessionId(1),
            protocol: Protocol::Imap,
            ip: [127, 0, 0, 1].into(),
            hostname: "mx.example.org".into(),
            tls: None,
            tls_available: false,
            plaintext_auth: true,
            trusted: false,
        })));
        bench.feed(SessionInput::Received(Bytes::from_static(b"a LOGIN a b\r\n")));
        bench.feed(SessionInput::Received(Bytes::from_static(b"b SELECT INBOX\r\n")));
        bench
    }

    fn run(mut self, command: &str) -> (Duration, usize) {
        (self.spent, self.bytes) = (Duration::ZERO, 0);
        self.feed(SessionInput::Received(Bytes::from(format!("c {command}\r\n"))));
        (self.spent, self.bytes)
    }

    /// Runs an input and all that follows from it; only the time in the session counts.
    fn feed(&mut self, input: SessionInput) {
        let mut inputs = vec![input];
        let mut stepped = Stepped::default();
        while let Some(input) = inputs.pop() {
            let begin = Instant::now();
            let now = (Mono(1), Wall(1));
            self.host.step(&mut self.session, &mut stepped, now, Budget::new(2000), input);
            self.spent += begin.elapsed();
            if std::mem::take(&mut stepped.yielded) {
                inputs.push(SessionInput::Resumed);
            }
            for effect in stepped.effects.drain(..) {
                match effect {
                    SessionEffect::Send(bytes) => self.bytes += bytes.len(),
                    SessionEffect::AwaitDrained => inputs.push(SessionInput::Drained),
                    SessionEffect::Submit { token, lane: _, task } => {
                        let completion = self.answer(task);
                        inputs.push(SessionInput::Completed { token, completion });
                    }
                    SessionEffect::PauseReading
                    | SessionEffect::ResumeReading
                    | SessionEffect::StartTls
                    | SessionEffect::Decide { .. }
                    | SessionEffect::Identified { .. }
                    | SessionEffect::Log(_)
                    | SessionEffect::Close => {}
                }
            }
        }
    }

    fn answer(&mut self, task: Task) -> Completion {
        let task = match task {
            Task::Directory(_) => {
                return Completion::Directory(DirectoryDone::Authenticated(Account {
                    user: UserId(1),
                    address: "a@example.org".into(),
                }));
            }
            Task::User { user: _, task } => task,
            Task::Delivery(_) | Task::Blob(_) => panic!("{task:?}"),
        };
        Completion::User(match task {
            UserTask::OpenFolder { .. } => UserDone::Opened(Box::new(FolderOpened {
                folder: FolderId(1),
                uid_validity: UidValidity(1),
                uid_next: Uid(1_000_000),
                highest_mod_seq: ModSeq(1_000),
                uids: Arc::new(self.uids.clone()),
                recent: UidSet::new(),
                unseen: 0,
                first_unseen: None,
                keywords: Arc::from([]),
                resync: None,
            })),
            UserTask::Fetch { uids, want, .. } => {
                UserDone::Fetched { rows: uids.iter().map(|uid| row(uid, want)).collect() }
            }
            UserTask::Store { uids, .. } => {
                self.flagged = true;
                UserDone::Stored(Stored {
                    mod_seq: ModSeq(1_001),
                    changed: uids,
                    modified: UidSet::new(),
                    keywords: Arc::from([]),
                })
            }
            UserTask::Sync { .. } => {
                let flags = flags();
                let changed =
                    self.uids.iter().map(|uid| FlagRow { uid, mod_seq: ModSeq(1_001), flags });
                UserDone::Synced(FolderDiff {
                    mod_seq: ModSeq(1_001),
                    uid_next: Uid(1_000_000),
                    vanished: UidSet::new(),
                    arrived: UidSet::new(),
                    recent: UidSet::new(),
                    changed: changed.collect(),
                    keywords: Arc::from([]),
                })
            }
            UserTask::Search { .. } => {
                UserDone::Found { uids: self.uids.clone(), highest_mod_seq: None }
            }
            other => panic!("{other:?}"),
        })
    }
}

fn flags() -> Flags {
    let system = SystemFlags::default().with(SystemFlag::Seen).with(SystemFlag::Answered);
    Flags { system, keywords: 0 }
}

fn row(uid: Uid, want: Want) -> Row {
    const ENVELOPE: &[u8] = b"(\"Sat, 21 Nov 2026 10:00:00 +0100\" \
        \"A subject of the usual length, more or less\" \
        ((\"Bob Builder\" NIL \"bob\" \"example.org\")) \
        ((\"Bob Builder\" NIL \"bob\" \"example.org\")) \
        ((\"Bob Builder\" NIL \"bob\" \"example.org\")) \
        ((\"Ann\" NIL \"ann\" \"example.org\")) NIL NIL NIL \
        \"<20261121100000.12345@example.org>\")";
    Row {
        uid,
        mod_seq: ModSeq(1),
        flags: flags(),
        internal_date: InternalDate { unix_seconds: 1_795_000_000, zone_minutes: 60 },
        saved: InternalDate::default(),
        bytes: 4_700,
        email_id: EmailId(1),
        thread_id: ThreadId(1),
        envelope: if want.envelope { Bytes::from_static(ENVELOPE) } else { Bytes::new() },
        body: Bytes::new(),
        structure: Bytes::new(),
    }
}
