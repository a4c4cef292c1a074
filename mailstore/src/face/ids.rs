//! Names of things, each a type of its own.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
