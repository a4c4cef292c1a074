//! One node of a simulated cluster: links, seats and disk, on a clock of its own.

use crate::disk::Disk;
use bytes::Bytes;
use dds::cluster::{ClusterMap, GroupChange, Incarnation, NodeId, Session, Start};
use dds::control::Control;
use dds::fills::Fills;
use dds::links::Links;
use dds::scrub::Pacer;
use dds::seat::Seat;
use dds::{Column, GroupVersion, Leases, PartitionId};
use fsm::{Host, Mono, TimerKey, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a timer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Links,
    Control,
    Fills,
    Seat(PartitionId),
    Pacer,
}

/// A machine and what outlives its steps.
#[derive(Debug)]
pub struct Slot<M> {
    pub machine: M,
    pub host: Host,
}

/// A copy of a disk as it was.
#[derive(Clone, Debug)]
pub struct Image {
    pub incarnation: Incarnation,
    /// The last session that was registered.
    pub session: Session,
    pub entries: Vec<(Column, Bytes, Bytes)>,
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    pub start: Start,
    pub control: Slot<Control>,
    pub links: Slot<Links>,
    pub fills: Slot<Fills>,
    pub pacer: Slot<Pacer>,
    pub seats: BTreeMap<PartitionId, Slot<Seat>>,
    pub leases: Leases,
    pub map: ClusterMap,
    /// The map has known of this run; until then it says nothing to the seats.
    pub registered: bool,
    /// Changes of groups that the map is asked for.
    pub asks: BTreeMap<Token, (PartitionId, GroupVersion, GroupChange)>,
    /// Units a second of the partitions that it leads, averaged.
    pub work: BTreeMap<PartitionId, u64>,
    /// Nodes that say that their stores are full.
    pub exhausted: Arc<BTreeSet<NodeId>>,
    /// When each timer fires, by the virtual clock.
    pub timers: BTreeMap<(Owner, TimerKey), u64>,
}

/// A node, whether it runs or not.
#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub disk: Disk,
    pub incarnation: Incarnation,
    /// The last session that was registered.
    pub session: Session,
    /// It has run before: it does not found a cluster again.
    pub has_run: bool,
    pub image: Option<Image>,
    /// The disk is an older image, and nobody has noticed yet.
    pub stale: bool,
    /// The disk is a new one that was not registered yet.
    pub fresh: bool,
    /// The disk takes nothing but what frees space.
    pub full: bool,
    /// Rises with every start; what is meant for another life gets lost.
    pub life: u32,
    pub running: Option<Running>,
    /// It stands still until then.
    pub paused_until: u64,
    /// Parts in a million that its clock is fast.
    drift: i64,
    offset: u64,
}

impl Node {
    pub fn new(id: NodeId, incarnation: Incarnation, drift: i64, offset: u64) -> Self {
        Self {
            id,
            disk: Disk::default(),
            incarnation,
            session: Session(0),
            has_run: false,
            image: None,
            stale: false,
            fresh: false,
            full: false,
            life: 0,
            running: None,
            paused_until: 0,
            drift,
            offset,
        }
    }

    /// The node's own clock at a moment of the virtual one.
    #[must_use]
    pub fn mono(&self, now: u64) -> Mono {
        let drifted = i128::from(now) + i128::from(now) * i128::from(self.drift) / 1_000_000;
        Mono(self.offset.saturating_add(u64::try_from(drifted).unwrap_or(0)))
    }

    /// The moment of the virtual clock at which the node's own shows `mono`.
    #[must_use]
    pub fn moment(&self, mono: Mono) -> u64 {
        let passed = i128::from(mono.0.saturating_sub(self.offset));
        let moment = passed * 1_000_000 / i128::from(1_000_000 + self.drift);
        // Rounding must not make a timer fire early.
        u64::try_from(moment).unwrap_or(u64::MAX).saturating_add(2)
    }
}
