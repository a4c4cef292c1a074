//! AUTHORIZATION (RFC 1939 section 4, RFC 5034): who it is, then the lock of the maildrop.

use super::conversation::{Conversation, LOGIN};
use super::maildrop::OpenMaildrop;
use super::state::State;
use crate::codec::Command;
use bytes::Bytes;
use fsm::Cx;
use mailstore::face::{
    Account, AuthRefusal, Authenticate, Completion, DirectoryDone, DirectoryTask, Lane, LogEvent,
    Protocol, SessionEffect, Task, UserDone, UserError, UserTask,
};
use mailstore::sasl::{Credentials, Exchange, Mechanism, SaslError, Step};
use std::sync::Arc;

const NEEDS_TLS: &str = "-ERR [SYS/PERM] Log-in needs TLS: STLS first\r\n";

impl Conversation {
    pub(super) fn on_authorization(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        command: Command<'_>,
        behind: &[u8],
    ) {
        match command {
            Command::User(name) => self.on_user(name),
            Command::Pass(secret) => self.on_pass(cx, secret),
            Command::Auth { mechanism, initial } => self.on_auth(cx, mechanism, initial),
            Command::Stls => self.on_stls(cx, behind),
            Command::Capa => self.on_capa(),
            Command::Quit => {
                self.reply("+OK Bye\r\n");
                self.close(cx);
            }
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top { .. }
            | Command::Dele(_)
            | Command::Noop
            | Command::Rset => self.refuse("-ERR Log in first\r\n"),
        }
    }

    /// protocols.md: off loopback, no password without TLS.
    fn takes_passwords(&self) -> bool {
        self.tls.is_some() || self.peer.plaintext_auth
    }

    fn offers_tls(&self) -> bool {
        self.peer.tls_available && self.tls.is_none()
    }

    /// RFC 2449 section 5: what is announced holds in the state it is asked in.
    pub(super) fn on_capa(&mut self) {
        let in_authorization = !matches!(self.state, State::Transaction(_));
        let login = in_authorization && self.takes_passwords();
        let user = if login { "USER\r\nSASL PLAIN LOGIN\r\n" } else { "" };
        let stls = if in_authorization && self.offers_tls() { "STLS\r\n" } else { "" };
        self.reply(
            "+OK Capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n",
        );
        self.reply("PIPELINING\r\nEXPIRE NEVER\r\n");
        self.reply(user);
        self.reply(stls);
        self.reply("IMPLEMENTATION Hikyaku\r\n.\r\n");
    }

    fn on_user(&mut self, name: &[u8]) {
        if !self.takes_passwords() {
            return self.refuse(NEEDS_TLS);
        }
        // RFC 1939 section 7: +OK says nothing about whether the maildrop exists.
        self.state = State::Named(Bytes::copy_from_slice(name));
        self.reply("+OK\r\n");
    }

    fn on_pass(&mut self, cx: &mut Cx<'_, SessionEffect>, secret: &[u8]) {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Named(name) => {
                let secret = Bytes::copy_from_slice(secret);
                self.verify(cx, Credentials { name, secret });
            }
            _ => self.refuse("-ERR USER first\r\n"),
        }
    }

    fn on_auth(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        mechanism: Option<&[u8]>,
        initial: Option<&[u8]>,
    ) {
        if !self.takes_passwords() {
            return self.refuse(NEEDS_TLS);
        }
        self.state = State::Start;
        match mechanism.map(Mechanism::by_name) {
            None => self.reply("+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"),
            Some(Some(mechanism)) => self.on_sasl(cx, Exchange::start(mechanism, initial)),
            Some(None) => self.refuse("-ERR Unknown mechanism\r\n"),
        }
    }

    pub(super) fn on_auth_response(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        exchange: Exchange,
        line: &[u8],
    ) {
        self.on_sasl(cx, exchange.on_response(line));
    }

    fn on_sasl(&mut self, cx: &mut Cx<'_, SessionEffect>, step: Step) {
        match step {
            Step::Challenge { text, next } => {
                self.reply("+ ");
                self.reply(text);
                self.reply("\r\n");
                self.state = State::Authenticating(next);
            }
            Step::Finished(credentials) => self.verify(cx, credentials),
            Step::Failed(error) => self.refuse(match error {
                SaslError::Cancelled => "-ERR Cancelled\r\n",
                SaslError::NotBase64 | SaslError::Malformed => {
                    "-ERR Cannot decode the response\r\n"
                }
                SaslError::TooLong => "-ERR Response too long\r\n",
                SaslError::NotAuthorized => "-ERR [AUTH] Not authorized to act for another\r\n",
            }),
        }
    }

    fn verify(&mut self, cx: &mut Cx<'_, SessionEffect>, credentials: Credentials) {
        let Credentials { name, secret } = credentials;
        let shown = String::from_utf8_lossy(&name).into_owned().into_boxed_str();
        let (protocol, peer) = (Protocol::Pop3, self.peer.ip);
        let attempt = Authenticate { protocol, peer, name, secret };
        let task = Task::Directory(DirectoryTask::Authenticate(attempt));
        let token = cx.fresh_token();
        cx.emit(SessionEffect::Submit { token, lane: Lane::Interactive, task });
        self.state = State::Verifying { token, name: shown };
    }

    pub(super) fn on_verified(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        name: &str,
        completion: Completion,
    ) {
        let refusal = match completion {
            Completion::Directory(DirectoryDone::Authenticated(account)) => {
                let token = self.submit(cx, account.user, UserTask::OpenMaildrop);
                self.state = State::Opening { token, account };
                return;
            }
            Completion::Directory(DirectoryDone::AuthRefused(refusal)) => refusal,
            Completion::Refused(_) => AuthRefusal::Unavailable,
            Completion::Directory(_)
            | Completion::User(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("Authenticate is answered with a verdict"),
        };
        let (ip, user) = (self.peer.ip, name.to_owned());
        let protocol = Protocol::Pop3;
        cx.emit(SessionEffect::Log(LogEvent::AuthFailed { protocol, user, ip, reason: refusal }));
        // RFC 3206: [AUTH] makes a client ask for the password again, [SYS/TEMP] makes it wait.
        self.reply(match refusal {
            AuthRefusal::WrongCredentials => "-ERR [AUTH] Wrong name or password\r\n",
            AuthRefusal::Disabled => "-ERR [SYS/PERM] The account is disabled\r\n",
            AuthRefusal::Throttled => "-ERR [SYS/TEMP] Too many attempts, try again later\r\n",
            AuthRefusal::Unavailable => "-ERR [SYS/TEMP] Try again later\r\n",
        });
        if refusal != AuthRefusal::Unavailable {
            self.failed_logins += 1;
        }
        if self.failed_logins >= self.limits.failed_logins_max {
            self.close(cx);
        }
    }

    pub(super) fn on_maildrop(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        account: Account,
        completion: Completion,
    ) {
        match completion {
            Completion::User(UserDone::MaildropOpened(maildrop)) => {
                let (user, ip) = (Arc::clone(&account.address), self.peer.ip);
                cx.cancel(LOGIN);
                cx.emit(SessionEffect::Identified { address: Arc::clone(&user) });
                self.user = Some(Arc::clone(&user));
                let protocol = Protocol::Pop3;
                cx.emit(SessionEffect::Log(LogEvent::AuthSucceeded { protocol, user, ip }));
                let maildrop = Box::new(OpenMaildrop::new(account, maildrop));
                let (messages, octets) = maildrop.stat();
                self.reply(&format!("+OK {messages} messages ({octets} octets)\r\n"));
                self.state = State::Transaction(maildrop);
            }
            // RFC 2449 8.1.1.
            Completion::User(UserDone::Failed(UserError::MaildropInUse)) => {
                self.reply("-ERR [IN-USE] Another session has the maildrop open\r\n");
            }
            Completion::User(UserDone::Failed(UserError::Disabled)) => {
                self.reply("-ERR [SYS/PERM] The account is disabled\r\n");
            }
            Completion::User(UserDone::Failed(_)) | Completion::Refused(_) => {
                self.reply(
                    "-ERR [SYS/TEMP] The maildrop cannot be opened now, try again later\r\n",
                );
            }
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("OpenMaildrop is answered with MaildropOpened"),
        }
    }

    fn on_stls(&mut self, cx: &mut Cx<'_, SessionEffect>, behind: &[u8]) {
        if self.tls.is_some() {
            return self.refuse("-ERR TLS is active already\r\n");
        }
        if !self.peer.tls_available {
            return self.refuse("-ERR TLS is not available\r\n");
        }
        // protocols.md: bytes behind the command in the same read are an attempt to inject: no reply can be right.
        if !behind.is_empty() {
            return self.close(cx);
        }
        self.reply("+OK Begin TLS\r\n");
        self.flush(cx);
        self.state = State::StartingTls;
        cx.emit(SessionEffect::StartTls);
    }
}
