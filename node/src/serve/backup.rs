//! Backup and check of a store.

use crate::control::{BackupReport, CheckReport, Finding};
use anyhow::{Context, bail};
use dds::DpMap;
use dds_rocksdb::RocksStore;
use mailstore::check::Told;
use std::fs;
use std::path::Path;

/// Findings that are told; with more of them the store is gone.
const FINDINGS_MAX: usize = 1000;

/// Writes a complete copy of the data directory into `dir`, which must not exist. What is
/// damaged is copied as it is, and told.
///
/// # Errors
/// When `dir` exists, or a file can't be written.
pub fn write(
    (store, map): (&RocksStore, DpMap),
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
    let findings = check(store, map, progress).findings;
    let report = crate::backup::finish(dir, data)?;
    Ok(BackupReport { findings, ..report })
}

/// Verifies everything in the store as it is now: checksums, references, indexes against logs.
pub fn check(store: &RocksStore, map: DpMap, progress: &dyn Fn(u64, u64)) -> CheckReport {
    let total = store.bytes_estimated();
    let mut findings = Vec::new();
    let moment = store.moment();
    let counts = mailstore::check::check(&|read| moment.read(read), map, &mut |told| match told {
        Told::Progress(bytes) => progress(bytes, total.max(bytes)),
        Told::Damage(_) if findings.len() >= FINDINGS_MAX => {}
        Told::Damage(damage) => findings.push(Finding {
            thing: damage.thing,
            reason: damage.reason,
            next_step: damage.next_step.to_owned(),
        }),
    });
    CheckReport {
        entries: counts.entries,
        bytes: counts.bytes,
        users: counts.users,
        messages: counts.messages,
        blobs: counts.blobs,
        findings,
    }
}
