//! Tasks on their way from whoever asked to the machine that does them, on this node or another, and their completions back.
//!
//! Invariants: every task that was admitted gets one completion; a task is done by the node that the map names as primary, or
//! sent on; one that may have been done is not done again unless twice is the same as once.

use crate::following::RESIDENTS;
use crate::letter::Letter;
use crate::names::{self, Asker, GroupId};
use crate::origin::Origin;
use crate::queue::Rank;
use crate::seats::PATIENCE;
use crate::shard::{Shard, Work};
use crate::work::{Neighbour, Outward, Packet};
use dds::PartitionId;
use dds::cluster::NodeId;
use fsm::{Duration, Mono, Token};
use mailstore::face::{
    BlobDone, BlobTask, Completion, DirectoryDone, DirectoryTask, RecordTask, SessionId,
    SessionInput, Task, TaskRefusal, UserDone, UserId, UserTask,
};
use mailstore::{delivery, directory, mailbox};

/// How long a task may be with another node before it is refused. Our choice: above what a reader may have to read.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// What a task is about, and so its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Directory,
    Delivery,
}

impl Kind {
    /// Whether a completion is one of such a task.
    fn fits(self, completion: &Completion) -> bool {
        match completion {
            Completion::User(_) => self == Self::User,
            Completion::Directory(_) => self == Self::Directory,
            Completion::Delivery(_) => self == Self::Delivery,
            Completion::Blob(_) => false,
            Completion::Refused(_) => true,
        }
    }
}

/// A task that somebody else has.
#[derive(Debug)]
pub(crate) struct AwayTask {
    pub target: NodeId,
    pub place: PartitionId,
    kind: Kind,
    /// To be asked again when the node is lost.
    again: Option<Task>,
    /// Until then it is asked again.
    patience: Mono,
    until: Mono,
}

/// A task that waits for a master to be found.
#[derive(Debug)]
pub(crate) struct HeldTask {
    patience: Mono,
    from: SessionId,
    token: Token,
    task: Task,
}

impl Shard {
    /// Brings an admitted task to whoever does it. `from`, of this group, gets exactly one completion.
    pub(crate) fn dispatch(&mut self, from: SessionId, token: Token, mut task: Task) {
        if self.map.nodes.len() == 1
            && let Task::User { task: UserTask::Append { once, .. }, .. } = &mut task
        {
            // There is no other node that could be asked again.
            *once = None;
        }
        let patience = self.now.0.plus(PATIENCE);
        self.dispatch_until(patience, from, token, task);
    }

    fn dispatch_until(&mut self, patience: Mono, from: SessionId, token: Token, task: Task) {
        let (place, kind) = match &task {
            Task::User { user, .. } => (self.place_of(*user), Kind::User),
            Task::Directory(_) => (RESIDENTS, Kind::Directory),
            Task::Delivery(_) => (RESIDENTS, Kind::Delivery),
            Task::Blob(task) => return self.on_blob_task(from, token, task.clone()),
        };
        let me = self.me();
        let target = self.map.group(place).and_then(|group| group.primary);
        let reached = target.filter(|node| *node == me || self.peers.contains(node));
        let Some(target) = reached else {
            self.held_tasks.push(HeldTask { patience, from, token, task });
            return self.look_soon();
        };
        let again = may_repeat(&task).then(|| task.clone());
        let until = self.now.0.plus(AWAY_MAX);
        let away = AwayTask { target, place, kind, again, patience, until };
        self.away_tasks.insert((from, token), away);
        self.post(target, Letter::Asked { from, token, task });
    }

    /// Sends a letter to a group of this node or of another.
    pub(crate) fn post(&mut self, node: NodeId, letter: Letter) {
        if node != self.me() {
            return self.send(node, Packet::Letter(letter));
        }
        let group = self.group_of_letter(&letter);
        if group.0 >= self.config.groups {
            // Only a peer names a group that there is not.
            return;
        }
        if group == self.config.group {
            self.on_letter(node, letter);
        } else {
            self.tell(group, Neighbour::Letter(letter));
        }
    }

    pub(crate) fn send(&mut self, to: NodeId, packet: Packet) {
        self.out.push(Outward::Peer { to, packet });
    }

    /// To the master of a user, if one is known.
    pub(crate) fn post_home(&mut self, user: UserId, letter: Letter) {
        if let Some(node) = self.master_of(user) {
            self.post(node, letter);
        }
    }

    /// To the directory, if it is known where it is.
    pub(crate) fn post_residents(&mut self, letter: Letter) {
        if let Some(node) = self.residents_node() {
            self.post(node, letter);
        }
    }

    pub(crate) fn place_of(&self, user: UserId) -> PartitionId {
        self.config.map.partition_of(&mailbox::route(user).0)
    }

    pub(crate) fn master_of(&self, user: UserId) -> Option<NodeId> {
        self.map.group(self.place_of(user)).and_then(|group| group.primary)
    }

    fn group_of_letter(&self, letter: &Letter) -> GroupId {
        let places = crate::Places { map: self.config.map, groups: self.config.groups };
        places.group_of_letter(letter)
    }

    /// A letter for this group.
    pub(crate) fn on_letter(&mut self, from: NodeId, letter: Letter) {
        match letter {
            Letter::Asked { from: asker, token, task } => self.execute(from, (asker, token), task),
            Letter::Answered { to, token, completion } => {
                self.on_answered(from, to, token, completion);
            }
            Letter::NotHere { to, token, task } => self.on_not_here(from, (to, token), task),
            Letter::Notified { session, notice } => self.notify(session, notice),
            Letter::Stirred { session, user } => self.on_stirred(session, user),
            Letter::SessionGone { session, user } => {
                self.forget_guest(session, user);
                self.on_session_gone(session, user);
            }
            Letter::ImapLoggedIn { session, user } => self.on_imap_logged_in(session, user),
            Letter::ImapLoggedOut { session, user } => self.on_imap_logged_out(session, user),
            Letter::AskedAccount { user } => {
                let input = directory::Input::AskedAccount { user };
                self.push(Rank::Completion, Work::Directory(input));
            }
            Letter::AccountIs { user, facts } => self.on_account_is(user, facts),
            Letter::Expected { user } => self.on_expected(user),
            Letter::Kick { user, reason } => self.kick_here(user, &reason),
            Letter::Kicked { user } => self.on_kicked(from, user),
            Letter::EraseUser { user } => self.on_erase_user(user),
            Letter::Erased { user } => {
                self.erasures.remove(&user);
                self.push(Rank::Completion, Work::Directory(directory::Input::Erased { user }));
            }
            Letter::ResidentsEnded => {
                self.lose_tasks(|away| away.place == RESIDENTS && away.target == from);
            }
            Letter::ScrubAsked { run } => self.on_node_scrub_asked(from, run),
            Letter::Scrubbed { run, round } => self.on_node_scrubbed(from, (run, &round)),
        }
    }

    /// A letter of another node. What is for every group goes on from here.
    pub(crate) fn on_node_letter(&mut self, from: NodeId, letter: Letter) {
        if let Letter::Kick { user, .. } = &letter
            && from != self.me()
        {
            self.send(from, Packet::Letter(Letter::Kicked { user: *user }));
        }
        match &letter {
            Letter::Kick { .. } | Letter::ResidentsEnded => {
                for group in (0..self.config.groups).map(GroupId) {
                    if group != self.config.group {
                        let letter = letter.clone();
                        self.tell(group, Neighbour::NodeLetter { from, letter });
                    }
                }
                self.on_letter(from, letter);
            }
            _ => self.on_letter(from, letter),
        }
    }

    /// Does a task that somebody brought here.
    fn execute(&mut self, node: NodeId, (from, token): (SessionId, Token), task: Task) {
        let me = self.me();
        let place = match &task {
            Task::User { user, .. } => self.place_of(*user),
            Task::Directory(_) | Task::Delivery(_) | Task::Blob(_) => RESIDENTS,
        };
        let leads = self.map.group(place).is_some_and(|group| group.primary == Some(me));
        match task {
            Task::User { user, task } if leads => {
                self.note_reader(from, &task);
                // A master keeps nothing for who delivers or reads events.
                if node != me && !matches!(task, UserTask::Deliver(_) | UserTask::Events { .. }) {
                    self.guests.entry(node).or_default().insert((from, user));
                }
                let input = mailbox::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Mailbox(user, input));
            }
            Task::Directory(task) if leads && self.directory.is_some() => {
                let input = directory::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Directory(input));
            }
            Task::Delivery(task) if leads && self.delivery.is_some() => {
                let input = delivery::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Delivery(input));
            }
            Task::Blob(_) => {
                let completion = Completion::Refused(TaskRefusal::Unavailable);
                self.post(node, Letter::Answered { to: from, token, completion });
            }
            task => self.post(node, Letter::NotHere { to: from, token, task }),
        }
    }

    fn forget_guest(&mut self, session: SessionId, user: UserId) {
        let node = names::node_of(session);
        if let Some(guests) = self.guests.get_mut(&node) {
            guests.remove(&(session, user));
        }
    }

    /// A completion, to the node and group of whoever asked.
    pub(crate) fn post_answer(&mut self, to: SessionId, token: Token, completion: Completion) {
        self.post(names::node_of(to), Letter::Answered { to, token, completion });
    }

    fn on_answered(&mut self, from: NodeId, to: SessionId, token: Token, completion: Completion) {
        let Some(away) = self.away_tasks.get(&(to, token)) else { return };
        if away.target != from {
            return;
        }
        let Some(away) = self.away_tasks.remove(&(to, token)) else { return };
        let (several, patience) = (self.map.nodes.len() > 1, away.patience);
        if completion == Completion::Refused(TaskRefusal::Unavailable)
            && let Some(task) = away.again.filter(|_| several && patience > self.now.0)
        {
            self.held_tasks.push(HeldTask { patience, from: to, token, task });
            return self.look_soon();
        }
        // Only a node that is broken answers another question.
        let refused = Completion::Refused(TaskRefusal::Unavailable);
        let completion = if away.kind.fits(&completion) { completion } else { refused };
        self.complete(to, token, completion);
    }

    /// It was not begun there: it waits for the map.
    fn on_not_here(&mut self, from: NodeId, (to, token): (SessionId, Token), task: Task) {
        let Some(away) = self.away_tasks.get(&(to, token)) else { return };
        if away.target != from {
            return;
        }
        let patience = away.patience;
        self.away_tasks.remove(&(to, token));
        self.held_tasks.push(HeldTask { patience, from: to, token, task });
        self.look_soon();
    }

    /// What these tasks came to will not be told.
    pub(crate) fn lose_tasks(&mut self, lost: impl Fn(&AwayTask) -> bool) {
        let away = self.away_tasks.iter().filter(|(_, away)| lost(away));
        let mut keys: Vec<(SessionId, Token)> = away.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for (from, token) in keys {
            let Some(away) = self.away_tasks.remove(&(from, token)) else { continue };
            match away.again {
                Some(task) => {
                    let patience = away.patience;
                    self.held_tasks.push(HeldTask { patience, from, token, task });
                    self.look_soon();
                }
                None => {
                    let completion = Completion::Refused(TaskRefusal::Unavailable);
                    self.complete(from, token, completion);
                }
            }
        }
    }

    /// Tries again what waits, after the map or a connection has changed, and now and then.
    pub(crate) fn retry(&mut self) {
        self.retry_requests();
        let now = self.now.0;
        for HeldTask { patience, from, token, task } in std::mem::take(&mut self.held_tasks) {
            if let Asker::Session(session) = names::asker_of(from)
                && !self.sessions.contains_key(&session)
            {
                // Nobody waits for it, and it has not begun.
                continue;
            }
            if patience <= now {
                self.complete(from, token, Completion::Refused(TaskRefusal::Unavailable));
            } else {
                self.dispatch_until(patience, from, token, task);
            }
        }
    }

    /// Gives up what no node has answered in time.
    pub(crate) fn give_up_late(&mut self) {
        self.give_up_late_seats();
        self.give_up_late_requests();
        let now = self.now.0;
        let late = self.away_tasks.iter().filter(|(_, away)| away.until <= now);
        // A node's own masters answer everything, however long it takes.
        let me = self.me();
        let late = late.filter(|(_, away)| away.target != me);
        let mut keys: Vec<(SessionId, Token)> = late.map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for (from, token) in keys {
            self.away_tasks.remove(&(from, token));
            self.complete(from, token, Completion::Refused(TaskRefusal::Unavailable));
        }
    }

    fn on_blob_task(&mut self, session: SessionId, token: Token, task: BlobTask) {
        let (done, request) = match task {
            BlobTask::PutChunk { blob, index, bytes, life } => {
                let expires = self.now.1.plus(life);
                (BlobDone::Written, dds::Request::PutChunk { blob, index, bytes, expires })
            }
            BlobTask::Drop { blob } => (BlobDone::Dropped, dds::Request::DropBlob { blob }),
        };
        self.ask_dds(Origin::Blob { session, token, done }, request);
    }

    /// Gives an asker of this group its completion.
    pub(crate) fn complete(&mut self, to: SessionId, token: Token, completion: Completion) {
        match names::asker_of(to) {
            Asker::Session(session) => {
                if let Some(slot) = self.sessions.get_mut(&session)
                    && let Some(at) = slot.credits.iter().position(|credit| credit.0 == token)
                {
                    let (_, bytes) = slot.credits.swap_remove(at);
                    self.admission.give_back(bytes);
                }
                self.note_account(session, &completion);
                let input = SessionInput::Completed { token, completion };
                self.push(Rank::Completion, Work::Session(session, input));
                self.admit_waiting();
            }
            Asker::Delivery => {
                let result = match completion {
                    Completion::User(done) => Ok(done),
                    Completion::Refused(refusal) => Err(refusal),
                    Completion::Directory(_) | Completion::Delivery(_) | Completion::Blob(_) => {
                        // Only a node that is broken answers so.
                        Err(TaskRefusal::Unavailable)
                    }
                };
                let input = delivery::Input::UserDone { token, result };
                self.push(Rank::Completion, Work::Delivery(input));
            }
            Asker::Operator(session) => {
                self.out.push(Outward::OperatorDone { session, token, completion });
            }
        }
    }

    /// From its log-in on a session ends with its account, also before it asked anything of the mailbox.
    fn note_account(&mut self, session: SessionId, completion: &Completion) {
        if let Completion::Directory(DirectoryDone::Authenticated(account)) = completion
            && let Some(slot) = self.sessions.get_mut(&session)
        {
            slot.user = Some(account.user);
        }
    }

    pub(crate) fn answer_user(
        &mut self,
        user: UserId,
        (to, token): (SessionId, Token),
        done: Result<UserDone, TaskRefusal>,
    ) {
        // What was made durable is so whoever leads by now.
        let is_outcome = matches!(
            done,
            Err(_) | Ok(UserDone::Done | UserDone::Delivered { .. } | UserDone::Appended { .. })
        );
        let completion = match done {
            Ok(done) => Completion::User(done),
            Err(refusal) => Completion::Refused(refusal),
        };
        if is_outcome {
            self.post_answer(to, token, completion);
        } else {
            self.answer_from_memory(self.place_of(user), (to, token), completion);
        }
    }
}

/// Whether doing it twice is the same as doing it once.
fn may_repeat(task: &Task) -> bool {
    match task {
        Task::Directory(DirectoryTask::Admin(_)) => false,
        Task::Directory(_) | Task::Delivery(_) | Task::Blob(_) => true,
        Task::User { user: _, task } => match task {
            // By their delivery ids.
            UserTask::Deliver(_)
            | UserTask::Append { once: Some(_), .. }
            | UserTask::ListFolders
            | UserTask::Status { .. }
            | UserTask::OpenFolder { .. }
            | UserTask::Fetch { .. }
            | UserTask::Vanished { .. }
            | UserTask::ReadSection { .. }
            | UserTask::Search { .. }
            | UserTask::Records(RecordTask::List { .. } | RecordTask::Get { .. })
            // A reader reads again what it has not acknowledged.
            | UserTask::Events { .. }
            | UserTask::Quota => true,
            UserTask::CreateFolder { .. }
            | UserTask::DeleteFolder { .. }
            | UserTask::RenameFolder { .. }
            | UserTask::Subscribe { .. }
            | UserTask::CloseFolder { .. }
            | UserTask::Sync { .. }
            | UserTask::Store { .. }
            | UserTask::Expunge { .. }
            | UserTask::Copy { .. }
            | UserTask::Append { once: None, .. }
            | UserTask::StageAppend { .. }
            | UserTask::CommitAppend { .. }
            | UserTask::DropAppend { .. }
            | UserTask::Records(RecordTask::Write(_))
            | UserTask::OpenMaildrop
            | UserTask::CommitMaildrop { .. }
            | UserTask::ReleaseMaildrop => false,
        },
    }
}
