//! What SEARCH asks for.

use super::{Numbering, SequenceSet};
use bytes::Bytes;
use mailstore::face::{EmailId, Keyword, ModSeq, SystemFlag, ThreadId};

/// SEARCH and UID SEARCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchCommand {
    pub numbering: Numbering,
    /// RFC 4731. `None`: no RETURN, answer with the untagged SEARCH of RFC 3501.
    pub returns: Option<SearchReturn>,
    /// `Err`: answer NO `[BADCHARSET (...)]`.
    pub key: Result<SearchKey, UnknownCharset>,
}

/// RFC 4731 2.1; `RETURN ()` means ALL and is given as such. RFC 5182 SAVE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    pub save: bool,
}

/// The charset of SEARCH is none we can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown charset")]
pub struct UnknownCharset;

/// One search key. Nested at most a fixed limit deep. Strings are UTF-8, not yet case-folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    All,
    /// Several keys side by side, or in parentheses; two or more.
    And(Vec<SearchKey>),
    Or(Box<SearchKey>, Box<SearchKey>),
    Not(Box<SearchKey>),
    /// Message sequence numbers.
    Numbers(SequenceSet),
    /// `UID` and a set.
    Uids(SequenceSet),
    /// ANSWERED, SEEN ...; UNSEEN is `Not(Flag(Seen))`.
    Flag(SystemFlag),
    /// RECENT. OLD is `Not(Recent)`, NEW is `And([Recent, Not(Flag(Seen))])`.
    Recent,
    /// A keyword no message can have (too long): matches nothing.
    NoSuchKeyword,
    Keyword(Keyword),
    Bcc(Bytes),
    Cc(Bytes),
    From(Bytes),
    To(Bytes),
    Subject(Bytes),
    Body(Bytes),
    Text(Bytes),
    Header {
        name: Bytes,
        text: Bytes,
    },
    /// Days since 1970-01-01.
    Before(i32),
    On(i32),
    Since(i32),
    SentBefore(i32),
    SentOn(i32),
    SentSince(i32),
    /// Days since 1970-01-01 of RFC 8514 SAVEDATE.
    SavedBefore(i32),
    SavedOn(i32),
    SavedSince(i32),
    /// RFC 8514 SAVEDATESUPPORTED: whether the mailbox keeps the date (ours do).
    SaveDateSupported,
    Larger(u64),
    Smaller(u64),
    /// RFC 5032: seconds.
    Younger(u64),
    Older(u64),
    /// RFC 7162 3.1.5. The entry, when given, does not matter: one MODSEQ covers all flags of a
    /// message.
    ModSeq(ModSeq),
    EmailId(EmailId),
    ThreadId(ThreadId),
    /// An object id that no message of ours can have (RFC 8474 5.3): matches nothing.
    NoSuchId,
}

impl SearchKey {
    /// Whether this key or one inside it satisfies `test`: to find message numbers or MODSEQ in a
    /// search.
    pub fn any(&self, test: &mut dyn FnMut(&Self) -> bool) -> bool {
        if test(self) {
            return true;
        }
        match self {
            Self::And(keys) => keys.iter().any(|key| key.any(test)),
            Self::Or(left, right) => left.any(test) || right.any(test),
            Self::Not(key) => key.any(test),
            Self::All
            | Self::Numbers(_)
            | Self::Uids(_)
            | Self::Flag(_)
            | Self::Recent
            | Self::NoSuchKeyword
            | Self::Keyword(_)
            | Self::Bcc(_)
            | Self::Cc(_)
            | Self::From(_)
            | Self::To(_)
            | Self::Subject(_)
            | Self::Body(_)
            | Self::Text(_)
            | Self::Header { .. }
            | Self::Before(_)
            | Self::On(_)
            | Self::Since(_)
            | Self::SentBefore(_)
            | Self::SentOn(_)
            | Self::SentSince(_)
            | Self::SavedBefore(_)
            | Self::SavedOn(_)
            | Self::SavedSince(_)
            | Self::SaveDateSupported
            | Self::Larger(_)
            | Self::Smaller(_)
            | Self::Younger(_)
            | Self::Older(_)
            | Self::ModSeq(_)
            | Self::EmailId(_)
            | Self::ThreadId(_)
            | Self::NoSuchId => false,
        }
    }

    /// RFC 7162 3.1.5: whether the answer must carry the highest MODSEQ.
    #[must_use]
    pub fn has_mod_seq(&self) -> bool {
        self.any(&mut |key| matches!(key, Self::ModSeq(_)))
    }

    /// Whether message sequence numbers occur: then no EXPUNGE may be told meanwhile (RFC 9051
    /// 7.5.1).
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.any(&mut |key| matches!(key, Self::Numbers(_)))
    }
}
