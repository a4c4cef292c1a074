//! Writes a Maildir++ that other programs read: flags and keywords in names, dates as times of the files.

use super::folder_dir::dir_of;
use super::maildir::{FORWARDED, KEYWORDS_FILE, LETTERS};
use crate::admin::api::MessageHeader;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Keywords that a Maildir can name: letters a to z.
const KEYWORDS_MAX: usize = 26;

/// A Maildir while it is written.
#[derive(Debug)]
pub struct MaildirWriter {
    root: PathBuf,
    dir: PathBuf,
    keywords: Vec<String>,
    folders: BTreeSet<PathBuf>,
    messages: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    name: String,
    bytes_left: u64,
    unix_seconds: i64,
}

impl MaildirWriter {
    /// In a directory that is not there, or empty.
    pub fn create(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("{}", root.display()))?;
        let mut entries = fs::read_dir(root).with_context(|| format!("{}", root.display()))?;
        if entries.next().is_some() {
            bail!("{} is not empty: name a new directory", root.display());
        }
        Ok(Self {
            root: root.to_path_buf(),
            dir: root.to_path_buf(),
            keywords: Vec::new(),
            folders: BTreeSet::new(),
            messages: 0,
            open: None,
        })
    }

    /// What follows is of this folder.
    pub fn folder(&mut self, name: &str) -> anyhow::Result<()> {
        self.close_keywords()?;
        self.dir = self.root.join(dir_of(name));
        self.folders.insert(self.dir.clone());
        for sub in ["cur", "new", "tmp"] {
            let sub = self.dir.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("{}", sub.display()))?;
        }
        if self.dir != self.root {
            // Maildir++: marks a folder.
            fs::write(self.dir.join("maildirfolder"), "")?;
        }
        Ok(())
    }

    /// A message begins.
    pub fn begin(&mut self, header: MessageHeader) -> anyhow::Result<()> {
        if self.open.is_some() {
            bail!("the node sent a message in pieces that do not fit; run the export again");
        }
        let unix_seconds = header.internal_date.map_or(0, |date| date.unix_seconds);
        let letters = self.letters(&header.flags);
        let unique = format!("{unix_seconds}.{}.hikyaku", self.messages);
        let path = self.dir.join("tmp").join(&unique);
        let file = File::create_new(&path).with_context(|| format!("{}", path.display()))?;
        let name = format!("{unique},S={}:2,{letters}", header.bytes);
        self.open = Some(Open { file, path, name, bytes_left: header.bytes, unix_seconds });
        if header.bytes == 0 { self.data(&[]) } else { Ok(()) }
    }

    /// Bytes of the message that was begun.
    pub fn data(&mut self, data: &[u8]) -> anyhow::Result<()> {
        let Some(open) = &mut self.open else { bail!("the node sent bytes of no message") };
        open.file.write_all(data).with_context(|| format!("{}", open.path.display()))?;
        open.bytes_left = open.bytes_left.saturating_sub(data.len() as u64);
        if open.bytes_left == 0
            && let Some(open) = self.open.take()
        {
            self.finish_message(&open)?;
        }
        Ok(())
    }

    fn finish_message(&mut self, open: &Open) -> anyhow::Result<()> {
        let since = Duration::from_secs(u64::try_from(open.unix_seconds).unwrap_or(0));
        open.file.set_modified(UNIX_EPOCH + since)?;
        let target = self.dir.join("cur").join(&open.name);
        fs::rename(&open.path, &target).with_context(|| format!("{}", target.display()))?;
        self.messages += 1;
        Ok(())
    }

    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many folders and messages were written.
    pub fn finish(mut self) -> anyhow::Result<(usize, u64)> {
        if let Some(open) = &self.open {
            bail!("{} is not complete; run the export again", open.path.display());
        }
        self.close_keywords()?;
        Ok((self.folders.len(), self.messages))
    }

    /// In the order of the alphabet, as the format wants it.
    fn letters(&mut self, flags: &[String]) -> String {
        let mut letters = BTreeSet::new();
        for flag in flags {
            let known = LETTERS.iter().chain([&FORWARDED]);
            let letter = known
                .clone()
                .find(|(_, name)| name.eq_ignore_ascii_case(flag))
                .map(|(letter, _)| *letter);
            letters.extend(letter.or_else(|| self.keyword(flag)));
        }
        letters.into_iter().collect()
    }

    fn keyword(&mut self, flag: &str) -> Option<char> {
        let at = self.keywords.iter().position(|it| it.eq_ignore_ascii_case(flag));
        let at = match at {
            Some(at) => at,
            None if self.keywords.len() < KEYWORDS_MAX => {
                self.keywords.push(flag.to_owned());
                self.keywords.len() - 1
            }
            None => return None,
        };
        u8::try_from(at).ok().map(|at| char::from(b'a' + at))
    }

    fn close_keywords(&mut self) -> anyhow::Result<()> {
        let keywords = std::mem::take(&mut self.keywords);
        if !keywords.is_empty() {
            let lines = keywords.iter().enumerate().map(|(at, name)| format!("{at} {name}\n"));
            fs::write(self.dir.join(KEYWORDS_FILE), lines.collect::<String>())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::maildir;
    use super::*;
    use crate::admin::api::InternalDate;

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("out");
        let mut writer = MaildirWriter::create(&root).expect("new");
        let texts = [("INBOX", "one"), ("INBOX", ""), ("Lists/v1.2", "three")];
        let mut last = "";
        for (folder, text) in texts {
            if folder != last {
                writer.folder(folder).expect("made");
                last = folder;
            }
            let flags = ["\\Seen", "$Forwarded", "Work"].map(str::to_owned).to_vec();
            let internal_date =
                Some(InternalDate { unix_seconds: 1_700_000_000, zone_minutes: 60 });
            let (folder, bytes) = (folder.to_owned(), text.len() as u64);
            writer.begin(MessageHeader { folder, flags, internal_date, bytes }).expect("begun");
            for piece in text.as_bytes().chunks(2) {
                writer.data(piece).expect("written");
            }
        }
        assert_eq!(writer.finish().expect("complete"), (2, 3));
        let mut found = Vec::new();
        maildir::find(&root, None, &mut found).expect("read");
        for (it, (folder, text)) in found.iter().zip(texts) {
            assert_eq!((it.folder.as_str(), it.read().expect("read")), (folder, text.into()));
            assert_eq!(it.flags, ["$Forwarded", "\\Seen", "Work"]);
            assert_eq!(it.date.expect("dated").unix_seconds, 1_700_000_000);
        }
        assert_eq!(found.len(), 3);
        assert!(MaildirWriter::create(&root).is_err(), "not empty any more");
    }
}
