//! IDLE (RFC 2177): changes are told at once, until DONE.
//!
//! States: `Quiet` <-> `Telling`; DONE in `Telling` waits for its end.

use super::job::{Job, Outcome};
use super::reply::Reply;
use super::shared::Turn;
use super::sync::{How, Sync, SyncStep};
use super::timers;
use super::view::{ExpungeRule, News};
use crate::codec::Event;
use fsm::Token;
use mailstore::face::Completion;

/// An IDLE under way.
#[derive(Debug)]
pub enum IdleJob {
    Quiet,
    Telling(Box<Sync>),
}

impl IdleJob {
    pub fn start(turn: &mut Turn<'_, '_>) -> Outcome {
        turn.shared.framer.expect_line();
        turn.shared.output.put("+ idling\r\n");
        // Expunges that a FETCH before had to withhold may be told now.
        super::sync::release_expunges(turn);
        Self::Quiet.on_news(turn)
    }

    /// While changes are told, DONE waits in the framer.
    pub fn takes_events(&self) -> bool {
        match self {
            Self::Quiet => true,
            Self::Telling(_) => false,
        }
    }

    pub fn opening(&self) -> Option<Token> {
        match self {
            Self::Quiet => None,
            Self::Telling(sync) => sync.opening(),
        }
    }

    /// Asks for news when there are some.
    pub fn on_news(self, turn: &mut Turn<'_, '_>) -> Outcome {
        match self {
            Self::Telling(sync) => Outcome::Wait(Job::Idle(Self::Telling(sync))),
            Self::Quiet => match turn.shared.view().map(|view| view.news) {
                None | Some(News::None) => Outcome::Wait(Job::Idle(Self::Quiet)),
                // A client that does not read hears no more until it has.
                Some(News::Due | News::MasterLost) if turn.shared.output_is_full() => {
                    Outcome::Wait(Job::Idle(Self::Quiet))
                }
                Some(News::Due | News::MasterLost) => {
                    let step = Sync::start(turn, How::all(ExpungeRule::Allowed));
                    Self::on_step(turn, step)
                }
            },
        }
    }

    fn on_step(turn: &mut Turn<'_, '_>, step: SyncStep) -> Outcome {
        match step {
            SyncStep::Wait(sync) => Outcome::Wait(Job::Idle(Self::Telling(Box::new(sync)))),
            // News may have come while these were told.
            SyncStep::Done(_) => Self::Quiet.on_news(turn),
            SyncStep::Failed => {
                turn.cx.arm(timers::RETRY, turn.shared.limits.retry_time);
                Outcome::Wait(Job::Idle(Self::Quiet))
            }
            SyncStep::Bye(reason) => Outcome::Bye(reason),
        }
    }

    pub fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        match self {
            Self::Quiet => Outcome::Wait(Job::Idle(Self::Quiet)),
            Self::Telling(sync) => {
                let step = sync.on_completed(turn, token, completion);
                Self::on_step(turn, step)
            }
        }
    }

    pub fn on_drained(self, turn: &mut Turn<'_, '_>) -> Outcome {
        match self {
            Self::Quiet => self.on_news(turn),
            Self::Telling(sync) => {
                let step = sync.on_drained(turn);
                Self::on_step(turn, step)
            }
        }
    }

    pub fn on_event(self, _turn: &mut Turn<'_, '_>, event: Event) -> Outcome {
        match event {
            // RFC 2177 3: DONE, in any case.
            Event::Line(line) if line.eq_ignore_ascii_case(b"DONE") => {
                Outcome::Answer(Reply::ok("IDLE completed"))
            }
            Event::Line(_) => Outcome::Answer(Reply::bad("DONE was expected")),
            Event::Bad { .. } | Event::TooLong { .. } => {
                Outcome::Answer(Reply::bad("DONE was expected"))
            }
            Event::Command(_) | Event::Continue | Event::Append(_) => {
                Outcome::Wait(Job::Idle(self))
            }
        }
    }
}
