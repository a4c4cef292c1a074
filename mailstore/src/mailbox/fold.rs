//! Folding: the log of a folder goes into its segments, a few chunks a batch, then the log is trimmed in a batch of its own.
//!
//! Each batch stands for itself: a segment that is newer than the log loses nothing by replay, and a log that is longer than
//! needed costs time alone. What is written is committed state; changes that commit between two batches stay in the log.

use super::change::House;
use super::core::Core;
use super::folder::Folder;
use super::format::{Header, Meta, Rows, Stretch, Writer, encode_rows, keys};
use super::house::Work;
use super::index::{Chunk, ChunkState, Index};
use super::machine::Effect;
use crate::face::{FolderId, ModSeq, PendingId, Uid};
use bytes::Bytes;
use dds::Op;
use fsm::Cx;

/// A fold on its way.
#[derive(Debug)]
pub struct Folding {
    pub folder: FolderId,
    /// Everything up to this will be in the segments.
    up_to: ModSeq,
    /// Log entries when it began.
    entries: u32,
    /// Pending sets whose rows are in the log up to there.
    adopted: Vec<PendingId>,
    /// The chunks in the batch under way, as they were written.
    written: Vec<Written>,
    /// Chunks that were empty: their segments were deleted.
    emptied: Vec<Uid>,
    pub step: FoldStep,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    base: Uid,
    mod_seq: ModSeq,
    /// Absorbed segments that the batch deletes.
    absorbed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldStep {
    /// The rows are being loaded.
    Loading,
    /// No batch is under way.
    Ready,
    Chunks,
    /// The log is being trimmed.
    Trimming,
}

/// Rows encoded in one step: about 100 us.
const ROWS_PER_BATCH: usize = 2048;

impl Core {
    /// Notes a folder whose log has grown.
    pub fn note_fold(&mut self, id: FolderId) {
        let (least, most) = (self.limits().fold_entries, self.limits().fold_entries_most);
        if let Some(folder) = self.folders.get(&id) {
            let header = &folder.committed;
            if header.log_entries >= (header.messages / 16).clamp(least, most.max(least)) {
                self.house.due.insert(id);
            }
        }
    }

    /// Begins to fold a folder whose log has grown; false when there is none.
    pub fn fold(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let ready = |id: &&FolderId| self.folders.get(id).is_none_or(|f| !f.is_loading());
        let Some(id) = self.house.due.iter().find(ready).copied() else {
            return false;
        };
        self.house.due.remove(&id);
        self.fold_folder(cx, id);
        !matches!(self.house.work, Work::None)
    }

    /// Folds one folder, whatever the length of its log.
    pub fn fold_folder(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) {
        let Some(folder) = self.folders.get(&id) else {
            return;
        };
        let header = folder.committed;
        let folding = Folding {
            folder: id,
            up_to: header.mod_seq,
            entries: header.log_entries,
            adopted: folder.loaded().map(|index| index.adopted.clone()).unwrap_or_default(),
            written: Vec::new(),
            emptied: Vec::new(),
            step: FoldStep::Loading,
        };
        if folder.loaded().is_none() {
            self.house.work = Work::Folding(folding);
            self.load_folder(cx, id, Vec::new());
            return;
        }
        self.go_on_fold(cx, folding);
    }

    /// Writes the next dirty chunks, or trims the log behind the last.
    pub fn go_on_fold(&mut self, cx: &mut Cx<'_, Effect>, mut folding: Folding) {
        let id = folding.folder;
        let bytes_max = self.limits().batch_bytes_max;
        let rows_max = self.limits().chunk_rows_max;
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let Some(index) = folder.loaded_mut() else {
            // Evicted meanwhile: the fold begins again when it is due.
            return;
        };
        let mut ops = Vec::new();
        index.merge_small(rows_max / 2);
        let mut bytes = 0;
        let mut rows = 0;
        for chunk in index.chunks() {
            if chunk.state == ChunkState::Clean {
                continue;
            }
            if rows >= ROWS_PER_BATCH || bytes >= bytes_max {
                break;
            }
            let key = keys::segment(id, chunk.base);
            ops.extend(
                chunk.absorbed.iter().map(|base| Op::Delete { key: keys::segment(id, *base) }),
            );
            if chunk.rows.metas.is_empty() {
                if chunk.state == ChunkState::Dirty {
                    ops.push(Op::Delete { key });
                }
                // What it absorbed goes with it.
                folding.emptied.push(chunk.base);
                continue;
            }
            let value = segment_value(&chunk.rows);
            bytes += value.len();
            rows += chunk.rows.metas.len();
            ops.push(Op::Put { key, value });
            let (base, mod_seq) = (chunk.base, chunk.mod_seq);
            folding.written.push(Written { base, mod_seq, absorbed: chunk.absorbed.len() });
        }
        if ops.is_empty() && folding.written.is_empty() {
            for base in std::mem::take(&mut folding.emptied) {
                index.drop_empty(base);
            }
            return self.trim_log(cx, folding);
        }
        folding.step = FoldStep::Chunks;
        self.house.work = Work::Folding(folding);
        self.house_submit(cx, ops, House::Folded);
    }

    fn trim_log(&mut self, cx: &mut Cx<'_, Effect>, mut folding: Folding) {
        let id = folding.folder;
        let limits = self.context.limits.clone();
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let floor = folder.loaded_mut().map_or(ModSeq(0), |index| {
            index.trim_vanished(limits.vanished_entries_max, limits.vanished_ranges_max)
        });
        let bytes = folder.loaded_mut().map_or(0, |index| std::mem::take(&mut index.log_bytes));
        let stretch = Stretch { up_to: folding.up_to, bytes, at: cx.wall().unix_seconds() };
        let mut ops = Vec::new();
        for pending in &folding.adopted {
            let (from, to) = keys::staged_all(*pending);
            ops.push(Op::DeleteRange { from, to });
        }
        // What is not folded yet can't be forgotten: replay needs it.
        let floor = floor.min(folding.up_to).max(folder.assigned.vanished_floor);
        let mut raised = ModSeq(0);
        if floor > folder.assigned.vanished_floor {
            let (from, to) = keys::vanished_up_to(id, floor);
            ops.push(Op::DeleteRange { from, to });
            raised = floor;
        }
        let forgotten = self.retain_events((id, stretch, raised), cx.wall(), &mut ops);
        if forgotten > ModSeq(0) {
            let (from, to) = keys::log_up_to(id, forgotten);
            ops.push(Op::DeleteRange { from, to });
        }
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let header = &mut folder.assigned;
        header.folded = folding.up_to;
        header.vanished_floor = floor;
        header.log_entries = header.log_entries.saturating_sub(folding.entries);
        let header = *header;
        ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
        folding.step = FoldStep::Trimming;
        self.house.work = Work::Folding(folding);
        self.house_submit(cx, ops, House::Trimmed { header });
    }

    /// A batch of segments is durable: chunks that did not change since are clean.
    pub fn folded(&mut self, folding: &mut Folding) {
        let index = self.folders.get_mut(&folding.folder).and_then(Folder::loaded_mut);
        let Some(index) = index else {
            return;
        };
        for written in folding.written.drain(..) {
            index.mark_written(&written);
        }
        for base in folding.emptied.drain(..) {
            index.drop_empty(base);
        }
    }

    /// The log is trimmed.
    pub fn trimmed(&mut self, folding: &Folding, header: Header) {
        if let Some(folder) = self.folders.get_mut(&folding.folder) {
            folder.commit_header(header, |recent| recent);
            if let Some(index) = folder.loaded_mut() {
                index.adopted.retain(|pending| !folding.adopted.contains(pending));
                let floor = header.vanished_floor;
                while index.vanished.front().is_some_and(|(mod_seq, _)| *mod_seq <= floor) {
                    index.vanished.pop_front();
                }
            }
        }
    }
}

/// A segment.
#[must_use]
pub fn segment_value(rows: &Rows) -> Bytes {
    let mut writer = Writer::new(rows.metas.len() * 28 + 16);
    let keyed = rows.metas.iter().map(|meta: &Meta| (meta, rows.keywords_of(meta)));
    encode_rows(&mut writer, rows.metas.len(), keyed);
    writer.finish()
}

impl Index {
    /// A segment was written as its chunk was at `mod_seq`.
    fn mark_written(&mut self, written: &Written) {
        if let Some(chunk) = self.chunk_at(written.base) {
            let same = chunk.mod_seq == written.mod_seq;
            chunk.state = if same { ChunkState::Clean } else { ChunkState::Dirty };
            chunk.absorbed.drain(..written.absorbed.min(chunk.absorbed.len()));
        }
    }

    /// The segment of an empty chunk is gone.
    fn drop_empty(&mut self, base: Uid) {
        let chunks = self.chunks_mut();
        if let Ok(at) = chunks.binary_search_by_key(&base, |chunk| chunk.base)
            && chunks[at].rows.metas.is_empty()
            && at + 1 < chunks.len()
        {
            chunks.remove(at);
        } else if let Some(chunk) = self.chunk_at(base) {
            // The last chunk keeps the place of the highest UID; its segment is gone.
            if chunk.rows.metas.is_empty() {
                chunk.state = ChunkState::Clean;
                chunk.absorbed.clear();
            }
        }
    }

    fn chunk_at(&mut self, base: Uid) -> Option<&mut Chunk> {
        let chunks = self.chunks_mut();
        let at = chunks.binary_search_by_key(&base, |chunk| chunk.base).ok()?;
        chunks.get_mut(at)
    }

    /// Merges dirty chunks with the ones before them while both have at most `rows_max` rows together.
    fn merge_small(&mut self, rows_max: usize) {
        let chunks = self.chunks_mut();
        let len = |chunk: &Chunk| chunk.rows.metas.len();
        let mut at = 1;
        while at < chunks.len() {
            let dirty =
                chunks[at].state != ChunkState::Clean || chunks[at - 1].state != ChunkState::Clean;
            if !dirty || len(&chunks[at]) + len(&chunks[at - 1]) > rows_max {
                at += 1;
                continue;
            }
            let merged = chunks.remove(at);
            let into = &mut chunks[at - 1];
            if merged.state != ChunkState::New {
                into.absorbed.push(merged.base);
            }
            into.absorbed.extend(merged.absorbed);
            into.mod_seq = into.mod_seq.max(merged.mod_seq);
            into.rows.metas.extend(merged.rows.metas);
            into.rows.keywords.extend(merged.rows.keywords);
            if into.state == ChunkState::Clean {
                into.state = ChunkState::Dirty;
            }
        }
    }

    /// The floor that keeps the vanished records under their caps: those up to it are to be forgotten.
    fn trim_vanished(&self, entries_max: usize, ranges_max: usize) -> ModSeq {
        let mut ranges = 0_usize;
        let mut kept = 0_usize;
        for (mod_seq, uids) in self.vanished.iter().rev() {
            kept += 1;
            ranges += uids.ranges().len();
            if kept > entries_max || ranges > ranges_max {
                return *mod_seq;
            }
        }
        ModSeq(0)
    }
}

impl Folder {
    #[must_use]
    pub fn is_loading(&self) -> bool {
        matches!(self.index, super::folder::IndexState::Loading(_))
    }
}
