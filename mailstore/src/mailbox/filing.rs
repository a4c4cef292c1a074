//! The user's rules, applied to what is delivered: in the master, so that they hold for every way mail comes, and go into the
//! same batch as the message.
//!
//! Rules are read once after loading, and again when their record was written; a mailbox without records of its own never reads
//! any. Deliveries wait for that read, and for the header of a body in chunks when a rule asks for it. Rules that can't be read,
//! and folders that are gone, never hold up mail: it goes to INBOX.

use super::change::Asker;
use super::core::Core;
use super::format::{RecordUsage, StoredRecord, keys};
use super::load::got;
use super::machine::Effect;
use super::reading::Reading;
use super::{Waiting, answer};
use crate::face::{
    Body, Collection, Deliver, Filing, FolderId, FolderName, Keyword, LogEvent, Place, RecordName,
    SpecialUse, TaskRefusal, UserTask,
};
use crate::rules::{Facts, RECORD_NAME, Rules};
use bytes::Bytes;
use dds::{Request, Response};
use fsm::Cx;
use std::sync::Arc;

/// Bytes of a header that rules look at. Our choice: a value of the hash table; what spam filters add stands at its beginning.
const HEADER_BYTES_MAX: u64 = 64 * 1024;

/// The user's own records, as far as they are in memory.
#[derive(Debug)]
pub struct Own {
    pub usage: RecordUsage,
    rules: KnownRules,
    /// Numbers the reads of rules.
    readings: u64,
}

impl Own {
    #[must_use]
    pub fn new(usage: RecordUsage) -> Self {
        Self { usage, rules: KnownRules::Unread, readings: 0 }
    }

    /// Ends: whoever waits for the rules.
    pub fn abandon(&mut self) -> Vec<Asker> {
        match std::mem::take(&mut self.rules) {
            KnownRules::Reading { waiting, .. } => waiting.into_iter().map(|it| it.asker).collect(),
            KnownRules::Unread | KnownRules::Known(_) => Vec::new(),
        }
    }
}

/// What is known of the user's rules.
#[derive(Debug, Default)]
enum KnownRules {
    #[default]
    Unread,
    /// Deliveries wait. Another `reading` was begun before the rules were written.
    Reading {
        reading: u64,
        waiting: Vec<Waiting>,
    },
    Known(Arc<Rules>),
}

/// A delivery and what is done with it: what deciding extensions said, and what rules add.
pub type Filed = (Deliver, Filing);

fn filed(mut deliver: Deliver) -> Filed {
    let filing = std::mem::take(&mut deliver.filing);
    (deliver, filing)
}

impl Core {
    /// What the rules say of a delivery; `None`: something has to be read first, and `waiting` comes again then.
    pub fn filed(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        deliver: Deliver,
        header: Option<&[u8]>,
        waiting: impl FnOnce(Deliver) -> Waiting,
    ) -> Option<Filed> {
        if self.own.usage.records == 0 {
            return Some(filed(deliver));
        }
        let rules = match &mut self.own.rules {
            KnownRules::Known(rules) => Arc::clone(rules),
            KnownRules::Reading { waiting: queue, .. } => {
                queue.push(waiting(deliver));
                return None;
            }
            KnownRules::Unread => {
                self.read_rules(cx, waiting(deliver));
                return None;
            }
        };
        let own;
        let header = match (&deliver.body, header) {
            (_, Some(header)) => Some(header),
            (Body::Inline(bytes), None) => {
                own = bytes.clone();
                let len = usize::try_from(deliver.columns.header_bytes).unwrap_or(usize::MAX);
                Some(&own[..len.min(own.len())])
            }
            (Body::Blob { blob, .. }, None) if rules.need_header() => {
                let (blob, len) = (*blob, deliver.columns.header_bytes.min(HEADER_BYTES_MAX));
                let reading = Reading::RuleHeader(Box::new(waiting(deliver)));
                self.read(cx, Request::ReadBlob { blob, offset: 0, len }, reading);
                return None;
            }
            (Body::Blob { .. }, None) => None,
        };
        let bytes = (deliver.prefix.len() as u64).saturating_add(deliver.body.len());
        let ruled = rules.file(&Facts { columns: &deliver.columns.search, bytes, header });
        let (deliver, mut filing) = filed(deliver);
        filing.add(&ruled);
        Some((deliver, filing))
    }

    fn read_rules(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting) {
        self.own.readings += 1;
        let reading = self.own.readings;
        self.own.rules = KnownRules::Reading { reading, waiting: vec![waiting] };
        let name = RecordName::new(RECORD_NAME).expect("a short name");
        let key = keys::record(Collection::Rules, &name);
        self.get(cx, vec![key], Reading::Rules { reading });
    }

    /// The record of the rules was written, or there is none any more.
    pub fn rules_written(&mut self, cx: &mut Cx<'_, Effect>) {
        if let KnownRules::Reading { waiting, .. } = std::mem::take(&mut self.own.rules) {
            waiting.into_iter().for_each(|waiting| self.on_task(cx, waiting));
        }
    }

    pub fn on_rules(&mut self, cx: &mut Cx<'_, Effect>, reading: u64, response: Response) {
        let waiting = match &mut self.own.rules {
            KnownRules::Reading { reading: awaited, waiting } if *awaited == reading => {
                std::mem::take(waiting)
            }
            // What was read is old.
            KnownRules::Reading { .. } | KnownRules::Unread | KnownRules::Known(_) => return,
        };
        let read = got(response).and_then(|values| match values.into_iter().next().flatten() {
            Some(value) => {
                Rules::decode(StoredRecord::decode(&value)?.value).map_err(|_| TaskRefusal::Damaged)
            }
            None => Ok(Rules::default()),
        });
        let rules = match read {
            Ok(rules) => rules,
            Err(TaskRefusal::Damaged) => {
                let user = Some(self.context.user);
                let what = "the rules of a user can't be read: mail goes to INBOX".to_owned();
                cx.emit(Effect::Log(LogEvent::Trouble { part: "rules", user, what }));
                Rules::default()
            }
            Err(refusal) => {
                self.own.rules = KnownRules::Unread;
                waiting.into_iter().for_each(|it| answer(cx, it.asker, Err(refusal)));
                return;
            }
        };
        self.own.rules = KnownRules::Known(Arc::new(rules));
        waiting.into_iter().for_each(|waiting| self.on_task(cx, waiting));
    }

    /// The header of a delivery whose body is in chunks.
    pub fn on_rule_header(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        waiting: Waiting,
        response: Response,
    ) {
        let header = match response {
            Response::BlobRead(bytes) => bytes,
            // The store will say what is wrong with it when it is read again: rules must not hold it up.
            _ => Bytes::new(),
        };
        let Waiting { asker, task, blob } = waiting;
        match task {
            UserTask::Deliver(deliver) if self.may_write() => {
                self.deliver(cx, asker, deliver, (blob, Some(&header)));
            }
            // It is read again, behind what came in between.
            task => self.on_task(cx, Waiting { asker, task, blob }),
        }
    }

    /// The folder that rules, or whoever delivers, chose, and the keywords that go with it.
    pub fn chosen_folder(&self, wanted: &FolderName, filing: &mut Filing) -> Option<FolderId> {
        let inbox = FolderName::inbox();
        let named = |name: &FolderName| self.by_name.get(name).copied();
        let place = filing.place.take().filter(|_| *wanted == inbox);
        let chosen = match place {
            None => named(wanted),
            Some(Place::Folder(name)) => named(&name),
            Some(Place::Known { id, .. }) => Some(id).filter(|id| self.folders.contains_key(id)),
            Some(Place::Trash) => self.folder_of_use(SpecialUse::Trash, "Trash"),
            Some(Place::Junk) => {
                filing.keywords.extend(Keyword::new(b"$Junk"));
                self.folder_of_use(SpecialUse::Junk, "Junk")
            }
        };
        chosen.or_else(|| named(&inbox))
    }

    fn folder_of_use(&self, wanted: SpecialUse, name: &str) -> Option<FolderId> {
        let of_use = self.folders.values().find(|folder| folder.special_use == Some(wanted));
        let named = || FolderName::new(name).ok().and_then(|name| self.by_name.get(&name).copied());
        of_use.map(|folder| folder.id).or_else(named)
    }
}
