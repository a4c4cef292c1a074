//! A user's own records, and how much they are.

use super::{Damaged, Reader, Writer};
use crate::face::ModSeq;
use bytes::Bytes;

/// A record as stored: what [`crate::face::Record`] holds beside its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub version: ModSeq,
    pub value: Bytes,
}

impl StoredRecord {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(self.value.len() + 12);
        writer.number(self.version.0);
        writer.bytes(&self.value);
        writer.finish()
    }

    /// # Errors
    /// When it is no record.
    pub fn decode(value: &Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "record")?;
        let version = ModSeq(reader.number()?);
        let value = value.slice_ref(reader.bytes()?);
        reader.finish()?;
        Ok(Self { version, value })
    }
}

/// All records of a user: their number, and the bytes of names and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordUsage {
    pub records: u64,
    pub bytes: u64,
}

impl RecordUsage {
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut writer = Writer::new(12);
        writer.number(self.records);
        writer.number(self.bytes);
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "usage of records")?;
        let usage = Self { records: reader.number()?, bytes: reader.number()? };
        reader.finish()?;
        Ok(usage)
    }
}
