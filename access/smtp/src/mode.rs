//! The three protocols that one session machine speaks.

use crate::codec::LineEndings;
use mailstore::face::Protocol;

/// Which rules hold on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mail from other servers: RFC 5321.
    Smtp,
    /// Mail from our own users, who log in first: RFC 6409.
    Submission,
    /// Mail from a server in front, answered recipient by recipient: RFC 2033.
    Lmtp,
}

impl Mode {
    /// The mode of a listener's protocol.
    ///
    /// # Panics
    /// A protocol that is none of the three: a listener gave its connection to the wrong machine.
    #[must_use]
    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Smtp => Self::Smtp,
            Protocol::Submission => Self::Submission,
            Protocol::Lmtp => Self::Lmtp,
            Protocol::Imap | Protocol::Pop3 | Protocol::Http => {
                panic!("a listener for {} speaks no SMTP", protocol.name())
            }
        }
    }

    /// `protocols.md`: where a client is to blame it is told; where a mail server stands in front, a refusal would bounce.
    #[must_use]
    pub const fn line_endings(self) -> LineEndings {
        match self {
            Self::Smtp | Self::Submission => LineEndings::Strict,
            Self::Lmtp => LineEndings::Repair,
        }
    }
}
