//! Small records of the user as a whole.

use super::{Damaged, Reader, VALUE_BYTES_FILL, Writer};
use crate::face::{EmailId, FolderId, Holders, ModSeq, Uid};
use bytes::Bytes;
use dds::BlobId;

/// Counters that outlive folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    pub next_folder: u32,
    pub next_uid_validity: u32,
    /// No MODSEQ at or below this is assigned again; headers may know more.
    pub mod_seq: ModSeq,
    /// No EMAILID below this is assigned again; headers may know more.
    pub email_next: u64,
    pub next_pending: u64,
}

impl Root {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(24);
        writer.number(u64::from(self.next_folder));
        writer.number(u64::from(self.next_uid_validity));
        writer.number(self.mod_seq.0);
        writer.number(self.email_next);
        writer.number(self.next_pending);
        writer.finish()
    }

    /// # Errors
    /// When it is no root record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "root record")?;
        let root = Self {
            next_folder: reader.number32()?,
            next_uid_validity: reader.number32()?,
            mod_seq: ModSeq(reader.number()?),
            email_next: reader.number()?,
            next_pending: reader.number()?,
        };
        reader.finish()?;
        Ok(root)
    }
}

/// A pending set: messages that are durable and belong to no folder yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingSet {
    /// What happens to the bodies when the set is dropped.
    pub owns: PendingBodies,
}

/// What the rows of a pending set mean for the bodies they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingBodies {
    /// Appended: the set holds their only reference.
    Own,
    /// To be copied: each was counted once more when it was staged.
    Counted,
    /// To be moved: the source holds the reference.
    Borrowed,
}

impl PendingSet {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(1);
        writer.byte(match self.owns {
            PendingBodies::Own => 0,
            PendingBodies::Counted => 1,
            PendingBodies::Borrowed => 2,
        });
        writer.finish()
    }

    /// # Errors
    /// When it is no pending set.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "pending set")?;
        let owns = match reader.byte()? {
            0 => PendingBodies::Own,
            1 => PendingBodies::Counted,
            2 => PendingBodies::Borrowed,
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(Self { owns })
    }
}

/// A message whose last reference is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CondemnedEmail {
    pub email: EmailId,
    /// It has over [`LARGE_BYTES`]: there may be a blob reference, or columns apart.
    pub large: bool,
}

/// Below this many bytes a message has neither a blob nor columns that stand apart: columns are a small multiple of it.
pub const LARGE_BYTES: u32 = 8 * 1024;

/// Messages to be removed, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condemned(pub Vec<CondemnedEmail>);

impl Condemned {
    /// `emails` (any order) as values that fit; one or more, unless there are none.
    #[must_use]
    pub fn encode_all(mut emails: Vec<CondemnedEmail>) -> Vec<Bytes> {
        emails.sort_unstable();
        emails
            .chunks(VALUE_BYTES_FILL / 10)
            .map(|emails| {
                let mut writer = Writer::new(emails.len() * 2 + 8);
                writer.number(emails.len() as u64);
                let mut last = 0;
                for condemned in emails {
                    let mark = condemned.email.0 << 1 | u64::from(condemned.large);
                    writer.number(mark.wrapping_sub(last));
                    last = mark;
                }
                writer.finish()
            })
            .collect()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "condemned record")?;
        let count = usize::try_from(reader.number()?).map_err(|_| reader.damaged())?;
        if count > reader.rest().len() {
            return Err(reader.damaged());
        }
        let mut emails = Vec::with_capacity(count);
        let mut last = 0_u64;
        for _ in 0..count {
            last = last.checked_add(reader.number()?).ok_or(reader.damaged())?;
            emails.push(CondemnedEmail { email: EmailId(last >> 1), large: last & 1 == 1 });
        }
        reader.finish()?;
        Ok(Self(emails))
    }
}

/// Reference counts other than one, of the 256 EMAILIDs of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References(pub Vec<(u8, u32)>);

impl References {
    #[must_use]
    pub fn page_of(email: EmailId) -> u64 {
        email.0 >> 8
    }

    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(self.0.len() * 2 + 2);
        writer.number(self.0.len() as u64);
        for &(low, count) in &self.0 {
            writer.byte(low);
            writer.number(u64::from(count));
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "reference counts")?;
        let count = reader.number()?;
        let mut counts = Vec::new();
        for _ in 0..count.min(256) {
            counts.push((reader.byte()?, reader.number32()?));
        }
        reader.finish()?;
        Ok(Self(counts))
    }
}

/// Where a remembered delivery went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub folder: FolderId,
    pub uid: Uid,
}

impl Remembered {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(8);
        writer.number(u64::from(self.folder.0));
        writer.number(u64::from(self.uid.0));
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "delivery memory")?;
        let remembered =
            Self { folder: FolderId(reader.number32()?), uid: Uid(reader.number32()?) };
        reader.finish()?;
        Ok(remembered)
    }
}

/// The value of a blob reference.
#[must_use]
pub fn encode_blob_reference(blob: BlobId, holders: Holders) -> Bytes {
    let mut writer = Writer::new(17);
    writer.wide(blob.0);
    match holders {
        Holders::One => writer.byte(1),
        Holders::Several => {}
    }
    writer.finish()
}

/// The blob that the value of a key among [`super::keys::blob_references`] refers to.
///
/// # Errors
/// When it is no such value.
pub fn decode_blob_reference(value: &[u8]) -> Result<(BlobId, Holders), Damaged> {
    let mut reader = Reader::new(value, "blob reference")?;
    let blob = BlobId(reader.wide()?);
    let holders = match reader.rest() {
        [] => Holders::Several,
        [1] => Holders::One,
        _ => return Err(reader.damaged()),
    };
    Ok((blob, holders))
}
