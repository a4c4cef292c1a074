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
    /// What the numbers of `space` and `memory` mean on a small device.
    pub fit: Fit,
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
            fit: Fit::Device,
            background_jobs: 2,
        }
    }
}

/// How the budgets go with the size of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// None of them is more than its share of the device: a half for the first watermark, a quarter for the second, a
    /// sixteenth each for ballast and write buffers. Right for all but tests.
    Device,
    /// As they are.
    Exact,
}

impl StoreConfig {
    /// The configuration as it is on a device of this size.
    #[must_use]
    pub fn fitted(&self, device_bytes: u64) -> Self {
        let mut fitted = self.clone();
        match self.fit {
            Fit::Exact => {}
            Fit::Device => {
                let SpaceConfig { low_bytes, critical_bytes, ballast_bytes } = self.space;
                fitted.space = SpaceConfig {
                    low_bytes: low_bytes.min(device_bytes / 2),
                    critical_bytes: critical_bytes.min(device_bytes / 4),
                    ballast_bytes: ballast_bytes.min(device_bytes / 16),
                };
                let share = usize::try_from(device_bytes / 16).unwrap_or(usize::MAX).max(4 << 20);
                let write_buffer_bytes = &mut fitted.memory.write_buffer_bytes;
                *write_buffer_bytes = (*write_buffer_bytes).min(share);
            }
        }
        fitted
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_device_gets_small_budgets() {
        let config = StoreConfig::new("store");
        let large = config.fitted(1 << 40);
        assert_eq!(large.space.low_bytes, SpaceConfig::default().low_bytes);
        assert_eq!(large.memory.write_buffer_bytes, MemoryConfig::default().write_buffer_bytes);
        let small = config.fitted(256 << 20);
        assert_eq!(small.space.low_bytes, 128 << 20);
        assert_eq!(small.space.critical_bytes, 64 << 20);
        assert_eq!(small.space.ballast_bytes, 16 << 20);
        assert_eq!(small.memory.write_buffer_bytes, 16 << 20);
        let exact = StoreConfig { fit: Fit::Exact, ..config }.fitted(256 << 20);
        assert_eq!(exact.space.low_bytes, SpaceConfig::default().low_bytes);
    }
}
