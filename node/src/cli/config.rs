//! `config check` and `config show`.

use super::args::{Cli, ConfigCommand};
use super::output;
use crate::config::{Config, Finding, FindingKind};
use std::path::Path;
use std::process::ExitCode;

pub fn run(cli: &Cli, command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let file = Config::read_file(cli.config.as_deref())?;
    let (name, config, findings) = match &file {
        Some((path, text)) => {
            let base = path.parent().unwrap_or(Path::new(""));
            let (config, findings) = Config::read(text, base);
            (path.display().to_string(), config, findings)
        }
        None => ("built-in single node".to_owned(), Config::single_node(Path::new("")), Vec::new()),
    };
    match command {
        ConfigCommand::Check => check(cli, &name, &findings),
        ConfigCommand::Show => {
            for finding in &findings {
                eprintln!("{name}: {finding}");
            }
            if cli.json {
                output::json(&config)?;
            } else {
                output::text(&config.to_toml())?;
            }
            Ok(if has_errors(&findings) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.kind == FindingKind::Error)
}

fn check(cli: &Cli, name: &str, findings: &[Finding]) -> anyhow::Result<ExitCode> {
    if cli.json {
        output::json(&findings)?;
    } else if findings.is_empty() {
        output::text(&format!("{name}: no errors\n"))?;
    } else {
        let lines = findings.iter().map(|finding| format!("{name}: {finding}\n"));
        output::text(&lines.collect::<String>())?;
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
