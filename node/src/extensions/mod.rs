//! Extensions: programs that follow mailboxes, in this process or over gRPC.
//!
//! Nothing here is between a client and its mail: feeders ask masters as clients do, a few mailboxes at once, and wait for
//! whoever takes the batches.

#[allow(clippy::all, missing_debug_implementations, reason = "made from the .proto file")]
#[rustfmt::skip]
pub mod api;
mod borrowed;
mod deciding;
mod feed;
mod grant;
mod inside;
mod mail;
mod registry;
mod rewind;
mod server;
mod service;

pub use borrowed::{answered, lend};
pub use deciding::Deciding;
pub use feed::led_by;
pub use grant::Grants;
pub use inside::{INDEX, Inside, start_all};
pub use registry::Registry;
pub use rewind::rewind;
pub use server::{ExtensionServer, serve};
pub use service::Service;
