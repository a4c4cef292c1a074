//! What the operator decides about the store.

use std::path::PathBuf;

/// Where the store lives, and its budgets.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The data directory; created with mode 0700 when it is absent.
    pub dir: PathBuf,
    /// Whether a commit that asks for it is really synced. Without it an acknowledged write may be lost with the power.
    pub sync: bool,
    pub memory: MemoryConfig,
    pub space: SpaceConfig,
    /// Threads for flush and compaction.
    pub background_jobs: i32,
}

/// Budgets of memory, in bytes. Taken as they are needed, not in advance.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Blocks, indexes, filters and bodies read lately, all columns together.
    pub cache_bytes: usize,
    /// Writes that are not yet in files, all columns together.
    pub write_buffer_bytes: usize,
}

/// Watermarks of free bytes on the device.
#[derive(Clone, Copy, Debug)]
pub struct SpaceConfig {
    /// Below it [`crate::SpaceState::Low`]: deliveries are refused for now (SMTP 452).
    pub low_bytes: u64,
    /// Below it [`crate::SpaceState::Critical`]: only groups that free space pass.
    pub critical_bytes: u64,
    /// Size of a file that is given up when space is critical, so that deletion and compaction have room to work.
    pub ballast_bytes: u64,
}

impl StoreConfig {
    /// The defaults, in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: true,
            memory: MemoryConfig::default(),
            space: SpaceConfig::default(),
            background_jobs: 2,
        }
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20, write_buffer_bytes: 192 << 20 }
    }
}

impl Default for SpaceConfig {
    /// The second watermark leaves room for one flush of all write buffers and the compaction it starts.
    fn default() -> Self {
        Self { low_bytes: 1 << 30, critical_bytes: 512 << 20, ballast_bytes: 128 << 20 }
    }
}
