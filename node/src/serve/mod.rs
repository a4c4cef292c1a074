//! Runs a node: opens the store, starts the stages, binds the listeners, serves until told to stop.
//!
//! Order of starting: data directory, store, partition map, stages, workers, directory loaded, admin, listeners, `ready`.
//! Order of stopping: no new connections, sessions end politely, workers rest, the writer has synced what was queued.

pub mod backup;
mod bridge;
mod cluster;
mod control;
mod extensions;
mod full_text;
pub mod hash_table;
mod history;
pub mod identity;
mod limits;
mod matching;
mod moves;
mod partitions;
mod place;
mod reload;
mod running;
mod socketmap;
mod webmail;

pub use bridge::HashTableClients;
pub use identity::draw;

use crate::config::{Config, NodeEntry};
use std::path::PathBuf;

/// Why a node ends that a later life of its cluster does not keep.
const LEFT_BEHIND: &str = "the cluster was recovered without this node, or restored from a backup: what only it holds is \
     not in there. Move its data directory away and start it again: it joins anew. If it was kept, start it again";

/// Why a node ends that is a cluster of its own beside the one of the others.
const FOUNDED_APART: &str = "it is of another cluster of the same name, and this data directory was founded apart, or is an \
     old one: two clusters must not serve the same users. Move this data directory away and start the node again: it \
     joins the other";

/// Why a cluster that was just recovered or restored does not begin.
const STILL_UP: &str = "it is up, in the cluster before that was recovered, or that the backup was taken of: both would serve \
     the same users. Stop its node and move its data directory away; or move this data directory away, and the node \
     joins what there is";

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
