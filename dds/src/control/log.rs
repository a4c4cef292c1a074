//! The replicated log of the control plane, as the control machine sees it: entries go in anywhere, and come out everywhere in
//! one order. Consensus is behind [`ControlLog`]; `raft_log` implements it.

use crate::StoreOp;
use crate::cluster::{Incarnation, NodeId};
use bytes::Bytes;
use proto::cluster as wire;

/// A member of the control group: one data directory of one node. A node that has lost its disk is another member, for it no
/// longer stands by what it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// Bits of a member's number that are of the incarnation; those of the node are above.
const INCARNATION_BITS: u32 = 48;

impl MemberId {
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        let low = incarnation.0 & ((1 << INCARNATION_BITS) - 1);
        Self(u64::from(node.0) << INCARNATION_BITS | low)
    }

    #[must_use]
    pub fn node(self) -> NodeId {
        // 16 bits are left.
        NodeId((self.0 >> INCARNATION_BITS) as u16)
    }
}

/// Where this member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub term: u64,
    pub leader: Option<MemberId>,
    /// This member leads.
    pub leads: bool,
    /// It leads, and has applied all that was committed before it did.
    pub leads_with_all: bool,
}

/// The members of the group, each list rising. While the group is joint they are as they will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    pub voters: Vec<MemberId>,
    pub learners: Vec<MemberId>,
    /// A change of voters is half done: majorities of both sets are needed.
    pub joint: bool,
}

/// A change of the members. One is under way at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    AddLearner(MemberId),
    RemoveLearner(MemberId),
    /// Learners begin to vote, and voters become learners, at once; the group is joint until `LeaveJoint`.
    SetVoters {
        enter: Vec<MemberId>,
        leave: Vec<MemberId>,
    },
    LeaveJoint,
}

/// An entry of the log that all members agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// What was proposed.
    Data { index: u64, bytes: Bytes },
    /// The members are these from here on.
    Members { index: u64, members: Members },
    /// Of no concern to the map.
    Nothing { index: u64 },
}

/// What has to be done since the last time.
#[derive(Debug, Default)]
pub struct Work {
    /// May leave at once.
    pub messages: Vec<wire::RaftMessage>,
    /// To be written durably, all or nothing, after every write before; then [`ControlLog::on_written`] with the number.
    pub write: Option<(u64, Vec<StoreOp>)>,
    /// The map as of an index, in place of all entries so far.
    pub snapshot: Option<wire::Snapshot>,
    /// To be applied, after the snapshot.
    pub committed: Vec<Committed>,
}

impl Work {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.write.is_none()
            && self.snapshot.is_none()
            && self.committed.is_empty()
    }
}

/// A replicated log. Whatever is called, [`Self::work`] says afterwards what is to be done.
pub trait ControlLog: std::fmt::Debug + Send {
    /// The only voter leads at once, instead of waiting for somebody else to. No effect on others.
    fn campaign_alone(&mut self);

    /// Time goes on by one tick.
    fn tick(&mut self);

    /// A message of a peer, which may be anything. Known to come from the node of `message.from`.
    ///
    /// # Errors
    /// What is wrong with it. Nothing has changed then.
    fn step(&mut self, message: wire::RaftMessage) -> Result<(), &'static str>;

    /// Appends an entry, on the leader. False: not now.
    fn propose(&mut self, bytes: Bytes) -> bool;

    /// Begins a change of the members, on the leader. False: not now.
    fn change_members(&mut self, change: &MemberChange) -> bool;

    /// Asks `to`, a voter, to lead instead.
    fn transfer(&mut self, to: MemberId);

    /// What is to be done; call it until it is empty.
    fn work(&mut self) -> Work;

    /// The write `number`, and all before it, are durable.
    fn on_written(&mut self, number: u64);

    fn standing(&self) -> Standing;

    fn members(&self) -> Members;

    /// Whether `member` answers, and lacks at most `lag_max` entries, as far as this leader knows.
    fn keeps_up(&self, member: MemberId, lag_max: u64) -> bool;

    /// A peer needs a snapshot of the map: [`Self::offer_snapshot`] shall be called.
    fn wants_snapshot(&self) -> bool;

    /// The map as of the last entry that was handed out.
    fn offer_snapshot(&mut self, map: Bytes);

    /// The log has grown long: [`Self::compact`] shall be called.
    fn wants_compaction(&self) -> bool;

    /// Replaces all entries that were handed out by `map`, which is as of the last of them.
    fn compact(&mut self, map: Bytes);

    /// Index of the last entry that was handed out.
    fn applied(&self) -> u64;
}
