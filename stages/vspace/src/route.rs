//! Where tasks and completions go: sessions, operators and neighbours on one side, mailboxes and residents on the other.

use crate::names::{self, Asker, GroupId, MachineId};
use crate::origin::Origin;
use crate::queue::Rank;
use crate::shard::{Shard, Work};
use crate::work::{ConnectionOrder, Neighbour, Outward, Space};
use fsm::{Mono, Token};
use mailstore::face::{
    BlobDone, BlobTask, Completion, DirectoryDone, Lane, Notice, SessionEffect, SessionId,
    SessionInput, Task, TaskRefusal, UserDone, UserId, UserTask,
};
use mailstore::{delivery, directory, mailbox};
use std::sync::Arc;

/// A task that waits for credits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub refuse_at: Mono,
    session: SessionId,
    token: Token,
    task: Task,
    bytes: u64,
}

/// Credits of a task that writes little or nothing.
const TASK_BYTES: u64 = 1024;
/// Metadata that comes with a message, on top of its body.
const MESSAGE_BYTES: u64 = 4096;

/// The weight of a task: the bytes it keeps in memory and queues for the store.
fn weight(task: &Task) -> u64 {
    match task {
        Task::User { user: _, task: UserTask::Deliver(deliver) } => {
            MESSAGE_BYTES + inline_bytes(&deliver.body)
        }
        Task::User {
            user: _,
            task: UserTask::Append { message, .. } | UserTask::StageAppend { message, .. },
        } => MESSAGE_BYTES + inline_bytes(&message.body),
        Task::Delivery(mailstore::face::DeliveryTask::Accept(acceptance)) => {
            MESSAGE_BYTES + inline_bytes(&acceptance.body)
        }
        Task::Blob(BlobTask::PutChunk { bytes, .. }) => TASK_BYTES + bytes.len() as u64,
        Task::User { .. } | Task::Directory(_) | Task::Blob(BlobTask::Drop { .. }) => TASK_BYTES,
    }
}

fn inline_bytes(body: &mailstore::face::Body) -> u64 {
    match body {
        mailstore::face::Body::Inline(bytes) => bytes.len() as u64,
        mailstore::face::Body::Blob { .. } => 0,
    }
}

impl Shard {
    pub(crate) fn step_session(&mut self, id: SessionId, input: SessionInput) {
        let Some(mut slot) = self.sessions.remove(&id) else { return };
        if matches!(input, SessionInput::Opened(_)) {
            self.stats.sessions_opened += 1;
        }
        let was_bytes = matches!(input, SessionInput::Received(_));
        slot.on_input(self.now.0, &input);
        let mut stepped = std::mem::take(&mut self.buffers.session);
        let machine = (&mut slot.machine, &mut slot.host);
        let yielded = self.step_machine(MachineId::Session(id), machine, &mut stepped, input);
        slot.on_effects(&stepped.effects);
        self.sessions.insert(id, slot);
        for effect in stepped.effects.drain(..) {
            self.on_session_effect(id, effect);
        }
        self.buffers.session = stepped;
        if was_bytes {
            self.order(id, ConnectionOrder::InputTaken);
        }
        if yielded {
            self.push(Rank::Interactive, Work::Session(id, SessionInput::Resumed));
        }
    }

    fn on_session_effect(&mut self, id: SessionId, effect: SessionEffect) {
        match effect {
            SessionEffect::Send(bytes) => self.order(id, ConnectionOrder::Send(bytes)),
            SessionEffect::AwaitDrained => self.order(id, ConnectionOrder::AwaitDrained),
            SessionEffect::PauseReading => self.order(id, ConnectionOrder::PauseReading),
            SessionEffect::ResumeReading => self.order(id, ConnectionOrder::ResumeReading),
            SessionEffect::StartTls => self.order(id, ConnectionOrder::StartTls),
            SessionEffect::Submit { token, lane, task } => self.submit(id, token, lane, task),
            SessionEffect::Identified { address } => self.on_identified(id, address),
            SessionEffect::Log(event) => self.out.push(Outward::Log(event)),
            SessionEffect::Close => self.end_session(id),
        }
    }

    fn on_identified(&mut self, id: SessionId, address: Arc<str>) {
        let Some(slot) = self.sessions.get_mut(&id) else { return };
        slot.address = Some(address);
        if let Some(user) = slot.imap_user() {
            self.tell_home(user, Neighbour::ImapLoggedIn { session: id, user });
        }
    }

    /// Tells the group of a user's mailbox, which may be this one.
    pub(crate) fn tell_home(&mut self, user: UserId, message: Neighbour) {
        let group = self.group_of_user(user);
        if group == self.config.group {
            self.on_neighbour(message);
        } else {
            self.tell(group, message);
        }
    }

    fn on_imap_logged_in(&mut self, session: SessionId, user: UserId) {
        let logins = self.imap_logins.entry(user).or_default();
        *logins += 1;
        // protocols.md: 50 IMAP connections a user, then BYE [LIMIT].
        if *logins > self.config.imap_logins_max {
            let reason = "[LIMIT] too many connections of this account";
            self.notify(session, Notice::Kicked { reason });
        }
    }

    fn on_imap_logged_out(&mut self, user: UserId) {
        if let Some(logins) = self.imap_logins.get_mut(&user) {
            *logins -= 1;
            if *logins == 0 {
                self.imap_logins.remove(&user);
            }
        }
    }

    fn end_session(&mut self, id: SessionId) {
        self.order(id, ConnectionOrder::Close);
        let Some(slot) = self.sessions.remove(&id) else { return };
        if let Some(user) = slot.imap_user() {
            self.tell_home(user, Neighbour::ImapLoggedOut { user });
        }
        for (_, bytes) in &slot.credits {
            self.admission.give_back(*bytes);
        }
        if let Some(user) = slot.user {
            self.tell_home(user, Neighbour::SessionGone { session: id, user });
        }
    }

    pub(crate) fn on_session_gone(&mut self, session: SessionId, user: UserId) {
        if self.mailboxes.contains_key(&user) {
            let input = mailbox::Input::SessionGone { session };
            self.push(Rank::Completion, Work::Mailbox(user, input));
        }
    }

    /// A session asks: a delivery waits for credits, somebody at a screen does not, but counts.
    fn submit(&mut self, id: SessionId, token: Token, lane: Lane, task: Task) {
        let bytes = weight(&task);
        if self.space == Space::Low && lane == Lane::Delivery {
            return self.refuse(id, token, TaskRefusal::NoSpace);
        }
        let admitted = match lane {
            Lane::Interactive => {
                self.admission.take_anyway(bytes);
                true
            }
            Lane::Delivery | Lane::Extension | Lane::Rebalance => {
                self.waiting.is_empty() && self.admission.take(bytes)
            }
        };
        if admitted {
            self.admit(id, token, task, bytes);
        } else if self.waiting.len() >= self.admission.limits().waiting_max {
            self.refuse(id, token, TaskRefusal::Overloaded);
        } else {
            self.stats.held += 1;
            let refuse_at = self.now.0.plus(self.admission.limits().wait_max);
            self.waiting.push_back(Waiting { refuse_at, session: id, token, task, bytes });
        }
    }

    fn admit(&mut self, id: SessionId, token: Token, task: Task, bytes: u64) {
        let Some(slot) = self.sessions.get_mut(&id) else {
            self.admission.give_back(bytes);
            return;
        };
        slot.credits.push((token, bytes));
        if let Task::User { user, task } = &task
            && !matches!(task, UserTask::Deliver(_))
        {
            slot.user = Some(*user);
        }
        self.dispatch(id, token, task);
    }

    fn refuse(&mut self, id: SessionId, token: Token, refusal: TaskRefusal) {
        self.stats.refused += 1;
        let completion = Completion::Refused(refusal);
        let input = SessionInput::Completed { token, completion };
        self.push(Rank::Completion, Work::Session(id, input));
    }

    /// Lets tasks in that waited for credits, and refuses those that waited too long.
    pub(crate) fn admit_waiting(&mut self) {
        while let Some(first) = self.waiting.front() {
            let late = first.refuse_at <= self.now.0;
            if !late && !self.admission.take(first.bytes) {
                return;
            }
            let Some(first) = self.waiting.pop_front() else { return };
            if late {
                self.refuse(first.session, first.token, TaskRefusal::Overloaded);
            } else {
                self.admit(first.session, first.token, first.task, first.bytes);
            }
        }
    }

    /// Brings an admitted task to whoever does it. `from` gets exactly one completion.
    pub(crate) fn dispatch(&mut self, from: SessionId, token: Token, task: Task) {
        let group = match &task {
            Task::User { user, .. } => self.group_of_user(*user),
            Task::Directory(_) | Task::Delivery(_) => GroupId(0),
            Task::Blob(_) => self.config.group,
        };
        if group != self.config.group {
            let lane = Lane::Interactive;
            self.tell(group, Neighbour::Asked { from, token, lane, task });
            return;
        }
        match task {
            Task::User { user, task } => {
                let input = mailbox::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Mailbox(user, input));
            }
            Task::Directory(task) => {
                let input = directory::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Directory(input));
            }
            Task::Delivery(task) => {
                let input = delivery::Input::Asked { from, token, task };
                self.push(Rank::Completion, Work::Delivery(input));
            }
            Task::Blob(task) => self.on_blob_task(from, token, task),
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

    /// Brings a completion to whoever asked.
    pub(crate) fn answer(&mut self, to: SessionId, token: Token, completion: Completion) {
        let group = names::group_of(to);
        if group != self.config.group {
            self.tell(group, Neighbour::Answered { to, token, completion });
            return;
        }
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
                        panic!("the delivery queue asks users only")
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
        to: SessionId,
        token: Token,
        done: Result<UserDone, TaskRefusal>,
    ) {
        let completion = match done {
            Ok(done) => Completion::User(done),
            Err(refusal) => Completion::Refused(refusal),
        };
        self.answer(to, token, completion);
    }

    pub(crate) fn notify(&mut self, session: SessionId, notice: Notice) {
        let group = names::group_of(session);
        if matches!(names::asker_of(session), Asker::Operator(_)) {
            return;
        }
        if group == self.config.group {
            self.push(Rank::Completion, Work::Session(session, SessionInput::Notified(notice)));
        } else {
            self.tell(group, Neighbour::Notified { session, notice });
        }
    }

    /// Ends all sessions of a user, in every group.
    pub(crate) fn kick_everywhere(&mut self, user: UserId, reason: &'static str) {
        for group in (0..self.config.groups).map(GroupId) {
            if group == self.config.group {
                self.kick_here(user, reason);
            } else {
                self.tell(group, Neighbour::Kick { user, reason });
            }
        }
    }

    fn kick_here(&mut self, user: UserId, reason: &'static str) {
        let of_user = |(id, slot): (&SessionId, &Box<_>)| {
            let slot: &crate::session::SessionSlot = slot;
            (slot.user == Some(user)).then_some(*id)
        };
        let kicked: std::collections::BTreeSet<_> =
            self.sessions.iter().filter_map(of_user).collect();
        for session in kicked {
            self.notify(session, Notice::Kicked { reason });
        }
    }

    pub(crate) fn tell(&mut self, group: GroupId, message: Neighbour) {
        self.out.push(Outward::Neighbour { group, message });
    }

    /// The group that holds a user's mailbox: on a real node the one that holds the partition of the user's data.
    pub(crate) fn group_of_user(&self, user: UserId) -> GroupId {
        self.group_at(self.config.map.partition_of(&mailbox::route(user).0).0)
    }

    pub(crate) fn group_of_partition(&self, partition: dds::PartitionId) -> GroupId {
        self.group_at(partition.0 + u16::from(self.config.partition_group_offset))
    }

    fn group_at(&self, place: u16) -> GroupId {
        let group = place % u16::from(self.config.groups.max(1));
        GroupId(u8::try_from(group).expect("below the number of groups"))
    }

    pub(crate) fn on_neighbour(&mut self, message: Neighbour) {
        match message {
            Neighbour::Asked { from, token, lane: _, task } => self.dispatch(from, token, task),
            Neighbour::Answered { to, token, completion } => self.answer(to, token, completion),
            Neighbour::Notified { session, notice } => self.notify(session, notice),
            Neighbour::SessionGone { session, user } => self.on_session_gone(session, user),
            Neighbour::ImapLoggedIn { session, user } => self.on_imap_logged_in(session, user),
            Neighbour::ImapLoggedOut { user } => self.on_imap_logged_out(user),
            Neighbour::AskedAccount { user, group } => {
                let input = directory::Input::AskedAccount { user };
                // The answer finds its group by the user.
                debug_assert_eq!(group, self.group_of_user(user));
                self.push(Rank::Completion, Work::Directory(input));
            }
            Neighbour::AccountIs { user, facts } => self.on_account_is(user, facts),
            Neighbour::Expected { user } => self.on_expected(user),
            Neighbour::Kick { user, reason } => self.kick_here(user, reason),
            Neighbour::EraseUser { user } => self.on_erase_user(user),
            Neighbour::DdsAsked { from, origin, request } => {
                self.ask_dds(Origin::Group { group: from, origin }, *request);
            }
            Neighbour::DdsDone { origin, response } => self.on_dds_done(origin, *response),
        }
    }
}
