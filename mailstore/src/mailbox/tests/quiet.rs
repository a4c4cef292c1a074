//! Sessions that watch and do nothing: the rows are forgotten meanwhile, and nobody notices.

use super::world::*;
use crate::face::*;
use crate::mailbox::{IDLE_TIMER, Input};

const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);
const COLUMNS: Want = Want { envelope: true, body: true, structure: true };

/// Time passes without a task.
fn rest(world: &mut World) {
    let at = world.timers.remove(&IDLE_TIMER).expect("armed by the last task");
    world.now = world.now.max(at.0 / 1_000_000);
    world.step(Input::TimerFired(IDLE_TIMER));
    assert!(world.requests.is_empty());
}

#[test]
fn rows_that_are_only_watched_are_forgotten_and_come_back() {
    let mut world = World::new();
    for number in 1..=100 {
        world.deliver(number);
    }
    let ann = world.inbox(ANN);
    let bob = world.inbox(BOB);
    let full = world.mailbox.memory_bytes();
    rest(&mut world);
    assert!(world.mailbox.memory_bytes() + 100 * 64 <= full);
    assert!(world.notices.is_empty());
    // A delivery does not need them; who is told of it does.
    world.deliver(101);
    assert_eq!(world.notices.len(), 2);
    let diff = world.sync(ANN, ann.folder, ann.highest_mod_seq);
    assert_eq!(diff.arrived.to_string(), "101");
    assert!(diff.vanished.is_empty());
    // A watcher who has not asked yet learns of everything, though the rows were forgotten again.
    rest(&mut world);
    world.store(ANN, ann.folder, ("7", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: ann.folder, uids: None });
    let diff = world.sync(BOB, bob.folder, bob.highest_mod_seq);
    assert_eq!(
        (diff.arrived.to_string().as_str(), diff.vanished.to_string().as_str()),
        ("101", "7")
    );
}

#[test]
fn rows_of_which_somebody_may_still_read_an_expunged_one_are_kept() {
    let mut world = World::new();
    for number in 1..=3 {
        world.deliver(number);
    }
    let ann = world.inbox(ANN);
    world.inbox(BOB);
    world.store(ANN, ann.folder, ("2", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: ann.folder, uids: None });
    rest(&mut world);
    world.section(BOB, (ann.folder, 2), Section::WHOLE);
    assert_eq!(world.rows(BOB, ann.folder, COLUMNS).len(), 3);
}
