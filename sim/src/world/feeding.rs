//! An extension that is fed: it ends at any moment, begins again at any node, and what it knows of every mailbox from batches and
//! looks alone is in the end what the mailbox holds.
//!
//! What it knows it keeps durably, before it takes a batch; between the two it may end.

use super::{Event, Life, Phase, World, wires};
use crate::failure::Failure;
use crate::invariants::Judged;
use crate::options::Mutation;
use events::{Batch, BatchId, Content, Effect, Feeder, Input, Kinds, Limits, Memory, Reach, Setup};
use fsm::{Budget, Duration, Host, Mono, Stepped, TimerKey, TimerOp, Token};
use mailstore::face::{
    Completion, Criteria, EventChange, FolderId, FolderInfo, FolderKind, Scope, Subscriber, Task,
    UserDone, UserError, UserId, UserTask,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use vspace::{GroupId, Inward, SessionId, Wake};

/// UIDs by folder.
type Known = BTreeMap<FolderId, BTreeSet<u32>>;

/// What the extension is to do next.
#[derive(Debug)]
pub(super) enum Chore {
    Timer {
        key: TimerKey,
        at: u64,
    },
    /// It deals with the batches it was given.
    Work,
    /// It ends.
    End,
    /// It begins, at some node.
    Begin,
}

/// One life of it.
#[derive(Debug)]
struct Living {
    number: u64,
    home: Life,
    session: SessionId,
    feeder: Feeder,
    host: Host,
    timers: BTreeMap<TimerKey, u64>,
    inbox: VecDeque<Batch>,
    look: Option<Look>,
    /// What the last batch of each mailbox told last: later ones come behind it, unless they come again.
    works: bool,
}

/// It looks at a mailbox anew.
#[derive(Debug)]
struct Look {
    batch: BatchId,
    user: UserId,
    token: Token,
    folders: VecDeque<FolderId>,
    known: Known,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Feeding {
    living: Option<Box<Living>>,
    lives: u64,
    tokens: u64,
    /// What it keeps durably.
    known: BTreeMap<UserId, Known>,
}

/// Mean time between two ends of it, in virtual milliseconds.
const LIFE_MS: u64 = 3_000;
/// Virtual time in which it must have caught up once nothing goes wrong.
const CATCH_UP_NANOS: u64 = 300 * 1_000_000_000;
/// Tokens of what it asks itself begin here; those of feeders are small.
const OWN_TOKENS: u64 = 1 << 50;

impl World {
    /// The extension begins to follow.
    pub(super) fn begin_feeding(&mut self) {
        self.schedule.after(1_000_000, Event::Extension { life: 0, chore: Chore::Begin });
    }

    pub(super) fn on_extension(&mut self, number: u64, chore: Chore) -> Result<(), Failure> {
        match (&mut self.feeding.living, chore) {
            (None, Chore::Begin) => return self.live(),
            (Some(living), Chore::Timer { key, at }) if living.number == number => {
                if living.timers.get(&key) == Some(&at) {
                    living.timers.remove(&key);
                    return self.feed(Input::TimerFired(key));
                }
            }
            (Some(living), Chore::Work) if living.number == number => {
                living.works = false;
                return self.work();
            }
            (Some(living), Chore::End) if living.number == number => {
                if self.phase == Phase::Faults {
                    self.end_extension();
                }
            }
            (Some(_) | None, _) => {}
        }
        Ok(())
    }

    fn live(&mut self) -> Result<(), Failure> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|it| self.nodes[*it].is_up()).collect();
        let Some(&node) =
            up.get(usize::try_from(self.rng.below(up.len().max(1) as u64)).unwrap_or(0))
        else {
            self.schedule.after(100_000_000, Event::Extension { life: 0, chore: Chore::Begin });
            return Ok(());
        };
        self.feeding.lives += 1;
        let number = self.feeding.lives;
        let limits = Limits {
            mailboxes_at_once: 2,
            reading_events_max: 8,
            batch_events_max: 3,
            batches_given_max: 4,
            pause_max: Duration::from_secs(2),
            // What woke nobody must not be found by looking at everybody.
            roll_call: Duration::from_secs(100_000),
            ..Limits::default()
        };
        let setup = Setup {
            subscriber: Subscriber::new("fed").expect("letters"),
            scope: Scope::Everybody,
            kinds: Kinds::ALL,
            reach: Reach::Everywhere,
            memory: Memory::Cursor,
            map: self.options.scenario.map(),
            limits,
        };
        self.feeding.living = Some(Box::new(Living {
            number,
            home: self.life(node),
            session: vspace::operator_id(wires::id_of(node).0, 1_000 + number),
            feeder: Feeder::new(setup),
            host: Host::new(self.options.seed, 0xFEED_0000 + number),
            timers: BTreeMap::new(),
            inbox: VecDeque::new(),
            look: None,
            works: false,
        }));
        self.coverage.action("extension begins");
        if self.phase == Phase::Faults {
            let nanos = self.rng.below(2 * LIFE_MS) * 1_000_000;
            self.schedule.after(nanos, Event::Extension { life: number, chore: Chore::End });
        }
        self.feed(Input::Resumed)
    }

    /// It, or its node, has ended: it begins again elsewhere.
    fn end_extension(&mut self) {
        let Some(living) = self.feeding.living.take() else { return };
        self.coverage.fault("extension ends");
        if !self.is_over(living.home) {
            let gone = Inward::OperatorGone { session: living.session };
            self.arrive(living.home, GroupId(0), 1_000, gone);
        }
        let nanos = self.rng.below(1_000_000_000);
        self.schedule.after(nanos, Event::Extension { life: 0, chore: Chore::Begin });
    }

    /// A node has ended.
    pub(super) fn end_extension_of(&mut self, node: usize) {
        if self.feeding.living.as_ref().is_some_and(|living| living.home.node == node) {
            self.end_extension();
        }
    }

    pub(super) fn on_wake(&mut self, life: Life, wake: Wake) {
        let Some(living) = &self.feeding.living else { return };
        let (own, home) = (living.session, living.home);
        let input = match wake {
            Wake::Stirred { session, .. } if session != own => return,
            Wake::Stirred { .. } if self.loses_wake() => return,
            Wake::Stirred { user, .. } => Input::Stirred { user },
            Wake::Unsure { .. } if life != home => return,
            Wake::Unsure { partitions } => {
                self.coverage.action("extension is unsure");
                Input::Unsure { partitions: partitions.into_iter().collect() }
            }
        };
        self.feed_later(input);
    }

    fn loses_wake(&mut self) -> bool {
        self.options.mutation == Some(Mutation::LoseWake)
            && self.phase == Phase::Faults
            && self.rng.chance(1, 4)
    }

    /// An answer to the extension or its feeder.
    pub(super) fn is_fed(&mut self, session: SessionId, done: (Token, &Completion)) -> bool {
        // Those of the world itself are numbered low.
        if session.0 & 0xFFFF_FFFF < 1_000 {
            return false;
        }
        let (token, completion) = done;
        match &self.feeding.living {
            Some(living) if living.session == session => {
                self.feed_later(Input::Done { token, completion: completion.clone() });
            }
            Some(_) | None => {}
        }
        true
    }

    /// Shards are running: what the extension asks of them comes after.
    fn feed_later(&mut self, input: Input) {
        let life = self.feeding.living.as_ref().map_or(0, |living| living.number);
        let nanos = 1_000 + self.rng.below(200_000);
        self.schedule.after(nanos, Event::Feeding { life, input: Box::new(input) });
    }

    pub(super) fn on_feeding(&mut self, number: u64, input: Input) -> Result<(), Failure> {
        if self.feeding.living.as_ref().is_none_or(|living| living.number != number) {
            return Ok(());
        }
        match input {
            Input::Done { token, completion } if token.0 >= OWN_TOKENS => {
                self.on_looked(token, completion)
            }
            input => self.feed(input),
        }
    }

    fn feed(&mut self, input: Input) -> Result<(), Failure> {
        let now = self.schedule.now();
        let wall = self.wall();
        let Some(living) = &mut self.feeding.living else { return Ok(()) };
        let mut stepped = Stepped::default();
        let Living { feeder, host, .. } = &mut **living;
        host.step(feeder, &mut stepped, (Mono(now), wall), Budget::new(1000), input);
        let (number, home, session) = (living.number, living.home, living.session);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => {
                    living.timers.insert(key, at.0);
                    let chore = Chore::Timer { key, at: at.0 };
                    self.schedule.at(at.0.max(now), Event::Extension { life: number, chore });
                }
                TimerOp::Cancel { key } => {
                    living.timers.remove(&key);
                }
            }
        }
        for effect in stepped.effects {
            match effect {
                Effect::Ask { token, task } => {
                    let inward = Inward::Operator { session, token, task };
                    self.arrive(home, GroupId(0), 1_000, inward);
                }
                Effect::Give(batch) => self.on_given(batch)?,
                Effect::Gone { user, .. } => {
                    self.feeding.known.remove(&user);
                }
                Effect::Recall { .. } => unreachable!("the cursor counts"),
                Effect::Crowded { user } => {
                    let what = format!("{user:?} has too many subscribers");
                    return Err(Failure::new("events_fed", what));
                }
            }
        }
        Ok(())
    }

    fn on_given(&mut self, batch: Batch) -> Result<(), Failure> {
        if let Content::Events { events, up_to } = &batch.content {
            let sorted = events.windows(2).all(|pair| pair[0].mod_seq <= pair[1].mod_seq);
            let within = events.last().is_none_or(|last| last.mod_seq <= *up_to);
            if !sorted || !within {
                return Err(Failure::new("events_fed", format!("out of order: {batch:?}")));
            }
        }
        let early =
            self.options.mutation == Some(Mutation::TakeEarly) && self.phase == Phase::Faults;
        let (id, now) = (batch.id, 1_000 + self.rng.below(30_000_000));
        let Some(living) = &mut self.feeding.living else { return Ok(()) };
        living.inbox.push_back(batch);
        if !living.works {
            living.works = true;
            let life = living.number;
            self.schedule.after(now, Event::Extension { life, chore: Chore::Work });
        }
        if early {
            self.feed_later(Input::Taken { batch: id });
        }
        Ok(())
    }

    /// Deals with the first batch.
    fn work(&mut self) -> Result<(), Failure> {
        let Some(living) = &mut self.feeding.living else { return Ok(()) };
        if living.look.is_some() {
            return Ok(());
        }
        let Some(batch) = living.inbox.pop_front() else { return Ok(()) };
        match batch.content {
            Content::Reset { .. } => {
                self.coverage.action("extension looks anew");
                return self.look(batch.id, batch.user);
            }
            Content::Events { events, .. } => {
                self.coverage.action("extension deals with events");
                let known = self.feeding.known.entry(batch.user).or_default();
                for event in events {
                    let folder = known.entry(event.folder).or_default();
                    match event.change {
                        EventChange::Arrived(uids) => folder.extend(uids.iter().map(|it| it.0)),
                        EventChange::Flagged(_) => {}
                        EventChange::Vanished(uids) => uids.iter().for_each(|uid| {
                            folder.remove(&uid.0);
                        }),
                    }
                }
            }
        }
        self.take(batch.id)
    }

    fn take(&mut self, batch: BatchId) -> Result<(), Failure> {
        self.feed(Input::Taken { batch })?;
        self.work_on();
        Ok(())
    }

    fn work_on(&mut self) {
        let nanos = 1_000 + self.rng.below(10_000_000);
        let Some(living) = &mut self.feeding.living else { return };
        if !living.works && !living.inbox.is_empty() {
            living.works = true;
            let life = living.number;
            self.schedule.after(nanos, Event::Extension { life, chore: Chore::Work });
        }
    }

    fn look(&mut self, batch: BatchId, user: UserId) -> Result<(), Failure> {
        let token = self.ask_own(user, UserTask::ListFolders);
        let (folders, known) = (VecDeque::new(), Known::new());
        if let Some(living) = &mut self.feeding.living {
            living.look = Some(Look { batch, user, token, folders, known });
        }
        Ok(())
    }

    fn ask_own(&mut self, user: UserId, task: UserTask) -> Token {
        self.feeding.tokens += 1;
        let token = Token(OWN_TOKENS + self.feeding.tokens);
        if let Some(living) = &self.feeding.living {
            let (session, task) = (living.session, Task::User { user, task });
            self.arrive(living.home, GroupId(0), 1_000, Inward::Operator { session, token, task });
        }
        token
    }

    fn on_looked(&mut self, token: Token, completion: Completion) -> Result<(), Failure> {
        let Some(living) = &mut self.feeding.living else { return Ok(()) };
        let Some(mut look) = living.look.take_if(|look| look.token == token) else {
            return Ok(());
        };
        match completion {
            Completion::User(UserDone::Folders(all)) => {
                let id = |info: &FolderInfo| match info.kind {
                    FolderKind::Folder { id, .. } => Some(id),
                    _ => None,
                };
                look.folders = all.iter().filter_map(id).collect();
            }
            Completion::User(UserDone::Found { uids, .. }) => {
                if let Some(folder) = look.folders.pop_front() {
                    look.known.insert(folder, uids.iter().map(|uid| uid.0).collect());
                }
            }
            // Nobody reads a disabled account. It is followed until the directory is asked again: an extension that begins asks.
            Completion::User(UserDone::Failed(UserError::Disabled)) => {
                self.end_extension();
                return Ok(());
            }
            // Removed, damaged, deleted meanwhile, or no master is there now: from the beginning.
            _ => {
                let Look { batch, user, .. } = look;
                if !self.harmed.is_none() {
                    return self.take(batch);
                }
                return self.look(batch, user);
            }
        }
        let Look { batch, user, .. } = look;
        match look.folders.front() {
            Some(&folder) => {
                let criteria = Arc::new(Criteria::All);
                look.token = self.ask_own(user, UserTask::Search { folder, criteria });
                if let Some(living) = &mut self.feeding.living {
                    living.look = Some(look);
                }
                Ok(())
            }
            None => {
                self.feeding.known.insert(user, look.known);
                self.take(batch)
            }
        }
    }

    /// Everything has healed: the extension catches up by itself, and then knows what there is.
    pub(super) fn check_feeding(&mut self) -> Result<(), Failure> {
        if !self.harmed.is_none() {
            return Ok(());
        }
        let end = self.schedule.now() + CATCH_UP_NANOS;
        let rests = |living: &Living| {
            living.feeder.is_at_rest() && living.inbox.is_empty() && living.look.is_none()
        };
        while !self.feeding.living.as_ref().is_some_and(|living| rests(living)) {
            if !self.happen()? || self.schedule.now() > end {
                let what = format!("it does not catch up: {:?}", self.feeding.living);
                return Err(Failure::new("events_fed", what));
            }
        }
        Ok(())
    }

    /// What the extension knows of every mailbox is true.
    pub(super) fn check_fed(&self, judged: &Judged) -> Result<(), Failure> {
        for (&user, decoded) in self.users.iter().zip(&judged.users) {
            let Some(decoded) = decoded.as_ref().filter(|_| self.harmed.is_none()) else {
                continue;
            };
            let rows = decoded.folders.iter().filter(|folder| !folder.rows.is_empty());
            let rows: Known = rows
                .map(|folder| (FolderId(folder.id), folder.rows.keys().copied().collect()))
                .collect();
            let mut known = self.feeding.known.get(&user).cloned().unwrap_or_default();
            known.retain(|_, uids| !uids.is_empty());
            if known != rows {
                let what = format!("{user:?} holds {rows:?}, the extension knows {known:?}");
                return Err(Failure::new("events_fed", what));
            }
        }
        Ok(())
    }
}
