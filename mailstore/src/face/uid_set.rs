//! A set of UIDs as sorted, disjoint, non-adjacent ranges.

use super::Uid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// UIDs as ranges: large sets of neighbours cost little.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct UidSet {
    /// (first, last), sorted; between two ranges at least one UID is missing.
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// No UID.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// All UIDs from `first` to `last`; empty when `last < first`.
    #[must_use]
    pub fn from_range(range: RangeInclusive<u32>) -> Self {
        let (first, last) = range.into_inner();
        Self { ranges: if first <= last { vec![(first, last)] } else { Vec::new() } }
    }

    /// The union of ranges in any order.
    #[must_use]
    pub fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let joins = next.0 <= before.1.saturating_add(1);
            if joins {
                before.1 = before.1.max(next.1);
            }
            joins
        });
        // Sets are kept: what was many single UIDs must not hold their memory.
        if ranges.len() < ranges.capacity() / 2 {
            ranges.shrink_to_fit();
        }
        Self { ranges }
    }

    /// Adds a range that begins at or behind the beginning of the last one: the cheap way to build a set in order.
    pub fn append_range(&mut self, first: u32, last: u32) {
        match self.ranges.last_mut() {
            Some(tail) if first <= tail.1.saturating_add(1) => tail.1 = tail.1.max(last),
            Some(_) | None => self.ranges.push((first, last)),
        }
    }

    /// Adds one UID. Cheap when UIDs come in rising order.
    pub fn insert(&mut self, uid: Uid) {
        match self.ranges.last() {
            Some(&(first, _)) if uid.0 < first => {
                self.ranges.push((uid.0, uid.0));
                *self = Self::from_ranges(std::mem::take(&mut self.ranges));
            }
            Some(_) | None => self.append_range(uid.0, uid.0),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many UIDs.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.ranges.partition_point(|&(_, last)| last < uid.0);
        self.ranges.get(at).is_some_and(|&(first, _)| first <= uid.0)
    }

    #[must_use]
    pub fn first(&self) -> Option<Uid> {
        self.ranges.first().map(|&(first, _)| Uid(first))
    }

    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        self.ranges.last().map(|&(_, last)| Uid(last))
    }

    /// The ranges, sorted and disjoint.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Every UID, rising.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Uid> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| (first..=last).map(Uid))
    }

    /// UIDs in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut ranges = self.ranges.clone();
        ranges.extend_from_slice(&other.ranges);
        Self::from_ranges(ranges)
    }

    /// UIDs in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::new();
        let (mut mine, mut theirs) = (self.ranges.as_slice(), other.ranges.as_slice());
        while let (Some((&(a, b), my_rest)), Some((&(c, d), their_rest))) =
            (mine.split_first(), theirs.split_first())
        {
            if a.max(c) <= b.min(d) {
                both.append_range(a.max(c), b.min(d));
            }
            if b < d {
                mine = my_rest;
            } else {
                theirs = their_rest;
            }
        }
        both
    }

    /// UIDs here that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Self::new();
        let mut holes = other.ranges.as_slice();
        for &(first, last) in &self.ranges {
            let mut from = u64::from(first);
            while let Some((&(hole_first, hole_last), rest)) = holes.split_first() {
                if u64::from(hole_first) > u64::from(last) {
                    break;
                }
                if u64::from(hole_first) > from {
                    let until = u64::from(hole_first) - 1;
                    left.ranges.push((narrow(from), narrow(until)));
                }
                from = from.max(u64::from(hole_last) + 1);
                if u64::from(hole_last) > u64::from(last) {
                    break;
                }
                holes = rest;
            }
            if from <= u64::from(last) {
                left.ranges.push((narrow(from), last));
            }
        }
        left
    }
}

fn narrow(uid: u64) -> u32 {
    u32::try_from(uid).expect("bounded by a 32-bit UID of the same range")
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        Self::from_ranges(uids.into_iter().map(|uid| (uid.0, uid.0)).collect())
    }
}

/// RFC 9051 section 9 `uid-set`: `1:3,7`. Nothing for the empty set.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &(first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

impl From<Vec<(u32, u32)>> for UidSet {
    fn from(ranges: Vec<(u32, u32)>) -> Self {
        Self::from_ranges(ranges)
    }
}

impl From<UidSet> for Vec<(u32, u32)> {
    fn from(set: UidSet) -> Self {
        set.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn arbitrary() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec(
            (1_u32..60, 0_u32..8).prop_map(|(first, len)| (first, first + len)),
            0..8,
        )
    }

    fn plain(ranges: &[(u32, u32)]) -> BTreeSet<u32> {
        ranges.iter().flat_map(|&(first, last)| first..=last).collect()
    }

    fn of(set: &UidSet) -> BTreeSet<u32> {
        assert!(set.ranges().windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "normal form");
        set.iter().map(|uid| uid.0).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(a in arbitrary(), b in arbitrary()) {
            let (left, right) = (UidSet::from_ranges(a.clone()), UidSet::from_ranges(b.clone()));
            let (a, b) = (plain(&a), plain(&b));
            prop_assert_eq!(of(&left), a.clone());
            prop_assert_eq!(of(&left.union(&right)), &a | &b);
            prop_assert_eq!(of(&left.intersection(&right)), &a & &b);
            prop_assert_eq!(of(&left.difference(&right)), &a - &b);
            prop_assert_eq!(left.len(), a.len() as u64);
            for uid in 0..80 {
                prop_assert_eq!(left.contains(Uid(uid)), a.contains(&uid));
            }
        }
    }

    #[test]
    fn the_largest_uid_is_no_special_case() {
        let all = UidSet::from_range(1..=u32::MAX);
        let tail = UidSet::from_range(u32::MAX..=u32::MAX);
        assert_eq!(all.difference(&tail).to_string(), "1:4294967294");
        assert_eq!(tail.difference(&all), UidSet::new());
        assert_eq!(all.intersection(&tail), tail);
    }
}
