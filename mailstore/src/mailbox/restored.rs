//! After a restoration: what was served behind the backup is not served again.
//!
//! Clients may have seen UIDs, MODSEQs, folders and object ids that the backup knows nothing of. A store that was made of a
//! backup says so ([`Restored`]); a mailbox that finds its own record older raises every counter before anybody is told
//! anything, in a batch of its own. Mailboxes that nobody opens are raised whenever somebody does, also after further
//! restorations.
//!
//! How far: by a step per restoration, and at least to what the clock says. The step stands for the mail behind the backup;
//! the clock tells apart two restorations of backups that know nothing of each other.
//! - 32 bits (UIDNEXT, UIDVALIDITY, MAILBOXID): 2^20, more than a folder gets between two backups, and 4,096 of them fit; and
//!   one for every 16 seconds since 2026: more would be 5,400 messages a day. No faster, because a client that names no UIDs
//!   is told that all of the step vanished, and some clients count that up.
//! - 64 bits (MODSEQ, EMAILID): 2^32, and the microseconds since 1970: nobody makes a change every microsecond. Both stay
//!   below 2^53, where clients that count in floating point still count right.
//!
//! Rows keep their MODSEQ in the store; a row of before counts as changed at the floor from when it is loaded. A client that
//! comes with a MODSEQ below the floor is told the flags of all messages, and of every UID that is not there
//! (RFC 7162 3.2.5.1 and 3.2.10.1 allow to report more than what changed).

use super::change::Change;
use super::core::{Core, Counters, Exclusive};
use super::folder::Folder;
use super::format::{BLOCK_MESSAGES, RestoredRecord, keys};
use super::index::Index;
use super::machine::Effect;
use crate::face::ModSeq;
use dds::Op;
use fsm::Cx;

/// What a store knows of the restorations that led to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Steps so far: one for each restoration, more where a backup was restored before.
    pub steps: u32,
    /// Microseconds since 1970 at the last one.
    pub unix_micros: u64,
}

/// Seconds from 1970 to 2026.
const YEAR_2026: u64 = 1_767_225_600;

impl Restored {
    /// How far `now` lies behind what a mailbox has done already.
    const fn steps_since(self, done: Self) -> u32 {
        self.steps.saturating_sub(done.steps)
    }

    fn raise32(self, done: Self, number: u32) -> u32 {
        let stepped = number.saturating_add(self.steps_since(done).saturating_mul(1 << 20));
        let ticks = (self.unix_micros / 1_000_000).saturating_sub(YEAR_2026) / 16;
        let raised = stepped.max(u32::try_from(ticks).unwrap_or(u32::MAX));
        // At the very end there is no room for a step: the last numbers are for mail.
        raised.min(u32::MAX - (1 << 24)).max(number)
    }

    fn raise64(self, done: Self, number: u64) -> u64 {
        let stepped = number.saturating_add(u64::from(self.steps_since(done)) << 32);
        stepped.max(self.unix_micros).min(1 << 62).max(number)
    }
}

impl Core {
    /// Raises what is to be raised, if anything; the records that say so.
    pub fn raise(&mut self) -> Vec<Op> {
        let (now, done) = (self.context.restored, self.raised.done);
        if now == done {
            return Vec::new();
        }
        let Counters { next_folder, next_uid_validity, mod_seq, email_next, next_pending: _ } =
            &mut self.counters;
        *next_folder = now.raise32(done, *next_folder);
        *next_uid_validity = now.raise32(done, *next_uid_validity);
        mod_seq.0 = now.raise64(done, mod_seq.0);
        let first_free = email_next.div_ceil(BLOCK_MESSAGES);
        let first_used = now.raise64(done, *email_next).div_ceil(BLOCK_MESSAGES);
        *email_next = first_used * BLOCK_MESSAGES;
        let (floor, email_next) = (*mod_seq, *email_next);
        self.raised.done = now;
        self.raised.floor = floor;
        self.raised.gaps.retain(|(_, end)| *end > self.packed.up_to());
        self.raised.gaps.push((first_free, first_used));
        let mut ops = vec![self.root_op()];
        for folder in self.folders.values_mut() {
            let header = &mut folder.assigned;
            header.uid_next = now.raise32(done, header.uid_next);
            header.mod_seq = floor;
            header.email_next = email_next;
            // At once: rows may be loaded before the batch commits. Nobody is told of them before.
            folder.floor = floor;
            let key = keys::of_folder(keys::HEADER, folder.id);
            ops.push(Op::Put { key, value: header.encode() });
        }
        ops.push(Op::Put { key: keys::lone(keys::RESTORED), value: self.raised.encode() });
        // Who reads the event log knows of the time behind the backup.
        self.events.pass_by(floor, &mut ops);
        ops
    }

    /// Writes what [`Core::raise`] made; tasks wait for it.
    pub fn submit_raised(&mut self, cx: &mut Cx<'_, Effect>, ops: Vec<Op>) {
        self.exclusive = Exclusive::Barrier;
        self.founding = Some(Vec::new());
        self.pipeline.submit(cx, ops, Change::Founded);
    }

    /// Folders begin where the raised headers say.
    pub fn take_raised(&mut self) {
        for folder in self.folders.values_mut() {
            folder.committed = folder.assigned;
        }
    }
}

impl RestoredRecord {
    /// The first block at or behind `block` that may hold a message.
    #[must_use]
    pub fn skip_gap(&self, block: u64) -> u64 {
        let gap = self.gaps.iter().find(|(first, end)| (*first..*end).contains(&block));
        gap.map_or(block, |(_, end)| *end)
    }
}

impl Folder {
    /// Expunges up to this are not known one by one.
    #[must_use]
    pub fn vanished_floor(&self) -> ModSeq {
        self.committed.vanished_floor.max(self.floor)
    }
}

impl Index {
    /// No row changed before `floor`.
    pub fn raise_rows(&mut self, floor: ModSeq) {
        for chunk in self.chunks_mut() {
            chunk.mod_seq = chunk.mod_seq.max(floor);
            for meta in &mut chunk.rows.metas {
                meta.mod_seq = meta.mod_seq.max(floor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MICROS: u64 = 86_400_000_000;
    const NEW_YEAR: u64 = YEAR_2026 * 1_000_000;

    #[test]
    fn a_restoration_raises_by_a_step_and_to_the_clock() {
        let none = Restored::default();
        let first = Restored { steps: 1, unix_micros: NEW_YEAR };
        assert_eq!(first.raise32(none, 7), 7 + (1 << 20));
        assert_eq!(first.raise64(none, 7), NEW_YEAR);
        let later = Restored { steps: 1, unix_micros: NEW_YEAR + 1_000 * DAY_MICROS };
        assert_eq!(later.raise32(none, 7), 5_400_000);
        let third = Restored { steps: 3, ..first };
        assert_eq!(third.raise32(first, 1 << 20), 3 << 20);
        assert_eq!(third.raise64(first, NEW_YEAR), NEW_YEAR + (2 << 32));
    }

    #[test]
    fn numbers_never_fall_and_leave_room_for_mail() {
        let none = Restored::default();
        let many = Restored { steps: u32::MAX, unix_micros: u64::MAX };
        for number in [1, u32::MAX - (1 << 24), u32::MAX] {
            assert_eq!(many.raise32(none, number), number.max(u32::MAX - (1 << 24)));
        }
        assert_eq!(many.raise64(none, 5), 1 << 62);
        assert_eq!(none.raise32(none, 5), 5);
    }
}
