//! The data directory: who may open it, and in which format it is.
//!
//! | name | what |
//! |---|---|
//! | `FORMAT` | the number of the format, a line of decimal digits |
//! | `lock` | locked by the process that has the store open |
//! | `ballast` | bytes to give up when space is critical |
//! | `db/` | RocksDB's own |

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The number of the format that this version writes, and the newest that it opens.
pub const FORMAT: u32 = 1;

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: another process has this store open")]
    Locked { path: PathBuf },
    #[error("{path}: the store has format {found}, newer than {FORMAT}: use a newer hikyaku")]
    NewerFormat { path: PathBuf, found: u32 },
    #[error("{path}: not the format file of a store")]
    BadFormat { path: PathBuf },
    #[error("{path}: there is a database, but no file FORMAT: not a store, or a damaged one")]
    NoFormat { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Mail that was acknowledged may stand behind the damage: nothing is dropped, nothing is opened.
    #[error(
        "{path}: damaged at byte {offset}, in a part of the log that was synced: restore a backup"
    )]
    LogDamaged { path: PathBuf, offset: u64 },
    #[error("{path}: {message}")]
    Database { path: PathBuf, message: String },
}

/// An opened data directory. Holds the lock.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    _lock: File,
}

impl Home {
    /// Creates or opens `dir`, takes its lock and checks its format.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing has been changed then but that `dir` may exist now.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        create_private(dir)?;
        let path = dir.join("lock");
        let lock =
            private().create(true).write(true).truncate(false).open(&path).map_err(at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: dir.into() }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
        let home = Self { dir: dir.into(), _lock: lock };
        home.check_format()?;
        Ok(home)
    }

    /// Where RocksDB lives.
    pub fn database(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// The file to give up when space is critical.
    pub fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let path = self.dir.join("FORMAT");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.database().exists() {
                    return Err(OpenError::NoFormat { path: self.dir.clone() });
                }
                return write_format(&self.dir).map_err(at(&path));
            }
            Err(source) => return Err(OpenError::Io { path, source }),
        };
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        match number {
            Some(found) if found > FORMAT => Err(OpenError::NewerFormat { path, found }),
            Some(1..) => Ok(()),
            Some(0) | None => Err(OpenError::BadFormat { path }),
        }
    }
}

/// Writes the file FORMAT of `dir` so that it is there whole or not at all.
pub fn write_format(dir: &Path) -> io::Result<()> {
    let temporary = dir.join("FORMAT.new");
    let mut file = private().create(true).write(true).truncate(true).open(&temporary)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join("FORMAT"))?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates `dir` and its parents, for the owner alone; an existing one is closed to others.
pub fn create_private(dir: &Path) -> Result<(), OpenError> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        std::fs::create_dir_all(parent).map_err(at(parent))?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_dir(parent.unwrap_or(Path::new("."))).map_err(at(dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = std::fs::metadata(dir).map_err(at(dir))?.permissions().mode();
            if mode & 0o077 == 0 {
                return Ok(());
            }
            std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(at(dir))
        }
        Err(source) => Err(OpenError::Io { path: dir.into(), source }),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.into();
    move |source| OpenError::Io { path, source }
}
