//! Content as it is taken in: framed, then either kept, or read to its end and refused.

use super::{Envelope, Fault, Message};
use crate::Limits;
use crate::codec::{Framer, Framing, LineEndings, Progress};
use fsm::{Cx, Digest, Token};
use mailstore::face::{Completion, SessionEffect};
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

impl Refusing {
    /// The refusal of the message with this envelope.
    #[must_use]
    pub fn of(envelope: &Envelope, fault: Fault) -> Self {
        let first = envelope.accepted.first().map(|first| Arc::clone(&first.address));
        let (recipients, recipient) = (envelope.accepted.len(), first.unwrap_or_default());
        Self { fault, recipients, recipient }
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
            && let Err(fault) = message.finish(cx, limits)
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
            Taking::Keeping(message) => message.chunks_under_way(),
            Taking::Refusing(_) => 0,
        }
    }

    /// The transaction ends without the message.
    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) {
        match self.taking {
            Taking::Keeping(message) => drop(message.abandon(cx)),
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

    pub fn digest(&self, digest: &mut Digest) {
        match &self.taking {
            Taking::Keeping(message) => message.digest(digest),
            Taking::Refusing(refusing) => digest.word(refusing.recipients as u64),
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
                let refusing = Self::Refusing(Refusing::of(&message.envelope, fault));
                if let Self::Keeping(message) = std::mem::replace(self, refusing) {
                    message.abandon(cx);
                }
            }
            Self::Refusing(refusing) if fault == Fault::BareInContent => refusing.fault = fault,
            Self::Refusing(_) => {}
        }
    }
}
