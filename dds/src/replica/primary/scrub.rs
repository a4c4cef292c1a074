//! How a primary compares its partition with the other in-sync members, slice by slice, and has wrong copies built anew.
//!
//! States of a pass: `Resting` until a permit comes -> `Looking`: everybody in sync sums the slice as it was at one place of the
//! log -> the next slice, in the end `Repairing`, or done. What differs is looked at twice before it is believed.
//!
//! Nothing is repaired before all slices were compared: a copy is filled from this one, and must not get new damage for old. Wrong
//! members leave one after another and are not taken in again meanwhile; this replica leaves last, when it is wrong itself.
//!
//! Invariants: every permit is answered once; a copy is doubted only with a wrong checksum, or against most of the set.

use super::{Phase, Primary, Standing};
use crate::cluster::{GroupChange, NodeId};
use crate::replica::Effect;
use crate::replica::core::{Context, Core, Written};
use crate::replica::look::{LOOK_BYTES_MAX, Seen, Slice};
use crate::replica::message::Body;
use crate::scrub::{Finding, Passed, Step, Trouble};
use crate::{Column, PageSum};
use bytes::Bytes;
use fsm::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// Findings of one pass that are told one by one.
const FINDINGS_MAX: usize = 8;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Scrub {
    /// A permit waits for its answer.
    permitted: bool,
    doing: Doing,
    place: Place,
    /// Times that this slice was looked at in vain.
    tries: u32,
    /// It differed at the first look.
    suspected: bool,
    doubted: BTreeSet<NodeId>,
    passed: Passed,
}

#[derive(Debug, Default)]
enum Doing {
    #[default]
    Resting,
    Looking {
        slice: Slice,
        since: Mono,
        seen: BTreeMap<NodeId, Seen>,
    },
    Repairing,
}

/// Where the next slice begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    column: Column,
    after: Bytes,
}

impl Default for Place {
    fn default() -> Self {
        Self { column: Column::Meta, after: Bytes::new() }
    }
}

/// What a slice that was looked at twice comes to.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    troubles: Vec<(Option<NodeId>, Trouble)>,
}

impl Scrub {
    /// Wrong copies are leaving the set: nobody is taken in.
    pub fn is_repairing(&self) -> bool {
        matches!(self.doing, Doing::Repairing)
    }

    /// Something is to be sent again if it does not come.
    pub fn is_busy(&self) -> bool {
        !matches!(self.doing, Doing::Resting)
    }

    fn answer(&mut self, cx: Context<'_, '_>, step: Step) {
        if std::mem::take(&mut self.permitted) {
            cx.emit(Effect::Scrubbed(step));
        }
    }

    /// The partition is another node's from here on.
    /// `own`: copies that leave with it.
    pub fn end(mut self, cx: Context<'_, '_>, own: u64) {
        let passed = Passed { repairs: self.passed.repairs + own, ..self.passed.clone() };
        let step = if self.is_repairing() { Step::Done(passed) } else { Step::NotLed };
        self.answer(cx, step);
    }

    /// The members are others, or stand elsewhere: what they said counts for nothing any more.
    pub fn on_gather(&mut self, cx: Context<'_, '_>) {
        if !self.is_repairing() {
            *self = Self { permitted: self.permitted, ..Self::default() };
            self.answer(cx, Step::Waits);
        }
    }

    /// The slice that comes next. False behind the last one.
    fn advance(&mut self, last: Option<Bytes>) -> bool {
        (self.tries, self.suspected) = (0, false);
        self.place = match (last, self.place.column) {
            (Some(after), column) => Place { column, after },
            (None, Column::Meta) => Place { column: Column::Bodies, after: Bytes::new() },
            (None, Column::Bodies) => Place { column: Column::Log, after: Bytes::new() },
            (None, Column::Log) => return false,
        };
        true
    }

    fn note(&mut self, verdict: Verdict) {
        if verdict.troubles.is_empty() {
            return;
        }
        self.passed.differences += 1;
        for (node, trouble) in verdict.troubles {
            match trouble {
                Trouble::Damaged | Trouble::Outvoted => self.doubted.extend(node),
                Trouble::Undecided | Trouble::Lost => self.passed.undecided += 1,
            }
            if self.passed.findings.len() < FINDINGS_MAX {
                let Place { column, after } = self.place.clone();
                self.passed.findings.push(Finding { node, trouble, column, after });
            }
        }
    }
}

impl Primary {
    /// One more slice may be looked at. `begins`: the first one of a new pass.
    pub fn on_permit(&mut self, core: &mut Core, cx: Context<'_, '_>, begins: bool) {
        let scrub = &mut self.scrub;
        if scrub.permitted || scrub.is_busy() {
            return cx.emit(Effect::Scrubbed(Step::Waits));
        }
        if begins {
            *scrub = Scrub::default();
        }
        scrub.permitted = true;
        let steady = self.phase == Phase::Serving
            && self.asked.is_none()
            && self.promoting.is_none()
            && self
                .peers
                .values()
                .all(|peer| peer.in_sync && matches!(peer.standing, Standing::Following));
        if !steady {
            return self.scrub.answer(cx, Step::Waits);
        }
        let Place { column, after } = self.scrub.place.clone();
        let whole = match column {
            Column::Meta | Column::Bodies => core.limits.look_bytes_max,
            Column::Log => LOOK_BYTES_MAX,
        };
        let bytes_max = whole >> (self.scrub.tries / 4).min(31);
        let at = core.log.decided;
        let slice = Slice { id: cx.rng().next_u64(), at, column, after, bytes_max };
        for node in self.peers.keys() {
            core.send(cx, *node, self.round, Body::Look(slice.clone()));
        }
        let (since, id) = (cx.mono(), slice.id);
        let seen = BTreeMap::new();
        let own = core.look(slice.clone());
        self.scrub.doing = Doing::Looking { slice, since, seen };
        if let Some(seen) = own {
            self.on_seen(core, cx, core.me, (id, seen));
        }
        self.keep_looking(core, cx);
    }

    /// What a member, or this replica itself, holds of the slice.
    pub fn on_seen(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        (id, found): (u64, Seen),
    ) {
        let Doing::Looking { slice, seen, .. } = &mut self.scrub.doing else { return };
        let counts = from == core.me || self.peers.contains_key(&from);
        if slice.id != id || !counts {
            return;
        }
        seen.insert(from, found);
        if seen.len() <= self.peers.len() {
            return;
        }
        let (own, seen) = (slice.column == Column::Log, std::mem::take(seen));
        self.scrub.doing = Doing::Resting;
        self.on_all_seen(core, cx, if own { readable(seen) } else { seen });
    }

    fn on_all_seen(&mut self, core: &mut Core, cx: Context<'_, '_>, seen: BTreeMap<NodeId, Seen>) {
        let scrub = &mut self.scrub;
        if seen.values().any(|seen| *seen == Seen::Disturbed) {
            scrub.tries += 1;
            return scrub.answer(cx, Step::Waits);
        }
        let bytes = match seen.get(&core.me) {
            Some(Seen::Sum(page)) => page.bytes,
            Some(Seen::Disturbed | Seen::Damaged) | None => 0,
        };
        scrub.passed.bytes += bytes;
        let verdict = judge(&seen);
        if !verdict.troubles.is_empty() && !std::mem::replace(&mut scrub.suspected, true) {
            return scrub.answer(cx, Step::Read { bytes });
        }
        scrub.note(verdict);
        let lasts = seen.values().filter_map(|seen| match seen {
            Seen::Sum(page) => page.more.then(|| page.last.clone()),
            Seen::Disturbed | Seen::Damaged => None,
        });
        if scrub.advance(lasts.min()) {
            return scrub.answer(cx, Step::Read { bytes });
        }
        // A copy that is missing now comes back as it was.
        scrub.passed.short = core.view.is_short();
        let all = scrub.doubted.len() > self.peers.len();
        if scrub.doubted.is_empty() || all || scrub.passed.undecided > 0 {
            // Whoever is wrong, nobody is left to say what is right.
            scrub.passed.undecided += u64::from(all);
            return self.finish(cx);
        }
        scrub.doing = Doing::Repairing;
        self.repair(core, cx);
    }

    fn finish(&mut self, cx: Context<'_, '_>) {
        let mut scrub = std::mem::take(&mut self.scrub);
        let passed = std::mem::take(&mut scrub.passed);
        scrub.answer(cx, Step::Done(passed));
    }

    /// Has the next wrong copy leave the set. Called until none is left.
    pub(super) fn repair(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let settled = matches!(self.phase, Phase::Settling { .. } | Phase::Serving);
        if !self.scrub.is_repairing() || !settled {
            return;
        }
        let group = &core.view.group;
        if group.in_sync.iter().all(|node| self.scrub.doubted.contains(node)) {
            // Whoever was right has left meanwhile.
            self.scrub.passed.undecided += 1;
            return self.finish(cx);
        }
        let (left, gone): (BTreeSet<_>, BTreeSet<_>) =
            self.scrub.doubted.iter().copied().partition(|node| group.is_in_sync(*node));
        self.scrub.passed.repairs += gone.len() as u64;
        self.scrub.doubted = left;
        let others = self.scrub.doubted.iter().find(|node| **node != core.me);
        if let Some(node) = others {
            core.send(cx, *node, self.round, Body::Doubt);
            self.keep_looking(core, cx);
        } else if self.scrub.doubted.is_empty() {
            self.finish(cx);
        } else if !core.log.record.doubted {
            core.doubt(cx);
        } else if !core.writes.values().any(|written| *written == Written::Doubted) {
            self.ask(core, cx, GroupChange::Resign);
        }
    }

    /// There is nobody who could take over from this replica, which is wrong.
    pub(super) fn on_resign_refused(&mut self, cx: Context<'_, '_>) {
        if self.scrub.is_repairing() {
            self.scrub.passed.undecided += 1;
            self.finish(cx);
        }
    }

    /// What has not come is asked for again.
    pub(super) fn look_again(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        if self.scrub.is_repairing() {
            return self.repair(core, cx);
        }
        let now = cx.mono();
        let Doing::Looking { slice, since, seen } = &mut self.scrub.doing else { return };
        if now.since(*since) < core.limits.resend_after {
            return;
        }
        *since = now;
        for node in self.peers.keys().filter(|node| !seen.contains_key(node)) {
            core.send(cx, *node, self.round, Body::Look(slice.clone()));
        }
    }
}

/// Records of a replica itself are its own business, but must be readable.
fn readable(seen: BTreeMap<NodeId, Seen>) -> BTreeMap<NodeId, Seen> {
    let plain = |(node, seen)| match seen {
        Seen::Sum(_) => (node, Seen::Sum(PageSum::default())),
        Seen::Disturbed | Seen::Damaged => (node, seen),
    };
    seen.into_iter().map(plain).collect()
}

/// Who is wrong. Of those that can be read most of the whole set are right, or all when they agree.
fn judge(seen: &BTreeMap<NodeId, Seen>) -> Verdict {
    let mut troubles = Vec::new();
    let mut sums: BTreeMap<&PageSum, Vec<NodeId>> = BTreeMap::new();
    for (node, seen) in seen {
        match seen {
            Seen::Sum(page) => sums.entry(page).or_default().push(*node),
            Seen::Damaged => troubles.push((Some(*node), Trouble::Damaged)),
            Seen::Disturbed => {}
        }
    }
    let most = sums.values().map(Vec::len).max().unwrap_or(0);
    if sums.is_empty() {
        troubles.push((None, Trouble::Lost));
    } else if sums.len() > 1 && most * 2 <= seen.len() {
        troubles.push((None, Trouble::Undecided));
    } else {
        let outvoted = sums.into_values().filter(|nodes| nodes.len() < most).flatten();
        troubles.extend(outvoted.map(|node| (Some(node), Trouble::Outvoted)));
    }
    Verdict { troubles }
}
