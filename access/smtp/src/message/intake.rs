//! Content as it is taken in: framed, then either kept, or read to its end and refused.

use super::{BodySink, Envelope, Fault, HeaderWatch, Sunk, Watched};
use crate::codec::{Framer, Framing, LineEndings, Progress};
use crate::{Limits, Mode};
use fsm::{Cx, Token};
use mailstore::face::{BlobDone, Body, Columns, Completion, SessionEffect};
use std::sync::Arc;

/// The content of one transaction.
#[derive(Debug)]
pub struct Intake {
    framer: Framer,
    pub taking: Taking,
}

/// What becomes of the content.
#[derive(Debug)]
pub enum Taking {
    Keeping(Box<Message>),
    Refusing(Refusing),
}

/// A message that will be refused at its end.
#[derive(Debug)]
pub struct Refusing {
    pub fault: Fault,
    /// Whom it was for: LMTP answers each.
    pub recipients: usize,
    /// The first of them, for the log.
    pub recipient: Arc<str>,
}

/// A message that is being kept.
#[derive(Debug)]
pub struct Message {
    pub envelope: Envelope,
    pub sink: BodySink,
    header: HeaderWatch,
}

impl Message {
    #[must_use]
    pub fn new(envelope: Envelope, _mode: Mode, limits: &Limits) -> Self {
        let announced = envelope.announced_bytes;
        let sink = BodySink::new(announced, limits.message_bytes_max, limits.chunk_life);
        Self { envelope, header: HeaderWatch::default(), sink }
    }

    /// Takes text of the message: dots un-stuffed, line ends as they shall stay.
    fn push(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        text: &[u8],
        limits: &Limits,
    ) -> Result<(), Fault> {
        match self.header.push(text, limits)? {
            Watched::Header | Watched::Ended { .. } | Watched::Text => {}
        }
        self.sink.push(cx, text)
    }

    /// No more text comes.
    fn finish(&mut self, cx: &mut Cx<'_, SessionEffect>) -> Result<(), Fault> {
        self.sink.finish(cx);
        Ok(())
    }

    /// Takes the message apart, once settled: whom it is for, its bytes, and what was read from it.
    #[must_use]
    pub fn into_parts(self) -> (Envelope, Body, Arc<Columns>) {
        (self.envelope, self.sink.body(), Arc::new(Columns::default()))
    }

    /// Nothing that was asked for the message is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.sink.under_way() == 0
    }

    /// Something that was asked for the message is done.
    ///
    /// # Errors
    /// The message cannot be kept.
    pub fn on_completed(&mut self, token: Token, completion: Completion) -> Result<(), Fault> {
        match (self.sink.on_written(token), completion) {
            (Sunk::Foreign, _) | (Sunk::Ours, Completion::Blob(BlobDone::Written)) => Ok(()),
            (Sunk::Ours, Completion::Refused(refusal)) => Err(Fault::Store(refusal)),
            (
                Sunk::Ours,
                Completion::Blob(BlobDone::Dropped)
                | Completion::Directory(_)
                | Completion::User(_)
                | Completion::Delivery(_),
            ) => panic!("PutChunk is answered with Written"),
        }
    }
}

impl Intake {
    #[must_use]
    pub fn new(message: Message, framer: Framer) -> Self {
        Self { framer, taking: Taking::Keeping(Box::new(message)) }
    }

    /// Takes content as it came over the wire.
    pub fn take(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        input: &[u8],
        limits: &Limits,
    ) -> Progress {
        let Self { framer, taking } = self;
        let progress = framer.push(input, &mut |text| taking.push(cx, text, limits));
        self.judge_bytes(cx);
        progress
    }

    /// All content has come.
    pub fn finish(&mut self, cx: &mut Cx<'_, SessionEffect>, limits: &Limits) {
        let Self { framer, taking } = self;
        if framer.framing() == Framing::Counted {
            framer.finish(&mut |text| taking.push(cx, text, limits));
        }
        self.judge_bytes(cx);
        if let Taking::Keeping(message) = &mut self.taking
            && let Err(fault) = message.finish(cx)
        {
            self.taking.refuse(cx, fault);
        }
    }

    /// RFC 5321 2.3.8 and 4.1.1.4: no bare CR or LF may be sent; NUL has no place in mail (RFC 5322 2.2).
    fn judge_bytes(&mut self, cx: &mut Cx<'_, SessionEffect>) {
        match self.framer.endings() {
            LineEndings::Strict if self.framer.is_broken() || self.framer.has_nul() => {
                self.taking.refuse(cx, Fault::BareInContent);
            }
            LineEndings::Repair if self.framer.has_nul() => {
                self.taking.refuse(cx, Fault::NulInContent);
            }
            LineEndings::Strict | LineEndings::Repair => {}
        }
    }

    #[must_use]
    pub fn chunks_under_way(&self) -> usize {
        match &self.taking {
            Taking::Keeping(message) => message.sink.under_way(),
            Taking::Refusing(_) => 0,
        }
    }

    /// The transaction ends without the message.
    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) {
        match self.taking {
            Taking::Keeping(message) => message.sink.abandon(cx),
            Taking::Refusing(_) => {}
        }
    }

    pub fn on_completed(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        token: Token,
        completion: Completion,
    ) {
        if let Taking::Keeping(message) = &mut self.taking
            && let Err(fault) = message.on_completed(token, completion)
        {
            self.taking.refuse(cx, fault);
        }
    }
}

impl Taking {
    fn push(&mut self, cx: &mut Cx<'_, SessionEffect>, text: &[u8], limits: &Limits) {
        let Self::Keeping(message) = self else { return };
        if let Err(fault) = message.push(cx, text, limits) {
            self.refuse(cx, fault);
        }
    }

    /// The message has a fault: what was kept of it goes. The first fault counts, but bare line ends outweigh others: they
    /// close the connection.
    fn refuse(&mut self, cx: &mut Cx<'_, SessionEffect>, fault: Fault) {
        match self {
            Self::Keeping(message) => {
                let accepted = &message.envelope.accepted;
                let first = accepted.first().map(|first| Arc::clone(&first.address));
                let (recipients, recipient) = (accepted.len(), first.unwrap_or_default());
                let refusing = Self::Refusing(Refusing { fault, recipients, recipient });
                if let Self::Keeping(message) = std::mem::replace(self, refusing) {
                    message.sink.abandon(cx);
                }
            }
            Self::Refusing(refusing) if fault == Fault::BareInContent => refusing.fault = fault,
            Self::Refusing(_) => {}
        }
    }
}
