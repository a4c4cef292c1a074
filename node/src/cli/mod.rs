//! The command line: what may be said, and which module does it.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. Errors name the thing, the reason and the next step. Commands that change a
//! running service speak to its admin address; what they print goes to standard output, everything else to standard error.

mod accounts;
mod args;
mod client;
mod cluster;
mod config;
mod events;
mod extension;
mod index;
mod mail;
mod offline;
mod operate;
pub mod output;
mod scrub;
mod stages;

pub use args::Cli;

use crate::config::{Config, NodeEntry};
use anyhow::Context;
use args::{Command, NodeCommand};
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
            let (mut config, node) = load(cli)?;
            if let (Some(address), true) = (node.address, config.node.len() > 1) {
                config.listen.follow(address);
            }
            let options = crate::serve::ServeOptions {
                config,
                config_path: config_path(cli),
                node,
                demo: args.demo,
                found: args.found,
            };
            crate::serve::run(options)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(command) => config::run(cli, command),
        Command::Node(NodeCommand::UnsafeRecover(args)) => offline::unsafe_recover(cli, args),
        Command::Node(command) => wait(cluster::node(cli, command)),
        Command::Move(args) => wait(cluster::r#move(cli, args)),
        Command::Domain(command) => wait(accounts::domain(cli, command)),
        Command::Alias(command) => wait(accounts::alias(cli, command)),
        Command::Account(command) => wait(accounts::account(cli, command)),
        Command::Session(command) => wait(operate::session(cli, command)),
        Command::Import(args) => wait(mail::import(cli, args)),
        Command::Export(args) => wait(mail::export(cli, args)),
        Command::Status(args) => wait(operate::status(cli, args)),
        Command::Stages(args) => wait(stages::stages(cli, args)),
        Command::Events(args) => wait(events::events(cli, args)),
        Command::Partitions(args) => wait(stages::partitions(cli, args)),
        Command::Where(args) => wait(operate::r#where(cli, args)),
        Command::Check(args) if args.offline => offline::check(cli),
        Command::Check(args) => wait(operate::check(cli, args)),
        Command::Scrub => wait(scrub::scrub(cli)),
        Command::Index(command) => wait(index::index(cli, command)),
        Command::Extension(command) => wait(extension::extension(cli, command)),
        Command::Backup(args) => wait(operate::backup(cli, args)),
        Command::Restore(args) => offline::restore(cli, args),
        Command::Bench(command) => crate::bench::run(command, cli.data.as_deref(), cli.json),
    }
}

/// Runs a client on a small runtime of its own.
fn wait(client: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client)
}

fn load_config(cli: &Cli) -> anyhow::Result<Config> {
    Config::load(cli.config.as_deref())
        .context("the configuration can't be used; `hikyaku config check` lists what is wrong")
}

/// The configuration and the node that is meant; `--data` replaces its directory.
fn load(cli: &Cli) -> anyhow::Result<(Config, NodeEntry)> {
    let config = load_config(cli)?;
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
