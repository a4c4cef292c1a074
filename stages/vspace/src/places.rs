//! Which worker group of a node something is for.

use crate::letter::Letter;
use crate::names::{self, GroupId};
use crate::work::Packet;
use dds::{DpMap, PartitionId};
use mailstore::face::{Task, UserId};
use mailstore::mailbox;

/// How the machines of a node are spread over its groups.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub map: DpMap,
    pub groups: u8,
}

impl Places {
    /// The group of a partition's masters; on a real node of its seat, too.
    #[must_use]
    pub fn group_of_partition(&self, partition: PartitionId) -> GroupId {
        let group = partition.0 % u16::from(self.groups.max(1));
        GroupId(u8::try_from(group).expect("below the number of groups"))
    }

    /// The group that holds a user's mailbox.
    #[must_use]
    pub fn group_of_user(&self, user: UserId) -> GroupId {
        self.group_of_partition(self.map.partition_of(&mailbox::route(user).0))
    }

    /// The group that a packet of another node is for. Its numbers are a peer's: they may name no group there is.
    #[must_use]
    pub fn group_of_packet(&self, packet: &Packet) -> GroupId {
        let group = match packet {
            Packet::Link(_) | Packet::Control(_) => GroupId(0),
            Packet::Replica { partition, .. } => self.group_of_partition(*partition),
            Packet::Ask { request, .. } => self.group_of_partition(request.partition(&self.map)),
            Packet::Answer { id, .. } => GroupId((id.0 >> 56) as u8),
            Packet::Letter(letter) => self.group_of_letter(letter),
        };
        if group.0 < self.groups { group } else { GroupId(0) }
    }

    /// The group that a letter is for.
    #[must_use]
    pub fn group_of_letter(&self, letter: &Letter) -> GroupId {
        match letter {
            Letter::Asked { task: Task::User { user, .. }, .. }
            | Letter::SessionGone { user, .. }
            | Letter::ImapLoggedIn { user, .. }
            | Letter::ImapLoggedOut { user, .. }
            | Letter::AccountIs { user, .. }
            | Letter::Expected { user }
            | Letter::EraseUser { user } => self.group_of_user(*user),
            Letter::Answered { to, .. } | Letter::NotHere { to, .. } => names::group_of(*to),
            Letter::Notified { session, .. } | Letter::Stirred { session, .. } => {
                names::group_of(*session)
            }
            Letter::Asked { .. }
            | Letter::AskedAccount { .. }
            | Letter::Kick { .. }
            | Letter::Kicked { .. }
            | Letter::Erased { .. }
            | Letter::ScrubAsked { .. }
            | Letter::Scrubbed { .. }
            | Letter::ResidentsEnded => GroupId(0),
        }
    }
}
