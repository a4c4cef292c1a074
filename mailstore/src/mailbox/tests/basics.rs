//! The path every message takes: in, listed, read, flagged, expunged; and the same after a restart.

use super::world::*;
use crate::face::*;
use dds::{BlobId, Request};

const SEEN: SystemFlags = SystemFlags(SystemFlag::Seen as u8);
const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);
const COLUMNS: Want = Want { envelope: true, body: true, structure: true };

#[test]
fn a_new_user_has_folders_for_every_use() {
    let mut world = World::new();
    let UserDone::Folders(folders) = world.done(ANN, UserTask::ListFolders) else { panic!() };
    let shown: Vec<String> = folders
        .iter()
        .map(|info| match info.kind {
            FolderKind::Folder { special_use, .. } => {
                assert!(info.subscribed);
                format!("{} {}", info.name, special_use.map_or("", SpecialUse::name))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Archive \\Archive",
            "Drafts \\Drafts",
            "INBOX ",
            "Junk \\Junk",
            "Sent \\Sent",
            "Trash \\Trash"
        ]
    );
}

#[test]
fn a_delivery_is_one_write_and_is_told_when_it_is_durable() {
    let mut world = World::new();
    world.deliver(1);
    let writes = world.table.writes;
    let token = world.ask(ANN, UserTask::Deliver(delivery(2)));
    assert_eq!(world.requests.len(), 1, "one round: {:?}", world.requests);
    assert!(matches!(world.requests[0].1, Request::Write(_)));
    assert_eq!(world.answers.get(&token), None);
    world.serve_one();
    let uid = Uid(2);
    let folder = FolderName::inbox();
    assert_eq!(world.answers[&token], Ok(UserDone::Delivered { folder, uid }));
    assert_eq!(world.table.writes, writes + 1);
    assert!(matches!(&world.logs[..], [.., LogEvent::Delivered { uid: Uid(2), .. }]));
}

#[test]
fn an_append_asked_again_gets_the_first_outcome() {
    let mut world = World::new();
    let append = |number| {
        let (to, message) = (FolderName::inbox(), new_message(number));
        UserTask::Append { to, message, once: Some(DeliveryId(number)) }
    };
    let uid_of = |done| match done {
        UserDone::Appended { uids, .. } => uids.to_string(),
        other => panic!("{other:?}"),
    };
    let first = world.done(ANN, append(1));
    assert_eq!(world.done(ANN, append(1)), first);
    // While it is under way: one write, and both are told of it.
    let (one, other) = (world.ask(ANN, append(2)), world.ask(BOB, append(2)));
    assert_eq!(world.requests.len(), 1, "{:?}", world.requests);
    world.settle();
    assert_eq!(world.answers[&one], world.answers[&other]);
    // The next master was told nothing; the store knows.
    world.crash(0);
    assert_eq!(world.done(ANN, append(1)), first);
    world.ask(ANN, append(3));
    world.crash(1);
    assert_eq!(uid_of(world.done(ANN, append(3))), "3");
    // One that was not written is.
    world.ask(ANN, append(4));
    world.crash(0);
    assert_eq!(uid_of(world.done(ANN, append(4))), "4");
    assert_eq!(world.inbox(ANN).uids.to_string(), "1:4");
}

#[test]
fn a_delivery_asked_again_gets_the_first_outcome() {
    let mut world = World::new();
    assert_eq!(world.deliver(1), Uid(1));
    assert_eq!(world.deliver(1), Uid(1));
    world.crash(0);
    assert_eq!(world.deliver(1), Uid(1));
    let again = [world.ask(ANN, UserTask::Deliver(delivery(2))), {
        world.ask(BOB, UserTask::Deliver(delivery(2)))
    }];
    world.settle();
    for token in again {
        let done = UserDone::Delivered { folder: FolderName::inbox(), uid: Uid(2) };
        assert_eq!(world.answers.remove(&token), Some(Ok(done)));
    }
    assert_eq!(world.inbox(ANN).uids.to_string(), "1:2");
}

#[test]
fn a_message_reads_as_it_was_delivered_also_after_a_restart() {
    let mut world = World::new();
    world.deliver(5);
    for _ in 0..2 {
        let inbox = world.inbox(ANN).folder;
        let whole = world.section(ANN, (inbox, 1), Section::WHOLE);
        let expected = [b"Return-Path: <>\r\n".as_slice(), &message(5)].concat();
        assert_eq!(whole, expected);
        let rows = world.rows(ANN, inbox, COLUMNS);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].bytes, expected.len() as u64);
        assert_eq!(rows[0].envelope, columns(&message(5)).envelope);
        assert_eq!(rows[0].structure, columns(&message(5)).structure);
        assert_eq!(rows[0].body, columns(&message(5)).body);
        let text = Section { part: vec![], text: SectionText::Text };
        assert_eq!(&world.section(ANN, (inbox, 1), text)[..], b"This is body 5.\r\n");
        let part = Section { part: vec![1], text: SectionText::All };
        assert_eq!(&world.section(ANN, (inbox, 1), part)[..], b"This is body 5.\r\n");
        let names = vec!["subject".into()];
        let text = SectionText::HeaderFields { names, not: false };
        let fields = world.section(ANN, (inbox, 1), Section { part: vec![], text });
        assert_eq!(&fields[..], b"Subject: Number 5\r\n\r\n");
        world.crash(0);
    }
}

#[test]
fn a_long_body_of_one_mailbox_is_one_write_in_pieces_and_goes_with_the_message() {
    let mut world = World::new();
    world.deliver(1);
    let bytes: bytes::Bytes = [&message(2)[..], &vec![b'y'; 90_000]].concat().into();
    let deliver =
        Deliver { body: Body::Inline(bytes.clone()), columns: columns(&bytes), ..delivery(2) };
    let token = world.ask(ANN, UserTask::Deliver(deliver));
    assert_eq!(world.requests.len(), 1);
    assert!(matches!(world.requests[0].1, Request::Write(..)));
    world.settle();
    assert!(world.answers[&token].is_ok());
    world.crash(0);
    let folder = world.inbox(ANN).folder;
    let whole = world.section(ANN, (folder, 2), Section::WHOLE);
    assert_eq!(whole, [b"Return-Path: <>\r\n".as_slice(), &bytes].concat());
    let text = Section { part: vec![], text: SectionText::Text };
    assert_eq!(world.section(ANN, (folder, 2), text).len(), 90_000 + "This is body 2.\r\n".len());
    world.store(ANN, folder, ("2", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder, uids: None });
    world.crash(0);
    world.done(ANN, UserTask::Quota);
    let bodies = world.table.entries.keys().filter(|key| key.is_body()).count();
    assert_eq!(bodies, 1, "the pieces are gone, too");
}

#[test]
fn a_blob_is_renewed_before_metadata_refers_to_it_and_read_in_ranges() {
    let mut world = World::new();
    world.deliver(1);
    let bytes: bytes::Bytes = [&message(2)[..], &vec![b'x'; 300_000]].concat().into();
    world.table.blobs.insert(BlobId(9), (bytes.clone(), fsm::Wall(0)));
    let body = Body::Blob { blob: BlobId(9), len: bytes.len() as u64, holders: Holders::Several };
    let deliver = Deliver { body, columns: columns(&bytes), ..delivery(2) };
    let token = world.ask(ANN, UserTask::Deliver(deliver.clone()));
    assert!(matches!(world.requests[0].1, Request::RenewBlob { .. }));
    assert_eq!(world.requests.len(), 1);
    world.settle();
    assert!(world.answers[&token].is_ok());
    assert!(world.table.blobs[&BlobId(9)].1 > fsm::Wall(0));
    let folder = world.inbox(ANN).folder;
    let read = |world: &mut World, offset, len| {
        let section = Section::WHOLE;
        let task = UserTask::ReadSection { folder, uid: Uid(2), section, offset, len };
        match world.done(ANN, task) {
            UserDone::Section(SectionRead::Page { bytes, total }) => {
                assert_eq!(total, 300_000 + 17 + message(2).len() as u64);
                bytes
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(&read(&mut world, 10, 20)[..], b"h: <>\r\nFrom: Sender ");
    assert_eq!(read(&mut world, 100_000, 100_000), vec![b'x'; 100_000]);
    // A blob that is gone can't be delivered any more.
    let body = Body::Blob { blob: BlobId(10), len: 5, holders: Holders::Several };
    let lost = Deliver { body, delivery: DeliveryId(3), ..deliver };
    assert_eq!(world.call(ANN, UserTask::Deliver(lost)), Err(TaskRefusal::Unavailable));
}

#[test]
fn flags_change_for_all_who_watch() {
    let mut world = World::new();
    for number in 1..=3 {
        world.deliver(number);
    }
    let opened = world.inbox(ANN);
    assert_eq!((opened.unseen, opened.first_unseen), (3, Some(Uid(1))));
    assert_eq!(opened.recent.to_string(), "1:3");
    let bob = world.inbox(BOB);
    assert!(bob.recent.is_empty(), "told to one session only");
    world.notices.clear();
    let stored = world.store(ANN, opened.folder, ("1:2", FlagChange::Add, SEEN));
    assert_eq!(stored.changed.to_string(), "1:2");
    let mod_seq = stored.mod_seq;
    let notice = |session| (session, Notice::Changed { folder: opened.folder, mod_seq });
    assert_eq!(world.notices, [notice(ANN), notice(BOB)]);
    let diff = world.sync(BOB, opened.folder, bob.highest_mod_seq);
    let changed: Vec<(u32, u8)> =
        diff.changed.iter().map(|row| (row.uid.0, row.flags.system.0)).collect();
    assert_eq!(changed, [(1, 1), (2, 1)]);
    assert_eq!(diff.mod_seq, mod_seq);
    // Nothing changes: no MODSEQ, nothing to tell.
    world.notices.clear();
    let again = world.store(ANN, opened.folder, ("1", FlagChange::Add, SEEN));
    assert!(again.changed.is_empty());
    assert!(world.notices.is_empty());
    world.crash(0);
    let opened = world.inbox(ANN);
    assert_eq!((opened.unseen, opened.first_unseen), (1, Some(Uid(3))));
    assert_eq!(opened.highest_mod_seq, mod_seq);
}

#[test]
fn an_expunged_message_stays_readable_until_all_were_told() {
    let mut world = World::new();
    for number in 1..=3 {
        world.deliver(number);
    }
    let ann = world.inbox(ANN);
    let bob = world.inbox(BOB);
    world.store(ANN, ann.folder, ("2", FlagChange::Add, DELETED));
    let task = UserTask::Expunge { folder: ann.folder, uids: None };
    let UserDone::Expunged { uids, mod_seq } = world.done(ANN, task) else { panic!() };
    assert_eq!(uids.to_string(), "2");
    assert_eq!(world.rows(BOB, ann.folder, COLUMNS).len(), 3);
    world.section(BOB, (ann.folder, 2), Section::WHOLE);
    // Who knows of the expunge reads it no more.
    world.sync(ANN, ann.folder, mod_seq);
    let section = Section::WHOLE;
    let task =
        UserTask::ReadSection { folder: ann.folder, uid: Uid(2), section, offset: 0, len: 10 };
    assert_eq!(world.error(ANN, task.clone()), UserError::Expunged);
    let bodies = |world: &World| world.table.entries.keys().filter(|key| key.is_body()).count();
    assert_eq!(bodies(&world), 3);
    let diff = world.sync(BOB, bob.folder, bob.highest_mod_seq);
    assert_eq!(diff.vanished.to_string(), "2");
    world.section(BOB, (ann.folder, 2), Section::WHOLE);
    world.sync(BOB, bob.folder, diff.mod_seq);
    assert_eq!(world.error(BOB, task), UserError::Expunged);
    assert_eq!(bodies(&world), 2, "nobody can read it any more");
}

#[test]
fn a_restart_removes_what_was_condemned() {
    let mut world = World::new();
    for number in 1..=3 {
        world.deliver(number);
    }
    let ann = world.inbox(ANN);
    world.store(ANN, ann.folder, ("1:2", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: ann.folder, uids: Some(set("2")) });
    world.crash(0);
    world.done(ANN, UserTask::Quota);
    let bodies = world.table.entries.keys().filter(|key| key.is_body()).count();
    assert_eq!(bodies, 2);
    assert_eq!(world.inbox(ANN).uids.to_string(), "1,3");
}

#[test]
fn a_keyword_that_nobody_bears_leaves_no_trace() {
    let mut world = World::new();
    world.deliver(1);
    let inbox = world.inbox(ANN).folder;
    let store = |uids: &str, keywords: Vec<Keyword>| UserTask::Store {
        folder: inbox,
        uids: set(uids),
        change: FlagChange::Add,
        flags: SystemFlags::default(),
        keywords,
        unchanged_since: None,
    };
    // A delivery is under way, and its header must not count the keyword.
    let delivery = world.ask(ANN, UserTask::Deliver(delivery(2)));
    let nothing = world.ask(ANN, store("7", vec![keyword("late")]));
    world.ask(ANN, UserTask::Deliver(super::world::delivery(3)));
    world.settle();
    assert!(world.answers.contains_key(&delivery) && world.answers.contains_key(&nothing));
    world.crash(0);
    assert!(world.inbox(ANN).keywords.is_empty());
    let many: Vec<Keyword> = (0..128).map(|at| keyword(&format!("k{at}"))).collect();
    world.done(ANN, store("1", many.clone()));
    let more = UserTask::Append {
        to: FolderName::inbox(),
        message: NewMessage { keywords: vec![keyword("more")], ..new_message(4) },
        once: None,
    };
    assert!(matches!(world.error(ANN, more), UserError::Limit(_)));
    world.done(ANN, store("2", vec![keyword("K7")]));
    world.crash(0);
    assert_eq!(world.inbox(ANN).keywords[..], many[..]);
}
