//! The session machine: what arrives is handed to the conversation, which ends by itself.

mod auth;
mod commands;
mod content;
mod conversation;
mod deciding;
mod delivery;
mod recipients;
mod state;

use crate::Limits;
use conversation::Conversation;
use fsm::{Cx, Digest, Machine};
use mailstore::face::{SessionEffect, SessionInput};
use std::sync::Arc;

/// One connection that speaks SMTP, submission or LMTP, as its [`mailstore::face::Peer`] says.
///
/// States: `Unopened` -> `Open` -> `Closed`. Closed, it ignores whatever still arrives.
#[derive(Debug)]
pub struct Session(Stage);

#[derive(Debug)]
enum Stage {
    Unopened(Arc<Limits>),
    Open(Box<Conversation>),
    Closed,
}

impl Session {
    /// A session that waits for `Opened`.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        Self(Stage::Unopened(limits))
    }

    /// What it does now, for operators.
    #[must_use]
    pub fn activity(&self) -> &'static str {
        match &self.0 {
            Stage::Unopened(_) => "connecting",
            Stage::Open(conversation) => conversation.state.activity(),
            Stage::Closed => "closed",
        }
    }
}

impl Machine for Session {
    type Input = SessionInput;
    type Effect = SessionEffect;

    fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match (&mut self.0, input) {
            (Stage::Unopened(limits), SessionInput::Opened(peer)) => {
                let mut conversation = Box::new(Conversation::new(Arc::clone(limits), peer, cx));
                conversation.greet(cx);
                self.0 = Stage::Open(conversation);
            }
            (Stage::Unopened(_), input) => panic!("the first input is Opened, not {input:?}"),
            (Stage::Open(conversation), input) => conversation.step(cx, input),
            (Stage::Closed, _) => {}
        }
        if let Stage::Open(conversation) = &self.0
            && conversation.is_closed()
        {
            self.0 = Stage::Closed;
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match &self.0 {
            Stage::Unopened(_) => digest.word(0),
            Stage::Open(conversation) => conversation.digest(digest),
            Stage::Closed => digest.word(1),
        }
    }
}
