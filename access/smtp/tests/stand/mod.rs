//! Runs sessions against a scripted node: transcripts of `C:` and `S:` lines, tasks answered from small tables.

#![allow(dead_code, reason = "each test file uses its part of the stand")]

use bytes::Bytes;
use fsm::{Budget, Duration, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use mailstore::face::*;
use smtp::{Limits, Session};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A node that answers tasks at once, or holds them back.
pub struct Stand {
    session: Session,
    host: Host,
    stepped: Stepped<SessionEffect>,
    pub mono: Mono,
    pub wall: Wall,
    /// Everything sent, as it was sent.
    pub sends: Vec<Bytes>,
    pub log: Vec<LogEvent>,
    pub tasks: Vec<Task>,
    pub held: VecDeque<(Token, Task)>,
    pub hold: Hold,
    pub closed: bool,
    pub tls_wanted: bool,
    pub reading: bool,
    pub timers: BTreeMap<TimerKey, Mono>,
    /// Answers of deliveries and acceptances, first to last; then success.
    pub outcomes: VecDeque<Completion>,
    /// Asked of deciding extensions, and not answered by the stand.
    pub questions: Vec<(Token, Arc<Question>)>,
    pub chunks: BTreeMap<(dds::BlobId, u32), Bytes>,
    pub dropped: Vec<dds::BlobId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Nothing,
    Everything,
}

pub fn peer(protocol: Protocol) -> Peer {
    Peer {
        session: SessionId(7),
        protocol,
        ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        hostname: "mx.example".into(),
        tls: None,
        tls_available: true,
        plaintext_auth: true,
        trusted: true,
    }
}

pub fn tls() -> TlsInfo {
    TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" }
}

impl Stand {
    pub fn new(protocol: Protocol) -> Self {
        Self::with(peer(protocol), Limits::default())
    }

    pub fn with(peer: Peer, limits: Limits) -> Self {
        let mut stand = Self {
            session: Session::new(Arc::new(limits)),
            host: Host::new(1, 1),
            stepped: Stepped::default(),
            mono: Mono(0),
            wall: Wall(1_795_237_275_000),
            sends: Vec::new(),
            log: Vec::new(),
            tasks: Vec::new(),
            held: VecDeque::new(),
            hold: Hold::Nothing,
            closed: false,
            tls_wanted: false,
            reading: true,
            timers: BTreeMap::new(),
            outcomes: VecDeque::new(),
            questions: Vec::new(),
            chunks: BTreeMap::new(),
            dropped: Vec::new(),
        };
        stand.input(SessionInput::Opened(Arc::new(peer)));
        stand
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
                let completion = self.answer(task);
                inputs.push_back(SessionInput::Completed { token, completion });
            }
        }
    }

    fn step(&mut self, input: SessionInput) {
        let now = (self.mono, self.wall);
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
                SessionEffect::Decide { token, question } => self.questions.push((token, question)),
                SessionEffect::PauseReading => self.reading = false,
                SessionEffect::ResumeReading => self.reading = true,
                SessionEffect::StartTls => self.tls_wanted = true,
                SessionEffect::Log(event) => self.log.push(event),
                SessionEffect::Close => self.closed = true,
                SessionEffect::AwaitDrained | SessionEffect::Identified { .. } => {}
            }
        }
    }

    /// Answers the oldest task that is held back.
    pub fn release(&mut self) {
        let (token, task) = self.held.pop_front().expect("a task is held back");
        let completion = self.answer(task);
        self.input(SessionInput::Completed { token, completion });
    }

    /// Answers the oldest task that is held back with `completion`.
    pub fn release_with(&mut self, completion: Completion) {
        let (token, _) = self.held.pop_front().expect("a task is held back");
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

    fn answer(&mut self, task: Task) -> Completion {
        match task {
            Task::Directory(DirectoryTask::Resolve { address }) => {
                Completion::Directory(DirectoryDone::Resolved(resolve(&address)))
            }
            Task::Directory(DirectoryTask::Authenticate(attempt)) => {
                Completion::Directory(authenticate(&attempt))
            }
            Task::Directory(DirectoryTask::CheckSender { user, address }) => {
                let address = String::from_utf8_lossy(&address).to_lowercase();
                let own = ["ann@example.org", "ann.alias@example.org"];
                let allowed = user == UserId(1) && own.contains(&address.as_str());
                Completion::Directory(DirectoryDone::SenderChecked { allowed })
            }
            Task::Directory(DirectoryTask::Admin(_) | DirectoryTask::CheckCode(_)) => {
                panic!("a session of mail asks no such thing")
            }
            Task::User { user: _, task: UserTask::Deliver(_) } => {
                self.outcomes.pop_front().unwrap_or(Completion::User(UserDone::Delivered {
                    folder: FolderName::inbox(),
                    uid: Uid(1),
                }))
            }
            Task::User { user: _, task } => panic!("not for SMTP: {task:?}"),
            Task::Delivery(DeliveryTask::Accept(_)) => {
                self.outcomes.pop_front().unwrap_or(Completion::Delivery(DeliveryDone::Accepted))
            }
            Task::Blob(BlobTask::PutChunk { blob, index, bytes, life: _ }) => {
                self.chunks.insert((blob, index), bytes);
                Completion::Blob(BlobDone::Written)
            }
            Task::Blob(BlobTask::Drop { blob }) => {
                self.dropped.push(blob);
                self.chunks.retain(|(of, _), _| *of != blob);
                Completion::Blob(BlobDone::Dropped)
            }
        }
    }

    /// All output, with queue ids made equal.
    pub fn output(&self) -> String {
        let all: Vec<u8> = self.sends.iter().flat_map(|bytes| bytes.to_vec()).collect();
        let mut text = String::from_utf8(all).expect("replies are UTF-8");
        let mut from = 0;
        while let Some(at) = text[from..].find("queued as ") {
            let id = from + at + "queued as ".len();
            text.replace_range(id..id + QueueId::CHARS, "ID");
            from = id;
        }
        text
    }

    /// Messages handed over, in order: who for, and the body as it will be read.
    pub fn delivered(&self) -> Vec<Delivered> {
        let mut all = Vec::new();
        for task in &self.tasks {
            match task {
                Task::User { user, task: UserTask::Deliver(deliver) } => all.push(Delivered {
                    users: vec![*user],
                    recipients: vec![deliver.recipient.to_string()],
                    prefix: text(&deliver.prefix),
                    body: text(&self.body(&deliver.body)),
                    columns: Arc::clone(&deliver.columns),
                }),
                Task::Delivery(DeliveryTask::Accept(acceptance)) => all.push(Delivered {
                    users: acceptance.recipients.iter().map(|r| r.user).collect(),
                    recipients: acceptance
                        .recipients
                        .iter()
                        .map(|r| r.recipient.to_string())
                        .collect(),
                    prefix: acceptance.recipients.iter().map(|r| text(&r.prefix)).collect(),
                    body: text(&self.body(&acceptance.body)),
                    columns: Arc::clone(&acceptance.columns),
                }),
                Task::User { .. } | Task::Directory(_) | Task::Blob(_) => {}
            }
        }
        all
    }

    pub fn body(&self, body: &Body) -> Bytes {
        match body {
            Body::Inline(bytes) => bytes.clone(),
            Body::Blob { blob, len, holders: _ } => {
                let chunks = self.chunks.range((*blob, 0)..=(*blob, u32::MAX));
                let chunks: Vec<&Bytes> = chunks.map(|(_, bytes)| bytes).collect();
                let (last, full) = chunks.split_last().expect("a blob has chunks");
                assert!(full.iter().all(|chunk| chunk.len() == dds::CHUNK_BYTES));
                assert!(last.len() <= dds::CHUNK_BYTES && !last.is_empty());
                let all: Vec<u8> = chunks.iter().flat_map(|bytes| bytes.to_vec()).collect();
                assert_eq!(all.len() as u64, *len);
                Bytes::from(all)
            }
        }
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Debug)]
pub struct Delivered {
    pub users: Vec<UserId>,
    pub recipients: Vec<String>,
    pub prefix: String,
    pub body: String,
    pub columns: Arc<Columns>,
}

/// ann and bob are users of example.org; `team` is both, `ann.alias` leads to ann.
fn resolve(address: &Bytes) -> Resolved {
    let address = String::from_utf8_lossy(address).to_lowercase();
    let user = |id: u64, name: &str| Recipient {
        user: UserId(id),
        address: format!("{name}@example.org").into(),
    };
    match address.as_str() {
        "ann@example.org" | "ann.alias@example.org" | "\"ann\"@example.org" => {
            Resolved::Local([user(1, "ann")].into())
        }
        "bob@example.org" => Resolved::Local([user(2, "bob")].into()),
        "грета@example.org" => Resolved::Local([user(3, "грета")].into()),
        "team@example.org" => Resolved::Local([user(1, "ann"), user(2, "bob")].into()),
        "postmaster" => Resolved::Local([user(1, "ann")].into()),
        "off@example.org" => Resolved::Disabled,
        address if address.ends_with("@example.org") => Resolved::Unknown,
        address if address.contains('@') => Resolved::NotLocal,
        _ => Resolved::Malformed,
    }
}

fn authenticate(attempt: &Authenticate) -> DirectoryDone {
    match (&*attempt.name, &*attempt.secret) {
        (b"ann@example.org", b"secret") => DirectoryDone::Authenticated(Account {
            user: UserId(1),
            address: "ann@example.org".into(),
        }),
        (b"slow@example.org", _) => DirectoryDone::AuthRefused(AuthRefusal::Throttled),
        _ => DirectoryDone::AuthRefused(AuthRefusal::WrongCredentials),
    }
}

/// A transcript: runs of `C:` lines, each answered by the `S:` lines behind it. `C:` text ends with CRLF unless it ends with
/// `\`; `\r`, `\n`, `\0` and `\\` stand for themselves. Lines that begin with `#` say what is shown.
pub struct Transcript {
    exchanges: Vec<(Vec<u8>, String)>,
}

impl Transcript {
    pub fn parse(text: &str) -> Self {
        let mut exchanges = vec![(Vec::new(), String::new())];
        for line in text.lines().map(str::trim_start) {
            if let Some(client) = line.strip_prefix("C:") {
                let last = exchanges.last_mut().expect("begins with one");
                if !last.1.is_empty() {
                    exchanges.push((Vec::new(), String::new()));
                }
                let last = exchanges.last_mut().expect("begins with one");
                last.0.extend(unescape(client.strip_prefix(' ').unwrap_or(client)));
            } else if let Some(server) = line.strip_prefix("S:") {
                let last = exchanges.last_mut().expect("begins with one");
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
        let whole = self.play_cut(open(), None);
        let bytes: usize = self.exchanges.iter().map(|(client, _)| client.len()).sum();
        for cut in 1..bytes {
            let stand = self.play_cut(open(), Some(cut));
            assert_eq!(stand.closed, whole.closed, "cut at {cut}");
        }
        let mut stand = open();
        for (client, server) in &self.exchanges {
            let before = stand.output().len();
            for byte in client {
                stand.send([*byte]);
            }
            let expected = if client.is_empty() { 0 } else { before };
            assert_eq!(&stand.output()[expected..], server, "byte by byte");
        }
        whole
    }

    fn play_cut(&self, mut stand: Stand, cut: Option<usize>) -> Stand {
        let mut passed = 0;
        for (client, server) in &self.exchanges {
            let before = if client.is_empty() { 0 } else { stand.output().len() };
            match cut.and_then(|cut| cut.checked_sub(passed)) {
                Some(at) if at > 0 && at < client.len() => {
                    stand.send(&client[..at]);
                    stand.send(&client[at..]);
                }
                _ if client.is_empty() => {}
                _ => stand.send(client),
            }
            passed += client.len();
            assert_eq!(&stand.output()[before..], server, "cut at {cut:?}");
        }
        stand
    }
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, chars.peek().copied()) {
            ('\\', None) => return bytes,
            ('\\', Some(escaped)) => {
                bytes.push(match escaped {
                    'r' => b'\r',
                    'n' => b'\n',
                    '0' => 0,
                    '\\' => b'\\',
                    other => panic!("no escape: {other}"),
                });
                chars.next();
            }
            (plain, _) => bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
