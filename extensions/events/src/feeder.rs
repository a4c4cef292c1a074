//! Follows the event logs of many mailboxes for one extension, during one life of it.
//!
//! A mailbox rests until its master says that it has events, or until what masters said may be lost. Then it is due: its log is
//! read, what is new is given as batches, and when all of them are taken the cursor in the store is moved, and the log is read
//! once more. So nothing is skipped whatever ends in between; a new feeder begins with every mailbox once, because wake-ups of
//! before were for another.
//!
//! States of a mailbox: at rest; due; at work (`Recalling` -> `Reading` -> `Giving` -> `Acknowledging` -> due or at rest; `Leaving`
//! -> at rest, while nothing is wanted); pausing after a refusal.
//! Invariants: a mailbox is at work once; so many are at once as the limits say; what is acknowledged was taken.
//! Absences: it does not know who takes the batches, or what for.

use crate::reading::{Piece, Reading, Turn};
use crate::roll::{Roll, Turnover};
use crate::{Batch, BatchId, Content, Kinds, Limits, Wish};
use dds::{DpMap, PartitionId};
use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey, Token};
use mailstore::face::{
    AdminDone, AdminTask, Completion, DirectoryDone, DirectoryTask, EventPage, EventTask, ModSeq,
    Scope, Subscriber, Task, UserDone, UserId, UserTask,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The directory is asked for accounts.
const TIMER_ROLL: TimerKey = TimerKey(1);
/// A mailbox that paused is due again.
const TIMER_PAUSE: TimerKey = TimerKey(2);

/// Which mailboxes of its scope a feeder follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of the cluster.
    Everywhere,
    /// Those whose masters are on this node; other nodes feed the others.
    Led,
}

/// Who knows up to where the extension knows a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The cursor in the store: what was taken once counts, on whatever node.
    Cursor,
    /// The extension, which is asked: what it knows is on the disk of one node.
    Own,
}

/// What a feeder is for.
#[derive(Clone, Debug)]
pub struct Setup {
    pub subscriber: Subscriber,
    pub scope: Scope,
    pub kinds: Kinds,
    pub reach: Reach,
    pub memory: Memory,
    pub map: DpMap,
    pub limits: Limits,
}

/// Why a mailbox is not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The account is gone, disabled, or not in scope any more.
    Removed,
    /// Another node leads it, and feeds it.
    Moved,
}

/// Everything that can happen to a [`Feeder`]. The first input is `Resumed`.
#[derive(Clone, Debug)]
pub enum Input {
    Resumed,
    /// The master of a mailbox has events for the subscriber.
    Stirred {
        user: UserId,
    },
    /// What masters of these partitions told may be lost.
    Unsure {
        partitions: BTreeSet<PartitionId>,
    },
    /// The partitions that this node leads; only with [`Reach::Led`].
    Led {
        partitions: BTreeSet<PartitionId>,
    },
    Taken {
        batch: BatchId,
    },
    Recalled {
        user: UserId,
        known: Option<ModSeq>,
    },
    /// The extension wants this from now on.
    Wished(Wish),
    /// The completion of `Ask`.
    Done {
        token: Token,
        completion: Completion,
    },
    TimerFired(TimerKey),
}

/// Everything a [`Feeder`] may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Done: exactly one `Done`. Always under the same session: who reads is woken under it.
    Ask { token: Token, task: Task },
    /// To be taken.
    Give(Batch),
    /// Only with [`Memory::Own`]: answered by `Recalled`.
    Recall { user: UserId },
    /// What was given of the mailbox need not be taken.
    Gone { user: UserId, why: Why },
    /// The mailbox keeps as many subscribers as it can: this one is not told of anything.
    Crowded { user: UserId },
}

/// How far an extension is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    pub mailboxes: u64,
    /// Mailboxes of which something may not have been dealt with.
    pub behind: u64,
    /// Since when the longest of them is.
    pub since: Option<Mono>,
    pub given: u64,
    pub taken: u64,
    pub resets: u64,
}

/// What happens to a mailbox.
#[derive(Debug)]
enum Work {
    Recalling,
    Reading {
        token: Token,
        reading: Reading,
    },
    /// `waiting`: not given yet; `given`: not taken yet.
    Giving {
        waiting: VecDeque<Batch>,
        given: BTreeSet<BatchId>,
        up_to: ModSeq,
    },
    Acknowledging {
        token: Token,
    },
    /// Its events are kept no more.
    Leaving {
        token: Token,
    },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Feeder {
    setup: Setup,
    wish: Wish,
    roll: Roll,
    roll_token: Option<Token>,
    rolled_at: Option<Mono>,
    due: VecDeque<UserId>,
    work: BTreeMap<UserId, Work>,
    /// Told of while at work.
    again: BTreeSet<UserId>,
    /// Until when those that were refused pause.
    pauses: BTreeMap<UserId, Mono>,
    /// Tries of those that were refused, until they succeed.
    tries: BTreeMap<UserId, u32>,
    /// Since when mailboxes are not at rest.
    since: BTreeMap<UserId, Mono>,
    asked: BTreeMap<Token, UserId>,
    given: BTreeMap<BatchId, UserId>,
    batches: u64,
    lag: Lag,
}

impl Machine for Feeder {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Resumed if !self.setup.limits.first_roll_call.is_zero() => {
                cx.arm(TIMER_ROLL, self.setup.limits.first_roll_call);
            }
            Input::Resumed | Input::TimerFired(TIMER_ROLL) => self.call_roll(cx),
            Input::Wished(wish) => self.on_wished(cx, wish),
            Input::Stirred { .. } | Input::Unsure { .. } if self.wish == Wish::Nothing => {}
            Input::Stirred { user } if self.roll.knows(user) => self.make_due(cx, user),
            Input::Stirred { .. } => self.call_roll_soon(cx),
            Input::Unsure { partitions } => {
                for user in self.roll.in_places(&partitions) {
                    self.make_due(cx, user);
                }
            }
            Input::Led { partitions } => {
                let turnover = self.roll.on_led(&self.setup, partitions);
                self.on_turnover(cx, turnover);
            }
            Input::Taken { batch } => self.on_taken(cx, batch),
            Input::Recalled { user, known } => {
                if matches!(self.work.get(&user), Some(Work::Recalling)) {
                    self.begin(cx, user, Some(known.unwrap_or(ModSeq(0))));
                }
            }
            Input::Done { token, completion } if self.roll_token == Some(token) => {
                self.on_roll(cx, completion);
            }
            Input::Done { token, completion } => {
                if let Some(user) = self.asked.remove(&token) {
                    self.on_done(cx, (user, token), completion);
                }
            }
            Input::TimerFired(_) => self.end_pauses(cx),
        }
        self.admit(cx);
    }

    fn digest(&self, digest: &mut Digest) {
        for count in [self.due.len(), self.work.len(), self.again.len(), self.pauses.len()] {
            digest.word(count as u64);
        }
        for user in self.work.keys().chain(&self.due) {
            digest.word(user.0);
        }
        digest.word(self.batches);
    }
}

impl Feeder {
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            wish: Wish::default(),
            roll: Roll::default(),
            roll_token: None,
            rolled_at: None,
            due: VecDeque::new(),
            work: BTreeMap::new(),
            again: BTreeSet::new(),
            pauses: BTreeMap::new(),
            tries: BTreeMap::new(),
            since: BTreeMap::new(),
            asked: BTreeMap::new(),
            given: BTreeMap::new(),
            batches: 0,
            lag: Lag::default(),
        }
    }

    /// How far the extension is.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag {
            mailboxes: self.roll.followers.len() as u64,
            behind: self.since.len() as u64,
            since: self.since.values().min().copied(),
            ..self.lag
        }
    }

    /// Nothing is due, at work or pausing, and the roll is known.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.since.is_empty() && self.roll_token.is_none() && self.rolled_at.is_some()
    }

    fn call_roll(&mut self, cx: &mut Cx<'_, Effect>) {
        cx.arm(TIMER_ROLL, self.setup.limits.roll_call);
        if self.roll_token.is_none() {
            let token = cx.fresh_token();
            self.roll_token = Some(token);
            let list = AdminTask::AccountList { domain: None };
            cx.emit(Effect::Ask { token, task: Task::Directory(DirectoryTask::Admin(list)) });
        }
    }

    /// Somebody is not known: a new account, most likely.
    fn call_roll_soon(&mut self, cx: &mut Cx<'_, Effect>) {
        let since = self.rolled_at.map_or(Duration::from_secs(3600), |at| cx.mono().since(at));
        let least = self.setup.limits.roll_call_min;
        if since >= least {
            self.call_roll(cx);
        } else {
            cx.arm(TIMER_ROLL, least - since);
        }
    }

    fn on_roll(&mut self, cx: &mut Cx<'_, Effect>, completion: Completion) {
        self.roll_token = None;
        match completion {
            Completion::Directory(DirectoryDone::Admin(AdminDone::Accounts(accounts))) => {
                self.rolled_at = Some(cx.mono());
                let turnover = self.roll.on_accounts(&self.setup, &accounts);
                self.on_turnover(cx, turnover);
            }
            _ => cx.arm(TIMER_ROLL, self.setup.limits.roll_call_min),
        }
    }

    fn on_turnover(&mut self, cx: &mut Cx<'_, Effect>, turnover: Turnover) {
        let Turnover { come, removed, moved } = turnover;
        for (users, why) in [(removed, Why::Removed), (moved, Why::Moved)] {
            for user in users {
                self.forget(user);
                cx.emit(Effect::Gone { user, why });
            }
        }
        come.into_iter().for_each(|user| self.make_due(cx, user));
    }

    /// Every mailbox begins anew, or is left.
    fn on_wished(&mut self, cx: &mut Cx<'_, Effect>, wish: Wish) {
        if wish == Wish::Events && self.rolled_at.is_none() {
            // Just after a start nobody is known yet, and somebody waits.
            self.call_roll(cx);
        }
        if std::mem::replace(&mut self.wish, wish) == wish {
            return;
        }
        for user in self.roll.followers.keys().copied().collect::<Vec<_>>() {
            self.forget(user);
            if let Some(follower) = self.roll.followers.get_mut(&user) {
                follower.begun = false;
            }
            self.make_due(cx, user);
        }
    }

    /// Nothing of the mailbox is under way any more. Completions that come late find nothing.
    fn forget(&mut self, user: UserId) {
        self.work.remove(&user);
        self.again.remove(&user);
        self.pauses.remove(&user);
        self.tries.remove(&user);
        self.since.remove(&user);
        self.asked.retain(|_, asked| *asked != user);
        self.given.retain(|_, given| *given != user);
    }

    fn make_due(&mut self, cx: &mut Cx<'_, Effect>, user: UserId) {
        if !self.roll.followers.contains_key(&user) {
            return;
        }
        if self.work.contains_key(&user) {
            self.again.insert(user);
        } else if let Entry::Vacant(since) = self.since.entry(user) {
            since.insert(cx.mono());
            self.due.push_back(user);
        }
    }

    /// Lets mailboxes begin, as far as the limits allow.
    fn admit(&mut self, cx: &mut Cx<'_, Effect>) {
        let most = (self.setup.limits.mailboxes_at_once, self.setup.limits.tasks_at_once);
        while self.work.len() < most.0 && self.asked.len() < most.1 {
            let Some(user) = self.due.pop_front() else { return };
            // It may have been forgotten, and come back, since it was queued.
            let is_due = self.since.contains_key(&user) && !self.pauses.contains_key(&user);
            if !is_due || self.work.contains_key(&user) {
                continue;
            }
            let begun = self.roll.followers.get(&user).is_some_and(|it| it.begun);
            match (self.wish, begun, self.setup.memory) {
                (Wish::Nothing, ..) => {
                    let token = self.ask_events(cx, user, EventTask::Unsubscribe);
                    self.work.insert(user, Work::Leaving { token });
                }
                (Wish::Events, true, _) => {
                    self.ask(cx, user, EventTask::Read { from: None }, Reading::default());
                }
                (Wish::Events, false, Memory::Cursor) => self.begin(cx, user, None),
                (Wish::Events, false, Memory::Own) => {
                    self.work.insert(user, Work::Recalling);
                    cx.emit(Effect::Recall { user });
                }
            }
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_, Effect>, user: UserId, known: Option<ModSeq>) {
        self.ask(cx, user, EventTask::Begin { known }, Reading::default());
    }

    fn ask(&mut self, cx: &mut Cx<'_, Effect>, user: UserId, task: EventTask, reading: Reading) {
        let token = self.ask_events(cx, user, task);
        self.work.insert(user, Work::Reading { token, reading });
    }

    fn ask_events(&mut self, cx: &mut Cx<'_, Effect>, user: UserId, task: EventTask) -> Token {
        let token = cx.fresh_token();
        let subscriber = self.setup.subscriber.clone();
        let task = Task::User { user, task: UserTask::Events { subscriber, task } };
        self.asked.insert(token, user);
        cx.emit(Effect::Ask { token, task });
        token
    }

    fn on_done(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (user, token): (UserId, Token),
        completion: Completion,
    ) {
        match (self.work.remove(&user), completion) {
            (Some(Work::Reading { token: asked, reading }), completion) if asked == token => {
                self.on_read(cx, user, reading, completion);
            }
            (Some(Work::Acknowledging { token: asked }), Completion::User(UserDone::Done))
                if asked == token =>
            {
                // Once more: what came since has woken nobody yet.
                self.ask(cx, user, EventTask::Read { from: None }, Reading::default());
            }
            (Some(Work::Leaving { token: asked }), Completion::User(UserDone::Done))
                if asked == token =>
            {
                self.rest(cx, user);
            }
            (
                Some(Work::Acknowledging { token: asked } | Work::Leaving { token: asked }),
                completion,
            ) if asked == token => self.on_refused(cx, user, &completion),
            (Some(work), _) => {
                self.work.insert(user, work);
            }
            (None, _) => {}
        }
    }

    fn on_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        user: UserId,
        mut reading: Reading,
        completion: Completion,
    ) {
        let page = match completion {
            Completion::User(UserDone::Events(page)) => page,
            other => return self.on_refused(cx, user, &other),
        };
        self.tries.remove(&user);
        if let Some(follower) = self.roll.followers.get_mut(&user) {
            follower.begun = true;
        }
        match page {
            EventPage::Reset { at } => {
                self.lag.resets += 1;
                let waiting = VecDeque::from([self.batch(user, Content::Reset { at })]);
                let given = BTreeSet::new();
                self.work.insert(user, Work::Giving { waiting, given, up_to: at });
            }
            EventPage::Page { events, next } => {
                let (kinds, limits) = (self.setup.kinds, &self.setup.limits);
                match reading.on_page((events, next), kinds, limits) {
                    Turn::On(place) => {
                        let task = EventTask::Read { from: Some(place) };
                        self.ask(cx, user, task, reading);
                    }
                    Turn::Nothing => self.rest(cx, user),
                    Turn::Whole { mut pieces, up_to } => {
                        // Who keeps its own place is told of every move of the cursor.
                        if pieces.is_empty() && self.setup.memory == Memory::Own {
                            pieces.push(Piece { events: Vec::new(), up_to });
                        }
                        let batches = pieces.into_iter().map(|Piece { events, up_to }| {
                            self.batch(user, Content::Events { events, up_to })
                        });
                        let (waiting, given) = (batches.collect(), BTreeSet::new());
                        self.work.insert(user, Work::Giving { waiting, given, up_to });
                    }
                }
            }
        }
        self.give(cx, user);
    }

    fn batch(&mut self, user: UserId, content: Content) -> Batch {
        self.batches += 1;
        let account = self.roll.followers.get(&user).map(|it| Arc::clone(&it.account));
        Batch { id: BatchId(self.batches), user, account: account.unwrap_or("".into()), content }
    }

    /// Gives what waits, as far as the limits allow; when nothing is left the cursor moves.
    fn give(&mut self, cx: &mut Cx<'_, Effect>, user: UserId) {
        let most = self.setup.limits.batches_given_max;
        let Some(Work::Giving { waiting, given, up_to }) = self.work.get_mut(&user) else { return };
        while self.given.len() < most
            && let Some(batch) = waiting.pop_front()
        {
            self.given.insert(batch.id, user);
            given.insert(batch.id);
            self.lag.given += 1;
            cx.emit(Effect::Give(batch));
        }
        if waiting.is_empty() && given.is_empty() {
            let up_to = *up_to;
            let token = self.ask_events(cx, user, EventTask::Acknowledge { up_to });
            self.work.insert(user, Work::Acknowledging { token });
        }
    }

    fn on_taken(&mut self, cx: &mut Cx<'_, Effect>, batch: BatchId) {
        let Some(user) = self.given.remove(&batch) else { return };
        self.lag.taken += 1;
        if let Some(Work::Giving { given, .. }) = self.work.get_mut(&user) {
            given.remove(&batch);
        }
        self.give(cx, user);
        let waits =
            |work: &Work| matches!(work, Work::Giving { waiting, .. } if !waiting.is_empty());
        let waiting = self.work.iter().find(|(_, work)| waits(work)).map(|(user, _)| *user);
        if let Some(user) = waiting {
            self.give(cx, user);
        }
    }

    fn rest(&mut self, cx: &mut Cx<'_, Effect>, user: UserId) {
        self.work.remove(&user);
        self.since.remove(&user);
        if self.again.remove(&user) {
            self.make_due(cx, user);
        }
    }

    /// It was not done, or what there is to do is not known here.
    fn on_refused(&mut self, cx: &mut Cx<'_, Effect>, user: UserId, completion: &Completion) {
        use mailstore::face::UserError;
        let wait = match completion {
            Completion::User(UserDone::Failed(UserError::Disabled)) => {
                // It comes back with the roll.
                self.rest(cx, user);
                if let Some(follower) = self.roll.followers.get_mut(&user) {
                    follower.begun = false;
                }
                return self.call_roll_soon(cx);
            }
            Completion::User(UserDone::Failed(UserError::Limit(_))) => {
                cx.emit(Effect::Crowded { user });
                self.setup.limits.pause_max
            }
            // As of a store that was restored: it does not know the subscriber.
            Completion::User(_) => {
                if let Some(follower) = self.roll.followers.get_mut(&user) {
                    follower.begun = false;
                }
                self.pause_of(user)
            }
            _ => self.pause_of(user),
        };
        let until = cx.mono().plus(wait);
        let tries = self.tries.get(&user).copied().unwrap_or(0);
        self.tries.insert(user, tries.saturating_add(1));
        self.pauses.insert(user, until);
        self.arm_pause(cx);
    }

    fn pause_of(&self, user: UserId) -> Duration {
        let tries = self.tries.get(&user).copied().unwrap_or(0);
        let pause = self.setup.limits.pause * 2_u32.pow(tries.min(16));
        pause.min(self.setup.limits.pause_max)
    }

    fn arm_pause(&self, cx: &mut Cx<'_, Effect>) {
        if let Some(next) = self.pauses.values().min().copied() {
            cx.arm(TIMER_PAUSE, next.since(cx.mono()));
        }
    }

    fn end_pauses(&mut self, cx: &mut Cx<'_, Effect>) {
        let now = cx.mono();
        let over = self.pauses.iter().filter(|(_, until)| **until <= now);
        for user in over.map(|(user, _)| *user).collect::<Vec<_>>() {
            self.pauses.remove(&user);
            self.due.push_back(user);
        }
        self.arm_pause(cx);
    }
}
