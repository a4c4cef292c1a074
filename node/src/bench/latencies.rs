//! Times of operations: a histogram with 16 steps per power of two, so that a quantile is off by at most 7 %.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Steps per power of two, as a power of two.
const STEP_BITS: u32 = 4;
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) << STEP_BITS;

/// Nanoseconds, counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

fn bucket_of(nanos: u64) -> usize {
    let bits = u64::BITS - nanos.leading_zeros();
    let shift = bits.saturating_sub(STEP_BITS + 1);
    // Below 2^(STEP_BITS + 1) every value has a bucket of its own.
    ((shift as usize) << STEP_BITS) + (nanos >> shift) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let step = 1_usize << STEP_BITS;
    let shift = (bucket >> STEP_BITS).saturating_sub(1);
    let mantissa = if shift == 0 { bucket } else { step + (bucket & (step - 1)) };
    ((mantissa as u64 + 1) << shift) - 1
}

impl Latencies {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).min(1 << 62);
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(nanos);
        self.max = self.max.max(nanos);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Microseconds that `per_mille` of a thousand do not exceed.
    #[must_use]
    pub fn quantile_us(&self, per_mille: u64) -> f64 {
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper_bound(bucket).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let mean = self.sum.checked_div(self.count).unwrap_or(0) as f64 / 1e3;
        Summary {
            mean_us: mean,
            p50_us: self.quantile_us(500),
            p99_us: self.quantile_us(990),
            max_us: self.max as f64 / 1e3,
        }
    }
}

/// The usual four, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Summary {
    pub mean_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_bound_what_they_count() {
        let mut last = 0;
        for nanos in (0..5000).chain((13..62).map(|bits| (1 << bits) + 17)) {
            let bucket = bucket_of(nanos);
            assert!(bucket >= last, "{nanos}");
            assert!(nanos >= 5000 || bucket <= last + 1, "{nanos}");
            let above = upper_bound(bucket);
            assert!(nanos <= above && above - nanos <= nanos / 8, "{nanos} {above}");
            last = bucket;
        }
    }

    #[test]
    fn quantiles_are_near() {
        let mut times = Latencies::default();
        (1..=1000).for_each(|us| times.add(Duration::from_micros(us)));
        let summary = times.summary();
        assert!((summary.p50_us - 500.0).abs() < 40.0, "{summary:?}");
        assert!((summary.p99_us - 990.0).abs() < 70.0, "{summary:?}");
        assert_eq!(summary.max_us, 1000.0);
        assert!((summary.mean_us - 500.5).abs() < 1.0);
    }
}
