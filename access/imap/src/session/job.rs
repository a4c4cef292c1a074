//! The command under way: one at a time.
//!
//! Each job owns its state; a signal consumes it and the outcome says what comes next.

use super::append::AppendJob;
use super::auth::AuthJob;
use super::copy::CopyJob;
use super::fetch::FetchJob;
use super::finish::Finish;
use super::idle::IdleJob;
use super::list::ListJob;
use super::prepare::Prepare;
use super::reply::Reply;
use super::search::SearchJob;
use super::select::SelectJob;
use super::shared::Turn;
use super::single::SingleJob;
use super::store::StoreJob;
use super::tell::{Unsaid, WithUid};
use crate::codec::Event;
use fsm::Token;
use mailstore::face::Completion;

/// A command under way.
#[derive(Debug)]
pub enum Job {
    /// STARTTLS: waits for the handshake.
    StartTls,
    Auth(AuthJob),
    /// One task, one answer.
    Single(SingleJob),
    List(Box<ListJob>),
    Select(Box<SelectJob>),
    Fetch(Box<FetchJob>),
    Store(Box<StoreJob>),
    Search(Box<SearchJob>),
    Copy(Box<CopyJob>),
    Append(Box<AppendJob>),
    Idle(IdleJob),
    /// The master forgot this session: the folder is opened again before the command begins.
    Prepare(Box<Prepare>),
    /// The command is done; what changed meanwhile is told before its answer.
    Finish(Box<Finish>),
}

/// What reaches a job.
#[derive(Debug)]
pub enum Signal {
    Completed {
        token: Token,
        completion: Completion,
    },
    Drained,
    Event(Event),
    /// The view has news, or it is time to ask for them again.
    News,
}

/// What a step of a job led to.
#[derive(Debug)]
pub enum Outcome {
    Wait(Job),
    /// The command is done.
    Answer(Reply),
    /// The same, and some of the changes go without saying.
    AnswerTelling(Reply, Unsaid, WithUid),
    /// The command is done, and nothing may be told in between.
    AnswerAtOnce(Reply),
    /// STARTTLS: the answer is sent and the handshake begins.
    BeginTls,
    /// The session ends with BYE.
    Bye(&'static str),
    /// LOGOUT: BYE, then the answer.
    Logout,
    /// Nothing sensible can be sent any more: the connection ends.
    Broken,
}

impl Job {
    /// Whether input is for this job and not for the next command.
    pub fn takes_events(&self) -> bool {
        match self {
            Self::Auth(job) => job.takes_events(),
            Self::Append(job) => job.takes_events(),
            Self::Idle(job) => job.takes_events(),
            Self::StartTls
            | Self::Single(_)
            | Self::List(_)
            | Self::Select(_)
            | Self::Fetch(_)
            | Self::Store(_)
            | Self::Search(_)
            | Self::Copy(_)
            | Self::Prepare(_)
            | Self::Finish(_) => false,
        }
    }

    /// Whether a literal is half sent.
    pub fn owes_bytes(&self) -> bool {
        match self {
            Self::Fetch(job) => job.owes_bytes(),
            Self::StartTls
            | Self::Auth(_)
            | Self::Single(_)
            | Self::List(_)
            | Self::Select(_)
            | Self::Store(_)
            | Self::Search(_)
            | Self::Copy(_)
            | Self::Append(_)
            | Self::Idle(_)
            | Self::Prepare(_)
            | Self::Finish(_) => false,
        }
    }

    /// The token of an `OpenFolder` under way: what it opens must be closed again.
    pub fn opening(&self) -> Option<Token> {
        match self {
            Self::Select(job) => job.opening(),
            Self::Fetch(job) => job.opening(),
            Self::Store(job) => job.opening(),
            Self::Idle(job) => job.opening(),
            Self::Prepare(job) => job.opening(),
            Self::Finish(job) => job.opening(),
            Self::StartTls
            | Self::Auth(_)
            | Self::Single(_)
            | Self::List(_)
            | Self::Search(_)
            | Self::Copy(_)
            | Self::Append(_) => None,
        }
    }

    pub fn on(self, turn: &mut Turn<'_, '_>, signal: Signal) -> Outcome {
        match signal {
            Signal::Completed { token, completion } => self.on_completed(turn, token, completion),
            Signal::Drained => self.on_drained(turn),
            Signal::Event(event) => self.on_event(turn, event),
            Signal::News => match self {
                Self::Idle(job) => job.on_news(turn),
                other @ (Self::StartTls
                | Self::Auth(_)
                | Self::Single(_)
                | Self::List(_)
                | Self::Select(_)
                | Self::Fetch(_)
                | Self::Store(_)
                | Self::Search(_)
                | Self::Copy(_)
                | Self::Append(_)
                | Self::Prepare(_)
                | Self::Finish(_)) => Outcome::Wait(other),
            },
        }
    }

    fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        match self {
            Self::StartTls => Outcome::Wait(self),
            Self::Auth(job) => job.on_completed(turn, token, completion),
            Self::Single(job) => job.on_completed(turn, token, completion),
            Self::List(job) => job.on_completed(turn, token, completion),
            Self::Select(job) => job.on_completed(turn, token, completion),
            Self::Fetch(job) => job.on_completed(turn, token, completion),
            Self::Store(job) => job.on_completed(turn, token, completion),
            Self::Search(job) => job.on_completed(turn, token, completion),
            Self::Copy(job) => job.on_completed(turn, token, completion),
            Self::Append(job) => job.on_completed(turn, token, completion),
            Self::Idle(job) => job.on_completed(turn, token, completion),
            Self::Prepare(job) => job.on_completed(turn, token, completion),
            Self::Finish(job) => job.on_completed(turn, token, completion),
        }
    }

    fn on_drained(self, turn: &mut Turn<'_, '_>) -> Outcome {
        match self {
            Self::List(job) => job.on_drained(turn),
            Self::Select(job) => job.on_drained(turn),
            Self::Fetch(job) => job.on_drained(turn),
            Self::Store(job) => job.on_drained(turn),
            Self::Idle(job) => job.on_drained(turn),
            Self::Prepare(job) => job.on_drained(turn),
            Self::Finish(job) => job.on_drained(turn),
            Self::StartTls
            | Self::Auth(_)
            | Self::Single(_)
            | Self::Search(_)
            | Self::Copy(_)
            | Self::Append(_) => Outcome::Wait(self),
        }
    }

    fn on_event(self, turn: &mut Turn<'_, '_>, event: Event) -> Outcome {
        match self {
            Self::Auth(job) => job.on_event(turn, event),
            Self::Append(job) => job.on_event(turn, event),
            Self::Idle(job) => job.on_event(turn, event),
            Self::StartTls
            | Self::Single(_)
            | Self::List(_)
            | Self::Select(_)
            | Self::Fetch(_)
            | Self::Store(_)
            | Self::Search(_)
            | Self::Copy(_)
            | Self::Prepare(_)
            | Self::Finish(_) => Outcome::Wait(self),
        }
    }
}
