//! The envelope of one transaction: reverse path and recipients, as they are being settled.
//!
//! Invariant: lookups are answered in the order of their RCPT commands, whatever order they complete in.

use crate::codec::reply::Reply;
use fsm::{Digest, Token};
use mailstore::face::{Recipient, UserId};
use std::collections::VecDeque;
use std::sync::Arc;

/// RFC 5321 3.3.
#[derive(Debug)]
pub struct Envelope {
    /// Empty for the null reverse path.
    pub reverse_path: Box<str>,
    /// RFC 6531 3.4: the client declared it.
    pub smtputf8: bool,
    /// Octets that SIZE announced, 0 when it did not.
    pub announced_bytes: u64,
    pub accepted: Vec<Accepted>,
    /// RCPT commands not answered yet, oldest first.
    pub lookups: VecDeque<Lookup>,
}

/// A recipient that was answered 250.
#[derive(Debug)]
pub struct Accepted {
    /// As given at RCPT.
    pub address: Arc<str>,
    pub mailboxes: Arc<[Recipient]>,
}

/// A recipient whose address is being looked up.
#[derive(Debug)]
pub struct Lookup {
    pub token: Token,
    pub address: Arc<str>,
    pub finding: Finding,
}

/// What a lookup has led to.
#[derive(Debug)]
pub enum Finding {
    Awaited,
    Local(Arc<[Recipient]>),
    Refused(Reply),
}

impl Envelope {
    #[must_use]
    pub fn new(reverse_path: &str, smtputf8: bool, announced_bytes: u64) -> Self {
        Self {
            reverse_path: reverse_path.into(),
            smtputf8,
            announced_bytes,
            accepted: Vec::new(),
            lookups: VecDeque::new(),
        }
    }

    /// Recipients that are or may become accepted.
    #[must_use]
    pub fn recipients(&self) -> usize {
        self.accepted.len() + self.lookups.len()
    }

    /// Notes what a lookup found; false when nobody waits for `token`.
    pub fn found(&mut self, token: Token, finding: Finding) -> bool {
        match self.lookups.iter_mut().find(|lookup| lookup.token == token) {
            Some(lookup) => {
                lookup.finding = finding;
                true
            }
            None => false,
        }
    }

    /// The oldest RCPT, once it can be answered: `Err` carries its address and the refusal.
    pub fn answer_next(&mut self) -> Option<Result<(), (Arc<str>, Reply)>> {
        match self.lookups.front()?.finding {
            Finding::Awaited => return None,
            Finding::Local(_) | Finding::Refused(_) => {}
        }
        let Lookup { token: _, address, finding } = self.lookups.pop_front()?;
        match finding {
            Finding::Local(mailboxes) => {
                self.accepted.push(Accepted { address, mailboxes });
                Some(Ok(()))
            }
            Finding::Refused(reply) => Some(Err((address, reply))),
            Finding::Awaited => None,
        }
    }

    /// The only mailbox, if there is just one: the common case costs no set.
    #[must_use]
    pub fn single_mailbox(&self) -> Option<(UserId, &Accepted)> {
        let first = self.accepted.first()?;
        let user = first.mailboxes.first()?.user;
        let all = self.accepted.iter().flat_map(|accepted| accepted.mailboxes.iter());
        all.into_iter().all(|mailbox| mailbox.user == user).then_some((user, first))
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.bytes(self.reverse_path.as_bytes());
        digest.word(self.accepted.len() as u64);
        for lookup in &self.lookups {
            digest.word(lookup.token.0);
        }
    }
}
