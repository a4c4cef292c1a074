//! Whole clusters, one thing at a time.

use crate::world::{MS, PARTITIONS, World, copy_of};
use dds::cluster::{Command, NodeId, NodeState, Session};
use dds::control::Event;

/// A cluster of `count` nodes that has settled.
fn settled(seed: u64, count: u16) -> World {
    let mut world = World::new(seed);
    for node in 1..=count {
        world.add(node);
    }
    world.run_while_waiting(30_000 * MS, World::is_converged);
    world
}

fn leader_of(world: &World) -> NodeId {
    let leads = |(_, node): &(&NodeId, &crate::world::Node)| {
        node.machine.as_ref().is_some_and(|machine| machine.term_led().is_some())
    };
    world.nodes.iter().find(leads).map(|(&id, _)| id).expect("somebody leads")
}

#[test]
fn a_node_alone_serves_at_once_and_then_rests() {
    let mut world = World::new(1);
    world.add(1);
    let took = world.run_while_waiting(1000 * MS, World::is_converged);
    assert!(took <= 60 * MS, "{}", took / MS);
    let trace = world.trace;
    world.run_until(world.now + 300 * MS);
    let rested = world.trace;
    world.run_until(world.now + 60_000 * MS);
    assert_eq!(rested, world.trace, "nothing happens while nothing is asked");
    assert_eq!(trace.value() == 0, rested.value() == 0);
    let drain = Command::Drain { node: NodeId(1) };
    world.propose(NodeId(1), drain);
    world.run_until(world.now + 50 * MS);
    assert_eq!(world.verdicts["done"], 1);
    assert!(world.nodes[&NodeId(1)].watched.node(NodeId(1)).unwrap().draining);
}

#[test]
fn a_restart_of_a_node_alone_begins_a_new_session_and_keeps_the_map() {
    let mut world = settled(2, 1);
    world.propose(NodeId(1), Command::SetReplicas { count: 4 });
    world.run_until(world.now + 50 * MS);
    world.crash(NodeId(1), 10 * MS);
    world.run_until(world.now + 200 * MS);
    let node = &world.nodes[&NodeId(1)];
    assert_eq!(node.session, Session(2));
    assert_eq!(node.watched.settings.replicas, 4);
    // It led under another session: the versions of then are over.
    assert_eq!(node.watched.versions(), 2 * u64::from(PARTITIONS));
}

#[test]
fn clusters_grow_to_3_and_to_5_voters() {
    let mut world = World::new(3);
    for (count, voters) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)] {
        world.add(count);
        world.run_while_waiting(20_000 * MS, World::is_converged);
        assert_eq!(world.nodes[&NodeId(1)].watched.voters.len(), voters);
    }
}

#[test]
fn the_death_of_any_node_is_survived_within_3_seconds() {
    for (seed, leads) in [(4, true), (5, false)] {
        let mut world = settled(seed, 3);
        let leader = leader_of(&world);
        let victim = world.ids().into_iter().find(|&node| (node == leader) == leads).unwrap();
        world.crash(victim, 3_600_000 * MS);
        let took = world.run_while_waiting(3000 * MS, |world| {
            world.nodes.values().filter(|node| node.machine.is_some()).all(|node| {
                let map = &node.watched;
                !map.is_up(victim)
                    && map.groups.iter().all(|group| {
                        group.primary.is_some_and(|primary| primary != victim)
                            && !group.is_in_sync(victim)
                    })
            })
        });
        assert!(took >= 1000 * MS, "not before the grace time: {}", took / MS);
    }
}

#[test]
fn who_was_given_up_in_error_registers_again() {
    let mut world = settled(6, 3);
    let leader = leader_of(&world);
    let victim = world.ids().into_iter().find(|&node| node != leader).unwrap();
    let before = world.nodes[&victim].session;
    world.cut_off(victim);
    world.run_until(world.now + 3000 * MS);
    let known = world.nodes[&leader].watched.node(victim).unwrap().clone();
    assert_eq!(known.state, NodeState::Down);
    world.cut.clear();
    world.run_while_waiting(10_000 * MS, World::is_converged);
    assert!(world.nodes[&victim].session > before);
}

#[test]
fn an_old_image_is_found_out_and_let_in_again_as_another() {
    let mut world = settled(7, 4);
    let voters = world.nodes[&NodeId(1)].watched.voters.clone();
    let victim = world.ids().into_iter().find(|node| !voters.contains(node)).unwrap();
    let image = copy_of(&world.nodes[&victim].store);
    world.crash(victim, 10 * MS);
    world.run_while_waiting(10_000 * MS, World::is_converged);
    world.crash(victim, 10 * MS);
    world.run_while_waiting(10_000 * MS, World::is_converged);
    world.crash(victim, 10 * MS);
    world.restore_disk(victim, &image);
    world.run_until(world.now + 1000 * MS);
    assert_eq!(world.nodes[&victim].old_images, 1);
    assert_eq!(world.nodes[&victim].session, Session(0));
    world.crash(victim, 2000 * MS);
    world.take_new_incarnation(victim);
    world.run_while_waiting(20_000 * MS, World::is_converged);
    assert_eq!(world.nodes[&victim].old_images, 1);
}

#[test]
fn a_voter_that_lost_its_disk_is_another_member() {
    let mut world = settled(8, 3);
    let leader = leader_of(&world);
    for victim in [leader, NodeId(2)] {
        world.crash(victim, 500 * MS);
        world.replace_disk(victim);
        world.run_while_waiting(30_000 * MS, World::is_converged);
    }
    world.check_acknowledged();
}

#[test]
fn a_drained_node_hands_over_everything_and_leaves() {
    let mut world = settled(9, 5);
    let victim = leader_of(&world);
    let other = world.ids().into_iter().find(|&node| node != victim).unwrap();
    world.propose(other, Command::Drain { node: victim });
    world.run_while_waiting(30_000 * MS, |world| {
        !world.nodes[&other].watched.holds_anything(victim) && world.is_converged()
    });
    world.propose(other, Command::RemoveNode { node: victim });
    world.run_while_waiting(30_000 * MS, |world| {
        world.nodes[&victim].removed && world.is_converged()
    });
    let voters = &world.nodes[&other].watched.voters;
    assert!(!voters.contains(&victim) && voters.len() == 3, "{voters:?}");
}

#[test]
fn without_a_majority_nothing_changes_and_with_it_everything_goes_on() {
    let mut world = settled(10, 3);
    world.crash(NodeId(2), 60_000 * MS);
    world.crash(NodeId(3), 60_000 * MS);
    world.run_until(world.now + 1000 * MS);
    let index = world.nodes[&NodeId(1)].watched.index;
    world.propose(NodeId(1), Command::SetReplicas { count: 5 });
    world.run_until(world.now + 10_000 * MS);
    assert_eq!(world.nodes[&NodeId(1)].watched.index, index);
    assert_eq!(world.verdicts.get("unknown").copied(), Some(1));
    world.run_until(world.now + 60_000 * MS);
    world.run_while_waiting(30_000 * MS, World::is_converged);
}

#[test]
fn a_leader_that_was_paused_gives_up_nobody() {
    let mut world = settled(11, 3);
    let leader = leader_of(&world);
    world.pause(leader, 5000 * MS);
    world.run_while_waiting(30_000 * MS, World::is_converged);
    for (id, node) in &world.nodes {
        let gave_up =
            |event: &Event| matches!(event, Event::GivingUp { node, .. } if *node != leader);
        assert!(!node.events.iter().any(gave_up), "{id:?} {:?}", node.events);
    }
}

#[test]
fn a_voter_that_is_gone_for_long_is_replaced() {
    let mut world = World::new(12);
    world.limits.replace_after = std::time::Duration::from_secs(8);
    for node in 1..=4 {
        world.add(node);
    }
    world.run_while_waiting(30_000 * MS, World::is_converged);
    let voters = world.nodes[&NodeId(4)].watched.voters.clone();
    let leader = leader_of(&world);
    let victim = *voters.iter().find(|&&voter| voter != leader).unwrap();
    world.crash(victim, 3_600_000 * MS);
    world.run_until(world.now + 6000 * MS);
    assert_eq!(world.nodes[&leader].watched.voters, voters, "it may come back");
    world.run_while_waiting(10_000 * MS, |world| {
        let map = &world.nodes[&leader].watched;
        let whole = map.groups.iter().all(|group| group.in_sync.len() == 3);
        whole && map.voters.len() == 3 && !map.voters.contains(&victim)
    });
}
