//! A mailbox that is loaded: what it holds, who waits for what, and where a task goes.
//!
//! Invariants: arrivals depend on assigned counters alone and overlap freely; every other change depends on committed rows,
//! so that at most one of those is under way (`exclusive`); a change of the folder table waits until nothing is under way,
//! and holds back all other changes.

use super::change::Asker;
use super::folder::{Folder, IndexState};
use super::format::{Header, Packed};
use super::load_user::LoadedUser;
use super::machine::Effect;
use super::memory::DeliveryMemory;
use super::pipeline::Pipeline;
use super::reading::Reading;
use super::service::{Class, class, is_change, is_own, serves};
use super::show::Parked;
use super::{IDLE_TIMER, Limits, Waiting, answer, fail};
use crate::face::{
    AccountFacts, EmailId, FolderId, FolderName, ModSeq, Notice, PendingId, SessionId, TaskRefusal,
    UserDone, UserError, UserId, UserTask,
};
use dds::{Request, Response, RouteKey, SortKey};
use fsm::{Cx, Digest, Mono, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What stays the same while a mailbox is loaded.
#[derive(Clone, Debug)]
pub struct Context {
    pub user: UserId,
    pub limits: Arc<Limits>,
    pub route: RouteKey,
    pub restored: super::Restored,
    /// `None`: not told yet.
    pub account: Option<AccountFacts>,
}

/// A loaded mailbox.
#[derive(Debug)]
pub struct Core {
    pub context: Context,
    pub pipeline: Pipeline,
    pub folders: BTreeMap<FolderId, Folder>,
    pub by_name: BTreeMap<FolderName, FolderId>,
    pub subscriptions: BTreeSet<FolderName>,
    pub counters: Counters,
    /// Messages and bytes of all folders and pending sets, assigned ones included.
    pub usage: Usage,
    /// Reference counts other than one, as of the last batch that was sent.
    pub references: BTreeMap<EmailId, u32>,
    /// How to take back what the change under way did to `references`.
    pub references_undo: Vec<(EmailId, Option<u32>)>,
    /// What holds `exclusive` between two batches.
    pub parked: Option<Parked>,
    pub house: super::house::Housekeeping,
    /// What was done about restorations of the store.
    pub raised: super::format::RestoredRecord,
    /// While the first batch is under way: folders of a new user, until it commits.
    pub founding: Option<Vec<super::change::MadeFolder>>,
    /// Tasks that wait for the first batch.
    pub unfounded: Vec<Waiting>,
    pub searches: super::search::Searches,
    pub sections: super::section::Sections,
    pub blocks: super::columns::BlockCache,
    /// Blocks whose columns are packed, as far as batches have committed.
    pub packed: Packed,
    /// The same, batches under way included.
    pub packed_assigned: Packed,
    /// Messages of packed blocks that are gone.
    pub gone: BTreeMap<u64, u64>,
    pub pending: BTreeMap<PendingId, super::append::Pending>,
    pub memory: DeliveryMemory,
    pub removals: super::removal::Removals,
    pub events: super::events::Events,
    /// The user's own records, as of the last batch that committed, and the rules among them.
    pub own: super::filing::Own,
    /// Deleted folders whose mail is yet to be removed.
    pub tombstones: BTreeMap<FolderId, Header>,
    pub exclusive: Exclusive,
    /// Changes that depend on rows, in order.
    pub contenders: VecDeque<Waiting>,
    /// Arrivals that can't be numbered now.
    pub blocked: VecDeque<Waiting>,
    pub reads: BTreeMap<Token, Reading>,
    /// Who has the maildrop open.
    pub maildrop: Option<SessionId>,
    /// Rises with every use of a folder, for eviction.
    pub uses: u64,
    pub idle: Idle,
    pub lost: Lost,
}

/// Counters that nothing takes back: a number that was assigned and not used is left out.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    pub next_folder: u32,
    pub next_uid_validity: u32,
    pub mod_seq: ModSeq,
    pub email_next: u64,
    pub next_pending: u64,
}

/// What a quota limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub messages: u64,
}

/// When the machine was used last, and whether the timer runs that looks at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Idle {
    last_use: Mono,
    armed: bool,
}

/// Whether a change that depends on rows is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusive {
    Free,
    Held,
    /// A change of the folder table is under way, or waits for the pipeline to empty.
    Barrier,
}

/// Whether this master has learnt that its state can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    No,
    Yes,
}

impl Core {
    #[must_use]
    pub fn new(context: Context, loaded: LoadedUser) -> Self {
        let mut core = Self {
            pipeline: Pipeline::new(context.route.clone(), loaded.epoch),
            context,
            by_name: loaded.folders.values().map(|f| (f.name.clone(), f.id)).collect(),
            folders: loaded.folders,
            subscriptions: loaded.subscriptions,
            counters: loaded.counters,
            usage: Usage::default(),
            references: loaded.references,
            references_undo: Vec::new(),
            parked: None,
            house: super::house::Housekeeping::default(),
            raised: loaded.raised,
            founding: None,
            unfounded: Vec::new(),
            searches: super::search::Searches::default(),
            sections: super::section::Sections::default(),
            blocks: super::columns::BlockCache::default(),
            packed_assigned: loaded.packed.clone(),
            packed: loaded.packed,
            gone: loaded.gone,
            pending: BTreeMap::new(),
            memory: DeliveryMemory::default(),
            removals: super::removal::Removals::new(
                loaded.condemned,
                loaded.orphans,
                loaded.released,
            ),
            events: loaded.events,
            own: super::filing::Own::new(loaded.record_usage),
            tombstones: loaded.tombstones,
            exclusive: Exclusive::Free,
            contenders: VecDeque::new(),
            blocked: VecDeque::new(),
            reads: BTreeMap::new(),
            maildrop: None,
            uses: 0,
            idle: Idle::default(),
            lost: Lost::No,
        };
        core.count_usage();
        core
    }

    /// The first step after loading.
    pub fn begin(&mut self, cx: &mut Cx<'_, Effect>) {
        self.arm_expiry(cx);
        if self.is_founded() {
            self.stir_if_behind(cx);
            let raised = self.raise();
            if !raised.is_empty() {
                self.submit_raised(cx, raised);
            }
        }
    }

    /// Makes the folders of a new user. Before every task: an account that is gone founds nothing.
    pub fn found_if_new(&mut self, cx: &mut Cx<'_, Effect>) {
        if !self.is_founded() && self.founding.is_none() {
            let raised = self.raise();
            self.found(cx, raised);
        }
    }

    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.by_name.contains_key(&FolderName::inbox())
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.context.limits
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost == Lost::Yes
    }

    /// Nothing is under way, and nobody watches.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.folders.values().all(|folder| folder.watchers.is_empty())
    }

    /// Nothing is under way.
    fn is_quiet(&self) -> bool {
        self.pipeline.is_empty()
            && self.contenders.is_empty()
            && self.blocked.is_empty()
            && self.reads.is_empty()
            && self.searches.is_empty()
            && self.sections.turn.is_empty()
            && self.parked.is_none()
            && self.maildrop.is_none()
            && self.pending.is_empty()
            && self.house_is_idle()
            && !self.folders.values().any(|folder| matches!(folder.index, IndexState::Loading(_)))
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let folders = self.folders.values().map(|folder| {
            let index = folder.loaded().map_or(0, |index| index.memory_bytes());
            size_of::<Folder>() + folder.name.as_str().len() + folder.watchers.len() * 64 + index
        });
        size_of::<Self>()
            + folders.sum::<usize>()
            + self.references.len() * 24
            + self.gone.len() * 24
            + self.memory.memory_bytes()
            + self.blocks.memory_bytes()
    }

    pub fn digest(&self, digest: &mut Digest) {
        for word in self.pipeline.position() {
            digest.word(word);
        }
        digest.word(self.counters.mod_seq.0);
        digest.word(self.counters.email_next);
        digest.word(self.usage.bytes);
        digest.word(self.usage.messages);
        digest.word((self.contenders.len() + self.blocked.len() + self.reads.len()) as u64);
        for folder in self.folders.values() {
            digest.word(u64::from(folder.id.0));
            for header in [&folder.committed, &folder.assigned] {
                digest.word(header.mod_seq.0);
                digest.word(u64::from(header.uid_next));
                digest.word(u64::from(header.messages));
            }
            for (session, watcher) in &folder.watchers {
                digest.word(session.0);
                digest.word(watcher.expunges_told.0);
            }
        }
    }

    /// Sums usage over the folders' assigned headers and the pending sets.
    pub fn count_usage(&mut self) {
        let of_folder = |header: &Header| (header.bytes, u64::from(header.messages));
        let folders = self.folders.values().map(|folder| of_folder(&folder.assigned));
        let pending = self.pending.values().map(|pending| pending.usage());
        let mut usage = Usage::default();
        for (bytes, messages) in folders.chain(pending) {
            usage.bytes = usage.bytes.saturating_add(bytes);
            usage.messages = usage.messages.saturating_add(messages);
        }
        self.usage = usage;
    }

    pub fn next_mod_seq(&mut self) -> ModSeq {
        self.counters.mod_seq.0 += 1;
        self.counters.mod_seq
    }

    pub fn next_email(&mut self) -> EmailId {
        let email = EmailId(self.counters.email_next);
        self.counters.email_next += 1;
        email
    }

    /// Whether an arrival may be numbered now.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.pipeline.is_open()
            && self.exclusive != Exclusive::Barrier
            && self.pipeline.len() < self.limits().batches_in_flight_max
    }

    /// Takes a task of a session.
    pub fn on_task(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting) {
        let account = self.context.account.as_ref();
        if account.is_some_and(|account| !account.enabled && !serves(account, &waiting.task)) {
            return fail(cx, waiting.asker, UserError::Disabled);
        }
        if self.founding.is_some() {
            return self.unfounded.push(waiting);
        }
        let held = self.blocked.len() + self.contenders.len();
        if held >= self.limits().waiting_tasks_max && is_change(&waiting.task) {
            return answer(cx, waiting.asker, Err(TaskRefusal::Overloaded));
        }
        match class(&waiting.task) {
            Class::Read => self.run(cx, waiting),
            Class::Arrival if self.may_write() && self.blocked.is_empty() => self.run(cx, waiting),
            Class::Arrival => self.blocked.push_back(waiting),
            Class::Change | Class::Barrier => self.contenders.push_back(waiting),
        }
    }

    /// Does a task, as far as it can be done now.
    pub fn run(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting) {
        let Waiting { asker, task, blob } = waiting;
        match task {
            UserTask::Deliver(deliver) => self.deliver(cx, asker, deliver, (blob, None)),
            UserTask::ListFolders => self.list_folders(cx, asker),
            UserTask::CreateFolder { name, special_use } => {
                self.create_folder(cx, asker, &name, special_use);
            }
            UserTask::DeleteFolder { name } => self.delete_folder(cx, asker, &name),
            UserTask::RenameFolder { from, to } => self.rename_folder(cx, asker, &from, &to),
            UserTask::Subscribe { name, on } => self.subscribe(cx, asker, name, on),
            UserTask::Status { names } => self.status(cx, asker, &names),
            UserTask::OpenFolder { name, mode, known } => {
                self.open_folder(cx, asker, (name, mode, known));
            }
            UserTask::CloseFolder { folder } => self.close_folder(cx, asker, folder),
            UserTask::Sync { folder, since, expunges_told } => {
                self.sync(cx, asker, folder, (since, expunges_told));
            }
            UserTask::Fetch { folder, uids, want, changed_since } => {
                self.fetch(cx, asker, folder, (uids, want, changed_since));
            }
            UserTask::Vanished { folder, uids, since } => {
                self.vanished(cx, asker, folder, (uids, since));
            }
            UserTask::ReadSection { folder, uid, section, offset, len } => {
                let wanted = super::section::Wanted { folder, uid, section, offset, len };
                self.read_section(cx, asker, wanted);
            }
            UserTask::Search { folder, criteria } => self.search(cx, asker, folder, criteria),
            UserTask::Store { folder, uids, change, flags, keywords, unchanged_since } => {
                let order = super::store::StoreOrder {
                    folder,
                    uids,
                    change,
                    flags,
                    keywords,
                    unchanged_since,
                };
                self.store(cx, asker, order);
            }
            UserTask::Expunge { folder, uids } => self.expunge(cx, asker, folder, uids),
            UserTask::Copy { folder, uids, to, remove_source } => {
                let order = super::copy::CopyOrder { folder, uids, to, remove_source };
                self.copy(cx, asker, order);
            }
            UserTask::Append { to, message, once } => {
                self.append(cx, asker, (to, message, once), blob);
            }
            UserTask::Replace { folder, uid, message } => {
                let order = super::replace::ReplaceOrder { folder, uid, message };
                self.replace(cx, asker, order, blob);
            }
            UserTask::StageAppend { to, pending, message } => {
                self.stage_append(cx, asker, (to, pending, message), blob);
            }
            UserTask::CommitAppend { pending } => self.commit_append(cx, asker, pending),
            UserTask::DropAppend { pending } => self.drop_append(cx, asker, pending),
            UserTask::Quota => self.quota(cx, asker),
            UserTask::Events { subscriber, task } => self.events(cx, asker, (subscriber, task)),
            UserTask::Records(task) => self.records(cx, asker, task),
            UserTask::OpenMaildrop => self.open_maildrop(cx, asker),
            UserTask::CommitMaildrop { delete } => self.commit_maildrop(cx, asker, delete),
            UserTask::ReleaseMaildrop => self.release_maildrop(cx, asker),
        }
    }

    /// Goes on with whatever can go on: the end of every step.
    pub fn pump(&mut self, cx: &mut Cx<'_, Effect>) {
        self.settle(cx);
        while self.lost == Lost::No {
            if self.may_write() && self.parked.as_ref().is_some_and(Parked::may_go_on) {
                if cx.budget().left() == 0 {
                    cx.yield_now();
                    break;
                }
                match self.parked.take() {
                    Some(Parked::Expunge(parked)) => self.resume_expunge(cx, parked),
                    Some(Parked::Store(parked)) => self.resume_store(cx, *parked),
                    Some(Parked::Show(plan)) => self.go_on_show(cx, plan),
                    None => {}
                }
            } else if self.exclusive == Exclusive::Barrier {
                // The order at the front waits for this moment, unless it is itself what is under way.
                if !self.pipeline.is_empty() || !self.pipeline.is_open() {
                    break;
                }
                self.exclusive = Exclusive::Free;
                match self.contenders.pop_front() {
                    Some(waiting) => self.run(cx, waiting),
                    None => continue,
                }
            } else if !self.may_write() {
                break;
            } else if let Some(waiting) = self.blocked.pop_front() {
                self.run(cx, waiting);
            } else if self.exclusive == Exclusive::Free && !self.contenders.is_empty() {
                self.admit_contender(cx);
            } else {
                break;
            }
        }
        if self.lost == Lost::No {
            self.send_gathered(cx);
            self.keep_house(cx);
        }
    }

    fn admit_contender(&mut self, cx: &mut Cx<'_, Effect>) {
        let Some(front) = self.contenders.front() else {
            return;
        };
        if class(&front.task) == Class::Barrier && !self.pipeline.is_empty() {
            self.exclusive = Exclusive::Barrier;
            return;
        }
        if let Some(waiting) = self.contenders.pop_front() {
            self.run(cx, waiting);
        }
    }

    pub fn on_dds(&mut self, cx: &mut Cx<'_, Effect>, token: Token, response: Response) {
        if let Some(reading) = self.reads.remove(&token) {
            return self.on_read(cx, reading, response);
        }
        let outcome = match response {
            Response::Wrote(outcome) => outcome,
            Response::Refused(refusal) => dds::Outcome::Refused(refusal),
            // No answer to a write: what became of it is not known.
            Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => dds::Outcome::Unknown,
        };
        if self.pipeline.on_outcome(token, outcome) == Some(true) {
            let pause = self.pipeline.pause(self.limits().settle_pause);
            cx.arm(super::SETTLE_TIMER, pause);
        }
    }

    /// Asks the store; the answer finds its way by `reading`.
    pub fn read(&mut self, cx: &mut Cx<'_, Effect>, request: Request, reading: Reading) {
        let token = cx.fresh_token();
        cx.emit(Effect::Dds { token, request });
        self.reads.insert(token, reading);
    }

    /// Gets values of this user's route.
    pub fn get(&mut self, cx: &mut Cx<'_, Effect>, keys: Vec<SortKey>, reading: Reading) {
        let route = self.context.route.clone();
        self.read(cx, Request::Get { route, keys }, reading);
    }

    /// Something was done: the machine is not to be dropped for a while. The timer runs once in that while.
    pub fn note_use(&mut self, cx: &mut Cx<'_, Effect>) {
        self.idle.last_use = cx.mono();
        if !self.idle.armed {
            self.idle.armed = true;
            cx.arm(IDLE_TIMER, self.limits().idle_after);
        }
    }

    pub fn on_idle_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        let quiet = cx.mono().since(self.idle.last_use);
        let after = self.limits().idle_after;
        self.idle.armed = quiet < after;
        if quiet < after {
            cx.arm(IDLE_TIMER, after - quiet);
        } else if self.is_idle() {
            cx.emit(Effect::Idle { user: self.context.user });
        } else if self.is_quiet() {
            self.forget_rows();
        }
    }

    /// Idle sessions watch, and nothing has happened for a while: what they watch need not be in memory. The next change, or
    /// the next task, loads it again; until then a session's connection is all that it costs.
    fn forget_rows(&mut self) {
        for folder in self.folders.values_mut().filter(|folder| folder.may_be_forgotten()) {
            folder.forget();
        }
        self.blocks.forget_all();
    }

    pub fn on_settle_timer(&mut self, cx: &mut Cx<'_, Effect>) {
        self.pipeline.ask_again(cx);
    }

    pub fn on_account(&mut self, cx: &mut Cx<'_, Effect>, facts: AccountFacts) {
        let disabled = !facts.enabled;
        self.context.account = Some(facts);
        if disabled {
            self.notify_all(cx, Notice::Kicked { reason: "the account was disabled".into() });
        }
    }

    fn notify_all(&mut self, cx: &mut Cx<'_, Effect>, notice: Notice) {
        let watchers = self.folders.values().flat_map(|folder| folder.watchers.keys());
        let sessions: BTreeSet<SessionId> = watchers.copied().chain(self.maildrop).collect();
        for session in sessions {
            cx.emit(Effect::Notify { session, notice: notice.clone() });
        }
    }

    /// Ends: everybody who waits is answered, everybody who watches is told.
    pub fn abandon(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        notice: Notice,
        done: Result<UserDone, TaskRefusal>,
    ) {
        self.lost = Lost::Yes;
        self.notify_all(cx, notice);
        let mut askers: Vec<Asker> = self.pipeline.abandon();
        let queued = self.blocked.drain(..).chain(self.contenders.drain(..));
        let queued = queued.chain(self.unfounded.drain(..));
        askers.extend(queued.map(|waiting| waiting.asker));
        for folder in self.folders.values_mut() {
            let loading = folder.waiting_mut().map(std::mem::take).unwrap_or_default();
            askers.extend(loading.into_iter().map(|waiting| waiting.asker));
        }
        for reading in std::mem::take(&mut self.reads).into_values() {
            askers.extend(reading.into_askers());
        }
        askers.extend(self.memory.abandon());
        askers.extend(self.searches.abandon().into_iter().chain(self.own.abandon()));
        let sets = self.pending.values_mut();
        askers.extend(sets.flat_map(|set| std::mem::take(&mut set.gathered).into_askers()));
        askers.extend(self.sections.turn.drain(..).map(|job| job.asker));
        askers.extend(self.parked.take().map(|parked| parked.asker()));
        for asker in askers {
            answer(cx, asker, done.clone());
        }
    }

    pub fn on_session_gone(&mut self, cx: &mut Cx<'_, Effect>, session: SessionId) {
        if self.maildrop == Some(session) {
            self.maildrop = None;
        }
        let folders: Vec<FolderId> = self.folders.keys().copied().collect();
        for folder in folders {
            self.unwatch(folder, session);
            let waiting = self.folders.get_mut(&folder).and_then(Folder::waiting_mut);
            if let Some(waiting) = waiting {
                for orphan in waiting.extract_if(.., |waiting| is_own(waiting, session)) {
                    answer(cx, orphan.asker, Err(TaskRefusal::Unavailable));
                }
            }
        }
        for queue in [&mut self.contenders, &mut self.blocked] {
            let (orphans, rest) =
                std::mem::take(queue).into_iter().partition(|waiting| is_own(waiting, session));
            *queue = rest;
            let orphans: VecDeque<Waiting> = orphans;
            for orphan in orphans {
                answer(cx, orphan.asker, Err(TaskRefusal::Unavailable));
            }
        }
        self.sections.checkpoints.forget(session);
        self.drop_pending_of(cx, session);
        self.note_use(cx);
    }
}
