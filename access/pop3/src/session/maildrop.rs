//! The maildrop of one session: a snapshot taken at log-in, and what is marked as deleted in it (RFC 1939 sections 4 and 5).
//!
//! Absences: nothing here changes the mailbox; marks are forgotten unless QUIT commits them.

use fsm::Digest;
use mailstore::face::{Account, FolderId, Maildrop, Uid, UidSet, UidValidity};
use std::sync::Arc;

/// An open maildrop.
#[derive(Debug)]
pub struct OpenMaildrop {
    pub account: Account,
    pub folder: FolderId,
    uid_validity: UidValidity,
    messages: Arc<[(Uid, u64)]>,
    /// Marked as deleted, by UID.
    deleted: std::collections::BTreeSet<Uid>,
    octets: u64,
}

/// One message, not marked as deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// From 1.
    pub number: usize,
    pub uid: Uid,
    pub octets: u64,
}

/// As UIDL shows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueId {
    uid_validity: UidValidity,
    uid: Uid,
}

impl std::fmt::Display for UniqueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.uid_validity, self.uid)
    }
}

impl OpenMaildrop {
    #[must_use]
    pub fn new(account: Account, maildrop: Maildrop) -> Self {
        let Maildrop { folder, uid_validity, messages } = maildrop;
        let octets = total(&messages);
        let deleted = std::collections::BTreeSet::new();
        Self { account, folder, uid_validity, messages, deleted, octets }
    }

    /// Messages not marked as deleted, and their octets.
    #[must_use]
    pub fn stat(&self) -> (usize, u64) {
        (self.messages.len() - self.deleted.len(), self.octets)
    }

    /// The message with this number, unless it is marked as deleted or was never there.
    #[must_use]
    pub fn message(&self, number: u64) -> Option<Message> {
        let number = usize::try_from(number).ok()?;
        let &(uid, octets) = self.messages.get(number.checked_sub(1)?)?;
        (!self.deleted.contains(&uid)).then_some(Message { number, uid, octets })
    }

    /// The first message at or behind `number` that is not marked as deleted.
    #[must_use]
    pub fn next_message(&self, number: usize) -> Option<Message> {
        (number..=self.messages.len()).find_map(|number| self.message(number as u64))
    }

    pub fn mark(&mut self, message: Message) {
        if self.deleted.insert(message.uid) {
            self.octets = self.octets.saturating_sub(message.octets);
        }
    }

    /// RFC 1939 section 5 RSET.
    pub fn unmark_all(&mut self) {
        self.deleted.clear();
        self.octets = total(&self.messages);
    }

    /// What QUIT deletes.
    #[must_use]
    pub fn marked(&self) -> UidSet {
        self.deleted.iter().copied().collect()
    }

    /// RFC 1939 section 7 UIDL: 1 to 70 characters, the same in every session, never of another message.
    #[must_use]
    pub fn unique_id(&self, message: Message) -> UniqueId {
        UniqueId { uid_validity: self.uid_validity, uid: message.uid }
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.account.user.0);
        digest.word(self.messages.len() as u64);
        digest.word(self.deleted.len() as u64);
    }
}

fn total(messages: &[(Uid, u64)]) -> u64 {
    messages.iter().fold(0, |sum, &(_, octets)| sum.saturating_add(octets))
}
