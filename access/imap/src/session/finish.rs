//! The end of a command: what changed meanwhile is told, then the answer.

use super::job::{Job, Outcome};
use super::reply::Reply;
use super::shared::Turn;
use super::sync::{self, How, Sync, SyncStep};
use super::tell::{Unsaid, WithUid};
use super::view::{ExpungeRule, News};
use fsm::Token;
use mailstore::face::Completion;

/// A command that is done but for its news.
#[derive(Debug)]
pub struct Finish {
    reply: Reply,
    sync: Sync,
}

impl Finish {
    /// Tells what there is to tell, if anything.
    pub fn start(
        turn: &mut Turn<'_, '_>,
        reply: Reply,
        (unsaid, with_uid): (Unsaid, WithUid),
    ) -> Outcome {
        match turn.shared.view().map(|view| view.news) {
            None | Some(News::None) => {
                match reply.expunges {
                    ExpungeRule::Allowed => sync::release_expunges(turn),
                    ExpungeRule::Withheld => {}
                }
                Outcome::AnswerAtOnce(reply)
            }
            Some(News::Due | News::MasterLost) => {
                let step = Sync::start(turn, How { rule: reply.expunges, unsaid, with_uid });
                Self::on_step(reply, step)
            }
        }
    }

    fn on_step(reply: Reply, step: SyncStep) -> Outcome {
        match step {
            SyncStep::Wait(sync) => Outcome::Wait(Job::Finish(Box::new(Self { reply, sync }))),
            SyncStep::Done(_) | SyncStep::Failed => Outcome::AnswerAtOnce(reply),
            SyncStep::Bye(reason) => Outcome::Bye(reason),
        }
    }

    pub fn opening(&self) -> Option<Token> {
        self.sync.opening()
    }

    pub fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        let Self { reply, sync } = self;
        let step = sync.on_completed(turn, token, completion);
        Self::on_step(reply, step)
    }

    pub fn on_drained(self, turn: &mut Turn<'_, '_>) -> Outcome {
        let Self { reply, sync } = self;
        let step = sync.on_drained(turn);
        Self::on_step(reply, step)
    }
}
