//! Command lines: which are read, in which state each is allowed, and the short answers.

use super::conversation::Conversation;
use super::state::{Advance, Greeting, State};
use crate::Mode;
use crate::codec::reply::{self, Reply};
use crate::codec::{Command, Hello, MailParams, NextLine, Path, parse};
use crate::message::Envelope;
use fsm::Cx;
use mailstore::face::{
    Completion, DirectoryDone, DirectoryTask, Lane, LogEvent, SessionEffect, Task,
};
use std::sync::Arc;

impl Conversation {
    /// One line of input, unless it has to wait.
    pub(super) fn on_line_input(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        input: &[u8],
    ) -> Advance {
        let mut lines = self.lines;
        let next = lines.next(input, self.line_bytes_max(input));
        if self.waits_for_lookups(next) {
            return Advance::Wait(0);
        }
        self.lines = lines;
        let used = match next {
            // No progress: a line has to come within the time of one command.
            NextLine::More { used } => return Advance::Wait(used),
            NextLine::Line { line, used } => {
                self.on_line(cx, line, &input[used..]);
                used
            }
            NextLine::BareLineFeed { used } => {
                self.on_bad_line(reply::BARE_LINE_FEED);
                used
            }
            NextLine::TooLong { used } => {
                self.on_bad_line(reply::LINE_TOO_LONG);
                used
            }
        };
        self.progress = cx.mono();
        self.check_tally(cx);
        Advance::Used(used)
    }

    /// RFC 4954 section 4 allows lines of an AUTH exchange to be longer than others.
    fn line_bytes_max(&self, input: &[u8]) -> usize {
        let auth = matches!(self.state, State::Authenticating(_))
            || input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        if auth { self.limits.auth_bytes_max } else { self.limits.command_bytes_max }
    }

    /// Recipients are looked up side by side; whatever is not RCPT waits until all are answered.
    fn waits_for_lookups(&self, next: NextLine<'_>) -> bool {
        let State::Envelope(envelope) = &self.state else { return false };
        if envelope.lookups.is_empty() {
            return false;
        }
        match next {
            NextLine::More { .. } => false,
            NextLine::Line { line, used: _ } => {
                let is_full = envelope.recipients() >= self.limits.recipients_max;
                is_full || !matches!(parse(line), Ok(Command::Rcpt { .. }))
            }
            NextLine::BareLineFeed { .. } | NextLine::TooLong { .. } => true,
        }
    }

    fn on_bad_line(&mut self, refusal: Reply) {
        self.counts.commands += 1;
        self.refuse(refusal);
        // RFC 4954 section 4: a response that cannot be taken ends the exchange.
        if let State::Authenticating(_) = self.state {
            self.state = State::Ready;
        }
    }

    fn on_line(&mut self, cx: &mut Cx<'_, SessionEffect>, line: &[u8], behind: &[u8]) {
        self.counts.commands += 1;
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Authenticating(exchange) => self.on_auth_response(cx, exchange, line),
            state => {
                self.state = state;
                match parse(line) {
                    Ok(command) => self.on_command(cx, command, behind),
                    Err(reply) => self.refuse(reply),
                }
            }
        }
    }

    fn on_command(&mut self, cx: &mut Cx<'_, SessionEffect>, command: Command<'_>, behind: &[u8]) {
        match command {
            Command::Mail { path, params } => self.on_mail(cx, path, params),
            Command::Rcpt { path } => self.on_rcpt(cx, path),
            Command::Data => self.on_data(),
            Command::Bdat { bytes, last } => self.on_bdat(cx, bytes, last),
            Command::Hello { verb, client } => self.on_hello(cx, verb, client),
            Command::StartTls => self.on_starttls(cx, behind),
            Command::Auth { mechanism, initial } => self.on_auth(cx, mechanism, initial),
            Command::Rset => {
                self.tally.idle_commands += 1;
                self.reset(cx);
                self.reply(reply::OK);
            }
            Command::Noop => self.idle_command(reply::OK),
            Command::Vrfy => self.idle_command(reply::VRFY),
            Command::Help => self.idle_command(reply::HELP),
            Command::Quit => {
                self.reply(reply::BYE);
                self.close(cx);
            }
        }
    }

    fn idle_command(&mut self, reply: Reply) {
        self.tally.idle_commands += 1;
        self.reply(reply);
    }

    /// RFC 5321 4.1.4: forgets the transaction, not the greeting.
    fn reset(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        let state = std::mem::replace(&mut self.state, State::Ready);
        self.abandon(cx, state);
    }

    /// Counts decide whether the client is worth the trouble. A server in front is: LMTP has no limit on recipients.
    fn check_tally(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        if self.is_closed() {
            return;
        }
        let harvests = self.mode != Mode::Lmtp
            && self.tally.refused_recipients > self.limits.refused_recipients_max;
        if self.tally.errors > self.limits.errors_max || harvests {
            self.reply(reply::TOO_MANY_ERRORS);
            self.close(cx);
        } else if self.tally.idle_commands > self.limits.idle_commands_max {
            self.reply(reply::TOO_MANY_IDLE_COMMANDS);
            self.close(cx);
        }
    }

    fn on_hello(&mut self, cx: &mut Cx<'_, SessionEffect>, verb: Hello, client: &str) {
        let belongs = match (self.mode, verb) {
            (Mode::Smtp | Mode::Submission, Hello::Helo | Hello::Ehlo) => true,
            (Mode::Lmtp, Hello::Lhlo) => true,
            // RFC 2033 section 4.1: HELO and EHLO are not for LMTP, and LHLO is for nothing else.
            (Mode::Smtp | Mode::Submission, Hello::Lhlo) => false,
            (Mode::Lmtp, Hello::Helo | Hello::Ehlo) => false,
        };
        if !belongs {
            return self.refuse(reply::UNKNOWN_COMMAND);
        }
        // RFC 5321 4.1.4: EHLO in mid-session acts as RSET.
        self.reset(cx);
        self.tally.idle_commands += 1;
        match verb {
            Hello::Helo => {
                self.greeting = Greeting::Helo(client.into());
                let hello = format!("250 {}\r\n", self.peer.hostname);
                self.reply_bytes(hello.as_bytes());
            }
            Hello::Ehlo | Hello::Lhlo => {
                self.greeting = Greeting::Ehlo(client.into());
                let hello = self.extensions();
                self.reply_bytes(hello.as_bytes());
            }
        }
    }

    fn extensions(&self) -> String {
        let starttls = if self.offers_tls() { "250-STARTTLS\r\n" } else { "" };
        let auth = if self.offers_auth() { "250-AUTH PLAIN LOGIN\r\n" } else { "" };
        format!(
            "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n{starttls}{auth}\
             250-LIMITS RCPTMAX={}\r\n250 HELP\r\n",
            self.peer.hostname, self.limits.message_bytes_max, self.limits.recipients_max,
        )
    }

    fn offers_tls(&self) -> bool {
        self.peer.tls_available && self.tls.is_none()
    }

    /// protocols.md: never on 25; without TLS only where passwords may cross in the clear.
    pub(super) fn offers_auth(&self) -> bool {
        match self.mode {
            Mode::Submission => self.tls.is_some() || self.peer.plaintext_auth,
            Mode::Smtp | Mode::Lmtp => false,
        }
    }

    fn on_starttls(&mut self, cx: &mut Cx<'_, SessionEffect>, behind: &[u8]) {
        if self.tls.is_some() {
            return self.refuse(reply::ALREADY_TLS);
        }
        if !self.peer.tls_available {
            return self.refuse(reply::TLS_UNAVAILABLE);
        }
        // protocols.md: bytes behind the command in the same read are an attempt to inject: no reply can be right.
        if !behind.is_empty() {
            return self.close(cx);
        }
        self.reset(cx);
        self.reply(reply::READY_FOR_TLS);
        self.flush(cx);
        self.state = State::StartingTls;
        cx.emit(SessionEffect::StartTls);
    }

    fn on_mail(&mut self, cx: &mut Cx<'_, SessionEffect>, path: Path<'_>, params: MailParams) {
        match (&self.greeting, &self.state) {
            (Greeting::Awaited, _) => return self.refuse(reply::HELLO_FIRST),
            (_, State::BetweenChunks(_)) => return self.refuse(reply::BDAT_UNDER_WAY),
            (_, State::Envelope(_)) => return self.refuse(reply::NESTED_MAIL),
            (Greeting::Helo(_) | Greeting::Ehlo(_), _) => {}
        }
        if self.mode == Mode::Submission && self.account.is_none() {
            return self.refuse(reply::LOGIN_FIRST);
        }
        if let Err(refusal) = self.judge_sender(path, params) {
            return self.refuse(refusal);
        }
        let announced = params.size.unwrap_or(0);
        let envelope = Box::new(Envelope::new(path.address, params.smtputf8, announced));
        match &self.account {
            // RFC 6409 6.1, protocols.md: the null reverse path is anyone's.
            Some(account) if !path.address.is_empty() => {
                let address = bytes::Bytes::copy_from_slice(path.address.as_bytes());
                let check = DirectoryTask::CheckSender { user: account.user, address };
                let token = cx.fresh_token();
                let task = Task::Directory(check);
                cx.emit(SessionEffect::Submit { token, lane: Lane::Interactive, task });
                self.state = State::CheckingSender { token, envelope };
            }
            Some(_) | None => {
                self.reply(reply::SENDER_OK);
                self.state = State::Envelope(envelope);
            }
        }
    }

    fn judge_sender(&self, path: Path<'_>, params: MailParams) -> Result<(), Reply> {
        // RFC 1870 6.1.
        if params.size.is_some_and(|size| size > self.limits.message_bytes_max) {
            return Err(reply::TOO_BIG);
        }
        // RFC 6531 3.5: 553 with X.6.7 where the client did not ask for SMTPUTF8.
        if path.needs_utf8() && !params.smtputf8 {
            return Err(reply::NEEDS_SMTPUTF8);
        }
        match mailstore::address::parse_unbracketed(path.address.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(reply::BAD_SENDER),
        }
    }

    pub(super) fn on_sender_checked(&mut self, envelope: Box<Envelope>, completion: Completion) {
        self.state = State::Ready;
        match completion {
            Completion::Directory(DirectoryDone::SenderChecked { allowed: true }) => {
                self.reply(reply::SENDER_OK);
                self.state = State::Envelope(envelope);
            }
            Completion::Directory(DirectoryDone::SenderChecked { allowed: false }) => {
                self.refuse(reply::FOREIGN_SENDER);
            }
            Completion::Refused(_) => self.reply(reply::LOOKUP_FAILED),
            Completion::Directory(_)
            | Completion::User(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("CheckSender is answered with SenderChecked"),
        }
    }

    /// What the log says of a refused recipient or message.
    pub(super) fn log_refused(
        &self,
        cx: &mut Cx<'_, SessionEffect>,
        recipient: &str,
        refusal: Reply,
    ) {
        cx.emit(SessionEffect::Log(LogEvent::Refused {
            protocol: self.peer.protocol,
            ip: self.peer.ip,
            recipient: recipient.to_owned(),
            reply: refusal.text().to_owned(),
        }));
    }

    /// The name the client greeted with; empty before it did.
    pub(super) fn client(&self) -> Arc<str> {
        match &self.greeting {
            Greeting::Awaited => Arc::default(),
            Greeting::Helo(client) | Greeting::Ehlo(client) => Arc::clone(client),
        }
    }
}
