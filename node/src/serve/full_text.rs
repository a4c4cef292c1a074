//! The full-text index, as a node holds it: in front of body searches, and the store as its extension reads it.

use super::matching::StoreReader;
use crate::control::{IndexOrder, IndexReport};
use bytes::Bytes;
use dds::{
    BlobId, Column, DpMap, Read, ReadDone, RouteKey, SortKey, Store, StoreError, Tier, layout,
};
use dds_rocksdb::{RocksStore, SpaceState};
use fsm::Mono;
use index::{BucketStatus, Follower, FullText, Order, Page, Shelf, Source, SourceError};
use mailstore::face::{EmailId, TaskRefusal, UserId};
use mailstore::mailbox::format::keys;
use mailstore::mailbox::{BodyIndex, BodyReader, BodyTest, Known, MatchBody, route, user_of};
use std::path::Path;
use std::sync::Arc;

/// The index of a node. The directory is beside the store, and may be deleted while the node is down.
pub struct NodeIndex {
    pub text: Arc<FullText>,
    map: DpMap,
}

impl NodeIndex {
    pub fn new(data: &Path, map: DpMap) -> Self {
        let text = FullText::new(&data.join("index"), index::Limits::default());
        Self { text: Arc::new(text), map }
    }
}

impl NodeIndex {
    /// The extension that keeps it.
    pub fn follower(&self, store: Arc<RocksStore>) -> Follower {
        // Of this thread and those that it starts: mail goes first. It is no matter if the system does not let us.
        let _niceness = rustix::process::nice(NICENESS);
        let shelf = Box::new(StoreShelf::new(store, self.map));
        Follower::new(Arc::clone(&self.text), shelf, self.map)
    }

    pub fn report(&self) -> IndexReport {
        let status = self.text.status();
        let sum = |of: fn(&BucketStatus) -> u64| status.buckets.iter().map(of).sum();
        IndexReport {
            off: status.is_off,
            messages: sum(|bucket| bucket.messages),
            segments: sum(|bucket| bucket.segments),
            disk_bytes: sum(|bucket| bucket.disk_bytes),
            memory_bytes: status.vocabulary_bytes,
            added: status.added,
            due: status.due,
            asked: status.asked,
            decided: status.decided,
            error: status.error,
        }
    }

    pub fn order(&self, order: IndexOrder) -> std::io::Result<()> {
        self.text.order(match order {
            IndexOrder::Rebuild => Order::Rebuild,
            IndexOrder::Drop => Order::Drop,
        })
    }
}

impl BodyIndex for NodeIndex {
    fn known(&self, route: &RouteKey, tests: &[BodyTest], bodies: &[MatchBody]) -> Vec<Known> {
        let Some(user) = user_of(route) else { return Vec::new() };
        let partition = self.map.partition_of(&route.0).0;
        let bucket = self.text.bucket_of(partition, u32::from(self.map.partitions));
        self.text.known((bucket, user), tests, bodies.iter().map(|body| body.email))
    }
}

/// What indexing yields to everything else: half of the scale.
const NICENESS: i32 = 10;

/// The bodies in the store of this node, page by page.
pub struct StoreShelf {
    store: Arc<RocksStore>,
    map: DpMap,
    /// Messages that may still be read in this step.
    allowed: usize,
    /// The records of the last page: each is asked for next.
    page: Vec<(UserId, EmailId, Bytes)>,
    load: Load,
}

/// How fast the store writes.
struct Load {
    looked_at: Mono,
    /// Bytes of its log until then.
    bytes: u64,
    is_high: bool,
}

/// Bytes a second of the store's log from which on indexing waits. Our choice: with less, following costs a few hundredths of one
/// core.
const LOADED_BYTES: u64 = 2 * 1024 * 1024;
/// The least time that a rate is taken from.
const LOAD_WINDOW: fsm::Duration = fsm::Duration::from_millis(200);

/// Bytes of records read at once.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

impl StoreShelf {
    pub fn new(store: Arc<RocksStore>, map: DpMap) -> Self {
        let bytes = store.stats().wal_bytes;
        let load = Load { looked_at: stages::Clock.mono(), bytes, is_high: false };
        Self { store, map, allowed: 0, page: Vec::new(), load }
    }

    fn scan(
        &self,
        user: UserId,
        from: EmailId,
        max: usize,
    ) -> Result<(Vec<(Bytes, Bytes)>, bool), TaskRefusal> {
        let route = route(user);
        let partition = self.map.partition_of(&route.0);
        let (from, to) = keys::bodies_from(from);
        let scan = Read::Scan {
            column: Column::Bodies,
            from: layout::entry_key(partition, &route, &from.0),
            to: layout::entry_key(partition, &route, &to.0),
            reverse: false,
            entries_max: max,
            bytes_max: PAGE_BYTES,
        };
        match self.store.read(&scan, Tier::Disk) {
            Ok(ReadDone::Scanned { entries, more }) => Ok((entries, more)),
            Ok(ReadDone::Got(_) | ReadDone::Summed(_) | ReadDone::Miss)
            | Err(StoreError::Io(_) | StoreError::NoSpace | StoreError::Fatal(_)) => {
                Err(TaskRefusal::Unavailable)
            }
            Err(StoreError::Corrupt(_)) => Err(TaskRefusal::Damaged),
        }
    }
}

impl BodyReader for StoreShelf {
    fn value(&mut self, of: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let named = keys::parse_u64(key).map(EmailId).ok();
        let named = named.filter(|email| keys::body(*email) == *key).zip(user_of(of));
        let is_named = |user, email| named == Some((email, user));
        let at_hand = self.page.iter().find(|(user, email, _)| is_named(*user, *email));
        match at_hand {
            Some((_, _, record)) => Ok(Some(record.clone())),
            None => StoreReader { store: &*self.store, map: self.map }.value(of, key),
        }
    }

    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal> {
        StoreReader { store: &*self.store, map: self.map }.blob(blob, offset, len)
    }
}

impl Source for StoreShelf {
    fn bodies(&mut self, user: UserId, from: EmailId, max: usize) -> Result<Page, SourceError> {
        let (entries, more) = self.scan(user, from, max)?;
        let start = layout::prefix_bytes(&route(user));
        self.page.clear();
        for (key, stored) in entries {
            let key = SortKey(key.slice(start.min(key.len())..));
            let email = keys::parse_u64(&key).map_err(|_| TaskRefusal::Damaged)?;
            let (record, _) = layout::split_entry(stored).map_err(|_| TaskRefusal::Damaged)?;
            self.page.push((user, EmailId(email), record));
        }
        Ok(Page { emails: self.page.iter().map(|(_, email, _)| *email).collect(), more })
    }

    fn goes_on(&mut self) -> bool {
        self.allowed = self.allowed.saturating_sub(1);
        self.allowed > 0 && self.has_room()
    }
}

impl Shelf for StoreShelf {
    fn allow(&mut self, messages: usize) {
        self.allowed = messages;
    }

    fn has_room(&self) -> bool {
        self.store.space() == SpaceState::Plenty
    }

    fn is_loaded(&mut self) -> bool {
        let now = stages::Clock.mono();
        let passed = now.since(self.load.looked_at);
        if passed >= LOAD_WINDOW {
            let bytes = self.store.stats().wal_bytes;
            let written = u128::from(bytes.saturating_sub(self.load.bytes));
            let is_high = written * 1_000 >= u128::from(LOADED_BYTES) * passed.as_millis();
            self.load = Load { looked_at: now, bytes, is_high };
        }
        self.load.is_high
    }
}
