//! What those who watch a replica see of it.

use super::{Mark, Replica, Role, State};
use crate::cluster::NodeId;

impl Replica {
    /// Learners that are filled with a copy, and the bytes that each was sent.
    #[must_use]
    pub fn copies(&self) -> Vec<(NodeId, u64)> {
        match &self.state {
            State::Awake(_, Role::Primary(primary)) => primary.copies(),
            State::Awake(..) | State::Asleep | State::Waking(_) | State::Failed(_) => Vec::new(),
        }
    }

    /// Members in sync besides the primary, which this is, and the entries of the log that each has not acknowledged yet.
    #[must_use]
    pub fn behind(&self) -> Vec<(NodeId, u64)> {
        match &self.state {
            State::Awake(core, Role::Primary(primary)) => primary.behind(core),
            State::Awake(..) | State::Asleep | State::Waking(_) | State::Failed(_) => Vec::new(),
        }
    }

    /// The last entry, and up to where everything is decided.
    #[must_use]
    pub fn progress(&self) -> Option<(Mark, u64)> {
        match &self.state {
            State::Awake(core, _) => Some((core.log.last(), core.log.decided)),
            State::Asleep | State::Waking(_) | State::Failed(_) => None,
        }
    }

    /// One line on what it does now.
    #[must_use]
    pub fn summary(&self) -> String {
        let version = self.version();
        match &self.state {
            State::Asleep => format!("{version:?} asleep"),
            State::Waking(_) => format!("{version:?} waking"),
            State::Failed(_) => format!("{version:?} failed"),
            State::Awake(core, role) => {
                let role = match role {
                    Role::Outside => "outside".to_owned(),
                    Role::Member(member) => format!("{member:?}"),
                    Role::Primary(primary) => format!("{primary:?}"),
                };
                format!("{version:?} {} writes {:?} {role}", core.log.summary(), core.writes)
            }
        }
    }

    /// Nothing is under way: the log is decided and applied, every member has it.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        match &self.state {
            State::Awake(core, role) => {
                core.writes.is_empty()
                    && core.log.applied == core.log.last().number
                    && match role {
                        Role::Primary(primary) => primary.is_quiet(core),
                        Role::Member(_) | Role::Outside => true,
                    }
            }
            State::Asleep => true,
            State::Waking(_) | State::Failed(_) => false,
        }
    }
}
