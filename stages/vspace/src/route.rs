//! Where tasks and completions go: sessions, operators and neighbours on one side, mailboxes and residents on the other.

use crate::letter::Letter;
use crate::names::{self, Asker, GroupId, MachineId};
use crate::origin::Origin;
use crate::queue::Rank;
use crate::shard::{Shard, Work};
use crate::work::{ConnectionOrder, Neighbour, Outward, Packet, Space};
use dds::PartitionId;
use dds::cluster::NodeId;
use fsm::{Mono, Token};
use mailstore::face::{
    BlobTask, Completion, Lane, Notice, SessionEffect, SessionId, SessionInput, Task, TaskRefusal,
    UserId, UserTask,
};
use mailstore::mailbox;
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
            SessionEffect::Decide { token, question } => {
                self.out.push(Outward::Decide { session: id, token, question });
            }
            SessionEffect::Identified { address } => self.on_identified(id, address),
            SessionEffect::Log(event) => self.out.push(Outward::Log(event)),
            SessionEffect::Close => self.end_session(id),
        }
    }

    fn on_identified(&mut self, id: SessionId, address: Arc<str>) {
        let Some(slot) = self.sessions.get_mut(&id) else { return };
        slot.address = Some(address);
        self.tell_login(id);
    }

    /// Tells the master of a user that an IMAP session has logged in.
    pub(crate) fn tell_login(&mut self, session: SessionId) {
        let slot = self.sessions.get(&session);
        if let Some(user) = slot.and_then(|slot| slot.imap_user()) {
            self.post_home(user, Letter::ImapLoggedIn { session, user });
        }
    }

    pub(crate) fn on_imap_logged_in(&mut self, session: SessionId, user: UserId) {
        let logins = self.imap_logins.entry(user).or_default();
        logins.insert(session);
        // protocols.md: 50 IMAP connections a user, then BYE [LIMIT].
        if logins.len() > self.config.imap_logins_max {
            let reason = "[LIMIT] too many connections of this account".into();
            self.notify(session, Notice::Kicked { reason });
        }
    }

    pub(crate) fn on_imap_logged_out(&mut self, session: SessionId, user: UserId) {
        if let Some(logins) = self.imap_logins.get_mut(&user) {
            logins.remove(&session);
            if logins.is_empty() {
                self.imap_logins.remove(&user);
            }
        }
    }

    fn end_session(&mut self, id: SessionId) {
        self.order(id, ConnectionOrder::Close);
        let Some(slot) = self.sessions.remove(&id) else { return };
        if let Some(user) = slot.imap_user() {
            self.post_home(user, Letter::ImapLoggedOut { session: id, user });
        }
        for (_, bytes) in &slot.credits {
            self.admission.give_back(*bytes);
        }
        if let Some(user) = slot.user {
            self.post_home(user, Letter::SessionGone { session: id, user });
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
        if self.space != Space::Ample && lane == Lane::Delivery {
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

    pub(crate) fn notify(&mut self, session: SessionId, notice: Notice) {
        let node = names::node_of(session);
        let here = node == self.me() && names::group_of(session) == self.config.group;
        if here && matches!(names::asker_of(session), Asker::Operator(_)) {
            self.out.push(Outward::OperatorNotice { session, notice });
        } else if here {
            self.push(Rank::Completion, Work::Session(session, SessionInput::Notified(notice)));
        } else {
            self.post(node, Letter::Notified { session, notice });
        }
    }

    pub(crate) fn kick_here(&mut self, user: UserId, reason: &str) {
        let of_user = |(id, slot): (&SessionId, &Box<_>)| {
            let slot: &crate::session::SessionSlot = slot;
            (slot.user == Some(user)).then_some(*id)
        };
        let kicked: std::collections::BTreeSet<_> =
            self.sessions.iter().filter_map(of_user).collect();
        for session in kicked {
            self.notify(session, Notice::Kicked { reason: reason.to_owned().into() });
        }
    }

    pub(crate) fn tell(&mut self, group: GroupId, message: Neighbour) {
        self.out.push(Outward::Neighbour { group, message });
    }

    /// The group of a partition's seat.
    pub(crate) fn group_of_partition(&self, partition: PartitionId) -> GroupId {
        let place = partition.0 + u16::from(self.config.partition_group_offset);
        self.group_of_masters(PartitionId(place))
    }

    /// The group of the mailboxes whose data a partition holds: on a real node that of its seat.
    pub(crate) fn group_of_masters(&self, partition: PartitionId) -> GroupId {
        crate::Places { map: self.config.map, groups: self.config.groups }
            .group_of_partition(partition)
    }

    pub(crate) fn on_neighbour(&mut self, message: Neighbour) {
        match message {
            Neighbour::Letter(letter) => self.on_letter(self.me(), letter),
            Neighbour::NodeLetter { from, letter } => self.on_letter(from, letter),
            Neighbour::DdsAsked { from, origin, request } => {
                let partition = request.partition(&self.config.map);
                let number = self.origins.note(Origin::Group { group: from, origin });
                self.ask_seat(partition, number, *request);
            }
            Neighbour::DdsDone { origin, response } => self.on_dds_done(origin, *response),
            Neighbour::News(news) => self.on_news(news),
            Neighbour::ChangeAsked { partition, expect, change } => {
                self.on_change_asked(partition, (expect, change));
            }
            Neighbour::ChangeRefused { partition, expect, change } => {
                let input = dds::seat::Input::ChangeRefused { expect, change };
                self.push(Rank::Completion, Work::Seat(partition, input));
            }
            Neighbour::FillTold { partition, word } => {
                let input = dds::fills::Input::Told { partition, word };
                self.push(Rank::Completion, Work::Fills(input));
            }
            Neighbour::PageGranted { partition } => {
                self.push(Rank::Rebalance, Work::Seat(partition, dds::seat::Input::PageGranted));
            }
            Neighbour::MastersEnd { partition } => self.end_masters(partition),
            Neighbour::ScrubAsked { run } => self.begin_round(run),
            Neighbour::Scrubbed { run, round } => self.on_group_scrubbed(run, &round),
            Neighbour::Counted { group, counted } => self.on_counted(group, counted),
            Neighbour::ResidentsMay(may) => self.on_residents_may(may),
        }
    }

    /// From another node.
    pub(crate) fn on_peer(&mut self, from: NodeId, packet: Packet) {
        match packet {
            Packet::Link(message) => {
                let input = dds::links::Input::Received { from, message };
                self.push(Rank::Completion, Work::Links(input));
            }
            Packet::Control(bytes) => {
                let input = dds::control::Input::Received { from, bytes };
                self.push(Rank::Completion, Work::Control(input));
            }
            Packet::Replica { partition, message } => {
                let page = matches!(message.body, dds::replica::Body::Page { .. });
                let rank = if page { Rank::Rebalance } else { Rank::Completion };
                let input = dds::seat::Input::Received { from, message };
                self.push(rank, Work::Seat(partition, input));
            }
            Packet::Ask { id, request } => self.on_ask(from, id, request),
            Packet::Answer { id, response } => self.on_node_answer(from, id, response),
            Packet::Letter(letter) => self.on_node_letter(from, letter),
        }
    }
}
