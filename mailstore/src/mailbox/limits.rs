//! Limits of the master of one user. Bytes and counts are chosen so that each value fits the hash table (64 KiB) and each
//! batch too (1 MiB).

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tasks that wait for the mailbox or a folder to load, or for another change to end. Our choice: more means that the
    /// store stands still, and then an early answer is better.
    pub waiting_tasks_max: usize,
    /// Batches under way. `dds::Limits::window_batches_max` is 256; the rest is room for those to be sent again.
    pub batches_in_flight_max: usize,
    /// Folders of a user. All records of a rename fit one batch: 2,000 times (255 bytes of name + 60).
    pub folders_max: usize,
    /// Subscriptions of a user, existing folders or not.
    pub subscriptions_max: usize,
    /// Messages of a folder. Our choice: their rows take 64 MB of memory.
    pub folder_messages_max: u32,
    /// Keywords of a folder. `protocols.md`; one bit each in [`crate::face::Flags::keywords`].
    pub keywords_max: usize,
    /// Rows of a chunk in memory and of a segment in the store: 512 rows encode to 47 KiB at the very most.
    pub chunk_rows_max: usize,
    /// Rows shown by one batch without staging them first: 8,192 rows encode to 720 KiB at the very most.
    pub batch_rows_max: usize,
    /// Bytes a batch of housekeeping grows to. `dds::Limits::batch_bytes_max` is 1 MiB.
    pub batch_bytes_max: usize,
    /// Messages of one pending set (MULTIAPPEND).
    pub pending_rows_max: usize,
    /// Pending sets of a user that are open at once.
    pub pending_sets_max: usize,
    /// Messages of one pending set from which on their columns are written as blocks: half a block, that no block stays
    /// emptier.
    pub block_rows_min: usize,
    /// Bytes of staged messages of one pending set that may be answered before they are durable.
    pub staged_ahead_bytes_max: usize,
    /// Log entries of a folder before they are folded into segments; for large folders a sixteenth of its messages, up to
    /// `fold_entries_most`.
    pub fold_entries: u32,
    /// See `fold_entries`.
    pub fold_entries_most: u32,
    /// Subscribers of the event log of a mailbox.
    pub event_subscribers_max: usize,
    /// Subscribers of every new mailbox in their scope.
    pub event_subscriptions: Vec<crate::face::Subscription>,
    /// Bytes of log entries of a mailbox that are kept for subscribers only. Beyond, the slowest miss events.
    pub events_bytes_max: u64,
    /// How long log entries are kept for subscribers only, from when they were folded.
    pub events_age_max: Duration,
    /// Events of one page.
    pub events_per_page: usize,
    /// Settings, contacts, log-ins of browsers and rules of a user, all together. Our choice: an address book of a company.
    pub records_max: u64,
    /// Bytes of their names and values.
    pub records_bytes_max: u64,
    /// Vanished records kept per folder; older ones are answered from what the client names (RFC 7162 3.2.10.1).
    pub vanished_entries_max: usize,
    /// UID ranges kept per folder in vanished records.
    pub vanished_ranges_max: usize,
    /// How long (delivery id, recipient) is remembered. Design section 5.
    pub delivery_memory: Duration,
    /// Deliveries remembered in memory; beyond it each delivery costs one more look-up.
    pub delivery_memory_entries_max: usize,
    /// What a blob's life is extended by before metadata refers to it; sweeps come far more often.
    pub blob_life: Duration,
    /// First pause before an unknown outcome is asked again; doubled up to 64 times that.
    pub settle_pause: Duration,
    /// Bodies removed by one batch.
    pub removals_per_batch: usize,
    /// Blobs deleted at once.
    pub drops_in_flight_max: usize,
    /// Bytes of envelopes, structures and search columns kept in memory.
    pub column_cache_bytes: usize,
    /// Bytes of folder rows kept in memory while nobody watches them.
    pub index_bytes_max: usize,
    /// EMAILIDs assigned behind a block before its columns are packed: more than can be under way, and enough for mail that
    /// is fetched and deleted at once.
    pub pack_lag: u64,
    /// Rows behind a full page of FETCH whose blocks of columns are read with those of the page, when some must be read: with
    /// two kinds of columns and the 512 rows of the page what one get may ask for.
    pub fetch_ahead_rows: usize,
    /// Rows of one window of a search, 80 bytes each, whose columns are read together: half of what one get may ask for.
    pub search_window_rows: usize,
    /// Windows of a search whose columns are in memory or on their way: one that is judged, one for each of two readers, one
    /// that waits for them.
    pub search_windows_max: usize,
    /// Messages whose bodies one match job reads.
    pub match_bodies_max: usize,
    /// Quiet time after which the machine says that it may be dropped.
    pub idle_after: Duration,
    /// From loading to the first look for mail that expires. Shorter than `idle_after`, so that it comes at all.
    pub expiry_first: Duration,
    /// From one look to the next.
    pub expiry_every: Duration,
    /// Messages looked at by one slice of a STORE.
    pub store_slice: usize,
    /// Messages of one slice of an EXPUNGE: its records fit one batch, and making it takes a few milliseconds at most.
    pub expunge_slice: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_tasks_max: 4096,
            batches_in_flight_max: 128,
            folders_max: 2_000,
            subscriptions_max: 4_000,
            folder_messages_max: 1_000_000,
            keywords_max: 128,
            chunk_rows_max: 512,
            batch_rows_max: 8_192,
            batch_bytes_max: 768 * 1024,
            pending_rows_max: 100_000,
            pending_sets_max: 64,
            block_rows_min: 32,
            staged_ahead_bytes_max: 1024 * 1024,
            fold_entries: 256,
            fold_entries_most: 4_096,
            event_subscribers_max: 8,
            event_subscriptions: Vec::new(),
            events_bytes_max: 4 * 1024 * 1024,
            events_age_max: Duration::from_secs(7 * 86_400),
            events_per_page: 256,
            records_max: 20_000,
            records_bytes_max: 32 * 1024 * 1024,
            vanished_entries_max: 4_096,
            vanished_ranges_max: 65_536,
            delivery_memory: Duration::from_secs(7 * 86_400),
            delivery_memory_entries_max: 262_144,
            blob_life: crate::face::BLOB_LIFE,
            settle_pause: Duration::from_millis(10),
            removals_per_batch: 512,
            drops_in_flight_max: 32,
            column_cache_bytes: 32 * 1024 * 1024,
            index_bytes_max: 64 * 1024 * 1024,
            pack_lag: 256,
            fetch_ahead_rows: 1_536,
            search_window_rows: 2_048,
            search_windows_max: 4,
            match_bodies_max: 256,
            idle_after: Duration::from_secs(60),
            expiry_first: Duration::from_secs(20),
            expiry_every: Duration::from_secs(6 * 3600),
            store_slice: 8_192,
            expunge_slice: 8_192,
        }
    }
}
