//! What is told of extensions, and of the full-text index.

use serde::Serialize;

/// How far an extension is, on this node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ExtensionReport {
    pub name: String,
    /// Part of the program.
    pub inside: bool,
    pub connected: bool,
    /// That it follows here.
    pub mailboxes: u64,
    /// Those with something that it has not dealt with, as far as is known; since when the first of them is.
    pub behind: u64,
    pub behind_seconds: u64,
    /// Batches.
    pub given: u64,
    pub taken: u64,
    /// Times that it had to look at a mailbox anew.
    pub resets: u64,
    /// Times that it ended by itself.
    pub ended: u64,
    /// Messages that it decided about.
    pub decided: u64,
    /// Messages that went on without it: not connected, too late, with too many questions.
    pub missed_away: u64,
    pub missed_late: u64,
    pub missed_busy: u64,
    /// It is asked for decisions.
    pub decides: bool,
    /// The node that it is connected to when this one asks; empty: messages go on without it.
    pub asked_at: String,
}

/// What an operator may order of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexOrder {
    Rebuild,
    /// There is none until it is rebuilt.
    Drop,
}

/// The full-text index of a node.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IndexReport {
    /// Dropped by an operator.
    pub off: bool,
    pub messages: u64,
    pub segments: u64,
    pub disk_bytes: u64,
    /// Of its vocabularies.
    pub memory_bytes: u64,
    /// Messages indexed since the start.
    pub added: u64,
    /// Mailboxes that have something to be indexed.
    pub due: u64,
    /// Messages that searches of text asked for since the start, and those that were decided without being read.
    pub asked: u64,
    pub decided: u64,
    /// Why it could not be written, if the last time it could not.
    pub error: Option<String>,
}
