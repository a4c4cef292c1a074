//! Limits of the hash table, small enough that the same trait fits an external engine later.

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a sort key. Our choice.
    pub key_bytes_max: usize,
    /// Bytes of a value; larger ones are blobs. Our choice.
    pub value_bytes_max: usize,
    /// Bytes of all keys and values of a batch. Our choice.
    pub batch_bytes_max: usize,
    /// Changes of a batch. Our choice; bounds the work of one group.
    pub batch_ops_max: usize,
    /// Bytes of a batch as its entry of the log has them on the wire, with the whole key in each operation. Our choice: half of a
    /// frame ([`crate::wire::FRAME_BYTES_MAX`]), which an entry must fit into.
    pub entry_bytes_max: usize,
    /// Keys of a get. Our choice: what one payload may have as elements, twice.
    pub get_keys_max: usize,
    /// Preconditions of a batch. Our choice; bounds the work of one judgement.
    pub preconditions_max: usize,
    /// Tasks of one route or blob that may be under way, and batches of a writer whose outcome is kept. What is over it is
    /// refused with `Overloaded`, and what follows with a gap.
    pub window_batches_max: usize,
    /// Routes and blobs whose record one partition keeps in memory, about 200 bytes each; others are read again when needed.
    pub routes_cached_max: usize,
    /// Bytes of entries in one answer to a scan; the rest comes with the next page.
    pub scan_bytes_max: usize,
    /// Chunks of a blob: 4 GiB at 256 KiB each.
    pub blob_chunks_max: u32,
    /// Bytes of one answer to `ReadBlob`. Our choice; bounds what one request may hold in memory.
    pub blob_read_bytes_max: u64,
    /// Blobs that one `CollectBlobs` takes up at once.
    pub blobs_collected_max: usize,
    /// Tasks of one partition that may wait or be under way, reads included.
    pub tasks_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 1024,
            value_bytes_max: 64 * 1024,
            batch_bytes_max: 1024 * 1024,
            batch_ops_max: 32 * 1024,
            entry_bytes_max: 8 * 1024 * 1024,
            get_keys_max: 32 * 1024,
            preconditions_max: 1024,
            window_batches_max: 128,
            routes_cached_max: 256,
            scan_bytes_max: 1024 * 1024,
            blob_chunks_max: 16 * 1024,
            blob_read_bytes_max: 4 * 1024 * 1024,
            blobs_collected_max: 256,
            tasks_max: 4096,
        }
    }
}
