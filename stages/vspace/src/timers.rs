//! Timers of all machines of a worker group: a heap of deadlines, and the latest wish of each timer.
//!
//! Sessions push their idle timer forward with every command. So a later deadline is only noted; the heap entry stands, and
//! when it comes due it moves to the noted time. Arming costs one map access, and no allocation after the first.

use fsm::{Mono, TimerKey};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;

#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// When it shall fire; `None` once cancelled.
    wanted: Option<Mono>,
    /// The heap entry that stands for it.
    queued: Mono,
}

/// Deadlines of timers named by (machine, key).
#[derive(Debug)]
pub struct Timers<M> {
    heap: BinaryHeap<Reverse<(Mono, M, TimerKey)>>,
    deadlines: HashMap<(M, TimerKey), Deadline, FxBuildHasher>,
}

impl<M> Default for Timers<M> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), deadlines: HashMap::default() }
    }
}

impl<M: Copy + Eq + Ord + Hash> Timers<M> {
    /// Timer (`machine`, `key`) fires at `at`, instead of whenever it was to fire before.
    pub fn arm(&mut self, machine: M, key: TimerKey, at: Mono) {
        let deadline = self.deadlines.get_mut(&(machine, key));
        match deadline {
            Some(deadline) if deadline.queued <= at => deadline.wanted = Some(at),
            Some(_) | None => {
                let deadline = Deadline { wanted: Some(at), queued: at };
                self.deadlines.insert((machine, key), deadline);
                self.heap.push(Reverse((at, machine, key)));
            }
        }
    }

    /// The timer does not fire.
    pub fn cancel(&mut self, machine: M, key: TimerKey) {
        if let Some(deadline) = self.deadlines.get_mut(&(machine, key)) {
            deadline.wanted = None;
        }
    }

    /// The next timer that is due at `now`, removed.
    pub fn pop_due(&mut self, now: Mono) -> Option<(M, TimerKey)> {
        while let Some(&Reverse((at, machine, key))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            let Some(deadline) = self.deadlines.get_mut(&(machine, key)) else { continue };
            if deadline.queued != at {
                continue;
            }
            match deadline.wanted {
                Some(wanted) if wanted > now => {
                    deadline.queued = wanted;
                    self.heap.push(Reverse((wanted, machine, key)));
                }
                Some(_) => {
                    self.deadlines.remove(&(machine, key));
                    return Some((machine, key));
                }
                None => {
                    self.deadlines.remove(&(machine, key));
                }
            }
        }
        None
    }

    /// When to look again: not later than the first deadline, perhaps earlier.
    #[must_use]
    pub fn next(&self) -> Option<Mono> {
        self.heap.peek().map(|&Reverse((at, _, _))| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn fires_each_timer_once_at_its_latest_wish(
            ops in prop::collection::vec((0_u8..4, 0_u64..50, any::<bool>()), 0..60),
        ) {
            let mut timers = Timers::default();
            let mut model = BTreeMap::new();
            let mut now = 0;
            for (machine, delay, cancel) in ops {
                now += delay / 7;
                while let Some((machine, _)) = timers.pop_due(Mono(now)) {
                    let wanted: Option<u64> = model.remove(&machine);
                    prop_assert!(wanted.is_some_and(|at| at <= now));
                }
                prop_assert!(model.values().all(|&at| at > now));
                if cancel {
                    timers.cancel(machine, TimerKey(1));
                    model.remove(&machine);
                } else {
                    timers.arm(machine, TimerKey(1), Mono(now + delay + 1));
                    model.insert(machine, now + delay + 1);
                }
                let first = model.values().min().copied();
                prop_assert!(first.is_none_or(|at| timers.next().is_some_and(|next| next.0 <= at)));
            }
        }
    }
}
