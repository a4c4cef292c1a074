//! Brings the index up to the store, a bucket at a time.
//!
//! EMAILIDs rise, and a body is in the store before a later one is: so behind the last message of a user that the index holds
//! is all that it lacks. What was committed is never looked at again; what was not is found anew, after a crash as at any
//! other time.
//!
//! Invariants: one writer is open at a time, so that memory is bounded; a user's messages are added in their order.

use crate::bucket::{BucketError, Writing};
use crate::full_text::FullText;
use crate::terms::Terms;
use mailstore::face::{EmailId, TaskRefusal, UserId};
use mailstore::mailbox::{BodyReader, TextRead, read_text, route};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why the bodies of a user can't be read now.
pub type SourceError = TaskRefusal;

/// The store, as the indexer reads it.
pub trait Source: BodyReader {
    /// At most `max` messages of a user from `from` on, rising.
    ///
    /// # Errors
    /// When the store can't be read now.
    fn bodies(&mut self, user: UserId, from: EmailId, max: usize) -> Result<Page, SourceError>;

    /// Called between two messages: time for others. False: stop as soon as what was done is committed.
    fn goes_on(&mut self) -> bool;
}

/// Messages of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub emails: Vec<EmailId>,
    /// There are more behind the last.
    pub more: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub added: u64,
    pub removed: u64,
    /// Bytes of text of what was added.
    pub text_bytes: u64,
    /// Users that could not be read to their end.
    pub left: BTreeSet<UserId>,
}

/// Changes a [`FullText`].
#[derive(Debug)]
pub struct Indexer {
    text: Arc<FullText>,
    /// Messages removed since a user's documents were compared with the store.
    removed: BTreeMap<UserId, u64>,
}

/// How a user is brought up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// What is new.
    New,
    /// Everything is compared.
    All,
}

/// One bucket under work.
struct Work<'a> {
    text: &'a FullText,
    bucket: u16,
    writing: Writing,
    uncommitted: usize,
    round: Round,
}

impl Indexer {
    #[must_use]
    pub fn new(text: Arc<FullText>) -> Self {
        Self { text, removed: BTreeMap::new() }
    }

    /// Messages of a user were removed.
    pub fn note_removed(&mut self, user: UserId, messages: u64) {
        let removed = self.removed.entry(user).or_default();
        *removed = removed.saturating_add(messages);
    }

    /// Brings users of a bucket up to the store.
    ///
    /// # Errors
    /// When the bucket can't be written. It is closed, and read again when it is used next.
    pub fn round(
        &mut self,
        source: &mut dyn Source,
        bucket: u16,
        users: &BTreeSet<UserId>,
    ) -> Result<Round, BucketError> {
        let done = self.run(source, bucket, users);
        if done.is_err() {
            self.text.close(bucket);
        }
        done
    }

    fn run(
        &mut self,
        source: &mut dyn Source,
        bucket: u16,
        users: &BTreeSet<UserId>,
    ) -> Result<Round, BucketError> {
        let text = Arc::clone(&self.text);
        let mut work = Work {
            text: &text,
            bucket,
            writing: text.write(bucket)?,
            uncommitted: 0,
            round: Round::default(),
        };
        let mut goes_on = true;
        for &user in users {
            goes_on = goes_on && source.goes_on();
            if !goes_on {
                work.round.left.insert(user);
                continue;
            }
            let held = text.open(bucket)?.held(user)?;
            let reach = self.reach(user, held.len() as u64);
            if work.bring_up(source, user, (reach, &held))? {
                if reach == Reach::All {
                    self.removed.remove(&user);
                }
            } else {
                work.round.left.insert(user);
            }
        }
        work.end()
    }

    /// Deletes what the index holds of users that `stays` does not name.
    ///
    /// # Errors
    /// As [`Indexer::round`].
    pub fn retain(
        &mut self,
        bucket: u16,
        stays: &dyn Fn(UserId) -> bool,
    ) -> Result<u64, BucketError> {
        let text = Arc::clone(&self.text);
        let gone = || -> Result<u64, BucketError> {
            let mut users = text.open(bucket)?.users()?;
            users.retain(|user| !stays(*user));
            if users.is_empty() {
                return Ok(0);
            }
            let mut writing = text.write(bucket)?;
            users.iter().for_each(|user| writing.remove_user(*user));
            writing.commit()?;
            writing.end()?;
            Ok(users.len() as u64)
        };
        let gone = gone();
        if gone.is_err() {
            self.text.close(bucket);
        }
        gone
    }

    fn reach(&self, user: UserId, held: u64) -> Reach {
        let limits = self.text.limits();
        let removed = self.removed.get(&user).copied().unwrap_or(0);
        let many = (held * limits.removed_percent / 100).max(limits.removed_min);
        if removed >= many { Reach::All } else { Reach::New }
    }
}

impl Work<'_> {
    /// False: not all of it could be read.
    fn bring_up(
        &mut self,
        source: &mut dyn Source,
        user: UserId,
        (reach, held): (Reach, &[EmailId]),
    ) -> Result<bool, BucketError> {
        let max = self.text.limits().page_bodies;
        let behind = |email: &EmailId| EmailId(email.0.saturating_add(1));
        let mut from = match reach {
            Reach::New => held.last().map_or(EmailId(0), behind),
            Reach::All => EmailId(0),
        };
        let mut stale: BTreeSet<EmailId> = match reach {
            Reach::New => BTreeSet::new(),
            Reach::All => held.iter().copied().collect(),
        };
        loop {
            let Ok(page) = source.bodies(user, from, max) else { return Ok(false) };
            for &email in &page.emails {
                if stale.remove(&email) {
                    continue;
                }
                if !source.goes_on() || !self.add(source, (user, email))? {
                    return Ok(false);
                }
            }
            match page.emails.last() {
                Some(last) if page.more => from = behind(last),
                Some(_) | None => break,
            }
        }
        for email in stale {
            self.writing.remove((user, email))?;
            self.round.removed += 1;
            self.uncommitted += 1;
        }
        Ok(true)
    }

    /// False: it could not be read, and those behind it must wait.
    fn add(
        &mut self,
        source: &mut dyn Source,
        (user, email): (UserId, EmailId),
    ) -> Result<bool, BucketError> {
        let limits = self.text.limits();
        let reader: &mut dyn BodyReader = source;
        let terms = match read_text((&route(user), email), reader, Terms::new(limits)) {
            Ok(TextRead::Text(mut terms)) => {
                terms.finish();
                terms
            }
            Ok(TextRead::Gone) => return Ok(true),
            // Whoever searches fetches it.
            Ok(TextRead::Elsewhere) | Err(TaskRefusal::Damaged) => Terms::unknown(limits),
            Err(TaskRefusal::Overloaded | TaskRefusal::Unavailable | TaskRefusal::NoSpace) => {
                return Ok(false);
            }
        };
        self.writing.add((user, email), &terms)?;
        self.round.added += 1;
        self.round.text_bytes += terms.text_bytes() as u64;
        self.uncommitted += 1;
        if self.uncommitted >= limits.commit_messages {
            self.writing.commit()?;
            self.uncommitted = 0;
        }
        Ok(true)
    }

    fn end(mut self) -> Result<Round, BucketError> {
        if self.uncommitted > 0 {
            self.writing.commit()?;
        }
        self.writing.end()?;
        // A bucket that was closed meanwhile, by a search, is checked.
        self.text.open(self.bucket)?;
        Ok(self.round)
    }
}
