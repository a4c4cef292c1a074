//! Limits and times of the control plane.

use crate::cluster::{HeatLimits, Throttle};
use std::time::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The clock of the consensus protocol. A heartbeat leaves with every tick.
    pub raft_tick: Duration,
    /// Ticks without a word from the leader after which a voter may campaign, and a leader without a majority steps down.
    /// HYPOTHESIS: 6 ticks, 300 ms, outlast a busy disk and a lost packet on a local network.
    pub election_ticks_min: usize,
    /// One more than the ticks after which it campaigns at the latest: 11 ticks, 550 ms, keep an election under 600 ms.
    pub election_ticks_max: usize,
    /// How often sessions, members of the control group, placement and proposals that wait are looked at.
    pub tick: Duration,
    /// A node that is silent for so long is given up. The design fixes 1.3 s: a lease of 1 s, and what clocks may drift apart.
    pub grace: Duration,
    /// A proposal without a verdict is sent again after this time, in case it was lost on the way.
    pub resend_after: Duration,
    /// A proposal without a verdict for so long is answered with `Unknown`.
    pub proposal_max: Duration,
    /// Proposals of one node that wait for a verdict. Our choice: more than it can lead partitions.
    pub proposals_max: usize,
    /// Proposals in one message between nodes. Our choice.
    pub proposals_per_message_max: usize,
    /// A snapshot that was sent is taken for lost when it was not acknowledged for so long.
    pub snapshot_lost_after: Duration,
    /// Entries of the log after which it is replaced by a snapshot of the map. Our choice.
    pub log_entries_max: u64,
    /// Bytes of the log after which it is replaced by a snapshot of the map. Our choice.
    pub log_bytes_max: u64,
    /// Bytes of entries in one message between nodes. Our choice.
    pub message_bytes_max: u64,
    /// Bytes of proposals that the leader takes before they are committed; what is over waits at its node. Our choice.
    pub uncommitted_bytes_max: u64,
    /// Entries that a member may lag behind and still become a voter. Our choice.
    pub voter_lag_max: u64,
    /// A write that the store refused is tried again after this time.
    pub retry_after: Duration,
    /// A node that is down for so long is replaced: what it held is copied to others. Our choice; a restart or a repair of the
    /// network takes less.
    pub replace_after: Duration,
    /// How much the controller has under way.
    pub throttle: Throttle,
    /// When work is moved from busy nodes.
    pub heat: HeatLimits,
    /// Entries of one page when records are read at the start. Our choice.
    pub page_entries_max: usize,
    /// Bytes of one page when records are read at the start. Our choice.
    pub page_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            raft_tick: Duration::from_millis(50),
            election_ticks_min: 6,
            election_ticks_max: 12,
            tick: Duration::from_millis(100),
            grace: Duration::from_millis(1300),
            resend_after: Duration::from_millis(300),
            proposal_max: Duration::from_secs(3),
            proposals_max: 32 * 1024,
            proposals_per_message_max: 1024,
            snapshot_lost_after: Duration::from_secs(2),
            log_entries_max: 4096,
            log_bytes_max: 4 * 1024 * 1024,
            message_bytes_max: 512 * 1024,
            uncommitted_bytes_max: 8 * 1024 * 1024,
            voter_lag_max: 64,
            retry_after: Duration::from_millis(200),
            replace_after: Duration::from_secs(600),
            throttle: Throttle { repairs_max: 64, moves_max: 8 },
            heat: HeatLimits::default(),
            page_entries_max: 1024,
            page_bytes_max: 4 * 1024 * 1024,
        }
    }
}
