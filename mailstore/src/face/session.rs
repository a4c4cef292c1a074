//! How a session machine talks to its node: bytes and completions in, bytes and tasks out. SMTP, POP3 and IMAP share it, so
//! that one executor drives all.

use super::{
    Completion, Decision, FolderId, Lane, LogEvent, ModSeq, Protocol, Question, SessionId, Task,
};
use bytes::Bytes;
use fsm::{TimerKey, Token};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Everything that can happen to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionInput {
    /// The first input, once: the connection stands (after the handshake where TLS is implicit).
    Opened(Arc<Peer>),
    /// Bytes from the client, in order, in pieces of any size.
    Received(Bytes),
    /// The handshake after [`SessionEffect::StartTls`] is done.
    TlsStarted(TlsInfo),
    /// The output that was queued when [`SessionEffect::AwaitDrained`] was emitted has fallen below the low-water mark.
    Drained,
    /// A task is done.
    Completed {
        token: Token,
        completion: Completion,
    },
    /// What deciding extensions say of a message; nothing is said of a mailbox that is not among them.
    Decided {
        token: Token,
        decisions: Vec<Decision>,
    },
    /// A master has something to tell.
    Notified(Notice),
    TimerFired(TimerKey),
    /// After [`fsm::Cx::yield_now`].
    Resumed,
    /// The client closed or vanished. Nothing sent from now on arrives. The session cleans up and emits `Close`.
    PeerClosed,
    /// The node stops or drains: end politely (SMTP 421, IMAP BYE) at the next point where nothing is lost.
    ShuttingDown,
}

/// Everything a session may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// Queues bytes for the client.
    Send(Bytes),
    /// Asks for one `Drained`. A session that makes much output waits for it after at most 256 KiB.
    AwaitDrained,
    Submit {
        token: Token,
        lane: Lane,
        task: Task,
    },
    /// Asks deciding extensions. Done: one `Decided`, or none at all: the session waits for so long as its limits say.
    Decide {
        token: Token,
        question: Arc<Question>,
    },
    /// No `Received` until `ResumeReading`; what is already under way may still arrive.
    PauseReading,
    ResumeReading,
    /// Flush the output, then begin TLS as the server. `Received` until `TlsStarted` cannot occur.
    StartTls,
    /// The account this session belongs to, once known: for `session list` and `kick`.
    Identified {
        address: Arc<str>,
    },
    Log(LogEvent),
    /// Flush, then close. The last effect; the machine gets no further input.
    Close,
}

/// Who is on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub session: SessionId,
    pub protocol: Protocol,
    /// The client; a unix socket shows as 127.0.0.1.
    pub ip: IpAddr,
    /// The listener's name for banners, EHLO and Received.
    pub hostname: Arc<str>,
    pub tls: Option<TlsInfo>,
    /// Whether STARTTLS or STLS can be offered.
    pub tls_available: bool,
    /// Whether passwords may cross this connection without TLS (loopback, when configured).
    pub plaintext_auth: bool,
    /// For LMTP: the client stands in `lmtp_from`, on loopback or on a unix socket.
    pub trusted: bool,
}

/// What a TLS handshake settled, for Received and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// As in `TLSv1.3`.
    pub version: &'static str,
    /// As in `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
}

/// What a master tells a session without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The folder it has open changed, up to this MODSEQ: `Sync` tells how. Several changes may come as one notice.
    Changed { folder: FolderId, mod_seq: ModSeq },
    /// The folder it has open is deleted: BYE.
    FolderDeleted { folder: FolderId },
    /// The account was disabled, its password changed, or an operator ended the session.
    Kicked { reason: Cow<'static, str> },
    /// The master forgot its watchers (it moved or restarted): open the folder again.
    MasterChanged,
}
