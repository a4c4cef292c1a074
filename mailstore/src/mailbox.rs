//! The master of one user: the heart of the MailStore.
//!
//! It holds the user's index in memory, alone assigns UID and MODSEQ, writes every change through to the hash table in one
//! batch, and shows a change to sessions when that batch is committed, never before.
//!
//! States: `Dormant` -> `Claiming` -> `Loading` -> `Ready`; `Ready` -> `Dormant` when another master took over or an outcome
//! can't be known; `Erasing` -> `Erased` when the account is removed.
//!
//! Invariants, each kept in one file: batches take effect in the order of their numbers ([`pipeline`]); replaying the log
//! twice does nothing ([`format`]); a row is committed state ([`index`]); at most one change that depends on rows is under
//! way ([`core`]); a body goes after its last reference and its last reader ([`removal`]).
//!
//! Absences: nothing here knows message sequence numbers, wire syntax, other users, or where the partition runs.

mod append;
mod burial;
mod change;
mod columns;
mod copy;
mod core;
mod criteria;
mod deliver;
pub(crate) mod events;
mod expire;
mod expunge;
mod fetch;
mod filing;
mod fold;
mod folder;
mod folders;
pub mod format;
mod gathered;
mod house;
mod index;
mod limits;
mod load;
mod load_user;
mod machine;
mod maildrop;
mod matching;
mod memory;
mod pack;
mod pipeline;
mod reading;
mod records;
mod removal;
mod replace;
mod restored;
mod search;
mod section;
mod service;
mod settle;
mod show;
mod store;
mod transform;
mod watch;

use crate::face::{
    AccountFacts, LogEvent, Notice, SessionId, Subscriber, TaskRefusal, UserDone, UserError,
    UserId, UserTask,
};
use change::Asker;
use core::Core;
use dds::{Claimed, Epoch, Outcome, Request, Response, RouteKey};
use fsm::{Cx, Digest, Machine, TimerKey, Token};
use load_user::UserLoading;
use std::collections::VecDeque;
use std::sync::Arc;

pub use format::keys::{route, user_of};
pub use limits::Limits;
pub use machine::{Effect, Input};
pub use matching::{
    BodyIndex, BodyReader, BodyTest, Fetched, Known, MatchBody, MatchHits, MatchJob, NoIndex,
    TESTS_MAX, TextRead, Want, read_text,
};
pub use restored::Restored;

/// Asks again for unknown outcomes.
const SETTLE_TIMER: TimerKey = TimerKey(1);
/// Says that the machine may be dropped.
const IDLE_TIMER: TimerKey = TimerKey(2);
/// Housekeeping goes on after a refusal.
const HOUSE_TIMER: TimerKey = TimerKey(3);

/// Mail may have expired.
const EXPIRY_TIMER: TimerKey = TimerKey(4);

/// A task that can't be done yet.
#[derive(Debug)]
pub struct Waiting {
    asker: Asker,
    task: UserTask,
    blob: BlobLife,
}

/// Whether the blob of a task was renewed before metadata refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BlobLife {
    AsFound,
    Renewed,
}

/// The master of one user.
#[derive(Debug)]
pub struct Mailbox {
    user: UserId,
    limits: Arc<Limits>,
    route: RouteKey,
    restored: Restored,
    /// `None`: not told yet. Without it no quota can be judged, so that tasks wait for it.
    account: Option<AccountFacts>,
    state: State,
    /// Tasks until `Ready`, and until the account is known.
    waiting: VecDeque<Waiting>,
    /// Once loaded, the rows of INBOX are loaded too.
    expected: bool,
}

#[derive(Debug)]
enum State {
    Dormant,
    Claiming {
        token: Token,
        then: Then,
    },
    Loading(Box<UserLoading>),
    Ready(Box<Core>),
    /// Deletes all there is; `step` counts the ranges done.
    Erasing {
        token: Token,
        epoch: Epoch,
    },
    Erased,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Load,
    Erase,
}

impl Mailbox {
    /// The master of `user`; reads and writes nothing before the first task.
    #[must_use]
    pub fn new(user: UserId, limits: Arc<Limits>) -> Self {
        Self {
            user,
            limits,
            route: format::keys::route(user),
            restored: Restored::default(),
            account: None,
            state: State::Dormant,
            waiting: VecDeque::new(),
            expected: false,
        }
    }

    /// In a store that was made of a backup.
    #[must_use]
    pub fn restored(self, restored: Restored) -> Self {
        Self { restored, ..self }
    }

    /// Bytes of memory, about: for eviction.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let own = size_of::<Self>() + self.waiting.len() * size_of::<Waiting>();
        match &self.state {
            State::Ready(core) => own + core.memory_bytes(),
            State::Dormant
            | State::Claiming { .. }
            | State::Loading(_)
            | State::Erasing { .. }
            | State::Erased => own,
        }
    }

    /// Whether the records of the user are in memory.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Whether dropping the machine loses nothing: no task, watch or batch is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Ready(core) => core.is_idle() && self.waiting.is_empty(),
            State::Dormant | State::Erased => self.waiting.is_empty(),
            State::Claiming { .. } | State::Loading(_) | State::Erasing { .. } => false,
        }
    }

    fn on_asked(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, task: UserTask) {
        let waiting = Waiting { asker, task, blob: BlobLife::AsFound };
        match &mut self.state {
            State::Ready(core) if self.account.is_some() => core.on_task(cx, waiting),
            State::Claiming { then: Then::Erase, .. } | State::Erasing { .. } | State::Erased => {
                answer(cx, asker, Ok(UserDone::Failed(UserError::Disabled)));
            }
            State::Dormant
            | State::Claiming { then: Then::Load, .. }
            | State::Loading(_)
            | State::Ready(_) => {
                if self.waiting.len() >= self.limits.waiting_tasks_max {
                    return answer(cx, asker, Err(TaskRefusal::Overloaded));
                }
                self.waiting.push_back(waiting);
                if matches!(self.state, State::Dormant) {
                    self.claim(cx, Then::Load);
                }
            }
        }
    }

    fn claim(&mut self, cx: &mut Cx<'_, Effect>, then: Then) {
        let token = cx.fresh_token();
        cx.emit(Effect::Dds { token, request: Request::Claim { route: self.route.clone() } });
        self.state = State::Claiming { token, then };
    }

    fn on_dds(&mut self, cx: &mut Cx<'_, Effect>, token: Token, response: Response) {
        match std::mem::replace(&mut self.state, State::Dormant) {
            State::Claiming { token: asked, then } if asked == token => {
                self.on_claimed(cx, then, response);
            }
            State::Loading(loading) if loading.token == token => {
                self.on_loaded(cx, loading, response);
            }
            State::Erasing { token: asked, epoch } if asked == token => {
                self.on_erased(cx, epoch, response);
            }
            State::Ready(mut core) => {
                core.on_dds(cx, token, response);
                self.state = State::Ready(core);
            }
            // The completion of an earlier life of this machine.
            state @ (State::Claiming { .. }
            | State::Loading(_)
            | State::Erasing { .. }
            | State::Dormant
            | State::Erased) => self.state = state,
        }
    }

    fn on_claimed(&mut self, cx: &mut Cx<'_, Effect>, then: Then, response: Response) {
        let refusal = match response {
            Response::Claimed(Claimed { epoch, previous: _ }) => {
                return match then {
                    Then::Load => {
                        let loading = UserLoading::begin(cx, &self.route, epoch);
                        self.state = State::Loading(Box::new(loading));
                    }
                    Then::Erase => self.erase(cx, epoch),
                };
            }
            Response::Refused(refusal) | Response::Wrote(Outcome::Refused(refusal)) => {
                pipeline::refusal_of(&refusal)
            }
            Response::Wrote(Outcome::Unknown | Outcome::Committed { .. })
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => TaskRefusal::Unavailable,
        };
        match then {
            Then::Load => self.refuse_load(cx, refusal),
            // Nobody waits; the order stands until it is done.
            Then::Erase => {
                cx.arm(SETTLE_TIMER, self.limits.settle_pause * 16);
                self.state = State::Claiming { token: Token(0), then };
            }
        }
    }

    fn on_loaded(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        loading: Box<UserLoading>,
        response: Response,
    ) {
        match loading.on_page(cx, &self.route, response) {
            Ok(load_user::UserLoaded::More(loading)) => self.state = State::Loading(loading),
            Ok(load_user::UserLoaded::All(loaded)) => {
                let context = core::Context {
                    user: self.user,
                    limits: Arc::clone(&self.limits),
                    route: self.route.clone(),
                    restored: self.restored,
                    account: self.account.clone(),
                };
                let mut core = Box::new(Core::new(context, *loaded));
                core.begin(cx);
                core.stir_if_behind(cx);
                if std::mem::take(&mut self.expected) {
                    core.load_inbox(cx);
                }
                self.state = State::Ready(core);
                self.serve_waiting(cx);
            }
            Err(refusal) => self.refuse_load(cx, refusal),
        }
    }

    fn on_expected(&mut self, cx: &mut Cx<'_, Effect>) {
        match &mut self.state {
            State::Ready(core) => core.load_inbox(cx),
            State::Dormant => {
                self.expected = true;
                self.claim(cx, Then::Load);
            }
            State::Claiming { .. } | State::Loading(_) => self.expected = true,
            State::Erasing { .. } | State::Erased => {}
        }
    }

    /// Does what waited, once the mailbox is loaded and the account is known.
    fn serve_waiting(&mut self, cx: &mut Cx<'_, Effect>) {
        if let (State::Ready(core), Some(account)) = (&mut self.state, &self.account) {
            if !account.is_removed() {
                core.found_if_new(cx);
            }
            for waiting in std::mem::take(&mut self.waiting) {
                core.on_task(cx, waiting);
            }
        }
    }

    fn on_account(&mut self, cx: &mut Cx<'_, Effect>, facts: AccountFacts) {
        if let State::Ready(core) = &mut self.state {
            core.on_account(cx, facts.clone());
        }
        self.account = Some(facts);
        self.serve_waiting(cx);
    }

    /// The records can't be read now, or not at all.
    fn refuse_load(&mut self, cx: &mut Cx<'_, Effect>, refusal: TaskRefusal) {
        if refusal == TaskRefusal::Damaged {
            let what = format!("the records of user {} are damaged", self.user);
            let user = Some(self.user);
            cx.emit(Effect::Log(LogEvent::Trouble { part: "mailbox", user, what }));
        }
        self.refuse_waiting(cx, refusal);
    }

    fn refuse_waiting(&mut self, cx: &mut Cx<'_, Effect>, refusal: TaskRefusal) {
        self.state = State::Dormant;
        for waiting in std::mem::take(&mut self.waiting) {
            answer(cx, waiting.asker, Err(refusal));
        }
    }

    /// Another master took over, or it can't be known what applied: everything is forgotten and loaded again when asked for.
    fn forget_when_lost(&mut self, cx: &mut Cx<'_, Effect>) {
        if let State::Ready(core) = &mut self.state
            && core.is_lost()
        {
            core.abandon(cx, Notice::MasterChanged, Err(TaskRefusal::Unavailable));
            // What became of the last changes is not known here: who follows them looks.
            let subscribers: Vec<Subscriber> = core.events.cursors.keys().cloned().collect();
            if !subscribers.is_empty() {
                cx.emit(Effect::Stirred { subscribers });
            }
            self.refuse_waiting(cx, TaskRefusal::Unavailable);
        }
    }

    /// The partition of the user is led elsewhere.
    fn on_ceased(&mut self, cx: &mut Cx<'_, Effect>) {
        if let State::Ready(core) = &mut self.state {
            core.abandon(cx, Notice::MasterChanged, Err(TaskRefusal::Unavailable));
        }
        self.refuse_waiting(cx, TaskRefusal::Unavailable);
    }

    fn on_erase(&mut self, cx: &mut Cx<'_, Effect>) {
        match std::mem::replace(&mut self.state, State::Dormant) {
            State::Ready(mut core) => {
                let reason = "the account was removed";
                core.abandon(
                    cx,
                    Notice::Kicked { reason: reason.into() },
                    Ok(UserDone::Failed(UserError::Disabled)),
                );
                self.refuse_waiting(cx, TaskRefusal::Unavailable);
                self.claim(cx, Then::Erase);
            }
            State::Dormant | State::Claiming { then: Then::Load, .. } | State::Loading(_) => {
                self.refuse_waiting(cx, TaskRefusal::Unavailable);
                self.claim(cx, Then::Erase);
            }
            state @ (State::Erasing { .. } | State::Claiming { then: Then::Erase, .. }) => {
                self.state = state;
            }
            State::Erased => {
                self.state = State::Erased;
                cx.emit(Effect::Erased { user: self.user });
            }
        }
    }

    /// A batch of a new epoch, so that nothing of an earlier one can follow it.
    fn erase(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch) {
        let ops = format::keys::everything().map(|(from, to)| dds::Op::DeleteRange { from, to });
        let writer = Some(dds::Writer { epoch, seq: dds::Seq(1) });
        let batch = dds::Batch {
            route: self.route.clone(),
            writer,
            preconditions: Vec::new(),
            makes_way: false,
            ops: ops.into(),
        };
        let token = cx.fresh_token();
        cx.emit(Effect::Dds { token, request: Request::Write(batch) });
        self.state = State::Erasing { token, epoch };
    }

    fn on_erased(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch, response: Response) {
        match response {
            Response::Wrote(Outcome::Committed { .. }) => {
                self.state = State::Erased;
                cx.emit(Effect::Erased { user: self.user });
            }
            // Asked again under the same number; a fence means a new claim.
            Response::Wrote(Outcome::Unknown | Outcome::Refused(_))
            | Response::Refused(_)
            | Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => {
                cx.arm(SETTLE_TIMER, self.limits.settle_pause * 16);
                self.state = State::Erasing { token: Token(0), epoch };
            }
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Effect>, key: TimerKey) {
        match &mut self.state {
            State::Ready(core) if key == SETTLE_TIMER => core.on_settle_timer(cx),
            State::Ready(core) if key == HOUSE_TIMER => core.on_house_timer(),
            State::Ready(core) if key == EXPIRY_TIMER => core.on_expiry_timer(cx),
            State::Ready(core) if key == IDLE_TIMER => core.on_idle_timer(cx),
            // Only an erasure that was refused has no token.
            State::Erasing { token: Token(0), .. }
            | State::Claiming { token: Token(0), then: Then::Erase } => {
                self.claim(cx, Then::Erase);
            }
            State::Ready(_)
            | State::Dormant
            | State::Claiming { .. }
            | State::Loading(_)
            | State::Erasing { .. }
            | State::Erased => {}
        }
    }

    fn on_session_gone(&mut self, cx: &mut Cx<'_, Effect>, session: SessionId) {
        if let State::Ready(core) = &mut self.state {
            core.on_session_gone(cx, session);
        }
        // Mail that a session handed over goes in all the same; what it wanted for itself must not outlive it.
        let (orphans, rest): (VecDeque<Waiting>, VecDeque<Waiting>) =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|waiting| service::is_own(waiting, session));
        self.waiting = rest;
        for orphan in orphans {
            answer(cx, orphan.asker, Err(TaskRefusal::Unavailable));
        }
    }
}

impl Machine for Mailbox {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Asked { from, token, task } => {
                let asker = Asker { session: from, token, since: cx.mono() };
                self.on_asked(cx, asker, task);
            }
            Input::DdsDone { token, response } => self.on_dds(cx, token, response),
            Input::AccountIs(facts) => self.on_account(cx, facts),
            Input::Expected => self.on_expected(cx),
            Input::SessionGone { session } => self.on_session_gone(cx, session),
            Input::Matched { token, hits } => {
                if let State::Ready(core) = &mut self.state {
                    core.on_matched(cx, token, hits);
                }
            }
            Input::EraseAll => self.on_erase(cx),
            Input::Ceased => self.on_ceased(cx),
            Input::TimerFired(key) => self.on_timer(cx, key),
            Input::Resumed => {
                if let State::Ready(core) = &mut self.state {
                    core.resume_sections(cx);
                    core.resume_searches(cx);
                }
            }
        }
        if let State::Ready(core) = &mut self.state {
            core.pump(cx);
        }
        self.forget_when_lost(cx);
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.user.0);
        digest.word(self.waiting.len() as u64);
        match &self.state {
            State::Dormant => digest.word(0),
            State::Claiming { token, then } => {
                digest.word(1);
                digest.word(token.0);
                digest.word(u64::from(*then == Then::Erase));
            }
            State::Loading(loading) => {
                digest.word(2);
                digest.word(loading.token.0);
            }
            State::Ready(core) => {
                digest.word(3);
                core.digest(digest);
            }
            State::Erasing { token, epoch } => {
                digest.word(4);
                digest.word(token.0);
                digest.word(epoch.0);
            }
            State::Erased => digest.word(5),
        }
    }
}

/// Answers a task.
fn answer(cx: &mut Cx<'_, Effect>, asker: Asker, done: Result<UserDone, TaskRefusal>) {
    cx.emit(Effect::Answer { to: asker.session, token: asker.token, done });
}

/// Answers a task that can't be done.
fn fail(cx: &mut Cx<'_, Effect>, asker: Asker, error: UserError) {
    answer(cx, asker, Ok(UserDone::Failed(error)));
}

#[cfg(test)]
pub(crate) mod tests;
