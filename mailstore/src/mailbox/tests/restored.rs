//! A backup, more mail behind it, a restoration: no client's cache is wrong.

use super::world::*;
use crate::face::*;
use crate::mailbox::{Input, Limits, Restored};

const SEEN: SystemFlags = SystemFlags(SystemFlag::Seen as u8);
const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);

fn restore(world: &mut World, backup: &Table, restored: Restored) {
    world.crash(0);
    world.table = backup.clone();
    world.restored = restored;
    world.crash(0);
}

fn known(world: &World, opened: &FolderOpened, mod_seq: ModSeq) -> UserTask {
    assert!(world.requests.is_empty());
    let known = Known { uid_validity: opened.uid_validity, mod_seq, uids: None };
    UserTask::OpenFolder {
        name: FolderName::inbox(),
        mode: OpenMode::ReadWrite,
        known: Some(known),
    }
}

/// Six messages of which one is gone, a backup; then flags, an expunge, two more messages that sessions saw.
fn lost_future(world: &mut World) -> (Table, FolderOpened, ModSeq) {
    let opened = world.inbox(ANN);
    for number in 1..=6 {
        world.deliver(number);
    }
    world.store(ANN, opened.folder, ("3", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: opened.folder, uids: None });
    let backup = world.table.clone();
    world.store(ANN, opened.folder, ("1", FlagChange::Add, SEEN));
    world.store(ANN, opened.folder, ("2", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: opened.folder, uids: None });
    world.deliver(7);
    world.deliver(8);
    let served = world.sync(ANN, opened.folder, opened.highest_mod_seq);
    assert_eq!(served.uid_next, Uid(9));
    (backup, opened, served.mod_seq)
}

#[test]
fn a_client_of_the_lost_future_learns_what_is_true() {
    let mut world = World::new();
    let (backup, before, served) = lost_future(&mut world);
    restore(&mut world, &backup, Restored { steps: 1, unix_micros: 0 });
    let task = known(&world, &before, served);
    let UserDone::Opened(opened) = world.done(ANN, task) else { panic!() };
    assert_eq!(opened.uid_validity, before.uid_validity);
    assert_eq!(opened.uids.to_string(), "1:2,4:6");
    assert!(opened.uid_next > Uid(9 + (1 << 20) - 5), "{:?}", opened.uid_next);
    assert!(opened.highest_mod_seq > served);
    let diff = opened.resync.expect("of the same UIDVALIDITY");
    let gone = format!("3,7:{}", opened.uid_next.0 - 1);
    assert_eq!(diff.vanished.to_string(), gone);
    let told: UidSet = diff.changed.iter().map(|row| row.uid).collect();
    assert_eq!(told.to_string(), "1:2,4:6", "flags of all");
    assert!(diff.changed.iter().all(|row| row.mod_seq > served && row.flags.system.0 == 0));
    // RFC 7162 3.1.3: what the client saw of the lost future is no ground to change flags.
    let task = UserTask::Store {
        folder: opened.folder,
        uids: set("1"),
        change: FlagChange::Add,
        flags: SEEN,
        keywords: Vec::new(),
        unchanged_since: Some(served),
    };
    let UserDone::Stored(stored) = world.done(ANN, task) else { panic!() };
    assert_eq!(stored.modified.to_string(), "1");
    assert_eq!(world.deliver(9), opened.uid_next);
}

#[test]
fn it_is_raised_once_and_stays_so() {
    let mut world = World::new();
    let (backup, before, served) = lost_future(&mut world);
    restore(&mut world, &backup, Restored { steps: 1, unix_micros: 0 });
    let first = world.inbox(ANN);
    let uid = world.deliver(9);
    world.store(ANN, first.folder, ("4", FlagChange::Add, SEEN));
    for _ in 0..2 {
        world.crash(0);
        let again = world.inbox(ANN);
        assert_eq!(again.uid_next, Uid(uid.0 + 1));
        let rows = world.rows(ANN, again.folder, Want::default());
        assert!(rows.iter().all(|row| row.mod_seq >= first.highest_mod_seq), "{rows:?}");
        assert!(again.highest_mod_seq > first.highest_mod_seq);
    }
    // Another backup, and two restorations at once for a mailbox that nobody opened between them.
    let backup = world.table.clone();
    let served_again = world.deliver(10);
    restore(&mut world, &backup, Restored { steps: 3, unix_micros: 0 });
    let task = known(&world, &before, served);
    let UserDone::Opened(third) = world.done(ANN, task) else { panic!() };
    assert!(third.uid_next > Uid(served_again.0 + (1 << 20)));
    let diff = third.resync.expect("known");
    assert!(diff.vanished.contains(served_again) && !diff.vanished.contains(uid));
}

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut world = World::new();
    let (backup, _, _) = lost_future(&mut world);
    restore(&mut world, &backup, Restored { steps: 1, unix_micros: 0 });
    let token = world.ask(ANN, UserTask::Status { names: vec![FolderName::inbox()] });
    world.table.faults.extend([Some(Fault::NoSpace)]);
    world.settle();
    assert_eq!(world.answers.remove(&token), Some(Err(TaskRefusal::Unavailable)));
    world.table.faults.extend([Some(Fault::AppliedUnknown)]);
    let UserDone::Status(told) =
        world.done(ANN, UserTask::Status { names: vec![FolderName::inbox()] })
    else {
        panic!()
    };
    let told = told[0].as_ref().expect("there");
    assert_eq!(told.uid_next, Uid(7 + (1 << 20)));
    assert_eq!((told.messages, told.unseen), (5, 5));
}

#[test]
fn names_and_objects_are_new_ones_too() {
    let mut world = World::new();
    world.deliver(1);
    let backup = world.table.clone();
    world.done(ANN, UserTask::CreateFolder { name: folder("Work"), special_use: None });
    let lost = world.open(ANN, "Work", OpenMode::ReadWrite);
    world.deliver(2);
    let inbox = world.inbox(ANN).folder;
    let lost_rows = world.rows(ANN, inbox, Want::default());
    restore(&mut world, &backup, Restored { steps: 1, unix_micros: 0 });
    world.done(ANN, UserTask::CreateFolder { name: folder("Work"), special_use: None });
    let made = world.open(ANN, "Work", OpenMode::ReadWrite);
    assert!(made.uid_validity > lost.uid_validity && made.folder > lost.folder);
    world.deliver(3);
    let rows = world.rows(ANN, inbox, Want::default());
    assert!(rows[1].email_id > lost_rows[1].email_id);
    // An account that was made behind the backup, lost, and is made again.
    let mut world = World::new();
    let lost = world.inbox(ANN);
    restore(&mut world, &Table::default(), Restored { steps: 1, unix_micros: 0 });
    assert!(world.inbox(ANN).uid_validity > lost.uid_validity);
}

#[test]
fn logs_fold_and_columns_are_packed_behind_the_gap() {
    let limits = Limits { pack_lag: 8, fold_entries: 4, fold_entries_most: 4, ..Limits::default() };
    let mut world = World::with_limits(limits);
    for number in 1..=100 {
        world.deliver(number);
    }
    for steps in 1..=3 {
        let backup = world.table.clone();
        restore(&mut world, &backup, Restored { steps, unix_micros: 0 });
        for number in 1..=100 {
            world.deliver(u128::from(steps) * 1000 + number);
        }
    }
    world.crash(0);
    let inbox = world.inbox(ANN).folder;
    let want = Want { envelope: true, body: true, structure: true };
    let rows = world.rows(ANN, inbox, want);
    assert_eq!(rows.len(), 400);
    assert!(rows.iter().all(|row| !row.envelope.is_empty() && !row.structure.is_empty()));
    let blocks = world.table.entries.keys().filter(|key| key.0[0] == 0x32).count();
    assert!(blocks >= 3 * 4, "{blocks} values of packed blocks");
}

#[test]
fn rows_loaded_before_the_raised_numbers_are_durable_are_raised_too() {
    let mut world = World::new();
    let (backup, before, served) = lost_future(&mut world);
    restore(&mut world, &backup, Restored { steps: 1, unix_micros: 0 });
    world.table.faults.push_back(Some(Fault::LostUnknown));
    world.step(Input::Expected);
    world.settle();
    let task = known(&world, &before, served);
    let UserDone::Opened(opened) = world.done(ANN, task) else { panic!() };
    let diff = opened.resync.expect("of the same UIDVALIDITY");
    let told: UidSet = diff.changed.iter().map(|row| row.uid).collect();
    assert_eq!(told.to_string(), "1:2,4:6", "flags of all");
    assert!(diff.changed.iter().all(|row| row.mod_seq > served));
}
