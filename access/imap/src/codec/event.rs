//! What the framer hands to the session.

use super::{Command, FlagError, FlagList, Mailbox, Tag};
use bytes::Bytes;
use mailstore::face::InternalDate;

/// Something arrived. Events are polled one by one, so that what a command changes (log-in, ENABLE)
/// rules the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Command(Command),
    /// The client waits before a literal of a command other than APPEND: send `+ `. Nothing else
    /// has to be done.
    Continue,
    Append(AppendEvent),
    /// The line after `Framer::expect_line`, without its CRLF.
    Line(Bytes),
    /// A syntax error: BAD, tagged when the tag could be read. An APPEND under way is over. The
    /// framer is already at the next command.
    Bad {
        tag: Option<Tag>,
        reason: &'static str,
    },
    /// A line or literal over the limit: BAD or NO `[TOOBIG]`. The framer drops it by itself.
    TooLong {
        tag: Option<Tag>,
        /// Bytes of a non-synchronizing literal that the client is going to send and the framer to
        /// drop; 0 when nothing is (a line, or a literal that the client holds back). Large: say
        /// BYE instead.
        draining: u64,
    },
}

/// APPEND (RFC 9051 6.3.12, MULTIAPPEND RFC 3502), piece by piece: `Begin (Message Data*
/// LiteralEnd)+ End`, or `Event::Bad`, or `Event::TooLong` instead of the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendEvent {
    Begin {
        tag: Tag,
        mailbox: Mailbox,
    },
    /// One message is announced. The framer yields nothing until `Framer::accept_literal` or
    /// `Framer::abandon_append`.
    Message(AppendMessage),
    /// A piece of the message, not empty.
    Data(Bytes),
    /// All `bytes` of the message were given.
    LiteralEnd,
    /// The command is complete: answer it.
    End,
}

/// A message announced by APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendMessage {
    pub flags: Result<FlagList, FlagError>,
    /// `None`: now.
    pub internal_date: Option<InternalDate>,
    /// Bytes of the message as sent.
    pub bytes: u64,
    pub literal: LiteralKind,
    pub sync: LiteralSync,
}

/// How the message is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralKind {
    /// `{n}`.
    Text,
    /// RFC 3516 `~{n}`: may hold NUL.
    Binary,
    /// RFC 6855 4 `UTF8 (~{n} ...)`: a message with UTF-8 headers.
    Utf8,
}

/// Whether the client waits for `+ ` before it sends the literal (RFC 7888).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiteralSync {
    /// `{n}`: it waits. To refuse, answer NO and no `+ `.
    Synchronizing,
    /// `{n+}`: it is already sending.
    NonSynchronizing,
}
