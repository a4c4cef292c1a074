//! Names of nodes and of what they are at a time.

/// A node of the cluster, from 1. Never given to another host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// A data directory: drawn at random when it is made. A node that comes with another one has lost what it held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// One registration of a node with the map: rises, durably on the node itself, with each start and each time the node learns
/// that it was given up. A node that comes with one that was seen before runs on an old image of its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// One run of a node's process, drawn at random when it starts. It tells a registration that was sent twice from one that an
/// old image of the disk makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Start(pub u64);
