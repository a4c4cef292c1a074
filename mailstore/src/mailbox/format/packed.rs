//! Which blocks of columns are packed: all below one, and some beyond it that were written as blocks.

use super::{Damaged, Reader, Writer};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Numbers of blocks that are packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    up_to: u64,
    /// Above `up_to`.
    beyond: BTreeSet<u64>,
}

/// Blocks written as blocks while earlier ones are not packed yet. Housekeeping keeps them few; more go the long way. Their
/// record has at most 40 KiB.
const BEYOND_MAX: usize = 4096;

impl Packed {
    #[must_use]
    pub fn contains(&self, block: u64) -> bool {
        block < self.up_to || self.beyond.contains(&block)
    }

    /// The first block that is not packed.
    #[must_use]
    pub const fn up_to(&self) -> u64 {
        self.up_to
    }

    /// Whether blocks far beyond the others may be packed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.beyond.len() < BEYOND_MAX
    }

    pub fn insert(&mut self, block: u64) {
        if block >= self.up_to {
            self.beyond.insert(block);
            self.raise(self.up_to);
        }
    }

    /// Nothing below `block` is to be packed.
    pub fn raise(&mut self, block: u64) {
        self.up_to = self.up_to.max(block);
        while let Some(first) = self.beyond.first().copied().filter(|first| *first <= self.up_to) {
            self.beyond.remove(&first);
            self.up_to = self.up_to.max(first.saturating_add(1));
        }
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(8 + 2 * self.beyond.len());
        writer.number(self.up_to);
        let mut last = self.up_to;
        for &block in &self.beyond {
            writer.number(block - last);
            last = block;
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "packing record")?;
        let mut packed = Self { up_to: reader.number()?, beyond: BTreeSet::new() };
        let mut last = packed.up_to;
        while !reader.is_at_end() {
            let step = reader.number()?;
            last = last.checked_add(step).filter(|_| step > 0).ok_or(reader.damaged())?;
            packed.beyond.insert(last);
        }
        Ok(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            up_to in 0_u64..8,
            blocks in prop::collection::vec(0_u64..40, 0..30),
            raised in 0_u64..40,
        ) {
            let mut packed = Packed::default();
            packed.raise(up_to);
            let mut plain: BTreeSet<u64> = (0..up_to).collect();
            for block in blocks {
                packed.insert(block);
                plain.insert(block);
            }
            let mut later = packed.clone();
            later.raise(raised);
            for (packed, until) in [(packed, 0), (later, raised)] {
                let holds = |block: &u64| *block < until || plain.contains(block);
                prop_assert!((0..60).all(|block| packed.contains(block) == holds(&block)));
                prop_assert_eq!(Some(packed.up_to()), (0..60).find(|block| !holds(block)));
                prop_assert_eq!(Packed::decode(&packed.encode()), Ok(packed));
            }
        }
    }
}
