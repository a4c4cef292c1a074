//! A message on its way in, and what was computed of it once, at arrival.

use super::{EmailId, Flags, InternalDate, Keyword, ModSeq, SystemFlags, ThreadId, Uid};
use bytes::Bytes;
use dds::BlobId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The bytes of a message as accepted. They never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Travels and commits with the metadata. Up to [`INLINE_BYTES_MAX`]; for one mailbox up to [`LONE_BYTES_MAX`].
    Inline(Bytes),
    /// Chunks that were written, durably, before the message is handed over. The blob's expiry is renewed by whoever refers.
    Blob { blob: BlobId, len: u64, holders: Holders },
}

/// Who may come to refer to a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holders {
    /// The mailbox that the message is handed to, once. Whoever wrote the blob tells nobody else, and does not ask again after
    /// a refusal: so the mailbox deletes the blob with the message.
    One,
    /// Several mailboxes, or one that is asked again: only a sweep can tell that nobody refers to the blob any more.
    Several,
}

/// Largest body kept in one record, in bytes: one round, one fsync. Design section 5.
pub const INLINE_BYTES_MAX: usize = 48 * 1024;

/// Largest body that travels and commits with the metadata of its only mailbox, in bytes: kept in pieces, still in one round
/// with one fsync, and gone with the message. Only longer ones, and those of several mailboxes, are worth a blob. ADR 7.
pub const LONE_BYTES_MAX: usize = 240 * 1024;

/// How long a blob lives after it was renewed last. Whoever refers to it renews it before the metadata commits, and every
/// sweep renews what is referred to; sweeps come several times as often. Short, because deleted mail takes space as long.
pub const BLOB_LIFE: fsm::Duration = fsm::Duration::from_secs(2 * 3600);

impl Body {
    /// Bytes of the body.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { blob: _, len, holders: _ } => *len,
        }
    }

    /// The same body, handed to several.
    #[must_use]
    pub fn shared(self) -> Self {
        match self {
            Self::Inline(bytes) => Self::Inline(bytes),
            Self::Blob { blob, len, holders: _ } => {
                Self::Blob { blob, len, holders: Holders::Several }
            }
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What FETCH and SEARCH need of a message without touching its body. Offsets count from the first byte of the body (the
/// trace prefix of a delivery is not in them).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// RFC 9051 7.5.2 ENVELOPE, parentheses included, ready for the wire; 8-bit strings as literals.
    pub envelope: Bytes,
    /// BODY, ready for the wire.
    pub body: Bytes,
    /// BODYSTRUCTURE, ready for the wire.
    pub structure: Bytes,
    /// The part table: where each MIME part begins and ends. Written and read by the MailStore alone.
    pub parts: Bytes,
    pub search: SearchColumns,
    /// Bytes of the header of the message, the empty line included.
    pub header_bytes: u64,
    /// Message-ID, without angle brackets; empty when absent.
    pub message_id: Bytes,
    /// Message-IDs of In-Reply-To and References, oldest first, without angle brackets, separated by a space.
    pub references: Bytes,
}

/// Decoded to UTF-8 and case-folded for `SEARCH`: what a match of the header means to a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchColumns {
    pub from: Bytes,
    pub to: Bytes,
    pub cc: Bytes,
    pub bcc: Bytes,
    pub subject: Bytes,
    /// The Date header as displayed there; `None` when absent or unreadable.
    pub sent: Option<InternalDate>,
}

/// A message to append (APPEND, import).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    pub flags: SystemFlags,
    pub keywords: Vec<Keyword>,
    /// `None`: now, in UTC.
    pub internal_date: Option<InternalDate>,
    pub body: Body,
    pub columns: Arc<Columns>,
}

/// Which columns FETCH asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    pub envelope: bool,
    pub body: bool,
    pub structure: bool,
}

/// One message of a FETCH page. `envelope`, `body`, `structure` are empty unless wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub uid: Uid,
    pub mod_seq: ModSeq,
    pub flags: Flags,
    pub internal_date: InternalDate,
    /// When it came into this folder (RFC 8514 SAVEDATE).
    pub saved: InternalDate,
    /// RFC822.SIZE: trace prefix included.
    pub bytes: u64,
    pub email_id: EmailId,
    pub thread_id: ThreadId,
    pub envelope: Bytes,
    pub body: Bytes,
    pub structure: Bytes,
}

/// The flags of one message, as they are after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagRow {
    pub uid: Uid,
    pub mod_seq: ModSeq,
    pub flags: Flags,
}
