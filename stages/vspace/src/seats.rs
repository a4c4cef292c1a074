//! The seats of this group: they wake when somebody asks, or when the map says that they belong to a group of several nodes. A
//! single node's idle partition costs nothing.

use crate::follow::Passed;
use crate::following::RESIDENTS;
use crate::names::{GroupId, MachineId};
use crate::queue::Rank;
use crate::shard::{Shard, Slot, Work};
use crate::work::{Neighbour, Outward, Packet, Ticket};
use dds::seat::{Effect, Input, Seat};
use dds::{Answer, PartitionId, Request, Response};
use fsm::{Duration, Mono, Token};
use mailstore::face::{Completion, SessionId, TaskRefusal};
use std::sync::Arc;

/// How long a request waits for a seat that is to lead. Our choice: above an election and a fence.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A seat, and who waits for it to lead.
#[derive(Debug)]
pub(crate) struct SeatSlot {
    pub slot: Slot<Seat>,
    pub waiting: Vec<(Mono, u64, Request)>,
    led: bool,
}

/// A completion that waits for a lease.
#[derive(Debug)]
pub(crate) struct Gated {
    to: SessionId,
    token: Token,
    completion: Completion,
}

impl Shard {
    /// Makes the seat of a partition and tells it what the map says.
    pub(crate) fn wake_seat(&mut self, partition: PartitionId) {
        if self.seats.contains_key(&partition) {
            return;
        }
        let limits = (Arc::clone(&self.config.dds), Arc::clone(&self.config.membership.replica));
        let machine = Seat::new(self.me(), partition, limits, self.config.seed);
        let slot = Slot { machine, host: self.new_host() };
        let seat = SeatSlot { slot, waiting: Vec::new(), led: false };
        self.seats.insert(partition, Box::new(seat));
        if self.registered {
            self.tell_seat(partition);
        }
    }

    /// Asks the seat of this node, which the map names as the primary. `number` is that of an origin.
    pub(crate) fn ask_seat(&mut self, partition: PartitionId, number: u64, request: Request) {
        self.wake_seat(partition);
        self.followed.on_asked(self.me(), (number, self.origins.get(number)), self.now.0);
        let until = self.now.0.plus(PATIENCE);
        let Some(seat) = self.seats.get_mut(&partition) else { return };
        if seat.led {
            let input = Input::Asked { from: number, token: Token(0), request };
            self.push(Rank::Completion, Work::Seat(partition, input));
        } else if seat.waiting.len() >= self.config.dds.tasks_max {
            self.on_dds_done(number, overloaded(&request));
        } else {
            seat.waiting.push((until, number, request));
            self.waiting_seats.insert(partition);
            self.look_soon();
        }
    }

    pub(crate) fn step_seat(&mut self, id: PartitionId, input: Input) {
        let Some(mut seat) = self.seats.remove(&id) else { return };
        let followed = match &input {
            Input::Asked { from, .. } => self.followed.taken(*from),
            _ => None,
        };
        let mut stepped = std::mem::take(&mut self.buffers.seat);
        let machine = (&mut seat.slot.machine, &mut seat.slot.host);
        self.step_machine(MachineId::Partition(id), machine, &mut stepped, input);
        let leads = seat.slot.machine.leads();
        // It may have ceased and begun anew within the step: then the effect is there.
        seat.led &= leads && !stepped.effects.contains(&Effect::Ceased);
        let begins = leads && !seat.led;
        if leads {
            let written = |effect: &Effect| match effect {
                Effect::Store { group, .. } => group.bytes,
                Effect::Answer { .. }
                | Effect::Send { .. }
                | Effect::Read { .. }
                | Effect::Ask { .. }
                | Effect::Fill(_)
                | Effect::Scrubbed(_)
                | Effect::Ceased => 0,
            };
            self.gauge.meter.count(id, stepped.effects.iter().map(written).sum());
        }
        self.seats.insert(id, seat);
        if let Some((trace, at)) = followed {
            self.out.push(Outward::Passed(Passed::Taken { trace, at }));
            for effect in &stepped.effects {
                if let Effect::Store { token, .. } = effect {
                    self.followed.on_store(Ticket { partition: id, token: *token }, trace);
                }
            }
        }
        for effect in stepped.effects.drain(..) {
            self.on_seat_effect(id, effect);
        }
        self.buffers.seat = stepped;
        if begins {
            self.on_leads(id);
        }
        if !self.gated.is_empty() || self.leases.holds_any(id) {
            self.release(id);
        }
    }

    fn on_seat_effect(&mut self, partition: PartitionId, effect: Effect) {
        match effect {
            Effect::Answer { to, token, response } => {
                let Some(seat) = self.seats.get(&partition) else { return };
                let answer = Answer { to, token, response };
                let seat = (partition, &seat.slot.machine);
                if let Some(answer) = self.leases.pass(self.now.0, seat, answer) {
                    self.on_dds_done(answer.to, answer.response);
                }
            }
            Effect::Send { to, message } => self.send(to, Packet::Replica { partition, message }),
            Effect::Store { token, group, durability } => {
                let ticket = Ticket { partition, token };
                self.out.push(Outward::Commit { ticket, group, durability });
            }
            Effect::Read { token, read } => {
                let ticket = Ticket { partition, token };
                self.out.push(Outward::Read { ticket, read });
            }
            Effect::Ask { expect, change } => {
                if self.config.group == GroupId(0) {
                    self.on_change_asked(partition, (expect, change));
                } else {
                    let asked = Neighbour::ChangeAsked { partition, expect, change };
                    self.tell(GroupId(0), asked);
                }
            }
            Effect::Fill(word) => self.tell_group_0(Neighbour::FillTold { partition, word }),
            Effect::Scrubbed(step) => self.on_scrubbed(partition, step),
            Effect::Ceased => self.on_ceased(partition),
        }
    }

    /// This node is the primary of the partition, and serves.
    fn on_leads(&mut self, partition: PartitionId) {
        let Some(seat) = self.seats.get_mut(&partition) else { return };
        seat.led = true;
        let waiting = std::mem::take(&mut seat.waiting);
        self.waiting_seats.remove(&partition);
        for (_, number, request) in waiting {
            let input = Input::Asked { from: number, token: Token(0), request };
            self.push(Rank::Completion, Work::Seat(partition, input));
        }
        if partition == RESIDENTS {
            self.tell_group_0(Neighbour::ResidentsMay(true));
        }
    }

    /// The seat leads no more: masters that stood on it end.
    fn on_ceased(&mut self, partition: PartitionId) {
        for answer in self.leases.give_up(partition) {
            self.on_dds_done(answer.to, answer.response);
        }
        for Gated { to, token, completion: _ } in self.gated.remove(&partition).unwrap_or_default()
        {
            self.post_answer(to, token, Completion::Refused(TaskRefusal::Unavailable));
        }
        let group = self.group_of_masters(partition);
        if group == self.config.group {
            self.end_masters(partition);
        } else {
            self.tell(group, Neighbour::MastersEnd { partition });
        }
        if partition == RESIDENTS {
            self.tell_group_0(Neighbour::ResidentsMay(false));
        }
    }

    fn tell_group_0(&mut self, message: Neighbour) {
        if self.config.group == GroupId(0) {
            self.on_neighbour(message);
        } else {
            self.tell(GroupId(0), message);
        }
    }

    /// A completion from what a master has in memory: told while the leases hold, held back until they do.
    pub(crate) fn answer_from_memory(
        &mut self,
        partition: PartitionId,
        (to, token): (SessionId, Token),
        completion: Completion,
    ) {
        let leads = self.seats.get(&partition).is_none_or(|seat| seat.slot.machine.leads());
        if self.permits(partition) {
            self.post_answer(to, token, completion);
        } else if !leads {
            // What is in memory is nobody's word any more.
            self.post_answer(to, token, Completion::Refused(TaskRefusal::Unavailable));
        } else {
            self.gated.entry(partition).or_default().push(Gated { to, token, completion });
            self.look_soon();
        }
    }

    fn permits(&self, partition: PartitionId) -> bool {
        let now = self.now.0;
        match self.seats.get(&partition) {
            Some(seat) => seat.slot.machine.permits_state(|node| self.leases.holds(node, now)),
            // Only where seats live apart from masters, which no real node has.
            None => self.config.partition_group_offset != 0,
        }
    }

    /// What was held back and may be told by now.
    fn release(&mut self, partition: PartitionId) {
        let now = self.now.0;
        let Some(seat) = self.seats.get(&partition) else { return };
        for answer in self.leases.release(now, partition, &seat.slot.machine) {
            self.on_dds_done(answer.to, answer.response);
        }
        if self.gated.contains_key(&partition) && self.permits(partition) {
            for Gated { to, token, completion } in self.gated.remove(&partition).unwrap_or_default()
            {
                self.post_answer(to, token, completion);
            }
        }
    }

    pub(crate) fn release_all(&mut self) {
        let mut waiting = self.leases.waiting();
        waiting.extend(self.gated.keys().copied());
        for partition in waiting {
            self.release(partition);
        }
    }

    /// Refuses what has waited too long for a seat.
    pub(crate) fn give_up_late_seats(&mut self) {
        let now = self.now.0;
        for partition in self.waiting_seats.clone() {
            let Some(seat) = self.seats.get_mut(&partition) else { continue };
            let late: Vec<_> = seat.waiting.extract_if(.., |(until, ..)| *until <= now).collect();
            if seat.waiting.is_empty() {
                self.waiting_seats.remove(&partition);
            }
            for (_, number, request) in late {
                self.on_dds_done(number, unavailable(&request));
            }
        }
        if !self.waiting_seats.is_empty() || !self.gated.is_empty() {
            self.look_soon();
        }
    }

    /// Requests that waited for this node to lead, when somebody else does.
    pub(crate) fn forward_waiting(&mut self) {
        let me = Some(self.me());
        for partition in self.waiting_seats.clone() {
            if self.map.group(partition).is_none_or(|group| group.primary == me) {
                continue;
            }
            self.waiting_seats.remove(&partition);
            let Some(seat) = self.seats.get_mut(&partition) else { continue };
            for (until, number, request) in std::mem::take(&mut seat.waiting) {
                self.ask_numbered(number, request, until);
            }
        }
    }
}

/// The answer to a request that was not begun.
pub(crate) fn unavailable(request: &Request) -> Response {
    refused(request, dds::Refusal::Unavailable)
}

fn overloaded(request: &Request) -> Response {
    refused(request, dds::Refusal::Overloaded)
}

pub(crate) fn refused(request: &Request, refusal: dds::Refusal) -> Response {
    match request {
        Request::Write(_)
        | Request::PutChunk { .. }
        | Request::RenewBlob { .. }
        | Request::DropBlob { .. } => Response::Wrote(dds::Outcome::Refused(refusal)),
        Request::Claim { .. }
        | Request::Get { .. }
        | Request::Scan { .. }
        | Request::ReadBlob { .. }
        | Request::CollectBlobs { .. } => Response::Refused(refusal),
    }
}
