//! A user with a few folders, as a session sees it: it answers every task plausibly and keeps its
//! own promises (UIDs and MODSEQs rise, a diff leads from one state to the next). All messages have
//! the same text.

use bytes::Bytes;
use fsm::Wall;
use mailstore::face::*;
use mailstore::mime::{Layout, Limits, PartTable, Resolved as Place, Scanner, filter_header};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const USER: UserId = UserId(7);

const MESSAGE: &[u8] = b"From: Ann <ann@example.org>\r\nTo: bob@example.org\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n\
Date: Sat, 21 Nov 2026 05:00:00 +0100\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n.first\r\n--b\r\nContent-Type: text/plain\r\n\
Content-Transfer-Encoding: base64\r\n\r\naGVsbG8AIQ==\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n\
inside\r\n--b\r\nContent-Transfer-Encoding: x-odd\r\n\r\nodd\r\n--b--\r\n";

static COLUMNS: LazyLock<Columns> = LazyLock::new(|| {
    let mut scanner = Scanner::new(&Limits::default());
    scanner.push(MESSAGE);
    scanner.finish()
});

#[derive(Clone, Copy, Debug)]
struct Message {
    flags: Flags,
    mod_seq: ModSeq,
    born: ModSeq,
}

#[derive(Debug)]
struct Folder {
    id: FolderId,
    name: FolderName,
    messages: BTreeMap<u32, Message>,
    uid_next: u32,
    gone: Vec<(ModSeq, u32)>,
    subscribed: bool,
    special_use: Option<SpecialUse>,
}

impl Folder {
    fn uids(&self) -> UidSet {
        self.messages.keys().map(|&uid| Uid(uid)).collect()
    }

    fn among(&self, uids: &UidSet) -> Vec<u32> {
        self.messages.keys().copied().filter(|&uid| uids.contains(Uid(uid))).collect()
    }
}

/// See the file's header.
#[derive(Debug)]
pub struct World {
    folders: Vec<Folder>,
    keywords: Vec<Keyword>,
    mod_seq: u64,
    next_id: u32,
    pending: BTreeMap<PendingId, (FolderName, u32)>,
    open: Option<FolderId>,
}

impl Default for World {
    fn default() -> Self {
        let mut world = Self {
            folders: Vec::new(),
            keywords: Vec::new(),
            mod_seq: 10,
            next_id: 1,
            pending: BTreeMap::new(),
            open: None,
        };
        for (name, special_use) in [
            (FolderName::inbox(), None),
            (FolderName::new("Sent").expect("a name"), Some(SpecialUse::Sent)),
            (FolderName::new("x/Entwürfe").expect("a name"), None),
        ] {
            world.create(name, special_use);
        }
        for _ in 0..5 {
            world.append(0);
        }
        world.remove(0, &[3]);
        world
    }
}

type Answer = Result<UserDone, UserError>;

impl World {
    /// The completion of `task`.
    pub fn answer(&mut self, task: Task) -> Completion {
        match task {
            Task::Directory(task) => Completion::Directory(directory(&task)),
            Task::Delivery(DeliveryTask::Accept(acceptance)) => {
                assert!(acceptance.recipients.len() > 1, "one recipient goes to its master");
                Completion::Delivery(DeliveryDone::Accepted)
            }
            Task::Blob(BlobTask::PutChunk { bytes, .. }) => {
                assert!(!bytes.is_empty() && bytes.len() <= dds::CHUNK_BYTES);
                Completion::Blob(BlobDone::Written)
            }
            Task::Blob(BlobTask::Drop { .. }) => Completion::Blob(BlobDone::Dropped),
            Task::User { user, task } => {
                let is_delivery = matches!(task, UserTask::Deliver(_));
                assert!(user == USER || is_delivery && user == UserId(8), "nobody is {user}");
                Completion::User(self.user(task).unwrap_or_else(UserDone::Failed))
            }
        }
    }

    /// Another session delivers, expunges or changes flags in the open folder. What to tell, if any
    /// folder is open.
    pub fn disturb(&mut self, how: u8) -> Option<Notice> {
        let folder = self.open?;
        let at = self.at(folder).ok()?;
        let first = self.folders[at].messages.keys().next().copied();
        match (how % 3, first) {
            (0, Some(uid)) => self.remove(at, &[uid]),
            (1, Some(uid)) => {
                let mod_seq = self.tick();
                let message = self.folders[at].messages.get_mut(&uid).expect("the first");
                message.flags.system.0 ^= SystemFlag::Flagged as u8;
                message.mod_seq = mod_seq;
            }
            (_, _) => drop(self.append(at)),
        }
        Some(Notice::Changed { folder, mod_seq: ModSeq(self.mod_seq) })
    }

    /// The folder that is open.
    pub fn open_folder(&self) -> Option<FolderId> {
        self.open
    }

    fn tick(&mut self) -> ModSeq {
        self.mod_seq += 1;
        ModSeq(self.mod_seq)
    }

    fn create(&mut self, name: FolderName, special_use: Option<SpecialUse>) -> FolderId {
        let id = FolderId(self.next_id);
        self.next_id += 1;
        self.folders.push(Folder {
            id,
            name,
            messages: BTreeMap::new(),
            uid_next: 1,
            gone: Vec::new(),
            subscribed: true,
            special_use,
        });
        id
    }

    fn append(&mut self, at: usize) -> Uid {
        let mod_seq = self.tick();
        let folder = &mut self.folders[at];
        let uid = folder.uid_next;
        folder.uid_next += 1;
        folder.messages.insert(uid, Message { flags: Flags::default(), mod_seq, born: mod_seq });
        Uid(uid)
    }

    fn remove(&mut self, at: usize, uids: &[u32]) {
        let mod_seq = self.tick();
        for uid in uids {
            self.folders[at].messages.remove(uid);
            self.folders[at].gone.push((mod_seq, *uid));
        }
    }

    fn at(&self, id: FolderId) -> Result<usize, UserError> {
        self.folders.iter().position(|folder| folder.id == id).ok_or(UserError::NoSuchFolder)
    }

    fn named(&self, name: &FolderName) -> Result<usize, UserError> {
        self.folders.iter().position(|folder| folder.name == *name).ok_or(UserError::NoSuchFolder)
    }

    fn user(&mut self, task: UserTask) -> Answer {
        match task {
            UserTask::ListFolders
            | UserTask::CreateFolder { .. }
            | UserTask::DeleteFolder { .. }
            | UserTask::RenameFolder { .. }
            | UserTask::Subscribe { .. }
            | UserTask::Status { .. } => self.folders_task(task),
            UserTask::Append { .. }
            | UserTask::StageAppend { .. }
            | UserTask::CommitAppend { .. }
            | UserTask::DropAppend { .. } => self.append_task(task),
            UserTask::OpenMaildrop
            | UserTask::CommitMaildrop { .. }
            | UserTask::ReleaseMaildrop => self.maildrop_task(task),
            UserTask::Deliver(deliver) => {
                let uid = self.append(0);
                Ok(UserDone::Delivered { folder: deliver.folder, uid })
            }
            // No session of a mail protocol has records.
            UserTask::Records(_) => Err(UserError::Cannot("no such record".into())),
            // No session of a mail protocol replaces drafts.
            UserTask::Replace { .. } => Err(UserError::Cannot("nothing to replace".into())),
            // No session reads the event log.
            UserTask::Events { .. } => Err(UserError::Cannot("no such subscriber".into())),
            UserTask::Quota => {
                Ok(UserDone::Quota(QuotaReport { bytes_max: Some(9999), ..QuotaReport::default() }))
            }
            UserTask::OpenFolder { .. }
            | UserTask::CloseFolder { .. }
            | UserTask::Sync { .. }
            | UserTask::Fetch { .. }
            | UserTask::Vanished { .. }
            | UserTask::ReadSection { .. }
            | UserTask::Search { .. }
            | UserTask::Store { .. }
            | UserTask::Expunge { .. }
            | UserTask::Copy { .. } => self.open_task(task),
        }
    }

    fn folders_task(&mut self, task: UserTask) -> Answer {
        match task {
            UserTask::ListFolders => {
                let mut list: Vec<_> = self.folders.iter().map(info).collect();
                list.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(UserDone::Folders(list.into()))
            }
            UserTask::CreateFolder { name, special_use } => match self.named(&name) {
                Ok(_) => Err(UserError::FolderExists),
                Err(_) => Ok(UserDone::Created { id: self.create(name, special_use) }),
            },
            UserTask::DeleteFolder { name } if !name.is_inbox() => {
                let at = self.named(&name)?;
                self.folders.remove(at);
                Ok(UserDone::Done)
            }
            UserTask::RenameFolder { from, to } if self.named(&to).is_err() => {
                let at = self.named(&from)?;
                self.folders[at].name = to;
                Ok(UserDone::Done)
            }
            UserTask::Subscribe { name, on } => {
                let at = self.named(&name)?;
                self.folders[at].subscribed = on;
                Ok(UserDone::Done)
            }
            UserTask::Status { names } => {
                let status = |name| self.named(name).ok().map(|at| self.status(&self.folders[at]));
                Ok(UserDone::Status(names.iter().map(status).collect()))
            }
            _ => Err(UserError::Cannot("not here".into())),
        }
    }

    fn status(&self, folder: &Folder) -> FolderStatus {
        let messages = u32::try_from(folder.messages.len()).expect("few");
        FolderStatus {
            id: folder.id,
            uid_validity: UidValidity(1),
            uid_next: Uid(folder.uid_next),
            highest_mod_seq: ModSeq(self.mod_seq),
            messages,
            recent: 0,
            unseen: messages,
            deleted: 0,
            bytes: 0,
            deleted_bytes: 0,
        }
    }

    fn append_task(&mut self, task: UserTask) -> Answer {
        match task {
            UserTask::Append { to, message: _, once: _ } => self.appended(&to, 1),
            UserTask::StageAppend { to, pending, message: _ } => {
                self.named(&to)?;
                let pending = pending.unwrap_or(PendingId(u64::from(self.next_id)));
                self.next_id += 1;
                self.pending.entry(pending).or_insert((to, 0)).1 += 1;
                Ok(UserDone::Staged { pending })
            }
            UserTask::CommitAppend { pending } => {
                let (to, count) = self.pending.remove(&pending).ok_or(UserError::NoSuchPending)?;
                self.appended(&to, count)
            }
            UserTask::DropAppend { pending } => {
                self.pending.remove(&pending);
                Ok(UserDone::Done)
            }
            _ => Err(UserError::Cannot("not here".into())),
        }
    }

    fn appended(&mut self, to: &FolderName, count: u32) -> Answer {
        let at = self.named(to)?;
        let uids = (0..count).map(|_| self.append(at)).collect();
        Ok(UserDone::Appended { folder: self.folders[at].id, uid_validity: UidValidity(1), uids })
    }

    fn maildrop_task(&mut self, task: UserTask) -> Answer {
        match task {
            UserTask::OpenMaildrop => {
                let size = MESSAGE.len() as u64;
                let messages = self.folders[0].messages.keys().map(|&uid| (Uid(uid), size));
                Ok(UserDone::MaildropOpened(Maildrop {
                    folder: self.folders[0].id,
                    uid_validity: UidValidity(1),
                    messages: messages.collect(),
                }))
            }
            UserTask::CommitMaildrop { delete } => {
                let gone = self.folders[0].among(&delete);
                self.remove(0, &gone);
                Ok(UserDone::Done)
            }
            _ => Ok(UserDone::Done),
        }
    }

    fn open_task(&mut self, task: UserTask) -> Answer {
        match task {
            UserTask::OpenFolder { name, mode: _, known } => self.open(&name, known.as_ref()),
            UserTask::CloseFolder { folder } => {
                self.open = self.open.filter(|open| *open != folder);
                Ok(UserDone::Done)
            }
            UserTask::Sync { folder, since, expunges_told: _ } => {
                let at = self.at(folder)?;
                Ok(UserDone::Synced(self.diff(at, since)))
            }
            UserTask::Fetch { folder, uids, want, changed_since } => {
                let at = self.at(folder)?;
                let folder = &self.folders[at];
                let rows = folder.among(&uids).into_iter().filter_map(|uid| {
                    let message = folder.messages.get(&uid)?;
                    (message.mod_seq > changed_since.unwrap_or_default())
                        .then(|| row(uid, message, want))
                });
                Ok(UserDone::Fetched { rows: rows.collect() })
            }
            UserTask::Vanished { folder, uids, since } => {
                let at = self.at(folder)?;
                let gone = self.diff(at, since).vanished;
                Ok(UserDone::Vanished(gone.intersection(&uids)))
            }
            UserTask::ReadSection { folder, uid, section, offset, len } => {
                let at = self.at(folder)?;
                if !self.folders[at].messages.contains_key(&uid.0) {
                    return Err(UserError::Expunged);
                }
                assert!(len <= SECTION_PAGE_BYTES_MAX);
                Ok(UserDone::Section(read(&section, offset, len)))
            }
            UserTask::Search { folder, criteria: _ } => {
                let at = self.at(folder)?;
                let odd = self.folders[at].uids().iter().filter(|uid| uid.0 % 2 == 1).collect();
                Ok(UserDone::Found { uids: odd, highest_mod_seq: Some(ModSeq(self.mod_seq)) })
            }
            UserTask::Expunge { folder, uids } => {
                let at = self.at(folder)?;
                let deleted = |&uid: &u32| {
                    self.folders[at].messages[&uid].flags.system.has(SystemFlag::Deleted)
                };
                let all = self.folders[at].uids();
                let among = self.folders[at].among(&uids.unwrap_or(all));
                let gone: Vec<u32> = among.into_iter().filter(deleted).collect();
                self.remove(at, &gone);
                let uids = gone.into_iter().map(Uid).collect();
                Ok(UserDone::Expunged { uids, mod_seq: ModSeq(self.mod_seq) })
            }
            UserTask::Copy { folder, uids, to, remove_source } => {
                let (from, to) = (self.at(folder)?, self.named(&to)?);
                let source = self.folders[from].among(&uids);
                let target = source.iter().map(|_| self.append(to)).collect();
                if remove_source {
                    self.remove(from, &source);
                }
                Ok(UserDone::Copied(Copied {
                    uid_validity: UidValidity(1),
                    source: source.into_iter().map(Uid).collect(),
                    target,
                    mod_seq: ModSeq(self.mod_seq),
                }))
            }
            task => self.store(task),
        }
    }

    fn store(&mut self, task: UserTask) -> Answer {
        let UserTask::Store { folder, uids, change, flags, keywords, unchanged_since } = task
        else {
            return Err(UserError::Cannot("not here".into()));
        };
        let at = self.at(folder)?;
        let mut bits = 0_u128;
        for keyword in keywords {
            let bit =
                self.keywords.iter().position(|known| *known == keyword).unwrap_or_else(|| {
                    self.keywords.push(keyword);
                    self.keywords.len() - 1
                });
            bits |= 1_u128
                .checked_shl(u32::try_from(bit).expect("few"))
                .ok_or(UserError::Limit("keywords".into()))?;
        }
        let mod_seq = self.tick();
        let (mut changed, mut modified) = (UidSet::new(), UidSet::new());
        for uid in self.folders[at].among(&uids) {
            let message = self.folders[at].messages.get_mut(&uid).expect("among them");
            if unchanged_since.is_some_and(|since| message.mod_seq > since) {
                modified.insert(Uid(uid));
                continue;
            }
            let (system, keywords) = (message.flags.system.0, message.flags.keywords);
            let (system, keywords) = match change {
                FlagChange::Add => (system | flags.0, keywords | bits),
                FlagChange::Remove => (system & !flags.0, keywords & !bits),
                FlagChange::Replace => (flags.0, bits),
            };
            let after = Flags { system: SystemFlags(system), keywords };
            if after != message.flags {
                (message.flags, message.mod_seq) = (after, mod_seq);
                changed.insert(Uid(uid));
            }
        }
        Ok(UserDone::Stored(Stored {
            mod_seq,
            changed,
            modified,
            keywords: self.keywords.clone().into(),
        }))
    }

    fn open(&mut self, name: &FolderName, known: Option<&Known>) -> Answer {
        let at = self.named(name)?;
        self.open = Some(self.folders[at].id);
        let folder = &self.folders[at];
        let resync = known
            .filter(|known| known.uid_validity == UidValidity(1))
            .map(|known| self.diff(at, known.mod_seq));
        Ok(UserDone::Opened(Box::new(FolderOpened {
            folder: folder.id,
            uid_validity: UidValidity(1),
            uid_next: Uid(folder.uid_next),
            highest_mod_seq: ModSeq(self.mod_seq),
            uids: Arc::new(folder.uids()),
            recent: folder.uids().last().into_iter().collect(),
            unseen: u32::try_from(folder.messages.len()).expect("few"),
            first_unseen: folder.uids().first(),
            keywords: self.keywords.clone().into(),
            resync,
        })))
    }

    fn diff(&self, at: usize, since: ModSeq) -> FolderDiff {
        let folder = &self.folders[at];
        let rows = |new: bool| {
            let changed = folder
                .messages
                .iter()
                .filter(move |(_, m)| m.mod_seq > since && (m.born > since) == new);
            changed.map(|(&uid, m)| FlagRow { uid: Uid(uid), mod_seq: m.mod_seq, flags: m.flags })
        };
        FolderDiff {
            mod_seq: ModSeq(self.mod_seq),
            uid_next: Uid(folder.uid_next),
            vanished: folder
                .gone
                .iter()
                .filter(|(at, _)| *at > since)
                .map(|&(_, uid)| Uid(uid))
                .collect(),
            arrived: rows(true).map(|row| row.uid).collect(),
            recent: UidSet::new(),
            changed: rows(false).collect(),
            keywords: self.keywords.clone().into(),
        }
    }
}

fn info(folder: &Folder) -> FolderInfo {
    FolderInfo {
        name: folder.name.clone(),
        kind: FolderKind::Folder { id: folder.id, special_use: folder.special_use },
        subscribed: folder.subscribed,
    }
}

fn row(uid: u32, message: &Message, want: Want) -> Row {
    let column = |wanted: bool, column: &Bytes| if wanted { column.clone() } else { Bytes::new() };
    Row {
        uid: Uid(uid),
        mod_seq: message.mod_seq,
        flags: message.flags,
        internal_date: InternalDate::default(),
        saved: InternalDate::default(),
        bytes: MESSAGE.len() as u64,
        email_id: EmailId(1),
        thread_id: ThreadId(1),
        envelope: column(want.envelope, &COLUMNS.envelope),
        body: column(want.body, &COLUMNS.body),
        structure: column(want.structure, &COLUMNS.structure),
    }
}

fn read(section: &Section, offset: u64, len: u64) -> SectionRead {
    let parts = PartTable::decode(&COLUMNS.parts).expect("ours");
    let body_len = MESSAGE.len() as u64;
    let slice = |range: std::ops::Range<u64>| {
        MESSAGE[usize::try_from(range.start).expect("short")
            ..usize::try_from(range.end).expect("short")]
            .to_vec()
    };
    let all: Bytes = match parts.resolve(Layout { prefix_len: 0, body_len }, section) {
        Place::Bytes(range) => slice(range).into(),
        Place::FilterHeader { range, names, keep } => filter_header(&slice(range), &names, keep),
        Place::Decode { .. } => Bytes::from_static(b"hello\0!"),
        Place::NoSuchPart => return SectionRead::NoSuchPart,
        Place::UnknownEncoding => return SectionRead::UnknownEncoding,
    };
    let from = all.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
    let to = from + (all.len() - from).min(usize::try_from(len).unwrap_or(usize::MAX));
    SectionRead::Page { bytes: all.slice(from..to), total: all.len() as u64 }
}

fn directory(task: &DirectoryTask) -> DirectoryDone {
    let recipient = |user: UserId, address: &str| Recipient { user, address: address.into() };
    match task {
        DirectoryTask::Resolve { address } => DirectoryDone::Resolved(match address.first() {
            Some(b'a') => Resolved::Local([recipient(USER, "ann@example.org")].into()),
            Some(b'b') => Resolved::Local(
                [recipient(USER, "ann@example.org"), recipient(UserId(8), "bob@example.org")]
                    .into(),
            ),
            Some(b'd') => Resolved::Disabled,
            Some(b'n') => Resolved::NotLocal,
            Some(_) => Resolved::Unknown,
            None => Resolved::Malformed,
        }),
        DirectoryTask::Authenticate(attempt) => match &attempt.secret[..] {
            b"wrong" => DirectoryDone::AuthRefused(AuthRefusal::WrongCredentials),
            b"slow" => DirectoryDone::AuthRefused(AuthRefusal::Throttled),
            _ => DirectoryDone::Authenticated(Account {
                user: USER,
                address: "ann@example.org".into(),
            }),
        },
        DirectoryTask::CheckSender { user: _, address } => {
            DirectoryDone::SenderChecked { allowed: address.first() == Some(&b'a') }
        }
        DirectoryTask::CheckCode(_) => DirectoryDone::AuthRefused(AuthRefusal::WrongCredentials),
        DirectoryTask::Admin(_) => {
            DirectoryDone::Admin(AdminDone::Refused("no session is an operator".into()))
        }
    }
}

/// When all this happens.
pub const NOW: Wall = Wall(1_795_000_000_000);
