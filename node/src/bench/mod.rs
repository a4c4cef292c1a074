//! `hikyaku bench`: measures the hash table of this program, and mail servers from outside.
//!
//! - `dds`: gets and puts through the client face, a partition machine on a worker thread, and the durable store.
//! - `cycle`: store/retrieve cycles against any server: SMTP or LMTP in, POP3 out and deleted.
//! - `imap`: a mix of commands on many connections, against any server.
//!
//! Absences: nothing here takes part in the service; `cycle` and `imap` know no more of a server than its protocols.

mod args;
mod clock;
mod cycle;
mod dds;
mod imap;
mod latencies;
mod letter;
mod plot;
mod shown;
mod users;
mod wire;

pub use args::BenchCommand;

use std::path::Path;
use std::process::ExitCode;

/// Runs one benchmark; a store is made below `dir`. `json` asks for one line of JSON per run in place of a table.
///
/// # Errors
/// When the store or the server measured can't be used.
pub fn run(command: &BenchCommand, dir: Option<&Path>, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        BenchCommand::Dds(args) => dds::run(args, dir, json)?,
        BenchCommand::Cycle(args) => runtime()?.block_on(cycle::run(args, json))?,
        BenchCommand::Plot(args) => plot::files(&args.files, &args.svg)?,
        BenchCommand::DdsNode { file, name } => dds::run_node(file, name)?,
        BenchCommand::Imap(args) => runtime()?.block_on(imap::run(args, json))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Clients share one thread: they are measured by what the server does, and must stay cheaper than it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
