//! A mailbox that somebody may open soon: it is loaded, and nothing is told.

use super::world::*;
use crate::face::*;
use crate::mailbox::Input;

#[test]
fn an_expected_mailbox_is_loaded_before_anybody_asks() {
    let mut world = World::new();
    for number in 1..=20 {
        world.deliver(number);
    }
    world.crash(0);
    world.step(Input::Expected);
    world.settle();
    assert!(world.answers.is_empty() && world.notices.is_empty());
    assert!(world.mailbox.is_idle(), "it can be evicted again");
    assert!(world.timers.keys().any(|key| key.0 == 2), "and says so when nobody comes");
    // What is asked now costs no read.
    let open =
        UserTask::OpenFolder { name: FolderName::inbox(), mode: OpenMode::ReadWrite, known: None };
    let token = world.ask(ANN, open);
    match world.answers.remove(&token) {
        Some(Ok(UserDone::Opened(opened))) => assert_eq!(*opened.uids, set("1:20")),
        other => panic!("{other:?}"),
    }
    world.step(Input::Expected);
    assert!(world.requests.is_empty(), "loaded once");
}

#[test]
fn who_asks_while_it_is_being_loaded_waits_for_that() {
    let mut world = World::new();
    world.deliver(1);
    world.crash(0);
    world.step(Input::Expected);
    assert_eq!(world.requests.len(), 1);
    world.step(Input::Expected);
    assert_eq!(world.requests.len(), 1);
    assert_eq!(*world.inbox(ANN).uids, set("1"));
    // A new user has no folders yet.
    let mut world = World::new();
    world.step(Input::Expected);
    world.settle();
    assert!(world.inbox(ANN).uids.is_empty());
}
