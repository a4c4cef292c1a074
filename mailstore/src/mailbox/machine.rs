//! What can happen to the master of a user, and what it may ask of the world.

use super::matching::{MatchHits, MatchJob};
use crate::face::{
    AccountFacts, LogEvent, Notice, SessionId, Subscriber, TaskRefusal, UserDone, UserId, UserTask,
};
use fsm::{TimerKey, Token};

/// Everything that can happen to a [`super::Mailbox`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A session (or the delivery queue under a session id of its own) asks. Gets exactly one `Answer`.
    Asked {
        from: SessionId,
        token: Token,
        task: UserTask,
    },
    /// The completion of an `Effect::Dds`.
    DdsDone {
        token: Token,
        response: dds::Response,
    },
    /// What the directory knows of the account; once after the start and on every change.
    AccountIs(AccountFacts),
    /// The user is about to log in, perhaps: what is asked first is loaded meanwhile. Nothing is told, nothing is answered.
    Expected,
    /// The session ended: its watches, maildrop lock and pending sets go.
    SessionGone {
        session: SessionId,
    },
    /// The completion of an `Effect::Match`.
    Matched {
        token: Token,
        hits: Result<MatchHits, TaskRefusal>,
    },
    /// The account was removed: everything the user has goes. Ends with `Effect::Erased`.
    EraseAll,
    /// Another node is the master from now on, or nobody: what waits is refused, watchers are told.
    Ceased,
    TimerFired(TimerKey),
    /// After [`fsm::Cx::yield_now`].
    Resumed,
}

/// Everything a [`super::Mailbox`] may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The completion of `Asked`. `Err`: it was not done, and will not be.
    Answer {
        to: SessionId,
        token: Token,
        done: Result<UserDone, TaskRefusal>,
    },
    Dds {
        token: Token,
        request: dds::Request,
    },
    Notify {
        session: SessionId,
        notice: Notice,
    },
    /// Bodies to read and compare, off the worker: [`MatchJob::run`].
    Match {
        token: Token,
        job: MatchJob,
    },
    /// There are events that these subscribers have not read. Each is told once until it reads.
    Stirred {
        subscribers: Vec<Subscriber>,
    },
    Log(LogEvent),
    /// Nothing is under way and nobody watches: the machine may be dropped and made again later.
    Idle {
        user: UserId,
    },
    /// `EraseAll` is done, durably: the machine may be dropped.
    Erased {
        user: UserId,
    },
}
