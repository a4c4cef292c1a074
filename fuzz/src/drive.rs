//! The node around one session machine. The script is what the client says; a byte 0xFF in it
//! introduces an event that is not the client's, named by the byte behind it.

use crate::world::{NOW, World};
use bytes::Bytes;
use fsm::{Budget, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token};
use mailstore::face::{
    Completion, Notice, Peer, Protocol, SessionEffect, SessionId, SessionInput, Task, TaskRefusal,
    TlsInfo, UserDone, UserError,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Bytes that a session may queue before the client reads: `SessionEffect::AwaitDrained` says 256
/// KiB; a page more is forgiven.
const UNDRAINED_BYTES_MAX: usize = 1024 * 1024;
/// Tasks of one session under way at once, far above what any asks for.
const TASKS_MAX: usize = 1024;
/// Steps in a row without input from outside.
const STEPS_MAX: usize = 20_000;

struct Driver<M> {
    machine: M,
    host: Host,
    stepped: Stepped<SessionEffect>,
    world: World,
    now: Mono,
    tasks: VecDeque<(Token, Task)>,
    last_token: Option<Token>,
    timers: Vec<(TimerKey, Mono)>,
    awaits_drained: bool,
    undrained: usize,
    starts_tls: bool,
    closed: bool,
    /// The client reads, and tasks are answered, at once.
    prompt: bool,
    said: Vec<u8>,
}

/// Plays `script` to a session of `protocol` and checks what every session owes its node. Returns
/// all it sent.
pub fn drive<M>(machine: M, protocol: Protocol, script: &[u8]) -> Vec<u8>
where
    M: Machine<Input = SessionInput, Effect = SessionEffect>,
{
    let mut driver = Driver {
        machine,
        host: Host::new(1, 1),
        stepped: Stepped::default(),
        world: World::default(),
        now: Mono(1_000_000_000),
        tasks: VecDeque::new(),
        last_token: None,
        timers: Vec::new(),
        awaits_drained: false,
        undrained: 0,
        starts_tls: false,
        closed: false,
        prompt: true,
        said: Vec::new(),
    };
    driver.input(SessionInput::Opened(Arc::new(peer(protocol))));
    for (index, piece) in script.split(|&byte| byte == 0xff).enumerate() {
        let text = match piece.split_first() {
            Some((&what, text)) if index > 0 => {
                driver.outside(what);
                text
            }
            _ => piece,
        };
        if !text.is_empty() && !driver.starts_tls {
            driver.input(SessionInput::Received(Bytes::copy_from_slice(text)));
        }
    }
    driver.prompt = true;
    driver.settle();
    driver.input(SessionInput::PeerClosed);
    assert!(driver.closed, "a session whose client is gone closes once its tasks are done");
    driver.said
}

fn peer(protocol: Protocol) -> Peer {
    Peer {
        session: SessionId(1),
        protocol,
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        hostname: "mx.example.org".into(),
        tls: None,
        tls_available: true,
        plaintext_auth: true,
        trusted: true,
    }
}

impl<M> Driver<M>
where
    M: Machine<Input = SessionInput, Effect = SessionEffect>,
{
    fn input(&mut self, input: SessionInput) {
        self.step(input);
        self.settle();
    }

    /// Something that is not the client's doing.
    fn outside(&mut self, what: u8) {
        match what % 16 {
            0 => self.prompt = !self.prompt,
            1 => self.answer_oldest(),
            2 => self.refuse(TaskRefusal::Unavailable),
            3 => self.refuse(TaskRefusal::Overloaded),
            4..=6 => {
                if let Some(notice) = self.world.disturb(what) {
                    self.input(SessionInput::Notified(notice));
                }
            }
            7 => self.drain(),
            8 => self.fire_timer(),
            9 => self.input(SessionInput::ShuttingDown),
            10 => self.input(SessionInput::PeerClosed),
            11 => {
                if let Some(folder) = self.world.open_folder() {
                    self.input(SessionInput::Notified(Notice::FolderDeleted { folder }));
                }
            }
            12 => self.input(SessionInput::Notified(Notice::Kicked { reason: "by the operator".into() })),
            13 => self.input(SessionInput::Notified(Notice::MasterChanged)),
            14 => {
                if let Some((token, task)) = self.tasks.pop_back() {
                    let completion = self.world.answer(task);
                    self.input(SessionInput::Completed { token, completion });
                }
            }
            _ => self.fail(),
        }
    }

    /// Lets the node do what it does by itself.
    fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.closed {
                return;
            }
            if self.starts_tls {
                self.starts_tls = false;
                self.step(SessionInput::TlsStarted(TlsInfo { version: "TLSv1.3", cipher: "AES" }));
            } else if self.stepped.yielded {
                self.stepped.yielded = false;
                self.step(SessionInput::Resumed);
            } else if self.prompt && self.awaits_drained {
                self.awaits_drained = false;
                self.undrained = 0;
                self.step(SessionInput::Drained);
            } else if self.prompt && !self.tasks.is_empty() {
                let (token, task) = self.tasks.pop_front().expect("not empty");
                let completion = self.world.answer(task);
                self.step(SessionInput::Completed { token, completion });
            } else {
                return;
            }
        }
        panic!("the session never comes to rest");
    }

    fn step(&mut self, input: SessionInput) {
        if self.closed {
            return;
        }
        let now = (self.now, NOW);
        self.host.step(&mut self.machine, &mut self.stepped, now, Budget::new(2000), input);
        for op in std::mem::take(&mut self.stepped.timers) {
            match op {
                TimerOp::Arm { key, at } => {
                    self.timers.retain(|(other, _)| *other != key);
                    self.timers.push((key, at));
                }
                TimerOp::Cancel { key } => self.timers.retain(|(other, _)| *other != key),
            }
        }
        for effect in std::mem::take(&mut self.stepped.effects) {
            assert!(!self.closed, "Close is the last effect: {effect:?}");
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: SessionEffect) {
        match effect {
            SessionEffect::Send(bytes) => {
                self.undrained += bytes.len();
                assert!(self.undrained <= UNDRAINED_BYTES_MAX, "output without AwaitDrained");
                self.said.extend_from_slice(&bytes);
                if !self.awaits_drained && self.prompt {
                    self.undrained = 0;
                }
            }
            SessionEffect::AwaitDrained => {
                assert!(!self.awaits_drained, "AwaitDrained twice");
                self.awaits_drained = true;
            }
            SessionEffect::Submit { token, lane: _, task } => {
                assert!(self.last_token < Some(token), "a token is used once");
                self.last_token = Some(token);
                self.tasks.push_back((token, task));
                assert!(self.tasks.len() <= TASKS_MAX, "too many tasks at once");
            }
            SessionEffect::StartTls => self.starts_tls = true,
            SessionEffect::Close => self.closed = true,
            // What is on its way may still arrive: the client goes on.
            SessionEffect::PauseReading
            | SessionEffect::ResumeReading
            | SessionEffect::Decide { .. }
            | SessionEffect::Identified { .. }
            | SessionEffect::Log(_) => {}
        }
    }

    fn answer_oldest(&mut self) {
        if let Some((token, task)) = self.tasks.pop_front() {
            let completion = self.world.answer(task);
            self.input(SessionInput::Completed { token, completion });
        }
    }

    fn refuse(&mut self, refusal: TaskRefusal) {
        if let Some((token, _)) = self.tasks.pop_front() {
            self.input(SessionInput::Completed { token, completion: Completion::Refused(refusal) });
        }
    }

    /// The oldest task fails for good.
    fn fail(&mut self) {
        match self.tasks.pop_front() {
            Some((token, Task::User { .. })) => {
                let completion = Completion::User(UserDone::Failed(UserError::OverQuota));
                self.input(SessionInput::Completed { token, completion });
            }
            Some(other) => self.tasks.push_front(other),
            None => {}
        }
    }

    fn drain(&mut self) {
        if self.awaits_drained {
            self.awaits_drained = false;
            self.undrained = 0;
            self.input(SessionInput::Drained);
        }
    }

    fn fire_timer(&mut self) {
        let Some(at) = (0..self.timers.len()).min_by_key(|&at| self.timers[at].1) else { return };
        let (key, at) = self.timers.remove(at);
        self.now = self.now.max(at);
        self.input(SessionInput::TimerFired(key));
    }
}
