//! A data directory on which no node runs begins another life of its cluster: after most nodes were lost for good, and when a
//! backup of a cluster is restored.
//!
//! Everything that changes is written at once: a crash leaves the life before. What is done here can't be undone, so that it
//! is planned first, and told.

use crate::life::Life;
use crate::serve::identity::{self, Identity, Member};
use anyhow::{Context, bail};
use dds::cluster::{ClusterMap, NodeId, Recovery};
use dds::control::Recorded;
use dds::{Column, PartitionId, Store, StoreOp, Tier, layout, survey};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who goes on, by the data directory of the founder and what it knows of the others.
pub struct Wanted {
    /// The directory's own.
    pub identity: Identity,
    pub recorded: Recorded,
    /// Which copies count; the founder's copy of the map may know less.
    pub map: ClusterMap,
    /// Those that go on beside the founder, with the incarnations of their data directories.
    pub kept: Vec<Member>,
    /// How often what it holds was restored before, from this backup; 1 for the first time.
    pub restorations: u32,
}

/// What will be.
#[derive(Debug)]
pub struct Plan {
    pub life: u32,
    pub partitions: u64,
    /// Partitions of which nobody that goes on has an intact copy.
    pub lost: Vec<Lost>,
    pub kept: Vec<NodeId>,
    pub dropped: Vec<NodeId>,
    ops: Vec<StoreOp>,
}

/// What is left of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub partition: PartitionId,
    /// The directory has an older copy, as of when it was last in sync; otherwise the partition begins empty.
    pub has_older: bool,
}

impl Plan {
    /// # Errors
    /// The directory can't be read, or is no node of the map.
    pub fn make(store: &dyn Store, wanted: &Wanted) -> anyhow::Result<Self> {
        let Wanted { identity, recorded, map, kept, restorations } = wanted;
        let me = identity.member;
        let number = identity.life.number.checked_add(1).context("no life is left")?;
        let named = |member: &Member| (member.node.0, member.incarnation.0);
        let life = Life { number, id: identity::draw()?, kept: kept.iter().map(named).collect() };
        let others = kept.iter().map(|it| (it.node, life.incarnation(it.incarnation)));
        let incarnation = life.incarnation(me.incarnation);
        let kept = others.chain([(me.node, incarnation)]).collect();
        let recovery = Recovery { founder: me.node, kept };
        let Some(recovered) = map.recovered(&recovery) else {
            bail!("the data directory knows a cluster map in which the nodes that go on are not");
        };
        let mut lost = Vec::new();
        let mut ops = Vec::new();
        for partition in recovered.lost {
            let reads = |read: &dds::Read| store.read(read, Tier::Disk);
            let whole = survey::is_whole(&reads, partition)?;
            let has_older = whole && is_there(store, partition)?;
            if !whole {
                ops.extend(wiped(partition));
            }
            lost.push(Lost { partition, has_older });
        }
        let restored = identity::restored_again(identity.restored, *restorations, unix_micros());
        let member = Member { incarnation, joined: true, ..me };
        let next = Identity { map: identity.map, restored, member, life };
        ops.extend(identity::records_of(&next));
        ops.extend(recorded.found(&recovered.map, (me.node, incarnation)));
        let is_kept = |node: &NodeId| recovered.map.nodes.contains_key(node);
        Ok(Self {
            life: number,
            partitions: map.groups.len() as u64,
            lost,
            kept: recovered.map.nodes.keys().copied().collect(),
            dropped: map.nodes.keys().copied().filter(|node| !is_kept(node)).collect(),
            ops,
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// Those of the store; nothing has changed then.
    pub fn carry_out(self, store: &dyn Store) -> anyhow::Result<()> {
        identity::commit(store, self.ops).context("the next life of the cluster can't be written")
    }
}

/// What the control plane left in a data directory.
///
/// # Errors
/// It can't be read, or no node of a cluster ever ran on it.
pub fn recorded(store: &dyn Store) -> anyhow::Result<Recorded> {
    let recorded = Recorded::read(&|read| store.read(read, Tier::Disk))?;
    recorded.context(
        "the data directory knows no cluster: no node ever ran on it, or it was never let in",
    )
}

fn is_there(store: &dyn Store, partition: PartitionId) -> anyhow::Result<bool> {
    let keys = vec![layout::partition_key(partition)];
    let read = dds::Read::Get { column: Column::Log, keys };
    let got = store.read(&read, Tier::Disk)?;
    Ok(matches!(got, dds::ReadDone::Got(values) if values.iter().any(Option::is_some)))
}

/// A copy that was being made is of no moment.
fn wiped(partition: PartitionId) -> Vec<StoreOp> {
    let (from, to) = layout::partition_range(partition);
    let range = |column| StoreOp::DeleteRange { column, from: from.clone(), to: to.clone() };
    [Column::Meta, Column::Bodies, Column::Log].map(range).to_vec()
}

fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
