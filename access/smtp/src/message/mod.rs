//! A message on its way in: who it is for, its header as it comes, its bytes, and the lines that we put before it.

mod authors;
mod body_sink;
mod envelope;
mod fault;
mod header_watch;
mod intake;
#[expect(clippy::module_inception, reason = "one main type per file, the file named after it")]
mod message;
mod submitted;
mod trace;

use authors::authors;
pub use body_sink::drop_blob;
use body_sink::{BodySink, Sunk};
pub use envelope::{Envelope, Finding, Lookup};
pub use fault::{Fault, refusal_reply};
use header_watch::{HeaderWatch, Watched};
pub use intake::{Intake, Refusing, Taking};
pub use message::{Message, Whole};
use trace::write_date;
pub use trace::{Trace, Transport};
