//! Tasks for the master of a user, and their completions: N1 and what IMAP and POP3 add to it.

use super::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A task for one user's master, on behalf of one session. The five operations of NinjaMail are `Deliver`, `Append` and
/// `Copy` (addMessage), `Fetch` and `ReadSection` (getMessage), `Search` (getMessageIDs), `Store` (updateMessage), `Expunge`
/// (deleteMessage).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserTask {
    /// Puts an arriving message into a folder. `FolderName::inbox()` unless a filter said otherwise; a folder that is missing
    /// means INBOX. Done: `Delivered`. A repetition of (delivery, recipient) is answered with the first outcome.
    Deliver(Deliver),

    /// Done: `Folders`, sorted by name.
    ListFolders,
    /// Parents are made as needed. Done: `Created`.
    CreateFolder { name: FolderName, special_use: Option<SpecialUse> },
    /// Done: `Done`. A folder with children becomes `NoSelect`.
    DeleteFolder { name: FolderName },
    /// Children move along; INBOX moves its messages only. Done: `Done`.
    RenameFolder { from: FolderName, to: FolderName },
    /// Done: `Done`.
    Subscribe { name: FolderName, on: bool },
    /// Done: `Status`, one answer per name in order; `None` where no such folder can be selected.
    Status { names: Vec<FolderName> },

    /// Done: `Opened`. The session is told of changes until `CloseFolder`.
    OpenFolder { name: FolderName, mode: OpenMode, known: Option<Known> },
    /// Done: `Done`.
    CloseFolder { folder: FolderId },
    /// Changes since `since`. The session has told its client of all expunges up to `expunges_told`: bodies and metadata of
    /// later ones stay readable for it. Done: `Synced`.
    Sync { folder: FolderId, since: ModSeq, expunges_told: ModSeq },

    /// Done: `Fetched`, rising by UID; UIDs that are not there are left out. Ask for at most [`FETCH_ROWS_MAX`] at once.
    Fetch { folder: FolderId, uids: UidSet, want: Want, changed_since: Option<ModSeq> },
    /// Messages that are gone since `since`, among `uids`. Done: `Vanished`.
    Vanished { folder: FolderId, uids: UidSet, since: ModSeq },
    /// Bytes `offset..offset + len` of a section. Done: `Section`. Ask for at most [`SECTION_PAGE_BYTES_MAX`] at once.
    ReadSection { folder: FolderId, uid: Uid, section: Section, offset: u64, len: u64 },
    /// Done: `Found`.
    Search { folder: FolderId, criteria: Arc<Criteria> },
    /// Done: `Stored`.
    Store {
        folder: FolderId,
        uids: UidSet,
        change: FlagChange,
        flags: SystemFlags,
        keywords: Vec<Keyword>,
        unchanged_since: Option<ModSeq>,
    },
    /// Deletes messages that have `\Deleted`, among `uids` when given. Done: `Expunged`.
    Expunge { folder: FolderId, uids: Option<UidSet> },
    /// All or none. Done: `Copied`.
    Copy { folder: FolderId, uids: UidSet, to: FolderName, remove_source: bool },
    /// One message, at once. Done: `Appended`. Under `once` it may be asked for again, and comes once, as long as deliveries
    /// are remembered.
    Append { to: FolderName, message: NewMessage, once: Option<DeliveryId> },
    /// One message in place of another of the same folder, in one batch; `Failed(Expunged)` when that is not there any more.
    /// Done: `Appended`.
    Replace { folder: FolderId, uid: Uid, message: NewMessage },
    /// One of several messages: durable but invisible until `CommitAppend`. Without `pending` it opens a new set.
    /// Done: `Staged`.
    StageAppend { to: FolderName, pending: Option<PendingId>, message: NewMessage },
    /// Shows all staged messages in one batch. Done: `Appended`.
    CommitAppend { pending: PendingId },
    /// Done: `Done`.
    DropAppend { pending: PendingId },
    /// Done: `Quota`.
    Quota,
    /// Done: `Events`, or `Done`; see [`EventTask`].
    Events { subscriber: Subscriber, task: EventTask },

    /// The user's own records. Done: `Records`; see [`RecordTask`].
    Records(RecordTask),

    /// POP3: takes the one exclusive lock of the maildrop. Done: `MaildropOpened`.
    OpenMaildrop,
    /// POP3 UPDATE: deletes and releases the lock. Done: `Done`.
    CommitMaildrop { delete: UidSet },
    /// POP3: releases the lock, deletes nothing. Done: `Done`.
    ReleaseMaildrop,
}

/// Rows a session asks for in one `Fetch`.
pub const FETCH_ROWS_MAX: u64 = 512;
/// Bytes a session asks for in one `ReadSection`.
pub const SECTION_PAGE_BYTES_MAX: u64 = 256 * 1024;

/// An arriving message for one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deliver {
    pub delivery: DeliveryId,
    /// The address as accepted at RCPT, for the delivery memory and the log.
    pub recipient: Arc<str>,
    pub folder: FolderName,
    /// Return-Path, Delivered-To, Received: complete lines with CRLF.
    pub prefix: Bytes,
    pub body: Body,
    pub columns: Arc<Columns>,
    /// What deciding extensions say; the rules of the user add to it.
    #[serde(default, skip_serializing_if = "Filing::is_empty")]
    pub filing: Filing,
    pub promise: Promise,
}

/// Whether the client has been told already that the message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promise {
    /// Not yet: the master may refuse (over quota, disabled), and the client learns of it.
    Open,
    /// 250 was said: the message goes in, over quota and into a disabled account too. Nothing accepted is lost.
    Given,
}

/// The completion of a [`UserTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserDone {
    Done,
    Delivered { folder: FolderName, uid: Uid },
    Folders(Arc<[FolderInfo]>),
    Created { id: FolderId },
    Status(Vec<Option<FolderStatus>>),
    Opened(Box<FolderOpened>),
    Synced(FolderDiff),
    Fetched { rows: Vec<Row> },
    Vanished(UidSet),
    Section(SectionRead),
    Found { uids: UidSet, highest_mod_seq: Option<ModSeq> },
    Stored(Stored),
    Expunged { uids: UidSet, mod_seq: ModSeq },
    Copied(Copied),
    Appended { folder: FolderId, uid_validity: UidValidity, uids: UidSet },
    Staged { pending: PendingId },
    Quota(QuotaReport),
    Events(EventPage),
    Records(RecordsDone),
    MaildropOpened(Maildrop),
    Failed(UserError),
}

/// What STORE did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Every message in `changed` got its MODSEQ at this one or, in large orders, earlier ones that nobody else was given
    /// for a change of flags meanwhile.
    pub mod_seq: ModSeq,
    /// Messages whose flags are different now.
    pub changed: UidSet,
    /// Messages left alone because they had changed after UNCHANGEDSINCE (RFC 7162 3.1.3 MODIFIED).
    pub modified: UidSet,
    /// The keyword table after the change.
    pub keywords: Arc<[Keyword]>,
}

/// What COPY or MOVE did: `source` and `target` correspond in rising order (RFC 4315 COPYUID).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub uid_validity: UidValidity,
    pub source: UidSet,
    pub target: UidSet,
    /// With `remove_source`: the MODSEQ of the removal.
    pub mod_seq: ModSeq,
}

/// Usage and limits of a user; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaReport {
    pub bytes_used: u64,
    pub bytes_max: Option<u64>,
    pub messages_used: u64,
    pub messages_max: Option<u64>,
}

/// The maildrop as it was at log-in (RFC 1939 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maildrop {
    pub folder: FolderId,
    pub uid_validity: UidValidity,
    /// (UID, octets), rising by UID.
    pub messages: Arc<[(Uid, u64)]>,
}

/// Why a user task did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UserError {
    #[error("no such folder")]
    NoSuchFolder,
    #[error("the folder exists")]
    FolderExists,
    #[error("{0}")]
    Cannot(Cow<'static, str>),
    #[error("{0}")]
    BadName(NameError),
    #[error("over quota")]
    OverQuota,
    #[error("{0}")]
    Limit(Cow<'static, str>),
    #[error("another session has the maildrop open")]
    MaildropInUse,
    /// The pending set is gone: its session or master ended.
    #[error("the messages appended so far are gone")]
    NoSuchPending,
    #[error("the message is gone")]
    Expunged,
    /// To a delivery under [`Promise::Given`] it says that the account was removed: the message goes with it.
    #[error("the account is disabled")]
    Disabled,
}
