//! Mail goes from Trash and Junk by the time it has been there, and not a moment earlier.

use super::world::*;
use crate::expiry::{Expiry, RECORD_NAME};
use crate::face::*;
use crate::mailbox::{EXPIRY_TIMER, Input, Limits};
use bytes::Bytes;

const DAY_MS: u64 = 86_400_000;

/// Time passes, a little at a time, as looks do.
fn days(world: &mut World, days: u64) {
    for _ in 0..days * 4 {
        world.now += DAY_MS / 4;
        look(world);
    }
}

/// The next look.
fn look(world: &mut World) {
    let at = world.timers.remove(&EXPIRY_TIMER).expect("armed since loading");
    world.now = world.now.max(at.0 / 1_000_000);
    world.step(Input::TimerFired(EXPIRY_TIMER));
    world.settle();
}

fn choose(world: &mut World, value: Bytes) {
    let name = RecordName::new(RECORD_NAME).expect("a name");
    let (collection, expect) = (Collection::Settings, Expect::Anything);
    let change = RecordChange { collection, name, expect, value: Some(value) };
    let done = world.done(ANN, UserTask::Records(RecordTask::Write(vec![change])));
    assert!(matches!(done, UserDone::Records(RecordsDone::Written { .. })), "{done:?}");
}

fn keep(world: &mut World, trash_days: u16, junk_days: u16) {
    choose(world, Expiry { trash_days, junk_days, since: 0 }.encode());
}

fn put(world: &mut World, name: &str, number: u128) {
    world
        .done(ANN, UserTask::Append { to: folder(name), message: new_message(number), once: None });
}

fn count(world: &mut World, name: &str) -> u32 {
    match world.done(ANN, UserTask::Status { names: vec![folder(name)] }) {
        UserDone::Status(counts) => counts[0].as_ref().expect("it is there").messages,
        other => panic!("{other:?}"),
    }
}

fn trash(world: &mut World, uid: Uid) {
    let id = world.inbox(ANN).folder;
    let (uids, to) = (UidSet::from_iter([uid]), folder("Trash"));
    world.done(ANN, UserTask::Copy { folder: id, uids, to, remove_source: true });
}

#[test]
fn what_counts_is_the_time_in_the_folder() {
    let mut world = World::new();
    keep(&mut world, 30, 7);
    let old = world.deliver(1);
    days(&mut world, 100);
    // Of a message of last year, 30 days begin when it is put there.
    trash(&mut world, old);
    put(&mut world, "Junk", 2);
    put(&mut world, "Archive", 3);
    days(&mut world, 6);
    assert_eq!((count(&mut world, "Trash"), count(&mut world, "Junk")), (1, 1));
    days(&mut world, 2);
    assert_eq!((count(&mut world, "Trash"), count(&mut world, "Junk")), (1, 0));
    days(&mut world, 21);
    assert_eq!(count(&mut world, "Trash"), 1, "the 29th day");
    days(&mut world, 2);
    assert_eq!((count(&mut world, "Trash"), count(&mut world, "Archive")), (0, 1));
}

#[test]
fn who_chose_nothing_gets_30_days_from_the_first_look_that_finds_old_mail() {
    let mut world = World::new();
    put(&mut world, "Trash", 1);
    days(&mut world, 59);
    assert_eq!(count(&mut world, "Trash"), 1, "it was found old on the 30th day");
    days(&mut world, 2);
    assert_eq!(count(&mut world, "Trash"), 0);
    // Mail of years, at the first start of a release that brings expiry.
    let mut world = World::new();
    put(&mut world, "Trash", 1);
    world.crash(0);
    world.now += 3_000 * DAY_MS;
    world.inbox(ANN);
    days(&mut world, 29);
    assert_eq!(count(&mut world, "Trash"), 1);
    world.crash(0);
    world.inbox(ANN);
    days(&mut world, 2);
    assert_eq!(count(&mut world, "Trash"), 0);
    // The record is one of the user's own, and counted.
    let name = RecordName::new(RECORD_NAME).expect("a name");
    let task = RecordTask::Get { collection: Collection::Settings, name };
    let UserDone::Records(RecordsDone::Page { records, .. }) =
        world.done(ANN, UserTask::Records(task))
    else {
        panic!("records");
    };
    let expiry = Expiry::decode(records[0].value.clone()).expect("written by the mailbox");
    assert_eq!((expiry.trash_days, expiry.junk_days), (30, 30));
}

#[test]
fn never_is_never_and_what_cannot_be_read_too() {
    for value in
        [Expiry { trash_days: 0, junk_days: 0, since: 0 }.encode(), Bytes::from_static(b"\x09")]
    {
        let mut world = World::new();
        choose(&mut world, value);
        put(&mut world, "Trash", 1);
        days(&mut world, 400);
        assert_eq!(count(&mut world, "Trash"), 1);
    }
}

#[test]
fn what_is_chosen_while_a_look_is_under_way_holds() {
    let mut world = World::new();
    keep(&mut world, 1, 1);
    put(&mut world, "Trash", 1);
    world.crash(0);
    world.inbox(ANN);
    world.now += 2 * DAY_MS;
    let at = world.timers.remove(&EXPIRY_TIMER);
    assert!(at.is_some());
    world.step(Input::TimerFired(EXPIRY_TIMER));
    // It has read the record when another is written.
    let (token, request) = world.requests.pop_back().expect("a read");
    let response = world.table.answer(request);
    keep(&mut world, 0, 0);
    world.step(Input::DdsDone { token, response });
    world.settle();
    assert_eq!(count(&mut world, "Trash"), 1);
}

#[test]
fn watchers_see_an_expunge_slice_by_slice() {
    let limits =
        Limits { expunge_slice: 3, fold_entries: 4, fold_entries_most: 4, ..Limits::default() };
    let mut world = World::with_limits(limits);
    keep(&mut world, 10, 10);
    for number in 0..8 {
        put(&mut world, "Trash", number);
    }
    days(&mut world, 5);
    put(&mut world, "Trash", 9);
    let opened = world.open(BOB, "Trash", OpenMode::ReadWrite);
    world.notices.clear();
    days(&mut world, 6);
    assert!(world.notices.iter().any(|(session, _)| *session == BOB));
    let diff = world.sync(BOB, opened.folder, opened.highest_mod_seq);
    assert_eq!(diff.vanished.to_string(), "1:8");
    world.done(BOB, UserTask::CloseFolder { folder: opened.folder });
    world.crash(0);
    let left = world.open(ANN, "Trash", OpenMode::ReadOnly);
    assert_eq!(left.uids.to_string(), "9");
    world.done(ANN, UserTask::CloseFolder { folder: left.folder });
    days(&mut world, 10);
    assert_eq!(count(&mut world, "Trash"), 0);
    // Bodies are gone, too: nothing but the last message has a body record.
    let bodies = world.table.entries.keys().filter(|key| key.0.first() == Some(&0x80)).count();
    assert_eq!(bodies, 0);
}

#[test]
fn a_refused_batch_is_tried_by_the_next_look() {
    let mut world = World::new();
    keep(&mut world, 1, 1);
    put(&mut world, "Trash", 1);
    world.now += 2 * DAY_MS;
    world.table.faults.push_back(Some(Fault::Unavailable));
    look(&mut world);
    assert_eq!(count(&mut world, "Trash"), 1);
    look(&mut world);
    assert_eq!(count(&mut world, "Trash"), 0);
}
