//! The partition machine: what it promises, and a model it is compared with.

mod bench;
mod blobs;
mod model;
mod promises;
