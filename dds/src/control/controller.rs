//! Placement, on the control leader: suggests to primaries what brings the map closer to what it should be.

use super::Limits;
use crate::cluster::{ClusterMap, Command, Delta, NodeId, NodeState, Rebalancer, Suggestion};
use fsm::Mono;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Controller {
    rebalancer: Rebalancer,
    /// Since when a node is down, as far as this leader knows.
    down: BTreeMap<NodeId, Mono>,
    /// Nodes that are down for so long that they are replaced.
    absent: BTreeSet<NodeId>,
}

impl Controller {
    /// This node leads from now on.
    pub fn new(now: Mono, map: &ClusterMap) -> Self {
        let mut controller = Self::default();
        controller.on_changed(now, map, &Delta::whole(map));
        controller
    }

    pub fn on_changed(&mut self, now: Mono, map: &ClusterMap, delta: &Delta) {
        if delta.whole || !delta.nodes.is_empty() {
            let is_down =
                |node: &NodeId| map.node(*node).is_some_and(|known| known.state == NodeState::Down);
            self.down.retain(|node, _| is_down(node));
            self.absent.retain(is_down);
            for node in map.nodes.keys().copied().filter(|node| is_down(node)) {
                self.down.entry(node).or_insert(now);
            }
        }
        self.rebalancer.on_changed(map, delta, &self.absent);
    }

    /// The next suggestions.
    pub fn on_tick(&mut self, now: Mono, map: &ClusterMap, limits: &Limits) -> Vec<Suggestion> {
        let late = self.down.iter().filter(|(_, since)| now.since(**since) > limits.replace_after);
        let late: BTreeSet<NodeId> = late.map(|(&node, _)| node).collect();
        if late != self.absent {
            self.absent = late;
            self.rebalancer.on_changed(map, &Delta::whole(map), &self.absent);
        }
        if self.rebalancer.is_settled() {
            return Vec::new();
        }
        self.rebalancer.next_changes(map, limits.throttle)
    }

    /// Nodes that are down for so long that they are replaced.
    pub fn absent(&self) -> &BTreeSet<NodeId> {
        &self.absent
    }

    /// What is to be asked for once every partition has enough in-sync members.
    pub fn min_in_sync(map: &ClusterMap) -> Option<Command> {
        let settings = &map.settings;
        let enough =
            |wanted: u8| map.groups.iter().all(|group| group.in_sync.len() >= usize::from(wanted));
        let reached = settings.min_in_sync < settings.min_in_sync_wanted
            && enough(settings.min_in_sync_wanted);
        reached.then_some(Command::ReachMinInSync)
    }
}
