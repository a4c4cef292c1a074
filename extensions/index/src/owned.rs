//! The account filter: the documents of one user, and the only way from postings to messages.
//!
//! Invariant: whatever is looked up, in any dictionary, comes out as a [`Marks`] over the documents of the user that was asked
//! for. No other file of this crate reads the number of a document out of postings, or an EMAILID out of a column.

use crate::schema::{EMAIL, Fields};
use mailstore::face::{EmailId, UserId};
use tantivy::postings::SegmentPostings;
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

    /// Marks those of the user's documents that are in `postings`.
    pub fn mark(&self, mut postings: SegmentPostings, marks: &mut Marks) {
        let mut at = 0;
        let mut doc = postings.doc();
        while let Some(&own) = self.docs.get(at) {
            if doc == own {
                marks.set(at);
                at += 1;
                doc = postings.advance();
            } else if doc < own {
                doc = postings.seek(own);
            } else if doc == TERMINATED {
                return;
            } else {
                at += self.docs[at..].partition_point(|own| *own < doc);
            }
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
        let email = |doc: &DocId| {
            let found = column.first(*doc);
            found.map(EmailId).ok_or_else(|| {
                tantivy::TantivyError::InternalError("a document without its message".into())
            })
        };
        self.docs.iter().map(email).collect()
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
