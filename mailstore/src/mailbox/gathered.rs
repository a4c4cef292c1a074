//! Messages of a pending set on their way to the store: they gather until there are enough for a batch, or the set is to be
//! shown, and are numbered when they are sent.
//!
//! The columns of many go in blocks at once. They are written once, where records of single messages would be written, read,
//! written again and deleted by packing. Such messages begin at the first EMAILID of a block, and what is left of their last
//! block stays empty.

use super::answer;
use super::append::{Pending, PendingState};
use super::change::{Asker, Change, Staging};
use super::core::Core;
use super::deliver::{Apart, Arriving, new_meta, put_body, put_columns};
use super::format::{
    BLOCK_MESSAGES, Block, ColumnRecord, Meta, PendingBodies, PendingSet, Writer, encode_rows, keys,
};
use super::machine::Effect;
use super::pack::BlockMaker;
use crate::face::{Body, EmailId, Holders, ModSeq, PendingId, TaskRefusal, Uid, UserDone};
use bytes::Bytes;
use dds::{BlobId, Op};
use fsm::Cx;

/// A batch of staged messages, seen from its set.
#[derive(Clone, Copy, Debug)]
pub struct StagedBatch {
    pub first_email: u64,
    pub bytes: usize,
}

/// Staged messages that have not been sent to the store.
#[derive(Debug, Default)]
pub struct Gathered {
    messages: Vec<GatheredMessage>,
    /// Bytes that they will put, about.
    bytes: usize,
    /// Who waits until the messages are durable.
    askers: Vec<Asker>,
}

/// A message without a number.
#[derive(Debug)]
pub struct GatheredMessage {
    pub arriving: Arriving,
    pub apart: Apart,
}

/// A batch of staged messages is sent when it is so large; `dds::Limits::batch_bytes_max` is 1 MiB, and a message in it has
/// at most 200 KiB.
const STAGED_BATCH_BYTES: usize = 512 * 1024;
/// And when it has so many messages: their rows fit one value.
const STAGED_BATCH_ROWS: usize = 256;
/// Messages of a block.
const BLOCK_ROWS: usize = BLOCK_MESSAGES as usize;

impl GatheredMessage {
    /// Bytes of its records, about.
    fn bytes(&self) -> usize {
        let columns = &self.arriving.columns;
        let search = &columns.search;
        let columns = [&columns.envelope, &columns.body, &columns.structure, &columns.parts];
        let search = [&search.from, &search.to, &search.cc, &search.bcc, &search.subject];
        let body = match &self.arriving.body {
            Body::Inline(bytes) => bytes.len(),
            Body::Blob { .. } => 0,
        };
        let described: usize = columns.into_iter().chain(search).map(Bytes::len).sum();
        body + described + 256
    }

    fn record(&self) -> ColumnRecord {
        let columns = &self.arriving.columns;
        ColumnRecord {
            envelope: columns.envelope.clone(),
            body: columns.body.clone(),
            structure: columns.structure.clone(),
            search: (!self.apart.search).then(|| columns.search.clone()),
        }
    }
}

impl Gathered {
    pub fn push(&mut self, message: GatheredMessage) {
        self.bytes += message.bytes();
        self.messages.push(message);
    }

    /// Somebody waits for all that has gathered so far.
    pub fn wait(&mut self, asker: Asker) {
        self.askers.push(asker);
    }

    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many messages are to be sent now.
    fn due(&self) -> Option<usize> {
        let rows = self.messages.len();
        if !self.askers.is_empty() {
            return Some(rows);
        }
        let is_due = rows >= STAGED_BATCH_ROWS || self.bytes >= STAGED_BATCH_BYTES;
        // Whole blocks: the rest waits for more.
        let whole = rows - rows % BLOCK_ROWS;
        is_due.then_some(if whole > 0 { whole } else { rows })
    }

    /// Takes the first `count` messages, and who waits when these are all.
    fn take(&mut self, count: usize) -> Self {
        let rest = self.messages.split_off(count.min(self.messages.len()));
        let bytes = rest.iter().map(GatheredMessage::bytes).sum();
        let askers = if rest.is_empty() { std::mem::take(&mut self.askers) } else { Vec::new() };
        let messages = std::mem::replace(&mut self.messages, rest);
        let taken = std::mem::replace(&mut self.bytes, bytes).saturating_sub(bytes);
        Self { messages, bytes: taken, askers }
    }

    /// Blobs that are lost to everybody when this is not sent.
    #[must_use]
    pub fn blobs(&self) -> Vec<BlobId> {
        let own = self.messages.iter().filter_map(|message| match message.arriving.body {
            Body::Blob { blob, len: _, holders: Holders::One } => Some(blob),
            Body::Blob { .. } | Body::Inline(_) => None,
        });
        own.collect()
    }

    /// Ends: whoever waits.
    #[must_use]
    pub fn into_askers(self) -> Vec<Asker> {
        self.askers
    }
}

impl Core {
    /// Sends what has gathered and is due. A batch may be numbered.
    pub fn send_gathered(&mut self, cx: &mut Cx<'_, Effect>) {
        while self.may_write() {
            let due =
                |(pending, set): (&PendingId, &Pending)| Some((*pending, set.gathered.due()?));
            let Some((pending, count)) = self.pending.iter().find_map(due) else {
                return;
            };
            self.send_staged(cx, pending, count);
        }
    }

    /// Sends all that has gathered of a set, if anything.
    pub fn send_rest(&mut self, cx: &mut Cx<'_, Effect>, pending: PendingId) {
        self.send_staged(cx, pending, usize::MAX);
    }

    fn send_staged(&mut self, cx: &mut Cx<'_, Effect>, pending: PendingId, count: usize) {
        let Some(set) = self.pending.get_mut(&pending) else {
            return;
        };
        let Gathered { messages, bytes, askers } = set.gathered.take(count);
        if messages.is_empty() {
            return;
        }
        let first = set.rows.metas.len();
        let many = first + messages.len() >= self.context.limits.block_rows_min;
        let in_blocks = many && self.packed_assigned.has_room();
        if in_blocks {
            self.begin_block();
        }
        let first_email = self.counters.email_next;
        let mut ops = Vec::with_capacity(2 * messages.len() + 8);
        if first == 0 {
            let value = PendingSet { owns: PendingBodies::Own }.encode();
            ops.push(Op::Put { key: keys::pending(pending), value });
        }
        let metas: Vec<Meta> = (1..)
            .zip(&messages)
            .map(|(at, message)| {
                let email = self.next_email();
                put_body(&mut ops, email, (&message.arriving, message.apart));
                let uid = Uid(u32::try_from(first).unwrap_or(u32::MAX).saturating_add(at));
                new_meta(uid, email, ModSeq(0), cx.wall(), &message.arriving)
            })
            .collect();
        let index = u32::try_from(first).unwrap_or(u32::MAX);
        ops.push(Op::Put { key: keys::staged(pending, index), value: staged_value(&metas) });
        let blocks = if in_blocks {
            self.put_blocks(first_email, &messages, &mut ops)
        } else {
            for (meta, message) in metas.iter().zip(&messages) {
                put_columns(&mut ops, meta.email, (&message.arriving, message.apart));
            }
            Vec::new()
        };
        if let Some(set) = self.pending.get_mut(&pending) {
            set.under_way.push_back(StagedBatch { first_email, bytes });
            for meta in metas {
                set.rows.push(meta, 0);
            }
        }
        // No header says yet that these EMAILIDs are used up.
        ops.push(self.root_op());
        self.pipeline.submit(cx, ops, Change::Staged(Staging { pending, askers, blocks }));
    }

    /// The next EMAILID is the first of a block.
    fn begin_block(&mut self) {
        let next = self.counters.email_next;
        self.counters.email_next = next.checked_next_multiple_of(BLOCK_MESSAGES).unwrap_or(next);
    }

    /// The columns of messages from the first EMAILID of a block on, as blocks; with the bits of what stays empty.
    fn put_blocks(
        &mut self,
        first_email: u64,
        messages: &[GatheredMessage],
        ops: &mut Vec<Op>,
    ) -> Vec<(u64, u64)> {
        let mut blocks = Vec::with_capacity(messages.len() / BLOCK_ROWS + 1);
        let numbers = Block::number_of(EmailId(first_email))..;
        for (number, messages) in numbers.zip(messages.chunks(BLOCK_ROWS)) {
            let mut maker = BlockMaker::new(number);
            for (low, message) in (0_u8..).zip(messages) {
                let record = message.record();
                if !maker.take(low, record) {
                    let email = EmailId(number * BLOCK_MESSAGES + u64::from(low));
                    put_columns(ops, email, (&message.arriving, message.apart));
                }
            }
            let here = u32::try_from(messages.len()).unwrap_or(u32::MAX);
            let mut block = maker.finish(u64::MAX.checked_shl(here).unwrap_or(0));
            ops.append(&mut block.ops);
            blocks.push((number, block.gone));
        }
        // Whoever comes next does not come into the last block.
        self.begin_block();
        self.put_packed(&blocks, ops);
        blocks
    }

    /// No EMAILID from here on need be in the store.
    #[must_use]
    pub fn first_email_ahead(&self) -> u64 {
        let ahead = self.pending.values().filter_map(|set| set.under_way.front());
        ahead.map(|batch| batch.first_email).min().unwrap_or(u64::MAX)
    }

    pub fn staged_committed(&mut self, cx: &mut Cx<'_, Effect>, staging: Staging) {
        self.packed(staging.blocks);
        if let Some(set) = self.pending.get_mut(&staging.pending) {
            set.under_way.pop_front();
        }
        for asker in staging.askers {
            answer(cx, asker, Ok(UserDone::Staged { pending: staging.pending }));
        }
        self.sweep_pending(staging.pending);
    }

    pub fn staged_refused(&mut self, cx: &mut Cx<'_, Effect>, staging: &Staging, why: TaskRefusal) {
        if let Some(set) = self.pending.get_mut(&staging.pending) {
            set.under_way.pop_front();
            if set.state == PendingState::Open {
                set.state = PendingState::Broken(why);
            }
            let unsent = std::mem::take(&mut set.gathered);
            self.removals.release(unsent.blobs());
            for asker in unsent.into_askers() {
                answer(cx, asker, Err(why));
            }
        }
        for &asker in &staging.askers {
            answer(cx, asker, Err(why));
        }
        self.sweep_pending(staging.pending);
    }
}

fn staged_value(metas: &[Meta]) -> Bytes {
    let mut writer = Writer::new(16 + 40 * metas.len());
    encode_rows(&mut writer, metas.len(), metas.iter().map(|meta| (meta, 0)));
    writer.finish()
}
