//! A folder of the small master: every message it ever held, the plain way.

use bytes::Bytes;
use mailstore::face::*;
use mailstore::mime::{Decoder, Layout, PartTable, Resolved, filter_header};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Message {
    pub flags: Flags,
    pub mod_seq: ModSeq,
    pub arrived: ModSeq,
    pub gone: Option<ModSeq>,
    pub date: InternalDate,
    pub body: Bytes,
    pub columns: Arc<Columns>,
    pub email_id: EmailId,
}

#[derive(Clone, Debug)]
pub struct Folder {
    pub id: FolderId,
    pub special_use: Option<SpecialUse>,
    pub uid_validity: UidValidity,
    pub uid_next: u32,
    pub highest: ModSeq,
    pub messages: BTreeMap<u32, Message>,
    pub keywords: Vec<Keyword>,
    /// UIDs that no read-write session has taken as `\Recent`.
    pub recent: UidSet,
}

impl Folder {
    pub fn live(&self) -> impl Iterator<Item = (&u32, &Message)> {
        self.messages.iter().filter(|(_, message)| message.gone.is_none())
    }

    pub fn uids(&self) -> UidSet {
        self.live().map(|(uid, _)| Uid(*uid)).collect()
    }

    /// The bit of a keyword, made when it is new.
    pub fn keyword(&mut self, keyword: &Keyword) -> u128 {
        let at = self.keywords.iter().position(|known| known == keyword).unwrap_or_else(|| {
            self.keywords.push(keyword.clone());
            self.keywords.len() - 1
        });
        1 << at
    }

    pub fn status(&self) -> FolderStatus {
        let count =
            |flag| self.live().filter(|(_, message)| message.flags.system.has(flag)).count() as u32;
        let messages = self.live().count() as u32;
        FolderStatus {
            id: self.id,
            uid_validity: self.uid_validity,
            uid_next: Uid(self.uid_next),
            highest_mod_seq: self.highest,
            messages,
            recent: self.recent.len() as u32,
            unseen: messages - count(SystemFlag::Seen),
            deleted: count(SystemFlag::Deleted),
            bytes: self.live().map(|(_, message)| message.body.len() as u64).sum(),
            deleted_bytes: 0,
        }
    }

    pub fn diff(&self, since: ModSeq) -> FolderDiff {
        let arrived: UidSet = self
            .live()
            .filter(|(_, message)| message.arrived > since)
            .map(|(uid, _)| Uid(*uid))
            .collect();
        let changed: Vec<FlagRow> = self
            .live()
            .filter(|(_, message)| message.mod_seq > since && message.arrived <= since)
            .map(|(uid, message)| FlagRow {
                uid: Uid(*uid),
                mod_seq: message.mod_seq,
                flags: message.flags,
            })
            .collect();
        FolderDiff {
            mod_seq: self.highest,
            uid_next: Uid(self.uid_next),
            vanished: self
                .messages
                .iter()
                .filter(|(_, message)| message.gone.is_some_and(|gone| gone > since))
                .map(|(uid, _)| Uid(*uid))
                .collect(),
            recent: arrived.intersection(&self.recent),
            arrived,
            changed: changed.into(),
            keywords: self.keywords.clone().into(),
        }
    }

    pub fn row(&self, uid: u32, want: Want) -> Option<Row> {
        let message = self.messages.get(&uid)?;
        let columns = &message.columns;
        let wanted = |want: bool, bytes: &Bytes| if want { bytes.clone() } else { Bytes::new() };
        Some(Row {
            uid: Uid(uid),
            mod_seq: message.mod_seq,
            flags: message.flags,
            internal_date: message.date,
            saved: message.date,
            bytes: message.body.len() as u64,
            email_id: message.email_id,
            thread_id: ThreadId(message.email_id.0),
            envelope: wanted(want.envelope, &columns.envelope),
            body: wanted(want.body, &columns.body),
            structure: wanted(want.structure, &columns.structure),
        })
    }

    pub fn read(&self, uid: u32, section: &Section, offset: u64, len: u64) -> Option<SectionRead> {
        let message = self.messages.get(&uid)?;
        let body = &message.body;
        let parts = PartTable::decode(&message.columns.parts).expect("made by the scanner");
        let layout = Layout { prefix_len: 0, body_len: body.len() as u64 };
        let range =
            |range: std::ops::Range<u64>| body.slice(range.start as usize..range.end as usize);
        let all = match parts.resolve(layout, section) {
            Resolved::Bytes(bytes) => range(bytes),
            Resolved::FilterHeader { range: bytes, names, keep } => {
                filter_header(&range(bytes), &names, keep)
            }
            Resolved::Decode { range: bytes, encoding } => {
                let mut out = Vec::new();
                let mut decoder = Decoder::new(encoding).ok()?;
                if decoder.push(&range(bytes), &mut out).is_err() {
                    return Some(SectionRead::UnknownEncoding);
                }
                decoder.finish(&mut out);
                out.into()
            }
            Resolved::NoSuchPart => return Some(SectionRead::NoSuchPart),
            Resolved::UnknownEncoding => return Some(SectionRead::UnknownEncoding),
        };
        let total = all.len() as u64;
        let from = offset.min(total) as usize;
        let to = offset.saturating_add(len).min(total) as usize;
        Some(SectionRead::Page { bytes: all.slice(from..to), total })
    }

    pub fn matches(&self, uid: u32, message: &Message, criteria: &Criteria) -> bool {
        let contains = |haystack: &[u8], needle: &[u8]| {
            let lower = |text: &[u8]| String::from_utf8_lossy(text).to_lowercase();
            lower(haystack).contains(&lower(needle))
        };
        let columns = &message.columns.search;
        match criteria {
            Criteria::All => true,
            Criteria::And(all) => all.iter().all(|one| self.matches(uid, message, one)),
            Criteria::Or(a, b) => self.matches(uid, message, a) || self.matches(uid, message, b),
            Criteria::Not(one) => !self.matches(uid, message, one),
            Criteria::Uids(uids) => uids.contains(Uid(uid)),
            Criteria::Flag(flag) => message.flags.system.has(*flag),
            Criteria::Keyword(keyword) => self
                .keywords
                .iter()
                .position(|known| known == keyword)
                .is_some_and(|at| message.flags.keywords >> at & 1 == 1),
            Criteria::Larger(bytes) => message.body.len() as u64 > *bytes,
            Criteria::Smaller(bytes) => (message.body.len() as u64) < *bytes,
            Criteria::From(text) => contains(&columns.from, text),
            Criteria::To(text) => contains(&columns.to, text),
            Criteria::Subject(text) => contains(&columns.subject, text),
            Criteria::BodyText(text) | Criteria::Text(text) => contains(&message.body, text),
            Criteria::ModSeq(mod_seq) => message.mod_seq >= *mod_seq,
            other => panic!("the small master can't search for {other:?}"),
        }
    }
}
