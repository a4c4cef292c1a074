//! Waits between tries.

use fsm::{Cx, Duration};

/// Doubling waits from the first to the second of `range`, less up to a half of jitter. `tries`
/// counts from 1.
pub fn backoff<E>(cx: &mut Cx<'_, E>, range: (Duration, Duration), tries: u32) -> Duration {
    let factor = 1_u32.checked_shl(tries.saturating_sub(1).min(20)).unwrap_or(u32::MAX);
    let full = range.0.saturating_mul(factor).min(range.1);
    let nanos = u64::try_from(full.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos - cx.rng().below(nanos / 2 + 1))
}
