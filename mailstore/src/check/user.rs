//! One user's mail: every record in the order of its key, then the bodies.

use super::folder::{FolderSeen, Row, Staged, rows_of};
use super::source::{self, Pages};
use super::{COUNTS, RESTORE, Walk};
use crate::face::{EmailId, FolderId, PendingId, Uid};
use crate::mailbox::events::Cursor;
use crate::mailbox::format::{
    BLOCK_MESSAGES, Block, BlockKind, BodyRecord, ColumnRecord, Condemned, Damaged, Extent,
    FolderRecord, Header, KeywordTable, LogEntry, Packed, PendingBodies, PendingSet, Reader,
    RecordUsage, References, Remembered, RestoredRecord, Root, StoredRecord, Stretch,
    decode_blob_reference, decode_floor, decode_rows, decode_uids, keys,
};
use bytes::Bytes;
use dds::{BlobId, Column, PartitionId, RouteKey, SortKey, layout};
use std::collections::{BTreeMap, BTreeSet};

/// A user on the way.
#[derive(Debug)]
pub struct UserCheck {
    /// The address.
    pub name: String,
    folders: BTreeMap<FolderId, FolderSeen>,
    tombstones: BTreeSet<FolderId>,
    pending: BTreeMap<PendingId, PendingSet>,
    staged: Staged,
    condemned: BTreeSet<EmailId>,
    references: BTreeMap<EmailId, u32>,
    blobs: BTreeMap<EmailId, BlobId>,
    /// The user's own records: as counted by the mailbox, and as seen.
    records: (RecordUsage, RecordUsage),
    /// `None` while rows may still come.
    emails: Option<Emails>,
}

type Emails = BTreeMap<EmailId, Email>;

/// A message as rows name it.
#[derive(Debug)]
struct Email {
    bytes: u32,
    at: (FolderId, Uid),
    rows: u32,
    has_columns: bool,
    has_body: bool,
}

/// Keys from here on name messages that rows were read of before.
const FIRST_OF_EMAIL: u8 = 0x30;

impl UserCheck {
    pub fn new(name: String) -> Self {
        Self {
            name,
            folders: BTreeMap::new(),
            tombstones: BTreeSet::new(),
            pending: BTreeMap::new(),
            staged: Staged::new(),
            condemned: BTreeSet::new(),
            references: BTreeMap::new(),
            blobs: BTreeMap::new(),
            records: Default::default(),
            emails: None,
        }
    }

    fn folder(&mut self, key: &SortKey) -> Result<&mut FolderSeen, Damaged> {
        let id = key.0.get(1..5).and_then(|id| <[u8; 4]>::try_from(id).ok());
        let id = id.map(u32::from_be_bytes).ok_or(Damaged("key of a folder"))?;
        Ok(self.folders.entry(FolderId(id)).or_default())
    }

    /// Takes a record; why it is wrong, if so.
    fn take(&mut self, key: &SortKey, value: &Bytes) -> Result<(), Damaged> {
        match key.0.first().copied().unwrap_or(0) {
            keys::ROOT => Root::decode(value).map(drop),
            keys::PACKED => Packed::decode(value).map(drop),
            keys::RESTORED => RestoredRecord::decode(value).map(drop),
            keys::RELEASED => keys::parse_released(key).map(drop),
            keys::CURSOR => {
                keys::parse_cursor(key)?;
                Cursor::decode(value).map(drop)
            }
            keys::KEPT if *key == keys::lone(keys::KEPT) => decode_floor(value).map(drop),
            keys::KEPT => Stretch::decode_all(value).map(drop),
            keys::RECORD_USAGE => {
                self.records.0 = RecordUsage::decode(value)?;
                Ok(())
            }
            keys::FOLDER => {
                self.folder(key)?.record = Some(FolderRecord::decode(value)?);
                Ok(())
            }
            keys::HEADER => {
                self.folder(key)?.header = Some(Header::decode(value)?);
                Ok(())
            }
            keys::KEYWORDS => {
                self.folder(key)?.keywords = KeywordTable::decode(value)?.0.len();
                Ok(())
            }
            keys::TOMBSTONE => {
                self.tombstones.insert(FolderId(keys::parse_u32(key)?));
                Ok(())
            }
            keys::PENDING => {
                let pending = PendingId(keys::parse_u64(key)?);
                self.pending.insert(pending, PendingSet::decode(value)?);
                Ok(())
            }
            keys::CONDEMNED => {
                let condemned = Condemned::decode(value)?.0;
                self.condemned.extend(condemned.iter().map(|condemned| condemned.email));
                Ok(())
            }
            keys::REFERENCES => {
                let page = keys::parse_u64(key)?;
                for (low, count) in References::decode(value)?.0 {
                    self.references.insert(EmailId(page << 8 | u64::from(low)), count);
                }
                Ok(())
            }
            keys::SUBSCRIPTION | keys::GONE => Ok(()),
            kind if kind < FIRST_OF_EMAIL => self.take_of_folder(kind, key, value),
            kind => self.take_of_email(kind, key, value),
        }
    }

    fn take_of_folder(&mut self, kind: u8, key: &SortKey, value: &Bytes) -> Result<(), Damaged> {
        match kind {
            keys::SEGMENT => {
                let rows = rows_in(value, "segment")?;
                match self.folder(key)?.take_segment(&rows) {
                    Some(fault) => Err(Damaged(fault)),
                    None => Ok(()),
                }
            }
            keys::LOG => {
                let (mod_seq, _) = keys::parse_log(key)?;
                let entry = LogEntry::decode(value)?;
                self.folder(key)?.log.push((mod_seq, entry));
                Ok(())
            }
            keys::VANISHED => {
                let (mod_seq, _) = keys::parse_log(key)?;
                let uids = decode_uids(value)?;
                self.folder(key)?.vanished.push((mod_seq, uids));
                Ok(())
            }
            keys::STAGED => {
                let pending = key.0.get(1..9).and_then(|id| <[u8; 8]>::try_from(id).ok());
                let pending = pending.ok_or(Damaged("key of a staged row"))?;
                let rows = rows_in(value, "staged rows")?;
                let staged = self.staged.entry(PendingId(u64::from_be_bytes(pending))).or_default();
                staged.extend(rows_of(&rows));
                Ok(())
            }
            keys::RECORD => {
                let name = keys::parse_record(key)?.1;
                let stored = StoredRecord::decode(value)?;
                let seen = &mut self.records.1;
                seen.records += 1;
                seen.bytes += (name.as_str().len() + stored.value.len()) as u64;
                Ok(())
            }
            _ => Err(Damaged("key: of no known kind")),
        }
    }

    fn take_of_email(&mut self, kind: u8, key: &SortKey, value: &Bytes) -> Result<(), Damaged> {
        let emails = self.emails.get_or_insert_default();
        match kind {
            keys::COLUMNS => {
                ColumnRecord::decode(value)?;
                if let Some(email) = emails.get_mut(&EmailId(keys::parse_u64(key)?)) {
                    email.has_columns = true;
                }
            }
            keys::BLOCK => {
                let (kind, number) = keys::parse_block(key)?;
                let block = Block::decode(kind, value)?;
                if kind == BlockKind::Envelope {
                    let first = number.saturating_mul(BLOCK_MESSAGES);
                    let range = EmailId(first)..EmailId(first.saturating_add(BLOCK_MESSAGES));
                    for (id, email) in emails.range_mut(range) {
                        email.has_columns |= block.find(*id).is_some();
                    }
                }
            }
            keys::MEMORY => {
                keys::parse_memory(key)?;
                Remembered::decode(value)?;
            }
            keys::BLOB => {
                let (blob, _) = decode_blob_reference(value)?;
                self.blobs.insert(EmailId(keys::parse_u64(key)?), blob);
            }
            keys::APART => {}
            _ => return Err(Damaged("key: of no known kind")),
        }
        Ok(())
    }

    /// All rows have come.
    fn collect_emails(&mut self) {
        let mut emails = Emails::new();
        for (id, folder) in &mut self.folders {
            folder.replay(&self.staged);
            for row in folder.rows.values() {
                note(&mut emails, row, (*id, row.meta.uid));
            }
        }
        self.emails = Some(emails);
    }

    /// Messages whose references are counted otherwise than rows name them. Where removals or pending sets are under way
    /// the two may differ.
    fn miscounted(&self) -> Vec<(EmailId, u32, u32)> {
        if !self.tombstones.is_empty() || !self.pending.is_empty() {
            return Vec::new();
        }
        let emails = self.emails.iter().flatten();
        let counted = emails
            .map(|(id, email)| (*id, self.references.get(id).copied().unwrap_or(1), email.rows));
        counted.filter(|(_, said, rows)| said != rows).collect()
    }

    /// A message as errors name it.
    fn thing(&self, (folder, uid): (FolderId, Uid)) -> String {
        let seen = self.folders.get(&folder);
        let name = seen.map_or_else(|| format!("folder {}", folder.0), |seen| seen.name(folder));
        format!("{} {name} UID {}", self.name, uid.0)
    }

    /// Pending sets whose rows own a body or count it.
    fn staged_emails(&self) -> impl Iterator<Item = EmailId> + '_ {
        let sets = self.pending.iter().filter(|(_, set)| set.owns != PendingBodies::Borrowed);
        let rows = sets.flat_map(|(id, _)| self.staged.get(id).into_iter().flatten());
        rows.map(|row| row.meta.email)
    }
}

fn note(emails: &mut Emails, row: &Row, at: (FolderId, Uid)) {
    let bytes = row.meta.bytes;
    let email = emails.entry(row.meta.email).or_insert(Email {
        bytes,
        at,
        rows: 0,
        has_columns: false,
        has_body: false,
    });
    email.rows += 1;
}

fn rows_in(value: &Bytes, what: &'static str) -> Result<crate::mailbox::format::Rows, Damaged> {
    let mut reader = Reader::new(value, what)?;
    let rows = decode_rows(&mut reader)?;
    reader.finish()?;
    Ok(rows)
}

impl Walk<'_> {
    pub(super) fn take_of_user(&mut self, user: &mut UserCheck, key: &SortKey, value: &Bytes) {
        let of_email = key.0.first().is_some_and(|kind| *kind >= FIRST_OF_EMAIL);
        if of_email && user.emails.is_none() {
            user.collect_emails();
        }
        if let Err(error) = user.take(key, value) {
            let reason = format!("record {}: {error}", key.0.escape_ascii());
            self.damage(user.name.clone(), reason);
        }
    }

    pub(super) fn finish_user(
        &mut self,
        partition: PartitionId,
        route: &RouteKey,
        mut user: UserCheck,
    ) {
        if user.emails.is_none() {
            user.collect_emails();
        }
        let mut is_sound = true;
        for (id, folder) in &user.folders {
            if user.tombstones.contains(id) {
                continue;
            }
            self.counts.messages += folder.rows.len() as u64;
            let thing = format!("{} {}", user.name, folder.name(*id));
            if folder.record.is_none() {
                self.damage(thing.clone(), "its record is not there");
            }
            for fault in folder.faults() {
                is_sound = false;
                self.damage_of(thing.clone(), fault, COUNTS);
            }
        }
        if user.records.0 != user.records.1 {
            let reason = "its settings and contacts are counted otherwise than they are";
            self.damage_of(user.name.clone(), reason, COUNTS);
        }
        self.read_bodies(partition, route, &mut user);
        // Without the rows there is nothing to compare counts with.
        let miscounted = if is_sound { user.miscounted() } else { Vec::new() };
        for (id, said, rows) in miscounted {
            let email = user.emails.as_ref().and_then(|emails| emails.get(&id));
            let thing = email.map_or_else(|| user.name.clone(), |email| user.thing(email.at));
            self.damage(thing, format!("{said} references are counted, {rows} are there"));
        }
    }

    fn read_bodies(&mut self, partition: PartitionId, route: &RouteKey, user: &mut UserCheck) {
        let key = |email| layout::entry_key(partition, route, &keys::body(email).0);
        let to = layout::entry_key(partition, route, &[0xFF]);
        let mut pages = Pages::new(Column::Bodies, key(EmailId(0)), to);
        let prefix = layout::prefix_bytes(route);
        let mut emails = user.emails.take().unwrap_or_default();
        let staged: BTreeSet<EmailId> = user.staged_emails().collect();
        let broken = loop {
            let page = match pages.next(self.reads) {
                Ok(Some(page)) => page,
                Ok(None) => break false,
                Err(_) => break true,
            };
            for (key, stored) in page {
                self.count(&key, &stored);
                let id = keys::parse_u64(&SortKey(key.slice(prefix..))).map(EmailId);
                let Ok(id) = id else { continue };
                self.check_body(user, (id, emails.get_mut(&id)), stored, &staged);
            }
        };
        let missing: Vec<EmailId> =
            emails.iter().filter(|(_, email)| !email.has_body).map(|(id, _)| *id).collect();
        for id in missing {
            let found = source::get(self.reads, Column::Bodies, key(id));
            let Some(email) = emails.get_mut(&id) else { continue };
            match found {
                Ok(Some(stored)) => self.check_body(user, (id, Some(email)), stored, &staged),
                Ok(None) => self.damage(user.thing(email.at), "its body is not there"),
                Err(error) => {
                    self.damage(user.thing(email.at), format!("its body can't be read: {error}"));
                }
            }
        }
        for email in emails.values().filter(|email| !email.has_columns) {
            self.damage(user.thing(email.at), "what FETCH shows of it is not there");
        }
        if broken && emails.values().all(|email| email.has_body) {
            self.damage(user.name.clone(), "a body that no folder names can't be read");
        }
        user.emails = Some(emails);
    }

    fn check_body(
        &mut self,
        user: &UserCheck,
        (id, email): (EmailId, Option<&mut Email>),
        stored: Bytes,
        staged: &BTreeSet<EmailId>,
    ) {
        let thing = match &email {
            Some(email) => user.thing(email.at),
            None if staged.contains(&id) => format!("{} message {} of an APPEND", user.name, id.0),
            // Condemned, or of a deleted folder: it is on its way out.
            None => return,
        };
        let bytes = email.map(|email| {
            email.has_body = true;
            email.bytes
        });
        let value = match layout::split_entry(stored) {
            Ok((value, _)) => value,
            Err(error) => return self.damage(thing, error.to_string()),
        };
        let record = match BodyRecord::decode(&value) {
            Ok(record) => record,
            Err(error) => return self.damage(thing, format!("its body: {error}")),
        };
        if let Some(bytes) = bytes.filter(|bytes| u64::from(*bytes) != record.len()) {
            let reason = format!("its body has {} bytes, the folder says {bytes}", record.len());
            self.damage(thing.clone(), reason);
        }
        for extent in &record.extents {
            let Extent::Blob { blob, offset, len } = extent else { continue };
            if let Some(reason) = self.blob_fault(*blob, offset.saturating_add(*len)) {
                self.damage(thing.clone(), reason);
            }
            if user.blobs.get(&id) != Some(blob) {
                let reason = format!("no sweep renews its blob {:032x}", blob.0);
                self.damage_of(thing.clone(), reason, RESTORE);
            }
        }
    }
}
