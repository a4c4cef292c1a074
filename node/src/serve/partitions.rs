//! Partitions one by one, links with other nodes, and who follows how far behind, for operators.

use super::bridge::ClusterView;
use super::cluster::name_of;
use super::control::NodeControl;
use crate::config::Config;
use crate::control::{BehindReport, LinkReport, PartitionReport};
use dds::PartitionId;
use dds::cluster::{NodeId, ReplicaGroup};
use std::collections::BTreeMap;
use vspace::Behind;

impl ClusterView {
    /// Every partition, by number.
    #[must_use]
    pub fn partitions(&self, config: &Config) -> Vec<PartitionReport> {
        let names = |nodes: &[NodeId]| nodes.iter().map(|&node| name_of(config, node)).collect();
        let report = |(partition, group): (PartitionId, &ReplicaGroup)| PartitionReport {
            partition: partition.0,
            state: self.state_of(group),
            is_moving: self.step(partition, group).is_some(),
            primary: group.primary.map(|node| name_of(config, node)),
            in_sync: names(&group.in_sync),
            learners: names(&group.learners),
            version: group.version.0,
            placed: self.map.placed(partition).map(|node| name_of(config, node)),
        };
        self.map.partitions().map(report).collect()
    }

    /// As `status` counts them.
    fn state_of(&self, group: &ReplicaGroup) -> &'static str {
        if group.primary.is_none_or(|node| !self.map.is_up(node)) {
            "leaderless"
        } else if !group.may_acknowledge(self.map.min_in_sync()) {
            "too few"
        } else if group.in_sync.len() < self.wanted() {
            "few"
        } else {
            "whole"
        }
    }
}

impl NodeControl {
    pub(super) fn link_reports(&self) -> Vec<LinkReport> {
        let report = |other: &crate::peers::Other| {
            let standing = self.bridge.standings.of(other.node);
            LinkReport {
                node: other.name.clone(),
                is_up: standing.is_up,
                through: standing.through,
                seconds: standing.since.map(|since| since.elapsed().as_secs()),
                lost: standing.lost,
            }
        };
        self.neighbours.others.iter().map(report).collect()
    }

    pub(super) fn behind_reports(&self, held: &[vspace::Population]) -> Vec<BehindReport> {
        let mut followers: BTreeMap<NodeId, Behind> = BTreeMap::new();
        for (node, behind) in held.iter().flat_map(|held| held.behind.iter()) {
            followers.entry(*node).or_default().add(behind);
        }
        let report = |(node, behind): (NodeId, Behind)| BehindReport {
            follower: name_of(&self.config, node),
            partitions: behind.partitions,
            waiting: behind.waiting,
            groups: behind.groups,
            groups_max: behind.groups_max,
        };
        followers.into_iter().map(report).collect()
    }
}
