//! Many orders at once: what overlaps ends as if it had come one after the other, also when batches are lost or refused.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use fsm::Token;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Act {
    Deliver(u8),
    Append,
    See(u8),
    Doom(u8),
    Expunge,
    Move(u8),
    Serve(u8),
    Fault(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..30).prop_map(Act::Deliver),
        2 => Just(Act::Append),
        2 => (1_u8..20).prop_map(Act::See),
        2 => (1_u8..20).prop_map(Act::Doom),
        1 => Just(Act::Expunge),
        1 => (1_u8..20).prop_map(Act::Move),
        6 => (1_u8..6).prop_map(Act::Serve),
        1 => (0_u8..4).prop_map(Act::Fault),
    ]
}

/// A client that believes what it is told: answers and syncs.
fn check(acts: Vec<Act>, crash: Option<u8>) {
    let limits = Limits {
        fold_entries: 4,
        fold_entries_most: 4,
        chunk_rows_max: 4,
        batches_in_flight_max: 5,
        staged_ahead_bytes_max: 2_000,
        ..Limits::default()
    };
    let mut world = World::with_limits(limits);
    let inbox = world.inbox(ANN).folder;
    let mut asked: Vec<(Token, Act)> = Vec::new();
    for act in acts {
        let uids = |uid: u8| UidSet::from_range(u32::from(uid)..=u32::from(uid));
        let flag = |uid, flag: SystemFlag| UserTask::Store {
            folder: inbox,
            uids: uids(uid),
            change: FlagChange::Add,
            flags: SystemFlags(flag as u8),
            keywords: Vec::new(),
            unchanged_since: None,
        };
        let task = match act {
            Act::Deliver(number) => UserTask::Deliver(delivery(u128::from(number))),
            Act::Append => {
                UserTask::Append { to: FolderName::inbox(), message: new_message(777), once: None }
            }
            Act::See(uid) => flag(uid, SystemFlag::Seen),
            Act::Doom(uid) => flag(uid, SystemFlag::Deleted),
            Act::Expunge => UserTask::Expunge { folder: inbox, uids: None },
            Act::Move(uid) => UserTask::Copy {
                folder: inbox,
                uids: uids(uid),
                to: folder("Trash"),
                remove_source: true,
            },
            Act::Serve(count) => {
                for _ in 0..count {
                    world.serve_one();
                }
                continue;
            }
            Act::Fault(fault) => {
                let all =
                    [Fault::AppliedUnknown, Fault::LostUnknown, Fault::NoSpace, Fault::Unavailable];
                world.table.faults.push_back(Some(all[usize::from(fault)]));
                continue;
            }
        };
        asked.push((world.ask(ANN, task), act));
    }
    let answers = match crash {
        Some(done) => {
            let answers = std::mem::take(&mut world.answers);
            world.crash(usize::from(done));
            answers
        }
        None => {
            world.settle();
            std::mem::take(&mut world.answers)
        }
    };
    // What was told to be in a folder is there, once, unless it was told to be gone.
    let mut told: BTreeMap<Uid, Act> = BTreeMap::new();
    let mut first: BTreeMap<u8, Uid> = BTreeMap::new();
    let mut gone = UidSet::new();
    for (token, act) in &asked {
        match answers.get(token) {
            None => assert!(crash.is_some(), "{act:?} was not answered"),
            Some(Ok(UserDone::Delivered { uid, .. })) => {
                let Act::Deliver(number) = act else { panic!("{act:?}") };
                assert_eq!(*first.entry(*number).or_insert(*uid), *uid, "told twice, differently");
                told.insert(*uid, *act);
            }
            Some(Ok(UserDone::Appended { uids, .. })) => {
                let before = told.insert(uids.first().expect("one"), *act);
                assert!(before.is_none(), "{uids} was given twice");
            }
            Some(Ok(UserDone::Expunged { uids, .. })) => gone = gone.union(uids),
            Some(Ok(UserDone::Copied(copied))) => gone = gone.union(&copied.source),
            Some(Ok(UserDone::Stored(_))) => {}
            Some(Err(TaskRefusal::NoSpace | TaskRefusal::Unavailable)) => {}
            other => panic!("{act:?}: {other:?}"),
        }
    }
    for restart in [false, true] {
        if restart {
            world.crash(0);
        }
        let opened = world.inbox(ANN);
        for uid in told.keys().filter(|uid| !gone.contains(**uid)) {
            let lost = crash.is_some() && !opened.uids.contains(*uid);
            assert!(
                !lost
                    || asked.iter().any(|(token, act)| {
                        // An order that was not answered may have taken it away.
                        !answers.contains_key(token) && matches!(act, Act::Expunge | Act::Move(_))
                    }),
                "{uid} is lost"
            );
            assert!(lost || opened.uids.contains(*uid), "{uid} is lost");
        }
        assert!(opened.uids.intersection(&gone).is_empty());
        let rows = world.rows(ANN, opened.folder, Want::default());
        assert_eq!(rows.len() as u64, opened.uids.len());
        let mut numbers: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for row in rows {
            let body = world.section(ANN, (opened.folder, row.uid.0), Section::WHOLE);
            if body.starts_with(b"Return-Path") {
                *numbers.entry(body.to_vec()).or_default() += 1;
            }
        }
        assert!(numbers.values().all(|count| *count == 1), "delivered twice");
    }
}

fn uid_told(world: &mut World, token: Token) -> u32 {
    match world.answers.remove(&token) {
        Some(Ok(UserDone::Delivered { uid, .. })) => uid.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_at_the_door_does_not_settle_an_unknown_outcome() {
    let mut world = World::new();
    let inbox = world.inbox(ANN).folder;
    world.table.faults =
        [Fault::AppliedUnknown, Fault::Unavailable, Fault::Unavailable].map(Some).into();
    for number in [1, 2] {
        let token = world.ask(ANN, UserTask::Deliver(delivery(number)));
        world.settle();
        assert_eq!(uid_told(&mut world, token), u32::try_from(number).expect("small"));
    }
    world.crash(0);
    assert_eq!(world.inbox(ANN).folder, inbox);
    assert_eq!(world.rows(ANN, inbox, Want::default()).len(), 2);
}

#[test]
fn batches_behind_a_lost_one_are_sent_again_in_turn() {
    let mut world = World::new();
    world.inbox(ANN);
    world.table.faults.push_back(Some(Fault::LostUnknown));
    let asked = [1, 2, 3].map(|number| world.ask(ANN, UserTask::Deliver(delivery(number))));
    world.settle();
    assert_eq!(asked.map(|token| uid_told(&mut world, token)), [1, 2, 3]);
    let lost = world.notices.iter().any(|(_, notice)| *notice == Notice::MasterChanged);
    assert!(!lost, "nothing had to be loaded again");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_overlaps_ends_in_order(
        acts in prop::collection::vec(act(), 1..50),
        crash in prop::option::of(0_u8..6),
    ) {
        check(acts, crash);
    }
}
