//! Loading the small records of a user: everything that is read before the first task.

use super::core::Counters;
use super::events::{Cursor, Events};
use super::folder::Folder;
use super::format::{
    Condemned, CondemnedEmail, Damaged, FolderRecord, Header, KeywordTable, Packed, Reader,
    RecordUsage, References, RestoredRecord, Root, Stretch, decode_floor, keys,
};
use super::load::{scan_request, scanned};
use super::machine::Effect;
use crate::face::{EmailId, FolderId, FolderName, ModSeq, PendingId, TaskRefusal};
use dds::{BlobId, Entry, Epoch, Response, RouteKey, SortKey};
use fsm::{Cx, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The small records of a user, so far.
#[derive(Debug)]
pub struct UserLoading {
    pub token: Token,
    epoch: Epoch,
    root: Root,
    records: BTreeMap<FolderId, FolderRecord>,
    headers: BTreeMap<FolderId, Header>,
    keywords: BTreeMap<FolderId, KeywordTable>,
    subscriptions: BTreeSet<FolderName>,
    orphans: Vec<(PendingId, super::format::PendingSet)>,
    tombstones: BTreeSet<FolderId>,
    condemned: Vec<(SortKey, Vec<CondemnedEmail>)>,
    references: BTreeMap<EmailId, u32>,
    packed: Packed,
    gone: BTreeMap<u64, u64>,
    raised: RestoredRecord,
    released: Vec<BlobId>,
    events: Events,
    floor: Option<ModSeq>,
    record_usage: RecordUsage,
}

/// After one page.
pub enum UserLoaded {
    More(Box<UserLoading>),
    All(Box<LoadedUser>),
}

/// Everything that is read before the first task.
#[derive(Debug)]
pub struct LoadedUser {
    pub epoch: Epoch,
    pub folders: BTreeMap<FolderId, Folder>,
    pub subscriptions: BTreeSet<FolderName>,
    pub counters: Counters,
    pub references: BTreeMap<EmailId, u32>,
    pub packed: Packed,
    pub gone: BTreeMap<u64, u64>,
    pub raised: RestoredRecord,
    pub condemned: Vec<(SortKey, Vec<CondemnedEmail>)>,
    /// Blobs that nobody refers to any more, yet to be deleted.
    pub released: Vec<BlobId>,
    /// Cursors of the event log, and what is kept for them.
    pub events: Events,
    pub record_usage: RecordUsage,
    /// Pending sets of the time before: nobody can show them any more.
    pub orphans: Vec<(PendingId, super::format::PendingSet)>,
    /// Deleted folders whose mail is yet to be removed.
    pub tombstones: BTreeMap<FolderId, Header>,
}

impl UserLoading {
    /// Asks for the first page.
    pub fn begin(cx: &mut Cx<'_, Effect>, route: &RouteKey, epoch: Epoch) -> Self {
        let (from, to) = keys::small();
        Self {
            token: scan(cx, route, from, to),
            epoch,
            root: Root::default(),
            records: BTreeMap::new(),
            headers: BTreeMap::new(),
            keywords: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            orphans: Vec::new(),
            tombstones: BTreeSet::new(),
            condemned: Vec::new(),
            references: BTreeMap::new(),
            packed: Packed::default(),
            gone: BTreeMap::new(),
            raised: RestoredRecord::default(),
            released: Vec::new(),
            events: Events::default(),
            floor: None,
            record_usage: RecordUsage::default(),
        }
    }

    /// Takes a page.
    pub fn on_page(
        mut self: Box<Self>,
        cx: &mut Cx<'_, Effect>,
        route: &RouteKey,
        response: Response,
    ) -> Result<UserLoaded, TaskRefusal> {
        let (entries, more) = scanned(response)?;
        for entry in &entries {
            self.take(entry)?;
        }
        match entries.last().filter(|_| more) {
            Some(last) => {
                self.token = scan(cx, route, keys::next(&last.key), keys::small().1);
                Ok(UserLoaded::More(self))
            }
            None => Ok(UserLoaded::All(Box::new(self.finish()?))),
        }
    }

    fn take(&mut self, entry: &Entry) -> Result<(), Damaged> {
        let (key, value) = (&entry.key, &entry.value);
        let folder = || keys::parse_u32(key).map(FolderId);
        match key.0.first().copied() {
            Some(keys::ROOT) => self.root = Root::decode(value)?,
            Some(keys::FOLDER) => {
                self.records.insert(folder()?, FolderRecord::decode(value)?);
            }
            Some(keys::HEADER) => {
                self.headers.insert(folder()?, Header::decode(value)?);
            }
            Some(keys::KEYWORDS) => {
                self.keywords.insert(folder()?, KeywordTable::decode(value)?);
            }
            Some(keys::SUBSCRIPTION) => {
                let damaged = Damaged("subscription");
                let name = std::str::from_utf8(&key.0[1..]).map_err(|_| damaged)?;
                self.subscriptions.insert(FolderName::new(name).map_err(|_| damaged)?);
            }
            Some(keys::PENDING) => {
                let set = super::format::PendingSet::decode(value)?;
                self.orphans.push((PendingId(keys::parse_u64(key)?), set));
            }
            Some(keys::TOMBSTONE) => {
                self.tombstones.insert(folder()?);
            }
            Some(keys::CONDEMNED) => {
                self.condemned.push((key.clone(), Condemned::decode(value)?.0));
            }
            Some(keys::REFERENCES) => {
                let page = keys::parse_u64(key)?;
                for (low, count) in References::decode(value)?.0 {
                    self.references.insert(EmailId(page << 8 | u64::from(low)), count);
                }
            }
            Some(keys::PACKED) => self.packed = Packed::decode(value)?,
            Some(keys::GONE) => {
                let mut reader = Reader::new(value, "gone bits")?;
                self.gone.insert(keys::parse_u64(key)?, reader.fixed()?);
            }
            Some(keys::RESTORED) => self.raised = RestoredRecord::decode(value)?,
            Some(keys::RELEASED) => self.released.push(keys::parse_released(key)?),
            Some(keys::CURSOR) => {
                self.events.cursors.insert(keys::parse_cursor(key)?, Cursor::decode(value)?);
            }
            Some(keys::KEPT) if *key == keys::lone(keys::KEPT) => {
                self.floor = Some(decode_floor(value)?);
            }
            Some(keys::KEPT) => {
                self.events.kept.insert(folder()?, Stretch::decode_all(value)?);
            }
            Some(keys::RECORD_USAGE) => self.record_usage = RecordUsage::decode(value)?,
            // Written by a later version: it would have raised the format number if it mattered.
            Some(_) | None => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<LoadedUser, Damaged> {
        let mut counters = Counters {
            next_folder: self.root.next_folder.max(1),
            next_uid_validity: self.root.next_uid_validity.max(1),
            mod_seq: ModSeq(self.root.mod_seq.0.max(1)),
            email_next: self.root.email_next.max(1),
            next_pending: self.root.next_pending.max(1),
        };
        let mut folders = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (id, record) in self.records {
            let header = *self.headers.get(&id).ok_or(Damaged("folder without a header"))?;
            if !names.insert(record.name.clone()) {
                return Err(Damaged("two folders of one name"));
            }
            counters.next_folder = counters.next_folder.max(id.0.saturating_add(1));
            counters.next_uid_validity =
                counters.next_uid_validity.max(record.uid_validity.0.saturating_add(1));
            counters.mod_seq = counters.mod_seq.max(header.mod_seq);
            counters.email_next = counters.email_next.max(header.email_next);
            let mut folder = Folder::new(id, record, header);
            folder.floor = self.raised.floor;
            let table = self.keywords.get(&id).map(|table| table.0.as_slice()).unwrap_or_default();
            let known = table.get(..header.keywords as usize).ok_or(Damaged("keyword table"))?;
            folder.keywords = Arc::from(known);
            folder.keywords_assigned = known.to_vec();
            folders.insert(id, folder);
        }
        for (pending, _) in &self.orphans {
            counters.next_pending = counters.next_pending.max(pending.0.saturating_add(1));
        }
        let dead = self.tombstones.iter();
        let tombstones: BTreeMap<FolderId, Header> =
            dead.filter_map(|id| Some((*id, *self.headers.get(id)?))).collect();
        for header in tombstones.values() {
            counters.mod_seq = counters.mod_seq.max(header.mod_seq);
            counters.email_next = counters.email_next.max(header.email_next);
        }
        let mut events = self.events;
        // Without a record: what a cursor has not passed is kept.
        events.floor = self.floor.or(events.slowest()).unwrap_or(ModSeq(0));
        Ok(LoadedUser {
            epoch: self.epoch,
            folders,
            subscriptions: self.subscriptions,
            counters,
            references: self.references,
            packed: self.packed,
            gone: self.gone,
            raised: self.raised,
            condemned: self.condemned,
            released: self.released,
            events,
            record_usage: self.record_usage,
            orphans: self.orphans,
            tombstones,
        })
    }
}

fn scan(cx: &mut Cx<'_, Effect>, route: &RouteKey, from: SortKey, to: SortKey) -> Token {
    let token = cx.fresh_token();
    cx.emit(Effect::Dds { token, request: scan_request(route, from, to) });
    token
}
