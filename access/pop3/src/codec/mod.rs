//! The wire: lines, commands, and messages as multi-line responses. Nothing here keeps a session.

mod command;
mod line;
mod stuffer;

pub use command::{Command, Mistake, parse};
pub use line::{LineReader, NextLine};
pub use stuffer::{Extent, Stuffer};
