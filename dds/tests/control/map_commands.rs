//! Every command of the cluster map, one by one.

use dds::cluster::{
    ClusterMap, Command, GroupChange, Incarnation, NodeId, NodeState, Objection, Proposal,
    ReplicaGroup, Scope, Session, Settings, Site, Start, Suggestion, Verdict, invariant_followed,
    invariant_sound,
};
use dds::{GroupVersion, PartitionId};

const P0: PartitionId = PartitionId(0);

pub fn site() -> Site {
    Site { weight: 100, ..Site::default() }
}

pub fn settings(partitions: u16) -> Settings {
    Settings {
        partitions,
        hash_key: (1, 2),
        replicas: 3,
        min_in_sync: 1,
        min_in_sync_wanted: 2,
        feature_level: 1,
    }
}

pub fn found(partitions: u16) -> Command {
    let (node, incarnation) = (NodeId(1), Incarnation(1));
    Command::Found { node, incarnation, site: site(), settings: settings(partitions) }
}

pub fn add(node: u16) -> Command {
    let incarnation = Incarnation(u64::from(node));
    Command::AddNode { node: NodeId(node), incarnation, site: site() }
}

/// Registers `node` in its first incarnation.
pub fn register(node: u16, session: u64, start: u64) -> Command {
    register_as(node, u64::from(node), (session, start))
}

fn register_as(node: u16, incarnation: u64, (session, start): (u64, u64)) -> Command {
    Command::Register {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        session: Session(session),
        start: Start(start),
        features: 1,
    }
}

/// Whether partition 0 is placed, and has arrived there.
fn placed(map: &ClusterMap) -> Option<(u16, bool)> {
    map.placements.get(&P0).map(|placement| (placement.node.0, placement.arrived))
}

fn place(node: u16) -> Command {
    Command::Place { partition: P0, node: Some(NodeId(node)) }
}

/// Four nodes, three of them in sync.
fn with_a_spare() -> ClusterMap {
    let mut map = cluster(3);
    done(&mut map, &[add(4), register(4, 1, 14)]);
    map.settings.feature_level = 2;
    map
}

#[test]
fn a_mailbox_is_placed_on_a_node_without_a_copy() {
    let mut map = with_a_spare();
    done(&mut map, &[place(4)]);
    assert_eq!(placed(&map), Some((4, false)));
    let suggested = |map: &ClusterMap| map.suggestion(P0).map(|suggestion| suggestion.change);
    assert_eq!(suggested(&map), Some(GroupChange::AddLearner(NodeId(4))));
    assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(4))), Verdict::Done);
    assert_eq!(suggested(&map), None, "the controller takes the next steps");
    assert_eq!(change(&mut map, GroupChange::HandOver(NodeId(4))), refused(Objection::NotMember));
    assert_eq!(change(&mut map, GroupChange::Promote(NodeId(4))), Verdict::Done);
    assert_eq!(placed(&map), Some((4, false)));
    assert_eq!(change(&mut map, GroupChange::HandOver(NodeId(4))), Verdict::Done);
    assert_eq!(placed(&map), Some((4, true)));
    // It stays placed while the node is away, and goes with it.
    done(&mut map, &[give_up(4, 1)]);
    assert_ne!(group(&map).primary, Some(NodeId(4)));
    assert_eq!(placed(&map), Some((4, true)));
    done(&mut map, &[Command::RemoveNode { node: NodeId(4) }]);
    assert_eq!(placed(&map), None);
}

#[test]
fn a_move_ends_with_its_target_and_by_the_operators_word() {
    let mut map = with_a_spare();
    done(&mut map, &[place(4)]);
    assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(4))), Verdict::Done);
    done(&mut map, &[give_up(4, 1)]);
    assert_eq!((placed(&map), group(&map).learners.len()), (None, 0));
    assert_eq!(apply(&mut map, &place(4)), refused(Objection::NodeIsDown));
    let mut back = register(4, 2, 24);
    if let Command::Register { features, .. } = &mut back {
        *features = 2;
    }
    done(&mut map, &[back, place(4), Command::Drain { node: NodeId(4) }]);
    assert_eq!((placed(&map), map.suggestion(P0)), (None, None));
    assert_eq!(apply(&mut map, &place(4)), refused(Objection::NodeIsDraining));
    // In sync already: one step. Said twice it is the same.
    done(&mut map, &[place(2), place(2)]);
    let suggestion = map.suggestion(P0).map(|suggestion| suggestion.change);
    assert_eq!(suggestion, Some(GroupChange::HandOver(NodeId(2))));
    done(&mut map, &[Command::Place { partition: P0, node: None }]);
    assert_eq!((placed(&map), map.suggestion(P0)), (None, None));
    done(&mut map, &[place(1)]);
    assert_eq!(placed(&map), Some((1, true)), "it leads already");
    let unknown = Command::Place { partition: PartitionId(9), node: None };
    assert_eq!(apply(&mut map, &unknown), refused(Objection::UnknownPartition));
    assert_eq!(apply(&mut map, &place(9)), refused(Objection::UnknownNode));
    let mut old = cluster(3);
    assert_eq!(apply(&mut old, &place(2)), refused(Objection::FeatureMissing));
}

fn give_up(node: u16, session: u64) -> Command {
    Command::GiveUp { node: NodeId(node), session: Session(session) }
}

fn refused(objection: Objection) -> Verdict {
    Verdict::Refused(objection)
}

/// Applies `command`, and checks what is true of every step.
fn apply(map: &mut ClusterMap, command: &Command) -> Verdict {
    let before = map.clone();
    let applied = map.apply(before.index + 1, command);
    invariant_sound(map).unwrap();
    invariant_followed(&before, command, (map, &applied.delta)).unwrap();
    if applied.verdict != Verdict::Done {
        assert_eq!(map.groups, before.groups, "what is refused changes nothing");
    }
    applied.verdict
}

fn done(map: &mut ClusterMap, commands: &[Command]) {
    for command in commands {
        assert_eq!(apply(map, command), Verdict::Done, "{command:?}");
    }
}

/// `change` of partition 0, asked for by its primary.
fn change(map: &mut ClusterMap, change: GroupChange) -> Verdict {
    let group = map.group(P0).unwrap();
    let (expect, by) = (group.version, group.primary.unwrap());
    apply(map, &Command::ChangeGroup { partition: P0, expect, change, by })
}

fn group(map: &ClusterMap) -> &ReplicaGroup {
    map.group(P0).unwrap()
}

fn nodes(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

/// One partition; `count` nodes are up, and all in sync.
fn cluster(count: u16) -> ClusterMap {
    let mut map = ClusterMap::default();
    done(&mut map, &[found(1), register(1, 1, 11)]);
    for node in 2..=count {
        done(&mut map, &[add(node), register(node, 1, u64::from(node) + 10)]);
        assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(node))), Verdict::Done);
        assert_eq!(change(&mut map, GroupChange::Promote(NodeId(node))), Verdict::Done);
    }
    if count > 1 {
        done(&mut map, &[Command::ReachMinInSync]);
    }
    map
}

#[test]
fn a_cluster_is_founded_once_and_with_sound_settings() {
    let mut map = ClusterMap::default();
    assert_eq!(apply(&mut map, &add(2)), refused(Objection::NotFounded));
    for partitions in [0, 3, 32_768] {
        assert_eq!(apply(&mut map, &found(partitions)), refused(Objection::OutOfRange));
    }
    done(&mut map, &[found(4)]);
    assert_eq!(apply(&mut map, &found(4)), refused(Objection::Founded));
    assert_eq!(map.groups, vec![ReplicaGroup::sole(NodeId(1)); 4]);
    // The first registration ends nothing: nobody led before.
    done(&mut map, &[register(1, 1, 11)]);
    assert_eq!(group(&map).version, GroupVersion(1));
}

#[test]
fn a_session_is_registered_by_one_run_only() {
    let mut map = cluster(2);
    done(&mut map, &[register(2, 1, 12), register(2, 2, 12)]);
    assert_eq!(apply(&mut map, &register(2, 1, 12)), refused(Objection::SessionOver));
    assert_eq!(apply(&mut map, &register(2, 2, 99)), Verdict::OldImage);
    assert_eq!(apply(&mut map, &register(2, 1, 99)), Verdict::OldImage);
    done(&mut map, &[give_up(2, 2)]);
    // A copy of the registration does not bring it back.
    assert_eq!(apply(&mut map, &register(2, 2, 12)), refused(Objection::SessionOver));
    assert_eq!(apply(&mut map, &register(9, 1, 12)), refused(Objection::UnknownNode));
    done(&mut map, &[register(2, 3, 12)]);
    assert_eq!(apply(&mut map, &give_up(2, 2)), refused(Objection::SessionOver));
}

#[test]
fn a_restart_ends_the_version_in_which_the_node_led() {
    let mut map = cluster(3);
    let before = group(&map).clone();
    done(&mut map, &[register(1, 2, 21)]);
    let after = group(&map);
    assert_eq!(after.version.0, before.version.0 + 1);
    assert_ne!(after.primary, Some(NodeId(1)));
    assert_eq!(after.in_sync, before.in_sync);
    assert!(!after.consented);
    // A secondary's restart changes nothing.
    let (primary, version) = (after.primary, after.version);
    done(&mut map, &[register(1, 3, 31)]);
    assert_eq!((group(&map).primary, group(&map).version), (primary, version));
    // Alone it leads again, in a new version.
    let mut alone = cluster(1);
    done(&mut alone, &[register(1, 2, 21)]);
    assert_eq!(group(&alone).primary, Some(NodeId(1)));
    assert_eq!(group(&alone).version, GroupVersion(2));
}

#[test]
fn who_is_given_up_leaves_where_others_remain() {
    let mut map = cluster(3);
    done(&mut map, &[give_up(1, 1)]);
    let shrunk = group(&map);
    assert_eq!(shrunk.in_sync, nodes(&[2, 3]));
    assert_eq!(shrunk.candidates, nodes(&[2, 3]));
    assert!(shrunk.primary.is_some() && !shrunk.consented);
    let survivor = shrunk.primary.unwrap();
    let other = if survivor == NodeId(2) { 3 } else { 2 };
    done(&mut map, &[give_up(other, 1)]);
    assert_eq!(group(&map).in_sync, [survivor]);
    // Below the minimum nothing is acknowledged: both still hold everything.
    assert_eq!(group(&map).candidates, nodes(&[2, 3]));
    done(&mut map, &[give_up(survivor.0, 1)]);
    assert_eq!(group(&map).in_sync, [survivor]);
    assert_eq!(group(&map).primary, None);
    // Who is no holder does not lead; the holder does.
    done(&mut map, &[register(1, 2, 21)]);
    assert_eq!(group(&map).primary, None);
    done(&mut map, &[register(survivor.0, 2, 22)]);
    assert_eq!(group(&map).primary, Some(survivor));
}

#[test]
fn a_candidate_takes_over_when_the_set_has_lost_its_disks() {
    let mut map = cluster(2);
    done(&mut map, &[give_up(1, 1), give_up(2, 1), register(1, 2, 21)]);
    assert_eq!(group(&map).in_sync, nodes(&[2]));
    done(&mut map, &[register_as(2, 77, (1, 22))]);
    assert_eq!(group(&map).in_sync, nodes(&[1]));
    assert_eq!(group(&map).primary, Some(NodeId(1)));
    // The old directory never comes back.
    assert_eq!(apply(&mut map, &register_as(2, 2, (9, 23))), Verdict::OldImage);
}

#[test]
fn a_candidate_that_is_down_is_waited_for() {
    let mut map = cluster(2);
    done(&mut map, &[give_up(1, 1), give_up(2, 1), register_as(2, 77, (1, 22))]);
    assert_eq!(group(&map).in_sync, nodes(&[1]));
    assert_eq!(group(&map).primary, None);
    done(&mut map, &[register(1, 2, 21)]);
    assert_eq!(group(&map).primary, Some(NodeId(1)));
}

#[test]
fn a_node_that_caught_up_anew_is_no_candidate() {
    let mut map = cluster(2);
    done(&mut map, &[give_up(2, 1), register(2, 2, 22)]);
    assert_eq!(group(&map).candidates, nodes(&[1, 2]));
    assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(2))), Verdict::Done);
    assert_eq!(group(&map).candidates, nodes(&[1]));
    assert_eq!(change(&mut map, GroupChange::Promote(NodeId(2))), Verdict::Done);
    assert_eq!(group(&map).candidates, nodes(&[1, 2]));
    assert_eq!(change(&mut map, GroupChange::Expel(NodeId(2))), Verdict::Done);
    assert_eq!(group(&map).candidates, nodes(&[1]));
}

#[test]
fn an_incarnation_is_not_replaced_while_the_node_is_up() {
    let mut map = cluster(2);
    assert_eq!(apply(&mut map, &register_as(2, 77, (1, 22))), refused(Objection::NodeIsUp));
    let taken = Command::AddNode { node: NodeId(2), incarnation: Incarnation(5), site: site() };
    assert_eq!(apply(&mut map, &taken), refused(Objection::NodeExists));
}

#[test]
fn everything_is_lost_only_with_every_disk() {
    let mut map = cluster(1);
    done(&mut map, &[add(2), register(2, 1, 12), give_up(1, 1), register_as(1, 77, (1, 21))]);
    assert_eq!(group(&map).in_sync, []);
    let recover = |from| Command::UnsafeRecover { scope: Scope::All, from: NodeId(from) };
    done(&mut map, &[recover(2)]);
    assert_eq!(group(&map).in_sync, nodes(&[2]));
    let one = Command::UnsafeRecover { scope: Scope::One(P0), from: NodeId(1) };
    assert_eq!(apply(&mut map, &one), refused(Objection::HasPrimary));
}

#[test]
fn only_the_primary_changes_its_group_and_only_the_version_it_knows() {
    let mut map = cluster(3);
    let (partition, expect) = (P0, group(&map).version);
    let ask = |expect, by, change| Command::ChangeGroup { partition, expect, change, by };
    let remove = GroupChange::Remove(NodeId(3));
    let stale = ask(GroupVersion(1), NodeId(1), remove);
    assert_eq!(apply(&mut map, &stale), refused(Objection::WrongVersion(expect)));
    let stranger = ask(expect, NodeId(2), remove);
    assert_eq!(apply(&mut map, &stranger), refused(Objection::NotPrimary));
    let itself = GroupChange::Remove(NodeId(1));
    assert_eq!(change(&mut map, itself), refused(Objection::NotMember));
    assert_eq!(change(&mut map, remove), Verdict::Done);
    assert_eq!(change(&mut map, remove), refused(Objection::NotMember));
    let promote = GroupChange::Promote(NodeId(3));
    assert_eq!(change(&mut map, promote), refused(Objection::NotMember));
    let hand_over = GroupChange::HandOver(NodeId(3));
    assert_eq!(change(&mut map, hand_over), refused(Objection::NotMember));
    assert_eq!(change(&mut map, GroupChange::HandOver(NodeId(2))), Verdict::Done);
    assert!(group(&map).consented);
    assert_eq!(group(&map).primary, Some(NodeId(2)));
    assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(3))), Verdict::Done);
    assert!(group(&map).consented, "the primary has not changed since");
}

#[test]
fn a_primary_whose_store_fails_steps_down_and_stays_in_sync() {
    let mut map = cluster(3);
    assert_eq!(change(&mut map, GroupChange::StepDown), Verdict::Done);
    let now = group(&map);
    assert!(now.is_in_sync(NodeId(1)) && now.is_candidate(NodeId(1)) && now.consented);
    assert!(now.primary.is_some_and(|primary| primary != NodeId(1)));
    let mut map = cluster(2);
    done(&mut map, &[give_up(2, 1)]);
    assert_eq!(change(&mut map, GroupChange::StepDown), refused(Objection::NoSuccessor));
}

#[test]
fn a_damaged_primary_leaves_to_whoever_holds_everything() {
    let mut map = cluster(3);
    assert_eq!(change(&mut map, GroupChange::Resign), Verdict::Done);
    assert!(!group(&map).is_in_sync(NodeId(1)) && !group(&map).is_candidate(NodeId(1)));
    assert!(group(&map).consented);
    // The last one stays, but for a candidate.
    let mut map = cluster(2);
    done(&mut map, &[give_up(2, 1)]);
    assert_eq!(change(&mut map, GroupChange::Resign), refused(Objection::NoSuccessor));
    done(&mut map, &[register(2, 2, 22)]);
    assert_eq!(change(&mut map, GroupChange::Resign), Verdict::Done);
    assert_eq!(group(&map).in_sync, nodes(&[2]));
}

#[test]
fn a_smaller_minimum_makes_what_is_left_the_candidates() {
    let mut map = cluster(2);
    done(&mut map, &[give_up(2, 1)]);
    assert_eq!(group(&map).candidates, nodes(&[1, 2]));
    let version = group(&map).version;
    done(&mut map, &[Command::SetMinInSync { count: 1 }]);
    assert_eq!(group(&map).candidates, nodes(&[1]));
    assert!(group(&map).version > version);
    let zero = Command::SetMinInSync { count: 0 };
    assert_eq!(apply(&mut map, &zero), refused(Objection::OutOfRange));
    done(&mut map, &[Command::SetMinInSync { count: 2 }]);
    assert_eq!(apply(&mut map, &Command::ReachMinInSync), refused(Objection::TooFewInSync));
}

#[test]
fn suggestions_end_with_their_version_and_their_node() {
    let mut map = cluster(2);
    done(&mut map, &[add(3), register(3, 1, 13)]);
    let suggest = |map: &ClusterMap, change| {
        let expect = group(map).version;
        Command::Suggest(vec![Suggestion { partition: P0, expect, change }])
    };
    let learn = suggest(&map, GroupChange::AddLearner(NodeId(3)));
    done(&mut map, std::slice::from_ref(&learn));
    assert!(map.suggestion(P0).is_some());
    done(&mut map, &[give_up(3, 1)]);
    assert_eq!(map.suggestion(P0), None);
    done(&mut map, &[register(3, 2, 13), learn.clone()]);
    assert_eq!(change(&mut map, GroupChange::AddLearner(NodeId(3))), Verdict::Done);
    assert_eq!(map.suggestion(P0), None);
    done(&mut map, &[learn]);
    assert_eq!(map.suggestion(P0), None, "made for an older version");
}

#[test]
fn a_node_leaves_when_it_holds_nothing() {
    let mut map = cluster(2);
    let remove = |node| Command::RemoveNode { node: NodeId(node) };
    assert_eq!(apply(&mut map, &remove(2)), refused(Objection::HoldsPartitions));
    done(&mut map, &[Command::Drain { node: NodeId(2) }]);
    assert!(map.node(NodeId(2)).unwrap().draining);
    done(&mut map, &[Command::Undrain { node: NodeId(2) }, Command::SetMinInSync { count: 1 }]);
    assert_eq!(change(&mut map, GroupChange::Remove(NodeId(2))), Verdict::Done);
    done(&mut map, &[remove(2)]);
    assert_eq!(apply(&mut map, &remove(2)), refused(Objection::UnknownNode));
    assert_eq!(apply(&mut map, &remove(1)), refused(Objection::HoldsPartitions));
}

#[test]
fn the_feature_level_rises_when_every_node_knows_it() {
    let mut map = cluster(2);
    let raise = |level| Command::RaiseFeatureLevel { level };
    assert_eq!(apply(&mut map, &raise(2)), refused(Objection::FeatureUnknown));
    done(&mut map, &[raise(1)]);
    assert_eq!(apply(&mut map, &raise(0)), refused(Objection::OutOfRange));
}

#[test]
fn a_release_that_knows_less_than_the_level_is_not_let_in() {
    let mut map = cluster(2);
    let register = |session, features| Command::Register {
        node: NodeId(2),
        incarnation: Incarnation(2),
        session: Session(session),
        start: Start(session),
        features,
    };
    let both = |map: &mut ClusterMap| map.nodes.values_mut().for_each(|node| node.features = 2);
    both(&mut map);
    done(&mut map, &[Command::RaiseFeatureLevel { level: 2 }]);
    assert_eq!(apply(&mut map, &register(50, 1)), refused(Objection::FeatureUnknown));
    done(&mut map, &[register(50, 2)]);
}

#[test]
fn a_mark_applies_once_and_only_to_the_run_that_is_registered() {
    let mut map = cluster(2);
    let (by, start) = (NodeId(2), Start(12));
    let ask = |start, number, command| Proposal { by, start, number, command };
    let drain = Command::Drain { node: by };
    let mut apply = |proposal: &Proposal| map.apply_proposal(map.index + 1, proposal).verdict;
    assert_eq!(apply(&ask(start, 5, drain.clone())), Verdict::Done);
    let undrain = ask(start, 6, Command::Undrain { node: by });
    assert_eq!(apply(&undrain), Verdict::Done);
    assert_eq!(apply(&ask(start, 5, drain.clone())), refused(Objection::Overtaken));
    assert_eq!(apply(&ask(Start(99), 9, drain.clone())), refused(Objection::SessionOver));
    // A new run counts anew.
    assert_eq!(apply(&ask(Start(22), 1, register(2, 2, 22))), Verdict::Done);
    assert_eq!(apply(&ask(Start(22), 1, drain)), Verdict::Done);
    assert_eq!(map.node(by).map(|known| known.state), Some(NodeState::Up));
}
