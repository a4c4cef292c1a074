//! The distributed data structure: a hash table striped over partitions, each with a replica group.
//!
//! Names follow Gribble et al., OSDI 2000: *brick* (one node's durable table), *partition*, *replica group*, *DP map* (key to
//! partition), *RG map* (partition to replicas). [`Request`] and [`Response`] are the client face; [`Store`] is what a brick
//! stands on.
//!
//! Absences: no machine here touches a file, a thread or a clock; nothing here knows what a mailbox is.
#![forbid(unsafe_code)]

mod batch;
mod blob;
mod chains;
pub mod cluster;
pub mod contract;
pub mod control;
pub mod fills;
mod key;
pub mod layout;
mod leases;
mod limits;
pub mod links;
pub mod memory_store;
mod page_sum;
pub mod partition;
pub mod replica;
mod report;
mod request;
pub mod scrub;
pub mod seat;
mod store;
pub mod survey;
pub mod wire;

pub use batch::{Batch, Epoch, Expect, Op, Outcome, Precondition, Refusal, Seq, Version, Writer};
pub use blob::{BlobId, CHUNK_BYTES};
pub use chains::Chains;
pub use key::{DpMap, GroupVersion, PartitionId, RouteKey, SortKey};
pub use leases::{Answer, Leases};
pub use limits::Limits;
pub use memory_store::MemoryStore;
pub use page_sum::PageSum;
pub use partition::Partition;
pub use report::{Copying, REPORT_PARTITIONS_MAX, Report, Residents};
pub use request::{Claimed, Entry, Request, Response};
pub use seat::Seat;
pub use store::{
    Chain, Column, Durability, Group, Read, ReadDone, Store, StoreError, StoreOp, Tier,
};
