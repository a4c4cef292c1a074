//! Brings the index up to the store, a bucket at a time.
//!
//! EMAILIDs rise, and a body is in the store before a later one is: so behind the last message of a user that the index holds
//! is all that it lacks. What was committed is never looked at again; what was not is found anew, after a crash as at any
//! other time.
//!
//! Invariants: one writer is open at a time, so that memory is bounded; a user's messages are added in their order; the place of
//! a user in the log is set when everything that was in the store then is committed.

use crate::bucket::{BucketError, Opened, Writing};
use crate::full_text::FullText;
use crate::terms::Terms;
use mailstore::face::{EmailId, ModSeq, TaskRefusal, UserId};
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
    /// Up to where the log of a user has been given: what that tells of is in the store.
    given: BTreeMap<UserId, ModSeq>,
    /// The writer of the bucket that was worked on last: its segments are merged while the next step reads.
    writing: Option<(u16, Writing)>,
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
    opened: Arc<Opened>,
    /// `None`: nothing was written yet.
    writing: Option<Writing>,
    uncommitted: usize,
    /// Users that were brought up since the last commit, and up to where their logs had been given.
    passed: Vec<(UserId, ModSeq)>,
    round: Round,
}

impl Indexer {
    #[must_use]
    pub fn new(text: Arc<FullText>) -> Self {
        Self { text, removed: BTreeMap::new(), given: BTreeMap::new(), writing: None }
    }

    /// Messages of a user were removed.
    pub fn note_removed(&mut self, user: UserId, messages: u64) {
        let removed = self.removed.entry(user).or_default();
        *removed = removed.saturating_add(messages);
    }

    /// The log of a user was given up to there: who is brought up from now on is dealt with up to there.
    pub fn note_given(&mut self, user: UserId, up_to: ModSeq) {
        self.given.insert(user, up_to);
    }

    /// The log of a user who has been brought up tells of nothing new up to there.
    pub fn pass(&mut self, bucket: u16, user: UserId, up_to: ModSeq) {
        self.note_given(user, up_to);
        let opened = self.text.at_hand(bucket).filter(|opened| opened.place(user).is_some());
        if let Some(opened) = opened {
            opened.pass([(user, up_to)]);
        }
    }

    /// Up to where the log of a user is dealt with.
    #[must_use]
    pub fn place(&self, bucket: u16, user: UserId) -> Option<ModSeq> {
        self.text.at_hand(bucket)?.place(user)
    }

    /// Nothing is known of a user any more.
    pub fn forget(&mut self, bucket: u16, user: UserId) {
        self.removed.remove(&user);
        self.given.remove(&user);
        if let Some(opened) = self.text.at_hand(bucket) {
            opened.forget_place(user);
        }
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
        let round = self.advance(source, bucket, users)?;
        self.rest()?;
        Ok(round)
    }

    /// As [`Indexer::round`], with more of this bucket to come: its writer stays, until [`Indexer::rest`] or another bucket.
    ///
    /// # Errors
    /// As there.
    pub fn advance(
        &mut self,
        source: &mut dyn Source,
        bucket: u16,
        users: &BTreeSet<UserId>,
    ) -> Result<Round, BucketError> {
        let done = self.run(source, bucket, users);
        if done.is_err() {
            self.writing = None;
            self.text.close(bucket);
        }
        done
    }

    /// Ends the writer, once what it merges is merged.
    ///
    /// # Errors
    /// When that failed: the index is as it was before.
    pub fn rest(&mut self) -> Result<(), BucketError> {
        let Some((bucket, writing)) = self.writing.take() else { return Ok(()) };
        let ended = writing.end();
        if ended.is_err() {
            self.text.close(bucket);
        }
        ended
    }

    /// Ends the writer at once: what it merges is left as it is.
    pub fn let_go(&mut self) {
        self.writing = None;
    }

    fn run(
        &mut self,
        source: &mut dyn Source,
        bucket: u16,
        users: &BTreeSet<UserId>,
    ) -> Result<Round, BucketError> {
        let text = Arc::clone(&self.text);
        if self.writing.as_ref().is_some_and(|(open, _)| *open != bucket) {
            self.rest()?;
        }
        let opened = text.open(bucket)?;
        // One that was closed meanwhile, by a search, was read again.
        let writing = self.writing.take().map(|(_, writing)| writing);
        let mut work = Work {
            text: &text,
            writing: writing.filter(|writing| writing.is_of(&opened)),
            opened,
            uncommitted: 0,
            passed: Vec::new(),
            round: Round::default(),
        };
        let mut goes_on = true;
        for &user in users {
            goes_on = goes_on && source.goes_on();
            if !goes_on {
                work.round.left.insert(user);
                continue;
            }
            let held = work.opened.held(user)?;
            let reach = self.reach(user, held.len() as u64);
            if work.bring_up(source, user, (reach, &held))? {
                if reach == Reach::All {
                    self.removed.remove(&user);
                }
                work.passed.extend(self.given.get(&user).map(|up_to| (user, *up_to)));
            } else {
                work.round.left.insert(user);
            }
        }
        let (round, writing) = work.end()?;
        self.writing = writing.map(|writing| (bucket, writing));
        Ok(round)
    }

    /// Makes places durable that are in memory alone.
    ///
    /// # Errors
    /// As [`Indexer::round`].
    pub fn keep_places(&mut self) -> Result<(), BucketError> {
        let text = Arc::clone(&self.text);
        for bucket in text.opened() {
            let Some(opened) = text.at_hand(bucket).filter(|it| it.places_wait()) else { continue };
            self.rest()?;
            let keep = || -> Result<(), BucketError> {
                let mut writing = Writing::of_places(opened, text.limits())?;
                writing.commit([])?;
                writing.end()
            };
            keep().inspect_err(|_| text.close(bucket))?;
        }
        Ok(())
    }

    /// Whether some places are in memory alone.
    #[must_use]
    pub fn places_wait(&self) -> bool {
        let mut opened = self.text.opened().into_iter().filter_map(|it| self.text.at_hand(it));
        opened.any(|opened| opened.places_wait())
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
        self.rest()?;
        let gone = || -> Result<u64, BucketError> {
            let mut users = text.open(bucket)?.users()?;
            users.retain(|user| !stays(*user));
            if users.is_empty() {
                return Ok(0);
            }
            let mut writing = text.write(bucket)?;
            users.iter().for_each(|user| writing.remove_user(*user));
            writing.retain_places(stays);
            writing.commit([])?;
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
            self.writing()?.remove((user, email))?;
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
        self.writing()?.add((user, email), &terms)?;
        self.round.added += 1;
        self.round.text_bytes += terms.text_bytes() as u64;
        self.uncommitted += 1;
        if self.uncommitted >= limits.commit_messages {
            self.commit()?;
        }
        Ok(true)
    }

    fn writing(&mut self) -> Result<&mut Writing, BucketError> {
        match &mut self.writing {
            Some(writing) => Ok(writing),
            none => Ok(none.insert(Writing::begin(Arc::clone(&self.opened), self.text.limits())?)),
        }
    }

    fn commit(&mut self) -> Result<(), BucketError> {
        let passed = std::mem::take(&mut self.passed);
        self.writing()?.commit(passed)?;
        self.uncommitted = 0;
        Ok(())
    }

    fn end(mut self) -> Result<(Round, Option<Writing>), BucketError> {
        if self.uncommitted > 0 {
            self.commit()?;
        }
        // Whoever was brought up without a message.
        self.opened.pass(std::mem::take(&mut self.passed));
        Ok((self.round, self.writing))
    }
}
