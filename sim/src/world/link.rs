//! The way from a machine to a partition in another worker group. Messages keep their order; a
//! request or its answer may get lost, and then the asker hears that nothing is known.
//!
//! Invariants: a lost request never applies, an answer that was lost never comes; which of both it
//! was the asker learns only by asking again under the same number.

use super::{Life, World};
use crate::options::Mutation;
use dds::{Batch, Epoch, Outcome, Refusal, Request, Response, RouteKey, Seq};
use std::collections::BTreeMap;
use vspace::{GroupId, Inward, Neighbour};

/// One way of a message between two threads of a node, in nanoseconds.
pub const HOP_NANOS: u64 = 5_000;

/// The origin of a request whose answer gets lost.
const NOBODY: u64 = u64::MAX;

/// Longest time after which an asker is told that nothing is known, in nanoseconds.
const PATIENCE_NANOS: u64 = 400_000_000;

/// A numbered write.
type Numbered = (RouteKey, Epoch, Seq);

/// What became of writes of which the writer knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    NotApplied,
    /// Unless the store refused it.
    Applied,
}

/// Numbered writes that may be asked again.
#[derive(Debug, Default)]
pub struct Unsettled(BTreeMap<Numbered, Truth>);

impl Unsettled {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl World {
    /// A message leaves for another worker group.
    pub(super) fn carry(&mut self, life: Life, to: GroupId, message: Neighbour) {
        self.coverage.action("message between groups");
        if self.mistake_between_groups(&message) {
            return;
        }
        let message = match message {
            Neighbour::DdsAsked { from, origin, request } => {
                if self.strikes(self.options.scenario.faults.unavailable) {
                    self.coverage.fault("partition is not served for a moment");
                    let response = without_answer(&request, Refusal::Unavailable);
                    return self.tell(life, from, HOP_NANOS, origin, response);
                }
                // The directory writes seldom.
                let seldom =
                    matches!(&*request, Request::Write(batch) if batch.route.0 == "directory");
                let chance = self.options.scenario.faults.unknown * if seldom { 10 } else { 1 };
                if self.strikes(chance) {
                    return self.lose(life, (from, to), origin, request);
                }
                let request = self.asked(request);
                Neighbour::DdsAsked { from, origin, request }
            }
            Neighbour::DdsDone { origin: NOBODY, response: _ } => return,
            other => other,
        };
        self.arrive(life, to, HOP_NANOS, Inward::Neighbour(message));
    }

    /// A request or its answer gets lost.
    fn lose(
        &mut self,
        life: Life,
        (from, to): (GroupId, GroupId),
        origin: u64,
        request: Box<Request>,
    ) {
        let truth = if self.rng.chance(1, 2) { Truth::Applied } else { Truth::NotApplied };
        self.coverage.fault(kind_of(&request, truth));
        if let Some(numbered) = numbered(&request) {
            let before = self.unsettled.0.insert(numbered, truth);
            if before == Some(Truth::Applied) {
                self.coverage.fault("outcome stays unknown when asked again");
            }
        }
        let early = self.options.mutation == Some(Mutation::AssignEarly);
        let response = match (&*request, truth) {
            // Not settled, and taken for settled.
            (Request::Write(_), Truth::Applied) if early => {
                Response::Wrote(Outcome::Refused(Refusal::Unavailable))
            }
            (request, _) => unknown(request),
        };
        let nanos = HOP_NANOS + self.rng.below(PATIENCE_NANOS);
        self.tell(life, from, nanos, origin, response);
        if truth == Truth::Applied {
            let lost = Neighbour::DdsAsked { from, origin: NOBODY, request };
            self.arrive(life, to, HOP_NANOS, Inward::Neighbour(lost));
        }
    }

    /// A claim that no master of this node has asked for.
    pub(super) fn claim_for_nobody(&mut self, life: Life, route: RouteKey) {
        let scenario = &self.options.scenario;
        let place =
            scenario.map().partition_of(&route.0).0 + u16::from(scenario.partition_group_offset);
        let group = u8::try_from(place % u16::from(scenario.groups)).unwrap_or(0);
        let request = Box::new(Request::Claim { route });
        let message = Neighbour::DdsAsked { from: GroupId(0), origin: NOBODY, request };
        self.arrive(life, GroupId(group), HOP_NANOS, Inward::Neighbour(message));
    }

    /// A request that arrives, and is answered.
    fn asked(&mut self, mut request: Box<Request>) -> Box<Request> {
        let truth = numbered(&request).and_then(|numbered| self.unsettled.0.remove(&numbered));
        if truth.is_some() {
            self.coverage.fault("unknown outcome asked again");
        }
        if truth == Some(Truth::Applied)
            && self.options.mutation == Some(Mutation::ForgetWindow)
            && let Request::Write(Batch { writer, .. }) = &mut *request
        {
            // Nothing tells the second try from a new write.
            *writer = None;
        }
        request
    }

    fn tell(&mut self, life: Life, to: GroupId, nanos: u64, origin: u64, response: Response) {
        let response = Box::new(response);
        let message = Neighbour::DdsDone { origin, response };
        self.arrive(life, to, nanos, Inward::Neighbour(message));
    }
}

fn numbered(request: &Request) -> Option<Numbered> {
    let Request::Write(batch) = request else { return None };
    let writer = batch.writer?;
    Some((batch.route.clone(), writer.epoch, writer.seq))
}

fn is_write(request: &Request) -> bool {
    match request {
        Request::Write(_)
        | Request::PutChunk { .. }
        | Request::RenewBlob { .. }
        | Request::DropBlob { .. } => true,
        Request::Claim { .. }
        | Request::Get { .. }
        | Request::Scan { .. }
        | Request::ReadBlob { .. }
        | Request::CollectBlobs { .. } => false,
    }
}

fn without_answer(request: &Request, refusal: Refusal) -> Response {
    if is_write(request) {
        Response::Wrote(Outcome::Refused(refusal))
    } else {
        Response::Refused(refusal)
    }
}

fn unknown(request: &Request) -> Response {
    if is_write(request) {
        Response::Wrote(Outcome::Unknown)
    } else {
        Response::Refused(Refusal::Unavailable)
    }
}

fn kind_of(request: &Request, truth: Truth) -> &'static str {
    let applied = truth == Truth::Applied;
    let kind = |yes, no| if applied { yes } else { no };
    match request {
        Request::Write(batch) => match &batch.route.0[..] {
            b"directory" => {
                kind("outcome unknown, applied: directory", "outcome unknown, lost: directory")
            }
            [b'u', ..] => {
                kind("outcome unknown, applied: mailbox", "outcome unknown, lost: mailbox")
            }
            _ => kind("outcome unknown, applied: delivery", "outcome unknown, lost: delivery"),
        },
        Request::Claim { .. } => {
            kind("outcome unknown, applied: claim", "outcome unknown, lost: claim")
        }
        Request::RenewBlob { .. } => {
            kind("outcome unknown, applied: renewal", "outcome unknown, lost: renewal")
        }
        Request::CollectBlobs { .. } => {
            kind("outcome unknown, applied: sweep", "outcome unknown, lost: sweep")
        }
        Request::PutChunk { .. } | Request::DropBlob { .. } => {
            kind("outcome unknown, applied: chunk", "outcome unknown, lost: chunk")
        }
        Request::Get { .. } | Request::Scan { .. } | Request::ReadBlob { .. } => {
            "read is not answered"
        }
    }
}
