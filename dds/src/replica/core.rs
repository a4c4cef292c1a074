//! What every role of an awake replica works with: its log, its way to the store, and the gate that reads wait at.

use super::entry::{Entry, Mark};
use super::log::Log;
use super::look::Look;
use super::message::{Body, Message, Round, Stand};
use super::{Effect, Limits, View};
use crate::cluster::NodeId;
use crate::layout::ReplicaRecord;
use crate::{Chain, Durability, Group, PartitionId, Read, ReadDone, StoreError, StoreOp};
use bytes::Bytes;
use fsm::{Cx, Mono, TimerKey, Token};
use std::collections::BTreeMap;
use std::sync::Arc;

pub type Context<'a, 'b> = &'a mut Cx<'b, Effect>;

/// The only timer of a replica.
pub const TICK: TimerKey = TimerKey(1);

/// What a write under way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Entries up to here are in the log.
    Logged(u64),
    /// In a log of one: groups up to here are applied with that.
    Passed(Mark),
    Applied(u64),
    /// The fence stands, and everything before it is durable.
    Joined(Round),
    /// The tail is gone.
    Dropped(Round),
    /// Everything is gone, or a page came: the next one may come.
    Filled(Mark, u32),
    /// It is remembered that this copy is wrong.
    Doubted,
    /// Nothing is left of a copy that nobody needs.
    Cleared,
}

/// What a read of the replica's own is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFor {
    /// The partition machine asked for it.
    Partition { token: Token, read: Read },
    /// A page for a learner.
    Page { node: NodeId, mark: Mark, index: u32 },
    /// What a member asked of body keys.
    Bodies { to: NodeId, round: Round, keys: Vec<Bytes> },
    /// A slice that is scrubbed.
    Look { id: u64 },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Core {
    pub me: NodeId,
    pub partition: PartitionId,
    pub limits: Arc<Limits>,
    pub view: View,
    pub log: Log,
    /// The store had no space; until then it is not asked for more.
    pub full_until: Mono,
    pub writes: BTreeMap<Token, Written>,
    pub reads: BTreeMap<Token, ReadFor>,
    /// Reads of the partition machine that wait until what they need is applied.
    pub gate: Vec<(u64, Token, Read)>,
    /// What was read for it, and waits until what it may have met is decided.
    pub held: Vec<(u64, Token, Result<ReadDone, StoreError>)>,
    /// The slice that is scrubbed.
    pub look: Option<Look>,
}

impl Core {
    pub fn new(
        me: NodeId,
        (partition, limits): (PartitionId, Arc<Limits>),
        view: View,
        log: Log,
    ) -> Self {
        let (writes, reads) = (BTreeMap::new(), BTreeMap::new());
        let (gate, held) = (Vec::new(), Vec::new());
        let (full_until, look) = (Mono(0), None);
        Self { me, partition, limits, view, log, full_until, writes, reads, gate, held, look }
    }

    pub fn read(&mut self, cx: Context<'_, '_>, read: Read, read_for: ReadFor) {
        let token = cx.fresh_token();
        self.reads.insert(token, read_for);
        cx.emit(Effect::Read { token, read });
    }

    pub fn send(&self, cx: Context<'_, '_>, to: NodeId, round: Round, body: Body) {
        let message = Message { version: self.view.group.version, round, body };
        cx.emit(Effect::Send { to, message });
    }

    /// Gives operations to the store.
    pub fn write(
        &mut self,
        cx: Context<'_, '_>,
        ops: Vec<StoreOp>,
        durability: Durability,
        written: Written,
    ) {
        let bytes = ops.iter().map(op_bytes).sum();
        // What a log has promised is owed: it may use the room below the watermarks.
        let group =
            Group { partition: self.partition, ops, bytes, frees_space: true, chain: self.chain() };
        self.commit(cx, group, durability, written);
    }

    pub fn commit(
        &mut self,
        cx: Context<'_, '_>,
        group: Group,
        durability: Durability,
        written: Written,
    ) {
        let token = cx.fresh_token();
        self.writes.insert(token, written);
        cx.emit(Effect::Store { token, group, durability });
    }

    pub fn chain(&self) -> Chain {
        if self.writes.is_empty() { Chain::Starts } else { Chain::Follows }
    }

    /// Whether the store of this node takes nothing but what frees space.
    pub fn is_full(&self, now: Mono) -> bool {
        now < self.full_until || self.view.exhausted.contains(&self.me)
    }

    /// Logs entries that follow the last one; synced. They are in other logs already: what a set of replicas took is owed by each
    /// of them, also below the watermarks. Whoever takes it knows who is short of space.
    pub fn log_entries(&mut self, cx: Context<'_, '_>, entries: Vec<Arc<Entry>>) {
        let group = self.logged(entries);
        self.commit_logged(cx, group);
    }

    /// Logs a new entry, if the store has the space; synced.
    pub fn log_new(&mut self, cx: Context<'_, '_>, entry: Entry) {
        let frees_space = entry.frees_space;
        let group = self.logged(vec![Arc::new(entry)]);
        self.commit_logged(cx, Group { frees_space, ..group });
    }

    fn logged(&mut self, entries: Vec<Arc<Entry>>) -> Group {
        let mut ops = Vec::new();
        for entry in entries {
            if let Some(look) = &mut self.look {
                look.note(&entry);
            }
            self.log.push(entry, &mut ops);
        }
        let bytes = ops.iter().map(op_bytes).sum();
        Group { partition: self.partition, ops, bytes, frees_space: true, chain: self.chain() }
    }

    fn commit_logged(&mut self, cx: Context<'_, '_>, group: Group) {
        let through = self.log.last().number;
        self.commit(cx, group, Durability::Synced, Written::Logged(through));
    }

    /// Gives what is decided to the store to be applied. It need not be synced: the log has it.
    pub fn apply(&mut self, cx: Context<'_, '_>) {
        let keep = self.view.keeps_entries().then_some(self.limits.keep_bytes_max);
        if let Some((ops, through)) = self.log.apply(keep) {
            self.write(cx, ops, Durability::Buffered, Written::Applied(through));
        }
    }

    /// A read of the partition machine: done, or held until it would see all that it must.
    pub fn on_read(&mut self, cx: Context<'_, '_>, token: Token, read: Read) {
        let needed = self.log.needed_by(&read);
        if needed <= self.log.applied {
            self.read(cx, read.clone(), ReadFor::Partition { token, read });
        } else {
            self.gate.push((needed, token, read));
        }
    }

    /// A read of the partition machine is done. It may have met a body that was placed while it was under way: then it is told
    /// once that is decided.
    pub fn on_partition_read(
        &mut self,
        cx: Context<'_, '_>,
        (token, read): (Token, Read),
        result: Result<ReadDone, StoreError>,
    ) {
        let needed = self.log.needed_by(&read);
        if needed <= self.log.decided {
            cx.emit(Effect::ReadDone { token, result });
        } else {
            self.held.push((needed, token, result));
        }
    }

    /// Lets pass whatever has what it needs by now.
    pub fn open_gate(&mut self, cx: Context<'_, '_>) {
        let (applied, decided) = (self.log.applied, self.log.decided);
        let ready: Vec<_> = self.gate.extract_if(.., |(needed, _, _)| *needed <= applied).collect();
        for (_, token, read) in ready {
            self.read(cx, read.clone(), ReadFor::Partition { token, read });
        }
        for (_, token, result) in self.held.extract_if(.., |(needed, _, _)| *needed <= decided) {
            cx.emit(Effect::ReadDone { token, result });
        }
    }

    /// The partition machine has ended: nobody waits for its reads.
    pub fn forget_reads(&mut self) {
        self.gate.clear();
        self.held.clear();
        self.reads.retain(|_, read_for| !matches!(read_for, ReadFor::Partition { .. }));
    }

    /// Remembers durably that this copy is wrong: once it has left the set, it keeps nothing.
    pub fn doubt(&mut self, cx: Context<'_, '_>) {
        self.log.record.doubted = true;
        let ops = vec![self.log.record_op()];
        self.write(cx, ops, Durability::Synced, Written::Doubted);
    }

    /// Where this replica stands, once all of it is durable.
    pub fn stand(&self, filling: Option<(Mark, u32)>) -> Stand {
        let ReplicaRecord { whole, doubted, .. } = self.log.record;
        let kept = !doubted || self.view.group.is_in_sync(self.me);
        Stand {
            last: self.log.last(),
            applied: self.log.applying_mark(),
            whole: whole && kept,
            filling,
        }
    }
}

pub fn op_bytes(op: &StoreOp) -> usize {
    let len = |bytes: &Bytes| bytes.len();
    match op {
        StoreOp::Put { key, value, .. } => len(key) + len(value),
        StoreOp::Delete { key, .. } => len(key),
        StoreOp::DeleteRange { from, to, .. } => len(from) + len(to),
    }
}
