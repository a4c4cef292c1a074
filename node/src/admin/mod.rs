//! The admin server: gRPC for operators, and `/metrics`, `/healthz`, `/readyz` over plain HTTP on the same address.
//!
//! Calls carry the token of `DATA/admin.token`; the HTTP pages are for monitors and carry none. Off loopback everything goes over
//! TLS. The server knows the node only as [`Control`].

mod accounts;
#[allow(clippy::all, missing_debug_implementations, reason = "made from the .proto file")]
#[rustfmt::skip]
pub mod api;
mod directory;
mod everywhere;
mod export;
mod import;
mod inside;
mod own_session;
pub mod report;
mod server;
mod service;
mod token;

pub use directory::stored_form;
pub use everywhere::{Peer, reach};
pub use export::pages;
pub use inside::{import_all, make_account, order};
pub use own_session::{OwnSession, unexpected};
pub use server::{AdminServer, answer, serve};
pub use service::Service;
pub use token::{ADDRESS_FILE, TOKEN_FILE, Token, write_address};
