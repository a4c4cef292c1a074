//! `restore`, and `check --offline`: work on directories, without a running node.

use super::args::{BackupArgs, Cli};
use super::{operate, output};
use crate::backup;
use crate::control::{CheckReport, Finding};
use crate::serve::identity;
use anyhow::{Context, bail};
use dds_rocksdb::{RocksStore, StoreConfig};
use std::path::Path;
use std::process::ExitCode;

pub fn restore(cli: &Cli, args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let (_, node) = super::load(cli)?;
    let bar = operate::progress_bar("verifying")?;
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let note = |store: &Path, number, unix_micros| {
        let store = open(store)?;
        identity::note_restoration(&store, number, unix_micros)?;
        store.flush().context("the store can't be written")
    };
    let report = backup::restore(&args.dir, &node.data, &note, &progress)?;
    bar.finish_and_clear();
    if cli.json {
        output::json(&report)?;
    } else {
        let (dir, size) = (report.dir.display(), output::size(report.bytes));
        output::text(&format!("{dir}: {} files, {size}, ready for `serve`\n", report.files))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The store of a node that does not run.
fn open(dir: &Path) -> anyhow::Result<RocksStore> {
    let mut config = StoreConfig::new(dir);
    // No node: nothing is refused for want of space, and no room is kept.
    config.space.low_bytes = 0;
    config.space.critical_bytes = 0;
    config.space.ballast_bytes = 0;
    RocksStore::open(&config).with_context(|| format!("{} can't be opened", dir.display()))
}

/// A directory that is a backup is compared with its list; any other is the data directory of a node that does not run.
pub fn check(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (_, node) = super::load(cli)?;
    let bar = operate::progress_bar("verifying")?;
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = if node.data.join("backup.json").exists() {
        let findings = backup::verify(&node.data, &progress)?;
        CheckReport { bytes: bar.length().unwrap_or(0), findings, ..CheckReport::default() }
    } else {
        check_data(&node.data, &progress)?
    };
    bar.finish_and_clear();
    operate::show_check(cli, &crate::admin::report::check(report))
}

fn check_data(data: &Path, progress: &dyn Fn(u64, u64)) -> anyhow::Result<CheckReport> {
    let dir = data.join("store");
    if !dir.exists() {
        bail!("{} holds no store: name a data directory with --data", data.display());
    }
    let store = open(&dir).context("a running node is checked by `hikyaku check`")?;
    match identity::load_map(&store) {
        Ok(Some(map)) => Ok(crate::serve::backup::check(&store, map, progress)),
        Ok(None) => bail!("{} was never started: there is nothing to check", data.display()),
        Err(error) => {
            let finding = Finding {
                thing: dir.display().to_string(),
                reason: format!("{error:#}"),
                next_step: "restore the last backup".to_owned(),
            };
            Ok(CheckReport { findings: vec![finding], ..CheckReport::default() })
        }
    }
}
