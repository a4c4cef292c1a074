//! Sections (RFC 9051 6.4.5, RFC 3516) resolved to ranges of bytes by the part table.
//!
//! A message as clients see it is the trace prefix of its delivery and behind it the body as
//! stored. The part table counts from the first byte of the body; what is resolved here counts from
//! the first byte of the prefix. The prefix belongs to the header of the message.

use super::filter_header::Keep;
use super::part_table::{Encoding, Part, PartKind, PartTable};
use crate::face::{Section, SectionText};
use bytes::Bytes;
use std::ops::Range;

/// The two pieces of a message, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The trace prefix, 0 for what was appended.
    pub prefix_len: u64,
    /// The body as stored.
    pub body_len: u64,
}

impl Layout {
    /// Bytes of the message: RFC822.SIZE.
    #[must_use]
    pub fn total(self) -> u64 {
        self.prefix_len.saturating_add(self.body_len)
    }
}

/// What to read for a section. Ranges count from the first byte of the prefix and lie inside the
/// message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// These bytes, as they are.
    Bytes(Range<u64>),
    /// These bytes through [`filter_header`](super::filter_header).
    FilterHeader { range: Range<u64>, names: Vec<Bytes>, keep: Keep },
    /// These bytes through a [`Decoder`](super::Decoder).
    Decode { range: Range<u64>, encoding: Encoding },
    /// The message has no such part, or the part no such text: NIL on the wire.
    NoSuchPart,
    /// RFC 3516 4.3: the transfer encoding is not known.
    UnknownEncoding,
}

impl PartTable {
    /// Finds the bytes of a section.
    #[must_use]
    pub fn resolve(&self, layout: Layout, section: &Section) -> Resolved {
        let ranges = Ranges { layout };
        if section.part.is_empty() {
            return self.resolve_message(ranges, &section.text);
        }
        let Some(at) = self.find(&section.part) else {
            return Resolved::NoSuchPart;
        };
        let part = &self.parts()[at];
        match &section.text {
            SectionText::All => Resolved::Bytes(ranges.body(part)),
            SectionText::Mime => Resolved::Bytes(ranges.header(part)),
            SectionText::Binary => resolve_binary(part, ranges.body(part)),
            SectionText::Header | SectionText::HeaderFields { .. } | SectionText::Text => {
                // RFC 9051 6.4.5: of parts, only messages have a header and a text.
                match (part.kind, self.parts().get(at + 1)) {
                    (PartKind::Message, Some(inside)) => {
                        resolve_text(ranges.header(inside), ranges.body(inside), &section.text)
                    }
                    (PartKind::Leaf | PartKind::Multipart | PartKind::Message, _) => {
                        Resolved::NoSuchPart
                    }
                }
            }
        }
    }

    fn resolve_message(&self, ranges: Ranges, text: &SectionText) -> Resolved {
        let total = ranges.layout.total();
        match text {
            // RFC 3516 4.2: BINARY[] is the message itself.
            SectionText::All | SectionText::Binary => Resolved::Bytes(0..total),
            // RFC 9051 6.4.5: MIME must be prefixed by part numbers.
            SectionText::Mime => Resolved::NoSuchPart,
            SectionText::Header | SectionText::HeaderFields { .. } | SectionText::Text => {
                let header = self.parts().first().map_or(0..total, |root| ranges.header(root));
                let body = header.end..total;
                resolve_text(header, body, text)
            }
        }
    }

    /// The part that the numbers name. RFC 9051 6.4.5: parts of a multipart count from 1; a message
    /// that is no multipart has one part, 1, its body.
    fn find(&self, numbers: &[u32]) -> Option<usize> {
        let (&first, rest) = numbers.split_first()?;
        let mut at = self.inside_message(0, first)?;
        for &number in rest {
            at = match self.parts().get(at)?.kind {
                PartKind::Multipart => self.child(at, number)?,
                PartKind::Message => self.inside_message(at + 1, number)?,
                PartKind::Leaf => return None,
            };
        }
        Some(at)
    }

    /// A part of the message at `at`.
    fn inside_message(&self, at: usize, number: u32) -> Option<usize> {
        match (self.parts().get(at)?.kind, number) {
            (PartKind::Multipart, _) => self.child(at, number),
            (PartKind::Leaf | PartKind::Message, 1) => Some(at),
            (PartKind::Leaf | PartKind::Message, _) => None,
        }
    }

    fn child(&self, parent: usize, number: u32) -> Option<usize> {
        let depth = self.parts()[parent].depth;
        let nth = usize::try_from(number.checked_sub(1)?).ok()?;
        let inside = self.parts().iter().enumerate().skip(parent + 1);
        inside
            .take_while(|(_, part)| part.depth > depth)
            .filter(|(_, part)| part.depth == depth + 1)
            .nth(nth)
            .map(|(at, _)| at)
    }
}

fn resolve_text(header: Range<u64>, body: Range<u64>, text: &SectionText) -> Resolved {
    match text {
        SectionText::Header => Resolved::Bytes(header),
        SectionText::HeaderFields { names, not } => {
            let keep = if *not { Keep::Others } else { Keep::Named };
            Resolved::FilterHeader { range: header, names: names.clone(), keep }
        }
        SectionText::Text => Resolved::Bytes(body),
        SectionText::All | SectionText::Mime | SectionText::Binary => Resolved::NoSuchPart,
    }
}

fn resolve_binary(part: &Part, range: Range<u64>) -> Resolved {
    match (part.kind, part.encoding) {
        // What holds parts is not encoded itself (RFC 2045 6.4).
        (PartKind::Multipart | PartKind::Message, _)
        | (PartKind::Leaf, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary) => {
            Resolved::Bytes(range)
        }
        (PartKind::Leaf, encoding @ (Encoding::QuotedPrintable | Encoding::Base64)) => {
            Resolved::Decode { range, encoding }
        }
        (PartKind::Leaf, Encoding::Unknown) => Resolved::UnknownEncoding,
    }
}

/// From offsets in the body to offsets in the message, cut to the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    pub layout: Layout,
}

impl Ranges {
    pub(super) fn header(self, part: &Part) -> Range<u64> {
        // The header of the message begins with the prefix.
        let start = if part.depth == 0 { 0 } else { self.at(part.header_offset) };
        start..self.at(part.body_offset())
    }

    pub(super) fn body(self, part: &Part) -> Range<u64> {
        self.at(part.body_offset())..self.at(part.end())
    }

    fn at(self, offset: u64) -> u64 {
        self.layout.prefix_len.saturating_add(offset).min(self.layout.total())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Scanner};
    use super::*;

    const PREFIX: &str = "Received: x\r\n";

    /// What a section of a message reads as.
    fn read(message: &str, part: &[u32], text: SectionText) -> String {
        let message = message.replace('\n', "\r\n");
        let mut scanner = Scanner::new(&Limits::default());
        scanner.push(message.as_bytes());
        let table = PartTable::decode(&scanner.finish().parts).expect("just written");
        let layout = Layout { prefix_len: PREFIX.len() as u64, body_len: message.len() as u64 };
        let whole = format!("{PREFIX}{message}");
        let cut = |range: Range<u64>| whole[range.start as usize..range.end as usize].to_string();
        match table.resolve(layout, &Section { part: part.to_vec(), text }) {
            Resolved::Bytes(range) => cut(range),
            Resolved::FilterHeader { range, .. } => format!("filter {}", cut(range)),
            Resolved::Decode { range, encoding } => format!("{encoding:?} {}", cut(range)),
            Resolved::NoSuchPart => "none".to_string(),
            Resolved::UnknownEncoding => "unknown".to_string(),
        }
    }

    #[test]
    fn a_message_of_one_part() {
        let message = "Subject: x\n\nbody\n";
        let cases = [
            (&[][..], SectionText::All, "Received: x\r\nSubject: x\r\n\r\nbody\r\n"),
            (&[], SectionText::Binary, "Received: x\r\nSubject: x\r\n\r\nbody\r\n"),
            (&[], SectionText::Header, "Received: x\r\nSubject: x\r\n\r\n"),
            (&[], SectionText::Text, "body\r\n"),
            (&[], SectionText::Mime, "none"),
            (&[1], SectionText::All, "body\r\n"),
            (&[1], SectionText::Binary, "body\r\n"),
            (&[1], SectionText::Mime, "Received: x\r\nSubject: x\r\n\r\n"),
            (&[1], SectionText::Header, "none"),
            (&[1], SectionText::Text, "none"),
            (&[0], SectionText::All, "none"),
            (&[2], SectionText::All, "none"),
            (&[1, 1], SectionText::All, "none"),
        ];
        for (part, text, expected) in cases {
            assert_eq!(read(message, part, text.clone()), expected, "{part:?} {text:?}");
        }
    }

    /// The example of RFC 9051 6.4.5, with one message more.
    const NESTED: &str = "Content-Type: multipart/mixed; boundary=m

--m

1
--m
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

Mg==
--m
Content-Type: message/rfc822

Subject: 3
Content-Type: multipart/mixed; boundary=n

--n
X: 3.1

3.1
--n
Content-Transfer-Encoding: x-odd

3.2
--n--
--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: message/rfc822

Content-Type: message/rfc822

Subject: deep

4.1.1.1
--a
X: 4.2
Content-Transfer-Encoding: quoted-printable

4=2E2
--a--
--m--
";

    #[test]
    fn parts_inside_parts() {
        let cases = [
            (&[1][..], SectionText::All, "1"),
            (&[1], SectionText::Mime, "\r\n"),
            (&[2], SectionText::Binary, "Base64 Mg=="),
            (
                &[3],
                SectionText::Header,
                "Subject: 3\r\nContent-Type: multipart/mixed; boundary=n\r\n\r\n",
            ),
            (&[3], SectionText::Mime, "Content-Type: message/rfc822\r\n\r\n"),
            (&[3, 1], SectionText::All, "3.1"),
            (&[3, 1], SectionText::Mime, "X: 3.1\r\n\r\n"),
            (&[3, 1], SectionText::Header, "none"),
            (&[3, 2], SectionText::All, "3.2"),
            (&[3, 2], SectionText::Binary, "unknown"),
            (&[3, 3], SectionText::All, "none"),
            (&[4], SectionText::Text, "none"),
            (&[4, 1], SectionText::Header, "Content-Type: message/rfc822\r\n\r\n"),
            (&[4, 1], SectionText::Text, "Subject: deep\r\n\r\n4.1.1.1"),
            (&[4, 1, 1], SectionText::All, "Subject: deep\r\n\r\n4.1.1.1"),
            (&[4, 1, 1], SectionText::Header, "Subject: deep\r\n\r\n"),
            (&[4, 1, 1, 1], SectionText::All, "4.1.1.1"),
            (&[4, 1, 1, 1, 1], SectionText::All, "none"),
            (&[4, 2], SectionText::All, "4=2E2"),
            (&[4, 2], SectionText::Binary, "QuotedPrintable 4=2E2"),
            (&[5], SectionText::All, "none"),
        ];
        for (part, text, expected) in cases {
            assert_eq!(read(NESTED, part, text.clone()), expected, "{part:?} {text:?}");
        }
        let text = read(NESTED, &[3], SectionText::Text);
        assert!(text.starts_with("--n\r\n") && text.ends_with("\r\n--n--"), "{text}");
        assert_eq!(text, {
            let all = read(NESTED, &[3], SectionText::All);
            all.split_once("\r\n\r\n").expect("a header").1.to_string()
        });
        let fields = SectionText::HeaderFields { names: vec!["subject".into()], not: false };
        assert!(read(NESTED, &[3], fields.clone()).starts_with("filter Subject: 3\r\n"));
        assert!(read(NESTED, &[], fields).starts_with("filter Received: x\r\nContent-Type"));
    }

    #[test]
    fn a_message_that_is_a_message() {
        let message = "Content-Type: message/rfc822\n\nSubject: in\n\nx\n";
        assert_eq!(read(message, &[1], SectionText::All), "Subject: in\r\n\r\nx\r\n");
        assert_eq!(read(message, &[1], SectionText::Header), "Subject: in\r\n\r\n");
        assert_eq!(read(message, &[1, 1], SectionText::All), "x\r\n");
    }
}
