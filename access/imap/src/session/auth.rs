//! LOGIN and AUTHENTICATE (RFC 9051 6.2).
//!
//! States: `Exchanging` -> `Verifying` -> answer.
//! Invariants: no password is kept once it was sent for verification; none is taken where it could
//! be overheard.

use super::capability;
use super::job::{Job, Outcome};
use super::reply::Reply;
use super::shared::{Login, Turn};
use super::timers;
use crate::codec::{Event, limits as codec_limits};
use bytes::Bytes;
use fsm::Token;
use mailstore::face::{
    Account, AuthRefusal, Authenticate, Completion, DirectoryDone, DirectoryTask, LogEvent,
    Protocol, SessionEffect,
};
use mailstore::sasl::{Exchange, Mechanism, SaslError, Step};
use std::sync::Arc;

/// A log-in under way.
#[derive(Debug)]
pub enum AuthJob {
    /// Waits for a line of the client.
    Exchanging(Exchange),
    Verifying {
        token: Token,
        name: Bytes,
    },
}

impl AuthJob {
    pub fn start_login(turn: &mut Turn<'_, '_>, username: Bytes, password: Bytes) -> Outcome {
        if !capability::may_log_in(turn.shared) {
            return privacy_required();
        }
        Self::verify(turn, username, password)
    }

    pub fn start_authenticate(
        turn: &mut Turn<'_, '_>,
        mechanism: &Bytes,
        initial: Option<&Bytes>,
    ) -> Outcome {
        if !capability::may_log_in(turn.shared) {
            return privacy_required();
        }
        let Some(mechanism) = Mechanism::by_name(mechanism) else {
            return Outcome::Answer(Reply::no("[CANNOT] no such mechanism"));
        };
        // RFC 4959 3: `=` stands for an empty response.
        let initial = initial.map(|text| if text.is_empty() { &b"="[..] } else { &text[..] });
        Self::on_sasl(turn, Exchange::start(mechanism, initial))
    }

    fn on_sasl(turn: &mut Turn<'_, '_>, step: Step) -> Outcome {
        match step {
            Step::Challenge { text, next } => {
                turn.shared.output.put("+ ").put(text).line();
                turn.shared.framer.expect_line();
                Outcome::Wait(Job::Auth(Self::Exchanging(next)))
            }
            Step::Finished(credentials) => Self::verify(turn, credentials.name, credentials.secret),
            Step::Failed(error) => Outcome::Answer(match error {
                // RFC 9051 6.2.2: BAD for a cancelled exchange.
                SaslError::Cancelled
                | SaslError::NotBase64
                | SaslError::TooLong
                | SaslError::Malformed => Reply::bad(error.to_string()),
                SaslError::NotAuthorized => Reply::no(format!("[AUTHORIZATIONFAILED] {error}")),
            }),
        }
    }

    fn verify(turn: &mut Turn<'_, '_>, name: Bytes, secret: Bytes) -> Outcome {
        let peer = turn.shared.peer.ip;
        let token = turn.submit_directory(DirectoryTask::Authenticate(Authenticate {
            protocol: Protocol::Imap,
            peer,
            name: name.clone(),
            secret,
        }));
        Outcome::Wait(Job::Auth(Self::Verifying { token, name }))
    }

    pub fn takes_events(&self) -> bool {
        match self {
            Self::Exchanging(_) => true,
            Self::Verifying { .. } => false,
        }
    }

    pub fn on_event(self, turn: &mut Turn<'_, '_>, event: Event) -> Outcome {
        match (self, event) {
            (Self::Exchanging(exchange), Event::Line(line)) => {
                Self::on_sasl(turn, exchange.on_response(&line))
            }
            (Self::Exchanging(_), Event::TooLong { .. } | Event::Bad { .. }) => {
                Outcome::Answer(Reply::bad("the response is too long"))
            }
            (job @ Self::Exchanging(_), Event::Command(_) | Event::Continue | Event::Append(_))
            | (job @ Self::Verifying { .. }, _) => Outcome::Wait(Job::Auth(job)),
        }
    }

    pub fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        match self {
            Self::Verifying { token: awaited, name } if awaited == token => match completion {
                Completion::Directory(DirectoryDone::Authenticated(account)) => {
                    on_authenticated(turn, account)
                }
                Completion::Directory(DirectoryDone::AuthRefused(refusal)) => {
                    on_refused(turn, &name, refusal)
                }
                Completion::Refused(refusal) => Outcome::Answer(Reply::refused(refusal)),
                Completion::Directory(_)
                | Completion::User(_)
                | Completion::Delivery(_)
                | Completion::Blob(_) => Outcome::Answer(Reply::bug()),
            },
            other @ (Self::Exchanging(_) | Self::Verifying { .. }) => {
                Outcome::Wait(Job::Auth(other))
            }
        }
    }
}

fn privacy_required() -> Outcome {
    // RFC 5530 3 PRIVACYREQUIRED.
    Outcome::Answer(Reply::no("[PRIVACYREQUIRED] start TLS first"))
}

fn on_authenticated(turn: &mut Turn<'_, '_>, account: Account) -> Outcome {
    let address = Arc::clone(&account.address);
    turn.cx.emit(SessionEffect::Identified { address: Arc::clone(&address) });
    let ip = turn.shared.peer.ip;
    turn.cx.emit(SessionEffect::Log(LogEvent::AuthSucceeded {
        protocol: Protocol::Imap,
        user: address,
        ip,
    }));
    turn.cx.cancel(timers::LOGIN);
    turn.cx.arm(timers::SILENCE, turn.shared.limits.stalled_time);
    turn.shared.login = Login::Authenticated { account };
    turn.shared.framer.set_command_bytes_max(codec_limits::COMMAND_BYTES_AFTER_LOGIN);
    // RFC 9051 6.2.2, 6.2.3: capabilities in the answer spare the client a round.
    Outcome::Answer(Reply::ok("logged in").with_capabilities())
}

fn on_refused(turn: &mut Turn<'_, '_>, name: &Bytes, refusal: AuthRefusal) -> Outcome {
    let ip = turn.shared.peer.ip;
    turn.cx.emit(SessionEffect::Log(LogEvent::AuthFailed {
        protocol: Protocol::Imap,
        user: String::from_utf8_lossy(name).into_owned(),
        ip,
        reason: refusal,
    }));
    // `protocols.md`: [AUTHENTICATIONFAILED] only for a wrong password, else every client asks its
    // user for a new one.
    let reply = match refusal {
        AuthRefusal::WrongCredentials => {
            turn.shared.failed_logins += 1;
            Reply::no("[AUTHENTICATIONFAILED] wrong name or password")
        }
        AuthRefusal::Disabled => Reply::no("[CONTACTADMIN] the account is disabled"),
        AuthRefusal::Throttled => Reply::no("[UNAVAILABLE] too many attempts, try again later"),
        AuthRefusal::Unavailable => Reply::no("[UNAVAILABLE] log-in is not possible now"),
    };
    Outcome::Answer(reply)
}
