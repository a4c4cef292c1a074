//! Rows: what a folder knows of one message besides its columns and body.

use super::{Damaged, Reader, Writer};
use crate::face::{EmailId, Flags, InternalDate, ModSeq, SystemFlags, ThreadId, Uid};
use std::collections::BTreeMap;

/// One message in one folder. 64 bytes, one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub uid: Uid,
    /// RFC822.SIZE, trace prefix included.
    pub bytes: u32,
    /// Of the last change.
    pub mod_seq: ModSeq,
    /// Of the arrival in this folder.
    pub created: ModSeq,
    pub unix_seconds: i64,
    /// Seconds since 1970 when it came into this folder.
    pub saved: i64,
    pub email: EmailId,
    pub thread: ThreadId,
    pub zone_minutes: i16,
    pub flags: SystemFlags,
    /// Whether [`Rows::keywords`] has an entry for it.
    pub keyworded: bool,
}

impl Meta {
    #[must_use]
    pub fn internal_date(&self) -> InternalDate {
        InternalDate { unix_seconds: self.unix_seconds, zone_minutes: self.zone_minutes }
    }

    #[must_use]
    pub fn saved_date(&self) -> InternalDate {
        InternalDate { unix_seconds: self.saved, zone_minutes: 0 }
    }
}

/// Keyword bits of those rows that have any.
pub type Keywords = BTreeMap<Uid, u128>;

/// Rows rising by UID, with their keywords.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub metas: Vec<Meta>,
    pub keywords: Keywords,
}

impl Rows {
    /// The keyword bits of a row.
    #[must_use]
    pub fn keywords_of(&self, meta: &Meta) -> u128 {
        if meta.keyworded { self.keywords.get(&meta.uid).copied().unwrap_or(0) } else { 0 }
    }

    #[must_use]
    pub fn flags_of(&self, meta: &Meta) -> Flags {
        Flags { system: meta.flags, keywords: self.keywords_of(meta) }
    }

    /// Adds a row behind all others.
    pub fn push(&mut self, mut meta: Meta, keywords: u128) {
        debug_assert!(self.metas.last().is_none_or(|last| last.uid < meta.uid));
        meta.keyworded = keywords != 0;
        if keywords != 0 {
            self.keywords.insert(meta.uid, keywords);
        }
        self.metas.push(meta);
    }
}

const WITH_KEYWORDS: u8 = 0x80;

/// Appends `metas` to `writer`: each row relative to the one before.
pub fn encode_rows<'a>(
    writer: &mut Writer,
    count: usize,
    rows: impl Iterator<Item = (&'a Meta, u128)>,
) {
    writer.number(count as u64);
    let mut last = Meta::ZERO;
    for (meta, keywords) in rows {
        let mark = if keywords == 0 { 0 } else { WITH_KEYWORDS };
        writer.byte(meta.flags.0 & !WITH_KEYWORDS | mark);
        writer.number(u64::from(meta.uid.0.wrapping_sub(last.uid.0)));
        writer.signed(meta.created.0.wrapping_sub(last.created.0).cast_signed());
        writer.number(meta.mod_seq.0.wrapping_sub(meta.created.0));
        writer.signed(meta.saved.wrapping_sub(last.saved));
        writer.signed(meta.unix_seconds.wrapping_sub(meta.saved));
        writer.signed(i64::from(meta.zone_minutes));
        writer.number(u64::from(meta.bytes));
        writer.signed(meta.email.0.wrapping_sub(last.email.0).cast_signed());
        writer.fixed(meta.thread.0);
        if keywords != 0 {
            writer.wide(keywords);
        }
        last = *meta;
    }
}

impl Meta {
    /// The row before the first one.
    pub const ZERO: Self = Self {
        uid: Uid(0),
        bytes: 0,
        mod_seq: ModSeq(0),
        created: ModSeq(0),
        unix_seconds: 0,
        saved: 0,
        email: EmailId(0),
        thread: ThreadId(0),
        zone_minutes: 0,
        flags: SystemFlags(0),
        keyworded: false,
    };
}

/// Reads what [`encode_rows`] wrote.
///
/// # Errors
/// When it can't be, or UIDs do not rise.
pub fn decode_rows(reader: &mut Reader<'_>) -> Result<Rows, Damaged> {
    let count = reader.number()?;
    // A row takes at least 17 bytes: a count that the bytes can't hold must not reserve memory.
    let count = usize::try_from(count).map_err(|_| reader.damaged())?;
    if count > reader.rest().len() / 17 {
        return Err(reader.damaged());
    }
    let mut rows = Rows { metas: Vec::with_capacity(count), keywords: Keywords::new() };
    let mut last = Meta::ZERO;
    for _ in 0..count {
        let (meta, keywords) = decode_row(reader, &last)?;
        rows.push(meta, keywords);
        last = meta;
    }
    Ok(rows)
}

fn decode_row(reader: &mut Reader<'_>, last: &Meta) -> Result<(Meta, u128), Damaged> {
    let flags = reader.byte()?;
    let step = reader.number32()?;
    let uid = last.uid.0.checked_add(step).filter(|_| step > 0).ok_or(reader.damaged())?;
    let created = last.created.0.wrapping_add(reader.signed()?.cast_unsigned());
    let mod_seq = created.wrapping_add(reader.number()?);
    let saved = last.saved.wrapping_add(reader.signed()?);
    let unix_seconds = saved.wrapping_add(reader.signed()?);
    let zone_minutes = i16::try_from(reader.signed()?).map_err(|_| reader.damaged())?;
    let bytes = reader.number32()?;
    let email = last.email.0.wrapping_add(reader.signed()?.cast_unsigned());
    let thread = reader.fixed()?;
    let keywords = if flags & WITH_KEYWORDS == 0 { 0 } else { reader.wide()? };
    let meta = Meta {
        uid: Uid(uid),
        bytes,
        mod_seq: ModSeq(mod_seq),
        created: ModSeq(created),
        unix_seconds,
        saved,
        email: EmailId(email),
        thread: ThreadId(thread),
        zone_minutes,
        flags: SystemFlags(flags & !WITH_KEYWORDS),
        keyworded: keywords != 0,
    };
    Ok((meta, keywords))
}
