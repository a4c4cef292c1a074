//! Bytes to commands and back.
//!
//! The AST ([`Command`]) is plain data. Nothing here decides anything about mail: what is
//! syntactically wrong becomes an event, what is merely unacceptable (a mailbox name, a charset)
//! stands in the AST as an `Err` for the session to answer.

pub mod charset;
mod command;
pub mod encode;
mod event;
mod fetch;
mod framer;
mod input;
pub mod limits;
mod object_id;
mod parse;
mod search;
mod sequence;
pub mod utf7;

pub use command::*;
pub use event::*;
pub use fetch::*;
pub use framer::Framer;
pub use parse::{NameEncoding, SyntaxError};
pub use search::*;
pub use sequence::{SeqBound, SeqRange, SequenceSet};
