//! A session of any protocol, and what the worker group keeps beside it.

use fsm::{Cx, Digest, Host, Machine, Mono, Token};
use mailstore::face::{Peer, Protocol, SessionEffect, SessionInput, TlsInfo, UserId};
use std::net::IpAddr;
use std::sync::Arc;

/// The session machines. Boxed: an idle session costs what its own state costs.
#[derive(Debug)]
pub enum Session {
    Smtp(Box<smtp::Session>),
    Pop3(Box<pop3::Session>),
    Imap(Box<imap::Session>),
}

impl Machine for Session {
    type Input = SessionInput;
    type Effect = SessionEffect;

    fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match self {
            Self::Smtp(session) => session.step(cx, input),
            Self::Pop3(session) => session.step(cx, input),
            Self::Imap(session) => session.step(cx, input),
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Smtp(session) => session.digest(digest),
            Self::Pop3(session) => session.digest(digest),
            Self::Imap(session) => session.digest(digest),
        }
    }
}

/// Limits of the session machines, shared by all sessions.
#[derive(Clone, Debug, Default)]
pub struct SessionLimits {
    pub smtp: Arc<smtp::Limits>,
    pub pop3: Arc<pop3::Limits>,
    pub imap: Arc<imap::Limits>,
}

impl Session {
    /// The machine for a connection to a listener of `protocol`.
    ///
    /// # Panics
    /// Browsers are not served by session machines.
    #[must_use]
    pub fn new(protocol: Protocol, limits: &SessionLimits) -> Self {
        match protocol {
            Protocol::Smtp | Protocol::Lmtp | Protocol::Submission => {
                Self::Smtp(Box::new(smtp::Session::new(Arc::clone(&limits.smtp))))
            }
            Protocol::Pop3 => Self::Pop3(Box::new(pop3::Session::new(Arc::clone(&limits.pop3)))),
            Protocol::Imap => Self::Imap(Box::new(imap::Session::new(Arc::clone(&limits.imap)))),
            Protocol::Http => panic!("no listener of this node makes an HTTP session machine"),
        }
    }

    /// What it does now, in words of its protocol: for `session list`.
    #[must_use]
    pub fn activity(&self) -> String {
        match self {
            Self::Smtp(session) => session.activity().to_owned(),
            Self::Pop3(session) => session.activity().to_owned(),
            Self::Imap(session) => session.activity(),
        }
    }
}

/// A session and what its worker group knows of it.
#[derive(Debug)]
pub struct SessionSlot {
    pub machine: Session,
    pub host: Host,
    pub protocol: Protocol,
    pub ip: IpAddr,
    pub opened: Mono,
    /// When the client last sent something.
    pub heard: Mono,
    /// `None`: plaintext.
    pub tls: Option<TlsInfo>,
    /// What the client sent and was sent, TLS taken off.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Who logged in.
    pub address: Option<Arc<str>>,
    /// Whose master keeps something for this session: told when it ends.
    pub user: Option<UserId>,
    /// Credits taken for tasks under way.
    pub credits: Vec<(Token, u64)>,
}

impl SessionSlot {
    pub fn new(machine: Session, host: Host, peer: &Peer, opened: Mono) -> Self {
        Self {
            machine,
            host,
            protocol: peer.protocol,
            ip: peer.ip,
            opened,
            heard: opened,
            tls: peer.tls.clone(),
            bytes_in: 0,
            bytes_out: 0,
            address: None,
            user: None,
            credits: Vec::new(),
        }
    }

    /// The user of an IMAP session that has logged in.
    pub fn imap_user(&self) -> Option<UserId> {
        match (self.protocol, &self.address) {
            (Protocol::Imap, Some(_)) => self.user,
            _ => None,
        }
    }

    /// Notes what `session list` tells of an input.
    pub fn on_input(&mut self, now: Mono, input: &SessionInput) {
        match input {
            SessionInput::Received(bytes) => {
                self.heard = now;
                self.bytes_in += bytes.len() as u64;
            }
            SessionInput::TlsStarted(tls) => self.tls = Some(tls.clone()),
            SessionInput::Opened(_)
            | SessionInput::Drained
            | SessionInput::Completed { .. }
            | SessionInput::Decided { .. }
            | SessionInput::Notified(_)
            | SessionInput::TimerFired(_)
            | SessionInput::Resumed
            | SessionInput::PeerClosed
            | SessionInput::ShuttingDown => {}
        }
    }

    /// Notes what `session list` tells of the effects of a step.
    pub fn on_effects(&mut self, effects: &[SessionEffect]) {
        for effect in effects {
            if let SessionEffect::Send(bytes) = effect {
                self.bytes_out += bytes.len() as u64;
            }
        }
    }
}

/// One line of `session list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLine {
    pub session: mailstore::face::SessionId,
    pub protocol: Protocol,
    pub ip: IpAddr,
    pub address: Option<Arc<str>>,
    pub tls: Option<TlsInfo>,
    /// How long it has been connected.
    pub age: fsm::Duration,
    /// How long the client has been silent.
    pub idle: fsm::Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub activity: String,
}
