//! Who waits for an answer of a partition. The seat sees only a number.

use crate::names::{GroupId, MachineId};
use dds::cluster::NodeId;
use dds::wire::RequestId;
use fsm::Token;
use mailstore::face::{BlobDone, SessionId};

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A machine of this group.
    Machine { machine: MachineId, token: Token },
    /// A session wrote or dropped a chunk.
    Blob { session: SessionId, token: Token, done: BlobDone },
    /// A client of the hash table on this node, which knows the request as `origin`.
    Client { origin: u64, followed: bool },
    /// Another group, which knows the request as `origin`.
    Group { group: GroupId, origin: u64 },
    /// Another node, which knows the request by this id.
    Node { node: NodeId, id: RequestId },
}

/// Origins under way, by number; numbers are reused.
#[derive(Debug, Default)]
pub struct Origins {
    slots: Vec<Option<Origin>>,
    free: Vec<usize>,
}

impl Origins {
    /// Notes an origin; the number stands for it until it is taken.
    pub fn note(&mut self, origin: Origin) -> u64 {
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at] = Some(origin);
                at
            }
            None => {
                self.slots.push(Some(origin));
                self.slots.len() - 1
            }
        };
        at as u64
    }

    /// The origin that `number` stands for.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Origin> {
        *self.slots.get(usize::try_from(number).ok()?)?
    }

    /// The origin of an answer. `None` when it has been taken.
    pub fn take(&mut self, number: u64) -> Option<Origin> {
        let at = usize::try_from(number).ok()?;
        let origin = self.slots.get_mut(at)?.take()?;
        self.free.push(at);
        Some(origin)
    }
}
