//! Limits of the index. All are our choice.

use fsm::Duration;

/// Mailboxes of one bucket whose places in their logs are kept: 25 bytes each, in every commit. Those beyond are looked at after
/// a start.
pub const PLACES_MAX: usize = 16_384;

/// Documented defaults; tests shrink them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Indexes of a node, each for as many partitions. More cost open files and small segments, fewer cost longer merges. What
    /// is on disk is for this number: with another one it is built anew.
    pub buckets: u16,
    /// Bytes of folded text of a message that are indexed. A longer one is scanned whenever the words before this do not
    /// decide.
    pub text_bytes_max: usize,
    /// Bytes of a run of letters and digits; a message with a longer one is scanned, as above.
    pub run_bytes_max: usize,
    /// Bytes that the one writer collects before it writes a segment. tantivy asks for 15 MB at least.
    pub writer_bytes: usize,
    /// Bytes of vocabularies kept in memory, for substrings of words.
    pub vocabulary_bytes_max: usize,
    /// Answers kept: a search asks about its messages in several windows.
    pub answers_max: usize,
    /// Messages added before what was added so far is committed.
    pub commit_messages: usize,
    /// Bodies that one look at the store lists.
    pub page_bodies: usize,
    /// How long what comes first waits for more.
    pub settle: Duration,
    /// Batches of events from which on nothing waits, unless mail comes in fast.
    pub batches_eager: usize,
    /// How long what came first waits at most while mail comes in fast. What is not indexed is scanned, at 25 us a message: what
    /// one mailbox gets in this time is found soon without an index, and most bursts are over by then.
    pub behind_max: Duration,
    /// Messages read in one step, which ends with a commit: under a second with nothing beside it. A search looks into every
    /// segment, so more are better than fewer.
    pub step_messages: usize,
    /// How long places in logs that came without messages are in memory alone.
    pub keep_places: Duration,
    /// Messages of a user that were removed before the user's documents are compared with the store, at least; and as a
    /// share of the documents, in percent.
    pub removed_min: u64,
    pub removed_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            buckets: 16,
            text_bytes_max: 4 * 1024 * 1024,
            run_bytes_max: 64 * 1024,
            writer_bytes: 32 * 1024 * 1024,
            vocabulary_bytes_max: 48 * 1024 * 1024,
            answers_max: 8,
            commit_messages: 20_000,
            page_bodies: 256,
            settle: Duration::from_secs(2),
            batches_eager: 768,
            behind_max: Duration::from_secs(60),
            step_messages: 8_000,
            keep_places: Duration::from_secs(60),
            removed_min: 64,
            removed_percent: 20,
        }
    }
}
