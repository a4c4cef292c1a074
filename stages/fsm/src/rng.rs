//! The random stream of one machine: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Reproducible;
//! not for secrets.

/// A reproducible random stream. Secrets (salts, session ids) come in as inputs instead.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of machine `machine` under `seed`: streams of different machines are independent.
    #[must_use]
    pub fn new(seed: u64, machine: u64) -> Self {
        // The number is mixed before it meets the seed: numbers in a row, left as they are, would
        // give one stream that is shifted by one draw from machine to machine, and blobs of two
        // sessions the same name.
        let mut rng = Self(seed ^ mix(machine.wrapping_add(STEP)));
        rng.0 = rng.next_u64();
        rng
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below 2^-32 for the bounds used
    /// here.
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

/// How far the state moves with each draw.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finalizer of SplitMix64.
fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbouring_machines_and_seeds_share_no_draws() {
        let mut seen = BTreeSet::new();
        for seed in 0..8 {
            for machine in 0..64 {
                let mut rng = Rng::new(seed, machine);
                for draw in 0..64 {
                    assert!(seen.insert(rng.next_u64()), "{seed} {machine} {draw}");
                }
            }
        }
    }
}
