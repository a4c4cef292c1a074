//! Between a complete message and its hand-over: deciding extensions are asked, and waited for no longer than the limits say.
//!
//! Invariant: every message goes on, whatever becomes of the question: with what is said in time, or without.

use super::conversation::{Conversation, DECIDING};
use super::delivery::{self, Delivering};
use super::state::State;
use crate::message::Whole;
use fsm::{Cx, Digest, Token};
use mailstore::face::{Decision, Question, SessionEffect};
use std::sync::Arc;

/// A message that is decided about.
#[derive(Debug)]
pub struct Deciding {
    token: Token,
    whole: Whole,
}

impl Deciding {
    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.token.0);
        self.whole.envelope.digest(digest);
    }

    pub fn abandon(self, cx: &mut Cx<'_, SessionEffect>) {
        drop(self.whole.abandon(cx));
    }
}

impl Conversation {
    /// The message is whole: it is decided about, if anybody decides, and handed over.
    pub(super) fn on_whole(&mut self, cx: &mut Cx<'_, SessionEffect>, whole: Whole) {
        let Some(patience) = self.limits.deciding else {
            return self.hand_over(cx, whole, Vec::new());
        };
        let token = cx.fresh_token();
        let question = Arc::new(self.question(&whole));
        cx.emit(SessionEffect::Decide { token, question });
        cx.arm(DECIDING, patience);
        self.state = State::Deciding(Box::new(Deciding { token, whole }));
    }

    fn question(&self, whole: &Whole) -> Question {
        Question {
            protocol: self.peer.protocol,
            ip: self.peer.ip,
            helo: self.client().as_ref().to_owned(),
            submitter: self.account.as_ref().map(|account| Arc::clone(&account.address)),
            reverse_path: whole.envelope.reverse_path.clone(),
            mailboxes: delivery::mailboxes(self.mode, &whole.envelope),
            bytes: whole.body.len(),
            head: whole.head.clone(),
        }
    }

    /// Answers come late, too: a message that has gone on without them is not called back.
    pub(super) fn on_decided(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        answered: Token,
        decisions: Vec<Decision>,
    ) {
        if matches!(&self.state, State::Deciding(deciding) if deciding.token == answered) {
            cx.cancel(DECIDING);
            self.decide(cx, decisions);
        }
    }

    /// Nobody has said anything in time, or what is said is here.
    pub(super) fn decide(&mut self, cx: &mut Cx<'_, SessionEffect>, decisions: Vec<Decision>) {
        match std::mem::replace(&mut self.state, State::Ready) {
            State::Deciding(deciding) => self.hand_over(cx, deciding.whole, decisions),
            other => self.state = other,
        }
    }

    fn hand_over(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        whole: Whole,
        decisions: Vec<Decision>,
    ) {
        let delivering = Delivering::hand_over(self, cx, whole, decisions);
        self.go_on_delivering(cx, Box::new(delivering));
    }
}
