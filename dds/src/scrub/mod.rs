//! Scrub: everything that a node leads is read from time to time on all who hold it, and compared.
//!
//! The primary of a partition compares slice by slice and repairs ([`crate::replica`]); a [`Pacer`] says when, one slice at a time,
//! so that nobody else on the node feels it. ADR 11 says how it is decided who is right.

mod pacer;
mod report;

pub use pacer::{Effect, Input, Limits, Pacer, Sums};
pub use report::{Finding, Passed, Round, Step, Trouble};
