//! The states of a conversation (RFC 1939 section 3). Each owns its data; what is large stands in a box.

use super::maildrop::OpenMaildrop;
use super::transfer::{Listing, Transfer};
use bytes::Bytes;
use fsm::{Digest, Token};
use mailstore::face::Account;
use mailstore::sasl::Exchange;

/// Where a conversation stands.
#[derive(Debug)]
pub enum State {
    /// AUTHORIZATION: nobody has named a maildrop yet.
    Start,
    /// AUTHORIZATION: USER was given.
    Named(Bytes),
    /// AUTH: the next line is a response.
    Authenticating(Exchange),
    /// The directory judges the credentials; `name` is what the log calls the client.
    Verifying {
        token: Token,
        name: Box<str>,
    },
    /// The master takes the lock and the snapshot.
    Opening {
        token: Token,
        account: Account,
    },
    /// TRANSACTION.
    Transaction(Box<OpenMaildrop>),
    /// TRANSACTION: a message is on its way to the client, page by page.
    Transferring {
        maildrop: Box<OpenMaildrop>,
        transfer: Transfer,
    },
    /// TRANSACTION: a listing is on its way, piece by piece.
    Listing {
        maildrop: Box<OpenMaildrop>,
        listing: Listing,
    },
    /// UPDATE: the master deletes what was marked and releases the lock.
    Updating {
        token: Token,
        maildrop: Box<OpenMaildrop>,
    },
    /// Output is flushed, then TLS begins. Nothing can arrive.
    StartingTls,
    Closed,
}

impl State {
    /// What the session does now, for operators: the states of RFC 1939 section 3.
    pub fn activity(&self) -> &'static str {
        match self {
            Self::Start | Self::Named(_) => "authorization",
            Self::Authenticating(_) | Self::Verifying { .. } | Self::Opening { .. } => {
                "authenticating"
            }
            Self::Transaction(_) => "transaction",
            Self::Transferring { .. } | Self::Listing { .. } => "transaction, sending",
            Self::Updating { .. } => "update",
            Self::StartingTls => "starting TLS",
            Self::Closed => "closed",
        }
    }

    /// The maildrop whose lock this session holds, or may be about to.
    #[must_use]
    pub fn locked_by(&self) -> Option<&Account> {
        match self {
            Self::Opening { token: _, account } => Some(account),
            Self::Transaction(maildrop)
            | Self::Transferring { maildrop, transfer: _ }
            | Self::Listing { maildrop, listing: _ } => Some(&maildrop.account),
            Self::Start
            | Self::Named(_)
            | Self::Authenticating(_)
            | Self::Verifying { .. }
            // The commit releases the lock.
            | Self::Updating { .. }
            | Self::StartingTls
            | Self::Closed => None,
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        match self {
            Self::Start => digest.word(1),
            Self::Named(name) => digest.bytes(name),
            Self::Authenticating(_) => digest.word(2),
            Self::Verifying { token, name: _ } => digest.word(3 ^ token.0 << 8),
            Self::Opening { token, account: _ } => digest.word(4 ^ token.0 << 8),
            Self::Transaction(maildrop) => maildrop.digest(digest),
            Self::Transferring { maildrop, transfer } => {
                maildrop.digest(digest);
                transfer.digest(digest);
            }
            Self::Listing { maildrop, listing } => {
                maildrop.digest(digest);
                digest.word(listing.next as u64);
            }
            Self::Updating { token, maildrop: _ } => digest.word(5 ^ token.0 << 8),
            Self::StartingTls => digest.word(6),
            Self::Closed => digest.word(7),
        }
    }
}

/// Whether the peer is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    On,
    Paused,
}

/// Whether the client takes what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// So many octets were sent since it was last known to have taken all.
    Flowing { octets: usize },
    /// Nothing more is made until it has.
    Draining,
}

/// Whether the conversation shall end at the next point where nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    No,
    ShuttingDown,
    Kicked,
}

/// What reading a piece of input led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// So many bytes are done with.
    Used(usize),
    /// So many bytes are done with; the rest waits for more, for a completion, or for the client to take what was sent.
    Wait(usize),
}
