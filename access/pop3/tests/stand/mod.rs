//! Runs sessions against a scripted node: transcripts of `C:` and `S:` lines, tasks answered from a small maildrop.

#![allow(dead_code, reason = "each test file uses its part of the stand")]

use bytes::Bytes;
use fsm::{Budget, Duration, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use mailstore::face::*;
use pop3::{Limits, Session};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A node that answers tasks at once, or holds them back; a client that takes output at once, or does not read.
pub struct Stand {
    session: Session,
    host: Host,
    stepped: Stepped<SessionEffect>,
    pub mono: Mono,
    pub sends: Vec<Bytes>,
    pub log: Vec<LogEvent>,
    pub tasks: Vec<Task>,
    pub held: VecDeque<(Token, Task)>,
    pub hold: Hold,
    pub drains: Drains,
    pub awaits_drained: bool,
    pub closed: bool,
    pub tls_wanted: bool,
    pub reading: bool,
    pub timers: BTreeMap<TimerKey, Mono>,
    /// Message texts; UIDs are 11, 12 ...
    pub messages: Vec<Bytes>,
    /// Answers instead of those of the maildrop, first to last.
    pub outcomes: VecDeque<Completion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Nothing,
    Everything,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drains {
    AtOnce,
    Never,
}

pub fn peer() -> Peer {
    Peer {
        session: SessionId(7),
        protocol: Protocol::Pop3,
        ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        hostname: "pop.example".into(),
        tls: None,
        tls_available: true,
        plaintext_auth: true,
        trusted: false,
    }
}

impl Stand {
    pub fn new() -> Self {
        Self::with(peer(), Limits::default())
    }

    pub fn with(peer: Peer, limits: Limits) -> Self {
        let mut stand = Self {
            session: Session::new(Arc::new(limits)),
            host: Host::new(1, 1),
            stepped: Stepped::default(),
            mono: Mono(0),
            sends: Vec::new(),
            log: Vec::new(),
            tasks: Vec::new(),
            held: VecDeque::new(),
            hold: Hold::Nothing,
            drains: Drains::AtOnce,
            awaits_drained: false,
            closed: false,
            tls_wanted: false,
            reading: true,
            timers: BTreeMap::new(),
            messages: vec![
                Bytes::from_static(b"A: 1\r\n\r\none\r\n.dot\r\n"),
                Bytes::from_static(b"A: 2\r\n\r\ntwo"),
            ],
            outcomes: VecDeque::new(),
        };
        stand.input(SessionInput::Opened(Arc::new(peer)));
        stand
    }

    pub fn logged_in() -> Self {
        let mut stand = Self::new();
        stand.log_in();
        stand
    }

    pub fn log_in(&mut self) {
        self.send("USER ann\r\nPASS secret\r\n");
        assert!(self.output().ends_with(" octets)\r\n"), "{}", self.output());
        self.sends.clear();
        self.tasks.clear();
    }

    pub fn digest(&self) -> u64 {
        let mut digest = fsm::Digest::default();
        self.session.digest(&mut digest);
        digest.value()
    }

    pub fn input(&mut self, input: SessionInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.step(input);
            if std::mem::take(&mut self.stepped.yielded) {
                inputs.push_back(SessionInput::Resumed);
            }
            while self.hold == Hold::Nothing
                && let Some((token, task)) = self.held.pop_front()
            {
                let completion = self.answer(&task);
                inputs.push_back(SessionInput::Completed { token, completion });
            }
            if self.drains == Drains::AtOnce && std::mem::take(&mut self.awaits_drained) {
                inputs.push_back(SessionInput::Drained);
            }
        }
    }

    fn step(&mut self, input: SessionInput) {
        let now = (self.mono, Wall(0));
        self.host.step(&mut self.session, &mut self.stepped, now, Budget::new(2000), input);
        for op in self.stepped.timers.drain(..) {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in std::mem::take(&mut self.stepped.effects) {
            assert!(!self.closed, "no effect follows Close: {effect:?}");
            match effect {
                SessionEffect::Send(bytes) => self.sends.push(bytes),
                SessionEffect::Submit { token, lane: _, task } => {
                    self.tasks.push(task.clone());
                    self.held.push_back((token, task));
                }
                SessionEffect::AwaitDrained => self.awaits_drained = true,
                SessionEffect::PauseReading => self.reading = false,
                SessionEffect::ResumeReading => self.reading = true,
                SessionEffect::StartTls => self.tls_wanted = true,
                SessionEffect::Log(event) => self.log.push(event),
                SessionEffect::Close => self.closed = true,
                SessionEffect::Decide { .. } => panic!("POP3 asks nobody to decide"),
                SessionEffect::Identified { .. } => {}
            }
        }
    }

    pub fn release(&mut self) {
        let (token, task) = self.held.pop_front().expect("a task is held back");
        let completion = self.answer(&task);
        self.input(SessionInput::Completed { token, completion });
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.input(SessionInput::Received(Bytes::copy_from_slice(text.as_ref())));
    }

    /// Lets time pass; timers fire in order.
    pub fn pass(&mut self, time: Duration) {
        let until = self.mono.plus(time);
        while let Some((&key, &at)) = self.timers.iter().min_by_key(|(_, at)| **at)
            && at <= until
            && !self.closed
        {
            self.timers.remove(&key);
            self.mono = at;
            self.input(SessionInput::TimerFired(key));
        }
        self.mono = until;
    }

    fn answer(&mut self, task: &Task) -> Completion {
        match task {
            Task::Directory(DirectoryTask::Authenticate(attempt)) => {
                assert_eq!(attempt.protocol, Protocol::Pop3);
                Completion::Directory(authenticate(attempt))
            }
            Task::User { user, task } => {
                assert_eq!(*user, UserId(1));
                self.outcomes.pop_front().unwrap_or_else(|| Completion::User(self.maildrop(task)))
            }
            other => panic!("not for POP3: {other:?}"),
        }
    }

    fn maildrop(&self, task: &UserTask) -> UserDone {
        match task {
            UserTask::OpenMaildrop => UserDone::MaildropOpened(Maildrop {
                folder: FolderId(1),
                uid_validity: UidValidity(1_700_000_000),
                messages: (11..)
                    .zip(&self.messages)
                    .map(|(uid, text)| (Uid(uid), text.len() as u64))
                    .collect(),
            }),
            UserTask::ReadSection { folder: _, uid, section, offset, len } => {
                assert_eq!(*section, Section::WHOLE);
                assert!(*len <= SECTION_PAGE_BYTES_MAX);
                let text = &self.messages[uid.0 as usize - 11];
                let from = usize::try_from(*offset).expect("small").min(text.len());
                let to = usize::try_from(offset + len).expect("small").min(text.len());
                let (bytes, total) = (text.slice(from..to), text.len() as u64);
                UserDone::Section(SectionRead::Page { bytes, total })
            }
            UserTask::CommitMaildrop { .. } | UserTask::ReleaseMaildrop => UserDone::Done,
            other => panic!("not for POP3: {other:?}"),
        }
    }

    pub fn output(&self) -> String {
        let all: Vec<u8> = self.sends.iter().flat_map(|bytes| bytes.to_vec()).collect();
        String::from_utf8(all).expect("tests send UTF-8")
    }

    pub fn user_tasks(&self) -> Vec<&UserTask> {
        let all = self.tasks.iter();
        all.filter_map(|task| match task {
            Task::User { user: _, task } => Some(task),
            Task::Directory(_) | Task::Delivery(_) | Task::Blob(_) => None,
        })
        .collect()
    }
}

fn authenticate(attempt: &Authenticate) -> DirectoryDone {
    let refused = DirectoryDone::AuthRefused;
    match (&*attempt.name, &*attempt.secret) {
        (b"ann" | b"ann@example.org", b"secret" | b"two words ") => {
            DirectoryDone::Authenticated(Account {
                user: UserId(1),
                address: "ann@example.org".into(),
            })
        }
        (b"off", _) => refused(AuthRefusal::Disabled),
        (b"slow", _) => refused(AuthRefusal::Throttled),
        (b"down", _) => refused(AuthRefusal::Unavailable),
        _ => refused(AuthRefusal::WrongCredentials),
    }
}

/// A transcript: runs of `C:` lines, each answered by the `S:` lines behind it.
pub struct Transcript {
    exchanges: Vec<(Vec<u8>, String)>,
}

impl Transcript {
    pub fn parse(text: &str) -> Self {
        let mut exchanges = vec![(Vec::new(), String::new())];
        for line in text.lines().map(str::trim_start) {
            let last = exchanges.last_mut().expect("begins with one");
            if let Some(client) = line.strip_prefix("C:") {
                let client = client.strip_prefix(' ').unwrap_or(client);
                let sent = [client.as_bytes(), b"\r\n"].concat();
                if last.1.is_empty() {
                    last.0.extend(sent);
                } else {
                    exchanges.push((sent, String::new()));
                }
            } else if let Some(server) = line.strip_prefix("S:") {
                last.1.push_str(server.strip_prefix(' ').unwrap_or(server));
                last.1.push_str("\r\n");
            } else {
                assert!(line.is_empty() || line.starts_with('#'), "no transcript line: {line}");
            }
        }
        Self { exchanges }
    }

    /// Plays it whole, then cut at every byte boundary, then byte by byte: each time the same output.
    pub fn play(&self, open: impl Fn() -> Stand) -> Stand {
        let whole = self.play_pieces(open(), usize::MAX, None);
        let bytes: usize = self.exchanges.iter().map(|(client, _)| client.len()).sum();
        for cut in 1..bytes {
            let stand = self.play_pieces(open(), usize::MAX, Some(cut));
            assert_eq!(stand.closed, whole.closed, "cut at {cut}");
        }
        self.play_pieces(open(), 1, None);
        whole
    }

    fn play_pieces(&self, mut stand: Stand, size: usize, cut: Option<usize>) -> Stand {
        let mut passed = 0;
        for (client, server) in &self.exchanges {
            let before = if client.is_empty() { 0 } else { stand.output().len() };
            let at = cut.and_then(|cut| cut.checked_sub(passed)).filter(|&at| at < client.len());
            let (first, second) = client.split_at(at.unwrap_or(0));
            for piece in first.chunks(size).chain(second.chunks(size)) {
                stand.send(piece);
            }
            passed += client.len();
            assert_eq!(&stand.output()[before..], server, "cut at {cut:?}");
        }
        stand
    }
}
