//! ENVELOPE (RFC 9051 7.5.2) of one header.

use super::address::{Room, write_address_list};
use super::header::{Fields, unfold};
use super::imap_string::{cut, write_nstring};
use super::limits::Limits;

/// An envelope that says nothing.
pub(super) const EMPTY: &[u8] = b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";

/// Appends the envelope, in at most `bytes_max` bytes where that is above some 100: long texts are
/// cut, addresses left out.
pub(super) fn write_envelope(
    out: &mut Vec<u8>,
    fields: &Fields<'_>,
    bytes_max: usize,
    limits: &Limits,
) {
    let start = out.len();
    let end = start.saturating_add(bytes_max);
    // RFC 9051 7.5.2: these two come last, so their room is set aside first.
    let mut tail = Vec::new();
    let text_max = limits.text_bytes_max.min(bytes_max / 8);
    for text in [fields.in_reply_to, fields.message_id] {
        tail.push(b' ');
        write_text(&mut tail, text, text_max);
    }
    tail.push(b')');

    out.push(b'(');
    write_text(out, fields.date, text_max);
    out.push(b' ');
    write_text(out, fields.subject, limits.subject_bytes_max.min(bytes_max / 4));
    let lists_end = end.saturating_sub(tail.len());
    write_originators(out, fields, lists_end, limits);
    for (values, left) in [(&fields.to, 2), (&fields.cc, 1), (&fields.bcc, 0)] {
        out.push(b' ');
        let out_len_max = lists_end.saturating_sub(left * " NIL".len());
        let room = Room { addresses: limits.addresses_max, out_len_max };
        write_address_list(out, values, room);
    }
    out.extend_from_slice(&tail);
    if out.len() > end {
        out.truncate(start);
        out.extend_from_slice(EMPTY);
    }
}

/// From, Sender and Reply-To: at most half of the room together.
fn write_originators(out: &mut Vec<u8>, fields: &Fields<'_>, end: usize, limits: &Limits) {
    let each = end.saturating_sub(out.len()) / 6;
    let room =
        |out: &Vec<u8>| Room { addresses: limits.addresses_max, out_len_max: out.len() + each };
    out.push(b' ');
    let from = out.len();
    write_address_list(out, &fields.from, room(out));
    let from = from..out.len();
    for value in [fields.sender, fields.reply_to] {
        out.push(b' ');
        let start = out.len();
        write_address_list(out, value.as_slice(), room(out));
        // RFC 9051 7.5.2: absent or empty, Sender and Reply-To are what From is.
        if &out[start..] == b"NIL" {
            out.truncate(start);
            out.extend_from_within(from.clone());
        }
    }
}

/// RFC 9051 7.5.2: NIL when the field is absent, the empty string when it is empty.
fn write_text(out: &mut Vec<u8>, value: Option<&[u8]>, bytes_max: usize) {
    match value {
        Some(value) => write_nstring(out, Some(cut(&unfold(value), bytes_max))),
        None => write_nstring(out, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(header: &str) -> String {
        let limits = Limits::default();
        let mut out = Vec::new();
        let fields = Fields::of(header.as_bytes(), &limits);
        write_envelope(&mut out, &fields, limits.envelope_bytes_max, &limits);
        String::from_utf8(out).expect("of UTF-8")
    }

    #[test]
    fn absent_is_nil_and_empty_is_empty() {
        assert_eq!(envelope("").as_bytes(), EMPTY);
        assert_eq!(
            envelope(
                "Date:\r\nSubject: \r\nFrom:\r\nSender: \r\nTo:\r\nMessage-ID:\r\nIn-Reply-To:\r\n"
            ),
            r#"("" "" NIL NIL NIL NIL NIL NIL "" "")"#
        );
    }

    #[test]
    fn sender_and_reply_to_default_to_from() {
        assert_eq!(
            envelope("From: A <a@b>\nReply-To: c@d\nSubject: =?x?q?y?=\n\tz\nTo: e@f\nTo: g@h\n"),
            "(NIL \"=?x?q?y?=\tz\" ((\"A\" NIL \"a\" \"b\")) ((\"A\" NIL \"a\" \"b\")) \
             ((NIL NIL \"c\" \"d\")) ((NIL NIL \"e\" \"f\")(NIL NIL \"g\" \"h\")) NIL NIL NIL NIL)"
        );
    }

    #[test]
    fn any_header_fits_the_room() {
        let limits = Limits::default();
        let long = "x".repeat(5_000);
        let many = "\"Somebody \\\" Somewhere\" <somebody@example.com>, ".repeat(500);
        let header = format!(
            "Date: {long}\r\nSubject: é\"{long}\r\nFrom: {many}\r\nSender: {long}\r\nTo: {many}\r\nTo: {many}\r\n\
             Cc: {many}\r\nBcc: g: {many}\r\nIn-Reply-To: {long}\r\nMessage-ID: {long}\r\n"
        );
        let fields = Fields::of(header.as_bytes(), &limits);
        for bytes_max in [0, 50, 100, 200, 500, 1_000, 2_048, 12 * 1024] {
            let mut out = Vec::new();
            write_envelope(&mut out, &fields, bytes_max, &limits);
            assert!(out.len() <= bytes_max.max(EMPTY.len()), "{} of {bytes_max}", out.len());
            assert!(bytes_max < 500 || out.len() > bytes_max / 2, "{} of {bytes_max}", out.len());
        }
    }
}
