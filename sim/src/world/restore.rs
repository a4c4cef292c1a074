//! Backups and restorations: what was promised behind a backup is gone, and what was told of it is never told of anything
//! else.

use super::World;
use crate::failure::Failure;
use bytes::Bytes;
use dds::Column;
use mailstore::mailbox::Restored;

/// A copy of the store, and what was promised when it was taken.
#[derive(Debug)]
pub struct Backup {
    entries: Vec<(Column, Bytes, Bytes)>,
    promises: crate::ledger::Promises,
    /// What the store knew of restorations.
    restored: Restored,
    /// How often it was restored.
    restores: u32,
}

impl World {
    pub(super) fn back_up(&mut self, node: usize) {
        self.coverage.fault("backup");
        self.backup = Some(Backup {
            entries: self.nodes[node].disk.store.durable(),
            promises: self.ledger.promises(),
            restored: self.restored,
            restores: 0,
        });
    }

    pub(super) fn restore(&mut self, node: usize) -> Result<(), Failure> {
        let Some(mut backup) = self.backup.take() else { return Ok(()) };
        self.coverage.fault("disk is lost and restored");
        if backup.restores > 0 {
            self.coverage.fault("backup is restored once more");
        }
        self.crash(node)?;
        backup.restores += 1;
        self.nodes[node].disk.replace(&backup.entries);
        self.ledger.forget_but(&backup.promises);
        let millis = u64::try_from(self.wall().0).unwrap_or(0);
        self.restored = Restored {
            steps: backup.restored.steps + backup.restores,
            unix_micros: millis * 1_000,
        };
        self.backup = Some(backup);
        Ok(())
    }
}
