//! COPY, MOVE and RENAME INBOX: rows that name the same bodies, all or none.

use super::change::Asker;
use super::core::Core;
use super::format::{Meta, Rows};
use super::machine::Effect;
use super::settle::Hold;
use super::show::{ShowFrom, ShowPlan};
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    Copied, FolderId, FolderName, Keyword, ModSeq, UidSet, UserDone, UserError, UserTask,
};
use dds::Op;
use fsm::Cx;

/// A COPY or MOVE.
#[derive(Debug)]
pub struct CopyOrder {
    pub folder: FolderId,
    pub uids: UidSet,
    pub to: FolderName,
    pub remove_source: bool,
}

impl Core {
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
        if rows.metas.is_empty() {
            let uid_validity = self.folders.get(&target).map(|folder| folder.uid_validity);
            let copied = Copied {
                uid_validity: uid_validity.unwrap_or_default(),
                source: UidSet::new(),
                target: UidSet::new(),
                mod_seq: source.committed.mod_seq,
            };
            return answer(cx, asker, Ok(UserDone::Copied(copied)));
        }
        match self.plan_copy(cx, asker, (&order, target), rows) {
            Ok(plan) => {
                self.hold_exclusive();
                self.go_on_show(cx, plan);
            }
            Err(error) => fail(cx, asker, error),
        }
    }

    fn plan_copy(
        &mut self,
        cx: &Cx<'_, Effect>,
        asker: Asker,
        (order, target): (&CopyOrder, FolderId),
        rows: Rows,
    ) -> Result<Box<ShowPlan>, UserError> {
        let bytes = rows.metas.iter().map(|meta| u64::from(meta.bytes)).sum();
        if !order.remove_source && !self.quota_admits(bytes, rows.metas.len() as u64) {
            return Err(UserError::OverQuota);
        }
        self.check_room(target, rows.metas.len())?;
        let source: UidSet = rows.metas.iter().map(|meta| meta.uid).collect();
        let folder = order.folder;
        let mut ops = Vec::new();
        let names = self.keywords_in(folder, &rows);
        let all: Vec<Keyword> = names.iter().map(|(_, keyword)| keyword.clone()).collect();
        self.assign_keywords(target, &all, &mut ops)?;
        let known = self.folders.get(&target).map(|folder| folder.keywords_assigned.as_slice());
        let rows = translated(&rows, &names, known.unwrap_or_default(), cx.wall().unix_seconds());
        let from = if order.remove_source {
            ShowFrom::Move { folder, source }
        } else {
            ShowFrom::Copy { source }
        };
        let made = Vec::new();
        let (staged, pending, hold) = (0, None, Hold::Exclusive);
        Ok(Box::new(ShowPlan { asker, target, made, rows, from, staged, pending, ops, hold }))
    }

    /// The keywords that rows bear, with their bits in the folder they are in.
    fn keywords_in(&self, id: FolderId, rows: &Rows) -> Vec<(usize, Keyword)> {
        let used = rows.keywords.values().fold(0_u128, |used, bits| used | bits);
        let table = self.folders.get(&id).map(|folder| folder.keywords_assigned.as_slice());
        let all = table.unwrap_or_default().iter().cloned().enumerate();
        all.filter(|(bit, _)| used >> bit & 1 == 1).collect()
    }

    /// RFC 9051 6.3.6: renaming INBOX moves its messages to a new folder and leaves it empty; children stay.
    pub fn rename_inbox(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, to: &FolderName) {
        let Some(&inbox) = self.by_name.get(&FolderName::inbox()) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = self.folders.get(&inbox).and_then(|folder| folder.loaded()) else {
            let task = UserTask::RenameFolder { from: FolderName::inbox(), to: to.clone() };
            self.when_loaded(cx, inbox, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let mut rows = Rows::default();
        for (meta, of) in index
            .chunks()
            .iter()
            .flat_map(|chunk| chunk.rows.metas.iter().map(move |meta| (meta, &chunk.rows)))
        {
            rows.push(*meta, of.keywords_of(meta));
        }
        match self.plan_rename(cx, asker, (inbox, to), rows) {
            Ok(plan) => {
                self.hold_exclusive();
                self.go_on_show(cx, plan);
            }
            Err(error) => fail(cx, asker, error),
        }
    }

    fn plan_rename(
        &mut self,
        cx: &Cx<'_, Effect>,
        asker: Asker,
        (inbox, to): (FolderId, &FolderName),
        rows: Rows,
    ) -> Result<Box<ShowPlan>, UserError> {
        let mut made = self.make_with_parents(to, None)?;
        let source: UidSet = rows.metas.iter().map(|meta| meta.uid).collect();
        let names = self.keywords_in(inbox, &rows);
        let mut ops = Vec::new();
        let known: Vec<Keyword> = names.iter().map(|(_, keyword)| keyword.clone()).collect();
        let rows = translated(&rows, &names, &known, cx.wall().unix_seconds());
        let Some(target) = made.last_mut() else {
            return Err(UserError::NoSuchFolder);
        };
        if !known.is_empty() {
            target.header.keywords = u32::try_from(known.len()).unwrap_or(u32::MAX);
            target.header.keywords_mod_seq = target.header.mod_seq;
            let key = super::format::keys::of_folder(super::format::keys::KEYWORDS, target.id);
            let table = super::format::KeywordTable(known.clone());
            ops.push(Op::Put { key, value: table.encode() });
            target.keywords = known;
        }
        let target = target.id;
        let from = ShowFrom::RenameInbox { inbox, source };
        let (staged, pending, hold) = (0, None, Hold::Exclusive);
        Ok(Box::new(ShowPlan { asker, target, made, rows, from, staged, pending, ops, hold }))
    }
}

/// Rows as they will be in another folder: saved now, their keywords by its table.
fn translated(rows: &Rows, names: &[(usize, Keyword)], known: &[Keyword], saved: i64) -> Rows {
    let bit_in = |keyword: &Keyword| known.iter().position(|other| other == keyword);
    let bits_of: Vec<(usize, u128)> = names
        .iter()
        .map(|(bit, keyword)| (*bit, bit_in(keyword).map_or(0, |bit| 1_u128 << bit)))
        .collect();
    let mut translated = Rows::default();
    translated.metas.reserve_exact(rows.metas.len());
    for meta in &rows.metas {
        let before = rows.keywords_of(meta);
        let borne = bits_of.iter().filter(|(bit, _)| before >> bit & 1 == 1);
        let after = borne.fold(0, |after, (_, bits)| after | bits);
        translated.push(Meta { saved, mod_seq: ModSeq(0), created: ModSeq(0), ..*meta }, after);
    }
    translated
}
