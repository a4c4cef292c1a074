//! IMAP4rev1 (RFC 3501, in the words of RFC 9051 where they agree): the codec and the session machine.
//!
//! `codec` turns bytes into typed commands and rows into response bytes; it decides nothing. `session` decides.
//! Absences: nothing here knows of sockets, files, clocks, threads or another protocol.
#![forbid(unsafe_code)]

#[cfg(feature = "client-model")]
pub mod client_model;
pub mod codec;
mod session;

pub use session::{Limits, Session};
