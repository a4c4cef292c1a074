//! What goes wrong in a cluster.

use super::node::Image;
use super::{Cluster, ClusterMutation, Event};
use crate::disk::End;
use dds::cluster::{Incarnation, NodeId, Session};
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
                self.registry.gone_until = self.schedule.now() + self.rng.below(5 * SECOND);
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
        }
    }

    fn some_node(&mut self) -> NodeId {
        let below = self.rng.below(u64::from(self.options.scenario.nodes));
        NodeId(u16::try_from(below).unwrap_or(0) + 1)
    }

    fn crash(&mut self, id: NodeId, end: End) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.running.take().is_some()
        {
            node.life += 1;
            node.disk.end(&mut self.rng, end);
        }
    }

    fn restart_later(&mut self, node: NodeId) {
        let long = if self.rng.chance(1, 4) { 8 * SECOND } else { SECOND / 2 };
        let nanos = self.rng.below(long);
        self.schedule.after(nanos, Event::Start { node });
    }

    /// Nothing that was acknowledged is on this node alone.
    fn is_spare(&self, node: NodeId) -> bool {
        let intact = |holder: &NodeId| {
            let known = self.registry.map.node(*holder).map(|known| known.incarnation);
            let other = self.nodes.get(holder).filter(|other| other.id != node && !other.stale);
            other.is_some_and(|other| known == Some(other.identity.incarnation))
        };
        self.registry.map.groups.iter().all(|group| {
            let mut holders = group.in_sync.iter().chain(&group.candidates);
            let concerned = group.is_in_sync(node) || group.candidates.contains(&node);
            !concerned || holders.any(intact)
        })
    }

    /// The disk is empty, and the data directory a new one.
    pub(super) fn wipe(&mut self, id: NodeId) {
        let incarnation = Incarnation(self.rng.next_u64());
        let reuse = self.options.mutation == Some(ClusterMutation::ReuseIncarnation);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.disk.replace(&[]);
        (node.image, node.stale) = (None, false);
        if !reuse {
            node.identity.incarnation = incarnation;
            node.identity.session = Session(0);
        }
        if node.running.take().is_some() {
            node.life += 1;
            self.schedule.after(1_000_000, Event::Start { node: id });
        }
    }

    fn image(&mut self, id: NodeId) {
        let forge = self.options.mutation == Some(ClusterMutation::RejoinWithLostTail);
        let spare = self.is_spare(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match node.image.take() {
            // Within one session nobody can tell an image from the disk itself.
            Some(image) if spare && (image.identity.session < node.identity.session || forge) => {
                let session = node.identity.session;
                self.coverage.fault("disk is an older image");
                self.crash(id, End::PowerLoss);
                let Some(node) = self.nodes.get_mut(&id) else { return };
                node.disk.replace(&image.entries);
                (node.identity, node.stale) = (image.identity, true);
                if forge {
                    node.identity.session = session;
                }
                self.restart_later(id);
            }
            Some(image) => node.image = Some(image),
            None => {
                let (identity, entries) = (node.identity, node.disk.store.durable());
                node.image = Some(Image { identity, entries });
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
        let groups = self.registry.map.partitions();
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

    /// Everything works from here on.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.cuts.clear();
        self.registry.gone_until = 0;
        let now = self.schedule.now();
        for node in self.nodes.values_mut() {
            node.paused_until = node.paused_until.min(now);
        }
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.schedule.after(1_000_000, Event::Start { node });
        }
    }
}
