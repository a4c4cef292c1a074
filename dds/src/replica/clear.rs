//! What is left of a partition on the disk of a node that has no part in it any more, goes.
//!
//! Invariants: a copy goes only while the group is complete without it, and has been the same for [`Limits::clear_after`]; never
//! one that has joined a version that this node does not know of yet, as after a restart; what was joined stays known.

use super::core::{Context, TICK, Written};
use super::wake::Waking;
use super::{Limits, Replica, Role, State};
use crate::{Durability, PartitionId};
use fsm::Duration;

impl Replica {
    /// Looks for a copy that may go, when the group stays as it is.
    pub(super) fn clear_later(&self, cx: Context<'_, '_>) {
        cx.arm(TICK, wait(&self.limits, self.partition));
    }

    /// It has stayed as it is.
    pub(super) fn clear_now(&mut self, cx: Context<'_, '_>) {
        let Some(view) = &self.view else { return };
        if !view.needs_no(self.me) {
            // Looked at again with the next version, or, if fewer are wanted, later.
            return self.clear_later(cx);
        }
        match &mut self.state {
            State::Asleep => self.state = State::Waking(Waking::begin(cx, self.partition)),
            State::Awake(core, Role::Outside) => {
                if core.log.record.joined > view.group.version {
                    return self.clear_later(cx);
                }
                if core.log.is_void() {
                    return self.sleep_if_cleared();
                }
                let mut ops = Vec::new();
                core.log.clear(&mut ops);
                core.write(cx, ops, Durability::Buffered, Written::Cleared);
            }
            State::Awake(..) | State::Waking(_) | State::Failed(_) => {}
        }
    }

    /// There is nothing to be remembered of it.
    pub(super) fn sleep_if_cleared(&mut self) {
        if let State::Awake(core, Role::Outside) = &self.state
            && core.log.is_void()
            && core.writes.is_empty()
        {
            self.state = State::Asleep;
        }
    }
}

/// Not all partitions at once.
fn wait(limits: &Limits, partition: PartitionId) -> Duration {
    limits.clear_after + limits.clear_after / 64 * u32::from(partition.0 % 64)
}
