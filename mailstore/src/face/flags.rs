//! Message flags: six of the system, and keywords by their number in the folder's table.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// RFC 9051 2.3.2. `\Recent` is not kept here: it belongs to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum SystemFlag {
    Seen = 1,
    Answered = 2,
    Flagged = 4,
    Deleted = 8,
    Draft = 16,
}

impl SystemFlag {
    /// All, in the order they are shown.
    pub const ALL: [Self; 5] =
        [Self::Answered, Self::Flagged, Self::Deleted, Self::Seen, Self::Draft];

    /// The name on the wire, with its backslash.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
        }
    }
}

/// A set of system flags.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SystemFlags(pub u8);

impl SystemFlags {
    #[must_use]
    pub const fn has(self, flag: SystemFlag) -> bool {
        self.0 & flag as u8 != 0
    }

    #[must_use]
    pub const fn with(self, flag: SystemFlag) -> Self {
        Self(self.0 | flag as u8)
    }
}

/// The flags of one message: bit `n` of `keywords` stands for entry `n` of the folder's keyword table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Flags {
    pub system: SystemFlags,
    pub keywords: u128,
}

/// A keyword flag: an atom of at most 64 bytes, kept as first written, compared without case.
#[derive(Clone, Debug, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// Bytes of the longest keyword. `protocols.md`; RFC 9051 sets none.
    pub const BYTES_MAX: usize = 64;

    /// A keyword from its bytes; `None` when it is no atom, begins with a backslash or is too long.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let is_atom = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(byte);
        if name.is_empty() || name.len() > Self::BYTES_MAX || !name.iter().all(is_atom) {
            return None;
        }
        std::str::from_utf8(name).ok().map(|name| Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What STORE does with the named flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagChange {
    Add,
    Remove,
    Replace,
}
impl TryFrom<String> for Keyword {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(name.as_bytes()).ok_or("no keyword")
    }
}

impl From<Keyword> for String {
    fn from(keyword: Keyword) -> Self {
        keyword.as_str().to_owned()
    }
}
