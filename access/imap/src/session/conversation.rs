//! One connection that speaks IMAP: takes commands one by one, runs each to its answer, keeps input
//! and output bounded.
//!
//! States: `Ready` -> `Busy` -> `Ready` ... -> `Closed`; `Leaving` waits for a folder that is just
//! being opened, to close it.
//! Invariants: one command runs at a time, what is pipelined waits in the framer; nothing is
//! answered while the client has more than the limit to read; nothing is retained between commands
//! but the view.

use super::append::AppendJob;
use super::capability;
use super::dispatch;
use super::finish::Finish;
use super::job::{Job, Outcome, Signal};
use super::limits::Limits;
use super::output::Output;
use super::reply::{Condition, LateCode, Reply};
use super::shared::{Extensions, Login, Shared, Turn};
use super::sync;
use super::tell::{Unsaid, WithUid};
use super::timers;
use super::view::News;
use crate::codec::{AppendEvent, Event, Framer, Tag, limits as codec_limits};
use fsm::{Cx, Digest, Duration, Mono, TimerKey, Token};
use mailstore::face::{
    Completion, LogEvent, Notice, Peer, Protocol, SessionCounts, SessionEffect, SessionInput,
    TlsInfo, UserDone, UserTask,
};
use std::sync::Arc;

/// An open connection.
#[derive(Debug)]
pub struct Conversation {
    shared: Shared,
    work: Work,
    reading: Reading,
    writing: Writing,
    ending: Ending,
    /// When the client last sent something.
    heard: Mono,
}

#[derive(Debug)]
enum Work {
    /// Takes the next command.
    Ready,
    Busy {
        tag: Tag,
        job: Job,
    },
    /// The client is gone; a folder is still being opened and must be closed.
    Leaving {
        opening: Token,
    },
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Flowing,
    Paused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Free,
    /// `Drained` was asked for.
    AwaitingDrained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// The node stops: BYE when the command under way is answered.
    Requested,
}

impl Conversation {
    pub fn new(limits: Arc<Limits>, peer: Arc<Peer>, now: Mono) -> Self {
        let tls = peer.tls.clone();
        Self {
            shared: Shared {
                limits,
                peer,
                tls,
                framer: Framer::new(codec_limits::COMMAND_BYTES_BEFORE_LOGIN),
                output: Output::default(),
                login: Login::NotAuthenticated,
                enabled: Extensions::default(),
                counts: SessionCounts::default(),
                failed_logins: 0,
            },
            work: Work::Ready,
            reading: Reading::Flowing,
            writing: Writing::Free,
            ending: Ending::No,
            heard: now,
        }
    }

    /// The greeting (RFC 9051 7.1.5: PREAUTH never).
    pub fn greet(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let ip = self.shared.peer.ip;
        cx.emit(SessionEffect::Log(LogEvent::Connected { protocol: Protocol::Imap, ip }));
        cx.arm(timers::LOGIN, self.shared.limits.login_time);
        self.shared.output.put("* OK [CAPABILITY ");
        capability::put_capabilities(&mut self.shared);
        let hostname = Arc::clone(&self.shared.peer.hostname);
        self.shared.output.put("] ").put(&*hostname).put(" Hikyaku ready\r\n");
        self.flush(cx);
    }

    pub fn is_closed(&self) -> bool {
        match self.work {
            Work::Closed => true,
            Work::Ready | Work::Busy { .. } | Work::Leaving { .. } => false,
        }
    }

    pub fn activity(&self) -> String {
        let state = match &self.shared.login {
            Login::NotAuthenticated => "not authenticated".to_owned(),
            Login::Authenticated { account: _ } => "authenticated".to_owned(),
            Login::Selected { account: _, view } => format!("selected {}", view.name),
        };
        match &self.work {
            Work::Ready => state,
            Work::Busy { tag: _, job: Job::Idle(_) } => state + ", IDLE",
            Work::Busy { .. } => state + ", busy",
            Work::Leaving { .. } | Work::Closed => "closed".to_owned(),
        }
    }

    pub fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match input {
            // Only the first input is `Opened`; a second one changes nothing. IMAP asks for no decisions.
            SessionInput::Opened(_) | SessionInput::Decided { .. } => {}
            SessionInput::Received(bytes) => {
                self.heard = cx.mono();
                self.shared.counts.bytes_in += bytes.len() as u64;
                self.shared.framer.push(bytes);
            }
            SessionInput::TlsStarted(tls) => self.on_tls_started(cx, tls),
            SessionInput::Drained => {
                self.writing = Writing::Free;
                self.shared.output.on_drained();
                self.signal(cx, Signal::Drained);
            }
            SessionInput::Completed { token, completion } => {
                self.on_completed(cx, token, completion);
            }
            SessionInput::Notified(notice) => self.on_notice(cx, notice),
            SessionInput::TimerFired(key) => self.on_timer(cx, key),
            SessionInput::Resumed => {}
            SessionInput::PeerClosed => self.on_peer_closed(cx),
            SessionInput::ShuttingDown => self.ending = Ending::Requested,
        }
        self.go_on(cx);
        self.flush(cx);
        self.regulate(cx);
    }

    /// Takes commands and events as long as there are some that may be taken.
    fn go_on(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        loop {
            if self.ending == Ending::Requested && self.may_end() {
                self.bye(cx, "the server goes down");
            }
            match &self.work {
                Work::Leaving { .. } | Work::Closed => return,
                Work::Ready if self.shared.output_is_full() => return,
                Work::Busy { tag: _, job } if !self.job_takes_events(job) => return,
                Work::Ready | Work::Busy { .. } => {}
            }
            let Some(event) = self.shared.framer.poll() else { return };
            self.on_event(cx, event);
            // About 2 us a command: parse, dispatch, answer.
            if !cx.budget().spend(20) {
                cx.yield_now();
                return;
            }
        }
    }

    fn job_takes_events(&self, job: &Job) -> bool {
        match job {
            Job::Append(append) => {
                append.takes_events() && !append.is_congested(&self.shared.limits)
            }
            other => other.takes_events(),
        }
    }

    /// The node stops: whether this is a moment at which nothing is lost.
    fn may_end(&self) -> bool {
        match &self.work {
            Work::Ready | Work::Busy { tag: _, job: Job::Idle(_) | Job::Auth(_) } => true,
            Work::Busy { .. } | Work::Leaving { .. } | Work::Closed => false,
        }
    }

    fn on_event(&mut self, cx: &mut Cx<'_, SessionEffect>, event: Event) {
        match std::mem::replace(&mut self.work, Work::Ready) {
            Work::Busy { tag, job } => {
                // A literal of a pipelined command is none of the job's business; only line jobs
                // take events at all.
                let outcome = job.on(&mut self.turn(cx), Signal::Event(event));
                self.on_outcome(cx, tag, outcome);
            }
            Work::Ready => self.on_first_event(cx, event),
            other @ (Work::Leaving { .. } | Work::Closed) => self.work = other,
        }
    }

    fn on_first_event(&mut self, cx: &mut Cx<'_, SessionEffect>, event: Event) {
        match event {
            Event::Command(command) => {
                self.shared.counts.commands += 1;
                let outcome = dispatch::dispatch(&mut self.turn(cx), &command.tag, command.body);
                self.on_outcome(cx, command.tag, outcome);
            }
            Event::Continue => {
                self.shared.output.put("+ OK\r\n");
            }
            Event::Append(AppendEvent::Begin { tag, mailbox }) => {
                self.shared.counts.commands += 1;
                let outcome = match self.shared.login {
                    Login::NotAuthenticated => {
                        // What would follow is dropped; the limit before log-in bounds it.
                        if self.shared.framer.abandon_append()
                            > codec_limits::COMMAND_BYTES_BEFORE_LOGIN as u64
                        {
                            Outcome::Bye("log in first")
                        } else {
                            Outcome::Answer(Reply::bad("log in first"))
                        }
                    }
                    Login::Authenticated { .. } | Login::Selected { .. } => {
                        AppendJob::start(&mut self.turn(cx), mailbox)
                    }
                };
                self.on_outcome(cx, tag, outcome);
            }
            // Pieces of an APPEND that was given up, and lines nobody waits for.
            Event::Append(
                AppendEvent::Message(_)
                | AppendEvent::Data(_)
                | AppendEvent::LiteralEnd
                | AppendEvent::End,
            )
            | Event::Line(_) => {}
            Event::Bad { tag, reason } => self.on_bad(cx, tag, reason),
            Event::TooLong { tag, draining } => self.on_too_long(cx, tag, draining),
        }
    }

    fn on_bad(&mut self, cx: &mut Cx<'_, SessionEffect>, tag: Option<Tag>, reason: &'static str) {
        match tag {
            Some(tag) => self.answer(cx, &tag, Reply::bad(reason)),
            None => {
                self.shared.output.put("* BAD ").put(reason).line();
                self.count_error(cx);
            }
        }
    }

    fn on_too_long(&mut self, cx: &mut Cx<'_, SessionEffect>, tag: Option<Tag>, draining: u64) {
        let limit = match self.shared.login {
            // `protocols.md`: before log-in 8 KiB in all.
            Login::NotAuthenticated => codec_limits::COMMAND_BYTES_BEFORE_LOGIN as u64,
            Login::Authenticated { .. } | Login::Selected { .. } => {
                self.shared.limits.append_bytes_max
            }
        };
        if draining > limit {
            self.bye(cx, "[TOOBIG] a literal is too large");
            return;
        }
        match tag {
            Some(tag) => self.answer(cx, &tag, Reply::no("[TOOBIG] the command is too long")),
            None => self.on_bad(cx, None, "the line is too long"),
        }
    }

    /// Gives a signal to the job under way, if any.
    fn signal(&mut self, cx: &mut Cx<'_, SessionEffect>, signal: Signal) {
        match std::mem::replace(&mut self.work, Work::Ready) {
            Work::Busy { tag, job } => {
                let outcome = job.on(&mut self.turn(cx), signal);
                self.on_outcome(cx, tag, outcome);
            }
            other @ (Work::Ready | Work::Leaving { .. } | Work::Closed) => self.work = other,
        }
    }

    /// The one place where a job's outcome becomes the session's state.
    fn on_outcome(&mut self, cx: &mut Cx<'_, SessionEffect>, tag: Tag, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Answer(reply) => {
                Finish::start(&mut self.turn(cx), reply, (Unsaid::Nothing, WithUid::No))
            }
            Outcome::AnswerTelling(reply, unsaid, with_uid) => {
                Finish::start(&mut self.turn(cx), reply, (unsaid, with_uid))
            }
            other => other,
        };
        match outcome {
            Outcome::Wait(job) => self.work = Work::Busy { tag, job },
            Outcome::Answer(reply)
            | Outcome::AnswerTelling(reply, _, _)
            | Outcome::AnswerAtOnce(reply) => self.answer(cx, &tag, reply),
            Outcome::BeginTls => self.begin_tls(cx, tag),
            Outcome::Bye(reason) => self.bye(cx, reason),
            Outcome::Logout => {
                // RFC 9051 6.1.3: BYE before the answer.
                self.shared.output.put("* BYE logging out\r\n");
                self.put_reply(&tag, &Reply::ok("LOGOUT completed"));
                self.close(cx);
            }
            Outcome::Broken => self.close(cx),
        }
    }

    fn answer(&mut self, cx: &mut Cx<'_, SessionEffect>, tag: &Tag, reply: Reply) {
        self.put_reply(tag, &reply);
        self.work = Work::Ready;
        match reply.condition {
            Condition::Bad => self.count_error(cx),
            Condition::Ok | Condition::No => {}
        }
        if self.shared.failed_logins >= self.shared.limits.failed_logins_max {
            self.bye(cx, "too many wrong passwords");
        }
    }

    fn put_reply(&mut self, tag: &Tag, reply: &Reply) {
        let shared = &mut self.shared;
        shared.output.put(&tag.0).put(" ").put(reply.condition.name()).put(" ");
        match reply.code {
            LateCode::None => {}
            LateCode::HighestModSeq => {
                if let Some(synced) = shared.view().map(|view| view.synced) {
                    shared.output.put("[HIGHESTMODSEQ ").number(synced.0).put("] ");
                }
            }
            LateCode::Capabilities => {
                shared.output.put("[CAPABILITY ");
                capability::put_capabilities(shared);
                shared.output.put("] ");
            }
        }
        shared.output.put(reply.text.as_bytes()).line();
    }

    fn count_error(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        self.shared.counts.errors += 1;
        let limit = match self.shared.login {
            Login::NotAuthenticated => self.shared.limits.errors_before_login_max,
            Login::Authenticated { .. } | Login::Selected { .. } => self.shared.limits.errors_max,
        };
        if self.shared.counts.errors >= limit {
            self.bye(cx, "too many errors");
        }
    }

    fn begin_tls(&mut self, cx: &mut Cx<'_, SessionEffect>, tag: Tag) {
        // `protocols.md`: bytes behind STARTTLS would be taken for protected ones.
        if self.shared.framer.unread_len() > 0 {
            self.close(cx);
            return;
        }
        self.put_reply(&tag, &Reply::ok("begin TLS"));
        self.flush(cx);
        cx.emit(SessionEffect::StartTls);
        self.work = Work::Busy { tag, job: Job::StartTls };
    }

    fn on_tls_started(&mut self, cx: &mut Cx<'_, SessionEffect>, tls: TlsInfo) {
        if let Work::Busy { tag: _, job: Job::StartTls } = &self.work {
            self.heard = cx.mono();
            self.shared.tls = Some(tls);
            // RFC 9051 6.2.1: what was said before is forgotten.
            self.shared.enabled = Extensions::default();
            self.work = Work::Ready;
        }
    }

    fn on_completed(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        token: Token,
        completion: Completion,
    ) {
        if let Work::Leaving { opening } = self.work {
            if opening == token {
                if let Completion::User(UserDone::Opened(opened)) = &completion {
                    let folder = opened.folder;
                    self.turn(cx).submit_user(UserTask::CloseFolder { folder });
                }
                self.end(cx);
            }
            return;
        }
        if let Some(view) = self.shared.view_mut()
            && sync::on_acknowledged(view, token, &completion)
        {
            self.signal(cx, Signal::News);
            return;
        }
        self.signal(cx, Signal::Completed { token, completion });
    }

    fn on_notice(&mut self, cx: &mut Cx<'_, SessionEffect>, notice: Notice) {
        match notice {
            Notice::Changed { folder, mod_seq } => {
                if let Some(view) = self.shared.view_mut()
                    && view.folder == folder
                {
                    view.on_changed(mod_seq);
                }
                self.signal(cx, Signal::News);
            }
            Notice::FolderDeleted { folder } => {
                if self.shared.view().is_some_and(|view| view.folder == folder) {
                    self.bye(cx, "the selected mailbox was deleted");
                }
            }
            Notice::Kicked { reason } => self.bye(cx, &reason),
            Notice::MasterChanged => {
                if let Some(view) = self.shared.view_mut() {
                    view.news = News::MasterLost;
                }
                self.signal(cx, Signal::News);
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, SessionEffect>, key: TimerKey) {
        match key {
            timers::LOGIN => match self.shared.login {
                Login::NotAuthenticated => self.bye(cx, "log-in takes too long"),
                Login::Authenticated { .. } | Login::Selected { .. } => {}
            },
            timers::SILENCE => self.on_silence(cx),
            timers::RETRY => self.signal(cx, Signal::News),
            TimerKey(_) => {}
        }
    }

    /// One timer for all silence: armed anew only when it fires, so that commands cost nothing.
    fn on_silence(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let limits = &self.shared.limits;
        let allowed = match &self.work {
            Work::Ready if self.shared.framer.unread_len() == 0 => limits.idle_time,
            // RFC 2177 3: a client in IDLE is heard of at least every 29 minutes.
            Work::Busy { tag: _, job: Job::Idle(_) } => limits.idle_time,
            Work::Busy { tag: _, job } if !job.takes_events() => limits.idle_time,
            Work::Ready | Work::Busy { .. } | Work::Leaving { .. } | Work::Closed => {
                limits.stalled_time
            }
        };
        let silent = cx.mono().since(self.heard);
        match allowed.checked_sub(silent) {
            Some(left) if left > Duration::ZERO => {
                let check = left.min(limits.stalled_time);
                cx.arm(timers::SILENCE, check);
            }
            Some(_) | None => self.bye(cx, "nothing was heard for too long"),
        }
    }

    fn on_peer_closed(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        // Nothing sent from now on arrives.
        let _ = self.shared.output.take();
        self.close(cx);
        let _ = self.shared.output.take();
    }

    fn bye(&mut self, cx: &mut Cx<'_, SessionEffect>, reason: &str) {
        let owes_bytes = match &self.work {
            Work::Busy { tag: _, job } => job.owes_bytes(),
            Work::Ready | Work::Leaving { .. } => false,
            Work::Closed => return,
        };
        // In the middle of a literal BYE would be taken for text.
        if !owes_bytes {
            self.shared.output.put("* BYE ").put(reason).line();
        }
        self.close(cx);
    }

    /// Ends the session, cleaning up what it holds elsewhere.
    fn close(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let work = std::mem::replace(&mut self.work, Work::Closed);
        let opening = match work {
            Work::Busy { tag: _, job: Job::Append(append) } => {
                append.abandon(&mut self.turn(cx));
                None
            }
            Work::Busy { tag: _, job } => job.opening(),
            Work::Ready | Work::Closed => None,
            Work::Leaving { opening } => Some(opening),
        };
        super::copy::leave(&mut self.turn(cx));
        match opening {
            Some(opening) => self.work = Work::Leaving { opening },
            None => self.end(cx),
        }
    }

    fn end(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        self.flush(cx);
        self.work = Work::Closed;
        let mut counts = self.shared.counts;
        counts.bytes_out = self.shared.output.total_bytes();
        cx.emit(SessionEffect::Log(LogEvent::SessionEnded {
            protocol: Protocol::Imap,
            ip: self.shared.peer.ip,
            user: self.shared.account().map(|account| Arc::clone(&account.address)),
            counts,
        }));
        cx.emit(SessionEffect::Close);
    }

    fn flush(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        for piece in self.shared.output.take() {
            cx.emit(SessionEffect::Send(piece));
        }
    }

    /// Keeps what is queued in both directions within bounds.
    fn regulate(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        match self.work {
            Work::Closed | Work::Leaving { .. } => return,
            Work::Ready | Work::Busy { .. } => {}
        }
        if self.writing == Writing::Free && self.shared.output_is_full() {
            self.writing = Writing::AwaitingDrained;
            cx.emit(SessionEffect::AwaitDrained);
        }
        let waiting = self.shared.framer.unread_len();
        match self.reading {
            Reading::Flowing if waiting > self.shared.limits.input_bytes_max => {
                self.reading = Reading::Paused;
                cx.emit(SessionEffect::PauseReading);
            }
            Reading::Paused if waiting <= self.shared.limits.input_bytes_max / 2 => {
                self.reading = Reading::Flowing;
                cx.emit(SessionEffect::ResumeReading);
            }
            Reading::Flowing | Reading::Paused => {}
        }
    }

    fn turn<'t, 'c>(&'t mut self, cx: &'t mut Cx<'c, SessionEffect>) -> Turn<'t, 'c> {
        Turn { cx, shared: &mut self.shared }
    }

    /// What decides the session's future.
    pub fn digest(&self, digest: &mut Digest) {
        digest.word(match &self.work {
            Work::Ready => 1,
            Work::Busy { .. } => 2,
            Work::Leaving { .. } => 3,
            Work::Closed => 4,
        });
        digest.word(self.shared.framer.unread_len() as u64);
        digest.word(self.shared.output.total_bytes());
        digest.word(self.shared.counts.commands);
        if let Some(view) = self.shared.view() {
            digest.word(u64::from(view.folder.0));
            digest.word(view.synced.0);
            digest.word(u64::from(view.map.len()));
            digest.word(view.vanished.len());
        }
    }
}
