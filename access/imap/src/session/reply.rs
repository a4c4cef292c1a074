//! The last line of a command, and what temporary and permanent failures look like there.

use super::view::ExpungeRule;
use mailstore::face::{TaskRefusal, UserError};
use std::borrow::Cow;

/// A tagged response, its tag left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub condition: Condition,
    /// Response code in brackets, if any, and text.
    pub text: Cow<'static, str>,
    pub expunges: ExpungeRule,
    pub code: LateCode,
}

/// A response code that is known only when the answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateCode {
    None,
    /// RFC 7162 3.2.7: up to here everything was told.
    HighestModSeq,
    /// RFC 9051 7.1 CAPABILITY.
    Capabilities,
}

/// RFC 9051 7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Ok,
    No,
    Bad,
}

impl Condition {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

impl Reply {
    fn new(condition: Condition, text: Cow<'static, str>) -> Self {
        Self { condition, text, expunges: ExpungeRule::Allowed, code: LateCode::None }
    }

    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::Ok, text.into())
    }

    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::No, text.into())
    }

    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Condition::Bad, text.into())
    }

    /// A completion of the wrong kind: a bug of ours, told as such, and the session lives on.
    pub fn bug() -> Self {
        // RFC 5530 3 SERVERBUG.
        Self::no("[SERVERBUG] an answer of the wrong kind")
    }

    /// The same reply under another rule for expunges.
    pub fn with(mut self, expunges: ExpungeRule) -> Self {
        self.expunges = expunges;
        self
    }

    /// The same reply, with HIGHESTMODSEQ.
    pub fn with_highest_mod_seq(mut self) -> Self {
        self.code = LateCode::HighestModSeq;
        self
    }

    /// The same reply, with CAPABILITY.
    pub fn with_capabilities(mut self) -> Self {
        self.code = LateCode::Capabilities;
        self
    }

    /// The task was not done, for now.
    pub fn refused(refusal: TaskRefusal) -> Self {
        Self::no(match refusal {
            // RFC 5530 3: LIMIT, UNAVAILABLE, CORRUPTION. Temporary: a client keeps its password
            // and its queue.
            TaskRefusal::Overloaded => "[LIMIT] too much work under way, try again",
            TaskRefusal::Unavailable => "[UNAVAILABLE] the mailbox can't be reached now, try again",
            TaskRefusal::NoSpace => "[UNAVAILABLE] no space left in the store, try again later",
            TaskRefusal::Damaged => {
                "[CORRUPTION] the stored data are damaged; the operator has been told"
            }
        })
    }

    /// The master would not do it.
    pub fn failed(error: &UserError) -> Self {
        let code = match error {
            UserError::NoSuchFolder => "NONEXISTENT",
            UserError::FolderExists => "ALREADYEXISTS",
            UserError::Cannot(_) | UserError::BadName(_) => "CANNOT",
            UserError::OverQuota => "OVERQUOTA",
            UserError::Limit(_) => "LIMIT",
            UserError::MaildropInUse => "INUSE",
            UserError::NoSuchPending => "UNAVAILABLE",
            UserError::Expunged => "EXPUNGEISSUED",
            UserError::Disabled => "CONTACTADMIN",
        };
        Self::no(format!("[{code}] {error}"))
    }

    /// The same for a command that would put messages into a folder.
    pub fn failed_target(error: &UserError) -> Self {
        match error {
            // RFC 9051 6.3.12, 6.4.7: the client may create it and try again.
            UserError::NoSuchFolder => Self::no("[TRYCREATE] no such folder"),
            UserError::FolderExists
            | UserError::Cannot(_)
            | UserError::BadName(_)
            | UserError::OverQuota
            | UserError::Limit(_)
            | UserError::MaildropInUse
            | UserError::NoSuchPending
            | UserError::Expunged
            | UserError::Disabled => Self::failed(error),
        }
    }
}
