//! Connections between the nodes of a world: in order both ways while they stand. When one is lost, what was under way is lost
//! with it, and both sides are told, each in its time.
//!
//! Invariant: what was sent on a connection never arrives on a later one.

use super::{Event, Life, World};
use crate::failure::Failure;
use crate::options::Mutation;
use dds::cluster::NodeId;
use mailstore::face::{Task, UserTask};
use std::collections::BTreeMap;
use vspace::{GroupId, Inward, Letter, LinkState, Packet, Places, Wire};

/// Longest time until a node knows that a connection was lost.
const LOST_NANOS_MAX: u64 = 50_000_000;

/// One pair of nodes, the lower one first.
type Pair = (usize, usize);

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Wires {
    pairs: BTreeMap<Pair, Link>,
    /// When the last packet of each direction arrives, on each connection.
    last: BTreeMap<(usize, usize, Wire), u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    up: bool,
    /// Rises with every loss.
    epoch: u64,
    /// Nothing passes until then; it is late, not lost.
    still_until: u64,
    /// By then both sides know that it was lost.
    known_lost: u64,
}

/// A packet on its way.
#[derive(Debug)]
pub(super) struct Flight {
    from: Life,
    to: Life,
    epoch: u64,
    packet: Packet,
}

impl Flight {
    pub(super) fn to_node(&self) -> usize {
        self.to.node
    }
}

fn pair(a: usize, b: usize) -> Pair {
    (a.min(b), a.max(b))
}

/// Number of a node of the world as the cluster counts.
pub(super) fn id_of(node: usize) -> NodeId {
    NodeId(u16::try_from(node + 1).unwrap_or(u16::MAX))
}

fn node_of(id: NodeId) -> usize {
    usize::from(id.0).saturating_sub(1)
}

impl World {
    /// A packet leaves a node.
    pub(super) fn depart(&mut self, from: Life, to: NodeId, packet: Packet) {
        let to = node_of(to);
        if to >= self.nodes.len() || to == from.node {
            return;
        }
        let wire = self.wires.pairs.get(&pair(from.node, to)).copied().unwrap_or_default();
        if !wire.up || !self.nodes[to].is_up() {
            return;
        }
        // Letters are read from their bytes, as on a real node.
        let packet = match packet {
            Packet::Letter(letter) => match Letter::decode(&letter.encode()) {
                Ok(letter) => Packet::Letter(self.forgetting(letter)),
                Err(error) => panic!("{error}"),
            },
            other => other,
        };
        let on = packet.wire();
        let mut nanos = 20_000 + self.rng.below(200_000);
        if self.strikes(self.options.scenario.faults.late) {
            self.coverage.fault("packet comes late");
            nanos += self.rng.below(30_000_000);
        }
        if on == Wire::Bulk && self.strikes(self.options.scenario.faults.bulk_late) {
            // As when much waits before it: what leaves on the others meanwhile overtakes it.
            self.coverage.fault("page or chunk is overtaken");
            nanos += self.rng.below(400_000_000);
        }
        let now = self.schedule.now();
        let last = self.wires.last.entry((from.node, to, on)).or_default();
        let at = (now.max(wire.still_until) + nanos).max(*last + 1);
        *last = at;
        let to = self.life(to);
        let flight = Flight { from, to, epoch: wire.epoch, packet };
        self.schedule.at(at, Event::Flight(Box::new(flight)));
    }

    /// A letter as it arrives, with the mistake of this run.
    fn forgetting(&self, mut letter: Letter) -> Letter {
        if self.options.mutation == Some(Mutation::ForgetAppend)
            && let Letter::Asked { task: Task::User { task, .. }, .. } = &mut letter
            && let UserTask::Append { once, .. } = task
        {
            *once = None;
        }
        letter
    }

    pub(super) fn on_flight(&mut self, flight: Flight) -> Result<(), Failure> {
        let Flight { from, to, epoch, packet } = flight;
        let wire = self.wires.pairs.get(&pair(from.node, to.node)).copied().unwrap_or_default();
        if !wire.up || wire.epoch != epoch || self.is_over(to) {
            return Ok(());
        }
        let places = Places { map: crate::node::MAP, groups: self.options.scenario.groups };
        let group = places.group_of_packet(&packet);
        let from = id_of(from.node);
        self.accept(to.node, group, Inward::Peer { from, packet });
        self.run_group(to.node, group)
    }

    /// Plans that a node looks for the others.
    pub(super) fn plan_meetings(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            let nanos = 1_000_000 + self.rng.below(100_000_000);
            self.schedule.after(nanos, Event::Meet { pair: pair(node, other) });
        }
    }

    pub(super) fn on_meet(&mut self, pair: (usize, usize)) {
        let both_up = self.nodes[pair.0].is_up() && self.nodes[pair.1].is_up();
        let wire = self.wires.pairs.entry(pair).or_default();
        // Who starts looks for the others again.
        if wire.up || !both_up {
            return;
        }
        if self.schedule.now() < wire.known_lost {
            let at = wire.known_lost;
            return self.schedule.at(at, Event::Meet { pair });
        }
        wire.up = true;
        self.coverage.action("nodes meet");
        self.tell_link(pair.0, pair.1, LinkState::Up);
        self.tell_link(pair.1, pair.0, LinkState::Up);
    }

    /// A connection is lost.
    pub(super) fn part(&mut self, pair: (usize, usize)) {
        let wire = self.wires.pairs.entry(pair).or_default();
        if !std::mem::replace(&mut wire.up, false) {
            return;
        }
        wire.epoch += 1;
        wire.known_lost = self.schedule.now() + LOST_NANOS_MAX + 10_000;
        self.tell_link(pair.0, pair.1, LinkState::Lost);
        self.tell_link(pair.1, pair.0, LinkState::Lost);
        let nanos = self.rng.below(200_000_000);
        self.schedule.after(nanos, Event::Meet { pair });
    }

    fn tell_link(&mut self, node: usize, other: usize, link: LinkState) {
        if !self.nodes[node].is_up() {
            return;
        }
        let (life, node) = (self.life(node), id_of(other));
        // One moment for all groups and for what comes behind it.
        let now = self.schedule.now();
        let at = match link {
            LinkState::Up => now + 5_000,
            LinkState::Lost => now + 5_000 + self.rng.below(LOST_NANOS_MAX),
        };
        for group in (0..self.options.scenario.groups).map(GroupId) {
            let inward = Box::new(Inward::Link { node, link });
            self.schedule.at(at, Event::Arrive { life, group, inward });
        }
    }

    /// All connections of a node that has ended.
    pub(super) fn part_all(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.part(pair(node, other));
        }
    }

    /// Two nodes, drawn.
    fn draw_pair(&mut self) -> Option<Pair> {
        let count = self.nodes.len() as u64;
        if count < 2 {
            return None;
        }
        let first = usize::try_from(self.rng.below(count)).unwrap_or(0);
        let step = usize::try_from(1 + self.rng.below(count - 1)).unwrap_or(1);
        Some(pair(first, (first + step) % self.nodes.len()))
    }

    pub(super) fn reset_a_wire(&mut self) {
        if let Some(pair) = self.draw_pair() {
            self.coverage.fault("connection of two nodes is reset");
            self.part(pair);
        }
    }

    pub(super) fn still_a_wire(&mut self) {
        if let Some(pair) = self.draw_pair() {
            self.coverage.fault("connection of two nodes stands still");
            let nanos = self.rng.below(4_000_000_000);
            let until = self.schedule.now() + nanos;
            let wire = self.wires.pairs.entry(pair).or_default();
            wire.still_until = wire.still_until.max(until);
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal_wires(&mut self) {
        for wire in self.wires.pairs.values_mut() {
            wire.still_until = 0;
        }
    }
}
