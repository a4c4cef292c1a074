//! What a FETCH command means: which columns, which sections, in which order they are shown.
//!
//! Invariants: a plan is made once per command; items that need no bytes of the message come first
//! in a response, sections follow in the client's order.

use super::super::numbers::NumberCursor;
use super::super::output::Output;
use super::super::tell;
use super::super::view::View;
use crate::codec::{FetchCommand, FetchItem, Numbering, Partial, encode};
use bytes::{Bytes, BytesMut};
use mailstore::face::{ModSeq, Row, Section, SectionText, Want};

/// The plan of one FETCH.
#[derive(Debug)]
pub struct Plan {
    plain: Vec<Plain>,
    pub sections: Vec<SectionItem>,
    pub want: Want,
    pub changed_since: Option<ModSeq>,
    /// Whether the messages become `\Seen`.
    pub sets_seen: bool,
    /// Whether FLAGS is among the items.
    shows_flags: bool,
    shows_mod_seq: bool,
}

/// An item shown from the row alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Uid,
    Flags,
    InternalDate,
    Size,
    Envelope,
    Body,
    Structure,
    ModSeq,
    EmailId,
    ThreadId,
    SaveDate,
}

/// An item that needs bytes of the message.
#[derive(Debug)]
pub struct SectionItem {
    /// As it is echoed, `BODY[HEADER.FIELDS (FROM)]<0>`.
    pub label: Bytes,
    pub section: Section,
    pub kind: SectionKind,
}

/// How a section is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// A literal.
    Text(Option<Partial>),
    /// RFC 3516: a literal that may hold NUL.
    Binary(Option<Partial>),
    /// RFC 3516 BINARY.SIZE: a number.
    Size,
}

impl SectionKind {
    /// First byte, and bytes at most.
    pub fn window(self) -> (u64, u64) {
        match self {
            Self::Text(partial) | Self::Binary(partial) => {
                partial.map_or((0, u64::MAX), |partial| (partial.first, partial.length))
            }
            Self::Size => (0, 0),
        }
    }
}

impl Plan {
    pub fn new(command: &FetchCommand) -> Self {
        let mut plan = Self {
            plain: Vec::new(),
            sections: Vec::new(),
            want: Want::default(),
            changed_since: command.changed_since,
            sets_seen: command.items.iter().any(FetchItem::sets_seen),
            shows_flags: false,
            shows_mod_seq: false,
        };
        // RFC 9051 6.4.9: UID FETCH always shows the UID.
        if command.numbering == Numbering::Uid {
            plan.plain.push(Plain::Uid);
        }
        for item in &command.items {
            plan.add(item);
        }
        // RFC 7162 3.1.4.1: CHANGEDSINCE implies MODSEQ.
        if command.changed_since.is_some() {
            plan.add_plain(Plain::ModSeq);
        }
        plan.shows_flags = plan.plain.contains(&Plain::Flags);
        plan.shows_mod_seq = plan.plain.contains(&Plain::ModSeq);
        plan
    }

    fn add_plain(&mut self, item: Plain) {
        if !self.plain.contains(&item) {
            self.plain.push(item);
        }
    }

    fn add(&mut self, item: &FetchItem) {
        match item {
            FetchItem::Uid => self.add_plain(Plain::Uid),
            FetchItem::Flags => self.add_plain(Plain::Flags),
            FetchItem::InternalDate => self.add_plain(Plain::InternalDate),
            FetchItem::Rfc822Size => self.add_plain(Plain::Size),
            FetchItem::ModSeq => self.add_plain(Plain::ModSeq),
            FetchItem::EmailId => self.add_plain(Plain::EmailId),
            FetchItem::ThreadId => self.add_plain(Plain::ThreadId),
            FetchItem::SaveDate => self.add_plain(Plain::SaveDate),
            FetchItem::Envelope => {
                self.want.envelope = true;
                self.add_plain(Plain::Envelope);
            }
            FetchItem::Body => {
                self.want.body = true;
                self.add_plain(Plain::Body);
            }
            FetchItem::BodyStructure => {
                self.want.structure = true;
                self.add_plain(Plain::Structure);
            }
            FetchItem::Rfc822 => self.add_whole("RFC822", SectionText::All),
            FetchItem::Rfc822Header => self.add_whole("RFC822.HEADER", SectionText::Header),
            FetchItem::Rfc822Text => self.add_whole("RFC822.TEXT", SectionText::Text),
            FetchItem::BodySection { section, peek: _, partial } => {
                self.sections.push(SectionItem {
                    label: label(section, *partial),
                    section: section.clone(),
                    kind: SectionKind::Text(*partial),
                });
            }
            FetchItem::Binary { part, peek: _, partial } => {
                let section = Section { part: part.clone(), text: SectionText::Binary };
                let label = label(&section, *partial);
                let kind = SectionKind::Binary(*partial);
                self.sections.push(SectionItem { label, section, kind });
            }
            FetchItem::BinarySize { part } => {
                let section = Section { part: part.clone(), text: SectionText::Binary };
                let mut name = BytesMut::from(&b"BINARY.SIZE"[..]);
                name.extend_from_slice(
                    label(&section, None).get(b"BINARY".len()..).unwrap_or_default(),
                );
                let kind = SectionKind::Size;
                self.sections.push(SectionItem { label: name.freeze(), section, kind });
            }
        }
    }

    fn add_whole(&mut self, label: &'static str, text: SectionText) {
        self.sections.push(SectionItem {
            label: Bytes::from_static(label.as_bytes()),
            section: Section { part: Vec::new(), text },
            kind: SectionKind::Text(None),
        });
    }

    /// Appends `* n FETCH (` and all plain items. True when something stands behind the
    /// parenthesis.
    pub fn put_row(
        &self,
        output: &mut Output,
        (view, cursor): (&View, &mut NumberCursor),
        row: &Row,
        seen: SeenNow,
    ) -> Option<Separator> {
        let seq = cursor.number(&view.map, row.uid)?;
        output.put("* ").number(seq).put(" FETCH (");
        let buffer = output.buffer();
        let mut separator = Separator::None;
        for item in &self.plain {
            separator.put(buffer);
            put_plain(buffer, *item, row, view);
        }
        // RFC 9051 6.4.5: a flag set by this fetch is shown in the same response. RFC 7162 3.1: and
        // its MODSEQ.
        if seen.set {
            if !self.shows_flags {
                separator.put(buffer);
                put_plain(buffer, Plain::Flags, row, view);
            }
            if seen.condstore && !self.shows_mod_seq {
                separator.put(buffer);
                put_plain(buffer, Plain::ModSeq, row, view);
            }
        }
        Some(separator)
    }

    pub fn shows_mod_seq(&self) -> bool {
        self.shows_mod_seq
    }

    /// Whether rows show flags, so that the client must know all keywords.
    pub fn may_show_flags(&self) -> bool {
        self.shows_flags || self.sets_seen
    }
}

/// Whether this fetch made the message `\Seen`.
#[derive(Clone, Copy, Debug)]
pub struct SeenNow {
    pub set: bool,
    /// CONDSTORE is in use.
    pub condstore: bool,
}

/// What stands between two items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    None,
    Space,
}

impl Separator {
    pub fn put(&mut self, buffer: &mut BytesMut) {
        match self {
            Self::None => *self = Self::Space,
            Self::Space => buffer.extend_from_slice(b" "),
        }
    }
}

fn put_plain(buffer: &mut BytesMut, item: Plain, row: &Row, view: &View) {
    match item {
        Plain::Uid => {
            buffer.extend_from_slice(b"UID ");
            encode::put_number(buffer, row.uid.0);
        }
        Plain::Flags => {
            buffer.extend_from_slice(b"FLAGS (");
            encode::put_flags(buffer, row.flags, tell::recent(view, row.uid), &view.keywords);
            buffer.extend_from_slice(b")");
        }
        Plain::InternalDate => {
            buffer.extend_from_slice(b"INTERNALDATE ");
            encode::put_internal_date(buffer, row.internal_date);
        }
        Plain::SaveDate => {
            buffer.extend_from_slice(b"SAVEDATE ");
            encode::put_internal_date(buffer, row.saved);
        }
        Plain::Size => {
            buffer.extend_from_slice(b"RFC822.SIZE ");
            encode::put_number(buffer, row.bytes);
        }
        Plain::Envelope => {
            buffer.extend_from_slice(b"ENVELOPE ");
            buffer.extend_from_slice(&row.envelope);
        }
        Plain::Body => {
            buffer.extend_from_slice(b"BODY ");
            buffer.extend_from_slice(&row.body);
        }
        Plain::Structure => {
            buffer.extend_from_slice(b"BODYSTRUCTURE ");
            buffer.extend_from_slice(&row.structure);
        }
        Plain::ModSeq => {
            buffer.extend_from_slice(b"MODSEQ (");
            encode::put_number(buffer, row.mod_seq.0);
            buffer.extend_from_slice(b")");
        }
        Plain::EmailId => {
            buffer.extend_from_slice(b"EMAILID (");
            encode::put_email_id(buffer, row.email_id);
            buffer.extend_from_slice(b")");
        }
        Plain::ThreadId => {
            buffer.extend_from_slice(b"THREADID (");
            encode::put_thread_id(buffer, row.thread_id);
            buffer.extend_from_slice(b")");
        }
    }
}

/// `BODY[1.2.HEADER.FIELDS (FROM TO)]<0>` from its parts.
fn label(section: &Section, partial: Option<Partial>) -> Bytes {
    let mut label = BytesMut::new();
    encode::put_section(&mut label, section);
    if let Some(partial) = partial {
        // RFC 9051 7.5.2: only the origin is echoed.
        label.extend_from_slice(b"<");
        encode::put_number(&mut label, partial.first);
        label.extend_from_slice(b">");
    }
    label.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_echoed() {
        let names = vec![Bytes::from_static(b"From"), Bytes::from_static(b"X y")];
        let fields = SectionText::HeaderFields { names, not: true };
        let section = Section { part: vec![1, 2], text: fields };
        let partial = Some(Partial { first: 5, length: 9 });
        assert_eq!(label(&section, partial), "BODY[1.2.HEADER.FIELDS.NOT (From \"X y\")]<5>");
        let whole = Section { part: Vec::new(), text: SectionText::All };
        assert_eq!(label(&whole, None), "BODY[]");
    }
}
