//! The replica machine: one node's copy of one partition.
//!
//! States: `Asleep` -> `Waking` (its log is read) -> `Awake` as the map says: outside the group, a member, or the primary;
//! `Failed` after its store refused something, until it wakes again.
//!
//! On the primary it stands between the partition machine and the store: groups come in as [`Input::Propose`] and are decided
//! once every in-sync member has them, and reads wait at its gate until they see all that was decided. ADR 8 has the protocol.
//!
//! Invariants: what is acknowledged is durable here; what is decided is durable on every in-sync member; of one version there
//! is one primary; what was joined is never answered to an older one, also after a restart.
//!
//! Absences: no clock but the context's, no socket; nothing here knows what a request is, or how the map is agreed on.

mod clear;
mod core;
mod entry;
mod fill;
mod limits;
mod log;
mod look;
mod member;
mod message;
mod primary;
mod view;
mod wake;
mod watch;

pub use entry::{Entry, Mark, Placing};
pub use limits::Limits;
pub use look::{LOOK_BYTES_MAX, Seen, Slice};
pub use message::{Body, Message, Page, Round, Stand};
pub use view::View;

use crate::cluster::{GroupChange, NodeId};
use crate::scrub::Step;
use crate::{Durability, Group, GroupVersion, PartitionId, Read, ReadDone, StoreError, fills};
use core::{Context, Core, ReadFor, TICK, Written};
use fsm::{Cx, Digest, Machine, Mono, TimerKey, Token};
use log::Log;
use member::Member;
use primary::Primary;
use std::collections::BTreeMap;
use std::sync::Arc;
use wake::Waking;

/// Everything that can happen to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The map says this of the group; what is older than what is known is ignored.
    GroupIs(View),
    /// From the partition machine: commit this.
    Propose {
        token: Token,
        group: Group,
    },
    /// From the partition machine: read this.
    Read {
        token: Token,
        read: Read,
    },
    Received {
        from: NodeId,
        message: Message,
    },
    /// The completion of [`Effect::Store`].
    Stored {
        token: Token,
        result: Result<(), StoreError>,
    },
    /// The completion of [`Effect::Read`].
    ReadDone {
        token: Token,
        result: Result<ReadDone, StoreError>,
    },
    /// The controller wishes this of the primary.
    Suggested(GroupChange),
    /// The map refused what [`Effect::Ask`] asked.
    ChangeRefused {
        expect: GroupVersion,
        change: GroupChange,
    },
    /// Nothing was heard of the node for as long as a member may be silent.
    Silent {
        node: NodeId,
    },
    /// The map knows the node under another session: it has started anew, and may not know where it stands.
    Restarted {
        node: NodeId,
    },
    /// The next page of the copy that is under construction here may be asked for.
    PageGranted,
    /// A slice of the partition may be scrubbed, the first one if it `begins`; answered by [`Effect::Scrubbed`].
    Scrub {
        begins: bool,
    },
    TimerFired(TimerKey),
}

/// Everything a replica may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send {
        to: NodeId,
        message: Message,
    },
    Store {
        token: Token,
        group: Group,
        durability: Durability,
    },
    Read {
        token: Token,
        read: Read,
    },
    /// To the partition machine: the completion of its read.
    ReadDone {
        token: Token,
        result: Result<ReadDone, StoreError>,
    },
    /// To the partition machine: the completion of its commit.
    Decided {
        token: Token,
        result: Result<(), StoreError>,
    },
    /// A new partition machine may judge requests.
    Serve,
    /// The partition machine ends; nobody knows what becomes of what it has under way.
    Cease,
    /// Asks the map for a change of this version of the group.
    Ask {
        expect: GroupVersion,
        change: GroupChange,
    },
    /// To whoever paces the copies that are under construction on this node.
    Fill(fills::Word),
    /// What became of [`Input::Scrub`].
    Scrubbed(Step),
}

/// The machine of one replica.
#[derive(Debug)]
pub struct Replica {
    me: NodeId,
    partition: PartitionId,
    limits: Arc<Limits>,
    /// `None`: the map has said nothing yet.
    view: Option<View>,
    /// The version in which it asked to lead no more. Until it is known what became of that, it does not: whoever takes over
    /// need not wait for the leases of this one.
    leaves: Option<GroupVersion>,
    /// The store had no space; until then it is not asked for more.
    full_until: Mono,
    state: State,
}

#[derive(Debug)]
enum State {
    Asleep,
    Waking(Waking),
    Awake(Box<Core>, Role),
    Failed(Failed),
}

/// A replica whose store refused something. It reads its log again after a while, and not before the store has answered all
/// that it was given: what is still queued there would change what was read.
#[derive(Debug)]
struct Failed {
    writes: BTreeMap<Token, Written>,
    waited: bool,
}

#[derive(Debug)]
enum Role {
    Outside,
    Member(Member),
    Primary(Box<Primary>),
}

impl Replica {
    /// Knows nothing, and holds no memory, until the map says that this node is a member.
    #[must_use]
    pub fn new(me: NodeId, partition: PartitionId, limits: Arc<Limits>) -> Self {
        let (leaves, full_until) = (None, Mono(0));
        Self { me, partition, limits, view: None, leaves, full_until, state: State::Asleep }
    }

    /// The version that this replica goes by.
    #[must_use]
    pub fn version(&self) -> GroupVersion {
        self.view.as_ref().map_or(GroupVersion(0), |view| view.group.version)
    }

    /// Whether reads and refusals may be answered now, if the leases of these nodes hold. `None`: they may not.
    #[must_use]
    pub fn answers(&self) -> Option<impl Iterator<Item = NodeId> + '_> {
        match (&self.state, &self.view) {
            (State::Awake(_, Role::Primary(primary)), Some(view)) if primary.answers() => {
                let in_sync = view.group.in_sync.iter().copied();
                Some(in_sync.filter(|node| *node != self.me).chain(primary.promoting()))
            }
            _ => None,
        }
    }

    /// Whether a read of anything but bodies sees all that was decided, without waiting here. Only bodies are written ahead of their
    /// decision.
    #[must_use]
    pub fn reads_at_once(&self) -> bool {
        match &self.state {
            State::Awake(core, Role::Primary(_)) => core.log.decided <= core.log.applied,
            State::Awake(..) | State::Asleep | State::Waking(_) | State::Failed(_) => false,
        }
    }

    /// Whether outcomes of writes may be answered now.
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        self.view.as_ref().is_some_and(View::may_acknowledge)
    }

    fn on_group(&mut self, cx: Context<'_, '_>, view: View) {
        if let Some(known) = &mut self.view
            && view.group.version <= known.group.version
        {
            if view.group.version == known.group.version {
                known.wanted = view.wanted;
                known.min_in_sync = view.min_in_sync;
                known.exhausted = view.exhausted;
                if let State::Awake(core, _) = &mut self.state {
                    core.view = known.clone();
                }
            }
            return;
        }
        self.view = Some(view.clone());
        match &mut self.state {
            State::Asleep => self.wake(cx),
            State::Waking(_) | State::Failed(_) => {}
            State::Awake(core, _) => {
                core.view = view;
                self.take_role(cx);
            }
        }
    }

    /// Reads the log, if this node is a member.
    fn wake(&mut self, cx: Context<'_, '_>) {
        let Some(view) = &self.view else { return };
        if view.group.is_in_sync(self.me) || view.group.is_learner(self.me) {
            self.state = State::Waking(Waking::begin(cx, self.partition));
        } else {
            self.clear_later(cx);
        }
    }

    /// Becomes what the map says.
    fn take_role(&mut self, cx: Context<'_, '_>) {
        let State::Awake(core, role) = &mut self.state else { return };
        let group = &core.view.group;
        let leads = group.primary == Some(core.me);
        let belongs = group.is_in_sync(core.me) || group.is_learner(core.me);
        if leads && !core.log.record.whole {
            // A copy under construction: whoever chose it believes that it was finished.
            return self.on_damaged(cx);
        }
        match (std::mem::replace(role, Role::Outside), leads, belongs) {
            (Role::Primary(mut primary), true, _) => {
                primary.next_version(core, cx);
                *role = Role::Primary(primary);
            }
            (before, leads, belongs) => {
                core.look = None;
                let member = match before {
                    Role::Primary(primary) => {
                        primary.end(core, cx);
                        Member::default()
                    }
                    Role::Member(member) => member,
                    Role::Outside => Member::default(),
                };
                *role = if belongs && !leads {
                    Role::Member(member)
                } else {
                    member.end(cx);
                    if leads {
                        Role::Primary(Box::new(Primary::begin(core, cx)))
                    } else {
                        Role::Outside
                    }
                };
            }
        }
        if let State::Awake(_, Role::Outside) = self.state {
            self.clear_later(cx);
            self.sleep_if_cleared();
        }
    }

    fn on_propose(&mut self, cx: Context<'_, '_>, token: Token, group: Group) {
        match &mut self.state {
            State::Awake(core, Role::Primary(primary)) => primary.propose(core, cx, token, group),
            State::Awake(..) | State::Asleep | State::Waking(_) | State::Failed(_) => {
                let result = Err(StoreError::Io("this replica is not the primary".into()));
                cx.emit(Effect::Decided { token, result });
            }
        }
    }

    fn on_permit(&mut self, cx: Context<'_, '_>, begins: bool) {
        if let State::Awake(core, Role::Primary(primary)) = &mut self.state {
            return primary.on_permit(core, cx, begins);
        }
        let leads = self.view.as_ref().is_some_and(|view| view.group.primary == Some(self.me));
        cx.emit(Effect::Scrubbed(if leads { Step::Waits } else { Step::NotLed }));
    }

    fn on_received(&mut self, cx: Context<'_, '_>, from: NodeId, message: Message) {
        // Older ones are fenced off; newer ones come again once the map is known here.
        if message.version != self.version() {
            return;
        }
        let State::Awake(core, role) = &mut self.state else { return };
        match role {
            Role::Primary(primary) => primary.on_message(core, cx, from, message),
            Role::Member(member) if core.view.group.primary == Some(from) => {
                member.on_message(core, cx, from, message);
            }
            Role::Member(_) | Role::Outside => {}
        }
    }

    fn on_stored(&mut self, cx: Context<'_, '_>, token: Token, result: Result<(), StoreError>) {
        if let State::Failed(failed) = &mut self.state {
            failed.writes.remove(&token);
            return self.wake_again(cx);
        }
        let State::Awake(core, role) = &mut self.state else { return };
        // A completion that comes twice finds nothing that waits.
        let Some(written) = core.writes.remove(&token) else { return };
        if let Err(error) = result {
            if let (Written::Passed(mark), Role::Primary(primary)) = (written, &mut *role)
                && core.log.is_empty()
            {
                return primary.on_pass_refused(core, cx, (mark.number, error));
            }
            return self.fail(cx, &error);
        }
        match written {
            Written::Logged(through) => core.log.durable = core.log.durable.max(through),
            Written::Passed(mark) => core.log.passed(mark),
            Written::Applied(through) => core.log.applied = core.log.applied.max(through),
            Written::Joined(_)
            | Written::Dropped(_)
            | Written::Filled(..)
            | Written::Doubted
            | Written::Cleared => {}
        }
        match role {
            Role::Primary(primary) => primary.on_written(core, cx, written),
            Role::Member(member) => member.on_written(core, cx, written),
            Role::Outside => self.sleep_if_cleared(),
        }
    }

    /// The store refused: what the log promised can't be kept from here on. Others take over, unless it is only the space that
    /// lacks: then this replica begins anew with what its disk holds, and takes what frees space. What others have logged of the
    /// refused it fetches from them.
    fn fail(&mut self, cx: Context<'_, '_>, error: &StoreError) {
        let full = *error == StoreError::NoSpace;
        let mut wait = self.limits.wake_after;
        if full {
            self.full_until = cx.mono().plus(self.limits.full_for);
            wait = self.limits.tick;
        }
        let State::Awake(mut core, role) = std::mem::replace(&mut self.state, State::Asleep) else {
            return;
        };
        let writes = std::mem::take(&mut core.writes);
        self.state = State::Failed(Failed { writes, waited: false });
        match role {
            Role::Primary(primary) => {
                primary.end(&mut core, cx);
                if core.view.group.in_sync.len() > 1 && !full {
                    self.leaves = Some(core.view.group.version);
                    self.step_down(cx);
                }
            }
            Role::Member(member) => {
                member.end(cx);
                member.complain(&core, cx);
            }
            Role::Outside => {}
        }
        cx.arm(TICK, wait);
    }

    fn on_read_done(
        &mut self,
        cx: Context<'_, '_>,
        token: Token,
        result: Result<ReadDone, StoreError>,
    ) {
        match &mut self.state {
            State::Waking(waking) => match waking.on_read(cx, token, result) {
                wake::Next::Reading => {}
                wake::Next::Found(log) => self.on_found(cx, *log),
                wake::Next::Unreadable => {
                    self.state = State::Failed(Failed { writes: BTreeMap::new(), waited: false });
                    cx.arm(TICK, self.limits.wake_after);
                }
                wake::Next::Damaged => self.on_damaged(cx),
            },
            State::Awake(core, role) => {
                let Some(read_for) = core.reads.remove(&token) else { return };
                match (read_for, role) {
                    (ReadFor::Partition { token, read }, _) => {
                        core.on_partition_read(cx, (token, read), result);
                    }
                    (ReadFor::Page { node, mark, index }, Role::Primary(primary)) => {
                        primary.on_page_read(core, cx, node, (mark, index), result);
                    }
                    (ReadFor::Bodies { to, round, keys }, Role::Primary(_)) => {
                        if let Some(body) = fill::bodies(keys, result) {
                            core.send(cx, to, round, body);
                        }
                    }
                    (ReadFor::Look { id }, role) => {
                        let Some(seen) = core.on_looked(id, result) else { return };
                        match role {
                            Role::Primary(primary) => {
                                primary.on_seen(core, cx, self.me, (id, seen));
                            }
                            Role::Member(member) => member.on_seen(core, cx, (id, seen)),
                            Role::Outside => {}
                        }
                    }
                    (ReadFor::Page { .. } | ReadFor::Bodies { .. }, _) => {}
                }
            }
            State::Asleep | State::Failed(_) => {}
        }
    }

    /// What the disk holds can't be what was written: never truncated, but filled anew, if somebody else has it.
    fn on_damaged(&mut self, cx: Context<'_, '_>) {
        let Some(view) = &self.view else { return };
        if !view.group.is_in_sync(self.me) {
            // Nothing is expected of it: it begins with nothing.
            return self.on_found(cx, Log::lost(self.partition));
        }
        self.state = State::Failed(Failed { writes: BTreeMap::new(), waited: false });
        cx.arm(TICK, self.limits.wake_after);
        let expect = view.group.version;
        if view.group.primary == Some(self.me) {
            cx.emit(Effect::Ask { expect, change: GroupChange::Resign });
        } else if let Some(primary) = view.group.primary {
            let message = Message { version: expect, round: Round(0), body: Body::Damaged };
            cx.emit(Effect::Send { to: primary, message });
        }
    }

    fn on_found(&mut self, cx: Context<'_, '_>, log: Log) {
        let Some(view) = self.view.clone() else { return };
        let place = (self.partition, Arc::clone(&self.limits));
        let mut core = Box::new(Core::new(self.me, place, view, log));
        core.full_until = self.full_until;
        self.state = State::Awake(core, Role::Outside);
        self.take_role(cx);
    }

    fn on_timer(&mut self, cx: Context<'_, '_>) {
        match &mut self.state {
            State::Awake(core, Role::Primary(primary)) => primary.look_around(core, cx),
            State::Failed(failed) => {
                failed.waited = true;
                self.wake_again(cx);
            }
            State::Awake(_, Role::Outside) | State::Asleep => self.clear_now(cx),
            State::Awake(_, Role::Member(_)) | State::Waking(_) => {}
        }
    }

    fn wake_again(&mut self, cx: Context<'_, '_>) {
        if let State::Failed(failed) = &self.state
            && failed.waited
            && failed.writes.is_empty()
        {
            if self.leaves == Some(self.version()) {
                self.step_down(cx);
                return cx.arm(TICK, self.limits.ask_after);
            }
            self.state = State::Asleep;
            self.wake(cx);
        }
    }

    fn step_down(&self, cx: Context<'_, '_>) {
        cx.emit(Effect::Ask { expect: self.version(), change: GroupChange::StepDown });
    }

    fn on_change_refused(
        &mut self,
        cx: Context<'_, '_>,
        expect: GroupVersion,
        change: GroupChange,
    ) {
        if expect != self.version() {
            return;
        }
        if change == GroupChange::StepDown {
            self.leaves = None;
            self.wake_again(cx);
        }
        if let State::Awake(core, Role::Primary(primary)) = &mut self.state {
            primary.on_refused(core, cx, change);
        }
    }
}

impl Machine for Replica {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::GroupIs(view) => self.on_group(cx, view),
            Input::Propose { token, group } => self.on_propose(cx, token, group),
            Input::Read { token, read } => match &mut self.state {
                State::Awake(core, _) => core.on_read(cx, token, read),
                State::Asleep | State::Waking(_) | State::Failed(_) => {}
            },
            Input::Received { from, message } => self.on_received(cx, from, message),
            Input::Stored { token, result } => self.on_stored(cx, token, result),
            Input::ReadDone { token, result } => self.on_read_done(cx, token, result),
            Input::Suggested(change) => {
                if let State::Awake(core, Role::Primary(primary)) = &mut self.state {
                    primary.suggest(core, cx, change);
                }
            }
            Input::ChangeRefused { expect, change } => self.on_change_refused(cx, expect, change),
            Input::Silent { node } => {
                if let State::Awake(core, Role::Primary(primary)) = &mut self.state {
                    primary.on_silent(core, cx, node);
                }
            }
            Input::Restarted { node } => {
                if let State::Awake(core, Role::Primary(primary)) = &mut self.state {
                    primary.on_apart(core, cx, node);
                }
            }
            Input::PageGranted => match &mut self.state {
                State::Awake(core, Role::Member(member)) => member.on_page_granted(core, cx),
                State::Awake(..) | State::Asleep | State::Waking(_) | State::Failed(_) => {
                    cx.emit(Effect::Fill(fills::Word::Ends));
                }
            },
            Input::Scrub { begins } => self.on_permit(cx, begins),
            Input::TimerFired(_) => self.on_timer(cx),
        }
        if let State::Awake(core, _) = &mut self.state {
            core.open_gate(cx);
            core.look_on(cx);
        }
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(u64::from(self.partition.0));
        digest.word(self.version().0);
        match &self.state {
            State::Asleep => digest.word(0),
            State::Waking(_) => digest.word(1),
            State::Failed(_) => digest.word(2),
            State::Awake(core, role) => {
                core.log.digest(digest);
                digest.word(core.gate.len() as u64);
                match role {
                    Role::Outside => digest.word(3),
                    Role::Member(member) => member.digest(digest),
                    Role::Primary(primary) => primary.digest(digest),
                }
            }
        }
    }
}
