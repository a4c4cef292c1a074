//! MULTIAPPEND: messages gather and go together, and none is lost on the way.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use fsm::Token;

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

#[test]
fn columns_that_are_not_sent_yet_are_not_packed_without() {
    let mut world = World::with_limits(Limits { pack_lag: 8, ..Limits::default() });
    world.inbox(ANN);
    let pending = open_set(&mut world, 1);
    for number in 2..=100 {
        world.deliver(number);
    }
    assert_eq!(keys_of(&world, 0x32), 0, "one of them is in memory alone");
    world.done(ANN, UserTask::CommitAppend { pending });
    world.settle();
    assert_eq!(keys_of(&world, 0x32), 3, "one block of three kinds");
    world.crash(0);
    let folder = world.inbox(ANN).folder;
    let want = Want { envelope: true, body: false, structure: false };
    let rows = world.rows(ANN, folder, want);
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| !row.envelope.is_empty()));
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
