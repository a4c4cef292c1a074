//! Scrubs of a cluster, and what they are there for: copies that are wrong though no disk said so.
//!
//! Invariants: a scrub finds nothing where nothing was damaged, and blames nobody but who is; after the last round no replica is
//! wrong any more.

use super::node::Owner;
use super::seats::say;
use super::{Cluster, Event, Life};
use crate::failure::Failure;
use dds::cluster::NodeId;
use dds::scrub::{Effect, Finding, Input, Limits, Step};
use dds::{Column, PartitionId, layout, seat};
use fsm::{Budget, Duration, Machine, Stepped, Token, Wall};

/// How a replica was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// A value is another one; no checksum tells.
    Flipped,
    /// An entry is gone.
    Lost,
    /// There is an entry that nobody wrote.
    Stray,
    /// A value can't be read.
    Unreadable,
}

/// Pause of a pacer in a simulation, when a partition can't be looked at.
const RETRY: Duration = Duration::from_millis(60);

impl Cluster {
    pub(super) fn scrub_limits(&self) -> Limits {
        let period = Duration::from_millis(self.options.scenario.scrub_ms);
        Limits { period, bytes_per_second: 0, retry_after: RETRY, retries_max: 400 }
    }

    /// The node knows the map: its pacer does too.
    pub(super) fn begin_scrubs(&mut self, id: NodeId) {
        let partitions = (0..self.options.scenario.partitions).map(PartitionId).collect();
        if self.options.scenario.scrub_ms > 0 {
            self.step_pacer(id, Input::PartitionsAre(partitions));
        }
    }

    pub(super) fn step_pacer(&mut self, id: NodeId, input: Input) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (life, mono) = (Life { node: id, life: node.life }, node.mono(now));
        let Some(running) = &mut node.running else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let slot = &mut running.pacer;
        slot.host.step(&mut slot.machine, &mut stepped, (mono, Wall(0)), Budget::new(2_000), input);
        slot.machine.digest(&mut self.trace);
        self.arm(id, Owner::Pacer, &stepped.timers);
        for effect in stepped.effects {
            match effect {
                Effect::Permit { partition, begins } => {
                    self.schedule.after(1_000, Event::Permit { life, partition, begins });
                }
                Effect::Found { partition, finding, repairs } => {
                    self.on_found(id, (partition, &finding), repairs);
                }
                Effect::Ended { round, asked } => {
                    self.coverage.action("scrub round ends");
                    if round.unfinished > 0 {
                        self.coverage.action("scrub of a partition is put off");
                    }
                    self.rounds_left = self.rounds_left.saturating_sub(asked.len());
                }
            }
        }
    }

    pub(super) fn on_permit(&mut self, life: Life, partition: PartitionId, begins: bool) {
        let Some(running) = self.nodes.get(&life.node).and_then(|node| node.running.as_ref())
        else {
            return;
        };
        let group = running.map.group(partition);
        if group.is_some_and(|group| group.primary == Some(life.node)) {
            self.step_seat(life.node, partition, seat::Input::Scrub { begins });
        } else {
            self.step_pacer(life.node, Input::Told { partition, step: Step::NotLed });
        }
    }

    fn on_found(
        &mut self,
        id: NodeId,
        (partition, finding): (PartitionId, &Finding),
        repairs: u64,
    ) {
        if self.options.watch.is_some() {
            say(&format!("{} {id:?} {partition:?} {finding:?}", self.schedule.now()));
        }
        self.coverage.action(if repairs > 0 {
            "wrong copy is built anew"
        } else {
            "wrong copy is told"
        });
        // Whoever was filled from a wrong copy may be wrong too.
        let known = self.rotten.get(&partition);
        let blamed = match known {
            None => false,
            Some((_, Rot::Stray)) => true,
            Some((node, _)) => finding.node == Some(*node),
        };
        if !blamed {
            let what = format!("{id:?} found {finding:?} in {partition:?}, and {known:?} is wrong");
            self.fail("scrub_is_right", what);
        }
    }

    /// Something that nobody wrote stands in a copy: clients do not meet it, whoever leads.
    pub(super) fn stray(&mut self, node: NodeId) {
        let groups = self.map.partitions();
        let wanted = usize::from(self.map.settings.replicas);
        let sound: Vec<PartitionId> = groups
            .filter(|(id, group)| {
                let complete = group.in_sync.len() >= wanted && group.is_in_sync(node);
                complete && group.learners.is_empty() && !self.rotten.contains_key(id)
            })
            .map(|(id, _)| id)
            .collect();
        let at = usize::try_from(self.rng.below(sound.len() as u64)).unwrap_or(0);
        if let Some(partition) = sound.get(at).copied() {
            self.coverage.fault("stored value appears in silence");
            let (mut key, _) = layout::partition_range(partition);
            key = bytes::Bytes::from([&key[..], b"\x05stray"].concat());
            let value = Some(bytes::Bytes::from_static(b"nobody wrote this"));
            self.nodes[&node].disk.store.alter(Column::Meta, &key, value);
            self.rotten.insert(partition, (node, Rot::Stray));
        }
    }

    /// The cluster is at rest: of some partitions one copy is damaged.
    pub(super) fn rot_some(&mut self) {
        let groups: Vec<_> =
            self.map.partitions().map(|(id, group)| (id, group.in_sync.clone())).collect();
        for (partition, members) in groups {
            let at = usize::try_from(self.rng.below(members.len() as u64)).unwrap_or(0);
            let Some(node) = members.get(at).copied() else { continue };
            if !self.rotten.contains_key(&partition) && self.rng.chance(2, 3) {
                self.rot(node, partition);
            }
        }
    }

    /// Everybody is asked to scrub.
    pub(super) fn scrub_all(&mut self) {
        for (number, node) in self.nodes.keys().copied().collect::<Vec<_>>().into_iter().enumerate()
        {
            self.rounds_left += 1;
            self.step_pacer(node, Input::Asked { token: Token(number as u64) });
        }
    }

    fn rot(&mut self, node: NodeId, partition: PartitionId) {
        let held: Vec<_> = self.held(node, partition).into_iter().collect();
        let at = usize::try_from(self.rng.below(held.len() as u64)).unwrap_or(0);
        let Some(((column, key), value)) = held.get(at).cloned() else { return };
        let Some(owner) = self.nodes.get_mut(&node) else { return };
        let rot = match self.rng.below(3) {
            0 => {
                self.coverage.fault("stored value changes in silence");
                let mut value = value.to_vec();
                let bit = self.rng.below(value.len() as u64 * 8);
                let byte = usize::try_from(bit / 8).unwrap_or(0);
                if let Some(byte) = value.get_mut(byte) {
                    *byte ^= 1 << (bit % 8);
                }
                owner.disk.store.alter(column, &key, Some(value.into()));
                Rot::Flipped
            }
            1 => {
                self.coverage.fault("stored value vanishes in silence");
                owner.disk.store.alter(column, &key, None);
                Rot::Lost
            }
            _ => {
                self.coverage.fault("stored value rots");
                owner.disk.rot_at(column, key);
                Rot::Unreadable
            }
        };
        self.rotten.insert(partition, (node, rot));
    }

    /// Everybody has scrubbed what was asked for.
    pub(super) fn is_scrubbed(&self) -> bool {
        self.rounds_left == 0
    }

    /// No checksum is wrong any more.
    pub(super) fn judge_rot(&self) -> Result<(), Failure> {
        let rotten = self.nodes.values().find(|node| node.disk.is_rotten());
        match rotten {
            Some(node) => {
                let what = format!("{:?} holds a value that can't be read", node.id);
                Err(Failure::new("scrub_repairs", what))
            }
            None => Ok(()),
        }
    }
}
