//! Files that only their owner may read: keys and tokens in the data directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a directory of mode 0700, with its parents, unless it is there.
///
/// # Errors
/// With the path in the text.
pub fn ensure_dir(path: &Path) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| named(path, &error))
}

/// Writes a file of mode 0600 as a whole: after a crash it is there with all of its bytes, or not at all.
///
/// # Errors
/// With the path in the text.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        replace(path, bytes, File::sync_all)?;
        match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
            Some(_) | None => Ok(()),
        }
    };
    write().map_err(|error| named(path, &error))
}

/// Writes a file of mode 0600 that means nothing after a crash. Readers see the old one or the new one.
///
/// # Errors
/// With the path in the text.
pub fn write_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, |_| Ok(())).map_err(|error| named(path, &error))
}

fn replace(path: &Path, bytes: &[u8], settle: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    // A left-over of a crash may have another mode.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    settle(&file)?;
    fs::rename(&unfinished, path)
}

/// Reads a file; `None` when there is none.
///
/// # Errors
/// With the path in the text.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_may_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("data/keys");
        ensure_dir(&dir).expect("made");
        ensure_dir(&dir).expect("there");
        let path = dir.join("token");
        assert_eq!(read(&path).expect("readable"), None);
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).expect("written");
            assert_eq!(read(&path).expect("readable").as_deref(), Some(text.as_bytes()));
            write_volatile(&path, b"volatile").expect("written");
            assert_eq!(read(&path).expect("readable").as_deref(), Some(&b"volatile"[..]));
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
    }
}
