//! Hot partitions: which primary should move from a node with much work to one with less, by what nodes report of themselves.
//!
//! Only the role moves, to a member that is in sync: nothing is copied. A move must pay for the moment that it costs the clients of
//! a partition, and must never be followed by the move back. So:
//!
//! - a node gives a partition away only after it had so much more work than another for a while, in numbers and in proportion;
//! - the partition that moves has at most half of the difference: whoever takes it is not the busier one afterwards, and with
//!   steady work the sum of the squares of all loads falls with every move, which therefore come to an end;
//! - after a move both nodes are left alone until their reports can tell of it;
//! - a partition that has moved, or changed otherwise, rests for long, also when the leader is another: a new one begins with the
//!   rest of all of them.
//!
//! What has so much work that it may be moved here is left alone by those who only count primaries, and the other way round.
//!
//! Must not know: what a unit of work is, and how reports come here.

use super::{ClusterMap, Delta, GroupChange, NodeId, Suggestion};
use crate::PartitionId;
use crate::report::Report;
use fsm::{Duration, Mono};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// When work is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeatLimits {
    /// Whether anything is moved at all.
    pub moves: bool,
    /// Units a second that a node must have more than another. Our choice: a tenth of what a core of the reference machine does.
    pub difference_min: u64,
    /// Its work in hundredths of the other's, at least. Our choice.
    pub ratio_min: u64,
    /// Partitions with less work are not worth a move. Our choice.
    pub partition_min: u32,
    /// So long must the difference have lasted. Our choice: well above what a burst of one client takes.
    pub lasts: Duration,
    /// After a move neither of its nodes takes part in another for so long: reports average over some seconds.
    pub settles: Duration,
    /// The least time between two moves of one partition. Our choice.
    pub rests: Duration,
}

impl Default for HeatLimits {
    fn default() -> Self {
        Self {
            moves: true,
            difference_min: 1_000,
            ratio_min: 150,
            partition_min: 50,
            lasts: Duration::from_secs(10),
            settles: Duration::from_secs(10),
            rests: Duration::from_secs(60),
        }
    }
}

/// What is known of all nodes.
pub type Reports = BTreeMap<NodeId, Arc<Report>>;

/// A move, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relief {
    pub partition: PartitionId,
    pub from: NodeId,
    pub to: NodeId,
    /// Units a second: of the partition, and of both nodes before the move.
    pub load: u64,
    pub from_load: u64,
    pub to_load: u64,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Heat {
    /// Since when this leader knows what it did.
    since: Mono,
    /// Nodes with much more work than another, since when.
    hot: BTreeMap<NodeId, Mono>,
    /// When a partition moved last, for as long as that counts.
    moved: BTreeMap<PartitionId, Mono>,
    /// When the group of a partition changed last, for as long as that counts.
    changed: BTreeMap<PartitionId, Mono>,
    /// When a node took part in a move last.
    touched: BTreeMap<NodeId, Mono>,
}

impl Heat {
    /// This node leads from now on.
    #[must_use]
    pub fn new(now: Mono) -> Self {
        let (hot, touched) = (BTreeMap::new(), BTreeMap::new());
        let (moved, changed) = (BTreeMap::new(), BTreeMap::new());
        Self { since: now, hot, moved, changed, touched }
    }

    /// The map has changed: a move may be carried out long after it was chosen, also one that an earlier leader chose.
    pub fn on_changed(&mut self, now: Mono, delta: &Delta) {
        if !delta.whole {
            self.changed.extend(delta.groups.iter().map(|(partition, _)| (*partition, now)));
        }
    }

    /// The next move, if one is called for. It counts as made.
    pub fn next(
        &mut self,
        now: Mono,
        (map, reports): (&ClusterMap, &Reports),
        limits: &HeatLimits,
    ) -> Option<Relief> {
        self.moved.retain(|_, at| now.since(*at) < limits.rests);
        self.changed.retain(|_, at| now.since(*at) < limits.rests);
        self.touched.retain(|_, at| now.since(*at) < limits.settles);
        let loads = loads(map, reports);
        let least = loads.values().copied().min()?;
        let exceeds = |load: u64| exceeds(load, least, limits);
        self.hot.retain(|node, _| loads.get(node).is_some_and(|load| exceeds(*load)));
        for (node, _) in loads.iter().filter(|(_, load)| exceeds(**load)) {
            self.hot.entry(*node).or_insert(now);
        }
        if !limits.moves {
            return None;
        }
        let ripe = |(node, since): &(&NodeId, &Mono)| {
            now.since(**since) >= limits.lasts && !self.touched.contains_key(*node)
        };
        let mut hot: Vec<NodeId> = self.hot.iter().filter(ripe).map(|(node, _)| *node).collect();
        hot.sort_unstable_by_key(|node| (std::cmp::Reverse(loads[node]), *node));
        let found = hot.into_iter().find_map(|from| {
            let busiest = reports[&from].busiest.iter();
            let mut able = busiest.filter(|(_, load)| *load >= limits.partition_min);
            able.find_map(|&(partition, load)| {
                let rests = now.since(self.since) < limits.rests
                    || self.moved.contains_key(&partition)
                    || self.changed.contains_key(&partition);
                if rests {
                    return None;
                }
                self.relief((partition, load.into()), from, (map, &loads), limits)
            })
        })?;
        self.moved.insert(found.partition, now);
        self.touched.extend([(found.from, now), (found.to, now)]);
        Some(found)
    }

    fn relief(
        &self,
        (partition, load): (PartitionId, u64),
        from: NodeId,
        (map, loads): (&ClusterMap, &BTreeMap<NodeId, u64>),
        limits: &HeatLimits,
    ) -> Option<Relief> {
        let group = map.group(partition)?;
        let waits = map.suggestions.contains_key(&partition);
        if group.primary != Some(from) || waits || map.placements.contains_key(&partition) {
            return None;
        }
        let from_load = loads[&from];
        let heirs = group.in_sync.iter().filter(|node| **node != from);
        let known = heirs.filter_map(|node| Some((*loads.get(node)?, *node)));
        let (to_load, to) = known.filter(|(_, node)| !self.touched.contains_key(node)).min()?;
        // Afterwards `to` has at most what `from` has.
        let pays = exceeds(from_load, to_load, limits) && 2 * load <= from_load - to_load;
        pays.then_some(Relief { partition, from, to, load, from_load, to_load })
    }

    /// Partitions whose leaders are chosen by work: those that may be moved, and those that were a while ago.
    #[must_use]
    pub fn busy(
        &self,
        (map, reports): (&ClusterMap, &Reports),
        limits: &HeatLimits,
    ) -> BTreeSet<PartitionId> {
        if !limits.moves {
            return BTreeSet::new();
        }
        let up = reports.iter().filter(|(node, _)| map.is_up(**node));
        let named = up.flat_map(|(_, report)| &report.busiest);
        let busy = named.filter(|(_, load)| *load >= limits.partition_min);
        busy.map(|(partition, _)| *partition).chain(self.moved.keys().copied()).collect()
    }
}

impl Relief {
    /// What the primary is asked for.
    #[must_use]
    pub fn suggestion(&self, map: &ClusterMap) -> Suggestion {
        let change = GroupChange::HandOver(self.to);
        Suggestion { partition: self.partition, expect: map.version_of(self.partition), change }
    }
}

/// Work of the nodes that may lead more.
fn loads(map: &ClusterMap, reports: &Reports) -> BTreeMap<NodeId, u64> {
    let able = |node: &NodeId| {
        let known = map.node(*node).filter(|known| !known.draining && known.site.weight > 0);
        known.is_some() && map.is_up(*node)
    };
    let able = reports.iter().filter(|(node, report)| able(node) && !report.exhausted);
    able.map(|(node, report)| (*node, report.load)).collect()
}

/// Whether `load` is so much more than `other`.
fn exceeds(load: u64, other: u64, limits: &HeatLimits) -> bool {
    load >= other.saturating_add(limits.difference_min)
        && u128::from(load) * 100 >= u128::from(other) * u128::from(limits.ratio_min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupVersion;
    use crate::cluster::{Node, NodeState, Placement, ReplicaGroup, Site};
    use fsm::Rng;

    const SECOND: u64 = 1_000_000_000;

    /// `nodes` nodes, partitions with all of them in sync, the loads given.
    struct Stand {
        map: ClusterMap,
        loads: Vec<u64>,
        /// What each node counted, averaged.
        averages: BTreeMap<NodeId, BTreeMap<PartitionId, u64>>,
        heat: Heat,
        now: u64,
        moves: Vec<(u64, Relief)>,
    }

    impl Stand {
        fn new(nodes: u16, leaders: &[u16], loads: Vec<u64>) -> Self {
            let mut map = ClusterMap::default();
            for node in (1..=nodes).map(NodeId) {
                let site = Site { weight: 100, ..Site::default() };
                let known = Node { site, state: NodeState::Up, ..Node::default() };
                map.nodes.insert(node, known);
            }
            let all: Vec<NodeId> = map.nodes.keys().copied().collect();
            let group = |leader: &u16| ReplicaGroup {
                version: GroupVersion(1),
                primary: Some(NodeId(*leader)),
                in_sync: all.clone(),
                ..ReplicaGroup::default()
            };
            map.groups = leaders.iter().map(group).collect();
            let averages = all.iter().map(|node| (*node, BTreeMap::new())).collect();
            Self { map, loads, averages, heat: Heat::new(Mono(0)), now: 0, moves: Vec::new() }
        }

        fn reports(&self) -> Reports {
            let report = |(node, counted): (&NodeId, &BTreeMap<PartitionId, u64>)| {
                let mut busiest: Vec<(PartitionId, u32)> = counted
                    .iter()
                    .map(|(partition, load)| (*partition, u32::try_from(*load).unwrap()))
                    .collect();
                busiest.sort_by_key(|(partition, load)| (std::cmp::Reverse(*load), *partition));
                busiest.truncate(crate::report::REPORT_PARTITIONS_MAX);
                let load = counted.values().sum();
                (*node, Arc::new(Report { load, busiest, ..Report::default() }))
            };
            self.averages.iter().map(report).collect()
        }

        /// Everybody counts for a second; then the leader looks.
        fn second(&mut self, limits: &HeatLimits) {
            self.now += SECOND;
            for (node, counted) in &mut self.averages {
                for (partition, group) in self.map.partitions() {
                    let load = self.loads[usize::from(partition.0)];
                    let fresh = if group.primary == Some(*node) { load } else { 0 };
                    let average = counted.entry(partition).or_default();
                    *average = (*average * 3 + fresh) / 4;
                }
            }
            let reports = self.reports();
            if let Some(relief) = self.heat.next(Mono(self.now), (&self.map, &reports), limits) {
                self.moves.push((self.now, relief));
                let group = &mut self.map.groups[usize::from(relief.partition.0)];
                assert_eq!(group.primary, Some(relief.from));
                group.primary = Some(relief.to);
                group.version.0 += 1;
            }
        }

        fn seconds(&mut self, count: u64, limits: &HeatLimits) {
            (0..count).for_each(|_| self.second(limits));
        }

        fn led(&self) -> BTreeMap<NodeId, u64> {
            let mut led: BTreeMap<_, _> = self.map.nodes.keys().map(|node| (*node, 0)).collect();
            for (partition, group) in self.map.partitions() {
                let load = self.loads[usize::from(partition.0)];
                *led.get_mut(&group.primary.unwrap()).unwrap() += load;
            }
            led
        }

        /// The least time between two moves of one partition.
        fn shortest_rest(&self) -> Option<u64> {
            let mut last: BTreeMap<PartitionId, u64> = BTreeMap::new();
            let pause = |(at, relief): &(u64, Relief)| {
                last.insert(relief.partition, *at).map(|before| at - before)
            };
            self.moves.iter().filter_map(pause).min()
        }
    }

    #[test]
    fn work_is_moved_off_the_busiest_node_and_then_stays() {
        let limits = HeatLimits::default();
        let mut stand = Stand::new(3, &[1; 12], vec![1_000; 12]);
        stand.seconds(400, &limits);
        let led = stand.led();
        assert!(led.values().all(|load| (3_000..=5_000).contains(load)), "{led:?}");
        let count = stand.moves.len();
        assert!((7..=9).contains(&count), "{:?}", stand.moves);
        stand.seconds(2_000, &limits);
        assert_eq!(stand.moves.len(), count, "nothing moves while nothing changes");
    }

    #[test]
    fn steady_work_comes_to_rest_and_every_move_pays() {
        let limits = HeatLimits::default();
        for seed in 1..200 {
            let mut rng = Rng::new(seed, 7);
            let partitions = 1 + rng.below(40);
            let mut load = |_| {
                let scale = 1 << rng.below(13);
                rng.below(scale)
            };
            let loads = (0..partitions).map(&mut load).collect();
            let leaders: Vec<u16> = (0..partitions).map(|_| 1 + (rng.below(5) as u16)).collect();
            let mut stand = Stand::new(5, &leaders, loads);
            stand.seconds(1_500, &limits);
            let count = stand.moves.len();
            stand.seconds(1_000, &limits);
            assert_eq!(stand.moves.len(), count, "seed {seed}: it goes on and on");
            assert!(stand.shortest_rest().is_none_or(|rest| rest >= 60 * SECOND), "seed {seed}");
            for (_, relief) in &stand.moves {
                let after = (relief.from_load - relief.load, relief.to_load + relief.load);
                assert!(after.0 >= after.1, "seed {seed}: {relief:?}");
            }
        }
    }

    #[test]
    fn what_one_node_alone_must_do_is_not_passed_around() {
        let limits = HeatLimits::default();
        let mut stand = Stand::new(3, &[1, 2, 3], vec![50_000, 10, 10]);
        stand.seconds(500, &limits);
        assert_eq!(stand.moves, []);
        // What is beside it moves away, down to what is not worth a move.
        let mut stand = Stand::new(3, &[1, 1, 1, 1], vec![50_000, 2_000, 2_000, 10]);
        stand.seconds(500, &limits);
        let moved: Vec<u16> = stand.moves.iter().map(|(_, relief)| relief.partition.0).collect();
        assert_eq!(moved, [1, 2]);
    }

    #[test]
    fn differences_that_are_small_in_numbers_or_in_proportion_are_left_alone() {
        let limits = HeatLimits::default();
        for (one, other) in [(900, 0), (10_000, 8_000)] {
            let half = one / 2;
            let mut stand = Stand::new(2, &[1, 1, 2], vec![half, half, other]);
            stand.seconds(300, &limits);
            assert_eq!(stand.moves, [], "{one} against {other}");
        }
    }

    #[test]
    fn a_burst_moves_nothing_and_neither_does_a_new_leader_at_once() {
        let limits = HeatLimits::default();
        let mut stand = Stand::new(2, &[1, 1], vec![0; 2]);
        stand.seconds(100, &limits);
        stand.loads = vec![2_000; 2];
        stand.seconds(4, &limits);
        stand.loads = vec![0; 2];
        stand.seconds(100, &limits);
        assert_eq!(stand.moves, []);
        let mut stand = Stand::new(2, &[1, 1], vec![2_000; 2]);
        stand.seconds(59, &limits);
        assert_eq!(stand.moves, [], "it does not know what moved before");
        stand.seconds(10, &limits);
        assert_eq!(stand.moves.len(), 1);
    }

    #[test]
    fn work_that_jumps_to_and_fro_never_moves_a_partition_twice_in_a_minute() {
        let limits = HeatLimits::default();
        for seed in 1..50 {
            let mut rng = Rng::new(seed, 9);
            let mut stand = Stand::new(3, &[1, 1, 2, 2, 3, 3], vec![0; 6]);
            for _ in 0..100 {
                stand.loads = (0..6).map(|_| rng.below(8) * 1_000).collect();
                let long = 1 + rng.below(30);
                stand.seconds(long, &limits);
            }
            assert!(!stand.moves.is_empty());
            assert!(stand.shortest_rest().is_none_or(|rest| rest >= 60 * SECOND), "seed {seed}");
        }
    }

    #[test]
    fn what_the_operator_placed_or_is_full_or_drains_takes_no_part() {
        let limits = HeatLimits::default();
        let mut stand = Stand::new(2, &[1, 1], vec![2_000; 2]);
        for partition in [0, 1].map(PartitionId) {
            let placement = Placement { node: NodeId(1), arrived: true };
            stand.map.placements.insert(partition, placement);
        }
        stand.seconds(200, &limits);
        assert_eq!(stand.moves, []);
        let mut stand = Stand::new(2, &[1, 1], vec![2_000; 2]);
        stand.map.nodes.get_mut(&NodeId(2)).unwrap().draining = true;
        stand.seconds(200, &limits);
        assert_eq!(stand.moves, []);
        let mut stand = Stand::new(2, &[1, 1], vec![2_000; 2]);
        stand.seconds(200, &HeatLimits { moves: false, ..limits });
        assert_eq!(stand.moves, []);
        let reports = stand.reports();
        let busy = stand.heat.busy((&stand.map, &reports), &limits);
        assert!(busy.contains(&PartitionId(1)));
    }
}
