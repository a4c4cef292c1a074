//! The MailStore: users, folders, messages, accounts, deliveries and events, as machines over the client face of the DDS.
//!
//! [`face`] is what access modules see: tasks, completions, notices and the vocabulary of sessions. Each user has one master at
//! a time, the `Mailbox` machine, which holds the metadata index in memory and alone assigns UID and MODSEQ.
//!
//! Absences: nothing here knows a wire protocol of clients, a socket, a thread or a file.
#![forbid(unsafe_code)]

pub mod address;
mod backoff;
pub mod check;
pub mod delivery;
pub mod directory;
pub mod expiry;
pub mod face;
pub mod mailbox;
pub mod mime;
mod record;
pub mod rules;
pub mod sasl;
pub mod secret;
pub mod sweep;
#[cfg(test)]
mod test_dds;
mod verdict;
