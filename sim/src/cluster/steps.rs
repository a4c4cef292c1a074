//! Steps of the machines of a node, and what they ask for.

use super::node::{Node, Owner, Running, Slot};
use super::{Cluster, ClusterMutation, Event, Life, Packet};
use crate::disk::Job;
use dds::cluster::{Command, GroupChange, NodeId, NodeState, Start, Verdict};
use dds::links::{self, Links};
use dds::replica::View;
use dds::seat::{self, Seat};
use dds::{Answer, GroupVersion, Leases, PartitionId};
use fsm::{Budget, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use std::collections::BTreeMap;
use std::sync::Arc;
use vspace::{GroupId, Ticket};

impl Cluster {
    pub(super) fn start(&mut self, id: NodeId) {
        let start = Start(self.rng.next_u64());
        let (seed, now) = (self.rng.next_u64(), self.schedule.now());
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.running.is_some() {
            return;
        }
        node.life += 1;
        node.identity.session.0 += 1;
        let links = Links::new(id, links::Limits::default(), node.mono(now));
        let seats = (0..self.options.scenario.partitions).map(|number| {
            let id_of = PartitionId(number);
            let limits = (Arc::clone(&self.limits.0), Arc::clone(&self.limits.1));
            let machine = Seat::new(id, id_of, limits, seed);
            (id_of, Slot { machine, host: Host::new(seed, 1 << 32 | u64::from(number)) })
        });
        node.running = Some(Running {
            start,
            links: Slot { machine: links, host: Host::new(seed, 1 << 40) },
            seats: seats.collect(),
            leases: Leases::default(),
            map: dds::cluster::ClusterMap::default(),
            registered: false,
            timers: BTreeMap::new(),
        });
        if self.options.mutation == Some(ClusterMutation::ReadWithoutLease)
            && let Some(running) = &mut node.running
        {
            let forever = Mono(u64::MAX);
            (1..=self.options.scenario.nodes)
                .for_each(|number| running.leases.renew(NodeId(number), forever));
        }
        let life = Life { node: id, life: node.life };
        self.schedule.after(0, Event::Follow { life });
    }

    /// Hears what is new in the map; registers until the map knows of this session.
    pub(super) fn on_follow(&mut self, life: Life) {
        let again = 20_000_000 + self.rng.below(60_000_000);
        self.schedule.after(again, Event::Follow { life });
        if self.schedule.now() < self.registry.gone_until || self.is_cut(life.node, NodeId(0)) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&life.node) else { return };
        let (identity, id) = (node.identity, node.id);
        let Some(running) = &mut node.running else { return };
        let start = running.start;
        let known = self.registry.map.node(id).cloned();
        let registered = known.as_ref().is_some_and(|known| {
            known.state == NodeState::Up
                && known.start == start
                && known.session == identity.session
                && known.incarnation == identity.incarnation
        });
        if !registered {
            return self.register(life, known.is_some_and(|known| known.start == start));
        }
        let before = std::mem::take(&mut running.map);
        running.map = self.registry.map.as_watched();
        let first = !std::mem::replace(&mut running.registered, true);
        self.tell(life.node, &before, first);
    }

    /// `again`: this run was registered before, and given up since.
    fn register(&mut self, life: Life, again: bool) {
        let Some(node) = self.nodes.get_mut(&life.node) else { return };
        if again {
            node.identity.session.0 += 1;
        }
        let Some(running) = &node.running else { return };
        let (identity, start, id) = (node.identity, running.start, node.id);
        if self.registry.map.node(id).is_none_or(|known| known.incarnation != identity.incarnation)
        {
            let site = dds::cluster::Site { weight: 100, ..Default::default() };
            let incarnation = identity.incarnation;
            self.registry.apply(&Command::AddNode { node: id, incarnation, site });
        }
        let verdict = self.registry.apply(&Command::Register {
            node: id,
            incarnation: identity.incarnation,
            session: identity.session,
            start,
            features: 1,
        });
        match verdict {
            Verdict::OldImage => {
                self.coverage.action("old image is noticed");
                self.wipe(id);
            }
            Verdict::Done => {
                self.registry.heard((id, start), self.schedule.now());
            }
            Verdict::Refused(_) | Verdict::Unknown => {}
        }
    }

    /// Tells the machines of a node what is new in its copy of the map.
    fn tell(&mut self, id: NodeId, before: &dds::cluster::ClusterMap, first: bool) {
        let Some(node) = self.nodes.get(&id) else { return };
        let Some(running) = &node.running else { return };
        let map = running.map.clone();
        if first || before.nodes != map.nodes {
            let run = links::Run { session: node.identity.session, start: running.start };
            self.step_links(id, links::Input::RunIs(run));
            let state = |known: &dds::cluster::Node| links::NodeState {
                run: links::Run { session: known.session, start: known.start },
                is_up: known.state == NodeState::Up,
            };
            let nodes = map.nodes.iter().map(|(node, known)| (*node, state(known))).collect();
            self.step_links(id, links::Input::NodesAre(nodes));
        }
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        let fence_at = running.links.machine.fence_at();
        let wanted = usize::from(map.settings.replicas).min(map.nodes.len());
        let settings = first || before.settings != map.settings || before.nodes != map.nodes;
        for (partition, group) in map.partitions() {
            if settings || before.group(partition) != Some(group) {
                let mut min_in_sync = map.min_in_sync();
                if self.options.mutation == Some(ClusterMutation::BelowMin) {
                    min_in_sync = 1;
                }
                let view = View { group: group.clone(), min_in_sync, wanted, fence_at };
                self.step_seat(id, partition, seat::Input::GroupIs(view));
                self.release(id, partition);
            }
            let suggested = map.suggestion(partition).filter(|_| group.primary == Some(id));
            if let Some(suggestion) = suggested {
                self.step_seat(id, partition, seat::Input::Suggested(suggestion.change));
            }
        }
    }

    pub(super) fn on_change(
        &mut self,
        life: Life,
        partition: PartitionId,
        (expect, change): (GroupVersion, GroupChange),
    ) {
        if self.schedule.now() < self.registry.gone_until || self.is_cut(life.node, NodeId(0)) {
            return;
        }
        let command = Command::ChangeGroup { partition, expect, change, by: life.node };
        let verdict = self.registry.apply(&command);
        self.coverage.action(match (change, verdict) {
            (_, Verdict::Refused(_) | Verdict::OldImage | Verdict::Unknown) => "change is refused",
            (GroupChange::Remove(_), Verdict::Done) => "member is removed",
            (GroupChange::Expel(_), Verdict::Done) => "member is expelled",
            (GroupChange::AddLearner(_), Verdict::Done) => "learner is added",
            (GroupChange::Promote(_), Verdict::Done) => "learner is promoted",
            (GroupChange::HandOver(_), Verdict::Done) => "primary hands over",
            (GroupChange::StepDown, Verdict::Done) => "primary steps down",
            (GroupChange::Resign, Verdict::Done) => "primary resigns",
        });
        if let (GroupChange::AddLearner(learner), Some(ClusterMutation::PromoteEarly)) =
            (change, self.options.mutation)
        {
            let expect = self.registry.map.version_of(partition);
            let change = GroupChange::Promote(learner);
            self.registry.apply(&Command::ChangeGroup { partition, expect, change, by: life.node });
        }
        if let Verdict::Refused(_) = verdict {
            let nanos = self.rng.below(2_000_000);
            self.schedule.after(nanos, Event::Refused { life, partition, expect, change });
        }
    }

    pub(super) fn on_packet(&mut self, to: NodeId, from: NodeId, packet: Packet) {
        if self.nodes.get(&to).is_none_or(|node| node.running.is_none()) {
            return;
        }
        match packet {
            Packet::Links(message) => {
                self.step_links(to, links::Input::Received { from, message });
            }
            Packet::Replica { partition, message } => {
                let (from, message) = self.mutate_received(to, partition, (from, message));
                self.step_seat(to, partition, seat::Input::Received { from, message });
            }
        }
    }

    pub(super) fn on_timer(&mut self, life: Life, owner: Owner, key: TimerKey) {
        let now = self.schedule.now();
        let node = self.nodes.get_mut(&life.node);
        let Some(running) = node.and_then(|node| node.running.as_mut()) else { return };
        match running.timers.get(&(owner, key)) {
            Some(at) if *at <= now => running.timers.remove(&(owner, key)),
            _ => return,
        };
        match owner {
            Owner::Links => self.step_links(life.node, links::Input::TimerFired(key)),
            Owner::Seat(partition) => {
                self.step_seat(life.node, partition, seat::Input::TimerFired(key));
            }
        }
    }

    pub(super) fn step_links(&mut self, id: NodeId, input: links::Input) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mono = node.mono(now);
        let Some(running) = &mut node.running else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let slot = &mut running.links;
        let budget = Budget::new(2_000);
        slot.host.step(&mut slot.machine, &mut stepped, (mono, Wall(0)), budget, input);
        self.arm(id, Owner::Links, &stepped.timers);
        for effect in stepped.effects {
            match effect {
                links::Effect::Send { to, message } => {
                    self.send(id, to, Packet::Links(message));
                }
                links::Effect::LeaseIs { from, until } => self.on_lease(id, from, until),
                links::Effect::Heard { node: _, run: _ } => {}
                links::Effect::Silent { node: silent } => self.on_silent(id, silent),
            }
        }
        // The leader of the control group hears of every node that still ticks.
        let running = self.nodes.get(&id).and_then(|node| node.running.as_ref());
        let start = running.map(|running| running.start).unwrap_or_default();
        if !self.is_cut(id, NodeId(0)) {
            let nanos = self.rng.below(1_000_000);
            self.schedule.after(nanos, Event::Heard { node: id, start });
        }
    }

    fn on_silent(&mut self, id: NodeId, silent: NodeId) {
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        let leads = running.seats.iter().filter(|(_, slot)| slot.machine.leads());
        for partition in leads.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.step_seat(id, partition, seat::Input::Silent { node: silent });
        }
    }

    fn on_lease(&mut self, id: NodeId, from: NodeId, until: Mono) {
        let node = self.nodes.get_mut(&id);
        let Some(running) = node.and_then(|node| node.running.as_mut()) else { return };
        running.leases.renew(from, until);
        for partition in running.leases.waiting() {
            self.release(id, partition);
        }
    }

    /// Answers that were held back and may be told by now.
    fn release(&mut self, id: NodeId, partition: PartitionId) {
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
        let first = *self.led.entry((partition, version)).or_insert(id);
        if first != id {
            let what = format!("{partition:?} {version:?} was led by {first:?} and by {id:?}");
            self.fail("one_primary", what);
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

    fn arm(&mut self, id: NodeId, owner: Owner, ops: &[TimerOp]) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = Life { node: id, life: node.life };
        for op in ops {
            match *op {
                TimerOp::Arm { key, at } => {
                    let at = node.moment(at).max(self.schedule.now());
                    if let Some(running) = &mut node.running {
                        running.timers.insert((owner, key), at);
                    }
                    self.schedule.at(at, Event::Timer { life, owner, key });
                }
                TimerOp::Cancel { key } => {
                    if let Some(running) = &mut node.running {
                        running.timers.remove(&(owner, key));
                    }
                }
            }
        }
    }

    pub(super) fn begin_write(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if !node.disk.begin() {
            return;
        }
        let life = Life { node: id, life: node.life };
        let mut nanos = 50_000 + self.rng.below(self.options.scenario.write_nanos);
        if self.happens(self.options.scenario.write_error) {
            self.coverage.fault("write fails");
            if let Some(node) = self.nodes.get_mut(&id) {
                node.disk.fail_next(dds::StoreError::Io("made to fail".into()));
            }
        }
        if self.options.scenario.stalls && !self.healed && self.rng.chance(1, 5_000) {
            self.coverage.fault("disk stalls");
            nanos += self.rng.below(3_000_000_000);
        }
        self.schedule.after(nanos, Event::Written { life });
    }

    pub(super) fn on_written(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = Life { node: id, life: node.life };
        let done = node.disk.finish(&mut self.rng, None);
        for done in done {
            let Ticket { partition, token } = done.ticket;
            let result = done.result;
            if self.happens(self.options.scenario.twice) {
                self.coverage.fault("completion of a write comes twice");
                let result = result.clone();
                let nanos = self.rng.below(2_000_000);
                self.schedule.after(nanos, Event::Stored { life, partition, token, result });
            }
            let nanos = self.rng.below(100_000);
            self.schedule.after(nanos, Event::Stored { life, partition, token, result });
        }
        self.begin_write(id);
    }

    /// Whether something of this many chances in 10,000 happens.
    pub(super) fn happens(&mut self, chances: u64) -> bool {
        !self.healed && chances > 0 && self.rng.chance(chances, 10_000)
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| *until > self.schedule.now())
    }

    pub(super) fn send(&mut self, from: NodeId, to: NodeId, packet: Packet) {
        if self.is_cut(from, to) {
            return;
        }
        let scenario = self.options.scenario;
        if self.happens(scenario.loss) {
            self.coverage.fault("message is lost");
            return;
        }
        let mut nanos = 20_000 + self.rng.below(200_000);
        if self.happens(scenario.late) {
            self.coverage.fault("message comes late");
            nanos += self.rng.below(1_500_000_000);
        }
        if self.happens(scenario.twice) {
            self.coverage.fault("message comes twice");
            let again = nanos + self.rng.below(800_000_000);
            let packet = packet.clone();
            self.schedule.after(again, Event::Packet { to, from, packet });
        }
        self.schedule.after(nanos, Event::Packet { to, from, packet });
    }

    /// The token of a request: seats need none.
    pub(super) fn ask_seat(&mut self, id: NodeId, origin: u64, request: dds::Request) {
        let partition = request.partition(&self.registry.map.dp_map());
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
fn say(line: &str) {
    eprintln!("{}", line.chars().take(400).collect::<String>());
}
