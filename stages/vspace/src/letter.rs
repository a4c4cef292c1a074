//! What the worker groups of all nodes say to each other about users: tasks, completions, notices.
//!
//! Between nodes a letter is MessagePack with the names of fields: what a newer release adds to a record is skipped by an older
//! one. A kind that is not known is an error of that letter alone.

use dds::scrub::Round;
use fsm::Token;
use mailstore::face::{AccountFacts, Completion, Notice, SessionId, Task, UserId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Letter {
    /// To the node that the map names as the primary of the task's partition.
    Asked {
        from: SessionId,
        token: Token,
        task: Task,
    },
    /// The completion, to the node and group of whoever asked.
    Answered {
        to: SessionId,
        token: Token,
        completion: Completion,
    },
    /// The task was not begun: the master is elsewhere, as far as is known here, or not ready.
    NotHere {
        to: SessionId,
        token: Token,
        task: Task,
    },
    Notified {
        session: SessionId,
        notice: Notice,
    },
    /// The mailbox of this user has events that the session has not read.
    Stirred {
        session: SessionId,
        user: UserId,
    },
    SessionGone {
        session: SessionId,
        user: UserId,
    },
    /// An IMAP session logged in, or such a one ended: the group of the mailbox counts them, over all groups and nodes.
    ImapLoggedIn {
        session: SessionId,
        user: UserId,
    },
    ImapLoggedOut {
        session: SessionId,
        user: UserId,
    },
    /// To the directory: tell the master of this user about the account.
    AskedAccount {
        user: UserId,
    },
    AccountIs {
        user: UserId,
        facts: AccountFacts,
    },
    Expected {
        user: UserId,
    },
    Kick {
        user: UserId,
        reason: Cow<'static, str>,
    },
    /// To whoever sent `Kick`: the sessions of the user end.
    Kicked {
        user: UserId,
    },
    EraseUser {
        user: UserId,
    },
    /// To the directory.
    Erased {
        user: UserId,
    },
    /// The directory and the delivery queue of the sender have ended: what they were asked has no answer.
    ResidentsEnded,
    /// To group 0: scrub what your node leads.
    ScrubAsked {
        run: u64,
    },
    Scrubbed {
        run: u64,
        round: Round,
    },
}

/// A letter that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a letter can't be read: {0}")]
pub struct Unreadable(String);

impl Letter {
    /// The bytes for another node.
    ///
    /// # Panics
    /// Never: every part of a letter has an encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("every part of a letter has an encoding")
    }

    /// # Errors
    /// When the bytes are no letter that this release knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        rmp_serde::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mailstore::face::{
        Body, Columns, Criteria, Deliver, DeliveryId, Flags, FolderName, InternalDate, Keyword,
        ModSeq, Promise, Row, Uid, UidSet, UserDone, UserError, UserTask,
    };
    use std::sync::Arc;

    fn row() -> Row {
        Row {
            uid: Uid(7),
            mod_seq: ModSeq(1 << 62),
            flags: Flags { keywords: 1 << 127 | 1, ..Flags::default() },
            internal_date: InternalDate { unix_seconds: -1, zone_minutes: -720 },
            saved: InternalDate::default(),
            bytes: 4700,
            email_id: mailstore::face::EmailId(3),
            thread_id: mailstore::face::ThreadId(4),
            envelope: Bytes::from_static(b"(NIL \xff)"),
            body: Bytes::new(),
            structure: Bytes::new(),
        }
    }

    #[test]
    fn letters_arrive_as_they_were_sent() {
        let user = UserId(u64::MAX);
        let deliver = Deliver {
            delivery: DeliveryId(u128::MAX - 5),
            recipient: "ann@example.org".into(),
            folder: FolderName::inbox(),
            prefix: Bytes::from_static(b"Received: \r\n"),
            body: Body::Inline(Bytes::from(vec![0xFE; 5000])),
            columns: Arc::new(Columns::default()),
            filing: mailstore::face::Filing {
                place: Some(mailstore::face::Place::Folder(FolderName::inbox())),
                flags: mailstore::face::SystemFlags(4),
                keywords: Vec::new(),
            },
            promise: Promise::Open,
        };
        let keyword = Keyword::new(b"$Junk").expect("a keyword");
        let criteria = Criteria::Or(
            Box::new(Criteria::Keyword(keyword)),
            Box::new(Criteria::Not(Box::new(Criteria::Uids(UidSet::from_range(3..=9))))),
        );
        let search =
            UserTask::Search { folder: mailstore::face::FolderId(2), criteria: criteria.into() };
        let (session, token) = (SessionId(3 << 48 | 17), Token(9));
        let answers = [
            Completion::User(UserDone::Fetched { rows: vec![row()] }),
            Completion::User(UserDone::Failed(UserError::Cannot("INBOX can't be deleted".into()))),
            Completion::Refused(mailstore::face::TaskRefusal::Unavailable),
        ];
        let mut letters = vec![
            Letter::Asked {
                from: session,
                token,
                task: Task::User { user, task: UserTask::Deliver(deliver) },
            },
            Letter::NotHere { to: session, token, task: Task::User { user, task: search } },
            Letter::Notified { session, notice: Notice::MasterChanged },
            Letter::Stirred { session, user },
            Letter::Kick { user, reason: "the password was changed".into() },
            Letter::Kicked { user },
            Letter::ResidentsEnded,
            Letter::ScrubAsked { run: u64::MAX },
            Letter::Scrubbed {
                run: 3,
                round: Round { bytes: 1 << 40, ended_ms: 5, ..Round::default() },
            },
        ];
        let answered = |completion| Letter::Answered { to: session, token, completion };
        letters.extend(answers.map(answered));
        for letter in letters {
            assert_eq!(Letter::decode(&letter.encode()), Ok(letter));
        }
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let good = Letter::Expected { user: UserId(1) }.encode();
        for len in 0..good.len() {
            assert!(Letter::decode(&good[..len]).is_err(), "{len} bytes");
        }
        assert!(Letter::decode(b"\xc1").is_err());
        // A list as deep as the bytes allow must not use up the stack.
        assert!(Letter::decode(&[0x91; 1 << 20]).is_err());
    }
}
