//! Whether a cluster that nothing happens to has come to rest: everybody is there, every partition has all of its members in
//! sync, nothing waits anywhere, and all replicas hold the same.

use super::{World, wires};
use crate::failure::Failure;
use crate::invariants::replicas_agree;
use vspace::Shard;

/// Virtual time in which a cluster must have come to rest once all clients have their answers.
const REST_NANOS: u64 = 120 * 1_000_000_000;

impl World {
    pub(super) fn come_to_rest(&mut self) -> Result<(), Failure> {
        if self.nodes.len() < 2 {
            return Ok(());
        }
        let end = self.schedule.now() + REST_NANOS;
        while let Some(unrest) = self.first_unrest() {
            self.settle_members()?;
            self.replace_damaged()?;
            if !self.pass_second()? || self.schedule.now() > end {
                return Err(Failure::new("comes_to_rest", unrest));
            }
        }
        self.check_replicas()
    }

    /// Disks that can't be read everywhere are replaced, one at a time: by then a client may have been told of the damage.
    pub(super) fn replace_damaged(&mut self) -> Result<(), Failure> {
        match self.nodes.iter().position(|node| node.is_up() && node.disk.is_rotten()) {
            Some(node) if self.nodes.len() > 1 => self.wipe(node),
            Some(_) | None => Ok(()),
        }
    }

    fn first_unrest(&self) -> Option<String> {
        if let Some(node) = self.nodes.iter().position(|node| !node.is_up()) {
            return Some(format!("node {} is down", node + 1));
        }
        let now = self.schedule.now();
        if let Some(node) = self.nodes.iter().position(|node| node.paused_until > now) {
            return Some(format!("node {} stands still", node + 1));
        }
        if let Some(node) = self.nodes.iter().position(|node| node.disk.is_rotten()) {
            return Some(format!("the disk of node {} is damaged", node + 1));
        }
        let Some(map) = self.newest_map() else { return Some("nobody has a map".to_owned()) };
        let settings = &map.settings;
        let wanted = usize::from(settings.replicas).min(self.nodes.len());
        if map.nodes.len() < self.nodes.len() || map.nodes.values().any(|node| node.draining) {
            return Some(format!("not all nodes belong to the cluster: {:?}", map.nodes));
        }
        if settings.min_in_sync != settings.min_in_sync_wanted || !map.suggestions.is_empty() {
            return Some(format!("the map moves on: {settings:?}, {:?}", map.suggestions));
        }
        for (partition, group) in map.partitions() {
            if group.in_sync.len() != wanted || !group.learners.is_empty() {
                return Some(format!("{partition:?} is not complete: {group:?}"));
            }
        }
        let shards = self.nodes.iter().flat_map(|node| &node.shards);
        shards.filter(|shard| !shard.is_at_rest(map)).map(Shard::waits).next()
    }

    fn check_replicas(&self) -> Result<(), Failure> {
        let Some(map) = self.newest_map() else { return Ok(()) };
        let mut held: Vec<_> =
            self.nodes.iter().map(|node| replicas_agree::by_partition(&node.disk.store)).collect();
        for (partition, group) in map.partitions() {
            let of = |node: &dds::cluster::NodeId| {
                let all = held.get_mut(wires::node_of(*node));
                (*node, all.and_then(|all| all.remove(&partition)).unwrap_or_default())
            };
            let replicas: Vec<_> = group.in_sync.iter().map(of).collect();
            replicas_agree::check(partition, replicas)?;
        }
        Ok(())
    }
}
