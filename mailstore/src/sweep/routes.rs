//! Who refers to blobs: where their references stand.
//!
//! Every referrer keeps one entry per blob it refers to: the delivery queue among its entries, a
//! user among the user's. A new kind of referrer must be added here before the first of it is
//! written.

use crate::delivery::{self, EntryKind};
use crate::face::UserId;
use crate::mailbox::format::{decode_blob_reference, keys};
use bytes::Bytes;
use dds::{BlobId, RouteKey, SortKey};

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
            Self::User(user) => keys::route(user),
        }
    }

    /// The keys of the references.
    #[must_use]
    pub fn references(self) -> (SortKey, SortKey) {
        match self {
            Self::Queue(_) => EntryKind::Blob.range(),
            Self::User(_) => keys::blob_references(),
        }
    }

    /// The blob that the value of a reference names; `Err`: why it can't be read.
    ///
    /// # Errors
    /// Damage, in words.
    pub fn blob_of(self, value: Bytes) -> Result<BlobId, String> {
        match self {
            Self::Queue(_) => delivery::read_blob(value).map_err(|error| error.to_string()),
            Self::User(_) => match decode_blob_reference(&value) {
                Ok((blob, _)) => Ok(blob),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}
