//! The cluster map, kept by somebody who never fails but is not always there: stands in for the control machines, so that
//! replication can be proved by itself.

use dds::cluster::{
    ClusterMap, Command, Incarnation, NodeId, NodeState, Rebalancer, Settings, Site, Start,
    Throttle, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// A node that is silent for so long is given up, in nanoseconds. Design section 4: 1.3 s.
const GRACE: u64 = 1_300_000_000;

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Registry {
    pub map: ClusterMap,
    rebalancer: Rebalancer,
    heard: BTreeMap<NodeId, u64>,
    /// Until then nobody gets an answer.
    pub gone_until: u64,
    /// Changes of this partition's group are printed.
    pub watch: Option<u16>,
}

impl Registry {
    /// A cluster of one node.
    pub fn found(partitions: u16, incarnation: Incarnation) -> Self {
        let mut registry = Self::default();
        let settings = Settings {
            partitions,
            hash_key: (1, 2),
            replicas: 3,
            min_in_sync: 1,
            min_in_sync_wanted: 2,
            feature_level: 1,
        };
        let site = Site { weight: 100, ..Site::default() };
        registry.apply(&Command::Found { node: NodeId(1), incarnation, site, settings });
        registry
    }

    pub fn apply(&mut self, command: &Command) -> Verdict {
        let applied = self.map.apply(self.map.index + 1, command);
        self.rebalancer.on_changed(&self.map, &applied.delta, &BTreeSet::new());
        for (partition, group) in &applied.delta.groups {
            if self.watch == Some(partition.0) {
                eprintln!("{command:?} => {group:?}");
            }
        }
        applied.verdict
    }

    /// A node was heard of; a run that the map does not know counts for nothing.
    pub fn heard(&mut self, (node, start): (NodeId, Start), now: u64) {
        if self.map.node(node).is_some_and(|known| known.start == start) {
            self.heard.insert(node, now);
        }
    }

    /// Gives up who is silent, and suggests what is missing.
    pub fn tick(&mut self, now: u64) {
        if now < self.gone_until {
            // Whoever leads next knows nothing of before.
            self.heard.clear();
            return;
        }
        let up = self.map.nodes.iter().filter(|(_, known)| known.state == NodeState::Up);
        let up: Vec<_> = up.map(|(node, known)| (*node, known.session)).collect();
        for (node, session) in up {
            let heard = *self.heard.entry(node).or_insert(now);
            if now.saturating_sub(heard) > GRACE {
                self.apply(&Command::GiveUp { node, session });
            }
        }
        if self.map.settings.min_in_sync < self.map.settings.min_in_sync_wanted {
            self.apply(&Command::ReachMinInSync);
        }
        if !self.rebalancer.is_settled() {
            let throttle = Throttle { repairs_max: 8, moves_max: 2 };
            let changes = self.rebalancer.next_changes(&self.map, throttle);
            if !changes.is_empty() {
                self.apply(&Command::Suggest(changes));
            }
        }
    }
}
