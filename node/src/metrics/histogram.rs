//! A distribution of times that many threads may record into and anybody may read: relaxed counters, eight buckets to a
//! doubling, so that a quantile is at most 12.5 % too high.

use crate::control::Latency;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets to a doubling, as a power of two.
const SUB_BITS: u32 = 3;
/// Up to 2^36 us, 19 hours; what is longer counts in the last one.
const BUCKETS: usize = 36 << SUB_BITS;

/// Microseconds, bucketed.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    max_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.latency().fmt(f)
    }
}

impl Histogram {
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// The distribution so far.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let counts: Vec<u64> =
            self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count: u64 = counts.iter().sum();
        let max_us = self.max_us.load(Ordering::Relaxed);
        let quantile = |percent: u64| {
            let wanted = (count * percent).div_ceil(100).max(1);
            let mut seen = 0;
            for (bucket, in_it) in counts.iter().enumerate() {
                seen += in_it;
                if seen >= wanted {
                    return upper_bound(bucket).min(max_us);
                }
            }
            max_us
        };
        Latency {
            count,
            sum_us: self.sum_ns.load(Ordering::Relaxed) / 1000,
            p50_us: quantile(50),
            p99_us: quantile(99),
            max_us,
        }
    }
}

fn bucket_of(us: u64) -> usize {
    let exponent = u64::BITS - us.leading_zeros();
    if exponent <= SUB_BITS {
        return usize::try_from(us).unwrap_or(0);
    }
    let shift = exponent - SUB_BITS - 1;
    let sub = (us >> shift) & ((1 << SUB_BITS) - 1);
    let doubling = u64::from(shift + 1);
    usize::try_from((doubling << SUB_BITS) + sub).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest time of a bucket.
fn upper_bound(bucket: usize) -> u64 {
    let doubling = bucket >> SUB_BITS;
    let sub = (bucket & ((1 << SUB_BITS) - 1)) as u64;
    match doubling.checked_sub(1) {
        None => sub,
        Some(shift) => ((sub + 1 + (1 << SUB_BITS)) << shift) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_consecutive_and_bound_their_times() {
        let mut last = 0;
        for us in 0..100_000 {
            let bucket = bucket_of(us);
            assert!(bucket == last || bucket == last + 1, "{us}");
            assert!(us <= upper_bound(bucket) && upper_bound(bucket) <= us + us / 8, "{us}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency().p99_us, 0);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let latency = histogram.latency();
        assert_eq!((latency.count, latency.sum_us, latency.max_us), (1000, 500_500, 1000));
        assert!((500..=563).contains(&latency.p50_us), "{latency:?}");
        assert!((990..=1000).contains(&latency.p99_us), "{latency:?}");
    }
}
