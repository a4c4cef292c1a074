//! Messages of the consensus protocol, from and to the bytes of peers: `proto/hikyaku/cluster/v1/cluster.proto`.
//!
//! The raft crate trusts its peers: an index out of range ends the process. So nothing reaches it that a sound member could not have
//! sent. [`check`] says what is wrong with a message; [`from_wire`] takes only what was checked.

use super::log::MemberId;
use super::records::INDEX_MAX;
use crate::cluster::decode_map;
use prost::Message as _;
use proto::cluster as wire;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry,
    EntryType, HardState, Message, MessageType, Snapshot, SnapshotMetadata,
};
use std::collections::BTreeSet;
use wire::MessageType as Kind;

/// What a message is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub me: MemberId,
    pub term: u64,
    pub leads: bool,
    pub last_index: u64,
}

/// Context of a vote that the leader itself asked for.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// Whether a sound member could have sent `message`.
pub(super) fn check(message: &wire::RaftMessage, view: &View) -> Result<(), &'static str> {
    let numbers = [
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    if message.to != view.me.0 {
        return Err("for another member");
    }
    if MemberId(message.from).node() == view.me.node() || MemberId(message.from).node().0 == 0 {
        return Err("from nobody");
    }
    if numbers.iter().any(|&number| number >= INDEX_MAX) || message.request_snapshot != 0 {
        return Err("numbers out of range");
    }
    if message.term == 0 {
        return Err("without a term");
    }
    let kind = Kind::try_from(message.msg_type).map_err(|_| "of an unknown type")?;
    if kind != Kind::Append && !message.entries.is_empty() {
        return Err("with entries");
    }
    if kind != Kind::Snapshot && message.snapshot.is_some() {
        return Err("with a snapshot");
    }
    let may_transfer = kind == Kind::RequestVote && message.context == TRANSFER;
    if !message.context.is_empty() && !may_transfer {
        return Err("with a context");
    }
    check_kind(message, kind, view)
}

fn check_kind(message: &wire::RaftMessage, kind: Kind, view: &View) -> Result<(), &'static str> {
    match kind {
        Kind::Append => check_entries(message),
        Kind::Snapshot => check_snapshot(message, view.me),
        // To a leader of that term nobody acknowledges what it has not sent. To one that has crashed since, and lost what it
        // had sent, they may.
        Kind::AppendResponse
            if view.leads
                && message.term == view.term
                && message.index.max(message.reject_hint) > view.last_index =>
        {
            Err("acknowledges too much")
        }
        Kind::Heartbeat
        | Kind::AppendResponse
        | Kind::HeartbeatResponse
        | Kind::RequestVote
        | Kind::RequestPreVote
        | Kind::RequestVoteResponse
        | Kind::RequestPreVoteResponse
        | Kind::TimeoutNow => Ok(()),
        Kind::Hup
        | Kind::Beat
        | Kind::Propose
        | Kind::Unreachable
        | Kind::SnapStatus
        | Kind::CheckQuorum
        | Kind::TransferLeader
        | Kind::ReadIndex
        | Kind::ReadIndexResp => Err("of a type that does not travel"),
    }
}

/// Whether `message` may make the receiver lead. While a write is under way it must not: who begins to lead has written all it
/// has. Votes were asked for after all writes, so that one that comes during a write is late.
pub(super) fn may_lead(message: &wire::RaftMessage) -> bool {
    matches!(
        message.msg_type(),
        Kind::RequestVoteResponse | Kind::RequestPreVoteResponse | Kind::TimeoutNow
    )
}

pub(super) fn is_heartbeat(message: &wire::RaftMessage) -> bool {
    message.msg_type() == Kind::Heartbeat
}

fn check_entries(message: &wire::RaftMessage) -> Result<(), &'static str> {
    let (mut last, mut term) = (message.index, message.log_term);
    if (last == 0) != (term == 0) {
        // The crate takes term 0 for that of every entry that it does not have.
        return Err("after no entry");
    }
    for entry in &message.entries {
        let kind = wire::EntryType::try_from(entry.entry_type);
        let sound = matches!(kind, Ok(wire::EntryType::Normal | wire::EntryType::ConfChangeV2))
            && entry.index == last + 1
            && entry.index < INDEX_MAX
            && entry.term >= term
            && (1..=message.term).contains(&entry.term)
            && entry.context.is_empty();
        if !sound {
            return Err("with unsound entries");
        }
        (last, term) = (entry.index, entry.term);
    }
    Ok(())
}

fn check_snapshot(message: &wire::RaftMessage, me: MemberId) -> Result<(), &'static str> {
    let snapshot = message.snapshot.as_ref().ok_or("without its snapshot")?;
    check_snapshot_of(snapshot, Some(me))?;
    let term = snapshot.metadata.as_ref().map_or(0, |metadata| metadata.term);
    if term <= message.term { Ok(()) } else { Err("with a snapshot of another term") }
}

/// Whether `snapshot`, which comes from a peer or a disk, is one of the map, with members that can be.
pub(super) fn check_snapshot_of(
    snapshot: &wire::Snapshot,
    member: Option<MemberId>,
) -> Result<(), &'static str> {
    let metadata = snapshot.metadata.as_ref().ok_or("snapshot without metadata")?;
    let members = metadata.conf_state.as_ref().ok_or("snapshot without members")?;
    let range = 1..INDEX_MAX;
    if !range.contains(&metadata.index) || !range.contains(&metadata.term) {
        return Err("snapshot out of range");
    }
    check_members(members)?;
    let listed = |member: &MemberId| {
        members.voters.contains(&member.0)
            || members.learners.contains(&member.0)
            || members.voters_outgoing.contains(&member.0)
    };
    if member.is_some_and(|member| !listed(&member)) {
        return Err("snapshot for others");
    }
    let map = decode_map(&snapshot.data).map_err(|malformed| malformed.0)?;
    if map.index == metadata.index { Ok(()) } else { Err("snapshot of another index") }
}

fn check_members(members: &wire::ConfState) -> Result<(), &'static str> {
    let set = |numbers: &[u64]| {
        let set: BTreeSet<u64> = numbers.iter().copied().collect();
        let sound = set.len() == numbers.len() && !set.contains(&0);
        sound.then_some(set).ok_or("members twice")
    };
    let voters = set(&members.voters)?;
    let outgoing = set(&members.voters_outgoing)?;
    let learners = set(&members.learners)?;
    let next = set(&members.learners_next)?;
    let sound = !voters.is_empty()
        && learners.is_disjoint(&voters)
        && learners.is_disjoint(&outgoing)
        && next.is_subset(&outgoing)
        && next.is_disjoint(&voters)
        && !members.auto_leave;
    if sound { Ok(()) } else { Err("members that can't be") }
}

/// The message for the raft crate. It was checked.
pub(super) fn from_wire(message: wire::RaftMessage) -> Message {
    let mut out = Message::default();
    out.set_msg_type(kind_of(message.msg_type()));
    out.to = message.to;
    out.from = message.from;
    out.term = message.term;
    out.log_term = message.log_term;
    out.index = message.index;
    out.commit = message.commit;
    out.commit_term = message.commit_term;
    out.reject = message.reject;
    out.reject_hint = message.reject_hint;
    out.context = message.context;
    out.set_entries(message.entries.into_iter().map(entry_from_wire).collect());
    if let Some(snapshot) = message.snapshot {
        out.set_snapshot(snapshot_from_wire(snapshot));
    }
    out
}

pub(super) fn to_wire(mut message: Message) -> wire::RaftMessage {
    let snapshot = message.snapshot.take().map(|snapshot| snapshot_to_wire(&snapshot));
    wire::RaftMessage {
        msg_type: wire_kind_of(message.get_msg_type()).into(),
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.iter().map(entry_to_wire).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
    }
}

pub(super) fn entry_from_wire(entry: wire::Entry) -> Entry {
    let mut out = Entry::default();
    out.set_entry_type(match entry.entry_type() {
        wire::EntryType::Normal => EntryType::EntryNormal,
        wire::EntryType::ConfChange => EntryType::EntryConfChange,
        wire::EntryType::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    out.term = entry.term;
    out.index = entry.index;
    out.data = entry.data;
    out
}

pub(super) fn entry_to_wire(entry: &Entry) -> wire::Entry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => wire::EntryType::Normal,
        EntryType::EntryConfChange => wire::EntryType::ConfChange,
        EntryType::EntryConfChangeV2 => wire::EntryType::ConfChangeV2,
    };
    wire::Entry {
        entry_type: kind.into(),
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        context: bytes::Bytes::new(),
    }
}

pub(super) fn snapshot_from_wire(snapshot: wire::Snapshot) -> Snapshot {
    let metadata = snapshot.metadata.unwrap_or_default();
    let members = metadata.conf_state.unwrap_or_default();
    let mut state = ConfState::default();
    state.set_voters(members.voters);
    state.set_learners(members.learners);
    state.set_voters_outgoing(members.voters_outgoing);
    state.set_learners_next(members.learners_next);
    state.auto_leave = members.auto_leave;
    let mut about = SnapshotMetadata::default();
    about.set_conf_state(state);
    about.index = metadata.index;
    about.term = metadata.term;
    let mut out = Snapshot { data: snapshot.data, ..Snapshot::default() };
    out.set_metadata(about);
    out
}

pub(super) fn snapshot_to_wire(snapshot: &Snapshot) -> wire::Snapshot {
    let metadata = snapshot.get_metadata();
    let members = metadata.get_conf_state();
    // The crate keeps sets; here the order is always the same.
    let rising = |numbers: &[u64]| {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers
    };
    let conf_state = wire::ConfState {
        voters: rising(&members.voters),
        learners: rising(&members.learners),
        voters_outgoing: rising(&members.voters_outgoing),
        learners_next: rising(&members.learners_next),
        auto_leave: members.auto_leave,
    };
    let (index, term) = (metadata.index, metadata.term);
    let metadata = wire::SnapshotMetadata { conf_state: Some(conf_state), index, term };
    wire::Snapshot { data: snapshot.data.clone(), metadata: Some(metadata) }
}

/// The change of members that an entry holds.
pub(super) fn conf_change_from_wire(data: &[u8]) -> Option<ConfChangeV2> {
    let change = wire::ConfChangeV2::decode(data).ok()?;
    let mut out = ConfChangeV2::default();
    out.set_transition(match wire::ConfChangeTransition::try_from(change.transition).ok()? {
        wire::ConfChangeTransition::Auto => ConfChangeTransition::Auto,
        wire::ConfChangeTransition::Explicit => ConfChangeTransition::Explicit,
        wire::ConfChangeTransition::Implicit => return None,
    });
    let single = |each: wire::ConfChangeSingle| {
        let node_id = each.node_id;
        let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
        single.set_change_type(match wire::ConfChangeType::try_from(each.change_type).ok()? {
            wire::ConfChangeType::AddNode => ConfChangeType::AddNode,
            wire::ConfChangeType::RemoveNode => ConfChangeType::RemoveNode,
            wire::ConfChangeType::AddLearnerNode => ConfChangeType::AddLearnerNode,
        });
        Some(single)
    };
    out.set_changes(change.changes.into_iter().map(single).collect::<Option<_>>()?);
    Some(out)
}

pub(super) fn hard_state_from_wire(hard_state: &wire::HardState) -> HardState {
    let wire::HardState { term, vote, commit } = *hard_state;
    HardState { term, vote, commit, ..HardState::default() }
}

pub(super) fn hard_state_to_wire(hard_state: &HardState) -> wire::HardState {
    let HardState { term, vote, commit, .. } = *hard_state;
    wire::HardState { term, vote, commit }
}

fn kind_of(kind: Kind) -> MessageType {
    match kind {
        Kind::Hup => MessageType::MsgHup,
        Kind::Beat => MessageType::MsgBeat,
        Kind::Propose => MessageType::MsgPropose,
        Kind::Append => MessageType::MsgAppend,
        Kind::AppendResponse => MessageType::MsgAppendResponse,
        Kind::RequestVote => MessageType::MsgRequestVote,
        Kind::RequestVoteResponse => MessageType::MsgRequestVoteResponse,
        Kind::Snapshot => MessageType::MsgSnapshot,
        Kind::Heartbeat => MessageType::MsgHeartbeat,
        Kind::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
        Kind::Unreachable => MessageType::MsgUnreachable,
        Kind::SnapStatus => MessageType::MsgSnapStatus,
        Kind::CheckQuorum => MessageType::MsgCheckQuorum,
        Kind::TransferLeader => MessageType::MsgTransferLeader,
        Kind::TimeoutNow => MessageType::MsgTimeoutNow,
        Kind::ReadIndex => MessageType::MsgReadIndex,
        Kind::ReadIndexResp => MessageType::MsgReadIndexResp,
        Kind::RequestPreVote => MessageType::MsgRequestPreVote,
        Kind::RequestPreVoteResponse => MessageType::MsgRequestPreVoteResponse,
    }
}

fn wire_kind_of(kind: MessageType) -> Kind {
    match kind {
        MessageType::MsgHup => Kind::Hup,
        MessageType::MsgBeat => Kind::Beat,
        MessageType::MsgPropose => Kind::Propose,
        MessageType::MsgAppend => Kind::Append,
        MessageType::MsgAppendResponse => Kind::AppendResponse,
        MessageType::MsgRequestVote => Kind::RequestVote,
        MessageType::MsgRequestVoteResponse => Kind::RequestVoteResponse,
        MessageType::MsgSnapshot => Kind::Snapshot,
        MessageType::MsgHeartbeat => Kind::Heartbeat,
        MessageType::MsgHeartbeatResponse => Kind::HeartbeatResponse,
        MessageType::MsgUnreachable => Kind::Unreachable,
        MessageType::MsgSnapStatus => Kind::SnapStatus,
        MessageType::MsgCheckQuorum => Kind::CheckQuorum,
        MessageType::MsgTransferLeader => Kind::TransferLeader,
        MessageType::MsgTimeoutNow => Kind::TimeoutNow,
        MessageType::MsgReadIndex => Kind::ReadIndex,
        MessageType::MsgReadIndexResp => Kind::ReadIndexResp,
        MessageType::MsgRequestPreVote => Kind::RequestPreVote,
        MessageType::MsgRequestPreVoteResponse => Kind::RequestPreVoteResponse,
    }
}
