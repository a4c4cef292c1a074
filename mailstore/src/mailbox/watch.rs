//! Sessions that have a folder open: what they are shown first, what they are told of changes, and what stays readable
//! for them.

use super::change::Asker;
use super::core::Core;
use super::folder::{Folder, NoticeState, ToldDiff, Watcher};
use super::index::{Index, flag_row};
use super::machine::Effect;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    FlagRow, FolderDiff, FolderId, FolderName, FolderOpened, Known, ModSeq, Notice, OpenMode,
    SessionId, Uid, UidSet, UserDone, UserError, UserTask,
};
use fsm::Cx;
use std::sync::Arc;

impl Core {
    pub fn open_folder(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (name, mode, known): (FolderName, OpenMode, Option<Known>),
    ) {
        let Some(&id) = self.by_name.get(&name) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let loaded = self.folders.get(&id).is_some_and(|folder| folder.loaded().is_some());
        if !loaded {
            let task = UserTask::OpenFolder { name, mode, known };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        }
        self.uses += 1;
        let uses = self.uses;
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        folder.used = uses;
        let header = folder.committed;
        let resync = known
            .filter(|known| known.uid_validity == folder.uid_validity)
            .map(|known| resync(folder, &known));
        let recent = folder.take_recent(mode, &UidSet::from_range(1..=u32::MAX));
        let Some(index) = folder.loaded_mut() else {
            return;
        };
        let uids = index.uids();
        let first_unseen = if header.unseen > 0 { index.first_unseen() } else { None };
        let opened = FolderOpened {
            folder: id,
            uid_validity: folder.uid_validity,
            uid_next: header.uid_next(),
            highest_mod_seq: header.mod_seq,
            uids,
            recent,
            unseen: header.unseen,
            first_unseen,
            keywords: Arc::clone(&folder.keywords),
            resync,
        };
        let watcher = Watcher { mode, expunges_told: header.mod_seq, notice: NoticeState::None };
        folder.watchers.insert(asker.session, watcher);
        answer(cx, asker, Ok(UserDone::Opened(Box::new(opened))));
    }

    pub fn close_folder(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, id: FolderId) {
        self.unwatch(id, asker.session);
        answer(cx, asker, Ok(UserDone::Done));
        self.note_use(cx);
    }

    /// A session does not watch a folder any more.
    pub fn unwatch(&mut self, id: FolderId, session: SessionId) {
        let watched =
            self.folders.get_mut(&id).and_then(|folder| folder.watchers.remove(&session)).is_some();
        if watched {
            self.bury(id);
        }
    }

    /// What was expunged and everybody was told of is readable for nobody: its bodies may go.
    pub fn bury(&mut self, id: FolderId) {
        let told = match self.folders.get_mut(&id) {
            Some(folder) => {
                let told = folder.told_to_all();
                if let Some(index) = folder.loaded_mut()
                    && !index.graves.is_empty()
                {
                    index.graves.retain(|_, grave| grave.expunged > told);
                }
                told
            }
            None => ModSeq(u64::MAX),
        };
        self.removals.told(id, told);
    }

    pub fn sync(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        id: FolderId,
        (since, expunges_told): (ModSeq, ModSeq),
    ) {
        let Some(folder) = self.folders.get_mut(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        if folder.loaded().is_none() {
            let task = UserTask::Sync { folder: id, since, expunges_told };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        }
        let mut mode = OpenMode::ReadOnly;
        let mut told_more = false;
        if let Some(watcher) = folder.watchers.get_mut(&asker.session) {
            mode = watcher.mode;
            watcher.notice = NoticeState::None;
            // Nobody can have told of what has not happened.
            let told = expunges_told.min(folder.committed.mod_seq);
            told_more = told > watcher.expunges_told;
            watcher.expunges_told = watcher.expunges_told.max(told);
        }
        let mut diff = folder.diff_since(since);
        diff.recent = folder.take_recent(mode, &diff.arrived);
        answer(cx, asker, Ok(UserDone::Synced(diff)));
        if told_more {
            self.bury(id);
        }
    }

    pub fn vanished(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        id: FolderId,
        (uids, since): (UidSet, ModSeq),
    ) {
        let Some(folder) = self.folders.get_mut(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let floor = folder.vanished_floor();
        let below = UidSet::from_range(1..=folder.committed.uid_next - 1);
        let Some(index) = folder.loaded_mut() else {
            let task = UserTask::Vanished { folder: id, uids, since };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let gone = vanished_among(index, (since, floor), &uids.intersection(&below));
        answer(cx, asker, Ok(UserDone::Vanished(gone)));
    }

    /// Tells watchers that a folder changed; one notice each until they sync.
    pub fn notify_changed(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) {
        self.note_fold(id);
        self.stir(cx);
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let mod_seq = folder.committed.mod_seq;
        for (&session, watcher) in &mut folder.watchers {
            match watcher.notice {
                NoticeState::Sent => {}
                NoticeState::None => {
                    watcher.notice = NoticeState::Sent;
                    let notice = Notice::Changed { folder: id, mod_seq };
                    cx.emit(Effect::Notify { session, notice });
                }
            }
        }
    }
}

/// What is gone after `since` among UIDs that the asker may know. Below the floor nobody knows when it went.
fn vanished_among(index: &mut Index, (since, floor): (ModSeq, ModSeq), known: &UidSet) -> UidSet {
    match index.vanished_since(since, floor) {
        Some(vanished) => vanished.intersection(known),
        // RFC 7162 3.2.10.1: more than what vanished since may be reported.
        None => known.difference(&index.uids()),
    }
}

/// RFC 7162 3.2.5.1: what a client that comes back has missed.
fn resync(folder: &mut Folder, known: &Known) -> FolderDiff {
    let mut diff = folder.diff_since(known.mod_seq);
    let all = UidSet::from_range(1..=folder.committed.uid_next - 1);
    let floor = folder.vanished_floor();
    let knows = known.uids.as_ref().map_or_else(|| all.clone(), |uids| uids.intersection(&all));
    if let Some(index) = folder.loaded_mut() {
        diff.vanished = vanished_among(index, (known.mod_seq, floor), &knows);
    }
    diff
}

impl Folder {
    /// What changed after `since`; `recent` is left empty. The rows are loaded.
    pub fn diff_since(&mut self, since: ModSeq) -> FolderDiff {
        if let Some(told) = &self.told
            && told.since == since
            && told.diff.mod_seq == self.committed.mod_seq
        {
            return told.diff.clone();
        }
        let header = self.committed;
        let floor = self.vanished_floor();
        let mut diff = FolderDiff {
            mod_seq: header.mod_seq,
            uid_next: header.uid_next(),
            vanished: UidSet::new(),
            arrived: UidSet::new(),
            recent: UidSet::new(),
            changed: Arc::from([]),
            keywords: Arc::from([]),
        };
        if header.keywords_mod_seq > since {
            diff.keywords = Arc::clone(&self.keywords);
        }
        if since < header.mod_seq
            && let Some(index) = self.loaded_mut()
        {
            let mut changed: Vec<FlagRow> = Vec::new();
            for (meta, rows) in index.rows_since(since) {
                if meta.created > since {
                    diff.arrived.insert(meta.uid);
                } else {
                    changed.push(flag_row(meta, rows));
                }
            }
            diff.changed = changed.into();
            let known = UidSet::from_range(1..=header.uid_next - 1);
            diff.vanished = vanished_among(index, (since, floor), &known);
        }
        self.told = Some(Box::new(ToldDiff { since, diff: diff.clone() }));
        diff
    }

    /// Those among `uids` that are `\Recent` for a session. A read-write session takes them: RFC 9051 leaves the flag to
    /// servers of RFC 3501 2.3.2, where exactly one session is told.
    pub fn take_recent(&mut self, mode: OpenMode, uids: &UidSet) -> UidSet {
        let from = self.committed.recent_from;
        if self.committed.recent == 0 || uids.is_empty() {
            return UidSet::new();
        }
        let Some(index) = self.loaded() else {
            return UidSet::new();
        };
        let since = UidSet::from_range(from..=u32::MAX).intersection(uids);
        let recent: UidSet = index.rows_in(&since).map(|(meta, _)| meta.uid).collect();
        match mode {
            OpenMode::ReadOnly => {}
            OpenMode::ReadWrite => {
                // What this session was told of now, and what it knows from before.
                let told_to = recent.last().map_or(from, |last: Uid| last.0.saturating_add(1));
                let taken = u32::try_from(index.rows_between(Uid(from), Uid(told_to - 1)).count());
                let taken = taken.unwrap_or(u32::MAX);
                for header in [&mut self.committed, &mut self.assigned] {
                    header.recent = header.recent.saturating_sub(taken);
                    header.recent_from = header.recent_from.max(told_to);
                }
            }
        }
        recent
    }
}
