//! The command line: what may be said, and which module does it.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. Errors name the thing, the reason and the next step. Commands that change a
//! running service speak to its admin address; what they print goes to standard output, everything else to standard error.

mod args;
mod config;
mod output;

pub use args::Cli;

use crate::config::{Config, NodeEntry};
use anyhow::Context;
use args::Command;
use clap::Parser;
use std::process::ExitCode;

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    // clap ends the process with 2 on wrong usage, and with 0 after --help.
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hikyaku: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    match &cli.command {
        Command::Serve(args) => {
            let (config, node) = load(cli)?;
            let options = crate::serve::ServeOptions {
                config,
                config_path: config_path(cli),
                node,
                demo: args.demo,
            };
            crate::serve::run(options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(command) => config::run(cli, command),
        Command::Node(_) => not_in_a_single_node("node"),
        Command::Move(_) => not_in_a_single_node("move"),
        Command::Domain(_)
        | Command::Alias(_)
        | Command::Account(_)
        | Command::Session(_)
        | Command::Import(_)
        | Command::Export(_)
        | Command::Status
        | Command::Where(_)
        | Command::Check(_)
        | Command::Backup(_)
        | Command::Restore(_) => anyhow::bail!("the admin API is not there yet"),
    }
}

/// The configuration and the node that is meant; `--data` replaces its directory.
fn load(cli: &Cli) -> anyhow::Result<(Config, NodeEntry)> {
    let config = Config::load(cli.config.as_deref())
        .context("the configuration can't be used; `hikyaku config check` lists what is wrong")?;
    let mut node = config.node_named(cli.node.as_deref())?.clone();
    if let Some(data) = &cli.data {
        node.data.clone_from(data);
    }
    Ok((config, node))
}

fn config_path(cli: &Cli) -> Option<std::path::PathBuf> {
    let default = std::path::Path::new("cluster.toml");
    cli.config.clone().or_else(|| default.exists().then(|| default.to_path_buf()))
}

fn not_in_a_single_node(command: &str) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "`{command}` needs a cluster, and this node is a single-node service: not yet in this \
         release. Keep one [[node]] in cluster.toml; `hikyaku status` shows it"
    )
}
