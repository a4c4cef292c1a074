//! SASL mechanisms for passwords: PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), as tiny
//! machines that SMTP, IMAP and POP3 share.
//!
//! States: an [`Exchange`] is consumed by each response and says what comes next: a challenge, the
//! credentials, or failure.
//! Invariants: base64 is bounded before it is decoded; buffers that held a secret are wiped on
//! every way out but success.
//! Absences: nothing here knows how a protocol frames a challenge (`334 `, `+ `), or whether the
//! password is right.

use crate::address::Address;
use crate::secret::guarded;
use bytes::Bytes;
use zeroize::Zeroize;

/// Octets of one base64 response. RFC 4954 4 and RFC 5034 4 allow 12,288 for mechanisms with
/// tickets; ours carry a name and a password.
pub const RESPONSE_BYTES_MAX: usize = 4096;

/// A mechanism that we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login: never a standard, needed by Outlook.
    Login,
}

impl Mechanism {
    /// All of them, in the order of announcement.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// By its name, in any case.
    #[must_use]
    pub fn by_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }
}

/// What the client said it is, and its proof. Never shows the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub name: Bytes,
    /// Overwrites itself when its last holder lets go.
    pub secret: Bytes,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why an exchange ended without credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// The client sent `*`: SMTP 501, IMAP BAD, POP3 -ERR.
    #[error("authentication cancelled")]
    Cancelled,
    /// SMTP 501 5.5.2, IMAP BAD.
    #[error("not base64")]
    NotBase64,
    /// SMTP 500 5.5.6.
    #[error("authentication response too long")]
    TooLong,
    /// Not the fields that the mechanism wants, or an empty one: SMTP 501 5.5.2.
    #[error("malformed authentication response")]
    Malformed,
    /// RFC 4616: an authorization identity other than the one that logs in. SMTP 535, IMAP NO
    /// [AUTHORIZATIONFAILED].
    #[error("this account may not act for another")]
    NotAuthorized,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, base64 already, in the protocol's frame; give the answer to
    /// [`Exchange::on_response`].
    Challenge {
        text: &'static str,
        next: Exchange,
    },
    Finished(Credentials),
    Failed(SaslError),
}

/// An exchange that waits for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange(State);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// PLAIN without an initial response: waits for the one message.
    Plain,
    /// LOGIN: waits for the name.
    LoginName,
    /// LOGIN: waits for the password.
    LoginSecret { name: Bytes },
}

impl Exchange {
    /// Begins an exchange. `initial`: the initial response as on the wire; `=` stands for an empty
    /// one (RFC 4954 4, RFC 4959 3).
    #[must_use]
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
        let (state, text) = match mechanism {
            Mechanism::Plain => (State::Plain, ""),
            Mechanism::Login => (State::LoginName, "VXNlcm5hbWU6"),
        };
        match initial {
            None => Step::Challenge { text, next: Self(state) },
            Some(b"=") => Self(state).on_decoded(Vec::new()),
            Some(response) => Self(state).on_response(response),
        }
    }

    /// Takes the client's line, without CRLF.
    #[must_use]
    pub fn on_response(self, line: &[u8]) -> Step {
        // RFC 4954 4, RFC 9051 6.2.2, RFC 5034 4: a lone asterisk cancels.
        if line == b"*" {
            return Step::Failed(SaslError::Cancelled);
        }
        match decode_base64(line) {
            Ok(decoded) => self.on_decoded(decoded),
            Err(error) => Step::Failed(error),
        }
    }

    fn on_decoded(self, decoded: Vec<u8>) -> Step {
        match self.0 {
            State::Plain => match split_plain(decoded) {
                Ok(credentials) => Step::Finished(credentials),
                Err(error) => Step::Failed(error),
            },
            State::LoginName => match checked_field(decoded) {
                Ok(name) => Step::Challenge {
                    text: "UGFzc3dvcmQ6",
                    next: Self(State::LoginSecret { name }),
                },
                Err(error) => Step::Failed(error),
            },
            State::LoginSecret { name } => match checked_field(decoded) {
                Ok(secret) => Step::Finished(Credentials { name, secret }),
                Err(error) => Step::Failed(error),
            },
        }
    }
}

/// RFC 4616 2: `[authzid] NUL authcid NUL passwd`, each UTF-8 without NUL, the last two not empty.
fn split_plain(mut message: Vec<u8>) -> Result<Credentials, SaslError> {
    let parsed = {
        let mut fields = message.split(|&byte| byte == 0);
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some(authzid), Some(authcid), Some(passwd), None) => {
                plain_fields(authzid, authcid, passwd)
            }
            _ => Err(SaslError::Malformed),
        }
    };
    message.zeroize();
    parsed
}

fn plain_fields(authzid: &[u8], authcid: &[u8], passwd: &[u8]) -> Result<Credentials, SaslError> {
    if authcid.is_empty() || passwd.is_empty() {
        return Err(SaslError::Malformed);
    }
    if [authzid, authcid, passwd].iter().any(|field| std::str::from_utf8(field).is_err()) {
        return Err(SaslError::Malformed);
    }
    if !authzid.is_empty() && !same_identity(authzid, authcid) {
        return Err(SaslError::NotAuthorized);
    }
    Ok(Credentials {
        name: Bytes::copy_from_slice(authcid),
        secret: Bytes::copy_from_slice(passwd),
    })
}

/// Some clients repeat the name as the authorization identity: it must be the same account by our
/// own comparison.
fn same_identity(authzid: &[u8], authcid: &[u8]) -> bool {
    match (Address::parse(authzid), Address::parse(authcid)) {
        (Ok(authzid), Ok(authcid)) => authzid.canonical() == authcid.canonical(),
        _ => authzid.eq_ignore_ascii_case(authcid),
    }
}

fn checked_field(field: Vec<u8>) -> Result<Bytes, SaslError> {
    let field = guarded(field);
    if field.is_empty() || field.contains(&0) || std::str::from_utf8(&field).is_err() {
        return Err(SaslError::Malformed);
    }
    Ok(field)
}

/// RFC 4648 4, with padding, nothing else between. The output buffer never moves, so that no copy
/// of a secret stays behind.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, SaslError> {
    if text.len() > RESPONSE_BYTES_MAX {
        return Err(SaslError::TooLong);
    }
    if !text.len().is_multiple_of(4) {
        return Err(SaslError::NotBase64);
    }
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits: u32 = 0;
    for (at, &byte) in digits.iter().enumerate() {
        let Some(value) = base64_value(byte) else {
            decoded.zeroize();
            return Err(SaslError::NotBase64);
        };
        bits = (bits << 6) | value;
        if at % 4 != 0 {
            let shift = 6 - 2 * (at % 4);
            decoded.push(u8::try_from((bits >> shift) & 0xFF).expect("masked to eight bits"));
        }
    }
    Ok(decoded)
}

fn base64_value(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(name: &str, secret: &str) -> Step {
        Step::Finished(Credentials {
            name: Bytes::copy_from_slice(name.as_bytes()),
            secret: Bytes::copy_from_slice(secret.as_bytes()),
        })
    }

    fn next(step: Step, expected: &str) -> Exchange {
        match step {
            Step::Challenge { text, next } => {
                assert_eq!(text, expected);
                next
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_with_an_initial_response() {
        // RFC 4616 4: the example "\0tim\0tanstaaftanstaaf".
        let step = Exchange::start(Mechanism::Plain, Some(b"AHRpbQB0YW5zdGFhZnRhbnN0YWFm"));
        assert_eq!(step, finished("tim", "tanstaaftanstaaf"));
    }

    #[test]
    fn plain_with_an_empty_challenge() {
        let exchange = next(Exchange::start(Mechanism::Plain, None), "");
        assert_eq!(exchange.on_response(b"AGEAYg=="), finished("a", "b"));
    }

    #[test]
    fn plain_may_name_itself_but_nobody_else() {
        // "Tim@X.example\0tim@x.example\0pw" and "kurt\0tim\0pw"
        let own =
            Exchange::start(Mechanism::Plain, Some(b"VGltQFguZXhhbXBsZQB0aW1AeC5leGFtcGxlAHB3"));
        assert_eq!(own, finished("tim@x.example", "pw"));
        let other = Exchange::start(Mechanism::Plain, Some(b"a3VydAB0aW0AcHc="));
        assert_eq!(other, Step::Failed(SaslError::NotAuthorized));
    }

    #[test]
    fn login_asks_twice_or_takes_the_name_at_once() {
        let exchange = next(Exchange::start(Mechanism::Login, None), "VXNlcm5hbWU6");
        let exchange = next(exchange.on_response(b"dGlt"), "UGFzc3dvcmQ6");
        assert_eq!(exchange.on_response(b"cHc="), finished("tim", "pw"));
        let exchange = next(Exchange::start(Mechanism::Login, Some(b"dGlt")), "UGFzc3dvcmQ6");
        assert_eq!(exchange.on_response(b"cHc="), finished("tim", "pw"));
    }

    #[test]
    fn an_asterisk_cancels_in_every_state() {
        for mechanism in Mechanism::ALL {
            let Step::Challenge { text: _, next } = Exchange::start(mechanism, None) else {
                panic!()
            };
            assert_eq!(next.on_response(b"*"), Step::Failed(SaslError::Cancelled));
        }
        let exchange = next(Exchange::start(Mechanism::Login, Some(b"dGlt")), "UGFzc3dvcmQ6");
        assert_eq!(exchange.on_response(b"*"), Step::Failed(SaslError::Cancelled));
    }

    #[test]
    fn malformed_messages_fail() {
        let plain = |text: &[u8]| Exchange::start(Mechanism::Plain, Some(text));
        for malformed in ["=", "", "dGlt", "AHRpbQA=", "AABwdw==", "AGEAYgBj", "AP8AYg=="] {
            let step = plain(malformed.as_bytes());
            assert_eq!(step, Step::Failed(SaslError::Malformed), "{malformed}");
        }
        for garbage in ["A", "AAA", "A===", "====", "AG=A", "AGE AGI=", "AGEAYg==\r", "AGEA*g=="] {
            let step = plain(garbage.as_bytes());
            assert_eq!(step, Step::Failed(SaslError::NotBase64), "{garbage}");
        }
        assert_eq!(plain(&[b'A'; RESPONSE_BYTES_MAX + 4]), Step::Failed(SaslError::TooLong));
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(Mechanism::by_name(b"plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::by_name(b"Login"), Some(Mechanism::Login));
        assert_eq!(Mechanism::by_name(b"CRAM-MD5"), None);
    }

    #[test]
    fn no_secret_is_shown() {
        let credentials = Credentials { name: Bytes::from("ann"), secret: Bytes::from("hush") };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
