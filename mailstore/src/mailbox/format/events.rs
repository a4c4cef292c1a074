//! Cursors of the event log, and the stretches of a folder's log that are kept for them.

use super::{Damaged, Reader, Writer};
use crate::face::ModSeq;
use crate::mailbox::events::{Cursor, CursorState};
use bytes::Bytes;

/// Log entries that were folded together and are kept for subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The last one.
    pub up_to: ModSeq,
    pub bytes: u64,
    /// When they were folded, in seconds since 1970.
    pub at: i64,
}

impl Stretch {
    #[must_use]
    pub fn encode_all(stretches: &[Self]) -> Bytes {
        let mut writer = Writer::new(stretches.len() * 16 + 2);
        writer.number(stretches.len() as u64);
        for stretch in stretches {
            writer.number(stretch.up_to.0);
            writer.number(stretch.bytes);
            writer.signed(stretch.at);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no such record.
    pub fn decode_all(value: &[u8]) -> Result<Vec<Self>, Damaged> {
        let mut reader = Reader::new(value, "stretches of a log")?;
        let count = reader.number()?;
        let mut stretches = Vec::new();
        for _ in 0..count {
            stretches.push(Self {
                up_to: ModSeq(reader.number()?),
                bytes: reader.number()?,
                at: reader.signed()?,
            });
        }
        reader.finish()?;
        Ok(stretches)
    }
}

/// The floor of the log.
#[must_use]
pub fn encode_floor(floor: ModSeq) -> Bytes {
    let mut writer = Writer::new(12);
    writer.number(floor.0);
    writer.finish()
}

/// # Errors
/// When it is no floor.
pub fn decode_floor(value: &[u8]) -> Result<ModSeq, Damaged> {
    let mut reader = Reader::new(value, "floor of a log")?;
    let floor = ModSeq(reader.number()?);
    reader.finish()?;
    Ok(floor)
}

impl Cursor {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(12);
        writer.number(self.acknowledged.0);
        writer.byte(match self.state {
            CursorState::Live => 0,
            CursorState::Missed => 1,
            CursorState::SentBack => 2,
        });
        writer.finish()
    }

    /// # Errors
    /// When it is no cursor.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "cursor")?;
        let acknowledged = ModSeq(reader.number()?);
        let state = match reader.byte()? {
            0 => CursorState::Live,
            1 => CursorState::Missed,
            2 => CursorState::SentBack,
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(Self { acknowledged, state })
    }
}
