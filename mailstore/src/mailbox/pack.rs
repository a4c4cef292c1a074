//! Packing: the columns of 64 neighbouring messages go into one value per kind, so that a FETCH or SEARCH of many reads few.
//!
//! A block is packed once all its EMAILIDs are long assigned. A message that does not fit keeps its own record; one that is
//! gone leaves a bit. A block that has lost most of its messages is unpacked again: the few get their own records back.
//! Housekeeping does one thing at a time, so that no message is removed between the read and the write.

use super::change::House;
use super::core::Core;
use super::format::{BLOCK_MESSAGES, Block, BlockKind, ColumnRecord, VALUE_BYTES_FILL, keys};
use super::house::Work;
use super::load::got;
use super::machine::Effect;
use super::removal::gone_value;
use crate::face::{EmailId, InternalDate, SearchColumns, TaskRefusal};
use bytes::Bytes;
use dds::{Op, Request, Response, SortKey};
use fsm::Cx;
use std::ops::Range;

/// Gone messages of a block at which the rest gets its own records back.
const THIN: u32 = 48;
/// Blocks that are read and packed at once: what a mailbox is filled with must not run away from packing.
const BLOCKS_AT_ONCE: u64 = 4;

/// One message's share of a block of one kind.
type Share = (u8, Vec<Bytes>, Option<InternalDate>);

impl Core {
    /// Reads the next blocks to pack; false when none is due.
    pub fn pack(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let first = self.raised.skip_gap(self.packed.up_to());
        self.packed.raise(first);
        self.packed_assigned.raise(first);
        let first = self.packed.up_to();
        let last = first.saturating_add(BLOCKS_AT_ONCE);
        let count = (first..last).take_while(|number| self.may_pack(*number)).count() as u64;
        if count == 0 {
            return false;
        }
        let numbers = first..first + count;
        let emails = numbers.start * BLOCK_MESSAGES..numbers.end * BLOCK_MESSAGES;
        let keys = emails.map(|email| keys::columns(EmailId(email))).collect();
        self.house.work = Work::Packing { numbers };
        self.house_get(cx, keys);
        true
    }

    fn may_pack(&self, number: u64) -> bool {
        let end = number.saturating_add(1).saturating_mul(BLOCK_MESSAGES);
        let due = end.saturating_add(self.limits().pack_lag);
        // What is not in the store yet must not be taken for gone.
        self.raised.skip_gap(number) == number
            && !self.packed_assigned.contains(number)
            && self.counters.email_next >= due
            && self.first_email_ahead() >= end
    }

    /// The records of blocks. As many blocks are packed as fit a batch.
    pub fn on_pack_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        numbers: Range<u64>,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let values = got(response)?;
        let bytes_max = self.limits().batch_bytes_max;
        let (mut blocks, mut ops, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (number, values) in numbers.clone().zip(values.chunks(BLOCK_MESSAGES as usize)) {
            let packed = pack_block(number, values)?;
            bytes += packed.bytes;
            if !blocks.is_empty() && bytes > bytes_max {
                break;
            }
            ops.extend(packed.ops);
            blocks.push((number, packed.gone));
        }
        self.put_packed(&blocks, &mut ops);
        self.house.work = Work::Packing { numbers };
        self.house_submit(cx, ops, House::Packed { blocks });
        Ok(())
    }

    /// The batch packs these blocks.
    pub fn put_packed(&mut self, blocks: &[(u64, u64)], ops: &mut Vec<Op>) {
        for (number, _) in blocks {
            self.packed_assigned.insert(*number);
        }
        let value = self.packed_assigned.encode();
        ops.push(Op::Put { key: keys::lone(keys::PACKED), value });
    }

    /// Whether a block is being packed now.
    #[must_use]
    pub fn is_packing(&self, block: u64) -> bool {
        matches!(&self.house.work, Work::Packing { numbers } if numbers.contains(&block))
    }

    /// Blocks are packed; with the bits of their messages that are gone.
    pub fn packed(&mut self, blocks: Vec<(u64, u64)>) {
        for (number, gone) in blocks {
            self.packed.insert(number);
            if gone != 0 && gone != u64::MAX {
                self.gone.insert(number, gone);
            }
        }
    }

    /// Notes that a block has lost messages.
    pub fn note_thin(&mut self, number: u64, before: u64, after: u64) {
        if before.count_ones() < THIN && after.count_ones() >= THIN && after != u64::MAX {
            self.house.thin.push(number);
        }
    }

    /// Reads the next block to unpack; false when there is none.
    pub fn unpack(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let Some(number) = self.house.thin.pop() else {
            return false;
        };
        let keys = BlockKind::ALL.map(|kind| keys::block(kind, number));
        self.house.work = Work::Unpacking { number };
        self.house_get(cx, keys.to_vec());
        true
    }

    /// The values of a block: those that are left get their own records.
    pub fn on_unpack_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        number: u64,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let mut blocks = Vec::new();
        for (kind, value) in BlockKind::ALL.into_iter().zip(got(response)?) {
            let Some(value) = value else {
                return Ok(());
            };
            blocks.push(Block::decode(kind, &value)?);
        }
        let [envelopes, structures, searches] = blocks.as_slice() else {
            return Ok(());
        };
        let gone = self.gone.get(&number).copied().unwrap_or(0);
        let mut ops = Vec::new();
        for low in (0..64_u8).filter(|low| gone >> low & 1 == 0) {
            let email = EmailId(number * BLOCK_MESSAGES + u64::from(low));
            let found = (envelopes.find(email), structures.find(email), searches.find(email));
            let (Some(envelope), Some(structure), Some(search)) = found else {
                continue;
            };
            let field = |at| searches.field(search, at);
            let columns = SearchColumns {
                from: field(0),
                to: field(1),
                cc: field(2),
                bcc: field(3),
                subject: field(4),
                sent: searches.sent(search),
            };
            let texts = (
                envelopes.field_bytes(envelope, 0),
                structures.field_bytes(structure, 0),
                structures.field_bytes(structure, 1),
            );
            let value = ColumnRecord::encode(texts, Some(&columns));
            ops.push(Op::Put { key: keys::columns(email), value });
        }
        for kind in BlockKind::ALL {
            ops.push(Op::Delete { key: keys::block(kind, number) });
        }
        self.house.work = Work::Unpacking { number };
        self.house_submit(cx, ops, House::Unpacked { number });
        Ok(())
    }

    /// A block is unpacked.
    pub fn unpacked(&mut self, number: u64) {
        for kind in BlockKind::ALL {
            self.blocks.forget((number, kind));
        }
    }

    fn house_get(&mut self, cx: &mut Cx<'_, Effect>, keys: Vec<SortKey>) {
        let route = self.context.route.clone();
        self.house_read(cx, Request::Get { route, keys });
    }
}

/// A block on its way.
pub struct PackedBlock {
    pub ops: Vec<Op>,
    /// Bytes that they put.
    bytes: usize,
    /// Bits of messages that are not there.
    pub gone: u64,
}

/// A block that takes the columns of one message after the other.
pub struct BlockMaker {
    number: u64,
    shares: [Vec<Share>; 3],
    room: [usize; 3],
}

impl BlockMaker {
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self { number, shares: Default::default(), room: [VALUE_BYTES_FILL; 3] }
    }

    /// Takes the columns of a message; false when they don't fit.
    pub fn take(&mut self, low: u8, record: ColumnRecord) -> bool {
        let Some(taken) = share(low, record, &mut self.room) else {
            return false;
        };
        for (shares, share) in self.shares.iter_mut().zip(taken) {
            shares.push(share);
        }
        true
    }

    /// The block; `gone` are the bits of messages that are not there.
    #[must_use]
    pub fn finish(self, gone: u64) -> PackedBlock {
        let Self { number, shares, room: _ } = self;
        let mut packed = PackedBlock { ops: Vec::with_capacity(70), bytes: 0, gone };
        if !shares[0].is_empty() {
            for (kind, shares) in BlockKind::ALL.into_iter().zip(&shares) {
                let value = Block::encode(kind, shares);
                packed.bytes += value.len();
                packed.ops.push(Op::Put { key: keys::block(kind, number), value });
            }
        }
        if gone != 0 && gone != u64::MAX {
            packed.ops.push(Op::Put { key: keys::gone(number), value: gone_value(gone) });
        }
        packed
    }
}

/// The block of messages that have records of their own.
fn pack_block(number: u64, values: &[Option<Bytes>]) -> Result<PackedBlock, TaskRefusal> {
    let mut maker = BlockMaker::new(number);
    let (mut gone, mut taken) = (0, Vec::with_capacity(values.len()));
    for (low, value) in (0_u8..).zip(values) {
        match value {
            None => gone |= 1 << low,
            Some(value) if maker.take(low, ColumnRecord::decode(value)?) => {
                taken.push(EmailId(number * BLOCK_MESSAGES + u64::from(low)));
            }
            Some(_) => {}
        }
    }
    let mut packed = maker.finish(gone);
    packed.ops.extend(taken.into_iter().map(|email| Op::Delete { key: keys::columns(email) }));
    Ok(packed)
}

/// What a message puts into each kind of block, if it fits all of them.
fn share(low: u8, record: ColumnRecord, room: &mut [usize; 3]) -> Option<[Share; 3]> {
    let search = record.search?;
    let sent = search.sent;
    let fields = [search.from, search.to, search.cc, search.bcc, search.subject];
    let shares = [
        (low, vec![record.envelope], None),
        (low, vec![record.body, record.structure], None),
        (low, fields.to_vec(), sent),
    ];
    let need = [&shares[0], &shares[1], &shares[2]]
        .map(|(_, fields, _)| fields.iter().map(|field| field.len() + 3).sum::<usize>() + 20);
    if need.iter().zip(room.iter()).any(|(need, room)| need > room) {
        return None;
    }
    for (room, need) in room.iter_mut().zip(need) {
        *room -= need;
    }
    Some(shares)
}
