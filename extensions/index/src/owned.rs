//! The account filter: the documents of one user, and the only way from postings to messages.
//!
//! Invariant: whatever is looked up, in any dictionary, comes out as a [`Marks`] over the documents of the user that was asked
//! for. No other file of this crate reads the number of a document out of postings, or an EMAILID out of a column.

use crate::schema::{EMAIL, Fields};
use mailstore::face::{EmailId, UserId};
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, DocSet, SegmentReader, TERMINATED, Term};

/// The documents of a user in one segment, rising.
#[derive(Debug)]
pub struct Owned {
    docs: Vec<DocId>,
}

/// Some of the documents of an [`Owned`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks(Vec<u64>);

/// The term of a user.
#[must_use]
pub fn user_term(fields: &Fields, user: UserId) -> Term {
    Term::from_field_u64(fields.user, user.0)
}

impl Owned {
    /// # Errors
    /// When the segment can't be read.
    pub fn of(segment: &SegmentReader, fields: &Fields, user: UserId) -> tantivy::Result<Self> {
        let users = segment.inverted_index(fields.user)?;
        let postings = users.read_postings(&user_term(fields, user), IndexRecordOption::Basic)?;
        let mut docs = Vec::new();
        if let Some(mut postings) = postings {
            let alive = segment.alive_bitset();
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if alive.is_none_or(|alive| alive.is_alive(doc)) {
                    docs.push(doc);
                }
                doc = postings.advance();
            }
        }
        Ok(Self { docs })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.docs.is_empty()
    }

    #[must_use]
    pub fn none(&self) -> Marks {
        Marks(vec![0; self.docs.len().div_ceil(64)])
    }

    #[must_use]
    pub fn all(&self) -> Marks {
        let mut marks = self.none();
        (0..self.docs.len()).for_each(|at| marks.set(at));
        marks
    }

    /// Marks those of the user's documents that are in `postings`, which is read to its end or to theirs.
    pub fn mark(&self, postings: &mut BlockSegmentPostings, marks: &mut Marks) {
        let mut at = 0;
        while let Some(&own) = self.docs.get(at) {
            if postings.docs().last().is_some_and(|last| *last < own) {
                postings.seek(own);
            }
            let docs = postings.docs();
            let Some(&last) = docs.last() else { return };
            let end = at + self.docs[at..].partition_point(|own| *own <= last);
            if end == at {
                // There is nothing behind the last block, or nothing of this user's before the next.
                return;
            }
            each_common(&self.docs[at..end], docs, |within| marks.set(at + within));
            at = end;
        }
    }

    /// Whether all of them are marked.
    #[must_use]
    pub fn are_all(&self, marks: &Marks) -> bool {
        marks.0.iter().map(|word| word.count_ones() as usize).sum::<usize>() == self.docs.len()
    }

    /// The messages, in the order of the marks.
    ///
    /// # Errors
    /// When the segment can't be read.
    pub fn emails(&self, segment: &SegmentReader) -> tantivy::Result<Vec<EmailId>> {
        let column = segment.fast_fields().u64(EMAIL)?;
        let mut found = vec![None; self.docs.len()];
        column.first_vals(&self.docs, &mut found);
        let email = |found: Option<u64>| {
            found.map(EmailId).ok_or_else(|| {
                tantivy::TantivyError::InternalError("a document without its message".into())
            })
        };
        found.into_iter().map(email).collect()
    }
}

/// Calls `mark` with the place in `own` of each document that is in `docs` too. Both rise, and neither is empty.
fn each_common(own: &[DocId], docs: &[DocId], mut mark: impl FnMut(usize)) {
    let (Some(&first), Some(&last)) = (own.first(), own.last()) else { return };
    if (last - first) as usize == own.len() - 1 {
        // All between are the user's: a mailbox that was filled at once.
        let before = docs.partition_point(|doc| *doc < first);
        let among = docs[before..].iter().take_while(|doc| **doc <= last);
        return among.for_each(|doc| mark((doc - first) as usize));
    }
    let mut at = 0;
    if own.len() < docs.len() {
        for (within, own) in own.iter().enumerate() {
            at += docs[at..].partition_point(|doc| doc < own);
            if docs.get(at) == Some(own) {
                mark(within);
            }
        }
    } else {
        for doc in docs {
            at += own[at..].partition_point(|own| own < doc);
            if own.get(at) == Some(doc) {
                mark(at);
            }
        }
    }
}

impl Marks {
    fn set(&mut self, at: usize) {
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    #[must_use]
    pub fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one |= other);
        self
    }

    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(one, other)| *one &= other);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn rising(end: u32) -> impl Strategy<Value = Vec<DocId>> {
        prop::collection::btree_set(0..end, 0..200).prop_map(|docs| docs.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_common_is_found(own in rising(300), docs in rising(300), first in 0..300_u32, len in 0..200_u32) {
            for own in [own, (first..first + len).collect()] {
                let mut found = Vec::new();
                each_common(&own, &docs, |at| found.push(own[at]));
                let both: BTreeSet<DocId> = docs.iter().copied().filter(|doc| own.contains(doc)).collect();
                prop_assert_eq!(found, both.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
