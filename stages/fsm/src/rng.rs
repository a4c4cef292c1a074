//! The random stream of one machine: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Reproducible; not for secrets.

/// A reproducible random stream. Secrets (salts, session ids) come in as inputs instead.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of machine `machine` under `seed`: streams of different machines are independent.
    #[must_use]
    pub fn new(seed: u64, machine: u64) -> Self {
        let mut rng = Self(seed ^ machine.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        rng.next_u64();
        rng
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below 2^-32 for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// The position in the stream, for [`crate::Digest`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0
    }
}
