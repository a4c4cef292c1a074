//! The delivery queue: a message for several mailboxes is accepted as one, then delivered to each,
//! also after a crash.
//!
//! States of the queue: `Idle` (waits for the first input or a retry) -> `Claiming` -> `Scanning`
//! -> `Serving`; back to `Claiming` when another writer took over. States of an acceptance: see
//! [`pending`].
//! Invariants: `Accepted` is answered once the record is durable, a refusal only when none is; a
//! recipient is done when its master said so, and asked with the same delivery id until then; the
//! record goes when all are done. A repetition does no harm: the master remembers (delivery id,
//! recipient).
//! Absences: nothing is ever given up or bounced; it knows no folder, no quota and no protocol.

mod accept;
mod commit;
mod fan_out;
pub(crate) mod format;
mod limits;
mod pending;
#[cfg(test)]
mod tests;

pub use format::{Kind as EntryKind, read_blob, route};
pub use limits::Limits;

use crate::backoff::backoff;
use crate::face::{
    Acceptance, Completion, DeliveryDone, DeliveryId, DeliveryTask, LogEvent, SessionId,
    TaskRefusal, UserDone, UserId, UserTask,
};
use commit::{Commits, Settled};
use dds::{Claimed, Entry, Epoch, Request, Response, RouteKey, SortKey};
use fan_out::FanOut;
use format::{Head, Kind};
use fsm::{Cx, Digest, Machine, TimerKey, Token};
use pending::Pending;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Loading is tried again.
const TIMER_LOAD: TimerKey = TimerKey(1);
/// A batch of unknown outcome is asked again.
const TIMER_COMMIT: TimerKey = TimerKey(2);
/// Refused removals are tried again.
const TIMER_REMOVE: TimerKey = TimerKey(3);
/// The next delivery that had to wait is due.
const TIMER_RETRY: TimerKey = TimerKey(4);

/// Everything that can happen to the queue. The first input is `Resumed`: it begins to load.
#[derive(Debug)]
pub enum Input {
    Asked {
        from: SessionId,
        token: Token,
        task: DeliveryTask,
    },
    DdsDone {
        token: Token,
        response: Response,
    },
    /// A master has answered `AskUser`; `Err`: it did nothing.
    UserDone {
        token: Token,
        result: Result<UserDone, TaskRefusal>,
    },
    TimerFired(TimerKey),
    Resumed,
}

/// Everything the queue may ask.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    Answer {
        to: SessionId,
        token: Token,
        completion: Completion,
    },
    Dds {
        token: Token,
        request: Request,
    },
    /// Done: exactly one `UserDone`.
    AskUser {
        token: Token,
        user: UserId,
        task: UserTask,
    },
    Log(LogEvent),
}

/// Who waits for an acceptance.
type Asker = (SessionId, Token);

#[derive(Debug)]
enum State {
    Idle,
    Claiming { token: Token },
    Scanning(Scanning),
    Serving(Box<Commits>),
}

/// The acceptances that stand in the store are looked up.
#[derive(Debug)]
struct Scanning {
    token: Token,
    epoch: Epoch,
    /// Recipients that have the message; their entries sort before the heads.
    done: BTreeMap<DeliveryId, Vec<u32>>,
}

/// Pieces whose head was never written are looked for, once after every load.
#[derive(Debug)]
enum OrphanHunt {
    UnderWay(Token),
    Over,
}

/// The delivery queue of a node.
#[derive(Debug)]
pub struct Delivery {
    limits: Arc<Limits>,
    route: RouteKey,
    state: State,
    pending: BTreeMap<DeliveryId, Pending>,
    fan_out: FanOut,
    /// Acceptances whose blob is being renewed.
    renewals: BTreeMap<Token, (Asker, Acceptance)>,
    /// Acceptances that came before the queue was loaded.
    waiting: VecDeque<(Asker, Acceptance)>,
    /// Askers whose outcome only the next load can tell.
    unsettled: BTreeMap<DeliveryId, Asker>,
    orphans: OrphanHunt,
    bytes_held: usize,
    load_tries: u32,
}

impl Machine for Delivery {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Asked { from, token, task: DeliveryTask::Accept(acceptance) } => {
                self.begin_loading(cx);
                self.on_accept(cx, (from, token), acceptance);
            }
            Input::DdsDone { token, response } => self.on_dds_done(cx, token, response),
            Input::UserDone { token, result } => self.on_user_done(cx, token, result),
            Input::TimerFired(TIMER_LOAD) | Input::Resumed => self.begin_loading(cx),
            Input::TimerFired(TIMER_COMMIT) => self.with_commits(cx, |commits, cx, _| {
                commits.on_timer(cx);
            }),
            Input::TimerFired(TIMER_REMOVE) => self.with_commits(cx, |commits, cx, limits| {
                commits.on_remove_timer(cx, limits);
            }),
            Input::TimerFired(TIMER_RETRY) => {
                self.fan_out.wake(cx);
                self.pump(cx);
            }
            Input::TimerFired(TimerKey(_)) => {}
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match &self.state {
            State::Idle => digest.word(1),
            State::Claiming { token } => digest.word(token.0 ^ 2),
            State::Scanning(scanning) => digest.word(scanning.token.0 ^ 3),
            State::Serving(commits) => commits.digest(digest),
        }
        for (id, pending) in &self.pending {
            digest.bytes(&id.0.to_be_bytes());
            pending.digest(digest);
        }
        self.fan_out.digest(digest);
        for len in [self.renewals.len(), self.waiting.len(), self.unsettled.len(), self.bytes_held]
        {
            digest.word(len as u64);
        }
    }
}

impl Delivery {
    /// Queue number `queue`, unique among those of the cluster: it names the route.
    #[must_use]
    pub fn new(limits: Arc<Limits>, queue: u32) -> Self {
        Self {
            limits,
            route: format::route(queue),
            state: State::Idle,
            pending: BTreeMap::new(),
            fan_out: FanOut::default(),
            renewals: BTreeMap::new(),
            waiting: VecDeque::new(),
            unsettled: BTreeMap::new(),
            orphans: OrphanHunt::Over,
            bytes_held: 0,
            load_tries: 0,
        }
    }

    /// Acceptances that are not delivered to everybody yet.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.pending.len()
    }

    fn with_commits(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        act: impl FnOnce(&mut Commits, &mut Cx<'_, Effect>, &Limits),
    ) {
        if let State::Serving(commits) = &mut self.state {
            act(commits, cx, &self.limits);
        }
    }

    fn on_dds_done(&mut self, cx: &mut Cx<'_, Effect>, token: Token, response: Response) {
        if let Some((asker, acceptance)) = self.renewals.remove(&token) {
            return self.on_renewed(cx, asker, acceptance, &response);
        }
        if self.fan_out.is_reading(token) {
            return self.on_read(cx, token, response);
        }
        if matches!(self.orphans, OrphanHunt::UnderWay(hunt) if hunt == token) {
            return self.on_orphans(cx, response);
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Claiming { token: awaited } if awaited == token => self.on_claimed(cx, response),
            State::Scanning(scanning) if scanning.token == token => {
                self.on_scanned(cx, scanning, response);
            }
            State::Serving(mut commits) => {
                let settled = commits.on_response(cx, &self.limits, token, &response);
                self.state = State::Serving(commits);
                self.on_settled(cx, settled);
            }
            // A completion of an earlier attempt.
            other @ (State::Idle | State::Claiming { .. } | State::Scanning(_)) => {
                self.state = other;
            }
        }
    }

    fn on_settled(&mut self, cx: &mut Cx<'_, Effect>, settled: Settled) {
        match settled {
            Settled::Applied(items) => {
                for (id, kind) in items {
                    self.on_applied(cx, id, kind);
                }
            }
            Settled::Refused(items, reason) => {
                for (id, kind) in items {
                    self.on_refused(cx, (id, kind), reason);
                }
            }
            Settled::Lost(items) => return self.on_lost(cx, items),
            Settled::Pending => {}
        }
        self.with_commits(cx, |commits, cx, limits| commits.advance(cx, limits));
        self.pump(cx);
    }

    /// Another writer has the route, or the store lost our place: all is read again.
    fn on_lost(&mut self, cx: &mut Cx<'_, Effect>, items: Vec<(DeliveryId, commit::ItemKind)>) {
        let State::Serving(commits) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        trouble(cx, "another writer holds the queue; it is loaded again".to_owned());
        for (id, _) in items {
            if let Some(asker) = self.pending.get_mut(&id).and_then(Pending::take_asker) {
                self.unsettled.insert(id, asker);
            }
        }
        for (id, _) in commits.into_unsent() {
            let settled_later = self.unsettled.contains_key(&id);
            if let Some(asker) = self.pending.get_mut(&id).and_then(Pending::take_asker)
                && !settled_later
            {
                refuse(cx, asker, TaskRefusal::Unavailable);
            }
        }
        self.pending.clear();
        self.fan_out.clear();
        self.orphans = OrphanHunt::Over;
        self.bytes_held = 0;
        self.begin_loading(cx);
    }

    fn begin_loading(&mut self, cx: &mut Cx<'_, Effect>) {
        if matches!(self.state, State::Idle) {
            let token = cx.fresh_token();
            let route = self.route.clone();
            cx.emit(Effect::Dds { token, request: Request::Claim { route } });
            self.state = State::Claiming { token };
        }
    }

    fn load_later(&mut self, cx: &mut Cx<'_, Effect>, response: &Response) {
        self.load_tries = self.load_tries.saturating_add(1);
        if self.load_tries.is_power_of_two() {
            trouble(cx, format!("can't load, will try again: {response:?}"));
        }
        let range = (self.limits.store_retry_min, self.limits.store_retry_max);
        let wait = backoff(cx, range, self.load_tries);
        cx.arm(TIMER_LOAD, wait);
        self.state = State::Idle;
    }

    fn on_claimed(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        let Response::Claimed(Claimed { epoch, previous: _ }) = response else {
            return self.load_later(cx, &response);
        };
        self.pending.clear();
        let (from, _) = Kind::Done.range();
        self.scan(cx, from, Scanning { token: Token(0), epoch, done: BTreeMap::new() });
    }

    fn scan(&mut self, cx: &mut Cx<'_, Effect>, from: SortKey, scanning: Scanning) {
        let (_, to) = Kind::Head.range();
        let token = self.ask_page(cx, (from, to));
        self.state = State::Scanning(Scanning { token, ..scanning });
    }

    fn ask_page(&self, cx: &mut Cx<'_, Effect>, (from, to): (SortKey, SortKey)) -> Token {
        let token = cx.fresh_token();
        let request = Request::Scan {
            route: self.route.clone(),
            from,
            to,
            reverse: false,
            entries_max: self.limits.scan_page_entries,
        };
        cx.emit(Effect::Dds { token, request });
        token
    }

    fn on_scanned(&mut self, cx: &mut Cx<'_, Effect>, mut scanning: Scanning, response: Response) {
        let Response::Scanned { entries, more } = response else {
            return self.load_later(cx, &response);
        };
        let last = entries.last().map(|entry| behind(&entry.key));
        for entry in entries {
            let key = entry.key.clone();
            if let Err(what) = self.load(&mut scanning, entry) {
                trouble(cx, format!("entry {} can't be read: {what}", key.0.escape_ascii()));
            }
        }
        match last.filter(|_| more) {
            Some(from) => self.scan(cx, from, scanning),
            None => self.serve(cx, scanning.epoch),
        }
    }

    /// Takes over a head, or who is done; damaged ones stay where they are.
    fn load(&mut self, scanning: &mut Scanning, entry: Entry) -> Result<(), String> {
        let id = format::id_of(&entry.key).ok_or("no delivery id")?;
        if entry.key == format::key(Kind::Done, id) {
            let done = format::read_done(entry.value).map_err(|error| error.to_string())?;
            scanning.done.insert(id, done);
        } else if entry.key == format::key(Kind::Head, id) {
            let head = Head::read(entry.value).map_err(|error| error.to_string())?;
            let done = scanning.done.remove(&id).unwrap_or_default();
            self.pending.insert(id, Pending::stored(&head, &done));
        } else {
            return Err("no entry of an acceptance".to_owned());
        }
        Ok(())
    }

    fn serve(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch) {
        self.load_tries = 0;
        self.state = State::Serving(Box::new(Commits::new(self.route.clone(), epoch)));
        for (id, asker) in std::mem::take(&mut self.unsettled) {
            if self.pending.contains_key(&id) {
                accepted(cx, asker);
            } else {
                refuse(cx, asker, TaskRefusal::Unavailable);
            }
        }
        let stored: Vec<DeliveryId> = self.pending.keys().copied().collect();
        for id in stored {
            self.begin_fan_out(id);
            self.finish_if_done(id);
        }
        self.hunt_orphans(cx, Kind::Piece.range().0);
        for (asker, acceptance) in std::mem::take(&mut self.waiting) {
            self.on_accept(cx, asker, acceptance);
        }
        self.with_commits(cx, |commits, cx, limits| commits.advance(cx, limits));
        self.pump(cx);
    }

    fn hunt_orphans(&mut self, cx: &mut Cx<'_, Effect>, from: SortKey) {
        let (_, to) = Kind::Piece.range();
        self.orphans = OrphanHunt::UnderWay(self.ask_page(cx, (from, to)));
    }

    /// Pieces that belong to no acceptance, not even to one on its way, go.
    fn on_orphans(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        self.orphans = OrphanHunt::Over;
        // Refused: the next start looks again.
        let Response::Scanned { entries, more } = response else { return };
        let mut ids: Vec<DeliveryId> =
            entries.iter().filter_map(|entry| format::id_of(&entry.key)).collect();
        ids.dedup();
        for id in ids {
            if !self.pending.contains_key(&id) {
                self.remove_pieces(id);
            }
        }
        if let Some(last) = entries.last().filter(|_| more) {
            self.hunt_orphans(cx, behind(&last.key));
        }
        self.with_commits(cx, |commits, cx, limits| commits.advance(cx, limits));
    }
}

/// The first key behind `key`.
fn behind(key: &SortKey) -> SortKey {
    SortKey([&key.0[..], b"\0"].concat().into())
}

fn accepted(cx: &mut Cx<'_, Effect>, (to, token): Asker) {
    let completion = Completion::Delivery(DeliveryDone::Accepted);
    cx.emit(Effect::Answer { to, token, completion });
}

fn refuse(cx: &mut Cx<'_, Effect>, (to, token): Asker, reason: TaskRefusal) {
    cx.emit(Effect::Answer { to, token, completion: Completion::Refused(reason) });
}

fn trouble(cx: &mut Cx<'_, Effect>, what: String) {
    cx.emit(Effect::Log(LogEvent::Trouble { part: "delivery queue", user: None, what }));
}
