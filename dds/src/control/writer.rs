//! Durable writes of the control plane: one under way at a time, in order, all that has queued up meanwhile as one group.
//!
//! Invariant: a write that the store refused is tried again, and nothing passes it.

use super::{Effect, records};
use crate::cluster::Session;
use crate::{Group, StoreError, StoreOp};
use fsm::{Cx, Token};

/// What may go on once a write is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The write of this number of the log.
    Log(u64),
    /// This session may be registered.
    Session(Session),
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Written {
    Done(Vec<After>),
    /// It shall be tried again, a little later.
    Failed(StoreError),
    /// The brick must stop.
    Fatal(StoreError),
    /// A completion of nothing that is under way.
    Stray,
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    state: State,
    queued: Batch,
}

#[derive(Clone, Debug, Default)]
struct Batch {
    ops: Vec<StoreOp>,
    after: Vec<After>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    UnderWay {
        token: Token,
        group: Group,
        after: Vec<After>,
    },
    /// The store refused it.
    Waiting {
        group: Group,
        after: Vec<After>,
    },
}

impl Writer {
    pub fn push(&mut self, ops: Vec<StoreOp>, after: After) {
        self.queued.ops.extend(ops);
        self.queued.after.push(after);
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.queued.after.is_empty()
    }

    /// Emits the next write when none is under way.
    pub fn emit_next(&mut self, cx: &mut Cx<'_, Effect>) {
        if matches!(self.state, State::Idle) && !self.queued.after.is_empty() {
            let Batch { ops, after } = std::mem::take(&mut self.queued);
            self.emit(cx, records::group(ops), after);
        }
    }

    /// Tries a refused write again.
    pub fn on_retry(&mut self, cx: &mut Cx<'_, Effect>) {
        match std::mem::take(&mut self.state) {
            State::Waiting { group, after } => self.emit(cx, group, after),
            other @ (State::Idle | State::UnderWay { .. }) => self.state = other,
        }
    }

    pub fn on_stored(&mut self, token: Token, result: Result<(), StoreError>) -> Written {
        match std::mem::take(&mut self.state) {
            State::UnderWay { token: waited, group, after } if waited == token => match result {
                Ok(()) => Written::Done(after),
                Err(error @ StoreError::Fatal(_)) => Written::Fatal(error),
                Err(error @ (StoreError::NoSpace | StoreError::Corrupt(_) | StoreError::Io(_))) => {
                    self.state = State::Waiting { group, after };
                    Written::Failed(error)
                }
            },
            other => {
                self.state = other;
                Written::Stray
            }
        }
    }

    fn emit(&mut self, cx: &mut Cx<'_, Effect>, group: Group, after: Vec<After>) {
        let token = cx.fresh_token();
        cx.emit(Effect::Store { token, group: group.clone() });
        self.state = State::UnderWay { token, group, after };
    }
}
