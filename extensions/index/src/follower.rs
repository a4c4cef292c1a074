//! The extension: follows the mailboxes that its node leads, and brings their buckets up to the store.
//!
//! What it is given it holds until the messages are committed, and takes it then. Until then a search scans. It waits a little
//! for more, so that mail that comes in costs a few commits and not one for each; a step does so much and no more, so that it
//! hears of what happens meanwhile. Up to where it knows the log of a mailbox is in the commits of the index, so after a start
//! it is given what came since. What tells of no new message it takes at once: that place is durable later.
//! While mail comes in fast it yields: what was given waits until that is over, or has waited for `behind_max`; then what came
//! since is indexed in one go.
//! It rests without files to write: while the operator wants no index it is given nothing, and while the disk has little room
//! what came waits.
//!
//! Unlike other machines it works on files in its steps: for that it has a thread of its own.

use crate::full_text::{FullText, Order};
use crate::indexer::{Indexer, Source};
use events::{BatchId, Content, Extension, ExtensionEffect, ExtensionInput, Wish};
use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey};
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
/// Places that are in memory alone are made durable.
const KEEP: TimerKey = TimerKey(4);

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// How long the first mailbox of an index that was ordered waits for more.
const ORDERED: Duration = Duration::from_millis(200);
/// After a bucket failed, and while there is no room.
const PAUSE: Duration = Duration::from_secs(10);
const NO_ROOM: &str = "the disk has little free space: what is new is scanned until there is more";

/// A store that can be asked for messages, step by step.
pub trait Shelf: Source + Send {
    /// So many messages may be read until [`Source::goes_on`] says no.
    fn allow(&mut self, messages: usize);

    /// Whether the disk has room for more than mail.
    fn has_room(&self) -> bool;

    /// Whether mail comes in so fast that indexing should wait, by what came since this was asked before.
    fn is_loaded(&mut self) -> bool;
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
    /// Since when they are.
    since: BTreeMap<UserId, Mono>,
    /// What was given and is not taken.
    held: BTreeMap<UserId, Vec<BatchId>>,
    batches: usize,
    /// Users that are not followed any more, and still in a bucket.
    gone: BTreeMap<u16, BTreeSet<UserId>>,
    state: State,
    /// The bucket to be worked on next, or the next one behind it.
    turn: u16,
    tidy: bool,
    /// `KEEP` is armed.
    keeps: bool,
    /// An index was ordered, and nothing is in it yet.
    ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting,
    /// `WORK` is armed.
    Waiting,
    /// As `Waiting`, whatever comes.
    Paused,
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
            since: BTreeMap::new(),
            held: BTreeMap::new(),
            batches: 0,
            gone: BTreeMap::new(),
            state: State::Resting,
            turn: 0,
            tidy: false,
            keeps: false,
            ordered: false,
        }
    }

    fn bucket_of(&self, user: UserId) -> u16 {
        let partition = self.map.partition_of(&route(user).0);
        self.text.bucket_of(partition.0, u32::from(self.map.partitions))
    }

    fn make_due(&mut self, user: UserId, now: Mono) {
        let bucket = self.bucket_of(user);
        self.due.entry(bucket).or_default().insert(user);
        self.since.entry(user).or_insert(now);
    }

    fn make_all_due(&mut self, bucket: u16, now: Mono) {
        for user in self.followed.clone() {
            if self.bucket_of(user) == bucket {
                self.make_due(user, now);
            }
        }
    }

    /// Whether what is due waits for a time with less mail.
    fn yields(&mut self, now: Mono) -> bool {
        let Some(longest) = self.since.values().min().map(|since| now.since(*since)) else {
            return false;
        };
        self.shelf.is_loaded() && longest < self.text.limits().behind_max
    }

    /// What is on the disk answers, once it was checked; if it is not sound, it is made anew.
    fn open_closed(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if self.text.is_off() {
            return;
        }
        let closed = self.text.closed();
        if !closed.is_empty() {
            self.indexer.let_go();
        }
        for bucket in closed {
            match self.text.open(bucket) {
                Ok(_) => self.make_all_due(bucket, cx.mono()),
                Err(error) => self.text.note_error(Some(error.to_string())),
            }
        }
        if !self.due.is_empty() {
            self.begin(cx);
        }
    }

    /// Waits for more, unless much is there.
    fn begin(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if self.state == State::Resting {
            // From now on.
            self.shelf.is_loaded();
            self.wait(cx);
        }
        let much = self.batches >= self.text.limits().batches_eager;
        if much && self.state == State::Waiting && !self.yields(cx.mono()) {
            self.begin_now(cx);
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        self.state = State::Waiting;
        cx.arm(WORK, if self.ordered { ORDERED } else { self.text.limits().settle });
    }

    fn begin_now(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if matches!(self.state, State::Resting | State::Waiting) {
            cx.cancel(WORK);
            self.state = State::Working;
            cx.yield_now();
        }
    }

    fn on_order(&mut self, cx: &mut Cx<'_, ExtensionEffect>, order: Order) {
        let mut failed = None;
        self.indexer.let_go();
        for bucket in 0..self.text.limits().buckets {
            failed = self.text.drop_bucket(bucket).err().or(failed);
        }
        self.text.note_error(failed.map(|error| error.to_string()));
        match order {
            Order::Drop => {
                self.take_all(cx);
                cx.emit(ExtensionEffect::Wished(Wish::Nothing));
            }
            Order::Rebuild => {
                self.ordered = true;
                cx.emit(ExtensionEffect::Wished(Wish::Events));
                for user in self.followed.clone() {
                    self.make_due(user, cx.mono());
                }
                self.begin_now(cx);
            }
        }
    }

    /// Nothing is indexed: what was given is dealt with.
    fn take_all(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        self.due.clear();
        self.since.clear();
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
        if !self.shelf.has_room() {
            self.indexer.let_go();
            self.text.note_error(Some(NO_ROOM.into()));
            return self.pause(cx);
        }
        if self.yields(cx.mono()) {
            return self.wait(cx);
        }
        let Some(bucket) = self.next_bucket() else {
            self.state = State::Resting;
            self.since.clear();
            self.text.note_error(self.indexer.rest().err().map(|error| error.to_string()));
            self.tidy_up();
            return self.keep_later(cx);
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
                // Its files are checked, and all of its users looked at anew; others come first.
                self.turn = bucket + 1;
                self.make_all_due(bucket, cx.mono());
                self.pause(cx);
            }
        }
    }

    fn pause(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        self.state = State::Paused;
        cx.arm(WORK, PAUSE);
    }

    fn keep_later(&mut self, cx: &mut Cx<'_, ExtensionEffect>) {
        if !self.keeps && self.indexer.places_wait() {
            self.keeps = true;
            cx.arm(KEEP, self.text.limits().keep_places);
        }
    }

    /// Places that are in memory alone are made durable, unless there is something better to do.
    fn keep(&mut self) {
        if self.shelf.has_room() && !self.text.is_off() {
            let kept = self.indexer.keep_places();
            if let Err(error) = kept {
                self.text.note_error(Some(error.to_string()));
            }
        }
    }

    /// One after the other, and the same again while its users are left: nobody waits for ever, and a commit is for many.
    fn next_bucket(&self) -> Option<u16> {
        let all = || self.due.keys().chain(self.gone.keys()).copied();
        all().filter(|bucket| *bucket >= self.turn).min().or_else(|| all().min())
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
        let round = self.indexer.advance(&mut *self.shelf, bucket, &due)?;
        self.text.note_round(&round);
        self.turn = if round.left.is_empty() { bucket + 1 } else { bucket };
        if !round.left.is_empty() {
            due.retain(|user| !round.left.contains(user));
            self.due.insert(bucket, round.left);
        }
        Ok(due)
    }

    fn take(&mut self, cx: &mut Cx<'_, ExtensionEffect>, done: &BTreeSet<UserId>) {
        self.ordered &= done.is_empty();
        for user in done {
            self.since.remove(user);
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
        if self.text.is_off() {
            return cx.emit(ExtensionEffect::Take(batch.id));
        }
        if let Content::Events { events, up_to } = &batch.content {
            let bucket = self.bucket_of(user);
            let is_due = self.due.get(&bucket).is_some_and(|due| due.contains(&user));
            if events.is_empty() && !is_due {
                self.indexer.pass(bucket, user, *up_to);
                cx.emit(ExtensionEffect::Take(batch.id));
                return self.keep_later(cx);
            }
            let removed = events.iter().map(|event| match &event.change {
                EventChange::Vanished(uids) => uids.len(),
                EventChange::Arrived(_) | EventChange::Flagged(_) => 0,
            });
            self.indexer.note_removed(user, removed.sum());
        }
        self.indexer.note_given(user, batch.up_to());
        self.held.entry(user).or_default().push(batch.id);
        self.batches += 1;
        self.make_due(user, cx.mono());
        self.begin(cx);
    }

    fn on_gone(&mut self, cx: &mut Cx<'_, ExtensionEffect>, user: UserId) {
        let bucket = self.bucket_of(user);
        self.followed.remove(&user);
        self.batches -= self.held.remove(&user).map_or(0, |batches| batches.len());
        self.since.remove(&user);
        if let Some(due) = self.due.get_mut(&bucket) {
            due.remove(&user);
        }
        self.due.retain(|_, users| !users.is_empty());
        self.indexer.forget(bucket, user);
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
        let known = self.indexer.place(bucket, user);
        if let Some(place) = known {
            self.indexer.note_given(user, place);
        }
        cx.emit(ExtensionEffect::Recalled { user, known });
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
            KEEP => {
                self.keeps = false;
                match self.state {
                    // A commit takes them along, most likely.
                    State::Working => self.keep_later(cx),
                    State::Resting | State::Waiting | State::Paused => self.keep(),
                }
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
                if self.text.is_off() {
                    cx.emit(ExtensionEffect::Wished(Wish::Nothing));
                }
                self.open_closed(cx);
                cx.arm(LOOK, LOOK_EVERY);
                cx.arm(TIDY, TIDY_EVERY);
            }
            ExtensionInput::TimerFired(timer) => self.on_timer(cx, timer),
            ExtensionInput::Stopping => {
                self.indexer.let_go();
                self.keep();
            }
            ExtensionInput::Done { .. } => {}
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
