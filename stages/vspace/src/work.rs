//! What travels: between the world and a worker group, and between the machines of a group.

use crate::LiveLimits;
use crate::feeds::Wake;
use crate::follow::Passed;
use crate::following::News;
use crate::letter::Letter;
use crate::names::GroupId;
use crate::reports::Counted;
use crate::session::SessionLine;
use bytes::Bytes;
use dds::cluster::{Command, Delta, GroupChange, NodeId, Session, Verdict};
use dds::replica::Body;
use dds::wire::RequestId;
use dds::{
    Durability, Group, GroupVersion, PartitionId, Read, ReadDone, Report, StoreError, control,
    fills, links, replica, scrub,
};
use fsm::{Duration, Mono, Token};
use mailstore::directory::HashVerdict;
use mailstore::face::{
    Completion, LogEvent, Notice, Peer, Question, SessionId, SessionInput, Task, TaskRefusal,
    UserId,
};
use mailstore::mailbox::{MatchHits, MatchJob};
use std::net::IpAddr;
use std::sync::Arc;

/// Names work given to the store, so that its completion finds the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub partition: PartitionId,
    pub token: Token,
}

/// Everything that can reach a worker group from outside its thread, and from its sockets.
#[derive(Debug)]
pub enum Inward {
    /// A connection stands: a session begins. The id comes from [`crate::Shard::next_session`].
    Opened {
        session: SessionId,
        peer: Arc<Peer>,
    },
    /// Something happened to a session: bytes, end of the connection, output drained.
    Session {
        session: SessionId,
        input: SessionInput,
    },
    /// A group is durable, or was refused.
    Stored {
        ticket: Ticket,
        result: Result<(), StoreError>,
        times: WriteTimes,
    },
    ReadDone {
        ticket: Ticket,
        result: Result<ReadDone, StoreError>,
    },
    Matched {
        user: UserId,
        token: Token,
        hits: Result<MatchHits, TaskRefusal>,
    },
    Hashed {
        token: Token,
        verdict: HashVerdict,
    },
    Rehashed {
        token: Token,
        phc: Option<String>,
    },
    /// The node itself asks, for an operator: answered by [`Outward::OperatorDone`].
    Operator {
        session: SessionId,
        token: Token,
        task: Task,
    },
    /// An operator's session ended: its folders are closed, its pending appends dropped.
    OperatorGone {
        session: SessionId,
    },
    /// Who is connected? Answered by [`Outward::Sessions`].
    ListSessions {
        token: Token,
    },
    /// End these sessions; answered by [`Outward::Kicked`].
    KickSessions {
        token: Token,
        sessions: Vec<SessionId>,
    },
    /// A client of the hash table on this node asks; whoever leads the partition does it. Answered by
    /// [`Outward::ClientDone`]; a request that is followed leaves [`Outward::Passed`] on its way.
    Client {
        origin: u64,
        followed: bool,
        request: Box<dds::Request>,
    },
    /// End all sessions of a user, on every node; to group 0, answered by [`Outward::KickTold`].
    KickUser {
        token: Token,
        user: UserId,
    },
    /// Is the master of this user in memory? Answered by [`Outward::Loaded`].
    IsLoaded {
        token: Token,
        user: UserId,
    },
    /// From another worker group of this node.
    Neighbour(Neighbour),
    /// From another node.
    Peer {
        from: NodeId,
        packet: Packet,
    },
    /// The connection with another node stands, or was lost: told to every group.
    Link {
        node: NodeId,
        link: LinkState,
    },
    /// An operator asks for a change of the cluster map; to group 0, answered by [`Outward::Decided`].
    Command {
        token: Token,
        command: Command,
    },
    /// An operator asks for a scrub of everything; to group 0, answered by [`Outward::Scrubbed`].
    Scrub {
        token: Token,
    },
    /// How much room the store has: when it is short, nothing is accepted that could not be kept.
    SpaceIs(Space),
    /// The operator has set other limits.
    LimitsAre(Box<LiveLimits>),
    /// The node stops: sessions end politely.
    ShutDown,
    /// The group's thread ends once nothing is queued. For the executor; machines don't see it.
    Stop,
}

/// When a group was handed over to the store, when the write that holds it began, and when that was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteTimes {
    pub queued: Mono,
    pub began: Mono,
    pub ended: Mono,
}

impl WriteTimes {
    /// How long it took in all.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.ended.since(self.queued)
    }
}

/// Room in the store, as admission sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    #[default]
    Ample,
    /// Deliveries are refused for now; everybody else works on.
    Low,
    /// The store takes nothing but what frees space.
    Exhausted,
}

/// Messages between the worker groups of a node.
#[derive(Debug)]
pub enum Neighbour {
    /// From a machine of this node.
    Letter(Letter),
    /// From another node, or about this one's own residents: for every group.
    NodeLetter {
        from: NodeId,
        letter: Letter,
    },
    /// A request of a machine whose route lives in another group.
    DdsAsked {
        from: GroupId,
        origin: u64,
        request: Box<dds::Request>,
    },
    DdsDone {
        origin: u64,
        response: Box<dds::Response>,
    },
    /// Of the cluster, from group 0.
    News(News),
    /// To group 0: a seat asks the map for a change.
    ChangeAsked {
        partition: PartitionId,
        expect: GroupVersion,
        change: GroupChange,
    },
    ChangeRefused {
        partition: PartitionId,
        expect: GroupVersion,
        change: GroupChange,
    },
    /// To group 0: of a copy under construction.
    FillTold {
        partition: PartitionId,
        word: fills::Word,
    },
    /// From group 0: the copy may ask for its next page.
    PageGranted {
        partition: PartitionId,
    },
    /// The seat of a partition leads no more.
    MastersEnd {
        partition: PartitionId,
    },
    /// From group 0: scrub what this group leads.
    ScrubAsked {
        run: u64,
    },
    /// To group 0: the answer.
    Scrubbed {
        run: u64,
        round: scrub::Round,
    },
    /// To group 0, once a second: what a group has counted.
    Counted {
        group: GroupId,
        counted: Counted,
    },
    /// To group 0: whether the directory and what goes with it may run here.
    ResidentsMay(bool),
}

/// What nodes send each other. How it is written is the transport's to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Link(links::Message),
    Control(Bytes),
    Replica { partition: PartitionId, message: replica::Message },
    Ask { id: RequestId, request: dds::Request },
    Answer { id: RequestId, response: dds::Response },
    Letter(Letter),
}

/// The connections of two nodes. What travels on one keeps its order; nothing is said of those that travel on different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// Pings and the control plane: nothing large delays them.
    Control,
    /// Logs, requests and tasks.
    Data,
    /// Pages of copies and chunks of blobs: large, and each is whole by itself.
    Bulk,
}

impl Packet {
    /// The connection that it takes.
    #[must_use]
    pub fn wire(&self) -> Wire {
        match self {
            Self::Link(_) | Self::Control(_) => Wire::Control,
            Self::Replica { message, .. } if is_bulk(&message.body) => Wire::Bulk,
            // A chunk never changes: who refers to it waits for the answer first.
            Self::Ask { request: dds::Request::PutChunk { .. }, .. }
            | Self::Answer { response: dds::Response::BlobRead(_), .. } => Wire::Bulk,
            Self::Replica { .. } | Self::Ask { .. } | Self::Answer { .. } | Self::Letter(_) => {
                Wire::Data
            }
        }
    }
}

/// Bytes from which an entry of the log does not hold up the others: those with chunks of blobs.
const LARGE_BYTES: usize = 128 * 1024;

/// All of them name their place, and are taken at that place only.
fn is_bulk(body: &Body) -> bool {
    match body {
        Body::Page { .. } | Body::Bodies { .. } => true,
        Body::Append { entries, .. } => {
            matches!(&entries[..], [entry] if entry.bytes() >= LARGE_BYTES)
        }
        Body::Join
        | Body::Stand(_)
        | Body::Appended { .. }
        | Body::Fetch { .. }
        | Body::Fetched { .. }
        | Body::DropTail { .. }
        | Body::FetchBodies { .. }
        | Body::Fill { .. }
        | Body::Filled { .. }
        | Body::Apart
        | Body::Failed
        | Body::Damaged
        | Body::Look(_)
        | Body::Looked { .. }
        | Body::Doubt => false,
    }
}

/// Whether another node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// What is sent arrives, in order, until the link is lost.
    Up,
    /// What was under way, either way, may be lost.
    Lost,
}

/// What a node is to its cluster: for whoever shows it, and for the transport.
#[derive(Clone, Debug)]
pub enum Standing {
    Map(Arc<Delta>),
    Registered(Session),
    Unregistered,
    Leader(Option<NodeId>),
    Event(control::Event),
    /// A node says this of itself; so does this one.
    Reported {
        node: NodeId,
        report: Arc<Report>,
    },
    /// It has left the cluster: it stops.
    Removed,
    /// The data directory is an old image: it starts again under a new incarnation.
    OldImage,
    /// The control plane can't go on: nor can the node.
    Stopped(String),
}

/// Everything a worker group may ask of the world.
#[derive(Debug)]
pub enum Outward {
    /// To the connection of a session.
    Connection {
        session: SessionId,
        order: ConnectionOrder,
    },
    Commit {
        ticket: Ticket,
        group: Group,
        durability: Durability,
    },
    Read {
        ticket: Ticket,
        read: Read,
    },
    Match {
        user: UserId,
        token: Token,
        job: MatchJob,
    },
    VerifyHash {
        token: Token,
        peer: IpAddr,
        phc: String,
        secret: Bytes,
    },
    Rehash {
        token: Token,
        secret: Bytes,
    },
    /// Deciding extensions are asked: answered by `SessionInput::Decided`, or not at all.
    Decide {
        session: SessionId,
        token: Token,
        question: Arc<Question>,
    },
    Log(LogEvent),
    OperatorDone {
        session: SessionId,
        token: Token,
        completion: Completion,
    },
    /// What a master tells a session of the node's own.
    OperatorNotice {
        session: SessionId,
        notice: Notice,
    },
    Sessions {
        token: Token,
        lines: Vec<SessionLine>,
    },
    Kicked {
        token: Token,
        count: u64,
    },
    /// The answer to [`Inward::KickUser`]: nodes that have not said that they did. They are told again when they are reached.
    KickTold {
        token: Token,
        unanswered: Vec<NodeId>,
    },
    Loaded {
        token: Token,
        loaded: bool,
    },
    /// The answer to [`Inward::Client`].
    ClientDone {
        origin: u64,
        response: Box<dds::Response>,
    },
    Passed(Passed),
    /// To the readers of event logs on this node.
    Wake(Wake),
    /// The answer to [`Inward::Scrub`]. `missed`: nodes that did not do their part.
    Scrubbed {
        token: Token,
        round: scrub::Round,
        missed: Vec<NodeId>,
    },
    Neighbour {
        group: GroupId,
        message: Neighbour,
    },
    /// To another node, if it can be reached; lost otherwise.
    Peer {
        to: NodeId,
        packet: Packet,
    },
    Standing(Standing),
    /// The answer to [`Inward::Command`].
    Decided {
        token: Token,
        verdict: Verdict,
    },
    /// The directory has loaded, here or elsewhere: the node may say it is ready.
    Ready,
}

/// What a connection shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionOrder {
    Send(Bytes),
    AwaitDrained,
    PauseReading,
    ResumeReading,
    StartTls,
    /// What was read has been given to the machine: more may be read.
    InputTaken,
    Close,
}
