//! A feeder, the logs of some mailboxes, and everything it asked for.

use crate::*;
use dds::DpMap;
use fsm::{Budget, Host, Mono, Stepped, TimerOp, Token, Wall};
use mailstore::face::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const ANN: UserId = UserId(1);
const BOB: UserId = UserId(2);

/// A log as a master keeps it: per folder, what changed and what vanished.
#[derive(Default)]
struct Log {
    events: Vec<Event>,
    acknowledged: Option<ModSeq>,
}

struct World {
    feeder: Feeder,
    host: Host,
    now: u64,
    logs: BTreeMap<UserId, Log>,
    accounts: Vec<AccountEntry>,
    asked: VecDeque<(Token, Task)>,
    given: Vec<Batch>,
    gone: Vec<(UserId, Why)>,
    recalls: Vec<UserId>,
    timers: BTreeMap<fsm::TimerKey, Mono>,
}

fn setup(limits: Limits) -> Setup {
    Setup {
        subscriber: Subscriber::new("pager").expect("a name"),
        scope: Scope::Everybody,
        kinds: Kinds::ALL,
        reach: Reach::Everywhere,
        memory: Memory::Cursor,
        map: DpMap { partitions: 16, hash_key: (0, 0) },
        limits,
    }
}

fn entry(user: UserId, address: &str) -> AccountEntry {
    AccountEntry {
        user,
        address: address.into(),
        enabled: true,
        display_name: String::new(),
        quota_bytes: None,
        quota_messages: None,
    }
}

impl World {
    fn new(setup: Setup) -> Self {
        Self {
            feeder: Feeder::new(setup),
            host: Host::new(1, 1),
            now: 1_000,
            logs: BTreeMap::from([(ANN, Log::default()), (BOB, Log::default())]),
            accounts: vec![entry(ANN, "ann@example.org"), entry(BOB, "bob@example.org")],
            asked: VecDeque::new(),
            given: Vec::new(),
            gone: Vec::new(),
            recalls: Vec::new(),
            timers: BTreeMap::new(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut stepped = Stepped::default();
        let now = (Mono(self.now * 1_000_000), Wall(0));
        self.host.step(&mut self.feeder, &mut stepped, now, Budget::new(100), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in stepped.effects {
            match effect {
                Effect::Ask { token, task } => self.asked.push_back((token, task)),
                Effect::Give(batch) => self.given.push(batch),
                Effect::Recall { user } => self.recalls.push(user),
                Effect::Gone { user, why } => self.gone.push((user, why)),
                Effect::Crowded { .. } => panic!("there is room"),
            }
        }
    }

    /// Answers everything that is asked.
    fn serve(&mut self) {
        while let Some((token, task)) = self.asked.pop_front() {
            let completion = match task {
                Task::User { user, task: UserTask::Events { task, .. } } => {
                    Completion::User(self.log(user, task))
                }
                Task::Directory(_) => Completion::Directory(DirectoryDone::Admin(
                    AdminDone::Accounts(self.accounts.clone()),
                )),
                other => panic!("{other:?}"),
            };
            self.step(Input::Done { token, completion });
        }
    }

    fn log(&mut self, user: UserId, task: EventTask) -> UserDone {
        let log = self.logs.get_mut(&user).expect("a user");
        let newest = log.events.iter().map(|event| event.mod_seq).max().unwrap_or(ModSeq(1));
        match (task, log.acknowledged) {
            (EventTask::Begin { .. }, None) => {
                log.acknowledged = Some(newest);
                UserDone::Events(EventPage::Reset { at: newest })
            }
            (EventTask::Begin { .. }, Some(after)) => page(log, after, None),
            (EventTask::Read { from }, Some(after)) => page(log, after, from),
            (EventTask::Unsubscribe, _) => {
                log.acknowledged = None;
                UserDone::Done
            }
            (EventTask::Acknowledge { up_to }, Some(before)) => {
                assert!(up_to >= before, "an acknowledgement never goes back");
                log.acknowledged = Some(up_to);
                UserDone::Done
            }
            (task, _) => panic!("{task:?}"),
        }
    }

    fn change(&mut self, user: UserId, folder: u32, change: EventChange) {
        let log = self.logs.get_mut(&user).expect("a user");
        let last = log.events.last().map_or(1, |event| event.mod_seq.0);
        let event = Event { folder: FolderId(folder), mod_seq: ModSeq(last + 1), change };
        log.events.push(event);
    }

    fn take_all(&mut self) {
        for at in 0..self.given.len() {
            let batch = self.given[at].id;
            self.step(Input::Taken { batch });
        }
        self.serve();
    }

    /// Everything begun with, looked at and acknowledged.
    fn settled(setup: Setup) -> Self {
        let mut world = Self::new(setup);
        world.step(Input::Resumed);
        world.serve();
        world.take_all();
        assert!(world.feeder.is_at_rest(), "{:?}", world.feeder);
        world.given.clear();
        world
    }
}

fn uid(uid: u32) -> UidSet {
    UidSet::from_range(uid..=uid)
}

/// Pages of three events, folder by folder, changes before what vanished.
fn page(log: &Log, after: ModSeq, from: Option<EventPlace>) -> UserDone {
    let newest = log.events.iter().map(|event| event.mod_seq).max().unwrap_or(after);
    let (lane, behind) = (EventLane::Changes, (after, u16::MAX));
    let begin = EventPlace { up_to: newest, folder: FolderId(0), lane, behind };
    let place = from.unwrap_or(begin);
    let lane_of = |event: &Event| match event.change {
        EventChange::Vanished(_) => EventLane::Vanished,
        EventChange::Arrived(_) | EventChange::Flagged(_) => EventLane::Changes,
    };
    let (mut folder, mut lane, mut behind) = (place.folder, place.lane, place.behind.0.max(after));
    loop {
        let mine = log.events.iter().filter(|event| {
            event.folder == folder
                && lane_of(event) == lane
                && event.mod_seq > behind
                && event.mod_seq <= place.up_to
        });
        let events: Vec<Event> = mine.take(3).cloned().collect();
        if let Some(last) = events.last() {
            let place = EventPlace { folder, lane, behind: (last.mod_seq, 0), ..place };
            let next = EventNext::More(place);
            return UserDone::Events(EventPage::Page { events, next });
        }
        behind = after;
        if lane == EventLane::Changes {
            lane = EventLane::Vanished;
        } else if folder.0 < 9 {
            (folder, lane) = (FolderId(folder.0 + 1), EventLane::Changes);
        } else {
            let up_to = if from.is_none() { after.max(newest) } else { place.up_to };
            let next = EventNext::End { up_to };
            return UserDone::Events(EventPage::Page { events: Vec::new(), next });
        }
    }
}

fn events_of(batches: &[Batch], user: UserId) -> Vec<Event> {
    let all = batches.iter().filter(|batch| batch.user == user);
    all.flat_map(|batch| match &batch.content {
        Content::Events { events, .. } => events.clone(),
        Content::Reset { .. } => panic!("nothing was missed"),
    })
    .collect()
}

#[test]
fn every_mailbox_begins_with_a_look_and_goes_on_with_events() {
    let mut world = World::new(setup(Limits::default()));
    world.step(Input::Resumed);
    world.serve();
    let looked: Vec<UserId> = world.given.iter().map(|batch| batch.user).collect();
    assert_eq!(looked, [ANN, BOB]);
    assert!(world.given.iter().all(|it| matches!(it.content, Content::Reset { .. })));
    world.take_all();
    assert!(world.feeder.is_at_rest());
    world.given.clear();
    world.change(BOB, 1, EventChange::Arrived(uid(7)));
    world.step(Input::Stirred { user: BOB });
    world.serve();
    assert_eq!(events_of(&world.given, BOB).len(), 1);
    assert_eq!(&*world.given[0].account, "bob@example.org");
    assert_ne!(world.logs[&BOB].acknowledged, Some(ModSeq(2)), "nobody has taken it");
    assert_eq!(world.feeder.lag().behind, 1);
    world.take_all();
    assert_eq!(world.logs[&BOB].acknowledged, Some(ModSeq(2)));
    assert!(world.feeder.is_at_rest());
}

#[test]
fn events_come_in_the_order_of_the_mailbox_however_many_there_are() {
    for reading_events_max in [5, 17, 4_096] {
        let limits = Limits { reading_events_max, batch_events_max: 4, ..Limits::default() };
        let mut world = World::settled(setup(limits));
        for number in 1..=60 {
            world.change(
                ANN,
                number % 5,
                match number % 3 {
                    0 => EventChange::Vanished(uid(number)),
                    1 => EventChange::Flagged(uid(number)),
                    _ => EventChange::Arrived(uid(number)),
                },
            );
        }
        world.step(Input::Stirred { user: ANN });
        let mut seen: Vec<Batch> = Vec::new();
        loop {
            world.serve();
            if world.given.is_empty() {
                break;
            }
            assert!(world.given.iter().all(|batch| match &batch.content {
                Content::Events { events, .. } => events.len() <= 4,
                Content::Reset { .. } => false,
            }));
            seen.extend(world.given.iter().cloned());
            for batch in std::mem::take(&mut world.given) {
                world.step(Input::Taken { batch: batch.id });
            }
        }
        assert_eq!(events_of(&seen, ANN), world.logs[&ANN].events, "{reading_events_max}");
        assert!(world.feeder.is_at_rest());
        assert_eq!(world.logs[&ANN].acknowledged, Some(ModSeq(61)));
    }
}

#[test]
fn only_the_types_that_are_wanted_are_given_and_all_are_acknowledged() {
    let kinds = Kinds { arrived: true, flagged: false, vanished: false };
    let mut world = World::settled(Setup { kinds, ..setup(Limits::default()) });
    world.change(ANN, 1, EventChange::Flagged(uid(1)));
    world.step(Input::Stirred { user: ANN });
    world.serve();
    assert_eq!(world.given, []);
    assert_eq!(world.logs[&ANN].acknowledged, Some(ModSeq(2)));
    assert!(world.feeder.is_at_rest());
}

#[test]
fn who_keeps_its_own_place_is_told_of_every_move() {
    let kinds = Kinds { arrived: true, flagged: false, vanished: false };
    let mut world = World::new(Setup { kinds, memory: Memory::Own, ..setup(Limits::default()) });
    world.step(Input::Resumed);
    world.serve();
    for user in [ANN, BOB] {
        world.step(Input::Recalled { user, known: None });
    }
    world.serve();
    world.take_all();
    world.given.clear();
    world.change(ANN, 1, EventChange::Flagged(uid(1)));
    world.step(Input::Stirred { user: ANN });
    world.serve();
    let content = Content::Events { events: Vec::new(), up_to: ModSeq(2) };
    assert_eq!(world.given.iter().map(|it| &it.content).collect::<Vec<_>>(), [&content]);
    world.take_all();
    assert_eq!(world.logs[&ANN].acknowledged, Some(ModSeq(2)));
    assert!(world.feeder.is_at_rest());
}

#[test]
fn who_wants_nothing_leaves_every_mailbox() {
    let mut world = World::settled(setup(Limits::default()));
    world.change(ANN, 1, EventChange::Arrived(uid(1)));
    world.step(Input::Stirred { user: ANN });
    world.step(Input::Wished(Wish::Nothing));
    world.serve();
    assert!(world.feeder.is_at_rest());
    assert!(world.logs.values().all(|log| log.acknowledged.is_none()));
    world.step(Input::Stirred { user: ANN });
    world.step(Input::Unsure { partitions: [world.feeder_place(ANN)].into() });
    assert!(world.asked.is_empty() && world.given.is_empty(), "nothing costs anything");
    world.step(Input::Wished(Wish::Events));
    world.serve();
    assert!(world.given.iter().all(|it| matches!(it.content, Content::Reset { .. })));
    assert_eq!(world.given.len(), 2);
    world.take_all();
    assert!(world.feeder.is_at_rest());
}

#[test]
fn a_slow_extension_is_given_no_more_than_the_limit() {
    let limits = Limits { batch_events_max: 1, batches_given_max: 2, ..Limits::default() };
    let mut world = World::settled(setup(limits));
    for number in 1..=5 {
        world.change(ANN, 1, EventChange::Arrived(uid(number)));
    }
    world.step(Input::Stirred { user: ANN });
    world.serve();
    assert_eq!(world.given.len(), 2);
    let batch = world.given[0].id;
    world.step(Input::Taken { batch });
    assert_eq!(world.given.len(), 3);
    assert_ne!(world.logs[&ANN].acknowledged, Some(ModSeq(6)));
    world.take_all();
    world.take_all();
    world.take_all();
    assert_eq!(world.logs[&ANN].acknowledged, Some(ModSeq(6)));
}

#[test]
fn so_many_tasks_are_under_way_while_mailboxes_begin() {
    let mut world = World::new(setup(Limits { tasks_at_once: 1, ..Limits::default() }));
    world.step(Input::Resumed);
    let (token, _) = world.asked.pop_front().expect("the roll");
    let accounts = world.accounts.clone();
    let done = DirectoryDone::Admin(AdminDone::Accounts(accounts));
    world.step(Input::Done { token, completion: Completion::Directory(done) });
    assert_eq!(world.asked.len(), 1, "the other waits");
    world.serve();
    world.take_all();
    assert!(world.feeder.is_at_rest());
    assert_eq!(world.given.len(), 2);
}

#[test]
fn what_was_refused_is_tried_again_after_a_pause() {
    let mut world = World::settled(setup(Limits::default()));
    world.change(ANN, 1, EventChange::Arrived(uid(1)));
    world.step(Input::Stirred { user: ANN });
    let (token, _) = world.asked.pop_front().expect("it reads");
    let completion = Completion::Refused(TaskRefusal::Unavailable);
    world.step(Input::Done { token, completion });
    assert!(world.asked.is_empty() && !world.feeder.is_at_rest());
    let (&key, &at) = world.timers.iter().min_by_key(|(_, at)| **at).expect("a pause");
    world.now = at.0 / 1_000_000;
    world.step(Input::TimerFired(key));
    world.serve();
    assert_eq!(events_of(&world.given, ANN).len(), 1);
}

#[test]
fn new_accounts_are_found_and_those_that_are_gone_are_left() {
    let mut world = World::settled(setup(Limits::default()));
    let eve = UserId(3);
    world.accounts = vec![entry(ANN, "ann@example.org"), entry(eve, "eve@example.org")];
    let events = vec![Event {
        folder: FolderId(1),
        mod_seq: ModSeq(4),
        change: EventChange::Arrived(uid(1)),
    }];
    // As a new mailbox of a configured subscriber is.
    world.logs.insert(eve, Log { events, acknowledged: Some(ModSeq(3)) });
    world.now += 5_000;
    world.step(Input::Stirred { user: eve });
    world.serve();
    assert_eq!(world.gone, [(BOB, Why::Removed)]);
    assert_eq!(events_of(&world.given, eve).len(), 1);
}

#[test]
fn mailboxes_that_are_led_elsewhere_are_not_fed() {
    let led = |partitions: BTreeSet<dds::PartitionId>| Input::Led { partitions };
    let setup = Setup { reach: Reach::Led, memory: Memory::Own, ..setup(Limits::default()) };
    let place = |user| setup.map.partition_of(&mailstore::mailbox::route(user).0);
    assert_ne!(place(ANN), place(BOB), "the test needs two partitions");
    let mut world = World::new(setup.clone());
    world.step(Input::Resumed);
    world.serve();
    assert!(world.recalls.is_empty());
    world.step(led([place(ANN)].into()));
    assert_eq!(world.recalls, [ANN]);
    world.step(Input::Recalled { user: ANN, known: None });
    world.serve();
    assert_eq!(world.given.len(), 1);
    world.step(led([place(BOB)].into()));
    assert_eq!(world.gone, [(ANN, Why::Moved)]);
    assert_eq!(world.recalls, [ANN, BOB]);
    world.step(Input::Taken { batch: world.given[0].id });
    assert!(world.asked.is_empty(), "what is led elsewhere is acknowledged there");
}

#[test]
fn after_doubt_every_mailbox_of_a_partition_is_looked_at() {
    let mut world = World::settled(setup(Limits::default()));
    let place = world.feeder_place(ANN);
    world.change(ANN, 1, EventChange::Arrived(uid(1)));
    world.step(Input::Unsure { partitions: [place].into() });
    world.serve();
    assert_eq!(events_of(&world.given, ANN).len(), 1);
}

impl World {
    fn feeder_place(&self, user: UserId) -> dds::PartitionId {
        setup(Limits::default()).map.partition_of(&mailstore::mailbox::route(user).0)
    }
}
