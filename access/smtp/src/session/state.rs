//! The states of a conversation. Each owns its data; what is large stands in a box.

use super::content::Content;
use super::deciding::Deciding;
use super::delivery::Delivering;
use crate::message::{Envelope, Intake, Message};
use fsm::{Digest, Token};
use mailstore::sasl::Exchange;
use std::sync::Arc;

/// Where a conversation stands. Within `Ready`, `Envelope` and `BetweenChunks` command lines are read.
#[derive(Debug)]
pub enum State {
    /// Between transactions.
    Ready,
    /// AUTH: the next line is a response.
    Authenticating(Exchange),
    /// AUTH: the directory judges the credentials; `name` is what the log calls the client.
    Verifying {
        token: Token,
        name: Box<str>,
    },
    /// Submission: the directory judges the reverse path of MAIL.
    CheckingSender {
        token: Token,
        envelope: Box<Envelope>,
    },
    /// MAIL was accepted. While recipients are looked up only RCPT goes on.
    Envelope(Box<Envelope>),
    /// The bytes that arrive are content.
    Content(Box<Content>),
    /// BDAT: a chunk has been answered, the next may come.
    BetweenChunks(Box<Intake>),
    /// A chunk that belongs to no transaction is skipped, and answered at its end (RFC 3030 section 2).
    Skipping {
        left: u64,
        then: Box<State>,
    },
    /// All content is there; the last of it becomes durable.
    Settling(Box<Message>),
    /// Deciding extensions are asked.
    Deciding(Box<Deciding>),
    /// Handed over: the masters, or the delivery queue, make it durable.
    Delivering(Box<Delivering>),
    /// Output is flushed, then TLS begins. Nothing can arrive.
    StartingTls,
    Closed,
}

impl State {
    /// What the session does now, for operators.
    pub fn activity(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Authenticating(_) | Self::Verifying { .. } => "authenticating",
            Self::CheckingSender { .. } | Self::Envelope(_) => "envelope",
            Self::Content(_) | Self::BetweenChunks(_) | Self::Skipping { .. } => "receiving",
            Self::Deciding(_) => "deciding",
            Self::Settling(_) | Self::Delivering(_) => "delivering",
            Self::StartingTls => "starting TLS",
            Self::Closed => "closed",
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Ready => digest.word(1),
            Self::Authenticating(_) => digest.word(2),
            Self::Verifying { token, name: _ } => digest.word(3 ^ token.0 << 8),
            Self::CheckingSender { token, envelope } => {
                digest.word(4 ^ token.0 << 8);
                envelope.digest(digest);
            }
            Self::Envelope(envelope) => {
                digest.word(5);
                envelope.digest(digest);
            }
            Self::Content(content) => {
                digest.word(6);
                content.digest(digest);
            }
            Self::BetweenChunks(intake) => {
                digest.word(7);
                intake.digest(digest);
            }
            Self::Skipping { left, then } => {
                digest.word(8 ^ left << 8);
                then.digest(digest);
            }
            Self::Settling(message) => {
                digest.word(9);
                message.digest(digest);
            }
            Self::Delivering(delivering) => {
                digest.word(10);
                delivering.digest(digest);
            }
            Self::Deciding(deciding) => {
                digest.word(13);
                deciding.digest(digest);
            }
            Self::StartingTls => digest.word(11),
            Self::Closed => digest.word(12),
        }
    }
}

/// How the client introduced itself since the connection, or TLS, began.
#[derive(Clone, Debug)]
pub enum Greeting {
    Awaited,
    Helo(Arc<str>),
    /// EHLO, or LHLO.
    Ehlo(Arc<str>),
}

/// Whether the peer is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    On,
    Paused,
}

/// Whether the conversation shall end at the next point where nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    No,
    ShuttingDown,
    Kicked,
}

/// What reading a piece of input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// So many bytes are done with.
    Used(usize),
    /// So many bytes are done with; the rest waits for more, or for a completion.
    Wait(usize),
}
