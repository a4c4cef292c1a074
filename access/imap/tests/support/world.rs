//! Sessions and the small master, joined: effects run to the end, in order.

use super::fake::Fake;
use super::real::Real;
use bytes::Bytes;
use fsm::{Budget, Duration, Host, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use imap::{Limits, Session};
use mailstore::face::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// One client's end.
pub struct Client {
    machine: Session,
    host: Host,
    pub output: Vec<u8>,
    pub closed: bool,
    pub reading: bool,
    pub tls_asked: bool,
    pub sent_since_drained: usize,
    pub drain_asked: bool,
    pub drains_asked: u64,
    pub timers: BTreeMap<TimerKey, Mono>,
    pub logged: Vec<LogEvent>,
}

/// Everything together.
pub struct World {
    pub fake: Fake,
    /// The production master instead of the small one.
    pub real: Option<Box<Real>>,
    pub clients: Vec<Client>,
    pub now: Mono,
    /// Tasks wait until this is false.
    pub hold_tasks: bool,
    /// Nobody reads what is sent.
    pub stuck: bool,
    turns: u64,
    tasks: VecDeque<(usize, Token, Task)>,
    inputs: VecDeque<(usize, SessionInput)>,
    pub limits: Arc<Limits>,
}

pub fn peer(session: u64) -> Peer {
    Peer {
        session: SessionId(session),
        protocol: Protocol::Imap,
        ip: [127, 0, 0, 1].into(),
        hostname: "mx.example.org".into(),
        tls: None,
        tls_available: false,
        plaintext_auth: true,
        trusted: false,
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            fake: Fake::new(),
            real: None,
            turns: 0,
            clients: Vec::new(),
            now: Mono(1_000_000_000),
            hold_tasks: false,
            stuck: false,
            tasks: VecDeque::new(),
            inputs: VecDeque::new(),
            limits: Arc::new(Limits::default()),
        }
    }

    pub fn connect(&mut self) -> usize {
        self.connect_as(peer(self.clients.len() as u64))
    }

    pub fn connect_as(&mut self, peer: Peer) -> usize {
        let index = self.clients.len();
        self.clients.push(Client {
            machine: Session::new(Arc::clone(&self.limits)),
            host: Host::new(1, index as u64),
            output: Vec::new(),
            closed: false,
            reading: true,
            tls_asked: false,
            sent_since_drained: 0,
            drain_asked: false,
            drains_asked: 0,
            timers: BTreeMap::new(),
            logged: Vec::new(),
        });
        self.input(index, SessionInput::Opened(Arc::new(peer)));
        self.run();
        index
    }

    /// What client `index` has got since the last call.
    pub fn take(&mut self, index: usize) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.clients[index].output)).into_owned()
    }

    pub fn send(&mut self, index: usize, bytes: &[u8]) {
        self.input(index, SessionInput::Received(Bytes::copy_from_slice(bytes)));
        self.run();
    }

    /// Sends one line and returns what came back.
    pub fn ask(&mut self, index: usize, line: &str) -> String {
        self.send(index, format!("{line}\r\n").as_bytes());
        self.take(index)
    }

    pub fn input(&mut self, index: usize, input: SessionInput) {
        self.inputs.push_back((index, input));
    }

    pub fn notify(&mut self, notices: Vec<(usize, Notice)>) {
        for (index, notice) in notices {
            self.input(index, SessionInput::Notified(notice));
        }
    }

    /// Time passes; timers fire.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        for index in 0..self.clients.len() {
            let due: Vec<TimerKey> = self.clients[index]
                .timers
                .iter()
                .filter(|(_, at)| **at <= self.now)
                .map(|(key, _)| *key)
                .collect();
            for key in due {
                self.clients[index].timers.remove(&key);
                self.input(index, SessionInput::TimerFired(key));
            }
        }
        self.run();
    }

    /// Runs until nothing is left to do.
    pub fn run(&mut self) {
        loop {
            if let Some((index, input)) = self.inputs.pop_front() {
                self.step(index, input);
            } else if let Some((index, token, task)) =
                (!self.hold_tasks).then(|| self.tasks.pop_front()).flatten()
            {
                self.serve(index, token, task);
            } else if !self.hold_tasks && self.work_one() {
            } else if !self.stuck
                && let Some(index) = self.clients.iter().position(|client| client.drain_asked)
            {
                self.clients[index].drain_asked = false;
                self.clients[index].sent_since_drained = 0;
                self.input(index, SessionInput::Drained);
            } else {
                return;
            }
        }
    }

    /// One task is taken up, of those held, or one step of the master's work is done.
    pub fn answer_one(&mut self) -> bool {
        self.turns += 1;
        let busy = if self.turns.is_multiple_of(3) || self.tasks.is_empty() {
            self.work_one() || self.serve_one()
        } else {
            self.serve_one()
        };
        self.run();
        busy
    }

    /// The task that came first is taken up last.
    pub fn overtake(&mut self) {
        self.tasks.rotate_left(1);
    }

    fn serve_one(&mut self) -> bool {
        let Some((index, token, task)) = self.tasks.pop_front() else { return false };
        self.serve(index, token, task);
        true
    }

    fn serve(&mut self, index: usize, token: Token, task: Task) {
        match (&mut self.real, &task) {
            (Some(real), Task::User { .. } | Task::Blob(_)) => {
                real.ask(index, token, task);
            }
            _ => {
                let said = self.fake.answer(index, task);
                self.input(index, SessionInput::Completed { token, completion: said.completion });
                self.notify(said.notices);
            }
        }
    }

    fn work_one(&mut self) -> bool {
        let now = (self.now, Wall(1_795_000_000_000));
        let Some(real) = &mut self.real else { return false };
        let busy = real.work_one(now);
        let said: Vec<(usize, SessionInput)> = real.said.drain(..).collect();
        self.inputs.extend(said);
        busy
    }

    /// Tasks nobody has taken up.
    pub fn has_tasks(&self) -> bool {
        !self.tasks.is_empty()
    }

    fn step(&mut self, index: usize, input: SessionInput) {
        let client = &mut self.clients[index];
        if client.closed {
            return;
        }
        let mut stepped = Stepped::default();
        let now = (self.now, Wall(1_795_000_000_000));
        client.host.step(&mut client.machine, &mut stepped, now, Budget::new(2000), input);
        for effect in stepped.effects {
            assert!(!client.closed, "nothing comes behind Close: {effect:?}");
            match effect {
                SessionEffect::Send(bytes) => {
                    assert!(!bytes.is_empty());
                    client.sent_since_drained += bytes.len();
                    client.output.extend_from_slice(&bytes);
                }
                SessionEffect::AwaitDrained => {
                    client.drain_asked = true;
                    client.drains_asked += 1;
                }
                SessionEffect::Submit { token, lane: _, task } => {
                    self.tasks.push_back((index, token, task));
                }
                SessionEffect::Decide { .. } => panic!("IMAP asks nobody to decide"),
                SessionEffect::PauseReading => client.reading = false,
                SessionEffect::ResumeReading => client.reading = true,
                SessionEffect::StartTls => client.tls_asked = true,
                SessionEffect::Identified { address: _ } => {}
                SessionEffect::Log(event) => client.logged.push(event),
                SessionEffect::Close => client.closed = true,
            }
        }
        for timer in stepped.timers {
            match timer {
                TimerOp::Arm { key, at } => {
                    client.timers.insert(key, at);
                }
                TimerOp::Cancel { key } => {
                    client.timers.remove(&key);
                }
            }
        }
        if stepped.yielded {
            self.inputs.push_back((index, SessionInput::Resumed));
        }
    }
}
