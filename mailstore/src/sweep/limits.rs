//! Limits of the blob collector.

use crate::face::BLOB_LIFE;
use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the start to the first sweep.
    pub first_after: Duration,
    /// From one sweep to the next. Several times within a blob's life, so that few are ever found
    /// expired.
    pub every: Duration,
    /// From a void sweep to the next, and from one to the next while there is little room.
    pub again_after: Duration,
    /// How long a blob lives from its renewal on.
    pub blob_life: Duration,
    /// The same while there is little room. With the grace, longer than a session may pause within a message.
    pub scarce_life: Duration,
    /// A blob goes when it had expired so long before the sweep began: clocks of nodes may differ
    /// by as much.
    pub grace: Duration,
    /// Blobs remembered as referred to and not there.
    pub missing_max: usize,
    /// Users of one page of the directory.
    pub users_per_page: usize,
    /// References of one page of a route.
    pub references_per_page: usize,
    /// Renewals under way at once.
    pub renewals_max: usize,
    /// Tries of one renewal whose outcome is unknown, before the sweep is void.
    pub renewal_tries_max: u32,
    /// Routes and partitions visited before others get a turn.
    pub visits_per_burst: u32,
    /// The pause after a burst: a million users take under three minutes.
    pub burst_pause: Duration,
    /// Blobs deleted at once.
    pub blobs_per_collection: usize,
    /// A sweep wakes one in so many users: with `every`, each once a day.
    pub wake_rounds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_after: Duration::from_secs(60),
            every: Duration::from_secs(30 * 60),
            again_after: Duration::from_secs(60),
            blob_life: BLOB_LIFE,
            scarce_life: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(10 * 60),
            missing_max: 4096,
            users_per_page: 1024,
            references_per_page: 256,
            renewals_max: 64,
            renewal_tries_max: 5,
            visits_per_burst: 64,
            burst_pause: Duration::from_millis(10),
            blobs_per_collection: 64,
            wake_rounds: 48,
        }
    }
}
