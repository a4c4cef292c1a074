//! A message on its way in: who it is for, its header as it comes, its bytes, and the lines that we put before it.

mod body_sink;
mod envelope;
mod fault;
mod header_watch;
mod intake;
mod trace;

pub use body_sink::{BodySink, Sunk, drop_blob};
pub use envelope::{Accepted, Envelope, Finding, Lookup};
pub use fault::{Fault, refusal_reply};
pub use header_watch::{HeaderWatch, Watched};
pub use intake::{Intake, Message, Taking};
pub use trace::{Trace, Transport, write_date};
