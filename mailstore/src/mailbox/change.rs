//! What a batch under way will have changed once it commits, and who waits for it.

use super::format::{CondemnedEmail, Header, Meta, Rows};
use super::records::RecordWrite;
use super::settle::Hold;
use super::show::ShowPlan;
use crate::face::{
    Copied, DeliveryId, FlagChange, Flags, FolderId, FolderName, Keyword, ModSeq, PendingId,
    SessionId, SpecialUse, SystemFlag, UidSet, UidValidity, UserDone,
};
use fsm::{Mono, Token};
use std::sync::Arc;

/// Who asked, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub session: SessionId,
    pub token: Token,
    pub since: Mono,
}

/// The change of one batch. Boxed where it is rare.
#[derive(Debug)]
pub enum Change {
    /// The first records of a new user.
    Founded,
    Arrived(Arrival),
    /// A message of a pending set is durable.
    Staged(Staging),
    /// Rows become visible in one folder, and perhaps vanish in another: CommitAppend, COPY, MOVE.
    Shown(Box<Showing>),
    /// A slice of many rows that will be shown at last.
    Shelved(Box<ShowPlan>),
    Flagged(Box<Flagging>),
    Expunged(Box<Expunging>),
    /// One message arrives and another vanishes.
    Replaced(Box<Replacing>),
    Folders(Box<FolderChange>, Asker),
    /// A cursor of the event log.
    Cursor {
        asker: Asker,
        done: UserDone,
    },
    /// Records of the user's own.
    Records(RecordWrite),
    House(House),
}

impl Change {
    /// The pending set that this shows, if any.
    #[must_use]
    pub fn shows(&self) -> Option<PendingId> {
        match self {
            Self::Shown(showing) => match showing.source {
                ShowingSource::Append { pending, .. } => Some(pending),
                ShowingSource::Copy { .. } | ShowingSource::RenamedInbox { .. } => None,
            },
            Self::Shelved(plan) => plan.shows(),
            Self::Founded
            | Self::Arrived(_)
            | Self::Staged(_)
            | Self::Flagged(_)
            | Self::Expunged(_)
            | Self::Replaced(_)
            | Self::Folders(..)
            | Self::Cursor { .. }
            | Self::Records(_)
            | Self::House(_) => None,
        }
    }

    /// Whether it is a step of a deletion, so that it must pass while the disk is full: clients mark messages \Deleted before
    /// they expunge them (RFC 9051 2.3.2), and an expunge is noted first and done later.
    #[must_use]
    pub fn makes_way(&self) -> bool {
        match self {
            Self::Flagged(flagging) => {
                flagging.change != FlagChange::Remove
                    && flagging.flags.system.has(SystemFlag::Deleted)
            }
            Self::Expunged(_) | Self::House(House::Expired) => true,
            Self::Records(write) => write.makes_way,
            Self::Founded
            | Self::Arrived(_)
            | Self::Staged(_)
            | Self::Shown(_)
            | Self::Shelved(_)
            | Self::Replaced(_)
            | Self::Folders(..)
            | Self::Cursor { .. }
            | Self::House(_) => false,
        }
    }

    /// Who is answered when the batch has settled, if it is one.
    #[must_use]
    pub fn asker(&self) -> Option<Asker> {
        match self {
            Self::Founded | Self::Staged(_) | Self::Flagged(_) => None,
            Self::Arrived(arrival) => Some(arrival.asker()),
            Self::Replaced(replacing) => Some(replacing.arrival.asker()),
            Self::Shown(showing) => Some(showing.asker()),
            Self::Shelved(plan) => Some(plan.asker),
            Self::Expunged(expunging) => Some(expunging.asker),
            Self::Folders(_, asker) | Self::Cursor { asker, done: _ } => Some(*asker),
            Self::Records(write) => Some(write.asker),
            Self::House(_) => None,
        }
    }

    /// All who wait for it.
    pub fn into_askers(self) -> Vec<Asker> {
        match self {
            Self::Staged(staging) => staging.askers,
            other => other.asker().into_iter().collect(),
        }
    }
}

/// One message arrives.
#[derive(Debug)]
pub struct Arrival {
    pub folder: FolderId,
    pub meta: Meta,
    pub keywords: u128,
    pub header: Header,
    pub source: ArrivalSource,
}

impl Arrival {
    /// Who is answered when the batch has settled.
    #[must_use]
    pub fn asker(&self) -> Asker {
        match &self.source {
            ArrivalSource::Delivery { asker, .. } | ArrivalSource::Append { asker, .. } => *asker,
        }
    }
}

#[derive(Debug)]
pub enum ArrivalSource {
    Delivery { delivery: DeliveryId, recipient: Arc<str>, memory: MemoryKey, asker: Asker },
    Append { memory: Option<MemoryKey>, asker: Asker },
}

/// A place in the delivery memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryKey {
    pub delivery: DeliveryId,
    /// Hash of the recipient.
    pub recipient: u64,
    pub hour: u32,
}

/// A message of a pending set. `asker`: unless it was answered already.
#[derive(Debug)]
pub struct Staging {
    pub pending: PendingId,
    /// Who waits until it is durable.
    pub askers: Vec<Asker>,
    /// As [`House::Packed`].
    pub blocks: Vec<(u64, u64)>,
}

/// Rows become visible.
#[derive(Debug)]
pub struct Showing {
    pub folder: FolderId,
    /// Folders made in the same batch (RENAME INBOX).
    pub made: Vec<MadeFolder>,
    pub header: Header,
    pub rows: Rows,
    /// The pending set they come from, when its staged rows are still in the store.
    pub adopted: Option<PendingId>,
    /// MOVE: what vanishes elsewhere in the same batch.
    pub removal: Option<Removal>,
    pub source: ShowingSource,
    pub hold: Hold,
}

impl Showing {
    /// Who is answered when the batch has settled.
    #[must_use]
    pub fn asker(&self) -> Asker {
        match &self.source {
            ShowingSource::Append { asker, .. }
            | ShowingSource::Copy { asker, .. }
            | ShowingSource::RenamedInbox { asker } => *asker,
        }
    }
}

#[derive(Debug)]
pub enum ShowingSource {
    Append { pending: PendingId, asker: Asker },
    Copy { copied: Copied, asker: Asker },
    RenamedInbox { asker: Asker },
}

/// Messages vanish from a folder.
#[derive(Debug)]
pub struct Removal {
    pub folder: FolderId,
    pub header: Header,
    pub mod_seq: ModSeq,
    pub uids: UidSet,
    /// Messages that lost their last reference.
    pub condemned: Vec<CondemnedEmail>,
}

/// A message in place of another.
#[derive(Debug)]
pub struct Replacing {
    pub arrival: Arrival,
    pub removal: Removal,
}

/// One slice of a STORE.
#[derive(Debug)]
pub struct Flagging {
    pub folder: FolderId,
    pub header: Header,
    pub mod_seq: ModSeq,
    pub change: FlagChange,
    pub flags: Flags,
    pub uids: UidSet,
}

/// One slice of an EXPUNGE.
#[derive(Debug)]
pub struct Expunging {
    pub removal: Removal,
    /// What was expunged in slices before this one.
    pub earlier: UidSet,
    /// What is still to be expunged.
    pub later: UidSet,
    pub then: ExpungeThen,
    pub asker: Asker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpungeThen {
    /// EXPUNGE: the answer names the UIDs.
    Tell,
    /// POP3 UPDATE: the lock is released.
    ReleaseMaildrop,
}

/// A folder that a batch makes.
#[derive(Clone, Debug)]
pub struct MadeFolder {
    pub id: FolderId,
    pub name: FolderName,
    pub uid_validity: UidValidity,
    pub special_use: Option<SpecialUse>,
    pub header: Header,
    pub keywords: Vec<Keyword>,
}

/// A change of the folder table.
#[derive(Debug)]
pub enum FolderChange {
    /// In order; the last one is the one that was asked for.
    Created(Vec<MadeFolder>),
    Deleted(FolderId),
    /// Folders with their new names and UIDVALIDITY; made ones are new parents.
    Renamed {
        moved: Vec<(FolderId, FolderName, UidValidity)>,
        made: Vec<MadeFolder>,
    },
    Subscribed {
        name: FolderName,
        on: bool,
    },
}

/// Housekeeping: nothing that a session sees, but for expiry.
#[derive(Debug)]
pub enum House {
    /// Condemned messages, or an orphaned pending set.
    Removed,
    /// Chunks of a folder were written as segments.
    Folded,
    /// The log of a folder was trimmed.
    Trimmed {
        header: Header,
    },
    /// A slice of a deleted folder.
    Buried,
    /// Columns of blocks; of each the number, and bits of messages that are gone.
    Packed {
        blocks: Vec<(u64, u64)>,
    },
    Unpacked {
        number: u64,
    },
    /// Rows are gone because of their age.
    Expired,
    /// The first record of what expires.
    ExpiryBegun,
}
