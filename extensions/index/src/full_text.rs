//! All buckets of a node.

use crate::answer::View;
use crate::bucket::{Bucket, BucketError, Opened, Writing};
use crate::indexer::Round;
use crate::limits::Limits;
use crate::needle::Test;
use crate::owned::Owned;
use crate::vocabulary::Vocabularies;
use mailstore::face::{EmailId, UserId};
use mailstore::mailbox::{BodyTest, Known, TESTS_MAX};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tantivy::{Searcher, SearcherGeneration};

/// The index of a node. Searches come from any thread; one [`crate::Indexer`] changes it.
#[derive(Debug)]
pub struct FullText {
    limits: Limits,
    buckets: Vec<Bucket>,
    vocabularies: Vocabularies,
    answers: Mutex<VecDeque<(Asked, Arc<Answer>)>>,
    /// Messages that searches asked for, and how many of them were decided.
    asked: AtomicU64,
    decided: AtomicU64,
    /// Messages added since the start.
    added: AtomicU64,
    /// Users that have something to be indexed.
    due: AtomicU64,
    error: Mutex<Option<String>>,
    orders: Mutex<Option<Order>>,
    /// There while the operator wants no index.
    off_file: PathBuf,
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The index is deleted, and made anew.
    Rebuild,
    /// The index is deleted, and there is none until it is made anew.
    Drop,
}

/// What a search asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    bucket: u16,
    /// Which commit was searched.
    generation: SearcherGeneration,
    user: UserId,
    tests: Vec<BodyTest>,
}

/// What is known of each message that the index holds; rising by message.
#[derive(Debug)]
struct Answer(Vec<(EmailId, Known)>);

/// What an operator sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub buckets: Vec<BucketStatus>,
    /// Memory that vocabularies take, in bytes.
    pub vocabulary_bytes: u64,
    /// Messages that searches asked for since the start, and how many of them were decided without reading them.
    pub asked: u64,
    pub decided: u64,
    /// Messages indexed since the start.
    pub added: u64,
    /// Users that have something to be indexed.
    pub due: u64,
    pub is_off: bool,
    /// Why a bucket failed last, unless the last one did not.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketStatus {
    pub bucket: u16,
    /// It was read and answers.
    pub is_open: bool,
    pub messages: u64,
    pub segments: u64,
    pub disk_bytes: u64,
}

impl FullText {
    /// In this directory, which need not be there. Nothing is read yet: see [`FullText::open`].
    #[must_use]
    pub fn new(dir: &Path, limits: Limits) -> Self {
        let dir_of = |bucket: u16| -> PathBuf { dir.join(format!("bucket-{bucket:03}")) };
        Self {
            buckets: (0..limits.buckets).map(|bucket| Bucket::new(dir_of(bucket))).collect(),
            vocabularies: Vocabularies::new(limits.vocabulary_bytes_max),
            answers: Mutex::default(),
            asked: AtomicU64::new(0),
            decided: AtomicU64::new(0),
            added: AtomicU64::new(0),
            due: AtomicU64::new(0),
            error: Mutex::default(),
            orders: Mutex::default(),
            off_file: dir.join("off"),
            limits,
        }
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The bucket of one of `partitions` partitions: neighbours share one.
    #[must_use]
    pub fn bucket_of(&self, partition: u16, partitions: u32) -> u16 {
        let scaled = u32::from(partition) * u32::from(self.limits.buckets) / partitions.max(1);
        u16::try_from(scaled).unwrap_or(u16::MAX).min(self.limits.buckets.saturating_sub(1))
    }

    /// Opens a bucket, so that it answers: reads all of it, and begins an empty one where none is, or no sound one.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(&self, bucket: u16) -> Result<Arc<Opened>, BucketError> {
        self.bucket(bucket)?.open()
    }

    /// A bucket that is open.
    pub(crate) fn at_hand(&self, bucket: u16) -> Option<Arc<Opened>> {
        self.bucket(bucket).ok()?.opened()
    }

    /// Buckets that have files and are not open.
    pub(crate) fn closed(&self) -> Vec<u16> {
        let all = (0..).zip(&self.buckets);
        let closed = all.filter(|(_, bucket)| bucket.opened().is_none() && bucket.exists());
        closed.map(|(number, _)| number).collect()
    }

    /// Buckets that are open.
    pub(crate) fn opened(&self) -> Vec<u16> {
        let all = (0..).zip(&self.buckets);
        all.filter(|(_, bucket)| bucket.opened().is_some()).map(|(number, _)| number).collect()
    }

    pub(crate) fn write(&self, bucket: u16) -> Result<Writing, BucketError> {
        Writing::begin(self.open(bucket)?, &self.limits)
    }

    /// Deletes a bucket. Searches scan until it is built anew.
    ///
    /// # Errors
    /// When the files can't be deleted.
    pub fn drop_bucket(&self, bucket: u16) -> Result<(), BucketError> {
        self.bucket(bucket)?.drop_all()
    }

    /// A bucket failed: it answers no more until it was opened and read again.
    pub fn close(&self, bucket: u16) {
        if let Ok(bucket) = self.bucket(bucket) {
            bucket.close();
        }
    }

    fn bucket(&self, bucket: u16) -> Result<&Bucket, BucketError> {
        self.buckets.get(usize::from(bucket)).ok_or(BucketError::Damaged)
    }

    /// The last message of a user that a bucket holds. Of those before it, the index holds all that were there.
    #[must_use]
    pub fn up_to(&self, bucket: u16, user: UserId) -> Option<EmailId> {
        let opened = self.bucket(bucket).ok()?.opened()?;
        opened.held(user).ok()?.last().copied()
    }

    /// What is known of messages of a user, in their order. What the index does not hold, or can't read, is not known.
    #[must_use]
    pub fn known(
        &self,
        (bucket, user): (u16, UserId),
        tests: &[BodyTest],
        emails: impl Iterator<Item = EmailId>,
    ) -> Vec<Known> {
        let answer = match catch_unwind(AssertUnwindSafe(|| self.answer(bucket, user, tests))) {
            Ok(Ok(answer)) => answer,
            // The files are not what they were when they were checked.
            Ok(Err(_)) | Err(_) => {
                self.close(bucket);
                None
            }
        };
        let Some(answer) = answer else { return Vec::new() };
        let all = u64::MAX >> (TESTS_MAX - tests.len().clamp(1, TESTS_MAX));
        let (mut asked, mut decided) = (0, 0);
        let mut next = 0;
        let known = emails.map(|email| {
            let known = answer.of(email, &mut next);
            asked += 1;
            decided += u64::from((known.yes | known.no) & all == all);
            known
        });
        let known = known.collect();
        self.asked.fetch_add(asked, Relaxed);
        self.decided.fetch_add(decided, Relaxed);
        known
    }

    fn answer(
        &self,
        bucket: u16,
        user: UserId,
        tests: &[BodyTest],
    ) -> Result<Option<Arc<Answer>>, BucketError> {
        let Some(opened) = self.bucket(bucket)?.opened() else { return Ok(None) };
        let searcher = opened.searcher();
        let generation = searcher.generation().clone();
        let asked = Asked { bucket, generation, user, tests: tests.to_vec() };
        let mut kept = lock(&self.answers);
        if let Some((_, answer)) = kept.iter().find(|(known, _)| *known == asked) {
            return Ok(Some(Arc::clone(answer)));
        }
        drop(kept);
        let answer = Arc::new(self.judge(&opened, &searcher, &asked)?);
        kept = lock(&self.answers);
        kept.push_back((asked, Arc::clone(&answer)));
        while kept.len() > self.limits.answers_max {
            kept.pop_front();
        }
        Ok(Some(answer))
    }

    fn judge(
        &self,
        opened: &Opened,
        searcher: &Searcher,
        asked: &Asked,
    ) -> Result<Answer, BucketError> {
        let tests: Vec<Test> = asked.tests.iter().take(TESTS_MAX).map(Test::of).collect();
        let mut held = Vec::new();
        for segment in searcher.segment_readers() {
            let owned = Owned::of(segment, &opened.fields, asked.user)?;
            if owned.is_empty() {
                continue;
            }
            let (fields, vocabularies) = (&opened.fields, &self.vocabularies);
            let view = View { segment, fields, owned: &owned, vocabularies };
            let first = held.len();
            let emails = owned.emails(segment)?;
            held.extend(emails.into_iter().map(|email| (email, Known::default())));
            for (bit, test) in tests.iter().enumerate() {
                let holders = view.holders(test)?;
                for (at, (_, known)) in held[first..].iter_mut().enumerate() {
                    let yes = holders.yes.has(at);
                    let no = !yes && !holders.maybe.has(at);
                    known.yes |= u64::from(yes) << bit;
                    known.no |= u64::from(no) << bit;
                }
            }
        }
        // Each segment's rise already: this sort merges runs.
        held.sort_by_key(|(email, _)| *email);
        Ok(Answer(held))
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let of = |(number, bucket): (u16, &Bucket)| {
            let searcher = bucket.opened().map(|opened| opened.searcher());
            let (messages, segments) = searcher.as_ref().map_or((0, 0), |searcher| {
                (searcher.num_docs(), searcher.segment_readers().len() as u64)
            });
            let is_open = searcher.is_some();
            let disk_bytes = bucket.disk_bytes();
            BucketStatus { bucket: number, is_open, messages, segments, disk_bytes }
        };
        Status {
            buckets: (0..).zip(&self.buckets).map(of).collect(),
            vocabulary_bytes: self.vocabularies.bytes() as u64,
            asked: self.asked.load(Relaxed),
            decided: self.decided.load(Relaxed),
            added: self.added.load(Relaxed),
            due: self.due.load(Relaxed),
            is_off: self.is_off(),
            error: lock(&self.error).clone(),
        }
    }

    /// Whether the operator wants no index.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off_file.exists()
    }

    /// Orders something; the extension does it soon. What was ordered before and not begun is void.
    ///
    /// # Errors
    /// When it can't be noted on the disk.
    pub fn order(&self, order: Order) -> std::io::Result<()> {
        match order {
            Order::Drop => {
                if let Some(dir) = self.off_file.parent() {
                    std::fs::create_dir_all(dir)?;
                }
                std::fs::write(&self.off_file, "")?;
            }
            Order::Rebuild if self.is_off() => std::fs::remove_file(&self.off_file)?,
            Order::Rebuild => {}
        }
        *lock(&self.orders) = Some(order);
        Ok(())
    }

    pub(crate) fn take_order(&self) -> Option<Order> {
        lock(&self.orders).take()
    }

    pub(crate) fn note_error(&self, error: Option<String>) {
        *lock(&self.error) = error;
    }

    pub(crate) fn note_round(&self, round: &Round) {
        self.added.fetch_add(round.added, Relaxed);
    }

    pub(crate) fn note_due(&self, users: usize) {
        self.due.store(users as u64, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answer {
    /// `next`: behind the place of the message that was asked for before, where this one is likely to be.
    fn of(&self, email: EmailId, next: &mut usize) -> Known {
        let is_next = self.0.get(*next).is_some_and(|(held, _)| *held == email);
        if !is_next {
            *next = self.0.partition_point(|(held, _)| *held < email);
        }
        let found = self.0.get(*next).filter(|(held, _)| *held == email);
        *next += usize::from(found.is_some());
        found.map_or_else(Known::default, |(_, known)| *known)
    }
}
