//! When everything rests, a primary says of every follower in sync, and of nobody else, that it has acknowledged all.

use crate::failure::Failure;
use dds::PartitionId;
use dds::cluster::{NodeId, ReplicaGroup};

/// `behind`: what the primary says; nothing while its replica sleeps.
///
/// # Errors
/// When it says something else.
pub fn check(
    partition: PartitionId,
    group: &ReplicaGroup,
    behind: &[(NodeId, u64)],
) -> Result<(), Failure> {
    let wrong = |(node, groups): &&(NodeId, u64)| {
        *groups > 0 || !group.is_in_sync(*node) || group.primary == Some(*node)
    };
    match behind.iter().find(wrong) {
        None => Ok(()),
        Some((node, groups)) => Err(Failure::new(
            "nobody_is_behind",
            format!("{partition:?}: {node:?} is said to be {groups} groups behind, of {group:?}"),
        )),
    }
}
