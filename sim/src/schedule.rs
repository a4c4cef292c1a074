//! What happens next: events by virtual time, and in the order they were planned within one moment.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[derive(Debug)]
struct Planned<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events in the order they will happen. Time is in nanoseconds of the virtual monotonic clock.
#[derive(Debug)]
pub struct Schedule<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
    now: u64,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0, now: 0 }
    }
}

impl<E> Schedule<E> {
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Plans `event` for `nanos` from now.
    pub fn after(&mut self, nanos: u64, event: E) {
        self.at(self.now.saturating_add(nanos), event);
    }

    /// Plans `event` for `at`, or for now when that is past.
    pub fn at(&mut self, at: u64, event: E) {
        self.planned += 1;
        let at = at.max(self.now);
        self.heap.push(Reverse(Planned { at, order: self.planned, event }));
    }

    /// Takes the next event and moves the clock to it.
    pub fn next(&mut self) -> Option<E> {
        let Reverse(planned) = self.heap.pop()?;
        self.now = planned.at;
        Some(planned.event)
    }
}
