//! One node's seat in a replica group: the replica, and while it leads, the partition machine in front of it.
//!
//! Invariants: there is a partition machine exactly while the replica serves; what it had under way when that ends is answered
//! as unknown or unavailable; its commits and reads pass through the replica.
//!
//! Must not know: leases, which are per pair of nodes ([`crate::Leases`]), and who asks.

use crate::cluster::{GroupChange, NodeId};
use crate::partition::{self, Partition};
use crate::replica::{self, Message, Replica, View};
use crate::scrub::Step;
use crate::{
    Column, Durability, Group, GroupVersion, Limits, PartitionId, Read, ReadDone, Refusal, Request,
    Response, StoreError, fills,
};
use fsm::{Cx, Digest, Host, Machine, Stepped, TimerKey, TimerOp, Token};
use std::collections::VecDeque;
use std::sync::Arc;

/// Everything that can happen to a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The map says this of the group.
    GroupIs(View),
    /// `from` is whatever the executor wants to have back in [`Effect::Answer`].
    Asked {
        from: u64,
        token: Token,
        request: Request,
    },
    Received {
        from: NodeId,
        message: Message,
    },
    /// The completion of [`Effect::Store`].
    Stored {
        token: Token,
        result: Result<(), StoreError>,
    },
    /// The completion of [`Effect::Read`]. Misses of memory are the executor's to resolve.
    ReadDone {
        token: Token,
        result: Result<ReadDone, StoreError>,
    },
    /// The controller wishes this of the primary.
    Suggested(GroupChange),
    /// The map refused what [`Effect::Ask`] asked.
    ChangeRefused {
        expect: GroupVersion,
        change: GroupChange,
    },
    /// Nothing was heard of the node for as long as a member may be silent.
    Silent {
        node: NodeId,
    },
    /// The map knows the node under another session: it has started anew.
    Restarted {
        node: NodeId,
    },
    /// The answer to [`crate::fills::Word::Wants`].
    PageGranted,
    /// A slice of the partition may be scrubbed, the first one if it `begins`; answered by [`Effect::Scrubbed`].
    Scrub {
        begins: bool,
    },
    TimerFired(TimerKey),
}

/// Everything a seat may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be held back while [`Seat::permits`] does not allow it.
    Answer {
        to: u64,
        token: Token,
        response: Response,
    },
    Send {
        to: NodeId,
        message: Message,
    },
    Store {
        token: Token,
        group: Group,
        durability: Durability,
    },
    Read {
        token: Token,
        read: Read,
    },
    /// Asks the map for a change of this version of the group.
    Ask {
        expect: GroupVersion,
        change: GroupChange,
    },
    /// To whoever paces the copies that are under construction on this node.
    Fill(fills::Word),
    /// What became of [`Input::Scrub`].
    Scrubbed(Step),
    /// It leads no more: what was held back is answered as [`given_up`] says.
    Ceased,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Seat {
    id: PartitionId,
    limits: Arc<Limits>,
    replica: Replica,
    replica_host: Host,
    leading: Option<Leading>,
    /// Partition machines that there were: what one asked for is no other's.
    machines: u64,
    buffers: Box<Buffers>,
}

#[derive(Debug)]
struct Leading {
    partition: Partition,
    host: Host,
}

/// Effects of a step, reused.
#[derive(Debug, Default)]
struct Buffers {
    replica: Stepped<replica::Effect>,
    partition: Stepped<partition::Effect>,
    /// What the partition machine has for the replica.
    todo: VecDeque<replica::Input>,
}

/// What an answer says, and what has to hold for it to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Nothing about the state.
    Nothing,
    /// What the state is now.
    State,
    /// That something is durable.
    Outcome,
}

type Context<'a, 'b> = &'a mut Cx<'b, Effect>;

/// Marks the token of a read that the partition machine asked for, past the replica. Which machine it was stands below, in 15
/// bits; then the token.
const DIRECT: u64 = 1 << 63;
const TOKEN_BITS: u32 = 48;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;

/// `token` of the partition machine number `machine`, marked.
fn direct(machine: u64, token: Token) -> Token {
    Token(DIRECT | (machine & 0x7FFF) << TOKEN_BITS | token.0 & TOKEN_MASK)
}

impl Seat {
    /// `seed` is that of the node; the seat's machines draw from streams of their own.
    #[must_use]
    pub fn new(
        me: NodeId,
        id: PartitionId,
        (limits, replication): (Arc<Limits>, Arc<replica::Limits>),
        seed: u64,
    ) -> Self {
        let replica = Replica::new(me, id, replication);
        let replica_host = Host::new(seed, u64::from(id.0));
        let (leading, buffers) = (None, Box::default());
        Self { id, limits, replica, replica_host, leading, machines: 0, buffers }
    }

    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// There is a partition machine.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leading.is_some()
    }

    /// Whether `response` may be told now, given which nodes' leases hold.
    #[must_use]
    pub fn permits(&self, response: &Response, holds: impl Fn(NodeId) -> bool) -> bool {
        match claim(response) {
            Claim::Nothing => true,
            Claim::Outcome => self.replica.acknowledges() && self.replica.answers().is_some(),
            Claim::State => self.permits_state(holds),
        }
    }

    /// Whether an answer from what a master has in memory may be told now, given which nodes' leases hold.
    #[must_use]
    pub fn permits_state(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        self.replica.answers().is_some_and(|mut leases| leases.all(holds))
    }

    fn on_asked(&mut self, cx: Context<'_, '_>, from: u64, token: Token, request: Request) {
        if self.leading.is_some() {
            return self.step_partition(cx, partition::Input::Asked { from, token, request });
        }
        let response = match request {
            Request::Write(_)
            | Request::PutChunk { .. }
            | Request::RenewBlob { .. }
            | Request::DropBlob { .. } => {
                Response::Wrote(crate::Outcome::Refused(Refusal::Unavailable))
            }
            Request::Claim { .. }
            | Request::Get { .. }
            | Request::Scan { .. }
            | Request::ReadBlob { .. }
            | Request::CollectBlobs { .. } => Response::Refused(Refusal::Unavailable),
        };
        cx.emit(Effect::Answer { to: from, token, response });
    }

    /// Steps both machines until neither has anything for the other.
    fn settle(&mut self, cx: Context<'_, '_>) {
        while let Some(input) = self.buffers.todo.pop_front() {
            self.step_replica(cx, input);
        }
    }

    fn step_replica(&mut self, cx: Context<'_, '_>, input: replica::Input) {
        let now = (cx.mono(), cx.wall());
        let budget = *cx.budget();
        let mut stepped = std::mem::take(&mut self.buffers.replica);
        self.replica_host.step(&mut self.replica, &mut stepped, now, budget, input);
        for op in stepped.timers.drain(..) {
            match op {
                TimerOp::Arm { key, at } => cx.arm(key, at.since(now.0)),
                TimerOp::Cancel { key } => cx.cancel(key),
            }
        }
        for effect in stepped.effects.drain(..) {
            self.on_replica_effect(cx, effect);
        }
        self.buffers.replica = stepped;
    }

    fn on_replica_effect(&mut self, cx: Context<'_, '_>, effect: replica::Effect) {
        use replica::Effect as Of;
        match effect {
            Of::Send { to, message } => cx.emit(Effect::Send { to, message }),
            Of::Store { token, group, durability } => {
                cx.emit(Effect::Store { token, group, durability });
            }
            Of::Read { token, read } => cx.emit(Effect::Read { token, read }),
            Of::ReadDone { token, result } => {
                self.step_partition(cx, partition::Input::ReadDone { token, result });
            }
            // At once: it may come before the partition machine ends, in the same step.
            Of::Decided { token, result } => {
                self.step_partition(cx, partition::Input::Stored { token, result });
            }
            Of::Serve => {
                let version = self.replica.version();
                let partition = Partition::new(self.id, version, Arc::clone(&self.limits));
                let host = Host::new(cx.rng().next_u64(), u64::from(self.id.0));
                self.machines += 1;
                self.leading = Some(Leading { partition, host });
            }
            Of::Cease => {
                self.step_partition(cx, partition::Input::Ceased);
                self.leading = None;
                self.buffers.todo.clear();
                cx.emit(Effect::Ceased);
            }
            Of::Ask { expect, change } => cx.emit(Effect::Ask { expect, change }),
            Of::Fill(word) => cx.emit(Effect::Fill(word)),
            Of::Scrubbed(step) => cx.emit(Effect::Scrubbed(step)),
        }
    }

    fn step_partition(&mut self, cx: Context<'_, '_>, input: partition::Input) {
        let Some(leading) = &mut self.leading else { return };
        let now = (cx.mono(), cx.wall());
        let budget = *cx.budget();
        let mut stepped = std::mem::take(&mut self.buffers.partition);
        leading.host.step(&mut leading.partition, &mut stepped, now, budget, input);
        for effect in stepped.effects.drain(..) {
            use partition::Effect as Of;
            match effect {
                Of::Answer { to, token, response } => {
                    cx.emit(Effect::Answer { to, token, response });
                }
                Of::Commit { token, group } => {
                    let input = replica::Input::Propose { token, group };
                    self.buffers.todo.push_back(input);
                }
                // The replica would only pass it on.
                Of::Read { token, read }
                    if read.column() != Column::Bodies && self.replica.reads_at_once() =>
                {
                    let token = direct(self.machines, token);
                    cx.emit(Effect::Read { token, read });
                }
                Of::Read { token, read } => {
                    let input = replica::Input::Read { token, read };
                    self.buffers.todo.push_back(input);
                }
            }
        }
        self.buffers.partition = stepped;
    }
}

impl Machine for Seat {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        let inner = match input {
            Input::Asked { from, token, request } => {
                self.on_asked(cx, from, token, request);
                return self.settle(cx);
            }
            Input::ReadDone { token, result } if token.0 & DIRECT != 0 => {
                if direct(self.machines, token) != token {
                    return;
                }
                let token = Token(token.0 & TOKEN_MASK);
                self.step_partition(cx, partition::Input::ReadDone { token, result });
                return self.settle(cx);
            }
            Input::ReadDone { token, result } => replica::Input::ReadDone { token, result },
            Input::GroupIs(view) => replica::Input::GroupIs(view),
            Input::Received { from, message } => replica::Input::Received { from, message },
            Input::Stored { token, result } => replica::Input::Stored { token, result },
            Input::Suggested(change) => replica::Input::Suggested(change),
            Input::ChangeRefused { expect, change } => {
                replica::Input::ChangeRefused { expect, change }
            }
            Input::Silent { node } => replica::Input::Silent { node },
            Input::Restarted { node } => replica::Input::Restarted { node },
            Input::PageGranted => replica::Input::PageGranted,
            Input::Scrub { begins } => replica::Input::Scrub { begins },
            Input::TimerFired(key) => replica::Input::TimerFired(key),
        };
        self.buffers.todo.push_back(inner);
        self.settle(cx);
    }

    fn digest(&self, digest: &mut Digest) {
        self.replica.digest(digest);
        if let Some(leading) = &self.leading {
            leading.partition.digest(digest);
        }
    }
}

fn claim(response: &Response) -> Claim {
    use crate::Outcome;
    let refusal = match response {
        Response::Claimed(_) | Response::Wrote(Outcome::Committed { .. }) => return Claim::Outcome,
        Response::Wrote(Outcome::Unknown) => return Claim::Nothing,
        Response::Collected { .. } => return Claim::Outcome,
        Response::Got(_) | Response::Scanned { .. } | Response::BlobRead(_) | Response::Absent => {
            return Claim::State;
        }
        Response::Wrote(Outcome::Refused(refusal)) | Response::Refused(refusal) => refusal,
    };
    match refusal {
        Refusal::PreconditionFailed { .. }
        | Refusal::Fenced { .. }
        | Refusal::SequenceGap { .. }
        | Refusal::Forgotten => Claim::State,
        Refusal::TooLarge { .. }
        | Refusal::ReservedKey
        | Refusal::NoSpace
        | Refusal::Overloaded
        | Refusal::Unavailable
        | Refusal::Corrupt { .. } => Claim::Nothing,
    }
}

/// What becomes of an answer that was held back until its seat led no more.
#[must_use]
pub fn given_up(response: &Response) -> Response {
    match response {
        Response::Wrote(_) => Response::Wrote(crate::Outcome::Unknown),
        Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. }
        | Response::Refused(_) => Response::Refused(Refusal::Unavailable),
    }
}
