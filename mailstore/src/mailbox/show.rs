//! Rows become visible in a folder: what APPEND of several messages, COPY, MOVE and RENAME INBOX end with.
//!
//! Few rows go in one batch. Many are staged first, invisible under a pending set, in as many batches as it takes; then one
//! last batch adopts the set, and removes the source of a move. Until that one commits nothing has happened, and what was
//! staged is an orphan.

use super::change::{Asker, Change, MadeFolder, Removal, Showing, ShowingSource};
use super::core::Core;
use super::expunge::{Bodies, ParkedExpunge};
use super::folders::put_made;
use super::format::{
    Header, LogEntry, Meta, PendingBodies, PendingSet, References, Rows, VALUE_BYTES_FILL, Writer,
    encode_rows, keys,
};
use super::machine::Effect;
use super::settle::Hold;
use super::store::ParkedStore;
use super::{answer, fail};
use crate::face::{
    Copied, FolderId, ModSeq, PendingId, TaskRefusal, Uid, UidSet, UidValidity, UserDone, UserError,
};
use bytes::Bytes;
use dds::Op;
use fsm::Cx;
use std::collections::BTreeSet;

/// Work that holds `exclusive` between two batches.
#[derive(Debug)]
pub enum Parked {
    Expunge(ParkedExpunge),
    Store(Box<ParkedStore>),
    Show(Box<ShowPlan>),
}

impl Parked {
    /// Whether it waits for nothing but its turn.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        match self {
            Self::Expunge(_) | Self::Show(_) => true,
            Self::Store(parked) => parked.may_go_on(),
        }
    }

    #[must_use]
    pub fn asker(&self) -> Asker {
        match self {
            Self::Expunge(parked) => parked.asker,
            Self::Store(parked) => parked.asker,
            Self::Show(plan) => plan.asker,
        }
    }
}

/// What is to be shown.
#[derive(Debug)]
pub struct ShowPlan {
    pub asker: Asker,
    pub target: FolderId,
    /// Folders to be made in the last batch; the target is the last of them.
    pub made: Vec<MadeFolder>,
    /// Rows as they will be; UIDs and MODSEQ come last.
    pub rows: Rows,
    pub from: ShowFrom,
    /// How many rows are staged, and where.
    pub staged: usize,
    pub pending: Option<PendingId>,
    /// Records that go with the last batch.
    pub ops: Vec<Op>,
    pub hold: Hold,
}

/// Where the rows come from.
#[derive(Debug)]
pub enum ShowFrom {
    Append { pending: PendingId },
    Copy { source: UidSet },
    Move { folder: FolderId, source: UidSet },
    RenameInbox { inbox: FolderId, source: UidSet },
}

impl ShowPlan {
    /// The appended set that this shows, if any.
    #[must_use]
    pub const fn shows(&self) -> Option<PendingId> {
        match self.from {
            ShowFrom::Append { pending } => Some(pending),
            ShowFrom::Copy { .. } | ShowFrom::Move { .. } | ShowFrom::RenameInbox { .. } => None,
        }
    }

    const fn bodies(&self) -> PendingBodies {
        match self.from {
            ShowFrom::Copy { .. } => PendingBodies::Counted,
            ShowFrom::Append { .. } | ShowFrom::Move { .. } | ShowFrom::RenameInbox { .. } => {
                PendingBodies::Borrowed
            }
        }
    }
}

/// Rows of one value at most: 88 bytes each.
const VALUE_ROWS_MAX: usize = VALUE_BYTES_FILL / 96;

impl Core {
    /// Whether a folder can take so many messages more.
    pub fn check_room(&self, id: FolderId, count: usize) -> Result<(), UserError> {
        let folder = self.folders.get(&id).ok_or(UserError::NoSuchFolder)?;
        let count =
            u32::try_from(count).map_err(|_| UserError::Limit("too many messages".into()))?;
        let messages = folder.assigned.messages.checked_add(count);
        let uids = folder.assigned.uid_next.checked_add(count);
        if messages.is_none_or(|messages| messages > self.limits().folder_messages_max)
            || uids.is_none()
        {
            return Err(UserError::Limit("too many messages in the folder".into()));
        }
        Ok(())
    }

    /// Goes on with a plan: the next slice to stage, or the last batch. What takes more than one batch holds `exclusive`.
    pub fn go_on_show(&mut self, cx: &mut Cx<'_, Effect>, plan: Box<ShowPlan>) {
        let slice = self.limits().batch_rows_max.max(1);
        if plan.rows.metas.len() > slice && plan.staged < plan.rows.metas.len() {
            return self.stage_slice(cx, plan, slice);
        }
        let (asker, hold) = (plan.asker, plan.hold);
        let orphan = plan.pending.map(|pending| (pending, plan.bodies()));
        if let Err(error) = self.show_now(cx, *plan) {
            self.release(hold);
            self.orphan(orphan);
            fail(cx, asker, error);
        }
    }

    fn orphan(&mut self, orphan: Option<(PendingId, PendingBodies)>) {
        if let Some((pending, owns)) = orphan {
            self.removals.add_orphan(pending, PendingSet { owns });
        }
    }

    fn stage_slice(&mut self, cx: &mut Cx<'_, Effect>, mut plan: Box<ShowPlan>, slice: usize) {
        // A keyword table that grew goes first: headers count it from now on.
        let mut ops = std::mem::take(&mut plan.ops);
        let bodies = plan.bodies();
        let pending = match plan.pending {
            Some(pending) => pending,
            None => {
                let pending = PendingId(self.counters.next_pending);
                self.counters.next_pending += 1;
                let set = PendingSet { owns: bodies };
                ops.push(Op::Put { key: keys::pending(pending), value: set.encode() });
                // The number must not be used again while a log refers to it.
                ops.push(self.root_op());
                plan.pending = Some(pending);
                pending
            }
        };
        let until = plan.rows.metas.len().min(plan.staged + slice);
        let metas = &plan.rows.metas[plan.staged..until];
        for (at, metas) in metas.chunks(VALUE_ROWS_MAX).enumerate() {
            let first = plan.staged + at * VALUE_ROWS_MAX;
            let index = u32::try_from(first).unwrap_or(u32::MAX);
            let value = staged_value(metas, &plan.rows);
            ops.push(Op::Put { key: keys::staged(pending, index), value });
        }
        match bodies {
            PendingBodies::Counted => self.count_references(metas, &mut ops),
            PendingBodies::Own | PendingBodies::Borrowed => {}
        }
        plan.staged = until;
        self.pipeline.submit(cx, ops, Change::Shelved(plan));
    }

    /// A slice is durable.
    pub fn shelved(&mut self, plan: Box<ShowPlan>) {
        self.references_undo.clear();
        self.parked = Some(Parked::Show(plan));
    }

    /// A slice was refused: what was staged before it goes.
    pub fn shelf_refused(&mut self, cx: &mut Cx<'_, Effect>, plan: &ShowPlan, why: TaskRefusal) {
        self.orphan(plan.pending.map(|pending| (pending, plan.bodies())));
        answer(cx, plan.asker, Err(why));
    }

    /// The last batch.
    fn show_now(&mut self, cx: &mut Cx<'_, Effect>, plan: ShowPlan) -> Result<(), UserError> {
        let ShowPlan { asker, target, mut made, rows, from, staged: _, pending, mut ops, hold } =
            plan;
        let mod_seq = self.next_mod_seq();
        let email_next = self.counters.email_next;
        let (mut header, uid_validity) = match made.last() {
            Some(folder) => (folder.header, folder.uid_validity),
            None => {
                let folder = self.folders.get(&target).ok_or(UserError::NoSuchFolder)?;
                (folder.assigned, folder.uid_validity)
            }
        };
        let shown = number_rows(&rows, &mut header, mod_seq)?;
        header.email_next = header.email_next.max(email_next);
        put_log(target, &shown, (mod_seq, pending), &mut header, &mut ops);
        if let Some(folder) = made.last_mut() {
            folder.header = header;
        }
        for folder in &made {
            put_made(folder, &mut ops);
        }
        if made.is_empty() {
            let key = keys::of_folder(keys::HEADER, target);
            ops.push(Op::Put { key, value: header.encode() });
            if let Some(folder) = self.folders.get_mut(&target) {
                folder.assigned = header;
            }
        } else {
            ops.push(self.root_op());
        }
        let bytes: u64 = shown.metas.iter().map(|meta| u64::from(meta.bytes)).sum();
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
        self.usage.messages += shown.metas.len() as u64;
        if let Some(pending) = pending {
            ops.push(Op::Delete { key: keys::pending(pending) });
        }
        let (removal, source) =
            self.finish_source(from, (asker, uid_validity), (&shown, pending), &mut ops);
        // Within one folder the header of the removal is the later one, and counts both.
        let header = match &removal {
            Some(removal) if removal.folder == target => removal.header,
            Some(_) | None => header,
        };
        let showing = Showing {
            folder: target,
            made,
            header,
            rows: shown,
            adopted: pending,
            removal,
            source,
            hold,
        };
        self.pipeline.submit(cx, ops, Change::Shown(Box::new(showing)));
        Ok(())
    }

    /// What the last batch does to where the rows come from, and how it is answered.
    fn finish_source(
        &mut self,
        from: ShowFrom,
        (asker, uid_validity): (Asker, UidValidity),
        (shown, staged): (&Rows, Option<PendingId>),
        ops: &mut Vec<Op>,
    ) -> (Option<Removal>, ShowingSource) {
        let target: UidSet = shown.metas.iter().map(|meta| meta.uid).collect();
        match from {
            ShowFrom::Append { pending } => {
                ops.push(Op::Delete { key: keys::pending(pending) });
                let (from, to) = keys::staged_all(pending);
                ops.push(Op::DeleteRange { from, to });
                (None, ShowingSource::Append { pending, asker })
            }
            ShowFrom::Copy { source } => {
                if staged.is_none() {
                    self.count_references(&shown.metas, ops);
                }
                let mod_seq = shown.metas.first().map_or(ModSeq(0), |meta| meta.mod_seq);
                let copied = Copied { uid_validity, source, target, mod_seq };
                (None, ShowingSource::Copy { copied, asker })
            }
            ShowFrom::Move { folder, source } => {
                let removal = self.remove_rows(folder, &source, Bodies::Keep, ops);
                let mod_seq = removal.as_ref().map_or(ModSeq(0), |removal| removal.mod_seq);
                let copied = Copied { uid_validity, source, target, mod_seq };
                (removal, ShowingSource::Copy { copied, asker })
            }
            ShowFrom::RenameInbox { inbox, source } => {
                let removal = self.remove_rows(inbox, &source, Bodies::Keep, ops);
                (removal, ShowingSource::RenamedInbox { asker })
            }
        }
    }

    /// One reference more for each.
    fn count_references(&mut self, metas: &[Meta], ops: &mut Vec<Op>) {
        let mut pages = BTreeSet::new();
        for meta in metas {
            let count = self.references.get(&meta.email).copied().unwrap_or(1);
            self.set_reference(meta.email, Some(count.saturating_add(1)));
            pages.insert(References::page_of(meta.email));
        }
        self.put_reference_pages(&pages, ops);
    }

    /// Rows became visible.
    pub fn shown(&mut self, cx: &mut Cx<'_, Effect>, showing: Showing) {
        let Showing { folder: id, made, header, rows, adopted, removal, source, hold } = showing;
        self.release(hold);
        // Who holds nothing has counted no reference: what is noted there is another's.
        if hold == Hold::Exclusive {
            self.references_undo.clear();
        }
        for mut folder in made {
            // Counted below, like any arrival.
            folder.header = Header { recent: 0, ..folder.header };
            let made = folder.id;
            self.add_folder(folder);
            if let Some(folder) = self.folders.get_mut(&made).filter(|_| made == id) {
                folder.assigned.recent = header.recent;
            }
        }
        let chunk_rows_max = self.limits().chunk_rows_max;
        let arrived = u32::try_from(rows.metas.len()).unwrap_or(u32::MAX);
        let mut uid_validity = UidValidity(0);
        if let Some(folder) = self.folders.get_mut(&id) {
            uid_validity = folder.uid_validity;
            folder.commit_header(header, |recent| recent.saturating_add(arrived));
            for meta in &rows.metas {
                folder.show_row(*meta, rows.keywords_of(meta), chunk_rows_max);
            }
            if let (Some(pending), Some(index)) = (adopted, folder.loaded_mut()) {
                index.adopted.push(pending);
            }
        }
        let emptied = removal.as_ref().map(|removal| removal.folder);
        if let Some(removal) = removal {
            self.removal_committed(removal);
        }
        match source {
            ShowingSource::Append { pending, asker } => {
                if let Some(set) = self.pending.remove(&pending) {
                    // Its messages are counted in the folder now.
                    let (bytes, messages) = set.usage();
                    self.usage.bytes = self.usage.bytes.saturating_sub(bytes);
                    self.usage.messages = self.usage.messages.saturating_sub(messages);
                }
                let uids = rows.metas.iter().map(|meta| meta.uid).collect();
                answer(cx, asker, Ok(UserDone::Appended { folder: id, uid_validity, uids }));
            }
            ShowingSource::Copy { copied, asker } => {
                answer(cx, asker, Ok(UserDone::Copied(copied)));
            }
            ShowingSource::RenamedInbox { asker } => answer(cx, asker, Ok(UserDone::Done)),
        }
        self.notify_changed(cx, id);
        if let Some(emptied) = emptied.filter(|emptied| *emptied != id) {
            self.notify_changed(cx, emptied);
        }
    }

    /// The last batch was refused.
    pub fn show_refused(&mut self, showing: &Showing) {
        let bodies = match &showing.source {
            ShowingSource::Copy { .. } if showing.removal.is_none() => PendingBodies::Counted,
            ShowingSource::Copy { .. }
            | ShowingSource::Append { .. }
            | ShowingSource::RenamedInbox { .. } => PendingBodies::Borrowed,
        };
        self.orphan(showing.adopted.map(|pending| (pending, bodies)));
    }
}

/// Rows with their UIDs and MODSEQ, counted into the header.
fn number_rows(rows: &Rows, header: &mut Header, mod_seq: ModSeq) -> Result<Rows, UserError> {
    let mut shown = Rows::default();
    shown.metas.reserve_exact(rows.metas.len());
    for meta in &rows.metas {
        let uid = header.assign_uid().ok_or(UserError::Limit("no UID is left".into()))?;
        let row = Meta { uid, mod_seq, created: mod_seq, ..*meta };
        header.count_in(&row);
        shown.push(row, rows.keywords_of(meta));
    }
    header.mod_seq = mod_seq;
    Ok(shown)
}

/// The log entries of rows that arrive together.
fn put_log(
    id: FolderId,
    shown: &Rows,
    (mod_seq, pending): (ModSeq, Option<PendingId>),
    header: &mut Header,
    ops: &mut Vec<Op>,
) {
    if let Some(pending) = pending {
        let first_uid = shown.metas.first().map_or(Uid(1), |meta| meta.uid);
        let count = u32::try_from(shown.metas.len()).unwrap_or(u32::MAX);
        let entry = LogEntry::Adopted { pending, first_uid, count };
        ops.push(Op::Put { key: keys::log(id, mod_seq, 0), value: entry.encode() });
        // Adopted rows are read with the log: it is worth folding soon.
        header.log_entries = header.log_entries.saturating_add(count);
        return;
    }
    for (part, metas) in (0_u16..).zip(shown.metas.chunks(VALUE_ROWS_MAX)) {
        let mut rows = Rows::default();
        for meta in metas {
            rows.push(*meta, shown.keywords_of(meta));
        }
        let value = LogEntry::Arrived(rows).encode();
        ops.push(Op::Put { key: keys::log(id, mod_seq, part), value });
    }
    let count = u32::try_from(shown.metas.len()).unwrap_or(u32::MAX);
    header.log_entries = header.log_entries.saturating_add(count);
}

fn staged_value(metas: &[Meta], rows: &Rows) -> Bytes {
    let mut writer = Writer::new(metas.len() * 28 + 8);
    let numbered: Vec<Meta> = (1..)
        .zip(metas)
        .map(|(uid, meta)| Meta { uid: Uid(uid), mod_seq: meta.created, ..*meta })
        .collect();
    let keyed = numbered.iter().zip(metas).map(|(row, meta)| (row, rows.keywords_of(meta)));
    encode_rows(&mut writer, metas.len(), keyed);
    writer.finish()
}
