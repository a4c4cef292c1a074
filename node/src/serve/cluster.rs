//! The cluster as a node's operators see it, and what they may ask of it.

use super::bridge::ClusterView;
use super::control::NodeControl;
use super::place::Neighbours;
use crate::config::Config;
use crate::control::{
    ByteStream, ClusterReport, ControlError, HolderReport, HoldersReport, NodeChange, NodeProgress,
    NodeReport,
};
use dds::cluster::{Command, NodeId, NodeState, ReplicaGroup, Verdict};
use dds::{PartitionId, Residents};

impl ClusterView {
    /// Members that a partition should have, as many as there are nodes for.
    pub(super) fn wanted(&self) -> usize {
        let able = self.map.nodes.values().filter(|node| !node.draining).count();
        usize::from(self.map.settings.replicas).min(able)
    }

    #[must_use]
    pub fn under_replicated(&self) -> u64 {
        let few = |group: &&ReplicaGroup| group.in_sync.len() < self.wanted();
        self.map.groups.iter().filter(few).count() as u64
    }

    /// Partitions that nobody can serve now.
    #[must_use]
    pub fn unavailable(&self) -> u64 {
        let lost = |group: &&ReplicaGroup| {
            !group.may_acknowledge(self.map.min_in_sync())
                || group.primary.is_none_or(|node| !self.map.is_up(node))
        };
        self.map.groups.iter().filter(lost).count() as u64
    }

    /// Whether a node leads partitions that another could lead.
    #[must_use]
    pub fn leads_for_others(&self, node: NodeId) -> bool {
        let able = |other: &NodeId| *other != node && self.map.is_up(*other);
        let mut led = self.map.groups.iter().filter(|group| group.primary == Some(node));
        led.any(|group| group.in_sync.iter().any(able))
    }

    /// What a node that is not ready waits for; for the log.
    #[must_use]
    pub fn waits_for(&self) -> Vec<(&'static str, String)> {
        let names = |nodes: &[NodeId]| {
            let names: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
            names.join(", ")
        };
        let what = match (self.session, self.leader) {
            (None, None) => "a leader of the control plane: a majority of the voters must be up",
            (None, Some(_)) => {
                "the cluster to let this node in; if it was removed, empty its data directory"
            }
            (Some(_), _) => "a primary of partition 0: enough of its replicas must be up",
        };
        vec![("waits for", what.to_owned()), ("voters", names(&self.map.voters))]
    }

    fn holds(&self, node: NodeId) -> (u64, u64, u64) {
        let count = |is: &dyn Fn(&ReplicaGroup) -> bool| {
            self.map.groups.iter().filter(|group| is(group)).count() as u64
        };
        (
            count(&|group| group.primary == Some(node)),
            count(&|group| group.is_in_sync(node)),
            count(&|group| group.is_learner(node)),
        )
    }

    #[must_use]
    pub fn nodes(&self, config: &Config) -> Vec<NodeReport> {
        let report = |(&id, node): (&NodeId, &dds::cluster::Node)| {
            let (primaries, in_sync, learning) = self.holds(id);
            NodeReport {
                number: id.0,
                name: name_of(config, id),
                address: node.site.address.peers.clone(),
                is_up: node.state == NodeState::Up,
                draining: node.draining,
                voter: self.map.voters.contains(&id),
                leader: self.leader == Some(id),
                session: node.session.0,
                primaries,
                in_sync,
                learning,
                zone: node.site.zone.clone(),
                load: self.reports.get(&id).map(|report| report.load),
                exhausted: self.reports.get(&id).is_some_and(|report| report.exhausted),
                incarnation: node.incarnation.0,
            }
        };
        self.map.nodes.iter().map(report).collect()
    }

    #[must_use]
    pub fn state(&self) -> ClusterReport {
        let groups = &self.map.groups;
        let learning = groups.iter().filter(|group| !group.learners.is_empty()).count();
        let count = |is: &dyn Fn(&ReplicaGroup) -> bool| {
            groups.iter().filter(|group| is(group)).count() as u64
        };
        let leads = |group: &ReplicaGroup| group.primary.is_some_and(|node| self.map.is_up(node));
        let serves =
            |group: &ReplicaGroup| leads(group) && group.may_acknowledge(self.map.min_in_sync());
        let whole = |group: &ReplicaGroup| group.in_sync.len() >= self.wanted();
        let sum = |members: &dyn Fn(&ReplicaGroup) -> usize| {
            groups.iter().map(|group| members(group) as u64).sum()
        };
        ClusterReport {
            whole: count(&|group| serves(group) && whole(group)),
            few: count(&|group| serves(group) && !whole(group)),
            too_few: count(&|group| leads(group) && !serves(group)),
            leaderless: count(&|group| !leads(group)),
            filling: sum(&|group| group.learners.len()),
            copies_in_sync: sum(&|group| group.in_sync.len()),
            copies_wanted: (groups.len() * self.wanted()) as u64,
            map_index: self.map.index,
            replicas: self.map.settings.replicas.into(),
            min_in_sync: self.map.settings.min_in_sync.into(),
            min_in_sync_wanted: self.map.settings.min_in_sync_wanted.into(),
            moves: (self.map.suggestions.len().max(learning)) as u64,
            feature_level: self.map.settings.feature_level,
            placed: self.map.placements.len() as u64,
        }
    }

    /// What the directory and the delivery queue count, where they run on another node than `here`.
    #[must_use]
    pub fn residents(&self, here: u16) -> Option<Residents> {
        let primary = self.map.group(PartitionId(0)).and_then(|group| group.primary)?;
        if primary == NodeId(here) {
            return None;
        }
        self.reports.get(&primary).and_then(|report| report.residents)
    }

    /// The node that leads a partition.
    #[must_use]
    pub fn primary_name(&self, config: &Config, partition: PartitionId) -> String {
        let primary = self.map.group(partition).and_then(|group| group.primary);
        primary.map_or_else(|| "(none)".to_owned(), |node| name_of(config, node))
    }

    /// The names of those that hold a partition in sync.
    pub fn names_in_sync(&self, config: &Config, partition: PartitionId) -> Vec<String> {
        let in_sync = self.map.group(partition).map(|group| &group.in_sync[..]).unwrap_or_default();
        in_sync.iter().map(|&node| name_of(config, node)).collect()
    }
}

/// The name of a node in the file; its number, when it is not there.
pub(super) fn name_of(config: &Config, node: NodeId) -> String {
    let entry = usize::from(node.0).checked_sub(1).and_then(|at| config.node.get(at));
    entry.map_or_else(|| format!("number {}", node.0), |entry| entry.name.clone())
}

pub(super) fn failed(what: impl Into<String>) -> ControlError {
    ControlError::Failed(what.into())
}

impl NodeControl {
    pub(super) fn node_called(&self, name: &str) -> Result<NodeId, ControlError> {
        let at = self.config.node.iter().position(|node| node.name == name);
        let number = at.and_then(|at| u16::try_from(at + 1).ok());
        let number = number.or_else(|| name.parse().ok());
        number.map(NodeId).ok_or_else(|| {
            let known: Vec<&str> = self.config.node.iter().map(|node| &*node.name).collect();
            failed(format!("no [[node]] is named {name:?}; there is {}", known.join(", ")))
        })
    }

    /// The names of the other nodes that the map knows.
    pub fn other_nodes(&self) -> Vec<String> {
        let view = self.bridge.cluster();
        let others = view.map.nodes.keys().filter(|node| node.0 != self.node);
        others.map(|&node| name_of(&self.config, node)).collect()
    }

    /// Who holds what, with all that was agreed on before the call.
    pub async fn agreed_holders(&self) -> Result<HoldersReport, ControlError> {
        // It changes nothing; once it is applied here everything before it is, too.
        self.command(Command::Suggest(Vec::new())).await?;
        let view = self.bridge.cluster();
        let names = view.map.nodes.keys().map(|&node| (node.0, name_of(&self.config, node)));
        let group = |group: &ReplicaGroup| HolderReport {
            version: group.version.0,
            primary: group.primary.filter(|&node| view.map.is_up(node)).map(|node| node.0),
            in_sync: group.in_sync.iter().map(|node| node.0).collect(),
        };
        Ok(HoldersReport {
            nodes: names.collect(),
            min_in_sync: view.map.settings.min_in_sync,
            groups: view.map.groups.iter().map(group).collect(),
        })
    }

    /// Connects to another node for calls of its admin API.
    pub async fn connect(&self, name: &str) -> Result<Box<dyn ByteStream>, ControlError> {
        let node = self.node_called(name)?;
        let Neighbours { credentials, others } = &self.neighbours;
        let other = others.iter().find(|other| other.node == node).ok_or_else(|| {
            failed("it is not in the file that this node was started with: restart this one with the new file")
        })?;
        let connected = crate::peers::call_admin(credentials, other).await;
        connected.map_err(|refused| failed(refused.to_string()))
    }

    pub(super) async fn command(&self, command: Command) -> Result<(), ControlError> {
        match self.bridge.command(command).await {
            None => Err(ControlError::Stopping),
            Some(Verdict::Done | Verdict::OldImage) => Ok(()),
            Some(Verdict::Refused(objection)) => Err(failed(objection.to_string())),
            Some(Verdict::Unknown) => Err(failed(
                "nobody can say whether it was done: a majority of the voters must be up; look at `hikyaku \
                 status` and ask again",
            )),
        }
    }

    pub async fn change(&self, name: &str, change: NodeChange) -> Result<(), ControlError> {
        let node = self.node_called(name)?;
        let known = self.bridge.cluster().map.node(node).cloned();
        match (change, known) {
            // It asks to be let in when it starts.
            (NodeChange::Join, None) => Ok(()),
            (NodeChange::Join, Some(known)) if !known.draining => Ok(()),
            (NodeChange::Join, Some(_)) => self.command(Command::Undrain { node }).await,
            (NodeChange::Drain, Some(_)) => self.command(Command::Drain { node }).await,
            (NodeChange::Remove, Some(_)) => self.command(Command::RemoveNode { node }).await,
            (NodeChange::Drain | NodeChange::Remove, None) => {
                Err(failed(format!("the cluster has no node {name:?}")))
            }
        }
    }

    pub fn progress(&self, name: &str, change: NodeChange) -> Result<NodeProgress, ControlError> {
        let node = self.node_called(name)?;
        let view = self.bridge.cluster();
        let total = view.map.groups.len() as u64;
        let held = view.map.groups.iter().filter(|group| {
            group.is_member(node) || group.is_candidate(node) || group.primary == Some(node)
        });
        let held = held.count() as u64;
        let known = view.map.node(node);
        Ok(match change {
            NodeChange::Drain | NodeChange::Remove => {
                let waits_for = if held > 0 && view.wanted() == 0 {
                    "another node that could hold its partitions".to_owned()
                } else {
                    String::new()
                };
                NodeProgress { done: total - held, total, waits_for }
            }
            NodeChange::Join => {
                let waits_for = match known {
                    None => {
                        format!("node {name} to start: `hikyaku serve --node {name}` on its host")
                    }
                    Some(known) if known.state != NodeState::Up => {
                        format!("node {name} to come up")
                    }
                    Some(_) => String::new(),
                };
                let down = view.map.nodes.iter().filter(|(id, other)| {
                    **id != node && other.state != NodeState::Up && !other.draining
                });
                let down: Vec<String> = down.map(|(id, _)| name_of(&self.config, *id)).collect();
                let waits_for = if waits_for.is_empty() && !down.is_empty() {
                    format!("node {} to come up, or to be removed", down.join(", "))
                } else {
                    waits_for
                };
                let whole = total - view.under_replicated();
                // A node that joins is done when nothing is to move any more.
                let moving = view.state().moves + u64::from(!waits_for.is_empty());
                let done = if moving == 0 { whole } else { whole.min(total.saturating_sub(1)) };
                NodeProgress { done, total, waits_for }
            }
        })
    }
}
