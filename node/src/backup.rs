//! Backups as directories: what is in one, how it is verified, how a data directory is made of it.
//!
//! `DIR/store` is a checkpoint of the store; keys and tokens lie beside it as in the data directory; `DIR/backup.json` lists every
//! file with its length and CRC-32C and is written last. Invariants: a backup without its list is not complete, and is not
//! restored; a restored data directory is complete or not there; its store knows that it was restored, so that clients are
//! shown no UID or MODSEQ again that they may have seen in the time behind the backup. `DIR/restores` counts how often a
//! backup was restored: each of those stores served a time of its own.

use crate::control::{BackupReport, Finding};
use crate::private_file;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The list of files.
pub const LIST_FILE: &str = "backup.json";
/// Of the backup of a cluster: which nodes have a part of it, and what counts of each. See [`crate::manifest`].
pub const MANIFEST_FILE: &str = "cluster.json";
/// The number of the format. Newer ones are refused.
const FORMAT: u64 = 1;
/// Beside the store in the data directory, what a backup takes along.
const KEYS: [&str; 2] = ["tls", crate::admin::TOKEN_FILE];
/// In a backup: how often it was restored. Not in the list.
const RESTORES_FILE: &str = "restores";

/// What the store of a restored data directory is told: its directory, the number of the restoration of this backup from 1,
/// microseconds since 1970.
pub type NoteRestoration<'a> = dyn Fn(&Path, u32, u64) -> anyhow::Result<()> + 'a;

/// One file of a backup.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    /// Relative to the backup.
    path: String,
    bytes: u64,
    crc32c: u32,
}

/// Completes a backup whose `store` is there: copies the keys from `data`, lists everything, syncs it.
///
/// # Errors
/// The file at fault. The backup is not complete then and should be removed.
pub fn finish(dir: &Path, data: &Path) -> anyhow::Result<BackupReport> {
    for key in KEYS {
        let source = data.join(key);
        if source.exists() {
            copy_tree(&source, &dir.join(key))?;
        }
    }
    let mut paths = Vec::new();
    walk(dir, &mut paths)?;
    let mut listed = Vec::new();
    for path in paths {
        let (bytes, crc32c) = sum(&path)?;
        let relative = path.strip_prefix(dir).context("a file of the walk")?;
        let path = relative.to_str().context("file names of a backup are UTF-8")?.to_owned();
        listed.push(Listed { path, bytes, crc32c });
    }
    let files: Vec<Value> = listed
        .iter()
        .map(|it| json!({"path": it.path, "bytes": it.bytes, "crc32c": it.crc32c}))
        .collect();
    let list = json!({"format": FORMAT, "unix_seconds": unix_micros() / 1_000_000, "files": files});
    let text = serde_json::to_string_pretty(&list)?;
    private_file::write(&dir.join(LIST_FILE), text.as_bytes())?;
    let bytes = listed.iter().map(|it| it.bytes).sum();
    let (dir, files) = (dir.to_path_buf(), listed.len() as u64);
    Ok(BackupReport { dir, files, bytes, findings: Vec::new(), incarnation: 0 })
}

/// What is wrong with a backup; nothing when it is whole.
///
/// # Errors
/// It is no backup, or one of a newer release.
pub fn verify(dir: &Path, progress: &dyn Fn(u64, u64)) -> anyhow::Result<Vec<Finding>> {
    let listed = read_list(dir)?;
    let total = listed.iter().map(|it| it.bytes).sum();
    let (mut done, mut findings) = (0, Vec::new());
    for it in &listed {
        let path = dir.join(&it.path);
        let reason = match sum(&path) {
            Ok((bytes, crc32c)) if (bytes, crc32c) == (it.bytes, it.crc32c) => None,
            Ok((bytes, _)) if bytes != it.bytes => {
                Some(format!("has {bytes} bytes instead of {}", it.bytes))
            }
            Ok(_) => Some("its checksum is wrong".to_owned()),
            Err(error) => Some(format!("{:#}", error.root_cause())),
        };
        findings.extend(reason.map(|reason| Finding {
            thing: path.display().to_string(),
            reason,
            next_step: "restore from another backup".to_owned(),
        }));
        done += it.bytes;
        progress(done, total);
    }
    Ok(findings)
}

/// Makes the data directory `data`, which is not there yet, from a backup.
///
/// # Errors
/// The backup is damaged, `data` is there, or the file at fault.
pub fn restore(
    dir: &Path,
    data: &Path,
    note: &NoteRestoration<'_>,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<BackupReport> {
    if data.exists() {
        bail!("{} is there already: restore to a new directory with --data", data.display());
    }
    if let Some(finding) = verify(dir, progress)?.first() {
        bail!("{}: {}; {}", finding.thing, finding.reason, finding.next_step);
    }
    let listed = read_list(dir)?;
    let unfinished = data.with_extension("restoring");
    if unfinished.exists() {
        bail!("{} is left from a restoration that failed: remove it", unfinished.display());
    }
    let number = count_restoration(dir);
    private_file::ensure_dir(&unfinished)?;
    for it in &listed {
        let target = unfinished.join(&it.path);
        if let Some(parent) = target.parent() {
            private_file::ensure_dir(parent)?;
        }
        copy_file(&dir.join(&it.path), &target)?;
    }
    note(&unfinished.join("store"), number, unix_micros()).inspect_err(|_| {
        // Refused, most likely: the next attempt begins anew.
        let _removed = fs::remove_dir_all(&unfinished);
    })?;
    sync_dirs(&unfinished)?;
    fs::rename(&unfinished, data).with_context(|| format!("{}", data.display()))?;
    let bytes = listed.iter().map(|it| it.bytes).sum();
    let (dir, files) = (data.to_path_buf(), listed.len() as u64);
    Ok(BackupReport { dir, files, bytes, findings: Vec::new(), incarnation: 0 })
}

/// The number of this restoration of the backup. A backup that can't be written to counts from 1 each time: the clock alone
/// tells its restorations apart then.
fn count_restoration(dir: &Path) -> u32 {
    let path = dir.join(RESTORES_FILE);
    let read = private_file::read(&path).ok().flatten();
    let before = read.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()?.trim().parse().ok());
    let number = before.unwrap_or(0_u32).saturating_add(1);
    if let Err(error) = private_file::write(&path, number.to_string().as_bytes()) {
        eprintln!(
            "hikyaku: {}: {error}; before restoring this backup a second time, wait as many \
             quarters of a minute as a folder got messages in between",
            path.display()
        );
    }
    number
}

fn read_list(dir: &Path) -> anyhow::Result<Vec<Listed>> {
    let path = dir.join(LIST_FILE);
    let Some(bytes) = private_file::read(&path)? else {
        bail!("{} is no complete backup: {LIST_FILE} is not there", dir.display());
    };
    let unreadable = || format!("{} can't be read; use another backup", path.display());
    let list: Value = serde_json::from_slice(&bytes).with_context(unreadable)?;
    if list["format"].as_u64() != Some(FORMAT) {
        bail!("{}: its format is {}, this release knows {FORMAT}", path.display(), list["format"]);
    }
    let listed = |file: &Value| {
        let path = file["path"].as_str()?;
        // A list that was tampered with must not lead out of the directory.
        let is_inside =
            Path::new(path).components().all(|it| matches!(it, std::path::Component::Normal(_)));
        Some(Listed {
            path: is_inside.then(|| path.to_owned())?,
            bytes: file["bytes"].as_u64()?,
            crc32c: u32::try_from(file["crc32c"].as_u64()?).ok()?,
        })
    };
    let files = list["files"].as_array().with_context(unreadable)?;
    files.iter().map(listed).collect::<Option<Vec<Listed>>>().with_context(unreadable)
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        entries.push(entry?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn sum(path: &Path) -> anyhow::Result<(u64, u32)> {
    let named = || format!("{}", path.display());
    let mut file = File::open(path).with_context(named)?;
    let (mut bytes, mut crc, mut buffer) = (0, 0, vec![0; 256 * 1024]);
    loop {
        let len = file.read(&mut buffer).with_context(named)?;
        if len == 0 {
            return Ok((bytes, crc));
        }
        bytes += len as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..len]);
    }
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        return copy_file(from, to);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    let mut paths = Vec::new();
    walk(from, &mut paths)?;
    for path in paths {
        let target = to.join(path.strip_prefix(from).context("a file of the walk")?);
        if let Some(parent) = target.parent() {
            private_file::ensure_dir(parent)?;
        }
        copy_file(&path, &target)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = || {
        fs::copy(from, to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o600))?;
        File::open(to)?.sync_all()
    };
    copy().with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

fn sync_dirs(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_dirs(&path)?;
        }
    }
    File::open(dir)?.sync_all().with_context(|| format!("{}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().expect("a directory");
        let (dir, data) = (root.path().join("backup"), root.path().join("data"));
        fs::create_dir_all(dir.join("store/sub")).expect("made");
        fs::create_dir_all(data.join("tls")).expect("made");
        fs::write(dir.join("store/000001.sst"), "mail").expect("written");
        fs::write(dir.join("store/sub/CURRENT"), "").expect("written");
        fs::write(data.join("tls/self-signed.key"), "key").expect("written");
        fs::write(data.join("admin.token"), "token").expect("written");
        (root, dir, data)
    }

    #[test]
    fn a_backup_restores_to_what_it_was_with_its_keys_and_is_told() {
        let (root, dir, data) = made();
        assert!(verify(&dir, &|_, _| {}).is_err(), "not complete yet");
        let report = finish(&dir, &data).expect("complete");
        assert_eq!((report.files, report.bytes), (4, 12));
        let target = root.path().join("fresh");
        let noted = std::cell::RefCell::new(Vec::new());
        let note = |store: &Path, number: u32, _: u64| {
            assert!(store.join("000001.sst").exists());
            noted.borrow_mut().push(number);
            Ok(())
        };
        restore(&dir, &target, &note, &|_, _| {}).expect("restored");
        for (file, text) in
            [("store/000001.sst", "mail"), ("tls/self-signed.key", "key"), ("admin.token", "token")]
        {
            assert_eq!(fs::read_to_string(target.join(file)).expect("there"), text);
        }
        let mode = fs::metadata(&target).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(restore(&dir, &target, &note, &|_, _| {}).is_err(), "never over anything");
        restore(&dir, &root.path().join("second"), &note, &|_, _| {}).expect("restored again");
        assert_eq!(noted.into_inner(), [1, 2]);
    }

    #[test]
    fn planted_damage_is_noticed() {
        let (root, dir, data) = made();
        finish(&dir, &data).expect("complete");
        let file = dir.join("store/000001.sst");
        for damage in ["mial", "mai"] {
            fs::write(&file, damage).expect("written");
            assert_eq!(verify(&dir, &|_, _| {}).expect("a backup").len(), 1, "{damage}");
        }
        fs::remove_file(&file).expect("removed");
        assert_eq!(verify(&dir, &|_, _| {}).expect("a backup").len(), 1);
        let note = |_: &Path, _: u32, _: u64| Ok(());
        assert!(restore(&dir, &root.path().join("fresh"), &note, &|_, _| {}).is_err());
        assert!(!root.path().join("fresh").exists());
    }

    #[test]
    fn a_list_cannot_lead_out_of_the_backup() {
        let (_root, dir, data) = made();
        finish(&dir, &data).expect("complete");
        let list = dir.join(LIST_FILE);
        let text = fs::read_to_string(&list).expect("there");
        fs::write(&list, text.replace("admin.token", "../data/admin.token")).expect("written");
        assert!(verify(&dir, &|_, _| {}).is_err());
    }
}
