//! Who refers to blobs: where their references stand.
//!
//! Every referrer keeps one entry per blob it refers to, with the same value: the delivery queue
//! among its entries, a user among the user's. A new kind of referrer must be added here before the
//! first of it is written.

use crate::delivery::{self, EntryKind};
use crate::face::UserId;
use bytes::Bytes;
use dds::{RouteKey, SortKey};

/// Somebody who may refer to blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrer {
    /// A delivery queue, by its number.
    Queue(u32),
    User(UserId),
}

impl Referrer {
    #[must_use]
    pub fn route(self) -> RouteKey {
        match self {
            Self::Queue(queue) => delivery::route(queue),
            // `mailbox::format`: `u` and the user id.
            Self::User(user) => RouteKey([&b"u"[..], &user.0.to_be_bytes()].concat().into()),
        }
    }

    /// The keys of the references.
    #[must_use]
    pub fn references(self) -> (SortKey, SortKey) {
        match self {
            Self::Queue(_) => EntryKind::Blob.range(),
            // `mailbox::format`: `41` and the EMAILID.
            Self::User(_) => {
                (SortKey(Bytes::from_static(b"\x41")), SortKey(Bytes::from_static(b"\x42")))
            }
        }
    }
}
