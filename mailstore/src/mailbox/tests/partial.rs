//! What is done by halves is told by halves; what can't be judged yet waits.

use super::world::*;
use crate::face::*;
use crate::mailbox::{Input, Limits, Mailbox};
use std::sync::Arc;

const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);

fn facts(quota_messages: Option<u64>, enabled: bool) -> AccountFacts {
    AccountFacts { address: "ann@example.org".into(), quota_bytes: None, quota_messages, enabled }
}

/// Five deleted messages in a mailbox that expunges two at a time.
fn five_deleted() -> (World, FolderOpened) {
    let mut world = World::with_limits(Limits { expunge_slice: 2, ..Limits::default() });
    for number in 1..=5 {
        world.deliver(number);
    }
    let inbox = world.inbox(ANN).folder;
    world.store(ANN, inbox, ("1:5", FlagChange::Add, DELETED));
    let opened = world.inbox(ANN);
    world.notices.clear();
    (world, opened)
}

#[test]
fn an_expunge_of_several_batches_is_answered_once() {
    let (mut world, opened) = five_deleted();
    let (inbox, since) = (opened.folder, opened.highest_mod_seq);
    let done = world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    let UserDone::Expunged { uids, mod_seq } = done else { panic!("{done:?}") };
    assert_eq!(uids, set("1:5"));
    let diff = world.sync(ANN, inbox, since);
    assert_eq!((diff.vanished, diff.mod_seq), (set("1:5"), mod_seq));
    assert_eq!(mod_seq, ModSeq(since.0 + 3), "three batches");
}

#[test]
fn an_expunge_that_fails_half_way_tells_what_went() {
    let (mut world, opened) = five_deleted();
    let (inbox, since) = (opened.folder, opened.highest_mod_seq);
    world.table.faults.extend([None, Some(Fault::NoSpace)]);
    let done = world.call(ANN, UserTask::Expunge { folder: inbox, uids: None });
    assert_eq!(done, Err(TaskRefusal::NoSpace));
    // The session hears of the first batch before the refusal, so that it tells it with its NO.
    let first = ModSeq(since.0 + 1);
    assert_eq!(world.notices, [(ANN, Notice::Changed { folder: inbox, mod_seq: first })]);
    assert_eq!(world.sync(ANN, inbox, since).vanished, set("1:2"));
    // What is left can be removed by the next one, here behind a crash.
    world.crash(0);
    assert_eq!(*world.inbox(ANN).uids, set("3:5"));
    let done = world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    let UserDone::Expunged { uids, mod_seq: _ } = done else { panic!("{done:?}") };
    assert_eq!(uids, set("3:5"));
}

/// A master that the directory has not told of its account so far.
fn untold(world: &mut World) {
    world.account = None;
    world.crash(0);
}

#[test]
fn no_message_slips_in_before_the_quota_is_known() {
    let mut world = World::new();
    world.deliver(1);
    untold(&mut world);
    let to = FolderName::inbox();
    let append = UserTask::Append { to: to.clone(), message: new_message(2), once: None };
    let stage = UserTask::StageAppend { to, pending: None, message: new_message(3) };
    let tasks = [UserTask::Deliver(delivery(4)), append, stage, UserTask::ListFolders];
    let tokens = tasks.map(|task| world.ask(ANN, task));
    world.settle();
    assert!(world.answers.is_empty(), "{:?}", world.answers);
    world.tell_account(facts(Some(1), true));
    world.settle();
    let over = Ok(UserDone::Failed(UserError::OverQuota));
    assert_eq!(
        tokens[..3].iter().map(|token| &world.answers[token]).collect::<Vec<_>>(),
        [&over; 3]
    );
    assert!(matches!(world.answers[&tokens[3]], Ok(UserDone::Folders(_))));
}

#[test]
fn what_waits_for_the_account_ends_with_its_session_or_its_master() {
    let mut world = World::new();
    world.deliver(1);
    untold(&mut world);
    let open =
        UserTask::OpenFolder { name: FolderName::inbox(), mode: OpenMode::ReadWrite, known: None };
    let own = world.ask(ANN, open.clone());
    let mail = world.ask(ANN, UserTask::Deliver(delivery(2)));
    world.settle();
    assert!(!world.mailbox.is_idle());
    world.step(Input::SessionGone { session: ANN });
    assert_eq!(world.answers.remove(&own), Some(Err(TaskRefusal::Unavailable)));
    // A mailbox of an account that is switched off serves nobody, but for mail that was promised.
    let late = world.ask(BOB, open);
    world.tell_account(facts(None, false));
    world.settle();
    let disabled = Some(Ok(UserDone::Failed(UserError::Disabled)));
    assert_eq!(world.answers.remove(&late), disabled);
    assert_eq!(world.answers.remove(&mail), disabled);

    let mut world = World::new();
    world.mailbox = Mailbox::new(USER, Arc::clone(&world.limits));
    let waits = world.ask(ANN, UserTask::ListFolders);
    world.settle();
    world.step(Input::EraseAll);
    // The order waits for its claim: nothing is served any more, nor forgotten.
    let late = world.ask(BOB, UserTask::ListFolders);
    world.settle();
    assert_eq!(world.answers.remove(&waits), Some(Err(TaskRefusal::Unavailable)));
    assert_eq!(world.answers.remove(&late), Some(Ok(UserDone::Failed(UserError::Disabled))));
    assert!(world.erased);
}

/// Nine messages in a mailbox that stores two at a time.
fn nine() -> (World, FolderOpened) {
    let mut world = World::with_limits(Limits { store_slice: 2, ..Limits::default() });
    for number in 1..=9 {
        world.deliver(number);
    }
    let opened = world.inbox(ANN);
    world.settle();
    world.notices.clear();
    (world, opened)
}

#[test]
fn a_store_of_several_batches_is_answered_once() {
    let (mut world, opened) = nine();
    let (inbox, since) = (opened.folder, opened.highest_mod_seq);
    world.store(ANN, inbox, ("3", FlagChange::Add, DELETED));
    world.store(ANN, inbox, ("5:8", FlagChange::Add, DELETED));
    let token = world.ask(
        ANN,
        UserTask::Store {
            folder: inbox,
            uids: set("1:9"),
            change: FlagChange::Add,
            flags: DELETED,
            keywords: vec![keyword("$Work")],
            unchanged_since: Some(ModSeq(since.0 + 1)),
        },
    );
    // Another order that depends on rows comes behind all of it.
    let other = world.ask(BOB, UserTask::Expunge { folder: inbox, uids: Some(set("9")) });
    world.settle();
    let Some(Ok(UserDone::Stored(stored))) = world.answers.remove(&token) else { panic!("stored") };
    assert_eq!((stored.changed.clone(), stored.modified), (set("1:4,9"), set("5:8")));
    assert_eq!(&*stored.keywords, [keyword("$Work")]);
    let Some(Ok(UserDone::Expunged { uids, .. })) = world.answers.remove(&other) else { panic!() };
    assert_eq!(uids, set("9"));
    let diff = world.sync(ANN, inbox, since);
    let of = |uid: u32| diff.changed.iter().find(|row| row.uid.0 == uid).expect("changed");
    assert!(
        stored
            .changed
            .iter()
            .filter(|uid| uid.0 < 9)
            .all(|uid| { of(uid.0).mod_seq <= stored.mod_seq && of(uid.0).flags.keywords == 1 })
    );
    assert!((5..=8).all(|uid| of(uid).flags.keywords == 0));
    // Nothing changes the second time, and no MODSEQ is spent.
    let before = world.inbox(ANN).highest_mod_seq;
    let again = world.store(ANN, inbox, ("1:8", FlagChange::Add, DELETED));
    assert_eq!((again.changed, again.mod_seq), (UidSet::new(), before));
    world.crash(0);
    let opened = world.inbox(ANN);
    assert_eq!((opened.highest_mod_seq, opened.unseen), (before, 8));
    let rows = world.rows(ANN, inbox, Want::default());
    assert_eq!(rows.iter().map(|row| row.flags.keywords).sum::<u128>(), 4);
}

#[test]
fn a_store_that_fails_half_way_tells_what_changed() {
    let (mut world, opened) = nine();
    let (inbox, since) = (opened.folder, opened.highest_mod_seq);
    world.table.faults.extend([None, None, Some(Fault::NoSpace)]);
    let store = |uids: &str| UserTask::Store {
        folder: inbox,
        uids: set(uids),
        change: FlagChange::Add,
        flags: DELETED,
        keywords: Vec::new(),
        unchanged_since: None,
    };
    assert_eq!(world.call(ANN, store("1:9")), Err(TaskRefusal::NoSpace));
    let first = ModSeq(since.0 + 1);
    assert_eq!(world.notices, [(ANN, Notice::Changed { folder: inbox, mod_seq: first })]);
    let diff = world.sync(ANN, inbox, since);
    let changed: Vec<u32> = diff.changed.iter().map(|row| row.uid.0).collect();
    assert_eq!(changed, [1, 2, 3, 4]);
    let UserDone::Stored(stored) = world.done(ANN, store("1:9")) else { panic!("stored") };
    assert_eq!(stored.changed, set("5:9"));
}
