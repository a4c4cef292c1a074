//! COPY and MOVE: rows that name the same bodies, all or none; and the showing of pending sets, which ends the same way.

use super::change::{Asker, Change, Removal, Showing, ShowingSource};
use super::core::Core;
use super::expunge::Bodies;
use super::format::{Header, LogEntry, Meta, References, Rows, VALUE_BYTES_FILL, keys};
use super::machine::Effect;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    Copied, FolderId, FolderName, Keyword, ModSeq, Uid, UidSet, UserDone, UserError, UserTask,
};
use dds::Op;
use fsm::Cx;
use std::collections::BTreeSet;

/// A COPY or MOVE.
#[derive(Debug)]
pub struct CopyOrder {
    pub folder: FolderId,
    pub uids: UidSet,
    pub to: FolderName,
    pub remove_source: bool,
}

/// Rows of one log entry at most: 88 bytes each.
const LOG_ROWS_MAX: usize = VALUE_BYTES_FILL / 96;

impl Core {
    /// Whether a folder can take so many messages more.
    pub fn check_room(&self, id: FolderId, count: usize) -> Result<(), UserError> {
        let folder = self.folders.get(&id).ok_or(UserError::NoSuchFolder)?;
        let count = u32::try_from(count).map_err(|_| UserError::Limit("too many messages"))?;
        let messages = folder.assigned.messages.checked_add(count);
        let uids = folder.assigned.uid_next.checked_add(count);
        if messages.is_none_or(|messages| messages > self.limits().folder_messages_max)
            || uids.is_none()
        {
            return Err(UserError::Limit("too many messages in the folder"));
        }
        Ok(())
    }

    /// Gives rows UIDs and a MODSEQ in a folder, and puts them into `ops` with the header.
    pub fn show_rows(
        &mut self,
        id: FolderId,
        staged: &Rows,
        ops: &mut Vec<Op>,
    ) -> Result<(Rows, Header), UserError> {
        let mod_seq = self.next_mod_seq();
        let email_next = self.counters.email_next;
        let folder = self.folders.get_mut(&id).ok_or(UserError::NoSuchFolder)?;
        let mut shown = Rows::default();
        for meta in &staged.metas {
            let uid = folder.assigned.assign_uid().ok_or(UserError::Limit("no UID is left"))?;
            let row = Meta { uid, mod_seq, created: mod_seq, ..*meta };
            folder.assigned.count_in(&row);
            shown.push(row, staged.keywords_of(meta));
        }
        let mut parts = 0;
        for (part, metas) in (0_u16..).zip(shown.metas.chunks(LOG_ROWS_MAX)) {
            let mut rows = Rows::default();
            for meta in metas {
                rows.push(*meta, shown.keywords_of(meta));
            }
            let value = LogEntry::Arrived(rows).encode();
            ops.push(Op::Put { key: keys::log(id, mod_seq, part), value });
            parts += 1;
        }
        let header = &mut folder.assigned;
        header.mod_seq = mod_seq;
        header.log_entries = header.log_entries.saturating_add(parts);
        header.email_next = header.email_next.max(email_next);
        let header = *header;
        ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
        for meta in &shown.metas {
            self.usage.bytes = self.usage.bytes.saturating_add(u64::from(meta.bytes));
        }
        self.usage.messages += shown.metas.len() as u64;
        Ok((shown, header))
    }

    pub fn copy(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, order: CopyOrder) {
        let Some(&target) = self.by_name.get(&order.to) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(source) = self.folders.get(&order.folder) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = source.loaded() else {
            let CopyOrder { folder, uids, to, remove_source } = order;
            let task = UserTask::Copy { folder, uids, to, remove_source };
            self.when_loaded(cx, folder, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let mut rows = Rows::default();
        for (meta, of) in index.rows_in(&order.uids) {
            rows.push(*meta, of.keywords_of(meta));
        }
        if let Err(error) = self.copy_rows(cx, (asker, order), target, rows) {
            fail(cx, asker, error);
        }
    }

    fn copy_rows(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (asker, order): (Asker, CopyOrder),
        target: FolderId,
        rows: Rows,
    ) -> Result<(), UserError> {
        let uid_validity = self.folders.get(&target).map(|folder| folder.uid_validity);
        let uid_validity = uid_validity.ok_or(UserError::NoSuchFolder)?;
        if rows.metas.is_empty() {
            let copied = Copied {
                uid_validity,
                source: UidSet::new(),
                target: UidSet::new(),
                mod_seq: self.folders.get(&order.folder).map_or(ModSeq(0), |f| f.committed.mod_seq),
            };
            answer(cx, asker, Ok(UserDone::Copied(copied)));
            return Ok(());
        }
        let bytes = rows.metas.iter().map(|meta| u64::from(meta.bytes)).sum();
        if !order.remove_source && !self.quota_admits(bytes, rows.metas.len() as u64) {
            return Err(UserError::OverQuota);
        }
        self.check_room(target, rows.metas.len())?;
        if rows.metas.len() > self.limits().batch_rows_max {
            return Err(UserError::Limit("too many messages at once"));
        }
        let mut ops = Vec::new();
        let staged = self.translate_keywords(cx, (order.folder, target), rows, &mut ops)?;
        let source: UidSet = staged.1.iter().copied().collect();
        let (rows, header) = self.show_rows(target, &staged.0, &mut ops)?;
        let removal = if order.remove_source {
            self.remove_rows(order.folder, &source, Bodies::Keep, &mut ops)
        } else {
            self.count_references(&rows, &mut ops);
            None
        };
        // A move within one folder: the header of the removal is the later one, and counts both.
        let header = match &removal {
            Some(removal) if removal.folder == target => removal.header,
            Some(_) | None => header,
        };
        let copied = Copied {
            uid_validity,
            source,
            target: rows.metas.iter().map(|meta| meta.uid).collect(),
            mod_seq: removal.as_ref().map_or(header.mod_seq, |removal| removal.mod_seq),
        };
        let showing = Showing {
            folder: target,
            made: None,
            header,
            rows,
            adopted: None,
            removal,
            source: ShowingSource::Copy { copied, asker },
        };
        self.hold_exclusive();
        self.pipeline.submit(cx, ops, Change::Shown(Box::new(showing)));
        Ok(())
    }

    /// Rows as they will be in the target: their keywords are other bits there. The second result: their UIDs so far.
    fn translate_keywords(
        &mut self,
        cx: &Cx<'_, Effect>,
        (from, to): (FolderId, FolderId),
        rows: Rows,
        ops: &mut Vec<Op>,
    ) -> Result<(Rows, Vec<Uid>), UserError> {
        let used = rows.keywords.values().fold(0_u128, |used, bits| used | bits);
        let table = self.folders.get(&from).map(|folder| folder.keywords_assigned.clone());
        let table = table.unwrap_or_default();
        let names: Vec<(usize, Keyword)> =
            table.into_iter().enumerate().filter(|(bit, _)| used >> bit & 1 == 1).collect();
        let mut bits_of = Vec::new();
        let all: Vec<Keyword> = names.iter().map(|(_, keyword)| keyword.clone()).collect();
        self.assign_keywords(to, &all, ops)?;
        if let Some(target) = self.folders.get(&to) {
            for (bit, keyword) in &names {
                bits_of.push((*bit, target.keyword_bit(keyword)));
            }
        }
        let saved = cx.wall().unix_seconds();
        let mut translated = Rows::default();
        let mut uids = Vec::with_capacity(rows.metas.len());
        for meta in &rows.metas {
            let before = rows.keywords_of(meta);
            let bits = bits_of.iter().filter(|(bit, _)| before >> bit & 1 == 1);
            let after = bits.fold(0, |after, (_, bit)| after | bit.map_or(0, |bit| 1_u128 << bit));
            translated.push(Meta { saved, ..*meta }, after);
            uids.push(meta.uid);
        }
        Ok((translated, uids))
    }

    /// One reference more for each.
    fn count_references(&mut self, rows: &Rows, ops: &mut Vec<Op>) {
        let mut pages = BTreeSet::new();
        for meta in &rows.metas {
            let count = self.references.get(&meta.email).copied().unwrap_or(1);
            self.set_reference(meta.email, Some(count.saturating_add(1)));
            pages.insert(References::page_of(meta.email));
        }
        self.put_reference_pages(&pages, ops);
    }

    /// Rows became visible.
    pub fn shown(&mut self, cx: &mut Cx<'_, Effect>, showing: Showing) {
        let Showing { folder: id, made, header, rows, adopted, removal, source } = showing;
        self.release_exclusive();
        self.references_undo.clear();
        if let Some(made) = made {
            self.add_folder(*made);
        }
        let chunk_rows_max = self.limits().chunk_rows_max;
        let arrived = u32::try_from(rows.metas.len()).unwrap_or(u32::MAX);
        let mut uid_validity = crate::face::UidValidity(0);
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
        let emptied = removal.as_ref().map(|removal: &Removal| removal.folder);
        if let Some(removal) = removal {
            self.removal_committed(removal);
        }
        match source {
            ShowingSource::Append { pending, asker } => {
                self.pending.remove(&pending);
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

    /// The batch was refused: what had been staged for it stays pending, or goes.
    pub fn show_refused(&mut self, change: Change) {
        if let Some(pending) = change.shows()
            && let Some(set) = self.pending.get_mut(&pending)
        {
            set.state = super::append::PendingState::Open;
        }
    }

    /// RFC 9051 6.3.6: renaming INBOX moves its messages to a new folder and leaves it empty; children stay.
    pub fn rename_inbox(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, to: &FolderName) {
        let _ = to;
        fail(cx, asker, UserError::Cannot("not yet"));
    }
}
