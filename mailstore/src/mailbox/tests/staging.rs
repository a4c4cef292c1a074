//! MULTIAPPEND: messages gather and go together, and none is lost on the way.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use fsm::Token;
use std::sync::Arc;

fn keys_of(world: &World, kind: u8) -> usize {
    world.table.entries.keys().filter(|key| key.0[0] == kind).count()
}

fn stage(pending: Option<PendingId>, number: u128) -> UserTask {
    UserTask::StageAppend { to: FolderName::inbox(), pending, message: new_message(number) }
}

/// Asks for a first message of a set; its number is the answer, at once.
fn open_set(world: &mut World, number: u128) -> PendingId {
    let token = world.ask(ANN, stage(None, number));
    match world.answers.remove(&token) {
        Some(Ok(UserDone::Staged { pending })) => pending,
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_messages_cost_few_batches() {
    let mut world = World::new();
    world.inbox(ANN);
    world.settle();
    let before = world.table.writes;
    let pending = open_set(&mut world, 1);
    for number in 2..=500 {
        let token = world.ask(ANN, stage(Some(pending), number));
        assert_eq!(world.answers.remove(&token), Some(Ok(UserDone::Staged { pending })));
    }
    assert!(world.requests.len() <= 4, "{} batches for 500 messages", world.requests.len());
    let done = world.done(ANN, UserTask::CommitAppend { pending });
    let UserDone::Appended { uids, folder, .. } = done else { panic!("{done:?}") };
    assert_eq!(uids, set("1:500"));
    assert!(world.table.writes - before < 24, "packing included");
    let want = Want { envelope: true, body: true, structure: true };
    for _ in 0..2 {
        for row in world.rows(ANN, folder, want) {
            assert_eq!(row.envelope, columns(&message(u128::from(row.uid.0))).envelope);
        }
        assert_eq!((keys_of(&world, 0x15), keys_of(&world, 0x23)), (0, 0), "nothing is left over");
        world.crash(0);
        assert_eq!(*world.inbox(ANN).uids, set("1:500"));
    }
}

/// Stages so many messages, and shows them.
fn append_many(world: &mut World, numbers: std::ops::RangeInclusive<u128>) {
    let mut pending = None;
    for number in numbers {
        match world.done(ANN, stage(pending, number)) {
            UserDone::Staged { pending: set } => pending = Some(set),
            other => panic!("{other:?}"),
        }
    }
    let pending = pending.expect("one at least");
    world.done(ANN, UserTask::CommitAppend { pending });
    world.settle();
}

/// Every message shows what it was made of; its number is its UID.
fn check_columns(world: &mut World, count: usize) {
    let folder = world.inbox(ANN).folder;
    let rows = world.rows(ANN, folder, Want { envelope: true, body: true, structure: true });
    assert_eq!(rows.len(), count);
    for row in rows {
        let columns = columns(&message(u128::from(row.uid.0)));
        assert_eq!(row.envelope, columns.envelope);
        assert_eq!(row.body, columns.body);
        assert_eq!(row.structure, columns.structure);
    }
    let criteria = Arc::new(Criteria::Subject("number 12".into()));
    match world.done(ANN, UserTask::Search { folder, criteria }) {
        UserDone::Found { uids, .. } => assert_eq!(uids, set("12,120:129")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_columns_of_many_are_written_as_blocks() {
    let mut world = World::new();
    world.inbox(ANN);
    world.settle();
    append_many(&mut world, 1..=200);
    assert_eq!((keys_of(&world, 0x30), keys_of(&world, 0x32)), (0, 4 * 3));
    for _ in 0..2 {
        check_columns(&mut world, 200);
        world.crash(0);
    }
    let inbox = world.inbox(ANN).folder;
    world.store(ANN, inbox, ("1:200", FlagChange::Add, SystemFlags(8)));
    world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    world.crash(0);
    world.done(ANN, UserTask::Quota);
    world.settle();
    assert_eq!([0x1A, 0x30, 0x32, 0x80].map(|kind| keys_of(&world, kind)), [0; 4]);
}

#[test]
fn blocks_stand_beyond_messages_that_are_not_packed_yet() {
    let mut world = World::with_limits(Limits { pack_lag: 200, ..Limits::default() });
    for number in 1..=10 {
        world.deliver(number);
    }
    append_many(&mut world, 11..=110);
    for number in 111..=130 {
        world.deliver(number);
    }
    assert_eq!((keys_of(&world, 0x30), keys_of(&world, 0x32)), (30, 2 * 3));
    for _ in 0..2 {
        check_columns(&mut world, 130);
        world.crash(0);
    }
    append_many(&mut world, 131..=400);
    assert_eq!(keys_of(&world, 0x30), 0, "housekeeping has come behind them");
    for _ in 0..2 {
        check_columns(&mut world, 400);
        world.crash(0);
    }
}

#[test]
fn blocks_of_a_set_that_is_dropped_or_refused_leave_nothing() {
    for fault in [None, Some(Fault::NoSpace), Some(Fault::LostUnknown)] {
        let mut world = World::new();
        world.inbox(ANN);
        world.settle();
        let pending = open_set(&mut world, 1);
        if let Some(fault) = fault {
            world.table.faults.push_back(Some(fault));
        }
        for number in 2..=300 {
            let _ = world.call(ANN, stage(Some(pending), number));
        }
        world.step(crate::mailbox::Input::SessionGone { session: ANN });
        world.settle();
        let left = [0x15, 0x1A, 0x23, 0x30, 0x32, 0x80].map(|kind| keys_of(&world, kind));
        assert_eq!(left, [0; 6], "{fault:?}");
        append_many(&mut world, 1..=130);
        for _ in 0..2 {
            check_columns(&mut world, 130);
            world.crash(0);
        }
    }
}

#[test]
fn sets_that_one_batch_shows_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.inbox(ANN);
    world.inbox(BOB);
    world.settle();
    let mut commits = Vec::new();
    for (session, number) in [(ANN, 1), (BOB, 2), (ANN, 3)] {
        let token = world.ask(session, stage(None, number));
        let Some(Ok(UserDone::Staged { pending })) = world.answers.remove(&token) else {
            panic!("at once")
        };
        commits.push(world.ask(session, UserTask::CommitAppend { pending }));
    }
    assert_eq!(world.requests.len(), 2 * 3, "each has sent its messages, and what shows them");
    world.settle();
    for (token, uid) in commits.iter().zip(1..) {
        match world.answers.remove(token) {
            Some(Ok(UserDone::Appended { uids, .. })) => {
                assert_eq!(uids, UidSet::from_range(uid..=uid))
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_refused_batch_refuses_all_that_gathered_behind_it() {
    let limits = Limits { staged_ahead_bytes_max: 1, ..Limits::default() };
    let mut world = World::with_limits(limits);
    world.inbox(ANN);
    world.settle();
    world.table.faults.push_back(None);
    let first = world.ask(ANN, stage(None, 1));
    assert!(world.serve_one());
    let Some(Ok(UserDone::Staged { pending })) = world.answers.remove(&first) else {
        panic!("it is durable")
    };
    world.table.faults.push_back(Some(Fault::NoSpace));
    let tokens: Vec<Token> =
        (2..=4).map(|number| world.ask(ANN, stage(Some(pending), number))).collect();
    assert!(tokens.iter().all(|token| !world.answers.contains_key(token)), "too far ahead");
    world.settle();
    for token in tokens {
        assert_eq!(world.answers.remove(&token), Some(Err(TaskRefusal::NoSpace)));
    }
    let commit = world.call(ANN, UserTask::CommitAppend { pending });
    assert_eq!(commit, Err(TaskRefusal::NoSpace));
    world.settle();
    assert_eq!([0x15, 0x23, 0x30, 0x80].map(|kind| keys_of(&world, kind)), [0; 4]);
}

#[test]
fn what_gathered_goes_with_its_session_or_its_master() {
    for lost in [false, true] {
        let mut world = World::new();
        world.inbox(BOB);
        world.settle();
        let writes = world.table.writes;
        let pending = open_set(&mut world, 1);
        if lost {
            // Another master has taken over: the batch that would show it is fenced.
            world.table.writer.0 = dds::Epoch(99);
            let commit = world.call(ANN, UserTask::CommitAppend { pending });
            assert_eq!(commit, Err(TaskRefusal::Unavailable));
        } else {
            world.step(crate::mailbox::Input::SessionGone { session: ANN });
            world.settle();
            assert!(world.table.writes > writes, "what may be there is removed");
        }
        assert_eq!([0x15, 0x23, 0x30, 0x80].map(|kind| keys_of(&world, kind)), [0; 4]);
    }
}
