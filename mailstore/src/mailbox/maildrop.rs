//! POP3: one exclusive lock, a snapshot at log-in, deletions at QUIT and only then (RFC 1939 section 3 to 6).

use super::change::{Asker, ExpungeThen};
use super::core::Core;
use super::machine::Effect;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{FolderName, Maildrop, QuotaReport, UidSet, UserDone, UserError, UserTask};
use fsm::Cx;

impl Core {
    pub fn open_maildrop(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker) {
        let Some(&id) = self.by_name.get(&FolderName::inbox()) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        // RFC 1939 section 4: an exclusive-access lock. It lives in memory: it ends with the session or the master.
        if self.maildrop.is_some_and(|holder| holder != asker.session) {
            return fail(cx, asker, UserError::MaildropInUse);
        }
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = folder.loaded() else {
            let waiting = Waiting { asker, task: UserTask::OpenMaildrop, blob: BlobLife::AsFound };
            self.when_loaded(cx, id, waiting);
            return;
        };
        let metas = index.chunks().iter().flat_map(|chunk| &chunk.rows.metas);
        let maildrop = Maildrop {
            folder: id,
            uid_validity: folder.uid_validity,
            messages: metas.map(|meta| (meta.uid, u64::from(meta.bytes))).collect(),
        };
        self.maildrop = Some(asker.session);
        answer(cx, asker, Ok(UserDone::MaildropOpened(maildrop)));
    }

    pub fn commit_maildrop(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, delete: UidSet) {
        if self.maildrop != Some(asker.session) {
            return fail(cx, asker, UserError::Cannot("the maildrop is not open".into()));
        }
        let Some(&id) = self.by_name.get(&FolderName::inbox()) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = folder.loaded() else {
            let task = UserTask::CommitMaildrop { delete };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let doomed: UidSet = index.rows_in(&delete).map(|(meta, _)| meta.uid).collect();
        if doomed.is_empty() {
            self.maildrop = None;
            return answer(cx, asker, Ok(UserDone::Done));
        }
        let then = ExpungeThen::ReleaseMaildrop;
        self.expunge_slice(cx, (id, asker), (UidSet::new(), doomed), then);
    }

    pub fn release_maildrop(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker) {
        if self.maildrop == Some(asker.session) {
            self.maildrop = None;
        }
        answer(cx, asker, Ok(UserDone::Done));
    }

    /// Whether the quota admits this much more.
    #[must_use]
    pub fn quota_admits(&self, bytes: u64, messages: u64) -> bool {
        // No task comes before the account is known.
        let Some(account) = &self.context.account else {
            return false;
        };
        let admits = |used: u64, more: u64, max: Option<u64>| {
            max.is_none_or(|max| used.saturating_add(more) <= max)
        };
        admits(self.usage.bytes, bytes, account.quota_bytes)
            && admits(self.usage.messages, messages, account.quota_messages)
    }

    pub fn quota(&self, cx: &mut Cx<'_, Effect>, asker: Asker) {
        let committed = self.folders.values().map(|folder| &folder.committed);
        let (bytes_used, messages_used) =
            committed.fold((0_u64, 0_u64), |(bytes, count), header| {
                (bytes.saturating_add(header.bytes), count + u64::from(header.messages))
            });
        let account = self.context.account.as_ref();
        let report = QuotaReport {
            bytes_used,
            bytes_max: account.and_then(|account| account.quota_bytes),
            messages_used,
            messages_max: account.and_then(|account| account.quota_messages),
        };
        answer(cx, asker, Ok(UserDone::Quota(report)));
    }
}
