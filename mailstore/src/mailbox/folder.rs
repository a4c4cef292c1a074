//! One folder as its master holds it.

use super::Waiting;
use super::format::{FolderRecord, Header, Meta};
use super::index::Index;
use super::load::FolderLoading;
use crate::face::{
    FolderDiff, FolderId, FolderName, FolderStatus, Keyword, ModSeq, OpenMode, SessionId,
    SpecialUse, SystemFlag, Uid, UidValidity,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A folder: committed state for all to see, assigned state for what is written next.
#[derive(Debug)]
pub struct Folder {
    pub id: FolderId,
    pub name: FolderName,
    pub uid_validity: UidValidity,
    pub special_use: Option<SpecialUse>,
    /// As of the last batch that committed.
    pub committed: Header,
    /// As of the last batch that was sent.
    pub assigned: Header,
    /// No row changed before this, and vanished records below it are not to be told: see [`super::restored`].
    pub floor: ModSeq,
    /// The table as of the last batch that committed.
    pub keywords: Arc<[Keyword]>,
    /// The table as of the last batch that was sent: begins with the committed one.
    pub keywords_assigned: Vec<Keyword>,
    pub index: IndexState,
    pub watchers: BTreeMap<SessionId, Watcher>,
    /// The diff that the last watcher was given, for the next one.
    pub told: Option<Box<ToldDiff>>,
    /// Rises with every use, for eviction.
    pub used: u64,
}

/// Whether the rows are in memory.
#[derive(Debug)]
pub enum IndexState {
    Absent,
    Loading(Box<FolderLoading>),
    Loaded(Box<Index>),
}

/// A session that has the folder open.
#[derive(Clone, Copy, Debug)]
pub struct Watcher {
    pub mode: OpenMode,
    /// Its client was told of all expunges up to this.
    pub expunges_told: ModSeq,
    pub notice: NoticeState,
}

/// Whether a watcher has a notice that it has not answered with `Sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeState {
    None,
    Sent,
}

/// A diff that fits everybody who asks from the same MODSEQ to the same one; `recent` is left empty.
#[derive(Clone, Debug)]
pub struct ToldDiff {
    pub since: ModSeq,
    pub diff: FolderDiff,
}

impl Folder {
    /// A folder whose rows are not loaded.
    #[must_use]
    pub fn new(id: FolderId, record: FolderRecord, header: Header) -> Self {
        Self {
            id,
            name: record.name,
            uid_validity: record.uid_validity,
            special_use: record.special_use,
            committed: header,
            assigned: header,
            floor: ModSeq(0),
            keywords: Arc::from([]),
            keywords_assigned: Vec::new(),
            index: IndexState::Absent,
            watchers: BTreeMap::new(),
            told: None,
            used: 0,
        }
    }

    #[must_use]
    pub fn status(&self) -> FolderStatus {
        let header = &self.committed;
        FolderStatus {
            id: self.id,
            uid_validity: self.uid_validity,
            uid_next: header.uid_next(),
            highest_mod_seq: header.mod_seq,
            messages: header.messages,
            recent: header.recent,
            unseen: header.unseen,
            deleted: header.deleted,
            bytes: header.bytes,
            deleted_bytes: header.deleted_bytes,
        }
    }

    #[must_use]
    pub fn loaded(&self) -> Option<&Index> {
        match &self.index {
            IndexState::Loaded(index) => Some(index),
            IndexState::Absent | IndexState::Loading(_) => None,
        }
    }

    pub fn loaded_mut(&mut self) -> Option<&mut Index> {
        match &mut self.index {
            IndexState::Loaded(index) => Some(index),
            IndexState::Absent | IndexState::Loading(_) => None,
        }
    }

    /// Tasks that wait for the rows, when they are being loaded.
    pub fn waiting_mut(&mut self) -> Option<&mut Vec<Waiting>> {
        match &mut self.index {
            IndexState::Loading(loading) => Some(&mut loading.waiting),
            IndexState::Absent | IndexState::Loaded(_) => None,
        }
    }

    /// The number of a keyword in the assigned table.
    #[must_use]
    pub fn keyword_bit(&self, keyword: &Keyword) -> Option<usize> {
        self.keywords_assigned.iter().position(|known| known == keyword)
    }

    /// Whether a session that was told of expunges up to `told` may still read a message expunged at `expunged`; without a
    /// watch nothing expunged is readable.
    #[must_use]
    pub fn may_read(&self, session: SessionId, expunged: ModSeq) -> bool {
        self.watchers.get(&session).is_some_and(|watcher| watcher.expunges_told < expunged)
    }

    /// Its rows are in the store as they are in memory, and nobody can ask for one that is gone.
    #[must_use]
    pub fn may_be_forgotten(&self) -> bool {
        let unread = |index: &Index| index.graves.is_empty();
        self.committed == self.assigned && self.loaded().is_some_and(unread)
    }

    /// Forgets the rows.
    pub fn forget(&mut self) {
        self.index = IndexState::Absent;
        self.told = None;
    }

    /// All expunges up to this were told to everybody who watches.
    #[must_use]
    pub fn told_to_all(&self) -> ModSeq {
        self.watchers
            .values()
            .map(|watcher| watcher.expunges_told)
            .min()
            .unwrap_or(ModSeq(u64::MAX))
    }
}

impl Header {
    /// Counts a message in.
    pub fn count_in(&mut self, meta: &Meta) {
        self.messages = self.messages.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(meta.bytes));
        self.unseen = self.unseen.saturating_add(u32::from(!meta.flags.has(SystemFlag::Seen)));
        if meta.flags.has(SystemFlag::Deleted) {
            self.deleted = self.deleted.saturating_add(1);
            self.deleted_bytes = self.deleted_bytes.saturating_add(u64::from(meta.bytes));
        }
        self.recent = self.recent.saturating_add(u32::from(meta.uid.0 >= self.recent_from));
    }

    /// Counts a message out.
    pub fn count_out(&mut self, meta: &Meta) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(meta.bytes));
        self.unseen = self.unseen.saturating_sub(u32::from(!meta.flags.has(SystemFlag::Seen)));
        if meta.flags.has(SystemFlag::Deleted) {
            self.deleted = self.deleted.saturating_sub(1);
            self.deleted_bytes = self.deleted_bytes.saturating_sub(u64::from(meta.bytes));
        }
        self.recent = self.recent.saturating_sub(u32::from(meta.uid.0 >= self.recent_from));
    }

    /// The next UID; `None` when all 2^32 - 1 are used up.
    pub fn assign_uid(&mut self) -> Option<Uid> {
        let uid = self.uid_next;
        self.uid_next = uid.checked_add(1)?;
        Some(Uid(uid))
    }
}
