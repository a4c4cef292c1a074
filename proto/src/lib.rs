//! Formats that other programs read. The `.proto` files stand beside this crate. What is made of the admin API's is where it is
//! served (`node/src/admin/api.rs`); what nodes say to each other is here.
#![forbid(unsafe_code)]

#[allow(clippy::all, missing_debug_implementations, reason = "made from the .proto file")]
#[rustfmt::skip]
pub mod cluster;

#[allow(clippy::all, missing_debug_implementations, reason = "made from the .proto file")]
#[rustfmt::skip]
pub mod peer;
