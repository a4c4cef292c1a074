//! A replica that follows a primary: in sync, or a learner.
//!
//! It joins a version when the primary says so, and from then on refuses what is older. It logs what fits, says so once that
//! is durable, and applies what it hears was decided. As a learner it may first be emptied and filled.
//!
//! Invariant: nothing is acknowledged before it is durable, and nothing of a round but to the primary of that round.

use super::Effect;
use super::core::{Context, Core, Written, op_bytes};
use super::entry::{Entry, Mark};
use super::look::{Seen, Slice};
use super::message::{Body, Message, Page, Round};
use crate::cluster::NodeId;
use crate::fills::Word;
use crate::layout::{self, PartitionRecord};
use crate::{Column, Durability, StoreOp};
use bytes::{Bytes, BytesMut};
use fsm::Digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Member {
    /// The round that was joined; what comes from another one counts for nothing.
    round: Round,
    phase: Phase,
    /// Entries of this round that came before their turn: large ones take a connection of their own.
    ahead: BTreeMap<u64, Arc<Entry>>,
    /// It is being filled: from which place the log counts then, and the next page.
    filling: Option<(Mark, u32)>,
    /// The next page was asked for. Before that it waits for its turn among all that are filled on this node.
    pulls: bool,
    /// What the keys hold that the entries to be dropped had written, as far as the primary has said.
    mended: Vec<(Bytes, Option<Bytes>)>,
    /// The order to fill that was obeyed last: one that comes again must not empty what was filled.
    filled: Option<(Round, u64)>,
    /// The pages that there were, once all of them are durable.
    complete: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No primary has asked yet.
    #[default]
    Apart,
    /// The fence is being written.
    Joining,
    Following,
    /// The tail goes as soon as the primary has said what the bodies were that it had written.
    Dropping,
}

impl Member {
    pub fn on_message(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        message: Message,
    ) {
        let round = message.round;
        if let Body::Join = message.body {
            return self.on_join(core, cx, round);
        }
        if self.phase == Phase::Joining {
            return;
        }
        if self.phase == Phase::Apart || round != self.round {
            // If that is the round of now, it will be asked to join again; a late one of before leads to nothing.
            return core.send(cx, from, round, Body::Apart);
        }
        match message.body {
            Body::Append { entries, decided } => self.on_append(core, cx, from, (entries, decided)),
            Body::Fetch { after } => {
                let entries = core.log.entries_after(after, core.limits.append_bytes_max);
                core.send(cx, from, round, Body::Fetched { entries });
            }
            Body::DropTail { last } => self.on_drop_tail(core, cx, last),
            Body::Bodies { values } => self.on_bodies(core, cx, values),
            Body::Fill { mark } => self.on_fill(core, cx, from, mark),
            Body::Page { mark, page } => self.on_page(core, cx, from, (mark, page)),
            Body::Look(slice) => self.on_look(core, cx, from, slice),
            Body::Doubt if core.log.record.doubted => {
                if !core.writes.values().any(|written| *written == Written::Doubted) {
                    core.send(cx, from, round, Body::Damaged);
                }
            }
            Body::Doubt => core.doubt(cx),
            // Those are for primaries.
            Body::Looked { .. }
            | Body::Join
            | Body::Stand(_)
            | Body::Appended { .. }
            | Body::Fetched { .. }
            | Body::FetchBodies { .. }
            | Body::Filled { .. }
            | Body::Apart
            | Body::Failed
            | Body::Damaged => {}
        }
    }

    fn on_join(&mut self, core: &mut Core, cx: Context<'_, '_>, round: Round) {
        if round == self.round {
            match self.phase {
                Phase::Following | Phase::Apart => {}
                Phase::Joining => return,
                // The question, or its answer, was lost.
                Phase::Dropping => return self.fetch_bodies(core, cx),
            }
        }
        self.round = round;
        self.phase = Phase::Joining;
        self.ahead.clear();
        core.look = None;
        core.log.record.joined = core.view.group.version;
        // Behind everything that is being written: what stands then is durable.
        let ops = vec![core.log.record_op()];
        core.write(cx, ops, Durability::Synced, Written::Joined(round));
    }

    /// A scrub. A copy under construction is not looked at, nor one that is about to drop its tail.
    fn on_look(&mut self, core: &mut Core, cx: Context<'_, '_>, from: NodeId, slice: Slice) {
        if self.phase != Phase::Following || !core.log.record.whole {
            return;
        }
        let id = slice.id;
        // Asked again while it is being read: the answer is on its way.
        if core.look.as_ref().is_none_or(|look| !look.is_at(id))
            && let Some(seen) = core.look(slice)
        {
            core.send(cx, from, self.round, Body::Looked { id, seen });
        }
    }

    /// A slice has been read.
    pub fn on_seen(&self, core: &Core, cx: Context<'_, '_>, (id, seen): (u64, Seen)) {
        if let Some(primary) = core.view.group.primary {
            core.send(cx, primary, self.round, Body::Looked { id, seen });
        }
    }

    fn on_append(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        (entries, decided): (Vec<Arc<Entry>>, u64),
    ) {
        if self.phase == Phase::Dropping {
            return;
        }
        let mut fresh: Vec<Arc<Entry>> = Vec::new();
        let mut end = core.log.last();
        let mut seen = None;
        for entry in entries {
            if entry.number == end.number.wrapping_add(1) && entry.before == end.hash {
                end = entry.mark();
                fresh.push(entry);
            } else if core.log.mark_at(entry.number) == Some(entry.mark()) {
                seen = Some(entry.number);
            } else if entry.number > end.number {
                // Something between is on its way, or was lost and is sent again.
                self.keep_ahead(core, entry);
            }
        }
        while let Some(entry) = self.ahead.remove(&end.number.wrapping_add(1)) {
            if entry.before == end.hash {
                end = entry.mark();
                fresh.push(entry);
            }
        }
        self.ahead.retain(|number, _| *number > end.number);
        let logged = !fresh.is_empty();
        if logged {
            core.log_entries(cx, fresh);
        }
        core.log.decided = core.log.decided.max(decided.min(core.log.last().number));
        if !logged {
            // Sent again: so was the acknowledgement lost, or it is still to come. Or nothing but what is decided was told.
            let through = seen.unwrap_or(core.log.last().number).min(core.log.durable);
            let decided = core.log.decided;
            core.send(cx, from, self.round, Body::Appended { through, decided });
        }
        core.apply(cx);
    }

    /// What there is no room for comes again.
    fn keep_ahead(&mut self, core: &Core, entry: Arc<Entry>) {
        let bytes = self.ahead.values().map(|entry| entry.bytes()).sum::<usize>() + entry.bytes();
        if bytes <= core.limits.window_bytes_max {
            self.ahead.insert(entry.number, entry);
        }
    }

    fn on_drop_tail(&mut self, core: &mut Core, cx: Context<'_, '_>, last: Mark) {
        // An order that comes again must not drop what has been logged since.
        if core.log.last() != last || self.phase == Phase::Dropping {
            return;
        }
        self.phase = Phase::Dropping;
        self.ahead.clear();
        self.mended.clear();
        self.fetch_bodies(core, cx);
    }

    /// Asks what the keys hold that the entries to be dropped had written ahead: some of them, then the next.
    fn fetch_bodies(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let mut keys = core.log.undecided_bodies();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !self.mended.iter().any(|(found, _)| found == key));
        keys.truncate(core.limits.bodies_keys_max);
        if keys.is_empty() {
            self.drop_tail(core, cx);
        } else if let Some(primary) = core.view.group.primary {
            core.send(cx, primary, self.round, Body::FetchBodies { keys });
        }
    }

    fn on_bodies(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        values: Vec<(Bytes, Option<Bytes>)>,
    ) {
        if self.phase != Phase::Dropping {
            return;
        }
        let before = self.mended.len();
        for (key, value) in values {
            if !self.mended.iter().any(|(found, _)| *found == key) {
                self.mended.push((key, value));
            }
        }
        // What came twice is no reason to ask twice.
        if self.mended.len() > before {
            self.fetch_bodies(core, cx);
        }
    }

    /// The entries go in the same group that mends what they had written ahead.
    fn drop_tail(&mut self, core: &mut Core, cx: Context<'_, '_>) {
        let column = Column::Bodies;
        let mended = std::mem::take(&mut self.mended).into_iter();
        let mend = |(key, value)| match value {
            Some(value) => StoreOp::Put { column, key, value },
            None => StoreOp::Delete { column, key },
        };
        let mut ops: Vec<StoreOp> = mended.map(mend).collect();
        core.log.drop_tail(&mut ops);
        self.phase = Phase::Joining;
        core.write(cx, ops, Durability::Synced, Written::Dropped(self.round));
    }

    fn on_fill(&mut self, core: &mut Core, cx: Context<'_, '_>, from: NodeId, mark: Mark) {
        let ordered = self.filled == Some((self.round, mark.number));
        match self.filling {
            Some((filling, next)) if ordered && filling == mark => {
                return self.ask_again(core, cx, from, (mark, next));
            }
            // Only that it is complete was lost.
            None if ordered => return self.say_complete(core, cx, from, mark),
            Some(_) | None => {}
        }
        let again = self.filled.is_some_and(|(round, at)| round == self.round && at >= mark.number);
        if again || core.view.group.is_in_sync(core.me) {
            return;
        }
        let mut ops = Vec::new();
        core.log.restart(mark, &mut ops);
        self.ahead.clear();
        // Whatever else it was about.
        self.phase = Phase::Following;
        self.filling = Some((mark, 0));
        self.filled = Some((self.round, mark.number));
        self.pulls = false;
        self.complete = None;
        core.write(cx, ops, Durability::Buffered, Written::Filled(mark, 0));
    }

    fn on_page(
        &mut self,
        core: &mut Core,
        cx: Context<'_, '_>,
        from: NodeId,
        (mark, page): (Mark, Page),
    ) {
        let Page { index, entries, last } = page;
        match self.filling {
            Some((filling, next)) if filling == mark && index == next => {}
            Some((filling, next)) if filling == mark && index < next => {
                // It came already; the answer was lost.
                return self.ask_again(core, cx, from, (mark, next));
            }
            None if self.filled.is_some_and(|(_, at)| at == mark.number) => {
                return self.say_complete(core, cx, from, mark);
            }
            Some(_) | None => return,
        }
        let put = |(column, key, value)| StoreOp::Put { column, key, value };
        let mut ops: Vec<StoreOp> = entries.into_iter().map(put).collect();
        let bytes = ops.iter().map(op_bytes).sum();
        cx.emit(Effect::Fill(Word::Came { bytes }));
        self.pulls = false;
        self.filling = (!last).then_some((mark, index + 1));
        if last {
            cx.emit(Effect::Fill(Word::Ends));
            core.log.record.whole = true;
            ops.push(partition_record(core, mark));
            ops.push(core.log.record_op());
        }
        // What was written before is durable with the last page: until then there is no copy to be lost.
        let durability = if last { Durability::Synced } else { Durability::Buffered };
        core.write(cx, ops, durability, Written::Filled(mark, index + 1));
        if last {
            core.apply(cx);
        }
    }

    /// The primary looks after a page, or what was asked of it was lost. Who waits for its turn does not answer.
    fn ask_again(
        &self,
        core: &Core,
        cx: Context<'_, '_>,
        from: NodeId,
        (mark, index): (Mark, u32),
    ) {
        if self.pulls {
            core.send(cx, from, self.round, Body::Filled { mark, index });
        }
    }

    /// That it is complete may have been lost on its way.
    fn say_complete(&self, core: &Core, cx: Context<'_, '_>, from: NodeId, mark: Mark) {
        if let Some(index) = self.complete {
            core.send(cx, from, self.round, Body::Filled { mark, index });
        }
    }

    /// It is the turn of this copy.
    pub fn on_page_granted(&mut self, core: &Core, cx: Context<'_, '_>) {
        let Some((mark, index)) = self.filling else {
            return cx.emit(Effect::Fill(Word::Ends));
        };
        self.pulls = true;
        if let Some(primary) = core.view.group.primary
            && self.phase == Phase::Following
        {
            core.send(cx, primary, self.round, Body::Filled { mark, index });
        }
    }

    /// Whoever paced it need not wait for it.
    pub fn end(&self, cx: Context<'_, '_>) {
        if self.filling.is_some() {
            cx.emit(Effect::Fill(Word::Ends));
        }
    }

    /// A write of this member is done.
    pub fn on_written(&mut self, core: &Core, cx: Context<'_, '_>, written: Written) {
        let Some(primary) = core.view.group.primary else { return };
        match written {
            Written::Logged(through) => {
                if self.phase == Phase::Following {
                    let decided = core.log.decided;
                    core.send(cx, primary, self.round, Body::Appended { through, decided });
                }
            }
            Written::Joined(round) | Written::Dropped(round) => {
                if round == self.round {
                    self.phase = Phase::Following;
                    let stand = core.stand(self.filling);
                    core.send(cx, primary, round, Body::Stand(stand));
                }
            }
            Written::Filled(mark, index) if self.filling == Some((mark, index)) => {
                if !self.pulls {
                    cx.emit(Effect::Fill(Word::Wants));
                }
            }
            Written::Filled(mark, index) => {
                self.complete = self.filling.is_none().then_some(index);
                core.send(cx, primary, self.round, Body::Filled { mark, index });
            }
            Written::Doubted => core.send(cx, primary, self.round, Body::Damaged),
            Written::Applied(_) | Written::Passed(_) | Written::Cleared => {}
        }
    }

    /// Tells the primary that this replica can't go on.
    pub fn complain(&self, core: &Core, cx: Context<'_, '_>) {
        if let Some(primary) = core.view.group.primary.filter(|primary| *primary != core.me) {
            core.send(cx, primary, self.round, Body::Failed);
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.round.0);
        digest.word(match self.phase {
            Phase::Apart => 0,
            Phase::Joining => 1,
            Phase::Following => 2,
            Phase::Dropping => 3,
        });
        digest.word(self.filling.map_or(0, |(mark, next)| mark.number ^ u64::from(next) << 32));
        digest.word(self.ahead.len() as u64);
    }
}

fn partition_record(core: &Core, mark: Mark) -> StoreOp {
    let Mark { number, hash } = mark;
    let record = PartitionRecord { version: core.view.group.version, number, hash };
    let mut value = BytesMut::with_capacity(PartitionRecord::BYTES);
    record.encode(&mut value);
    let key = layout::partition_key(core.partition);
    StoreOp::Put { column: Column::Log, key, value: value.freeze() }
}
