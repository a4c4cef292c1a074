//! The durable [`dds::Store`], on RocksDB.
//!
//! - [`StoreConfig`]: where it lives, its budgets of memory and space.
//! - [`RocksStore`]: opens, commits, reads; counts; backs up; verifies.
//! - [`SpaceState`]: how much room the device has, for admission.
//!
//! Invariants: one process at a time; a format that is not known is not touched; a background error or a failed sync ends
//! the brick: every later commit is refused as fatal.
//!
//! Absences: no thread of its own, no clock; nothing here knows what keys and values mean.
#![forbid(unsafe_code)]

mod config;
mod garbage;
mod home;
mod moment;
mod options;
mod read;
mod space;
mod stats;
mod store;
mod tail;

pub use config::{Fit, MemoryConfig, SpaceConfig, StoreConfig};
pub use home::{FORMAT, OpenError};
pub use moment::Moment;
pub use space::SpaceState;
pub use stats::StoreStats;
pub use store::RocksStore;
pub use tail::Place;
