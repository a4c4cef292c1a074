//! Where operators want mailboxes to be, and how far the moves are that bring them there.

use super::bridge::ClusterView;
use super::cluster::{failed, name_of};
use super::control::NodeControl;
use crate::config::Config;
use crate::control::{ControlError, MoveReport, Moved};
use dds::PartitionId;
use dds::cluster::{Command, GroupChange, NodeId, PLACES, ReplicaGroup, Suggestion};
use mailstore::face::UserId;
use std::time::{Duration, Instant};

/// A move that makes no progress for so long is no longer waited for. Our choice: a hand-over takes a tenth of a second, and a page
/// of a copy little more.
const PROGRESS_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Moves that `status` lists. Our choice.
const MOVES_MAX: usize = 100;

impl ClusterView {
    /// Bytes that the primary of a partition has copied to a learner.
    fn copied(&self, partition: PartitionId, group: &ReplicaGroup, node: NodeId) -> u64 {
        let report = group.primary.and_then(|primary| self.reports.get(&primary));
        let mut copies = report.iter().flat_map(|report| &report.copies);
        let copy = copies.find(|copy| (copy.partition, copy.node) == (partition, node));
        copy.map_or(0, |copy| copy.bytes)
    }

    /// What is under way with a partition: with which node, and what.
    pub(super) fn step(
        &self,
        partition: PartitionId,
        group: &ReplicaGroup,
    ) -> Option<(NodeId, &'static str)> {
        if let Some(learner) = group.learners.first() {
            return Some((*learner, "filling"));
        }
        let suggested = self.map.suggestion(partition).map(|suggestion| suggestion.change);
        let placed = self.map.placements.get(&partition);
        match (suggested, placed) {
            (Some(GroupChange::AddLearner(node)), _) => Some((node, "to be added")),
            (Some(GroupChange::HandOver(node)), _) => Some((node, "handing over")),
            (Some(GroupChange::Remove(node) | GroupChange::Expel(node)), _) => {
                Some((node, "to be removed"))
            }
            (Some(GroupChange::Promote(node)), _) => Some((node, "to be promoted")),
            (Some(GroupChange::StepDown | GroupChange::Resign), _) => {
                Some((group.primary?, "stepping down"))
            }
            (None, Some(placement)) if !placement.arrived => Some((placement.node, "waiting")),
            (None, _) => None,
        }
    }

    /// The first of the moves that are under way.
    #[must_use]
    pub fn moves(&self, config: &Config) -> Vec<MoveReport> {
        let report = |(partition, group): (PartitionId, &ReplicaGroup)| {
            let (node, step) = self.step(partition, group)?;
            let copied_bytes = self.copied(partition, group, node);
            Some(MoveReport {
                partition: partition.0,
                primary: group.primary.map(|node| name_of(config, node)).unwrap_or_default(),
                node: name_of(config, node),
                step,
                ordered: self.map.placed(partition) == Some(node),
                copied_bytes,
            })
        };
        self.map.partitions().filter_map(report).take(MOVES_MAX).collect()
    }

    /// What must have changed for a move to have made progress.
    fn progress(&self, partition: PartitionId) -> Option<Progress> {
        let group = self.map.group(partition)?;
        let step = self.step(partition, group);
        let copied = step.map_or(0, |(node, _)| self.copied(partition, group, node));
        Some((group.version.0, copied, step))
    }
}

/// Version of the group, bytes copied, and the step that is next.
type Progress = (u64, u64, Option<(NodeId, &'static str)>);

/// How a move stands.
enum Standing {
    Arrived,
    UnderWay,
    /// In words: why it has ended.
    Ended(String),
}

impl NodeControl {
    fn stands(&self, partition: PartitionId, to: NodeId, name: &str) -> Standing {
        self.bridge.look(|view| {
            let primary = view.primary_name(&self.config, partition);
            let group = view.map.group(partition);
            if group.is_some_and(|group| group.primary == Some(to)) {
                Standing::Arrived
            } else if view.map.placed(partition) == Some(to) {
                Standing::UnderWay
            } else if view.map.is_up(to) {
                Standing::Ended(format!(
                    "somebody else has ended or replaced this move; partition {} is at {primary}",
                    partition.0
                ))
            } else {
                Standing::Ended(format!(
                    "node {name:?} ended before it led partition {}, and so did the move: the mailbox stays at \
                     {primary}; ask again when the node is back",
                    partition.0
                ))
            }
        })
    }

    fn check_target(
        &self,
        partition: PartitionId,
        to: NodeId,
        name: &str,
    ) -> Result<(), ControlError> {
        self.bridge.look(|view| {
            let Some(known) = view.map.node(to) else {
                return Err(failed(format!("the cluster has no node {name:?}")));
            };
            if !view.map.is_up(to) {
                return Err(failed(format!("node {name:?} is not up")));
            }
            if known.draining {
                return Err(failed(format!(
                    "node {name:?} is draining: `hikyaku node join {name}` takes it back"
                )));
            }
            if view.reports.get(&to).is_some_and(|report| report.exhausted) {
                return Err(failed(format!("node {name:?} has no space: make room there first")));
            }
            let in_sync = view.map.group(partition).is_some_and(|group| group.is_in_sync(to));
            if view.map.settings.feature_level < PLACES && !in_sync {
                return Err(failed(format!(
                    "node {name:?} holds no copy of partition {}, and the feature level of the cluster is too low \
                     to make one: name a node that has one (`hikyaku status` shows the level)",
                    partition.0
                )));
            }
            Ok(())
        })
    }

    /// Makes `name` the master of a user, from now on; without a name placement decides again.
    pub async fn place(&self, user: UserId, name: &str) -> Result<Moved, ControlError> {
        let began = Instant::now();
        let partition = self.map.partition_of(&mailstore::mailbox::route(user).0);
        let from = self.bridge.look(|view| view.primary_name(&self.config, partition));
        let moved = |to: &str| Moved {
            partition: partition.0,
            from: from.clone(),
            to: to.to_owned(),
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        if name.is_empty() {
            self.command(Command::Place { partition, node: None }).await?;
            return Ok(moved(""));
        }
        let to = self.node_called(name)?;
        self.check_target(partition, to, name)?;
        self.order(partition, to).await?;
        self.wait_for(partition, (to, name)).await?;
        Ok(moved(name))
    }

    /// Asks for the move: of a cluster that knows no placements for the hand-over alone.
    async fn order(&self, partition: PartitionId, to: NodeId) -> Result<(), ControlError> {
        let (level, group) = self
            .bridge
            .look(|view| (view.map.settings.feature_level, view.map.group(partition).cloned()));
        let group = group.ok_or_else(|| failed("the cluster map is not known yet"))?;
        if level >= PLACES {
            return self.command(Command::Place { partition, node: Some(to) }).await;
        }
        if group.primary == Some(to) {
            return Ok(());
        }
        let change = GroupChange::HandOver(to);
        let suggestion = Suggestion { partition, expect: group.version, change };
        self.command(Command::Suggest(vec![suggestion])).await
    }

    async fn wait_for(
        &self,
        partition: PartitionId,
        (to, name): (NodeId, &str),
    ) -> Result<(), ControlError> {
        let mut known = (None, Instant::now());
        loop {
            let (level, progress) = self
                .bridge
                .look(|view| (view.map.settings.feature_level, view.progress(partition)));
            if progress != known.0 {
                known = (progress, Instant::now());
            }
            match self.stands(partition, to, name) {
                Standing::Arrived => return Ok(()),
                Standing::Ended(why) if level >= PLACES => return Err(failed(why)),
                Standing::Ended(_) | Standing::UnderWay => {}
            }
            if known.1.elapsed() > PROGRESS_TIME_MAX {
                return Err(failed(format!(
                    "the move of partition {} has made no progress for {} s; it goes on as soon as it can: \
                     `hikyaku status` shows what it waits for, and `hikyaku move ADDRESS --cancel` ends it",
                    partition.0,
                    PROGRESS_TIME_MAX.as_secs()
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
