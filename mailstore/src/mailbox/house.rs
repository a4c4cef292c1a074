//! Housekeeping: one piece of work at a time, whenever a batch may be numbered.
//!
//! Order: what frees space first, then folding of logs, packing of columns, burial of deleted folders. A refusal stops it
//! for a second.

use super::change::House;
use super::core::Core;
use super::format::PendingSet;
use super::machine::Effect;
use super::removal::Reap;
use super::{HOUSE_TIMER, answer};
use crate::face::{FolderId, LogEvent, PendingId, TaskRefusal, UserDone};
use dds::Response;
use fsm::{Cx, Duration};

/// What housekeeping is at.
#[derive(Debug, Default)]
pub struct Housekeeping {
    pub work: Work,
    /// The orphan whose record itself is being deleted.
    pub orphan_done: Option<PendingId>,
    pub pace: Pace,
}

/// Whether the last batch was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Going,
    Stalled,
}

#[derive(Debug, Default)]
pub enum Work {
    #[default]
    None,
    Reaping(Reap),
    Orphan {
        pending: PendingId,
        set: PendingSet,
    },
}

/// Pause after a refusal.
const STALL: Duration = Duration::from_secs(1);

impl Core {
    /// Does the next piece of housekeeping, if it may.
    pub fn keep_house(&mut self, cx: &mut Cx<'_, Effect>) {
        let may = matches!(self.house.work, Work::None)
            && self.house.pace == Pace::Going
            && self.may_write()
            && self.blocked.is_empty();
        if may {
            let _ = self.reap(cx) || self.clear_orphan(cx);
        }
    }

    /// Whether housekeeping has nothing to do.
    #[must_use]
    pub fn house_is_idle(&self) -> bool {
        matches!(self.house.work, Work::None)
            && (self.house.pace == Pace::Stalled || self.removals.is_done())
    }

    pub fn on_house_read(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        let done = match std::mem::take(&mut self.house.work) {
            Work::Orphan { pending, set } if self.may_write() => {
                self.on_orphan_page(cx, (pending, set), response)
            }
            Work::Orphan { pending, set } => {
                self.removals.add_orphan(pending, set);
                Ok(())
            }
            work @ (Work::None | Work::Reaping(_)) => {
                self.house.work = work;
                Ok(())
            }
        };
        if let Err(refusal) = done {
            let what = format!("housekeeping of user {}: {refusal}", self.context.user);
            cx.emit(Effect::Log(LogEvent::Trouble { part: "mailbox", what }));
            self.stall(cx);
        }
    }

    pub fn house_committed(&mut self, cx: &mut Cx<'_, Effect>, house: House) {
        match house {
            House::Removed => match std::mem::take(&mut self.house.work) {
                Work::None | Work::Reaping(_) => {}
                Work::Orphan { pending, set } => {
                    if self.house.orphan_done.take() != Some(pending)
                        && set.owns != super::format::PendingBodies::Borrowed
                    {
                        self.removals.add_orphan(pending, set);
                    }
                }
            },
            House::Dropped { asker } => {
                if let Some(asker) = asker {
                    answer(cx, asker, Ok(UserDone::Done));
                }
            }
            House::Folded { .. }
            | House::Trimmed { .. }
            | House::Packed { .. }
            | House::CopyStaged
            | House::Buried { .. } => {}
        }
    }

    pub fn house_refused(&mut self, cx: &mut Cx<'_, Effect>, house: House, why: TaskRefusal) {
        let _ = (house, why);
        self.house.orphan_done = None;
        match std::mem::take(&mut self.house.work) {
            Work::None => {}
            Work::Reaping(reap) => self.removals.put_back(reap),
            Work::Orphan { pending, set } => self.removals.add_orphan(pending, set),
        }
        self.stall(cx);
    }

    /// A folder that housekeeping needed can't be loaded.
    pub fn house_failed(&mut self, folder: FolderId) {
        let _ = folder;
    }

    fn stall(&mut self, cx: &mut Cx<'_, Effect>) {
        self.house.pace = Pace::Stalled;
        cx.arm(HOUSE_TIMER, STALL);
    }

    pub fn on_house_timer(&mut self) {
        self.house.pace = Pace::Going;
    }
}
