//! Housekeeping that frees space: condemned messages, their blobs, and orphaned pending sets, in slices.
//!
//! A message is condemned in the batch that takes its last reference. Its body, columns and blob reference go in a later one,
//! when every session that might still read it was told of the expunge. After a restart no session reads anything of before.
//!
//! A blob that no other mailbox may refer to ([`Holders::One`]) is released in that later batch, and deleted when the batch is
//! durable; then the released record goes. So a reference in the store never names a blob that was deleted here, and a crash
//! at any point leaves either the reference or the released record. All other blobs are left to the sweep.

use super::change::{Asker, House};
use super::core::{Core, Exclusive};
use super::fail;
use super::format::{
    Block, BlockKind, CondemnedEmail, PIECES_MAX, PendingBodies, PendingSet, Reader, Rows,
    VALUE_BYTES_FILL, Writer, decode_blob_reference, decode_rows, keys,
};
use super::house::{Stage, Work};
use super::load::{got, scan_request, scanned};
use super::machine::Effect;
use super::reading::Reading;
use super::settle::Hold;
use crate::face::{Body, FolderId, Holders, ModSeq, PendingId, TaskRefusal, UserError};
use bytes::Bytes;
use dds::{BlobId, Op, Outcome, Request, Response, SortKey};
use fsm::Cx;
use std::collections::{BTreeMap, VecDeque};

/// What is to be removed, and what it waits for.
#[derive(Debug)]
pub struct Removals {
    /// Until everybody who watches the folder was told.
    watched: Vec<Watched>,
    ready: VecDeque<Reap>,
    orphans: VecDeque<(PendingId, PendingSet)>,
    /// Blobs that nobody refers to, to be deleted.
    released: VecDeque<BlobId>,
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
    /// Blobs that the batch under way releases.
    pub released: Vec<BlobId>,
}

/// Released blobs that are being deleted.
#[derive(Debug)]
pub struct Dropping {
    asked: usize,
    gone: Vec<BlobId>,
    /// Those that could not be deleted now.
    kept: Vec<BlobId>,
}

impl Dropping {
    #[must_use]
    pub fn into_gone(self) -> Vec<BlobId> {
        self.gone
    }
}

impl Reap {
    fn new(keys: Vec<SortKey>, emails: Vec<CondemnedEmail>) -> Self {
        Self { keys, emails, released: Vec::new() }
    }
}

impl Removals {
    /// What a restart left over.
    #[must_use]
    pub fn new(
        condemned: Vec<(SortKey, Vec<CondemnedEmail>)>,
        orphans: Vec<(PendingId, PendingSet)>,
        released: Vec<BlobId>,
    ) -> Self {
        let ready = condemned.into_iter().map(|(key, emails)| Reap::new(vec![key], emails));
        Self {
            watched: Vec::new(),
            ready: ready.collect(),
            orphans: orphans.into(),
            released: released.into(),
        }
    }

    /// Nobody refers to these blobs, and nobody will.
    pub fn release(&mut self, blobs: impl IntoIterator<Item = BlobId>) {
        self.released.extend(blobs);
    }

    /// Messages were condemned by an expunge.
    pub fn condemn(&mut self, folder: FolderId, mod_seq: ModSeq, emails: Vec<CondemnedEmail>) {
        if emails.is_empty() {
            return;
        }
        let parts = emails.len().div_ceil(VALUE_BYTES_FILL / 10);
        let part = |part| u16::try_from(part).unwrap_or(u16::MAX);
        let keys = (0..parts).map(|at| keys::condemned(mod_seq, part(at))).collect();
        self.watched.push(Watched { folder, mod_seq, reap: Reap::new(keys, emails) });
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
        self.ready.is_empty() && self.orphans.is_empty() && self.released.is_empty()
    }
}

impl Core {
    /// Removes the next slice of condemned messages; false when there is none.
    pub fn reap(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let Some(reap) = self.removals.ready.pop_front() else {
            return false;
        };
        let first = reap.emails.len().saturating_sub(self.limits().removals_per_batch);
        let large = reap.emails[first..].iter().filter(|condemned| condemned.large);
        let keys: Vec<SortKey> = large.map(|it| keys::blob_reference(it.email)).collect();
        if keys.is_empty() {
            self.remove_condemned(cx, reap, Vec::new());
        } else {
            self.house.work = Work::Reaping(reap);
            let route = self.context.route.clone();
            self.house_read(cx, Request::Get { route, keys });
        }
        true
    }

    /// The blob references of the next slice: it goes, and the blobs of this mailbox alone with it.
    pub fn on_reap_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        reap: Reap,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        let values = match got(response) {
            Ok(values) => values,
            Err(refusal) => {
                self.removals.put_back(reap);
                return Err(refusal);
            }
        };
        // A reference that can't be read is left to the sweep, which says so.
        let references = values.iter().flatten().filter_map(|it| decode_blob_reference(it).ok());
        let released = references.filter(|(_, holders)| *holders == Holders::One);
        let released = released.map(|(blob, _)| blob).collect();
        self.remove_condemned(cx, reap, released);
        Ok(())
    }

    fn remove_condemned(&mut self, cx: &mut Cx<'_, Effect>, mut reap: Reap, released: Vec<BlobId>) {
        let first = reap.emails.len().saturating_sub(self.limits().removals_per_batch);
        let slice = reap.emails.split_off(first);
        let mut ops = Vec::with_capacity(slice.len() * 2 + released.len() + 2);
        self.put_removal(&slice, &mut ops);
        for &blob in &released {
            ops.push(Op::Put { key: keys::released(blob), value: Writer::new(0).finish() });
        }
        let mut done = Reap { released, ..Reap::new(Vec::new(), slice) };
        if reap.emails.is_empty() {
            ops.extend(reap.keys.iter().map(|key| Op::Delete { key: key.clone() }));
            done.keys = reap.keys;
        } else {
            self.removals.ready.push_front(reap);
        }
        self.house.work = Work::Reaping(done);
        self.house_submit(cx, ops, House::Removed);
    }

    /// Deletes the next released blobs; false when there is none.
    pub fn drop_released(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let asked = self.removals.released.len().min(self.limits().drops_in_flight_max);
        if asked == 0 {
            return false;
        }
        let blobs: Vec<BlobId> = self.removals.released.drain(..asked).collect();
        for blob in blobs {
            self.read(cx, Request::DropBlob { blob }, Reading::Dropped(blob));
        }
        let dropping = Dropping { asked, gone: Vec::new(), kept: Vec::new() };
        self.house.work = Work::Dropping(dropping);
        self.house.stage = Stage::UnderWay;
        true
    }

    /// A released blob is gone, or could not be deleted now.
    pub fn on_dropped(&mut self, blob: BlobId, response: &Response) {
        let Work::Dropping(dropping) = &mut self.house.work else {
            return;
        };
        match response {
            Response::Wrote(Outcome::Committed { version: _ }) => dropping.gone.push(blob),
            Response::Wrote(Outcome::Refused(_) | Outcome::Unknown)
            | Response::Refused(_)
            | Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => dropping.kept.push(blob),
        }
        dropping.asked -= 1;
        if dropping.asked == 0 {
            self.house.stage = Stage::Ready;
        }
    }

    /// The records of blobs that are gone go; what is left is tried again after a pause.
    pub fn clear_released(&mut self, cx: &mut Cx<'_, Effect>, mut dropping: Dropping) {
        if !dropping.kept.is_empty() {
            self.removals.release(std::mem::take(&mut dropping.kept));
            self.stall(cx);
        }
        if dropping.gone.is_empty() {
            return;
        }
        let gone = dropping.gone.iter();
        let ops = gone.map(|&blob| Op::Delete { key: keys::released(blob) }).collect();
        self.house.work = Work::Dropping(dropping);
        self.house_submit(cx, ops, House::Removed);
    }

    /// A message is refused before anything referred to its body.
    pub fn fail_message(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (error, body): (UserError, &Body),
    ) {
        match body {
            Body::Blob { blob, len: _, holders: Holders::One } => self.removals.release([*blob]),
            Body::Blob { .. } | Body::Inline(_) => {}
        }
        fail(cx, asker, error);
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
            if self.packed.contains(Block::number_of(email)) {
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
