//! Placement, on the control leader: suggests to primaries what brings the map closer to what it should be.

use super::Limits;
use crate::PartitionId;
use crate::cluster::{
    ClusterMap, Command, Conditions, Delta, Heat, NodeId, NodeState, Rebalancer, Relief, Reports,
    Suggestion,
};
use fsm::Mono;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Controller {
    rebalancer: Rebalancer,
    heat: Heat,
    relief: Option<Relief>,
    /// Nodes whose stores take nothing but what frees space.
    exhausted: BTreeSet<NodeId>,
    /// Partitions whose leaders are chosen by work.
    busy: BTreeSet<PartitionId>,
    /// Since when a node is down, as far as this leader knows.
    down: BTreeMap<NodeId, Mono>,
    /// Nodes that are down for so long that they are replaced.
    absent: BTreeSet<NodeId>,
}

impl Controller {
    /// This node leads from now on.
    pub fn new(now: Mono, map: &ClusterMap) -> Self {
        let mut controller = Self {
            rebalancer: Rebalancer::default(),
            heat: Heat::new(now),
            relief: None,
            exhausted: BTreeSet::new(),
            busy: BTreeSet::new(),
            down: BTreeMap::new(),
            absent: BTreeSet::new(),
        };
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
        self.heat.on_changed(now, delta);
    }

    /// The next suggestions.
    pub fn on_tick(
        &mut self,
        now: Mono,
        (map, reports): (&ClusterMap, &Reports),
        limits: &Limits,
    ) -> Vec<Suggestion> {
        let late = self.down.iter().filter(|(_, since)| now.since(**since) > limits.replace_after);
        let late: BTreeSet<NodeId> = late.map(|(&node, _)| node).collect();
        let exhausted = reports.iter().filter(|(_, report)| report.exhausted);
        let exhausted: BTreeSet<NodeId> = exhausted.map(|(node, _)| *node).collect();
        if late != self.absent || exhausted != self.exhausted {
            (self.absent, self.exhausted) = (late, exhausted);
            self.rebalancer.on_changed(map, &Delta::whole(map), &self.absent);
        }
        let busy = self.heat.busy((map, reports), &limits.heat);
        if busy != self.busy {
            self.busy = busy;
            self.rebalancer.look_again();
        }
        let mut chosen = Vec::new();
        if !self.rebalancer.is_settled() {
            let (throttle, exhausted) = (limits.throttle, &self.exhausted);
            let at = Conditions { throttle, exhausted, busy: &self.busy };
            chosen = self.rebalancer.next_changes(map, at);
        }
        // One thing at a time of one partition.
        let relief = self.heat.next(now, (map, reports), &limits.heat);
        let is_free = |relief: &Relief| !chosen.iter().any(|it| it.partition == relief.partition);
        self.relief = relief.filter(is_free);
        chosen.extend(self.relief.map(|relief| relief.suggestion(map)));
        chosen
    }

    pub fn take_relief(&mut self) -> Option<Relief> {
        self.relief.take()
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
