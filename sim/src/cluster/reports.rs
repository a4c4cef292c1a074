//! What the nodes of a simulated cluster say of themselves: work that is made up, space, and copies. And what becomes of it: moves
//! of primaries, of which none may be followed by another of the same partition for long.

use super::{Cluster, ClusterMutation, Event, Life};
use dds::cluster::{ClusterMap, HeatLimits, NodeId, Relief};
use dds::{Copying, GroupVersion, PartitionId, REPORT_PARTITIONS_MAX, Report, control, links};
use fsm::{Duration, Rng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often a node says something of itself.
const REPORT_EVERY: u64 = 250_000_000;

/// How long the work of a partition stays as it is.
const WORK_LASTS: u64 = 25_000_000_000;

/// The least time between two moves of one partition for the sake of work.
const RESTS: Duration = Duration::from_secs(10);

/// Moves for the sake of work.
#[derive(Debug, Default)]
pub(super) struct Reliefs {
    /// Of the version of a group that a leader has chosen to end: to whom.
    chosen: BTreeMap<(PartitionId, GroupVersion), NodeId>,
    /// When each partition moved last.
    moved: BTreeMap<PartitionId, u64>,
}

/// Small times, so that a run sees many moves; none at all where a run is made on purpose to see too many.
pub(super) fn heat_limits(mutation: Option<ClusterMutation>, moves: bool) -> HeatLimits {
    let limits = HeatLimits {
        moves,
        lasts: Duration::from_secs(1),
        settles: Duration::from_secs(4),
        rests: RESTS,
        ..HeatLimits::default()
    };
    if mutation != Some(ClusterMutation::NoHysteresis) {
        return limits;
    }
    let none = Duration::ZERO;
    let (difference_min, ratio_min) = (1, 100);
    HeatLimits { difference_min, ratio_min, lasts: none, settles: none, rests: none, ..limits }
}

impl Cluster {
    /// Units a second of a partition, whoever leads it.
    fn work_of(&self, partition: PartitionId) -> u64 {
        let epoch = self.schedule.now() / WORK_LASTS;
        let mut rng = Rng::new(self.options.seed ^ epoch << 32, u64::from(partition.0));
        if rng.chance(1, 3) { 1_000 + rng.below(5_000) } else { rng.below(100) }
    }

    pub(super) fn on_report(&mut self, life: Life) {
        self.schedule.after(REPORT_EVERY, Event::Report { life });
        let id = life.node;
        let works = self.options.scenario.heat;
        let partitions: Vec<PartitionId> = self.map.partitions().map(|(id, _)| id).collect();
        let work: Vec<(PartitionId, u64)> =
            partitions.into_iter().map(|partition| (partition, self.work_of(partition))).collect();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let exhausted = node.full;
        let Some(running) = &mut node.running else { return };
        let mut report = Report { exhausted, ..Report::default() };
        for (partition, work) in work {
            let Some(seat) = running.seats.get(&partition) else { continue };
            let leads = seat.machine.leads() && works;
            let average = running.work.entry(partition).or_default();
            *average = (*average * 3 + if leads { work } else { 0 }) / 4;
            if leads && *average > 0 {
                report.load += *average;
                report.busiest.push((partition, u32::try_from(*average).unwrap_or(u32::MAX)));
            }
            let copies = seat.machine.replica().copies().into_iter();
            report.copies.extend(copies.map(|(node, bytes)| Copying { partition, node, bytes }));
        }
        report.busiest.sort_by_key(|(partition, load)| (std::cmp::Reverse(*load), *partition));
        report.busiest.truncate(REPORT_PARTITIONS_MAX);
        if !report.copies.is_empty() {
            self.coverage.action("copy is told of");
        }
        let report = Arc::new(report);
        self.step_links(id, links::Input::ReportIs(Arc::clone(&report)));
        self.on_reported(id, (id, report));
    }

    /// A node learns what another, or itself, says.
    pub(super) fn on_reported(&mut self, id: NodeId, (node, report): (NodeId, Arc<Report>)) {
        let exhausted = report.exhausted;
        self.step_control(id, control::Input::Reported { node, report });
        let of = self.nodes.get_mut(&id);
        let Some(running) = of.and_then(|node| node.running.as_mut()) else { return };
        let mut full = BTreeSet::clone(&running.exhausted);
        let changed = if exhausted { full.insert(node) } else { full.remove(&node) };
        if changed {
            running.exhausted = Arc::new(full);
            self.tell_views(id);
        }
    }

    /// The leader of `id` moves work.
    pub(super) fn on_relief(&mut self, id: NodeId, relief: Relief) {
        self.coverage.action("work is to move");
        let running = self.nodes.get(&id).and_then(|node| node.running.as_ref());
        let Some(map) = running.and_then(|running| running.control.machine.map()) else { return };
        let place = (relief.partition, map.version_of(relief.partition));
        self.reliefs.chosen.insert(place, relief.to);
    }

    /// The newest map has changed.
    pub(super) fn follow_reliefs(&mut self, before: &ClusterMap) {
        let now = self.schedule.now();
        let mut flip = None;
        for (partition, group) in self.map.partitions() {
            let Some(old) = before.group(partition) else { continue };
            let chosen = self.reliefs.chosen.get(&(partition, old.version)).copied();
            if chosen.is_none() || old.primary == chosen || group.primary != chosen {
                continue;
            }
            self.coverage.action("work has moved");
            if let Some(last) = self.reliefs.moved.insert(partition, now) {
                // Clocks run up to a tenth apart.
                let rests = u64::try_from(RESTS.as_nanos()).unwrap_or(u64::MAX) / 10 * 9;
                if now - last < rests {
                    let apart = (now - last) / 1_000_000;
                    flip = Some(format!("{partition:?} moved twice within {apart} ms"));
                }
            }
        }
        if let Some(what) = flip {
            self.fail("work_rests", what);
        }
    }
}
