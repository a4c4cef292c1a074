//! Columns of messages: one record each at arrival, later packed by 64 EMAILIDs, one value per kind.

use super::{Damaged, Reader, Writer};
use crate::face::{EmailId, InternalDate, SearchColumns};
use bytes::Bytes;
use memchr::memmem::Finder;
use std::ops::Range;

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

/// One kind of columns of up to 64 neighbouring EMAILIDs. Column by column: the first field of all messages, then the second
/// of all, so that a search looks at one column and at nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// EMAILIDs modulo 64 of its messages, one bit each.
    present: u64,
    /// Field `f` of the message in slot `s` lies in `bounds[f * count + s]..bounds[f * count + s + 1]` of the data.
    bounds: Box<[u32]>,
    /// The dates sent, by slot; empty when the kind has none.
    sent: Box<[Option<InternalDate>]>,
    data: Bytes,
}

/// Where a message stands in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u8);

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
        let mut writer = Writer::new(bytes + entries.len() * 20 + 8);
        writer.fixed(entries.iter().fold(0, |present, (low, ..)| present | 1 << low));
        let column =
            |index: usize| entries.iter().filter_map(move |(_, fields, _)| fields.get(index));
        for field in (0..kind.fields()).flat_map(column) {
            writer.number(field.len() as u64);
        }
        if kind == BlockKind::Search {
            for (_, _, sent) in entries {
                put_sent(&mut writer, *sent);
            }
        }
        for field in (0..kind.fields()).flat_map(column) {
            writer.raw(field);
        }
        writer.finish()
    }

    /// # Errors
    /// When it is no block of this kind.
    pub fn decode(kind: BlockKind, value: &Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "block of columns")?;
        let present = reader.fixed()?;
        let count = present.count_ones() as usize;
        let mut bounds = Vec::with_capacity(kind.fields() * count + 1);
        let mut end = 0_u32;
        bounds.push(end);
        for _ in 0..kind.fields() * count {
            end = end.checked_add(reader.number32()?).ok_or(reader.damaged())?;
            bounds.push(end);
        }
        let dated = if kind == BlockKind::Search { count } else { 0 };
        let sent = (0..dated).map(|_| take_sent(&mut reader)).collect::<Result<_, _>>()?;
        let data = value.slice_ref(reader.rest());
        if data.len() as u64 != u64::from(end) {
            return Err(reader.damaged());
        }
        Ok(Self { present, bounds: bounds.into(), sent, data })
    }

    #[must_use]
    pub fn find(&self, email: EmailId) -> Option<Slot> {
        let bit = 1_u64 << Self::low_of(email);
        let before = (self.present & (bit - 1)).count_ones();
        (self.present & bit != 0).then_some(Slot(before.to_le_bytes()[0]))
    }

    /// Field `index` of a message of this block.
    #[must_use]
    pub fn field(&self, slot: Slot, index: usize) -> Bytes {
        self.data.slice(self.range(slot, index))
    }

    /// As [`Block::field`], borrowed.
    #[must_use]
    pub fn field_bytes(&self, slot: Slot, index: usize) -> &[u8] {
        &self.data[self.range(slot, index)]
    }

    fn range(&self, Slot(slot): Slot, index: usize) -> Range<usize> {
        let at = index * self.present.count_ones() as usize + usize::from(slot);
        self.bounds[at] as usize..self.bounds[at + 1] as usize
    }

    /// The date that a message was sent.
    #[must_use]
    pub fn sent(&self, Slot(slot): Slot) -> Option<InternalDate> {
        self.sent.get(usize::from(slot)).copied().flatten()
    }

    /// The messages whose field `index` holds the needle: EMAILIDs modulo 64, one bit each. One pass over the column.
    #[must_use]
    pub fn matching(&self, index: usize, finder: &Finder<'_>) -> u64 {
        if finder.needle().is_empty() {
            return self.present;
        }
        let count = self.present.count_ones() as usize;
        let bounds = &self.bounds[index * count..=(index + 1) * count];
        let (mut at, end) = (bounds[0] as usize, bounds[count] as usize);
        let mut slots = 0_u64;
        while let Some(found) = finder.find(&self.data[at..end]) {
            let from = at + found;
            let slot = bounds.partition_point(|bound| *bound as usize <= from) - 1;
            let slot_end = bounds[slot + 1] as usize;
            if from + finder.needle().len() <= slot_end {
                slots |= 1 << slot;
                at = slot_end;
            } else {
                // It reaches from one message into the next.
                at = from + 1;
            }
        }
        self.lows_of(slots)
    }

    /// From bits by slot to bits by EMAILID modulo 64.
    fn lows_of(&self, slots: u64) -> u64 {
        let (mut left, mut lows, mut slot) = (self.present, 0, 0);
        while left != 0 {
            let bit = left & left.wrapping_neg();
            lows |= if slots >> slot & 1 == 1 { bit } else { 0 };
            left ^= bit;
            slot += 1;
        }
        lows
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.data.len() + self.bounds.len() * 4 + size_of_val(&*self.sent) + 128
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn block_of(lows: &BTreeMap<u8, [String; 5]>) -> Block {
        let sent = |low: u8| {
            (!low.is_multiple_of(3))
                .then(|| InternalDate { unix_seconds: i64::from(low), zone_minutes: 60 })
        };
        let entries: Vec<_> = lows
            .iter()
            .map(|(low, fields)| {
                let fields = fields.iter().map(|field| Bytes::from(field.clone())).collect();
                (*low, fields, sent(*low))
            })
            .collect();
        let block = Block::decode(BlockKind::Search, &Block::encode(BlockKind::Search, &entries));
        let block = block.expect("what was encoded");
        for (low, fields, sent) in entries {
            let slot = block.find(EmailId(64 * 7 + u64::from(low))).expect("it is there");
            assert_eq!(block.sent(slot), sent);
            for (index, field) in fields.iter().enumerate() {
                assert_eq!(block.field(slot, index), field);
                assert_eq!(block.field_bytes(slot, index), field);
            }
        }
        block
    }

    proptest! {
        #[test]
        fn a_block_finds_what_each_of_its_messages_holds(
            lows in prop::collection::btree_map(0_u8..64, prop::array::uniform5("[ab]{0,4}"), 0..64),
            needle in "[ab]{0,3}",
            index in 0_usize..5,
        ) {
            let block = block_of(&lows);
            let holding = lows.iter().filter(|(_, fields)| fields[index].contains(&needle));
            let expected = holding.fold(0_u64, |lows, (low, _)| lows | 1 << low);
            prop_assert_eq!(block.matching(index, &Finder::new(&needle)), expected);
            for low in (0..64).filter(|low| !lows.contains_key(low)) {
                prop_assert_eq!(block.find(EmailId(u64::from(low))), None);
            }
        }
    }
}
