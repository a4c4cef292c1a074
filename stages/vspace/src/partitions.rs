//! Partitions wake when somebody asks; an idle one costs nothing.

use crate::names::MachineId;
use crate::origin::Origin;
use crate::queue::Rank;
use crate::shard::{Shard, Slot, Work};
use crate::work::{Neighbour, Outward, Ticket};
use dds::partition::{Effect, Input, Partition};
use dds::{Outcome, PartitionId, Refusal, Request, Response};
use mailstore::face::{Completion, TaskRefusal};
use mailstore::{delivery, directory, mailbox, sweep};
use std::sync::Arc;

impl Shard {
    /// Asks the partition that holds a request's route; the answer goes to `origin`.
    pub(crate) fn ask_dds(&mut self, origin: Origin, request: Request) {
        let partition = request.partition(&self.config.map);
        let group = self.group_of_partition(partition);
        let number = self.origins.note(origin);
        if group == self.config.group {
            let input = Input::Asked { from: number, token: fsm::Token(0), request };
            self.push(Rank::Completion, Work::Partition(partition, input));
        } else {
            let from = self.config.group;
            let request = Box::new(request);
            self.tell(group, Neighbour::DdsAsked { from, origin: number, request });
        }
    }

    pub(crate) fn step_partition(&mut self, id: PartitionId, input: Input) {
        let mut slot = match self.partitions.remove(&id) {
            Some(slot) => slot,
            None => {
                let machine = Box::new(Partition::new(
                    id,
                    self.config.group_version,
                    Arc::clone(&self.config.dds),
                ));
                Slot { machine, host: self.new_host() }
            }
        };
        let mut stepped = std::mem::take(&mut self.buffers.partition);
        let machine = (&mut *slot.machine, &mut slot.host);
        self.step_machine(MachineId::Partition(id), machine, &mut stepped, input);
        self.partitions.insert(id, slot);
        for effect in stepped.effects.drain(..) {
            match effect {
                Effect::Answer { to, token: _, response } => self.on_dds_done(to, response),
                Effect::Commit { token, group } => {
                    let ticket = Ticket { partition: id, token };
                    self.out.push(Outward::Commit { ticket, group });
                }
                Effect::Read { token, read } => {
                    let ticket = Ticket { partition: id, token };
                    self.out.push(Outward::Read { ticket, read });
                }
            }
        }
        self.buffers.partition = stepped;
    }

    pub(crate) fn on_dds_done(&mut self, number: u64, response: Response) {
        let Some(origin) = self.origins.take(number) else { return };
        match origin {
            Origin::Machine { machine, token } => {
                let work = match machine {
                    MachineId::Mailbox(user) => {
                        Work::Mailbox(user, mailbox::Input::DdsDone { token, response })
                    }
                    MachineId::Directory => {
                        Work::Directory(directory::Input::DdsDone { token, response })
                    }
                    MachineId::Delivery => {
                        Work::Delivery(delivery::Input::DdsDone { token, response })
                    }
                    MachineId::Sweep => Work::Sweep(sweep::Input::DdsDone { token, response }),
                    MachineId::Session(_) | MachineId::Partition(_) => {
                        panic!("sessions and partitions don't ask the hash table")
                    }
                };
                self.push(Rank::Completion, work);
            }
            Origin::Blob { session, token, done } => {
                let completion = match response {
                    Response::Wrote(Outcome::Committed { .. }) => Completion::Blob(done),
                    other => Completion::Refused(refusal_of(&other)),
                };
                self.answer(session, token, completion);
            }
            Origin::Group { group, origin } => {
                let response = Box::new(response);
                self.tell(group, Neighbour::DdsDone { origin, response });
            }
        }
    }
}

fn refusal_of(response: &Response) -> TaskRefusal {
    match response {
        Response::Wrote(Outcome::Refused(refusal)) | Response::Refused(refusal) => match refusal {
            Refusal::NoSpace => TaskRefusal::NoSpace,
            Refusal::Overloaded => TaskRefusal::Overloaded,
            Refusal::Corrupt { .. } => TaskRefusal::Damaged,
            Refusal::PreconditionFailed { .. }
            | Refusal::Fenced { .. }
            | Refusal::SequenceGap { .. }
            | Refusal::Forgotten
            | Refusal::TooLarge { .. }
            | Refusal::ReservedKey
            | Refusal::Unavailable => TaskRefusal::Unavailable,
        },
        Response::Wrote(Outcome::Committed { .. } | Outcome::Unknown)
        | Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. } => TaskRefusal::Unavailable,
    }
}
