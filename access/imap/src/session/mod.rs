//! The session machine: commands in, responses out, tasks for the MailStore in between.
//!
//! `conversation` runs the connection, `dispatch` begins commands, a `job` is a command under way.
//! `view` is what the client was told of its folder, `sync` reconciles it with the master, `tell`
//! puts it into words.
//!
//! Absences: nothing here touches a socket or a clock; nothing promises durability that did not
//! come as a completion.

mod append;
mod auth;
mod capability;
mod conversation;
mod copy;
mod dispatch;
mod fetch;
mod finish;
mod idle;
mod job;
mod limits;
mod list;
mod names;
mod numbers;
mod output;
mod pattern;
mod prepare;
mod reply;
mod search;
mod select;
mod shared;
mod single;
mod store;
mod sync;
mod tell;
mod timers;
mod view;

pub use limits::Limits;

use conversation::Conversation;
use fsm::{Cx, Digest, Machine};
use mailstore::face::{SessionEffect, SessionInput};
use std::sync::Arc;

/// One connection that speaks IMAP4rev1.
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

    /// What it does now, for operators: the state of RFC 9051 section 3, the folder, the command under way.
    #[must_use]
    pub fn activity(&self) -> String {
        match &self.0 {
            Stage::Unopened(_) => "connecting".to_owned(),
            Stage::Open(conversation) => conversation.activity(),
            Stage::Closed => "closed".to_owned(),
        }
    }
}

impl Machine for Session {
    type Input = SessionInput;
    type Effect = SessionEffect;

    fn step(&mut self, cx: &mut Cx<'_, SessionEffect>, input: SessionInput) {
        match (&mut self.0, input) {
            (Stage::Unopened(limits), SessionInput::Opened(peer)) => {
                let now = cx.mono();
                let mut conversation = Box::new(Conversation::new(Arc::clone(limits), peer, now));
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
            Stage::Closed => digest.word(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Design section 3: session state under 1 KB, the map of UIDs aside.
    #[test]
    fn an_idle_session_is_small() {
        let bytes = size_of::<Session>() + size_of::<Conversation>() + size_of::<view::View>();
        assert!(bytes < 1024, "{bytes} bytes");
    }
}
