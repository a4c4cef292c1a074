//! Mailboxes in memory, read as the store of a node is.

use crate::{BucketError, FullText, Indexer, Limits, Page, Round, Source, SourceError};
use bytes::Bytes;
use dds::{BlobId, RouteKey, SortKey};
use mailstore::face::{EmailId, TaskRefusal, Uid, UserId};
use mailstore::mailbox::format::{BodyRecord, Extent, keys};
use mailstore::mailbox::{
    BodyIndex, BodyReader, BodyTest, Fetched, Known, MatchBody, MatchJob, NoIndex, route,
};
use mailstore::mime::{self, Scanner};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// All bodies of all users.
#[derive(Clone, Debug, Default)]
pub struct Store {
    pub bodies: BTreeMap<(UserId, EmailId), Bytes>,
    /// Bodies that are read before it stops.
    pub patience: Option<usize>,
    /// The disk has no room; of all clones.
    pub full: Arc<AtomicBool>,
    /// Mail comes in fast; of all clones.
    pub loaded: Arc<AtomicBool>,
    /// Times that somebody looked at a mailbox; of all clones.
    pub looks: Arc<AtomicU64>,
}

impl Store {
    pub fn put(&mut self, user: u64, email: u64, message: &[u8]) {
        let mut scanner = Scanner::new(&mime::Limits::default());
        scanner.push(message);
        let columns = scanner.finish();
        let inline = Extent::Inline(Bytes::copy_from_slice(message));
        let prefix = b"Received: by mx.example.test\r\n";
        let record =
            BodyRecord::encode(columns.header_bytes, prefix, Some(&columns.parts), &inline);
        self.bodies.insert((UserId(user), EmailId(email)), record);
    }

    pub fn emails(&self, user: u64) -> Vec<EmailId> {
        self.bodies.keys().filter(|(of, _)| of.0 == user).map(|(_, email)| *email).collect()
    }

    pub fn users(&self) -> BTreeSet<UserId> {
        self.bodies.keys().map(|(user, _)| *user).collect()
    }
}

impl BodyReader for Store {
    fn value(&mut self, of: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let found = self
            .bodies
            .iter()
            .find(|((user, email), _)| route(*user) == *of && keys::body(*email) == *key);
        Ok(found.map(|(_, record)| record.clone()))
    }

    fn blob(&mut self, _: BlobId, _: u64, _: u64) -> Result<Option<Bytes>, TaskRefusal> {
        Ok(None)
    }
}

impl Source for Store {
    fn bodies(&mut self, user: UserId, from: EmailId, max: usize) -> Result<Page, SourceError> {
        self.looks.fetch_add(1, Relaxed);
        let range = (user, from)..=(user, EmailId(u64::MAX));
        let mut emails: Vec<EmailId> =
            self.bodies.range(range).take(max + 1).map(|((_, email), _)| *email).collect();
        let more = emails.len() > max;
        emails.truncate(max);
        Ok(Page { emails, more })
    }

    fn goes_on(&mut self) -> bool {
        if self.full.load(Relaxed) {
            return false;
        }
        match &mut self.patience {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Small, so that pages and commits have ends.
pub fn limits() -> Limits {
    Limits { buckets: 1, page_bodies: 3, commit_messages: 5, step_messages: 9, ..Limits::default() }
}

pub fn index_in(dir: &Path) -> (Arc<FullText>, Indexer) {
    let text = Arc::new(FullText::new(dir, limits()));
    let indexer = Indexer::new(Arc::clone(&text));
    (text, indexer)
}

/// The index as one user's searches see it.
pub struct Of<'a>(pub &'a FullText, pub u64);

impl BodyIndex for Of<'_> {
    fn known(&self, _: &RouteKey, tests: &[BodyTest], bodies: &[MatchBody]) -> Vec<Known> {
        self.0.known((0, UserId(self.1)), tests, bodies.iter().map(|body| body.email))
    }
}

pub fn job(user: u64, emails: &[EmailId], tests: &[BodyTest]) -> MatchJob {
    let body = |email: &EmailId| MatchBody { uid: Uid(email.0 as u32 + 1), email: *email };
    MatchJob {
        route: route(UserId(user)),
        bodies: emails.iter().map(body).collect(),
        reads_max: usize::MAX,
        tests: tests.into(),
        fetched: Fetched::default(),
    }
}

/// What a scan finds: for each message the bits of the tests.
pub fn scanned(store: &Store, user: u64, tests: &[BodyTest]) -> Vec<u64> {
    let hits = job(user, &store.emails(user), tests).run(&mut store.clone(), &NoIndex);
    hits.expect("all is at hand").bits.into_iter().map(|(_, bits)| bits).collect()
}

/// The same with the index in front.
pub fn searched(store: &Store, text: &FullText, user: u64, tests: &[BodyTest]) -> Vec<u64> {
    let hits = job(user, &store.emails(user), tests).run(&mut store.clone(), &Of(text, user));
    hits.expect("all is at hand").bits.into_iter().map(|(_, bits)| bits).collect()
}

/// What the index says by itself.
pub fn known(store: &Store, text: &FullText, user: u64, tests: &[BodyTest]) -> Vec<Known> {
    text.known((0, UserId(user)), tests, store.emails(user).into_iter())
}

pub fn text_test(text: &str) -> BodyTest {
    BodyTest::Text(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn body_test(text: &str) -> BodyTest {
    BodyTest::Body(Bytes::copy_from_slice(text.as_bytes()))
}

/// A message of one text.
pub fn letter(subject: &str, text: &str) -> Vec<u8> {
    format!("Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n")
        .into_bytes()
}

/// One round with all users.
pub fn bring_up(indexer: &mut Indexer, store: &mut Store) -> Result<Round, BucketError> {
    let users = store.users();
    indexer.round(store, 0, &users)
}
