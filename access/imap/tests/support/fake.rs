//! A small master and directory: answers tasks at once, keeps everything in plain collections.

use super::folder::{Folder, Message};
use bytes::{Bytes, BytesMut};
use mailstore::face::*;
use mailstore::mime::{self, Scanner};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the small master says: completions go to the asker, notices to anybody.
pub struct Said {
    pub completion: Completion,
    pub notices: Vec<(usize, Notice)>,
}

#[derive(Debug, Default)]
pub struct Fake {
    pub folders: BTreeMap<FolderName, Folder>,
    pub subscribed: BTreeSet<FolderName>,
    pub mod_seq: u64,
    pub quota: QuotaReport,
    /// (session, folder) to what its client was told of expunges.
    watchers: BTreeMap<(usize, FolderId), Watcher>,
    blobs: BTreeMap<u128, BytesMut>,
    pending: BTreeMap<u64, (FolderName, Vec<NewMessage>)>,
    next_id: u64,
    /// Answer every task with this instead.
    pub refuse: Option<TaskRefusal>,
}

#[derive(Debug)]
struct Watcher {
    expunges_told: ModSeq,
    mode: OpenMode,
}

impl Fake {
    pub fn new() -> Self {
        let mut fake = Self { mod_seq: 10, ..Self::default() };
        for name in ["INBOX", "Sent", "Trash", "Work", "Work/Old"] {
            fake.create(&FolderName::new(name).expect("a name"));
        }
        let sent = FolderName::new("Sent").expect("a name");
        fake.folders.get_mut(&sent).expect("made").special_use = Some(SpecialUse::Sent);
        fake
    }

    pub fn create(&mut self, name: &FolderName) -> FolderId {
        self.next_id += 1;
        let id = FolderId(self.next_id as u32);
        self.folders.insert(
            name.clone(),
            Folder {
                id,
                special_use: None,
                uid_validity: UidValidity(1000 + id.0),
                uid_next: 1,
                highest: ModSeq(self.mod_seq),
                messages: BTreeMap::new(),
                keywords: Vec::new(),
                recent: UidSet::new(),
            },
        );
        id
    }

    fn next_mod_seq(&mut self) -> ModSeq {
        self.mod_seq += 1;
        ModSeq(self.mod_seq)
    }

    /// A message of mail on its way in.
    pub fn message(body: &str) -> NewMessage {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut scanner = Scanner::new(&mime::Limits::default());
        scanner.push(&body);
        NewMessage {
            flags: SystemFlags::default(),
            keywords: Vec::new(),
            internal_date: InternalDate::from_civil((2026, 11, 1), (9, 8, 7), 60),
            body: Body::Inline(body),
            columns: Arc::new(scanner.finish()),
        }
    }

    fn body(&self, body: &Body) -> Bytes {
        match body {
            Body::Inline(bytes) => bytes.clone(),
            Body::Blob { blob, len, holders: _ } => {
                let bytes = self.blobs.get(&blob.0).expect("written before it is handed over");
                assert_eq!(bytes.len() as u64, *len);
                bytes.clone().freeze()
            }
        }
    }

    /// Puts messages into a folder, all with one MODSEQ.
    pub fn append(
        &mut self,
        to: &FolderName,
        messages: &[NewMessage],
    ) -> Option<(FolderId, UidSet)> {
        self.folders.get(to)?;
        let mod_seq = self.next_mod_seq();
        let mut uids = UidSet::new();
        for new in messages {
            let body = self.body(&new.body);
            self.next_id += 1;
            let email_id = EmailId(self.next_id);
            let folder = self.folders.get_mut(to)?;
            let keywords = new.keywords.iter().fold(0, |bits, word| bits | folder.keyword(word));
            let uid = folder.uid_next;
            folder.uid_next += 1;
            folder.highest = mod_seq;
            folder.recent.insert(Uid(uid));
            uids.insert(Uid(uid));
            folder.messages.insert(
                uid,
                Message {
                    flags: Flags { system: new.flags, keywords },
                    mod_seq,
                    arrived: mod_seq,
                    gone: None,
                    date: new.internal_date.unwrap_or_default(),
                    body,
                    columns: Arc::clone(&new.columns),
                    email_id,
                },
            );
        }
        Some((self.folders.get(to)?.id, uids))
    }

    /// Tells everyone who has the folder open.
    pub fn notices(&self, folder: FolderId) -> Vec<(usize, Notice)> {
        let mod_seq = ModSeq(self.mod_seq);
        self.watchers
            .keys()
            .filter(|(_, watched)| *watched == folder)
            .map(|(session, _)| (*session, Notice::Changed { folder, mod_seq }))
            .collect()
    }

    /// The master forgets who watches.
    pub fn restart(&mut self) -> Vec<(usize, Notice)> {
        let sessions: BTreeSet<usize> = self.watchers.keys().map(|(session, _)| *session).collect();
        self.watchers.clear();
        sessions.into_iter().map(|session| (session, Notice::MasterChanged)).collect()
    }

    fn folder_mut(&mut self, id: FolderId) -> Option<&mut Folder> {
        self.folders.values_mut().find(|folder| folder.id == id)
    }

    fn folder(&self, id: FolderId) -> Option<&Folder> {
        self.folders.values().find(|folder| folder.id == id)
    }

    pub fn answer(&mut self, session: usize, task: Task) -> Said {
        let quiet = |completion| Said { completion, notices: Vec::new() };
        if let Some(refusal) = self.refuse {
            return quiet(Completion::Refused(refusal));
        }
        match task {
            Task::Directory(task) => quiet(Completion::Directory(Self::directory(task))),
            Task::User { user: _, task } => {
                let (done, changed) = self.user(session, task);
                let notices = changed.map(|folder| self.notices(folder)).unwrap_or_default();
                Said { completion: Completion::User(done), notices }
            }
            Task::Blob(BlobTask::PutChunk { blob, index, bytes, life: _ }) => {
                let blob = self.blobs.entry(blob.0).or_default();
                assert_eq!(blob.len(), index as usize * dds::CHUNK_BYTES, "chunks come in order");
                blob.extend_from_slice(&bytes);
                quiet(Completion::Blob(BlobDone::Written))
            }
            Task::Blob(BlobTask::Drop { blob }) => {
                self.blobs.remove(&blob.0);
                quiet(Completion::Blob(BlobDone::Dropped))
            }
            Task::Delivery(task) => panic!("IMAP delivers nothing: {task:?}"),
        }
    }

    fn directory(task: DirectoryTask) -> DirectoryDone {
        let DirectoryTask::Authenticate(attempt) = task else { panic!("{task:?}") };
        match (&attempt.name[..], &attempt.secret[..]) {
            (b"ann", b"secret") => DirectoryDone::Authenticated(Account {
                user: UserId(7),
                address: "ann@example.org".into(),
            }),
            (b"off", _) => DirectoryDone::AuthRefused(AuthRefusal::Disabled),
            (b"slow", _) => DirectoryDone::AuthRefused(AuthRefusal::Throttled),
            (b"away", _) => DirectoryDone::AuthRefused(AuthRefusal::Unavailable),
            _ => DirectoryDone::AuthRefused(AuthRefusal::WrongCredentials),
        }
    }

    fn user(&mut self, session: usize, task: UserTask) -> (UserDone, Option<FolderId>) {
        let failed = |error| (UserDone::Failed(error), None);
        match task {
            UserTask::ListFolders => (UserDone::Folders(self.list()), None),
            UserTask::CreateFolder { name, special_use } => {
                if self.folders.contains_key(&name) {
                    return failed(UserError::FolderExists);
                }
                let id = self.create(&name);
                self.folders.get_mut(&name).expect("made").special_use = special_use;
                (UserDone::Created { id }, None)
            }
            UserTask::DeleteFolder { name } => match self.folders.remove(&name) {
                Some(_) => (UserDone::Done, None),
                None => failed(UserError::NoSuchFolder),
            },
            UserTask::RenameFolder { from, to } => match self.folders.remove(&from) {
                Some(folder) => {
                    self.folders.insert(to, folder);
                    (UserDone::Done, None)
                }
                None => failed(UserError::NoSuchFolder),
            },
            UserTask::Subscribe { name, on } => {
                if on {
                    self.subscribed.insert(name);
                } else {
                    self.subscribed.remove(&name);
                }
                (UserDone::Done, None)
            }
            UserTask::Status { names } => {
                let status = |name| self.folders.get(name).map(Folder::status);
                (UserDone::Status(names.iter().map(status).collect()), None)
            }
            UserTask::OpenFolder { name, mode, known } => self.open(session, &name, mode, known),
            UserTask::CloseFolder { folder } => {
                self.watchers.remove(&(session, folder));
                (UserDone::Done, None)
            }
            UserTask::Append { to, message, once: _ } => self.show(&to, &[message]),
            UserTask::StageAppend { to, pending, message } => {
                if !self.folders.contains_key(&to) {
                    return failed(UserError::NoSuchFolder);
                }
                let id = pending.map_or_else(
                    || {
                        self.next_id += 1;
                        self.next_id
                    },
                    |pending| pending.0,
                );
                self.pending.entry(id).or_insert_with(|| (to, Vec::new())).1.push(message);
                (UserDone::Staged { pending: PendingId(id) }, None)
            }
            UserTask::CommitAppend { pending } => match self.pending.remove(&pending.0) {
                Some((to, messages)) => self.show(&to, &messages),
                None => failed(UserError::NoSuchPending),
            },
            UserTask::DropAppend { pending } => {
                self.pending.remove(&pending.0);
                (UserDone::Done, None)
            }
            UserTask::Quota => (UserDone::Quota(self.quota), None),
            in_folder => self.in_folder(session, in_folder),
        }
    }

    fn list(&self) -> Arc<[FolderInfo]> {
        let mut names: BTreeSet<&FolderName> = self.folders.keys().collect();
        names.extend(&self.subscribed);
        names
            .into_iter()
            .map(|name| FolderInfo {
                name: name.clone(),
                kind: match self.folders.get(name) {
                    Some(folder) => {
                        FolderKind::Folder { id: folder.id, special_use: folder.special_use }
                    }
                    None => FolderKind::NonExistent,
                },
                subscribed: self.subscribed.contains(name),
            })
            .collect()
    }

    fn show(&mut self, to: &FolderName, messages: &[NewMessage]) -> (UserDone, Option<FolderId>) {
        match self.append(to, messages) {
            Some((folder, uids)) => {
                let uid_validity = self.folders[to].uid_validity;
                (UserDone::Appended { folder, uid_validity, uids }, Some(folder))
            }
            None => (UserDone::Failed(UserError::NoSuchFolder), None),
        }
    }

    fn open(
        &mut self,
        session: usize,
        name: &FolderName,
        mode: OpenMode,
        known: Option<Known>,
    ) -> (UserDone, Option<FolderId>) {
        let Some(folder) = self.folders.get_mut(name) else {
            return (UserDone::Failed(UserError::NoSuchFolder), None);
        };
        let recent = match mode {
            OpenMode::ReadWrite => std::mem::take(&mut folder.recent),
            OpenMode::ReadOnly => folder.recent.clone(),
        };
        let unseen = |message: &Message| !message.flags.system.has(SystemFlag::Seen);
        let opened = FolderOpened {
            folder: folder.id,
            uid_validity: folder.uid_validity,
            uid_next: Uid(folder.uid_next),
            highest_mod_seq: folder.highest,
            uids: Arc::new(folder.uids()),
            recent: recent.intersection(&folder.uids()),
            unseen: folder.status().unseen,
            first_unseen: folder
                .live()
                .find(|(_, message)| unseen(message))
                .map(|(uid, _)| Uid(*uid)),
            keywords: folder.keywords.clone().into(),
            resync: known
                .filter(|known| known.uid_validity == folder.uid_validity)
                .map(|known| folder.diff(known.mod_seq)),
        };
        let watcher = Watcher { expunges_told: folder.highest, mode };
        self.watchers.insert((session, folder.id), watcher);
        (UserDone::Opened(Box::new(opened)), None)
    }

    fn in_folder(&mut self, session: usize, task: UserTask) -> (UserDone, Option<FolderId>) {
        let gone = (UserDone::Failed(UserError::NoSuchFolder), None);
        match task {
            UserTask::Sync { folder, since, expunges_told } => {
                let Some(watcher) = self.watchers.get_mut(&(session, folder)) else { return gone };
                // A folder opened again, where this session still withholds expunges, begins behind
                // them.
                watcher.expunges_told = watcher.expunges_told.max(expunges_told);
                let takes_recent = watcher.mode == OpenMode::ReadWrite;
                let Some(folder) = self.folder_mut(folder) else { return gone };
                let diff = folder.diff(since);
                if takes_recent {
                    folder.recent = folder.recent.difference(&diff.recent);
                }
                (UserDone::Synced(diff), None)
            }
            UserTask::Fetch { folder, uids, want, changed_since } => {
                assert!(uids.len() <= FETCH_ROWS_MAX);
                let told =
                    self.watchers.get(&(session, folder)).map(|watcher| watcher.expunges_told);
                let Some(folder) = self.folder(folder) else { return gone };
                let readable = |message: &Message| {
                    message.gone.is_none_or(|gone| told.is_some_and(|told| gone > told))
                };
                let rows = uids
                    .iter()
                    .filter(|uid| folder.messages.get(&uid.0).is_some_and(readable))
                    .filter_map(|uid| folder.row(uid.0, want))
                    .filter(|row| changed_since.is_none_or(|since| row.mod_seq > since))
                    .collect();
                (UserDone::Fetched { rows }, None)
            }
            UserTask::Vanished { folder, uids, since } => {
                let Some(folder) = self.folder(folder) else { return gone };
                (UserDone::Vanished(folder.diff(since).vanished.intersection(&uids)), None)
            }
            UserTask::ReadSection { folder, uid, section, offset, len } => {
                assert!(len <= SECTION_PAGE_BYTES_MAX);
                let read = self
                    .folder(folder)
                    .and_then(|folder| folder.read(uid.0, &section, offset, len));
                match read {
                    Some(read) => (UserDone::Section(read), None),
                    None => (UserDone::Failed(UserError::Expunged), None),
                }
            }
            UserTask::Search { folder, criteria } => {
                let Some(folder) = self.folder(folder) else { return gone };
                let found: Vec<(&u32, &Message)> = folder
                    .live()
                    .filter(|(uid, message)| folder.matches(**uid, message, &criteria))
                    .collect();
                let highest_mod_seq = found.iter().map(|(_, message)| message.mod_seq).max();
                let uids = found.into_iter().map(|(uid, _)| Uid(*uid)).collect();
                (UserDone::Found { uids, highest_mod_seq }, None)
            }
            UserTask::Store { folder, uids, change, flags, keywords, unchanged_since } => {
                self.store(folder, &uids, (change, flags, &keywords), unchanged_since)
            }
            UserTask::Expunge { folder, uids } => self.expunge(folder, uids.as_ref()),
            UserTask::Copy { folder, uids, to, remove_source } => {
                self.copy(folder, &uids, &to, remove_source)
            }
            other => panic!("not a task of IMAP: {other:?}"),
        }
    }

    fn store(
        &mut self,
        id: FolderId,
        uids: &UidSet,
        (change, flags, keywords): (FlagChange, SystemFlags, &[Keyword]),
        unchanged_since: Option<ModSeq>,
    ) -> (UserDone, Option<FolderId>) {
        let mod_seq = self.next_mod_seq();
        let Some(folder) = self.folder_mut(id) else {
            return (UserDone::Failed(UserError::NoSuchFolder), None);
        };
        let words = keywords.iter().fold(0, |bits, word| bits | folder.keyword(word));
        let (mut changed, mut modified) = (UidSet::new(), UidSet::new());
        for (uid, message) in &mut folder.messages {
            if message.gone.is_some() || !uids.contains(Uid(*uid)) {
                continue;
            }
            if unchanged_since.is_some_and(|since| message.mod_seq > since) {
                modified.insert(Uid(*uid));
                continue;
            }
            let old = message.flags;
            let new = match change {
                FlagChange::Add => (old.system.0 | flags.0, old.keywords | words),
                FlagChange::Remove => (old.system.0 & !flags.0, old.keywords & !words),
                FlagChange::Replace => (flags.0, words),
            };
            let new = Flags { system: SystemFlags(new.0), keywords: new.1 };
            if new != old {
                (message.flags, message.mod_seq) = (new, mod_seq);
                changed.insert(Uid(*uid));
            }
        }
        if !changed.is_empty() {
            folder.highest = mod_seq;
        }
        let keywords = folder.keywords.clone().into();
        (UserDone::Stored(Stored { mod_seq, changed, modified, keywords }), Some(id))
    }

    pub fn expunge(&mut self, id: FolderId, uids: Option<&UidSet>) -> (UserDone, Option<FolderId>) {
        let mod_seq = self.next_mod_seq();
        let Some(folder) = self.folder_mut(id) else {
            return (UserDone::Failed(UserError::NoSuchFolder), None);
        };
        let mut gone = UidSet::new();
        for (uid, message) in &mut folder.messages {
            let named = uids.is_none_or(|uids| uids.contains(Uid(*uid)));
            if message.gone.is_none() && named && message.flags.system.has(SystemFlag::Deleted) {
                message.gone = Some(mod_seq);
                gone.insert(Uid(*uid));
            }
        }
        if !gone.is_empty() {
            folder.highest = mod_seq;
        }
        (UserDone::Expunged { uids: gone, mod_seq }, Some(id))
    }

    fn copy(
        &mut self,
        id: FolderId,
        uids: &UidSet,
        to: &FolderName,
        remove_source: bool,
    ) -> (UserDone, Option<FolderId>) {
        if !self.folders.contains_key(to) {
            return (UserDone::Failed(UserError::NoSuchFolder), None);
        }
        let mod_seq = self.next_mod_seq();
        let Some(folder) = self.folder_mut(id) else {
            return (UserDone::Failed(UserError::NoSuchFolder), None);
        };
        let mut taken = Vec::new();
        for (uid, message) in &mut folder.messages {
            if message.gone.is_none() && uids.contains(Uid(*uid)) {
                taken.push((*uid, message.clone()));
                if remove_source {
                    message.gone = Some(mod_seq);
                }
            }
        }
        if remove_source && !taken.is_empty() {
            folder.highest = mod_seq;
        }
        let words = folder.keywords.clone();
        let target = self.folders.get_mut(to).expect("looked up above");
        let (mut source_uids, mut target_uids) = (UidSet::new(), UidSet::new());
        for (uid, mut message) in taken {
            let bits = message.flags.keywords;
            message.flags.keywords = 0;
            for (at, word) in words.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1) {
                assert!(at < 128);
                message.flags.keywords |= target.keyword(word);
            }
            (message.mod_seq, message.arrived, message.gone) = (mod_seq, mod_seq, None);
            source_uids.insert(Uid(uid));
            let new = target.uid_next;
            target.uid_next += 1;
            target_uids.insert(Uid(new));
            target.recent.insert(Uid(new));
            target.highest = mod_seq;
            target.messages.insert(new, message);
        }
        let copied = Copied {
            uid_validity: target.uid_validity,
            source: source_uids,
            target: target_uids,
            mod_seq,
        };
        let changed = if remove_source { id } else { target.id };
        (UserDone::Copied(copied), Some(changed))
    }
}
