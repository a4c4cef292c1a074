//! What SEARCH and threads need of the header of a message.

use super::date::parse_date;
use super::header::{Fields, unfold};
use super::imap_string::cut;
use super::limits::Limits;
use super::words::fold_value;
use crate::face::SearchColumns;
use bytes::Bytes;
use memchr::{memchr, memrchr};

/// All that is computed of the header of the message itself.
#[derive(Debug, Default)]
pub(super) struct RootColumns {
    pub envelope: Vec<u8>,
    pub search: SearchColumns,
    pub header_bytes: u64,
    pub message_id: Bytes,
    pub references: Bytes,
}

/// All but the envelope and the size.
pub(super) fn root_columns(fields: &Fields<'_>, limits: &Limits) -> RootColumns {
    RootColumns {
        envelope: Vec::new(),
        search: SearchColumns {
            from: search_column(&fields.from, limits),
            to: search_column(&fields.to, limits),
            cc: search_column(&fields.cc, limits),
            bcc: search_column(&fields.bcc, limits),
            subject: search_column(fields.subject.as_slice(), limits),
            sent: fields.date.and_then(parse_date),
        },
        header_bytes: 0,
        message_id: own_id(fields, limits),
        references: references(fields, limits),
    }
}

/// The decoded, folded text of fields of one name, divided by commas.
fn search_column(values: &[&[u8]], limits: &Limits) -> Bytes {
    let mut column = Vec::with_capacity(values.iter().map(|value| value.len() + 2).sum());
    for value in values {
        if !column.is_empty() {
            column.extend_from_slice(b", ");
        }
        fold_value(value, &mut column);
        if column.len() > limits.search_bytes_max {
            column.truncate(cut(&column, limits.search_bytes_max).len());
            break;
        }
    }
    Bytes::from(column)
}

/// What stands in angle brackets, one after the other. RFC 5322 3.6.4: msg-id.
fn ids(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let close = memchr(b'>', rest)?;
            let (before, behind) = rest.split_at(close);
            rest = &behind[1..];
            let id = memrchr(b'<', before).map(|open| before[open + 1..].trim_ascii());
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                return Some(id);
            }
        }
    })
}

/// Without brackets, an identifier is what stands there if it is one word.
fn own_id(fields: &Fields<'_>, limits: &Limits) -> Bytes {
    let value = fields.message_id.map(unfold).unwrap_or_default();
    let id = ids(&value).next().unwrap_or(&value).trim_ascii();
    let usable = id.len() <= limits.text_bytes_max && !id.iter().any(u8::is_ascii_whitespace);
    if usable { Bytes::copy_from_slice(id) } else { Bytes::new() }
}

/// RFC 5322 3.6.4: References, oldest first, then what In-Reply-To adds. Without room for all, the
/// first (the root of the thread) and the last ones stay.
fn references(fields: &Fields<'_>, limits: &Limits) -> Bytes {
    let references = fields.references.map(unfold).unwrap_or_default();
    let in_reply_to = fields.in_reply_to.map(unfold).unwrap_or_default();
    let usable =
        |id: &&[u8]| id.len() <= limits.text_bytes_max && !id.iter().any(u8::is_ascii_whitespace);
    let mut all: Vec<&[u8]> = ids(&references).filter(usable).collect();
    // Looking among the last ones keeps this linear.
    for id in ids(&in_reply_to).filter(usable).take(IN_REPLY_TO_MAX) {
        if !all.contains(&id) {
            all.push(id);
        }
    }
    let size: usize = all.iter().map(|id| id.len() + 1).sum();
    let mut excess = size.saturating_sub(limits.references_bytes_max);
    let mut out = Vec::with_capacity(size - excess);
    for (at, id) in all.iter().enumerate() {
        if at > 0 && excess > 0 {
            excess = excess.saturating_sub(id.len() + 1);
            continue;
        }
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(id);
    }
    Bytes::from(out)
}

/// Identifiers taken of In-Reply-To. RFC 5322 3.6.4: one for each parent; more than a few is no
/// reply.
const IN_REPLY_TO_MAX: usize = 8;
