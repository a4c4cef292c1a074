//! Many messages: columns are packed, logs folded, all is found again.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use std::sync::Arc;

const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);

fn search(world: &mut World, folder: FolderId, criteria: Criteria) -> String {
    let task = UserTask::Search { folder, criteria: Arc::new(criteria) };
    match world.done(ANN, task) {
        UserDone::Found { uids, .. } => uids.to_string(),
        other => panic!("{other:?}"),
    }
}

fn keys_of(world: &World, kind: u8) -> usize {
    world.table.entries.keys().filter(|key| key.0[0] == kind).count()
}

#[test]
fn columns_are_packed_and_read_the_same() {
    let mut world = World::with_limits(Limits { pack_lag: 8, ..Limits::default() });
    for number in 1..=300 {
        world.deliver(number);
    }
    assert_eq!(keys_of(&world, 0x32), 4 * 3, "four blocks of three kinds");
    let want = Want { envelope: true, body: true, structure: true };
    for _ in 0..2 {
        let inbox = world.inbox(ANN).folder;
        for row in world.rows(ANN, inbox, want) {
            let columns = columns(&message(u128::from(row.uid.0)));
            assert_eq!(row.envelope, columns.envelope);
            assert_eq!(row.body, columns.body);
            assert_eq!(row.structure, columns.structure);
        }
        let found = search(&mut world, inbox, Criteria::Subject("number 12".into()));
        assert_eq!(found, "12,120:129");
        let found = search(&mut world, inbox, Criteria::From("SENDER 29".into()));
        assert_eq!(found, "29,290:299");
        let found = search(&mut world, inbox, Criteria::BodyText("body 30".into()));
        assert_eq!(found, "30,300");
        world.crash(0);
    }
}

#[test]
fn a_fetch_of_many_pages_reads_ahead() {
    let mut world = World::with_limits(Limits { pack_lag: 8, ..Limits::default() });
    for number in 1..=1_200 {
        world.deliver(number);
    }
    world.crash(0);
    let inbox = world.inbox(ANN).folder;
    let want = Want { envelope: true, body: true, structure: false };
    let gets = world.table.gets;
    let rows = world.rows(ANN, inbox, want);
    assert_eq!(rows.len(), 1_200);
    for row in rows {
        let columns = columns(&message(u128::from(row.uid.0)));
        assert_eq!((&row.envelope, &row.body), (&columns.envelope, &columns.body));
    }
    // All blocks of the three pages, then the records of those at the end that are not packed yet.
    assert_eq!(world.table.gets - gets, 2);
}

#[test]
fn blocks_go_with_their_messages() {
    let mut world = World::with_limits(Limits { pack_lag: 8, ..Limits::default() });
    for number in 1..=300 {
        world.deliver(number);
    }
    let inbox = world.inbox(ANN).folder;
    // Most of the second block: the rest gets its own records back.
    world.store(ANN, inbox, ("64:120", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    world.done(ANN, UserTask::CloseFolder { folder: inbox });
    world.settle();
    assert_eq!(keys_of(&world, 0x32), 3 * 3);
    let inbox = world.inbox(ANN).folder;
    let want = Want { envelope: true, ..Want::default() };
    let rows = world.rows(ANN, inbox, want);
    assert_eq!(rows.len(), 300 - 57);
    for row in rows {
        assert_eq!(row.envelope, columns(&message(u128::from(row.uid.0))).envelope);
    }
    let found = search(&mut world, inbox, Criteria::Subject("number 12".into()));
    assert_eq!(found, "12,121:129");
    world.store(ANN, inbox, ("1:300", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    world.crash(0);
    world.done(ANN, UserTask::Quota);
    world.settle();
    // The first block never had EMAILID 0; all the others are empty.
    assert_eq!(keys_of(&world, 0x32), 0);
    assert_eq!(keys_of(&world, 0x30), 0);
    assert_eq!(keys_of(&world, 0x80), 0);
    assert_eq!(keys_of(&world, 0x1A), 0);
}

#[test]
fn the_log_is_folded_and_stays_short() {
    let mut world = World::with_limits(Limits {
        fold_entries: 16,
        fold_entries_most: 16,
        chunk_rows_max: 10,
        ..Limits::default()
    });
    for number in 1..=100 {
        world.deliver(number);
    }
    assert!(keys_of(&world, 0x21) < 32, "{}", keys_of(&world, 0x21));
    assert!(keys_of(&world, 0x20) >= 8, "{}", keys_of(&world, 0x20));
    world.crash(0);
    assert_eq!(world.inbox(ANN).uids.to_string(), "1:100");
}
