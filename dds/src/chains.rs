//! Commits queued groups so that a refused one takes those that build on it with it.
//!
//! A partition emits group 2 while group 1 is still under way, on the assumption that 1 applies. When 1 is refused (no
//! space) 2 must not apply, though it may be queued already and would fit. The partition can't call it back; so whoever
//! feeds a [`Store`] does it through a [`Chains`].
//!
//! Invariant: of the groups of one partition between two [`Chain::Starts`], those that applied are a prefix.

use crate::{Chain, Durability, Group, PartitionId, Store, StoreError};
use std::collections::BTreeSet;

/// Which partitions have seen a group refused since their chain started. One per store, kept by its only writer.
#[derive(Debug, Default)]
pub struct Chains {
    broken: BTreeSet<PartitionId>,
}

impl Chains {
    /// Commits `groups` in order, as one write when all goes well. When the store refuses the write each group is tried
    /// by itself, because one group too many must not refuse the others: deletions pass where deliveries do not.
    ///
    /// The results are in the order of `groups`. After a `Fatal` nothing more is tried.
    pub fn commit(
        &mut self,
        store: &dyn Store,
        groups: &[Group],
        durability: Durability,
    ) -> Vec<Result<(), StoreError>> {
        if groups.len() > 1 && self.intact(groups) {
            match store.commit(groups, durability) {
                Ok(()) => return groups.iter().map(|_| Ok(())).collect(),
                Err(error @ StoreError::Fatal(_)) => {
                    return groups.iter().map(|_| Err(error.clone())).collect();
                }
                Err(StoreError::NoSpace | StoreError::Corrupt(_) | StoreError::Io(_)) => {}
            }
        }
        let mut fatal = None;
        groups.iter().map(|group| self.commit_one(store, group, durability, &mut fatal)).collect()
    }

    /// Whether no group belongs to a partition that has seen one refused.
    fn intact(&self, groups: &[Group]) -> bool {
        self.broken.is_empty() || groups.iter().all(|group| !self.broken.contains(&group.partition))
    }

    fn commit_one(
        &mut self,
        store: &dyn Store,
        group: &Group,
        durability: Durability,
        fatal: &mut Option<StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(error) = fatal {
            return Err(error.clone());
        }
        match group.chain {
            Chain::Starts => {
                self.broken.remove(&group.partition);
            }
            Chain::Follows if self.broken.contains(&group.partition) => {
                return Err(StoreError::Io("a group before it was refused".into()));
            }
            Chain::Follows => {}
        }
        let result = store.commit(std::slice::from_ref(group), durability);
        match &result {
            Ok(()) => {}
            Err(error @ StoreError::Fatal(_)) => *fatal = Some(error.clone()),
            Err(StoreError::NoSpace | StoreError::Corrupt(_) | StoreError::Io(_)) => {
                self.broken.insert(group.partition);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, MemoryStore, Read, StoreOp, Tier};
    use bytes::Bytes;

    fn group(partition: u16, key: &'static [u8], bytes: usize, chain: Chain) -> Group {
        let (key, value) = (Bytes::from_static(key), Bytes::from(vec![0; bytes]));
        let bytes = key.len() + value.len();
        let ops = vec![StoreOp::Put { column: Column::Meta, key, value }];
        Group { partition: PartitionId(partition), ops, bytes, frees_space: false, chain }
    }

    #[test]
    fn a_refused_group_refuses_what_builds_on_it_and_nothing_else() {
        let (store, mut chains) = (MemoryStore::new(), Chains::default());
        store.set_bytes_max(Some(100));
        let groups = [
            group(1, b"a", 10, Chain::Starts),
            group(1, b"b", 200, Chain::Follows),
            group(2, b"c", 10, Chain::Starts),
            group(1, b"d", 10, Chain::Follows),
        ];
        let mut commit = |groups: &[Group]| {
            let results = chains.commit(&store, groups, Durability::Synced);
            results.into_iter().map(|result| result.is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(commit(&groups), [true, false, true, false]);
        assert_eq!(commit(&[group(1, b"e", 10, Chain::Follows)]), [false]);
        assert_eq!(commit(&[group(2, b"f", 10, Chain::Follows)]), [true]);
        let fresh = [group(1, b"g", 10, Chain::Starts), group(1, b"h", 10, Chain::Follows)];
        assert_eq!(commit(&fresh), [true, true]);
        let keys =
            [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"].map(|key| Bytes::from_static(key));
        let read = Read::Get { column: Column::Meta, keys: keys.to_vec() };
        let found = match store.read(&read, Tier::Disk) {
            Ok(crate::ReadDone::Got(values)) => values,
            other => panic!("{other:?}"),
        };
        let found: Vec<_> = found.into_iter().map(|value| value.is_some()).collect();
        assert_eq!(found, [true, false, true, false, false, true, true, true]);
    }
}
