//! What every stage tells of itself: depth, wait, service time, batch size, wakes, hops, refusals.
//!
//! Plain atomics, written by one thread and read by whoever renders metrics. Times go into histograms of powers of two.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets of a histogram: bucket `n` counts values in `2^(n-1)..2^n`, bucket 0 counts zeros.
const BUCKETS: usize = 40;

/// A histogram of nanoseconds (or counts) by powers of two.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts `value`, `times` times.
    pub fn record(&self, value: u64, times: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(times, Relaxed);
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    /// A copy to read.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Bucket `n` counts values below `2^n`.
    pub buckets: Vec<u64>,
    pub sum: u64,
}

impl HistogramSnapshot {
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound of the bucket that holds quantile `per_mille` / 1000; 0 when nothing was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bits, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return 1_u64.checked_shl(u32::try_from(bits).unwrap_or(63)).unwrap_or(u64::MAX);
            }
        }
        0
    }

    #[must_use]
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }
}

/// The figures of one stage.
#[derive(Debug, Default)]
pub struct StageStats {
    /// Messages in the queue now.
    pub depth: AtomicU64,
    /// Most messages that were ever in the queue.
    pub depth_peak: AtomicU64,
    /// Messages served.
    pub served: AtomicU64,
    /// Nanoseconds from entering the queue to being served, per message.
    pub wait: Histogram,
    /// Nanoseconds of work, per batch.
    pub service: Histogram,
    /// Messages per batch.
    pub batch: Histogram,
    /// Times that the stage's thread was woken from its sleep by another thread.
    pub wakes: AtomicU64,
    /// Messages that came from another thread.
    pub hops: AtomicU64,
    /// Messages refused because the queue was full or had no credit.
    pub refusals: AtomicU64,
}

/// The figures of one stage at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageSnapshot {
    pub name: String,
    pub depth: u64,
    pub depth_peak: u64,
    pub served: u64,
    pub wait: HistogramSnapshot,
    pub service: HistogramSnapshot,
    pub batch: HistogramSnapshot,
    pub wakes: u64,
    pub hops: u64,
    pub refusals: u64,
}

impl StageStats {
    /// `count` messages enter the queue.
    pub fn on_queued(&self, count: u64) {
        let depth = self.depth.fetch_add(count, Relaxed).saturating_add(count);
        // One more write only while the queue grows beyond what it ever was.
        if depth > self.depth_peak.load(Relaxed) {
            self.depth_peak.fetch_max(depth, Relaxed);
        }
    }

    /// A copy to read.
    #[must_use]
    pub fn snapshot(&self, name: &str) -> StageSnapshot {
        StageSnapshot {
            name: name.to_owned(),
            depth: self.depth.load(Relaxed),
            depth_peak: self.depth_peak.load(Relaxed),
            served: self.served.load(Relaxed),
            wait: self.wait.snapshot(),
            service: self.service.snapshot(),
            batch: self.batch.snapshot(),
            wakes: self.wakes.load(Relaxed),
            hops: self.hops.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_name_the_bucket_that_holds_them() {
        let histogram = Histogram::default();
        histogram.record(0, 10);
        histogram.record(5, 80);
        histogram.record(1000, 10);
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 100);
        assert_eq!(snapshot.quantile(50), 1);
        assert_eq!(snapshot.quantile(500), 8);
        assert_eq!(snapshot.quantile(990), 1024);
        assert_eq!(snapshot.mean(), 104);
        assert_eq!(HistogramSnapshot::default().quantile(990), 0);
    }
}
