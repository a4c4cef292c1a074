//! Admission: how much work may be under way, judged by measured queue delay.
//!
//! A credit, weighted by bytes, is taken before a task enters and given back when its answer leaves. The number of credits
//! follows the delay that the queues in front of the disk were seen to have (small steps up, larger ones down around a
//! target, after Welsh and Culler, "Adaptive Overload Control for Busy Internet Servers", USITS 2003): a queue of a fixed
//! length is too long for a slow disk and too short for a fast one. Both steps are shares of the credits that there are: one
//! that suits a fast disk is many times the whole queue of a slow one, which then swings between empty and far too long.
//!
//! Invariant: credits taken never exceed what they were when the last task entered, plus that one task and what is
//! interactive.

use fsm::{Duration, Mono};

/// One interval adds a 16th of the credits, or takes a quarter of them. Our choice: from what keeps a slow disk busy to what a
/// fast one takes, a hundred times as much, is 4 s; back is 1 s.
const STEP_UP: u64 = 16;
const STEP_DOWN: u64 = 4;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Queue delay to aim at. Design section 3.
    pub delay_target: Duration,
    /// How often the number of credits is judged.
    pub interval: Duration,
    /// Bytes under way that are always allowed: one full batch keeps the disk busy however slow it is.
    pub bytes_min: u64,
    /// Bytes under way that are never exceeded: bounds memory.
    pub bytes_max: u64,
    /// Tasks that may wait for credits; more are refused at once.
    pub waiting_max: usize,
    /// How long a task may wait for credits before it is refused.
    pub wait_max: Duration,
    /// `Some(bytes)`: a fixed number of credits, whatever the delay; for the ablation of `make bench`.
    pub fixed_bytes: Option<u64>,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            delay_target: Duration::from_millis(20),
            interval: Duration::from_millis(50),
            bytes_min: 512 * 1024,
            bytes_max: 64 * 1024 * 1024,
            waiting_max: 16_384,
            wait_max: Duration::from_secs(5),
            fixed_bytes: None,
        }
    }
}

impl AdmissionLimits {
    /// The number of credits nearest to `bytes` that the limits allow.
    fn within(&self, bytes: u64) -> u64 {
        bytes.min(self.bytes_max).max(self.bytes_min)
    }
}

/// The credits of one worker group.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    /// Bytes that may be under way.
    allowed: u64,
    /// Bytes under way.
    taken: u64,
    interval_began: Mono,
    /// Smallest queue delay seen in this interval: a standing queue shows in the minimum, a burst does not.
    delay_min: Option<Duration>,
}

impl Admission {
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        let allowed = limits.fixed_bytes.unwrap_or(limits.bytes_min.max(limits.bytes_max / 8));
        Self { limits, allowed, taken: 0, interval_began: Mono(0), delay_min: None }
    }

    /// Other limits, from now on.
    pub fn set_limits(&mut self, limits: AdmissionLimits) {
        self.allowed = limits.fixed_bytes.unwrap_or_else(|| limits.within(self.allowed));
        self.limits = limits;
    }

    /// Takes credits for a task of `bytes`; false when it has to wait.
    pub fn take(&mut self, bytes: u64) -> bool {
        // A single task larger than all credits enters alone.
        if self.taken > 0 && self.taken.saturating_add(bytes) > self.allowed {
            return false;
        }
        self.taken = self.taken.saturating_add(bytes);
        true
    }

    /// Takes credits for a task that does not wait: somebody sits at a screen. It counts all the same.
    pub fn take_anyway(&mut self, bytes: u64) {
        self.taken = self.taken.saturating_add(bytes);
    }

    /// Gives credits back.
    pub fn give_back(&mut self, bytes: u64) {
        assert!(bytes <= self.taken, "credits are given back once");
        self.taken -= bytes;
    }

    /// One commit waited `delay` between being handed to the store and its completion.
    pub fn observe(&mut self, now: Mono, delay: Duration) {
        self.delay_min = Some(self.delay_min.map_or(delay, |least| least.min(delay)));
        if now.since(self.interval_began) >= self.limits.interval {
            self.judge();
            self.interval_began = now;
            self.delay_min = None;
        }
    }

    fn judge(&mut self) {
        if self.limits.fixed_bytes.is_some() {
            return;
        }
        let Some(delay) = self.delay_min else { return };
        self.allowed = if delay > self.limits.delay_target {
            self.allowed - self.allowed / STEP_DOWN
        } else if self.taken.saturating_mul(2) >= self.allowed {
            self.allowed.saturating_add(self.allowed / STEP_UP)
        } else {
            // Not used up: nothing was learnt about more.
            self.allowed
        };
        self.allowed = self.limits.within(self.allowed);
    }

    /// Bytes under way.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that may be under way now.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        self.allowed
    }

    #[must_use]
    pub fn limits(&self) -> &AdmissionLimits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(delay_per_mib: Duration, rounds: u64) -> Admission {
        let mut admission = Admission::new(AdmissionLimits::default());
        go_on(&mut admission, delay_per_mib, 0..rounds);
        admission
    }

    /// Work without end; the credits after each round.
    fn go_on(
        admission: &mut Admission,
        delay_per_mib: Duration,
        rounds: std::ops::Range<u64>,
    ) -> Vec<u64> {
        let round = |round: u64| {
            while admission.take(100_000) {}
            let mib = u32::try_from(admission.taken() / 1_048_576 + 1).expect("small");
            admission.observe(Mono(round * 50_000_000), delay_per_mib * mib);
            admission.give_back(admission.taken());
            admission.allowed()
        };
        rounds.map(round).collect()
    }

    #[test]
    fn a_slow_disk_gets_a_short_queue_and_a_fast_one_a_long_queue() {
        let slow = run(Duration::from_millis(40), 200);
        let fast = run(Duration::from_micros(100), 200);
        assert_eq!(slow.allowed(), slow.limits().bytes_min);
        assert_eq!(fast.allowed(), fast.limits().bytes_max);
    }

    #[test]
    fn the_queue_settles_around_the_target() {
        let admission = run(Duration::from_millis(4), 400);
        let mib = admission.allowed() / 1_048_576;
        assert!((3..=7).contains(&mib), "20 ms at 4 ms a MiB is 5 MiB, not {mib}");
    }

    #[test]
    fn the_queue_of_a_slow_disk_does_not_swing_however_much_may_be_let_in() {
        let limits = AdmissionLimits { bytes_max: 1 << 30, ..AdmissionLimits::default() };
        let mut admission = Admission::new(limits);
        let allowed = go_on(&mut admission, Duration::from_millis(4), 0..400).split_off(200);
        let (least, most) = (allowed.iter().min(), allowed.iter().max());
        let (least, most) = (least.expect("200"), most.expect("200"));
        assert!(most * 2 <= least * 3, "between {least} and {most}");
    }

    #[test]
    fn other_limits_hold_at_once() {
        let mut admission = run(Duration::from_micros(100), 200);
        let bytes_max = 1_048_576;
        admission.set_limits(AdmissionLimits { bytes_max, ..AdmissionLimits::default() });
        assert_eq!(admission.allowed(), bytes_max);
        // Less than one full batch keeps no disk busy.
        admission.set_limits(AdmissionLimits { bytes_max: 1, ..AdmissionLimits::default() });
        assert_eq!(admission.allowed(), admission.limits().bytes_min);
        let fixed_bytes = Some(5_000_000);
        admission.set_limits(AdmissionLimits { fixed_bytes, ..AdmissionLimits::default() });
        admission.observe(Mono(u64::MAX), Duration::from_secs(9));
        assert_eq!(admission.allowed(), 5_000_000);
    }

    #[test]
    fn one_task_larger_than_all_credits_enters_alone() {
        let limits = AdmissionLimits { fixed_bytes: Some(1000), ..AdmissionLimits::default() };
        let mut admission = Admission::new(limits);
        assert!(admission.take(5000));
        assert!(!admission.take(1));
        admission.give_back(5000);
        assert!(admission.take(1));
    }
}
