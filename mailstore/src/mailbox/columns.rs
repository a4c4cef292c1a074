//! Columns of messages on their way into memory: packed blocks where there are, records of single messages elsewhere.

use super::core::Core;
use super::criteria::Columns;
use super::format::{Block, BlockKind, ColumnRecord, keys};
use super::load::got;
use crate::face::{EmailId, SearchColumns, TaskRefusal};
use bytes::Bytes;
use dds::{Response, SortKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Columns that somebody waits for.
#[derive(Debug)]
pub struct ColumnSet {
    emails: Vec<EmailId>,
    kinds: Vec<BlockKind>,
    blocks: BTreeMap<(u64, BlockKind), Option<Arc<Block>>>,
    records: BTreeMap<EmailId, Option<ColumnRecord>>,
    asked: Vec<AskedFor>,
    /// Everything before this one of `emails` is at hand.
    complete: usize,
}

/// What a slot of the answer is.
#[derive(Clone, Copy, Debug)]
enum AskedFor {
    Block(u64, BlockKind),
    Record(EmailId),
    /// Search columns that stand apart.
    Search(EmailId),
}

/// A block, as far as it is known.
enum AtHand {
    Block(Arc<Block>),
    /// The store has none.
    Absent,
    Unread,
}

impl AtHand {
    /// Whether a message is known not to be in it: it was too long, or is removed, and may have a record of its own.
    fn lacks(&self, email: EmailId) -> bool {
        match self {
            Self::Block(block) => block.find(email).is_none(),
            Self::Absent => true,
            Self::Unread => false,
        }
    }
}

/// Values asked for at once: 48 KiB each at most.
const KEYS_PER_GET: usize = 64;

impl ColumnSet {
    #[must_use]
    pub fn new(emails: Vec<EmailId>, kinds: Vec<BlockKind>) -> Self {
        Self {
            emails,
            kinds,
            blocks: BTreeMap::new(),
            records: BTreeMap::new(),
            asked: Vec::new(),
            complete: 0,
        }
    }

    /// Wants those of more messages.
    pub fn extend(&mut self, emails: impl Iterator<Item = EmailId>) {
        self.emails.extend(emails);
    }

    /// Field `index` of a message; empty when there is none.
    #[must_use]
    pub fn field(&self, email: EmailId, kind: BlockKind, index: usize) -> Bytes {
        if let Some(Some(block)) = self.blocks.get(&(Block::number_of(email), kind))
            && let Some(slot) = block.find(email)
        {
            return block.field(slot, index);
        }
        let Some(Some(record)) = self.records.get(&email) else {
            return Bytes::new();
        };
        match (kind, index) {
            (BlockKind::Envelope, _) => record.envelope.clone(),
            (BlockKind::Structures, 0) => record.body.clone(),
            (BlockKind::Structures, _) => record.structure.clone(),
            (BlockKind::Search, _) => search_field(record.search.as_ref(), index),
        }
    }

    /// The search columns of a message; `block` is [`ColumnSet::search_block`] of its number.
    #[must_use]
    pub fn search_view<'a>(&'a self, email: EmailId, block: Option<&'a Block>) -> Columns<'a> {
        if let Some(block) = block
            && let Some(slot) = block.find(email)
        {
            return Columns::Block { number: Block::number_of(email), block, slot };
        }
        let record = self.records.get(&email).and_then(Option::as_ref);
        let search = record.and_then(|record| record.search.as_ref());
        search.map_or(Columns::Absent, Columns::Record)
    }

    /// The search columns of 64 messages, if they are packed.
    #[must_use]
    pub fn search_block(&self, number: u64) -> Option<&Block> {
        self.blocks.get(&(number, BlockKind::Search))?.as_deref()
    }
}

impl ColumnSet {
    /// Asks for what a message has by itself, unless it is at hand.
    fn ask_record(&mut self, email: EmailId, missing: &mut Vec<SortKey>) {
        match self.records.get(&email) {
            None => {
                self.asked.push(AskedFor::Record(email));
                missing.push(keys::columns(email));
            }
            Some(Some(record))
                if record.search.is_none() && self.kinds.contains(&BlockKind::Search) =>
            {
                self.asked.push(AskedFor::Search(email));
                missing.push(keys::apart(email, 0));
            }
            Some(_) => {}
        }
    }
}

fn search_field(search: Option<&SearchColumns>, index: usize) -> Bytes {
    let Some(search) = search else {
        return Bytes::new();
    };
    match index {
        0 => search.from.clone(),
        1 => search.to.clone(),
        2 => search.cc.clone(),
        3 => search.bcc.clone(),
        _ => search.subject.clone(),
    }
}

/// Blocks kept in memory, for one user.
#[derive(Debug, Default)]
pub struct BlockCache {
    blocks: BTreeMap<(u64, BlockKind), (u64, Arc<Block>)>,
    bytes: usize,
    uses: u64,
}

impl BlockCache {
    fn get(&mut self, key: (u64, BlockKind)) -> Option<Arc<Block>> {
        self.uses += 1;
        let (used, block) = self.blocks.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(block))
    }

    fn insert(&mut self, key: (u64, BlockKind), block: &Arc<Block>, bytes_max: usize) {
        self.uses += 1;
        self.bytes += block.memory_bytes();
        if let Some((_, old)) = self.blocks.insert(key, (self.uses, Arc::clone(block))) {
            self.bytes -= old.memory_bytes();
        }
        if self.bytes > bytes_max {
            self.evict(bytes_max / 2);
        }
    }

    /// Forgets what was used longest ago.
    fn evict(&mut self, bytes_max: usize) {
        let mut ages: Vec<(u64, (u64, BlockKind))> =
            self.blocks.iter().map(|(key, (used, _))| (*used, *key)).collect();
        ages.sort_unstable();
        for (_, key) in ages {
            if self.bytes <= bytes_max {
                break;
            }
            self.forget(key);
        }
    }

    pub fn forget(&mut self, key: (u64, BlockKind)) {
        if let Some((_, block)) = self.blocks.remove(&key) {
            self.bytes -= block.memory_bytes();
        }
    }

    pub fn forget_all(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }
}

impl Core {
    /// The keys to read next for a set; none when it is complete.
    pub fn missing_columns(&mut self, set: &mut ColumnSet) -> Vec<SortKey> {
        let mut missing = Vec::new();
        set.asked.clear();
        let mut asked_blocks: BTreeSet<(u64, BlockKind)> = BTreeSet::new();
        let mut at = set.complete;
        while at < set.emails.len() && missing.len() < KEYS_PER_GET {
            let number = Block::number_of(set.emails[at]);
            // Mostly neighbours: what is looked up for one holds for those that follow.
            let same = |email: &&EmailId| Block::number_of(**email) == number;
            let end = at + set.emails[at..].iter().take_while(same).count();
            let blocks = self.blocks_at_hand(set, number);
            for (kind, _) in blocks.iter().filter(|(_, block)| matches!(block, AtHand::Unread)) {
                if asked_blocks.insert((number, *kind)) {
                    set.asked.push(AskedFor::Block(number, *kind));
                    missing.push(keys::block(*kind, number));
                }
            }
            let waits = blocks.iter().any(|(_, block)| matches!(block, AtHand::Unread));
            for at in at..end {
                if missing.len() >= KEYS_PER_GET {
                    break;
                }
                let (email, before) = (set.emails[at], missing.len());
                let single = !self.packed.contains(number);
                let packing = single && self.is_packing(number);
                if packing && matches!(set.records.get(&email), Some(None)) {
                    // Its record may have gone into a block since it was asked for.
                    set.records.remove(&email);
                }
                if single || blocks.iter().any(|(_, block)| block.lacks(email)) {
                    set.ask_record(email, &mut missing);
                }
                if missing.len() == before && !waits && set.complete == at {
                    set.complete = at + 1;
                }
            }
            at = end;
        }
        missing
    }

    /// The blocks that hold the columns of these messages; none when they are not packed.
    fn blocks_at_hand(&mut self, set: &mut ColumnSet, number: u64) -> Vec<(BlockKind, AtHand)> {
        if !self.packed.contains(number) {
            return Vec::new();
        }
        let (kinds, blocks) = (set.kinds.clone(), &mut self.blocks);
        let mut at_hand = |kind| match set.blocks.get(&(number, kind)) {
            Some(Some(block)) => AtHand::Block(Arc::clone(block)),
            Some(None) => AtHand::Absent,
            None => match blocks.get((number, kind)) {
                Some(block) => {
                    set.blocks.insert((number, kind), Some(Arc::clone(&block)));
                    AtHand::Block(block)
                }
                None => AtHand::Unread,
            },
        };
        kinds.into_iter().map(|kind| (kind, at_hand(kind))).collect()
    }

    /// Takes the answer to [`Core::missing_columns`].
    pub fn take_columns(
        &mut self,
        set: &mut ColumnSet,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let bytes_max = self.limits().column_cache_bytes;
        let values = got(response)?;
        for (asked, value) in std::mem::take(&mut set.asked).into_iter().zip(values) {
            match asked {
                AskedFor::Block(number, kind) => {
                    let block = match value {
                        Some(value) => Some(Arc::new(Block::decode(kind, &value)?)),
                        None => None,
                    };
                    if let Some(block) = &block {
                        self.blocks.insert((number, kind), block, bytes_max);
                    }
                    set.blocks.insert((number, kind), block);
                }
                AskedFor::Record(email) => {
                    let record = match value {
                        Some(value) => Some(ColumnRecord::decode(&value)?),
                        None => None,
                    };
                    set.records.insert(email, record);
                }
                AskedFor::Search(email) => {
                    let search = match value {
                        Some(value) => super::format::decode_search(&value)?,
                        None => SearchColumns::default(),
                    };
                    if let Some(Some(record)) = set.records.get_mut(&email) {
                        record.search = Some(search);
                    }
                }
            }
        }
        Ok(())
    }
}
