//! What the replicas of one partition tell each other.
//!
//! Every message names the version of the replica group and the round of the primary within it. A primary begins a new round
//! each time it asks its members where they stand, with a number drawn at random: what was said in another round, before a
//! restart or a failure, counts for nothing.

use super::entry::{Entry, Mark};
use super::look::{Seen, Slice};
use crate::{Column, GroupVersion};
use bytes::Bytes;
use std::sync::Arc;

/// Names one round of one primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(pub u64);

/// A message with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub version: GroupVersion,
    pub round: Round,
    pub body: Body,
}

/// See the head of the file. Marked with who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Primary: refuse what is older, and say where you stand.
    Join,
    /// Member: the answer to `Join` and to an append that does not fit.
    Stand(Stand),
    /// Primary: log these. What is numbered up to `decided` may be applied.
    Append { entries: Vec<Arc<Entry>>, decided: u64 },
    /// Member: everything up to `through` is durable here, and is known to be decided up to `decided`.
    Appended { through: u64, decided: u64 },
    /// Primary: send what follows `after`; it lacks that itself.
    Fetch { after: u64 },
    /// Member: some of what was fetched, in order.
    Fetched { entries: Vec<Arc<Entry>> },
    /// Primary: your log ends with `last`, which no later log has: forget what you have not applied.
    DropTail { last: Mark },
    /// Member: what do these keys of `Bodies` hold? Entries that are dropped had written them.
    FetchBodies { keys: Vec<Bytes> },
    /// Primary: the values that were asked for.
    Bodies { values: Vec<(Bytes, Option<Bytes>)> },
    /// Primary: forget everything; pages follow, and the log from behind `mark`.
    Fill { mark: Mark },
    /// Member: everything before page `index` is written; it may come. After the last page all of it is durable.
    Filled { mark: Mark, index: u32 },
    /// Primary: some entries of the partition. After the last page the log applies.
    Page { mark: Mark, page: Page },
    /// Member: it has not joined this round, or does not know that it has: it started anew.
    Apart,
    /// Member: its store fails for now; what it holds is intact.
    Failed,
    /// Member: what it holds is damaged.
    Damaged,
    /// Primary: what do you hold of this?
    Look(Slice),
    /// Member: the answer.
    Looked { id: u64, seen: Seen },
    /// Primary: what you hold is wrong. A member remembers that, and says then that it is damaged.
    Doubt,
}

/// Some entries of a partition, in order, with physical keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub index: u32,
    pub entries: Vec<(Column, Bytes, Bytes)>,
    pub last: bool,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Its last durable entry.
    pub last: Mark,
    /// The last one that it has applied: it was decided.
    pub applied: Mark,
    /// It holds everything up to `last`.
    pub whole: bool,
    /// It is being filled: from which place the log counts, and the next page.
    pub filling: Option<(Mark, u32)>,
}
