//! An open connection: its buffers, its timers, and how inputs reach the handlers of its state.
//!
//! Invariants: replies leave in the order of their commands; no more than `Limits::output_bytes_max` (and one page) is queued
//! for a client that does not read; the lock of a maildrop is released on every way out.

use super::state::{Advance, Ending, Output, Reading, State};
use crate::Limits;
use crate::codec::{LineReader, Mistake, NextLine, parse};
use bytes::{Buf, Bytes, BytesMut};
use fsm::{Cx, Digest, Mono, TimerKey, Token};
use mailstore::face::{
    Completion, Lane, LogEvent, Notice, Peer, Protocol, SessionCounts, SessionEffect, SessionInput,
    Task, TlsInfo, UserId, UserTask,
};
use std::sync::Arc;

/// Fires when nothing may have happened for too long.
const IDLE: TimerKey = TimerKey(1);
/// Fires when the client should have logged in.
pub const LOGIN: TimerKey = TimerKey(2);

/// One open connection.
#[derive(Debug)]
pub struct Conversation {
    pub(super) limits: Arc<Limits>,
    pub(super) peer: Arc<Peer>,
    pub(super) tls: Option<TlsInfo>,
    pub(super) state: State,
    pub(super) counts: SessionCounts,
    pub(super) failed_logins: u32,
    /// The account, once known, for the last line of the log.
    pub(super) user: Option<Arc<str>>,
    pub(super) output: Output,
    pub(super) out: Vec<u8>,
    lines: LineReader,
    errors: u32,
    ending: Ending,
    /// When the client last gave a command, or took a page.
    progress: Mono,
    pending: BytesMut,
    reading: Reading,
}

impl Conversation {
    pub fn new(limits: Arc<Limits>, peer: Arc<Peer>, cx: &Cx<'_, SessionEffect>) -> Self {
        Self {
            limits,
            tls: peer.tls.clone(),
            peer,
            state: State::Start,
            counts: SessionCounts::default(),
            failed_logins: 0,
            user: None,
            output: Output::Flowing { octets: 0 },
            out: Vec::new(),
            lines: LineReader::default(),
            errors: 0,
            ending: Ending::No,
            progress: cx.mono(),
            pending: BytesMut::new(),
            reading: Reading::On,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// RFC 1939 section 4. Without a timestamp: APOP is not offered.
    pub fn greet(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let ip = self.peer.ip;
        cx.emit(SessionEffect::Log(LogEvent::Connected { protocol: Protocol::Pop3, ip }));
        let banner = format!("+OK {} POP3 Hikyaku\r\n", self.peer.hostname);
        self.out.extend_from_slice(banner.as_bytes());
        cx.arm(IDLE, self.limits.idle);
        cx.arm(LOGIN, self.limits.login);
        self.flush(cx);
    }

    pub fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match input {
            SessionInput::Received(bytes) => self.on_received(cx, bytes),
            SessionInput::Completed { token, completion } => {
                self.on_completed(cx, token, completion);
                self.go_on(cx);
            }
            SessionInput::Drained => self.on_drained(cx),
            SessionInput::TlsStarted(tls) => self.on_tls_started(tls),
            SessionInput::Resumed => {
                self.continue_transfer(cx);
                self.go_on(cx);
            }
            SessionInput::TimerFired(key) => self.on_timer(cx, key),
            SessionInput::Notified(notice) => self.on_notice(notice),
            SessionInput::ShuttingDown => self.ending = Ending::ShuttingDown,
            SessionInput::PeerClosed => {
                self.out.clear();
                self.close(cx);
            }
            // Opened comes once; nothing is decided about what is read.
            SessionInput::Opened(_) | SessionInput::Decided { .. } => {}
        }
        self.end_if_asked(cx);
        if !self.is_closed() {
            self.flush_unless_awaited(cx);
            self.regulate_reading(cx);
        }
    }

    fn on_received(&mut self, cx: &mut Cx<'_, SessionEffect>, bytes: Bytes) {
        self.counts.bytes_in += bytes.len() as u64;
        if matches!(self.state, State::StartingTls) {
            // RFC 2595 section 4 and CVE-2011-0411: plaintext behind STLS must not be taken for protected.
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
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_, SessionEffect>) {
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
        if self.is_closed() {
            return Advance::Used(input.len());
        }
        if !self.takes_commands() {
            return Advance::Wait(0);
        }
        let auth = matches!(self.state, State::Authenticating(_))
            || input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        let bytes_max =
            if auth { self.limits.auth_bytes_max } else { self.limits.command_bytes_max };
        let used = match self.lines.next(input, bytes_max) {
            // No progress: a line has to come within the time of one command.
            NextLine::More { used } => return Advance::Wait(used),
            NextLine::Line { line, used } => {
                self.on_line(cx, line, &input[used..]);
                used
            }
            NextLine::TooLong { used } => {
                self.refuse("-ERR Line too long\r\n");
                used
            }
        };
        self.counts.commands += 1;
        self.progress = cx.mono();
        self.check_errors(cx);
        self.check_output(cx);
        Advance::Used(used)
    }

    /// RFC 2449 6.6: pipelined commands wait their turn.
    fn takes_commands(&self) -> bool {
        match (&self.state, self.output) {
            (_, Output::Draining) => false,
            (
                State::Start | State::Named(_) | State::Authenticating(_) | State::Transaction(_),
                Output::Flowing { .. },
            ) => true,
            (
                State::Verifying { .. }
                | State::Opening { .. }
                | State::Transferring { .. }
                | State::Listing { .. }
                | State::Updating { .. }
                | State::StartingTls
                | State::Closed,
                Output::Flowing { .. },
            ) => false,
        }
    }

    fn on_line(&mut self, cx: &mut Cx<'_, SessionEffect>, line: &[u8], behind: &[u8]) {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Authenticating(exchange) => self.on_auth_response(cx, exchange, line),
            state => {
                self.state = state;
                match (parse(line), &self.state) {
                    (Ok(command), State::Transaction(_)) => self.on_transaction(cx, command),
                    (Ok(command), _) => self.on_authorization(cx, command, behind),
                    (Err(Mistake::Unknown), _) => self.refuse("-ERR Unknown command\r\n"),
                    (Err(Mistake::Syntax), _) => self.refuse("-ERR Bad arguments\r\n"),
                }
            }
        }
    }

    fn check_errors(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if self.errors > self.limits.errors_max && !self.is_closed() {
            self.reply("-ERR Too many errors\r\n");
            self.close(cx);
        }
    }

    /// A client that asks for much and reads nothing gets no more until it has read.
    pub(super) fn check_output(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let Output::Flowing { octets } = self.output else { return };
        if octets + self.out.len() >= self.limits.output_bytes_max && !self.is_closed() {
            self.flush(cx);
            self.output = Output::Draining;
            cx.emit(SessionEffect::AwaitDrained);
        }
    }

    fn on_drained(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        self.output = Output::Flowing { octets: 0 };
        // It takes time to read a large message: that is progress, too.
        self.progress = cx.mono();
        self.continue_transfer(cx);
        self.go_on(cx);
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, SessionEffect>, key: TimerKey) {
        if key == LOGIN {
            if self.user.is_none() {
                self.close(cx);
            }
            return;
        }
        let quiet = cx.mono().since(self.progress);
        if self.awaits_completion() {
            // It is not the client who keeps us waiting.
            cx.arm(IDLE, self.limits.idle);
        } else if quiet >= self.limits.idle {
            // RFC 1939 section 3: without UPDATE, and without a response.
            self.close(cx);
        } else {
            // The timer is moved only when it fires: commands cost no timer operation.
            cx.arm(IDLE, self.limits.idle.saturating_sub(quiet));
        }
    }

    /// An answer is awaited that comes without the client's help.
    fn awaits_completion(&self) -> bool {
        match &self.state {
            State::Verifying { .. } | State::Opening { .. } | State::Updating { .. } => true,
            State::Transferring { .. } => self.output != Output::Draining,
            State::Start
            | State::Named(_)
            | State::Authenticating(_)
            | State::Transaction(_)
            | State::Listing { .. }
            | State::StartingTls
            | State::Closed => false,
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Kicked { reason: _ } => self.ending = Ending::Kicked,
            // The lock lived in the memory of the master that is gone.
            Notice::MasterChanged => self.ending = Ending::ShuttingDown,
            Notice::Changed { .. } | Notice::FolderDeleted { .. } => {}
        }
    }

    /// RFC 2595 section 4: all that was learnt before TLS is forgotten.
    fn on_tls_started(&mut self, tls: TlsInfo) {
        self.tls = Some(tls);
        self.state = State::Start;
        self.lines = LineReader::default();
    }

    fn end_if_asked(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let farewell = match self.ending {
            Ending::No => return,
            Ending::ShuttingDown => "-ERR [SYS/TEMP] Shutting down, please log in again later\r\n",
            Ending::Kicked => "-ERR [SYS/PERM] The session was ended by the server\r\n",
        };
        match self.state {
            // A response under way is finished first; so is UPDATE.
            State::Transferring { .. }
            | State::Listing { .. }
            | State::Updating { .. }
            | State::StartingTls
            | State::Closed => {}
            State::Start
            | State::Named(_)
            | State::Authenticating(_)
            | State::Verifying { .. }
            | State::Opening { .. }
            | State::Transaction(_) => {
                self.reply(farewell);
                self.close(cx);
            }
        }
    }

    pub(super) fn reply(&mut self, reply: &str) {
        self.out.extend_from_slice(reply.as_bytes());
        if reply.starts_with('-') {
            self.counts.errors += 1;
        }
    }

    /// Refuses a command: too many of them end the session.
    pub(super) fn refuse(&mut self, reply: &str) {
        self.reply(reply);
        self.errors += 1;
    }

    pub(super) fn submit(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        user: UserId,
        task: UserTask,
    ) -> Token {
        let token = cx.fresh_token();
        let task = Task::User { user, task };
        cx.emit(SessionEffect::Submit { token, lane: Lane::Interactive, task });
        token
    }

    /// Ends the session with what has been replied so far.
    pub(super) fn close(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        if let Some(account) = state.locked_by() {
            // RFC 1939 section 6: without QUIT nothing is deleted, and the lock goes.
            let user = account.user;
            self.submit(cx, user, UserTask::ReleaseMaildrop);
        }
        self.flush(cx);
        self.pending = BytesMut::new();
        cx.emit(SessionEffect::Log(LogEvent::SessionEnded {
            protocol: Protocol::Pop3,
            ip: self.peer.ip,
            user: self.user.clone(),
            counts: self.counts,
        }));
        cx.emit(SessionEffect::Close);
    }

    /// Replies are held together while a task is under way that will add to them.
    fn flush_unless_awaited(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if !self.awaits_completion() {
            self.flush(cx);
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if self.out.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.out));
        self.counts.bytes_out += bytes.len() as u64;
        if let Output::Flowing { octets } = &mut self.output {
            *octets += bytes.len();
        }
        cx.emit(SessionEffect::Send(bytes));
    }

    fn regulate_reading(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let full = self.pending.len() > self.limits.pipelined_bytes_max;
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
        token: Token,
        completion: Completion,
    ) {
        self.progress = cx.mono();
        match std::mem::replace(&mut self.state, State::Start) {
            State::Verifying { token: awaited, name } if awaited == token => {
                self.on_verified(cx, &name, completion);
            }
            State::Opening { token: awaited, account } if awaited == token => {
                self.on_maildrop(cx, account, completion);
            }
            State::Transferring { maildrop, transfer } if transfer.awaits(token) => {
                self.on_page(cx, maildrop, transfer, completion);
            }
            State::Updating { token: awaited, maildrop } if awaited == token => {
                self.on_updated(cx, &maildrop, &completion);
            }
            other => self.state = other,
        }
        self.check_output(cx);
    }

    pub fn digest(&self, digest: &mut Digest) {
        self.state.digest(digest);
        digest.bytes(&self.pending);
        digest.bytes(&self.out);
        digest.word(u64::from(self.errors));
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
