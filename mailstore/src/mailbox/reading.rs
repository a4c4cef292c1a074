//! Reads under way, and where each answer goes.

use super::change::{Asker, MemoryKey};
use super::core::Core;
use super::events::EventRead;
use super::fetch::FetchJob;
use super::format::{Remembered, keys};
use super::load::{got, scan_request, scanned};
use super::machine::Effect;
use super::pipeline::refusal_of;
use super::records::RecordRead;
use super::search::{Part, SearchId};
use super::section::SectionJob;
use super::{BlobLife, Waiting, answer};
use crate::face::{FolderId, FolderName, TaskRefusal, UidSet, UserDone, UserError, UserTask};
use dds::{BlobId, Outcome, Response};
use fsm::Cx;

/// What a read is for.
#[derive(Debug)]
pub enum Reading {
    /// A page of a folder's rows.
    Folder(FolderId),
    /// A page of the delivery memory.
    Memory,
    /// Where a message went whose delivery or APPEND is repeated.
    Remembered {
        key: MemoryKey,
        task: Box<UserTask>,
        asker: Asker,
    },
    /// A blob's life is extended before metadata refers to it.
    Blob(Box<Waiting>),
    /// Columns of a FETCH page.
    Columns(Box<FetchJob>),
    /// Search columns of a window of rows.
    Search {
        search: SearchId,
        window: u64,
    },
    /// A part of a body that a search needs.
    SearchBody(Part),
    Section(Box<SectionJob>),
    /// A page of the event log.
    Events(Box<EventRead>),
    /// Records of the user's own.
    Records(RecordRead),
    /// The user's rules.
    Rules {
        reading: u64,
    },
    /// What rules ask of a delivery whose body is in chunks.
    RuleHeader(Box<Waiting>),
    /// A released blob is being deleted.
    Dropped(BlobId),
    /// Blob references of condemned messages, references of an orphaned pending set, columns to pack.
    House,
}

impl Reading {
    /// Who waits for it.
    #[must_use]
    pub fn into_askers(self) -> Vec<Asker> {
        match self {
            // Those who wait for a folder or the memory stand in its queue, searches in their table.
            Self::Folder(_)
            | Self::Memory
            | Self::Search { .. }
            | Self::SearchBody(_)
            | Self::Rules { .. }
            | Self::Dropped(_)
            | Self::House => Vec::new(),
            Self::Remembered { asker, .. } => vec![asker],
            Self::Blob(waiting) | Self::RuleHeader(waiting) => vec![waiting.asker],
            Self::Columns(job) => vec![job.asker],
            Self::Section(job) => vec![job.asker],
            Self::Events(read) => vec![read.asker],
            Self::Records(read) => vec![read.asker()],
        }
    }
}

impl Core {
    /// An answer to a read.
    pub fn on_read(&mut self, cx: &mut Cx<'_, Effect>, reading: Reading, response: Response) {
        match reading {
            Reading::Folder(id) => self.on_folder_page(cx, id, response),
            Reading::Memory => self.on_memory_page(cx, response),
            Reading::Remembered { key, task, asker } => {
                self.on_remembered(cx, (key, task, asker), response);
            }
            Reading::Blob(waiting) => self.on_renewed(cx, *waiting, &response),
            Reading::Columns(job) => self.on_columns(cx, job, response),
            Reading::Search { search, window } => {
                self.on_search_columns(cx, (search, window), response);
            }
            Reading::SearchBody(part) => self.on_search_body(cx, part, response),
            Reading::Section(job) => self.on_section(cx, job, response),
            Reading::Events(read) => self.on_events(cx, *read, response),
            Reading::Records(read) => self.on_records(cx, read, response),
            Reading::Rules { reading } => self.on_rules(cx, reading, response),
            Reading::RuleHeader(waiting) => self.on_rule_header(cx, *waiting, response),
            Reading::Dropped(blob) => self.on_dropped(blob, &response),
            Reading::House => self.on_house_read(cx, response),
        }
    }

    fn on_memory_page(&mut self, cx: &mut Cx<'_, Effect>, response: Response) {
        let (entries, more) = match scanned(response) {
            Ok(page) => page,
            Err(refusal) => {
                for waiting in self.memory.failed() {
                    answer(cx, waiting.asker, Err(refusal));
                }
                return;
            }
        };
        for entry in &entries {
            // A key that is none can't be that of a delivery either.
            if let Ok(parts) = keys::parse_memory(&entry.key) {
                self.memory.load(parts);
            }
        }
        match entries.last().filter(|_| more) {
            Some(last) => {
                let (from, to) = (keys::next(&last.key), keys::memory_from(0).1);
                let request = scan_request(&self.context.route, from, to);
                self.read(cx, request, Reading::Memory);
            }
            None => {
                for waiting in self.memory.loaded() {
                    self.on_task(cx, waiting);
                }
            }
        }
    }

    fn on_remembered(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (key, task, asker): (MemoryKey, Box<UserTask>, Asker),
        response: Response,
    ) {
        let values = match got(response) {
            Ok(values) => values,
            Err(refusal) => return answer(cx, asker, Err(refusal)),
        };
        match values.into_iter().next().flatten() {
            Some(value) => match Remembered::decode(&value) {
                Ok(remembered) => answer(cx, asker, Ok(self.done_before(&task, remembered))),
                Err(damaged) => answer(cx, asker, Err(damaged.into())),
            },
            // Another delivery has the same hash: this one is new after all.
            None => {
                self.memory.forget(&key);
                self.on_task(cx, Waiting { asker, task: *task, blob: BlobLife::AsFound });
            }
        }
    }

    /// What a task is told that was done before.
    fn done_before(&self, task: &UserTask, Remembered { folder, uid }: Remembered) -> UserDone {
        let known = self.folders.get(&folder);
        match (task, known) {
            (UserTask::Append { .. }, Some(known)) => {
                let uids = UidSet::from_range(uid.0..=uid.0);
                UserDone::Appended { folder, uid_validity: known.uid_validity, uids }
            }
            // It went with the folder.
            (UserTask::Append { .. }, None) => UserDone::Failed(UserError::NoSuchFolder),
            (_, known) => {
                let folder = known.map_or_else(FolderName::inbox, |known| known.name.clone());
                UserDone::Delivered { folder, uid }
            }
        }
    }

    fn on_renewed(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting, response: &Response) {
        let refusal = match response {
            Response::Wrote(Outcome::Committed { .. }) => {
                return self.on_task(cx, Waiting { blob: BlobLife::Renewed, ..waiting });
            }
            Response::Wrote(Outcome::Refused(refusal)) | Response::Refused(refusal) => {
                refusal_of(refusal)
            }
            Response::Wrote(Outcome::Unknown)
            | Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => TaskRefusal::Unavailable,
        };
        answer(cx, waiting.asker, Err(refusal));
    }
}
