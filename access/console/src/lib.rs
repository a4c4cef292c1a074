//! The operator's console without its sockets: what its pages show, and who is signed in. What is shown comes as
//! [`model`]: exactly what the admin API answers and `hikyaku ... --json` prints, so that no page knows more than a script can.
//!
//! - [`model`]: the answers of the admin API, as far as pages show them.
//! - [`health`]: what is wrong, in a sentence, and what to do.
//! - [`pages`]: the pages, as templates; [`plot`]: small curves in them.
//! - [`sign_in`]: who may see them, and how often a wrong token may be tried.
//!
//! Absences: no sockets, no clock, no tasks; nothing of the workspace is imported.

pub mod assets;
pub mod filters;
pub mod health;
pub mod model;
pub mod pages;
pub mod plot;
pub mod sign_in;
