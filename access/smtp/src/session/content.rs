//! DATA and BDAT: content comes in, is framed, and is kept or read to its end.

use super::conversation::Conversation;
use super::state::{Advance, State};
use crate::Limits;
use crate::Mode;
use crate::codec::reply::{self, Reply};
use crate::codec::{Framer, Framing, LastChunk, Progress};
use crate::message::{Envelope, Fault, Intake, Message, Refusing, Taking};
use fsm::{Cx, Digest, Token};
use mailstore::face::{Completion, SessionEffect};

/// Content that is being read.
#[derive(Debug)]
pub struct Content {
    intake: Intake,
    extent: Extent,
}

/// How far the content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    ToDot,
    Chunk { left: u64, last: LastChunk },
}

impl Content {
    fn take(&mut self, cx: &mut Cx<'_, SessionEffect>, input: &[u8], limits: &Limits) -> Progress {
        let Self { intake, extent } = self;
        match extent {
            Extent::ToDot => intake.take(cx, input, limits),
            Extent::Chunk { left, last: _ } => {
                let here = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                intake.take(cx, &input[..here], limits);
                *left -= here as u64;
                if *left == 0 { Progress::Ended { used: here } } else { Progress::More }
            }
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        self.intake.digest(digest);
        match self.extent {
            Extent::ToDot => {}
            Extent::Chunk { left, last: _ } => digest.word(left),
        }
    }

    pub fn chunks_under_way(&self) -> usize {
        self.intake.chunks_under_way()
    }

    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) {
        self.intake.abandon(cx);
    }

    pub fn on_completed(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        token: Token,
        completion: Completion,
    ) {
        self.intake.on_completed(cx, token, completion);
    }
}

impl Conversation {
    pub(super) fn on_data(&mut self) {
        let envelope = match self.takes_content() {
            Ok(envelope) => envelope,
            Err(refusal) => return self.refuse(refusal),
        };
        self.reply(reply::GO_AHEAD);
        let intake = self.intake(*envelope, Framing::Dotted);
        self.state = State::Content(Box::new(Content { intake, extent: Extent::ToDot }));
    }

    fn intake(&self, envelope: Envelope, framing: Framing) -> Intake {
        let framer = Framer::new(framing, self.mode.line_endings());
        let message = Message::new(envelope, self.account.clone(), &self.limits);
        Intake::new(message, framer)
    }

    /// RFC 5321 4.1.1.4: the envelope, if it has recipients; else why not. What follows DATA is then parsed as commands.
    fn takes_content(&mut self) -> Result<Box<Envelope>, Reply> {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Envelope(envelope) if !envelope.accepted.is_empty() => Ok(envelope),
            State::Envelope(envelope) => {
                self.state = State::Envelope(envelope);
                // RFC 2033 4.2 asks for 503 where no RCPT succeeded, RFC 5321 3.3 leaves the choice.
                Err(match self.mode {
                    Mode::Lmtp => reply::RECIPIENT_FIRST,
                    Mode::Smtp | Mode::Submission => reply::NO_VALID_RECIPIENTS,
                })
            }
            State::BetweenChunks(intake) => {
                self.state = State::BetweenChunks(intake);
                // RFC 3030 section 2: DATA and BDAT cannot be mixed.
                Err(reply::BDAT_UNDER_WAY)
            }
            state => {
                self.state = state;
                Err(reply::MAIL_FIRST)
            }
        }
    }

    pub(super) fn on_bdat(&mut self, cx: &mut Cx<'_, SessionEffect>, bytes: u64, last: LastChunk) {
        let intake = match std::mem::replace(&mut self.state, State::Ready) {
            State::BetweenChunks(intake) => *intake,
            State::Envelope(envelope) if !envelope.accepted.is_empty() => {
                self.intake(*envelope, Framing::Counted)
            }
            state => {
                // RFC 3030 section 2: the octets of a refused chunk are read all the same.
                let then = Box::new(state);
                self.state = State::Skipping { left: bytes, then };
                if bytes == 0 {
                    self.on_skipped();
                }
                return;
            }
        };
        let extent = Extent::Chunk { left: bytes, last };
        let content = Content { intake, extent };
        if bytes == 0 {
            self.on_content_ended(cx, content);
        } else {
            self.state = State::Content(Box::new(content));
        }
    }

    pub(super) fn on_skipped_input(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        input: &[u8],
    ) -> Advance {
        let State::Skipping { left, then: _ } = &mut self.state else {
            return Advance::Used(0);
        };
        let here = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        *left -= here as u64;
        let done = *left == 0;
        self.note_content(cx, here);
        if done {
            self.on_skipped();
        }
        Advance::Used(here)
    }

    fn on_skipped(&mut self) {
        if let State::Skipping { left: _, then } = std::mem::replace(&mut self.state, State::Ready)
        {
            let refusal = match &*then {
                State::Envelope(_) if self.mode == Mode::Lmtp => reply::RECIPIENT_FIRST,
                State::Envelope(_) => reply::NO_VALID_RECIPIENTS,
                _ => reply::MAIL_FIRST,
            };
            self.state = *then;
            self.refuse(refusal);
        }
    }

    /// protocols.md: a client that sends too slowly is one that sends nothing.
    fn note_content(&mut self, cx: &Cx<'_, SessionEffect>, bytes: usize) {
        self.content_since += bytes as u64;
        if self.content_since >= self.limits.content_progress_bytes {
            self.content_since = 0;
            self.progress = cx.mono();
        }
    }

    pub(super) fn on_content_input(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        input: &[u8],
    ) -> Advance {
        let State::Content(content) = &mut self.state else { return Advance::Used(0) };
        let progress = content.take(cx, input, &self.limits);
        cx.budget().spend(input.len() as u64 / 64);
        match progress {
            Progress::More => {
                self.note_content(cx, input.len());
                Advance::Used(input.len())
            }
            Progress::Ended { used } => {
                self.progress = cx.mono();
                self.content_since = 0;
                if let State::Content(content) = std::mem::replace(&mut self.state, State::Ready) {
                    self.on_content_ended(cx, *content);
                }
                Advance::Used(used)
            }
        }
    }

    fn on_content_ended(&mut self, cx: &mut Cx<'_, SessionEffect>, content: Content) {
        let Content { mut intake, extent } = content;
        if let Extent::Chunk { left: _, last: LastChunk::MoreFollow } = extent {
            match &intake.taking {
                Taking::Keeping(_) => self.reply(reply::CHUNK_OK),
                // RFC 3030 section 2: the client may only send RSET or QUIT now; further chunks are refused alike.
                Taking::Refusing(refusing) => {
                    let fault = refusing.fault;
                    self.refuse(fault.reply());
                    if fault == Fault::BareInContent {
                        return self.close(cx);
                    }
                }
            }
            self.state = State::BetweenChunks(Box::new(intake));
            return;
        }
        intake.finish(cx, &self.limits);
        match intake.taking {
            Taking::Keeping(message) => self.settle(cx, message),
            Taking::Refusing(refusing) => self.refuse_message(cx, &refusing),
        }
    }

    /// The message is complete and in order; it is handed over once all of it is durable and judged.
    fn settle(&mut self, cx: &mut Cx<'_, SessionEffect>, message: Box<Message>) {
        if message.is_settled() {
            self.on_whole(cx, message.into_whole());
        } else {
            self.state = State::Settling(message);
        }
    }

    pub(super) fn on_settling(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        mut message: Box<Message>,
        token: Token,
        completion: Completion,
    ) {
        match message.on_completed(token, completion) {
            Ok(()) => self.settle(cx, message),
            Err(fault) => {
                let refusing = Refusing::of(&message.abandon(cx), fault);
                self.refuse_message(cx, &refusing);
            }
        }
    }

    /// The final answer to a message that is not kept.
    fn refuse_message(&mut self, cx: &mut Cx<'_, SessionEffect>, refusing: &Refusing) {
        let &Refusing { fault, recipients, ref recipient } = refusing;
        let refusal = fault.reply();
        self.log_refused(cx, recipient, refusal);
        self.tally.errors += 1;
        // RFC 2033 4.2: one reply for each recipient that was accepted.
        let replies = if self.mode == Mode::Lmtp { recipients } else { 1 };
        for _ in 0..replies {
            self.reply(refusal);
        }
        self.state = State::Ready;
        // protocols.md: whoever sends bare CR or LF may be about to smuggle.
        if fault == Fault::BareInContent {
            self.close(cx);
        }
    }
}
