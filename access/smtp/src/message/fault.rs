//! Why a message is refused after its content began. The content is read to its end all the same.

use crate::codec::reply::{self, Reply};
use mailstore::face::TaskRefusal;

/// The first thing found wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A CR, LF or NUL alone: an attempt to smuggle, or a broken client. The connection is closed too.
    BareInContent,
    /// A NUL from a server in front.
    NulInContent,
    TooBig,
    HeaderTooLong,
    /// RFC 5321 6.3.
    Looping,
    /// Submission: From names somebody else, or nobody.
    ForeignAuthor,
    /// Submission: From is no list of addresses.
    BadFrom,
    /// The store could not take a chunk.
    Store(TaskRefusal),
    /// A lookup that the message depends on failed.
    Lookup,
}

impl Fault {
    /// What the client is told.
    #[must_use]
    pub const fn reply(self) -> Reply {
        match self {
            Self::BareInContent => reply::BARE_IN_CONTENT,
            Self::NulInContent => reply::NUL_IN_CONTENT,
            Self::TooBig => reply::TOO_BIG,
            Self::HeaderTooLong => reply::HEADER_TOO_LONG,
            Self::Looping => reply::LOOPING,
            Self::ForeignAuthor => reply::FOREIGN_AUTHOR,
            Self::BadFrom => reply::BAD_FROM,
            Self::Store(refusal) => refusal_reply(refusal),
            Self::Lookup => reply::LOOKUP_FAILED,
        }
    }
}

/// Temporary trouble on our side, as seen by the client.
#[must_use]
pub const fn refusal_reply(refusal: TaskRefusal) -> Reply {
    match refusal {
        TaskRefusal::Overloaded => reply::BUSY,
        TaskRefusal::Unavailable => reply::UNREACHABLE,
        TaskRefusal::NoSpace => reply::NO_SPACE,
        TaskRefusal::Damaged => reply::LOCAL_TROUBLE,
    }
}
