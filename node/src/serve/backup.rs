//! Online backup and check of the store.

use crate::control::{BackupReport, CheckReport, Finding};
use anyhow::{Context, bail};
use dds_rocksdb::RocksStore;
use std::fs;
use std::path::Path;

/// What a data directory holds beside the store; whatever of it exists is copied.
const KEYS: [&str; 2] = ["tls", "admin.token"];

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
    for name in KEYS {
        copy(&data.join(name), &dir.join(name))?;
    }
    let (files, bytes) = measure(dir)?;
    progress(bytes, bytes);
    Ok(BackupReport { dir: dir.to_path_buf(), files, bytes })
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let Ok(about) = fs::symlink_metadata(from) else { return Ok(()) };
    if !about.is_dir() {
        fs::copy(from, to).with_context(|| format!("{} can't be copied", from.display()))?;
        return Ok(fs::File::open(to)?.sync_all()?);
    }
    fs::create_dir(to)?;
    fs::set_permissions(to, about.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(fs::File::open(to)?.sync_all()?)
}

fn measure(dir: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            let (more_files, more_bytes) = measure(&entry.path())?;
            files += more_files;
            bytes += more_bytes;
        } else {
            files += 1;
            bytes += about.len();
        }
    }
    Ok((files, bytes))
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
