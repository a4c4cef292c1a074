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
    /// Batches of one writer that may be under way: a gap of sequence refuses what follows.
    pub window_batches_max: usize,
    /// Routes whose writer record a partition keeps in memory; others are read again when needed.
    pub routes_cached_max: usize,
    /// Bytes of entries in one answer to a scan; the rest comes with the next page.
    pub scan_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes_max: 1024,
            value_bytes_max: 64 * 1024,
            batch_bytes_max: 1024 * 1024,
            window_batches_max: 256,
            routes_cached_max: 4096,
            scan_bytes_max: 1024 * 1024,
        }
    }
}
