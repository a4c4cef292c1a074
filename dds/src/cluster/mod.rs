//! The cluster map: which nodes there are, who holds which partition, and who should.
//!
//! [`ClusterMap`] changes by [`Command`]s alone, in the order of the control log, on every node alike; the `control` machine
//! replicates that log. Watchers follow by [`Delta`]s.
//!
//! Absences: nothing here knows of a clock, of messages or of disks; no command depends on anything but the map.

mod apply;
mod codec;
mod command;
mod delta;
mod group_change;
mod heat;
mod invariants;
mod map;
mod names;
mod place;
mod placement;
mod rebalance;
mod recovery;
mod replica_group;
mod succession;

pub use apply::Applied;
pub use codec::{Malformed, decode_map, decode_proposal, encode_map, encode_proposal};
pub use command::{
    Address, Command, Objection, PLACES, Proposal, Scope, Settings, Site, Suggestion, Verdict,
};
pub use delta::Delta;
pub use heat::{Heat, HeatLimits, Relief, Reports};
pub use invariants::{Broken, invariant_followed, invariant_sound};
pub use map::{ClusterMap, NODES_MAX, Node, NodeState, Placement, REPLICAS_MAX};
pub use names::{Incarnation, NodeId, Session, Start};
pub use placement::{Candidate, wanted_replicas};
pub use rebalance::{Conditions, Rebalancer, Throttle};
pub use recovery::{Recovered, Recovery};
pub use replica_group::{GroupChange, ReplicaGroup};
