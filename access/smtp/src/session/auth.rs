//! AUTH (RFC 4954), on submission only: PLAIN and LOGIN, judged by the directory.

use super::conversation::{Conversation, LOGIN};
use super::state::{Greeting, State};
use crate::codec::reply::{self, Reply};
use fsm::Cx;
use mailstore::face::{
    AuthRefusal, Authenticate, Completion, DirectoryDone, DirectoryTask, Lane, LogEvent,
    SessionEffect, Task,
};
use mailstore::sasl::{Credentials, Exchange, Mechanism, SaslError, Step};
use std::sync::Arc;

impl Conversation {
    pub(super) fn on_auth(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        mechanism: &[u8],
        initial: Option<&[u8]>,
    ) {
        if let Err(refusal) = self.may_authenticate() {
            return self.refuse(refusal);
        }
        match Mechanism::by_name(mechanism) {
            Some(mechanism) => self.on_sasl(cx, Exchange::start(mechanism, initial)),
            None => self.refuse(reply::UNKNOWN_MECHANISM),
        }
    }

    fn may_authenticate(&self) -> Result<(), Reply> {
        if self.mode != crate::Mode::Submission {
            return Err(reply::NOT_IMPLEMENTED);
        }
        if !self.offers_auth() {
            return Err(reply::ENCRYPTION_REQUIRED);
        }
        // RFC 4954 section 4: once, after EHLO, and not during a transaction.
        match (&self.greeting, &self.state) {
            _ if self.account.is_some() => Err(reply::ALREADY_LOGGED_IN),
            (Greeting::Awaited | Greeting::Helo(_), _) => Err(reply::HELLO_FIRST),
            (Greeting::Ehlo(_), State::Ready) => Ok(()),
            (Greeting::Ehlo(_), _) => Err(reply::NOT_IN_TRANSACTION),
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
                self.reply_bytes(b"334 ");
                self.reply_bytes(text.as_bytes());
                self.reply_bytes(b"\r\n");
                self.state = State::Authenticating(next);
            }
            Step::Finished(credentials) => self.verify(cx, credentials),
            Step::Failed(error) => self.refuse(match error {
                SaslError::Cancelled => reply::AUTH_CANCELLED,
                SaslError::NotBase64 | SaslError::Malformed => reply::AUTH_BAD_BASE64,
                SaslError::TooLong => reply::AUTH_TOO_LONG,
                SaslError::NotAuthorized => reply::WRONG_CREDENTIALS,
            }),
        }
    }

    fn verify(&mut self, cx: &mut Cx<'_, SessionEffect>, credentials: Credentials) {
        let Credentials { name, secret } = credentials;
        let shown = String::from_utf8_lossy(&name).into_owned().into_boxed_str();
        let (protocol, peer) = (self.peer.protocol, self.peer.ip);
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
        self.state = State::Ready;
        let refusal = match completion {
            Completion::Directory(DirectoryDone::Authenticated(account)) => {
                let (protocol, ip) = (self.peer.protocol, self.peer.ip);
                let user = Arc::clone(&account.address);
                cx.cancel(LOGIN);
                cx.emit(SessionEffect::Identified { address: Arc::clone(&user) });
                cx.emit(SessionEffect::Log(LogEvent::AuthSucceeded { protocol, user, ip }));
                self.account = Some(account);
                return self.reply(reply::LOGGED_IN);
            }
            Completion::Directory(DirectoryDone::AuthRefused(refusal)) => refusal,
            Completion::Refused(_) => AuthRefusal::Unavailable,
            Completion::Directory(_)
            | Completion::User(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => panic!("Authenticate is answered with a verdict"),
        };
        self.on_login_failed(cx, name, refusal);
    }

    fn on_login_failed(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        name: &str,
        refusal: AuthRefusal,
    ) {
        let (protocol, ip, user) = (self.peer.protocol, self.peer.ip, name.to_owned());
        cx.emit(SessionEffect::Log(LogEvent::AuthFailed { protocol, user, ip, reason: refusal }));
        // RFC 4954 section 6. Only a wrong password is told as one: else clients prompt for it.
        self.reply(match refusal {
            AuthRefusal::WrongCredentials => reply::WRONG_CREDENTIALS,
            AuthRefusal::Disabled => reply::ACCOUNT_DISABLED,
            AuthRefusal::Throttled | AuthRefusal::Unavailable => reply::AUTH_UNAVAILABLE,
        });
        if refusal != AuthRefusal::Unavailable {
            self.tally.failed_logins += 1;
        }
        if self.tally.failed_logins >= self.limits.failed_logins_max {
            self.reply(reply::TOO_MANY_ERRORS);
            self.close(cx);
        }
    }
}
