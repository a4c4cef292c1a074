//! What happens when batches settle: changes take effect, or the assigned state goes back to the committed one.

use super::change::{ArrivalSource, Change};
use super::core::{Core, Exclusive, Lost};
use super::folder::{Folder, IndexState};
use super::format::{Header, LogEntry, Meta, Rows};
use super::load::Meanwhile;
use super::machine::Effect;
use super::pipeline::Settled;
use super::{SETTLE_TIMER, answer};
use crate::face::{FlagChange, Flags, FolderId, ModSeq, TaskRefusal, UidSet};
use fsm::Cx;
use std::sync::Arc;

/// Whether a batch under way holds `exclusive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    None,
    Exclusive,
}

impl Core {
    /// Takes all definite outcomes at the front of the pipeline.
    pub fn settle(&mut self, cx: &mut Cx<'_, Effect>) {
        let mut settled_any = false;
        while let Some(settled) = self.pipeline.settle(cx) {
            settled_any = true;
            match settled {
                Settled::Committed(change, logged) => {
                    self.on_committed(cx, change);
                    self.count_logged(logged);
                }
                Settled::Refused(change, why) => self.on_refused(cx, change, why),
                Settled::RolledBack => self.roll_back(),
                Settled::Lost(changes) => {
                    self.lost = Lost::Yes;
                    for change in changes {
                        self.on_refused(cx, change, TaskRefusal::Unavailable);
                    }
                    return;
                }
            }
        }
        if settled_any {
            self.note_use(cx);
        }
        if !settled_any && !self.pipeline.is_open() && self.pipeline.has_unknown() {
            let pause = self.pipeline.pause(self.limits().settle_pause);
            cx.arm(SETTLE_TIMER, pause);
        }
    }

    fn on_committed(&mut self, cx: &mut Cx<'_, Effect>, change: Change) {
        match change {
            Change::Founded => self.founded(cx),
            Change::Arrived(arrival) => self.arrival_committed(cx, arrival),
            Change::Staged(staging) => self.staged_committed(cx, staging),
            Change::Shown(showing) => self.shown(cx, *showing),
            Change::Shelved(plan) => self.shelved(plan),
            Change::Flagged(flagging) => self.flagged(cx, *flagging),
            Change::Expunged(expunging) => self.expunged(cx, *expunging),
            Change::Replaced(replacing) => self.replaced(cx, *replacing),
            Change::Folders(change, asker) => self.folders_changed(cx, *change, asker),
            Change::Cursor { asker, done } => {
                self.cursor_set();
                answer(cx, asker, Ok(done));
            }
            Change::Records(write) => self.records_written(cx, write),
            Change::House(house) => self.house_committed(cx, house),
        }
    }

    fn count_logged(&mut self, logged: Option<(FolderId, u64)>) {
        let Some((id, bytes)) = logged else { return };
        if let Some(index) = self.folders.get_mut(&id).and_then(Folder::loaded_mut) {
            index.log_bytes = index.log_bytes.saturating_add(bytes);
        }
    }

    fn on_refused(&mut self, cx: &mut Cx<'_, Effect>, change: Change, why: TaskRefusal) {
        match change {
            // Tasks that wait for the folders are answered when the master gives up.
            Change::Founded => self.lost = Lost::Yes,
            Change::Arrived(arrival) => match arrival.source {
                ArrivalSource::Delivery { memory, asker, .. }
                | ArrivalSource::Append { memory: Some(memory), asker } => {
                    for echo in self.memory.settled(&memory) {
                        answer(cx, echo, Err(why));
                    }
                    answer(cx, asker, Err(why));
                }
                ArrivalSource::Append { memory: None, asker } => answer(cx, asker, Err(why)),
            },
            Change::Staged(staging) => self.staged_refused(cx, &staging, why),
            Change::Shelved(plan) => {
                self.release_exclusive();
                self.shelf_refused(cx, &plan, why);
            }
            Change::Flagged(_) => self.flagging_refused(cx, why),
            Change::Shown(showing) => {
                self.release(showing.hold);
                answer(cx, showing.asker(), Err(why));
                self.show_refused(&showing);
            }
            Change::Expunged(_)
            | Change::Replaced(_)
            | Change::Folders(..)
            | Change::Records(_) => {
                self.release_exclusive();
                if let Some(asker) = change.asker() {
                    answer(cx, asker, Err(why));
                }
            }
            Change::Cursor { asker, done: _ } => answer(cx, asker, Err(why)),
            Change::House(_) => self.house_refused(cx),
        }
    }

    /// Nothing that was assigned and not committed has happened.
    fn roll_back(&mut self) {
        for folder in self.folders.values_mut() {
            folder.assigned = folder.committed;
            folder.keywords_assigned = folder.keywords.to_vec();
        }
        for (email, before) in std::mem::take(&mut self.references_undo).into_iter().rev() {
            match before {
                Some(count) => self.references.insert(email, count),
                None => self.references.remove(&email),
            };
        }
        self.packed_assigned = self.packed.clone();
        self.count_usage();
    }

    /// A change that depends on rows is under way.
    pub fn hold_exclusive(&mut self) {
        debug_assert_eq!(self.exclusive, Exclusive::Free);
        self.exclusive = Exclusive::Held;
    }

    /// A batch has settled.
    pub fn release(&mut self, hold: Hold) {
        match hold {
            Hold::None => {}
            Hold::Exclusive => self.release_exclusive(),
        }
    }

    /// It has settled.
    pub fn release_exclusive(&mut self) {
        self.exclusive = Exclusive::Free;
    }
}

impl Folder {
    /// The header of a batch that committed. What is `\Recent` is claimed without a batch, so its count goes on from here.
    pub fn commit_header(&mut self, header: Header, recent: impl FnOnce(u32) -> u32) {
        let before = self.committed;
        self.committed = Header {
            recent_from: before.recent_from.max(header.recent_from),
            recent: recent(before.recent),
            ..header
        };
        if header.keywords as usize != self.keywords.len() {
            let known = self.keywords_assigned.get(..header.keywords as usize);
            self.keywords = Arc::from(known.unwrap_or(&self.keywords_assigned));
        }
        self.told = None;
    }

    /// A row that committed becomes visible.
    pub fn show_row(&mut self, meta: Meta, keywords: u128, chunk_rows_max: usize) {
        match &mut self.index {
            IndexState::Absent => {}
            IndexState::Loaded(index) => index.arrive(meta, keywords, chunk_rows_max),
            IndexState::Loading(loading) => {
                let mut rows = Rows::default();
                rows.push(meta, keywords);
                let entry = LogEntry::Arrived(rows);
                loading.meanwhile.push(Meanwhile::Logged(entry, meta.mod_seq));
            }
        }
    }

    /// Flags that committed become visible.
    pub fn show_flags(
        &mut self,
        uids: &UidSet,
        (change, flags): (FlagChange, Flags),
        mod_seq: ModSeq,
    ) {
        match &mut self.index {
            IndexState::Absent => {}
            IndexState::Loaded(index) => index.flag(uids, (change, flags), mod_seq),
            IndexState::Loading(loading) => {
                let entry = LogEntry::Flagged { change, flags, uids: uids.clone() };
                loading.meanwhile.push(Meanwhile::Logged(entry, mod_seq));
            }
        }
    }

    /// Messages that were expunged are gone, but for those who watch and were not told.
    pub fn show_removal(&mut self, uids: &UidSet, mod_seq: ModSeq) {
        let watched = !self.watchers.is_empty();
        match &mut self.index {
            IndexState::Absent => {}
            IndexState::Loaded(index) => {
                let removed = index.remove(uids, mod_seq);
                index.note_vanished(mod_seq, uids);
                if watched {
                    for (meta, keywords) in removed {
                        let grave = super::index::Grave { meta, keywords, expunged: mod_seq };
                        index.graves.insert(meta.uid, grave);
                    }
                }
            }
            IndexState::Loading(loading) => {
                loading.meanwhile.push(Meanwhile::Vanished(uids.clone(), mod_seq));
            }
        }
    }
}
