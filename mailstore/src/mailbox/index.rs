//! The rows of one folder in memory: committed state, in chunks that correspond to segments in the store.
//!
//! Invariants: UIDs rise from chunk to chunk and within each; a chunk's base is at most its first UID and never changes; a
//! row's MODSEQ is that of its last change, so that replaying a change twice does nothing.

use super::format::{LogEntry, Meta, Rows};
use crate::face::{
    FlagChange, FlagRow, Flags, ModSeq, PendingId, SystemFlag, SystemFlags, Uid, UidSet,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Up to 512 neighbouring rows: one segment of the store, once folded.
#[derive(Debug)]
pub struct Chunk {
    /// Names the segment.
    pub base: Uid,
    pub state: ChunkState,
    /// No row has changed since.
    pub mod_seq: ModSeq,
    pub rows: Rows,
    /// Segments whose rows were merged into this chunk: they go in the batch that writes it.
    pub absorbed: Vec<Uid>,
}

/// How a chunk relates to its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkState {
    /// There is none.
    New,
    /// The segment says the same.
    Clean,
    /// The segment is older.
    Dirty,
}

impl Chunk {
    fn touch(&mut self, mod_seq: ModSeq) {
        self.mod_seq = self.mod_seq.max(mod_seq);
        self.state = match self.state {
            ChunkState::New => ChunkState::New,
            ChunkState::Clean | ChunkState::Dirty => ChunkState::Dirty,
        };
    }
}

/// A message that was expunged and may still be read by those who were not told.
#[derive(Clone, Copy, Debug)]
pub struct Grave {
    pub meta: Meta,
    pub keywords: u128,
    pub expunged: ModSeq,
}

/// The rows of a loaded folder.
#[derive(Debug, Default)]
pub struct Index {
    chunks: Vec<Chunk>,
    /// Expunged UIDs above the header's floor, rising by MODSEQ.
    pub vanished: VecDeque<(ModSeq, UidSet)>,
    pub graves: BTreeMap<Uid, Grave>,
    /// Pending sets whose staged rows are replayed from the log until the next fold.
    pub adopted: Vec<PendingId>,
    /// Bytes of the log since the last fold.
    pub log_bytes: u64,
    uids: Option<Arc<UidSet>>,
    messages: usize,
}

impl Index {
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    pub fn chunks_mut(&mut self) -> &mut Vec<Chunk> {
        self.uids = None;
        &mut self.chunks
    }

    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.messages * size_of::<Meta>()
            + self.chunks.len() * size_of::<Chunk>()
            + self.vanished.len() * 64
            + self.graves.len() * 128
    }

    /// All UIDs; shared until the next arrival or expunge.
    pub fn uids(&mut self) -> Arc<UidSet> {
        let chunks = &self.chunks;
        let all = self.uids.get_or_insert_with(|| {
            let mut uids = UidSet::new();
            for metas in chunks.iter().map(|chunk| &chunk.rows.metas) {
                let (Some(first), Some(last)) = (metas.first(), metas.last()) else { continue };
                // Rows rise by UID: so many of them between two UIDs leave no gap.
                if (last.uid.0 - first.uid.0) as usize == metas.len() - 1 {
                    uids.append_range(first.uid.0, last.uid.0);
                } else {
                    metas.iter().for_each(|meta| uids.insert(meta.uid));
                }
            }
            Arc::new(uids)
        });
        Arc::clone(all)
    }

    /// Takes a segment while loading, in rising order. False when it does not continue the ones before.
    pub fn load_segment(&mut self, base: Uid, rows: Rows) -> bool {
        let last = self.chunks.last().map(|chunk| {
            chunk.rows.metas.last().map_or(chunk.base, |meta| meta.uid.max(chunk.base))
        });
        let first = rows.metas.first().map_or(base, |meta| meta.uid);
        if base > first || last.is_some_and(|last| last >= base) {
            return false;
        }
        self.messages += rows.metas.len();
        let mod_seq = rows.metas.iter().map(|meta| meta.mod_seq).max().unwrap_or_default();
        self.chunks.push(Chunk {
            base,
            state: ChunkState::Clean,
            mod_seq,
            rows,
            absorbed: Vec::new(),
        });
        true
    }

    /// Adds an arrived row; does nothing when it is there, or when its UID lies below the last one.
    pub fn arrive(&mut self, meta: Meta, keywords: u128, chunk_rows_max: usize) {
        if self.last_uid().is_some_and(|last| meta.uid <= last) {
            return;
        }
        let fits = |chunk: &&mut Chunk| chunk.rows.metas.len() < chunk_rows_max;
        if let Some(uids) = &mut self.uids {
            Arc::make_mut(uids).insert(meta.uid);
        }
        self.messages += 1;
        match self.chunks.last_mut().filter(fits) {
            Some(chunk) => {
                chunk.touch(meta.mod_seq);
                chunk.rows.push(meta, keywords);
            }
            None => {
                let (base, mod_seq) = (meta.uid, meta.mod_seq);
                let mut rows = Rows::default();
                rows.metas.reserve(8);
                rows.push(meta, keywords);
                let state = ChunkState::New;
                self.chunks.push(Chunk { base, state, mod_seq, rows, absorbed: Vec::new() });
            }
        }
    }

    /// The highest UID of a row, or of the place where one was.
    fn last_uid(&self) -> Option<Uid> {
        let chunk = self.chunks.last()?;
        Some(chunk.rows.metas.last().map_or(chunk.base, |meta| meta.uid.max(chunk.base)))
    }

    fn chunk_of(&self, uid: Uid) -> usize {
        self.chunks.partition_point(|chunk| chunk.base <= uid).saturating_sub(1)
    }

    /// The chunks with rows from `first` on; the first of them may begin before.
    #[must_use]
    pub fn chunks_from(&self, first: Uid) -> &[Chunk] {
        &self.chunks[self.chunk_of(first).min(self.chunks.len())..]
    }

    /// The row of a message that is here.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<(&Meta, &Rows)> {
        let rows = &self.chunks.get(self.chunk_of(uid))?.rows;
        let at = rows.metas.binary_search_by_key(&uid, |meta| meta.uid).ok()?;
        Some((&rows.metas[at], rows))
    }

    /// Rows among `uids`, rising.
    pub fn rows_in<'a>(
        &'a self,
        uids: &'a UidSet,
    ) -> impl Iterator<Item = (&'a Meta, &'a Rows)> + 'a {
        uids.ranges()
            .iter()
            .flat_map(move |&(first, last)| self.rows_between(Uid(first), Uid(last)))
    }

    /// Rows from `first` to `last`, rising.
    pub fn rows_between(&self, first: Uid, last: Uid) -> impl Iterator<Item = (&Meta, &Rows)> + '_ {
        self.chunks_from(first).iter().take_while(move |chunk| chunk.base <= last).flat_map(
            move |chunk| {
                let metas = &chunk.rows.metas;
                let from = metas.partition_point(|meta| meta.uid < first);
                let to = metas.partition_point(|meta| meta.uid <= last);
                metas[from..to.max(from)].iter().map(move |meta| (meta, &chunk.rows))
            },
        )
    }

    /// Rows that changed after `since`, rising.
    pub fn rows_since(&self, since: ModSeq) -> impl Iterator<Item = (&Meta, &Rows)> + '_ {
        self.chunks.iter().filter(move |chunk| chunk.mod_seq > since).flat_map(move |chunk| {
            let changed = chunk.rows.metas.iter().filter(move |meta| meta.mod_seq > since);
            changed.map(move |meta| (meta, &chunk.rows))
        })
    }

    /// Changes the flags of `uids` where they have not changed since.
    pub fn flag(&mut self, uids: &UidSet, (change, flags): (FlagChange, Flags), mod_seq: ModSeq) {
        for &(first, last) in uids.ranges() {
            let from = self.chunk_of(Uid(first));
            for chunk in &mut self.chunks[from..] {
                if chunk.base.0 > last {
                    break;
                }
                flag_chunk(chunk, (Uid(first), Uid(last)), (change, flags), mod_seq);
            }
        }
    }

    /// Removes rows; those that were there come back, rising.
    pub fn remove(&mut self, uids: &UidSet, mod_seq: ModSeq) -> Vec<(Meta, u128)> {
        let mut removed = Vec::new();
        for &(first, last) in uids.ranges() {
            let from = self.chunk_of(Uid(first));
            for chunk in &mut self.chunks[from..] {
                if chunk.base.0 > last {
                    break;
                }
                remove_from_chunk(chunk, (Uid(first), Uid(last)), mod_seq, &mut removed);
            }
        }
        if !removed.is_empty() {
            self.messages -= removed.len();
            self.uids = None;
        }
        removed
    }

    /// Remembers an expunge for those who ask what vanished.
    pub fn note_vanished(&mut self, mod_seq: ModSeq, uids: &UidSet) {
        match self.vanished.binary_search_by_key(&mod_seq, |(at, _)| *at) {
            Ok(at) => self.vanished[at].1 = self.vanished[at].1.union(uids),
            Err(at) => self.vanished.insert(at, (mod_seq, uids.clone())),
        }
    }

    /// What vanished after `since`, when the records reach so far back.
    #[must_use]
    pub fn vanished_since(&self, since: ModSeq, floor: ModSeq) -> Option<UidSet> {
        if since < floor {
            return None;
        }
        let from = self.vanished.partition_point(|(mod_seq, _)| *mod_seq <= since);
        let mut ranges = Vec::new();
        for (_, uids) in self.vanished.range(from..) {
            ranges.extend_from_slice(uids.ranges());
        }
        Some(UidSet::from_ranges(ranges))
    }

    /// Applies a log entry while loading; adopted sets are given by the caller as arrivals.
    pub fn replay(&mut self, entry: LogEntry, mod_seq: ModSeq, chunk_rows_max: usize) {
        match entry {
            LogEntry::Arrived(rows) => {
                for meta in &rows.metas {
                    self.arrive(*meta, rows.keywords_of(meta), chunk_rows_max);
                }
            }
            LogEntry::Flagged { change, flags, uids } => self.flag(&uids, (change, flags), mod_seq),
            LogEntry::Adopted { pending, .. } => self.adopted.push(pending),
        }
    }

    /// The first message without `\Seen`.
    #[must_use]
    pub fn first_unseen(&self) -> Option<Uid> {
        let mut metas = self.chunks.iter().flat_map(|chunk| &chunk.rows.metas);
        metas.find(|meta| !meta.flags.has(SystemFlag::Seen)).map(|meta| meta.uid)
    }
}

fn flag_chunk(
    chunk: &mut Chunk,
    (first, last): (Uid, Uid),
    (change, flags): (FlagChange, Flags),
    mod_seq: ModSeq,
) {
    let Rows { metas, keywords } = &mut chunk.rows;
    let from = metas.partition_point(|meta| meta.uid < first);
    let mut touched = false;
    for meta in metas[from..].iter_mut().take_while(|meta| meta.uid <= last) {
        if meta.mod_seq >= mod_seq {
            continue;
        }
        let before = if meta.keyworded { keywords.get(&meta.uid).copied().unwrap_or(0) } else { 0 };
        let after = changed(Flags { system: meta.flags, keywords: before }, change, flags);
        meta.flags = after.system;
        meta.mod_seq = mod_seq;
        if after.keywords != before {
            meta.keyworded = after.keywords != 0;
            if meta.keyworded {
                keywords.insert(meta.uid, after.keywords);
            } else {
                keywords.remove(&meta.uid);
            }
        }
        touched = true;
    }
    if touched {
        chunk.touch(mod_seq);
    }
}

fn remove_from_chunk(
    chunk: &mut Chunk,
    (first, last): (Uid, Uid),
    mod_seq: ModSeq,
    removed: &mut Vec<(Meta, u128)>,
) {
    let Rows { metas, keywords } = &mut chunk.rows;
    let from = metas.partition_point(|meta| meta.uid < first);
    let to = metas.partition_point(|meta| meta.uid <= last);
    if from >= to {
        return;
    }
    for meta in metas.drain(from..to) {
        let bits = if meta.keyworded { keywords.remove(&meta.uid).unwrap_or(0) } else { 0 };
        removed.push((meta, bits));
    }
    chunk.touch(mod_seq);
}

/// RFC 9051 6.4.6: what STORE makes of flags.
#[must_use]
pub fn changed(before: Flags, change: FlagChange, flags: Flags) -> Flags {
    match change {
        FlagChange::Add => Flags {
            system: SystemFlags(before.system.0 | flags.system.0),
            keywords: before.keywords | flags.keywords,
        },
        FlagChange::Remove => Flags {
            system: SystemFlags(before.system.0 & !flags.system.0),
            keywords: before.keywords & !flags.keywords,
        },
        FlagChange::Replace => flags,
    }
}

/// The row as a session is told of it.
#[must_use]
pub fn flag_row(meta: &Meta, rows: &Rows) -> FlagRow {
    FlagRow { uid: meta.uid, mod_seq: meta.mod_seq, flags: rows.flags_of(meta) }
}
