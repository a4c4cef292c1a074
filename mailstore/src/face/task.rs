//! What a session may ask of the rest of the system, and how it comes back.

use super::{DeliveryDone, DeliveryTask, DirectoryDone, DirectoryTask, UserDone, UserId, UserTask};
use bytes::Bytes;
use dds::BlobId;
use fsm::Duration;
use serde::{Deserialize, Serialize};

/// A task that leaves a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    Directory(DirectoryTask),
    User { user: UserId, task: UserTask },
    Delivery(DeliveryTask),
    Blob(BlobTask),
}

/// Large bodies on their way in, written chunk by chunk while they arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobTask {
    /// Chunk `index` (all but the last of [`dds::CHUNK_BYTES`]) of a new blob that nobody refers to yet. It expires by itself
    /// after `life` unless somebody who refers to it renews it. Done: `BlobDone::Written`.
    PutChunk { blob: BlobId, index: u32, bytes: Bytes, life: Duration },
    /// The message was refused: the blob may go at once. Done: `BlobDone::Dropped`.
    Drop { blob: BlobId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobDone {
    Written,
    Dropped,
}

/// The completion of a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    Directory(DirectoryDone),
    User(UserDone),
    Delivery(DeliveryDone),
    Blob(BlobDone),
    /// It was not done, and will not be.
    Refused(TaskRefusal),
}

/// Why a task was not done. All are temporary: SMTP 4xx, IMAP NO [UNAVAILABLE], POP3 [SYS/TEMP].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum TaskRefusal {
    #[error("too much work under way")]
    Overloaded,
    #[error("the master of the mailbox can't be reached now")]
    Unavailable,
    #[error("no space left in the store")]
    NoSpace,
    #[error("the stored data are damaged; the operator has been told")]
    Damaged,
}

/// Order of service. Admission judges each by its own queue delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Somebody waits at a screen.
    Interactive,
    /// Mail in.
    Delivery,
    Extension,
    Rebalance,
}
