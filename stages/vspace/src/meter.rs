//! How much work the partitions of a worker group make: what nodes report, and what the control leader moves primaries for.
//!
//! A unit is a step of a master or of a seat that leads, or 4 KiB that are written. That is close to the time that a partition
//! takes of its thread, and costs an addition.

use dds::PartitionId;
use fsm::{Duration, Mono};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::collections::BTreeMap;

/// Bytes written that count as one step.
const UNIT_BYTES: usize = 4096;

/// How often the counts are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Bits after the point of an average.
const FRACTION_BITS: u32 = 8;

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    counted: HashMap<PartitionId, u64, FxBuildHasher>,
    /// Units a second, over the last few seconds.
    averages: BTreeMap<PartitionId, u64>,
    since: Mono,
}

impl Meter {
    /// A step that wrote so many bytes.
    pub fn count(&mut self, partition: PartitionId, written: usize) {
        let units = 1 + (written / UNIT_BYTES) as u64;
        *self.counted.entry(partition).or_default() += units;
    }

    /// Once a second: units a second of every partition that makes any.
    pub fn look(&mut self, now: Mono) -> Option<Vec<(PartitionId, u32)>> {
        let passed = now.since(self.since);
        if passed < LOOK_EVERY {
            return None;
        }
        self.since = now;
        let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        for partition in self.counted.keys() {
            self.averages.entry(*partition).or_default();
        }
        for (partition, average) in &mut self.averages {
            let count = self.counted.get(partition).copied().unwrap_or(0);
            let rate = (count << FRACTION_BITS).saturating_mul(1_000_000_000) / nanos;
            *average = (*average * 3 + rate) / 4;
        }
        self.counted.clear();
        self.averages.retain(|_, average| *average >> FRACTION_BITS > 0);
        let whole = |average: u64| u32::try_from(average >> FRACTION_BITS).unwrap_or(u32::MAX);
        Some(self.averages.iter().map(|(partition, load)| (*partition, whole(*load))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_averages_of_some_seconds_and_fade() {
        let mut meter = Meter::default();
        let second = |count: u64| Mono(count * 1_000_000_000);
        assert_eq!(meter.look(second(1)), Some(vec![]));
        let (one, other) = (PartitionId(7), PartitionId(9));
        let mut loads = Vec::new();
        for at in 2..40 {
            (0..1000).for_each(|_| meter.count(one, 0));
            (0..10).for_each(|_| meter.count(other, 3 * UNIT_BYTES));
            assert_eq!(meter.look(Mono(second(at).0 - 500_000_000)), None);
            loads = meter.look(second(at)).expect("a second has passed");
        }
        assert!((990..=1000).contains(&loads[0].1) && loads[0].0 == one, "{loads:?}");
        assert!((38..=40).contains(&loads[1].1) && loads[1].0 == other, "{loads:?}");
        for at in 40..80 {
            loads = meter.look(second(at)).expect("a second has passed");
        }
        assert_eq!(loads, []);
    }
}
