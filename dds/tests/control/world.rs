//! A small deterministic world of control machines: a network that delays, drops, doubles, overtakes and cuts; disks that forget what
//! was not stored at a crash, refuse and stall; nodes that crash, start again, join and lose their disks. What must always be
//! true is checked after every step.

use crate::map_commands::{settings, site};
use dds::cluster::{
    ClusterMap, Command, Delta, GroupChange, Incarnation, NodeId, Session, Start, Verdict,
    encode_map, invariant_sound,
};
use dds::control::{Boot, Config, Control, Effect, Event, Input, Limits};
use dds::memory_store::Faults;
use dds::{
    Durability, Group, GroupVersion, MemoryStore, PartitionId, Read, Store, StoreError, Tier,
};
use fsm::{Budget, Digest, Host, Machine, Mono, Rng, Stepped, TimerKey, TimerOp, Token, Wall};
use std::collections::{BTreeMap, BTreeSet};

pub const MS: u64 = 1_000_000;
pub const PARTITIONS: u16 = 8;
const PING_EVERY: u64 = 200 * MS;
const REPLICA_EVERY: u64 = 120 * MS;

#[derive(Debug)]
enum Happening {
    Deliver { to: NodeId, from: NodeId, bytes: bytes::Bytes },
    Heard { to: NodeId, from: NodeId, session: Session },
    Stored { node: NodeId, life: u64, token: Token, group: Group },
    Read { node: NodeId, life: u64, token: Token, read: Read },
    Timer { node: NodeId, life: u64, key: TimerKey, at: u64 },
    Ping { node: NodeId, life: u64 },
    Replicas { node: NodeId, life: u64 },
    Start { node: NodeId },
}

impl Happening {
    /// Where it happens.
    fn node(&self) -> NodeId {
        match self {
            Self::Deliver { to, .. } | Self::Heard { to, .. } => *to,
            Self::Stored { node, .. }
            | Self::Read { node, .. }
            | Self::Timer { node, .. }
            | Self::Ping { node, .. }
            | Self::Replicas { node, .. }
            | Self::Start { node } => *node,
        }
    }
}

/// Chances in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub drop: u64,
    pub double: u64,
    pub slow: u64,
    pub stall: u64,
    pub refuse: u64,
}

pub struct Node {
    config: Config,
    pub store: MemoryStore,
    host: Host,
    pub machine: Option<Control>,
    life: u64,
    /// The copy of a watcher.
    pub watched: ClusterMap,
    pub session: Session,
    pub leader: Option<NodeId>,
    timers: BTreeMap<u32, u64>,
    writing: Option<Group>,
    asked: BTreeMap<Token, Command>,
    clock: u64,
    /// It does not run before this time.
    paused_until: u64,
    pub old_images: usize,
    pub removed: bool,
    pub events: Vec<Event>,
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    count: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub weather: Weather,
    pub limits: Limits,
    pub trace: Digest,
    leaders: BTreeMap<u64, NodeId>,
    maps: BTreeMap<u64, u64>,
    /// Versions that a primary was told it had reached.
    acknowledged: BTreeMap<PartitionId, GroupVersion>,
    pub verdicts: BTreeMap<&'static str, usize>,
    stepped: Stepped<Effect>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let limits = Limits { log_entries_max: 40, page_entries_max: 7, ..Limits::default() };
        Self {
            rng: Rng::new(seed, 0),
            now: 0,
            happenings: BTreeMap::new(),
            count: 0,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather: Weather::default(),
            limits,
            trace: Digest::default(),
            leaders: BTreeMap::new(),
            maps: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            stepped: Stepped::default(),
        }
    }

    /// A node with an empty disk; the first one founds the cluster.
    pub fn add(&mut self, node: u16) {
        let id = NodeId(node);
        let boot = if node == 1 { Boot::Found(settings(PARTITIONS)) } else { Boot::Join };
        let seed = self.rng.next_u64();
        let config = Config {
            node: id,
            incarnation: Incarnation(self.rng.next_u64()),
            start: Start(0),
            seed,
            site: site(),
            features: 1,
            boot,
            limits: self.limits.clone(),
        };
        let node = Node {
            config,
            store: MemoryStore::new(),
            host: Host::new(seed, 1),
            machine: None,
            life: 0,
            watched: ClusterMap::default(),
            session: Session(0),
            leader: None,
            timers: BTreeMap::new(),
            writing: None,
            asked: BTreeMap::new(),
            clock: self.rng.below(1_000_000 * MS),
            paused_until: 0,
            old_images: 0,
            removed: false,
            events: Vec::new(),
        };
        self.nodes.insert(id, node);
        self.after(0, Happening::Start { node: id });
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// The machine is gone, and what was on its way to the disk may have arrived or not.
    pub fn crash(&mut self, node: NodeId, back_after: u64) {
        let arrived = self.rng.chance(1, 2);
        let Some(known) = self.nodes.get_mut(&node) else { return };
        if known.machine.take().is_none() {
            return;
        }
        known.life += 1;
        known.session = Session(0);
        known.timers.clear();
        known.asked.clear();
        if let Some(group) = known.writing.take().filter(|_| arrived) {
            let _refused = known.store.commit(&[group], Durability::Synced);
        }
        known.store.power_loss(0);
        self.after(back_after, Happening::Start { node });
    }

    /// The node's disk is replaced while the node is down.
    pub fn replace_disk(&mut self, node: NodeId) {
        let incarnation = Incarnation(self.rng.next_u64());
        let known = self.nodes.get_mut(&node).expect("a node of this world");
        assert!(known.machine.is_none(), "disks are replaced in nodes that are down");
        known.store = MemoryStore::new();
        known.config.incarnation = incarnation;
        known.config.boot = Boot::Join;
    }

    /// The disk goes back to an earlier image while the node is down.
    pub fn restore_disk(&mut self, node: NodeId, image: &MemoryStore) {
        let known = self.nodes.get_mut(&node).expect("a node of this world");
        assert!(known.machine.is_none(), "disks are restored in nodes that are down");
        known.store = copy_of(image);
    }

    /// The node goes on with another incarnation, and what its disk has.
    pub fn take_new_incarnation(&mut self, node: NodeId) {
        let incarnation = Incarnation(self.rng.next_u64());
        let known = self.nodes.get_mut(&node).expect("a node of this world");
        known.config.incarnation = incarnation;
    }

    pub fn cut_off(&mut self, node: NodeId) {
        for other in self.ids() {
            if other != node {
                self.cut.insert((node, other));
                self.cut.insert((other, node));
            }
        }
    }

    /// The node does not run for a while; what comes meanwhile waits.
    pub fn pause(&mut self, node: NodeId, duration: u64) {
        let until = self.now + duration;
        self.node(node).paused_until = until;
    }

    pub fn refuse_writes(&mut self, node: NodeId) {
        let commits = vec![StoreError::NoSpace, StoreError::Io("flaky".into())];
        let faults = Faults { commits, ..Faults::default() };
        self.nodes[&node].store.set_faults(faults);
    }

    /// `node` asks for `command`, if it runs.
    pub fn propose(&mut self, node: NodeId, command: Command) {
        self.count += 1;
        let token = Token(self.count);
        let Some(known) = self.nodes.get_mut(&node).filter(|known| known.machine.is_some()) else {
            return;
        };
        known.asked.insert(token, command.clone());
        self.step(node, Input::Propose { from: 7, token, command });
    }

    pub fn run_until(&mut self, until: u64) {
        while let Some(entry) = self.happenings.first_entry() {
            let (at, _) = *entry.key();
            if at > until {
                break;
            }
            let happening = entry.remove();
            self.now = at;
            let paused_until = self.nodes[&happening.node()].paused_until;
            if paused_until > self.now {
                self.after(paused_until - self.now, happening);
            } else {
                self.happen(happening);
            }
        }
        self.now = until;
    }

    /// Runs until `done`; how long it took. Panics when it takes longer than `limit`.
    pub fn run_while_waiting(&mut self, limit: u64, done: impl Fn(&Self) -> bool) -> u64 {
        let begun = self.now;
        while !done(self) {
            assert!(self.now - begun < limit, "not within {} ms: {}", limit / MS, self.report());
            self.run_until(self.now + 20 * MS);
        }
        self.now - begun
    }

    pub fn report(&self) -> String {
        let mut report = String::new();
        for (id, node) in &self.nodes {
            let map = &node.watched;
            let nodes: Vec<_> = map
                .nodes
                .iter()
                .map(|(id, known)| (id.0, known.session.0, known.state, known.draining))
                .collect();
            report += &format!(
                "\n{id:?} alive {} session {:?} leader {:?} removed {} index {} voters {:?} {:?} min {} suggestions {:?} last events {:?}",
                node.machine.is_some(),
                node.session,
                node.leader,
                node.removed,
                node.machine.as_ref().and_then(Control::map).map_or(0, |map| map.index),
                map.voters,
                nodes,
                map.settings.min_in_sync,
                map.suggestions,
                node.events.iter().rev().take(3).collect::<Vec<_>>(),
            );
        }
        let first = self.nodes.values().find(|node| node.machine.is_some());
        for group in first.map(|node| node.watched.groups.clone()).unwrap_or_default() {
            report += &format!("\n{group:?}");
        }
        report
    }

    fn after(&mut self, delay: u64, happening: Happening) {
        self.count += 1;
        self.happenings.insert((self.now + delay, self.count), happening);
    }

    fn is_life(&self, node: NodeId, life: u64) -> bool {
        self.nodes.get(&node).is_some_and(|known| known.life == life && known.machine.is_some())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { to, from, bytes } => {
                if !self.cut.contains(&(from, to)) {
                    self.step(to, Input::Received { from, bytes });
                }
            }
            Happening::Heard { to, from, session } => {
                if !self.cut.contains(&(from, to)) {
                    self.step(to, Input::Heard { node: from, session });
                }
            }
            Happening::Stored { node, life, token, group } if self.is_life(node, life) => {
                let known = self.nodes.get_mut(&node).expect("it is alive");
                known.writing = None;
                let result = known.store.commit(&[group], Durability::Synced);
                self.step(node, Input::Stored { token, result });
            }
            Happening::Read { node, life, token, read } if self.is_life(node, life) => {
                let result = self.nodes[&node].store.read(&read, Tier::Disk);
                self.step(node, Input::ReadDone { token, result });
            }
            Happening::Timer { node, life, key, at } if self.is_life(node, life) => {
                let known = self.nodes.get_mut(&node).expect("it is alive");
                if known.timers.get(&key.0) == Some(&at) {
                    known.timers.remove(&key.0);
                    self.step(node, Input::TimerFired(key));
                }
            }
            Happening::Ping { node, life } if self.is_life(node, life) => self.ping(node, life),
            Happening::Replicas { node, life } if self.is_life(node, life) => {
                self.replicas(node);
                self.after(REPLICA_EVERY, Happening::Replicas { node, life });
            }
            Happening::Stored { .. }
            | Happening::Read { .. }
            | Happening::Timer { .. }
            | Happening::Ping { .. }
            | Happening::Replicas { .. } => {}
            Happening::Start { node } => self.start(node),
        }
    }

    fn start(&mut self, node: NodeId) {
        let start = Start(self.rng.next_u64());
        let known = self.nodes.get_mut(&node).expect("a node of this world");
        if known.machine.is_some() {
            return;
        }
        known.life += 1;
        known.config.start = start;
        known.host = Host::new(start.0, 1);
        known.watched = ClusterMap::default();
        known.machine = Some(Control::new(known.config.clone()));
        let life = known.life;
        self.step(node, Input::Started);
        let skew = self.rng.below(PING_EVERY);
        self.after(skew, Happening::Ping { node, life });
        self.after(skew, Happening::Replicas { node, life });
    }

    fn ping(&mut self, node: NodeId, life: u64) {
        let session = self.nodes[&node].session;
        for to in self.ids() {
            if to != node && !self.rng.chance(self.weather.drop, 1000) {
                let delay = self.delay();
                self.after(delay, Happening::Heard { to, from: node, session });
            }
        }
        self.after(PING_EVERY, Happening::Ping { node, life });
    }

    /// What replicas would do: promote learners, and follow suggestions.
    fn replicas(&mut self, node: NodeId) {
        let known = &self.nodes[&node];
        if known.session == Session(0) {
            return;
        }
        let map = &known.watched;
        let mut asked = Vec::new();
        for (partition, group) in map.partitions().filter(|(_, group)| group.primary == Some(node))
        {
            let learner = group.learners.iter().find(|learner| map.is_up(**learner));
            let promote = learner.map(|&learner| GroupChange::Promote(learner));
            let suggested = map.suggestion(partition).map(|suggestion| suggestion.change);
            if let Some(change) = suggested.or(promote) {
                let (expect, by) = (group.version, node);
                asked.push(Command::ChangeGroup { partition, expect, change, by });
            }
        }
        for command in asked {
            self.propose(node, command);
        }
    }

    fn delay(&mut self) -> u64 {
        if self.rng.chance(self.weather.slow, 1000) {
            self.rng.below(300 * MS)
        } else {
            MS / 10 + self.rng.below(2 * MS)
        }
    }

    fn step(&mut self, node: NodeId, input: Input) {
        let Some(known) = self.nodes.get_mut(&node) else { return };
        let Some(machine) = known.machine.as_mut() else { return };
        let mut stepped = std::mem::take(&mut self.stepped);
        let now = (Mono(self.now + known.clock), Wall(0));
        let index = machine.map().map_or(0, |map| map.index);
        known.host.step(machine, &mut stepped, now, Budget::new(2000), input);
        self.trace.word(self.now);
        self.trace.word(u64::from(node.0));
        machine.digest(&mut self.trace);
        let (life, clock) = (known.life, known.clock);
        self.check(node, index);
        for timer in stepped.timers.drain(..) {
            match timer {
                TimerOp::Arm { key, at } => {
                    let at = at.0 - clock;
                    let known = self.nodes.get_mut(&node).expect("it is alive");
                    known.timers.insert(key.0, at);
                    let delay = at.saturating_sub(self.now);
                    self.after(delay, Happening::Timer { node, life, key, at });
                }
                TimerOp::Cancel { key } => {
                    let known = self.nodes.get_mut(&node).expect("it is alive");
                    known.timers.remove(&key.0);
                }
            }
        }
        for effect in stepped.effects.drain(..) {
            self.carry_out(node, life, effect);
        }
        self.stepped = stepped;
    }

    /// What must be true after every step.
    fn check(&mut self, node: NodeId, index_before: u64) {
        let Some(machine) = &self.nodes[&node].machine else { return };
        if let Some(term) = machine.term_led() {
            let leader = *self.leaders.entry(term).or_insert(node);
            assert_eq!(leader, node, "one leader in term {term}");
        }
        let Some(map) = machine.map().filter(|map| map.index != index_before) else { return };
        let mut digest = Digest::default();
        digest.bytes(&encode_map(map));
        let hash = *self.maps.entry(map.index).or_insert(digest.value());
        assert_eq!(hash, digest.value(), "one map at index {}: {map:?}", map.index);
        invariant_sound(map).unwrap();
    }

    fn carry_out(&mut self, node: NodeId, life: u64, effect: Effect) {
        match effect {
            Effect::Send { to, bytes } => self.send(node, to, &bytes),
            Effect::Store { token, group } => {
                let known = self.nodes.get_mut(&node).expect("it is alive");
                assert!(known.writing.is_none(), "one write at a time");
                known.writing = Some(group.clone());
                if self.rng.chance(self.weather.refuse, 1000) {
                    self.refuse_writes(node);
                }
                let stalls = self.rng.chance(self.weather.stall, 1000);
                let delay = self.rng.below(if stalls { 800 * MS } else { 4 * MS });
                self.after(delay, Happening::Stored { node, life, token, group });
            }
            Effect::Read { token, read } => {
                let delay = self.rng.below(2 * MS);
                self.after(delay, Happening::Read { node, life, token, read });
            }
            Effect::Changed(delta) => self.watch(node, &delta),
            Effect::Decided { from: 7, token, verdict } => self.decided(node, token, verdict),
            Effect::Decided { from, .. } => panic!("an answer to {from}"),
            Effect::Leader(leader) => self.node(node).leader = leader,
            Effect::Registered(session) => self.node(node).session = session,
            Effect::Unregistered => self.node(node).session = Session(0),
            Effect::Removed => self.node(node).removed = true,
            Effect::OldImage => self.node(node).old_images += 1,
            Effect::Stopped(stop) => panic!("{node:?} has stopped: {stop}"),
            Effect::Log(Event::Refused { from, why }) => panic!("{node:?} refused {from:?}: {why}"),
            Effect::Log(event) => self.node(node).events.push(event),
        }
    }

    fn node(&mut self, node: NodeId) -> &mut Node {
        self.nodes.get_mut(&node).expect("a node of this world")
    }

    fn send(&mut self, from: NodeId, to: NodeId, bytes: &bytes::Bytes) {
        let doubled = self.rng.chance(self.weather.double, 1000);
        for _ in 0..=u8::from(doubled) {
            if !self.rng.chance(self.weather.drop, 1000) {
                let delay = self.delay();
                self.after(delay, Happening::Deliver { to, from, bytes: bytes.clone() });
            }
        }
    }

    fn watch(&mut self, node: NodeId, delta: &Delta) {
        let known = self.nodes.get_mut(&node).expect("it is alive");
        assert!(delta.index > known.watched.index, "deltas come in order");
        for (partition, group) in &delta.groups {
            let before = known.watched.version_of(*partition);
            let rose = group.version > before || (delta.whole && group.version == before);
            assert!(rose, "versions rise");
        }
        known.watched.patch(delta);
        let map = known.machine.as_ref().and_then(Control::map).expect("it has a map");
        if map.index == known.watched.index {
            assert_eq!(map.as_watched(), known.watched, "a watcher has the map");
        }
    }

    fn decided(&mut self, node: NodeId, token: Token, verdict: Verdict) {
        let known = self.nodes.get_mut(&node).expect("it is alive");
        let command = known.asked.remove(&token).expect("each is answered once");
        let label = match verdict {
            Verdict::Done => "done",
            Verdict::OldImage => "old image",
            Verdict::Refused(_) => "refused",
            Verdict::Unknown => "unknown",
        };
        *self.verdicts.entry(label).or_default() += 1;
        if let (Verdict::Done, Command::ChangeGroup { partition, expect, .. }) = (verdict, command)
        {
            let version = known.watched.version_of(partition);
            assert!(version > expect, "the delta comes before the verdict");
            let reached = self.acknowledged.entry(partition).or_default();
            *reached = (*reached).max(GroupVersion(expect.0 + 1));
        }
    }

    /// Every acknowledged change is in every map.
    pub fn check_acknowledged(&self) {
        for node in self.nodes.values().filter(|node| node.machine.is_some()) {
            for (&partition, &version) in &self.acknowledged {
                assert!(node.watched.version_of(partition) >= version, "an acknowledged change");
            }
        }
    }

    /// Everybody who runs is registered and has the same map, which is as it should be.
    pub fn is_converged(&self) -> bool {
        let present: Vec<_> = self.nodes.values().filter(|node| !node.removed).collect();
        let Some(first) = present.iter().find_map(|node| node.machine.as_ref()?.map()) else {
            return false;
        };
        let staying = first.nodes.values().filter(|known| !known.draining).count();
        let voters = match first.nodes.len() {
            0..=2 => 1,
            3 | 4 => 3,
            _ => 5,
        };
        let replicas = usize::from(first.settings.replicas).min(staying);
        let settled = first.groups.iter().all(|group| {
            group.primary.is_some() && group.in_sync.len() == replicas && group.learners.is_empty()
        });
        let raised = first.settings.min_in_sync == first.settings.min_in_sync_wanted;
        settled
            && (raised || replicas < 2)
            && first.suggestions.is_empty()
            && first.nodes.len() == present.len()
            && first.voters.len() == voters
            && present.iter().all(|node| {
                let map = node.machine.as_ref().and_then(Control::map);
                node.session > Session(0)
                    && node.leader.is_some()
                    && map.is_some_and(|map| map.index == first.index)
            })
    }
}

/// Another disk with the same content.
pub fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    let put = |(column, key, value)| dds::StoreOp::Put { column, key, value };
    let ops: Vec<_> = store.durable().into_iter().map(put).collect();
    let chain = dds::Chain::Starts;
    let partition = dds::control::CONTROL;
    let group = Group { partition, ops, bytes: 0, frees_space: true, chain };
    copy.commit(&[group], Durability::Synced).expect("an empty store takes it");
    copy
}
