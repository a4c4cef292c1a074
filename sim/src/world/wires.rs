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
    /// Nothing passes until then, from the lower node to the higher and back; it is late, not lost.
    still_until: [u64; 2],
    /// Before that the two don't find each other again.
    known_lost: u64,
}

/// Which way of a wire a packet takes.
fn way(from: usize, to: usize) -> usize {
    usize::from(from > to)
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

pub(super) fn node_of(id: NodeId) -> usize {
    usize::from(id.0).saturating_sub(1)
}

impl World {
    /// A packet leaves a node.
    pub(super) fn depart(&mut self, from: Life, to: NodeId, packet: Packet) {
        self.mistake_departing(from, to, &packet);
        let to = node_of(to);
        if to >= self.nodes.len() || to == from.node {
            return;
        }
        let wire = self.wires.pairs.get(&pair(from.node, to)).copied().unwrap_or_default();
        if !wire.up || !self.nodes[to].is_up() {
            return;
        }
        if matches!(packet, Packet::Control(_)) && self.schedule.now() < self.control_gone_until {
            return;
        }
        if let Packet::Replica { partition, message } = &packet
            && matches!(message.body, dds::replica::Body::Append { .. })
        {
            let noted = self.leaders.note(id_of(from.node), *partition, message.version);
            self.broken = self.broken.take().or(noted.err());
        }
        let (release, ids) = (self.nodes[from.node].release, (id_of(from.node), id_of(to)));
        let packet = match self.through_bytes(ids, &packet, release) {
            Some(Packet::Letter(letter)) => Packet::Letter(self.forgetting(letter)),
            Some(other) => other,
            None => return,
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
        let at = (now.max(wire.still_until[way(from.node, to)]) + nanos).max(*last + 1);
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
        let scenario = &self.options.scenario;
        let places = Places { map: scenario.map(), groups: scenario.groups };
        let group = places.group_of_packet(&packet);
        if self.mistake_arriving(from, to, &packet) {
            return Ok(());
        }
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
        let at = wire.known_lost.max(wire.still_until[0]).max(wire.still_until[1]);
        if self.schedule.now() < at {
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
        self.mistake_at_loss(pair);
        let wire = self.wires.pairs.entry(pair).or_default();
        // Who does not hear the other does not find it either.
        let known = self.schedule.now() + LOST_NANOS_MAX + 10_000;
        wire.known_lost = known.max(wire.still_until[0]).max(wire.still_until[1]);
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
            self.deafen(pair.0, pair.1, until);
            self.deafen(pair.1, pair.0, until);
        }
    }

    /// What one says, the other hears only then.
    pub(super) fn deafen(&mut self, from: usize, to: usize, until: u64) {
        let wire = self.wires.pairs.entry(pair(from, to)).or_default();
        let still = &mut wire.still_until[way(from, to)];
        *still = until.max(*still);
    }

    /// Perhaps the connection does not outlast it.
    pub(super) fn lose_within(&mut self, one: usize, other: usize, until: u64) {
        if self.rng.chance(1, 2) {
            let pair = pair(one, other);
            let epoch = self.wires.pairs.get(&pair).map_or(0, |wire| wire.epoch);
            let now = self.schedule.now();
            let nanos = self.rng.below(until.saturating_sub(now) + 1);
            self.schedule.after(nanos, Event::Lose { pair, epoch });
        }
    }

    pub(super) fn on_lose(&mut self, pair: Pair, epoch: u64) {
        if self.wires.pairs.get(&pair).is_some_and(|wire| wire.epoch == epoch) {
            self.part(pair);
        }
    }

    /// Nothing goes wrong any more.
    pub(super) fn heal_wires(&mut self) {
        let now = self.schedule.now();
        self.control_gone_until = 0;
        for wire in self.wires.pairs.values_mut() {
            wire.still_until = [0; 2];
            wire.known_lost = wire.known_lost.min(now + LOST_NANOS_MAX + 10_000);
        }
    }
}
