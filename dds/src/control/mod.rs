//! The control machine: one per node. It keeps this node's copy of the cluster map in step with those of all others.
//!
//! The map changes by a replicated log ([`ControlLog`]); every node is a member of its group, the first 1, 3 or 5 vote. A
//! node's machine proposes what its replicas and its operator ask for, registers the node, and, while it leads, gives up nodes that
//! are silent, moves the group's membership and the placement of partitions along.
//!
//! States: `Idle` -> `Reading` (records of the last run) -> `Running`; `Stopped` when the disk is damaged or has failed for good.
//!
//! Invariants: a delta is emitted in the order of the log, once, and after its entry is durable here and committed; a verdict follows
//! the delta it is about; every proposal gets exactly one verdict; nothing that raft requires to be durable first leaves before.
//!
//! Absences: nothing here knows what a partition holds, or how nodes are connected; a word from a peer is never trusted to be well
//! formed.

mod controller;
mod leading;
mod limits;
mod log;
mod membership;
mod proposals;
mod raft_log;
mod raft_storage;
mod raft_wire;
mod records;
mod recovery;
mod registration;
mod running;
mod sessions;
mod writer;

use crate::cluster::{
    ClusterMap, Command, Delta, Incarnation, NodeId, Objection, Relief, Session, Settings, Site,
    Start, Verdict, decode_map, encode_map,
};
use crate::report::Report;
use crate::{Group, Read, ReadDone, StoreError, StoreOp};
use bytes::Bytes;
use fsm::{Cx, Digest, Machine, TimerKey, Token};
use raft_log::RaftLog;
use running::{Beginning, Health, Running};
use std::sync::Arc;
use writer::{After, Writer};

pub use limits::Limits;
pub use log::{Committed, ControlLog, MemberChange, MemberId, Members, Standing, Work};
pub use records::{CONTROL, Records};
pub use recovery::{Recorded, Unreadable, forget};

const RAFT_TICK: TimerKey = TimerKey(1);
const TICK: TimerKey = TimerKey(2);
const RETRY: TimerKey = TimerKey(3);

/// What a node's control machine is told once.
#[derive(Clone, Debug)]
pub struct Config {
    pub node: NodeId,
    /// Of the data directory. Records of another one are dropped, and the node joins anew.
    pub incarnation: Incarnation,
    /// Drawn at random when the process starts.
    pub start: Start,
    /// Of all draws that only need to differ between nodes.
    pub seed: u64,
    pub site: Site,
    /// The highest feature level that this program knows.
    pub features: u32,
    pub boot: Boot,
    pub limits: Limits,
}

/// What a node without records does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// It makes a cluster of one node.
    Found(Settings),
    /// It asks whoever it hears of to be let in.
    Join,
}

/// Everything that can happen to the control machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The first input, once.
    Started,
    /// A control message (the payload of a frame) from a node that the link has authenticated as `from`.
    Received { from: NodeId, bytes: Bytes },
    /// A ping arrived from `node`, which says that it has registered as `session` (0: not yet). Also tells a node that is to join
    /// whom it can ask.
    Heard { node: NodeId, session: Session },
    /// A node says this of itself; so does this one.
    Reported { node: NodeId, report: Arc<Report> },
    /// The completion of [`Effect::Store`].
    Stored { token: Token, result: Result<(), StoreError> },
    /// The completion of [`Effect::Read`]. Misses of memory are the executor's to resolve.
    ReadDone { token: Token, result: Result<ReadDone, StoreError> },
    /// This node's replicas or operator ask for a change. `from` and `token` come back in [`Effect::Decided`].
    Propose { from: u64, token: Token, command: Command },
    /// A timer of this machine.
    TimerFired(TimerKey),
}

/// Everything the control machine may ask of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A control message for `to`. It may be lost, doubled and overtaken.
    Send {
        to: NodeId,
        bytes: Bytes,
    },
    /// Write durably. One is under way at a time. The group bears the number [`CONTROL`] in place of a partition's.
    Store {
        token: Token,
        group: Group,
    },
    Read {
        token: Token,
        read: Read,
    },
    /// The map has changed, in order. The first one is whole.
    Changed(Delta),
    /// The one answer to [`Input::Propose`]. If it applied, the delta came before.
    Decided {
        from: u64,
        token: Token,
        verdict: Verdict,
    },
    /// Who leads the control group now, as far as this node knows.
    Leader(Option<NodeId>),
    /// This node takes part under this session from now on: its pings say so.
    Registered(Session),
    /// This node was given up, or has left: it serves nothing until [`Effect::Registered`]. So it is at the start.
    Unregistered,
    /// This node has left the cluster.
    Removed,
    /// This data directory is an old image of itself. Stop, take a new incarnation, and join.
    OldImage,
    /// The machine has stopped for good. So must the node.
    Stopped(Stop),
    /// For the operator.
    Log(Event),
}

/// Why the machine has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("the records of the control plane are damaged: {0}")]
    Damaged(&'static str),
    #[error("the records of the control plane are those of node {0:?}")]
    OtherNode(NodeId),
    #[error("the settings of the new cluster are out of range")]
    Settings,
    #[error(
        "the cluster uses features of level {level}, this program knows those up to {known}: start a newer release"
    )]
    OldRelease { level: u32, known: u32 },
    #[error(transparent)]
    Store(StoreError),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node leads the control group.
    Leading { term: u64 },
    /// This leader gives up a node.
    GivingUp { node: NodeId, session: Session },
    /// This leader moves the primary of a partition from a node with much work to one with less.
    Relieving(Relief),
    /// A message was dropped: its sender is broken, or of another release.
    Refused { from: NodeId, why: &'static str },
    /// The store refused a write; it is tried again.
    StoreFailed(StoreError),
    /// An entry of the log makes no sense to this release. All nodes skip it.
    Skipped { index: u64, why: &'static str },
    /// A snapshot of the map was installed.
    Installed { index: u64 },
    /// The voters of the control group.
    Voters(Vec<NodeId>),
}

/// The control machine of one node. See the head of the file.
#[derive(Debug)]
pub struct Control {
    config: Config,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// The records of the last run, page by page.
    Reading {
        token: Token,
        records: Box<Records>,
    },
    Running(Box<Running>),
    Stopped,
}

impl Control {
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, state: State::Idle }
    }

    /// This node's copy of the map, once it has one.
    #[must_use]
    pub fn map(&self) -> Option<&ClusterMap> {
        match &self.state {
            State::Running(running) => Some(running.map()).filter(|map| map.is_founded()),
            State::Idle | State::Reading { .. } | State::Stopped => None,
        }
    }

    /// The term in which this node leads, if it does.
    #[must_use]
    pub fn term_led(&self) -> Option<u64> {
        match &self.state {
            State::Running(running) => running.term_led(),
            State::Idle | State::Reading { .. } | State::Stopped => None,
        }
    }

    fn read(&mut self, cx: &mut Cx<'_, Effect>, from: Bytes, records: Records) {
        let limits = &self.config.limits;
        let read = records::scan(from, (limits.page_entries_max, limits.page_bytes_max));
        let token = cx.fresh_token();
        cx.emit(Effect::Read { token, read });
        self.state = State::Reading { token, records: Box::new(records) };
    }

    fn on_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        read: Token,
        result: Result<ReadDone, StoreError>,
    ) -> Health {
        let State::Reading { token, records } = &mut self.state else { return Ok(()) };
        if *token != read {
            return Ok(());
        }
        let (page, more) = match result.map_err(Stop::Store)? {
            ReadDone::Scanned { entries, more } => (entries, more),
            ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss => {
                return Err(Stop::Damaged("answer to a scan"));
            }
        };
        for (key, value) in &page {
            records.take(key, value).map_err(Stop::Damaged)?;
        }
        let records = std::mem::take(&mut **records);
        match page.last() {
            Some((last, _)) if more => {
                // The next key there can be.
                let from = [last, &[0_u8][..]].concat();
                self.read(cx, from.into(), records);
                Ok(())
            }
            Some(_) | None => self.begin(cx, records),
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_, Effect>, records: Records) -> Health {
        let beginning = self.beginning(records)?;
        let mut running = Box::new(Running::new(self.config.clone(), beginning));
        let health = running.begin(cx);
        self.state = State::Running(running);
        health
    }

    /// What the records of the last run, or their absence, make of this node.
    fn beginning(&self, mut records: Records) -> Result<Beginning, Stop> {
        let Config { node, incarnation, seed, limits, .. } = &self.config;
        let mut writer = Writer::default();
        let mut session = Session(0);
        match &records.node {
            None if records == Records::default() => {
                if let Boot::Found(settings) = &self.config.boot {
                    let (founding, ops) = self.found(settings)?;
                    records = founding;
                    writer.push(ops, After::Session(session));
                }
            }
            None => return Err(Stop::Damaged("no node record")),
            Some(record) if record.node != u32::from(node.0) => {
                let other = u16::try_from(record.node).map_err(|_| Stop::Damaged("node record"))?;
                return Err(Stop::OtherNode(NodeId(other)));
            }
            Some(record) if record.incarnation != incarnation.0 => {
                // Whatever it was before, it has to be let in again: never founded anew.
                records = Records::default();
                writer.push(vec![records::drop_all()], After::Session(session));
            }
            Some(record) => session = Session(record.session),
        }
        records.check().map_err(Stop::Damaged)?;
        let map = match &records.snapshot {
            None => ClusterMap::default(),
            Some(snapshot) => {
                raft_wire::check_snapshot_of(snapshot, None).map_err(Stop::Damaged)?;
                decode_map(&snapshot.data).map_err(|malformed| Stop::Damaged(malformed.0))?
            }
        };
        let me = MemberId::new(*node, *incarnation);
        let log = Box::new(RaftLog::new(me, *seed, limits, records));
        Ok(Beginning { log, map, session, writer })
    }

    fn found(&self, settings: &Settings) -> Result<(Records, Vec<StoreOp>), Stop> {
        let Config { node, incarnation, site, .. } = self.config.clone();
        let mut map = ClusterMap::default();
        let command = Command::Found { node, incarnation, site, settings: settings.clone() };
        if map.apply(1, &command).verdict != Verdict::Done {
            return Err(Stop::Settings);
        }
        let me = MemberId::new(node, incarnation);
        let records = RaftLog::founding_records(me, encode_map(&map));
        let snapshot = records.snapshot.iter().map(records::put_snapshot);
        let hard_state = records.hard_state.iter().map(records::put_hard_state);
        let ops = snapshot.chain(hard_state).collect();
        Ok((records, ops))
    }

    fn on_input(&mut self, cx: &mut Cx<'_, Effect>, input: Input) -> Health {
        match (&mut self.state, input) {
            (State::Idle, Input::Started) => {
                self.read(cx, records::first(), Records::default());
                Ok(())
            }
            (State::Reading { .. }, Input::ReadDone { token, result }) => {
                self.on_read(cx, token, result)
            }
            (State::Running(running), Input::Received { from, bytes }) => {
                running.on_received(cx, from, &bytes)
            }
            (State::Running(running), Input::Heard { node, session }) => {
                running.on_heard(cx, node, session)
            }
            (State::Running(running), Input::Reported { node, report }) => {
                running.on_reported(node, report);
                Ok(())
            }
            (State::Running(running), Input::Stored { token, result }) => {
                running.on_stored(cx, token, result)
            }
            (State::Running(running), Input::Propose { from, token, command }) => {
                running.on_propose(cx, (from, token), command)
            }
            (State::Running(running), Input::TimerFired(key)) => match key {
                RAFT_TICK => running.on_raft_tick(cx),
                TICK => running.on_tick(cx),
                RETRY => running.on_retry(cx),
                TimerKey(_) => Ok(()),
            },
            (
                State::Idle | State::Reading { .. } | State::Stopped,
                Input::Propose { from, token, command: _ },
            ) => {
                let verdict = Verdict::Refused(Objection::NotReady);
                cx.emit(Effect::Decided { from, token, verdict });
                Ok(())
            }
            (State::Running(_), Input::Started | Input::ReadDone { .. })
            | (State::Idle, Input::ReadDone { .. })
            | (State::Reading { .. }, Input::Started)
            | (State::Stopped, Input::Started | Input::ReadDone { .. })
            | (
                State::Idle | State::Reading { .. } | State::Stopped,
                Input::Received { .. }
                | Input::Heard { .. }
                | Input::Reported { .. }
                | Input::Stored { .. }
                | Input::TimerFired(_),
            ) => Ok(()),
        }
    }
}

impl Machine for Control {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        if let Err(stop) = self.on_input(cx, input) {
            self.state = State::Stopped;
            cx.emit(Effect::Stopped(stop));
        }
    }

    fn digest(&self, digest: &mut Digest) {
        match &self.state {
            State::Idle => digest.word(0),
            State::Reading { records, .. } => digest.word(1 + records.entries.len() as u64),
            State::Running(running) => running.digest(digest),
            State::Stopped => digest.word(u64::MAX),
        }
    }
}
