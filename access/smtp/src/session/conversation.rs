//! An open connection: its buffers, its timers, and how inputs reach the handlers of its state.
//!
//! Invariants: replies leave in the order of their commands; they are held together while an answer is awaited that comes
//! without the client's help (RFC 2920 3.2), and never otherwise; bytes that cannot be used yet are bounded, because reading
//! pauses.

use super::state::{Advance, Ending, Greeting, Reading, State};
use crate::codec::LineReader;
use crate::codec::reply::{self, Reply};
use crate::{Limits, Mode};
use bytes::{Buf, Bytes, BytesMut};
use fsm::{Cx, Digest, Mono, TimerKey};
use mailstore::face::{
    Account, Completion, LogEvent, Notice, Peer, SessionCounts, SessionEffect, SessionInput,
    TlsInfo,
};
use std::sync::Arc;

/// Fires when nothing may have happened for too long.
pub const IDLE: TimerKey = TimerKey(1);
/// Fires when the client should have logged in.
pub const LOGIN: TimerKey = TimerKey(2);
/// Fires when deciding extensions have had their time.
pub const DECIDING: TimerKey = TimerKey(3);

/// One open connection.
#[derive(Debug)]
pub struct Conversation {
    pub(super) limits: Arc<Limits>,
    pub(super) peer: Arc<Peer>,
    pub(super) mode: Mode,
    pub(super) tls: Option<TlsInfo>,
    pub(super) account: Option<Account>,
    pub(super) greeting: Greeting,
    pub(super) state: State,
    pub(super) lines: LineReader,
    pub(super) counts: SessionCounts,
    pub(super) tally: Tally,
    pub(super) ending: Ending,
    /// When the client last did something that counts as progress.
    pub(super) progress: Mono,
    /// When the last message was taken, or the connection began.
    pub(super) fruitful: Mono,
    /// Octets of content since `progress`.
    pub(super) content_since: u64,
    pending: BytesMut,
    reading: Reading,
    out: Vec<u8>,
}

/// What counts against a client, since the last message (log-ins: since the beginning).
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub errors: u32,
    pub refused_recipients: u32,
    pub idle_commands: u32,
    pub failed_logins: u32,
}

impl Conversation {
    pub fn new(limits: Arc<Limits>, peer: Arc<Peer>, cx: &Cx<'_, SessionEffect>) -> Self {
        Self {
            limits,
            mode: Mode::of(peer.protocol),
            tls: peer.tls.clone(),
            peer,
            account: None,
            greeting: Greeting::Awaited,
            state: State::Ready,
            lines: LineReader::default(),
            counts: SessionCounts::default(),
            tally: Tally::default(),
            ending: Ending::No,
            progress: cx.mono(),
            fruitful: cx.mono(),
            content_since: 0,
            pending: BytesMut::new(),
            reading: Reading::On,
            out: Vec::new(),
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// RFC 5321 4.3.1: the server speaks first.
    pub fn greet(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let (protocol, ip) = (self.peer.protocol, self.peer.ip);
        cx.emit(SessionEffect::Log(LogEvent::Connected { protocol, ip }));
        // protocols.md: LMTP believes what it is told, so that only its neighbours may speak it.
        if self.mode == Mode::Lmtp && !self.peer.trusted {
            self.reply(reply::LMTP_NOT_TRUSTED);
            return self.close(cx);
        }
        let kind = match self.mode {
            Mode::Smtp | Mode::Submission => "ESMTP",
            Mode::Lmtp => "LMTP",
        };
        let banner = format!("220 {} {kind} Hikyaku\r\n", self.peer.hostname);
        self.out.extend_from_slice(banner.as_bytes());
        cx.arm(IDLE, self.limits.idle);
        if self.mode == Mode::Submission {
            cx.arm(LOGIN, self.limits.login);
        }
        self.flush(cx);
    }

    pub fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match input {
            SessionInput::Received(bytes) => self.on_received(cx, bytes),
            SessionInput::Completed { token, completion } => {
                self.progress = cx.mono();
                self.on_completed(cx, token, completion);
                self.go_on(cx);
            }
            SessionInput::Decided { token, decisions } => {
                self.progress = cx.mono();
                self.on_decided(cx, token, decisions);
                self.go_on(cx);
            }
            SessionInput::TlsStarted(tls) => self.on_tls_started(tls),
            SessionInput::Resumed => self.go_on(cx),
            SessionInput::TimerFired(key) => self.on_timer(cx, key),
            SessionInput::Notified(notice) => self.on_notice(notice),
            SessionInput::ShuttingDown => self.ending = Ending::ShuttingDown,
            SessionInput::PeerClosed => self.on_peer_closed(cx),
            // Opened comes once; this session never asks to be told of drained output.
            SessionInput::Opened(_) | SessionInput::Drained => {}
        }
        self.end_if_asked(cx);
        self.hand_out(cx);
    }

    fn on_received(&mut self, cx: &mut Cx<'_, SessionEffect>, bytes: Bytes) {
        self.counts.bytes_in += bytes.len() as u64;
        if matches!(self.state, State::StartingTls) {
            // RFC 3207 section 4 and CVE-2011-0411: plaintext behind STARTTLS must not be taken for protected.
            return self.close(cx);
        }
        if self.pending.is_empty() {
            let used = self.consume(cx, &bytes);
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            self.pending.extend_from_slice(&bytes);
            self.go_on(cx);
        }
    }

    /// Works on what has arrived and could not be used yet.
    fn go_on(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let used = self.consume(cx, &pending);
        pending.advance(used);
        if !pending.is_empty() {
            self.pending = pending;
        }
    }

    /// Uses as much of `input` as the state allows; returns how much that was.
    fn consume(&mut self, cx: &mut Cx<'_, SessionEffect>, input: &[u8]) -> usize {
        let mut used = 0;
        while used < input.len() {
            self.end_if_asked(cx);
            match self.advance(cx, &input[used..]) {
                Advance::Used(bytes) => used += bytes,
                Advance::Wait(bytes) => return used + bytes,
            }
            if !cx.budget().spend(4) {
                cx.yield_now();
                break;
            }
        }
        used
    }

    fn advance(&mut self, cx: &mut Cx<'_, SessionEffect>, input: &[u8]) -> Advance {
        match &self.state {
            State::Ready
            | State::Envelope(_)
            | State::BetweenChunks(_)
            | State::Authenticating(_) => self.on_line_input(cx, input),
            State::Content(_) => self.on_content_input(cx, input),
            State::Skipping { .. } => self.on_skipped_input(cx, input),
            State::Verifying { .. }
            | State::CheckingSender { .. }
            | State::Settling(_)
            | State::Deciding(_)
            | State::Delivering(_)
            | State::StartingTls => Advance::Wait(0),
            State::Closed => Advance::Used(input.len()),
        }
    }

    /// An answer is awaited that comes without the client's help.
    fn awaits_completion(&self) -> bool {
        match &self.state {
            State::Verifying { .. }
            | State::CheckingSender { .. }
            | State::Settling(_)
            | State::Deciding(_)
            | State::Delivering(_) => true,
            State::Envelope(envelope) => !envelope.lookups.is_empty(),
            State::Ready
            | State::Authenticating(_)
            | State::Content(_)
            | State::BetweenChunks(_)
            | State::Skipping { .. }
            | State::StartingTls
            | State::Closed => false,
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, SessionEffect>, key: TimerKey) {
        if key == LOGIN {
            if self.account.is_none() {
                self.time_out(cx);
            }
            return;
        }
        if key == DECIDING {
            self.progress = cx.mono();
            self.decide(cx, Vec::new());
            return self.go_on(cx);
        }
        let quiet = cx.mono().since(self.progress);
        let fruitless = cx.mono().since(self.fruitful) >= self.limits.fruitless;
        if matches!(self.state, State::StartingTls) && quiet >= self.limits.idle {
            // Within a handshake no reply can be understood.
            self.close(cx);
        } else if self.awaits_completion() {
            // It is not the client who keeps us waiting.
            cx.arm(IDLE, self.limits.idle);
        } else if quiet >= self.limits.idle || fruitless {
            self.time_out(cx);
        } else {
            // The timer is moved only when it fires: progress costs no timer operation.
            cx.arm(IDLE, self.limits.idle.saturating_sub(quiet));
        }
    }

    /// RFC 5321 4.5.3.2.7.
    fn time_out(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        self.reply(reply::TOO_SLOW);
        self.close(cx);
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Kicked { reason: _ } => self.ending = Ending::Kicked,
            Notice::Changed { .. } | Notice::FolderDeleted { .. } | Notice::MasterChanged => {}
        }
    }

    /// RFC 3207 4.2: all that was learnt before TLS is forgotten.
    fn on_tls_started(&mut self, tls: TlsInfo) {
        self.tls = Some(tls);
        self.greeting = Greeting::Awaited;
        self.state = State::Ready;
        self.lines = LineReader::default();
    }

    fn on_peer_closed(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        self.out.clear();
        self.close(cx);
    }

    /// RFC 5321 3.8: 421 may come at any time; here, where no message is being taken in.
    fn end_if_asked(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let farewell = match self.ending {
            Ending::No => return,
            Ending::ShuttingDown => reply::SHUTTING_DOWN,
            Ending::Kicked => reply::KICKED,
        };
        match self.state {
            State::Content(_)
            | State::BetweenChunks(_)
            | State::Skipping { .. }
            | State::Settling(_)
            | State::Deciding(_)
            | State::Delivering(_)
            | State::StartingTls
            | State::Closed => {}
            State::Ready
            | State::Authenticating(_)
            | State::Verifying { .. }
            | State::CheckingSender { .. }
            | State::Envelope(_) => {
                self.reply(farewell);
                self.close(cx);
            }
        }
    }

    /// Queues a reply, and counts it if it refuses.
    pub(super) fn reply(&mut self, reply: Reply) {
        self.out.extend_from_slice(reply.0.as_bytes());
        if reply.is_error() {
            self.counts.errors += 1;
        }
    }

    /// Queues a reply that is made up on the spot.
    pub(super) fn reply_bytes(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    /// Refuses a command: too many of them end the session.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.reply(reply);
        self.tally.errors += 1;
    }

    /// Ends the session with what has been replied so far.
    pub(super) fn close(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        self.abandon(cx, state);
        self.flush(cx);
        self.pending = BytesMut::new();
        cx.emit(SessionEffect::Log(LogEvent::SessionEnded {
            protocol: self.peer.protocol,
            ip: self.peer.ip,
            user: self.account.as_ref().map(|account| Arc::clone(&account.address)),
            counts: self.counts,
        }));
        cx.emit(SessionEffect::Close);
    }

    /// Leaves a state for good: a blob that nobody was told of goes.
    pub(super) fn abandon(&mut self, cx: &mut Cx<'_, SessionEffect>, state: State) {
        match state {
            State::Content(content) => content.abandon(cx),
            State::BetweenChunks(intake) => intake.abandon(cx),
            State::Settling(message) => drop(message.abandon(cx)),
            State::Deciding(deciding) => deciding.abandon(cx),
            State::Skipping { left: _, then } => self.abandon(cx, *then),
            // The message is handed over: it is delivered even though nobody hears of it any more.
            State::Delivering(_)
            | State::Ready
            | State::Authenticating(_)
            | State::Verifying { .. }
            | State::CheckingSender { .. }
            | State::Envelope(_)
            | State::StartingTls
            | State::Closed => {}
        }
    }

    fn hand_out(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if self.is_closed() {
            return;
        }
        if !self.awaits_completion() || self.out.len() >= self.limits.grouped_reply_bytes_max {
            self.flush(cx);
        }
        self.regulate_reading(cx);
    }

    pub(super) fn flush(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if !self.out.is_empty() {
            self.counts.bytes_out += self.out.len() as u64;
            cx.emit(SessionEffect::Send(Bytes::from(std::mem::take(&mut self.out))));
        }
    }

    fn regulate_reading(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let chunks = match &self.state {
            State::Content(content) => content.chunks_under_way(),
            State::Ready
            | State::Authenticating(_)
            | State::Verifying { .. }
            | State::CheckingSender { .. }
            | State::Envelope(_)
            | State::BetweenChunks(_)
            | State::Skipping { .. }
            | State::Settling(_)
            | State::Deciding(_)
            | State::Delivering(_)
            | State::StartingTls
            | State::Closed => 0,
        };
        let full = self.pending.len() > self.limits.pipelined_bytes_max
            || chunks >= self.limits.chunks_in_flight_max;
        match (self.reading, full) {
            (Reading::On, true) => {
                self.reading = Reading::Paused;
                cx.emit(SessionEffect::PauseReading);
            }
            (Reading::Paused, false) => {
                self.reading = Reading::On;
                cx.emit(SessionEffect::ResumeReading);
            }
            (Reading::On, false) | (Reading::Paused, true) => {}
        }
    }

    fn on_completed(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        token: fsm::Token,
        completion: Completion,
    ) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Verifying { token: awaited, name } if awaited == token => {
                self.on_verified(cx, &name, completion);
            }
            State::CheckingSender { token: awaited, envelope } if awaited == token => {
                self.on_sender_checked(envelope, completion);
            }
            State::Envelope(envelope) => self.on_lookup(cx, envelope, token, completion),
            State::Content(mut content) => {
                content.on_completed(cx, token, completion);
                self.state = State::Content(content);
            }
            State::BetweenChunks(mut intake) => {
                intake.on_completed(cx, token, completion);
                self.state = State::BetweenChunks(intake);
            }
            State::Settling(message) => self.on_settling(cx, message, token, completion),
            State::Delivering(delivering) => self.on_delivery(cx, delivering, token, completion),
            // A completion that came too late for its purpose: RSET, a refused message.
            other => self.state = other,
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        self.state.digest(digest);
        digest.bytes(&self.pending);
        digest.bytes(&self.out);
        digest.word(u64::from(self.tally.errors));
        digest.word(self.progress.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_conversation_is_small() {
        // Design section 3: session state under 1 KB, no buffers.
        assert!(std::mem::size_of::<Conversation>() <= 448);
    }
}
