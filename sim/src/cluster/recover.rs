//! A majority is lost for good: all nodes stop, an operator lets one of them begin the next life of the cluster, perhaps with
//! another that is intact too, and the disks of the others are empty.

use super::{Cluster, ClusterMutation, Event};
use crate::disk::End;
use dds::cluster::{Incarnation, NodeId, Recovery, Session};
use dds::control::{Recorded, forget};
use dds::{Chain, Durability, Group, PartitionId, Store, StoreOp, Tier};

/// What was under way when the nodes stopped has arrived nowhere by then.
const STOPPED_FOR: u64 = 15_000_000_000;

impl Cluster {
    /// All nodes stop, when there is one that can go on.
    pub(super) fn lose_majority(&mut self) {
        let founders: Vec<NodeId> =
            self.nodes.keys().copied().filter(|node| self.may_found(*node)).collect();
        let at = usize::try_from(self.rng.below(founders.len() as u64)).unwrap_or(0);
        let Some(founder) = founders.get(at).copied().filter(|_| !self.recovering) else { return };
        self.coverage.fault("majority of disks is lost");
        self.recovering = true;
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.crash(node, End::PowerLoss);
        }
        self.schedule.after(STOPPED_FOR, Event::Recover { founder });
    }

    /// Whether a node holds all that was ever acknowledged. An operator who is mistaken takes one that does not.
    fn may_found(&self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id).filter(|node| !node.stale && !node.fresh) else {
            return false;
        };
        let known = self.map.node(id);
        let same = known.is_some_and(|known| {
            known.incarnation == node.incarnation && known.session > Session(0)
        });
        let whole =
            self.map.groups.iter().all(|group| group.is_in_sync(id) || group.is_candidate(id));
        same && whole != (self.options.mutation == Some(ClusterMutation::RecoverStale))
    }

    pub(super) fn recover(&mut self, founder: NodeId) {
        self.recovering = false;
        let kept = self.some_node();
        let keeps = kept != founder && self.rng.chance(1, 2) && self.is_intact(kept);
        let incarnations = [self.rng.next_u64(), self.rng.next_u64()].map(Incarnation);
        let recorded = self.nodes.get(&founder).and_then(|node| {
            Recorded::read(&|read| node.disk.read(read, Tier::Disk)).ok().flatten()
        });
        let wanted = Recovery {
            founder,
            kept: [(founder, incarnations[0])]
                .into_iter()
                .chain(keeps.then_some((kept, incarnations[1])))
                .collect(),
        };
        let recovered = recorded.as_ref().and_then(|known| known.latest.recovered(&wanted));
        if let (Some(recorded), Some(recovered)) = (recorded, recovered) {
            let found = recorded.found(&recovered.map, (founder, incarnations[0]));
            self.begin_life(founder, incarnations[0], found);
            if keeps {
                self.coverage.action("another node goes on in the next life");
                self.begin_life(kept, incarnations[1], vec![forget()]);
            }
            let lost = |node: &NodeId| *node != founder && !(keeps && *node == kept);
            for node in self.nodes.keys().copied().filter(lost).collect::<Vec<_>>() {
                self.wipe(node);
            }
            self.map = recovered.map;
        }
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            let nanos = self.rng.below(2_000_000_000);
            self.schedule.after(nanos, Event::Start { node });
        }
    }

    /// The data directory is still the one that the map knows.
    fn is_intact(&self, id: NodeId) -> bool {
        let known = self.map.node(id).map(|known| known.incarnation);
        let node = self.nodes.get(&id).filter(|node| !node.stale && !node.fresh);
        node.is_some_and(|node| known == Some(node.incarnation))
    }

    fn begin_life(&mut self, id: NodeId, incarnation: Incarnation, ops: Vec<StoreOp>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let group = Group {
            partition: PartitionId(0),
            bytes: 0,
            ops,
            frees_space: true,
            chain: Chain::Starts,
        };
        let written = node.disk.store.commit(&[group], Durability::Synced);
        assert!(written.is_ok(), "a disk that rests takes it");
        (node.incarnation, node.session, node.image) = (incarnation, Session(0), None);
    }
}
