//! Formats that other programs read. The `.proto` files of the APIs stand beside this crate; what is made of them is where it
//! is served (the admin API: `node/src/admin/api.rs`). Frames between nodes come with the cluster.
#![forbid(unsafe_code)]
