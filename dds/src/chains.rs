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
        if self.intact(groups) {
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
