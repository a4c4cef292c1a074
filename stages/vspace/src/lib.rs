//! vspace, after Ninja's word: the machine that owns a node's workers. It starts and stops them, routes tasks and
//! completions, and admits work.
//!
//! A node has one [`Shard`] per worker group. The staged executor runs shards on threads, the simulator runs them from a
//! seed; both run the same code, so routing and admission are simulated too.
#![forbid(unsafe_code)]

mod admission;
mod config;
mod feeds;
mod follow;
mod following;
mod inputs;
mod kicks;
mod letter;
mod mailboxes;
mod membership;
mod meter;
mod names;
mod operator;
mod origin;
mod places;
mod queue;
mod reports;
mod requests;
mod residents;
mod route;
mod scrub;
mod seats;
mod session;
mod shard;
mod stats;
mod tasks;
mod timers;
mod work;

pub use admission::{Admission, AdmissionLimits};
pub use config::{LiveLimits, ShardConfig};
pub use dds::Response as DdsResponse;
pub use dds::cluster::{NodeId, Verdict};
pub use dds::scrub::Round as ScrubRound;
pub use feeds::Wake;
pub use follow::{Passed, TraceId};
pub use following::News;
pub use inputs::INPUT_KINDS;
pub use letter::{Letter, Unreadable};
pub use mailstore::face::{
    Completion, Decision, LogEvent, Notice, Question, SessionId, TaskRefusal,
};
pub use mailstore::mailbox::{MatchHits, MatchJob};
pub use membership::MembershipSetup;
pub use names::{Asker, GroupId, MachineId, asker_of, group_of, node_of, operator_id, session_id};
pub use places::Places;
pub use reports::{Behind, Counted};
pub use session::{SessionLimits, SessionLine};
pub use shard::Shard;
pub use stats::{Population, ShardStats};
pub use work::{
    ConnectionOrder, Inward, LinkState, Neighbour, Outward, Packet, Space, Standing, Ticket, Wire,
    WriteTimes,
};

/// What a brick stands on, for executors.
pub mod store {
    pub use dds::{
        Chain, Chains, Column, Durability, Group, PartitionId, Read, ReadDone, Store, StoreError,
        StoreOp, Tier,
    };
}
