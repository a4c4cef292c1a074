//! Sequence sets.

use super::cursor::{Cursor, Parsed, SyntaxError};
use crate::codec::{SeqBound, SeqRange, SequenceSet};
use smallvec::SmallVec;

/// RFC 9051 section 9 sequence-set; `$` by RFC 5182.
pub(super) fn sequence_set(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
    if cursor.skip(b'$') {
        return Ok(SequenceSet::Saved);
    }
    let mut ranges = SmallVec::new();
    loop {
        let from = bound(cursor)?;
        let to = if cursor.skip(b':') { bound(cursor)? } else { from };
        ranges.push(SeqRange { from, to });
        if !cursor.skip(b',') {
            return Ok(SequenceSet::Ranges(ranges));
        }
    }
}

/// A set without `*` and `$`: RFC 7162 known-uids and the like.
pub(super) fn plain_set(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
    let set = sequence_set(cursor)?;
    if set == SequenceSet::Saved || set.has_star() {
        return Err(SyntaxError("* not allowed here"));
    }
    Ok(set)
}

fn bound(cursor: &mut Cursor<'_>) -> Parsed<SeqBound> {
    if cursor.skip(b'*') {
        return Ok(SeqBound::STAR);
    }
    SeqBound::number(cursor.nz_number()?).ok_or(SyntaxError("0 is no message number"))
}
