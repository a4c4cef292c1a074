//! What goes wrong with whole nodes of a cluster and between them: power, disks, networks that split, who leads.
//!
//! Invariant: a disk is lost or made older only while everything that was acknowledged is intact somewhere else, and a
//! majority of the control group has its own: what nobody could survive is not asked for.

use super::{World, wires};
use crate::disk::End;
use crate::failure::Failure;
use crate::node::Image;
use dds::PartitionId;
use dds::cluster::{ClusterMap, NodeId};

const SECOND: u64 = 1_000_000_000;

/// Between two disks that are lost: the control group takes the first one in again before.
const DISKS_APART_NANOS: u64 = 3 * SECOND;

impl World {
    /// The newest map that any node has.
    pub(super) fn newest_map(&self) -> Option<&ClusterMap> {
        let shards = self.nodes.iter().flat_map(|node| &node.shards);
        shards.map(vspace::Shard::map).max_by_key(|map| map.index).filter(|map| map.is_founded())
    }

    /// All nodes lose power, and come back one after the other.
    pub(super) fn black_out(&mut self) -> Result<(), Failure> {
        self.coverage.fault("all nodes lose power");
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_up() {
                self.end_node(node, End::PowerLoss)?;
                self.restart_later(node);
            }
        }
        Ok(())
    }

    /// The node that leads the control group ends.
    pub(super) fn end_leader(&mut self) {
        let leads = |node: &&mut crate::node::Node| {
            node.shards.first().is_some_and(vspace::Shard::leads_control)
        };
        if let Some(leader) = self.nodes.iter_mut().find(leads) {
            self.coverage.fault("leader of the control group ends");
            leader.doomed = true;
        }
    }

    /// The primary of a partition stands still for longer than its lease.
    pub(super) fn stop_primary(&mut self) {
        let partitions = u64::from(self.options.scenario.partitions);
        let partition = PartitionId(u16::try_from(self.rng.below(partitions)).unwrap_or(0));
        let group = self.newest_map().and_then(|map| map.group(partition));
        let Some(primary) = group.and_then(|group| group.primary) else { return };
        self.coverage.fault("primary stands still beyond its lease");
        let nanos = 1_100_000_000 + self.rng.below(6 * SECOND);
        let until = self.schedule.now() + nanos;
        let node = &mut self.nodes[wires::node_of(primary)];
        node.paused_until = node.paused_until.max(until);
    }

    pub(super) fn silence_control(&mut self) {
        self.coverage.fault("control majority is gone");
        if self.schedule.now() >= self.control_gone_until {
            self.control_gone_from = self.schedule.now();
        }
        self.control_gone_until = self.schedule.now() + self.rng.below(5 * SECOND);
    }

    /// Nothing that was acknowledged is on this node alone, and a majority of the control group remains without it.
    fn is_spare(&self, node: usize) -> bool {
        let id = wires::id_of(node);
        let Some(map) = self.newest_map() else { return false };
        let intact = |holder: &NodeId| {
            let known = map.node(*holder).map(|known| known.incarnation.0);
            let other = &self.nodes[wires::node_of(*holder)];
            let whole = !other.is_stale && !other.disk.is_rotten();
            *holder != id && whole && known == Some(other.directory)
        };
        // A voter that has lost its disk is replaced by itself, under another name: not two at a time.
        let recent = self.schedule.now() < self.members.disk_lost_at + DISKS_APART_NANOS;
        let others = map.voters.iter().filter(|voter| **voter != id);
        if recent || map.voters == [id] || !others.into_iter().all(intact) {
            return false;
        }
        map.groups.iter().all(|group| {
            let mut holders = group.in_sync.iter().chain(&group.candidates);
            let concerned = group.is_in_sync(id) || group.candidates.contains(&id);
            !concerned || holders.any(intact)
        })
    }

    /// The disk of a node is lost; an empty one takes its place.
    pub(super) fn wipe(&mut self, node: usize) -> Result<(), Failure> {
        if !self.is_spare(node) {
            return Ok(());
        }
        self.coverage.fault("disk is replaced");
        self.end_node(node, End::PowerLoss)?;
        self.nodes[node].disk.replace(&[]);
        self.nodes[node].rename();
        self.members.disk_lost_at = self.schedule.now();
        self.restart_later(node);
        Ok(())
    }

    /// A value on the disk of a node can't be read any more.
    pub(super) fn decay(&mut self, node: usize) {
        if self.is_spare(node) && self.nodes[node].disk.rot(&mut self.rng).is_some() {
            self.coverage.fault("stored value rots on one of several disks");
        }
    }

    /// Takes an image of the disk of a node that has no vote, lets the node start again, or puts the image back.
    pub(super) fn image(&mut self) -> Result<(), Failure> {
        let Some(map) = self.newest_map() else { return Ok(()) };
        // The control group takes the disks of its voters for truthful.
        let able =
            |node: &usize| self.nodes[*node].is_up() && !map.voters.contains(&wires::id_of(*node));
        let able: Vec<usize> = (0..self.nodes.len()).filter(able).collect();
        let sessions: Vec<_> = able
            .iter()
            .map(|node| map.node(wires::id_of(*node)).map(|known| known.session))
            .collect();
        let at = usize::try_from(self.rng.below(able.len() as u64)).unwrap_or(0);
        let (Some(&node), Some(&Some(session))) = (able.get(at), sessions.get(at)) else {
            return Ok(());
        };
        let directory = self.nodes[node].directory;
        match self.nodes[node].image.take().filter(|image| image.directory == directory) {
            None => {
                let entries = self.nodes[node].disk.store.durable();
                self.nodes[node].image = Some(Image { directory, session, entries });
            }
            // Within one session nobody can tell an image from the disk itself.
            Some(image) if image.session < session && self.is_spare(node) => {
                self.coverage.fault("disk is an older image");
                self.end_node(node, End::PowerLoss)?;
                self.nodes[node].disk.replace(&image.entries);
                self.nodes[node].is_stale = true;
                self.members.disk_lost_at = self.schedule.now();
                self.restart_later(node);
            }
            Some(image) => {
                self.end_node(node, End::PowerLoss)?;
                self.nodes[node].image = Some(image);
                self.restart_later(node);
            }
        }
        Ok(())
    }

    /// Some nodes don't hear some others: what they say is late, or lost with the connection.
    pub(super) fn split(&mut self) {
        let count = self.nodes.len();
        let left: Vec<bool> = (0..count).map(|_| self.rng.chance(1, 3)).collect();
        let long = if self.rng.chance(1, 6) { 30 } else { 5 };
        let until = self.schedule.now() + self.rng.below(long * SECOND);
        let one_way = self.rng.chance(1, 3);
        self.coverage.fault(if one_way {
            "nodes don't hear each other, one way"
        } else {
            "nodes don't hear each other, either way"
        });
        for from in (0..count).filter(|from| left[*from]) {
            for to in (0..count).filter(|to| !left[*to]) {
                self.deafen(from, to, until);
                if !one_way {
                    self.deafen(to, from, until);
                }
                self.lose_within(from, to, until);
            }
        }
    }

    /// Some primary is moved to another member.
    pub(super) fn move_some(&mut self, to: usize) {
        let to = wires::id_of(to);
        let Some(map) = self.newest_map() else { return };
        let movable: Vec<_> = map
            .partitions()
            .filter(|(_, group)| group.is_in_sync(to) && group.primary != Some(to))
            .map(|(partition, group)| (partition, group.version))
            .collect();
        let at = usize::try_from(self.rng.below(movable.len() as u64)).unwrap_or(0);
        let Some(&(partition, expect)) = movable.get(at) else { return };
        self.coverage.action("primary is moved by the operator");
        let change = dds::cluster::GroupChange::HandOver(to);
        let suggestion = dds::cluster::Suggestion { partition, expect, change };
        self.command(dds::cluster::Command::Suggest(vec![suggestion]));
    }
}
