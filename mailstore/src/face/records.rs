//! A user's own records: settings, address book, browser sessions, rules. They are kept beside the mail, move with it, and are
//! as durable. The MailStore does not look into them. Lineage D7.

use super::ModSeq;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a record is for. The numbers are on disk: added to, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Collection {
    Settings = 1,
    Contacts = 2,
    /// Log-ins of browsers, by the hash of their secret.
    BrowserSessions = 3,
    /// What is done with arriving mail.
    Rules = 4,
}

impl Collection {
    pub const ALL: [Self; 4] = [Self::Settings, Self::Contacts, Self::BrowserSessions, Self::Rules];
}

/// Name of a record within its collection. Records are listed in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordName(Arc<str>);

/// Bytes of a record's name. Our choice: the longest address is 254 (RFC 5321 4.5.3.1.3).
pub const RECORD_NAME_BYTES_MAX: usize = 256;
/// Bytes of a record. Our choice: a signature with a small picture fits.
pub const RECORD_BYTES_MAX: usize = 32 * 1024;
/// Changes of one `Write`. Our choice: all of it fits a batch.
pub const RECORD_CHANGES_MAX: usize = 24;
/// Records of one `List` at most.
pub const RECORDS_PER_PAGE: usize = 256;

impl RecordName {
    /// `None`: empty, or longer than [`RECORD_NAME_BYTES_MAX`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        (1..=RECORD_NAME_BYTES_MAX).contains(&name.len()).then(|| Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RecordName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name).ok_or("no name of a record")
    }
}

impl From<RecordName> for String {
    fn from(name: RecordName) -> Self {
        name.as_str().to_owned()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordTask {
    /// Records whose names come behind `after`. Done: `Page`.
    List { collection: Collection, after: Option<RecordName> },
    /// Done: `Page` of one record, or of none.
    Get { collection: Collection, name: RecordName },
    /// All or none. Names must differ. Done: `Written`, or `Conflict`.
    Write(Vec<RecordChange>),
}

/// `value` `None`: the record is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordChange {
    pub collection: Collection,
    pub name: RecordName,
    pub expect: Expect,
    pub value: Option<Bytes>,
}

/// What a record must be before it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    Anything,
    Absent,
    Version(ModSeq),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordsDone {
    Page {
        records: Vec<Record>,
        more: bool,
    },
    /// The version of everything that was put.
    Written {
        version: ModSeq,
    },
    /// This record is not what was expected; nothing was changed.
    Conflict {
        collection: Collection,
        name: RecordName,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: RecordName,
    pub version: ModSeq,
    pub value: Bytes,
}
