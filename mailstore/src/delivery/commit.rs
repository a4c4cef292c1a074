//! The queue's writer: one batch under way; what comes meanwhile goes into the next together, and
//! shares its sync.
//!
//! States: no batch; one under way; one of unknown outcome that waits for its retry.
//! Invariants: items apply in the order they were pushed; an unknown outcome is asked again under
//! the same number until it is definite; removals that were refused come again alone, so that they
//! pass when only removals may.
//! Absences: nothing here knows what an item means to the queue.

use super::Effect;
use super::limits::Limits;
use super::{TIMER_COMMIT, TIMER_REMOVE};
use crate::backoff::backoff;
use crate::face::{DeliveryId, TaskRefusal};
use crate::verdict::{Verdict, judge};
use dds::{Batch, Epoch, Op, Request, Response, RouteKey, Seq, Writer};
use fsm::{Cx, Digest, Token};
use std::collections::VecDeque;

/// What an item does for its acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// Pieces, before the head.
    Pieces,
    /// The head: the acceptance is durable with it.
    Head,
    /// Who has the message.
    Done,
    /// Everything of it goes.
    Remove,
}

/// A part of a batch.
#[derive(Debug)]
pub struct Item {
    pub id: DeliveryId,
    pub kind: ItemKind,
    pub ops: Vec<Op>,
}

impl Item {
    fn bytes(&self) -> usize {
        let bytes_of = |op: &Op| match op {
            Op::Put { key, value } => key.0.len() + value.len(),
            Op::Delete { key } => key.0.len(),
            Op::DeleteRange { from, to } => from.0.len() + to.0.len(),
        };
        self.ops.iter().map(bytes_of).sum()
    }
}

#[derive(Debug)]
struct Flight {
    stage: Stage,
    batch: Batch,
    items: Vec<(DeliveryId, ItemKind)>,
    tries: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    UnderWay(Token),
    Waiting,
}

/// What became of a batch, by its items.
#[derive(Debug)]
pub enum Settled {
    Applied(Vec<(DeliveryId, ItemKind)>),
    /// Nothing of it applies. Removals come again by themselves.
    Refused(Vec<(DeliveryId, ItemKind)>, TaskRefusal),
    /// Unknown for good: what is stored shows when the queue is loaded again.
    Lost(Vec<(DeliveryId, ItemKind)>),
    /// Not ours, or not settled yet.
    Pending,
}

/// The writer of a queue's route.
#[derive(Debug)]
pub struct Commits {
    route: RouteKey,
    writer: Writer,
    queue: VecDeque<Item>,
    /// Removals that were refused, until the timer.
    held_back: VecDeque<Item>,
    flight: Option<Flight>,
    refusals: u32,
}

impl Commits {
    #[must_use]
    pub fn new(route: RouteKey, epoch: Epoch) -> Self {
        Self {
            route,
            writer: Writer { epoch, seq: Seq(1) },
            queue: VecDeque::new(),
            held_back: VecDeque::new(),
            flight: None,
            refusals: 0,
        }
    }

    pub fn push(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    /// Takes back the items of an acceptance that were not sent yet.
    pub fn retract(&mut self, id: DeliveryId) {
        self.queue.retain(|item| item.id != id);
    }

    /// Sends the next batch, if none is under way.
    pub fn advance(&mut self, cx: &mut Cx<'_, Effect>, limits: &Limits) {
        if self.flight.is_some() || self.queue.is_empty() {
            return;
        }
        let (mut items, mut ops, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(item) = self.queue.front() {
            bytes += item.bytes();
            if !items.is_empty() && bytes > limits.commit_bytes_max {
                break;
            }
            let Some(item) = self.queue.pop_front() else { break };
            items.push((item.id, item.kind));
            ops.extend(item.ops);
        }
        self.send(cx, items, ops);
    }

    fn send(&mut self, cx: &mut Cx<'_, Effect>, items: Vec<(DeliveryId, ItemKind)>, ops: Vec<Op>) {
        let batch = Batch {
            route: self.route.clone(),
            writer: Some(self.writer),
            preconditions: Vec::new(),
            makes_way: false,
            ops,
        };
        let token = write(cx, &batch);
        self.flight = Some(Flight { stage: Stage::UnderWay(token), batch, items, tries: 0 });
    }

    /// The store has answered.
    pub fn on_response(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        limits: &Limits,
        token: Token,
        response: &Response,
    ) -> Settled {
        let Some(mut flight) = self.flight.take_if(|flight| flight.stage == Stage::UnderWay(token))
        else {
            return Settled::Pending;
        };
        match judge(response, flight.tries) {
            Verdict::Committed => {
                self.writer.seq.0 += 1;
                self.refusals = 0;
                Settled::Applied(flight.items)
            }
            Verdict::Unknown => {
                flight.stage = Stage::Waiting;
                flight.tries = flight.tries.saturating_add(1);
                let range = (limits.store_retry_min, limits.store_retry_max);
                let wait = backoff(cx, range, flight.tries);
                cx.arm(TIMER_COMMIT, wait);
                self.flight = Some(flight);
                Settled::Pending
            }
            Verdict::Refused(reason) => self.refused(cx, limits, flight, reason),
            Verdict::Lost => Settled::Lost(flight.items),
        }
    }

    fn refused(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        limits: &Limits,
        flight: Flight,
        reason: TaskRefusal,
    ) -> Settled {
        let removed = |(_, kind): &(DeliveryId, ItemKind)| *kind == ItemKind::Remove;
        if flight.items.iter().any(removed) {
            // The operations of removals are the only deletions.
            let deletes = |op: &Op| matches!(op, Op::Delete { .. } | Op::DeleteRange { .. });
            let ops = flight.batch.ops.into_iter().filter(deletes).collect();
            if let Some(&(id, _)) = flight.items.iter().find(|item| removed(item)) {
                self.held_back.push_back(Item { id, kind: ItemKind::Remove, ops });
            }
            self.refusals = self.refusals.saturating_add(1);
            let range = (limits.store_retry_min, limits.store_retry_max);
            let wait = backoff(cx, range, self.refusals);
            cx.arm(TIMER_REMOVE, wait);
        }
        Settled::Refused(flight.items, reason)
    }

    /// The wait for a definite outcome is over.
    pub fn on_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        if let Some(flight) = &mut self.flight
            && flight.stage == Stage::Waiting
        {
            flight.stage = Stage::UnderWay(write(cx, &flight.batch));
        }
    }

    /// Removals that were refused get a batch of their own.
    pub fn on_remove_timer(&mut self, cx: &mut Cx<'_, Effect>, limits: &Limits) {
        if self.flight.is_some() {
            let wait = limits.store_retry_min;
            return cx.arm(TIMER_REMOVE, wait);
        }
        let Some(item) = self.held_back.pop_front() else { return };
        if !self.held_back.is_empty() {
            cx.arm(TIMER_REMOVE, limits.store_retry_min);
        }
        self.send(cx, vec![(item.id, item.kind)], item.ops);
    }

    /// Acceptances whose items were never sent.
    pub fn into_unsent(self) -> Vec<(DeliveryId, ItemKind)> {
        self.queue.into_iter().map(|item| (item.id, item.kind)).collect()
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.writer.epoch.0);
        digest.word(self.writer.seq.0);
        digest.word(self.queue.len() as u64);
        digest.word(self.held_back.len() as u64);
        digest.word(self.flight.as_ref().map_or(0, |flight| flight.items.len() as u64));
    }
}

fn write(cx: &mut Cx<'_, Effect>, batch: &Batch) -> Token {
    let token = cx.fresh_token();
    cx.emit(Effect::Dds { token, request: Request::Write(batch.clone()) });
    token
}
