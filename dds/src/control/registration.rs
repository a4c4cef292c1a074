//! This node's own session: registered at the start, and again whenever the map says that the node was given up.
//!
//! States: `Writing` -> `Asking` -> `Registered` -> `Writing` ...; `OldImage` and `Removed` are final.
//!
//! Invariants: a session number is durable before it is proposed, and is proposed by one run only; whether the node is registered is
//! read off the map, never concluded from a verdict.

use super::Effect;
use crate::cluster::{ClusterMap, Incarnation, NodeId, NodeState, Session, Start};
use fsm::Cx;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The number is on its way to the disk.
    Writing(Session),
    /// The number may be proposed; it is, until the map shows it.
    Asking(Session),
    Registered(Session),
    /// The directory is an image of an earlier state of itself.
    OldImage,
    /// The node has left the cluster.
    Removed,
}

#[derive(Debug)]
pub(super) struct Registration {
    node: NodeId,
    incarnation: Incarnation,
    start: Start,
    state: State,
    /// The map has shown this data directory at least once.
    known: bool,
}

impl Registration {
    /// Begins with the session after `last`; it has to be written.
    pub fn new(node: NodeId, incarnation: Incarnation, start: Start, last: Session) -> Self {
        let state = State::Writing(next(last));
        Self { node, incarnation, start, state, known: false }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn on_written(&mut self, session: Session) {
        if self.state == State::Writing(session) {
            self.state = State::Asking(session);
        }
    }

    /// A registration of this node was judged to come from an old image.
    pub fn on_told(&mut self, cx: &mut Cx<'_, Effect>, incarnation: Incarnation, start: Start) {
        if (incarnation, start) == (self.incarnation, self.start) {
            self.become_old_image(cx);
        }
    }

    /// The map may have changed. Says which session has to be written, if another one has to be.
    pub fn on_map(&mut self, cx: &mut Cx<'_, Effect>, map: &ClusterMap) -> Option<Session> {
        let Some(known) = map.node(self.node) else {
            if self.known && self.state != State::Removed {
                self.leave(cx, State::Removed);
                cx.emit(Effect::Removed);
            }
            return None;
        };
        if known.incarnation != self.incarnation {
            if known.retired.contains(&self.incarnation) {
                self.become_old_image(cx);
            }
            return None;
        }
        self.known = true;
        let mine = known.start == self.start;
        match self.state {
            State::Asking(session) if mine && known.session == session => {
                if known.state == NodeState::Up {
                    self.state = State::Registered(session);
                    cx.emit(Effect::Registered(session));
                    return None;
                }
                self.begin(next(session))
            }
            // Another run has registered since: this directory was copied.
            State::Asking(session) | State::Registered(session)
                if !mine && known.session >= session =>
            {
                self.become_old_image(cx);
                None
            }
            State::Registered(session) if known.state == NodeState::Down => {
                cx.emit(Effect::Unregistered);
                self.begin(next(session))
            }
            State::Writing(_)
            | State::Asking(_)
            | State::Registered(_)
            | State::OldImage
            | State::Removed => None,
        }
    }

    fn begin(&mut self, session: Session) -> Option<Session> {
        self.state = State::Writing(session);
        Some(session)
    }

    fn become_old_image(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.state != State::OldImage {
            self.leave(cx, State::OldImage);
            cx.emit(Effect::OldImage);
        }
    }

    fn leave(&mut self, cx: &mut Cx<'_, Effect>, state: State) {
        if matches!(self.state, State::Registered(_)) {
            cx.emit(Effect::Unregistered);
        }
        self.state = state;
    }
}

fn next(session: Session) -> Session {
    Session(session.0.saturating_add(1))
}
