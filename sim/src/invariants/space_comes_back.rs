//! The blob of a message that only ever one mailbox had is gone soon after the message, without a
//! sweep.

use crate::decoder::{DecodedUser, Image, Queued};
use crate::ledger::{Ledger, id_in};

/// Blobs that nobody refers to, of messages for one user.
pub fn garbage(
    image: &Image,
    users: &[Option<DecodedUser>],
    queue: &[Queued],
    ledger: &Ledger,
) -> Vec<u128> {
    let is_held = |blob: &u128| {
        queue.iter().any(|queued| queued.blob == Some(*blob))
            || users.iter().flatten().any(|user| user.referenced.contains(blob))
    };
    let is_for_one = |blob: &u128| {
        let first = image.blob_range(*blob, 0, 1024);
        let id = first.as_deref().and_then(id_in).and_then(|id| usize::try_from(id).ok());
        let message = id.and_then(|id| ledger.messages().get(id));
        message.is_some_and(|message| message.fates.len() == 1)
    };
    let blobs = image.blobs.keys().filter(|blob| !is_held(blob) && is_for_one(blob));
    blobs.copied().collect()
}
