//! Loading the rows of a folder that somebody asks for.
//!
//! A folder loads in three scans: segments, log, vanished records. Changes that commit meanwhile are kept and replayed behind
//! them; replaying what the scan has seen already does nothing. Rows newer than the committed state are left out: they come
//! with their commit.

use super::core::Core;
use super::folder::{Folder, IndexState};
use super::format::{Damaged, Header, LogEntry, Reader, decode_rows, decode_uids, keys};
use super::index::Index;
use super::machine::Effect;
use super::pipeline::refusal_of;
use super::reading::Reading;
use super::{Limits, Waiting, answer};
use crate::face::{
    FolderId, FolderName, LogEvent, ModSeq, PendingId, TaskRefusal, Uid, UserDone, UserError,
};
use bytes::Bytes;
use dds::{Entry, Request, Response, RouteKey, SortKey};
use fsm::Cx;
use std::sync::Arc;

/// Entries of one page of a scan; the store cuts pages by bytes too.
const SCAN_ENTRIES: usize = 4096;

/// One page of a range, rising.
#[must_use]
pub fn scan_request(route: &RouteKey, from: SortKey, to: SortKey) -> Request {
    let route = route.clone();
    Request::Scan { route, from, to, reverse: false, entries_max: SCAN_ENTRIES }
}

/// The entries of an answer to a scan.
///
/// # Errors
/// The refusal that came instead.
pub fn scanned(response: Response) -> Result<(Vec<Entry>, bool), TaskRefusal> {
    match response {
        Response::Scanned { entries, more } => Ok((entries, more)),
        Response::Refused(refusal) => Err(refusal_of(&refusal)),
        Response::Claimed(_)
        | Response::Wrote(_)
        | Response::Got(_)
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. } => Err(TaskRefusal::Unavailable),
    }
}

/// The values of an answer to a get.
///
/// # Errors
/// The refusal that came instead.
pub fn got(response: Response) -> Result<Vec<Option<Bytes>>, TaskRefusal> {
    match response {
        Response::Got(slots) => {
            Ok(slots.into_iter().map(|slot| slot.map(|(value, _)| value)).collect())
        }
        Response::Refused(refusal) => Err(refusal_of(&refusal)),
        Response::Claimed(_)
        | Response::Wrote(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. } => Err(TaskRefusal::Unavailable),
    }
}

/// The rows of one folder on their way in.
#[derive(Debug)]
pub struct FolderLoading {
    pub waiting: Vec<Waiting>,
    /// What committed since loading began.
    pub meanwhile: Vec<Meanwhile>,
    index: Index,
    step: LoadStep,
}

/// A committed change of a folder whose rows are being loaded.
#[derive(Debug)]
pub enum Meanwhile {
    Logged(LogEntry, ModSeq),
    Vanished(crate::face::UidSet, ModSeq),
}

#[derive(Debug)]
enum LoadStep {
    Segments,
    Log,
    /// Rows of a pending set that the log adopted; then the log goes on behind `resume`.
    Adopted {
        mod_seq: ModSeq,
        next_uid: Uid,
        left: u32,
        pending: PendingId,
        resume: SortKey,
    },
    Vanished,
}

impl Core {
    /// Runs a task once the rows of its folder are loaded: gives it back when they are.
    pub fn when_loaded(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        id: FolderId,
        waiting: Waiting,
    ) -> Option<Waiting> {
        self.uses += 1;
        let uses = self.uses;
        let Some(folder) = self.folders.get_mut(&id) else {
            answer(cx, waiting.asker, Ok(UserDone::Failed(UserError::NoSuchFolder)));
            return None;
        };
        folder.used = uses;
        match &mut folder.index {
            IndexState::Loaded(_) => Some(waiting),
            IndexState::Loading(loading) => {
                loading.waiting.push(waiting);
                None
            }
            IndexState::Absent => {
                self.load_folder(cx, id, vec![waiting]);
                None
            }
        }
    }

    /// Loads the rows of INBOX for somebody who has not asked yet.
    pub fn load_inbox(&mut self, cx: &mut Cx<'_, Effect>) {
        self.note_use(cx);
        let Some(&id) = self.by_name.get(&FolderName::inbox()) else {
            return;
        };
        self.uses += 1;
        let uses = self.uses;
        if let Some(folder) = self.folders.get_mut(&id)
            && matches!(folder.index, IndexState::Absent)
        {
            folder.used = uses;
            self.load_folder(cx, id, Vec::new());
        }
    }

    /// Begins to load a folder's rows.
    pub fn load_folder(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId, waiting: Vec<Waiting>) {
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let loading = FolderLoading::begin(waiting);
        folder.index = IndexState::Loading(Box::new(loading));
        let (from, to) = keys::segments(id);
        let request = scan_request(&self.context.route, from, to);
        self.read(cx, request, Reading::Folder(id));
    }

    /// A page of a folder that is being loaded.
    pub fn on_folder_page(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId, response: Response) {
        let limits = Arc::clone(&self.context.limits);
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        let header = folder.committed;
        let IndexState::Loading(loading) = &mut folder.index else {
            return;
        };
        let taken = scanned(response).and_then(|(entries, more)| {
            Ok(loading.on_page(id, &header, &limits, (&entries, more))?)
        });
        match taken {
            Ok(Some((from, to))) => {
                let request = scan_request(&self.context.route, from, to);
                self.read(cx, request, Reading::Folder(id));
            }
            Ok(None) => self.folder_loaded(cx, id),
            Err(refusal) => self.folder_failed(cx, id, refusal),
        }
    }

    fn folder_loaded(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId) {
        let chunk_rows_max = self.limits().chunk_rows_max;
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        match std::mem::replace(&mut folder.index, IndexState::Absent) {
            IndexState::Loading(loading) => {
                let FolderLoading { waiting, meanwhile, mut index, step: _ } = *loading;
                // Behind the replay, which goes by what stands in the store.
                if folder.floor > ModSeq(0) {
                    index.raise_rows(folder.floor);
                }
                for change in meanwhile {
                    match change {
                        Meanwhile::Logged(entry, mod_seq) => {
                            index.replay(entry, mod_seq, chunk_rows_max);
                        }
                        Meanwhile::Vanished(uids, mod_seq) => {
                            index.remove(&uids, mod_seq);
                            index.note_vanished(mod_seq, &uids);
                        }
                    }
                }
                if index.messages() != folder.committed.messages as usize {
                    let what = format!(
                        "folder {} of user {} has {} rows, its header says {}",
                        id,
                        self.context.user,
                        index.messages(),
                        folder.committed.messages
                    );
                    cx.emit(Effect::Log(LogEvent::Trouble {
                        part: "mailbox",
                        user: Some(self.context.user),
                        what,
                    }));
                }
                folder.index = IndexState::Loaded(Box::new(index));
                for waiting in waiting {
                    self.on_task(cx, waiting);
                }
                self.evict(id);
            }
            other @ (IndexState::Absent | IndexState::Loaded(_)) => folder.index = other,
        }
    }

    fn folder_failed(&mut self, cx: &mut Cx<'_, Effect>, id: FolderId, refusal: TaskRefusal) {
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        if refusal == TaskRefusal::Damaged {
            let what = format!("folder {id} of user {} is damaged", self.context.user);
            cx.emit(Effect::Log(LogEvent::Trouble {
                part: "mailbox",
                user: Some(self.context.user),
                what,
            }));
        }
        let waiting = folder.waiting_mut().map(std::mem::take).unwrap_or_default();
        folder.index = IndexState::Absent;
        self.house_failed(cx, id);
        for waiting in waiting {
            answer(cx, waiting.asker, Err(refusal));
        }
    }

    /// Forgets the rows of folders that nobody has open, least recently used first, until the rest fits.
    pub fn evict(&mut self, keep: FolderId) {
        // An order between two slices has rows to look at, though nobody may watch any more.
        if self.parked.is_some() {
            return;
        }
        let max = self.limits().index_bytes_max;
        let folding: Vec<FolderId> =
            self.folders.keys().copied().filter(|id| self.is_folding(*id)).collect();
        let bytes = |folder: &Folder| folder.loaded().map_or(0, Index::memory_bytes);
        let mut total: usize = self.folders.values().map(bytes).sum();
        while total > max {
            let idle = self.folders.values_mut().filter(|folder| {
                folder.id != keep
                    && !folding.contains(&folder.id)
                    && folder.watchers.is_empty()
                    && folder.may_be_forgotten()
            });
            let Some(victim) = idle.min_by_key(|folder| folder.used) else {
                break;
            };
            total -= bytes(victim);
            victim.forget();
        }
    }
}

impl FolderLoading {
    /// Nothing is read so far.
    #[must_use]
    pub fn begin(waiting: Vec<Waiting>) -> Self {
        Self { waiting, meanwhile: Vec::new(), index: Index::default(), step: LoadStep::Segments }
    }

    /// The rows, once all is read.
    #[must_use]
    pub fn into_index(self) -> Index {
        self.index
    }

    /// Takes a page; returns the range to scan next, or nothing at the end.
    pub fn on_page(
        &mut self,
        id: FolderId,
        header: &Header,
        limits: &Limits,
        (entries, more): (&[Entry], bool),
    ) -> Result<Option<keys::KeyRange>, Damaged> {
        for (at, entry) in entries.iter().enumerate() {
            if let Some(adopted) = self.take(entry, header, limits)? {
                // The rest of the page is scanned again once the staged rows are in.
                debug_assert!(at < entries.len());
                let pending = adopted;
                return Ok(Some(keys::staged_all(pending)));
            }
        }
        let after = entries.last().map(|entry| keys::next(&entry.key));
        let range = |range: keys::KeyRange| (after.clone().unwrap_or(range.0), range.1);
        let (step, next) = match std::mem::replace(&mut self.step, LoadStep::Vanished) {
            LoadStep::Segments if more => (LoadStep::Segments, range(keys::segments(id))),
            LoadStep::Segments => {
                let from = ModSeq(header.folded.0.saturating_add(1));
                (LoadStep::Log, keys::log_from(id, from))
            }
            LoadStep::Log if more => (LoadStep::Log, range(keys::log_from(id, ModSeq(0)))),
            LoadStep::Log => {
                let from = ModSeq(header.vanished_floor.0.saturating_add(1));
                (LoadStep::Vanished, keys::vanished_from(id, from))
            }
            LoadStep::Adopted { mod_seq, next_uid, left, pending, resume } => {
                if more && left > 0 {
                    let next = range(keys::staged_all(pending));
                    (LoadStep::Adopted { mod_seq, next_uid, left, pending, resume }, next)
                } else {
                    (LoadStep::Log, (resume, keys::log_from(id, ModSeq(0)).1))
                }
            }
            LoadStep::Vanished if more => {
                (LoadStep::Vanished, range(keys::vanished_from(id, ModSeq(0))))
            }
            LoadStep::Vanished => return Ok(None),
        };
        self.step = step;
        Ok(Some(next))
    }

    /// Takes an entry; names a pending set whose rows are needed before the next one.
    fn take(
        &mut self,
        entry: &Entry,
        header: &Header,
        limits: &Limits,
    ) -> Result<Option<PendingId>, Damaged> {
        match &mut self.step {
            LoadStep::Segments => {
                let mut reader = Reader::new(&entry.value, "segment")?;
                let rows = decode_rows(&mut reader)?;
                reader.finish()?;
                if !self.index.load_segment(keys::parse_segment(&entry.key)?, rows) {
                    return Err(Damaged("order of segments"));
                }
            }
            LoadStep::Log => {
                let (mod_seq, _) = keys::parse_log(&entry.key)?;
                if mod_seq > header.mod_seq {
                    return Ok(None);
                }
                self.index.log_bytes += entry.value.len() as u64;
                let logged = LogEntry::decode(&entry.value)?;
                if let LogEntry::Adopted { pending, first_uid, count } = logged {
                    let resume = keys::next(&entry.key);
                    self.step = LoadStep::Adopted {
                        mod_seq,
                        next_uid: first_uid,
                        left: count,
                        pending,
                        resume,
                    };
                    self.index.adopted.push(pending);
                    return Ok(Some(pending));
                }
                self.index.replay(logged, mod_seq, limits.chunk_rows_max);
            }
            LoadStep::Adopted { mod_seq, next_uid, left, .. } => {
                let mut reader = Reader::new(&entry.value, "staged rows")?;
                let rows = decode_rows(&mut reader)?;
                reader.finish()?;
                for meta in &rows.metas {
                    if *left == 0 {
                        break;
                    }
                    let row = super::format::Meta {
                        uid: *next_uid,
                        mod_seq: *mod_seq,
                        created: *mod_seq,
                        ..*meta
                    };
                    self.index.arrive(row, rows.keywords_of(meta), limits.chunk_rows_max);
                    next_uid.0 = next_uid.0.saturating_add(1);
                    *left -= 1;
                }
            }
            LoadStep::Vanished => {
                let (mod_seq, _) = keys::parse_log(&entry.key)?;
                if mod_seq > header.mod_seq {
                    return Ok(None);
                }
                let uids = decode_uids(&entry.value)?;
                if mod_seq > header.folded {
                    self.index.remove(&uids, mod_seq);
                }
                self.index.note_vanished(mod_seq, &uids);
            }
        }
        Ok(None)
    }
}
