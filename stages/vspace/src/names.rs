//! Who is who: how a [`SessionId`] says where its session lives, and the names of machines.

use dds::PartitionId;
use dds::cluster::NodeId;
use mailstore::face::{SessionId, UserId};

/// A worker group: one OS thread and the machines it owns. Numbered from 0 on its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u8);

/// A machine within its worker group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineId {
    Session(SessionId),
    Mailbox(UserId),
    Partition(PartitionId),
    Directory,
    Delivery,
    Sweep,
    Control,
    Links,
    /// In group 0.
    Fills,
    Scrub,
}

/// Bits of a session id below the group: serial numbers of one group last for ever (a million a second for 12 days ... 34,000
/// a second for a year).
const SERIAL_BITS: u32 = 40;
/// Serial numbers below this are not sessions.
const SERIAL_FIRST: u64 = 16;

/// Who asked a task: a session, or one of the fixed askers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Session(SessionId),
    /// The delivery queue.
    Delivery,
    /// A session of the node's own, for an operator or an import.
    Operator(SessionId),
}

/// Set in the serial number of a session of the node's own.
const OPERATOR_BIT: u64 = 1 << (SERIAL_BITS - 1);

/// The id of operator session number `serial` of a node; its tasks enter through group 0.
#[must_use]
pub fn operator_id(node: u16, serial: u64) -> SessionId {
    compose(node, GroupId(0), serial | OPERATOR_BIT)
}

/// The id of session number `serial` (from 0) of a group on node `node`.
#[must_use]
pub fn session_id(node: u16, group: GroupId, serial: u64) -> SessionId {
    compose(node, group, serial + SERIAL_FIRST)
}

/// The id under which the delivery queue of a group asks.
#[must_use]
pub fn delivery_id(node: u16, group: GroupId) -> SessionId {
    compose(node, group, 1)
}

fn compose(node: u16, group: GroupId, serial: u64) -> SessionId {
    let serial = serial & ((1 << SERIAL_BITS) - 1);
    SessionId(u64::from(node) << 48 | u64::from(group.0) << SERIAL_BITS | serial)
}

/// The group that an asker lives in.
#[must_use]
pub fn group_of(session: SessionId) -> GroupId {
    GroupId(((session.0 >> SERIAL_BITS) & 0xFF) as u8)
}

/// The node that an asker lives on.
#[must_use]
pub fn node_of(session: SessionId) -> NodeId {
    NodeId((session.0 >> 48) as u16)
}

/// What an asker is.
#[must_use]
pub fn asker_of(session: SessionId) -> Asker {
    match session.0 & ((1 << SERIAL_BITS) - 1) {
        1 => Asker::Delivery,
        serial if serial & OPERATOR_BIT != 0 => Asker::Operator(session),
        _ => Asker::Session(session),
    }
}

/// A machine as one word of a trace.
#[must_use]
pub fn trace_word(machine: MachineId) -> u64 {
    match machine {
        MachineId::Session(id) => id.0 << 8,
        MachineId::Mailbox(user) => user.0 << 8 | 1,
        MachineId::Partition(partition) => u64::from(partition.0) << 8 | 2,
        MachineId::Directory => 3,
        MachineId::Delivery => 4,
        MachineId::Sweep => 5,
        MachineId::Control => 6,
        MachineId::Links => 7,
        MachineId::Fills => 8,
        MachineId::Scrub => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_group_and_kind() {
        let id = session_id(3, GroupId(7), 0);
        assert_eq!((group_of(id), asker_of(id)), (GroupId(7), Asker::Session(id)));
        let queue = delivery_id(3, GroupId(2));
        assert_eq!((group_of(queue), asker_of(queue)), (GroupId(2), Asker::Delivery));
        let operator = operator_id(3, 5);
        assert_eq!(asker_of(operator), Asker::Operator(operator));
    }
}
