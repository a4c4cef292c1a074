//! What FETCH asks for.

use super::{Numbering, SequenceSet};
use mailstore::face::{ModSeq, Section};

/// FETCH and UID FETCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchCommand {
    pub numbering: Numbering,
    pub set: SequenceSet,
    /// Macros (ALL, FAST, FULL) are expanded. Each item once, in the client's order.
    pub items: Vec<FetchItem>,
    /// RFC 7162 3.1.4.1. May be 0.
    pub changed_since: Option<ModSeq>,
    /// RFC 7162 3.2.6: only with UID FETCH and `changed_since`.
    pub vanished: bool,
}

/// RFC 9051 6.4.5; RFC 3501 6.4.5 for RFC822 and its kin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchItem {
    Envelope,
    Flags,
    InternalDate,
    Rfc822Size,
    /// BODY without a section: BODYSTRUCTURE without extension data.
    Body,
    BodyStructure,
    Uid,
    /// BODY[] under another name; sets `\Seen`.
    Rfc822,
    /// BODY.PEEK[HEADER] under another name.
    Rfc822Header,
    /// BODY[TEXT] under another name; sets `\Seen`.
    Rfc822Text,
    /// BODY[section]<partial> and BODY.PEEK.
    BodySection {
        section: Section,
        peek: bool,
        partial: Option<Partial>,
    },
    /// RFC 3516 BINARY[part]<partial> and BINARY.PEEK. `part` empty: the whole message.
    Binary {
        part: Vec<u32>,
        peek: bool,
        partial: Option<Partial>,
    },
    /// RFC 3516 BINARY.SIZE[part].
    BinarySize {
        part: Vec<u32>,
    },
    /// RFC 7162.
    ModSeq,
    /// RFC 8474.
    EmailId,
    ThreadId,
    /// RFC 8514.
    SaveDate,
}

impl FetchItem {
    /// Whether fetching it sets `\Seen` (RFC 9051 6.4.5, RFC 3516 4.2).
    #[must_use]
    pub const fn sets_seen(&self) -> bool {
        match self {
            Self::Rfc822 | Self::Rfc822Text => true,
            Self::BodySection { section: _, peek, partial: _ }
            | Self::Binary { part: _, peek, partial: _ } => !*peek,
            Self::Envelope
            | Self::Flags
            | Self::InternalDate
            | Self::Rfc822Size
            | Self::Body
            | Self::BodyStructure
            | Self::Uid
            | Self::Rfc822Header
            | Self::BinarySize { part: _ }
            | Self::ModSeq
            | Self::EmailId
            | Self::ThreadId
            | Self::SaveDate => false,
        }
    }
}

/// `<first.length>` of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Offset of the first byte.
    pub first: u64,
    /// Bytes at most; never 0.
    pub length: u64,
}
