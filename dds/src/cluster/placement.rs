//! Where replicas should be: weighted rendezvous hashing (Thaler and Ravishankar, 1998), spread over zones.
//!
//! A partition ranks the nodes by `weight / -log2(hash)`; when a node comes or goes, only what it gains or held moves. All
//! arithmetic is on integers, so that every platform finds the same ranks.

use super::{ClusterMap, NodeId};
use crate::PartitionId;
use fsm::Rng;
use std::collections::BTreeSet;

/// A node that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: NodeId,
    pub zone: String,
    pub weight: u32,
}

/// Orders nodes for one partition, the lowest first, without regard to weights.
pub(super) fn preference(partition: PartitionId, node: NodeId) -> u64 {
    Rng::new(u64::from(partition.0), u64::from(node.0)).next_u64()
}

/// The nodes that should hold `partition`, the one that should lead it first: at most `replicas`, of as many zones as there
/// are. If `placed` is one of the candidates it comes first, whatever its rank and weight.
#[must_use]
pub fn wanted_replicas(
    candidates: &[Candidate],
    partition: PartitionId,
    replicas: usize,
    placed: Option<NodeId>,
) -> Vec<NodeId> {
    let is_placed = |candidate: &Candidate| Some(candidate.node) == placed;
    let able = candidates.iter().filter(|candidate| candidate.weight > 0 || is_placed(candidate));
    let mut ranked: Vec<_> = able.map(|each| (cost(partition, each), each)).collect();
    ranked.sort_unstable_by_key(|(cost, each)| (!is_placed(each), *cost, each.node));
    let (mut chosen, mut zones) = (Vec::new(), BTreeSet::new());
    for (_, candidate) in &ranked {
        // A node without a zone is a zone of its own.
        let fresh = candidate.zone.is_empty() || zones.insert(candidate.zone.as_str());
        if chosen.len() < replicas && fresh {
            chosen.push(candidate.node);
        }
    }
    for (_, candidate) in &ranked {
        if chosen.len() < replicas && !chosen.contains(&candidate.node) {
            chosen.push(candidate.node);
        }
    }
    chosen
}

/// `-log2(hash) / weight`, scaled: the lowest cost ranks first.
fn cost(partition: PartitionId, candidate: &Candidate) -> u64 {
    let hash = preference(partition, candidate.node).max(1);
    let depth = (64_u64 << LOG_BITS).saturating_sub(log2(hash));
    // 6 + 32 bits of depth leave room for the scale.
    (depth << 20) / u64::from(candidate.weight.max(1))
}

/// Bits after the point of [`log2`].
const LOG_BITS: u32 = 32;

/// log2 of `number`, which is not 0, with [`LOG_BITS`] after the point, rounded down: by squaring the mantissa.
fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    let mut log = u64::from(whole) << LOG_BITS;
    // 1.0 <= mantissa < 2.0, with 63 bits after the point.
    let mut mantissa = u128::from(number) << (63 - whole);
    for bit in (0..LOG_BITS).rev() {
        mantissa = (mantissa * mantissa) >> 63;
        if mantissa >= 1 << 64 {
            mantissa >>= 1;
            log |= 1 << bit;
        }
    }
    log
}

impl ClusterMap {
    /// The nodes that may hold replicas: registered once, and not draining; without those that are `absent` for so long that
    /// their replicas should be made anew elsewhere.
    #[must_use]
    pub fn candidates(&self, absent: &BTreeSet<NodeId>) -> Vec<Candidate> {
        let able = self.nodes.iter().filter(|(node, known)| {
            known.session.0 > 0 && !known.draining && !absent.contains(node)
        });
        able.map(|(&node, known)| Candidate {
            node,
            zone: known.site.zone.clone(),
            weight: known.site.weight,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn candidates(weights: &[(u16, &str, u32)]) -> Vec<Candidate> {
        let candidate = |&(node, zone, weight): &(u16, &str, u32)| Candidate {
            node: NodeId(node),
            zone: zone.into(),
            weight,
        };
        weights.iter().map(candidate).collect()
    }

    fn shares(candidates: &[Candidate], replicas: usize) -> BTreeMap<u16, usize> {
        let mut shares = BTreeMap::new();
        for partition in (0..4096).map(PartitionId) {
            for node in wanted_replicas(candidates, partition, replicas, None) {
                *shares.entry(node.0).or_default() += 1;
            }
        }
        shares
    }

    #[test]
    fn the_logarithm_is_that_of_the_textbook() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 63), 63 << 32);
        // log2(3) = 1.5849625007211562
        assert_eq!(log2(3) >> 16, (1.584_962_500_721_156_2 * 65536.0) as u64);
        assert!(log2(u64::MAX) < 64 << 32);
    }

    #[test]
    fn shares_follow_the_weights() {
        let shares = shares(&candidates(&[(1, "", 100), (2, "", 100), (3, "", 200)]), 1);
        assert!((900..1150).contains(&shares[&1]), "{shares:?}");
        assert!((900..1150).contains(&shares[&2]), "{shares:?}");
        assert!((1900..2200).contains(&shares[&3]), "{shares:?}");
    }

    #[test]
    fn a_node_that_leaves_moves_only_what_it_held() {
        let all = candidates(&[(1, "", 100), (2, "", 100), (3, "", 100), (4, "", 100)]);
        for partition in (0..512).map(PartitionId) {
            let before = wanted_replicas(&all, partition, 2, None);
            let after = wanted_replicas(&all[..3], partition, 2, None);
            let kept = before.iter().filter(|node| after.contains(node)).count();
            assert!(kept >= 2 - usize::from(before.contains(&NodeId(4))));
        }
    }

    #[test]
    fn zones_come_before_ranks_and_weight_0_takes_nothing() {
        let some = candidates(&[(1, "a", 100), (2, "a", 900), (3, "b", 1), (4, "c", 0)]);
        for partition in (0..256).map(PartitionId) {
            let wanted = wanted_replicas(&some, partition, 2, None);
            assert!(wanted.contains(&NodeId(3)), "{wanted:?}");
            assert_eq!(wanted_replicas(&some, partition, 5, None).len(), 3);
        }
    }

    #[test]
    fn who_is_placed_comes_first_and_displaces_the_last() {
        let some = candidates(&[(1, "", 100), (2, "", 100), (3, "", 100), (4, "", 0)]);
        for partition in (0..64).map(PartitionId) {
            let before = wanted_replicas(&some, partition, 2, None);
            for placed in [1, 2, 3, 4].map(NodeId) {
                let wanted = wanted_replicas(&some, partition, 2, Some(placed));
                assert_eq!((wanted.len(), wanted[0]), (2, placed));
                assert!(before.contains(&wanted[1]) && wanted[1] != placed);
            }
            assert_eq!(wanted_replicas(&some, partition, 2, Some(NodeId(9))), before);
        }
    }
}
