//! EXPUNGE and POP3 UPDATE: messages vanish from a folder. Large orders go slice by slice, each a batch of its own.

use super::change::{Asker, Change, ExpungeThen, Expunging, Removal};
use super::core::Core;
use super::format::{
    Condemned, CondemnedEmail, LARGE_BYTES, Meta, References, encode_uids, keys, split_uids,
};
use super::machine::Effect;
use super::show::Parked;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{EmailId, FolderId, ModSeq, SystemFlag, UidSet, UserDone, UserError, UserTask};
use dds::Op;
use fsm::Cx;
use std::collections::BTreeSet;

impl Core {
    pub fn expunge(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        id: FolderId,
        uids: Option<UidSet>,
    ) {
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = folder.loaded() else {
            let task = UserTask::Expunge { folder: id, uids };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let all = UidSet::from_range(1..=u32::MAX);
        let among = uids.as_ref().unwrap_or(&all);
        let mut doomed = UidSet::new();
        if folder.committed.deleted > 0 {
            for (meta, _) in index.rows_in(among) {
                if meta.flags.has(SystemFlag::Deleted) {
                    doomed.insert(meta.uid);
                }
            }
        }
        if doomed.is_empty() {
            let done = UserDone::Expunged { uids: doomed, mod_seq: folder.committed.mod_seq };
            return answer(cx, asker, Ok(done));
        }
        self.expunge_slice(cx, (id, asker), (UidSet::new(), doomed), ExpungeThen::Tell);
    }

    /// Expunges the next slice of `later`; `earlier` went before.
    pub fn expunge_slice(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (id, asker): (FolderId, Asker),
        (earlier, later): (UidSet, UidSet),
        then: ExpungeThen,
    ) {
        let slice_max = self.limits().expunge_slice;
        let slice: UidSet = if later.len() > slice_max as u64 {
            later.iter().take(slice_max).collect()
        } else {
            later.clone()
        };
        let later = later.difference(&slice);
        let mut ops = Vec::new();
        let Some(removal) = self.remove_rows(id, &slice, Bodies::Release, &mut ops) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let expunging = Expunging { removal, earlier, later, then, asker };
        self.hold_exclusive();
        self.pipeline.submit(cx, ops, Change::Expunged(Box::new(expunging)));
    }

    /// Puts the removal of rows into `ops`: vanished records, header, and what becomes of the bodies.
    pub fn remove_rows(
        &mut self,
        id: FolderId,
        uids: &UidSet,
        bodies: Bodies,
        ops: &mut Vec<Op>,
    ) -> Option<Removal> {
        let mod_seq = self.next_mod_seq();
        let folder = self.folders.get_mut(&id)?;
        let mut metas: Vec<Meta> = Vec::new();
        let mut gone = UidSet::new();
        if let super::folder::IndexState::Loaded(index) = &folder.index {
            for (meta, _) in index.rows_in(uids) {
                metas.push(*meta);
                gone.insert(meta.uid);
            }
        }
        let recent_from = folder.committed.recent_from.max(folder.assigned.recent_from);
        folder.assigned.recent_from = recent_from;
        for meta in &metas {
            folder.assigned.count_out(meta);
        }
        folder.assigned.mod_seq = mod_seq;
        for (part, uids) in (0_u16..).zip(split_uids(&gone)) {
            let value = encode_uids(&uids);
            ops.push(Op::Put { key: keys::vanished(id, mod_seq, part), value });
        }
        let header = folder.assigned;
        ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
        let bytes: u64 = metas.iter().map(|meta| u64::from(meta.bytes)).sum();
        self.usage.bytes = self.usage.bytes.saturating_sub(bytes);
        self.usage.messages = self.usage.messages.saturating_sub(metas.len() as u64);
        let condemned = match bodies {
            Bodies::Release => self.release_bodies(&metas, mod_seq, ops),
            Bodies::Keep => Vec::new(),
        };
        Some(Removal { folder: id, header, mod_seq, uids: gone, condemned })
    }

    /// One reference less for each; those that had their last are condemned.
    pub fn release_bodies(
        &mut self,
        metas: &[Meta],
        mod_seq: ModSeq,
        ops: &mut Vec<Op>,
    ) -> Vec<CondemnedEmail> {
        let mut condemned = Vec::new();
        let mut pages = BTreeSet::new();
        for meta in metas {
            let count = self.references.get(&meta.email).copied();
            let left = count.unwrap_or(1).saturating_sub(1);
            if left == 0 {
                let large = meta.bytes >= LARGE_BYTES;
                condemned.push(CondemnedEmail { email: meta.email, large });
            }
            if count.is_some() {
                self.set_reference(meta.email, (left > 1).then_some(left));
                pages.insert(References::page_of(meta.email));
            }
        }
        self.put_reference_pages(&pages, ops);
        for (part, value) in (0_u16..).zip(Condemned::encode_all(condemned.clone())) {
            ops.push(Op::Put { key: keys::condemned(mod_seq, part), value });
        }
        condemned
    }

    /// Changes an assigned reference count; `None` stands for one (or none).
    pub fn set_reference(&mut self, email: EmailId, count: Option<u32>) {
        let before = match count {
            Some(count) => self.references.insert(email, count),
            None => self.references.remove(&email),
        };
        self.references_undo.push((email, before));
    }

    /// Writes pages of reference counts as they are now.
    pub fn put_reference_pages(&self, pages: &BTreeSet<u64>, ops: &mut Vec<Op>) {
        for &page in pages {
            let range = EmailId(page << 8)..=EmailId(page << 8 | 0xFF);
            let low = |email: &EmailId| email.0.to_le_bytes()[0];
            let counts = self.references.range(range).map(|(email, count)| (low(email), *count));
            let record = References(counts.collect());
            let key = keys::references(page);
            ops.push(if record.0.is_empty() {
                Op::Delete { key }
            } else {
                Op::Put { key, value: record.encode() }
            });
        }
    }

    /// Messages are gone.
    pub fn expunged(&mut self, cx: &mut Cx<'_, Effect>, expunging: Expunging) {
        let Expunging { removal, earlier, later, then, asker } = expunging;
        self.release_exclusive();
        let (id, mod_seq) = (removal.folder, removal.mod_seq);
        let gone = earlier.union(&removal.uids);
        self.removal_committed(removal);
        self.notify_changed(cx, id);
        if later.is_empty() {
            return self.tell_expunged(cx, asker, (gone, mod_seq), then);
        }
        // The next slice goes when a batch may be numbered; until then nothing else that depends on rows begins.
        self.hold_exclusive();
        let parked = ParkedExpunge { folder: id, asker, gone, later, then };
        self.parked = Some(Parked::Expunge(parked));
    }

    /// Goes on with an expunge.
    pub fn resume_expunge(&mut self, cx: &mut Cx<'_, Effect>, parked: ParkedExpunge) {
        let ParkedExpunge { folder, asker, gone, later, then } = parked;
        self.release_exclusive();
        self.expunge_slice(cx, (folder, asker), (gone, later), then);
    }

    fn tell_expunged(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (uids, mod_seq): (UidSet, ModSeq),
        then: ExpungeThen,
    ) {
        let done = match then {
            ExpungeThen::Tell => UserDone::Expunged { uids, mod_seq },
            ExpungeThen::ReleaseMaildrop => {
                if self.maildrop == Some(asker.session) {
                    self.maildrop = None;
                }
                UserDone::Done
            }
        };
        answer(cx, asker, Ok(done));
    }

    /// The committed side of [`Core::remove_rows`].
    pub fn removal_committed(&mut self, removal: Removal) {
        self.references_undo.clear();
        let Some(folder) = self.folders.get_mut(&removal.folder) else {
            return;
        };
        let recent_from = folder.committed.recent_from;
        let of_recent = removal.uids.iter().rev().take_while(|uid| uid.0 >= recent_from).count();
        let of_recent = u32::try_from(of_recent).unwrap_or(u32::MAX);
        folder.commit_header(removal.header, |recent| recent.saturating_sub(of_recent));
        folder.show_removal(&removal.uids, removal.mod_seq);
        self.removals.condemn(removal.folder, removal.mod_seq, removal.condemned);
        self.bury(removal.folder);
    }
}

/// An expunge between two slices.
#[derive(Debug)]
pub struct ParkedExpunge {
    pub folder: FolderId,
    pub asker: Asker,
    pub gone: UidSet,
    pub later: UidSet,
    pub then: ExpungeThen,
}

/// What a removal of rows means for their bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// Each has one reference less.
    Release,
    /// The rows moved: the reference moved with them.
    Keep,
}
