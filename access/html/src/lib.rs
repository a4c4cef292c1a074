//! The webmail: what its pages show and how its forms are read. No sockets, no HTTP, no tasks: the node asks the MailStore
//! and hands over what it got.
//!
//! - [`envelope`], [`structure`]: what the MailStore computed of a message at arrival, read back.
//! - [`pages`]: the pages, as templates.
//! - [`reading`]: messages, shown so that nothing in them runs and nothing leaves.
//! - [`conversation`]: what subjects say of them.
//! - [`cards`]: address books of other programs. [`mbox`]: folders of other programs.
//! - [`query`]: what is typed into the search box.
//! - [`compose`]: a message, from a form. [`mailto`]: the form that a link asks for.
//! - [`browser`]: log-ins of browsers, and the secrets that prove them.
//! - [`security`]: the second factor as people see it.
//! - [`settings`]: what a user chose.

pub mod assets;
pub mod browser;
pub mod cards;
pub mod compose;
pub mod conversation;
pub mod date;
pub mod envelope;
pub mod mailto;
pub mod mbox;
pub mod pages;
pub mod query;
pub mod reading;
pub mod security;
pub mod settings;
pub mod shown;
pub mod structure;
mod value;
