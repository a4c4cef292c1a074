//! How much work a step may still do before it should yield.

/// Work units a step may spend: roughly one unit is 100 ns of work on the reference machine. An executor grants about
/// 2,000 (200 us); a machine that runs out yields and is stepped again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// A budget of `units`.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// Spends up to `units`; false once nothing is left, and then the machine should yield.
    pub fn spend(&mut self, units: u64) -> bool {
        self.0 = self.0.saturating_sub(units);
        self.0 > 0
    }

    /// What is left.
    #[must_use]
    pub const fn left(self) -> u64 {
        self.0
    }
}
