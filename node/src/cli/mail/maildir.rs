//! Maildir and Maildir++: a file per message, flags in its name, a directory per folder.

use super::folder_dir::folder_of;
use super::source::{FilePart, Found, modified};
use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};

/// Letters of the info part and their flags, in the order they are written.
pub const LETTERS: [(char, &str); 5] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];
/// P, passed: what mail clients call forwarded.
pub const FORWARDED: (char, &str) = ('P', "$Forwarded");
/// Names the keywords of the letters a to z, one to a line: `0 $Junk`. Dovecot's.
pub const KEYWORDS_FILE: &str = "dovecot-keywords";

pub fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir() && path.join("new").is_dir()
}

/// The entries of a directory in the order of their names, numbers by value: the order of arrival.
pub fn sorted(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("{}", dir.display());
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir).with_context(context)? {
        entries.push(entry.with_context(context)?.path());
    }
    entries.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
        (name[..digits].parse::<u64>().unwrap_or(u64::MAX), name)
    });
    Ok(entries)
}

/// Adds the messages of a Maildir and of the folders in it.
pub fn find(path: &Path, folder: Option<&str>, found: &mut Vec<Found>) -> anyhow::Result<()> {
    messages(path, folder.unwrap_or("INBOX"), found)?;
    for dir in sorted(path)? {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_maildir(&dir) {
            continue;
        }
        // A Maildir++ folder, or a Maildir inside another by its plain name.
        let own = folder_of(&name).unwrap_or_else(|| name.trim_start_matches('.').to_owned());
        messages(&dir, folder.unwrap_or(&own), found)?;
    }
    Ok(())
}

fn messages(dir: &Path, folder: &str, found: &mut Vec<Found>) -> anyhow::Result<()> {
    let keywords = keywords(dir);
    let mut paths = Vec::new();
    for sub in ["cur", "new"] {
        paths.extend(sorted(&dir.join(sub))?.into_iter().filter(|path| path.is_file()));
    }
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.push(Found {
            part: FilePart::Whole,
            folder: folder.to_owned(),
            flags: flags(&name, &keywords),
            date: modified(&path),
            path,
        });
    }
    Ok(())
}

fn keywords(dir: &Path) -> Vec<(char, String)> {
    let text = fs::read_to_string(dir.join(KEYWORDS_FILE)).unwrap_or_default();
    let keyword = |line: &str| {
        let (number, name) = line.split_once(' ')?;
        let letter = b'a'.checked_add(number.parse().ok()?).filter(u8::is_ascii_lowercase)?;
        Some((char::from(letter), name.trim().to_owned()))
    };
    text.lines().filter_map(keyword).collect()
}

/// The flags in a name: `1700000000.M1.host:2,FS`.
fn flags(name: &str, keywords: &[(char, String)]) -> Vec<String> {
    let info = name.rsplit_once(":2,").map_or("", |(_, info)| info);
    let flag = |letter: char| {
        let known = LETTERS.iter().chain([&FORWARDED]).find(|(it, _)| *it == letter);
        let known = known.map(|(_, flag)| (*flag).to_owned());
        known
            .or_else(|| keywords.iter().find(|(it, _)| *it == letter).map(|(_, name)| name.clone()))
    };
    info.chars().filter_map(flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maildir_has_folders_flags_keywords_and_an_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        for folder in ["", ".Sent", ".Lists.rust", ".no-maildir"] {
            for sub in ["cur", "new"] {
                if folder != ".no-maildir" || sub == "cur" {
                    fs::create_dir_all(root.join(folder).join(sub)).expect("made");
                }
            }
        }
        fs::write(root.join(KEYWORDS_FILE), "0 $Junk\n1 Work\nnonsense\n").expect("written");
        for file in ["cur/10.a:2,S", "cur/9.b:2,FRb", "new/8.c", ".Sent/cur/1.d:2,SPD"] {
            fs::write(root.join(file), "Subject: x\n\n").expect("written");
        }
        let mut found = Vec::new();
        find(root, None, &mut found).expect("read");
        let shown: Vec<(String, String, String)> = found
            .iter()
            .map(|it| {
                let name = it.path.file_name().expect("a name").to_string_lossy().into_owned();
                (it.folder.clone(), name, it.flags.join(" "))
            })
            .collect();
        let row = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            shown,
            [
                row("INBOX", "9.b:2,FRb", "\\Flagged \\Answered Work"),
                row("INBOX", "10.a:2,S", "\\Seen"),
                row("INBOX", "8.c", ""),
                row("Sent", "1.d:2,SPD", "\\Seen $Forwarded \\Draft"),
            ]
        );
    }
}
