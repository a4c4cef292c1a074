//! Finds messages in files: what each is, which folder it belongs to, its flags and its date.

use super::{maildir, mbox};
use crate::admin::api;
use anyhow::{Context, bail};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A message that was found; its bytes are still in the file.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    pub part: FilePart,
    pub folder: String,
    pub flags: Vec<String>,
    pub date: Option<api::InternalDate>,
}

/// Where in the file the message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePart {
    Whole,
    /// One message of an mbox, without its `From ` line.
    Mbox {
        offset: u64,
        len: u64,
    },
}

impl Found {
    /// For errors.
    pub fn name(&self) -> String {
        match self.part {
            FilePart::Whole => self.path.display().to_string(),
            FilePart::Mbox { offset, .. } => format!("{} at byte {offset}", self.path.display()),
        }
    }

    /// The message as it was before it was put into the file.
    pub fn read(&self) -> anyhow::Result<Vec<u8>> {
        let read = || -> std::io::Result<Vec<u8>> {
            match self.part {
                FilePart::Whole => fs::read(&self.path),
                FilePart::Mbox { offset, len } => {
                    let mut file = File::open(&self.path)?;
                    file.seek(SeekFrom::Start(offset))?;
                    let mut bytes = Vec::new();
                    file.take(len).read_to_end(&mut bytes)?;
                    Ok(mbox::unquote(bytes))
                }
            }
        };
        read().with_context(|| self.name())
    }

    /// Its header for the node, but for the size.
    pub fn into_header(self) -> api::MessageHeader {
        let Self { folder, flags, date, .. } = self;
        api::MessageHeader { folder, flags, internal_date: date, bytes: 0 }
    }
}

/// Adds the messages of a path: a Maildir, an mbox, one message, or a directory of these.
pub fn find(path: &Path, folder: Option<&str>, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
    if !metadata.is_dir() {
        return file(path, folder, found);
    }
    if maildir::is_maildir(path) {
        return maildir::find(path, folder, found);
    }
    let before = found.len();
    for entry in maildir::sorted(path)? {
        let is_mail = entry.is_dir()
            || entry.extension().is_some_and(|it| it == "eml" || it == "mbox")
            || mbox::is_mbox(&entry).unwrap_or(false);
        if is_mail {
            find(&entry, folder, found)?;
        }
    }
    if found.len() == before {
        bail!("{}: no Maildir, mbox or .eml file is in it", path.display());
    }
    Ok(())
}

fn file(path: &Path, folder: Option<&str>, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let folder = folder.unwrap_or("INBOX");
    if mbox::is_mbox(path).with_context(|| format!("{}", path.display()))? {
        return mbox::find(path, folder, found).with_context(|| format!("{}", path.display()));
    }
    found.push(Found {
        path: path.to_path_buf(),
        part: FilePart::Whole,
        folder: folder.to_owned(),
        flags: Vec::new(),
        date: modified(path),
    });
    Ok(())
}

/// When the file was last written: the date of messages that have no other.
pub fn modified(path: &Path) -> Option<api::InternalDate> {
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    let unix = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(api::InternalDate { unix_seconds: i64::try_from(unix.as_secs()).ok()?, zone_minutes: 0 })
}
