//! APPEND of one message at once, and of several as a pending set that one batch shows.
//!
//! Staged messages are durable and belong to no folder. Their rows stand in memory with the set; when its session or its
//! master ends before the set is shown, the set is dropped, after a restart from the rows in the store.

use super::change::{ArrivalSource, Asker};
use super::core::{Core, Exclusive};
use super::deliver::{Apart, Arriving, now};
use super::format::{KeywordTable, PendingBodies, PendingSet, Remembered, Rows, keys};
use super::gathered::{Gathered, GatheredMessage, StagedBatch};
use super::machine::Effect;
use super::memory::recipient_hash;
use super::settle::Hold;
use super::show::{Parked, ShowFrom, ShowPlan};
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    Body, DeliveryId, FolderId, FolderName, Keyword, ModSeq, NewMessage, PendingId, SessionId,
    TaskRefusal, UserDone, UserError, UserTask,
};
use bytes::Bytes;
use dds::Op;
use fsm::Cx;
use std::collections::VecDeque;

/// A set of appended messages that nobody sees yet.
#[derive(Debug)]
pub struct Pending {
    pub session: SessionId,
    /// The folder of the last message staged: MULTIAPPEND has one.
    pub folder: FolderId,
    /// Those that were sent. UIDs count from 1 and are no UIDs yet.
    pub rows: Rows,
    /// How many, those that gather included.
    messages: u64,
    /// Keywords by message, resolved when the set is shown.
    pub keywords: Vec<Vec<Keyword>>,
    pub bytes: u64,
    /// The batches that have not settled.
    pub under_way: VecDeque<StagedBatch>,
    /// What goes with the next batch.
    pub gathered: Gathered,
    pub state: PendingState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingState {
    Open,
    /// A message of the set was refused: it can't be shown.
    Broken(TaskRefusal),
    /// Its session is gone, or it was dropped: to be removed once nothing of it is under way.
    Dropped,
}

/// See [`Core::mark_keywords`].
#[derive(Clone, Copy, Debug)]
pub struct KeywordMark {
    id: FolderId,
    len: usize,
    count: u32,
    mod_seq: ModSeq,
}

impl Pending {
    /// Bytes that are not durable yet.
    fn ahead_bytes(&self) -> usize {
        self.under_way.iter().map(|batch| batch.bytes).sum::<usize>() + self.gathered.bytes()
    }

    /// What it counts in the quota.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        (self.bytes, self.messages)
    }
}

impl Core {
    pub fn append(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (to, message, once): (FolderName, NewMessage, Option<DeliveryId>),
        blob: BlobLife,
    ) {
        let remembered_as = |id| (id, recipient_hash(""));
        let (to, message) = match once {
            None => (to, message),
            Some(id) => {
                let repeated = |(to, message)| {
                    let task = UserTask::Append { to, message, once };
                    Waiting { asker, task, blob }
                };
                match self.first_time(cx, remembered_as(id), (to, message), repeated) {
                    Some(parts) => parts,
                    None => return,
                }
            }
        };
        let Some(&id) = self.by_name.get(&to) else {
            return self.fail_message(cx, asker, (UserError::NoSuchFolder, &message.body));
        };
        if !self.quota_admits(message.body.len(), 1) {
            return self.fail_message(cx, asker, (UserError::OverQuota, &message.body));
        }
        if let (Body::Blob { blob: blob_id, .. }, BlobLife::AsFound) = (&message.body, blob) {
            let blob_id = *blob_id;
            let task = UserTask::Append { to, message, once };
            return self.renew_blob(cx, blob_id, Waiting { asker, task, blob });
        }
        let mark = self.mark_keywords(id);
        let mut ops = Vec::with_capacity(6);
        let keywords = match self.assign_keywords(id, &message.keywords, &mut ops) {
            Ok(keywords) => keywords,
            Err(error) => return self.fail_message(cx, asker, (error, &message.body)),
        };
        let arriving = arriving_of(cx, &message);
        match self.arrive(cx.wall(), id, (&arriving, keywords), &mut ops) {
            Ok(meta) => {
                let remembered = Remembered { folder: id, uid: meta.uid };
                let memory = once.map(|once| {
                    self.remember(cx.wall(), remembered_as(once), &remembered, &mut ops)
                });
                let source = ArrivalSource::Append { memory, asker };
                self.submit_arrival(cx, id, (meta, keywords, source), ops);
            }
            Err(error) => {
                self.forget_keywords(mark);
                self.fail_message(cx, asker, (error, &message.body));
            }
        }
    }

    /// The bits of keywords in a folder's table, which grows for new ones: then it is in `ops`.
    pub fn assign_keywords(
        &mut self,
        id: FolderId,
        keywords: &[Keyword],
        ops: &mut Vec<Op>,
    ) -> Result<u128, UserError> {
        if keywords.is_empty() {
            return Ok(0);
        }
        let keywords_max = self.limits().keywords_max.min(128);
        let mod_seq = ModSeq(self.counters.mod_seq.0 + 1);
        let folder = self.folders.get_mut(&id).ok_or(UserError::NoSuchFolder)?;
        let known = folder.keywords_assigned.len();
        let mut bits = 0_u128;
        for keyword in keywords {
            let bit = match folder.keyword_bit(keyword) {
                Some(bit) => bit,
                None if folder.keywords_assigned.len() < keywords_max => {
                    folder.keywords_assigned.push(keyword.clone());
                    folder.keywords_assigned.len() - 1
                }
                None => {
                    folder.keywords_assigned.truncate(known);
                    return Err(UserError::Limit("too many keywords in the mailbox".into()));
                }
            };
            bits |= 1_u128 << bit;
        }
        if folder.keywords_assigned.len() > known {
            let count = folder.keywords_assigned.len();
            folder.assigned.keywords = u32::try_from(count).unwrap_or(u32::MAX);
            folder.assigned.keywords_mod_seq = mod_seq;
            let table = KeywordTable(folder.keywords_assigned.clone());
            let key = keys::of_folder(keys::KEYWORDS, id);
            ops.push(Op::Put { key, value: table.encode() });
        }
        Ok(bits)
    }

    /// Where the keyword table of a folder stands, to go back there when a change that named new ones is not made. It is
    /// made or not within one step, so that nothing refers to them yet.
    #[must_use]
    pub fn mark_keywords(&self, id: FolderId) -> KeywordMark {
        let folder = self.folders.get(&id);
        let assigned = folder.map(|folder| folder.assigned).unwrap_or_default();
        KeywordMark {
            id,
            len: folder.map_or(0, |folder| folder.keywords_assigned.len()),
            count: assigned.keywords,
            mod_seq: assigned.keywords_mod_seq,
        }
    }

    /// Forgets keywords that were assigned since the mark.
    pub fn forget_keywords(&mut self, mark: KeywordMark) {
        if let Some(folder) = self.folders.get_mut(&mark.id) {
            folder.keywords_assigned.truncate(mark.len);
            folder.assigned.keywords = mark.count;
            folder.assigned.keywords_mod_seq = mark.mod_seq;
        }
    }

    pub fn stage_append(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (to, pending, message): (FolderName, Option<PendingId>, NewMessage),
        blob: BlobLife,
    ) {
        let Some(&folder) = self.by_name.get(&to) else {
            return self.fail_message(cx, asker, (UserError::NoSuchFolder, &message.body));
        };
        if !self.quota_admits(message.body.len(), 1) {
            return self.fail_message(cx, asker, (UserError::OverQuota, &message.body));
        }
        if let Some(error) = self.ignore_staging(asker, pending) {
            return answer(cx, asker, error);
        }
        if let (Body::Blob { blob: blob_id, .. }, BlobLife::AsFound) = (&message.body, blob) {
            let blob_id = *blob_id;
            let task = UserTask::StageAppend { to, pending, message };
            return self.renew_blob(cx, blob_id, Waiting { asker, task, blob });
        }
        let arriving = arriving_of(cx, &message);
        let apart = match Apart::of(&arriving) {
            Ok(apart) => apart,
            Err(error) => return self.fail_message(cx, asker, (error, &message.body)),
        };
        let pending = pending.unwrap_or_else(|| self.open_pending(asker, folder));
        let ahead_max = self.limits().staged_ahead_bytes_max;
        let Some(set) = self.pending.get_mut(&pending) else {
            return;
        };
        let bytes = arriving.bytes();
        set.folder = folder;
        set.keywords.push(message.keywords);
        set.gathered.push(GatheredMessage { arriving, apart });
        set.messages += 1;
        set.bytes = set.bytes.saturating_add(bytes);
        self.usage.bytes = self.usage.bytes.saturating_add(bytes);
        self.usage.messages += 1;
        // The batch that shows the set comes behind this one: no need to wait for it, unless too much is under way.
        if set.ahead_bytes() <= ahead_max {
            answer(cx, asker, Ok(UserDone::Staged { pending }));
        } else {
            set.gathered.wait(asker);
        }
    }

    /// Why a message can't be staged, if so.
    fn ignore_staging(
        &self,
        asker: Asker,
        pending: Option<PendingId>,
    ) -> Option<Result<UserDone, TaskRefusal>> {
        let failed = |error| Some(Ok(UserDone::Failed(error)));
        let Some(pending) = pending else {
            let full = self.pending.len() >= self.limits().pending_sets_max;
            return if full { Some(Err(TaskRefusal::Overloaded)) } else { None };
        };
        match self.pending.get(&pending) {
            Some(set) if set.session == asker.session => match set.state {
                PendingState::Open if set.messages >= self.limits().pending_rows_max as u64 => {
                    failed(UserError::Limit("too many messages in one APPEND".into()))
                }
                PendingState::Open => None,
                PendingState::Broken(refusal) => Some(Err(refusal)),
                PendingState::Dropped => failed(UserError::NoSuchPending),
            },
            Some(_) | None => failed(UserError::NoSuchPending),
        }
    }

    fn open_pending(&mut self, asker: Asker, folder: FolderId) -> PendingId {
        let pending = PendingId(self.counters.next_pending);
        self.counters.next_pending += 1;
        self.pending.insert(
            pending,
            Pending {
                session: asker.session,
                folder,
                rows: Rows::default(),
                messages: 0,
                keywords: Vec::new(),
                bytes: 0,
                under_way: VecDeque::new(),
                gathered: Gathered::default(),
                state: PendingState::Open,
            },
        );
        pending
    }

    pub fn commit_append(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, pending: PendingId) {
        let (state, messages) = match self.pending.get(&pending) {
            Some(set) if set.session == asker.session => (set.state, set.messages),
            Some(_) | None => return fail(cx, asker, UserError::NoSuchPending),
        };
        match state {
            PendingState::Open => {}
            PendingState::Broken(refusal) => {
                self.discard_pending(cx, pending);
                return answer(cx, asker, Err(refusal));
            }
            PendingState::Dropped => return fail(cx, asker, UserError::NoSuchPending),
        }
        if self.pipeline.shows(pending) || self.parked_shows(pending) {
            return fail(cx, asker, UserError::NoSuchPending);
        }
        // What one batch shows depends on assigned counters alone, like any arrival: sets need not wait for each other.
        let one_batch = messages <= self.limits().batch_rows_max as u64;
        let hold = if one_batch { Hold::None } else { Hold::Exclusive };
        if hold == Hold::Exclusive && self.exclusive != Exclusive::Free {
            let task = UserTask::CommitAppend { pending };
            return self.contenders.push_back(Waiting { asker, task, blob: BlobLife::AsFound });
        }
        self.send_rest(cx, pending);
        if let Err(error) = self.show_pending(cx, asker, (pending, hold)) {
            self.discard_pending(cx, pending);
            fail(cx, asker, error);
        }
    }

    fn show_pending(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (pending, hold): (PendingId, Hold),
    ) -> Result<(), UserError> {
        let set = self.pending.get(&pending).ok_or(UserError::NoSuchPending)?;
        let (folder, count) = (set.folder, set.rows.metas.len());
        self.check_room(folder, count)?;
        let mut ops = Vec::new();
        let lists = set.keywords.clone();
        let mut bits = Vec::with_capacity(lists.len());
        let mark = self.mark_keywords(folder);
        for keywords in &lists {
            match self.assign_keywords(folder, keywords, &mut ops) {
                Ok(assigned) => bits.push(assigned),
                Err(error) => {
                    self.forget_keywords(mark);
                    return Err(error);
                }
            }
        }
        let set = self.pending.get(&pending).ok_or(UserError::NoSuchPending)?;
        let mut rows = Rows::default();
        for (meta, bits) in set.rows.metas.iter().zip(bits) {
            rows.push(*meta, bits);
        }
        if hold == Hold::Exclusive {
            self.hold_exclusive();
        }
        let plan = ShowPlan {
            asker,
            target: folder,
            made: Vec::new(),
            rows,
            from: ShowFrom::Append { pending },
            staged: 0,
            pending: None,
            ops,
            hold,
        };
        self.go_on_show(cx, Box::new(plan));
        Ok(())
    }

    pub fn drop_append(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, pending: PendingId) {
        match self.pending.get(&pending) {
            Some(set) if set.session == asker.session => {
                self.discard_pending(cx, pending);
                answer(cx, asker, Ok(UserDone::Done));
            }
            Some(_) | None => fail(cx, asker, UserError::NoSuchPending),
        }
    }

    /// A session is gone: nobody can show its sets.
    pub fn drop_pending_of(&mut self, cx: &mut Cx<'_, Effect>, session: SessionId) {
        let of_session = self.pending.iter().filter(|(_, set)| set.session == session);
        let sets: Vec<PendingId> = of_session.map(|(pending, _)| *pending).collect();
        for pending in sets {
            self.discard_pending(cx, pending);
        }
    }

    /// The set will not be shown. One whose showing is under way is left to it.
    fn discard_pending(&mut self, cx: &mut Cx<'_, Effect>, pending: PendingId) {
        if self.pipeline.shows(pending) || self.parked_shows(pending) {
            return;
        }
        if let Some(set) = self.pending.get_mut(&pending) {
            set.state = PendingState::Dropped;
            let unsent = std::mem::take(&mut set.gathered);
            self.removals.release(unsent.blobs());
            for asker in unsent.into_askers() {
                answer(cx, asker, Err(TaskRefusal::Unavailable));
            }
        }
        self.sweep_pending(pending);
    }

    fn parked_shows(&self, pending: PendingId) -> bool {
        match &self.parked {
            Some(Parked::Show(plan)) => plan.shows() == Some(pending),
            Some(Parked::Expunge(_) | Parked::Store(_)) | None => false,
        }
    }

    /// A dropped set goes once nothing of it is under way: housekeeping removes what the store has of it.
    pub fn sweep_pending(&mut self, pending: PendingId) {
        let settled = self
            .pending
            .get(&pending)
            .is_some_and(|set| set.under_way.is_empty() && set.state == PendingState::Dropped);
        if settled && let Some(set) = self.pending.remove(&pending) {
            let (bytes, messages) = set.usage();
            self.usage.bytes = self.usage.bytes.saturating_sub(bytes);
            self.usage.messages = self.usage.messages.saturating_sub(messages);
            self.removals.add_orphan(pending, PendingSet { owns: PendingBodies::Own });
        }
    }
}

pub fn arriving_of(cx: &Cx<'_, Effect>, message: &NewMessage) -> Arriving {
    Arriving {
        prefix: Bytes::new(),
        body: message.body.clone(),
        columns: std::sync::Arc::clone(&message.columns),
        flags: message.flags,
        internal_date: message.internal_date.unwrap_or_else(|| now(cx.wall())),
    }
}
