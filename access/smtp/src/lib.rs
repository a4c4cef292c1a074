//! SMTP, submission and LMTP: one session machine with three modes, and its codec.
//!
//! [`Session`] takes bytes and completions and emits bytes and tasks (`mailstore::face`). A message streams through: it is
//! un-dotted, checked, kept (inline, or as chunks of a blob while it arrives) and handed to the master of its one mailbox, or
//! to the delivery queue when it has several. 250 is said on the completion of the durable write and on nothing else.
//!
//! Absences: nothing here knows a socket, TLS, a password's hash, or which node holds a mailbox. No other protocol is known.
#![forbid(unsafe_code)]

pub mod codec;
mod limits;
mod message;
mod mode;
mod session;

pub use limits::Limits;
pub use mode::Mode;
pub use session::Session;
