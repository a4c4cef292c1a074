//! Verifies what a store holds: every checksum by reading everything, every reference, every index against its log.
//!
//! It reads one moment of the store through a function, off the workers, and shares with the mailbox machines the formats
//! alone: rows are replayed into plain maps here. What is wrong is told with the account, folder and UID it concerns, and the
//! walk goes on behind it.
//!
//! In order: the directory, for names; of each partition its blobs, their chunks and their index by expiry; then route by
//! route the records of users and of the delivery queue, and the bodies they name.
//!
//! Invariants: memory is bounded by the rows of one user and the blobs of one partition; nothing is written.

mod blobs;
mod folder;
mod queue;
mod route;
mod source;
mod user;

use crate::directory::format as accounts;
use crate::face::UserId;
use crate::mailbox;
use dds::{BlobId, Column, DpMap, PartitionId, Read, ReadDone, SortKey, StoreError, layout};
use source::Pages;
use std::collections::BTreeMap;

/// How a check reads: the same moment each time, whatever is written meanwhile.
pub type Reads<'a> = dyn Fn(&Read) -> Result<ReadDone, StoreError> + 'a;

/// What a check tells while it walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Bytes of keys and values read so far.
    Progress(u64),
    Damage(Damage),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `ann@example.org INBOX UID 7`.
    pub thing: String,
    pub reason: String,
    pub next_step: &'static str,
}

/// How much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub entries: u64,
    pub bytes: u64,
    pub users: u64,
    pub messages: u64,
    pub blobs: u64,
}

const RESTORE: &str =
    "keep a copy of the data directory, export what can be read, restore the last backup";
const COUNTS: &str = "messages are whole: move them to a new folder, or restore the last backup";

/// Verifies everything of the partitions that the store `holds`: what it has of others may be old, or on its way in.
pub fn check(
    reads: &Reads<'_>,
    (map, holds): (DpMap, &dyn Fn(PartitionId) -> bool),
    tell: &mut dyn FnMut(Told),
) -> Counts {
    let mut walk = Walk {
        reads,
        map,
        holds,
        tell,
        counts: Counts::default(),
        names: BTreeMap::new(),
        broken_blobs: BTreeMap::new(),
    };
    walk.read_names();
    let held = || (0..map.partitions).map(PartitionId).filter(|partition| holds(*partition));
    for partition in held() {
        walk.check_blobs(partition);
    }
    for partition in held() {
        walk.check_log(partition);
        walk.check_routes(partition);
    }
    (walk.tell)(Told::Progress(walk.counts.bytes));
    walk.counts
}

/// One check on its way.
struct Walk<'a> {
    reads: &'a Reads<'a>,
    map: DpMap,
    holds: &'a dyn Fn(PartitionId) -> bool,
    tell: &'a mut dyn FnMut(Told),
    counts: Counts,
    /// Addresses of accounts.
    names: BTreeMap<UserId, String>,
    /// Blobs that are not whole: no damage while nobody refers to them.
    broken_blobs: BTreeMap<BlobId, String>,
}

impl Walk<'_> {
    fn damage(&mut self, thing: impl Into<String>, reason: impl Into<String>) {
        self.damage_of(thing, reason, RESTORE);
    }

    fn damage_of(
        &mut self,
        thing: impl Into<String>,
        reason: impl Into<String>,
        next_step: &'static str,
    ) {
        let damage = Damage { thing: thing.into(), reason: reason.into(), next_step };
        (self.tell)(Told::Damage(damage));
    }

    /// What an account is called in what is told.
    fn name(&self, user: UserId) -> String {
        self.names.get(&user).cloned().unwrap_or_else(|| format!("user {}", user.0))
    }

    /// Accounts whose mail lies in a partition.
    fn users_of(&self, partition: PartitionId) -> Vec<UserId> {
        let of = |user: &&UserId| self.map.partition_of(&mailbox::route(**user).0) == partition;
        self.names.keys().filter(of).copied().collect()
    }

    fn read_names(&mut self) {
        let route = accounts::route();
        let partition = self.map.partition_of(&route.0);
        if !(self.holds)(partition) {
            return;
        }
        let (from, to) = accounts::whole_range();
        let key = |sort: &SortKey| layout::entry_key(partition, &route, &sort.0);
        let mut pages = Pages::new(Column::Meta, key(&from), key(&to));
        let prefix = layout::prefix_bytes(&route);
        loop {
            let page = match pages.next(self.reads) {
                Ok(Some(page)) => page,
                Ok(None) => return,
                Err(error) => return self.damage("the directory", error.to_string()),
            };
            for (key, stored) in page {
                let sort = SortKey(key.slice(prefix.min(key.len())..));
                let read = layout::split_entry(stored).map_err(|error| error.to_string()).and_then(
                    |(value, _)| {
                        accounts::Record::read(&sort, value).map_err(|error| error.to_string())
                    },
                );
                match read {
                    Ok(accounts::Record::Account(account)) => {
                        self.names.insert(account.user, account.address.to_string());
                    }
                    Ok(_) => {}
                    Err(reason) => {
                        let key = sort.0.escape_ascii();
                        self.damage(format!("record {key} of the directory"), reason);
                    }
                }
            }
        }
    }

    fn check_log(&mut self, partition: PartitionId) {
        let key = layout::partition_key(partition);
        match source::get(self.reads, Column::Log, key) {
            Ok(Some(record)) => {
                if let Err(error) = layout::PartitionRecord::decode(&record) {
                    self.damage(format!("partition {}", partition.0), error.to_string());
                }
            }
            Ok(None) => {}
            Err(error) => self.damage(format!("partition {}", partition.0), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
