//! The leases that a node holds, and the answers that wait for one.
//!
//! Leases are per pair of nodes; every worker group of a node has a copy of this. An answer that says what the state is may be
//! told only while the lease of every in-sync member holds at the moment of telling.

use crate::cluster::NodeId;
use crate::seat::{Seat, given_up};
use crate::{PartitionId, Response};
use fsm::{Mono, Token};
use std::collections::BTreeMap;

/// An answer on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub to: u64,
    pub token: Token,
    pub response: Response,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Leases {
    until: BTreeMap<NodeId, Mono>,
    held: BTreeMap<PartitionId, Vec<Answer>>,
}

impl Leases {
    /// The lease from `from` holds until then, and no shorter than it did.
    pub fn renew(&mut self, from: NodeId, until: Mono) {
        let known = self.until.entry(from).or_default();
        *known = until.max(*known);
    }

    /// Whether the lease from `node` holds at `now`.
    #[must_use]
    pub fn holds(&self, node: NodeId, now: Mono) -> bool {
        self.until.get(&node).is_some_and(|until| now < *until)
    }

    /// The answer, if it may be told now; otherwise it is held back.
    pub fn pass(
        &mut self,
        now: Mono,
        (partition, seat): (PartitionId, &Seat),
        answer: Answer,
    ) -> Option<Answer> {
        if seat.permits(&answer.response, |node| self.holds(node, now)) {
            return Some(answer);
        }
        self.held.entry(partition).or_default().push(answer);
        None
    }

    /// Answers of this partition are held back.
    #[must_use]
    pub fn holds_any(&self, partition: PartitionId) -> bool {
        self.held.contains_key(&partition)
    }

    /// Partitions of which answers are held back.
    #[must_use]
    pub fn waiting(&self) -> Vec<PartitionId> {
        self.held.keys().copied().collect()
    }

    /// Answers of a partition that may be told by now.
    pub fn release(&mut self, now: Mono, partition: PartitionId, seat: &Seat) -> Vec<Answer> {
        let Some(held) = self.held.remove(&partition) else { return Vec::new() };
        let permits =
            |answer: &Answer| seat.permits(&answer.response, |node| self.holds(node, now));
        let (told, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(permits);
        if !kept.is_empty() {
            self.held.insert(partition, kept);
        }
        told
    }

    /// The seat leads no more: nobody will know better than this.
    pub fn give_up(&mut self, partition: PartitionId) -> Vec<Answer> {
        let held = self.held.remove(&partition).unwrap_or_default();
        let give_up = |answer: Answer| Answer { response: given_up(&answer.response), ..answer };
        held.into_iter().map(give_up).collect()
    }
}
