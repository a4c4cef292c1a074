//! Accounts that are gone: nothing is founded for them, and what was promised ends.

use super::world::*;
use crate::face::*;
use crate::mailbox::format::keys;

fn promised(number: u128) -> UserTask {
    UserTask::Deliver(Deliver { promise: Promise::Given, ..delivery(number) })
}

fn facts(address: &str) -> AccountFacts {
    let address = address.into();
    AccountFacts { address, quota_bytes: None, quota_messages: None, enabled: false }
}

fn records(world: &World) -> usize {
    world.table.entries.keys().filter(|key| key.0[0] >= keys::ROOT).count()
}

#[test]
fn a_delivery_promised_to_an_account_that_is_gone_ends_and_founds_nothing() {
    let gone = Ok(UserDone::Failed(UserError::Disabled));
    let mut world = World::new();
    world.tell_account(facts(""));
    assert_eq!(world.call(ANN, promised(1)), gone);
    assert_eq!(world.call(ANN, UserTask::ListFolders), gone);
    assert_eq!(records(&world), 0);
    // As after a restart: the directory answers when the mailbox has been loaded.
    world.account = None;
    world.crash(0);
    let token = world.ask(ANN, promised(2));
    world.settle();
    assert!(!world.answers.contains_key(&token));
    world.tell_account(facts(""));
    world.settle();
    assert_eq!(world.answers.remove(&token), Some(gone));
    assert_eq!(records(&world), 0);
}

#[test]
fn a_delivery_promised_to_a_disabled_account_goes_in() {
    let mut world = World::new();
    world.tell_account(facts("ann@example.org"));
    let delivered = world.done(ANN, promised(1));
    assert!(matches!(delivered, UserDone::Delivered { .. }), "{delivered:?}");
}

#[test]
fn a_new_account_is_founded_when_it_is_known() {
    let mut world = World::new();
    world.account = None;
    world.crash(0);
    let token = world.ask(ANN, UserTask::ListFolders);
    world.settle();
    assert_eq!(records(&world), 0);
    world.tell_account(AccountFacts { enabled: true, ..facts("ann@example.org") });
    world.settle();
    assert!(matches!(world.answers[&token], Ok(UserDone::Folders(_))), "{:?}", world.answers);
}
