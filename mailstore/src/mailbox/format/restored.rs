//! What a mailbox has done about restorations of the store.

use super::{Damaged, Reader, Writer};
use crate::face::ModSeq;
use crate::mailbox::Restored;
use bytes::Bytes;

/// Written in the batch that raises the counters of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredRecord {
    /// What the store knew then.
    pub done: Restored,
    /// HIGHESTMODSEQ of all folders then: every row counts as changed at it, or later.
    pub floor: ModSeq,
    /// Blocks of EMAILIDs that were left out, ends excluded: there is nothing to pack.
    pub gaps: Vec<(u64, u64)>,
}

impl RestoredRecord {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(48);
        writer.number(u64::from(self.done.steps));
        writer.number(self.done.unix_micros);
        writer.number(self.floor.0);
        writer.number(self.gaps.len() as u64);
        for (first, end) in &self.gaps {
            writer.number(*first);
            writer.number(*end);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "record of a restoration")?;
        let done = Restored { steps: reader.number32()?, unix_micros: reader.number()? };
        let floor = ModSeq(reader.number()?);
        let mut gaps = Vec::new();
        for _ in 0..reader.number()? {
            // Each takes at least two bytes, so that the loop ends with the value.
            gaps.push((reader.number()?, reader.number()?));
        }
        reader.finish()?;
        Ok(Self { done, floor, gaps })
    }
}
