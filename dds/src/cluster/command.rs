//! What may be asked of the cluster map, and what becomes of it.
//!
//! A command is judged only when it is applied, by every node alike and from the map alone: the verdict is the same everywhere.
//! Every command may be proposed twice: it names the version, session or incarnation it was made for, or it sets a value.

use super::{GroupChange, Incarnation, NodeId, Session, Start};
use crate::{GroupVersion, PartitionId};

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Host and port for the other nodes.
    pub peers: String,
    /// Host and port of the admin API.
    pub admin: String,
}

/// What an operator says of a node when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    pub address: Address,
    /// Nodes of one zone are expected to fail together. Empty: a zone of its own.
    pub zone: String,
    /// Share of the partitions, relative to other nodes. 100 is usual; 0 takes none.
    pub weight: u32,
}

/// Fixed when the store is created, but for what has a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Count of partitions, a power of two, 1 to 16,384. Fixed.
    pub partitions: u16,
    /// Key of the DP map's hash. Fixed.
    pub hash_key: (u64, u64),
    /// In-sync members that a partition should have.
    pub replicas: u8,
    /// In-sync members without which nothing is acknowledged, as it is now. A young cluster begins with 1.
    pub min_in_sync: u8,
    /// What `min_in_sync` becomes once every partition has that many in-sync members.
    pub min_in_sync_wanted: u8,
    /// Features that may be used: raised by the operator once every node knows them.
    pub feature_level: u32,
}

/// Which partitions an operator's act is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    One(PartitionId),
    /// Every partition without a primary.
    All,
}

/// What the control leader would like the primary of a partition to ask for, once it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub partition: PartitionId,
    /// Void once the group has another version.
    pub expect: GroupVersion,
    pub change: GroupChange,
}

/// The feature level from which on nodes know [`Command::Place`].
pub const PLACES: u32 = 2;

/// A change of the cluster map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first command ever: a cluster of one node that holds everything.
    Found { node: NodeId, incarnation: Incarnation, site: Site, settings: Settings },
    /// A node joins; it holds nothing yet. Of a node that is known under the same incarnation, the site is replaced.
    AddNode { node: NodeId, incarnation: Incarnation, site: Site },
    /// A node has started, or learned that it was given up. `features`: the highest level that it knows.
    Register {
        node: NodeId,
        incarnation: Incarnation,
        session: Session,
        start: Start,
        features: u32,
    },
    /// A node was silent for the grace time.
    GiveUp { node: NodeId, session: Session },
    /// Compare-and-swap of one group, by its primary.
    ChangeGroup { partition: PartitionId, expect: GroupVersion, change: GroupChange, by: NodeId },
    /// Replaces the suggestions of these partitions. What no longer fits its group is left out.
    Suggest(Vec<Suggestion>),
    /// The node shall hold nothing any more. The controller moves its partitions elsewhere.
    Drain { node: NodeId },
    /// The node may hold partitions again.
    Undrain { node: NodeId },
    /// The node leaves. Refused while it holds anything.
    RemoveNode { node: NodeId },
    /// By the operator, at once; also below what was wanted when the store was created.
    SetMinInSync { count: u8 },
    /// By the controller: every partition now has as many in-sync members as are wanted.
    ReachMinInSync,
    /// By the operator.
    SetReplicas { count: u8 },
    /// By the operator: `node` shall lead `partition`, and hold it for that; `None`: whoever placement chooses. From
    /// [`PLACES`] on.
    Place { partition: PartitionId, node: Option<NodeId> },
    /// By the operator.
    RaiseFeatureLevel { level: u32 },
    /// By the operator, when the holders of partitions will not come back: `from` becomes the only holder, with what it has.
    /// Acknowledged writes may be lost.
    UnsafeRecover { scope: Scope, from: NodeId },
}

/// A command with its mark: who proposed it, and the how-manieth of that run it is. The map applies each mark once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub by: NodeId,
    pub start: Start,
    /// Rising within one run.
    pub number: u64,
    pub command: Command,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It applies, or has applied before.
    Done,
    /// Registrations only: the session was seen before. The node runs on an old image of its disk; it must take a new
    /// incarnation.
    OldImage,
    /// It did not apply, and will not.
    Refused(Objection),
    /// Nobody can say whether it applied or will. Look at the map, and ask again.
    Unknown,
}

/// Why a command did not apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error("the cluster is founded already")]
    Founded,
    #[error("the cluster is not founded yet")]
    NotFounded,
    #[error("the settings are out of range")]
    OutOfRange,
    #[error("no such node")]
    UnknownNode,
    #[error("the node number is taken by another data directory")]
    NodeExists,
    #[error("the node is up")]
    NodeIsUp,
    #[error("the node is not up")]
    NodeIsDown,
    #[error("the session is over")]
    SessionOver,
    #[error("no such partition")]
    UnknownPartition,
    #[error("the replica group has version {0:?} now")]
    WrongVersion(GroupVersion),
    #[error("only the primary may ask for it")]
    NotPrimary,
    #[error("the node is no such member of the group")]
    NotMember,
    #[error("the node is a member of the group already")]
    AlreadyMember,
    #[error("nobody else is up that holds the partition")]
    NoSuccessor,
    #[error("the partition has a primary")]
    HasPrimary,
    #[error("the node still holds partitions")]
    HoldsPartitions,
    #[error("it is the last node")]
    LastNode,
    #[error("some partitions have too few in-sync members")]
    TooFewInSync,
    #[error("not every node knows that feature level")]
    FeatureUnknown,
    #[error("the feature level of the cluster is too low for that")]
    FeatureMissing,
    #[error("the node is draining")]
    NodeIsDraining,
    #[error("a later proposal of the same node was applied before it; propose it again")]
    Overtaken,
    #[error("too many proposals wait for a verdict")]
    Overloaded,
    #[error("this node knows of no cluster yet")]
    NotReady,
}
