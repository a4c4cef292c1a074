//! What is kept of a folder as a whole: its identity, its header and its keyword table.

use super::{Damaged, Reader, Writer};
use crate::face::{FolderName, Keyword, ModSeq, SpecialUse, Uid, UidValidity};
use bytes::Bytes;

/// Identity of a folder; its id is in the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderRecord {
    pub name: FolderName,
    pub uid_validity: UidValidity,
    pub special_use: Option<SpecialUse>,
}

impl FolderRecord {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(self.name.as_str().len() + 12);
        writer.bytes(self.name.as_str().as_bytes());
        writer.number(u64::from(self.uid_validity.0));
        writer.byte(match self.special_use {
            None => 0,
            Some(SpecialUse::Archive) => 1,
            Some(SpecialUse::Drafts) => 2,
            Some(SpecialUse::Flagged) => 3,
            Some(SpecialUse::Junk) => 4,
            Some(SpecialUse::Sent) => 5,
            Some(SpecialUse::Trash) => 6,
        });
        writer.finish()
    }

    /// # Errors
    /// When it is no folder record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "folder record")?;
        let name = FolderName::new(reader.text()?).map_err(|_| reader.damaged())?;
        let uid_validity = UidValidity(reader.number32()?);
        let special_use = match reader.byte()? {
            0 => None,
            1 => Some(SpecialUse::Archive),
            2 => Some(SpecialUse::Drafts),
            3 => Some(SpecialUse::Flagged),
            4 => Some(SpecialUse::Junk),
            5 => Some(SpecialUse::Sent),
            6 => Some(SpecialUse::Trash),
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(Self { name, uid_validity, special_use })
    }
}

/// Counts and counters of a folder: SELECT and STATUS read nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub uid_next: u32,
    pub messages: u32,
    pub unseen: u32,
    pub deleted: u32,
    /// Messages from `recent_from` on.
    pub recent: u32,
    /// The first UID that no session has been told as `\Recent`.
    pub recent_from: u32,
    /// Entries of the keyword table.
    pub keywords: u32,
    /// Log entries that are not folded into segments.
    pub log_entries: u32,
    pub bytes: u64,
    pub deleted_bytes: u64,
    /// HIGHESTMODSEQ.
    pub mod_seq: ModSeq,
    /// When the keyword table grew last.
    pub keywords_mod_seq: ModSeq,
    /// Everything up to this is in the segments.
    pub folded: ModSeq,
    /// Vanished records up to this are gone.
    pub vanished_floor: ModSeq,
    /// Above every EMAILID of the user when this was written.
    pub email_next: u64,
}

impl Header {
    /// Of an empty folder made at `mod_seq`.
    #[must_use]
    pub fn fresh(mod_seq: ModSeq) -> Self {
        Self {
            uid_next: 1,
            recent_from: 1,
            mod_seq,
            folded: mod_seq,
            vanished_floor: mod_seq,
            ..Self::default()
        }
    }

    #[must_use]
    pub fn uid_next(&self) -> Uid {
        Uid(self.uid_next)
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(48);
        for number in [
            self.uid_next,
            self.messages,
            self.unseen,
            self.deleted,
            self.recent,
            self.recent_from,
            self.keywords,
            self.log_entries,
        ] {
            writer.number(u64::from(number));
        }
        for number in [
            self.bytes,
            self.deleted_bytes,
            self.mod_seq.0,
            self.keywords_mod_seq.0,
            self.folded.0,
            self.vanished_floor.0,
            self.email_next,
        ] {
            writer.number(number);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no header.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "folder header")?;
        let header = Self {
            uid_next: reader.number32()?,
            messages: reader.number32()?,
            unseen: reader.number32()?,
            deleted: reader.number32()?,
            recent: reader.number32()?,
            recent_from: reader.number32()?,
            keywords: reader.number32()?,
            log_entries: reader.number32()?,
            bytes: reader.number()?,
            deleted_bytes: reader.number()?,
            mod_seq: ModSeq(reader.number()?),
            keywords_mod_seq: ModSeq(reader.number()?),
            folded: ModSeq(reader.number()?),
            vanished_floor: ModSeq(reader.number()?),
            email_next: reader.number()?,
        };
        if header.uid_next == 0 || header.recent_from == 0 {
            return Err(reader.damaged());
        }
        reader.finish()?;
        Ok(header)
    }
}

/// The keywords of a folder, in the order of their bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeywordTable(pub Vec<Keyword>);

impl KeywordTable {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(16 * self.0.len());
        writer.number(self.0.len() as u64);
        for keyword in &self.0 {
            writer.bytes(keyword.as_str().as_bytes());
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no keyword table.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "keyword table")?;
        let count = reader.number()?;
        if count > 128 {
            return Err(reader.damaged());
        }
        let mut keywords = Vec::new();
        for _ in 0..count {
            keywords.push(Keyword::new(reader.bytes()?).ok_or(reader.damaged())?);
        }
        reader.finish()?;
        Ok(Self(keywords))
    }
}
