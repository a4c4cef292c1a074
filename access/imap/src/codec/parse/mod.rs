//! The grammar, by recursive descent over one contiguous command (lines and literals as sent).
//!
//! Every rule consumes what it reads and none goes back, so that a command costs time in proportion
//! to its bytes.

mod append;
mod command;
mod cursor;
mod date;
mod fetch;
mod flags;
mod list;
mod mailbox;
mod quota;
mod search;
mod sequence;

pub(super) use append::{AppendHead, AppendTail, append_head, append_tail};
pub(super) use command::{command, tag_of, verb_is_append};
pub use cursor::SyntaxError;

/// How mailbox names are written: modified UTF-7 until the client enables UTF8=ACCEPT (RFC 9755 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameEncoding {
    Utf7,
    Utf8,
}
