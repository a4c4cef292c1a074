//! Expiry: mail goes from Trash and Junk when it was put there long enough ago. Housekeeping does it, slice by slice, and
//! watchers see an ordinary expunge.
//!
//! A look begins a while after loading, and again and again while loaded: what the user chose is read, then of each folder
//! the first rows, and only when these are due all of them.
//!
//! Invariants: what counts is when a row came into its folder, never a date of the message; nothing goes that is younger than
//! the user chose; without a record nothing goes, but the record is written, and time runs from then on.

use super::EXPIRY_TIMER;
use super::change::{House, Removal};
use super::core::{Core, Exclusive};
use super::expunge::Bodies;
use super::format::{Reader, RecordUsage, StoredRecord, decode_rows, keys};
use super::house::Work;
use super::load::{got, scanned};
use super::machine::Effect;
use super::settle::Hold;
use crate::expiry::{Expiry, RECORD_NAME};
use crate::face::{Collection, FolderId, LogEvent, RecordName, SpecialUse, TaskRefusal, UidSet};
use dds::{Op, Request, Response};
use fsm::Cx;
use std::collections::BTreeSet;

/// What expiry knows between two steps.
#[derive(Debug, Default)]
pub struct Expiring {
    /// Folders that are yet to be looked at.
    due: BTreeSet<FolderId>,
    /// What the user chose; read anew for every look.
    chosen: Chosen,
    /// Rises with every write of records: what was read before is old.
    writes: u64,
}

impl Expiring {
    /// Records of the user were written, perhaps this one.
    pub fn on_records_written(&mut self) {
        self.writes += 1;
        self.chosen = Chosen::Unread;
    }

    /// The next look tries it again.
    pub fn give_up(&mut self) {
        self.due.clear();
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum Chosen {
    #[default]
    Unread,
    /// There is no record.
    Nothing,
    Is(Expiry),
}

/// A step of expiry.
#[derive(Debug)]
pub enum ExpireStep {
    /// The record is being read, as it was after so many writes.
    Choosing {
        writes: u64,
    },
    /// The first rows of the folder are being read.
    Probing(FolderId),
    /// Its rows are being loaded.
    Loading(FolderId),
    /// The first record is being written.
    Beginning(Expiry, RecordUsage),
    Removing(Box<Removal>),
}

impl Core {
    /// The time of the first look.
    pub fn arm_expiry(&mut self, cx: &mut Cx<'_, Effect>) {
        let first = self.limits().expiry_first;
        cx.arm(EXPIRY_TIMER, first);
    }

    /// A look begins.
    pub fn on_expiry_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        let every = self.limits().expiry_every;
        cx.arm(EXPIRY_TIMER, every);
        let expires = [Some(SpecialUse::Trash), Some(SpecialUse::Junk)];
        let folders = self.folders.values().filter(|folder| folder.committed.messages > 0);
        let folders = folders.filter(|folder| expires.contains(&folder.special_use));
        self.house.expiring.due = folders.map(|folder| folder.id).collect();
        self.house.expiring.chosen = Chosen::Unread;
    }

    /// Begins with the next folder; false when there is nothing to do.
    pub fn expire(&mut self, cx: &mut Cx<'_, Effect>) -> bool {
        let enabled = self.context.account.as_ref().is_some_and(|account| account.enabled);
        while enabled && let Some(&id) = self.house.expiring.due.first() {
            if self.is_unread() {
                let writes = self.house.expiring.writes;
                self.house.work = Work::Expiring(ExpireStep::Choosing { writes });
                let route = self.context.route.clone();
                self.house_read(cx, Request::Get { route, keys: vec![record_key()] });
                return true;
            }
            if self.due(cx, id).is_none() {
                self.house.expiring.due.remove(&id);
            } else if self.folders.get(&id).is_some_and(|folder| folder.loaded().is_some()) {
                if self.expire_rows(cx, id) {
                    return true;
                }
            } else {
                self.house.work = Work::Expiring(ExpireStep::Probing(id));
                let (from, to) = keys::segments(id);
                let route = self.context.route.clone();
                let request = Request::Scan { route, from, to, reverse: false, entries_max: 1 };
                self.house_read(cx, request);
                return true;
            }
        }
        false
    }

    fn is_unread(&self) -> bool {
        matches!(self.house.expiring.chosen, Chosen::Unread)
    }

    /// Rows of a folder that came up to this go.
    fn due(&self, cx: &Cx<'_, Effect>, id: FolderId) -> Option<i64> {
        let expiry = match self.house.expiring.chosen {
            Chosen::Unread => return None,
            Chosen::Nothing => Expiry::default(),
            Chosen::Is(expiry) => expiry,
        };
        // A backup is not brought back to be thrown away.
        let restored = i64::try_from(self.context.restored.unix_micros / 1_000_000);
        let since = expiry.since.max(restored.unwrap_or(i64::MAX));
        let special_use = self.folders.get(&id)?.special_use;
        Expiry { since, ..expiry }.due(special_use, cx.wall().unix_seconds())
    }

    /// The next slice of a loaded folder; false when it can't be now, or nothing is left.
    fn expire_rows(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) -> bool {
        let due = self.due(cx, id);
        let index = self.folders.get(&id).and_then(|folder| folder.loaded());
        let (Some(due), Some(index)) = (due, index) else {
            self.house.expiring.due.remove(&id);
            return false;
        };
        let old = index.chunks().iter().flat_map(|chunk| &chunk.rows.metas);
        let old = old.filter(|meta| meta.saved <= due).take(self.limits().expunge_slice);
        let old: UidSet = old.map(|meta| meta.uid).collect();
        if old.is_empty() {
            self.house.expiring.due.remove(&id);
            return false;
        }
        if self.exclusive != Exclusive::Free || !self.contenders.is_empty() {
            // People come first; the next step comes by here again.
            return true;
        }
        if matches!(self.house.expiring.chosen, Chosen::Nothing) {
            self.begin_expiry(cx);
            return true;
        }
        let mut ops = Vec::new();
        let Some(removal) = self.remove_rows(id, &old, Bodies::Release, &mut ops) else {
            self.house.expiring.due.remove(&id);
            return false;
        };
        self.hold_exclusive();
        self.house.hold = Hold::Exclusive;
        self.house.work = Work::Expiring(ExpireStep::Removing(Box::new(removal)));
        self.house_submit(cx, ops, House::Expired);
        true
    }

    /// Writes the first record: what is there counts from now on.
    fn begin_expiry(&mut self, cx: &mut Cx<'_, Effect>) {
        let expiry = Expiry { since: cx.wall().unix_seconds(), ..Expiry::default() };
        let value = expiry.encode();
        let usage = RecordUsage {
            records: self.own.usage.records.saturating_add(1),
            bytes: self.own.usage.bytes.saturating_add((RECORD_NAME.len() + value.len()) as u64),
        };
        let version = self.next_mod_seq();
        let ops = vec![
            Op::Put { key: record_key(), value: StoredRecord { version, value }.encode() },
            Op::Put { key: keys::lone(keys::RECORD_USAGE), value: usage.encode() },
            // The version must not come again, and no header knows it.
            self.root_op(),
        ];
        self.hold_exclusive();
        self.house.hold = Hold::Exclusive;
        self.house.work = Work::Expiring(ExpireStep::Beginning(expiry, usage));
        self.house_submit(cx, ops, House::ExpiryBegun);
    }

    /// An answer to a read of expiry.
    pub fn on_expire_read(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        step: ExpireStep,
        response: Response,
    ) -> Result<(), TaskRefusal> {
        match step {
            ExpireStep::Choosing { writes } if writes != self.house.expiring.writes => {}
            ExpireStep::Choosing { .. } => {
                let value = got(response)?.into_iter().next().flatten();
                self.house.expiring.chosen = self.chosen(cx, value.as_ref());
            }
            // It begins again.
            ExpireStep::Probing(_) if self.is_unread() => {}
            ExpireStep::Probing(id) => {
                let (entries, _) = scanned(response)?;
                let rows = entries.first().map(|entry| {
                    let mut reader = Reader::new(&entry.value, "segment")?;
                    decode_rows(&mut reader)
                });
                let first = rows.transpose()?.and_then(|rows| rows.metas.first().copied());
                // Without a segment all rows are in the log, and few.
                let is_young = |due| first.is_some_and(|first| first.saved > due);
                match self.due(cx, id) {
                    Some(due) if !is_young(due) => self.load_to_expire(cx, id),
                    Some(_) | None => {
                        self.house.expiring.due.remove(&id);
                    }
                }
            }
            step @ (ExpireStep::Loading(_)
            | ExpireStep::Beginning(..)
            | ExpireStep::Removing(_)) => self.house.work = Work::Expiring(step),
        }
        Ok(())
    }

    fn chosen(&mut self, cx: &mut Cx<'_, Effect>, value: Option<&bytes::Bytes>) -> Chosen {
        let Some(value) = value else { return Chosen::Nothing };
        let stored = StoredRecord::decode(value).ok();
        match stored.and_then(|stored| Expiry::decode(stored.value).ok()) {
            Some(expiry) => Chosen::Is(expiry),
            None => {
                let what = "when mail expires can't be read: none does".to_owned();
                let user = Some(self.context.user);
                cx.emit(Effect::Log(LogEvent::Trouble { part: "expiry", user, what }));
                Chosen::Is(Expiry { trash_days: 0, junk_days: 0, since: 0 })
            }
        }
    }

    fn load_to_expire(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) {
        let Some(folder) = self.folders.get(&id) else { return };
        let (loaded, loading) = (folder.loaded().is_some(), folder.is_loading());
        if !loaded {
            self.house.work = Work::Expiring(ExpireStep::Loading(id));
        }
        if !loaded && !loading {
            self.load_folder(cx, id, Vec::new());
        }
    }

    /// Whether expiry waits for the rows of a folder that is being loaded.
    #[must_use]
    pub fn is_loading_to_expire(&self, step: &ExpireStep) -> bool {
        match step {
            ExpireStep::Loading(id) => self.folders.get(id).is_some_and(|it| it.is_loading()),
            ExpireStep::Choosing { .. }
            | ExpireStep::Probing(_)
            | ExpireStep::Beginning(..)
            | ExpireStep::Removing(_) => false,
        }
    }

    /// A batch of expiry is durable.
    pub fn expired(&mut self, cx: &mut Cx<'_, Effect>, step: ExpireStep) {
        match step {
            ExpireStep::Removing(removal) => {
                let id = removal.folder;
                self.removal_committed(*removal);
                self.notify_changed(cx, id);
            }
            ExpireStep::Beginning(expiry, usage) => {
                self.own.usage = usage;
                self.house.expiring.chosen = Chosen::Is(expiry);
            }
            ExpireStep::Choosing { .. } | ExpireStep::Probing(_) | ExpireStep::Loading(_) => {}
        }
    }

    /// Whether a folder is loaded for expiry.
    #[must_use]
    pub fn is_expiring(&self, id: FolderId) -> bool {
        matches!(&self.house.work, Work::Expiring(ExpireStep::Loading(folder)) if *folder == id)
    }
}

fn record_key() -> dds::SortKey {
    let name = RecordName::new(RECORD_NAME).expect("a short name");
    keys::record(Collection::Settings, &name)
}
