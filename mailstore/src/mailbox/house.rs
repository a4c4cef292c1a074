//! Housekeeping: one piece of work at a time, whenever a batch may be numbered.
//!
//! Order: what frees space first, then folding of logs, packing of columns, burial of deleted folders, expiry. A refusal stops
//! it for a second; what was refused begins again.

use super::HOUSE_TIMER;
use super::burial::Burial;
use super::change::{Change, House};
use super::core::Core;
use super::expire::{ExpireStep, Expiring};
use super::fold::{FoldStep, Folding};
use super::format::{CondemnedEmail, PendingBodies, PendingSet};
use super::machine::Effect;
use super::reading::Reading;
use super::removal::{Dropping, Reap};
use super::settle::Hold;
use crate::face::{FolderId, LogEvent, ModSeq, PendingId, TaskRefusal};
use dds::{Op, Request, Response};
use fsm::{Cx, Duration};
use std::collections::BTreeSet;
use std::ops::Range;

/// What housekeeping is at.
#[derive(Debug, Default)]
pub struct Housekeeping {
    pub work: Work,
    pub stage: Stage,
    /// Exclusive when the batch under way changes reference counts.
    pub hold: Hold,
    pub pace: Pace,
    /// Folders whose logs are to be folded.
    pub due: BTreeSet<FolderId>,
    /// Packed blocks that have lost most of their messages.
    pub thin: Vec<u64>,
    pub expiring: Expiring,
    /// The orphan whose record itself is being deleted.
    pub orphan_done: Option<PendingId>,
    /// Messages that the batch under way condemns.
    pub condemned: Option<(ModSeq, Vec<CondemnedEmail>)>,
}

#[derive(Debug, Default)]
pub enum Work {
    #[default]
    None,
    Reaping(Reap),
    Dropping(Dropping),
    Orphan {
        pending: PendingId,
        set: PendingSet,
    },
    Folding(Folding),
    Burying(Box<Burial>),
    Packing {
        numbers: Range<u64>,
    },
    Unpacking {
        number: u64,
    },
    Expiring(ExpireStep),
}

/// What the work waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Its turn.
    #[default]
    Ready,
    /// A read or a batch.
    UnderWay,
}

/// Whether the last batch was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Going,
    Stalled,
}

/// Pause after a refusal.
const STALL: Duration = Duration::from_secs(1);

impl Core {
    /// Does the next piece of housekeeping, if it may.
    pub fn keep_house(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.house.pace == Pace::Stalled || !self.may_write() || !self.blocked.is_empty() {
            return;
        }
        if self.house.stage == Stage::UnderWay || !self.is_founded() {
            return;
        }
        match std::mem::take(&mut self.house.work) {
            Work::None => {
                let _ = self.reap(cx)
                    || self.drop_released(cx)
                    || self.clear_orphan(cx)
                    || self.fold(cx)
                    || self.bury_folder(cx)
                    || self.pack(cx)
                    || self.unpack(cx)
                    || self.expire(cx);
            }
            Work::Folding(folding) => {
                let id = folding.folder;
                let loading = self.folders.get(&id).is_some_and(|folder| folder.is_loading());
                if folding.step == FoldStep::Loading && loading {
                    self.house.work = Work::Folding(folding);
                } else {
                    self.go_on_fold(cx, folding);
                }
            }
            Work::Burying(burial) => self.go_on_burial(cx, burial),
            // What was read has been dropped: it begins again.
            Work::Packing { .. } | Work::Unpacking { .. } => {}
            Work::Reaping(reap) => self.removals.put_back(reap),
            Work::Dropping(dropping) => self.clear_released(cx, dropping),
            Work::Orphan { pending, set } => self.removals.add_orphan(pending, set),
            Work::Expiring(step) if self.is_loading_to_expire(&step) => {
                self.house.work = Work::Expiring(step);
            }
            Work::Expiring(_) => {
                let _ = self.expire(cx);
            }
        }
    }

    /// Sends a batch of housekeeping.
    pub fn house_submit(&mut self, cx: &mut Cx<'_, Effect>, ops: Vec<Op>, house: House) {
        self.house.stage = Stage::UnderWay;
        self.pipeline.submit(cx, ops, Change::House(house));
    }

    /// Reads for housekeeping.
    pub fn house_read(&mut self, cx: &mut Cx<'_, Effect>, request: Request) {
        self.house.stage = Stage::UnderWay;
        self.read(cx, request, Reading::House);
    }

    /// Whether housekeeping works on the rows of a folder.
    #[must_use]
    pub fn is_folding(&self, id: FolderId) -> bool {
        matches!(&self.house.work, Work::Folding(folding) if folding.folder == id)
    }

    /// Whether housekeeping has nothing to do.
    #[must_use]
    pub fn house_is_idle(&self) -> bool {
        let nothing = self.removals.is_done() && self.tombstones.is_empty();
        matches!(self.house.work, Work::None) && (self.house.pace == Pace::Stalled || nothing)
    }

    pub fn on_house_read(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        self.house.stage = Stage::Ready;
        let done = match std::mem::take(&mut self.house.work) {
            Work::Reaping(reap) if self.may_write() => self.on_reap_read(cx, reap, response),
            Work::Reaping(reap) => {
                self.removals.put_back(reap);
                Ok(())
            }
            Work::Orphan { pending, set } if self.may_write() => {
                self.on_orphan_page(cx, (pending, set), response)
            }
            Work::Orphan { pending, set } => {
                self.removals.add_orphan(pending, set);
                Ok(())
            }
            Work::Burying(burial) => self.on_burial_page(cx, burial, response),
            Work::Packing { numbers } if self.may_write() => {
                self.on_pack_read(cx, numbers, response)
            }
            Work::Unpacking { number } if self.may_write() => {
                self.on_unpack_read(cx, number, response)
            }
            Work::Packing { .. } => Ok(()),
            Work::Unpacking { number } => {
                self.house.thin.push(number);
                Ok(())
            }
            Work::Expiring(step) => self.on_expire_read(cx, step, response).inspect_err(|_| {
                self.house.expiring.give_up();
            }),
            work @ (Work::None | Work::Dropping(_) | Work::Folding(_)) => {
                self.house.work = work;
                Ok(())
            }
        };
        if let Err(refusal) = done {
            let what = format!("housekeeping of user {}: {refusal}", self.context.user);
            let user = (refusal == TaskRefusal::Damaged).then_some(self.context.user);
            cx.emit(Effect::Log(LogEvent::Trouble { part: "mailbox", user, what }));
            self.stall(cx);
        }
    }

    pub fn house_committed(&mut self, cx: &mut Cx<'_, Effect>, house: House) {
        self.house.stage = Stage::Ready;
        if self.house.hold == Hold::Exclusive {
            self.references_undo.clear();
        }
        self.release_hold();
        match (std::mem::take(&mut self.house.work), house) {
            (Work::Reaping(reap), House::Removed) => self.removals.release(reap.released),
            (Work::Dropping(_), House::Removed) => {}
            (Work::Orphan { pending, set }, House::Removed) => {
                if let Some((mod_seq, condemned)) = self.house.condemned.take() {
                    self.removals.condemn(FolderId(0), mod_seq, condemned);
                    self.removals.told(FolderId(0), ModSeq(u64::MAX));
                }
                let done = self.house.orphan_done.take() == Some(pending);
                if !done && set.owns != PendingBodies::Borrowed {
                    self.removals.add_orphan(pending, set);
                }
            }
            (Work::Folding(mut folding), House::Folded) => {
                self.folded(&mut folding);
                folding.step = FoldStep::Ready;
                self.house.work = Work::Folding(folding);
            }
            (Work::Folding(folding), House::Trimmed { header }) => self.trimmed(&folding, header),
            (Work::Burying(burial), House::Buried) => self.buried(burial),
            (Work::Packing { .. }, House::Packed { blocks }) => self.packed(blocks),
            (Work::Unpacking { .. }, House::Unpacked { number }) => self.unpacked(number),
            (Work::Expiring(step), House::Expired | House::ExpiryBegun) => self.expired(cx, step),
            (
                work,
                House::Removed
                | House::Folded
                | House::Trimmed { .. }
                | House::Buried
                | House::Packed { .. }
                | House::Unpacked { .. }
                | House::Expired
                | House::ExpiryBegun,
            ) => {
                self.house.work = work;
            }
        }
    }

    pub fn house_refused(&mut self, cx: &mut Cx<'_, Effect>) {
        self.house.stage = Stage::Ready;
        self.house.orphan_done = None;
        self.house.condemned = None;
        self.release_hold();
        match std::mem::take(&mut self.house.work) {
            Work::None => {}
            Work::Reaping(reap) => self.removals.put_back(reap),
            // They are gone; that their records are, too, is found out again.
            Work::Dropping(dropping) => self.removals.release(dropping.into_gone()),
            Work::Orphan { pending, set } => self.removals.add_orphan(pending, set),
            // They begin again: what was written is written.
            Work::Folding(folding) => {
                self.house.due.insert(folding.folder);
            }
            Work::Burying(_) | Work::Packing { .. } => {}
            Work::Unpacking { number } => self.house.thin.push(number),
            Work::Expiring(_) => self.house.expiring.give_up(),
        }
        self.stall(cx);
    }

    fn release_hold(&mut self) {
        let hold = std::mem::take(&mut self.house.hold);
        self.release(hold);
    }

    /// A folder that housekeeping needed can't be loaded.
    pub fn house_failed(&mut self, cx: &mut Cx<'_, Effect>, folder: FolderId) {
        if self.is_folding(folder) || self.is_expiring(folder) {
            self.house.work = Work::None;
            self.house.expiring.give_up();
            self.stall(cx);
        }
    }

    pub fn stall(&mut self, cx: &mut Cx<'_, Effect>) {
        self.house.pace = Pace::Stalled;
        cx.arm(HOUSE_TIMER, STALL);
    }

    pub fn on_house_timer(&mut self) {
        self.house.pace = Pace::Going;
    }
}
