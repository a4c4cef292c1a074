//! What a session knows of a folder: its UIDs in order, hence its message sequence numbers.

use super::{Uid, UidSet};

/// Sequence number to UID and back, as runs of neighbouring UIDs. 12 bytes a run; both look-ups take a binary search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidMap {
    /// (first UID, last UID, sequence number of the first), sorted.
    runs: Vec<(u32, u32, u32)>,
}

impl UidMap {
    /// The map of a folder that holds `uids`.
    #[must_use]
    pub fn new(uids: &UidSet) -> Self {
        let mut map = Self::default();
        map.rebuild(uids.ranges());
        map
    }

    fn rebuild(&mut self, ranges: &[(u32, u32)]) {
        self.runs.clear();
        self.runs.reserve_exact(ranges.len());
        let mut seq = 1_u32;
        for &(first, last) in ranges {
            self.runs.push((first, last, seq));
            seq = seq.saturating_add(last - first).saturating_add(1);
        }
    }

    /// How many messages: the number in `EXISTS`.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |&(first, last, seq)| seq + (last - first))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The UID of message `seq` (from 1).
    #[must_use]
    pub fn uid(&self, seq: u32) -> Option<Uid> {
        let at = self.runs.partition_point(|run| run.2 <= seq).checked_sub(1)?;
        let &(first, last, from) = self.runs.get(at)?;
        let uid = first.checked_add(seq - from)?;
        (uid <= last).then_some(Uid(uid))
    }

    /// The sequence number of `uid`.
    #[must_use]
    pub fn seq(&self, uid: Uid) -> Option<u32> {
        let at = self.runs.partition_point(|run| run.1 < uid.0);
        let &(first, _, seq) = self.runs.get(at)?;
        (first <= uid.0).then(|| seq + (uid.0 - first))
    }

    /// The UID of the last message.
    #[must_use]
    pub fn last_uid(&self) -> Option<Uid> {
        self.runs.last().map(|run| Uid(run.1))
    }

    /// All UIDs.
    #[must_use]
    pub fn uids(&self) -> UidSet {
        UidSet::from_ranges(self.runs.iter().map(|run| (run.0, run.1)).collect())
    }

    /// The UIDs of messages `first..=last`, cut at the end.
    #[must_use]
    pub fn uids_of_seqs(&self, first: u32, last: u32) -> UidSet {
        let last = last.min(self.len());
        let ranges = self.runs.iter().filter_map(|&(uid_first, uid_last, seq)| {
            let seq_last = seq + (uid_last - uid_first);
            let (from, to) = (first.max(seq), last.min(seq_last));
            (from <= to).then(|| (uid_first + (from - seq), uid_first + (to - seq)))
        });
        UidSet::from_ranges(ranges.collect())
    }

    /// New messages arrived: their UIDs are above all known ones.
    pub fn extend(&mut self, arrived: &UidSet) {
        let all = self.uids().union(arrived);
        self.rebuild(all.ranges());
    }

    /// Messages are gone; returns the sequence numbers to send in EXPUNGE, each valid at its moment, in order.
    pub fn remove(&mut self, gone: &UidSet) -> Vec<u32> {
        let here = self.uids();
        let gone = here.intersection(gone);
        // RFC 9051 7.5.1: each EXPUNGE renumbers what follows; told from the highest down, no number shifts.
        let seqs = gone.iter().rev().filter_map(|uid| self.seq(uid)).collect();
        self.rebuild(here.difference(&gone).ranges());
        seqs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_vector(
            uids in prop::collection::btree_set(1_u32..80, 0..40),
            gone in prop::collection::btree_set(1_u32..80, 0..40),
        ) {
            let set: UidSet = uids.iter().map(|&uid| Uid(uid)).collect();
            let mut plain: Vec<u32> = uids.iter().copied().collect();
            let mut map = UidMap::new(&set);
            prop_assert_eq!(map.len() as usize, plain.len());
            for seq in 0..90_u32 {
                let expected = seq.checked_sub(1).and_then(|at| plain.get(at as usize)).copied();
                prop_assert_eq!(map.uid(seq).map(|uid| uid.0), expected);
            }
            for uid in 0..90_u32 {
                let expected = plain.iter().position(|&known| known == uid).map(|at| at as u32 + 1);
                prop_assert_eq!(map.seq(Uid(uid)), expected);
            }
            let cut: Vec<u32> = plain.iter().copied().skip(2).take(5).collect();
            let got: Vec<u32> = map.uids_of_seqs(3, 7).iter().map(|uid| uid.0).collect();
            prop_assert_eq!(got, cut);
            // A client that obeys each EXPUNGE in turn ends with the same list.
            for seq in map.remove(&gone.iter().map(|&uid| Uid(uid)).collect()) {
                plain.remove(seq as usize - 1);
            }
            prop_assert_eq!(map.uids().iter().map(|uid| uid.0).collect::<Vec<_>>(), plain);
        }
    }
}
