//! The event log: every event at least once, or a reset; and nothing is kept for nobody.

use super::world::*;
use crate::face::*;
use crate::mailbox::Limits;
use crate::mailbox::format::keys;
use std::collections::{BTreeMap, BTreeSet};

const DELETED: SystemFlags = SystemFlags(SystemFlag::Deleted as u8);
const SEEN: SystemFlags = SystemFlags(SystemFlag::Seen as u8);

fn small() -> Limits {
    Limits {
        fold_entries: 4,
        fold_entries_most: 8,
        events_per_page: 2,
        event_subscribers_max: 2,
        ..Limits::default()
    }
}

fn ask(world: &mut World, name: &str, task: EventTask) -> UserDone {
    let subscriber = Subscriber::new(name).expect("a name");
    let done = world.done(ANN, UserTask::Events { subscriber, task });
    world.settle();
    done
}

/// All pages, or where to begin anew.
fn read(world: &mut World, name: &str) -> Result<(Vec<Event>, ModSeq), ModSeq> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        match ask(world, name, EventTask::Read { from }) {
            UserDone::Events(EventPage::Reset { at }) => return Err(at),
            UserDone::Events(EventPage::Page { events, next }) => {
                all.extend(events);
                match next {
                    EventNext::More(place) => from = Some(place),
                    EventNext::End { up_to } => return Ok((all, up_to)),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn acknowledge(world: &mut World, name: &str, up_to: ModSeq) {
    assert_eq!(ask(world, name, EventTask::Acknowledge { up_to }), UserDone::Done);
}

fn subscribe(world: &mut World, name: &str) {
    let UserDone::Events(EventPage::Reset { at }) = ask(world, name, EventTask::Subscribe) else {
        panic!("a subscriber begins with a look at the mailbox");
    };
    acknowledge(world, name, at);
}

fn log_entries(world: &World) -> usize {
    let log = keys::log_from(FolderId(0), ModSeq(0)).0.0[0];
    world.table.entries.keys().filter(|key| key.0[0] == log).count()
}

/// The messages of a reader that has applied events to what it knew.
fn apply(known: &mut BTreeMap<FolderId, BTreeSet<u32>>, events: Vec<Event>) {
    for Event { folder, mod_seq: _, change } in events {
        let known = known.entry(folder).or_default();
        match change {
            EventChange::Arrived(uids) => known.extend(uids.iter().map(|uid| uid.0)),
            EventChange::Flagged(_) => {}
            EventChange::Vanished(uids) => {
                uids.iter().for_each(|uid| {
                    known.remove(&uid.0);
                });
            }
        }
    }
}

#[test]
fn without_a_subscriber_nothing_is_kept() {
    let mut world = World::with_limits(small());
    for number in 1..=40 {
        world.deliver(number);
    }
    assert!(log_entries(&world) < 10, "{}", log_entries(&world));
    let kinds = [keys::CURSOR, keys::KEPT];
    assert!(!world.table.entries.keys().any(|key| kinds.contains(&key.0[0])));
}

#[test]
fn events_are_kept_until_all_have_acknowledged_them_over_folds_and_crashes() {
    let mut world = World::with_limits(small());
    world.deliver(1);
    subscribe(&mut world, "index");
    subscribe(&mut world, "spam");
    for number in 2..=40 {
        world.deliver(number);
    }
    let inbox = world.inbox(ANN).folder;
    world.store(ANN, inbox, ("3:5", FlagChange::Add, SEEN));
    world.store(ANN, inbox, ("7", FlagChange::Add, DELETED));
    world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
    world.crash(0);
    let (events, up_to) = read(&mut world, "index").expect("nothing is missing");
    let arrived: Vec<u32> = events
        .iter()
        .filter_map(|event| match &event.change {
            EventChange::Arrived(uids) => uids.iter().next().map(|uid| uid.0),
            EventChange::Flagged(_) | EventChange::Vanished(_) => None,
        })
        .collect();
    assert_eq!(arrived, (2..=40).collect::<Vec<u32>>());
    let flagged = EventChange::Flagged(set("3:5"));
    assert!(events.iter().any(|event| event.change == flagged), "{events:?}");
    let vanished = EventChange::Vanished(set("7"));
    assert_eq!(events.last().map(|event| &event.change), Some(&vanished));
    let (again, _) = read(&mut world, "index").expect("at least once");
    assert_eq!(again, events);
    acknowledge(&mut world, "index", up_to);
    assert_eq!(read(&mut world, "index"), Ok((Vec::new(), up_to)));
    assert!(log_entries(&world) > 35, "the other has not read them");
    acknowledge(&mut world, "spam", up_to);
    world.settle();
    assert!(log_entries(&world) < 10, "{}", log_entries(&world));
}

#[test]
fn past_the_cap_by_bytes_or_age_the_slowest_is_reset() {
    let bytes = Limits { events_bytes_max: 600, ..small() };
    let age = Limits { events_age_max: fsm::Duration::from_secs(60), ..small() };
    for limits in [bytes, age] {
        let mut world = World::with_limits(limits);
        subscribe(&mut world, "index");
        for number in 1..=60 {
            world.now += 3_000;
            world.deliver(number);
        }
        world.settle();
        assert!(log_entries(&world) < 40, "{}", log_entries(&world));
        let at = read(&mut world, "index").expect_err("events are missing");
        world.crash(0);
        assert_eq!(read(&mut world, "index"), Err(at), "also after a restart");
        acknowledge(&mut world, "index", ModSeq(at.0 - 1));
        assert_eq!(read(&mut world, "index"), Err(at), "an old acknowledgement says nothing");
        acknowledge(&mut world, "index", at);
        let (events, _) = read(&mut world, "index").expect("from there on nothing is missing");
        assert!(events.iter().all(|event| event.mod_seq > at));
        assert!(!events.is_empty());
    }
}

#[test]
fn a_reader_that_follows_knows_every_message() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "index");
    let mut known = BTreeMap::new();
    let inbox = world.inbox(ANN).folder;
    world.done(ANN, UserTask::CreateFolder { name: folder("kept"), special_use: None });
    for round in 1..=12_u32 {
        for number in 0..5 {
            world.deliver(u128::from(round * 10 + number));
        }
        let copy = |remove_source| UserTask::Copy {
            folder: inbox,
            uids: set(&format!("{}", round * 4)),
            to: folder("kept"),
            remove_source,
        };
        world.done(ANN, copy(round % 2 == 0));
        world.store(ANN, inbox, (&format!("{}", round * 3), FlagChange::Add, DELETED));
        world.done(ANN, UserTask::Expunge { folder: inbox, uids: None });
        if round % 3 == 0 {
            world.crash(0);
        }
        if round % 4 == 0 {
            let (events, up_to) = read(&mut world, "index").expect("nothing is missing");
            apply(&mut known, events);
            acknowledge(&mut world, "index", up_to);
        }
    }
    for name in ["INBOX", "kept"] {
        let opened = world.open(ANN, name, OpenMode::ReadOnly);
        let uids: BTreeSet<u32> = opened.uids.iter().map(|uid| uid.0).collect();
        assert_eq!(known.get(&opened.folder), Some(&uids), "{name}");
    }
}

#[test]
fn who_is_sent_back_reads_again_as_long_as_everything_is_kept() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "index");
    subscribe(&mut world, "slow");
    let rewind = |world: &mut World, to| ask(world, "index", EventTask::Rewind { to });
    (1..=20).for_each(|number| {
        world.deliver(number);
    });
    let (all, up_to) = read(&mut world, "index").expect("nothing is missing");
    acknowledge(&mut world, "index", up_to);
    assert_eq!(read(&mut world, "index"), Ok((Vec::new(), up_to)));
    let fifth = all[4].mod_seq;
    world.stirred.clear();
    assert_eq!(rewind(&mut world, Rewind::Behind(fifth)), UserDone::Done);
    assert_eq!(world.stirred, ["index"], "whoever reads is woken");
    acknowledge(&mut world, "index", up_to);
    world.crash(0);
    acknowledge(&mut world, "index", up_to);
    assert_eq!(read(&mut world, "index"), Ok((all[5..].to_vec(), up_to)), "that was of before");
    world.crash(0);
    assert_eq!(read(&mut world, "index"), Ok((all[5..].to_vec(), up_to)));
    acknowledge(&mut world, "index", up_to);
    assert_eq!(rewind(&mut world, Rewind::Kept), UserDone::Done);
    assert_eq!(read(&mut world, "index"), Ok((all, up_to)));
    acknowledge(&mut world, "index", up_to);
    // Nobody needs them any more, and they go.
    acknowledge(&mut world, "slow", up_to);
    world.settle();
    let UserDone::Events(EventPage::Reset { at }) = rewind(&mut world, Rewind::Behind(fifth))
    else {
        panic!("some are kept no more");
    };
    assert_eq!(read(&mut world, "index"), Err(at));
    acknowledge(&mut world, "index", at);
    world.deliver(21);
    let kept = rewind(&mut world, Rewind::Kept);
    assert_eq!(kept, UserDone::Done);
    let (kept, _) = read(&mut world, "index").expect("what is kept");
    assert!(!kept.is_empty() && kept.iter().all(|event| event.mod_seq > fifth), "{kept:?}");
    let anew = rewind(&mut world, Rewind::Anew);
    let UserDone::Events(EventPage::Reset { at }) = anew else { panic!("{anew:?}") };
    let before = ModSeq(at.0 - 1);
    for crashes in [false, true] {
        if crashes {
            world.crash(0);
        }
        acknowledge(&mut world, "index", before);
        assert_eq!(read(&mut world, "index"), Err(at), "that was of before");
    }
    acknowledge(&mut world, "index", at);
    assert_eq!(read(&mut world, "index"), Ok((Vec::new(), at)));
}

#[test]
fn who_is_sent_back_to_a_time_reads_all_that_happened_since() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "index");
    subscribe(&mut world, "slow");
    let mut later = None;
    for number in 1..=40 {
        if number == 21 {
            world.settle();
            world.now += 3_600_000;
            later = Some(1_700_000_000 + world.now as i64 / 1000);
        }
        world.deliver(number);
    }
    world.settle();
    let later = later.expect("it came by");
    let (all, up_to) = read(&mut world, "index").expect("nothing is missing");
    acknowledge(&mut world, "index", up_to);
    let mut since = |unix_seconds| {
        let rewind = EventTask::Rewind { to: Rewind::Since { unix_seconds } };
        assert_eq!(ask(&mut world, "index", rewind), UserDone::Done);
        read(&mut world, "index").expect("nothing is missing").0
    };
    let some = since(later);
    assert!(all.ends_with(&some) && some.len() >= 20, "{} of {}", some.len(), all.len());
    assert!(some.len() < all.len(), "what was folded before is known to be older");
    assert_eq!(since(later - 7200), all);
}

#[test]
fn a_deleted_folder_resets_its_readers() {
    let mut world = World::with_limits(small());
    world.done(ANN, UserTask::CreateFolder { name: folder("old"), special_use: None });
    subscribe(&mut world, "index");
    world.done(ANN, UserTask::DeleteFolder { name: folder("old") });
    assert!(read(&mut world, "index").is_err());
}

#[test]
fn who_begins_is_subscribed_and_who_lags_behind_the_cursor_begins_anew() {
    let mut world = World::with_limits(small());
    world.deliver(1);
    let begin = |world: &mut World, known| ask(world, "index", EventTask::Begin { known });
    let UserDone::Events(EventPage::Reset { at }) = begin(&mut world, None) else {
        panic!("nobody had subscribed");
    };
    acknowledge(&mut world, "index", at);
    world.deliver(2);
    let page = |done| match done {
        UserDone::Events(EventPage::Page { events, .. }) => events.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(page(begin(&mut world, None)), 1);
    assert_eq!(page(begin(&mut world, Some(at))), 1);
    let behind = begin(&mut world, Some(ModSeq(at.0 - 1)));
    assert!(matches!(behind, UserDone::Events(EventPage::Reset { .. })), "{behind:?}");
}

#[test]
fn a_place_made_up_by_the_reader_brings_nothing_that_was_acknowledged() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "index");
    subscribe(&mut world, "slow");
    (1..=3).for_each(|number| {
        world.deliver(number);
    });
    let (_, up_to) = read(&mut world, "index").expect("nothing is missing");
    acknowledge(&mut world, "index", up_to);
    world.deliver(4);
    let (lane, behind) = (EventLane::Changes, (ModSeq(0), 0));
    let place = EventPlace { up_to: ModSeq(u64::MAX >> 1), folder: FolderId(0), lane, behind };
    let (mut from, mut seen) = (Some(place), 0);
    while let Some(place) = from.take() {
        match ask(&mut world, "index", EventTask::Read { from: Some(place) }) {
            UserDone::Events(EventPage::Page { events, next }) => {
                assert!(events.iter().all(|event| event.mod_seq > up_to), "{events:?}");
                seen += events.len();
                if let EventNext::More(place) = next {
                    from = Some(place);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, 1);
}

#[test]
fn a_new_mailbox_keeps_its_events_for_configured_subscribers_from_the_first_on() {
    let of = |name: &str, scope| Subscription {
        subscriber: Subscriber::new(name).expect("a name"),
        scope,
    };
    let elsewhere = Scope::Only { domains: vec!["example.net".into()], accounts: Vec::new() };
    let event_subscriptions = vec![of("pager", Scope::Everybody), of("other", elsewhere)];
    let mut world = World::with_limits(Limits { event_subscriptions, ..small() });
    world.deliver(1);
    let (events, _) = read(&mut world, "pager").expect("nothing is missing");
    assert_eq!(events.len(), 1, "{events:?}");
    let begun = ask(&mut world, "other", EventTask::Begin { known: None });
    assert!(matches!(begun, UserDone::Events(EventPage::Reset { .. })), "not in its scope");
}

#[test]
fn a_subscriber_is_told_once_until_it_reads() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "pager");
    world.stirred.clear();
    world.deliver(1);
    world.deliver(2);
    assert_eq!(world.stirred, ["pager"]);
    let (_, up_to) = read(&mut world, "pager").expect("nothing is missing");
    world.deliver(3);
    assert_eq!(world.stirred, ["pager", "pager"]);
    acknowledge(&mut world, "pager", up_to);
    // A master that loads tells of what may not have been told.
    world.stirred.clear();
    world.crash(0);
    world.inbox(ANN);
    assert_eq!(world.stirred, ["pager"]);
}

#[test]
fn subscribers_are_few_and_known() {
    let mut world = World::with_limits(small());
    subscribe(&mut world, "one");
    subscribe(&mut world, "two");
    let three = Subscriber::new("three").expect("a name");
    let task = EventTask::Subscribe;
    let refused = world.error(ANN, UserTask::Events { subscriber: three.clone(), task });
    assert!(matches!(refused, UserError::Limit(_)));
    let task = EventTask::Read { from: None };
    let refused = world.error(ANN, UserTask::Events { subscriber: three, task });
    assert!(matches!(refused, UserError::Cannot(_)));
    assert_eq!(ask(&mut world, "two", EventTask::Unsubscribe), UserDone::Done);
    assert_eq!(ask(&mut world, "two", EventTask::Unsubscribe), UserDone::Done, "once more");
    subscribe(&mut world, "three");
    assert_eq!(Subscriber::new("a b"), None);
}
