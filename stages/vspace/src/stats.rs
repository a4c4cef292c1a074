//! What a shard counts of itself.

use crate::reports::Behind;
use dds::cluster::NodeId;
use fsm::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Buckets of a histogram: bucket `n` counts values below `2^n`.
pub const BUCKETS: usize = 40;

/// Figures since the start. Plain numbers: the shard's own thread reads them.
#[derive(Clone, Debug)]
pub struct ShardStats {
    /// Steps of machines.
    pub steps: u64,
    /// Calls of [`crate::Shard::run`] that stepped anything.
    pub runs: u64,
    /// Steps that waited, by nanoseconds, in powers of two.
    pub waits: [u64; BUCKETS],
    pub wait_nanos: u64,
    /// Steps left over by the last run.
    pub depth: u64,
    /// Tasks that waited for credits.
    pub held: u64,
    /// Tasks refused for want of credits.
    pub refused: u64,
    pub sessions_opened: u64,
    pub mailboxes_loaded: u64,
    pub mailboxes_evicted: u64,
    /// Steps by kind of input: [`crate::INPUT_KINDS`].
    pub inputs: [u64; crate::INPUT_KINDS.len()],
}

/// What a shard holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Population {
    pub sessions: usize,
    pub mailboxes: usize,
    /// Partitions that somebody has asked something.
    pub partitions: usize,
    pub accounts: usize,
    /// Acceptances not yet delivered to everybody.
    pub deliveries: usize,
    /// Bytes under way, and how many may be.
    pub credits_taken: u64,
    pub credits_allowed: u64,
    /// Tasks that wait for credits, and how many may.
    pub waiting: usize,
    pub waiting_max: usize,
    /// Tasks that had to wait for credits, or were refused, since the start.
    pub held: u64,
    pub refused: u64,
    pub scrubs: dds::scrub::Sums,
    /// Who follows partitions that it leads, and how far behind; as of the last second.
    pub behind: Arc<BTreeMap<NodeId, Behind>>,
}

impl Default for ShardStats {
    fn default() -> Self {
        Self {
            steps: 0,
            runs: 0,
            waits: [0; BUCKETS],
            wait_nanos: 0,
            depth: 0,
            held: 0,
            refused: 0,
            sessions_opened: 0,
            mailboxes_loaded: 0,
            mailboxes_evicted: 0,
            inputs: [0; crate::INPUT_KINDS.len()],
        }
    }
}

impl ShardStats {
    pub(crate) fn on_step(&mut self, wait: Duration) {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - nanos.leading_zeros()) as usize;
        self.waits[bucket.min(BUCKETS - 1)] += 1;
        self.wait_nanos = self.wait_nanos.saturating_add(nanos);
        self.steps += 1;
    }

    pub(crate) fn on_run(&mut self, steps: usize, depth: usize) {
        self.runs += u64::from(steps > 0);
        self.depth = depth as u64;
    }
}
