//! Columns of messages: one record each at arrival, later packed by 64 EMAILIDs, one value per kind.

use super::{Damaged, Reader, Writer};
use crate::face::{EmailId, InternalDate, SearchColumns};
use bytes::Bytes;

/// EMAILIDs of one block.
pub const BLOCK_MESSAGES: u64 = 64;

/// The columns of one message as they arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnRecord {
    pub envelope: Bytes,
    pub body: Bytes,
    pub structure: Bytes,
    /// `None`: apart.
    pub search: Option<SearchColumns>,
}

impl ColumnRecord {
    #[must_use]
    pub fn encode(
        (envelope, body, structure): (&[u8], &[u8], &[u8]),
        search: Option<&SearchColumns>,
    ) -> Bytes {
        let mut writer = Writer::new(envelope.len() + body.len() + structure.len() + 512);
        writer.bytes(envelope);
        writer.bytes(body);
        writer.bytes(structure);
        writer.byte(u8::from(search.is_some()));
        if let Some(search) = search {
            put_search(&mut writer, search);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no column record.
    pub fn decode(value: &Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "columns")?;
        let envelope = value.slice_ref(reader.bytes()?);
        let body = value.slice_ref(reader.bytes()?);
        let structure = value.slice_ref(reader.bytes()?);
        let search = match reader.byte()? {
            0 => None,
            1 => Some(take_search(&mut reader, value)?),
            _ => return Err(reader.damaged()),
        };
        reader.finish()?;
        Ok(Self { envelope, body, structure, search })
    }
}

/// Search columns as a value of their own.
#[must_use]
pub fn encode_search(search: &SearchColumns) -> Bytes {
    let mut writer = Writer::new(512);
    put_search(&mut writer, search);
    writer.finish()
}

/// # Errors
/// When it is none.
pub fn decode_search(value: &Bytes) -> Result<SearchColumns, Damaged> {
    let mut reader = Reader::new(value, "search columns")?;
    let search = take_search(&mut reader, value)?;
    reader.finish()?;
    Ok(search)
}

fn put_search(writer: &mut Writer, search: &SearchColumns) {
    for column in [&search.from, &search.to, &search.cc, &search.bcc, &search.subject] {
        writer.bytes(column);
    }
    put_sent(writer, search.sent);
}

fn take_search(reader: &mut Reader<'_>, value: &Bytes) -> Result<SearchColumns, Damaged> {
    let mut column = || reader.bytes().map(|bytes| value.slice_ref(bytes));
    let (from, to, cc, bcc, subject) = (column()?, column()?, column()?, column()?, column()?);
    Ok(SearchColumns { from, to, cc, bcc, subject, sent: take_sent(reader)? })
}

fn put_sent(writer: &mut Writer, sent: Option<InternalDate>) {
    match sent {
        None => writer.byte(0),
        Some(sent) => {
            writer.byte(1);
            writer.signed(sent.unix_seconds);
            writer.signed(i64::from(sent.zone_minutes));
        }
    }
}

fn take_sent(reader: &mut Reader<'_>) -> Result<Option<InternalDate>, Damaged> {
    match reader.byte()? {
        0 => Ok(None),
        1 => {
            let unix_seconds = reader.signed()?;
            let zone_minutes = i16::try_from(reader.signed()?).map_err(|_| reader.damaged())?;
            Ok(Some(InternalDate { unix_seconds, zone_minutes }))
        }
        _ => Err(reader.damaged()),
    }
}

/// Which columns a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// One field: ENVELOPE.
    Envelope = 0,
    /// Two: BODY, BODYSTRUCTURE.
    Structures = 1,
    /// Five: from, to, cc, bcc, subject; and the date sent.
    Search = 2,
}

impl BlockKind {
    pub const ALL: [Self; 3] = [Self::Envelope, Self::Structures, Self::Search];

    const fn fields(self) -> usize {
        match self {
            Self::Envelope => 1,
            Self::Structures => 2,
            Self::Search => 5,
        }
    }
}

/// Fields of a block entry at most.
const FIELDS_MAX: usize = 5;

/// One kind of columns of up to 64 neighbouring EMAILIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    entries: Vec<BlockEntry>,
    /// The fields of all entries, one behind the other.
    data: Bytes,
}

/// Where the fields of one message lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// EMAILID modulo 64.
    pub low: u8,
    /// Field `n` lies in `bounds[n]..bounds[n + 1]` of the data.
    bounds: [u32; FIELDS_MAX + 1],
    pub sent: Option<InternalDate>,
}

impl Block {
    #[must_use]
    pub const fn number_of(email: EmailId) -> u64 {
        email.0 / BLOCK_MESSAGES
    }

    #[must_use]
    pub fn low_of(email: EmailId) -> u8 {
        (email.0 % BLOCK_MESSAGES).to_le_bytes()[0]
    }

    /// The value of `entries`, rising: per message the low bits, its fields, and the date sent. They fit one value.
    #[must_use]
    pub fn encode(kind: BlockKind, entries: &[(u8, Vec<Bytes>, Option<InternalDate>)]) -> Bytes {
        let bytes = entries.iter().flat_map(|(_, fields, _)| fields).map(Bytes::len).sum::<usize>();
        let mut writer = Writer::new(bytes + entries.len() * 20);
        writer.number(entries.len() as u64);
        for (low, fields, sent) in entries {
            writer.byte(*low);
            for field in fields {
                writer.number(field.len() as u64);
            }
            if kind == BlockKind::Search {
                put_sent(&mut writer, *sent);
            }
        }
        for field in entries.iter().flat_map(|(_, fields, _)| fields) {
            writer.raw(field);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no block of this kind.
    pub fn decode(kind: BlockKind, value: &Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "block of columns")?;
        let count = reader.number()?;
        if count > BLOCK_MESSAGES {
            return Err(reader.damaged());
        }
        let mut entries: Vec<BlockEntry> = Vec::new();
        let mut at = 0_u32;
        for _ in 0..count {
            let low = reader.byte()?;
            let rises = entries.last().is_none_or(|last| last.low < low);
            if u64::from(low) >= BLOCK_MESSAGES || !rises {
                return Err(reader.damaged());
            }
            let mut bounds = [at; FIELDS_MAX + 1];
            for index in 0..FIELDS_MAX {
                if index < kind.fields() {
                    at = at.checked_add(reader.number32()?).ok_or(reader.damaged())?;
                }
                bounds[index + 1] = at;
            }
            let sent = if kind == BlockKind::Search { take_sent(&mut reader)? } else { None };
            entries.push(BlockEntry { low, bounds, sent });
        }
        let data = value.slice_ref(reader.rest());
        if data.len() as u64 != u64::from(at) {
            return Err(reader.damaged());
        }
        Ok(Self { entries, data })
    }

    #[must_use]
    pub fn entries(&self) -> &[BlockEntry] {
        &self.entries
    }

    #[must_use]
    pub fn find(&self, email: EmailId) -> Option<&BlockEntry> {
        let low = Self::low_of(email);
        let at = self.entries.binary_search_by_key(&low, |entry| entry.low).ok()?;
        self.entries.get(at)
    }

    /// Field `index` of an entry of this block.
    #[must_use]
    pub fn field(&self, entry: &BlockEntry, index: usize) -> Bytes {
        let (from, to) = (entry.bounds[index] as usize, entry.bounds[index + 1] as usize);
        self.data.slice(from..to)
    }

    /// As [`Block::field`], borrowed.
    #[must_use]
    pub fn field_bytes(&self, entry: &BlockEntry, index: usize) -> &[u8] {
        &self.data[entry.bounds[index] as usize..entry.bounds[index + 1] as usize]
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.data.len() + self.entries.len() * size_of::<BlockEntry>() + 96
    }

    /// All fields of all entries, one behind the other: a text that is not in here is in none of them.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }
}
