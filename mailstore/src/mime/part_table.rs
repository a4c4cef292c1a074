//! The part table: where each MIME part of a message begins and ends, as kept with the message.
//!
//! Format 1, read and written by the MailStore alone: a version byte; then, until the end, each
//! part in the order of the message, parents first: a byte of kind, encoding and marks; a byte of
//! depth; then as varints the bytes between the beginnings of this header and the one before, the
//! bytes of the header (its empty line included), the bytes of the body; the character set: 0
//! unstated, 1 US-ASCII, 2 UTF-8, else 3 plus the length of a name that follows. A body begins
//! where its header ends. A part of a multipart, and the message inside a message, has the depth of
//! its parent plus one.

use bytes::{BufMut, Bytes, BytesMut};

/// Version byte of the format.
const VERSION: u8 = 1;

/// Longest name of a character set kept, in bytes. RFC 2978 2.3: 40.
const CHARSET_BYTES_MAX: usize = 40;

/// What can stand inside a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    Leaf,
    Multipart,
    /// message/rfc822 or message/global: one message inside.
    Message,
}

/// Transfer encoding (RFC 2045 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    Unknown,
}

impl Encoding {
    /// Its name on the wire; of an unknown one, what RFC 2045 6.2 gives to data of no known form.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::SevenBit => b"7bit",
            Self::EightBit => b"8bit",
            Self::Binary | Self::Unknown => b"binary",
            Self::QuotedPrintable => b"quoted-printable",
            Self::Base64 => b"base64",
        }
    }

    /// By its name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let known: [(&[u8], Self); 5] = [
            (b"7bit", Self::SevenBit),
            (b"8bit", Self::EightBit),
            (b"binary", Self::Binary),
            (b"quoted-printable", Self::QuotedPrintable),
            (b"base64", Self::Base64),
        ];
        known
            .into_iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known))
            .map_or(Self::Unknown, |(_, encoding)| encoding)
    }
}

/// Character set of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    #[default]
    Unstated,
    UsAscii,
    Utf8,
    /// Its name as stated, at most 40 bytes.
    Named(Bytes),
}

impl Charset {
    /// By its name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        if name.is_empty() || name.len() > CHARSET_BYTES_MAX {
            Self::Unstated
        } else if name.eq_ignore_ascii_case(b"us-ascii") {
            Self::UsAscii
        } else if name.eq_ignore_ascii_case(b"utf-8") || name.eq_ignore_ascii_case(b"utf8") {
            Self::Utf8
        } else {
            Self::Named(Bytes::copy_from_slice(name))
        }
    }
}

/// What the body of a leaf is to a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Text,
    Html,
    Other,
}

/// One part. Offsets in bytes from the first byte of the body of the message as stored, the trace
/// prefix not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: PartKind,
    pub encoding: Encoding,
    pub media: Media,
    /// Content-Disposition: attachment.
    pub attachment: bool,
    /// Parts around this one; 0 for the message itself.
    pub depth: u8,
    pub header_offset: u64,
    /// The empty line included.
    pub header_len: u64,
    pub body_len: u64,
    pub charset: Charset,
}

impl Part {
    /// Where the header ends and the body begins.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        self.header_offset + self.header_len
    }

    /// Where the body ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.body_offset() + self.body_len
    }
}

/// The parts of a message, parents before children; the first is the message itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTable {
    parts: Vec<Part>,
}

/// The bytes are no part table that this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartTableError {
    #[error("part table: unknown version")]
    Version,
    #[error("part table: truncated, or out of bounds")]
    Malformed,
}

impl PartTable {
    /// `parts` in the order of the message; the first is the message itself.
    pub(super) fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// All parts, parents before children.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Reads what [`PartTable::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PartTableError> {
        let (&version, rest) = bytes.split_first().ok_or(PartTableError::Malformed)?;
        if version != VERSION {
            return Err(PartTableError::Version);
        }
        let mut reader = Reader { rest, header_offset: 0 };
        let mut parts = Vec::new();
        while !reader.rest.is_empty() {
            let part = reader.part().ok_or(PartTableError::Malformed)?;
            let parent_depth = parts.last().map(|last: &Part| last.depth);
            let in_order = match parent_depth {
                None => part.depth == 0,
                Some(depth) => part.depth > 0 && part.depth <= depth.saturating_add(1),
            };
            if !in_order {
                return Err(PartTableError::Malformed);
            }
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(PartTableError::Malformed);
        }
        Ok(Self { parts })
    }

    /// The format of the header of this file.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + self.parts.len() * 12);
        out.put_u8(VERSION);
        let mut before = 0;
        for part in &self.parts {
            out.put_u8(marks(part));
            out.put_u8(part.depth);
            put_varint(&mut out, part.header_offset.saturating_sub(before));
            before = part.header_offset;
            put_varint(&mut out, part.header_len);
            put_varint(&mut out, part.body_len);
            match &part.charset {
                Charset::Unstated => put_varint(&mut out, 0),
                Charset::UsAscii => put_varint(&mut out, 1),
                Charset::Utf8 => put_varint(&mut out, 2),
                Charset::Named(name) => {
                    put_varint(&mut out, 3 + name.len() as u64);
                    out.put_slice(name);
                }
            }
        }
        out.freeze()
    }
}

/// Bits 0 and 1 kind, 2 to 4 encoding, 5 and 6 media, 7 attachment.
fn marks(part: &Part) -> u8 {
    let kind = match part.kind {
        PartKind::Leaf => 0,
        PartKind::Multipart => 1,
        PartKind::Message => 2,
    };
    let encoding = match part.encoding {
        Encoding::SevenBit => 0,
        Encoding::EightBit => 1,
        Encoding::Binary => 2,
        Encoding::QuotedPrintable => 3,
        Encoding::Base64 => 4,
        Encoding::Unknown => 5,
    };
    let media = match part.media {
        Media::Other => 0,
        Media::Text => 1,
        Media::Html => 2,
    };
    kind | encoding << 2 | media << 5 | u8::from(part.attachment) << 7
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

struct Reader<'a> {
    rest: &'a [u8],
    header_offset: u64,
}

impl Reader<'_> {
    fn part(&mut self) -> Option<Part> {
        let marks = self.byte()?;
        let kind = match marks & 3 {
            0 => PartKind::Leaf,
            1 => PartKind::Multipart,
            2 => PartKind::Message,
            _ => return None,
        };
        let encoding = match marks >> 2 & 7 {
            0 => Encoding::SevenBit,
            1 => Encoding::EightBit,
            2 => Encoding::Binary,
            3 => Encoding::QuotedPrintable,
            4 => Encoding::Base64,
            5 => Encoding::Unknown,
            _ => return None,
        };
        let media = match marks >> 5 & 3 {
            0 => Media::Other,
            1 => Media::Text,
            2 => Media::Html,
            _ => return None,
        };
        let depth = self.byte()?;
        self.header_offset = self.header_offset.checked_add(self.varint()?)?;
        let part = Part {
            kind,
            encoding,
            media,
            attachment: marks & 0x80 != 0,
            depth,
            header_offset: self.header_offset,
            header_len: self.varint()?,
            body_len: self.varint()?,
            charset: self.charset()?,
        };
        part.header_offset.checked_add(part.header_len)?.checked_add(part.body_len)?;
        Some(part)
    }

    fn charset(&mut self) -> Option<Charset> {
        Some(match self.varint()? {
            0 => Charset::Unstated,
            1 => Charset::UsAscii,
            2 => Charset::Utf8,
            len => {
                let len = usize::try_from(len - 3).ok()?;
                let (name, rest) = self.rest.split_at_checked(len)?;
                self.rest = rest;
                Charset::Named(Bytes::copy_from_slice(name))
            }
        })
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
