//! What must hold at the end: the cluster comes to rest, all replicas hold the same, every key behaved like one register.

use super::Cluster;
use super::clients::{Doing, KEYS, number, route_key, sort_key};
use crate::failure::Failure;
use crate::invariants::nobody_is_behind;
use crate::invariants::replicas_agree::{self, Held};
use dds::cluster::NodeId;
use dds::{PartitionId, layout};

impl Cluster {
    /// Every group is complete and quiet, every client has its answer.
    pub(super) fn is_at_rest(&self) -> bool {
        self.first_unrest().is_none()
    }

    pub(super) fn unrest(&self) -> String {
        self.first_unrest().unwrap_or_default()
    }

    fn first_unrest(&self) -> Option<String> {
        let busy = |client: &&super::Client| !matches!(client.doing, Doing::Rest);
        if let Some(client) = self.clients.iter().find(busy) {
            let route = route_key(client.route);
            let partition = self.map.dp_map().partition_of(&route.0);
            return Some(format!("a client waits: {}", self.seats_of(partition)));
        }
        if !self.is_scrubbed() {
            return Some(format!("{} scrubs have not ended", self.rounds_left));
        }
        let wanted =
            usize::from(self.map.settings.replicas).min(usize::from(self.options.scenario.nodes));
        for (partition, group) in self.map.partitions() {
            let complete = group.in_sync.len() >= wanted && group.learners.is_empty();
            if !complete {
                return Some(format!("not complete: {}", self.seats_of(partition)));
            }
            let placement = self.map.placements.get(&partition);
            if placement.is_some_and(|placement| group.primary != Some(placement.node)) {
                return Some(format!("not where it was placed: {}", self.seats_of(partition)));
            }
            for node in &group.in_sync {
                let quiet = self.nodes[node].seat(partition).is_some_and(|seat| {
                    seat.replica().version() == group.version && seat.replica().is_quiet()
                });
                let leads = self.nodes[node].seat(partition).is_some_and(dds::Seat::leads);
                if !quiet || leads != (group.primary == Some(*node)) {
                    return Some(format!("{node:?} is busy: {}", self.seats_of(partition)));
                }
            }
        }
        let deep = self.nodes.values().find(|node| !node.disk.is_idle());
        deep.map(|node| format!("the disk of {:?} is busy", node.id)).or_else(|| self.first_left())
    }

    /// A node that keeps what it has no part in.
    fn first_left(&self) -> Option<String> {
        for (id, node) in &self.nodes {
            for partition in replicas_agree::by_partition(&node.disk.store).into_keys() {
                if self.map.group(partition).is_some_and(|group| !group.is_in_sync(*id)) {
                    return Some(format!("{id:?} keeps a copy: {}", self.seats_of(partition)));
                }
            }
        }
        None
    }

    fn seats_of(&self, partition: PartitionId) -> String {
        let group = self.map.group(partition);
        let seats = self.nodes.values().map(|node| {
            let seat = node.seat(partition);
            (node.id, seat.map(|seat| (seat.leads(), seat.replica().summary())))
        });
        let control = self.nodes.values().map(|node| {
            let running = node.running.as_ref()?;
            let (map, led) = (running.map.index, running.control.machine.term_led());
            Some((node.id, node.session, running.registered, map, led, node.disk.depth()))
        });
        let control: Vec<_> = control.collect();
        format!("{partition:?} {group:?} {:?} {control:?}", seats.collect::<Vec<_>>())
    }

    pub(super) fn judge(&mut self) -> Result<(), Failure> {
        for (partition, group) in self.map.partitions() {
            let held = group.in_sync.iter().map(|node| (*node, self.held(*node, partition)));
            replicas_agree::check(partition, held)?;
            let seat = group.primary.and_then(|node| self.nodes[&node].seat(partition));
            let behind = seat.map(|seat| seat.replica().behind()).unwrap_or_default();
            nobody_is_behind::check(partition, group, &behind)?;
        }
        self.judge_rot()?;
        self.read_all()?;
        for ((route, key), history) in &self.histories {
            history.check().map_err(|failure| {
                let partition = self.map.dp_map().partition_of(&route_key(*route).0);
                let what = format!("route {route} of {partition:?}, key {key}: {}", failure.what);
                Failure::new(failure.invariant, what)
            })?;
        }
        Ok(())
    }

    /// What a node's disk holds of a partition, records of the replica itself left out.
    pub(super) fn held(&self, node: NodeId, partition: PartitionId) -> Held {
        replicas_agree::held(&self.nodes[&node].disk.store, partition)
    }

    /// Reads every key from the disk of its primary, as a client would at the very end.
    fn read_all(&mut self) -> Result<(), Failure> {
        let map = self.map.dp_map();
        let now = self.schedule.now();
        let routes = self.options.scenario.clients / 2;
        for route in 0..routes.max(1) {
            let name = route_key(route);
            let partition = map.partition_of(&name.0);
            let Some(primary) = self.map.group(partition).and_then(|group| group.primary) else {
                continue;
            };
            let held = self.held(primary, partition);
            for key in 0..KEYS {
                let sort = sort_key(key);
                let at = (layout::column_of(&sort), layout::entry_key(partition, &name, &sort.0));
                let value = held.get(&at).map_or(0, |stored| number(&stored[8..]));
                let history = self.histories.entry((route, key)).or_default();
                history.read(value, now, now + 1)?;
            }
        }
        Ok(())
    }
}
