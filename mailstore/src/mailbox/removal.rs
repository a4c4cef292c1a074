//! Housekeeping that frees space: condemned messages and orphaned pending sets, in slices.
//!
//! A message is condemned in the batch that takes its last reference. Its body, columns and blob reference go in a later one,
//! when every session that might still read it was told of the expunge. After a restart no session reads anything of before.

use super::change::House;
use super::core::{Core, Exclusive};
use super::format::{
    Block, BlockKind, CondemnedEmail, LARGE_BYTES, PIECES_MAX, PendingBodies, PendingSet, Reader,
    Rows, VALUE_BYTES_FILL, Writer, decode_rows, keys,
};
use super::house::{Hold, Work};
use super::load::{scan_request, scanned};
use super::machine::Effect;
use crate::face::{FolderId, ModSeq, PendingId, TaskRefusal};
use bytes::Bytes;
use dds::{Op, Response, SortKey};
use fsm::Cx;
use std::collections::{BTreeMap, VecDeque};

/// What is to be removed, and what it waits for.
#[derive(Debug)]
pub struct Removals {
    /// Until everybody who watches the folder was told.
    watched: Vec<Watched>,
    ready: VecDeque<Reap>,
    orphans: VecDeque<(PendingId, PendingSet)>,
}

#[derive(Debug)]
struct Watched {
    folder: FolderId,
    mod_seq: ModSeq,
    reap: Reap,
}

/// Condemned messages of some records.
#[derive(Debug)]
pub struct Reap {
    /// The records, to be deleted with the last message.
    keys: Vec<SortKey>,
    emails: Vec<CondemnedEmail>,
}

impl Removals {
    /// What a restart left over.
    #[must_use]
    pub fn new(
        condemned: Vec<(SortKey, Vec<CondemnedEmail>)>,
        orphans: Vec<(PendingId, PendingSet)>,
    ) -> Self {
        let ready = condemned.into_iter().map(|(key, emails)| Reap { keys: vec![key], emails });
        Self { watched: Vec::new(), ready: ready.collect(), orphans: orphans.into() }
    }

    /// Messages were condemned by an expunge.
    pub fn condemn(&mut self, folder: FolderId, mod_seq: ModSeq, emails: Vec<CondemnedEmail>) {
        if emails.is_empty() {
            return;
        }
        let parts = emails.len().div_ceil(VALUE_BYTES_FILL / 10);
        let part = |part| u16::try_from(part).unwrap_or(u16::MAX);
        let keys = (0..parts).map(|at| keys::condemned(mod_seq, part(at))).collect();
        self.watched.push(Watched { folder, mod_seq, reap: Reap { keys, emails } });
    }

    /// Everybody who watches `folder` was told of expunges up to `told`.
    pub fn told(&mut self, folder: FolderId, told: ModSeq) {
        if self.watched.is_empty() {
            return;
        }
        let ripe = self
            .watched
            .extract_if(.., |watched| watched.folder == folder && watched.mod_seq <= told);
        self.ready.extend(ripe.map(|watched| watched.reap));
    }

    pub fn add_orphan(&mut self, pending: PendingId, set: PendingSet) {
        self.orphans.push_back((pending, set));
    }

    pub fn put_back(&mut self, reap: Reap) {
        self.ready.push_front(reap);
    }

    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ready.is_empty() && self.orphans.is_empty()
    }
}

impl Core {
    /// Removes the next slice of condemned messages; false when there is none.
    pub fn reap(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let Some(mut reap) = self.removals.ready.pop_front() else {
            return false;
        };
        let slice_max = self.limits().removals_per_batch;
        let rest = reap.emails.len().saturating_sub(slice_max);
        let slice = reap.emails.split_off(rest);
        let mut ops = Vec::with_capacity(slice.len() * 2 + 2);
        self.put_removal(&slice, &mut ops);
        let mut done = Reap { keys: Vec::new(), emails: slice };
        if reap.emails.is_empty() {
            ops.extend(reap.keys.iter().map(|key| Op::Delete { key: key.clone() }));
            done.keys = reap.keys;
        } else {
            self.removals.ready.push_front(reap);
        }
        self.house.work = Work::Reaping(done);
        self.house_submit(cx, ops, House::Removed);
        true
    }

    /// Everything that is kept of messages that nobody refers to.
    pub fn put_removal(&mut self, emails: &[CondemnedEmail], ops: &mut Vec<Op>) {
        let mut gone: BTreeMap<u64, u64> = BTreeMap::new();
        for &CondemnedEmail { email, large } in emails {
            ops.push(Op::Delete { key: keys::body(email) });
            ops.push(Op::Delete { key: keys::columns(email) });
            if large {
                ops.push(Op::Delete { key: keys::blob_reference(email) });
                ops.push(Op::Delete { key: keys::apart(email, 0) });
                ops.push(Op::Delete { key: keys::apart(email, 1) });
                // Whichever there are of them.
                let pieces = (0..PIECES_MAX).map(|piece| keys::body_piece(email, piece));
                ops.extend(pieces.map(|key| Op::Delete { key }));
            }
            if Block::number_of(email) < self.packed {
                *gone.entry(Block::number_of(email)).or_default() |= 1 << Block::low_of(email);
            }
        }
        for (number, bits) in gone {
            self.mark_gone(number, bits, ops);
        }
    }

    /// Messages of a packed block are gone; with the last one the block goes.
    fn mark_gone(&mut self, number: u64, bits: u64, ops: &mut Vec<Op>) {
        let all = self.gone.entry(number).or_default();
        let before = *all;
        *all |= bits;
        let after = *all;
        if after == u64::MAX {
            self.gone.remove(&number);
            ops.push(Op::Delete { key: keys::gone(number) });
            for kind in BlockKind::ALL {
                ops.push(Op::Delete { key: keys::block(kind, number) });
                self.blocks.forget((number, kind));
            }
        } else {
            ops.push(Op::Put { key: keys::gone(number), value: gone_value(after) });
            self.note_thin(number, before, after);
        }
    }

    /// Looks at the next orphaned pending set; false when there is none.
    pub fn clear_orphan(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let Some((pending, set)) = self.removals.orphans.pop_front() else {
            return false;
        };
        match set.owns {
            PendingBodies::Borrowed => {
                let (from, to) = keys::staged_all(pending);
                let ops =
                    vec![Op::DeleteRange { from, to }, Op::Delete { key: keys::pending(pending) }];
                self.house.work = Work::Orphan { pending, set };
                self.house_submit(cx, ops, House::Removed);
            }
            PendingBodies::Own | PendingBodies::Counted => {
                let (from, to) = keys::staged_all(pending);
                let request = scan_request(&self.context.route, from, to);
                self.house.work = Work::Orphan { pending, set };
                self.house_read(cx, request);
            }
        }
        true
    }

    /// A page of an orphaned set's rows: they go, with what they own, in one batch; then the next page is looked at.
    pub fn on_orphan_page(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (pending, set): (PendingId, PendingSet),
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let (entries, _) = scanned(response)?;
        let mut ops = Vec::new();
        if entries.is_empty() {
            ops.push(Op::Delete { key: keys::pending(pending) });
            self.house.work = Work::Orphan { pending, set };
            self.house.orphan_done = Some(pending);
            self.house_submit(cx, ops, House::Removed);
            return Ok(());
        }
        let mut rows = Rows::default();
        let slice_max = self.limits().removals_per_batch;
        for entry in entries {
            let mut reader = Reader::new(&entry.value, "staged rows")?;
            rows.metas.extend(decode_rows(&mut reader)?.metas);
            ops.push(Op::Delete { key: entry.key });
            if rows.metas.len() >= slice_max {
                break;
            }
        }
        match set.owns {
            PendingBodies::Own => {
                let emails = rows.metas.iter().map(|meta| CondemnedEmail {
                    email: meta.email,
                    large: meta.bytes >= LARGE_BYTES,
                });
                let emails: Vec<CondemnedEmail> = emails.collect();
                self.put_removal(&emails, &mut ops);
            }
            PendingBodies::Counted | PendingBodies::Borrowed => {
                if self.exclusive != Exclusive::Free {
                    // Reference counts are changed by one at a time.
                    self.removals.add_orphan(pending, set);
                    return Ok(());
                }
                let mod_seq = self.next_mod_seq();
                let emails = self.release_bodies(&rows.metas, mod_seq, &mut ops);
                ops.push(self.root_op());
                self.hold_exclusive();
                self.house.hold = Hold::Exclusive;
                self.house.condemned = Some((mod_seq, emails));
            }
        }
        self.house.work = Work::Orphan { pending, set };
        self.house_submit(cx, ops, House::Removed);
        Ok(())
    }
}

/// The bits of [`keys::GONE`].
#[must_use]
pub fn gone_value(bits: u64) -> Bytes {
    let mut writer = Writer::new(8);
    writer.fixed(bits);
    writer.finish()
}
