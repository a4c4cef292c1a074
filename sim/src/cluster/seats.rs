//! Steps of the seats of a node, and what they ask for.

use super::node::{Node, Owner};
use super::{Cluster, ClusterMutation, Event, Life, Packet};
use crate::disk::Job;
use dds::cluster::NodeId;
use dds::seat::{self, Seat};
use dds::{Answer, GroupVersion, PartitionId};
use fsm::{Budget, Machine, Stepped, Token, Wall};
use vspace::{GroupId, Ticket};

impl Cluster {
    /// Answers that were held back and may be told by now.
    pub(super) fn release(&mut self, id: NodeId, partition: PartitionId) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mono = node.mono(now);
        let Some(running) = &mut node.running else { return };
        let Some(slot) = running.seats.get(&partition) else { return };
        let answers = running.leases.release(mono, partition, &slot.machine);
        answers.into_iter().for_each(|answer| self.answer(answer));
    }

    pub(super) fn step_seat(&mut self, id: NodeId, partition: PartitionId, input: seat::Input) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mono = node.mono(now);
        let Some(running) = &mut node.running else { return };
        let Some(slot) = running.seats.get_mut(&partition) else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let budget = Budget::new(2_000);
        let watched = self.options.watch == Some(partition.0);
        if watched {
            say(&format!("{now} {id:?} <- {input:?}"));
        }
        slot.host.step(&mut slot.machine, &mut stepped, (mono, Wall(0)), budget, input);
        if watched {
            stepped.effects.iter().for_each(|effect| say(&format!("    -> {effect:?}")));
            say(&format!("    == {}", slot.machine.replica().summary()));
        }
        slot.machine.digest(&mut self.trace);
        let (leads, version) = (slot.machine.leads(), slot.machine.replica().version());
        self.arm(id, Owner::Seat(partition), &stepped.timers);
        let had_effects = !stepped.effects.is_empty();
        for effect in stepped.effects {
            self.on_seat_effect(id, partition, effect);
        }
        if leads {
            self.note_leader(id, partition, version);
        }
        if had_effects {
            self.release(id, partition);
        }
    }

    /// One primary per version.
    fn note_leader(&mut self, id: NodeId, partition: PartitionId, version: GroupVersion) {
        if let Err(failure) = self.leaders.note(id, partition, version) {
            self.failure.get_or_insert(failure);
        }
    }

    fn on_seat_effect(&mut self, id: NodeId, partition: PartitionId, effect: seat::Effect) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = Life { node: id, life: node.life };
        match effect {
            seat::Effect::Answer { to, token, response } => {
                let answer = Answer { to, token, response };
                let mono = node.mono(now);
                let Some(running) = &mut node.running else { return };
                let Some(slot) = running.seats.get(&partition) else { return };
                let early = self.options.mutation == Some(ClusterMutation::AnswerEarly);
                let passed = if early {
                    Some(answer)
                } else {
                    running.leases.pass(mono, (partition, &slot.machine), answer)
                };
                match passed {
                    Some(answer) => self.answer(answer),
                    None => self.coverage.action("answer is held back"),
                }
            }
            seat::Effect::Send { to, message } => {
                self.note_pace(to, &message);
                self.mutate_sent((id, to), partition, &message);
                self.send(id, to, Packet::Replica { partition, message });
            }
            seat::Effect::Store { token, group, durability } => {
                let ticket = Ticket { partition, token };
                let from = GroupId(0);
                node.disk.submit(Job { from, ticket, queued: now, group, durability });
                self.begin_write(id);
            }
            seat::Effect::Read { token, read } => {
                let nanos = self.rng.below(300_000);
                self.schedule.after(nanos, Event::Read { life, partition, token, read });
            }
            seat::Effect::Ask { expect, change } => {
                let nanos = self.rng.below(5_000_000);
                self.schedule.after(nanos, Event::Change { life, partition, expect, change });
            }
            seat::Effect::Fill(word) => {
                self.step_fills(id, dds::fills::Input::Told { partition, word });
            }
            seat::Effect::Scrubbed(step) => {
                self.step_pacer(id, dds::scrub::Input::Told { partition, step });
            }
            seat::Effect::Ceased => {
                self.coverage.input("partition: Ceased", 1);
                let Some(running) = &mut node.running else { return };
                let answers = running.leases.give_up(partition);
                answers.into_iter().for_each(|answer| self.answer(answer));
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        let Answer { to, token: _, response } = answer;
        if self.rng.chance(1, 20) && !self.healed {
            self.coverage.fault("answer of the table is lost");
            return;
        }
        let nanos = self.rng.below(300_000);
        self.schedule.after(nanos, Event::Answered { origin: to, response });
    }

    /// The token of a request: seats need none.
    pub(super) fn ask_seat(&mut self, id: NodeId, origin: u64, request: dds::Request) {
        let partition = request.partition(&self.map.dp_map());
        let input = seat::Input::Asked { from: origin, token: Token(0), request };
        self.step_seat(id, partition, input);
    }
}

impl Node {
    /// The last entry here, and up to where everything is decided.
    pub(super) fn seat(&self, partition: PartitionId) -> Option<&Seat> {
        let slot = self.running.as_ref()?.seats.get(&partition)?;
        Some(&slot.machine)
    }
}

/// A line for who looks into a run, cut to a readable length.
pub(super) fn say(line: &str) {
    eprintln!("{}", line.chars().take(400).collect::<String>());
}
