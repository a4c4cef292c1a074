//! The extension as the node runs it: what it is given it takes when it is in the index.

use super::world::{Store, index_in, letter, limits, scanned, searched, text_test};
use crate::{Follower, FullText, Order, Shelf};
use dds::DpMap;
use events::{Batch, BatchId, Content, ExtensionEffect, ExtensionInput, Why, Wish};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Wall};
use mailstore::face::{Event, EventChange, FolderId, ModSeq, UidSet, UserId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl Shelf for Store {
    fn allow(&mut self, messages: usize) {
        self.patience = Some(messages);
    }

    fn has_room(&self) -> bool {
        !self.full.load(Relaxed)
    }

    fn is_loaded(&mut self) -> bool {
        self.loaded.load(Relaxed)
    }
}

/// A follower, its clock, and what it said.
struct Stand {
    host: Host,
    follower: Follower,
    text: Arc<FullText>,
    timers: BTreeMap<TimerKey, Mono>,
    now: Mono,
    taken: Vec<BatchId>,
    recalled: Vec<(UserId, Option<ModSeq>)>,
    wish: Wish,
    batches: u64,
}

impl Stand {
    fn new(dir: &Path, store: &Store) -> Self {
        let (text, _) = index_in(dir);
        let map = DpMap { partitions: 8, hash_key: (1, 2) };
        let mut stand = Self {
            host: Host::new(0, 1),
            follower: Follower::new(Arc::clone(&text), Box::new(store.clone()), map),
            text,
            timers: BTreeMap::new(),
            now: Mono(0),
            taken: Vec::new(),
            recalled: Vec::new(),
            wish: Wish::Events,
            batches: 0,
        };
        stand.step(ExtensionInput::Resumed);
        stand
    }

    fn step(&mut self, input: ExtensionInput) {
        let mut input = Some(input);
        while let Some(next) = input.take() {
            input = self.step_once(next).then_some(ExtensionInput::Resumed);
        }
    }

    /// Whether it goes on.
    fn step_once(&mut self, input: ExtensionInput) -> bool {
        let mut stepped = Stepped::default();
        let now = (self.now, Wall(0));
        self.host.step(&mut self.follower, &mut stepped, now, Budget::new(1000), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in stepped.effects {
            match effect {
                ExtensionEffect::Take(batch) => self.taken.push(batch),
                ExtensionEffect::Recalled { user, known } => self.recalled.push((user, known)),
                ExtensionEffect::Wished(wish) => self.wish = wish,
                ExtensionEffect::Ask { .. } | ExtensionEffect::Log(_) => {}
            }
        }
        stepped.yielded
    }

    /// Fires the timers of the next minute, in their order.
    fn pass(&mut self) {
        self.pass_for(60);
    }

    fn pass_for(&mut self, seconds: u64) {
        let end = Mono(self.now.0 + seconds * 1_000_000_000);
        while let Some((key, at)) =
            self.timers.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (*key, *at))
        {
            if at > end {
                break;
            }
            self.timers.remove(&key);
            self.now = self.now.max(at);
            self.step(ExtensionInput::TimerFired(key));
        }
        self.now = end;
    }

    fn give(&mut self, user: u64, content: Content) -> BatchId {
        self.batches += 1;
        let id = BatchId(self.batches);
        let batch = Batch { id, user: UserId(user), account: "a@example.test".into(), content };
        self.step(ExtensionInput::Given(batch));
        id
    }

    /// Up to where it knows a mailbox.
    fn recall(&mut self, user: u64) -> Option<ModSeq> {
        self.step(ExtensionInput::Recall { user: UserId(user) });
        let (of, known) = self.recalled.pop().expect("an answer");
        assert_eq!(of, UserId(user));
        known
    }

    /// A mailbox that it does not know.
    fn follow(&mut self, user: u64) -> BatchId {
        assert_eq!(self.recall(user), None);
        self.give(user, Content::Reset { at: ModSeq(1) })
    }

    /// Something happened, and nothing of it is for an index.
    fn give_nothing(&mut self, user: u64, up_to: u64) -> BatchId {
        self.give(user, Content::Events { events: Vec::new(), up_to: ModSeq(up_to) })
    }

    fn give_arrived(&mut self, user: u64, up_to: u64) -> BatchId {
        let change = EventChange::Arrived(UidSet::from_range(1..=1));
        let arrived = Event { folder: FolderId(1), mod_seq: ModSeq(up_to), change };
        self.give(user, Content::Events { events: vec![arrived], up_to: ModSeq(up_to) })
    }

    fn messages(&self) -> u64 {
        self.text.status().buckets.iter().map(|bucket| bucket.messages).sum()
    }
}

fn mail(users: std::ops::Range<u64>, each: u64) -> Store {
    let mut store = Store::default();
    for user in users {
        (0..each).for_each(|email| store.put(user, email, &letter("s", "alpha beta")));
    }
    store
}

#[test]
fn what_is_given_is_taken_when_it_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..4, 7);
    let mut stand = Stand::new(dir.path(), &store);
    let given: Vec<BatchId> = (1..4).map(|user| stand.follow(user)).collect();
    assert!(stand.taken.is_empty() && stand.messages() == 0, "it waits for more");
    stand.pass();
    stand.taken.sort_unstable();
    assert_eq!((&stand.taken, stand.messages()), (&given, 21));
    let tests = [text_test("alph")];
    assert_eq!(searched(&store, &stand.text, 2, &tests), scanned(&store, 2, &tests));
    // Another life knows what is there, and looks at nothing.
    drop(stand);
    let looks = store.looks.load(Relaxed);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.messages(), 21, "what was sound answers at once");
    for user in 1..4 {
        assert_eq!(stand.recall(user), Some(ModSeq(1)));
    }
    stand.pass();
    assert_eq!((stand.text.status().added, stand.messages()), (0, 21));
    assert_eq!(store.looks.load(Relaxed), looks);
    // Missed nevertheless, as by who was away for long: it looks, and adds nothing.
    stand.give(1, Content::Reset { at: ModSeq(5) });
    stand.pass();
    assert_eq!((stand.taken.len(), stand.text.status().added, stand.messages()), (1, 0, 21));
}

#[test]
fn a_place_is_never_ahead_of_what_was_committed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..2, 30);
    let mut stand = Stand::new(dir.path(), &store);
    stand.follow(1);
    let work = *stand.timers.keys().min().expect("it waits for more");
    assert!(stand.step_once(ExtensionInput::TimerFired(work)), "there is more to do");
    assert_eq!((stand.messages() > 0, stand.messages() < 30), (true, true));
    // It ends in the middle.
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    stand.follow(1);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len()), (30, 1));
    stand.give_arrived(1, 8);
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.recall(1), Some(ModSeq(1)), "of what was given it did nothing");
    stand.give_arrived(1, 8);
    stand.pass();
    stand.pass();
    drop(stand);
    assert_eq!(Stand::new(dir.path(), &store).recall(1), Some(ModSeq(8)));
}

#[test]
fn what_is_for_no_index_is_taken_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..2, 3);
    let mut stand = Stand::new(dir.path(), &store);
    let first = stand.follow(1);
    // Behind what waits, in order.
    stand.give_nothing(1, 4);
    assert_eq!(stand.taken, []);
    stand.pass();
    assert_eq!((stand.taken.first(), stand.taken.len()), (Some(&first), 2));
    let looks = store.looks.load(Relaxed);
    let next = stand.give_nothing(1, 9);
    assert_eq!((stand.taken.last(), store.looks.load(Relaxed)), (Some(&next), looks));
    // Killed before it is durable: behind, never ahead.
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.recall(1), Some(ModSeq(4)));
    stand.give_nothing(1, 9);
    stand.step(ExtensionInput::Stopping);
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.recall(1), Some(ModSeq(9)), "an end in order keeps it");
    stand.give_nothing(1, 12);
    stand.pass();
    stand.pass();
    drop(stand);
    assert_eq!(Stand::new(dir.path(), &store).recall(1), Some(ModSeq(12)), "as time does");
}

#[test]
fn without_room_nothing_is_written_and_then_it_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..3, 5);
    store.full.store(true, Relaxed);
    let mut stand = Stand::new(dir.path(), &store);
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len(), dir.path().exists()), (0, 0, true));
    assert_eq!(dir.path().read_dir().expect("a directory").count(), 0);
    assert!(stand.text.status().error.is_some());
    let tests = [text_test("alph")];
    assert_eq!(searched(&store, &stand.text, 2, &tests), scanned(&store, 2, &tests));
    store.full.store(false, Relaxed);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len()), (10, 2));
    assert_eq!(stand.text.status().error, None);
    // In the middle of its work, too.
    store.full.store(true, Relaxed);
    stand.give_arrived(1, 8);
    stand.step(ExtensionInput::Stopping);
    drop(stand);
    assert_eq!(Stand::new(dir.path(), &store).recall(1), Some(ModSeq(1)));
}

#[test]
fn while_mail_comes_in_fast_it_yields_for_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..4, 5);
    store.loaded.store(true, Relaxed);
    let mut stand = Stand::new(dir.path(), &store);
    let first = stand.follow(1);
    let longest = stand.text.limits().behind_max.as_secs();
    stand.pass_for(longest - 10);
    stand.follow(2);
    assert_eq!((stand.messages(), stand.taken.len()), (0, 0));
    let tests = [text_test("alph")];
    assert_eq!(searched(&store, &stand.text, 1, &tests), scanned(&store, 1, &tests));
    // So long and no longer; with it whoever else waits, unless there is more than one step.
    stand.pass_for(15);
    assert!(stand.taken.contains(&first) && stand.messages() >= 5);
    stand.follow(3);
    let before = stand.messages();
    stand.pass_for(30);
    assert_eq!(stand.messages(), before);
    store.loaded.store(false, Relaxed);
    stand.pass_for(5);
    assert_eq!((stand.messages(), stand.taken.len()), (15, 3));
    // An order does not wait for ever either.
    store.loaded.store(true, Relaxed);
    stand.text.order(Order::Rebuild).expect("it is noted");
    stand.pass_for(longest + 10);
    assert_eq!(stand.messages(), 15);
}

#[test]
fn much_work_is_done_step_by_step() {
    let dir = tempfile::tempdir().expect("a directory");
    let many = limits().step_messages as u64 * 2 + 3;
    let mut stand = Stand::new(dir.path(), &mail(1..3, many));
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    assert_eq!((stand.taken.len(), stand.messages()), (2, many * 2));
}

#[test]
fn mailboxes_that_go_leave_and_those_that_come_back_return() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stand = Stand::new(dir.path(), &mail(1..3, 5));
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    assert_eq!(stand.messages(), 10);
    stand.give(1, Content::Reset { at: ModSeq(9) });
    stand.step(ExtensionInput::Gone { user: UserId(1), why: Why::Moved });
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len()), (5, 2), "what is gone need not be taken");
    let back = stand.follow(1);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.last()), (10, Some(&back)));
    // Back before anything was done about it: others may have changed it meanwhile.
    stand.step(ExtensionInput::Gone { user: UserId(1), why: Why::Moved });
    let back = stand.follow(1);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.last()), (10, Some(&back)));
}

#[test]
fn orders_are_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = mail(1..3, 5);
    let mut stand = Stand::new(dir.path(), &store);
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    stand.text.order(Order::Drop).expect("it is noted");
    stand.pass();
    assert_eq!((stand.messages(), stand.wish), (0, Wish::Nothing));
    let given = stand.give_arrived(1, 7);
    assert_eq!(stand.taken.last(), Some(&given), "nobody is held up");
    stand.pass();
    assert_eq!(stand.messages(), 0);
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.wish, Wish::Nothing, "it stays dropped");
    stand.pass();
    assert_eq!(stand.messages(), 0);
    stand.text.order(Order::Rebuild).expect("it is noted");
    stand.pass();
    assert_eq!(stand.wish, Wish::Events);
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len()), (10, 2));
}

#[test]
fn a_bucket_that_broke_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut stand = Stand::new(dir.path(), &mail(1..3, 5));
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    let bucket = dir.path().join("bucket-000");
    std::fs::write(bucket.join("meta.json"), "{").expect("it is written");
    stand.text.close(0);
    stand.pass();
    assert_eq!(stand.messages(), 10);
    assert_eq!(stand.text.status().error, None);
}
