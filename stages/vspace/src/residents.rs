//! The machines of which the cluster has one each: directory, delivery queue, sweep. They run in group 0 of the node that leads
//! their partition, while it does.

use crate::following::RESIDENTS;
use crate::letter::Letter;
use crate::names::{self, MachineId};
use crate::origin::Origin;
use crate::queue::Rank;
use crate::shard::{Shard, Slot, Work};
use crate::work::{Outward, Packet};
use mailstore::delivery::Delivery;
use mailstore::directory::Directory;
use mailstore::face::Task;
use mailstore::sweep::Sweep;
use mailstore::{delivery, directory, sweep};
use std::sync::Arc;

impl Shard {
    /// The seat of their partition leads, or leads no more.
    pub(crate) fn on_residents_may(&mut self, may: bool) {
        if may && self.directory.is_none() {
            self.start_residents();
            self.retry();
        } else if !may && self.directory.is_some() {
            self.directory = None;
            self.delivery = None;
            self.sweep = None;
            // The next directory knows of them.
            self.erasures.clear();
            let ended = Letter::ResidentsEnded;
            for node in self.peers.clone() {
                self.send(node, Packet::Letter(ended.clone()));
            }
            self.on_node_letter(self.me(), ended);
        }
    }

    /// The order to erase a mailbox may have met nobody.
    pub(crate) fn erase_again(&mut self) {
        for user in self.erasures.clone() {
            self.post_home(user, Letter::EraseUser { user });
        }
        if !self.erasures.is_empty() {
            self.look_soon();
        }
    }

    fn start_residents(&mut self) {
        let directory = Directory::new(self.config.directory.clone());
        self.directory = Some(Box::new(Slot { machine: directory, host: self.new_host() }));
        let delivery = Delivery::new(Arc::clone(&self.config.delivery), 0);
        self.delivery = Some(Box::new(Slot { machine: delivery, host: self.new_host() }));
        let sweep = Sweep::new(Arc::clone(&self.config.sweep), vec![0], self.config.map.partitions);
        self.sweep = Some(Box::new(Slot { machine: sweep, host: self.new_host() }));
        self.push(Rank::Completion, Work::Directory(directory::Input::Resumed));
        self.push(Rank::Completion, Work::Delivery(delivery::Input::Resumed));
        self.push(Rank::Rebalance, Work::Sweep(sweep::Input::Resumed));
        self.tell_room();
    }

    pub(crate) fn step_directory(&mut self, input: directory::Input) {
        let Some(mut slot) = self.directory.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.directory);
        let machine = (&mut slot.machine, &mut slot.host);
        let yielded = self.step_machine(MachineId::Directory, machine, &mut stepped, input);
        self.directory = Some(slot);
        for effect in stepped.effects.drain(..) {
            self.on_directory_effect(effect);
        }
        self.buffers.directory = stepped;
        if yielded {
            self.push(Rank::Interactive, Work::Directory(directory::Input::Resumed));
        }
    }

    fn on_directory_effect(&mut self, effect: directory::Effect) {
        use directory::Effect;
        match effect {
            Effect::Answer { to, token, completion } => {
                self.answer_from_memory(RESIDENTS, (to, token), completion);
            }
            Effect::Dds { token, request } => {
                let machine = MachineId::Directory;
                self.ask_dds(Origin::Machine { machine, token }, request);
            }
            Effect::VerifyHash { token, peer, phc, secret } => {
                self.out.push(Outward::VerifyHash { token, peer, phc, secret });
            }
            Effect::Rehash { token, secret } => self.out.push(Outward::Rehash { token, secret }),
            Effect::AccountIs { user, facts } => {
                self.post_home(user, Letter::AccountIs { user, facts });
            }
            Effect::Expected { user } => self.post_home(user, Letter::Expected { user }),
            Effect::Kick { user, reason } => self.kick_everywhere(user, reason.into()),
            Effect::EraseUser { user } => {
                self.erasures.insert(user);
                self.post_home(user, Letter::EraseUser { user });
                self.look_soon();
            }
            Effect::UsersAre(page) => {
                self.push(Rank::Rebalance, Work::Sweep(sweep::Input::Users(page)));
            }
            Effect::Log(event) => self.out.push(Outward::Log(event)),
            Effect::Ready => self.out.push(Outward::Ready),
        }
    }

    pub(crate) fn step_delivery(&mut self, input: delivery::Input) {
        let Some(mut slot) = self.delivery.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.delivery);
        let machine = (&mut slot.machine, &mut slot.host);
        let yielded = self.step_machine(MachineId::Delivery, machine, &mut stepped, input);
        self.delivery = Some(slot);
        for effect in stepped.effects.drain(..) {
            use delivery::Effect;
            match effect {
                Effect::Answer { to, token, completion } => self.post_answer(to, token, completion),
                Effect::Dds { token, request } => {
                    let machine = MachineId::Delivery;
                    self.ask_dds(Origin::Machine { machine, token }, request);
                }
                Effect::AskUser { token, user, task } => {
                    let from = names::delivery_id(self.config.node, self.config.group);
                    self.dispatch(from, token, Task::User { user, task });
                }
                Effect::Log(event) => self.out.push(Outward::Log(event)),
            }
        }
        self.buffers.delivery = stepped;
        if yielded {
            self.push(Rank::Delivery, Work::Delivery(delivery::Input::Resumed));
        }
    }

    pub(crate) fn step_sweep(&mut self, input: sweep::Input) {
        let Some(mut slot) = self.sweep.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.sweep);
        let machine = (&mut slot.machine, &mut slot.host);
        let yielded = self.step_machine(MachineId::Sweep, machine, &mut stepped, input);
        self.sweep = Some(slot);
        for effect in stepped.effects.drain(..) {
            use sweep::Effect;
            match effect {
                Effect::Dds { token, request } => {
                    let machine = MachineId::Sweep;
                    self.ask_dds(Origin::Machine { machine, token }, request);
                }
                Effect::ListUsers { token, after, users_max } => {
                    let input = directory::Input::AskedUsers { token, after, users_max };
                    self.push(Rank::Rebalance, Work::Directory(input));
                }
                Effect::Wake { user } => self.post_home(user, Letter::Expected { user }),
                Effect::Log(event) => self.out.push(Outward::Log(event)),
            }
        }
        self.buffers.sweep = stepped;
        if yielded {
            self.push(Rank::Rebalance, Work::Sweep(sweep::Input::Resumed));
        }
    }
}
