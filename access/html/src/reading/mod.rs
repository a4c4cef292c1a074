//! Shows messages so that nothing in them runs and nothing leaves until the reader asks.
//!
//! [`sanitise`] and [`text_html`] make the fragment of one part, [`frame()`] the document around it, which is served with
//! [`HEADERS`](frame::HEADERS) and a policy of its own and shown in a sandboxed frame. [`Served`] says how any other part may
//! leave; [`Sender`] shows who wrote. [`opened`](opened()) is the last touch on both; [`rich`] is for what is written here.
//!
//! Three walls: what comes out of the sanitiser names no resource but images that were asked for; the policy of the frame lets
//! it fetch nothing else; the sandbox gives it no script, no form and no origin. The first has to hold alone against looked-up
//! names: neither policy nor sandbox keeps a browser from following `<link rel=preconnect>` that far.
//!
//! Everything here is a function of its arguments. Absences: no script element, no handler, no form, no frame, no drawing
//! language gets out of here, and no address but `http`, `https`, `mailto` and what the caller serves a part under.

mod allowed;
pub mod attachment;
mod css;
mod escape;
mod file_name;
pub mod frame;
mod limits;
mod link;
mod marks;
pub mod opened;
mod outline;
mod paragraphs;
pub mod rich;
mod sanitise;
mod scanner;
pub mod sender;
mod text;

pub use attachment::{Served, serve};
pub use file_name::FileName;
pub use frame::frame;
pub use limits::Limits;
pub use opened::{Opened, Searched, opened};
pub use sanitise::{Options, Remote, Sanitised, sanitise};
pub use sender::Sender;
pub use text::{Flowed, text_html};
