//! Burial: the mail of deleted folders goes, in slices, also after a restart.
//!
//! Steps: the rows are loaded; then frozen, which is a fold that leaves no log, so that a segment that is gone stays gone;
//! then each batch takes some segments and one reference from each of their messages; the last one takes the tombstone.

use super::change::House;
use super::core::{Core, Exclusive};
use super::fold::segment_value;
use super::format::{Header, Meta, keys};
use super::house::Work;
use super::index::{ChunkState, Index};
use super::load::{FolderLoading, scan_request, scanned};
use super::machine::Effect;
use super::settle::Hold;
use crate::face::{FolderId, ModSeq, TaskRefusal};
use dds::{Op, Response};
use fsm::Cx;

/// A folder that is being buried.
#[derive(Debug)]
pub struct Burial {
    pub id: FolderId,
    header: Header,
    pub step: BurialStep,
}

#[derive(Debug)]
pub enum BurialStep {
    Loading(Box<FolderLoading>),
    /// Chunks before `next` are written as segments.
    Freezing {
        index: Box<Index>,
        next: usize,
    },
    /// The last `left` chunks of the index are still in the store.
    Removing {
        index: Box<Index>,
        left: usize,
    },
    /// The tombstone goes.
    Ending,
}

/// Segments written or removed by one batch.
const CHUNKS_PER_BATCH: usize = 4;

impl Core {
    /// Begins to bury the next deleted folder; false when there is none.
    pub fn bury_folder(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let Some((&id, &header)) = self.tombstones.first_key_value() else {
            return false;
        };
        let loading = Box::new(FolderLoading::begin(Vec::new()));
        let burial = Burial { id, header, step: BurialStep::Loading(loading) };
        self.house.work = Work::Burying(Box::new(burial));
        let (from, to) = keys::segments(id);
        let request = scan_request(&self.context.route, from, to);
        self.house_read(cx, request);
        true
    }

    /// A page of its rows.
    pub fn on_burial_page(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut burial: Box<Burial>,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let (entries, more) = scanned(response)?;
        let BurialStep::Loading(mut loading) = burial.step else {
            return Ok(());
        };
        let limits = self.context.limits.clone();
        let next = loading.on_page(burial.id, &burial.header, &limits, (&entries, more))?;
        match next {
            Some((from, to)) => {
                burial.step = BurialStep::Loading(loading);
                let request = scan_request(&self.context.route, from, to);
                self.house_read(cx, request);
            }
            None => {
                let index = Box::new(loading.into_index());
                burial.step = BurialStep::Freezing { index, next: 0 };
            }
        }
        self.house.work = Work::Burying(burial);
        Ok(())
    }

    /// The next batch of a burial whose rows are loaded.
    pub fn go_on_burial(&mut self, cx: &mut Cx<'_, Effect>, mut burial: Box<Burial>) {
        let (id, header) = (burial.id, burial.header);
        let mut ops = Vec::new();
        burial.step = match burial.step {
            step @ BurialStep::Loading(_) => step,
            BurialStep::Freezing { index, next } => freeze((id, header), (index, next), &mut ops),
            BurialStep::Removing { index, left } => {
                if self.exclusive != Exclusive::Free || !self.contenders.is_empty() {
                    // Reference counts are changed by one at a time, and people come first.
                    burial.step = BurialStep::Removing { index, left };
                    self.house.work = Work::Burying(burial);
                    return;
                }
                self.remove_segments(id, (index, left), &mut ops)
            }
            BurialStep::Ending => BurialStep::Ending,
        };
        if matches!(burial.step, BurialStep::Ending) {
            for kind in [keys::HEADER, keys::KEYWORDS, keys::TOMBSTONE] {
                ops.push(Op::Delete { key: keys::of_folder(kind, id) });
            }
        }
        self.house.work = Work::Burying(burial);
        self.house_submit(cx, ops, House::Buried);
    }

    fn remove_segments(
        &mut self,
        id: FolderId,
        (index, left): (Box<Index>, usize),
        ops: &mut Vec<Op>,
    ) -> BurialStep {
        let from = left.saturating_sub(CHUNKS_PER_BATCH);
        let mut metas: Vec<Meta> = Vec::new();
        for chunk in &index.chunks()[from..left] {
            ops.push(Op::Delete { key: keys::segment(id, chunk.base) });
            metas.extend_from_slice(&chunk.rows.metas);
        }
        let mod_seq = self.next_mod_seq();
        let condemned = self.release_bodies(&metas, mod_seq, ops);
        self.hold_exclusive();
        self.house.hold = Hold::Exclusive;
        self.house.condemned = Some((mod_seq, condemned));
        // The counters that a header keeps outlive it in the root record.
        ops.push(self.root_op());
        if from == 0 { BurialStep::Ending } else { BurialStep::Removing { index, left: from } }
    }

    /// A batch of a burial is durable.
    pub fn buried(&mut self, burial: Box<Burial>) {
        if let Some((mod_seq, condemned)) = self.house.condemned.take() {
            self.removals.condemn(burial.id, mod_seq, condemned);
            self.removals.told(burial.id, ModSeq(u64::MAX));
        }
        match burial.step {
            BurialStep::Ending => {
                self.tombstones.remove(&burial.id);
            }
            BurialStep::Loading(_) | BurialStep::Freezing { .. } | BurialStep::Removing { .. } => {
                self.house.work = Work::Burying(burial)
            }
        }
    }
}

/// Writes the next chunks as segments; behind the last one the log goes.
fn freeze(
    (id, header): (FolderId, Header),
    (index, next): (Box<Index>, usize),
    ops: &mut Vec<Op>,
) -> BurialStep {
    let until = index.chunks().len().min(next + CHUNKS_PER_BATCH);
    for chunk in &index.chunks()[next..until] {
        let key = keys::segment(id, chunk.base);
        match chunk.state {
            ChunkState::Clean => {}
            ChunkState::New | ChunkState::Dirty if chunk.rows.metas.is_empty() => {
                ops.push(Op::Delete { key });
            }
            ChunkState::New | ChunkState::Dirty => {
                ops.push(Op::Put { key, value: segment_value(&chunk.rows) });
            }
        }
    }
    if until < index.chunks().len() {
        return BurialStep::Freezing { index, next: until };
    }
    for (from, to) in [keys::log_from(id, ModSeq(0)), keys::vanished_from(id, ModSeq(0))] {
        ops.push(Op::DeleteRange { from, to });
    }
    for pending in &index.adopted {
        let (from, to) = keys::staged_all(*pending);
        ops.push(Op::DeleteRange { from, to });
    }
    let folded = header.mod_seq;
    let header = Header { folded, vanished_floor: folded, log_entries: 0, ..header };
    ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
    let left = index.chunks().len();
    BurialStep::Removing { index, left }
}
