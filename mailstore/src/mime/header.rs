//! The fields of one header (RFC 5322 2.2), raw: names, folded values, unfolding.
//!
//! A header ends with its bytes; whoever cuts it out of a message decides where. A line without a
//! colon is no field and is passed over.

use super::limits::Limits;
use memchr::memchr;
use std::borrow::Cow;

/// One field: `value` is what stands behind the colon, folds and surrounding space included, the
/// last line end not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

/// The fields of a header, in order.
#[derive(Clone, Debug)]
pub(super) struct FieldIter<'a> {
    rest: &'a [u8],
}

/// A field, or a line that is none, with its line ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawField<'a> {
    pub bytes: &'a [u8],
}

impl<'a> FieldIter<'a> {
    pub(super) fn new(header: &'a [u8]) -> Self {
        Self { rest: header }
    }

    /// The next field with its line ends; `None` at the end of the header, be it the empty line or
    /// the last byte.
    pub(super) fn next_raw(&mut self) -> Option<RawField<'a>> {
        if self.rest.is_empty() || self.rest[0] == b'\n' || self.rest.starts_with(b"\r\n") {
            return None;
        }
        let mut end = 0;
        loop {
            end = memchr(b'\n', &self.rest[end..]).map_or(self.rest.len(), |at| end + at + 1);
            // RFC 5322 2.2.3: a line that begins with white space continues the field.
            match self.rest.get(end) {
                Some(b' ' | b'\t') => {}
                _ => break,
            }
        }
        let (bytes, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(RawField { bytes })
    }
}

impl<'a> RawField<'a> {
    /// Name and value; `None` for a line without a colon.
    pub(super) fn split(self) -> Option<Field<'a>> {
        let colon = memchr(b':', self.bytes)?;
        // RFC 5322 4.5 (obsolete): white space before the colon.
        let name = self.bytes[..colon].trim_ascii_end();
        let value = &self.bytes[colon + 1..];
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        (!name.is_empty()).then_some(Field { name, value })
    }
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            if let Some(field) = self.next_raw()?.split() {
                return Some(field);
            }
        }
    }
}

/// RFC 5322 2.2.3: a value without its line ends and surrounding white space. What folds kept of
/// white space stays.
pub(super) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut text = Vec::with_capacity(value.len());
    for line in value.split(|&byte| byte == b'\n') {
        text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
    }
    Cow::Owned(text)
}

/// The fields that structure and envelope are made of, raw. Of a field that may stand once, the
/// first counts.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub date: Option<&'a [u8]>,
    pub subject: Option<&'a [u8]>,
    pub from: Vec<&'a [u8]>,
    pub sender: Option<&'a [u8]>,
    pub reply_to: Option<&'a [u8]>,
    pub to: Vec<&'a [u8]>,
    pub cc: Vec<&'a [u8]>,
    pub bcc: Vec<&'a [u8]>,
    pub in_reply_to: Option<&'a [u8]>,
    pub message_id: Option<&'a [u8]>,
    pub references: Option<&'a [u8]>,
    pub content: ContentFields<'a>,
}

/// RFC 2045 and its company: what is said of the body.
#[derive(Debug, Default)]
pub(super) struct ContentFields<'a> {
    pub kind: Option<&'a [u8]>,
    pub encoding: Option<&'a [u8]>,
    pub id: Option<&'a [u8]>,
    pub description: Option<&'a [u8]>,
    pub md5: Option<&'a [u8]>,
    pub disposition: Option<&'a [u8]>,
    pub language: Option<&'a [u8]>,
    pub location: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(header: &'a [u8], limits: &Limits) -> Self {
        let mut fields = Self::default();
        for field in FieldIter::new(header).take(limits.header_fields_max) {
            fields.take(field);
        }
        fields
    }

    fn take(&mut self, Field { name, value }: Field<'a>) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let first = |slot: &mut Option<&'a [u8]>| {
            slot.get_or_insert(value);
        };
        match name.len() {
            2 if is(b"to") => self.to.push(value),
            2 if is(b"cc") => self.cc.push(value),
            3 if is(b"bcc") => self.bcc.push(value),
            4 if is(b"from") => self.from.push(value),
            4 if is(b"date") => first(&mut self.date),
            6 if is(b"sender") => first(&mut self.sender),
            7 if is(b"subject") => first(&mut self.subject),
            8 if is(b"reply-to") => first(&mut self.reply_to),
            10 if is(b"message-id") => first(&mut self.message_id),
            10 if is(b"references") => first(&mut self.references),
            10 if is(b"content-id") => first(&mut self.content.id),
            11 if is(b"in-reply-to") => first(&mut self.in_reply_to),
            11 if is(b"content-md5") => first(&mut self.content.md5),
            12 if is(b"content-type") => first(&mut self.content.kind),
            16 if is(b"content-language") => first(&mut self.content.language),
            16 if is(b"content-location") => first(&mut self.content.location),
            19 if is(b"content-description") => first(&mut self.content.description),
            19 if is(b"content-disposition") => first(&mut self.content.disposition),
            25 if is(b"content-transfer-encoding") => first(&mut self.content.encoding),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_repeats_and_lines_that_are_no_field() {
        let header = b"From x\r\nTo: a,\r\n b\r\nno field\r\nSubject : x\nTO:c\r\nsubject: y\r\n\r\nCc: z\r\n";
        let fields = Fields::of(header, &Limits::default());
        assert_eq!(fields.to, [&b" a,\r\n b"[..], b"c"]);
        assert_eq!(fields.subject, Some(&b" x"[..]));
        assert!(fields.cc.is_empty());
        assert_eq!(unfold(fields.to[0]).as_ref(), b"a, b");
        assert_eq!(unfold(b" a\n\tb\r\n c ").as_ref(), b"a\tb c");
    }
}
