//! What submission does to a header (RFC 6409 section 8): takes Bcc out, adds Date, Message-ID and From where they are
//! missing, and finds out who From names.
//!
//! Works on the whole header at once; everything else of it stays byte for byte, in its order.

use super::{Fault, authors, write_date};
use mailstore::face::{InternalDate, QueueId};
use std::io::Write;

/// What a header may have to be completed with.
#[derive(Debug)]
pub struct Completion<'a> {
    /// The account that submits.
    pub address: &'a str,
    pub date: InternalDate,
    /// Makes the Message-ID unique, with `random`.
    pub queue_id: QueueId,
    pub random: u64,
    pub authors_max: usize,
}

/// A header as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Edited {
    pub header: Vec<u8>,
    /// Whom From names.
    pub authors: Vec<Vec<u8>>,
}

/// Edits `header`: fields, and the empty line if there is one. With neither fields nor an empty line it is that of a message
/// which begins with its text.
///
/// # Errors
/// `BadFrom`.
pub fn edit(header: &[u8], completion: &Completion<'_>) -> Result<Edited, Fault> {
    let mut kept = Vec::with_capacity(header.len() + 256);
    let mut named = Vec::new();
    let (mut has_from, mut has_date, mut has_message_id) = (false, false, false);
    let mut rest = header;
    while !rest.is_empty() && !rest.starts_with(b"\r\n") {
        let (field, behind) = rest.split_at(field_len(rest));
        rest = behind;
        let colon = memchr::memchr(b':', field).unwrap_or(field.len());
        let name = field[..colon].trim_ascii_end();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // protocols.md; RFC 5322 3.6.3: nobody shall learn of a blind copy.
        if is("Bcc") || is("Resent-Bcc") {
            continue;
        }
        if is("From") {
            has_from = true;
            let value = field.get(colon + 1..).unwrap_or_default();
            named.extend(authors(value, completion.authors_max).ok_or(Fault::BadFrom)?);
        }
        has_date |= is("Date");
        has_message_id |= is("Message-ID");
        kept.extend_from_slice(field);
    }
    if named.len() > completion.authors_max {
        return Err(Fault::BadFrom);
    }
    // A last line without its end: what is added must not become part of it.
    if !kept.is_empty() && !kept.ends_with(b"\r\n") {
        kept.extend_from_slice(b"\r\n");
    }
    let missing = Missing { from: !has_from, date: !has_date, message_id: !has_message_id };
    missing.add_to(&mut kept, completion).expect("writing to memory does not fail");
    // The empty line; made where text followed without one.
    kept.extend_from_slice(b"\r\n");
    Ok(Edited { header: kept, authors: named })
}

struct Missing {
    from: bool,
    date: bool,
    message_id: bool,
}

impl Missing {
    fn add_to(&self, out: &mut Vec<u8>, with: &Completion<'_>) -> std::io::Result<()> {
        // RFC 5322 3.6 demands From. The account's own name can't be a forgery.
        if self.from {
            write!(out, "From: <{}>\r\n", with.address)?;
        }
        // RFC 6409 8.2.
        if self.date {
            out.extend_from_slice(b"Date: ");
            write_date(out, with.date)?;
            out.extend_from_slice(b"\r\n");
        }
        // RFC 6409 8.3.
        if self.message_id {
            let domain = with.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
            write!(out, "Message-ID: <{}.{:016x}@{domain}>\r\n", with.queue_id, with.random)?;
        }
        Ok(())
    }
}

/// Octets of the field at the beginning of `text`, continuation lines included.
fn field_len(text: &[u8]) -> usize {
    let mut from = 0;
    while let Some(feed) = memchr::memchr(b'\n', &text[from..]) {
        from += feed + 1;
        if !matches!(text.get(from), Some(b' ' | b'\t')) {
            return from;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::face::DeliveryId;

    fn edited(header: &str) -> Result<(String, Vec<String>), Fault> {
        let completion = Completion {
            address: "ann@example.org",
            date: InternalDate::from_civil((2026, 11, 21), (5, 1, 15), 0).expect("exists"),
            queue_id: DeliveryId(0).queue_id(),
            random: 255,
            authors_max: 2,
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("as given");
        let Edited { header, authors } = edit(header.as_bytes(), &completion)?;
        Ok((text(header), authors.into_iter().map(text).collect()))
    }

    #[test]
    fn a_complete_header_loses_only_bcc() {
        let header = "From: Ann <ann@example.org>\r\nBcc: x@y,\r\n z@y\r\nDate: now\r\n\
                      bcc : w@y\r\nMessage-Id: <1@2>\r\nSubject: Bcc: me\r\n\r\n";
        let (kept, authors) = edited(header).expect("in order");
        let expected = "From: Ann <ann@example.org>\r\nDate: now\r\nMessage-Id: <1@2>\r\n\
                        Subject: Bcc: me\r\n\r\n";
        assert_eq!(kept, expected);
        assert_eq!(authors, ["ann@example.org"]);
    }

    #[test]
    fn what_is_missing_is_added() {
        let added = "From: <ann@example.org>\r\nDate: Sat, 21 Nov 2026 05:01:15 +0000\r\n\
                     Message-ID: <0000000000000000.00000000000000ff@example.org>\r\n\r\n";
        assert_eq!(edited("\r\n").expect("in order").0, added);
        assert_eq!(edited("").expect("in order").0, added);
        assert_eq!(edited("A: b\r\n").expect("in order").0, format!("A: b\r\n{added}"));
    }

    #[test]
    fn every_from_counts() {
        let two = "From: a@b\r\nFrom: c@d\r\n\r\n";
        assert_eq!(edited(two).expect("in order").1, ["a@b", "c@d"]);
        assert_eq!(edited("From: a@b\r\nFrom: c@d, e@f\r\n\r\n"), Err(Fault::BadFrom));
        assert_eq!(edited("From: \r\n\r\n"), Err(Fault::BadFrom));
    }
}
