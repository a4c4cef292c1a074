//! Backup and check of a store.

use crate::backup::MANIFEST_FILE;
use crate::control::{BackupReport, CheckReport, Finding};
use anyhow::{Context, bail};
use dds::{DpMap, PartitionId};
use dds_rocksdb::RocksStore;
use mailstore::check::Told;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Findings that are told; with more of them the store is gone.
const FINDINGS_MAX: usize = 1000;

/// A node's brick, and which of its partitions count.
pub struct Brick<'a> {
    pub store: &'a RocksStore,
    pub map: DpMap,
    /// Whether this node holds a partition in sync, as it is known now.
    pub holds: &'a dyn Fn(PartitionId) -> bool,
    /// Other nodes hold copies too: this one applies what was decided a moment later.
    pub shared: bool,
}

/// Looks at what is damaged on a node that shares partitions with others, before it counts. What this copy has not applied yet
/// is there at the next look, what is damaged stays.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Writes a complete copy of the data directory into `dir`, which must not exist. What is
/// damaged is copied as it is, and told.
///
/// # Errors
/// When `dir` exists, or a file can't be written.
pub fn write(
    brick: &Brick<'_>,
    data: &Path,
    dir: &Path,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<BackupReport> {
    copy(brick.store, dir)?;
    finish(brick, (data, dir), None, progress)
}

/// Copies the store: as it is at one moment, with all that was written before.
///
/// # Errors
/// When `dir` exists, or a file can't be written.
pub fn copy(store: &RocksStore, dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.exists() {
        bail!("{} exists: name a directory that does not exist yet", dir.display());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("{} can't be made", dir.display()))?;
    store.checkpoint(&dir.join("store")).context("the store can't be copied")
}

/// Makes a backup of the copy in `dir`, one of a cluster when there is a manifest.
///
/// # Errors
/// When a file can't be written.
pub fn finish(
    brick: &Brick<'_>,
    (data, dir): (&Path, &Path),
    manifest: Option<&str>,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<BackupReport> {
    let findings = check(brick, progress).findings;
    if let Some(manifest) = manifest {
        crate::private_file::write(&dir.join(MANIFEST_FILE), manifest.as_bytes())?;
    }
    let report = crate::backup::finish(dir, data)?;
    Ok(BackupReport { findings, ..report })
}

/// Verifies everything in the store as it is now: checksums, references, indexes against logs.
pub fn check(brick: &Brick<'_>, progress: &dyn Fn(u64, u64)) -> CheckReport {
    let mut report = check_once(brick, progress);
    let mut looks = 1;
    while brick.shared && looks < LOOKS && !report.findings.is_empty() {
        std::thread::sleep(BETWEEN_LOOKS);
        let next = check_once(brick, progress);
        report.findings.retain(|found| next.findings.iter().any(|it| it.thing == found.thing));
        looks += 1;
    }
    report
}

fn check_once(brick: &Brick<'_>, progress: &dyn Fn(u64, u64)) -> CheckReport {
    let Brick { store, map, holds, shared: _ } = *brick;
    let total = store.bytes_estimated();
    let mut findings = Vec::new();
    let moment = store.moment();
    let counts =
        mailstore::check::check(&|read| moment.read(read), (map, holds), &mut |told| match told {
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
