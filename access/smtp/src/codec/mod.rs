//! The wire: lines, commands, replies and the framing of content. Nothing here keeps a transaction.

mod command;
mod framer;
mod line;
mod path;
pub mod reply;

pub use command::{Command, Hello, LastChunk, MailParams, parse};
pub use framer::{Framer, Framing, LineEndings, Progress};
pub use line::{LineReader, NextLine};
pub use path::{Path, parse_path};
