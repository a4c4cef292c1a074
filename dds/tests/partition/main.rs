//! The partition machine: what it promises, and a model it is compared with.

mod bench;
mod blob_model;
mod blobs;
mod model;
mod promises;
