//! How a worker group follows the cluster map: its copy, its seats, whose masters are where.

use crate::names::{self, GroupId};
use crate::queue::Rank;
use crate::shard::{Shard, Work};
use crate::work::LinkState;
use dds::cluster::{Delta, GroupChange, NodeId, NodeState};
use dds::replica::View;
use dds::{PartitionId, seat};
use fsm::{Duration, Mono};
use mailstore::face::Notice;
use mailstore::mailbox;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where the directory, the delivery queue and the sweep live: at the primary of this partition, in group 0.
pub(crate) const RESIDENTS: PartitionId = PartitionId(0);

/// How often a group looks after what waits. Our choice: well below what a person notices.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What group 0 tells all groups.
#[derive(Clone, Debug)]
pub enum News {
    /// The map has changed; from `fence_at` on no lease of a node given up holds.
    Map {
        delta: Arc<Delta>,
        fence_at: Mono,
    },
    /// The map knows of this run: from here on what it says of groups is no word of before.
    Registered,
    Lease {
        from: NodeId,
        until: Mono,
    },
    Silent {
        node: NodeId,
    },
    /// Of the other nodes, those whose stores take nothing but what frees space.
    Exhausted(Arc<BTreeSet<NodeId>>),
}

impl Shard {
    pub(crate) fn on_news(&mut self, news: News) {
        match news {
            News::Map { delta, fence_at } => self.on_map(&delta, fence_at),
            News::Registered => {
                self.registered = true;
                let all: Vec<PartitionId> = self.map.partitions().map(|(id, _)| id).collect();
                self.tell_seats(all);
                self.announce_ready();
                self.retry();
                self.begin_scrubs();
            }
            News::Lease { from, until } => {
                self.leases.renew(from, until);
                self.release_all();
            }
            News::Exhausted(nodes) => self.on_exhausted(nodes),
            News::Silent { node } => {
                let leads = self.seats.iter().filter(|(_, seat)| seat.slot.machine.leads());
                let leading: BTreeSet<PartitionId> = leads.map(|(id, _)| *id).collect();
                for partition in leading {
                    self.push(
                        Rank::Completion,
                        Work::Seat(partition, seat::Input::Silent { node }),
                    );
                }
            }
        }
    }

    fn on_map(&mut self, delta: &Delta, fence_at: Mono) {
        let first = !self.map.is_founded();
        let restarted: Vec<NodeId> = delta
            .nodes
            .iter()
            .filter(|(node, known)| {
                let before = self.map.node(*node);
                let now = known.as_ref();
                before.is_some_and(|before| now.is_none_or(|now| now.session != before.session))
            })
            .map(|(node, _)| *node)
            .collect();
        let down = delta
            .nodes
            .iter()
            .filter(|(_, known)| known.as_ref().is_none_or(|known| known.state == NodeState::Down));
        let ended = delta.nodes.iter().filter(|(node, known)| {
            let before = self.map.node(*node).map(|before| before.start);
            before.is_some() && before != known.as_ref().map(|known| known.start)
        });
        let ended: Vec<NodeId> = ended.map(|(node, _)| *node).collect();
        ended.into_iter().for_each(|node| self.forget_kicks(node));
        let mut gone: BTreeSet<NodeId> = down.map(|(node, _)| *node).collect();
        gone.extend(restarted.iter().copied());
        let primary = |partition| self.map.group(partition).and_then(|group| group.primary);
        let moved: Vec<(PartitionId, Option<NodeId>)> = delta
            .groups
            .iter()
            .map(|(partition, group)| (*partition, primary(*partition), group.primary))
            .filter(|(_, before, now)| before != now)
            .map(|(partition, before, _)| (partition, before))
            .collect();
        self.map.patch(delta);
        self.fence_at = fence_at;
        if first && self.map.is_founded() {
            self.config.map = self.map.dp_map();
        }
        if self.registered {
            if delta.whole || delta.settings.is_some() || !delta.nodes.is_empty() {
                let all: Vec<PartitionId> = self.map.partitions().map(|(id, _)| id).collect();
                self.tell_seats(all);
            } else {
                self.tell_seats(delta.groups.iter().map(|(id, _)| *id).collect());
            }
            self.tell_restarted(&restarted);
            self.suggest();
        }
        for (partition, before) in moved {
            self.on_moved(partition, before);
        }
        gone.remove(&self.me());
        for node in gone {
            self.on_node_lost(node);
        }
        self.announce_ready();
        self.retry();
        if self.map.nodes.len() > 1 {
            self.look_soon();
        }
    }

    /// Tells seats of this group what the map says. A node alone wakes only those that somebody asks for.
    fn tell_seats(&mut self, partitions: Vec<PartitionId>) {
        let me = self.me();
        let alone = self.map.nodes.len() == 1;
        for partition in partitions {
            if self.group_of_partition(partition) != self.config.group {
                continue;
            }
            let Some(group) = self.map.group(partition) else { continue };
            if self.seats.contains_key(&partition) {
                self.tell_seat(partition);
            } else if (!alone || partition == RESIDENTS) && group.is_member(me) {
                self.wake_seat(partition);
            }
        }
    }

    /// The word of the map on one partition.
    pub(crate) fn tell_seat(&mut self, partition: PartitionId) {
        let Some(group) = self.map.group(partition).cloned() else { return };
        let wanted = usize::from(self.map.settings.replicas).min(self.map.nodes.len());
        let min_in_sync = self.map.min_in_sync();
        let (fence_at, exhausted) = (self.fence_at, self.exhausted());
        let view = View { group, min_in_sync, wanted, fence_at, exhausted };
        self.push(Rank::Completion, Work::Seat(partition, seat::Input::GroupIs(view)));
    }

    fn tell_restarted(&mut self, nodes: &[NodeId]) {
        for &node in nodes {
            let with = |partition: &PartitionId| {
                self.map.group(*partition).is_some_and(|group| group.is_member(node))
            };
            let told: BTreeSet<PartitionId> = self.seats.keys().copied().filter(with).collect();
            for partition in told {
                self.push(Rank::Completion, Work::Seat(partition, seat::Input::Restarted { node }));
            }
        }
    }

    /// Tells primaries what the controller wishes of them.
    fn suggest(&mut self) {
        let me = Some(self.me());
        let mine = self.map.suggestions.values().filter(|suggestion| {
            let partition = suggestion.partition;
            self.seats.contains_key(&partition)
                && self.map.group(partition).is_some_and(|group| group.primary == me)
        });
        for suggestion in mine.copied().collect::<Vec<_>>() {
            let input = seat::Input::Suggested(suggestion.change);
            self.push(Rank::Rebalance, Work::Seat(suggestion.partition, input));
        }
    }

    /// The node stops: others take over at once, without waiting until it is missed.
    pub(crate) fn hand_over_all(&mut self) {
        let me = self.me();
        let heir = |partition: PartitionId| {
            let group = self.map.group(partition).filter(|group| group.primary == Some(me))?;
            let able = |node: &&NodeId| self.map.is_up(**node) && self.peers.contains(node);
            let mut heirs: Vec<NodeId> = group.in_sync.iter().filter(able).copied().collect();
            // Spread over all who can.
            let count = heirs.len();
            (count > 0).then(|| heirs.swap_remove(usize::from(partition.0) % count))
        };
        let led: BTreeSet<PartitionId> = self.seats.keys().copied().collect();
        let moves: Vec<_> = led.into_iter().filter_map(|id| Some((id, heir(id)?))).collect();
        for (partition, heir) in moves {
            let input = seat::Input::Suggested(GroupChange::HandOver(heir));
            self.push(Rank::Completion, Work::Seat(partition, input));
        }
    }

    /// The primary of a partition is another: so is the master of its users.
    fn on_moved(&mut self, partition: PartitionId, before: Option<NodeId>) {
        if let Some(before) = before {
            self.lose_tasks(|away| away.place == partition && away.target == before);
            self.lose_requests(|away| away.partition == partition && away.target == before);
        }
        self.doubt_scrubs_of(partition);
        // Also when the seat of this node never came to lead: masters may have waited for it.
        if self.map.group(partition).is_none_or(|group| group.primary != Some(self.me())) {
            self.end_masters(partition);
        }
        self.tell_sessions(|shard, user| {
            shard.config.map.partition_of(&mailbox::route(user).0) == partition
        });
        self.unsure(|_, other| other == partition);
        if partition == RESIDENTS {
            self.ask_accounts();
        }
    }

    /// A node is gone, or its connection was: what was under way with it may be lost, both ways.
    pub(crate) fn on_node_lost(&mut self, node: NodeId) {
        self.lose_tasks(|away| away.target == node);
        self.lose_requests(|away| away.target == node);
        self.miss_scrubs_of(node);
        self.unsure_of_node(node);
        for (session, user) in self.guests.remove(&node).unwrap_or_default() {
            self.on_session_gone(session, user);
            // It may live, and only be given up: then it opens its folder again.
            self.notify(session, Notice::MasterChanged);
        }
        for logins in self.imap_logins.values_mut() {
            logins.retain(|session| names::node_of(*session) != node);
        }
        self.imap_logins.retain(|_, logins| !logins.is_empty());
        self.tell_sessions(|shard, user| shard.master_of(user) == Some(node));
        if self.map.group(RESIDENTS).and_then(|group| group.primary) == Some(node) {
            self.ask_accounts();
        }
    }

    /// Tells sessions whose master has forgotten them that they must open their folder again.
    fn tell_sessions(&mut self, concerned: impl Fn(&Self, mailstore::face::UserId) -> bool) {
        let sessions: BTreeSet<_> =
            self.sessions.iter().filter_map(|(id, slot)| Some((*id, slot.user?))).collect();
        for (session, user) in sessions {
            if concerned(self, user) {
                self.notify(session, Notice::MasterChanged);
                self.tell_login(session);
            }
        }
        // Browsers watch under sessions of the node's own.
        let watch =
            self.operators.iter().flat_map(|(id, users)| users.iter().map(|user| (*id, *user)));
        let own: BTreeSet<_> = watch.filter(|(_, user)| concerned(self, *user)).collect();
        for (session, _) in own {
            self.notify(session, Notice::MasterChanged);
        }
    }

    pub(crate) fn on_link(&mut self, node: NodeId, link: LinkState) {
        match link {
            LinkState::Up => {
                self.peers.insert(node);
                self.ask_to_join();
                self.retry();
                self.kick_again(node);
                self.unsure_of_node(node);
                // What was told while it could not be reached is told again.
                let sessions: BTreeSet<_> =
                    self.sessions.iter().filter_map(|(id, slot)| Some((*id, slot.user?))).collect();
                for (session, user) in sessions {
                    if self.master_of(user) == Some(node) {
                        self.tell_login(session);
                    }
                }
            }
            LinkState::Lost => {
                self.peers.remove(&node);
                self.on_node_lost(node);
            }
        }
    }

    /// Residents elsewhere are as good as here.
    fn announce_ready(&mut self) {
        let elsewhere = self
            .map
            .group(RESIDENTS)
            .and_then(|group| group.primary)
            .filter(|node| *node != self.me());
        if self.registered
            && self.config.group == GroupId(0)
            && elsewhere.is_some_and(|node| self.map.is_up(node))
        {
            self.out.push(crate::work::Outward::Ready);
        }
    }

    /// Looks after what waits, now and then.
    pub(crate) fn look_after(&mut self) {
        let now = self.now.0;
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_at = None;
        self.ask_to_join();
        if self.registered {
            self.suggest();
        }
        self.give_up_late();
        self.retry();
        self.ask_accountless();
        self.erase_again();
        self.release_all();
        self.count_work();
        self.answer_kicks();
        if self.map.nodes.len() > 1 || !self.map.is_founded() {
            self.look_soon();
        }
    }

    /// Something waits.
    pub(crate) fn look_soon(&mut self) {
        if self.look_at.is_none() {
            self.look_at = Some(self.now.0.plus(LOOK_EVERY));
        }
    }
}
