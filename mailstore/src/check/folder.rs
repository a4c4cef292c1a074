//! One folder: its rows after segments, log and vanished records, and whether its header says the same.

use crate::face::{FlagChange, Flags, FolderId, ModSeq, PendingId, SystemFlag, Uid, UidSet};
use crate::mailbox::format::{FolderRecord, Header, LogEntry, Meta, Rows};
use std::collections::BTreeMap;

/// What was read of a folder.
#[derive(Debug, Default)]
pub struct FolderSeen {
    pub record: Option<FolderRecord>,
    pub header: Option<Header>,
    /// Entries of the keyword table.
    pub keywords: usize,
    pub rows: BTreeMap<Uid, Row>,
    pub log: Vec<(ModSeq, LogEntry)>,
    pub vanished: Vec<(ModSeq, UidSet)>,
}

/// A message in a folder.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub meta: Meta,
    pub keywords: u128,
}

/// Rows of pending sets, in order.
pub type Staged = BTreeMap<PendingId, Vec<Row>>;

pub fn rows_of(rows: &Rows) -> impl Iterator<Item = Row> + '_ {
    rows.metas.iter().map(|meta| Row { meta: *meta, keywords: rows.keywords_of(meta) })
}

impl FolderSeen {
    /// The folder as errors name it.
    pub fn name(&self, id: FolderId) -> String {
        match &self.record {
            Some(record) => record.name.to_string(),
            None => format!("folder {}", id.0),
        }
    }

    /// A segment; why it does not fit the ones before, if so.
    pub fn take_segment(&mut self, rows: &Rows) -> Option<&'static str> {
        let mut fault = None;
        for row in rows_of(rows) {
            if self.rows.insert(row.meta.uid, row).is_some() {
                fault = Some("a UID stands in two segments");
            }
        }
        fault
    }

    /// Brings the rows to where the log ends.
    pub fn replay(&mut self, staged: &Staged) {
        let header = self.header.unwrap_or_default();
        for (mod_seq, entry) in std::mem::take(&mut self.log) {
            if mod_seq > header.folded && mod_seq <= header.mod_seq {
                self.apply(mod_seq, entry, staged);
            }
        }
        for (mod_seq, uids) in std::mem::take(&mut self.vanished) {
            if mod_seq > header.folded && mod_seq <= header.mod_seq {
                self.rows.retain(|uid, _| !uids.contains(*uid));
            }
        }
    }

    fn apply(&mut self, mod_seq: ModSeq, entry: LogEntry, staged: &Staged) {
        match entry {
            LogEntry::Arrived(rows) => {
                for row in rows_of(&rows) {
                    self.rows.entry(row.meta.uid).or_insert(row);
                }
            }
            LogEntry::Flagged { change, flags, uids } => {
                for (uid, row) in &mut self.rows {
                    if uids.contains(*uid) && row.meta.mod_seq < mod_seq {
                        flag(row, change, flags);
                        row.meta.mod_seq = mod_seq;
                    }
                }
            }
            LogEntry::Adopted { pending, first_uid, count } => {
                let rows = staged.get(&pending).into_iter().flatten();
                for (uid, row) in (first_uid.0..).zip(rows.take(count as usize)) {
                    let meta = Meta { uid: Uid(uid), mod_seq, ..row.meta };
                    self.rows.entry(meta.uid).or_insert(Row { meta, ..*row });
                }
            }
        }
    }

    /// What the header says otherwise than the rows do.
    pub fn faults(&self) -> Vec<String> {
        let Some(header) = &self.header else {
            return vec!["its header is not there".to_owned()];
        };
        let has = |flag: SystemFlag| move |row: &&Row| row.meta.flags.has(flag);
        let rows = || self.rows.values();
        let bytes = |row: &Row| u64::from(row.meta.bytes);
        let deleted = || rows().filter(has(SystemFlag::Deleted));
        let seen = rows().filter(has(SystemFlag::Seen)).count();
        let counts = [
            ("messages", u64::from(header.messages), rows().len() as u64),
            ("unseen messages", u64::from(header.unseen), (rows().len() - seen) as u64),
            ("deleted messages", u64::from(header.deleted), deleted().count() as u64),
            ("bytes", header.bytes, rows().map(bytes).sum()),
            ("bytes of deleted messages", header.deleted_bytes, deleted().map(bytes).sum()),
        ];
        let differ = counts.into_iter().filter(|(_, said, counted)| said != counted);
        let mut faults: Vec<String> = differ
            .map(|(what, said, counted)| {
                format!("the header says {said} {what}, there are {counted}")
            })
            .collect();
        if let Some(last) = self.rows.keys().next_back().filter(|last| last.0 >= header.uid_next) {
            faults.push(format!("UIDNEXT is {}, but UID {} is there", header.uid_next, last.0));
        }
        if let Some(last) = rows().map(|row| row.meta.mod_seq).max().filter(|m| *m > header.mod_seq)
        {
            let highest = header.mod_seq.0;
            faults.push(format!("HIGHESTMODSEQ is {highest}, but {} is there", last.0));
        }
        let known = header.keywords;
        let beyond = |row: &Row| known < 128 && row.keywords >> known != 0;
        if self.keywords < known as usize || rows().any(beyond) {
            faults.push("there are keywords without names".to_owned());
        }
        faults
    }
}

/// RFC 9051 6.4.6.
fn flag(row: &mut Row, change: FlagChange, flags: Flags) {
    let system = &mut row.meta.flags.0;
    match change {
        FlagChange::Add => {
            *system |= flags.system.0;
            row.keywords |= flags.keywords;
        }
        FlagChange::Remove => {
            *system &= !flags.system.0;
            row.keywords &= !flags.keywords;
        }
        FlagChange::Replace => {
            *system = flags.system.0;
            row.keywords = flags.keywords;
        }
    }
}
