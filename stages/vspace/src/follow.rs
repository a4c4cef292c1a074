//! Requests of the hash table that are followed on their way, for whoever measures where the time goes.
//!
//! The client decides which of its requests; a bit of the request's id tells the node that does it, so nothing is added to what
//! travels. Both nodes note where such a request passes. Of all others nothing is noted.

use crate::origin::Origin;
use crate::work::{Ticket, WriteTimes};
use dds::cluster::NodeId;
use dds::wire::RequestId;
use fsm::Mono;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

/// Set in the id of a request that is followed; the numbers below it are the client's. See [`RequestId`].
const FOLLOWED: u64 = 1 << 55;

/// Names a request: the node whose client asks, and the client's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId {
    pub node: NodeId,
    pub origin: u64,
}

/// Where a request has passed, on the node that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It reached the worker of its partition.
    Taken { trace: TraceId, at: Mono },
    /// What it changes, or the log entry of that, is durable here.
    Stored { trace: TraceId, times: WriteTimes },
    /// Its answer leaves, once the executor is told so.
    Answered { trace: TraceId },
}

/// The requests under way that are followed, by the number of their origin and by what they wait for.
#[derive(Debug, Default)]
pub struct Followed {
    requests: HashMap<u64, (TraceId, Mono), FxBuildHasher>,
    writes: HashMap<Ticket, TraceId, FxBuildHasher>,
}

/// The id under which a followed request of a client travels.
pub fn followed_id(origin: u64) -> u64 {
    FOLLOWED | origin & (FOLLOWED - 1)
}

impl Followed {
    /// A seat of this node, `me`, is asked under `number`.
    pub fn on_asked(&mut self, me: NodeId, (number, origin): (u64, Option<Origin>), now: Mono) {
        let trace = match origin {
            Some(Origin::Client { origin, followed: true }) => TraceId { node: me, origin },
            Some(Origin::Node { node, id: RequestId(id) }) if id & FOLLOWED != 0 => {
                TraceId { node, origin: id & (FOLLOWED - 1) }
            }
            _ => return,
        };
        self.requests.insert(number, (trace, now));
    }

    /// The seat takes a request up.
    pub fn taken(&self, number: u64) -> Option<(TraceId, Mono)> {
        if self.requests.is_empty() { None } else { self.requests.get(&number).copied() }
    }

    /// What the seat gave to the store at once is for this request.
    pub fn on_store(&mut self, ticket: Ticket, trace: TraceId) {
        self.writes.insert(ticket, trace);
    }

    /// Whose write that was.
    pub fn on_stored(&mut self, ticket: Ticket) -> Option<TraceId> {
        if self.writes.is_empty() { None } else { self.writes.remove(&ticket) }
    }

    /// Whose answer that is.
    pub fn on_answered(&mut self, number: u64) -> Option<TraceId> {
        if self.requests.is_empty() {
            return None;
        }
        self.requests.remove(&number).map(|(trace, _)| trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dds::PartitionId;
    use fsm::Token;

    #[test]
    fn a_request_is_followed_when_its_id_says_so() {
        let mut followed = Followed::default();
        let (me, other) = (NodeId(1), NodeId(2));
        let of = |id| Some(Origin::Node { node: other, id: RequestId(id) });
        followed.on_asked(me, (0, of(7)), Mono(5));
        followed.on_asked(me, (1, of(3 << 56 | followed_id(7))), Mono(5));
        let own = |followed| Some(Origin::Client { origin: 9, followed });
        followed.on_asked(me, (2, own(true)), Mono(6));
        followed.on_asked(me, (3, own(false)), Mono(6));
        let trace = TraceId { node: other, origin: 7 };
        assert_eq!(followed.taken(0), None);
        assert_eq!(followed.taken(1), Some((trace, Mono(5))));
        assert_eq!(followed.taken(2), Some((TraceId { node: me, origin: 9 }, Mono(6))));
        assert_eq!(followed.taken(3), None);
        let ticket = Ticket { partition: PartitionId(4), token: Token(8) };
        followed.on_store(ticket, trace);
        assert_eq!(followed.on_stored(ticket), Some(trace));
        assert_eq!(followed.on_stored(ticket), None);
        assert_eq!(followed.on_answered(1), Some(trace));
        assert_eq!(followed.on_answered(1), None);
    }
}
