//! The blob collector (design section 5): renews every blob that somebody refers to, then deletes
//! what had expired before.
//!
//! While there is little room sweeps come as soon as they can, and take blobs for expired that were not renewed for
//! [`Limits::scarce_life`]: every sweep renews what is referred to, so the rest of a blob's life only spares uploads that nobody
//! has referred to yet.
//!
//! On its way past all users it wakes a few mailboxes, others each time: what they do by themselves, as expiry, is done also where
//! nobody ever comes.
//!
//! States: `Resting` -> `Renewing` (queues, then all users, page by page) -> `Collecting`
//! (partition by partition) -> `Resting`. Any error while renewing makes the sweep void: `Resting`,
//! and the next one starts over.
//! Invariants: nothing is deleted unless this very sweep renewed the references of every queue and
//! every user without error; what is deleted had expired before this sweep began, less the grace. A
//! blob that got its first reference after the sweep began was renewed then, so it is safe though
//! the sweep may have missed it.
//! Absences: no blob is deleted because somebody says it is garbage; nothing of a sweep outlives a
//! crash.

mod limits;
mod routes;
#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use routes::Referrer;

use crate::face::{LogEvent, UserId};
use dds::{BlobId, Entry, Outcome, PartitionId, Refusal, Request, Response, SortKey};
use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey, Token, Wall};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// The next sweep is due.
const TIMER_SWEEP: TimerKey = TimerKey(1);
/// The pause after a burst is over.
const TIMER_BURST: TimerKey = TimerKey(2);

/// Everything that can happen to the collector. The first input is `Resumed`: it waits for its
/// first sweep.
#[derive(Debug)]
pub enum Input {
    /// A page of the directory, in answer to `ListUsers`.
    Users(UsersPage),
    DdsDone {
        token: Token,
        response: Response,
    },
    /// On every change. Scarce: sweep now, unless a sweep is under way.
    RoomIs(Room),
    TimerFired(TimerKey),
    Resumed,
}

/// How much room the store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Ample,
    Scarce,
}

/// Users by rising id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersPage {
    pub token: Token,
    pub users: Vec<UserId>,
    /// There are users behind the last one.
    pub more: bool,
    /// Records that the directory could not read: users may be missing.
    pub missing: u64,
}

/// Everything the collector may ask.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Users behind `after`, by rising id. Done: `Users`.
    ListUsers {
        token: Token,
        after: Option<UserId>,
        users_max: usize,
    },
    Dds {
        token: Token,
        request: Request,
    },
    /// The mailbox of a user is to be loaded, and to keep house. Nothing comes of it here.
    Wake {
        user: UserId,
    },
    Log(LogEvent),
}

#[derive(Debug)]
enum State {
    /// Until the timer.
    Resting,
    Renewing(Renewing),
    Collecting(Collecting),
}

/// When a sweep began, and what it did.
#[derive(Clone, Copy, Debug)]
struct Tally {
    started_mono: Mono,
    /// What had expired before this goes.
    expired_before: Wall,
    renewed: u64,
    collected: u64,
}

#[derive(Debug)]
struct Renewing {
    tally: Tally,
    /// Still to be visited, of those known.
    referrers: VecDeque<Referrer>,
    users: Users,
    page: Page,
    /// Visits left in this burst.
    burst: u32,
    /// The rounds whose users are woken.
    wake: Range<u64>,
}

/// How far the directory has been read.
#[derive(Clone, Copy, Debug)]
enum Users {
    From(Option<UserId>),
    All,
}

#[derive(Debug)]
enum Page {
    /// Between two pages, or in the pause after a burst.
    None,
    Listing {
        token: Token,
    },
    Scanning {
        token: Token,
        referrer: Referrer,
    },
    /// `next`: the rest of the route, once all of this page is renewed.
    Renewals {
        left: Vec<BlobId>,
        asked: BTreeMap<Token, Renewal>,
        next: Option<(Referrer, SortKey)>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Renewal {
    blob: BlobId,
    tries: u32,
}

#[derive(Debug)]
struct Collecting {
    tally: Tally,
    partition: u16,
    asked: Option<Token>,
    burst: u32,
}

/// The collector of a node.
#[derive(Debug)]
pub struct Sweep {
    limits: Arc<Limits>,
    /// Numbers of all delivery queues.
    queues: Vec<u32>,
    partitions: u16,
    /// Blobs that were referred to and not there. In two sweeps that is a loss; in one, most often the reference was read a
    /// moment before its message was deleted.
    missing: BTreeSet<BlobId>,
    missing_before: BTreeSet<BlobId>,
    room: Room,
    /// The last round whose users were woken.
    woken: Option<u64>,
    state: State,
}

impl Machine for Sweep {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match (std::mem::replace(&mut self.state, State::Resting), input) {
            (State::Resting, Input::Resumed) => {
                let wait = self.limits.first_after;
                cx.arm(TIMER_SWEEP, wait);
            }
            (State::Resting, Input::TimerFired(TIMER_SWEEP)) => self.begin(cx),
            (State::Resting, Input::RoomIs(Room::Scarce)) => {
                self.room = Room::Scarce;
                self.begin(cx);
            }
            (state, Input::RoomIs(room)) => {
                self.room = room;
                self.state = state;
            }
            (State::Renewing(sweep), Input::Users(page)) => self.on_users(cx, sweep, page),
            (State::Renewing(sweep), Input::DdsDone { token, response }) => {
                self.on_renewing_done(cx, sweep, token, response);
            }
            (State::Renewing(sweep), Input::TimerFired(TIMER_BURST)) => match sweep.page {
                Page::None => self.visit(cx, Renewing { burst: 0, ..sweep }),
                Page::Listing { .. } | Page::Scanning { .. } | Page::Renewals { .. } => {
                    self.state = State::Renewing(sweep);
                }
            },
            (State::Collecting(sweep), Input::DdsDone { token, response }) => {
                self.on_collected(cx, sweep, token, &response);
            }
            (State::Collecting(sweep), Input::TimerFired(TIMER_BURST)) => match sweep.asked {
                None => self.collect(cx, Collecting { burst: 0, ..sweep }),
                Some(_) => self.state = State::Collecting(sweep),
            },
            // Completions of a void sweep, and timers that were on their way.
            (
                other,
                Input::Users(_)
                | Input::DdsDone { .. }
                | Input::TimerFired(TimerKey(_))
                | Input::Resumed,
            ) => self.state = other,
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match &self.state {
            State::Resting => digest.word(1),
            State::Renewing(sweep) => {
                digest.word(2);
                digest.word(sweep.tally.renewed);
                digest.word(sweep.referrers.len() as u64);
            }
            State::Collecting(sweep) => {
                digest.word(3);
                digest.word(u64::from(sweep.partition));
                digest.word(sweep.tally.collected);
            }
        }
    }
}

impl Sweep {
    /// A collector over the delivery queues `queues`, all users, and `partitions` partitions.
    #[must_use]
    pub fn new(limits: Arc<Limits>, queues: Vec<u32>, partitions: u16) -> Self {
        Self {
            limits,
            queues,
            partitions,
            missing: BTreeSet::new(),
            missing_before: BTreeSet::new(),
            room: Room::Ample,
            woken: None,
            state: State::Resting,
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_, Effect>) {
        let expired_before = self.expired_before(cx.wall());
        let tally = Tally { started_mono: cx.mono(), expired_before, renewed: 0, collected: 0 };
        let referrers = self.queues.iter().map(|&queue| Referrer::Queue(queue)).collect();
        let users = Users::From(None);
        let wake = self.rounds_to_wake(cx.wall());
        self.visit(cx, Renewing { tally, referrers, users, page: Page::None, burst: 0, wake });
    }

    /// The rounds from the last sweep on up to now: there is one for every time between two sweeps.
    fn rounds_to_wake(&mut self, now: Wall) -> Range<u64> {
        let every = u64::try_from(self.limits.every.as_millis()).unwrap_or(u64::MAX).max(1);
        let round = now.0.max(0).cast_unsigned() / every;
        let before = self.woken.replace(round);
        let first = before.map_or(round, |before| before.saturating_add(1));
        first.max(round.saturating_sub(self.limits.wake_rounds))..round.saturating_add(1)
    }

    fn wake(&self, cx: &mut Cx<'_, Effect>, rounds: &Range<u64>, referrer: Referrer) {
        let Referrer::User(user) = referrer else { return };
        let all = self.limits.wake_rounds.max(1);
        if rounds.clone().any(|round| round % all == user.0 % all) {
            cx.emit(Effect::Wake { user });
        }
    }

    /// The bound of a sweep that starts now. A blob lives for `blob_life` from its renewal on: what expires before the bound was
    /// not renewed for that long, or for `scarce_life`, and the grace. The sweep renews it if anybody refers to it.
    fn expired_before(&self, started: Wall) -> Wall {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let Limits { blob_life, scarce_life, grace, .. } = &*self.limits;
        let ahead = match self.room {
            Room::Ample => 0,
            Room::Scarce => millis(*blob_life).saturating_sub(millis(*scarce_life)).max(0),
        };
        Wall(started.0.saturating_sub(millis(*grace)).saturating_add(ahead))
    }

    /// The sweep is void: nothing is collected, the next one starts over.
    fn give_up(&mut self, cx: &mut Cx<'_, Effect>, what: String) {
        trouble(cx, format!("the sweep is void and starts over: {what}"));
        let wait = self.limits.again_after;
        cx.arm(TIMER_SWEEP, wait);
        self.state = State::Resting;
    }

    /// Goes on with the next referrer, the next page of users, or the collection.
    fn visit(&mut self, cx: &mut Cx<'_, Effect>, mut sweep: Renewing) {
        if sweep.burst >= self.limits.visits_per_burst {
            let pause = self.limits.burst_pause;
            cx.arm(TIMER_BURST, pause);
            self.state = State::Renewing(Renewing { page: Page::None, ..sweep });
            return;
        }
        sweep.burst += 1;
        if let Some(referrer) = sweep.referrers.pop_front() {
            self.wake(cx, &sweep.wake, referrer);
            return self.scan(cx, sweep, (referrer, referrer.references().0));
        }
        match sweep.users {
            Users::From(after) => {
                let token = cx.fresh_token();
                let users_max = self.limits.users_per_page;
                cx.emit(Effect::ListUsers { token, after, users_max });
                sweep.page = Page::Listing { token };
                self.state = State::Renewing(sweep);
            }
            Users::All => {
                let tally = sweep.tally;
                self.collect(cx, Collecting { tally, partition: 0, asked: None, burst: 0 });
            }
        }
    }

    fn on_users(&mut self, cx: &mut Cx<'_, Effect>, mut sweep: Renewing, page: UsersPage) {
        if !matches!(sweep.page, Page::Listing { token } if token == page.token) {
            self.state = State::Renewing(sweep);
            return;
        }
        if page.missing > 0 {
            let missing = page.missing;
            return self.give_up(cx, format!("{missing} records of the directory can't be read"));
        }
        sweep.users = match page.users.last() {
            Some(&last) if page.more => Users::From(Some(last)),
            Some(_) | None => Users::All,
        };
        sweep.referrers.extend(page.users.into_iter().map(Referrer::User));
        self.visit(cx, sweep);
    }

    fn scan(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut sweep: Renewing,
        (referrer, from): (Referrer, SortKey),
    ) {
        let token = cx.fresh_token();
        let request = Request::Scan {
            route: referrer.route(),
            from,
            to: referrer.references().1,
            reverse: false,
            entries_max: self.limits.references_per_page,
        };
        cx.emit(Effect::Dds { token, request });
        sweep.page = Page::Scanning { token, referrer };
        self.state = State::Renewing(sweep);
    }

    fn on_renewing_done(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut sweep: Renewing,
        token: Token,
        response: Response,
    ) {
        match sweep.page {
            Page::Scanning { token: awaited, referrer } if awaited == token => {
                self.on_scanned(cx, sweep, referrer, response);
            }
            Page::Renewals { left, mut asked, next } => match asked.remove(&token) {
                Some(renewal) => {
                    sweep.page = Page::Renewals { left, asked, next };
                    self.on_renewed(cx, sweep, renewal, &response);
                }
                None => {
                    sweep.page = Page::Renewals { left, asked, next };
                    self.state = State::Renewing(sweep);
                }
            },
            page @ (Page::None | Page::Listing { .. } | Page::Scanning { .. }) => {
                sweep.page = page;
                self.state = State::Renewing(sweep);
            }
        }
    }

    fn on_scanned(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut sweep: Renewing,
        referrer: Referrer,
        response: Response,
    ) {
        let Response::Scanned { entries, more } = response else {
            return self.give_up(cx, format!("{referrer:?} can't be read: {response:?}"));
        };
        let next = entries.last().filter(|_| more).map(|last| (referrer, behind(&last.key)));
        let blobs = entries.into_iter().map(|Entry { value, .. }| referrer.blob_of(value));
        match blobs.collect::<Result<Vec<BlobId>, _>>() {
            Ok(left) => {
                sweep.page = Page::Renewals { left, asked: BTreeMap::new(), next };
                self.renew(cx, sweep);
            }
            Err(error) => {
                self.give_up(cx, format!("a reference of {referrer:?} can't be read: {error}"));
            }
        }
    }

    /// Keeps renewals under way; goes on when the page is done.
    fn renew(&mut self, cx: &mut Cx<'_, Effect>, mut sweep: Renewing) {
        let Page::Renewals { mut left, mut asked, next } = sweep.page else {
            self.state = State::Renewing(sweep);
            return;
        };
        while asked.len() < self.limits.renewals_max {
            let Some(blob) = left.pop() else { break };
            let token = self.ask_renewal(cx, blob);
            asked.insert(token, Renewal { blob, tries: 1 });
        }
        if !asked.is_empty() {
            sweep.page = Page::Renewals { left, asked, next };
            self.state = State::Renewing(sweep);
            return;
        }
        sweep.page = Page::None;
        match next {
            Some(next) => self.scan(cx, sweep, next),
            None => self.visit(cx, sweep),
        }
    }

    fn ask_renewal(&self, cx: &mut Cx<'_, Effect>, blob: BlobId) -> Token {
        let token = cx.fresh_token();
        let expires = cx.wall().plus(self.limits.blob_life);
        cx.emit(Effect::Dds { token, request: Request::RenewBlob { blob, expires } });
        token
    }

    fn on_renewed(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut sweep: Renewing,
        renewal: Renewal,
        response: &Response,
    ) {
        let Renewal { blob, tries } = renewal;
        match response {
            Response::Wrote(Outcome::Committed { version: _ }) => sweep.tally.renewed += 1,
            Response::Wrote(Outcome::Unknown) if tries < self.limits.renewal_tries_max => {
                let token = self.ask_renewal(cx, blob);
                if let Page::Renewals { left: _, asked, next: _ } = &mut sweep.page {
                    asked.insert(token, Renewal { blob, tries: tries + 1 });
                }
            }
            // Nothing to keep alive.
            Response::Wrote(Outcome::Refused(Refusal::PreconditionFailed { index: _ })) => {
                if self.missing_before.contains(&blob) {
                    trouble(cx, format!("blob {:032x} is referred to, but not there", blob.0));
                }
                if self.missing.len() < self.limits.missing_max {
                    self.missing.insert(blob);
                }
            }
            Response::Wrote(Outcome::Refused(_) | Outcome::Unknown)
            | Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. }
            | Response::Refused(_) => {
                let what = format!("blob {:032x} can't be renewed: {response:?}", blob.0);
                return self.give_up(cx, what);
            }
        }
        self.renew(cx, sweep);
    }

    /// Every reference was renewed: what had expired before goes.
    fn collect(&mut self, cx: &mut Cx<'_, Effect>, mut sweep: Collecting) {
        if sweep.partition >= self.partitions {
            return self.rest(cx, sweep.tally);
        }
        if sweep.burst >= self.limits.visits_per_burst {
            let pause = self.limits.burst_pause;
            cx.arm(TIMER_BURST, pause);
            self.state = State::Collecting(Collecting { asked: None, ..sweep });
            return;
        }
        sweep.burst += 1;
        let token = cx.fresh_token();
        let request = Request::CollectBlobs {
            partition: PartitionId(sweep.partition),
            expired_before: sweep.tally.expired_before,
            blobs_max: self.limits.blobs_per_collection,
        };
        cx.emit(Effect::Dds { token, request });
        sweep.asked = Some(token);
        self.state = State::Collecting(sweep);
    }

    fn on_collected(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        mut sweep: Collecting,
        token: Token,
        response: &Response,
    ) {
        if sweep.asked != Some(token) {
            self.state = State::Collecting(sweep);
            return;
        }
        sweep.asked = None;
        let more = match response {
            Response::Collected { blobs, more } => {
                sweep.tally.collected += *blobs as u64;
                *more && *blobs > 0
            }
            Response::Claimed(_)
            | Response::Wrote(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Refused(_) => {
                let partition = sweep.partition;
                trouble(cx, format!("partition {partition} can't be collected now: {response:?}"));
                false
            }
        };
        if !more {
            sweep.partition += 1;
        }
        self.collect(cx, sweep);
    }

    fn rest(&mut self, cx: &mut Cx<'_, Effect>, tally: Tally) {
        self.missing_before = std::mem::take(&mut self.missing);
        let elapsed = cx.mono().since(tally.started_mono);
        cx.emit(Effect::Log(LogEvent::Swept {
            blobs_renewed: tally.renewed,
            blobs_collected: tally.collected,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        }));
        let wait = match self.room {
            Room::Ample => self.limits.every,
            Room::Scarce => self.limits.again_after,
        };
        cx.arm(TIMER_SWEEP, wait);
        self.state = State::Resting;
    }
}

/// The first key behind `key`.
fn behind(key: &SortKey) -> SortKey {
    SortKey([&key.0[..], b"\0"].concat().into())
}

fn trouble(cx: &mut Cx<'_, Effect>, what: String) {
    cx.emit(Effect::Log(LogEvent::Trouble { part: "blob collector", user: None, what }));
}
