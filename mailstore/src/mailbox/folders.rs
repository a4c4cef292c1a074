//! The folder table: LIST, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE.
//!
//! Invariants: a change of the table is alone under way; a name never gets a UIDVALIDITY again that is not above all earlier
//! ones; a `NoSelect` folder is a name with children and no record of its own.

use super::change::{Asker, Change, FolderChange, MadeFolder};
use super::core::{Core, Exclusive};
use super::folder::Folder;
use super::format::{FolderRecord, Header, KeywordTable, Root, keys};
use super::machine::Effect;
use super::{answer, fail};
use crate::face::{
    FolderId, FolderInfo, FolderKind, FolderName, Notice, SpecialUse, UidValidity, UserDone,
    UserError,
};
use bytes::Bytes;
use dds::Op;
use fsm::Cx;
use std::collections::BTreeMap;

/// What a new user finds, besides INBOX (RFC 6154).
const SPECIAL_FOLDERS: [(&str, SpecialUse); 5] = [
    ("Archive", SpecialUse::Archive),
    ("Drafts", SpecialUse::Drafts),
    ("Junk", SpecialUse::Junk),
    ("Sent", SpecialUse::Sent),
    ("Trash", SpecialUse::Trash),
];

/// Top-level names kept for folders of others (RFC 2342 namespaces to come).
const RESERVED: [&str; 2] = ["Shared", "Other Users"];

impl Core {
    /// The first batch of a new user, behind `ops`.
    pub fn found(&mut self, cx: &mut Cx<'_, Effect>, mut ops: Vec<Op>) {
        let mut made = vec![self.make_folder(&FolderName::inbox(), None)];
        for (name, special_use) in SPECIAL_FOLDERS {
            if let Ok(name) = FolderName::new(name)
                && !self.by_name.contains_key(&name)
            {
                made.push(self.make_folder(&name, Some(special_use)));
            }
        }
        for folder in &made {
            put_made(folder, &mut ops);
            let key = keys::subscription(&folder.name);
            ops.push(Op::Put { key, value: subscription_value() });
        }
        self.subscribe_configured(&mut ops);
        ops.push(self.root_op());
        // Until it commits nobody sees a folder, and nothing else is written.
        self.exclusive = Exclusive::Barrier;
        self.founding = Some(made);
        self.pipeline.submit(cx, ops, Change::Founded);
    }

    pub fn founded(&mut self, cx: &mut Cx<'_, Effect>) {
        self.release_exclusive();
        self.take_raised();
        for folder in self.founding.take().unwrap_or_default() {
            self.subscriptions.insert(folder.name.clone());
            self.add_folder(folder);
        }
        for waiting in std::mem::take(&mut self.unfounded) {
            self.on_task(cx, waiting);
        }
    }

    pub fn make_folder(
        &mut self,
        name: &FolderName,
        special_use: Option<SpecialUse>,
    ) -> MadeFolder {
        let id = FolderId(self.counters.next_folder);
        self.counters.next_folder += 1;
        let uid_validity = self.next_uid_validity();
        let header = Header::fresh(self.next_mod_seq());
        MadeFolder {
            id,
            name: name.clone(),
            uid_validity,
            special_use,
            header,
            keywords: Vec::new(),
        }
    }

    fn next_uid_validity(&mut self) -> UidValidity {
        let uid_validity = UidValidity(self.counters.next_uid_validity);
        self.counters.next_uid_validity = self.counters.next_uid_validity.saturating_add(1);
        uid_validity
    }

    /// The counters that no header keeps.
    pub fn root_op(&self) -> Op {
        let root = Root {
            next_folder: self.counters.next_folder,
            next_uid_validity: self.counters.next_uid_validity,
            mod_seq: self.counters.mod_seq,
            email_next: self.counters.email_next,
            next_pending: self.counters.next_pending,
        };
        Op::Put { key: keys::lone(keys::ROOT), value: root.encode() }
    }

    pub fn add_folder(&mut self, made: MadeFolder) {
        let MadeFolder { id, name, uid_validity, special_use, header, keywords } = made;
        self.by_name.insert(name.clone(), id);
        let record = FolderRecord { name, uid_validity, special_use };
        let mut folder = Folder::new(id, record, header);
        folder.keywords = keywords.clone().into();
        folder.keywords_assigned = keywords;
        // A fresh folder has no rows to load.
        folder.index = super::folder::IndexState::Loaded(Box::default());
        self.folders.insert(id, folder);
    }

    pub fn list_folders(&self, cx: &mut Cx<'_, Effect>, asker: Asker) {
        let mut all: BTreeMap<FolderName, FolderKind> = BTreeMap::new();
        for name in &self.subscriptions {
            all.insert(name.clone(), FolderKind::NonExistent);
        }
        for (name, id) in &self.by_name {
            let mut ancestor = name.parent();
            while let Some(parent) = ancestor {
                all.entry(parent.clone())
                    .and_modify(|kind| {
                        if *kind == FolderKind::NonExistent {
                            *kind = FolderKind::NoSelect;
                        }
                    })
                    .or_insert(FolderKind::NoSelect);
                ancestor = parent.parent();
            }
            let special_use = self.folders.get(id).and_then(|folder| folder.special_use);
            all.insert(name.clone(), FolderKind::Folder { id: *id, special_use });
        }
        let infos = all.into_iter().map(|(name, kind)| {
            let subscribed = self.subscriptions.contains(&name);
            FolderInfo { name, kind, subscribed }
        });
        answer(cx, asker, Ok(UserDone::Folders(infos.collect())));
    }

    pub fn status(&self, cx: &mut Cx<'_, Effect>, asker: Asker, names: &[FolderName]) {
        let status = names.iter().map(|name| {
            let folder = self.folders.get(self.by_name.get(name)?)?;
            Some(folder.status())
        });
        answer(cx, asker, Ok(UserDone::Status(status.collect())));
    }

    fn has_children(&self, name: &FolderName) -> bool {
        self.by_name.keys().any(|other| other.is_below(name))
    }

    /// Why a folder of this name can't be made, if so.
    fn refuse_name(&self, name: &FolderName) -> Option<UserError> {
        if self.by_name.contains_key(name) {
            return Some(UserError::FolderExists);
        }
        let top = name.as_str().split('/').next().unwrap_or_default();
        if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(top)) {
            return Some(UserError::Cannot("the name is reserved".into()));
        }
        None
    }

    /// The folder, and those of its ancestors that do not exist, outermost first.
    pub fn make_with_parents(
        &mut self,
        name: &FolderName,
        special_use: Option<SpecialUse>,
    ) -> Result<Vec<MadeFolder>, UserError> {
        let mut names = Vec::new();
        let mut ancestor = name.parent();
        while let Some(parent) = ancestor {
            ancestor = parent.parent();
            if !self.by_name.contains_key(&parent) {
                names.push(parent);
            }
        }
        if self.folders.len() + names.len() >= self.limits().folders_max {
            return Err(UserError::Limit("too many folders".into()));
        }
        let mut made = Vec::new();
        for name in names.iter().rev() {
            made.push(self.make_folder(name, None));
        }
        made.push(self.make_folder(name, special_use));
        Ok(made)
    }

    pub fn create_folder(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        name: &FolderName,
        special_use: Option<SpecialUse>,
    ) {
        if let Some(error) = self.refuse_name(name) {
            return fail(cx, asker, error);
        }
        let made = match self.make_with_parents(name, special_use) {
            Ok(made) => made,
            Err(error) => return fail(cx, asker, error),
        };
        let mut ops = Vec::new();
        for folder in &made {
            put_made(folder, &mut ops);
        }
        ops.push(self.root_op());
        self.change_folders(cx, asker, FolderChange::Created(made), ops);
    }

    pub fn delete_folder(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, name: &FolderName) {
        // RFC 9051 6.3.5: it is an error to delete INBOX.
        if name.is_inbox() {
            return fail(cx, asker, UserError::Cannot("INBOX can't be deleted".into()));
        }
        let Some(&id) = self.by_name.get(name) else {
            // RFC 9051 6.3.5: nor a name with children that is \Noselect already.
            let error = if self.has_children(name) {
                UserError::Cannot("the folder has children".into())
            } else {
                UserError::NoSuchFolder
            };
            return fail(cx, asker, error);
        };
        let mut ops = vec![
            Op::Delete { key: keys::of_folder(keys::FOLDER, id) },
            Op::Put { key: keys::of_folder(keys::TOMBSTONE, id), value: subscription_value() },
        ];
        self.forget_events(id, &mut ops);
        ops.push(self.root_op());
        self.change_folders(cx, asker, FolderChange::Deleted(id), ops);
    }

    pub fn rename_folder(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        from: &FolderName,
        to: &FolderName,
    ) {
        if let Some(error) = self.refuse_name(to) {
            return fail(cx, asker, error);
        }
        if to.is_below(from) && !from.is_inbox() {
            return fail(cx, asker, UserError::Cannot("a folder can't move below itself".into()));
        }
        if from.is_inbox() {
            return self.rename_inbox(cx, asker, to);
        }
        let affected: Vec<(FolderName, FolderId)> = self
            .by_name
            .iter()
            .filter(|(name, _)| *name == from || name.is_below(from))
            .map(|(name, id)| (name.clone(), *id))
            .collect();
        if affected.is_empty() {
            return fail(cx, asker, UserError::NoSuchFolder);
        }
        match self.rename_all(&affected, from, to) {
            Ok((change, ops)) => self.change_folders(cx, asker, change, ops),
            Err(error) => fail(cx, asker, error),
        }
    }

    fn rename_all(
        &mut self,
        affected: &[(FolderName, FolderId)],
        from: &FolderName,
        to: &FolderName,
    ) -> Result<(FolderChange, Vec<Op>), UserError> {
        let mut moved = Vec::new();
        let mut ops = Vec::new();
        for (name, id) in affected {
            let below = name.as_str().get(from.as_str().len()..).unwrap_or_default();
            let new_name =
                FolderName::new(&format!("{}{below}", to.as_str())).map_err(UserError::BadName)?;
            if self.by_name.contains_key(&new_name) {
                return Err(UserError::FolderExists);
            }
            // RFC 9051 6.3.6: UIDs under the new name must not clash with those of a folder that once had it.
            let uid_validity = self.next_uid_validity();
            let special_use = self.folders.get(id).and_then(|folder| folder.special_use);
            let record = FolderRecord { name: new_name.clone(), uid_validity, special_use };
            let key = keys::of_folder(keys::FOLDER, *id);
            ops.push(Op::Put { key, value: record.encode() });
            moved.push((*id, new_name, uid_validity));
        }
        let mut made = Vec::new();
        if let Some(parent) = to.parent()
            && !self.by_name.contains_key(&parent)
        {
            made = self.make_with_parents(&parent, None)?;
            for folder in &made {
                put_made(folder, &mut ops);
            }
        }
        ops.push(self.root_op());
        Ok((FolderChange::Renamed { moved, made }, ops))
    }

    pub fn subscribe(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, name: FolderName, on: bool) {
        if self.subscriptions.contains(&name) == on {
            return answer(cx, asker, Ok(UserDone::Done));
        }
        if on && self.subscriptions.len() >= self.limits().subscriptions_max {
            return fail(cx, asker, UserError::Limit("too many subscriptions".into()));
        }
        let key = keys::subscription(&name);
        let op = if on { Op::Put { key, value: subscription_value() } } else { Op::Delete { key } };
        let change = FolderChange::Subscribed { name, on };
        self.hold_exclusive();
        self.pipeline.submit(cx, vec![op], Change::Folders(Box::new(change), asker));
    }

    fn change_folders(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        change: FolderChange,
        ops: Vec<Op>,
    ) {
        self.exclusive = Exclusive::Barrier;
        self.pipeline.submit(cx, ops, Change::Folders(Box::new(change), asker));
    }

    /// The folder table changed.
    pub fn folders_changed(&mut self, cx: &mut Cx<'_, Effect>, change: FolderChange, asker: Asker) {
        self.release_exclusive();
        let done = match change {
            FolderChange::Created(made) => {
                let id = made.last().map_or(FolderId(0), |folder| folder.id);
                for folder in made {
                    self.add_folder(folder);
                }
                UserDone::Created { id }
            }
            FolderChange::Deleted(id) => {
                self.folder_deleted(cx, id);
                self.stir(cx);
                UserDone::Done
            }
            FolderChange::Renamed { moved, made } => {
                for (id, _, _) in &moved {
                    if let Some(folder) = self.folders.get(id) {
                        self.by_name.remove(&folder.name);
                    }
                }
                for (id, name, uid_validity) in moved {
                    self.by_name.insert(name.clone(), id);
                    if let Some(folder) = self.folders.get_mut(&id) {
                        folder.name = name;
                        folder.uid_validity = uid_validity;
                    }
                }
                for folder in made {
                    self.add_folder(folder);
                }
                UserDone::Done
            }
            FolderChange::Subscribed { name, on } => {
                if on {
                    self.subscriptions.insert(name);
                } else {
                    self.subscriptions.remove(&name);
                }
                UserDone::Done
            }
        };
        answer(cx, asker, Ok(done));
    }

    fn folder_deleted(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) {
        let Some(mut folder) = self.folders.remove(&id) else {
            return;
        };
        self.by_name.remove(&folder.name);
        let usage = (folder.committed.bytes, u64::from(folder.committed.messages));
        self.usage.bytes = self.usage.bytes.saturating_sub(usage.0);
        self.usage.messages = self.usage.messages.saturating_sub(usage.1);
        for &session in folder.watchers.keys() {
            cx.emit(Effect::Notify { session, notice: Notice::FolderDeleted { folder: id } });
        }
        for waiting in folder.waiting_mut().map(std::mem::take).unwrap_or_default() {
            fail(cx, waiting.asker, UserError::NoSuchFolder);
        }
        folder.watchers.clear();
        self.removals.told(id, crate::face::ModSeq(u64::MAX));
        self.tombstones.insert(id, folder.committed);
    }
}

/// The records of a new folder.
pub fn put_made(folder: &MadeFolder, ops: &mut Vec<Op>) {
    let MadeFolder { id, name, uid_validity, special_use, header, keywords: _ } = folder;
    let record =
        FolderRecord { name: name.clone(), uid_validity: *uid_validity, special_use: *special_use };
    ops.push(Op::Put { key: keys::of_folder(keys::FOLDER, *id), value: record.encode() });
    ops.push(Op::Put { key: keys::of_folder(keys::HEADER, *id), value: header.encode() });
}

/// A record that says all by its key.
fn subscription_value() -> Bytes {
    KeywordTable::default().encode()
}
