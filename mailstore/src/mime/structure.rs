//! BODY and BODYSTRUCTURE (RFC 9051 7.5.2) of a whole message, from what the scanner noted part by
//! part.

use super::imap_string::write_number;
use super::part_table::{Encoding, Media, Part, PartKind};
use std::ops::Range;

/// Bytes that parentheses, numbers and spaces around the texts of one part take at most, below ten
/// gigabytes.
const AROUND_PART: usize = 32;

/// Bytes of the poorest part, in either form. What must hold a part takes the room for it in
/// advance.
pub(super) const CHILD_ROOM: usize = 112;

/// A part that had to be made up, for a multipart has at least one (RFC 9051 9, body-type-mpart).
pub(super) const EMPTY_TEXT: &[u8] = br#""text" "plain" ("charset" "us-ascii") NIL NIL "7bit""#;

/// The extension data of a made-up part.
pub(super) const EMPTY_EXTENSION: &[u8] = b" NIL NIL NIL NIL";

/// What is said of a part when there is no room for more.
pub(super) fn write_opaque(out: &mut Vec<u8>, encoding: Encoding) {
    out.extend_from_slice(br#""application" "octet-stream" NIL NIL NIL ""#);
    out.extend_from_slice(encoding.name());
    out.push(b'"');
}

/// A part as the scanner notes it: the texts stand in the arena.
#[derive(Debug)]
pub(super) struct Noted {
    pub part: Part,
    /// Line feeds in the body.
    pub lines: u64,
    pub texts: Texts,
}

/// Where the texts of a part stand in the arena.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub basic: Range<usize>,
    pub extension: Range<usize>,
    /// Of the message inside; empty for all but messages.
    pub envelope: Range<usize>,
}

/// What is left of the room for the two texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub body: usize,
    pub structure: usize,
}

impl Budget {
    /// Takes the room for a part with texts of these sizes, or nothing and returns false.
    pub(super) fn take(&mut self, basic: usize, extension: usize) -> bool {
        let body = self.body.checked_sub(basic + AROUND_PART);
        let structure = self.structure.checked_sub(basic + extension + AROUND_PART);
        match (body, structure) {
            (Some(body), Some(structure)) => {
                *self = Self { body, structure };
                true
            }
            _ => false,
        }
    }

    /// Takes the room for a text that [`Budget::left`] was asked for.
    pub(super) fn take_text(&mut self, len: usize) {
        self.body = self.body.saturating_sub(len);
        self.structure = self.structure.saturating_sub(len);
    }

    /// Gives back what was taken in advance.
    pub(super) fn give_back(&mut self, len: usize) {
        self.body += len;
        self.structure += len;
    }

    /// Bytes that one more text may take in both.
    pub(super) fn left(&self) -> usize {
        self.body.min(self.structure)
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Body,
    BodyStructure,
}

/// Writes one form of the parts, which stand parents first.
pub(super) fn write_structure(out: &mut Vec<u8>, noted: &[Noted], arena: &[u8], form: Form) {
    let mut writer = Writer { out, noted, arena, form, at: 0 };
    writer.part();
    assert_eq!(writer.at, noted.len(), "each part has its parent before it");
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    noted: &'a [Noted],
    arena: &'a [u8],
    form: Form,
    at: usize,
}

impl Writer<'_> {
    /// Writes the part at `at` and all inside it. As deep as the scanner's limit of depth allows.
    fn part(&mut self) {
        let noted = self.noted;
        let one = &noted[self.at];
        self.at += 1;
        self.out.push(b'(');
        match one.part.kind {
            PartKind::Leaf => {
                self.text(&one.texts.basic);
                self.number(one.part.body_len);
                if one.part.media != Media::Other {
                    self.number(one.lines);
                }
            }
            PartKind::Message => {
                self.text(&one.texts.basic);
                self.number(one.part.body_len);
                self.out.push(b' ');
                self.text(&one.texts.envelope);
                self.out.push(b' ');
                self.children(one.part.depth);
                self.number(one.lines);
            }
            PartKind::Multipart => {
                self.children(one.part.depth);
                self.out.push(b' ');
                self.text(&one.texts.basic);
            }
        }
        match self.form {
            Form::Body => {}
            Form::BodyStructure => self.text(&one.texts.extension),
        }
        self.out.push(b')');
    }

    fn children(&mut self, depth: u8) {
        while self.noted.get(self.at).is_some_and(|next| next.part.depth > depth) {
            self.part();
        }
    }

    fn text(&mut self, range: &Range<usize>) {
        self.out.extend_from_slice(&self.arena[range.clone()]);
    }

    fn number(&mut self, number: u64) {
        self.out.push(b' ');
        write_number(self.out, number);
    }
}
