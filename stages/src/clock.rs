//! The clocks of this node.

use fsm::{Mono, Wall};

/// Reads the clocks. Monotonic time is CLOCK_BOOTTIME, which goes on while the host sleeps: leases count it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Monotonic time now.
    #[must_use]
    pub fn mono(self) -> Mono {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
        Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Wall-clock time now.
    #[must_use]
    #[expect(clippy::disallowed_types, reason = "contexts get their time from here")]
    pub fn wall(self) -> Wall {
        // As logs read it: by the C library, so that whatever sets that on sets all of the node on.
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
