//! What a node says of itself with every ping, and what it hears of the others: work, space, copies, and what the directory counts.
//!
//! Every group counts its own; group 0 makes the report of the node from that, tells the control plane, and tells every group
//! which nodes are short of space.

use crate::following::News;
use crate::meter::Meter;
use crate::names::GroupId;
use crate::queue::Rank;
use crate::shard::{Shard, Work};
use crate::work::{Neighbour, Outward, Space, Standing};
use dds::cluster::NodeId;
use dds::{Copying, PartitionId, REPORT_PARTITIONS_MAX, Report, Residents, control, links};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a group counts of the partitions that it leads.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub loads: Vec<(PartitionId, u32)>,
    pub copies: Vec<Copying>,
}

/// What group 0 knows.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    groups: BTreeMap<GroupId, Counted>,
    /// Of this node, as it was told last.
    told: Option<Arc<Report>>,
    others: BTreeMap<NodeId, Arc<Report>>,
    exhausted: BTreeSet<NodeId>,
}

/// What every group has for that.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    pub meter: Meter,
    /// Other nodes whose stores take nothing but what frees space.
    pub exhausted: Arc<BTreeSet<NodeId>>,
    /// As of the last count.
    pub behind: Arc<BTreeMap<NodeId, Behind>>,
}

/// How far a follower is behind the partitions of a group that this node leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Partitions that it follows in sync, and those of them with something that it has not acknowledged.
    pub partitions: u64,
    pub waiting: u64,
    /// Entries of logs that it has not acknowledged: of all these partitions, and of the one with the most.
    pub groups: u64,
    pub groups_max: u64,
}

impl Behind {
    fn count(&mut self, groups: u64) {
        self.partitions += 1;
        self.waiting += u64::from(groups > 0);
        self.groups = self.groups.saturating_add(groups);
        self.groups_max = self.groups_max.max(groups);
    }

    /// Together with what another group says of the same follower.
    pub fn add(&mut self, other: &Self) {
        self.partitions += other.partitions;
        self.waiting += other.waiting;
        self.groups = self.groups.saturating_add(other.groups);
        self.groups_max = self.groups_max.max(other.groups_max);
    }
}

impl Shard {
    /// Once a second: what this group has counted goes to group 0.
    pub(crate) fn count_work(&mut self) {
        let Some(mut loads) = self.gauge.meter.look(self.now.0) else { return };
        let me = Some(self.me());
        let leads = |partition: &PartitionId| {
            self.map.group(*partition).is_some_and(|group| group.primary == me)
        };
        loads.retain(|(partition, _)| leads(partition));
        let filling = self.map.partitions().filter(|(_, group)| !group.learners.is_empty());
        let seats =
            filling.filter_map(|(partition, _)| Some((partition, self.seats.get(&partition)?)));
        let copies = seats.flat_map(|(partition, seat)| {
            let copies = seat.slot.machine.replica().copies();
            copies.into_iter().map(move |(node, bytes)| Copying { partition, node, bytes })
        });
        let counted = Counted { loads, copies: copies.collect() };
        self.gauge.behind = Arc::new(self.behind());
        let group = self.config.group;
        if group == GroupId(0) {
            self.on_counted(group, counted);
            self.report();
        } else {
            self.tell(GroupId(0), Neighbour::Counted { group, counted });
        }
    }

    fn behind(&self) -> BTreeMap<NodeId, Behind> {
        let mut followers: BTreeMap<NodeId, Behind> = BTreeMap::new();
        let seats = self.seats.values();
        for (node, groups) in seats.flat_map(|seat| seat.slot.machine.replica().behind()) {
            followers.entry(node).or_default().count(groups);
        }
        followers
    }

    pub(crate) fn on_counted(&mut self, group: GroupId, counted: Counted) {
        if let Some(membership) = &mut self.membership {
            membership.reports.groups.insert(group, counted);
        }
    }

    /// Says of this node what is known now.
    pub(crate) fn report(&mut self) {
        let report = Arc::new(self.compose());
        let Some(membership) = &mut self.membership else { return };
        if membership.reports.told.as_ref() == Some(&report) {
            return;
        }
        membership.reports.told = Some(Arc::clone(&report));
        self.step_links(links::Input::ReportIs(Arc::clone(&report)));
        self.pass_on(self.me(), report);
    }

    fn compose(&self) -> Report {
        let groups =
            self.membership.iter().flat_map(|membership| membership.reports.groups.values());
        let mut report = Report { exhausted: self.space == Space::Exhausted, ..Report::default() };
        for counted in groups {
            report.load += counted.loads.iter().map(|(_, load)| u64::from(*load)).sum::<u64>();
            report.busiest.extend(&counted.loads);
            report.copies.extend(&counted.copies);
        }
        report
            .busiest
            .sort_unstable_by_key(|(partition, load)| (std::cmp::Reverse(*load), *partition));
        report.busiest.truncate(REPORT_PARTITIONS_MAX);
        report.copies.truncate(REPORT_PARTITIONS_MAX);
        report.residents = self.directory.as_ref().map(|directory| Residents {
            accounts: directory.machine.account_count() as u64,
            deliveries: self.delivery.as_ref().map_or(0, |slot| slot.machine.depth()) as u64,
        });
        report
    }

    fn pass_on(&mut self, node: NodeId, report: Arc<Report>) {
        let input = control::Input::Reported { node, report: Arc::clone(&report) };
        self.push(Rank::Completion, Work::Control(input));
        self.out.push(Outward::Standing(Standing::Reported { node, report }));
    }

    /// Another node says this of itself.
    pub(crate) fn on_reported(&mut self, node: NodeId, report: Arc<Report>) {
        let Some(membership) = &mut self.membership else { return };
        membership.reports.others.insert(node, Arc::clone(&report));
        self.pass_on(node, report);
        self.tell_exhausted();
    }

    /// Tells every group which of the other nodes are short of space, when that is new.
    pub(crate) fn tell_exhausted(&mut self) {
        let Some(membership) = &mut self.membership else { return };
        let reports = &mut membership.reports;
        if let Some(map) = membership.control.machine.map() {
            reports.others.retain(|node, _| map.nodes.contains_key(node));
        }
        let full = reports.others.iter().filter(|(_, report)| report.exhausted);
        let full: BTreeSet<NodeId> = full.map(|(node, _)| *node).collect();
        if full != reports.exhausted {
            reports.exhausted.clone_from(&full);
            self.tell_all(News::Exhausted(Arc::new(full)));
        }
    }

    pub(crate) fn on_exhausted(&mut self, nodes: Arc<BTreeSet<NodeId>>) {
        self.gauge.exhausted = nodes;
        self.tell_seats_anew();
    }

    /// What seats are told beside the map has changed.
    pub(crate) fn tell_seats_anew(&mut self) {
        if self.registered {
            let seats: BTreeSet<PartitionId> = self.seats.keys().copied().collect();
            seats.into_iter().for_each(|partition| self.tell_seat(partition));
        }
    }

    /// Nodes whose stores take nothing but what frees space, this one among them.
    pub(crate) fn exhausted(&self) -> Arc<BTreeSet<NodeId>> {
        if self.space != Space::Exhausted {
            return Arc::clone(&self.gauge.exhausted);
        }
        let mut nodes = BTreeSet::clone(&self.gauge.exhausted);
        nodes.insert(self.me());
        Arc::new(nodes)
    }
}
