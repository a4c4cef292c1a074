//! `hikyaku`: one program that is a node of the mail service, and the command line that operates it.
//!
//! This crate is the edge: sockets, TLS, threads, files, clocks. Everything that decides about mail is in machines elsewhere.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the edge owns clocks and threads, and hands both to the machines"
)]

mod admin;
mod backup;
mod bench;
mod cli;
mod config;
mod console;
mod control;
mod demo;
mod edge;
mod extensions;
mod footprint;
mod life;
mod log;
mod manifest;
mod metrics;
mod passwords;
mod peers;
mod private_file;
mod recovery;
mod serve;
mod systemd;
mod tls;
mod web;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
