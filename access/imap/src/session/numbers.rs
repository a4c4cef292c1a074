//! Message sequence numbers and UIDs of a view: sets of one kind turned into the other, in one pass
//! over both.
//!
//! Must not know: tasks, output.

use super::view::View;
use crate::codec::{Numbering, SequenceSet};
use mailstore::face::{Uid, UidMap, UidSet};

/// The client named a message that it cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchNumber;

impl View {
    /// The messages that a client names. UIDs that are not there are left out.
    ///
    /// # Errors A sequence number beyond EXISTS: RFC 9051 6.4.5 leaves it to us, and it can only be
    /// a client that lost count.
    pub fn named(&self, numbering: Numbering, set: &SequenceSet) -> Result<UidSet, NoSuchNumber> {
        match numbering {
            Numbering::Uid => Ok(self.named_uids(set)),
            Numbering::Sequence => self.named_numbers(set),
        }
    }

    /// The messages named by UID.
    pub fn named_uids(&self, set: &SequenceSet) -> UidSet {
        let largest = self.map.last_uid().map_or(0, |uid| uid.0);
        match set.resolve(largest) {
            Some(uids) => uids.intersection(&self.map.uids()),
            None => self.saved.intersection(&self.map.uids()),
        }
    }

    /// The messages named by sequence number.
    ///
    /// # Errors
    /// See [`View::named`].
    pub fn named_numbers(&self, set: &SequenceSet) -> Result<UidSet, NoSuchNumber> {
        let count = self.map.len();
        // A range up to `*` may begin beyond the end: `4:*` with three messages names the last one.
        let too_large = set.ranges().iter().any(|range| match (range.from.get(), range.to.get()) {
            (Some(from), Some(to)) => from.max(to) > count,
            (Some(_), None) | (None, Some(_)) | (None, None) => false,
        });
        if too_large {
            return Err(NoSuchNumber);
        }
        match set.resolve(count) {
            Some(numbers) => Ok(uids_of_numbers(&self.map, &numbers)),
            None => Ok(self.saved.intersection(&self.map.uids())),
        }
    }

    /// `uids` as the client counts them: UIDs, or the set of their sequence numbers.
    pub fn shown(&self, numbering: Numbering, uids: &UidSet) -> UidSet {
        match numbering {
            Numbering::Uid => uids.clone(),
            Numbering::Sequence => numbers_of_uids(&self.map, uids),
        }
    }
}

/// The UIDs of a set of sequence numbers, those beyond the end left out.
fn uids_of_numbers(map: &UidMap, numbers: &UidSet) -> UidSet {
    let all = map.uids();
    let mut ranges = Vec::new();
    let mut wanted = numbers.ranges().iter().copied().peekable();
    let mut number = 1_u32;
    for &(first, last) in all.ranges() {
        let number_last = number.saturating_add(last - first);
        while let Some(&(from, to)) = wanted.peek() {
            if from > number_last {
                break;
            }
            let (low, high) = (from.max(number), to.min(number_last));
            if low <= high {
                ranges.push((first + (low - number), first + (high - number)));
            }
            if to > number_last {
                break;
            }
            wanted.next();
        }
        number = number_last.saturating_add(1);
    }
    UidSet::from_ranges(ranges)
}

/// The sequence numbers of a set of UIDs, those not there left out.
fn numbers_of_uids(map: &UidMap, uids: &UidSet) -> UidSet {
    let all = map.uids();
    let mut numbers = UidSet::new();
    let mut wanted = uids.ranges().iter().copied().peekable();
    let mut number = 1_u32;
    for &(first, last) in all.ranges() {
        while let Some(&(from, to)) = wanted.peek() {
            if from > last {
                break;
            }
            let (low, high) = (from.max(first), to.min(last));
            if low <= high {
                numbers.append_range(number + (low - first), number + (high - first));
            }
            if to > last {
                break;
            }
            wanted.next();
        }
        number = number.saturating_add(last - first).saturating_add(1);
    }
    numbers
}

/// Looks up sequence numbers of rising UIDs: the neighbour of the last one costs nothing.
#[derive(Debug, Default)]
pub struct NumberCursor {
    last: Option<(Uid, u32)>,
}

impl NumberCursor {
    /// The sequence number of `uid`. `map` must not change between two calls.
    pub fn number(&mut self, map: &UidMap, uid: Uid) -> Option<u32> {
        let number = match self.last {
            // 20 ns saved in a folder without gaps: only a hit may be guessed, so the guess is
            // looked up the other way round.
            Some((before, number)) if before.0.checked_add(1) == Some(uid.0) => {
                let next = number + 1;
                if map.uid(next) == Some(uid) { Some(next) } else { map.seq(uid) }
            }
            Some(_) | None => map.seq(uid),
        };
        self.last = number.map(|number| (uid, number));
        number
    }
}

/// A set of UIDs, page by page.
#[derive(Debug)]
pub struct Pages {
    set: UidSet,
    range: usize,
    next: u32,
}

impl Pages {
    pub fn new(set: UidSet) -> Self {
        let next = set.first().map_or(0, |uid| uid.0);
        Self { set, range: 0, next }
    }

    /// The next `count` UIDs at most; empty when all were given.
    pub fn page(&mut self, count: u64) -> UidSet {
        let mut left = count;
        let mut ranges = Vec::new();
        while left > 0
            && let Some(&(_, last)) = self.set.ranges().get(self.range)
        {
            let here = u64::from(last - self.next) + 1;
            let taken = u32::try_from(here.min(left)).expect("at most the range, within 32 bits");
            ranges.push((self.next, self.next + (taken - 1)));
            left -= u64::from(taken);
            if u64::from(taken) == here {
                self.range += 1;
                self.next = self.set.ranges().get(self.range).map_or(0, |range| range.0);
            } else {
                self.next += taken;
            }
        }
        UidSet::from_ranges(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(uids: &std::collections::BTreeSet<u32>) -> UidSet {
        uids.iter().map(|&uid| Uid(uid)).collect()
    }

    proptest! {
        #[test]
        fn sets_agree_with_single_look_ups(
            uids in prop::collection::btree_set(1_u32..60, 0..30),
            named in prop::collection::btree_set(1_u32..60, 0..30),
        ) {
            let map = UidMap::new(&set(&uids));
            let expected: Vec<Uid> = named.iter().filter_map(|&seq| map.uid(seq)).collect();
            let got: Vec<Uid> = uids_of_numbers(&map, &set(&named)).iter().collect();
            prop_assert_eq!(got, expected);
            let expected: Vec<u32> = named.iter().filter_map(|&uid| map.seq(Uid(uid))).collect();
            let got: Vec<u32> =
                numbers_of_uids(&map, &set(&named)).iter().map(|number| number.0).collect();
            prop_assert_eq!(got, expected);
            let mut cursor = NumberCursor::default();
            for uid in set(&named).iter() {
                prop_assert_eq!(cursor.number(&map, uid), map.seq(uid));
            }
        }

        #[test]
        fn pages_give_every_uid_once_in_order(
            uids in prop::collection::btree_set(1_u32..90, 0..60),
            count in 1_u64..9,
        ) {
            let mut pages = Pages::new(set(&uids));
            let mut got = Vec::new();
            loop {
                let page = pages.page(count);
                if page.is_empty() {
                    break;
                }
                prop_assert!(page.len() <= count);
                got.extend(page.iter().map(|uid| uid.0));
            }
            prop_assert_eq!(got, uids.into_iter().collect::<Vec<_>>());
        }
    }
}
