//! What the command and the nodes that it has started say to each other: lines of JSON, orders in, words out.

use crate::bench::latencies::Latencies;
use crate::peers::Sent;
use serde::{Deserialize, Serialize};

/// To a node, on its standard input. When that ends the node does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Claim routes and write what is to be read.
    Prepare(Task),
    /// Do what was prepared.
    Run,
    /// Say what was found. To all nodes once all have run.
    Report,
}

/// The share of one node in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Of the run; no two have a route in common.
    pub round: u64,
    pub size: usize,
    pub clients: usize,
    pub reads_percent: u8,
    /// Values for gets, of each route.
    pub keys: u64,
    pub millis: u64,
    /// One request in so many is followed on its way; 0: none.
    pub follow: u64,
}

/// From a node, on its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// The cluster is whole: every partition has all of its replicas.
    Whole,
    Prepared,
    Ran,
    Report(Box<Report>),
}

/// What a node found in a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub seconds: f64,
    pub gets: Latencies,
    pub puts: Latencies,
    /// Requests whose outcome nobody knew, or that found nobody to do them.
    pub asked_again: u64,
    /// Seconds of CPU by thread.
    pub cpu: Vec<(String, f64)>,
    pub syncs: u64,
    /// Groups that the syncs covered.
    pub groups: u64,
    pub sent: Sent,
    /// Requests of its own clients that were followed.
    pub asked: Vec<Asked>,
    /// Those that it has done.
    pub done: Vec<Done>,
}

/// A request as its client saw it. Times are nanoseconds of the clock that all processes of a machine share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub node: u16,
    pub origin: u64,
    pub is_put: bool,
    pub asked: u64,
    pub answered: u64,
    /// Nanoseconds by another clock: what the stages have to add up to.
    pub took: u64,
}

/// A request as the node saw it that did it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Done {
    pub node: u16,
    pub origin: u64,
    pub taken: u64,
    /// When its write began, and was durable.
    pub written: Option<(u64, u64)>,
    pub answered: u64,
}
