//! SEARCH criteria, sequence numbers already turned into UIDs and strings into UTF-8 by the session.

use super::{Keyword, ModSeq, SystemFlag, UidSet};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// RFC 9051 6.4.4. Strings are UTF-8, case-folded by the MailStore before they are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Criteria {
    All,
    And(Vec<Criteria>),
    Or(Box<Criteria>, Box<Criteria>),
    Not(Box<Criteria>),
    Uids(UidSet),
    Flag(SystemFlag),
    Keyword(Keyword),
    /// Days since 1970 of INTERNALDATE as displayed.
    InternalDate(DayTest),
    /// Days since 1970 of the Date header as displayed.
    SentDate(DayTest),
    /// RFC 8514: days since 1970 of the date a message was saved, as displayed.
    SavedDate(DayTest),
    /// RFC822.SIZE above this.
    Larger(u64),
    Smaller(u64),
    /// RFC 5032 WITHIN: arrived less than so many seconds ago.
    YoungerSeconds(u64),
    OlderSeconds(u64),
    /// A field of the header by name, contains the text; an empty text asks whether the field is there.
    Header {
        name: Bytes,
        text: Bytes,
    },
    From(Bytes),
    To(Bytes),
    Cc(Bytes),
    Bcc(Bytes),
    Subject(Bytes),
    /// The decoded text of the message without its header.
    BodyText(Bytes),
    /// The decoded text of the message with its header.
    Text(Bytes),
    /// RFC 7162 3.1.5: changed at or after.
    ModSeq(ModSeq),
    EmailId(super::EmailId),
    ThreadId(super::ThreadId),
    /// Of any of these; they rise.
    Threads(std::sync::Arc<[super::ThreadId]>),
}

/// A comparison of days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DayTest {
    Before(i32),
    On(i32),
    Since(i32),
}
