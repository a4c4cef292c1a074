//! The queue of a worker group: lanes in order of service, first in first out within a lane.

use fsm::Mono;
use std::collections::VecDeque;

/// Order of service. What was admitted is finished first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Completions, and every hop of work that was admitted already.
    Completion,
    Interactive,
    Delivery,
    Rebalance,
}

const RANKS: usize = 4;

/// After so many served of better ranks, a waiting worse one gets a turn: nobody starves.
const STREAK_MAX: u32 = 64;

/// Queued work with the time it was queued.
#[derive(Debug)]
pub struct Queue<W> {
    lanes: [VecDeque<(Mono, W)>; RANKS],
    streak: u32,
    len: usize,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { lanes: std::array::from_fn(|_| VecDeque::new()), streak: 0, len: 0 }
    }
}

impl<W> Queue<W> {
    pub fn push(&mut self, now: Mono, rank: Rank, work: W) {
        self.lanes[rank as usize].push_back((now, work));
        self.len += 1;
    }

    /// The next work, and when it was queued.
    pub fn pop(&mut self) -> Option<(Mono, W)> {
        let first = self.lanes.iter().position(|lane| !lane.is_empty())?;
        let waiting = self.lanes[first + 1..].iter().position(|lane| !lane.is_empty());
        let chosen = match waiting {
            Some(behind) if first != Rank::Completion as usize && self.streak >= STREAK_MAX => {
                self.streak = 0;
                first + 1 + behind
            }
            Some(_) => {
                self.streak += 1;
                first
            }
            None => {
                self.streak = 0;
                first
            }
        };
        self.len -= 1;
        self.lanes[chosen].pop_front()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_ranks_go_first_and_nobody_starves() {
        let mut queue = Queue::default();
        for n in 0..200 {
            queue.push(Mono(0), Rank::Interactive, ("interactive", n));
        }
        queue.push(Mono(0), Rank::Delivery, ("delivery", 0));
        queue.push(Mono(0), Rank::Completion, ("completion", 0));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, work)| work.0).collect();
        assert_eq!(order[0], "completion");
        let delivery = order.iter().position(|&work| work == "delivery").expect("served");
        assert!(delivery <= 70, "served at {delivery}");
        assert_eq!(order.len(), 202);
    }
}
