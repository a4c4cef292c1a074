//! Limits of an IMAP session, with unit, reason and source.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Time until a client must have logged in. `protocols.md`: 60 s in all.
    pub login_time: Duration,
    /// Silence after which a session ends. RFC 9051 5.4: at least 30 minutes.
    pub idle_time: Duration,
    /// Silence in the middle of a command or literal. Our choice: nobody pauses there.
    pub stalled_time: Duration,
    /// Until a session in IDLE asks its master again after a temporary failure.
    pub retry_time: Duration,
    /// Wrong passwords on one connection. Our choice; the directory slows the account and the
    /// address besides.
    pub failed_logins_max: u32,
    /// Commands that were BAD on one connection before log-in.
    pub errors_before_login_max: u64,
    /// Commands that were BAD on one connection.
    pub errors_max: u64,
    /// Bytes given to the client that it has not read yet, before a session makes more. The
    /// executor's high-water mark.
    pub undrained_bytes_max: u64,
    /// Bytes of input kept while a command is under way; then the socket is not read.
    pub input_bytes_max: usize,
    /// Rows asked of the master at once: [`mailstore::face::FETCH_ROWS_MAX`] at most.
    pub fetch_rows_max: u64,
    /// Rows at once when bodies are fetched too: their `\Seen` is set before they are sent.
    pub fetch_body_rows_max: u64,
    /// Sections read ahead of what is sent.
    pub reads_ahead_max: usize,
    /// Bytes of sections read ahead of what is sent.
    pub read_ahead_bytes_max: u64,
    /// Bytes of a section asked for at once: [`mailstore::face::SECTION_PAGE_BYTES_MAX`] at most.
    pub section_page_bytes_max: u64,
    /// Bytes of the largest message APPEND takes. `protocols.md`: 50 MiB, announced in APPENDLIMIT
    /// (RFC 7889).
    pub append_bytes_max: u64,
    /// Messages of one MULTIAPPEND. Our choice: all of them wait, invisible, for the last.
    pub append_messages_max: u32,
    /// Bytes of a body kept in memory and handed over with its metadata:
    /// [`mailstore::face::LONE_BYTES_MAX`] at most.
    pub inline_bytes_max: usize,
    /// Bytes of a chunk: always [`dds::CHUNK_BYTES`].
    pub chunk_bytes: usize,
    /// Chunks being written at once; more pause the reading.
    pub chunks_in_flight_max: usize,
    /// Life of a blob that nobody refers to yet: longer than any upload may take.
    pub blob_life: Duration,
    /// Folder names in one LIST with STATUS that are asked of the master at once.
    pub status_names_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            login_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(30 * 60),
            stalled_time: Duration::from_secs(5 * 60),
            retry_time: Duration::from_secs(1),
            failed_logins_max: 5,
            errors_before_login_max: 20,
            errors_max: 200,
            undrained_bytes_max: 256 * 1024,
            input_bytes_max: 128 * 1024,
            fetch_rows_max: mailstore::face::FETCH_ROWS_MAX,
            fetch_body_rows_max: 32,
            reads_ahead_max: 8,
            read_ahead_bytes_max: 512 * 1024,
            section_page_bytes_max: mailstore::face::SECTION_PAGE_BYTES_MAX,
            append_bytes_max: 50 * 1024 * 1024,
            append_messages_max: 10_000,
            inline_bytes_max: mailstore::face::LONE_BYTES_MAX,
            chunk_bytes: dds::CHUNK_BYTES,
            chunks_in_flight_max: 4,
            blob_life: mailstore::face::BLOB_LIFE,
            status_names_max: 1024,
        }
    }
}
