//! Folders: names, what LIST and STATUS show, and what a session gets when it opens one.

use super::{FlagRow, FolderId, Keyword, ModSeq, Uid, UidSet, UidValidity};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The name of a folder: UTF-8 in NFC, separator `/`, INBOX in capitals. Made by [`FolderName::new`] alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderName(Arc<str>);

/// Why a name is no folder name. RFC 5530 CANNOT on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NameError {
    #[error("a folder name must not be empty, nor have an empty level")]
    EmptyLevel,
    #[error("a folder name has at most {} bytes", FolderName::BYTES_MAX)]
    TooLong,
    #[error("folders nest at most {} deep", FolderName::DEPTH_MAX)]
    TooDeep,
    #[error("a folder name has no control characters")]
    ControlCharacter,
}

impl FolderName {
    /// `protocols.md`.
    pub const BYTES_MAX: usize = 255;
    /// `protocols.md`.
    pub const DEPTH_MAX: usize = 32;

    /// The folder every user has.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// A name from UTF-8 text: normalised to NFC, INBOX (also as a parent) in any case. No trailing separator.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        use unicode_normalization::UnicodeNormalization;
        let name: String = name.nfc().collect();
        if name.len() > Self::BYTES_MAX {
            return Err(NameError::TooLong);
        }
        if name.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
            return Err(NameError::ControlCharacter);
        }
        let mut levels: Vec<&str> = name.split('/').collect();
        if levels.iter().any(|level| level.is_empty()) {
            return Err(NameError::EmptyLevel);
        }
        if levels.len() > Self::DEPTH_MAX {
            return Err(NameError::TooDeep);
        }
        // RFC 9051 5.1: INBOX is case-insensitive.
        if levels.first().is_some_and(|first| first.eq_ignore_ascii_case("INBOX")) {
            levels[0] = "INBOX";
        }
        Ok(Self(levels.join("/").into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// The name without its last level.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// Whether this lies below `ancestor`.
    #[must_use]
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Debug for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 6154.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpecialUse {
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
}

impl SpecialUse {
    pub const ALL: [Self; 6] =
        [Self::Archive, Self::Drafts, Self::Flagged, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }
}

/// One line of LIST: a folder, or a subscribed name that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderInfo {
    pub name: FolderName,
    pub kind: FolderKind,
    pub subscribed: bool,
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FolderKind {
    /// Can be selected.
    Folder { id: FolderId, special_use: Option<SpecialUse> },
    /// Only a parent of others: `\Noselect`.
    NoSelect,
    /// Subscribed, but there is no such folder: `\NonExistent`.
    NonExistent,
}

/// STATUS of one folder, read from its header without loading the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderStatus {
    pub id: FolderId,
    pub uid_validity: UidValidity,
    pub uid_next: Uid,
    pub highest_mod_seq: ModSeq,
    pub messages: u32,
    pub recent: u32,
    pub unseen: u32,
    pub deleted: u32,
    /// RFC 8438: sum of RFC822.SIZE.
    pub bytes: u64,
    /// Sum of RFC822.SIZE of messages with `\Deleted` (RFC 9208 DELETED-STORAGE).
    pub deleted_bytes: u64,
}

/// How a session opens a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenMode {
    /// SELECT: takes `\Recent`.
    ReadWrite,
    /// EXAMINE.
    ReadOnly,
}

/// A folder as it was when a session opened it. The session is told of changes from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderOpened {
    pub folder: FolderId,
    pub uid_validity: UidValidity,
    pub uid_next: Uid,
    pub highest_mod_seq: ModSeq,
    pub uids: Arc<UidSet>,
    /// `\Recent` for this session.
    pub recent: UidSet,
    pub unseen: u32,
    pub first_unseen: Option<Uid>,
    /// Entry `n` is bit `n` of [`super::Flags::keywords`].
    pub keywords: Arc<[Keyword]>,
    /// RFC 7162 QRESYNC: what changed since the state that the client named, when it named one of this UIDVALIDITY.
    pub resync: Option<FolderDiff>,
}

/// The state a QRESYNC client remembers (RFC 7162 3.2.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub uid_validity: UidValidity,
    pub mod_seq: ModSeq,
    /// The UIDs it knows; `None`: all below UIDNEXT.
    pub uids: Option<UidSet>,
}

/// What changed in a folder since a MODSEQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderDiff {
    /// The diff leads up to this.
    pub mod_seq: ModSeq,
    pub uid_next: Uid,
    /// Messages that were there and are gone. May name UIDs that the asker never knew.
    pub vanished: UidSet,
    /// New messages.
    pub arrived: UidSet,
    /// Of the new ones, those that are `\Recent` for this session.
    pub recent: UidSet,
    /// Messages, new ones left out, whose flags changed.
    pub changed: Arc<[FlagRow]>,
    /// The keyword table when it grew since: to be told before flags that use it.
    pub keywords: Arc<[Keyword]>,
}

impl TryFrom<String> for FolderName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<FolderName> for String {
    fn from(name: FolderName) -> Self {
        name.as_str().to_owned()
    }
}
