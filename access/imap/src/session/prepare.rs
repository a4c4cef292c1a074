//! A command that came while the master had forgotten this session: the folder is opened again
//! first.

use super::copy;
use super::dispatch;
use super::job::{Job, Outcome};
use super::reply::Reply;
use super::shared::Turn;
use super::sync::{How, Sync, SyncStep};
use super::view::ExpungeRule;
use crate::codec::{CommandBody, StoreCommand, Tag};
use fsm::Token;
use mailstore::face::{Completion, TaskRefusal};

/// A command that waits for its folder.
#[derive(Debug)]
pub struct Prepare {
    tag: Tag,
    command: CommandBody,
    sync: Sync,
}

impl Prepare {
    pub fn start(turn: &mut Turn<'_, '_>, tag: Tag, command: CommandBody) -> Outcome {
        // Whether the command permits expunges is known at its end; sequence numbers in it are of
        // the client's view.
        let step = Sync::start(turn, How::all(ExpungeRule::Withheld));
        Self::on_step(turn, (tag, command), step)
    }

    fn on_step(
        turn: &mut Turn<'_, '_>,
        (tag, command): (Tag, CommandBody),
        step: SyncStep,
    ) -> Outcome {
        match step {
            SyncStep::Wait(sync) => {
                Outcome::Wait(Job::Prepare(Box::new(Self { tag, command, sync })))
            }
            SyncStep::Done(_) => dispatch::begin(turn, &tag, spoken(command)),
            SyncStep::Failed => {
                let reply = Reply::refused(TaskRefusal::Unavailable);
                match command {
                    CommandBody::Close => copy::close_untidy(turn, &reply),
                    _ => Outcome::AnswerAtOnce(reply),
                }
            }
            SyncStep::Bye(reason) => Outcome::Bye(reason),
        }
    }

    pub fn opening(&self) -> Option<Token> {
        self.sync.opening()
    }

    pub fn on_completed(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        let Self { tag, command, sync } = *self;
        let step = sync.on_completed(turn, token, completion);
        Self::on_step(turn, (tag, command), step)
    }

    pub fn on_drained(self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        let Self { tag, command, sync } = *self;
        let step = sync.on_drained(turn);
        Self::on_step(turn, (tag, command), step)
    }
}

/// Flags were told in this command already: a client could not know whether a silent STORE came
/// before them or after.
fn spoken(command: CommandBody) -> CommandBody {
    match command {
        CommandBody::Store(store) => CommandBody::Store(StoreCommand { silent: false, ..store }),
        other => other,
    }
}
