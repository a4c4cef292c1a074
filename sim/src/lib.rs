//! A whole node in one process from one seed: the production machines, vspace included, on a
//! simulated disk, clock and network, with clients that know what they were promised.
//!
//! A run has two phases. In the first, faults happen: crashes between any two effects, lost and
//! damaged data, full and slow disks, clients that vanish. Then everything heals, and the node must
//! finish all it has accepted. After every crash and at the end, invariants are judged by an
//! independent decoder of the raw store and by the models of the clients.
//!
//! Absences: nothing here reads a clock, a file or a random source; equal options give equal runs.
#![forbid(unsafe_code)]

pub mod clients;
mod cluster;
pub mod coverage;
pub mod decoder;
mod disk;
mod failure;
pub mod invariants;
mod ledger;
mod network;
mod node;
mod options;
mod schedule;
mod table;
mod world;

pub use cluster::{Cluster, ClusterMutation, ClusterOptions, ClusterScenario};
pub use failure::Failure;
pub use options::{FaultRates, Load, Mutation, Options, Scenario};
pub use table::Table;
pub use world::{Outcome, World};
