//! Online backup and check of the store.

use crate::control::{BackupReport, CheckReport, Finding};
use anyhow::{Context, bail};
use dds_rocksdb::RocksStore;
use std::fs;
use std::path::Path;

/// Writes a complete copy of the data directory into `dir`, which must not exist.
///
/// # Errors
/// When `dir` exists, or a file can't be written.
pub fn write(
    store: &RocksStore,
    data: &Path,
    dir: &Path,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<BackupReport> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.exists() {
        bail!("{} exists: name a directory that does not exist yet", dir.display());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("{} can't be made", dir.display()))?;
    store.checkpoint(&dir.join("store")).context("the store can't be copied")?;
    let report = crate::backup::finish(dir, data)?;
    progress(report.bytes, report.bytes);
    Ok(report)
}

/// Verifies every checksum of the store and reads every entry.
///
/// # Errors
/// When the store can't be read at all.
pub fn check(store: &RocksStore, progress: &dyn Fn(u64, u64)) -> anyhow::Result<CheckReport> {
    let total = store.verify_bytes_estimated();
    let mut report = CheckReport::default();
    let verified = store.verify(|_, _, _| Ok(()), |verified| progress(verified.bytes, total));
    match verified {
        Ok(verified) => {
            report.entries = verified.entries;
            report.bytes = verified.bytes;
        }
        Err(error) => report.findings.push(Finding {
            thing: "the store".to_owned(),
            reason: error.to_string(),
            next_step: "stop the node, keep a copy of its data directory, restore the last backup"
                .to_owned(),
        }),
    }
    Ok(report)
}
