//! Limits of the delivery queue.

use crate::face::BLOB_LIFE;
use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Acceptances that wait while the queue loads; more are refused as overload.
    pub acceptances_waiting_max: usize,
    /// Acceptances in the queue, delivered or not; more are refused as overload.
    pub acceptances_max: usize,
    /// Octets of bodies, columns and prefixes in memory; beyond it new ones are refused as
    /// overload, and stored ones wait.
    pub bytes_held_max: usize,
    /// Octets of recipients and columns of one acceptance; larger ones are refused. 1,000
    /// recipients take about 1 MiB.
    pub payload_bytes_max: usize,
    /// Octets of a stored piece: below the 64 KiB of a value.
    pub piece_bytes_max: usize,
    /// Octets of one commit: below the 1 MiB of a batch, with one more acceptance on top.
    pub commit_bytes_max: usize,
    /// Pieces read at once when an acceptance comes back from the store.
    pub pieces_read_at_once: usize,
    /// Acceptances read back at the same time.
    pub loads_max: usize,
    /// Deliveries to masters under way.
    pub deliveries_max: usize,
    /// Entries of one page of the scan at the start.
    pub scan_page_entries: usize,
    /// First wait before a delivery is tried again; doubles up to `retry_max`, with jitter.
    pub retry_min: Duration,
    /// Longest wait before a delivery is tried again. It is never given up: it was accepted.
    pub retry_max: Duration,
    /// First wait before the store is asked again; doubles up to `store_retry_max`, with jitter.
    pub store_retry_min: Duration,
    /// Longest wait before the store is asked again.
    pub store_retry_max: Duration,
    /// Attempts before the log tells of a delay; then at every doubling.
    pub attempts_before_log: u32,
    /// How long a blob lives from its acceptance on, unless a sweep renews it.
    pub blob_life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            acceptances_waiting_max: 1024,
            acceptances_max: 100_000,
            bytes_held_max: 64 * 1024 * 1024,
            payload_bytes_max: 8 * 1024 * 1024,
            piece_bytes_max: 48 * 1024,
            commit_bytes_max: 512 * 1024,
            pieces_read_at_once: 8,
            loads_max: 8,
            deliveries_max: 256,
            scan_page_entries: 256,
            retry_min: Duration::from_millis(100),
            retry_max: Duration::from_secs(60),
            store_retry_min: Duration::from_millis(50),
            store_retry_max: Duration::from_secs(5),
            attempts_before_log: 8,
            blob_life: BLOB_LIFE,
        }
    }
}
