//! How events of mailboxes reach extensions.
//!
//! A [`Feeder`] follows the event logs of many mailboxes for one extension and gives it [`Batch`]es: at least once, in the order
//! of the mailbox, from where it left off. What takes them is an [`Extension`] in the process of the node, or a program at the
//! other end of a gRPC stream. ADR 13 tells why it is built like this.
//!
//! Absences: nothing here knows a socket, a thread, a clock or a file, nor what an extension does with an event.
#![forbid(unsafe_code)]

mod batch;
mod deciding;
mod extension;
mod feeder;
mod limits;
mod reading;
mod roll;
#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchId, Content, Kinds};
pub use deciding::{Decider, Deciders, DecidersEffect, DecidersInput, Missed, QuestionId};
pub use extension::{Extension, ExtensionEffect, ExtensionInput, Wish};
pub use feeder::{Effect, Feeder, Input, Lag, Memory, Reach, Setup, Why};
pub use limits::Limits;
