//! Runs a node: opens the store, starts the stages, binds the listeners, serves until told to stop.
//!
//! Order of starting: data directory, store, partition map, stages, workers, directory loaded, admin, listeners, `ready`.
//! Order of stopping: no new connections, sessions end politely, workers rest, the writer has synced what was queued.

pub mod backup;
mod bridge;
mod cluster;
mod control;
pub mod identity;
mod limits;
mod matching;
mod place;
mod reload;
mod running;
mod socketmap;
mod webmail;

pub use identity::draw;

use crate::config::{Config, NodeEntry};
use std::path::PathBuf;

/// What `hikyaku serve` was asked for.
#[derive(Debug)]
pub struct ServeOptions {
    pub config: Config,
    /// The file the configuration came from; read again on SIGHUP.
    pub config_path: Option<PathBuf>,
    /// The node of the file that this is; `--data` has replaced its directory.
    pub node: NodeEntry,
    pub demo: bool,
    /// The first node of a new cluster founds it also when others can't be reached.
    pub found: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The node could not start, or its store failed.
pub fn run(options: ServeOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(running::serve(options))
}
