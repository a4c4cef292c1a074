//! The client face: what may be asked of a partition, and its answers.

use crate::{Batch, BlobId, Epoch, Outcome, Refusal, RouteKey, Seq, SortKey, Version};
use bytes::Bytes;
use fsm::Wall;

/// A task for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Becomes the writer of a route: a new epoch, durable before the answer. Answer: `Claimed`.
    Claim { route: RouteKey },
    /// Answer: `Wrote`.
    Write(Batch),
    /// Answer: `Got` with one slot per key, in order. One key is a get, several a multi-get.
    Get { route: RouteKey, keys: Vec<SortKey> },
    /// Entries with `from <= key < to`, body keys among them, in order (descending when `reverse`). At most `entries_max`, and a
    /// page of at most [`crate::Limits::scan_bytes_max`]. Answer: `Scanned`.
    Scan { route: RouteKey, from: SortKey, to: SortKey, reverse: bool, entries_max: usize },
    /// Writes chunk `index` of a blob, durable before the answer. Chunks may come in any order and again, with equal bytes.
    /// Answer: `Wrote`.
    PutChunk { blob: BlobId, index: u32, bytes: Bytes, expires: Wall },
    /// Extends the life of a blob to at least `expires`, durably. Refused with `PreconditionFailed` when it is gone.
    /// Answer: `Wrote`.
    RenewBlob { blob: BlobId, expires: Wall },
    /// Bytes `offset..offset + len` of a blob, cut at its end. Answer: `BlobRead`, or `Absent`.
    ReadBlob { blob: BlobId, offset: u64, len: u64 },
    /// Deletes up to `blobs_max` blobs of `partition` that had expired before `expired_before`. The collector asks this only
    /// under the rule of design section 5. Answer: `Collected`.
    CollectBlobs { partition: crate::PartitionId, expired_before: Wall, blobs_max: usize },
    /// Deletes one blob at once: only for one that nobody was told of. Answer: `Wrote`.
    DropBlob { blob: BlobId },
}

/// The completion of a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    Claimed(Claimed),
    Wrote(Outcome),
    Got(Vec<Option<(Bytes, Version)>>),
    Scanned {
        entries: Vec<Entry>,
        /// More entries remain: scan again from behind the last one.
        more: bool,
    },
    BlobRead(Bytes),
    Absent,
    Collected {
        blobs: usize,
        /// More expired blobs remain.
        more: bool,
    },
    Refused(Refusal),
}

/// A fresh claim of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    pub epoch: Epoch,
    /// The epoch before and its last applied batch: every later batch of that epoch is lost for good.
    pub previous: (Epoch, Seq),
}

/// One entry of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: SortKey,
    pub value: Bytes,
    pub version: Version,
}

impl Request {
    /// The partition that does it.
    #[must_use]
    pub fn partition(&self, map: &crate::DpMap) -> crate::PartitionId {
        match self {
            Self::Claim { route } | Self::Get { route, .. } | Self::Scan { route, .. } => {
                map.partition_of(&route.0)
            }
            Self::Write(batch) => map.partition_of(&batch.route.0),
            Self::PutChunk { blob, .. }
            | Self::RenewBlob { blob, .. }
            | Self::ReadBlob { blob, .. }
            | Self::DropBlob { blob } => map.partition_of(&blob.to_bytes()),
            Self::CollectBlobs { partition, .. } => *partition,
        }
    }
}
