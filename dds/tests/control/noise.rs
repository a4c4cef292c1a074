//! A member that is told anything at all: it refuses, or believes, but it does not panic.

use crate::map_commands::{add, found, register, settings, site};
use dds::cluster::{ClusterMap, Incarnation, NodeId, Session, Start, encode_map};
use dds::control::{Boot, Config, Control, Effect, Event, Input, Limits, MemberId};
use dds::{Durability, Group, MemoryStore, Store, Tier};
use fsm::{Budget, Host, Mono, Rng, Stepped, TimerOp, Token, Wall};
use prost::Message;
use proto::cluster as wire;
use wire::control_message::Body;

const ME: NodeId = NodeId(1);

/// One member, driven by hand.
pub struct Member {
    machine: Control,
    host: Host,
    pub store: MemoryStore,
    now: u64,
    writing: Vec<(Token, Group)>,
    pub refused: usize,
    led: usize,
    /// What a sound member would answer.
    answers: Vec<wire::RaftMessage>,
    installed: usize,
    /// The last numbers it has sent, so that noise is near the truth.
    term: u64,
    index: u64,
}

impl Member {
    pub fn new(seed: u64, boot: Boot, store: MemoryStore) -> Self {
        let config = Config {
            node: ME,
            incarnation: Incarnation(1),
            start: Start(seed),
            seed,
            site: site(),
            features: 1,
            boot,
            limits: Limits { log_entries_max: 30, ..Limits::default() },
        };
        let (machine, host) = (Control::new(config), Host::new(seed, 1));
        let mut member = Self {
            machine,
            host,
            store,
            now: 0,
            writing: Vec::new(),
            refused: 0,
            answers: Vec::new(),
            led: 0,
            installed: 0,
            term: 1,
            index: 1,
        };
        member.step(Input::Started);
        member
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut stepped = Stepped::default();
            let now = (Mono(self.now), Wall(0));
            self.host.step(&mut self.machine, &mut stepped, now, Budget::new(2000), input);
            for timer in stepped.timers {
                assert!(matches!(timer, TimerOp::Arm { .. }));
            }
            for effect in stepped.effects {
                match effect {
                    Effect::Read { token, read } => {
                        let result = self.store.read(&read, Tier::Disk);
                        inputs.push(Input::ReadDone { token, result });
                    }
                    Effect::Store { token, group } => self.writing.push((token, group)),
                    Effect::Send { bytes, .. } => self.learn(&bytes),
                    Effect::Stopped(stop) => panic!("{stop}"),
                    Effect::Log(Event::Refused { .. }) => self.refused += 1,
                    Effect::Log(Event::Leading { .. }) => self.led += 1,
                    Effect::Log(Event::Installed { .. }) => self.installed += 1,
                    Effect::Changed(_)
                    | Effect::Decided { .. }
                    | Effect::Leader(_)
                    | Effect::Registered(_)
                    | Effect::Unregistered
                    | Effect::Removed
                    | Effect::OldImage
                    | Effect::Log(_) => {}
                }
            }
        }
    }

    fn learn(&mut self, bytes: &[u8]) {
        let message = wire::ControlMessage::decode(bytes).expect("it says nothing malformed");
        if let Some(Body::Raft(message)) = message.body {
            self.term = self.term.max(message.term);
            self.index = self.index.max(message.index + message.entries.len() as u64);
            self.answers.extend(answer(&message));
        }
    }

    pub fn write(&mut self) {
        for (token, group) in std::mem::take(&mut self.writing) {
            let result = self.store.commit(&[group], Durability::Synced);
            self.step(Input::Stored { token, result });
        }
    }
}

fn member_id(node: u16) -> u64 {
    MemberId::new(NodeId(node), Incarnation(u64::from(node))).0
}

/// A disk of node 1, in a cluster whose voters are the nodes 1 to 3.
fn disk_of_a_voter() -> MemoryStore {
    let store = MemoryStore::new();
    let mut member = Member::new(5, Boot::Join, store);
    member.write();
    let snapshot = snapshot(20, 3);
    member.term = 3;
    let message = wire::RaftMessage {
        msg_type: wire::MessageType::Snapshot.into(),
        to: member_id(1),
        from: member_id(2),
        term: 3,
        snapshot: Some(snapshot),
        ..wire::RaftMessage::default()
    };
    let bytes = wire::ControlMessage { body: Some(Body::Raft(message)) }.encode_to_vec();
    member.step(Input::Received { from: NodeId(2), bytes: bytes.into() });
    member.write();
    member.write();
    assert_eq!(member.machine.map().map(|map| map.index), Some(20));
    member.store
}

fn snapshot(index: u64, term: u64) -> wire::Snapshot {
    let mut map = ClusterMap::default();
    map.apply(1, &found(4));
    for node in 2..=3 {
        map.apply(2, &add(node));
        map.apply(3, &register(node, 1, 9));
    }
    map.skip(index);
    let voters = (1..=3).map(member_id).collect();
    let conf_state = Some(wire::ConfState { voters, ..wire::ConfState::default() });
    let metadata = Some(wire::SnapshotMetadata { conf_state, index, term });
    wire::Snapshot { data: encode_map(&map), metadata }
}

/// Votes for whoever asks, and takes whatever is sent.
fn answer(message: &wire::RaftMessage) -> Option<wire::RaftMessage> {
    use wire::MessageType as Kind;
    let kind = match message.msg_type() {
        Kind::RequestVote => Kind::RequestVoteResponse,
        Kind::RequestPreVote => Kind::RequestPreVoteResponse,
        Kind::Append => Kind::AppendResponse,
        Kind::Heartbeat => Kind::HeartbeatResponse,
        _ => return None,
    };
    let index = match kind {
        Kind::AppendResponse => message.index + message.entries.len() as u64,
        _ => 0,
    };
    Some(wire::RaftMessage {
        msg_type: kind.into(),
        to: message.from,
        from: message.to,
        term: message.term,
        index,
        ..wire::RaftMessage::default()
    })
}

/// A number near `near`, or none at all.
fn about(rng: &mut Rng, near: u64) -> u64 {
    match rng.below(150) {
        0 => 0,
        1 => rng.next_u64(),
        2 => u64::MAX,
        _ => (near + 3).saturating_sub(rng.below(6)),
    }
}

fn noise(rng: &mut Rng, member: &Member) -> wire::RaftMessage {
    let (term, index) = (member.term, member.index);
    let entries_count = rng.below(4);
    let first = about(rng, index);
    let entry_term = about(rng, term);
    let entries = (0..entries_count).map(|at| wire::Entry {
        entry_type: rng.below(3) as i32,
        term: entry_term,
        index: first.wrapping_add(at + u64::from(!rng.chance(1, 20))),
        data: vec![rng.below(256) as u8; rng.below(9) as usize].into(),
        context: bytes::Bytes::new(),
    });
    let entries: Vec<_> = entries.collect();
    let kind = rng.below(20) as i32;
    let has_snapshot = kind == 7 && rng.chance(9, 10);
    let has_entries = kind == 3 || rng.chance(1, 30);
    let snapshot = has_snapshot.then(|| snapshot(about(rng, index), about(rng, term)));
    let transfers = kind == 5 && rng.chance(1, 3);
    wire::RaftMessage {
        msg_type: kind,
        to: member_id(1),
        from: member_id(2 + rng.below(3) as u16),
        term: about(rng, term),
        log_term: about(rng, term),
        index: first,
        entries: if has_entries { entries } else { Vec::new() },
        commit: about(rng, index),
        commit_term: about(rng, term),
        snapshot,
        request_snapshot: u64::from(rng.chance(1, 50)),
        reject: rng.chance(1, 2),
        reject_hint: about(rng, index),
        context: bytes::Bytes::from_static(if transfers { b"CampaignTransfer" } else { b"" }),
    }
}

#[test]
fn noise_in_the_name_of_members_is_survived() {
    let disk = disk_of_a_voter();
    let (mut sent, mut refused, mut led, mut installed) = (0, 0, 0, 0);
    for seed in 0..400 {
        let mut rng = Rng::new(seed, 3);
        let store = crate::world::copy_of(&disk);
        let mut member = Member::new(seed, Boot::Join, store);
        member.term = 3;
        member.index = 20;
        for _ in 0..300 {
            member.now += 10_000_000;
            match rng.below(12) {
                0 | 10 | 11 => member.step(Input::TimerFired(fsm::TimerKey(1))),
                1 => member.step(Input::TimerFired(fsm::TimerKey(2))),
                2 | 3 => member.write(),
                4 => {
                    let node = NodeId(2 + rng.below(3) as u16);
                    member.step(Input::Heard { node, session: Session(rng.below(3)) });
                }
                kind => {
                    let answer = if kind == 5 { member.answers.pop() } else { None };
                    let message = answer.unwrap_or_else(|| noise(&mut rng, &member));
                    let from = MemberId(message.from).node();
                    let message = wire::ControlMessage { body: Some(Body::Raft(message)) };
                    let bytes = message.encode_to_vec().into();
                    member.step(Input::Received { from, bytes });
                    sent += 1;
                }
            }
        }
        refused += member.refused;
        led += member.led;
        installed += member.installed;
    }
    assert!(refused > sent / 4 && refused < sent * 3 / 4, "{refused} of {sent}");
    assert!(led > 100 && installed > 100, "{led} {installed}");
}

#[test]
fn bytes_of_any_kind_are_survived() {
    let mut member = Member::new(1, Boot::Found(settings(4)), MemoryStore::new());
    member.write();
    let mut rng = Rng::new(9, 9);
    for _ in 0..20_000 {
        let len = rng.below(60) as usize;
        let bytes: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        member.step(Input::Received { from: NodeId(2), bytes: bytes.into() });
        member.step(Input::Stored { token: Token(rng.below(9)), result: Ok(()) });
        member.write();
    }
}
