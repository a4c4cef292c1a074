//! The replica machine by itself: inputs in, effects compared. Node 1 is the replica, node 2 a peer of few words.

use bytes::{Bytes, BytesMut};
use dds::cluster::{GroupChange, NodeId, ReplicaGroup};
use dds::fills::Word;
use dds::layout::{self, PartitionRecord, ReplicaRecord};
use dds::replica::{
    Body, Effect, Entry, Input, Limits, Mark, Message, Page, Replica, Round, Seen, Stand, View,
};
use dds::scrub::{Passed, Step, Trouble};
use dds::{
    Chain, Column, Durability, Group, GroupVersion, MemoryStore, PartitionId, Store, StoreError,
    StoreOp, Tier,
};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, Token, Wall};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const PARTITION: PartitionId = PartitionId(7);

struct Bench {
    replica: Replica,
    host: Host,
    store: MemoryStore,
    millis: u64,
    round: Round,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let replica = Replica::new(ME, PARTITION, Arc::new(limits));
        let (host, store) = (Host::new(1, 1), MemoryStore::new());
        Self { replica, host, store, millis: 0, round: Round(0) }
    }

    /// Steps until the store has answered everything; what went elsewhere.
    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut inputs = VecDeque::from([input]);
        let mut told = Vec::new();
        while let Some(input) = inputs.pop_front() {
            let mut stepped = Stepped::default();
            let now = (Mono(self.millis * 1_000_000), Wall(0));
            self.host.step(&mut self.replica, &mut stepped, now, Budget::new(1000), input);
            for effect in stepped.effects {
                match effect {
                    Effect::Store { token, group, durability } => {
                        let result = self.store.commit(&[group], durability);
                        inputs.push_back(Input::Stored { token, result });
                    }
                    Effect::Read { token, read } => {
                        let result = self.store.read(&read, Tier::Disk);
                        inputs.push_back(Input::ReadDone { token, result });
                    }
                    other => told.push(other),
                }
            }
        }
        for effect in &told {
            if let Effect::Send { message: Message { round, body: Body::Join, .. }, .. } = effect {
                self.round = *round;
            }
        }
        told
    }

    /// The primary of a group of two.
    fn leads(&mut self, min_in_sync: usize) -> Vec<Effect> {
        self.leads_with(&[ME, PEER], min_in_sync, &[])
    }

    /// The primary of a group of these, of which some have no space.
    fn leads_with(
        &mut self,
        in_sync: &[NodeId],
        min_in_sync: usize,
        exhausted: &[NodeId],
    ) -> Vec<Effect> {
        self.step(Input::GroupIs(view(in_sync, min_in_sync, exhausted)))
    }

    /// A learner of a group that the peer leads.
    fn learns(&mut self) {
        let group = ReplicaGroup {
            version: GroupVersion(3),
            primary: Some(PEER),
            in_sync: vec![PEER],
            learners: vec![ME],
            candidates: vec![PEER],
            consented: true,
        };
        let view =
            View { group, min_in_sync: 1, wanted: 2, fence_at: Mono(0), exhausted: Arc::default() };
        self.step(Input::GroupIs(view));
        self.round = Round(5);
        assert!(matches!(bodies(&self.hears(Body::Join))[..], [Body::Stand(_)]));
    }

    fn hears_from(&mut self, from: NodeId, body: Body) -> Vec<Effect> {
        let message = Message { version: GroupVersion(3), round: self.round, body };
        self.step(Input::Received { from, message })
    }

    fn hears(&mut self, body: Body) -> Vec<Effect> {
        let message = Message { version: GroupVersion(3), round: self.round, body };
        self.step(Input::Received { from: PEER, message })
    }

    fn stands(&mut self) -> Vec<Effect> {
        self.hears(standing())
    }

    fn propose(&mut self) -> Vec<Effect> {
        self.step(Input::Propose { token: Token(9), group: group() })
    }

    fn refuses(&mut self, change: GroupChange) -> Vec<Effect> {
        self.step(Input::ChangeRefused { expect: GroupVersion(3), change })
    }

    fn answers(&self) -> bool {
        self.replica.answers().is_some()
    }
}

/// Of a group of these, which this replica leads, and which shall be two.
fn view(in_sync: &[NodeId], min_in_sync: usize, exhausted: &[NodeId]) -> View {
    let group = ReplicaGroup {
        version: GroupVersion(3),
        primary: Some(ME),
        in_sync: in_sync.to_vec(),
        learners: Vec::new(),
        candidates: in_sync.to_vec(),
        consented: true,
    };
    let exhausted: BTreeSet<NodeId> = exhausted.iter().copied().collect();
    View { group, min_in_sync, wanted: 2, fence_at: Mono(0), exhausted: Arc::new(exhausted) }
}

/// Of a member with nothing.
fn standing() -> Body {
    let nothing = Mark::default();
    Body::Stand(Stand { last: nothing, applied: nothing, whole: true, filling: None })
}

/// What became of the group that was proposed, if that is known.
fn outcome(effects: &[Effect]) -> Option<Result<(), StoreError>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Decided { result, .. } => Some(result.clone()),
        _ => None,
    })
}

/// The first group of a partition.
fn group() -> Group {
    let mut value = BytesMut::new();
    PartitionRecord { version: GroupVersion(3), number: 1, hash: 11 }.encode(&mut value);
    let put = |column, key, value| StoreOp::Put { column, key, value };
    let ops = vec![
        put(Column::Meta, Bytes::from_static(b"\0\x07\x01rk"), Bytes::from_static(b"value")),
        put(Column::Log, layout::partition_key(PARTITION), value.freeze()),
    ];
    Group { partition: PARTITION, ops, bytes: 40, frees_space: false, chain: Chain::Starts }
}

/// What went to the peer.
fn bodies(effects: &[Effect]) -> Vec<Body> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to: PEER, message } => Some(message.body.clone()),
        _ => None,
    });
    sent.collect()
}

fn fills(effects: &[Effect]) -> Vec<Word> {
    let words = effects.iter().filter_map(|effect| match effect {
        Effect::Fill(word) => Some(*word),
        _ => None,
    });
    words.collect()
}

fn asks(effects: &[Effect]) -> Vec<GroupChange> {
    let changes = effects.iter().filter_map(|effect| match effect {
        Effect::Ask { change, .. } => Some(*change),
        _ => None,
    });
    changes.collect()
}

#[test]
fn a_group_is_decided_when_every_member_has_it() {
    let mut bench = Bench::new();
    assert!(!bench.leads(2).contains(&Effect::Serve));
    assert!(bench.stands().contains(&Effect::Serve));
    assert!(bench.answers());
    let decided = Effect::Decided { token: Token(9), result: Ok(()) };
    let sent = bench.propose();
    assert!(!sent.contains(&decided), "{sent:?}");
    assert!(matches!(
        sent[..],
        [Effect::Send { message: Message { body: Body::Append { .. }, .. }, .. }]
    ));
    assert_eq!(bench.hears(Body::Appended { through: 1, decided: 0 }), [decided]);
}

#[test]
fn below_the_least_set_nothing_is_taken() {
    let mut bench = Bench::new();
    bench.leads(3);
    bench.stands();
    let told = bench.propose();
    assert!(matches!(told[..], [Effect::Decided { result: Err(_), .. }]), "{told:?}");
}

#[test]
fn who_asked_to_hand_over_waits_for_the_answer_to_that() {
    let mut bench = Bench::new();
    bench.leads(2);
    bench.stands();
    let hand_over = GroupChange::HandOver(PEER);
    assert_eq!(asks(&bench.step(Input::Suggested(hand_over))), [hand_over]);
    assert!(!bench.answers());
    // However long it takes, and whatever else is wrong or refused.
    bench.millis = 700;
    assert_eq!(asks(&bench.step(Input::Silent { node: PEER })), []);
    bench.refuses(GroupChange::Remove(PEER));
    assert!(!bench.answers());
    assert_eq!(asks(&bench.step(Input::TimerFired(TimerKey(1)))), [hand_over]);
    assert!(!bench.answers());
    bench.refuses(hand_over);
    assert!(bench.answers());
}

#[test]
fn a_copy_under_construction_never_leads() {
    let mut bench = Bench::new();
    let record = ReplicaRecord { joined: GroupVersion(2), whole: false, ..Default::default() };
    let key = layout::replica_key(PARTITION);
    let ops = vec![StoreOp::Put { column: Column::Log, key, value: record.encode() }];
    bench.store.commit(&[Group { ops, ..group() }], Durability::Synced).expect("room");
    let told = bench.leads(2);
    assert_eq!(asks(&told), [GroupChange::Resign]);
    assert!(!told.contains(&Effect::Serve) && !bench.answers());
}

#[test]
fn a_copy_asks_for_a_page_when_it_is_its_turn() {
    let mut bench = Bench::new();
    bench.learns();
    let mark = Mark { number: 4, hash: 44 };
    let filled = |index| Body::Filled { mark, index };
    let page = |index, last| {
        let entries = vec![(Column::Meta, Bytes::from_static(b"\0\x07\x01rk"), Bytes::new())];
        Body::Page { mark, page: Page { index, entries, last } }
    };
    let told = bench.hears(Body::Fill { mark });
    assert_eq!((bodies(&told), fills(&told)), (vec![], vec![Word::Wants]));
    // The primary asks after it: it waits.
    assert_eq!(bench.hears(Body::Fill { mark }), []);
    assert_eq!(bodies(&bench.step(Input::PageGranted)), [filled(0)]);
    // What was lost is said again.
    assert_eq!(bodies(&bench.hears(Body::Fill { mark })), [filled(0)]);
    let told = bench.hears(page(0, false));
    assert_eq!((bodies(&told), fills(&told)), (vec![], vec![Word::Came { bytes: 5 }, Word::Wants]));
    // The page comes once more, and finds it waiting.
    assert_eq!(bench.hears(page(0, false)), []);
    assert_eq!(bodies(&bench.step(Input::PageGranted)), [filled(1)]);
    let told = bench.hears(page(1, true));
    assert_eq!(bodies(&told), [filled(2)]);
    assert_eq!(fills(&told), [Word::Came { bytes: 5 }, Word::Ends]);
    assert_eq!(bodies(&bench.hears(Body::Fill { mark })), [filled(2)]);
    // A turn that comes too late goes to the next.
    assert_eq!(fills(&bench.step(Input::PageGranted)), [Word::Ends]);
}

#[test]
fn values_of_a_dropped_tail_are_asked_for_some_at_a_time() {
    let mut bench = Bench::with(Limits { bodies_keys_max: 2, ..Limits::default() });
    bench.learns();
    let key = |number: u32| Bytes::from(vec![0, 7, 1, b'r', 0x80, number.to_le_bytes()[0]]);
    let entry = |number: u32| {
        let ops = vec![StoreOp::Put {
            column: Column::Bodies,
            key: key(number),
            value: Bytes::from_static(b"body"),
        }];
        let (version, frees_space) = (GroupVersion(2), false);
        let (before, hash) = (number - 1, number);
        Arc::new(Entry { version, number: number.into(), before, hash, frees_space, ops })
    };
    bench.hears(Body::Append { entries: (1..=3).map(entry).collect(), decided: 0 });
    let asked = bodies(&bench.hears(Body::DropTail { last: Mark { number: 3, hash: 3 } }));
    let fetch = |keys: &[u32]| Body::FetchBodies { keys: keys.iter().copied().map(key).collect() };
    assert_eq!(asked, [fetch(&[1, 2])]);
    let values = |keys: &[u32]| {
        let before = Bytes::from_static(b"before");
        let value = |number: &u32| (key(*number), (*number != 2).then(|| before.clone()));
        Body::Bodies { values: keys.iter().map(value).collect() }
    };
    assert_eq!(bodies(&bench.hears(values(&[1, 2]))), [fetch(&[3])]);
    assert_eq!(bench.hears(values(&[1, 2])), []);
    let stands = bodies(&bench.hears(values(&[3])));
    let [Body::Stand(stand)] = stands[..] else { panic!("{stands:?}") };
    assert_eq!(stand.last, Mark::default());
    let kept = bench.store.durable().into_iter();
    let kept: Vec<_> = kept.filter(|(column, ..)| *column == Column::Bodies).collect();
    let kept: Vec<_> = kept.iter().map(|(_, key, value)| (key.clone(), &value[..])).collect();
    assert_eq!(kept, [(key(1), &b"before"[..]), (key(3), b"before")]);
}

#[test]
fn entries_that_come_before_their_turn_are_logged_in_order() {
    let mut bench = Bench::new();
    bench.learns();
    let entry = |number: u32, before: u32| {
        let (version, frees_space, ops) = (GroupVersion(2), false, group().ops);
        let (number, hash) = (u64::from(number), 10 + number);
        Arc::new(Entry { version, number, before, hash, frees_space, ops })
    };
    let mut append =
        |entries: Vec<Arc<Entry>>| bodies(&bench.hears(Body::Append { entries, decided: 0 }));
    let appended = |through| [Body::Appended { through, decided: 0 }];
    assert_eq!(append(vec![entry(2, 11), entry(3, 12)]), appended(0));
    // Of another log: it has no place.
    assert_eq!(append(vec![entry(4, 99)]), appended(0));
    assert_eq!(append(vec![entry(1, 0)]), appended(3));
    assert_eq!(append(vec![entry(5, 14)]), appended(3));
    assert_eq!(append(vec![entry(4, 13)]), appended(5));
}

impl Bench {
    /// Leads, with one entry that both have.
    fn serves(&mut self) {
        self.leads(2);
        self.stands();
        self.propose();
        self.hears(Body::Appended { through: 1, decided: 1 });
    }

    /// Scrubs to the end of the partition; the peer answers each slice by what `peer` makes of what was found here. What was
    /// found, and what else was said in the last step.
    fn scrub(&mut self, peer: impl Fn(Column, Seen) -> Seen) -> (Option<Passed>, Vec<Effect>) {
        let mut begins = true;
        loop {
            let told = self.step(Input::Scrub { begins });
            begins = false;
            let slice = told.iter().find_map(|effect| match effect {
                Effect::Send { message: Message { body: Body::Look(slice), .. }, .. } => {
                    Some(slice)
                }
                _ => None,
            });
            let slice = slice.expect("a slice to look at").clone();
            let (_, to) = layout::partition_range(PARTITION);
            let from = Bytes::from([&slice.after[..], &[0]].concat());
            let bytes_max = slice.bytes_max as usize;
            let read = dds::Read::Sum { column: slice.column, from, to, bytes_max };
            let found = match self.store.read(&read, Tier::Disk) {
                Ok(dds::ReadDone::Summed(sum)) => Seen::Sum(sum),
                _ => Seen::Damaged,
            };
            let seen = peer(slice.column, found);
            let told = self.hears(Body::Looked { id: slice.id, seen });
            let step = told.iter().find_map(|effect| match effect {
                Effect::Scrubbed(step) => Some(step.clone()),
                _ => None,
            });
            match step {
                Some(Step::Read { .. }) => {}
                Some(Step::Done(passed)) => return (Some(passed), told),
                Some(Step::Waits | Step::NotLed) => panic!("{told:?}"),
                None => return (None, told),
            }
        }
    }
}

/// What a peer says that holds the same.
fn the_same(column: Column, seen: Seen) -> Seen {
    match column {
        // Its records are its own.
        Column::Log => Seen::Sum(dds::PageSum::default()),
        Column::Meta | Column::Bodies => seen,
    }
}

#[test]
fn equal_copies_are_left_alone() {
    let mut bench = Bench::new();
    bench.serves();
    let (passed, told) = bench.scrub(the_same);
    let passed = passed.expect("done");
    assert_eq!((passed.differences, passed.repairs, passed.undecided), (0, 0, 0));
    assert!(passed.bytes > 0 && passed.findings.is_empty() && !passed.short);
    assert_eq!(asks(&told), []);
}

#[test]
fn a_round_that_lacked_a_copy_says_so() {
    let mut bench = Bench::new();
    bench.serves();
    bench.step(Input::GroupIs(View { wanted: 3, ..view(&[ME, PEER], 2, &[]) }));
    let (passed, _) = bench.scrub(the_same);
    let passed = passed.expect("done");
    assert!(passed.short);
    let mut round = dds::scrub::Round::default();
    round.note(&passed);
    assert_eq!((round.partitions, round.differences, round.unfinished), (1, 0, 1));
}

#[test]
fn of_two_that_differ_neither_is_believed() {
    let mut bench = Bench::new();
    bench.serves();
    let (passed, told) = bench.scrub(|_, _| Seen::Sum(dds::PageSum::of(&[], false)));
    let passed = passed.expect("done");
    assert_eq!((passed.differences, passed.repairs, passed.undecided), (1, 0, 1));
    let found = &passed.findings[0];
    assert_eq!((found.node, found.trouble), (None, Trouble::Undecided));
    assert_eq!(asks(&told), []);
}

#[test]
fn a_member_with_a_wrong_checksum_leaves_after_it_has_noted_that() {
    let mut bench = Bench::new();
    bench.serves();
    let (passed, told) = bench.scrub(|column, seen| match column {
        Column::Meta => Seen::Damaged,
        Column::Bodies | Column::Log => seen,
    });
    assert_eq!(passed, None);
    assert_eq!(asks(&told), []);
    let doubt = |effect: &Effect| {
        matches!(effect, Effect::Send { message: Message { body: Body::Doubt, .. }, .. })
    };
    assert!(told.iter().any(doubt), "{told:?}");
    // Whatever the controller wishes meanwhile: nobody is filled from a set in which somebody is wrong.
    let third = GroupChange::AddLearner(NodeId(3));
    assert_eq!(asks(&bench.step(Input::Suggested(third))), []);
    assert_eq!(asks(&bench.hears(Body::Damaged)), [GroupChange::Expel(PEER)]);
}

#[test]
fn a_primary_with_a_wrong_checksum_notes_that_and_resigns() {
    let mut bench = Bench::new();
    bench.serves();
    let rot = || dds::StoreError::Corrupt("planted".into());
    let reads = vec![rot(), rot()];
    bench.store.set_faults(dds::memory_store::Faults { reads, ..Default::default() });
    let mut asked = Vec::new();
    let sum = dds::PageSum { sum: 1, entries: 1, bytes: 10, last: Bytes::new(), more: false };
    for begins in [true, false, false, false] {
        let told = bench.step(Input::Scrub { begins });
        let slice = told.iter().find_map(|effect| match effect {
            Effect::Send { message: Message { body: Body::Look(slice), .. }, .. } => Some(slice),
            _ => None,
        });
        let Some(slice) = slice.cloned() else { break };
        let seen = match slice.column {
            Column::Meta => Seen::Sum(sum.clone()),
            Column::Bodies | Column::Log => Seen::Sum(dds::PageSum::of(&[], false)),
        };
        asked = asks(&bench.hears(Body::Looked { id: slice.id, seen }));
    }
    assert_eq!(asked, [GroupChange::Resign]);
    assert!(!bench.answers());
    let key = layout::replica_key(PARTITION);
    let read = dds::Read::Get { column: Column::Log, keys: vec![key] };
    let Ok(dds::ReadDone::Got(found)) = bench.store.read(&read, Tier::Disk) else { panic!() };
    let record = ReplicaRecord::decode(found[0].as_ref().expect("a record")).expect("readable");
    assert!(record.doubted && record.whole);
}

#[test]
fn a_doubted_copy_keeps_nothing_as_a_learner() {
    let mut bench = Bench::new();
    let record = ReplicaRecord { joined: GroupVersion(2), doubted: true, ..Default::default() };
    let key = layout::replica_key(PARTITION);
    let ops = vec![StoreOp::Put { column: Column::Log, key, value: record.encode() }];
    bench.store.commit(&[Group { ops, ..group() }], Durability::Synced).expect("room");
    for (in_sync, learners, whole) in
        [(vec![ME, PEER], vec![], true), (vec![PEER], vec![ME], false)]
    {
        let version = GroupVersion(bench.replica.version().0.max(2) + 1);
        let candidates = vec![PEER];
        let primary = Some(PEER);
        let group =
            ReplicaGroup { version, primary, in_sync, learners, candidates, consented: true };
        let view =
            View { group, min_in_sync: 1, wanted: 2, fence_at: Mono(0), exhausted: Arc::default() };
        bench.step(Input::GroupIs(view));
        let message = Message { version, round: Round(version.0), body: Body::Join };
        let told = bench.step(Input::Received { from: PEER, message });
        let stand = told.iter().find_map(|effect| match effect {
            Effect::Send { message: Message { body: Body::Stand(stand), .. }, .. } => Some(*stand),
            _ => None,
        });
        assert_eq!(stand.expect("it stands").whole, whole);
    }
}

#[test]
fn a_primary_without_space_refuses_what_needs_some_and_takes_what_frees_some() {
    let mut bench = Bench::new();
    bench.leads_with(&[ME, PEER], 2, &[ME]);
    bench.stands();
    let told = bench.propose();
    assert_eq!((outcome(&told), asks(&told)), (Some(Err(StoreError::NoSpace)), vec![]));
    assert!(bench.answers(), "it is read on");
    let frees = Group { frees_space: true, ..group() };
    let told = bench.step(Input::Propose { token: Token(10), group: frees });
    assert_eq!(outcome(&told), None, "{told:?}");
    let told = bench.hears(Body::Appended { through: 1, decided: 0 });
    assert_eq!(outcome(&told), Some(Ok(())));
    // There is room again.
    let mut bench = Bench::new();
    bench.leads_with(&[ME, PEER], 2, &[ME]);
    bench.stands();
    bench.leads_with(&[ME, PEER], 2, &[]);
    assert_eq!(outcome(&bench.propose()), None);
}

#[test]
fn a_member_without_space_goes_if_the_set_is_large_enough_without_it() {
    let third = NodeId(3);
    let mut bench = Bench::new();
    bench.leads_with(&[ME, PEER, third], 2, &[PEER]);
    bench.stands();
    bench.hears_from(third, standing());
    let told = bench.propose();
    assert_eq!((outcome(&told), asks(&told)), (None, vec![GroupChange::Remove(PEER)]));
    // The map does not answer: the member is not written full.
    bench.millis = 600;
    let next = Group { frees_space: false, ..group() };
    let told = bench.step(Input::Propose { token: Token(10), group: next });
    assert_eq!(outcome(&told), Some(Err(StoreError::NoSpace)));
    let mut bench = Bench::new();
    bench.leads_with(&[ME, PEER], 2, &[PEER]);
    bench.stands();
    let told = bench.propose();
    assert_eq!((outcome(&told), asks(&told)), (Some(Err(StoreError::NoSpace)), vec![]));
}

#[test]
fn a_primary_whose_store_is_full_keeps_its_place_and_begins_anew() {
    let mut bench = Bench::new();
    bench.leads(2);
    bench.stands();
    bench.store.set_bytes_max(Some(bench.store.bytes()));
    let told = bench.propose();
    assert_eq!(asks(&told), [], "it does not step down");
    assert!(told.contains(&Effect::Cease) && !bench.answers());
    bench.millis = 25;
    bench.step(Input::TimerFired(TimerKey(1)));
    assert!(bench.stands().contains(&Effect::Serve), "{}", bench.replica.summary());
    assert!(bench.answers());
    let told = bench.propose();
    assert_eq!((outcome(&told), asks(&told)), (Some(Err(StoreError::NoSpace)), vec![]));
    // It asks its store again after a while.
    bench.store.set_bytes_max(None);
    bench.millis = 4000;
    assert_eq!(outcome(&bench.propose()), None);
}
