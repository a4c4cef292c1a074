//! The extension: follows the mailboxes that its node leads, and brings their buckets up to the store.
//!
//! What it is given it holds until the messages are committed, and takes it then. Until then a search scans. It waits a little
//! for more, so that mail that comes in costs a few commits and not one for each; a step does so much and no more, so that it
//! hears of what happens meanwhile. What it knows of a mailbox is in the index itself: so it never recalls a place in a log, is
//! told to look at each mailbox anew, and finds what is missing there.
//!
//! Unlike other machines it works on files in its steps: for that it has a thread of its own.

use crate::full_text::{FullText, Order};
use crate::indexer::{Indexer, Source};
use events::{BatchId, Content, Extension, ExtensionEffect, ExtensionInput};
use fsm::{Cx, Digest, Duration, Machine, TimerKey};
use mailstore::face::{EventChange, UserId};
use mailstore::mailbox::route;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came is worked on.
const WORK: TimerKey = TimerKey(1);
/// Orders of the operator are looked for.
const LOOK: TimerKey = TimerKey(2);
/// What nobody follows here any more is looked for.
const TIDY: TimerKey = TimerKey(3);

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// After a bucket failed.
const PAUSE: Duration = Duration::from_secs(10);

/// A store that can be asked for messages, step by step.
pub trait Shelf: Source + Send {
    /// So many messages may be read until [`Source::goes_on`] says no.
    fn allow(&mut self, messages: usize);
}

/// See the head of the file.
pub struct Follower {
    text: Arc<FullText>,
    indexer: Indexer,
    shelf: Box<dyn Shelf>,
    map: dds::DpMap,
    followed: BTreeSet<UserId>,
    /// Users whose bodies are to be looked at, by bucket.
    due: BTreeMap<u16, BTreeSet<UserId>>,
    /// What was given and is not taken.
    held: BTreeMap<UserId, Vec<BatchId>>,
    batches: usize,
    /// Users that are not followed any more, and still in a bucket.
    gone: BTreeMap<u16, BTreeSet<UserId>>,
    state: State,
    tidy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    /// `WORK` is armed.
    Waiting,
    Working,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Follower {
    #[must_use]
    pub fn new(text: Arc<FullText>, shelf: Box<dyn Shelf>, map: dds::DpMap) -> Self {
        Self {
            indexer: Indexer::new(Arc::clone(&text)),
            text,
            shelf,
            map,
            followed: BTreeSet::new(),
            due: BTreeMap::new(),
            held: BTreeMap::new(),
            batches: 0,
            gone: BTreeMap::new(),
            state: State::Resting,
            tidy: false,
        }
    }

    fn bucket_of(&self, user: UserId) -> u16 {
        let partition = self.map.partition_of(&route(user).0);
        self.text.bucket_of(partition.0, u32::from(self.map.partitions))
    }

    fn make_due(&mut self, user: UserId) {
        let bucket = self.bucket_of(user);
        self.due.entry(bucket).or_default().insert(user);
    }

    fn make_all_due(&mut self, bucket: u16) {
        for user in self.followed.clone() {
            if self.bucket_of(user) == bucket {
                self.make_due(user);
            }
        }
    }

    /// What is on the disk answers, once it was checked; if it is not sound, it is made anew.
    fn open_closed(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if self.text.is_off() {
            return;
        }
        for bucket in self.text.closed() {
            match self.text.open(bucket) {
                Ok(_) => self.make_all_due(bucket),
                Err(error) => self.text.note_error(Some(error.to_string())),
            }
        }
        if !self.due.is_empty() {
            self.begin(cx);
        }
    }

    /// Waits for more, unless much is there.
    fn begin(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        let much = self.batches >= self.text.limits().batches_eager;
        if much && self.state != State::Working {
            cx.cancel(WORK);
            self.state = State::Working;
            cx.yield_now();
        } else if self.state == State::Resting {
            self.state = State::Waiting;
            cx.arm(WORK, self.text.limits().settle);
        }
    }

    fn on_order(&mut self, cx: &mut Cx<'_, ExtensionEffect>, order: Order) {
        let mut failed = None;
        for bucket in 0..self.text.limits().buckets {
            failed = self.text.drop_bucket(bucket).err().or(failed);
        }
        self.text.note_error(failed.map(|error| error.to_string()));
        match order {
            Order::Drop => self.take_all(cx),
            Order::Rebuild => {
                for user in self.followed.clone() {
                    self.make_due(user);
                }
                self.begin(cx);
            }
        }
    }

    /// Nothing is indexed: what was given is dealt with.
    fn take_all(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        self.due.clear();
        self.gone.clear();
        self.batches = 0;
        for batch in std::mem::take(&mut self.held).into_values().flatten() {
            cx.emit(ExtensionEffect::Take(batch));
        }
    }

    /// One bucket, as far as one step goes.
    fn work(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if self.text.is_off() {
            self.take_all(cx);
        }
        let first = self.due.keys().chain(self.gone.keys()).next().copied();
        let Some(bucket) = first else {
            self.state = State::Resting;
            return self.tidy_up();
        };
        self.shelf.allow(self.text.limits().step_messages);
        match self.work_on(bucket) {
            Ok(done) => {
                self.text.note_error(None);
                self.take(cx, &done);
                cx.yield_now();
            }
            Err(error) => {
                self.text.note_error(Some(error.to_string()));
                // Its files are checked, and all of its users looked at anew.
                self.make_all_due(bucket);
                self.state = State::Waiting;
                cx.arm(WORK, PAUSE);
            }
        }
    }

    /// The users that were brought up.
    fn work_on(&mut self, bucket: u16) -> Result<BTreeSet<UserId>, crate::BucketError> {
        if let Some(gone) = self.gone.remove(&bucket) {
            self.indexer.retain(bucket, &|user| !gone.contains(&user))?;
        }
        let mut due = self.due.remove(&bucket).unwrap_or_default();
        if due.is_empty() {
            return Ok(due);
        }
        let round = self.indexer.round(&mut *self.shelf, bucket, &due)?;
        self.text.note_round(&round);
        if !round.left.is_empty() {
            due.retain(|user| !round.left.contains(user));
            self.due.insert(bucket, round.left);
        }
        Ok(due)
    }

    fn take(&mut self, cx: &mut Cx<'_, ExtensionEffect>, done: &BTreeSet<UserId>) {
        for user in done {
            for batch in self.held.remove(user).unwrap_or_default() {
                self.batches -= 1;
                cx.emit(ExtensionEffect::Take(batch));
            }
        }
    }

    fn tidy_up(&mut self) {
        if !std::mem::take(&mut self.tidy) || self.text.is_off() {
            return;
        }
        let followed = &self.followed;
        for bucket in self.text.opened() {
            let kept = self.indexer.retain(bucket, &|user| followed.contains(&user));
            if let Err(error) = kept {
                self.text.note_error(Some(error.to_string()));
            }
        }
    }

    fn on_given(&mut self, cx: &mut Cx<'_, ExtensionEffect>, batch: events::Batch) {
        let user = batch.user;
        if let Content::Events { events, .. } = &batch.content {
            let removed = events.iter().map(|event| match &event.change {
                EventChange::Vanished(uids) => uids.len(),
                EventChange::Arrived(_) | EventChange::Flagged(_) => 0,
            });
            self.indexer.note_removed(user, removed.sum());
        }
        self.held.entry(user).or_default().push(batch.id);
        self.batches += 1;
        self.make_due(user);
        self.begin(cx);
    }

    fn on_gone(&mut self, cx: &mut Cx<'_, ExtensionEffect>, user: UserId) {
        let bucket = self.bucket_of(user);
        self.followed.remove(&user);
        self.batches -= self.held.remove(&user).map_or(0, |batches| batches.len());
        if let Some(due) = self.due.get_mut(&bucket) {
            due.remove(&user);
        }
        self.due.retain(|_, users| !users.is_empty());
        self.gone.entry(bucket).or_default().insert(user);
        self.begin(cx);
    }

    fn on_recall(&mut self, cx: &mut Cx<'_, ExtensionEffect>, user: UserId) {
        self.followed.insert(user);
        let bucket = self.bucket_of(user);
        if let Some(gone) = self.gone.get_mut(&bucket) {
            gone.remove(&user);
        }
        self.gone.retain(|_, users| !users.is_empty());
        cx.emit(ExtensionEffect::Recalled { user, known: None });
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, ExtensionEffect>, timer: TimerKey) {
        match timer {
            LOOK => {
                cx.arm(LOOK, LOOK_EVERY);
                if let Some(order) = self.text.take_order() {
                    self.on_order(cx, order);
                }
                self.open_closed(cx);
            }
            TIDY => {
                cx.arm(TIDY, TIDY_EVERY);
                self.tidy = true;
                self.begin(cx);
            }
            _ => {
                self.state = State::Working;
                self.work(cx);
            }
        }
    }
}

impl Machine for Follower {
    type Input = ExtensionInput;
    type Effect = ExtensionEffect;

    fn step(&mut self, cx: &mut Cx<'_, ExtensionEffect>, input: ExtensionInput) {
        match input {
            ExtensionInput::Given(batch) => self.on_given(cx, batch),
            ExtensionInput::Recall { user } => self.on_recall(cx, user),
            ExtensionInput::Gone { user, why: _ } => self.on_gone(cx, user),
            ExtensionInput::Resumed if self.state == State::Working => self.work(cx),
            // The first one.
            ExtensionInput::Resumed => {
                self.open_closed(cx);
                cx.arm(LOOK, LOOK_EVERY);
                cx.arm(TIDY, TIDY_EVERY);
            }
            ExtensionInput::TimerFired(timer) => self.on_timer(cx, timer),
            ExtensionInput::Done { .. } | ExtensionInput::Stopping => {}
        }
        self.text.note_due(self.due.values().map(BTreeSet::len).sum());
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.followed.len() as u64);
        digest.word(self.held.len() as u64);
        self.due.values().flatten().for_each(|user| digest.word(user.0));
    }
}

impl Extension for Follower {}
