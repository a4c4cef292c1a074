//! Where the operator wants partitions to be led, and what becomes of that as nodes come and go.
//!
//! Invariants: a node that is placed leads as soon as it can; a move ends with the session of its target; where nothing is placed
//! nothing is remembered.

use super::apply::{Judged, Touched};
use super::command::PLACES;
use super::{ClusterMap, GroupChange, NodeId, Objection, Placement, Suggestion};
use crate::PartitionId;

impl ClusterMap {
    /// The first step is suggested at once; the controller takes the others.
    pub(super) fn place(
        &mut self,
        touched: &mut Touched,
        partition: PartitionId,
        node: Option<NodeId>,
    ) -> Judged {
        if self.settings.feature_level < PLACES {
            return Err(Objection::FeatureMissing);
        }
        let group = self.group(partition).ok_or(Objection::UnknownPartition)?;
        let Some(node) = node else {
            touched.placements.insert(partition);
            touched.suggestions.insert(partition);
            self.placements.remove(&partition);
            self.suggestions.remove(&partition);
            return Ok(());
        };
        let known = self.node(node).ok_or(Objection::UnknownNode)?;
        if known.draining {
            return Err(Objection::NodeIsDraining);
        }
        if !self.is_up(node) {
            return Err(Objection::NodeIsDown);
        }
        let step = if group.primary == Some(node) {
            None
        } else if group.is_in_sync(node) {
            Some(GroupChange::HandOver(node))
        } else {
            // One at a time: who is being filled for another reason is waited for.
            group.learners.is_empty().then_some(GroupChange::AddLearner(node))
        };
        let expect = group.version;
        self.suggestions.remove(&partition);
        if let Some(change) = step {
            self.suggestions.insert(partition, Suggestion { partition, expect, change });
        }
        self.placements.insert(partition, Placement { node, arrived: false });
        touched.suggestions.insert(partition);
        touched.placements.insert(partition);
        Ok(())
    }

    /// Notes who has arrived, and forgets what can't be any more.
    pub(super) fn follow_placements(&mut self, touched: &mut Touched) {
        let Self { placements, groups, nodes, .. } = self;
        placements.retain(|partition, placement| {
            let group = groups.get(usize::from(partition.0));
            let leads = group.is_some_and(|group| group.primary == Some(placement.node));
            if leads && !placement.arrived {
                placement.arrived = true;
                touched.placements.insert(*partition);
            }
            let able = nodes.get(&placement.node).is_some_and(|known| {
                placement.arrived || (super::map::is_up(nodes, placement.node) && !known.draining)
            });
            if !able {
                touched.placements.insert(*partition);
            }
            able
        });
    }
}
