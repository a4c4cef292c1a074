//! [`ControlLog`] on the raft crate.
//!
//! The crate decides; this keeps its promises to it. What it wants written goes out as one write per call of `work`, is readable
//! to it at once, and counts as written only when it is. A snapshot is the exception: until it is durable the crate is not
//! called at all, for it could not campaign without the entries that the snapshot replaces.
//!
//! Invariants: a message that the crate wants sent after a write leaves after it; none leaves in a term that is not durable; what is known to be committed is written with
//! every write, so that no member acknowledges a change of members without standing by the one before; a member that becomes a
//! learner while it leads stops leading; the only voter does not campaign before all it has is durable.
//!
//! The crate draws its election time-outs at random. They are replaced after every call by a function of seed, member, term and time,
//! so that a run can be repeated.

use super::Limits;
use super::log::{Committed, ControlLog, MemberChange, MemberId, Members, Standing, Work};
use super::raft_storage::{LogStorage, rising};
use super::raft_wire::{self, View};
use super::records::{self, Records};
use crate::StoreOp;
use bytes::Bytes;
use fsm::Rng;
use proto::cluster as wire;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType,
    HardState, Message, MessageType, Snapshot,
};
use raft::{Config, ProgressState, RawNode, Ready, SnapshotStatus, StateRole, Storage};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Messages to one member that may be under way. Our choice.
const INFLIGHT_MAX: usize = 256;

/// A member of the control group.
pub(super) struct RaftLog {
    raw: RawNode<LogStorage>,
    me: MemberId,
    seed: u64,
    limits: Limits,
    /// Ticks since the start: the time of the draws.
    ticks: u64,
    /// Ticks without a leader after which this member campaigns.
    timeout: usize,
    /// Write operations since the last `work`.
    ops: Vec<StoreOp>,
    /// The hard state on disk is older than that in memory.
    stale: bool,
    /// The term on disk.
    written_term: u64,
    writes: u64,
    waiting: VecDeque<Waiting>,
    /// May leave with the next `work`.
    outgoing: Vec<wire::RaftMessage>,
    /// A snapshot is being written; the crate rests.
    installing: Option<Ready>,
    installed: Option<wire::Snapshot>,
    /// When a snapshot was sent to whom, in ticks.
    snapshots_sent: BTreeMap<u64, u64>,
}

/// What follows when a write is durable.
struct Waiting {
    write: u64,
    ready: u64,
    term: u64,
    messages: Vec<Message>,
}

impl RaftLog {
    /// The member `me` as it was when `records` were written; they were checked.
    pub fn new(me: MemberId, seed: u64, limits: &Limits, records: Records) -> Self {
        // No member is ever in term 0: the crate refuses to send some answers there.
        let hard_state = records.hard_state.unwrap_or(FIRST_HARD_STATE);
        let entries = records.entries.into_iter().map(raft_wire::entry_from_wire);
        let storage = LogStorage::new(
            raft_wire::hard_state_from_wire(&hard_state),
            records.snapshot.map(raft_wire::snapshot_from_wire),
            entries.collect(),
        );
        let config = Config {
            id: me.0,
            election_tick: limits.election_ticks_min,
            min_election_tick: limits.election_ticks_min,
            max_election_tick: limits.election_ticks_max,
            heartbeat_tick: 1,
            applied: storage.first() - 1,
            max_size_per_msg: limits.message_bytes_max,
            max_inflight_msgs: INFLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            max_uncommitted_size: limits.uncommitted_bytes_max,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, storage, &logger)
            .expect("limits and records that were checked make a member");
        let mut log = Self {
            raw,
            me,
            seed,
            limits: limits.clone(),
            ticks: 0,
            timeout: limits.election_ticks_min,
            ops: Vec::new(),
            stale: false,
            written_term: hard_state.term,
            writes: 0,
            waiting: VecDeque::new(),
            outgoing: Vec::new(),
            installing: None,
            installed: None,
            snapshots_sent: BTreeMap::new(),
        };
        log.draw_timeout();
        log
    }

    /// The records of a group whose only member holds `map`, which is as of index 1.
    pub fn founding_records(me: MemberId, map: Bytes) -> Records {
        let conf_state = Some(wire::ConfState { voters: vec![me.0], ..Default::default() });
        let metadata = Some(wire::SnapshotMetadata { conf_state, index: 1, term: 1 });
        Records {
            hard_state: Some(wire::HardState { commit: 1, ..FIRST_HARD_STATE }),
            snapshot: Some(wire::Snapshot { data: map, metadata }),
            ..Records::default()
        }
    }

    fn is_only_voter(&self) -> bool {
        let members = self.members();
        members.voters == [self.me] && !members.joint
    }

    fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    fn is_writing(&self) -> bool {
        !self.waiting.is_empty() || self.installing.is_some()
    }

    /// Replaces the crate's random draw. A time-out that runs is kept.
    fn draw_timeout(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.election_elapsed == 0 {
            let (min, max) = (self.limits.election_ticks_min, self.limits.election_ticks_max);
            let when = raft.term.wrapping_mul(0x0001_0001).wrapping_add(self.ticks);
            let draw = Rng::new(self.seed ^ self.me.0, when).below((max - min) as u64);
            self.timeout = min + usize::try_from(draw).unwrap_or(0);
        }
        raft.set_randomized_election_timeout(self.timeout);
    }

    /// Takes everything the crate has ready. True: some of it must be written.
    fn take_ready(&mut self, work: &mut Work, following: &mut Vec<Waiting>) -> bool {
        let mut must_write = false;
        while self.installing.is_none() && self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let mut messages = ready.take_persisted_messages();
            let term = self.raw.raft.term;
            if term == self.written_term {
                self.send(ready.take_messages());
            } else {
                // The crate lets the messages of a leader go at once, for its term was durable before it was elected. Not
                // so the term of an only voter, who elects itself: after a crash it would lead in that term again, with
                // other entries.
                messages.extend(ready.take_messages());
            }
            let committed = ready.take_committed_entries();
            let number = ready.number();
            let writes = self.take_write(&ready);
            must_write |= writes;
            if ready.snapshot().is_empty() {
                self.raw.advance_append_async(ready);
                self.apply(committed, &mut work.committed);
                self.raw.raft.commit_apply(self.handed_out(&work.committed));
            } else {
                self.installing = Some(ready);
            }
            if !writes && following.is_empty() && self.waiting.is_empty() {
                self.raw.on_persist_ready(number);
                self.send(std::mem::take(&mut messages));
            } else {
                following.push(Waiting { write: 0, ready: number, term, messages });
            }
            self.draw_timeout();
        }
        must_write
    }

    /// Index of the last entry that was handed out, these included.
    fn handed_out(&self, committed: &[Committed]) -> u64 {
        let last = committed.last().map(|entry| match entry {
            Committed::Data { index, .. }
            | Committed::Members { index, .. }
            | Committed::Nothing { index } => *index,
        });
        last.unwrap_or(self.raw.raft.raft_log.applied)
    }

    /// Makes readable what `ready` wants written, and queues it. False: there is nothing that must be written.
    fn take_write(&mut self, ready: &Ready) -> bool {
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().hard_state = hard_state.clone();
            self.stale = true;
        }
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot();
            self.ops.push(records::drop_entries(0, u64::MAX));
            self.ops.push(records::put_snapshot(&raft_wire::snapshot_to_wire(snapshot)));
            self.installed = Some(raft_wire::snapshot_to_wire(snapshot));
            self.raw.mut_store().install(snapshot.clone());
        }
        if let Some(first) = ready.entries().first() {
            let store = self.raw.mut_store();
            let replaced = first.index <= store.last();
            store.append(ready.entries());
            let end = store.last() + 1;
            let entries = ready.entries().iter().map(raft_wire::entry_to_wire);
            self.ops.extend(entries.map(|entry| records::put_entry(&entry)));
            if replaced {
                self.ops.push(records::drop_entries(end, u64::MAX));
            }
        }
        ready.must_sync()
    }

    /// Hands out committed entries. Changes of the members take effect here.
    fn apply(&mut self, entries: Vec<Entry>, committed: &mut Vec<Committed>) {
        for entry in entries {
            let index = entry.index;
            committed.push(match entry.get_entry_type() {
                EntryType::EntryNormal if entry.data.is_empty() => Committed::Nothing { index },
                EntryType::EntryNormal => Committed::Data { index, bytes: entry.data },
                EntryType::EntryConfChange => Committed::Nothing { index },
                EntryType::EntryConfChangeV2 => self.apply_members(index, &entry.data),
            });
        }
    }

    fn apply_members(&mut self, index: u64, change: &[u8]) -> Committed {
        // What does not parse or does not fit is skipped by all members alike.
        let change = raft_wire::conf_change_from_wire(change);
        let fits = change.is_some_and(|change| self.raw.apply_conf_change(&change).is_ok());
        if !fits {
            return Committed::Nothing { index };
        }
        let members = self.members();
        if self.is_leader() && !members.voters.contains(&self.me) && !members.joint {
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, raft::INVALID_ID);
        }
        // The change is on record before the next one can be.
        self.stale = true;
        Committed::Members { index, members }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.snapshots_sent.insert(message.to, self.ticks);
            }
            self.outgoing.push(raft_wire::to_wire(message));
        }
    }

    /// The crate waits for word of every snapshot it has sent.
    fn miss_snapshots(&mut self) {
        let tick = self.limits.raft_tick.as_nanos().max(1);
        let patience = self.limits.snapshot_lost_after.as_nanos().div_ceil(tick);
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        let (ticks, raft) = (self.ticks, &self.raw.raft);
        self.snapshots_sent.retain(|&to, _| {
            raft.prs().get(to).is_some_and(|progress| progress.state == ProgressState::Snapshot)
        });
        let late = |&(_, &sent): &(&u64, &u64)| ticks.saturating_sub(sent) > patience;
        let lost: Vec<u64> = self.snapshots_sent.iter().filter(late).map(|(&to, _)| to).collect();
        for to in lost {
            self.snapshots_sent.remove(&to);
            self.raw.report_snapshot(to, SnapshotStatus::Failure);
        }
    }

    fn snapshot_of(&self, map: Bytes) -> Snapshot {
        let mut snapshot = Snapshot { data: map, ..Snapshot::default() };
        let raft = &self.raw.raft;
        let index = raft.raft_log.applied;
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = raft.raft_log.term(index).expect("applied entries are kept");
        metadata.set_conf_state(raft.prs().conf().to_conf_state());
        // In the order in which it is written, so that memory and disk agree.
        raft_wire::snapshot_from_wire(raft_wire::snapshot_to_wire(&snapshot))
    }
}

const FIRST_HARD_STATE: wire::HardState = wire::HardState { term: 1, vote: 0, commit: 0 };

impl ControlLog for RaftLog {
    fn campaign_alone(&mut self) {
        if self.is_only_voter() && !self.is_leader() && !self.is_writing() {
            // Refused only to a member that can't lead.
            let _refused = self.raw.campaign();
            self.draw_timeout();
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let must_wait = !self.is_leader() && self.is_only_voter() && self.is_writing();
        if self.installing.is_some() || must_wait {
            return;
        }
        self.raw.tick();
        self.miss_snapshots();
        self.draw_timeout();
    }

    fn step(&mut self, mut message: wire::RaftMessage) -> Result<(), &'static str> {
        let view = View {
            me: self.me,
            term: self.raw.raft.term,
            leads: self.is_leader(),
            last_index: self.raw.raft.raft_log.last_index(),
        };
        raft_wire::check(&message, &view)?;
        let waits = self.is_writing() && raft_wire::may_lead(&message);
        if message.commit > view.last_index && raft_wire::is_heartbeat(&message) {
            // This member has acknowledged what it does not have: its disk is an old image. It must not take anything else for
            // committed; but it learns who leads, so that its registration gets there, and is judged.
            message.commit = 0;
        }
        if self.installing.is_none() && !waits {
            // Refused only when it is of no use any more.
            let _refused = self.raw.step(raft_wire::from_wire(message));
            self.draw_timeout();
        }
        Ok(())
    }

    fn propose(&mut self, bytes: Bytes) -> bool {
        let proposed = self.is_leader() && self.raw.propose(Vec::new(), bytes.to_vec()).is_ok();
        self.draw_timeout();
        proposed
    }

    fn change_members(&mut self, change: &MemberChange) -> bool {
        if !self.is_leader() || self.raw.raft.has_pending_conf() {
            return false;
        }
        let proposed = self.raw.propose_conf_change(Vec::new(), conf_change(change)).is_ok();
        self.draw_timeout();
        proposed
    }

    fn transfer(&mut self, to: MemberId) {
        if self.is_leader() {
            self.raw.transfer_leader(to.0);
            self.draw_timeout();
        }
    }

    fn work(&mut self) -> Work {
        let (mut work, mut following) = (Work::default(), Vec::new());
        let must_write = self.take_ready(&mut work, &mut following);
        let changed = work.committed.iter().any(|entry| matches!(entry, Committed::Members { .. }));
        if must_write || changed || !self.ops.is_empty() {
            let hard_state = raft_wire::hard_state_to_wire(&self.raw.store().hard_state);
            if std::mem::take(&mut self.stale) {
                self.ops.push(records::put_hard_state(&hard_state));
            }
            self.writes += 1;
            work.write = Some((self.writes, std::mem::take(&mut self.ops)));
            if following.is_empty() {
                let term = hard_state.term;
                following.push(Waiting { write: 0, ready: 0, term, messages: Vec::new() });
            }
        }
        let writes = self.writes;
        let follow = |waiting| Waiting { write: writes, ..waiting };
        self.waiting.extend(following.into_iter().map(follow));
        work.messages = std::mem::take(&mut self.outgoing);
        if self.installing.is_none() {
            work.snapshot = self.installed.take();
        }
        work
    }

    fn on_written(&mut self, number: u64) {
        let mut ready = 0;
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.write <= number) {
            ready = ready.max(waiting.ready);
            self.written_term = waiting.term;
            self.send(waiting.messages);
        }
        let installed = self.installing.take_if(|installing| installing.number() <= ready);
        if let Some(snapshot) = installed {
            let index = snapshot.snapshot().get_metadata().index;
            self.raw.advance_append_async(snapshot);
            self.raw.on_persist_ready(ready);
            self.raw.raft.commit_apply(index);
        } else if ready > 0 {
            self.raw.on_persist_ready(ready);
        }
        self.draw_timeout();
    }

    fn standing(&self) -> Standing {
        let raft = &self.raw.raft;
        let leader = (raft.leader_id != raft::INVALID_ID).then_some(MemberId(raft.leader_id));
        let leads = self.is_leader();
        let leads_with_all = leads && raft.apply_to_current_term();
        Standing { term: raft.term, leader, leads, leads_with_all }
    }

    fn members(&self) -> Members {
        let state = self.raw.raft.prs().conf().to_conf_state();
        // Who is about to become a learner is one here.
        let learners = [&state.learners[..], &state.learners_next[..]].concat();
        Members {
            voters: rising(&state.voters),
            learners: rising(&learners),
            joint: !state.voters_outgoing.is_empty(),
        }
    }

    fn keeps_up(&self, member: MemberId, lag_max: u64) -> bool {
        let committed = self.raw.raft.raft_log.committed;
        let progress = self.raw.raft.prs().get(member.0);
        self.is_leader()
            && progress.is_some_and(|progress| {
                progress.recent_active
                    && progress.matched > 0
                    && progress.matched.saturating_add(lag_max) >= committed
            })
    }

    fn wants_snapshot(&self) -> bool {
        self.installing.is_none() && self.raw.store().wants_snapshot()
    }

    fn offer_snapshot(&mut self, map: Bytes) {
        let snapshot = self.snapshot_of(map);
        self.raw.mut_store().offer(snapshot);
    }

    fn wants_compaction(&self) -> bool {
        let store = self.raw.store();
        let covered = (self.applied() + 1).saturating_sub(store.first());
        let long = covered >= self.limits.log_entries_max;
        self.installing.is_none()
            && (long || (covered > 0 && store.bytes() >= self.limits.log_bytes_max))
    }

    fn compact(&mut self, map: Bytes) {
        let snapshot = self.snapshot_of(map);
        self.ops.push(records::put_snapshot(&raft_wire::snapshot_to_wire(&snapshot)));
        self.ops.push(records::drop_entries(0, snapshot.get_metadata().index + 1));
        // What is known to be committed lies in what is kept.
        self.stale = true;
        self.raw.mut_store().compact(snapshot);
    }

    fn applied(&self) -> u64 {
        self.raw.raft.raft_log.applied
    }
}

fn conf_change(change: &MemberChange) -> ConfChangeV2 {
    let single = |member: &MemberId, kind| {
        let node_id = member.0;
        let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    };
    let mut out = ConfChangeV2::default();
    let changes: Vec<ConfChangeSingle> = match change {
        MemberChange::AddLearner(member) => vec![single(member, ConfChangeType::AddLearnerNode)],
        MemberChange::RemoveLearner(member) => vec![single(member, ConfChangeType::RemoveNode)],
        MemberChange::SetVoters { enter, leave } => {
            out.set_transition(ConfChangeTransition::Explicit);
            let enter = enter.iter().map(|member| single(member, ConfChangeType::AddNode));
            let leave = leave.iter().map(|member| single(member, ConfChangeType::AddLearnerNode));
            enter.chain(leave).collect()
        }
        MemberChange::LeaveJoint => Vec::new(),
    };
    out.set_changes(changes.into());
    out
}

impl fmt::Debug for RaftLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HardState { term, vote, commit, .. } = self.raw.raft.hard_state();
        let last = self.raw.store().last_index().unwrap_or(0);
        out.debug_struct("RaftLog")
            .field("me", &self.me)
            .field("state", &self.raw.raft.state)
            .field("term", &term)
            .field("vote", &vote)
            .field("commit", &commit)
            .field("last", &last)
            .finish_non_exhaustive()
    }
}
