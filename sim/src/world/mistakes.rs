//! Mistakes made on purpose between nodes and groups: what arrives is forged, never the machines themselves.

use super::{Event, Life, Phase, World, wires};
use crate::options::Mutation;
use dds::cluster::NodeId;
use dds::links::Message;
use dds::{Outcome, Request, Response};
use mailstore::face::{Completion, Task, TaskRefusal, UserTask};
use std::collections::BTreeMap;
use vspace::{GroupId, Inward, Letter, Neighbour, News, Packet, Places};

/// The last task that changes something which each node has brought to each other one.
pub(super) type Brought = BTreeMap<(usize, usize), Letter>;

/// Until the next master is found.
const AGAIN_NANOS: u64 = 2_000_000_000;

impl World {
    pub(super) fn errs(&self, mutation: Mutation) -> bool {
        self.options.mutation == Some(mutation) && self.phase == Phase::Faults
    }

    /// A packet that leaves: a lease is taken for granted with the question.
    pub(super) fn mistake_departing(&mut self, from: Life, to: NodeId, packet: &Packet) {
        if let Packet::Link(Message::Ping { run, sent, report: _ }) = packet
            && self.errs(Mutation::TakeLease)
        {
            let message = Message::Pong { run: *run, sent: *sent, granted: true };
            let inward = Inward::Peer { from: to, packet: Packet::Link(message) };
            self.arrive(from, GroupId(0), 1_000, inward);
        }
    }

    /// A packet that arrives; true when the node does not come to see it.
    pub(super) fn mistake_arriving(&mut self, from: Life, to: Life, packet: &Packet) -> bool {
        match packet {
            Packet::Ask { id, request: Request::PutChunk { .. } }
                if self.errs(Mutation::PretendWritten) && self.rng.chance(1, 10) =>
            {
                let response = Response::Wrote(Outcome::Committed { version: dds::Version(1) });
                let packet = Packet::Answer { id: *id, response };
                let scenario = &self.options.scenario;
                let places = Places { map: scenario.map(), groups: scenario.groups };
                let group = places.group_of_packet(&packet);
                let inward = Inward::Peer { from: wires::id_of(to.node), packet };
                self.arrive(from, group, 100_000, inward);
                true
            }
            Packet::Letter(letter) if self.errs(Mutation::RepeatTask) && changes(letter) => {
                self.brought.insert((from.node, to.node), letter.clone());
                false
            }
            _ => false,
        }
    }

    /// Two nodes have lost each other.
    pub(super) fn mistake_at_loss(&mut self, (one, other): (usize, usize)) {
        for (from, to) in [(one, other), (other, one)] {
            let Some(letter) = self.brought.remove(&(from, to)) else { continue };
            let Letter::Asked { task: Task::User { user, .. }, .. } = &letter else { continue };
            let map = self.options.scenario.map();
            let partition = map.partition_of(&mailstore::mailbox::route(*user).0);
            let group = self.newest_map().and_then(|map| map.group(partition));
            let members: Vec<_> = group.map_or(Vec::new(), |group| group.in_sync.clone());
            let places = Places { map, groups: self.options.scenario.groups };
            for node in members.into_iter().map(wires::node_of) {
                if !self.nodes[node].is_up() {
                    continue;
                }
                let packet = Packet::Letter(letter.clone());
                let group = places.group_of_packet(&packet);
                let inward = Inward::Peer { from: wires::id_of(from), packet };
                let (life, inward) = (self.life(node), Box::new(inward));
                self.schedule.after(AGAIN_NANOS, Event::Arrive { life, group, inward });
            }
        }
    }

    /// Whether a message between groups is forgotten.
    pub(super) fn mistake_between_groups(&mut self, message: &Neighbour) -> bool {
        match message {
            Neighbour::Letter(
                Letter::NotHere { .. }
                | Letter::Answered {
                    completion: Completion::Refused(TaskRefusal::Unavailable), ..
                },
            ) => self.errs(Mutation::ForgetHeld),
            Neighbour::News(News::Map { .. }) => {
                self.errs(Mutation::ForgetNews) && self.rng.chance(1, 50)
            }
            _ => false,
        }
    }
}

/// Whether doing it twice is not the same as doing it once.
fn changes(letter: &Letter) -> bool {
    let Letter::Asked { task: Task::User { task, .. }, .. } = letter else { return false };
    matches!(task, UserTask::Append { .. } | UserTask::CommitAppend { .. } | UserTask::Copy { .. })
}
