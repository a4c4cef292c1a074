//! Sequence sets as clients write them: `1:3,7,12:*`, or `$`.

use mailstore::face::UidSet;
use smallvec::SmallVec;

/// One end of a range.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SeqBound(u32);

impl SeqBound {
    /// `*`: the largest number there is. 0 is no message number, so it is free to stand for it.
    pub const STAR: Self = Self(0);

    /// A number; `None` for 0.
    #[must_use]
    pub const fn number(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number; `None` for `*`.
    #[must_use]
    pub const fn get(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0) }
    }
}

impl std::fmt::Debug for SeqBound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.get() {
            Some(number) => number.fmt(f),
            None => f.write_str("*"),
        }
    }
}

/// A range as written: either end may be the larger one (RFC 9051 section 9 `seq-range`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    pub from: SeqBound,
    pub to: SeqBound,
}

/// Message numbers or UIDs.
#[derive(Clone, PartialEq, Eq)]
pub enum SequenceSet {
    /// At least one range.
    Ranges(SmallVec<[SeqRange; 2]>),
    /// `$`: the result of the last SEARCH RETURN (SAVE), RFC 5182.
    Saved,
}

impl SequenceSet {
    /// The numbers, `*` being `largest`; `None` for `$`. With `largest` 0 (nothing there) `*` alone
    /// is empty.
    #[must_use]
    pub fn resolve(&self, largest: u32) -> Option<UidSet> {
        let Self::Ranges(ranges) = self else { return None };
        let pairs = ranges.iter().filter_map(|range| {
            let from = range.from.get().unwrap_or(largest);
            let to = range.to.get().unwrap_or(largest);
            // RFC 9051 section 9 seq-range: 2:4 and 4:2 are the same.
            (from.max(to) > 0).then_some((from.min(to).max(1), from.max(to)))
        });
        Some(UidSet::from_ranges(pairs.collect()))
    }

    /// The ranges as written; none for `$`.
    #[must_use]
    pub fn ranges(&self) -> &[SeqRange] {
        match self {
            Self::Ranges(ranges) => ranges,
            Self::Saved => &[],
        }
    }

    /// Whether `*` occurs.
    #[must_use]
    pub fn has_star(&self) -> bool {
        self.ranges().iter().any(|range| range.from == SeqBound::STAR || range.to == SeqBound::STAR)
    }

    /// The largest number written; `None` when there is only `*` or `$`.
    #[must_use]
    pub fn largest_written(&self) -> Option<u32> {
        self.ranges().iter().filter_map(|range| range.from.get().max(range.to.get())).max()
    }
}

/// As on the wire.
impl std::fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::Saved {
            return f.write_str("$");
        }
        for (index, SeqRange { from, to }) in self.ranges().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from:?}")?;
            } else {
                write!(f, "{comma}{from:?}:{to:?}")?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for SequenceSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u32, u32)]) -> SequenceSet {
        SequenceSet::Ranges(
            ranges.iter().map(|&(a, b)| SeqRange { from: SeqBound(a), to: SeqBound(b) }).collect(),
        )
    }

    #[test]
    fn star_is_the_largest_number_also_as_the_smaller_end() {
        let resolved = |ranges: &[(u32, u32)], largest| {
            set(ranges).resolve(largest).expect("no $").to_string()
        };
        assert_eq!(resolved(&[(4, 0)], 10), "4:10");
        // RFC 9051 6.4.9: UID FETCH 559:* always names the last message.
        assert_eq!(resolved(&[(559, 0)], 10), "10:559");
        assert_eq!(resolved(&[(4, 2), (3, 7), (0, 0)], 9), "2:7,9");
        assert_eq!(resolved(&[(0, 0)], 0), "");
        assert_eq!(resolved(&[(1, 0)], 0), "1");
        assert_eq!(SequenceSet::Saved.resolve(3), None);
        assert_eq!(set(&[(0, 7), (3, 0)]).largest_written(), Some(7));
    }
}
