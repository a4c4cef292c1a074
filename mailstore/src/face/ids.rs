//! Names of things, each a type of its own.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A user (an account with a mailbox): drawn at random when the account is made, never reused.
    UserId(u64)
);
id!(
    /// A folder of one user: survives renaming, never reused.
    FolderId(u32)
);
id!(
    /// RFC 9051 2.3.1.1. Never 0 for a message.
    Uid(u32)
);
id!(
    /// RFC 9051 2.3.1.1.
    UidValidity(u32)
);
id!(
    /// RFC 7162 3.1: rises with every change of a user's mail; one sequence for all folders of a user. Below 2^63.
    ModSeq(u64)
);
id!(
    /// A session of an access module, unique in the cluster: node, worker group and a serial number.
    SessionId(u64)
);
id!(
    /// One acceptance of a message from a client; (delivery id, recipient) is delivered once.
    DeliveryId(u128)
);
id!(
    /// A set of appended messages not yet visible (MULTIAPPEND): committed or dropped as one.
    PendingId(u64)
);
id!(
    /// Names a body for the user who holds it: RFC 8474 EMAILID. Copies share it.
    EmailId(u64)
);
id!(
    /// Names a conversation of the user: RFC 8474 THREADID.
    ThreadId(u64)
);

impl DeliveryId {
    /// A new id: 48 bits of wall-clock milliseconds, then 64 random bits, so that ids sort by age and never meet.
    #[must_use]
    pub fn new(wall: fsm::Wall, random: u64) -> Self {
        let millis = u128::from(wall.0.unsigned_abs() & 0xFFFF_FFFF_FFFF);
        Self(millis << 64 | u128::from(random))
    }

    /// The short form for people: what the 250 line, Received and the log carry.
    #[must_use]
    pub fn queue_id(self) -> QueueId {
        // Crockford's base 32: no letter that reads like a digit. 50 bits of time, then 30 random bits.
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let shown = (self.0 >> 64) << 30 | (self.0 >> 34) & 0x3FFF_FFFF;
        let mut text = [b'0'; QueueId::CHARS];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[(shown >> (5 * place)) as usize & 31];
        }
        QueueId(text)
    }
}

/// A delivery id as people see it. Unique enough to find lines of a log; nothing is decided by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId([u8; Self::CHARS]);

impl QueueId {
    /// Characters of the short form.
    pub const CHARS: usize = 16;

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_of_a_delivery_id_begins_with_its_time() {
        let early = DeliveryId::new(fsm::Wall(1_700_000_000_000), u64::MAX);
        let late = DeliveryId::new(fsm::Wall(1_700_000_000_001), 0);
        assert_eq!(early.queue_id().as_str(), "01HF7YAT00ZZZZZZ");
        assert_eq!(late.queue_id().as_str(), "01HF7YAT01000000");
        assert!(early < late);
    }
}
