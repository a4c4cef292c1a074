//! FETCH of rows: flags, dates and sizes from memory; envelopes and structures from their columns, never from bodies.

use super::change::Asker;
use super::columns::ColumnSet;
use super::core::Core;
use super::format::{Block, BlockKind, Meta};
use super::machine::Effect;
use super::reading::Reading;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    EmailId, FETCH_ROWS_MAX, FolderId, ModSeq, Row, Uid, UidSet, UserDone, UserError, UserTask,
    Want,
};
use bytes::Bytes;
use dds::Response;
use fsm::Cx;

/// A page of rows whose columns are being read.
#[derive(Debug)]
pub struct FetchJob {
    pub asker: Asker,
    rows: Vec<Row>,
    want: Want,
    columns: ColumnSet,
}

impl Core {
    pub fn fetch(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        id: FolderId,
        (uids, want, changed_since): (UidSet, Want, Option<ModSeq>),
    ) {
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = folder.loaded() else {
            let task = UserTask::Fetch { folder: id, uids, want, changed_since };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let rows_max = usize::try_from(FETCH_ROWS_MAX).unwrap_or(usize::MAX);
        let since = changed_since.unwrap_or(ModSeq(0));
        let live = index.rows_in(&uids).filter(|(meta, _)| meta.mod_seq > since);
        let live = live.map(|(meta, rows)| row(meta, rows.keywords_of(meta)));
        let mut rows: Vec<Row> = live.take(rows_max).collect();
        if !index.graves.is_empty() {
            let graves = index.graves.values().filter(|grave| {
                grave.meta.mod_seq > since
                    && uids.contains(grave.meta.uid)
                    && folder.may_read(asker.session, grave.expunged)
            });
            let before = rows.len();
            rows.extend(graves.map(|grave| row(&grave.meta, grave.keywords)).take(rows_max));
            if rows.len() > before {
                rows.sort_unstable_by_key(|row| row.uid);
                rows.truncate(rows_max);
            }
        }
        let mut kinds = Vec::new();
        if want.envelope {
            kinds.push(BlockKind::Envelope);
        }
        if want.body || want.structure {
            kinds.push(BlockKind::Structures);
        }
        if kinds.is_empty() || rows.is_empty() {
            return answer(cx, asker, Ok(UserDone::Fetched { rows }));
        }
        let emails: Vec<EmailId> = rows.iter().map(|row| row.email_id).collect();
        let mut columns = ColumnSet::new(emails, kinds);
        if rows.len() == rows_max && !self.missing_columns(&mut columns).is_empty() {
            self.read_ahead(id, &rows, &mut columns);
        }
        self.go_on_fetch(cx, Box::new(FetchJob { asker, rows, want, columns }));
    }

    /// Behind a full page more of them are likely to be asked for: their blocks are read with those of this one.
    fn read_ahead(&self, id: FolderId, rows: &[Row], columns: &mut ColumnSet) {
        let index = self.folders.get(&id).and_then(|folder| folder.loaded());
        let (Some(index), Some(last)) = (index, rows.last()) else {
            return;
        };
        let next = Uid(last.uid.0.saturating_add(1));
        let following = index.rows_between(next, Uid(u32::MAX)).map(|(meta, _)| meta.email);
        let following = following.take(self.limits().fetch_ahead_rows);
        columns.extend(following.filter(|email| self.packed.contains(Block::number_of(*email))));
    }

    fn go_on_fetch(&mut self, cx: &mut Cx<'_, Effect>, mut job: Box<FetchJob>) {
        let missing = self.missing_columns(&mut job.columns);
        if missing.is_empty() {
            return job.finish(cx);
        }
        self.get(cx, missing, Reading::Columns(job));
    }

    pub fn on_columns(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut job: Box<FetchJob>,
        response: Response,
    ) {
        match self.take_columns(&mut job.columns, response) {
            Ok(()) => self.go_on_fetch(cx, job),
            Err(refusal) => answer(cx, job.asker, Err(refusal)),
        }
    }
}

impl FetchJob {
    fn finish(mut self, cx: &mut Cx<'_, Effect>) {
        for row in &mut self.rows {
            // A message whose columns are gone was removed while they were read: the session hears of it at its next sync.
            if self.want.envelope {
                row.envelope = self.columns.field(row.email_id, BlockKind::Envelope, 0);
            }
            if self.want.body {
                row.body = self.columns.field(row.email_id, BlockKind::Structures, 0);
            }
            if self.want.structure {
                row.structure = self.columns.field(row.email_id, BlockKind::Structures, 1);
            }
        }
        answer(cx, self.asker, Ok(UserDone::Fetched { rows: self.rows }));
    }
}

fn row(meta: &Meta, keywords: u128) -> Row {
    Row {
        uid: meta.uid,
        mod_seq: meta.mod_seq,
        flags: crate::face::Flags { system: meta.flags, keywords },
        internal_date: meta.internal_date(),
        saved: meta.saved_date(),
        bytes: u64::from(meta.bytes),
        email_id: meta.email,
        thread_id: meta.thread,
        envelope: Bytes::new(),
        body: Bytes::new(),
        structure: Bytes::new(),
    }
}
