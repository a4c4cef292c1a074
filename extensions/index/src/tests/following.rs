//! The extension as the node runs it: what it is given it takes when it is in the index.

use super::world::{Store, index_in, letter, limits, scanned, searched, text_test};
use crate::{Follower, FullText, Order, Shelf};
use dds::DpMap;
use events::{Batch, BatchId, Content, ExtensionEffect, ExtensionInput, Why};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Wall};
use mailstore::face::{Event, EventChange, FolderId, ModSeq, UidSet, UserId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

impl Shelf for Store {
    fn allow(&mut self, messages: usize) {
        self.patience = Some(messages);
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
    recalled: Vec<UserId>,
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
            batches: 0,
        };
        stand.step(ExtensionInput::Resumed);
        stand
    }

    fn step(&mut self, input: ExtensionInput) {
        let mut input = Some(input);
        while let Some(next) = input.take() {
            let mut stepped = Stepped::default();
            let now = (self.now, Wall(0));
            self.host.step(&mut self.follower, &mut stepped, now, Budget::new(1000), next);
            for op in stepped.timers {
                match op {
                    TimerOp::Arm { key, at } => self.timers.insert(key, at),
                    TimerOp::Cancel { key } => self.timers.remove(&key),
                };
            }
            for effect in stepped.effects {
                match effect {
                    ExtensionEffect::Take(batch) => self.taken.push(batch),
                    ExtensionEffect::Recalled { user, known } => {
                        assert_eq!(known, None);
                        self.recalled.push(user);
                    }
                    ExtensionEffect::Ask { .. } | ExtensionEffect::Log(_) => {}
                }
            }
            input = stepped.yielded.then_some(ExtensionInput::Resumed);
        }
    }

    /// Fires the timers of the next minute, in their order.
    fn pass(&mut self) {
        let end = Mono(self.now.0 + 60_000_000_000);
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

    fn follow(&mut self, user: u64) -> BatchId {
        self.step(ExtensionInput::Recall { user: UserId(user) });
        assert_eq!(self.recalled.pop(), Some(UserId(user)));
        self.give(user, Content::Reset { at: ModSeq(1) })
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
    // Another life knows what is there, and adds nothing.
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    assert_eq!(stand.messages(), 21, "what was sound answers at once");
    for user in 1..4 {
        stand.follow(user);
    }
    stand.pass();
    assert_eq!((stand.taken.len(), stand.text.status().added, stand.messages()), (3, 0, 21));
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
    assert_eq!(stand.messages(), 0);
    let arrived = Event {
        folder: FolderId(1),
        mod_seq: ModSeq(7),
        change: EventChange::Arrived(UidSet::from_range(1..=1)),
    };
    let content = Content::Events { events: vec![arrived], up_to: ModSeq(7) };
    let given = stand.give(1, content);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.last()), (0, Some(&given)), "nobody is held up");
    drop(stand);
    let mut stand = Stand::new(dir.path(), &store);
    stand.follow(1);
    stand.follow(2);
    stand.pass();
    assert_eq!((stand.messages(), stand.taken.len()), (0, 2), "it stays dropped");
    stand.text.order(Order::Rebuild).expect("it is noted");
    stand.pass();
    assert_eq!(stand.messages(), 10);
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
