//! POP3 (RFC 1939): one session machine and its codec.
//!
//! [`Session`] takes bytes and completions and emits bytes and tasks (`mailstore::face`). The maildrop is a snapshot, taken at
//! log-in under an exclusive lock that the master of the user holds; messages are read in pages, and a page is asked for only
//! when the client has taken the one before. Deletions happen at QUIT, all at once, and only then.
//!
//! Absences: nothing here knows a socket, TLS, a password's hash, or how a message is stored. No APOP: it needs passwords in
//! the clear at rest. No other protocol is known.
#![forbid(unsafe_code)]

pub mod codec;
mod limits;
mod session;

pub use limits::Limits;
pub use session::Session;
