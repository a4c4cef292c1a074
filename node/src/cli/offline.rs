//! `restore`, and `check --offline`: work on directories, without a running node.

use super::args::{BackupArgs, Cli};
use super::{operate, output};
use crate::admin::api;
use crate::backup;
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

/// A directory that is a backup is compared with its list.
pub fn check(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (_, node) = super::load(cli)?;
    if !node.data.join("backup.json").exists() {
        bail!(
            "{} is no backup: a data directory is verified by its running node; start it, and say \
             `hikyaku check`",
            node.data.display()
        );
    }
    let bar = operate::progress_bar("verifying")?;
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let findings = backup::verify(&node.data, &progress)?;
    let bytes = bar.length().unwrap_or(0);
    bar.finish_and_clear();
    let finding = |it: crate::control::Finding| api::Finding {
        thing: it.thing,
        reason: it.reason,
        next_step: it.next_step,
    };
    let findings = findings.into_iter().map(finding).collect();
    operate::show_check(cli, &api::CheckReport { bytes, findings, ..api::CheckReport::default() })
}
