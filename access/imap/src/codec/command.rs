//! The typed commands of IMAP4rev1 and of the extensions that are announced.
//!
//! Strings are decoded: mailbox names to UTF-8 in NFC, search strings to UTF-8, flags to sets.
//! Credentials stay bytes.

use super::{FetchCommand, SearchCommand, SequenceSet};
use bytes::Bytes;
use mailstore::face::{
    FlagChange, FolderName, Keyword, ModSeq, NameError, SpecialUse, SystemFlag, SystemFlags,
    UidValidity,
};

/// The tag of a command: RFC 9051 section 9 `tag`, not empty, at most 255 bytes here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(pub Bytes);

/// One complete command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub tag: Tag,
    pub body: CommandBody,
}

/// A mailbox argument: a valid name, or why it is none, to be answered NO `[CANNOT]`
/// (`protocols.md`).
pub type Mailbox = Result<FolderName, MailboxError>;

/// Why a mailbox argument names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    #[error("a mailbox name must be modified UTF-7")]
    NotUtf7,
    #[error("a mailbox name must be UTF-8")]
    NotUtf8,
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Whether numbers are message sequence numbers or UIDs (the command came with `UID` in front).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    Sequence,
    Uid,
}

/// APPEND is not here: it is streamed, see [`super::AppendEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody {
    Capability,
    Noop,
    Logout,
    /// RFC 2971. `None`: NIL. Values that are NIL are `None`.
    Id(Option<Vec<(Bytes, Option<Bytes>)>>),
    StartTls,
    Authenticate {
        /// In capitals.
        mechanism: Bytes,
        /// RFC 4959: base64 as sent, still encoded. Empty when the client sent `=` (an empty
        /// response).
        initial: Option<Bytes>,
    },
    Login {
        username: Bytes,
        password: Bytes,
    },
    Enable(Vec<Enabled>),
    Select {
        mailbox: Mailbox,
        params: SelectParams,
    },
    Examine {
        mailbox: Mailbox,
        params: SelectParams,
    },
    Create {
        /// One trailing separator is removed (RFC 9051 6.3.4).
        mailbox: Mailbox,
        /// RFC 6154 3. `Err`: an attribute that is unknown: NO `[USEATTR]`.
        special_use: Result<Vec<SpecialUse>, UnknownUse>,
    },
    Delete {
        mailbox: Mailbox,
    },
    Rename {
        from: Mailbox,
        to: Mailbox,
    },
    Subscribe {
        mailbox: Mailbox,
    },
    Unsubscribe {
        mailbox: Mailbox,
    },
    List(ListCommand),
    Lsub {
        reference: Pattern,
        pattern: Pattern,
    },
    Namespace,
    Status {
        mailbox: Mailbox,
        items: Vec<StatusItem>,
    },
    GetQuota {
        root: Bytes,
    },
    GetQuotaRoot {
        mailbox: Mailbox,
    },
    SetQuota {
        root: Bytes,
        /// (resource name in capitals, limit).
        limits: Vec<(Bytes, u64)>,
    },
    /// Then the framer is told to expect lines: DONE.
    Idle,
    Check,
    Close,
    Unselect,
    Expunge,
    /// RFC 4315 2.1.
    UidExpunge {
        uids: SequenceSet,
    },
    Search(SearchCommand),
    Fetch(FetchCommand),
    Store(StoreCommand),
    Copy {
        numbering: Numbering,
        set: SequenceSet,
        mailbox: Mailbox,
    },
    Move {
        numbering: Numbering,
        set: SequenceSet,
        mailbox: Mailbox,
    },
}

/// A `USE` attribute that is none of RFC 6154.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown special-use attribute")]
pub struct UnknownUse;

/// What ENABLE names (RFC 5161). Names that can't be enabled are left out, as the RFC wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enabled {
    CondStore,
    QResync,
    Utf8Accept,
    Imap4Rev2,
}

/// Parameters of SELECT and EXAMINE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectParams {
    /// RFC 7162 3.1.8.
    pub condstore: bool,
    /// RFC 7162 3.2.5.
    pub qresync: Option<QResync>,
}

/// `(QRESYNC (uidvalidity modseq [known-uids] [(seqs uids)]))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    pub uid_validity: UidValidity,
    pub mod_seq: ModSeq,
    /// No `*` in it.
    pub known_uids: Option<SequenceSet>,
    /// (message numbers, UIDs), RFC 7162 3.2.5.2; no `*` in them.
    pub match_data: Option<(SequenceSet, SequenceSet)>,
}

/// A reference or pattern of LIST and LSUB: UTF-8, wildcards `*` and `%` in it.
pub type Pattern = Result<Box<str>, MailboxError>;

/// LIST, in the form of RFC 3501 or of RFC 5258.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListCommand {
    pub form: ListForm,
    pub selection: ListSelection,
    pub reference: Pattern,
    /// One or more.
    pub patterns: Vec<Pattern>,
    pub returns: ListReturn,
}

/// Which grammar the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListForm {
    /// RFC 3501: an empty pattern asks for the separator.
    Basic,
    /// RFC 5258: selection options (also empty ones), several patterns or return options.
    Extended,
}

/// RFC 5258 3.1, RFC 6154 5.2. RECURSIVEMATCH never stands alone (that is BAD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelection {
    pub subscribed: bool,
    pub remote: bool,
    pub recursive_match: bool,
    pub special_use: bool,
}

/// RFC 5258 3.2, RFC 5819, RFC 6154.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    pub status: Option<Vec<StatusItem>>,
}

/// RFC 9051 6.3.11, RFC 7162, 7889, 8438, 8474, 9208.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
    AppendLimit,
    MailboxId,
    DeletedStorage,
}

impl StatusItem {
    /// All, in the order they are shown.
    pub const ALL: [Self; 11] = [
        Self::Messages,
        Self::Recent,
        Self::UidNext,
        Self::UidValidity,
        Self::Unseen,
        Self::Deleted,
        Self::Size,
        Self::HighestModSeq,
        Self::AppendLimit,
        Self::MailboxId,
        Self::DeletedStorage,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "MESSAGES",
            Self::Recent => "RECENT",
            Self::UidNext => "UIDNEXT",
            Self::UidValidity => "UIDVALIDITY",
            Self::Unseen => "UNSEEN",
            Self::Deleted => "DELETED",
            Self::Size => "SIZE",
            Self::HighestModSeq => "HIGHESTMODSEQ",
            Self::AppendLimit => "APPENDLIMIT",
            Self::MailboxId => "MAILBOXID",
            Self::DeletedStorage => "DELETED-STORAGE",
        }
    }
}

/// STORE and UID STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreCommand {
    pub numbering: Numbering,
    pub set: SequenceSet,
    /// RFC 7162 3.1.3. May be 0: then no message passes.
    pub unchanged_since: Option<ModSeq>,
    pub change: FlagChange,
    pub silent: bool,
    pub flags: Result<FlagList, FlagError>,
}

/// Flags as a client names them. `\Recent` is left out: no client may set it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagList {
    pub system: SystemFlags,
    /// Each once.
    pub keywords: Vec<Keyword>,
}

impl FlagList {
    /// Adds a keyword unless it is there in any case.
    pub fn add_keyword(&mut self, keyword: Keyword) {
        if !self.keywords.contains(&keyword) {
            self.keywords.push(keyword);
        }
    }

    pub fn add_system(&mut self, flag: SystemFlag) {
        self.system = self.system.with(flag);
    }
}

/// Flags that are well formed and refused: NO `[LIMIT]` (`protocols.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    #[error("a keyword has at most {} bytes", Keyword::BYTES_MAX)]
    KeywordTooLong,
    #[error("too many keywords at once")]
    TooManyKeywords,
}
