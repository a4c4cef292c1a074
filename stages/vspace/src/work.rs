//! What travels: between the world and a worker group, and between the machines of a group.

use crate::LiveLimits;
use crate::names::GroupId;
use crate::session::SessionLine;
use bytes::Bytes;
use dds::{Group, PartitionId, Read, ReadDone, StoreError};
use fsm::{Duration, Token};
use mailstore::directory::HashVerdict;
use mailstore::face::{
    AccountFacts, Completion, Lane, LogEvent, Notice, Peer, SessionId, SessionInput, Task,
    TaskRefusal, UserId,
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
    Asked {
        from: SessionId,
        token: Token,
        lane: Lane,
        task: Task,
    },
    Answered {
        to: SessionId,
        token: Token,
        completion: Completion,
    },
    Notified {
        session: SessionId,
        notice: Notice,
    },
    SessionGone {
        session: SessionId,
        user: UserId,
    },
    /// An IMAP session logged in, or such a one ended: the group of the mailbox counts them, over all groups.
    ImapLoggedIn {
        session: SessionId,
        user: UserId,
    },
    ImapLoggedOut {
        user: UserId,
    },
    AskedAccount {
        user: UserId,
        group: GroupId,
    },
    AccountIs {
        user: UserId,
        facts: AccountFacts,
    },
    Expected {
        user: UserId,
    },
    Kick {
        user: UserId,
        reason: &'static str,
    },
    EraseUser {
        user: UserId,
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
    /// The directory has loaded: the node may say it is ready.
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
