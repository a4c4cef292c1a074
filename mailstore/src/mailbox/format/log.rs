//! Entries of a folder's change log, and UID sets in values.

use super::{Damaged, Reader, Rows, VALUE_BYTES_FILL, Writer, decode_rows, encode_rows};
use crate::face::{FlagChange, Flags, PendingId, SystemFlags, Uid, UidSet};
use bytes::Bytes;

/// One change of a folder; its MODSEQ is in the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    Arrived(Rows),
    /// `uids` were changed so.
    Flagged {
        change: FlagChange,
        flags: Flags,
        uids: UidSet,
    },
    /// The staged rows of a pending set are messages from `first_uid` on.
    Adopted {
        pending: PendingId,
        first_uid: Uid,
        count: u32,
    },
}

const ARRIVED: u8 = 1;
const FLAGGED: u8 = 2;
const ADOPTED: u8 = 3;

impl LogEntry {
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new(64);
        match self {
            Self::Arrived(rows) => {
                writer.byte(ARRIVED);
                let keyed = rows.metas.iter().map(|meta| (meta, rows.keywords_of(meta)));
                encode_rows(&mut writer, rows.metas.len(), keyed);
            }
            Self::Flagged { change, flags, uids } => {
                writer.byte(FLAGGED);
                writer.byte(match change {
                    FlagChange::Add => 0,
                    FlagChange::Remove => 1,
                    FlagChange::Replace => 2,
                });
                writer.byte(flags.system.0);
                writer.wide(flags.keywords);
                put_uids(&mut writer, uids);
            }
            Self::Adopted { pending, first_uid, count } => {
                writer.byte(ADOPTED);
                writer.number(pending.0);
                writer.number(u64::from(first_uid.0));
                writer.number(u64::from(*count));
            }
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no log entry.
    pub fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "log entry")?;
        let entry = match reader.byte()? {
            ARRIVED => Self::Arrived(decode_rows(&mut reader)?),
            FLAGGED => {
                let change = match reader.byte()? {
                    0 => FlagChange::Add,
                    1 => FlagChange::Remove,
                    2 => FlagChange::Replace,
                    _ => return Err(reader.damaged()),
                };
                let flags = Flags { system: SystemFlags(reader.byte()?), keywords: reader.wide()? };
                Self::Flagged { change, flags, uids: take_uids(&mut reader)? }
            }
            ADOPTED => Self::Adopted {
                pending: PendingId(reader.number()?),
                first_uid: Uid(reader.number32()?),
                count: reader.number32()?,
            },
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(entry)
    }
}

const RANGES: u8 = 0;
const BITMAP: u8 = 1;

/// A UID set: ranges as (gap, length), or a bitmap where that is shorter.
pub fn put_uids(writer: &mut Writer, uids: &UidSet) {
    let ranges = uids.ranges();
    let (Some(&(first, _)), Some(&(_, last))) = (ranges.first(), ranges.last()) else {
        writer.byte(RANGES);
        writer.number(0);
        return;
    };
    let bitmap_bytes = (last - first) as usize / 8 + 1;
    if bitmap_bytes < ranges.len() * 2 {
        let mut bits = vec![0_u8; bitmap_bytes];
        for uid in uids.iter() {
            let at = uid.0 - first;
            bits[at as usize / 8] |= 1 << (at % 8);
        }
        writer.byte(BITMAP);
        writer.number(u64::from(first));
        writer.bytes(&bits);
        return;
    }
    writer.byte(RANGES);
    writer.number(ranges.len() as u64);
    let mut last_end = 0_u32;
    for &(first, last) in ranges {
        writer.number(u64::from(first - last_end));
        writer.number(u64::from(last - first));
        last_end = last;
    }
}

/// Reads what [`put_uids`] wrote.
///
/// # Errors
/// When it is none.
pub fn take_uids(reader: &mut Reader<'_>) -> Result<UidSet, Damaged> {
    match reader.byte()? {
        RANGES => {
            let count = usize::try_from(reader.number()?).map_err(|_| reader.damaged())?;
            if count > reader.rest().len() / 2 {
                return Err(reader.damaged());
            }
            let mut ranges = Vec::with_capacity(count);
            let mut last_end = 0_u32;
            for _ in 0..count {
                let first = last_end.checked_add(reader.number32()?).ok_or(reader.damaged())?;
                let last = first.checked_add(reader.number32()?).ok_or(reader.damaged())?;
                ranges.push((first, last));
                last_end = last;
            }
            Ok(UidSet::from_ranges(ranges))
        }
        BITMAP => {
            let first = reader.number32()?;
            let bits = reader.bytes()?;
            if u64::from(first) + bits.len() as u64 * 8 > u64::from(u32::MAX) + 8 {
                return Err(reader.damaged());
            }
            let mut uids = UidSet::new();
            for (byte, base) in bits.iter().zip((0_u64..).step_by(8)) {
                for bit in (0..8_u64).filter(|bit| byte >> bit & 1 == 1) {
                    let uid = u64::from(first) + base + bit;
                    uids.insert(Uid(u32::try_from(uid).map_err(|_| reader.damaged())?));
                }
            }
            Ok(uids)
        }
        _ => Err(reader.damaged()),
    }
}

/// A vanished record.
#[must_use]
pub fn encode_uids(uids: &UidSet) -> Bytes {
    let mut writer = Writer::new(16);
    put_uids(&mut writer, uids);
    writer.finish()
}

/// # Errors
/// When it is no vanished record.
pub fn decode_uids(value: &[u8]) -> Result<UidSet, Damaged> {
    let mut reader = Reader::new(value, "vanished record")?;
    let uids = take_uids(&mut reader)?;
    reader.finish()?;
    Ok(uids)
}

/// Cuts a set so that each piece fits one value: a range takes at most 10 bytes.
#[must_use]
pub fn split_uids(uids: &UidSet) -> Vec<UidSet> {
    let ranges = uids.ranges();
    if ranges.len() <= VALUE_BYTES_FILL / 10 {
        return vec![uids.clone()];
    }
    ranges
        .chunks(VALUE_BYTES_FILL / 10)
        .map(|ranges| UidSet::from_ranges(ranges.to_vec()))
        .collect()
}
