//! The event log: the change log, read by extensions from durable cursors.
//!
//! A cursor is the MODSEQ up to which a subscriber has acknowledged everything. What is folded into segments stays in the log
//! as a *stretch* until the slowest cursor has passed it, or until the stretches are too many bytes or too old: then cursors
//! that stand before it are moved behind it and marked `Missed`, and their owners look at the mailbox anew.
//!
//! Invariants: a batch that deletes entries writes every cursor as it was judged, so that no cursor in the store stands before
//! an entry that is gone without the mark; memory is marked when the batch is sent, so that a scan that may have met the gap is
//! answered with `Reset`. Everything behind the floor is in the log, so that a cursor may go back as far. Without subscribers
//! nothing is kept and nothing is written.

use super::change::{Asker, Change};
use super::core::Core;
use super::format::{LogEntry, Stretch, decode_uids, encode_floor, keys};
use super::load::scanned;
use super::machine::Effect;
use super::reading::Reading;
use super::{answer, fail};
use crate::face::{
    Event, EventChange, EventLane, EventNext, EventPage, EventPlace, EventTask, FolderId, ModSeq,
    Rewind, Subscriber, TaskRefusal, Uid, UidSet, UserDone, UserError,
};
use dds::{Entry, Op, Request, Response};
use fsm::{Cx, Wall};
use std::collections::{BTreeMap, BTreeSet};

/// How far a subscriber is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub acknowledged: ModSeq,
    pub state: CursorState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorState {
    Live,
    /// Events up to `acknowledged` may be missing for it.
    Missed,
    /// As `Live`; but what it acknowledges before it begins to read is of before.
    SentBack,
}

/// Cursors, as of the last batch that was sent, and what is kept for them.
#[derive(Debug, Default)]
pub struct Events {
    pub cursors: BTreeMap<Subscriber, Cursor>,
    /// Who has been told that there is more since it last began to read.
    pub told: BTreeSet<Subscriber>,
    /// Folded stretches of the log per folder, oldest first.
    pub kept: BTreeMap<FolderId, Vec<Stretch>>,
    /// Everything behind it is in the log. Of no meaning without cursors.
    pub floor: ModSeq,
    /// Of those who were sent back: who has begun to read since, as far as this master knows.
    pub begun: BTreeSet<Subscriber>,
}

/// A page that is being read.
#[derive(Debug)]
pub struct EventRead {
    pub asker: Asker,
    subscriber: Subscriber,
    place: EventPlace,
}

/// Stretches of a folder; beyond them the newest two become one.
const STRETCHES_MAX: usize = 64;

impl Core {
    pub fn events(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (subscriber, task): (Subscriber, EventTask),
    ) {
        let cursor = self.events.cursors.get(&subscriber).copied();
        if matches!(task, EventTask::Begin { .. } | EventTask::Read { from: None }) {
            self.events.told.remove(&subscriber);
            if cursor.is_some_and(|cursor| cursor.state == CursorState::SentBack) {
                self.events.begun.insert(subscriber.clone());
            }
        }
        match (task, cursor) {
            (EventTask::Subscribe, _) | (EventTask::Begin { .. }, None) => {
                self.subscribe_events(cx, asker, subscriber);
            }
            (EventTask::Begin { known: Some(known) }, Some(cursor))
                if known < cursor.acknowledged =>
            {
                self.subscribe_events(cx, asker, subscriber);
            }
            (EventTask::Begin { .. }, Some(cursor)) => {
                self.read_events(cx, asker, (subscriber, cursor), None);
            }
            (EventTask::Unsubscribe, None) => answer(cx, asker, Ok(UserDone::Done)),
            (EventTask::Unsubscribe, Some(_)) => {
                self.set_cursor(cx, (asker, UserDone::Done), (subscriber, None));
            }
            (EventTask::Read { .. } | EventTask::Acknowledge { .. }, None) => {
                fail(cx, asker, UserError::Cannot("no such subscriber".into()));
            }
            (EventTask::Read { from }, Some(cursor)) => {
                self.read_events(cx, asker, (subscriber, cursor), from);
            }
            (EventTask::Rewind { .. }, None) => self.subscribe_events(cx, asker, subscriber),
            (EventTask::Rewind { to }, Some(cursor)) => {
                self.rewind_events(cx, asker, (subscriber, cursor), to);
            }
            (EventTask::Acknowledge { .. }, Some(cursor))
                if cursor.state == CursorState::SentBack
                    && !self.events.begun.contains(&subscriber) =>
            {
                answer(cx, asker, Ok(UserDone::Done));
            }
            (EventTask::Acknowledge { up_to }, Some(cursor)) => {
                let passed = up_to >= cursor.acknowledged && up_to <= self.counters.mod_seq;
                if !passed || up_to == cursor.acknowledged && cursor.state == CursorState::Live {
                    return answer(cx, asker, Ok(UserDone::Done));
                }
                let cursor = Cursor { acknowledged: up_to, state: CursorState::Live };
                self.events.begun.remove(&subscriber);
                self.set_cursor(cx, (asker, UserDone::Done), (subscriber, Some(cursor)));
            }
        }
    }

    /// A subscriber begins anew: it looks at the mailbox, and is told of everything from now on.
    fn subscribe_events(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, subscriber: Subscriber) {
        let (known, most) = (&self.events.cursors, self.limits().event_subscribers_max);
        if !known.contains_key(&subscriber) && known.len() >= most {
            return fail(cx, asker, UserError::Limit("too many subscribers".into()));
        }
        // Whatever is under way commits before the cursor does, so that the look behind it sees it.
        let acknowledged = self.counters.mod_seq;
        let cursor = Cursor { acknowledged, state: CursorState::Missed };
        let done = UserDone::Events(EventPage::Reset { at: acknowledged });
        self.set_cursor(cx, (asker, done), (subscriber, Some(cursor)));
    }

    /// A subscriber goes back, as far as everything is kept; else it begins anew.
    fn rewind_events(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (subscriber, cursor): (Subscriber, Cursor),
        to: Rewind,
    ) {
        let floor = self.events.floor;
        let nothing_missed = cursor.state != CursorState::Missed;
        let to = match to {
            Rewind::Kept => Some(floor).filter(|_| nothing_missed),
            Rewind::Behind(to) => Some(to).filter(|to| *to >= floor),
            Rewind::Since { unix_seconds } => {
                Some(self.events.before(unix_seconds)).filter(|_| nothing_missed)
            }
            Rewind::Anew => None,
        };
        self.events.told.remove(&subscriber);
        self.events.begun.remove(&subscriber);
        match to {
            Some(to) => {
                let acknowledged = to.min(cursor.acknowledged);
                let cursor = Cursor { acknowledged, state: CursorState::SentBack };
                self.set_cursor(cx, (asker, UserDone::Done), (subscriber, Some(cursor)));
            }
            None => {
                // A number of its own: who acknowledges all of before has not looked yet.
                self.next_mod_seq();
                self.subscribe_events(cx, asker, subscriber);
            }
        }
        self.stir(cx);
    }

    /// With the first batch of a mailbox: configured subscribers miss nothing of it.
    pub fn subscribe_configured(&mut self, ops: &mut Vec<Op>) {
        let address = self.context.account.as_ref().map_or("", |account| &account.address);
        let all = self.context.limits.event_subscriptions.iter();
        let wanted = all.filter(|it| it.scope.holds(address)).map(|it| it.subscriber.clone());
        for subscriber in wanted.take(self.limits().event_subscribers_max) {
            let cursor = Cursor { acknowledged: self.counters.mod_seq, state: CursorState::Live };
            self.events.begin_at(cursor.acknowledged, ops);
            ops.push(Op::Put { key: keys::cursor(&subscriber), value: cursor.encode() });
            self.events.cursors.insert(subscriber, cursor);
        }
    }

    /// Something committed that subscribers have not seen: each is told once until it reads.
    pub fn stir(&mut self, cx: &mut Cx<'_, Effect>) {
        if self.events.told.len() >= self.events.cursors.len() {
            return;
        }
        let untold = self.events.cursors.keys().filter(|it| !self.events.told.contains(*it));
        let subscribers: Vec<Subscriber> = untold.cloned().collect();
        if !subscribers.is_empty() {
            self.events.told.extend(subscribers.iter().cloned());
            cx.emit(Effect::Stirred { subscribers });
        }
    }

    /// After loading: what an earlier master may not have told of.
    pub fn stir_if_behind(&mut self, cx: &mut Cx<'_, Effect>) {
        let newest = self.folders.values().map(|folder| folder.committed.mod_seq).max();
        let is_behind = |cursor: &Cursor| {
            cursor.state == CursorState::Missed || newest.is_some_and(|at| at > cursor.acknowledged)
        };
        if self.events.cursors.values().any(is_behind) {
            self.stir(cx);
        }
    }

    fn set_cursor(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (asker, done): (Asker, UserDone),
        (subscriber, cursor): (Subscriber, Option<Cursor>),
    ) {
        let key = keys::cursor(&subscriber);
        let mut ops = Vec::new();
        match cursor {
            Some(cursor) => {
                self.events.begin_at(cursor.acknowledged, &mut ops);
                ops.push(Op::Put { key, value: cursor.encode() });
                self.events.cursors.insert(subscriber, cursor);
            }
            None => {
                ops.push(Op::Delete { key });
                self.events.cursors.remove(&subscriber);
                self.events.told.remove(&subscriber);
                self.events.begun.remove(&subscriber);
                if self.events.cursors.is_empty() {
                    ops.push(Op::Delete { key: keys::lone(keys::KEPT) });
                }
            }
        }
        // A subscriber counts from a MODSEQ that no header may know yet.
        ops.push(self.root_op());
        self.pipeline.submit(cx, ops, Change::Cursor { asker, done });
    }

    /// A cursor is durable: what it held back is trimmed at the next fold, which is due now.
    pub fn cursor_set(&mut self) {
        let slowest = self.events.slowest();
        let passed = |stretches: &Vec<Stretch>| {
            stretches.first().is_some_and(|first| slowest.is_none_or(|at| first.up_to <= at))
        };
        let due = self.events.kept.iter().filter(|(_, stretches)| passed(stretches));
        let due: Vec<FolderId> = due.map(|(id, _)| *id).collect();
        self.house.due.extend(due.into_iter().filter(|id| self.folders.contains_key(id)));
    }

    fn read_events(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (subscriber, cursor): (Subscriber, Cursor),
        from: Option<EventPlace>,
    ) {
        if cursor.state == CursorState::Missed {
            let at = cursor.acknowledged;
            return answer(cx, asker, Ok(UserDone::Events(EventPage::Reset { at })));
        }
        // A reader may begin again with less: never with what it has acknowledged.
        let floor = (cursor.acknowledged, u16::MAX);
        let from = from.map(|place| EventPlace { behind: place.behind.max(floor), ..place });
        let place = from.or_else(|| {
            let up_to = self.folders.values().map(|folder| folder.committed.mod_seq).max()?;
            self.first_place(FolderId(0), up_to, cursor.acknowledged)
        });
        match place {
            Some(place) => self.scan_events(cx, EventRead { asker, subscriber, place }),
            None => {
                let next = EventNext::End { up_to: cursor.acknowledged };
                let page = EventPage::Page { events: Vec::new(), next };
                answer(cx, asker, Ok(UserDone::Events(page)));
            }
        }
    }

    /// The beginning of the first folder from `from` on that has changed.
    fn first_place(&self, from: FolderId, up_to: ModSeq, after: ModSeq) -> Option<EventPlace> {
        let mut changed = self.folders.range(from..);
        let (&folder, _) = changed.find(|(_, folder)| folder.committed.mod_seq > after)?;
        let behind = (after, u16::MAX);
        Some(EventPlace { up_to, folder, lane: EventLane::Changes, behind })
    }

    fn scan_events(&mut self, cx: &mut Cx<'_, Effect>, read: EventRead) {
        let EventPlace { up_to, folder, lane, behind: (mod_seq, part) } = read.place;
        let (from, to) = match lane {
            EventLane::Changes => {
                (keys::log(folder, mod_seq, part), keys::log_up_to(folder, up_to).1)
            }
            EventLane::Vanished => {
                (keys::vanished(folder, mod_seq, part), keys::vanished_up_to(folder, up_to).1)
            }
        };
        let request = Request::Scan {
            route: self.context.route.clone(),
            from: keys::next(&from),
            to: to.max(keys::next(&from)),
            reverse: false,
            entries_max: self.limits().events_per_page,
        };
        self.read(cx, request, Reading::Events(Box::new(read)));
    }

    pub fn on_events(&mut self, cx: &mut Cx<'_, Effect>, read: EventRead, response: Response) {
        let EventRead { asker, subscriber, place } = read;
        let cursor = self.events.cursors.get(&subscriber).copied();
        let Some(cursor) = cursor else {
            return fail(cx, asker, UserError::Cannot("no such subscriber".into()));
        };
        // What was scanned may have met a gap.
        if cursor.state == CursorState::Missed {
            let at = cursor.acknowledged;
            return answer(cx, asker, Ok(UserDone::Events(EventPage::Reset { at })));
        }
        let page = match scanned(response) {
            Ok((entries, more)) => self.page_of(place, cursor, (&entries, more)),
            Err(refusal) => return answer(cx, asker, Err(refusal)),
        };
        answer(cx, asker, page.map(UserDone::Events));
    }

    fn page_of(
        &self,
        place: EventPlace,
        cursor: Cursor,
        (entries, more): (&[Entry], bool),
    ) -> Result<EventPage, TaskRefusal> {
        let EventPlace { up_to, folder, lane, behind } = place;
        let mut events = Vec::with_capacity(entries.len());
        let mut behind = behind;
        for entry in entries {
            behind = keys::parse_log(&entry.key)?;
            let change = match lane {
                EventLane::Changes => change_of(LogEntry::decode(&entry.value)?),
                EventLane::Vanished => EventChange::Vanished(decode_uids(&entry.value)?),
            };
            events.push(Event { folder, mod_seq: behind.0, change });
        }
        let after = cursor.acknowledged;
        let next = if more {
            Some(EventPlace { behind, ..place })
        } else {
            match lane {
                EventLane::Changes => {
                    let behind = (after, u16::MAX);
                    Some(EventPlace { lane: EventLane::Vanished, behind, ..place })
                }
                EventLane::Vanished => {
                    self.first_place(FolderId(folder.0.saturating_add(1)), up_to, after)
                }
            }
        };
        let next = next.map_or(EventNext::End { up_to }, EventNext::More);
        Ok(EventPage::Page { events, next })
    }

    /// What of a folder's log may go when it is folded up to `stretch.up_to`; the records of that are in `ops`. `raised`:
    /// vanished records up to there go, too.
    pub fn retain_events(
        &mut self,
        (id, stretch, raised): (FolderId, Stretch, ModSeq),
        wall: Wall,
        ops: &mut Vec<Op>,
    ) -> ModSeq {
        let key = keys::of_folder(keys::KEPT, id);
        if self.events.cursors.is_empty() {
            if self.events.kept.remove(&id).is_some() {
                ops.push(Op::Delete { key });
            }
            return stretch.up_to;
        }
        let (bytes_max, age_max) = (self.limits().events_bytes_max, self.limits().events_age_max);
        let oldest = wall.unix_seconds().saturating_sub_unsigned(age_max.as_secs());
        let slowest = self.events.slowest().unwrap_or(stretch.up_to);
        let others = self.events.kept.iter().filter(|(folder, _)| **folder != id);
        let mut bytes: u64 = others.flat_map(|(_, kept)| kept).map(|kept| kept.bytes).sum();
        let mut kept = self.events.kept.remove(&id).unwrap_or_default();
        push_stretch(&mut kept, stretch);
        bytes += kept.iter().map(|kept| kept.bytes).sum::<u64>();
        let mut forgotten = ModSeq(0);
        let passed = |first: &Stretch, bytes| {
            first.up_to <= slowest || bytes > bytes_max || first.at < oldest
        };
        while let Some(first) = kept.first().copied().filter(|first| passed(first, bytes)) {
            bytes -= first.bytes;
            forgotten = first.up_to;
            kept.remove(0);
        }
        if kept.is_empty() {
            ops.push(Op::Delete { key });
        } else {
            ops.push(Op::Put { key, value: Stretch::encode_all(&kept) });
            self.events.kept.insert(id, kept);
        }
        self.events.pass_by(forgotten.max(raised), ops);
        forgotten
    }

    /// A folder goes with its log: nobody can be told of every message.
    pub fn forget_events(&mut self, id: FolderId, ops: &mut Vec<Op>) {
        if self.events.kept.remove(&id).is_some() {
            ops.push(Op::Delete { key: keys::of_folder(keys::KEPT, id) });
        }
        // A number of its own: who has acknowledged all before has not seen this.
        let deleted = self.next_mod_seq();
        self.events.pass_by(deleted, ops);
    }
}

impl Events {
    /// Where the slowest subscriber is.
    #[must_use]
    pub fn slowest(&self) -> Option<ModSeq> {
        self.cursors.values().map(|cursor| cursor.acknowledged).min()
    }

    /// Up to there everything that is kept happened before a time. MODSEQs rise with time, whatever the folder.
    fn before(&self, unix_seconds: i64) -> ModSeq {
        let all = self.kept.values().flatten().filter(|stretch| stretch.at < unix_seconds);
        all.map(|stretch| stretch.up_to).max().unwrap_or_default().max(self.floor)
    }

    /// The first cursor: from there on events are kept.
    fn begin_at(&mut self, floor: ModSeq, ops: &mut Vec<Op>) {
        if self.cursors.is_empty() {
            self.floor = floor;
            ops.push(Op::Put { key: keys::lone(keys::KEPT), value: encode_floor(floor) });
        }
    }

    /// Events up to `to` go: who is not there has missed them. Puts all cursors into `ops`.
    pub fn pass_by(&mut self, to: ModSeq, ops: &mut Vec<Op>) {
        if !self.cursors.is_empty() && to > self.floor {
            self.floor = to;
            ops.push(Op::Put { key: keys::lone(keys::KEPT), value: encode_floor(to) });
        }
        for (subscriber, cursor) in &mut self.cursors {
            if cursor.acknowledged < to {
                *cursor = Cursor { acknowledged: to, state: CursorState::Missed };
            }
            ops.push(Op::Put { key: keys::cursor(subscriber), value: cursor.encode() });
        }
    }
}

fn push_stretch(kept: &mut Vec<Stretch>, stretch: Stretch) {
    let full = kept.len() >= STRETCHES_MAX;
    match kept.last_mut() {
        Some(last) if last.up_to >= stretch.up_to => {}
        Some(last) if full => {
            last.up_to = stretch.up_to;
            last.at = stretch.at;
            last.bytes = last.bytes.saturating_add(stretch.bytes);
        }
        Some(_) | None => kept.push(stretch),
    }
}

fn change_of(entry: LogEntry) -> EventChange {
    match entry {
        LogEntry::Arrived(rows) => {
            let mut uids = UidSet::new();
            rows.metas.iter().for_each(|meta| uids.insert(meta.uid));
            EventChange::Arrived(uids)
        }
        LogEntry::Flagged { uids, .. } => EventChange::Flagged(uids),
        LogEntry::Adopted { pending: _, first_uid: Uid(first), count } => {
            let last = first.saturating_add(count.saturating_sub(1));
            EventChange::Arrived(UidSet::from_range(first..=last))
        }
    }
}
