//! What travels: between the world and a worker group, and between the machines of a group.

use crate::LiveLimits;
use crate::following::News;
use crate::letter::Letter;
use crate::names::GroupId;
use crate::session::SessionLine;
use bytes::Bytes;
use dds::cluster::{Command, Delta, GroupChange, NodeId, Session, Verdict};
use dds::wire::RequestId;
use dds::{
    Durability, Group, GroupVersion, PartitionId, Read, ReadDone, StoreError, control, links,
    replica,
};
use fsm::{Duration, Token};
use mailstore::directory::HashVerdict;
use mailstore::face::{
    Completion, LogEvent, Notice, Peer, SessionId, SessionInput, Task, TaskRefusal, UserId,
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
    /// A group is durable, or was refused, `delay` after it was handed over.
    Stored {
        ticket: Ticket,
        result: Result<(), StoreError>,
        delay: Duration,
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
    /// How much room the store has: when it is short, nothing is accepted that could not be kept.
    SpaceIs(Space),
    /// The operator has set other limits.
    LimitsAre(Box<LiveLimits>),
    /// The node stops: sessions end politely.
    ShutDown,
    /// The group's thread ends once nothing is queued. For the executor; machines don't see it.
    Stop,
}

/// Room in the store, as admission sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    #[default]
    Ample,
    /// Deliveries are refused for now; everybody else works on.
    Low,
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
    /// The seat of a partition leads no more.
    MastersEnd {
        partition: PartitionId,
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
    Loaded {
        token: Token,
        loaded: bool,
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
