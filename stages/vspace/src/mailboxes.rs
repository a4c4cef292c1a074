//! Mailboxes come when somebody asks and go when they are idle and memory is short.

use crate::letter::Letter;
use crate::names::MachineId;
use crate::origin::Origin;
use crate::queue::Rank;
use crate::shard::{MailboxSlot, Shard, Slot, Work};
use crate::work::Outward;
use dds::PartitionId;
use mailstore::face::{AccountFacts, Completion, TaskRefusal, UserId};
use mailstore::mailbox::{Effect, Input, Mailbox};
use std::sync::Arc;

impl Shard {
    pub(crate) fn step_mailbox(&mut self, user: UserId, input: Input) {
        let mut mailbox = match self.mailboxes.remove(&user) {
            Some(mailbox) => mailbox,
            None if starts_a_mailbox(&input) && self.master_of(user) != Some(self.me()) => {
                // The map has named another since this was queued.
                if let Input::Asked { from, token, task: _ } = input {
                    let refused = Completion::Refused(TaskRefusal::Unavailable);
                    self.post_answer(from, token, refused);
                }
                return;
            }
            None if starts_a_mailbox(&input) => self.start_mailbox(user),
            // The mailbox was dropped; what comes late concerns nobody.
            None => return,
        };
        if let Some(since) = mailbox.idle_since.take() {
            self.mailboxes_idle.remove(&(since, user));
        }
        let mut stepped = std::mem::take(&mut self.buffers.mailbox);
        let machine = (&mut mailbox.slot.machine, &mut mailbox.slot.host);
        let id = MachineId::Mailbox(user);
        let ends = matches!(input, Input::Ceased);
        let yielded = self.step_machine(id, machine, &mut stepped, input);
        self.gauge.meter.count(self.place_of(user), 0);
        self.mailboxes.insert(user, mailbox);
        for effect in stepped.effects.drain(..) {
            self.on_mailbox_effect(user, effect);
        }
        self.buffers.mailbox = stepped;
        if ends {
            return self.drop_mailbox(user);
        }
        if yielded {
            self.push(Rank::Interactive, Work::Mailbox(user, Input::Resumed));
        }
    }

    fn start_mailbox(&mut self, user: UserId) -> Box<MailboxSlot> {
        self.stats.mailboxes_loaded += 1;
        let machine =
            Mailbox::new(user, Arc::clone(&self.config.mailbox)).restored(self.config.restored);
        self.masters.insert((self.place_of(user), user));
        self.accountless.insert(user);
        self.post_residents(Letter::AskedAccount { user });
        self.look_soon();
        let slot = Slot { machine, host: self.new_host() };
        Box::new(MailboxSlot { slot, idle_since: None, memory_bytes: 0 })
    }

    fn on_mailbox_effect(&mut self, user: UserId, effect: Effect) {
        match effect {
            Effect::Answer { to, token, done } => self.answer_user(user, (to, token), done),
            Effect::Dds { token, request } => {
                let machine = MachineId::Mailbox(user);
                self.ask_dds(Origin::Machine { machine, token }, request);
            }
            Effect::Notify { session, notice } => self.notify(session, notice),
            Effect::Match { token, job } => self.out.push(Outward::Match { user, token, job }),
            Effect::Stirred { subscribers } => self.wake_readers(user, &subscribers),
            Effect::Log(event) => self.out.push(Outward::Log(event)),
            Effect::Idle { user: _ } => self.on_mailbox_idle(user),
            Effect::Erased { user: _ } => {
                self.drop_mailbox(user);
                self.post_residents(Letter::Erased { user });
            }
        }
    }

    fn on_mailbox_idle(&mut self, user: UserId) {
        let now = self.now.0;
        if let Some(mailbox) = self.mailboxes.get_mut(&user) {
            let bytes = mailbox.slot.machine.memory_bytes();
            self.mailbox_bytes = self.mailbox_bytes - mailbox.memory_bytes + bytes;
            mailbox.memory_bytes = bytes;
            mailbox.idle_since = Some(now);
            self.mailboxes_idle.insert((now, user));
        }
        while self.mailbox_bytes > self.config.mailbox_bytes_max {
            let Some((_, oldest)) = self.mailboxes_idle.pop_first() else { return };
            let idle = self.mailboxes.get(&oldest).map(|mailbox| mailbox.slot.machine.is_idle());
            if idle == Some(true) {
                self.stats.mailboxes_evicted += 1;
                self.drop_mailbox(oldest);
            }
        }
    }

    fn drop_mailbox(&mut self, user: UserId) {
        let Some(mailbox) = self.mailboxes.remove(&user) else { return };
        self.masters.remove(&(self.place_of(user), user));
        self.accountless.remove(&user);
        self.mailbox_bytes -= mailbox.memory_bytes;
        if let Some(since) = mailbox.idle_since {
            self.mailboxes_idle.remove(&(since, user));
        }
    }

    pub(crate) fn on_account_is(&mut self, user: UserId, facts: AccountFacts) {
        self.accountless.remove(&user);
        if self.mailboxes.contains_key(&user) {
            self.push(Rank::Completion, Work::Mailbox(user, Input::AccountIs(facts)));
        }
    }

    pub(crate) fn on_expected(&mut self, user: UserId) {
        if self.master_of(user) == Some(self.me()) {
            self.push(Rank::Interactive, Work::Mailbox(user, Input::Expected));
        }
    }

    pub(crate) fn on_erase_user(&mut self, user: UserId) {
        if self.master_of(user) == Some(self.me()) {
            self.push(Rank::Completion, Work::Mailbox(user, Input::EraseAll));
        }
    }

    /// This node is no more the master of these users.
    pub(crate) fn end_masters(&mut self, partition: PartitionId) {
        let all = (partition, UserId(0))..=(partition, UserId(u64::MAX));
        for (_, user) in self.masters.range(all).copied().collect::<Vec<_>>() {
            self.push(Rank::Completion, Work::Mailbox(user, Input::Ceased));
        }
        let map = self.config.map;
        let here = |user: &UserId| map.partition_of(&mailstore::mailbox::route(*user).0);
        for guests in self.guests.values_mut() {
            guests.retain(|(_, user)| here(user) != partition);
        }
        if self.map.group(partition).is_none_or(|group| group.primary != Some(self.me())) {
            self.imap_logins.retain(|user, _| here(user) != partition);
        }
    }

    /// The directory is another one: what it says of accounts may be newer.
    pub(crate) fn ask_accounts(&mut self) {
        self.accountless.extend(self.masters.iter().map(|(_, user)| *user));
        self.ask_accountless();
    }

    /// Asks again for what was not answered.
    pub(crate) fn ask_accountless(&mut self) {
        for user in self.accountless.clone() {
            self.post_residents(Letter::AskedAccount { user });
        }
        if !self.accountless.is_empty() {
            self.look_soon();
        }
    }
}

/// Only a task, a log-in or the order to erase brings a mailbox into memory.
fn starts_a_mailbox(input: &Input) -> bool {
    match input {
        Input::Asked { .. } | Input::Expected | Input::EraseAll => true,
        Input::DdsDone { .. }
        | Input::AccountIs(_)
        | Input::SessionGone { .. }
        | Input::Ceased
        | Input::Matched { .. }
        | Input::TimerFired(_)
        | Input::Resumed => false,
    }
}
