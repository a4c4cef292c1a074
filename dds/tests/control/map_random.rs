//! Random commands: what is true of every map and of every step stays true, and maps survive being written down.

use crate::map_commands::{found, site};
use dds::cluster::{
    ClusterMap, Command, Conditions, GroupChange, Incarnation, NodeId, Proposal, Rebalancer, Scope,
    Session, Start, Suggestion, Throttle, decode_map, decode_proposal, encode_map, encode_proposal,
    invariant_followed, invariant_sound,
};
use dds::{GroupVersion, PartitionId};
use proptest::prelude::*;
use std::collections::BTreeSet;

const NODES: u16 = 5;
const PARTITIONS: u16 = 4;

/// A command in terms of the map it meets, so that most make sense.
#[derive(Clone, Debug)]
enum Act {
    Add(u16),
    /// Begins the session that is so much later than the last one, on a new disk or not.
    Register {
        node: u16,
        later: u64,
        start: u64,
        new_disk: bool,
    },
    GiveUp {
        node: u16,
    },
    Change {
        partition: u16,
        kind: u8,
        node: u16,
        stale: bool,
    },
    Suggest {
        partition: u16,
        node: u16,
    },
    Place {
        partition: u16,
        node: Option<u16>,
    },
    Level,
    Drain(u16, bool),
    Remove(u16),
    MinInSync(u8),
    Reach,
    Replicas(u8),
    Recover {
        one: Option<u16>,
        from: u16,
    },
}

fn act() -> impl Strategy<Value = Act> {
    let node = || 1..=NODES;
    let partition = || 0..PARTITIONS;
    prop_oneof![
        1 => node().prop_map(Act::Add),
        6 => (node(), 0..3_u64, 0..3_u64, prop::bool::weighted(0.2)).prop_map(
            |(node, later, start, new_disk)| Act::Register { node, later, start, new_disk }
        ),
        4 => node().prop_map(|node| Act::GiveUp { node }),
        12 => (partition(), 0..6_u8, node(), prop::bool::weighted(0.1)).prop_map(
            |(partition, kind, node, stale)| Act::Change { partition, kind, node, stale }
        ),
        1 => (partition(), node()).prop_map(|(partition, node)| Act::Suggest { partition, node }),
        4 => (partition(), prop::option::weighted(0.8, node()))
            .prop_map(|(partition, node)| Act::Place { partition, node }),
        1 => Just(Act::Level),
        1 => (node(), any::<bool>()).prop_map(|(node, draining)| Act::Drain(node, draining)),
        1 => node().prop_map(Act::Remove),
        1 => (0..4_u8).prop_map(Act::MinInSync),
        1 => Just(Act::Reach),
        1 => (0..5_u8).prop_map(Act::Replicas),
        1 => (prop::option::of(partition()), node())
            .prop_map(|(one, from)| Act::Recover { one, from }),
    ]
}

fn command(map: &ClusterMap, act: &Act) -> Command {
    match *act {
        Act::Add(node) => Command::AddNode {
            node: NodeId(node),
            incarnation: Incarnation(u64::from(node)),
            site: site(),
        },
        Act::Register { node, later, start, new_disk } => {
            let known = map.node(NodeId(node)).cloned().unwrap_or_default();
            let session = if new_disk { 1 } else { known.session.0 + later };
            let incarnation = known.incarnation.0 + 100 * u64::from(new_disk);
            Command::Register {
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                session: Session(session),
                start: Start(start),
                features: 2,
            }
        }
        Act::Place { partition, node } => {
            Command::Place { partition: PartitionId(partition), node: node.map(NodeId) }
        }
        Act::Level => Command::RaiseFeatureLevel { level: 2 },
        Act::GiveUp { node } => {
            let session = map.node(NodeId(node)).map_or(Session(0), |known| known.session);
            Command::GiveUp { node: NodeId(node), session }
        }
        Act::Change { partition, kind, node, stale } => {
            let partition = PartitionId(partition);
            let group = map.group(partition).cloned().unwrap_or_default();
            let expect = GroupVersion(group.version.0 - u64::from(stale));
            let by = group.primary.unwrap_or(NodeId(node));
            Command::ChangeGroup { partition, expect, change: change(kind, NodeId(node)), by }
        }
        Act::Suggest { partition, node } => {
            let partition = PartitionId(partition);
            let change = GroupChange::AddLearner(NodeId(node));
            let expect = map.version_of(partition);
            Command::Suggest(vec![Suggestion { partition, expect, change }])
        }
        Act::Drain(node, true) => Command::Drain { node: NodeId(node) },
        Act::Drain(node, false) => Command::Undrain { node: NodeId(node) },
        Act::Remove(node) => Command::RemoveNode { node: NodeId(node) },
        Act::MinInSync(count) => Command::SetMinInSync { count },
        Act::Reach => Command::ReachMinInSync,
        Act::Replicas(count) => Command::SetReplicas { count },
        Act::Recover { one, from } => {
            let scope = one.map_or(Scope::All, |one| Scope::One(PartitionId(one)));
            Command::UnsafeRecover { scope, from: NodeId(from) }
        }
    }
}

fn change(kind: u8, node: NodeId) -> GroupChange {
    match kind {
        0 => GroupChange::Remove(node),
        1 => GroupChange::Expel(node),
        2 => GroupChange::AddLearner(node),
        3 => GroupChange::Promote(node),
        4 => GroupChange::HandOver(node),
        5 => GroupChange::StepDown,
        _ => GroupChange::Resign,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_true_of_every_step_stays_true(acts in prop::collection::vec(act(), 1..80)) {
        let mut map = ClusterMap::default();
        map.apply(1, &found(PARTITIONS));
        for act in &acts {
            let command = command(&map, act);
            let before = map.clone();
            let applied = map.apply(map.index + 1, &command);
            invariant_sound(&map).map_err(|broken| TestCaseError::fail(format!("{broken} {command:?} {before:?} {map:?}")))?;
            invariant_followed(&before, &command, (&map, &applied.delta))
                .map_err(|broken| TestCaseError::fail(format!("{broken} {command:?} {before:?} {map:?}")))?;
            let proposal = Proposal { by: NodeId(1), start: Start(7), number: 3, command };
            prop_assert_eq!(decode_proposal(&encode_proposal(&proposal)), Ok(proposal));
        }
        prop_assert_eq!(decode_map(&encode_map(&map)), Ok(map));
    }

    #[test]
    fn bytes_are_decoded_without_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..2000_usize) {
        let _noise = (decode_map(&bytes), decode_proposal(&bytes));
        let mut map = ClusterMap::default();
        map.apply(1, &found(PARTITIONS));
        let mut sound = encode_map(&map).to_vec();
        let at = at % sound.len();
        sound.splice(at.., bytes.drain(..));
        let _damaged = decode_map(&sound);
    }

}

fn apply_soundly(map: &mut ClusterMap, command: Command) {
    map.apply(map.index + 1, &command);
    invariant_sound(map).unwrap();
}

/// Primaries do what is suggested. How much that was: anew, and with what was under way before, as from an order of an operator.
fn step(
    map: &mut ClusterMap,
    rebalancer: &mut Rebalancer,
    (throttle, exhausted): (Throttle, &BTreeSet<NodeId>),
) -> (usize, usize) {
    rebalancer.on_changed(map, &dds::cluster::Delta::whole(map), &BTreeSet::new());
    let at = Conditions { throttle, exhausted, busy: &BTreeSet::new() };
    let suggestions = rebalancer.next_changes(map, at);
    let suggested = suggestions.len();
    apply_soundly(map, Command::Suggest(suggestions));
    let all = map.suggestions.clone();
    for &Suggestion { partition, expect, change } in all.values() {
        let by = map.group(partition).unwrap().primary.unwrap();
        apply_soundly(map, Command::ChangeGroup { partition, expect, change, by });
        let group = map.group(partition).unwrap().clone();
        if let Some(&learner) = group.learners.first() {
            let change = GroupChange::Promote(learner);
            let expect = group.version;
            apply_soundly(map, Command::ChangeGroup { partition, expect, change, by });
        }
    }
    (suggested, all.len())
}

/// Three nodes with a copy of everything.
fn three(rebalancer: &mut Rebalancer) -> ClusterMap {
    let mut map = ClusterMap::default();
    map.apply(1, &found(64));
    apply_soundly(&mut map, crate::map_commands::register(1, 1, 1));
    for node in 2..=3 {
        apply_soundly(&mut map, crate::map_commands::add(node));
        apply_soundly(&mut map, crate::map_commands::register(node, 1, 1));
    }
    map.settings.feature_level = 2;
    rest(&mut map, rebalancer, &[]);
    map
}

/// Until nothing is suggested any more.
fn rest(map: &mut ClusterMap, rebalancer: &mut Rebalancer, exhausted: &[u16]) {
    let exhausted: BTreeSet<NodeId> = exhausted.iter().copied().map(NodeId).collect();
    let throttle = Throttle { repairs_max: 6, moves_max: 4 };
    for _ in 0..1000 {
        if step(map, rebalancer, (throttle, &exhausted)).1 == 0 {
            return;
        }
    }
    panic!("suggestions without an end");
}

fn led_by(map: &ClusterMap, node: u16) -> usize {
    map.partitions().filter(|(_, group)| group.primary == Some(NodeId(node))).count()
}

/// What one disk has no room for, others have.
#[test]
fn a_primary_without_space_hands_over_while_others_have_some() {
    let mut rebalancer = Rebalancer::default();
    let mut map = three(&mut rebalancer);
    let (placed, at) = (PartitionId(5), Some(NodeId(3)));
    apply_soundly(&mut map, Command::Place { partition: placed, node: at });
    rest(&mut map, &mut rebalancer, &[]);
    assert_eq!(map.group(placed).unwrap().primary, at);
    assert!(led_by(&map, 3) > 10);
    rest(&mut map, &mut rebalancer, &[3]);
    assert_eq!(led_by(&map, 3), 0, "also where the operator wanted it");
    rest(&mut map, &mut rebalancer, &[2, 3]);
    assert_eq!(led_by(&map, 1), 64);
    rest(&mut map, &mut rebalancer, &[1, 2, 3]);
    assert_eq!(led_by(&map, 1), 64, "nowhere to go");
    rest(&mut map, &mut rebalancer, &[]);
    assert_eq!(map.group(placed).unwrap().primary, at, "where the operator wants it, again");
    assert!((1..=3).all(|node| led_by(&map, node) > 10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Primaries that do what is suggested bring every partition to where it should be, and then nothing is suggested any more.
    #[test]
    fn suggestions_lead_to_the_wanted_placement(nodes in 1..7_u16, drained in 0..7_u16, moves_max in 1..5_usize, placed in prop::collection::vec((0..64_u16, 1..7_u16), 0..8)) {
        let mut map = ClusterMap::default();
        map.apply(1, &found(64));
        apply_soundly(&mut map, crate::map_commands::register(1, 1, 1));
        let mut rebalancer = Rebalancer::default();
        for node in 2..=nodes {
            apply_soundly(&mut map, crate::map_commands::add(node));
            apply_soundly(&mut map, crate::map_commands::register(node, 1, 1));
        }
        map.settings.feature_level = 2;
        for &(partition, node) in placed.iter().filter(|(_, node)| *node <= nodes) {
            let (partition, node) = (PartitionId(partition), Some(NodeId(node)));
            apply_soundly(&mut map, Command::Place { partition, node });
        }
        let drains = drained <= nodes && drained > 0 && nodes > 1;
        for round in 0..4000 {
            if round == 2000 && drains {
                let command = Command::Drain { node: NodeId(drained) };
                apply_soundly(&mut map, command);
            }
            let throttle = Throttle { repairs_max: 6, moves_max };
            let (suggested, done) = step(&mut map, &mut rebalancer, (throttle, &BTreeSet::new()));
            prop_assert!(suggested <= 6 + moves_max);
            if done == 0 && (round > 2000 || !drains) {
                break;
            }
        }
        let left = usize::from(nodes) - usize::from(drains);
        let mut led = std::collections::BTreeMap::new();
        for (_, group) in map.partitions() {
            prop_assert_eq!(group.in_sync.len(), left.min(3), "{:?}", group);
            prop_assert!(!drains || !group.is_in_sync(NodeId(drained)));
            *led.entry(group.primary.unwrap()).or_insert(0) += 1;
        }
        for (&partition, placement) in &map.placements {
            let rests = drains && placement.node == NodeId(drained);
            let leads = map.group(partition).unwrap().primary == Some(placement.node);
            prop_assert_eq!(leads, !rests, "{:?} {:?}", partition, placement);
            prop_assert!(placement.arrived);
        }
        let share = 64 / left.max(1);
        prop_assert!(led.values().all(|&count| count <= share + share / 8 + 6 + map.placements.len()), "{:?}", led);
    }
}
