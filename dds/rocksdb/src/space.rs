//! How much room the device has, and the ballast.
//!
//! States: `Plenty` -> `Low` -> `Critical` and back, by free bytes; entering `Critical` gives up the ballast, and when there
//! is plenty again it is made anew. While it is given up its bytes don't count as free, so that the state does not flutter.

use crate::SpaceConfig;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceState {
    Plenty,
    /// Deliveries are to be refused for now.
    Low,
    /// Only groups that free space pass.
    Critical,
}

/// Size of the device that holds `dir`; without an answer it counts as large.
pub fn device_bytes(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir);
    stat.map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Watches the device that holds a store.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    ballast: PathBuf,
    config: SpaceConfig,
    state: AtomicU8,
    free_bytes: AtomicU64,
    /// The ballast file is there.
    ballasted: AtomicBool,
}

impl Space {
    /// Looks at the device, and makes the ballast when there is room for it.
    pub fn new(dir: &Path, ballast: PathBuf, config: SpaceConfig) -> Self {
        let there = ballast.exists();
        let space = Self {
            dir: dir.into(),
            ballast,
            config,
            state: AtomicU8::new(SpaceState::Plenty as u8),
            free_bytes: AtomicU64::new(u64::MAX),
            ballasted: AtomicBool::new(there),
        };
        space.refresh();
        space
    }

    /// The state as of the last refresh.
    pub fn state(&self) -> SpaceState {
        match self.state.load(Relaxed) {
            0 => SpaceState::Plenty,
            1 => SpaceState::Low,
            _ => SpaceState::Critical,
        }
    }

    /// Free bytes as of the last refresh.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Relaxed)
    }

    /// Looks at the device: one system call. When that fails the old state stands.
    pub fn refresh(&self) -> SpaceState {
        let Ok(stat) = rustix::fs::statvfs(&self.dir) else { return self.state() };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        self.judge(free)
    }

    /// The device said that it is full, whatever the numbers say.
    pub fn exhausted(&self) {
        self.give_up_ballast();
        self.refresh();
    }

    fn judge(&self, free: u64) -> SpaceState {
        let SpaceConfig { low_bytes, critical_bytes, ballast_bytes } = self.config;
        let ballasted = self.ballasted.load(Relaxed);
        let counted = if ballasted { free } else { free.saturating_sub(ballast_bytes) };
        let state = if counted < critical_bytes {
            SpaceState::Critical
        } else if counted < low_bytes {
            SpaceState::Low
        } else {
            SpaceState::Plenty
        };
        self.free_bytes.store(counted, Relaxed);
        self.state.store(state as u8, Relaxed);
        match state {
            SpaceState::Critical if ballasted => self.give_up_ballast(),
            SpaceState::Plenty if !ballasted && ballast_bytes > 0 => {
                // Without a ballast the store works as well, until space is critical.
                let made = make_ballast(&self.ballast, ballast_bytes).is_ok();
                self.ballasted.store(made, Relaxed);
            }
            SpaceState::Plenty | SpaceState::Low | SpaceState::Critical => {}
        }
        state
    }

    fn give_up_ballast(&self) {
        // A file that can't be removed is tried again at the next refresh.
        if std::fs::remove_file(&self.ballast).is_ok() {
            self.ballasted.store(false, Relaxed);
        }
    }
}

fn make_ballast(path: &Path, bytes: u64) -> io::Result<()> {
    let made = File::create(path).and_then(|file| {
        let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
        allocated.map_err(io::Error::from)
    });
    if made.is_err() {
        // What was allocated of it is given back.
        let _gone = std::fs::remove_file(path);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_given_up_when_critical_and_made_again_when_there_is_plenty() {
        let dir = tempfile::tempdir().expect("a directory");
        let ballast = dir.path().join("ballast");
        let config = SpaceConfig { low_bytes: 1000, critical_bytes: 500, ballast_bytes: 100 };
        let space = Space::new(dir.path(), ballast.clone(), config);
        assert_eq!(space.judge(2000), SpaceState::Plenty);
        assert_eq!(std::fs::metadata(&ballast).expect("there").len(), 100);
        assert_eq!(space.judge(999), SpaceState::Low);
        assert!(ballast.exists());
        assert_eq!(space.judge(499), SpaceState::Critical);
        assert!(!ballast.exists());
        assert_eq!(space.judge(599), SpaceState::Critical, "the ballast does not count as free");
        assert_eq!(space.judge(600), SpaceState::Low);
        assert!(!ballast.exists());
        assert_eq!(space.judge(1100), SpaceState::Plenty);
        assert!(ballast.exists());
        assert_eq!(space.state(), SpaceState::Plenty);
    }
}
