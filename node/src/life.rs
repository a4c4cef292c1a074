//! Which life of its cluster a data directory belongs to.
//!
//! A cluster begins another life when it goes on from what some of its nodes hold, without asking the others: after most of them
//! were lost for good, and after it was restored from a backup. Its name changes then, so that nodes of the life before, or of
//! the cluster that the backup was taken of, are no part of it: they are told, and end. Nodes that are kept are named, with
//! their incarnations of before; they come in under others, which both sides know how to make.

use dds::DpMap;
use dds::cluster::{Incarnation, NodeId};
use dds::wire::ClusterId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The life of a cluster. The default: the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// 0 is the first; rises by one.
    pub number: u32,
    /// Drawn when it began; 0 for the first.
    pub id: u64,
    /// The nodes of the life before that go on, and the data directories that they had.
    pub kept: Vec<(u16, u64)>,
}

/// What another cluster is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// A later life of the same cluster.
    Later,
    /// An earlier life of the same cluster.
    Earlier,
    /// Founded apart.
    Apart,
}

impl Life {
    /// Whether a data directory is kept.
    #[must_use]
    pub fn keeps(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.kept.contains(&(node.0, incarnation.0))
    }

    /// The incarnation that a kept data directory has in this life.
    #[must_use]
    pub fn incarnation(&self, before: Incarnation) -> Incarnation {
        derived("hikyaku incarnation", &[before.0, self.id])
    }

    /// The name of a cluster in this life: of what was drawn when it was founded, and when this life began.
    #[must_use]
    pub fn cluster_id(&self, map: &DpMap) -> ClusterId {
        let mut hash = Sha256::new();
        hash.update(b"hikyaku cluster");
        hash.update(map.partitions.to_be_bytes());
        hash.update(map.hash_key.0.to_be_bytes());
        hash.update(map.hash_key.1.to_be_bytes());
        if self.number > 0 {
            hash.update(self.id.to_be_bytes());
        }
        // 0 stands for no cluster.
        ClusterId(first_number(hash).max(1))
    }

    /// What a cluster that was founded with the same map (`same`) and is in life `number` is to one in this life.
    #[must_use]
    pub fn stranger(&self, same: bool, number: u32) -> Stranger {
        match (same, number.cmp(&self.number)) {
            (true, std::cmp::Ordering::Greater) => Stranger::Later,
            (true, std::cmp::Ordering::Less) => Stranger::Earlier,
            (true, std::cmp::Ordering::Equal) | (false, _) => Stranger::Apart,
        }
    }
}

/// The incarnation of a data directory that is made of `backup`: not that of the directory it was taken of, which may come back.
#[must_use]
pub fn restored_incarnation(before: Incarnation, backup: u64) -> Incarnation {
    derived("hikyaku restored", &[before.0, backup])
}

fn derived(label: &str, numbers: &[u64]) -> Incarnation {
    let mut hash = Sha256::new();
    hash.update(label);
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    Incarnation(first_number(hash))
}

fn first_number(hash: Sha256) -> u64 {
    hash.finalize().iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_life_has_a_name_of_its_own_and_the_first_keeps_the_old_one() {
        let map = DpMap { partitions: 8, hash_key: (1, 2) };
        let first = Life::default();
        // As releases that knew one life name it.
        assert_eq!(first.cluster_id(&map), ClusterId(0x8ed3_07db_0899_705b));
        let second = Life { number: 1, id: 77, kept: vec![(3, 30)] };
        let other = Life { id: 78, ..second.clone() };
        assert_ne!(second.cluster_id(&map), first.cluster_id(&map));
        assert_ne!(second.cluster_id(&map), other.cluster_id(&map));
        assert!(
            second.keeps(NodeId(3), Incarnation(30)) && !second.keeps(NodeId(3), Incarnation(31))
        );
        assert_ne!(second.incarnation(Incarnation(30)), other.incarnation(Incarnation(30)));
        assert_eq!(second.stranger(true, 0), Stranger::Earlier);
        assert_eq!(first.stranger(true, 1), Stranger::Later);
        assert_eq!(second.stranger(true, 1), Stranger::Apart, "recovered twice, apart");
        assert_eq!(second.stranger(false, 9), Stranger::Apart);
    }
}
