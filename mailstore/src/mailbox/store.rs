//! STORE: which messages change, and what they change to (RFC 9051 6.4.6, RFC 7162 3.1.3). Large orders go slice by slice,
//! each a batch of its own with a MODSEQ of its own.

use super::change::{Asker, Change, Flagging};
use super::core::Core;
use super::format::{LogEntry, keys, split_uids};
use super::index::changed;
use super::machine::Effect;
use super::show::Parked;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    FlagChange, Flags, FolderId, Keyword, ModSeq, Stored, SystemFlag, SystemFlags, TaskRefusal,
    UidSet, UserDone, UserError, UserTask,
};
use dds::Op;
use fsm::Cx;
use std::sync::Arc;

/// A STORE.
#[derive(Debug)]
pub struct StoreOrder {
    pub folder: FolderId,
    pub uids: UidSet,
    pub change: FlagChange,
    pub flags: SystemFlags,
    pub keywords: Vec<Keyword>,
    pub unchanged_since: Option<ModSeq>,
}

impl StoreOrder {
    fn into_task(self) -> UserTask {
        UserTask::Store {
            folder: self.folder,
            uids: self.uids,
            change: self.change,
            flags: self.flags,
            keywords: self.keywords,
            unchanged_since: self.unchanged_since,
        }
    }
}

/// A STORE under way. Its slices do not wait for each other: they change different rows, and nobody else changes any.
#[derive(Debug)]
pub struct ParkedStore {
    pub asker: Asker,
    /// What is left of it.
    order: StoreOrder,
    /// Slices that have not settled.
    under_way: usize,
    changed: UidSet,
    modified: UidSet,
}

impl ParkedStore {
    /// Whether it need not wait: there is another slice, or all have settled.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        !self.order.uids.is_empty() || self.under_way == 0
    }
}

/// What a slice of a STORE changes, how the counts change with it, and what is left.
#[derive(Debug, Default)]
struct Judged {
    changed: UidSet,
    modified: UidSet,
    left: UidSet,
    unseen: i64,
    deleted: i64,
    deleted_bytes: i64,
}

/// Rows judged for one unit of budget (100 ns).
const ROWS_PER_UNIT: u64 = 8;

impl Core {
    pub fn store(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, order: StoreOrder) {
        let id = order.folder;
        let loaded = self.folders.get(&id).is_some_and(|folder| folder.loaded().is_some());
        if !loaded {
            let waiting = Waiting { asker, task: order.into_task(), blob: BlobLife::AsFound };
            self.when_loaded(cx, id, waiting);
            return;
        }
        let (changed, modified) = (UidSet::new(), UidSet::new());
        self.hold_exclusive();
        self.store_slice(cx, ParkedStore { asker, order, under_way: 0, changed, modified });
    }

    /// Goes on with a STORE: the next slice, or the answer.
    pub fn resume_store(&mut self, cx: &mut Cx<'_, Effect>, parked: ParkedStore) {
        if !parked.order.uids.is_empty() {
            return self.store_slice(cx, parked);
        }
        self.release_exclusive();
        let Some(folder) = self.folders.get(&parked.order.folder) else {
            return fail(cx, parked.asker, UserError::NoSuchFolder);
        };
        let stored = Stored {
            mod_seq: folder.committed.mod_seq,
            changed: parked.changed,
            modified: parked.modified,
            keywords: Arc::clone(&folder.keywords),
        };
        answer(cx, parked.asker, Ok(UserDone::Stored(stored)));
    }

    fn store_slice(&mut self, cx: &mut Cx<'_, Effect>, mut parked: ParkedStore) {
        let id = parked.order.folder;
        let mark = self.mark_keywords(id);
        let mut ops = Vec::with_capacity(4);
        let slice_max = self.limits().store_slice;
        let judged = self.store_bits(&parked.order, &mut ops).map(|keywords| {
            let flags = Flags { system: parked.order.flags, keywords };
            let folder = self.folders.get(&id);
            (flags, folder.map(|folder| judge(folder, &parked.order, (flags, slice_max))))
        });
        let (flags, mut judged) = match judged {
            Ok((flags, judged)) => (flags, judged.unwrap_or_default()),
            // Only before the first slice that changes anything: then the keywords are known.
            Err(error) => {
                self.release_exclusive();
                return fail(cx, parked.asker, error);
            }
        };
        cx.budget().spend(slice_max as u64 / ROWS_PER_UNIT);
        parked.order.uids = std::mem::take(&mut judged.left);
        parked.modified = parked.modified.union(&judged.modified);
        if judged.changed.is_empty() {
            // No MODSEQ is spent. A keyword that nobody bears is forgotten again.
            self.forget_keywords(mark);
        } else {
            parked.under_way += 1;
            parked.changed = parked.changed.union(&judged.changed);
            self.store_now(cx, &parked.order, (flags, judged), ops);
        }
        self.parked = Some(Parked::Store(Box::new(parked)));
    }

    /// The bits of the keywords named. Removing one that the folder does not know makes no entry for it.
    fn store_bits(&mut self, order: &StoreOrder, ops: &mut Vec<Op>) -> Result<u128, UserError> {
        match order.change {
            FlagChange::Add | FlagChange::Replace => {
                self.assign_keywords(order.folder, &order.keywords, ops)
            }
            FlagChange::Remove => {
                let folder = self.folders.get(&order.folder).ok_or(UserError::NoSuchFolder)?;
                let bits = order.keywords.iter().filter_map(|keyword| folder.keyword_bit(keyword));
                Ok(bits.fold(0, |bits, bit| bits | 1_u128 << bit))
            }
        }
    }

    fn store_now(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        order: &StoreOrder,
        (flags, judged): (Flags, Judged),
        mut ops: Vec<Op>,
    ) {
        let mod_seq = self.next_mod_seq();
        let (id, change) = (order.folder, order.change);
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        for (part, uids) in (0_u16..).zip(split_uids(&judged.changed)) {
            let entry = LogEntry::Flagged { change, flags, uids };
            ops.push(Op::Put { key: keys::log(id, mod_seq, part), value: entry.encode() });
            folder.assigned.log_entries = folder.assigned.log_entries.saturating_add(1);
        }
        let header = &mut folder.assigned;
        let apply = |count: u32, by: i64| {
            u32::try_from(i64::from(count).saturating_add(by).max(0)).unwrap_or(u32::MAX)
        };
        header.unseen = apply(header.unseen, judged.unseen);
        header.deleted = apply(header.deleted, judged.deleted);
        header.deleted_bytes = header.deleted_bytes.saturating_add_signed(judged.deleted_bytes);
        header.mod_seq = mod_seq;
        let header = *header;
        ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
        let uids = judged.changed;
        let flagging = Flagging { folder: id, header, mod_seq, change, flags, uids };
        self.pipeline.submit(cx, ops, Change::Flagged(Box::new(flagging)));
    }

    /// Flags changed.
    pub fn flagged(&mut self, cx: &mut Cx<'_, Effect>, flagging: Flagging) {
        let Flagging { folder: id, header, mod_seq, change, flags, uids } = flagging;
        if let Some(folder) = self.folders.get_mut(&id) {
            folder.commit_header(header, |recent| recent);
            folder.show_flags(&uids, (change, flags), mod_seq);
        }
        if let Some(Parked::Store(parked)) = &mut self.parked {
            parked.under_way -= 1;
        }
        self.notify_changed(cx, id);
    }

    /// A slice was refused, and so will be all behind it.
    pub fn flagging_refused(&mut self, cx: &mut Cx<'_, Effect>, why: TaskRefusal) {
        match self.parked.take() {
            Some(Parked::Store(parked)) => {
                self.release_exclusive();
                answer(cx, parked.asker, Err(why));
            }
            other => self.parked = other,
        }
    }
}

/// Judges the next `slice_max` rows.
fn judge(
    folder: &super::folder::Folder,
    order: &StoreOrder,
    (flags, slice_max): (Flags, usize),
) -> Judged {
    let mut judged = Judged::default();
    let Some(index) = folder.loaded() else {
        return judged;
    };
    for (seen, (meta, rows)) in index.rows_in(&order.uids).enumerate() {
        if seen >= slice_max {
            judged.left = order.uids.difference(&UidSet::from_range(1..=meta.uid.0 - 1));
            break;
        }
        // RFC 7162 3.1.3: judged per message; what changed since is left alone and reported.
        if order.unchanged_since.is_some_and(|since| meta.mod_seq > since) {
            judged.modified.insert(meta.uid);
            continue;
        }
        let before = rows.flags_of(meta);
        let after = changed(before, order.change, flags);
        if after == before {
            continue;
        }
        judged.changed.insert(meta.uid);
        let step = |flag: SystemFlag| {
            i64::from(after.system.has(flag)) - i64::from(before.system.has(flag))
        };
        judged.unseen -= step(SystemFlag::Seen);
        judged.deleted += step(SystemFlag::Deleted);
        judged.deleted_bytes += step(SystemFlag::Deleted) * i64::from(meta.bytes);
    }
    judged
}
