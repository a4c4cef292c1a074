//! Runs a node in the foreground. Placeholder: the service itself is being wired.

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
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The node could not start, or its store failed.
pub fn run(options: ServeOptions) -> anyhow::Result<()> {
    anyhow::bail!("the node {} can't serve yet", options.node.name)
}
