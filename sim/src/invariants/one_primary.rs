//! A version of a partition has one primary, whoever else takes itself for it.

use crate::failure::Failure;
use dds::cluster::NodeId;
use dds::{GroupVersion, PartitionId};
use std::collections::BTreeMap;

/// Who was seen to lead what.
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<(PartitionId, GroupVersion), NodeId>);

impl Leaders {
    /// `node` acts as the primary of a version.
    ///
    /// # Errors
    /// When another one has.
    pub fn note(
        &mut self,
        node: NodeId,
        partition: PartitionId,
        version: GroupVersion,
    ) -> Result<(), Failure> {
        let first = *self.0.entry((partition, version)).or_insert(node);
        if first == node {
            return Ok(());
        }
        let what = format!("{partition:?} {version:?} was led by {first:?} and by {node:?}");
        Err(Failure::new("one_primary", what))
    }
}
