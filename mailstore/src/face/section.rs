//! A part of a message: RFC 9051 6.4.5 `BODY[section]<partial>`, and RFC 3516 BINARY.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Which bytes of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Part numbers, outermost first; empty for the message itself.
    pub part: Vec<u32>,
    pub text: SectionText,
}

impl Section {
    /// The whole message, byte for byte.
    pub const WHOLE: Self = Self { part: Vec::new(), text: SectionText::All };
}

/// What of the message or part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionText {
    /// All of the message, or the body of the part.
    All,
    /// The header of the message, or of a message/rfc822 part.
    Header,
    /// Header fields by name (any case), and the empty line.
    HeaderFields { names: Vec<Bytes>, not: bool },
    /// The message (or message/rfc822 part) without its header.
    Text,
    /// The MIME header of the part.
    Mime,
    /// The part with its transfer encoding undone.
    Binary,
}

/// A page of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionRead {
    /// `bytes` begin at the offset that was asked for; the section has `total` bytes in all.
    Page { bytes: Bytes, total: u64 },
    /// The message has no such part: NIL on the wire.
    NoSuchPart,
    /// The part's transfer encoding is unknown or broken (RFC 3516 4.3 UNKNOWN-CTE).
    UnknownEncoding,
}
