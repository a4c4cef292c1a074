//! Steps of the control and links machines of a node, its disk and its wires.

use super::node::{Owner, Running, Slot};
use super::reports::heat_limits;
use super::seats::say;
use super::{Cluster, ClusterMutation, Event, Life, Packet};
use crate::disk::Job;
use dds::cluster::{
    ClusterMap, Command, Delta, GroupChange, NodeId, NodeState, Session, Site, Start, Verdict,
};
use dds::control::{self, Boot, CONTROL, Config, Control};
use dds::fills::{self, Fills};
use dds::links::{self, Links};
use dds::replica::View;
use dds::scrub::{self, Pacer};
use dds::seat::{self, Seat};
use dds::{Durability, GroupVersion, Leases, PartitionId};
use fsm::{Budget, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use std::collections::BTreeMap;
use std::sync::Arc;
use vspace::{GroupId, Ticket};

impl Cluster {
    pub(super) fn start(&mut self, id: NodeId) {
        let start = Start(self.rng.next_u64());
        let (seed, now) = (self.rng.next_u64(), self.schedule.now());
        let pacer = Pacer::new(self.scrub_limits());
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.running.is_some() {
            return;
        }
        node.life += 1;
        let founds = id == NodeId(1) && !std::mem::replace(&mut node.has_run, true);
        let boot = if founds { Boot::Found(self.options.scenario.settings()) } else { Boot::Join };
        let control = Control::new(Config {
            node: id,
            incarnation: node.incarnation,
            start,
            seed,
            site: Site { weight: 100, ..Site::default() },
            features: dds::cluster::PLACES,
            boot,
            limits: control::Limits {
                heat: heat_limits(self.options.mutation, self.options.scenario.heat),
                ..control::Limits::default()
            },
        });
        let links = Links::new(id, links::Limits::default(), node.mono(now));
        let seats = (0..self.options.scenario.partitions).map(|number| {
            let id_of = PartitionId(number);
            let limits = (Arc::clone(&self.limits.0), Arc::clone(&self.limits.1));
            let machine = Seat::new(id, id_of, limits, seed);
            (id_of, Slot { machine, host: Host::new(seed, 1 << 32 | u64::from(number)) })
        });
        let mut running = Running {
            start,
            pacer: Slot { machine: pacer, host: Host::new(seed, 1 << 42) },
            control: Slot { machine: control, host: Host::new(seed, 1 << 41) },
            links: Slot { machine: links, host: Host::new(seed, 1 << 40) },
            fills: Slot {
                machine: Fills::new(super::fills::limits()),
                host: Host::new(seed, 1 << 42),
            },
            seats: seats.collect(),
            leases: Leases::default(),
            map: ClusterMap::default(),
            registered: false,
            asks: BTreeMap::new(),
            work: BTreeMap::new(),
            exhausted: Arc::default(),
            timers: BTreeMap::new(),
        };
        if self.options.mutation == Some(ClusterMutation::ReadWithoutLease) {
            let all = (1..=self.options.scenario.nodes).map(NodeId);
            all.for_each(|other| running.leases.renew(other, Mono(u64::MAX)));
        }
        node.running = Some(running);
        let life = Life { node: id, life: node.life };
        self.step_control(id, control::Input::Started);
        self.schedule.after(0, Event::Follow { life });
        if self.options.scenario.reports() {
            self.schedule.after(0, Event::Report { life });
        }
    }

    /// Looks at what the map suggests; a node without a map asks to be let in.
    pub(super) fn on_follow(&mut self, life: Life) {
        let again = 50_000_000 + self.rng.below(100_000_000);
        self.schedule.after(again, Event::Follow { life });
        let id = life.node;
        let node = self.nodes.get(&id);
        let Some(running) = node.and_then(|node| node.running.as_ref()) else { return };
        if !running.map.is_founded() {
            let contact = self.some_node();
            if contact != id && !self.is_cut(contact, id) {
                let session = Session(0);
                self.step_control(id, control::Input::Heard { node: contact, session });
            }
            return;
        }
        let suggested = running.map.suggestions.values();
        let mine = suggested.filter(|suggestion| {
            let group = running.map.group(suggestion.partition);
            group.is_some_and(|group| group.primary == Some(id))
        });
        for suggestion in mine.copied().collect::<Vec<_>>() {
            let input = seat::Input::Suggested(suggestion.change);
            self.step_seat(id, suggestion.partition, input);
        }
    }

    pub(super) fn step_control(&mut self, id: NodeId, input: control::Input) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = Life { node: id, life: node.life };
        let mono = node.mono(now);
        let Some(running) = &mut node.running else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let slot = &mut running.control;
        let budget = Budget::new(2_000);
        slot.host.step(&mut slot.machine, &mut stepped, (mono, Wall(0)), budget, input);
        slot.machine.digest(&mut self.trace);
        self.arm(id, Owner::Control, &stepped.timers);
        for effect in stepped.effects {
            if self.lives(life) {
                let told = matches!(effect, control::Effect::Log(_) | control::Effect::OldImage);
                if self.options.watch.is_some() && told {
                    say(&format!("{now} {id:?} {effect:?}"));
                }
                self.on_control_effect(life, effect);
            }
        }
    }

    fn on_control_effect(&mut self, life: Life, effect: control::Effect) {
        use control::Effect;
        let (id, partition) = (life.node, CONTROL);
        match effect {
            Effect::Send { to, bytes } => self.send(id, to, Packet::Control(bytes)),
            Effect::Store { token, group } => {
                let (ticket, from) = (Ticket { partition, token }, GroupId(0));
                let (queued, durability) = (self.schedule.now(), Durability::Synced);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.disk.submit(Job { from, ticket, queued, group, durability });
                }
                self.begin_write(id);
            }
            Effect::Read { token, read } => {
                let nanos = self.rng.below(300_000);
                self.schedule.after(nanos, Event::Read { life, partition, token, read });
            }
            Effect::Changed(delta) => self.on_changed(id, &delta),
            Effect::Decided { from: _, token, verdict } => self.on_decided(id, token, verdict),
            Effect::Registered(session) => self.on_registered(id, session),
            Effect::Unregistered => self.step_links(id, links::Input::RunIs(None)),
            Effect::OldImage => {
                self.coverage.action("old image is noticed");
                self.wipe(id);
            }
            Effect::Removed | Effect::Stopped(_) => {
                self.coverage.action("control machine stops");
                self.crash(id, crate::disk::End::Killed);
                self.restart_later(id);
            }
            Effect::Log(control::Event::Relieving(relief)) => self.on_relief(id, relief),
            Effect::Leader(_) | Effect::Log(_) => {}
        }
    }

    fn on_changed(&mut self, id: NodeId, delta: &Delta) {
        let node = self.nodes.get_mut(&id);
        let Some(running) = node.and_then(|node| node.running.as_mut()) else { return };
        let before = running.map.clone();
        running.map.patch(delta);
        if running.map.index > self.map.index {
            let newest = running.map.clone();
            let older = std::mem::replace(&mut self.map, newest);
            self.follow_reliefs(&older);
        }
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        if running.registered {
            self.tell(id, &before, false);
        }
    }

    /// The map knows of this run: from here on what it says of groups is no word of before.
    fn on_registered(&mut self, id: NodeId, session: Session) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.session = session;
        if std::mem::take(&mut node.fresh) {
            // The control group takes it in now.
            self.disk_lost_at = self.schedule.now();
        }
        let Some(running) = &mut node.running else { return };
        let run = links::Run { session, start: running.start };
        let first = !std::mem::replace(&mut running.registered, true);
        self.step_links(id, links::Input::RunIs(Some(run)));
        if first {
            self.tell(id, &ClusterMap::default(), true);
            self.begin_scrubs(id);
        }
    }

    /// Tells the machines of a node what is new in its copy of the map.
    fn tell(&mut self, id: NodeId, before: &dds::cluster::ClusterMap, first: bool) {
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        let map = running.map.clone();
        if first || before.nodes != map.nodes {
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
        let exhausted = Arc::clone(&running.exhausted);
        let restarted: Vec<NodeId> = map
            .nodes
            .iter()
            .filter(|(node, known)| {
                before.node(**node).is_some_and(|before| before.session != known.session)
            })
            .map(|(node, _)| *node)
            .collect();
        let wanted = usize::from(map.settings.replicas).min(map.nodes.len());
        let settings = first || before.settings != map.settings || before.nodes != map.nodes;
        for (partition, group) in map.partitions() {
            if settings || before.group(partition) != Some(group) {
                let mut min_in_sync = map.min_in_sync();
                if self.options.mutation == Some(ClusterMutation::BelowMin) {
                    min_in_sync = 1;
                }
                let (group, exhausted) = (group.clone(), Arc::clone(&exhausted));
                let view = View { group, min_in_sync, wanted, fence_at, exhausted };
                self.step_seat(id, partition, seat::Input::GroupIs(view));
                self.release(id, partition);
            }
            for node in restarted.iter().copied().filter(|node| group.is_member(*node)) {
                self.step_seat(id, partition, seat::Input::Restarted { node });
            }
            let suggested = map.suggestion(partition).filter(|_| group.primary == Some(id));
            if let Some(suggestion) = suggested {
                self.step_seat(id, partition, seat::Input::Suggested(suggestion.change));
            }
        }
    }

    /// Tells the seats of a node anew what they are told beside the map.
    pub(super) fn tell_views(&mut self, id: NodeId) {
        let Some(running) = self.nodes.get(&id).and_then(|node| node.running.as_ref()) else {
            return;
        };
        if running.registered {
            let mut before = running.map.clone();
            before.settings = dds::cluster::Settings::default();
            self.tell(id, &before, false);
        }
    }

    /// A seat asks the map for a change.
    pub(super) fn on_change(
        &mut self,
        life: Life,
        partition: PartitionId,
        (expect, change): (GroupVersion, GroupChange),
    ) {
        self.asked += 1;
        let token = Token(self.asked);
        let node = self.nodes.get_mut(&life.node);
        let Some(running) = node.and_then(|node| node.running.as_mut()) else { return };
        running.asks.insert(token, (partition, expect, change));
        let by = life.node;
        let command = Command::ChangeGroup { partition, expect, change, by };
        self.step_control(life.node, control::Input::Propose { from: 0, token, command });
    }

    fn on_decided(&mut self, id: NodeId, token: Token, verdict: Verdict) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let life = Life { node: id, life: node.life };
        let Some(running) = &mut node.running else { return };
        let Some((partition, expect, change)) = running.asks.remove(&token) else { return };
        self.coverage.action(match (change, verdict) {
            (_, Verdict::Unknown) => "change: unknown",
            (_, Verdict::Refused(_) | Verdict::OldImage) => "change is refused",
            (GroupChange::Remove(_), Verdict::Done) => "member is removed",
            (GroupChange::Expel(_), Verdict::Done) => "member is expelled",
            (GroupChange::AddLearner(_), Verdict::Done) => "learner is added",
            (GroupChange::Promote(_), Verdict::Done) => "learner is promoted",
            (GroupChange::HandOver(_), Verdict::Done) => "primary hands over",
            (GroupChange::StepDown, Verdict::Done) => "primary steps down",
            (GroupChange::Resign, Verdict::Done) => "primary resigns",
        });
        match (verdict, change) {
            (Verdict::Refused(_), _) => {
                let input = seat::Input::ChangeRefused { expect, change };
                self.step_seat(id, partition, input);
            }
            (Verdict::Done, GroupChange::AddLearner(learner))
                if self.options.mutation == Some(ClusterMutation::PromoteEarly) =>
            {
                let expect = GroupVersion(expect.0 + 1);
                self.on_change(life, partition, (expect, GroupChange::Promote(learner)));
            }
            (Verdict::Done | Verdict::OldImage | Verdict::Unknown, _) => {}
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
            Packet::Control(bytes) => {
                self.step_control(to, control::Input::Received { from, bytes });
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
            Owner::Control => self.step_control(life.node, control::Input::TimerFired(key)),
            Owner::Fills => self.step_fills(life.node, fills::Input::TimerFired(key)),
            Owner::Links => self.step_links(life.node, links::Input::TimerFired(key)),
            Owner::Pacer => self.step_pacer(life.node, scrub::Input::TimerFired(key)),
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
                links::Effect::Heard { node, run } => {
                    let session = run.session;
                    self.step_control(id, control::Input::Heard { node, session });
                }
                links::Effect::Reported { node, report } => self.on_reported(id, (node, report)),
                links::Effect::Silent { node: silent } => self.on_silent(id, silent),
            }
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

    pub(super) fn arm(&mut self, id: NodeId, owner: Owner, ops: &[TimerOp]) {
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
        let control = matches!(packet, Packet::Control(_));
        if self.is_cut(from, to) || (control && self.schedule.now() < self.control_gone_until) {
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
}
