//! How commands change the cluster map.
//!
//! Invariants: the outcome depends on nothing but the map and the command; a refused command changes nothing but the index; every
//! mark applies once; a suggestion fits its group.

use super::succession::{Surroundings, on_given_up, on_lost, on_returned, raise};
use super::{
    ClusterMap, Command, Delta, GroupChange, Incarnation, NODES_MAX, Node, NodeId, NodeState,
    Objection, Proposal, REPLICAS_MAX, ReplicaGroup, Scope, Session, Settings, Site, Start,
    Suggestion, Verdict, group_change,
};
use crate::{GroupVersion, PartitionId};
use std::collections::BTreeSet;

/// Incarnations of one node that are remembered as gone.
pub(super) const RETIRED_MAX: usize = 64;

/// The outcome of one entry of the control log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub verdict: Verdict,
    pub delta: Delta,
}

/// What a command has touched so far.
#[derive(Debug, Default)]
pub(super) struct Touched {
    settings: bool,
    voters: bool,
    nodes: BTreeSet<NodeId>,
    groups: BTreeSet<PartitionId>,
    pub suggestions: BTreeSet<PartitionId>,
    pub placements: BTreeSet<PartitionId>,
}

/// A registration, without the node's number.
#[derive(Clone, Copy, Debug)]
struct Registration {
    incarnation: Incarnation,
    session: Session,
    start: Start,
    features: u32,
}

pub(super) type Judged = Result<(), Objection>;

impl ClusterMap {
    /// Applies the entry `index` of the control log.
    pub fn apply_proposal(&mut self, index: u64, proposal: &Proposal) -> Applied {
        match self.take_mark(proposal) {
            Ok(()) => self.apply(index, &proposal.command),
            Err(objection) => {
                self.index = index;
                let delta = Delta { index, ..Delta::default() };
                Applied { verdict: Verdict::Refused(objection), delta }
            }
        }
    }

    /// Applies `command` as entry `index`, whoever proposed it.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        self.index = index;
        let mut touched = Touched::default();
        let verdict = match command {
            Command::Register { node, incarnation, session, start, features } => {
                let registration = Registration {
                    incarnation: *incarnation,
                    session: *session,
                    start: *start,
                    features: *features,
                };
                self.register(&mut touched, *node, registration)
            }
            other => match self.judge(&mut touched, other) {
                Ok(()) => Verdict::Done,
                Err(objection) => Verdict::Refused(objection),
            },
        };
        self.follow_placements(&mut touched);
        self.void_suggestions(&mut touched);
        Applied { verdict, delta: self.delta_of(touched) }
    }

    /// An entry that is no command: only the index moves.
    pub fn skip(&mut self, index: u64) {
        self.index = index;
    }

    /// The control group has these voters from entry `index` on.
    pub fn set_voters(&mut self, index: u64, mut voters: Vec<NodeId>) -> Delta {
        voters.sort_unstable();
        voters.dedup();
        self.index = index;
        let voters = (voters != self.voters).then_some(voters);
        if let Some(voters) = &voters {
            self.voters.clone_from(voters);
        }
        Delta { index, voters, ..Delta::default() }
    }

    /// A proposal that was sent twice, or overtaken by a later one, or made by a run that is over, does not apply.
    fn take_mark(&mut self, proposal: &Proposal) -> Judged {
        match &proposal.command {
            // Proposed by nodes that may be unknown; safe to apply again.
            Command::Found { .. } | Command::AddNode { .. } | Command::Register { .. } => {
                return Ok(());
            }
            Command::GiveUp { .. }
            | Command::ChangeGroup { .. }
            | Command::Suggest(_)
            | Command::Drain { .. }
            | Command::Undrain { .. }
            | Command::RemoveNode { .. }
            | Command::SetMinInSync { .. }
            | Command::ReachMinInSync
            | Command::SetReplicas { .. }
            | Command::Place { .. }
            | Command::RaiseFeatureLevel { .. }
            | Command::UnsafeRecover { .. } => {}
        }
        let known = self.nodes.get(&proposal.by).ok_or(Objection::UnknownNode)?;
        if known.start != proposal.start {
            return Err(Objection::SessionOver);
        }
        let mark = self.marks.entry(proposal.by).or_default();
        if proposal.number <= *mark {
            return Err(Objection::Overtaken);
        }
        *mark = proposal.number;
        Ok(())
    }

    fn judge(&mut self, touched: &mut Touched, command: &Command) -> Judged {
        if let Command::Found { node, incarnation, site, settings } = command {
            return self.found(touched, *node, *incarnation, (site, settings));
        }
        if !self.is_founded() {
            return Err(Objection::NotFounded);
        }
        match command {
            Command::Found { .. } | Command::Register { .. } => Ok(()),
            Command::AddNode { node, incarnation, site } => {
                self.add_node(touched, *node, *incarnation, site)
            }
            Command::GiveUp { node, session } => self.give_up(touched, *node, *session),
            Command::ChangeGroup { partition, expect, change, by } => {
                self.change_group(touched, *partition, *expect, (*change, *by))
            }
            Command::Suggest(suggestions) => {
                self.suggest(touched, suggestions);
                Ok(())
            }
            Command::Drain { node } => {
                self.change_node(touched, *node, |known| known.draining = true)
            }
            Command::Undrain { node } => {
                self.change_node(touched, *node, |known| known.draining = false)
            }
            Command::RemoveNode { node } => self.remove_node(touched, *node),
            Command::SetMinInSync { count } => self.set_min_in_sync(touched, *count),
            Command::ReachMinInSync => self.reach_min_in_sync(touched),
            Command::SetReplicas { count } => self.set_replicas(touched, *count),
            Command::Place { partition, node } => self.place(touched, *partition, *node),
            Command::RaiseFeatureLevel { level } => self.raise_feature_level(touched, *level),
            Command::UnsafeRecover { scope, from } => self.unsafe_recover(touched, *scope, *from),
        }
    }

    fn found(
        &mut self,
        touched: &mut Touched,
        node: NodeId,
        incarnation: Incarnation,
        (site, settings): (&Site, &Settings),
    ) -> Judged {
        if self.is_founded() {
            return Err(Objection::Founded);
        }
        let counts = [settings.replicas, settings.min_in_sync_wanted, settings.min_in_sync];
        let sound = settings.partitions.is_power_of_two()
            && settings.partitions <= 16_384
            && counts.is_sorted_by(|a, b| a >= b)
            && (1..=REPLICAS_MAX).contains(&settings.replicas)
            && settings.min_in_sync > 0
            && node.0 > 0;
        if !sound {
            return Err(Objection::OutOfRange);
        }
        // It leads everything already, under session 0; it is up as soon as there is a map.
        let known =
            Node { site: site.clone(), incarnation, state: NodeState::Up, ..Node::default() };
        self.nodes.insert(node, known);
        self.settings = settings.clone();
        self.groups = vec![ReplicaGroup::sole(node); usize::from(settings.partitions)];
        self.voters = vec![node];
        touched.settings = true;
        touched.voters = true;
        touched.nodes.insert(node);
        touched.groups.extend((0..settings.partitions).map(PartitionId));
        Ok(())
    }

    fn add_node(
        &mut self,
        touched: &mut Touched,
        node: NodeId,
        incarnation: Incarnation,
        site: &Site,
    ) -> Judged {
        let full = self.nodes.len() >= NODES_MAX;
        match self.nodes.get_mut(&node) {
            Some(known) if known.incarnation == incarnation => known.site = site.clone(),
            Some(_) => return Err(Objection::NodeExists),
            None if node.0 == 0 || full => return Err(Objection::OutOfRange),
            None => {
                let known = Node { site: site.clone(), incarnation, ..Node::default() };
                self.nodes.insert(node, known);
            }
        }
        touched.nodes.insert(node);
        Ok(())
    }

    fn register(&mut self, touched: &mut Touched, node: NodeId, asked: Registration) -> Verdict {
        let Some(known) = self.nodes.get_mut(&node) else {
            return Verdict::Refused(Objection::UnknownNode);
        };
        if known.retired.contains(&asked.incarnation) {
            return Verdict::OldImage;
        }
        if asked.features < self.settings.feature_level {
            // It would be sent what it does not know. No release has met this at level 1, so all judge it alike.
            return Verdict::Refused(Objection::FeatureUnknown);
        }
        let lost_disk = known.incarnation != asked.incarnation;
        if lost_disk && known.state == NodeState::Up {
            // Two hosts with one number, or a new disk before the old one was missed.
            return Verdict::Refused(Objection::NodeIsUp);
        }
        if !lost_disk && asked.session <= known.session {
            return match (asked.start == known.start, known.state) {
                (false, _) => Verdict::OldImage,
                (true, NodeState::Up) if asked.session == known.session => Verdict::Done,
                (true, NodeState::Up | NodeState::Down) => Verdict::Refused(Objection::SessionOver),
            };
        }
        // Of the founder: it leads since there is a map, and nobody did before.
        let first = known.session == Session(0) && known.state == NodeState::Up;
        if lost_disk {
            known.retired.push(known.incarnation);
            let forgotten = known.retired.len().saturating_sub(RETIRED_MAX);
            known.retired.drain(..forgotten);
            known.incarnation = asked.incarnation;
            // The directory that voted is gone.
            let before = self.voters.len();
            self.voters.retain(|voter| *voter != node);
            touched.voters |= self.voters.len() != before;
        }
        if known.start != asked.start {
            self.marks.remove(&node);
        }
        known.session = asked.session;
        known.start = asked.start;
        known.features = asked.features;
        known.state = NodeState::Up;
        touched.nodes.insert(node);
        if lost_disk {
            self.each_group(touched, |group, at| on_lost(group, at, node));
        } else if !first {
            self.each_group(touched, |group, at| on_returned(group, at, node));
        }
        Verdict::Done
    }

    fn give_up(&mut self, touched: &mut Touched, node: NodeId, session: Session) -> Judged {
        let known = self.nodes.get_mut(&node).ok_or(Objection::UnknownNode)?;
        if known.session != session {
            return Err(Objection::SessionOver);
        }
        if known.state == NodeState::Down {
            return Ok(());
        }
        known.state = NodeState::Down;
        touched.nodes.insert(node);
        self.each_group(touched, |group, at| on_given_up(group, at, node));
        Ok(())
    }

    fn change_group(
        &mut self,
        touched: &mut Touched,
        partition: PartitionId,
        expect: GroupVersion,
        (change, by): (GroupChange, NodeId),
    ) -> Judged {
        let group = self.group(partition).ok_or(Objection::UnknownPartition)?;
        if group.version != expect {
            return Err(Objection::WrongVersion(group.version));
        }
        let next = group_change::changed(group, &self.surroundings(partition), change, by)?;
        self.groups[usize::from(partition.0)] = next;
        touched.groups.insert(partition);
        Ok(())
    }

    fn suggest(&mut self, touched: &mut Touched, suggestions: &[Suggestion]) {
        for &suggestion in suggestions {
            let partition = suggestion.partition;
            if self.group(partition).is_some_and(|group| group.version == suggestion.expect) {
                self.suggestions.insert(partition, suggestion);
                touched.suggestions.insert(partition);
            }
        }
    }

    fn change_node(
        &mut self,
        touched: &mut Touched,
        node: NodeId,
        change: impl FnOnce(&mut Node),
    ) -> Judged {
        change(self.nodes.get_mut(&node).ok_or(Objection::UnknownNode)?);
        touched.nodes.insert(node);
        Ok(())
    }

    fn remove_node(&mut self, touched: &mut Touched, node: NodeId) -> Judged {
        if !self.nodes.contains_key(&node) {
            return Err(Objection::UnknownNode);
        }
        if self.holds_anything(node) {
            return Err(Objection::HoldsPartitions);
        }
        if self.nodes.len() == 1 {
            return Err(Objection::LastNode);
        }
        self.nodes.remove(&node);
        self.marks.remove(&node);
        touched.nodes.insert(node);
        Ok(())
    }

    fn set_min_in_sync(&mut self, touched: &mut Touched, count: u8) -> Judged {
        if count == 0 || count > self.settings.replicas {
            return Err(Objection::OutOfRange);
        }
        self.settings.min_in_sync = count;
        self.settings.min_in_sync_wanted = count;
        touched.settings = true;
        // A set that was too small until now acknowledges from here on: the candidates of before may soon hold less.
        self.each_group(touched, |group, at| {
            let acknowledges = group.in_sync.len() >= at.min_in_sync;
            let stale = acknowledges && group.candidates != group.in_sync;
            if stale {
                raise(group, at);
            }
            stale
        });
        Ok(())
    }

    fn reach_min_in_sync(&mut self, touched: &mut Touched) -> Judged {
        let wanted = self.settings.min_in_sync_wanted;
        if self.groups.iter().any(|group| group.in_sync.len() < usize::from(wanted)) {
            return Err(Objection::TooFewInSync);
        }
        touched.settings = self.settings.min_in_sync != wanted;
        self.settings.min_in_sync = wanted;
        Ok(())
    }

    fn set_replicas(&mut self, touched: &mut Touched, count: u8) -> Judged {
        if count < self.settings.min_in_sync_wanted || count > REPLICAS_MAX {
            return Err(Objection::OutOfRange);
        }
        self.settings.replicas = count;
        touched.settings = true;
        Ok(())
    }

    fn raise_feature_level(&mut self, touched: &mut Touched, level: u32) -> Judged {
        if level < self.settings.feature_level {
            return Err(Objection::OutOfRange);
        }
        if self.nodes.values().any(|known| known.features < level) {
            return Err(Objection::FeatureUnknown);
        }
        self.settings.feature_level = level;
        touched.settings = true;
        Ok(())
    }

    fn unsafe_recover(&mut self, touched: &mut Touched, scope: Scope, from: NodeId) -> Judged {
        if !self.nodes.contains_key(&from) {
            return Err(Objection::UnknownNode);
        }
        if !self.is_up(from) {
            return Err(Objection::NodeIsDown);
        }
        match scope {
            Scope::One(partition) => {
                let group = self.group(partition).ok_or(Objection::UnknownPartition)?;
                let next = group_change::recovered(group, &self.surroundings(partition), from)?;
                self.groups[usize::from(partition.0)] = next;
                touched.groups.insert(partition);
            }
            Scope::All => self.each_group(touched, |group, at| {
                let next = group_change::recovered(group, at, from);
                let recovers = next.is_ok();
                if let Ok(next) = next {
                    *group = next;
                }
                recovers
            }),
        }
        Ok(())
    }

    fn surroundings(&self, partition: PartitionId) -> Surroundings<'_> {
        Surroundings { nodes: &self.nodes, partition, min_in_sync: self.min_in_sync() }
    }

    /// Runs `transition` on every group; it says whether the group changed.
    fn each_group(
        &mut self,
        touched: &mut Touched,
        mut transition: impl FnMut(&mut ReplicaGroup, &Surroundings<'_>) -> bool,
    ) {
        let min_in_sync = self.min_in_sync();
        for (partition, group) in (0_u16..).map(PartitionId).zip(&mut self.groups) {
            let at = Surroundings { nodes: &self.nodes, partition, min_in_sync };
            if transition(group, &at) {
                touched.groups.insert(partition);
            }
        }
    }

    /// Suggestions end with the version they were made for, and when their node is no good any more.
    fn void_suggestions(&mut self, touched: &mut Touched) {
        let Self { suggestions, groups, nodes, .. } = self;
        suggestions.retain(|partition, suggestion| {
            let group = groups.get(usize::from(partition.0));
            let fits = group.is_some_and(|group| group.version == suggestion.expect);
            let node = suggestion.change.node();
            let able = node.and_then(|node| nodes.get(&node)).is_some_and(|known| match suggestion
                .change
            {
                GroupChange::AddLearner(_) | GroupChange::HandOver(_) => {
                    known.state == NodeState::Up && !known.draining
                }
                GroupChange::Remove(_)
                | GroupChange::Expel(_)
                | GroupChange::Promote(_)
                | GroupChange::StepDown
                | GroupChange::Resign => true,
            });
            if !(fits && able) {
                touched.suggestions.insert(*partition);
            }
            fits && able
        });
    }

    fn delta_of(&self, touched: Touched) -> Delta {
        let node = |node: NodeId| (node, self.nodes.get(&node).cloned());
        let group = |id: PartitionId| Some((id, self.group(id)?.clone()));
        let suggestion = |id: PartitionId| (id, self.suggestion(id));
        let placement = |id: PartitionId| (id, self.placements.get(&id).copied());
        Delta {
            index: self.index,
            whole: false,
            settings: touched.settings.then(|| self.settings.clone()),
            nodes: touched.nodes.into_iter().map(node).collect(),
            groups: touched.groups.into_iter().filter_map(group).collect(),
            suggestions: touched.suggestions.into_iter().map(suggestion).collect(),
            voters: touched.voters.then(|| self.voters.clone()),
            placements: touched.placements.into_iter().map(placement).collect(),
        }
    }
}
