//! Random orders against a naive model: the same folders, UIDs, flags and bodies; views that sessions keep by `Sync` alone;
//! with batches that get lost, refused or applied unseen, and masters that die at any moment.

mod checks;

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use fsm::Duration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Order {
    Deliver(u128),
    Append {
        folder: u8,
        flags: u8,
        keyword: u8,
    },
    MultiAppend {
        folder: u8,
        count: u8,
        commit: u8,
    },
    Replace {
        folder: u8,
        uid: u32,
        flags: u8,
        keyword: u8,
    },
    Store {
        folder: u8,
        uids: (u32, u32),
        change: u8,
        flags: u8,
        keyword: u8,
    },
    Expunge {
        folder: u8,
        uids: Option<(u32, u32)>,
    },
    Copy {
        from: u8,
        to: u8,
        uids: (u32, u32),
        remove_source: bool,
    },
    Create(u8),
    Delete(u8),
    Rename(u8, u8),
    Open {
        session: u8,
        folder: u8,
    },
    Sync(u8),
    Pop(u32),
    Search(u8, u8),
    /// The next writes go wrong so.
    Faults(Vec<u8>),
    /// The master dies, with so many of its requests done.
    Crash(u8),
    /// The next order is cut short: the master dies after so many steps, so many of the requests left being done.
    CutShort(u8, u8),
}

const NAMES: [&str; 5] = ["INBOX", "Trash", "a", "a/b", "c/d/e"];

fn order() -> impl Strategy<Value = Order> {
    let folder = || 0_u8..5;
    let uids = || (1_u32..14, 0_u32..6).prop_map(|(first, len)| (first, first + len));
    prop_oneof![
        6 => (0_u128..40).prop_map(Order::Deliver),
        3 => (folder(), 0_u8..32, 0_u8..4)
            .prop_map(|(folder, flags, keyword)| Order::Append { folder, flags, keyword }),
        2 => (folder(), 1_u32..14, 0_u8..32, 0_u8..4).prop_map(|(folder, uid, flags, keyword)| {
            Order::Replace { folder, uid, flags, keyword }
        }),
        1 => (folder(), 1_u8..5, 0_u8..3)
            .prop_map(|(folder, count, commit)| Order::MultiAppend { folder, count, commit }),
        5 => (folder(), uids(), 0_u8..3, 0_u8..32, 0_u8..4).prop_map(
            |(folder, uids, change, flags, keyword)| Order::Store {
                folder, uids, change, flags, keyword
            }
        ),
        3 => (folder(), prop::option::of(uids()))
            .prop_map(|(folder, uids)| Order::Expunge { folder, uids }),
        3 => (folder(), folder(), uids(), any::<bool>()).prop_map(
            |(from, to, uids, remove_source)| Order::Copy { from, to, uids, remove_source }
        ),
        2 => folder().prop_map(Order::Create),
        1 => folder().prop_map(Order::Delete),
        1 => (folder(), folder()).prop_map(|(from, to)| Order::Rename(from, to)),
        3 => (0_u8..2, folder()).prop_map(|(session, folder)| Order::Open { session, folder }),
        3 => (0_u8..2).prop_map(Order::Sync),
        1 => (1_u32..14).prop_map(Order::Pop),
        2 => (folder(), 0_u8..10).prop_map(|(folder, what)| Order::Search(folder, what)),
        1 => prop::collection::vec(0_u8..4, 1..3).prop_map(Order::Faults),
        1 => (0_u8..4).prop_map(Order::Crash),
        2 => (0_u8..8, 0_u8..3).prop_map(|(steps, done)| Order::CutShort(steps, done)),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    number: u128,
    delivered: bool,
    flags: u8,
    keywords: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelFolder {
    uid_next: u32,
    messages: BTreeMap<u32, Message>,
}

/// What a mailbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    folders: BTreeMap<String, ModelFolder>,
    delivered: BTreeMap<u128, u32>,
}

impl Model {
    fn new() -> Self {
        let names = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"];
        let folder = || ModelFolder { uid_next: 1, messages: BTreeMap::new() };
        Self {
            folders: names.iter().map(|name| ((*name).to_string(), folder())).collect(),
            delivered: BTreeMap::new(),
        }
    }

    fn create(&mut self, name: &str) {
        let mut at = 0;
        while let Some(next) = name[at..].find('/') {
            self.add(&name[..at + next]);
            at += next + 1;
        }
        self.add(name);
    }

    fn add(&mut self, name: &str) {
        let folder = ModelFolder { uid_next: 1, messages: BTreeMap::new() };
        self.folders.entry(name.to_string()).or_insert(folder);
    }

    fn put(&mut self, folder: &str, message: Message) -> Option<u32> {
        let folder = self.folders.get_mut(folder)?;
        let uid = folder.uid_next;
        folder.uid_next += 1;
        folder.messages.insert(uid, message);
        Some(uid)
    }
}

type Judge = Box<dyn Fn(&Message) -> bool>;

const KEYWORDS: [&str; 3] = ["$One", "two", "Three"];

fn keywords_of(keyword: u8) -> Vec<Keyword> {
    KEYWORDS.get(usize::from(keyword)).map(|name| super::world::keyword(name)).into_iter().collect()
}

fn names_of(keyword: u8) -> BTreeSet<String> {
    keywords_of(keyword).iter().map(|keyword| keyword.as_str().to_string()).collect()
}

fn limits() -> Limits {
    Limits {
        chunk_rows_max: 4,
        fold_entries: 3,
        fold_entries_most: 3,
        removals_per_batch: 2,
        expunge_slice: 3,
        vanished_entries_max: 2,
        index_bytes_max: 700,
        batch_rows_max: 3,
        delivery_memory: Duration::from_secs(7 * 86_400),
        search_window_rows: 3,
        search_windows_max: 2,
        match_bodies_max: 2,
        column_cache_bytes: 500,
        block_rows_min: 2,
        ..Limits::default()
    }
}

/// A session's view, kept by `Sync` alone.
struct View {
    name: String,
    folder: FolderId,
    mod_seq: ModSeq,
    flags: BTreeMap<u32, u8>,
    messages: BTreeMap<u32, Message>,
}

struct Run {
    world: World,
    model: Model,
    views: [Option<View>; 2],
    number: u128,
    cut: Option<(u8, u8)>,
}

const READER: SessionId = SessionId(99);

impl Run {
    fn session(at: u8) -> SessionId {
        SessionId(u64::from(at) + 1)
    }

    /// Asks; `Some` when it was done. The model is told what to become in that case.
    fn ask(&mut self, from: SessionId, task: UserTask, then: Model) -> Option<UserDone> {
        if let Some((steps, done)) = self.cut.take() {
            let token = self.world.ask(from, task.clone());
            for _ in 0..steps {
                if !self.world.serve_one() {
                    break;
                }
            }
            let answer = self.world.answers.remove(&token);
            self.world.crash(usize::from(done));
            self.views = [None, None];
            let seen = self.seen();
            if matches!(answer, Some(Ok(_))) {
                assert_eq!(seen, then.folders, "{task:?} was done");
                self.model = then;
            } else if seen == then.folders {
                self.model = then;
            } else {
                assert_eq!(seen, self.model.folders, "{task:?} was not done, or was");
            }
            return None;
        }
        match self.world.call(from, task.clone()) {
            Ok(UserDone::Failed(error)) => panic!("{task:?}: {error}"),
            Ok(done) => {
                self.model = then;
                Some(done)
            }
            Err(TaskRefusal::NoSpace | TaskRefusal::Unavailable) => None,
            Err(refusal) => panic!("{task:?}: {refusal}"),
        }
    }

    fn fails(&mut self, task: UserTask) {
        match self.world.call(ANN, task.clone()) {
            Ok(UserDone::Failed(_)) => {}
            other => panic!("{task:?}: {other:?}"),
        }
    }

    /// Everything, read through the face.
    fn seen(&mut self) -> BTreeMap<String, ModelFolder> {
        let UserDone::Folders(infos) = self.world.done(READER, UserTask::ListFolders) else {
            panic!("folders");
        };
        let mut folders = BTreeMap::new();
        for info in infos.iter() {
            let FolderKind::Folder { id, .. } = info.kind else {
                continue;
            };
            let name = info.name.as_str();
            let opened = self.world.open(READER, name, OpenMode::ReadOnly);
            assert_eq!(opened.folder, id);
            let mut messages = BTreeMap::new();
            let want = Want { envelope: true, body: false, structure: false };
            let rows = self.world.rows(READER, id, want);
            let uids: UidSet = rows.iter().map(|row| row.uid).collect();
            assert_eq!(*opened.uids, uids);
            let unseen = rows.iter().filter(|row| !row.flags.system.has(SystemFlag::Seen));
            let unseen: Vec<Uid> = unseen.map(|row| row.uid).collect();
            assert_eq!(opened.unseen as usize, unseen.len(), "unseen of {name}");
            assert_eq!(opened.first_unseen, unseen.first().copied());
            let task = UserTask::Status { names: vec![info.name.clone()] };
            let UserDone::Status(status) = self.world.done(READER, task) else { panic!() };
            let status = status[0].expect("exists");
            assert_eq!(status.messages as usize, rows.len());
            assert_eq!(status.bytes, rows.iter().map(|row| row.bytes).sum::<u64>());
            let deleted = rows.iter().filter(|row| row.flags.system.has(SystemFlag::Deleted));
            assert_eq!(status.deleted as usize, deleted.count());
            for row in rows {
                assert!(row.mod_seq <= opened.highest_mod_seq);
                messages.insert(row.uid.0, self.message(id, &row, &opened.keywords));
            }
            self.world.done(READER, UserTask::CloseFolder { folder: id });
            let folder = ModelFolder { uid_next: opened.uid_next.0, messages };
            folders.insert(name.to_string(), folder);
        }
        folders
    }

    /// A row, with the number that its body and envelope bear.
    fn message(&mut self, folder: FolderId, row: &Row, table: &[Keyword]) -> Message {
        let body = self.world.section(READER, (folder, row.uid.0), Section::WHOLE);
        assert_eq!(body.len() as u64, row.bytes);
        let delivered = body.starts_with(b"Return-Path");
        let text = String::from_utf8(body.to_vec()).expect("text");
        let at = text.find("This is body ").expect("a body") + 13;
        let number = text[at..].split('.').next().expect("a number").parse().expect("a number");
        let envelope = String::from_utf8(row.envelope.to_vec()).expect("text");
        assert!(envelope.contains(&format!("\"Number {number}\"")), "{envelope}");
        let bits = (0..table.len()).filter(|bit| row.flags.keywords >> bit & 1 == 1);
        let keywords = bits.map(|bit| table[bit].as_str().to_string()).collect();
        Message { number, delivered, flags: row.flags.system.0, keywords }
    }

    fn id(&mut self, name: &str) -> FolderId {
        let task = UserTask::Status { names: vec![folder(name)] };
        match self.world.done(READER, task) {
            UserDone::Status(status) => status[0].expect("exists").id,
            other => panic!("{other:?}"),
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Deliver(number) => self.deliver(number),
            Order::Append { folder: at, flags, keyword } => self.append(at, flags, keyword),
            Order::Replace { folder, uid, flags, keyword } => {
                self.replace((folder, uid), flags, keyword);
            }
            Order::MultiAppend { folder, count, commit } => {
                self.multi_append(folder, count, commit);
            }
            Order::Store { folder, uids, change, flags, keyword } => {
                self.store(folder, uids, (change, flags, keyword));
            }
            Order::Expunge { folder, uids } => self.expunge(folder, uids),
            Order::Copy { from, to, uids, remove_source } => {
                self.copy((from, to), uids, remove_source);
            }
            Order::Create(at) => {
                let name = NAMES[usize::from(at)];
                let task = UserTask::CreateFolder { name: folder(name), special_use: None };
                if self.model.folders.contains_key(name) {
                    return self.fails(task);
                }
                let mut then = self.model.clone();
                then.create(name);
                self.ask(ANN, task, then);
            }
            Order::Delete(at) => self.delete(NAMES[usize::from(at)]),
            Order::Rename(from, to) => {
                self.rename(NAMES[usize::from(from)], NAMES[usize::from(to)]);
            }
            Order::Open { session, folder: at } => self.open(session, NAMES[usize::from(at)]),
            Order::Sync(session) => self.sync(session),
            Order::Pop(uid) => self.pop(uid),
            Order::Search(at, what) => self.search(NAMES[usize::from(at)], what),
            Order::Faults(faults) => {
                let fault = |fault| match fault {
                    0 => Some(Fault::AppliedUnknown),
                    1 => Some(Fault::LostUnknown),
                    2 => Some(Fault::NoSpace),
                    _ => None,
                };
                self.world.table.faults.extend(faults.into_iter().map(fault));
            }
            Order::Crash(done) => {
                self.world.crash(usize::from(done));
                self.views = [None, None];
            }
            Order::CutShort(steps, done) => self.cut = Some((steps, done)),
        }
    }

    fn deliver(&mut self, number: u128) {
        let mut then = self.model.clone();
        let new = !then.delivered.contains_key(&number);
        if new {
            let keywords = BTreeSet::new();
            let message = Message { number, delivered: true, flags: 0, keywords };
            let uid = then.put("INBOX", message).expect("INBOX");
            then.delivered.insert(number, uid);
        }
        let uid = then.delivered[&number];
        if let Some(done) = self.ask(ANN, UserTask::Deliver(delivery(number)), then) {
            assert!(matches!(done, UserDone::Delivered { uid: told, .. } if told.0 == uid));
        }
    }

    fn append(&mut self, at: u8, flags: u8, keyword: u8) {
        self.number += 1;
        let number = 1000 + self.number;
        let name = NAMES[usize::from(at)];
        let message = NewMessage {
            flags: SystemFlags(flags),
            keywords: keywords_of(keyword),
            ..new_message(number)
        };
        let task = UserTask::Append { to: folder(name), message, once: None };
        let mut then = self.model.clone();
        let keywords = names_of(keyword);
        match then.put(name, Message { number, delivered: false, flags, keywords }) {
            Some(uid) => {
                if let Some(done) = self.ask(ANN, task, then) {
                    let told = UidSet::from_range(uid..=uid);
                    assert!(matches!(done, UserDone::Appended { uids, .. } if uids == told));
                }
            }
            None => self.fails(task),
        }
    }

    fn replace(&mut self, (at, uid): (u8, u32), flags: u8, keyword: u8) {
        let name = NAMES[usize::from(at)];
        let mut then = self.model.clone();
        let Some(model) = then.folders.get_mut(name) else {
            return;
        };
        let was = model.messages.remove(&uid);
        self.number += 1;
        let number = 1000 + self.number;
        let message = NewMessage {
            flags: SystemFlags(flags),
            keywords: keywords_of(keyword),
            ..new_message(number)
        };
        let keywords = names_of(keyword);
        let told = then.put(name, Message { number, delivered: false, flags, keywords });
        let told = told.expect("exists");
        let task = UserTask::Replace { folder: self.id(name), uid: Uid(uid), message };
        if was.is_none() {
            return self.fails(task);
        }
        if let Some(done) = self.ask(ANN, task, then) {
            let told = UidSet::from_range(told..=told);
            assert!(matches!(done, UserDone::Appended { uids, .. } if uids == told));
        }
    }

    fn multi_append(&mut self, at: u8, count: u8, commit: u8) {
        let name = NAMES[usize::from(at)];
        if !self.model.folders.contains_key(name) || self.cut.is_some() {
            return;
        }
        let mut then = self.model.clone();
        let mut pending = None;
        for _ in 0..count {
            self.number += 1;
            let number = 1000 + self.number;
            let message = NewMessage { keywords: keywords_of(2), ..new_message(number) };
            let keywords = names_of(2);
            then.put(name, Message { number, delivered: false, flags: 0, keywords });
            let task = UserTask::StageAppend { to: folder(name), pending, message };
            match self.world.call(ANN, task) {
                Ok(UserDone::Staged { pending: set }) => pending = Some(set),
                Err(_) => {
                    return self.world.step(crate::mailbox::Input::SessionGone { session: ANN });
                }
                other => panic!("{other:?}"),
            }
        }
        let pending = pending.expect("one at least");
        match commit {
            0 => {
                self.ask(ANN, UserTask::DropAppend { pending }, self.model.clone());
            }
            1 => self.world.step(crate::mailbox::Input::SessionGone { session: ANN }),
            _ => {
                self.ask(ANN, UserTask::CommitAppend { pending }, then);
            }
        }
        if commit < 2 {
            self.views[0] = None;
        }
    }

    fn store(&mut self, at: u8, (first, last): (u32, u32), (change, flags, keyword): (u8, u8, u8)) {
        let name = NAMES[usize::from(at)];
        let mut then = self.model.clone();
        let Some(model) = then.folders.get_mut(name) else {
            return;
        };
        let change =
            [FlagChange::Add, FlagChange::Remove, FlagChange::Replace][usize::from(change)];
        let mut changed = UidSet::new();
        for (&uid, message) in model.messages.range_mut(first..=last) {
            let before = message.clone();
            let named = names_of(keyword);
            match change {
                FlagChange::Add => {
                    message.flags |= flags;
                    message.keywords.extend(named);
                }
                FlagChange::Remove => {
                    message.flags &= !flags;
                    message.keywords.retain(|keyword| !named.contains(keyword));
                }
                FlagChange::Replace => {
                    message.flags = flags;
                    message.keywords = named;
                }
            }
            if *message != before {
                changed.insert(Uid(uid));
            }
        }
        let task = UserTask::Store {
            folder: self.id(name),
            uids: UidSet::from_range(first..=last),
            change,
            flags: SystemFlags(flags),
            keywords: keywords_of(keyword),
            unchanged_since: None,
        };
        if let Some(done) = self.ask(ANN, task, then) {
            assert!(matches!(done, UserDone::Stored(stored) if stored.changed == changed));
        }
    }

    fn expunge(&mut self, at: u8, uids: Option<(u32, u32)>) {
        let name = NAMES[usize::from(at)];
        let mut then = self.model.clone();
        let Some(model) = then.folders.get_mut(name) else {
            return;
        };
        let among = uids.map(|(first, last)| UidSet::from_range(first..=last));
        let mut gone = UidSet::new();
        model.messages.retain(|&uid, message| {
            let doomed = message.flags & SystemFlag::Deleted as u8 != 0
                && among.as_ref().is_none_or(|among| among.contains(Uid(uid)));
            if doomed {
                gone.insert(Uid(uid));
            }
            !doomed
        });
        // Large orders go in slices: a master that dies between two leaves the rest.
        if gone.len() > 3 {
            self.cut = None;
            self.world.table.faults.clear();
        }
        let task = UserTask::Expunge { folder: self.id(name), uids: among };
        if let Some(done) = self.ask(ANN, task, then) {
            assert!(matches!(done, UserDone::Expunged { uids, .. } if uids == gone));
        }
    }

    fn copy(&mut self, (from, to): (u8, u8), (first, last): (u32, u32), remove_source: bool) {
        let (from, to) = (NAMES[usize::from(from)], NAMES[usize::from(to)]);
        let mut then = self.model.clone();
        let Some(source) = then.folders.get_mut(from) else {
            return;
        };
        let chosen: Vec<(u32, Message)> =
            source.messages.range(first..=last).map(|(uid, m)| (*uid, m.clone())).collect();
        if remove_source && self.model.folders.contains_key(to) {
            for (uid, _) in &chosen {
                source.messages.remove(uid);
            }
        }
        let task = UserTask::Copy {
            folder: self.id(from),
            uids: UidSet::from_range(first..=last),
            to: folder(to),
            remove_source,
        };
        if !then.folders.contains_key(to) {
            return self.fails(task);
        }
        let mut targets = UidSet::new();
        for (_, message) in &chosen {
            targets.insert(Uid(then.put(to, message.clone()).expect("exists")));
        }
        let sources: UidSet = chosen.iter().map(|(uid, _)| Uid(*uid)).collect();
        if let Some(UserDone::Copied(copied)) = self.ask(ANN, task, then) {
            assert_eq!((copied.source, copied.target), (sources, targets));
        }
    }
}

fn run(orders: Vec<Order>) {
    let world = World::with_limits(limits());
    let mut run = Run { world, model: Model::new(), views: [None, None], number: 0, cut: None };
    run.world.done(ANN, UserTask::Quota);
    for order in orders {
        run.order(order);
    }
    run.world.table.faults.clear();
    assert_eq!(run.seen(), run.model.folders);
    run.world.crash(0);
    assert_eq!(run.seen(), run.model.folders, "after a restart");
    run.check_garbage();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_naive_model(orders in prop::collection::vec(order(), 1..60)) {
        run(orders);
    }
}
