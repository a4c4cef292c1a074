//! When blob files are collected: bodies that were deleted leave garbage, and moving what lives out of the way costs a rewrite.
//!
//! States: off -> on when more than 40 % of the bytes in blob files are garbage, on -> off below 20 %. With mail that is never
//! deleted nothing is ever rewritten; with mail that is all deleted files vanish whole.

use crate::{RocksStore, SpaceState};
use dds::{Column, Group, StoreOp};
use rocksdb::FlushOptions;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Written bytes between two looks at the garbage; a deletion counts as a body of 4 KiB.
const LOOK_BYTES: u64 = 32 << 20;
/// The same while there is little space: then deletions must take effect soon, though nobody delivers any more and so no
/// write buffer would fill.
const LOOK_BYTES_SCARCE: u64 = 4 << 20;
const DELETION_BYTES: u64 = 4096;

const ON_PERCENT: u64 = 40;
const OFF_PERCENT: u64 = 20;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Written since the last look.
    written_bytes: AtomicU64,
    collecting: AtomicBool,
}

impl RocksStore {
    /// Notes that `groups` were written, and from time to time looks whether collecting pays.
    pub(crate) fn note_written(&self, groups: &[Group]) {
        let weight = |op: &StoreOp| match op {
            StoreOp::Put { key, value, .. } => (key.len() + value.len()) as u64,
            StoreOp::Delete { .. } | StoreOp::DeleteRange { .. } => DELETION_BYTES,
        };
        let bytes: u64 = groups.iter().flat_map(|group| &group.ops).map(weight).sum();
        let before = self.garbage.written_bytes.fetch_add(bytes, Relaxed);
        let scarce = self.space() != SpaceState::Plenty;
        let look_bytes = if scarce { LOOK_BYTES_SCARCE } else { LOOK_BYTES };
        if before.saturating_add(bytes) < look_bytes {
            return;
        }
        self.garbage.written_bytes.store(0, Relaxed);
        if scarce {
            let mut flush = FlushOptions::default();
            flush.set_wait(false);
            // A flush that fails is a background error, and the next commit says so.
            let _started = self.db.flush_cf_opt(self.column(Column::Bodies), &flush);
        }
        self.look();
    }

    fn look(&self) {
        let (total, garbage) = self.blob_bytes();
        let percent = garbage.saturating_mul(100).checked_div(total).unwrap_or(0);
        let collecting = self.garbage.collecting.load(Relaxed);
        let wanted = if collecting { percent > OFF_PERCENT } else { percent > ON_PERCENT };
        if wanted == collecting {
            return;
        }
        let value = if wanted { "true" } else { "false" };
        let option = [("enable_blob_garbage_collection", value)];
        // When it can't be switched now the next look tries again.
        if self.db.set_options_cf(self.column(Column::Bodies), &option).is_ok() {
            self.garbage.collecting.store(wanted, Relaxed);
        }
    }
}
