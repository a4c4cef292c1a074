//! What goes wrong in a cluster.

use super::node::{Image, Node};
use super::{Cluster, ClusterMutation, Event};
use crate::disk::End;
use bytes::Bytes;
use dds::cluster::{Command, Incarnation, NodeId, Session};
use dds::control::{self, CONTROL};
use dds::{Column, PartitionId};
use fsm::Token;
use std::collections::BTreeSet;

/// A fault that comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    Blackout,
    Pause,
    Cut,
    Control,
    Wipe,
    /// An image of a disk is taken, or put back.
    Image,
    Move,
    /// All but one or two disks are lost, and an operator recovers.
    Recover,
    /// A copy of a partition holds what nobody wrote.
    Stray,
    /// An operator's word.
    Place,
    /// A disk has no space.
    Full,
}

const SECOND: u64 = 1_000_000_000;

impl Cluster {
    fn mean_ms(&self, fault: Fault) -> u64 {
        let scenario = &self.options.scenario;
        match fault {
            Fault::Crash => scenario.crash_ms,
            Fault::Blackout => scenario.blackout_ms,
            Fault::Pause => scenario.pause_ms,
            Fault::Cut => scenario.cut_ms,
            Fault::Control => scenario.control_ms,
            Fault::Wipe => scenario.wipe_ms,
            Fault::Image => scenario.image_ms,
            Fault::Move => scenario.move_ms,
            Fault::Recover => scenario.recover_ms,
            Fault::Stray => scenario.stray_ms,
            Fault::Place => scenario.place_ms,
            Fault::Full => scenario.full_ms,
        }
    }

    pub(super) fn plan_faults(&mut self) {
        for fault in [
            Fault::Crash,
            Fault::Blackout,
            Fault::Pause,
            Fault::Cut,
            Fault::Control,
            Fault::Wipe,
            Fault::Image,
            Fault::Move,
            Fault::Recover,
            Fault::Stray,
            Fault::Place,
            Fault::Full,
        ] {
            // The cluster forms first.
            self.plan(fault, 3 * SECOND);
        }
    }

    fn plan(&mut self, fault: Fault, after: u64) {
        let mean = self.mean_ms(fault) * 1_000_000;
        if mean > 0 {
            let nanos = after + self.rng.below(2 * mean);
            self.schedule.after(nanos, Event::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        self.plan(fault, 0);
        let node = self.some_node();
        if self.options.watch.is_some() {
            eprintln!("{} {fault:?} {node:?}", self.schedule.now());
        }
        match fault {
            Fault::Crash => {
                self.coverage.fault("node of a cluster ends");
                let end = if self.rng.chance(1, 2) { End::PowerLoss } else { End::Killed };
                self.crash(node, end);
                self.restart_later(node);
            }
            Fault::Blackout => {
                self.coverage.fault("all nodes lose power");
                for node in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.crash(node, End::PowerLoss);
                    self.restart_later(node);
                }
            }
            Fault::Pause => {
                self.coverage.fault("node stands still");
                let long = if self.rng.chance(1, 5) { 30 } else { 3 };
                let until = self.schedule.now() + self.rng.below(long * SECOND);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.paused_until = until;
                }
            }
            Fault::Cut => self.cut(),
            Fault::Control => {
                self.coverage.fault("control majority is gone");
                self.control_gone_until = self.schedule.now() + self.rng.below(5 * SECOND);
            }
            Fault::Wipe => {
                if self.is_spare(node) {
                    self.coverage.fault("disk is replaced");
                    self.crash(node, End::PowerLoss);
                    self.wipe(node);
                    self.restart_later(node);
                }
            }
            Fault::Image => self.image(node),
            Fault::Move => self.move_some(node),
            Fault::Recover => self.lose_majority(),
            Fault::Stray => self.stray(node),
            Fault::Place => self.place_some(node),
            Fault::Full => self.fill(node),
        }
    }

    pub(super) fn some_node(&mut self) -> NodeId {
        let below = self.rng.below(u64::from(self.options.scenario.nodes));
        NodeId(u16::try_from(below).unwrap_or(0) + 1)
    }

    pub(super) fn crash(&mut self, id: NodeId, end: End) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.running.take().is_some()
        {
            node.life += 1;
            node.disk.end(&mut self.rng, end);
        }
    }

    pub(super) fn restart_later(&mut self, node: NodeId) {
        let long = if self.rng.chance(1, 4) { 8 * SECOND } else { SECOND / 2 };
        let nanos = self.rng.below(long);
        self.schedule.after(nanos, Event::Start { node });
    }

    /// Nothing that was acknowledged is on this node alone, and a majority of the control group remains without it.
    fn is_spare(&self, node: NodeId) -> bool {
        let intact = |holder: &NodeId| {
            let known = self.map.node(*holder).map(|known| known.incarnation);
            let other = self.nodes.get(holder).filter(|other| other.id != node && !other.stale);
            other.is_some_and(|other| known == Some(other.incarnation))
        };
        // Nobody else knows what a sole voter knew.
        if self.map.voters == [node] {
            return false;
        }
        // A voter that has lost its disk is replaced by itself, under another name: not two at a time.
        let others = self.map.voters.iter().filter(|voter| **voter != node);
        let recent = self.schedule.now() < self.disk_lost_at + 3 * SECOND;
        let fresh = self.nodes.values().any(|node| node.fresh);
        if recent || fresh || !others.into_iter().all(intact) {
            return false;
        }
        self.map.groups.iter().all(|group| {
            let mut holders = group.in_sync.iter().chain(&group.candidates);
            let concerned = group.is_in_sync(node) || group.candidates.contains(&node);
            !concerned || holders.any(intact)
        })
    }

    /// The disk is empty, and the data directory a new one.
    pub(super) fn wipe(&mut self, id: NodeId) {
        let incarnation = Incarnation(self.rng.next_u64());
        let reuse = self.options.mutation == Some(ClusterMutation::ReuseIncarnation);
        let runs = self.nodes.get(&id).is_some_and(|node| node.running.is_some());
        self.crash(id, End::PowerLoss);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let kept = if reuse { control_records(node) } else { Vec::new() };
        node.disk.replace(&kept);
        self.disk_lost_at = self.schedule.now();
        (node.image, node.stale, node.fresh, node.full) = (None, false, true, false);
        if !reuse {
            (node.incarnation, node.session) = (incarnation, Session(0));
        }
        if runs {
            self.schedule.after(1_000_000, Event::Start { node: id });
        }
    }

    fn image(&mut self, id: NodeId) {
        let forge = self.options.mutation == Some(ClusterMutation::RejoinWithLostTail);
        // The control group takes the disks of its voters for truthful, as raft does: an old one may vote twice.
        let voter = self.map.voters.contains(&id) && !forge;
        let spare = self.is_spare(id) && !voter;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match node.image.take() {
            // Within one session nobody can tell an image from the disk itself.
            Some(mut image) if spare && (image.session < node.session || forge) => {
                self.coverage.fault("disk is an older image");
                self.disk_lost_at = self.schedule.now();
                self.crash(id, End::PowerLoss);
                let Some(node) = self.nodes.get_mut(&id) else { return };
                if forge {
                    image.entries.retain(|(_, key, _)| !is_control(key));
                    image.entries.extend(control_records(node));
                } else {
                    node.session = image.session;
                }
                node.disk.replace(&image.entries);
                (node.incarnation, node.stale) = (image.incarnation, true);
                self.restart_later(id);
            }
            Some(image) => node.image = Some(image),
            None => {
                let entries = node.disk.store.durable();
                let (incarnation, session) = (node.incarnation, node.session);
                node.image = Some(Image { incarnation, session, entries });
            }
        }
    }

    fn cut(&mut self) {
        self.coverage.fault("nodes don't hear each other");
        let until = self.schedule.now() + self.rng.below(4 * SECOND);
        let one_way = self.rng.chance(1, 3);
        let mut left = BTreeSet::new();
        // Node 0 is whoever keeps the map.
        for number in 0..=self.options.scenario.nodes {
            if self.rng.chance(1, 3) {
                left.insert(NodeId(number));
            }
        }
        for from in (0..=self.options.scenario.nodes).map(NodeId) {
            for to in (0..=self.options.scenario.nodes).map(NodeId) {
                let crosses = left.contains(&from) && !left.contains(&to);
                let back = !one_way && left.contains(&to) && !left.contains(&from);
                if crosses || back {
                    self.cuts.insert((from, to), until);
                }
            }
        }
    }

    /// A primary is asked to hand over to somebody in sync.
    fn move_some(&mut self, to: NodeId) {
        let groups = self.map.partitions();
        let movable = groups.filter(|(_, group)| {
            group.is_in_sync(to) && group.primary.is_some_and(|primary| primary != to)
        });
        let movable: Vec<_> =
            movable.filter_map(|(id, group)| Some((id, group.primary?))).collect();
        let at = usize::try_from(self.rng.below(movable.len() as u64)).unwrap_or(0);
        if let Some((partition, primary)) = movable.get(at).copied() {
            let change = dds::cluster::GroupChange::HandOver(to);
            self.step_seat(primary, partition, dds::seat::Input::Suggested(change));
        }
    }

    /// An operator says at some node where a partition shall be led.
    fn place_some(&mut self, node: NodeId) {
        self.coverage.fault("partition is placed by an operator");
        let partitions = u64::from(self.options.scenario.partitions);
        let partition = PartitionId(u16::try_from(self.rng.below(partitions)).unwrap_or(0));
        let target = self.some_node();
        let target = self.rng.chance(4, 5).then_some(target);
        self.asked += 1;
        let (from, token) = (1, Token(self.asked));
        let command = Command::Place { partition, node: target };
        self.step_control(node, control::Input::Propose { from, token, command });
    }

    /// The disk takes what frees space, and a little more.
    fn fill(&mut self, id: NodeId) {
        self.coverage.fault("disk is full");
        let room = usize::try_from(self.rng.below(8_000)).unwrap_or(0);
        let nanos = self.rng.below(4 * SECOND);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.disk.store.set_bytes_max(Some(node.disk.store.bytes() + room));
        node.full = true;
        self.schedule.after(nanos, Event::Emptied { node: id });
    }

    pub(super) fn empty(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.store.set_bytes_max(None);
            node.full = false;
        }
    }

    /// Everything works from here on.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.cuts.clear();
        self.control_gone_until = 0;
        let now = self.schedule.now();
        for node in self.nodes.values_mut() {
            node.paused_until = node.paused_until.min(now);
        }
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.empty(node);
            self.schedule.after(1_000_000, Event::Start { node });
        }
    }
}

fn is_control(key: &[u8]) -> bool {
    key.starts_with(&CONTROL.0.to_be_bytes())
}

/// The records of the control machine, as a disk holds them.
fn control_records(node: &Node) -> Vec<(Column, Bytes, Bytes)> {
    let mut entries = node.disk.store.durable();
    entries.retain(|(_, key, _)| is_control(key));
    entries
}
