//! APPEND (RFC 9051 6.3.12) and MULTIAPPEND (RFC 3502), with UIDPLUS (RFC 4315), BINARY (RFC 3516
//! 4.4) and UTF8 (RFC 9755 4).
//!
//! States: `Between` -> `Receiving` -> `Settling` -> `Between` ...; `Staging` hands a message over
//! while another follows; `Showing` ends it.
//! Invariants: one message goes in by one task; several are staged, and shown by one task or not at
//! all; after a refusal the framer passes over what the client still sends.

mod body;
mod line_ends;

use super::job::{Job, Outcome};
use super::limits::Limits;
use super::reply::Reply;
use super::shared::Turn;
use super::view::News;
use crate::codec::{
    AppendEvent, AppendMessage, Event, FlagList, LiteralKind, LiteralSync, Mailbox,
};
use body::{BodyError, Incoming};
use fsm::Token;
use mailstore::face::{
    BlobTask, Body, Completion, DeliveryId, FolderName, NewMessage, PendingId, UserDone, UserTask,
};

/// An APPEND under way.
#[derive(Debug)]
pub struct AppendJob {
    to: FolderName,
    /// The set of messages handed over so far.
    pending: Option<PendingId>,
    /// A message that arrived whole and was not handed over yet.
    held: Option<NewMessage>,
    messages: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Before a message, or behind one.
    Between,
    Receiving {
        incoming: Box<Incoming>,
        literal: LiteralKind,
    },
    /// All bytes are there; chunks are still being written.
    Settling {
        incoming: Box<Incoming>,
        literal: LiteralKind,
    },
    /// A message is handed over; `next` waits for its turn, or the end of the command.
    Staging {
        token: Token,
        next: Next,
    },
    Showing {
        token: Token,
    },
}

/// What comes behind the message being handed over.
#[derive(Debug)]
enum Next {
    Message(Box<AppendMessage>),
    End,
}

/// Bytes that a client still sends of a refused message before the connection ends instead.
const DRAIN_BYTES_MAX: u64 = 256 * 1024 * 1024;

impl AppendJob {
    /// At [`AppendEvent::Begin`].
    pub fn start(turn: &mut Turn<'_, '_>, mailbox: Mailbox) -> Outcome {
        match mailbox {
            Ok(to) => Outcome::Wait(Job::Append(Box::new(Self {
                to,
                pending: None,
                held: None,
                messages: 0,
                stage: Stage::Between,
            }))),
            Err(error) => refuse(turn, Reply::no(format!("[CANNOT] {error}"))),
        }
    }

    fn wait(mut self: Box<Self>, stage: Stage) -> Outcome {
        self.stage = stage;
        Outcome::Wait(Job::Append(self))
    }

    pub fn takes_events(&self) -> bool {
        match &self.stage {
            Stage::Between => true,
            // A literal at its end still takes the event that says so.
            Stage::Receiving { .. } => true,
            Stage::Settling { .. } | Stage::Staging { .. } | Stage::Showing { .. } => false,
        }
    }

    /// Whether bytes must wait for chunks to be written.
    pub fn is_congested(&self, limits: &Limits) -> bool {
        match &self.stage {
            Stage::Receiving { incoming, literal: _ } => !incoming.has_room(limits),
            Stage::Between
            | Stage::Settling { .. }
            | Stage::Staging { .. }
            | Stage::Showing { .. } => false,
        }
    }

    pub fn on_event(mut self: Box<Self>, turn: &mut Turn<'_, '_>, event: Event) -> Outcome {
        let event = match event {
            Event::Append(event) => event,
            Event::Bad { tag: _, reason } => {
                self.discard(turn);
                return Outcome::Answer(Reply::bad(reason));
            }
            Event::TooLong { tag: _, draining: _ } => {
                self.discard(turn);
                return Outcome::Answer(Reply::bad("line too long"));
            }
            Event::Command(_) | Event::Continue | Event::Line(_) => {
                return Outcome::Wait(Job::Append(self));
            }
        };
        match (std::mem::replace(&mut self.stage, Stage::Between), event) {
            (Stage::Between, AppendEvent::Message(message)) => self.on_message(turn, message),
            (Stage::Between, AppendEvent::End) => self.on_end(turn),
            (Stage::Receiving { mut incoming, literal }, AppendEvent::Data(data)) => {
                match incoming.push(turn, &data) {
                    Ok(()) => self.wait(Stage::Receiving { incoming, literal }),
                    Err(error) => {
                        incoming.discard(turn);
                        self.fail(turn, (error, literal))
                    }
                }
            }
            (Stage::Receiving { mut incoming, literal }, AppendEvent::LiteralEnd) => {
                match incoming.end(turn) {
                    Ok(()) => self.settle(incoming, literal),
                    Err(error) => {
                        incoming.discard(turn);
                        self.fail(turn, (error, literal))
                    }
                }
            }
            (
                stage,
                AppendEvent::Begin { .. }
                | AppendEvent::Message(_)
                | AppendEvent::Data(_)
                | AppendEvent::LiteralEnd
                | AppendEvent::End,
            ) => self.wait(stage),
        }
    }

    fn settle(mut self: Box<Self>, incoming: Box<Incoming>, literal: LiteralKind) -> Outcome {
        if !incoming.is_settled() {
            return self.wait(Stage::Settling { incoming, literal });
        }
        self.held = Some(incoming.into_message());
        self.wait(Stage::Between)
    }

    fn on_message(mut self: Box<Self>, turn: &mut Turn<'_, '_>, message: AppendMessage) -> Outcome {
        if let Some(held) = self.held.take() {
            let next = Next::Message(Box::new(message));
            return self.stage_message(turn, held, next);
        }
        self.accept(turn, &message)
    }

    fn stage_message(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        held: NewMessage,
        next: Next,
    ) -> Outcome {
        let task =
            UserTask::StageAppend { to: self.to.clone(), pending: self.pending, message: held };
        let token = turn.submit_user(task);
        self.wait(Stage::Staging { token, next })
    }

    /// Judges an announced message, and takes it.
    fn accept(mut self: Box<Self>, turn: &mut Turn<'_, '_>, message: &AppendMessage) -> Outcome {
        match self.judge(turn, message) {
            Ok(flags) => {
                self.messages += 1;
                match message.sync {
                    LiteralSync::Synchronizing => {
                        turn.shared.output.put("+ OK\r\n");
                    }
                    LiteralSync::NonSynchronizing => {}
                }
                turn.shared.framer.accept_literal();
                let incoming = Box::new(Incoming::new(message, flags));
                self.wait(Stage::Receiving { incoming, literal: message.literal })
            }
            Err(reply) => {
                self.discard(turn);
                refuse(turn, reply)
            }
        }
    }

    fn judge(&self, turn: &Turn<'_, '_>, message: &AppendMessage) -> Result<FlagList, Reply> {
        let limits = &turn.shared.limits;
        if message.bytes > limits.append_bytes_max {
            // RFC 7889 4.
            return Err(Reply::no(format!(
                "[TOOBIG] a message has at most {} bytes",
                limits.append_bytes_max
            )));
        }
        if self.messages >= limits.append_messages_max {
            return Err(Reply::no("[LIMIT] too many messages in one APPEND"));
        }
        if message.bytes == 0 {
            // RFC 3502 6: a client gives an APPEND up by announcing an empty message.
            return Err(Reply::no("an empty message ends APPEND"));
        }
        match &message.flags {
            Ok(flags) => Ok(flags.clone()),
            Err(error) => Err(Reply::no(format!("[LIMIT] {error}"))),
        }
    }

    fn on_end(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        let Some(message) = self.held.take() else {
            self.discard(turn);
            return Outcome::Answer(Reply::bad("no message"));
        };
        if self.pending.is_some() {
            return self.stage_message(turn, message, Next::End);
        }
        let once = Some(DeliveryId::new(turn.cx.wall(), turn.cx.rng().next_u64()));
        let token = turn.submit_user(UserTask::Append { to: self.to.clone(), message, once });
        self.wait(Stage::Showing { token })
    }

    pub fn on_completed(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Receiving { mut incoming, literal } => {
                match incoming.on_written(token, &completion) {
                    Ok(()) => self.wait(Stage::Receiving { incoming, literal }),
                    Err(error) => {
                        incoming.discard(turn);
                        self.fail(turn, (error, literal))
                    }
                }
            }
            Stage::Settling { mut incoming, literal } => {
                match incoming.on_written(token, &completion) {
                    Ok(()) => self.settle(incoming, literal),
                    Err(error) => {
                        incoming.discard(turn);
                        self.fail(turn, (error, literal))
                    }
                }
            }
            Stage::Staging { token: awaited, next } if awaited == token => {
                self.on_staged(turn, completion, next)
            }
            Stage::Showing { token: awaited } if awaited == token => {
                Self::on_shown(turn, completion)
            }
            stage @ (Stage::Between | Stage::Staging { .. } | Stage::Showing { .. }) => {
                self.wait(stage)
            }
        }
    }

    fn on_staged(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        completion: Completion,
        next: Next,
    ) -> Outcome {
        let reply = match completion {
            Completion::User(UserDone::Staged { pending }) => {
                self.pending = Some(pending);
                return match next {
                    Next::Message(message) => self.accept(turn, &message),
                    Next::End => {
                        let token = turn.submit_user(UserTask::CommitAppend { pending });
                        self.wait(Stage::Showing { token })
                    }
                };
            }
            Completion::User(UserDone::Failed(error)) => Reply::failed_target(&error),
            Completion::Refused(refusal) => Reply::refused(refusal),
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => Reply::bug(),
        };
        self.discard(turn);
        match next {
            Next::Message(_) => refuse(turn, reply),
            Next::End => Outcome::Answer(reply),
        }
    }

    fn on_shown(turn: &mut Turn<'_, '_>, completion: Completion) -> Outcome {
        match completion {
            Completion::User(UserDone::Appended { folder, uid_validity, uids }) => {
                if let Some(view) = turn.shared.view_mut()
                    && view.folder == folder
                    && view.news == News::None
                {
                    // RFC 9051 6.3.12: into the selected mailbox: EXISTS comes with the answer.
                    view.news = News::Due;
                }
                let text = format!("[APPENDUID {uid_validity} {uids}] APPEND completed");
                Outcome::Answer(Reply::ok(text))
            }
            Completion::User(UserDone::Failed(error)) => {
                Outcome::Answer(Reply::failed_target(&error))
            }
            Completion::Refused(refusal) => Outcome::Answer(Reply::refused(refusal)),
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => Outcome::Answer(Reply::bug()),
        }
    }

    fn fail(mut self, turn: &mut Turn<'_, '_>, why: (BodyError, LiteralKind)) -> Outcome {
        self.discard(turn);
        let reply = match why {
            // RFC 3516 4.4: NUL could not be given back by BODY[].
            (BodyError::Nul, LiteralKind::Binary) => {
                Reply::no("[UNKNOWN-CTE] a message must not hold NUL")
            }
            (BodyError::Nul, LiteralKind::Text | LiteralKind::Utf8) => {
                Reply::no("[CANNOT] a message must not hold NUL")
            }
            (BodyError::TooLarge, _) => Reply::no("[TOOBIG] the message is too large"),
            (BodyError::Refused(refusal), _) => Reply::refused(refusal),
            (BodyError::Bug, _) => Reply::bug(),
        };
        refuse(turn, reply)
    }

    /// Forgets what was handed over and what is held.
    pub fn discard(&mut self, turn: &mut Turn<'_, '_>) {
        if let Some(pending) = self.pending.take() {
            turn.submit_user(UserTask::DropAppend { pending });
        }
        if let Some(NewMessage { body: Body::Blob { blob, .. }, .. }) = self.held.take() {
            turn.submit_blob(BlobTask::Drop { blob });
        }
    }

    /// The connection is gone.
    pub fn abandon(mut self, turn: &mut Turn<'_, '_>) {
        match std::mem::replace(&mut self.stage, Stage::Between) {
            Stage::Receiving { incoming, literal: _ }
            | Stage::Settling { incoming, literal: _ } => {
                incoming.discard(turn);
            }
            Stage::Between | Stage::Staging { .. } | Stage::Showing { .. } => {}
        }
        self.discard(turn);
    }
}

/// Answers an APPEND whose rest is still to come.
fn refuse(turn: &mut Turn<'_, '_>, reply: Reply) -> Outcome {
    // `protocols.md`: {n+} is drained, or BYE.
    if turn.shared.framer.abandon_append() > DRAIN_BYTES_MAX {
        return Outcome::Bye("[TOOBIG] more than is worth reading");
    }
    Outcome::Answer(reply)
}
