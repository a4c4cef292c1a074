//! What changed in the cluster map by one entry of the control log, for those who follow it.

use super::{ClusterMap, Node, NodeId, Placement, ReplicaGroup, Settings, Suggestion};
use crate::{GroupVersion, PartitionId};

/// New values of what changed. A watcher that patches its copy with every delta has the map, but for the marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Of the last entry that it covers.
    pub index: u64,
    /// Everything that the map holds is here; what the watcher knew besides is gone.
    pub whole: bool,
    pub settings: Option<Settings>,
    /// `None`: the node has left.
    pub nodes: Vec<(NodeId, Option<Node>)>,
    pub groups: Vec<(PartitionId, ReplicaGroup)>,
    /// `None`: the suggestion is void.
    pub suggestions: Vec<(PartitionId, Option<Suggestion>)>,
    pub voters: Option<Vec<NodeId>>,
    /// `None`: the operator wishes nothing any more, or the node has left.
    pub placements: Vec<(PartitionId, Option<Placement>)>,
}

impl Delta {
    /// Nothing but the index is new.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.whole
            && self.settings.is_none()
            && self.nodes.is_empty()
            && self.groups.is_empty()
            && self.suggestions.is_empty()
            && self.voters.is_none()
            && self.placements.is_empty()
    }

    /// The whole of `map`.
    #[must_use]
    pub fn whole(map: &ClusterMap) -> Self {
        let nodes = map.nodes.iter().map(|(&node, known)| (node, Some(known.clone())));
        let suggestions = map.suggestions.iter();
        let placements = map.placements.iter();
        Self {
            index: map.index,
            whole: true,
            settings: Some(map.settings.clone()),
            nodes: nodes.collect(),
            groups: map.partitions().map(|(id, group)| (id, group.clone())).collect(),
            suggestions: suggestions.map(|(&id, &suggestion)| (id, Some(suggestion))).collect(),
            voters: Some(map.voters.clone()),
            placements: placements.map(|(&id, &placement)| (id, Some(placement))).collect(),
        }
    }
}

impl ClusterMap {
    /// Brings a watcher's copy up to date.
    pub fn patch(&mut self, delta: &Delta) {
        if delta.whole {
            *self = Self::default();
        }
        self.index = delta.index;
        if let Some(settings) = &delta.settings {
            self.settings = settings.clone();
        }
        for (node, known) in &delta.nodes {
            match known {
                Some(known) => self.nodes.insert(*node, known.clone()),
                None => self.nodes.remove(node),
            };
        }
        for (partition, group) in &delta.groups {
            let at = usize::from(partition.0);
            if self.groups.len() <= at {
                self.groups.resize_with(at + 1, ReplicaGroup::default);
            }
            self.groups[at] = group.clone();
        }
        for (partition, suggestion) in &delta.suggestions {
            match suggestion {
                Some(suggestion) => self.suggestions.insert(*partition, *suggestion),
                None => self.suggestions.remove(partition),
            };
        }
        if let Some(voters) = &delta.voters {
            self.voters.clone_from(voters);
        }
        for (partition, placement) in &delta.placements {
            match placement {
                Some(placement) => self.placements.insert(*partition, *placement),
                None => self.placements.remove(partition),
            };
        }
    }

    /// The map without what watchers are not told: equal to the copy of a watcher at the same index.
    #[must_use]
    pub fn as_watched(&self) -> Self {
        Self { marks: std::collections::BTreeMap::new(), ..self.clone() }
    }

    /// The version of `partition`'s group; 0 when there is no such partition.
    #[must_use]
    pub fn version_of(&self, partition: PartitionId) -> GroupVersion {
        self.group(partition).map_or(GroupVersion(0), |group| group.version)
    }
}
