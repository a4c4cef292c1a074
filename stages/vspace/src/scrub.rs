//! The scrub of what this node leads: a pacer per worker group, its permits to seats, and rounds that operators ask for.
//!
//! A round that is asked for goes to group 0, from there to all groups and to all nodes that can be reached; each of those does
//! the same with its own groups, and answers once.
//!
//! Invariants: who asked is told once, also when nodes are lost meanwhile; and is not told that all was compared when a partition
//! changed hands meanwhile.

use crate::letter::Letter;
use crate::names::{GroupId, MachineId};
use crate::queue::Rank;
use crate::shard::{Shard, Slot, Work};
use crate::work::{Neighbour, Outward};
use dds::cluster::NodeId;
use dds::scrub::{Effect, Finding, Input, Pacer, Round, Step, Sums};
use dds::{PartitionId, seat};
use fsm::{Host, Stepped, Token};
use mailstore::face::LogEvent;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds that operators and other nodes wait for at once. Our choice: more than there are people who ask.
const RUNS_MAX: usize = 64;

/// Random numbers of a pacer are of no other machine's stream.
const STREAM: u64 = 0x5C2B << 40;

/// The pacer of a group, and in group 0 who waits for rounds.
#[derive(Debug)]
pub(crate) struct Scrubbing {
    slot: Slot<Pacer>,
    stepped: Stepped<Effect>,
    runs: BTreeMap<u64, Run>,
    runs_made: u64,
}

/// A round that somebody waits for.
#[derive(Debug)]
struct Run {
    asker: Asker,
    groups_left: u8,
    nodes_left: BTreeSet<NodeId>,
    missed: Vec<NodeId>,
    /// Partitions that had no primary, or another one: their turns may have come when none of the nodes led them.
    moved: BTreeSet<PartitionId>,
    round: Round,
}

#[derive(Clone, Copy, Debug)]
enum Asker {
    Operator(Token),
    /// Another node, and its number of the round.
    Node(NodeId, u64),
}

impl Scrubbing {
    pub fn new(limits: &dds::scrub::Limits, (seed, group): (u64, GroupId)) -> Self {
        let host = Host::new(seed, STREAM | u64::from(group.0));
        Self {
            slot: Slot { machine: Pacer::new(limits.clone()), host },
            stepped: Stepped::default(),
            runs: BTreeMap::new(),
            // Of every run others: another node may still answer an earlier one.
            runs_made: seed >> 1,
        }
    }

    pub fn sums(&self) -> Sums {
        self.slot.machine.sums()
    }
}

impl Shard {
    /// The map is known, and knows this node.
    pub(crate) fn begin_scrubs(&mut self) {
        let all = self.map.partitions().map(|(partition, _)| partition);
        let here = all.filter(|partition| self.group_of_partition(*partition) == self.config.group);
        let partitions = here.collect();
        self.push(Rank::Rebalance, Work::Scrub(Input::PartitionsAre(partitions)));
    }

    pub(crate) fn step_scrub(&mut self, input: Input) {
        let Some(mut scrub) = self.scrub.take() else { return };
        let mut stepped = std::mem::take(&mut scrub.stepped);
        let machine = (&mut scrub.slot.machine, &mut scrub.slot.host);
        self.step_machine(MachineId::Scrub, machine, &mut stepped, input);
        self.scrub = Some(scrub);
        for effect in stepped.effects.drain(..) {
            match effect {
                Effect::Permit { partition, begins } => self.on_permit(partition, begins),
                Effect::Found { partition, finding, repairs } => {
                    self.on_found(partition, &finding, repairs);
                }
                Effect::Ended { round, asked } => {
                    for token in asked {
                        self.tell_round((token.0, round));
                    }
                }
            }
        }
        if let Some(scrub) = &mut self.scrub {
            scrub.stepped = stepped;
        }
    }

    fn on_permit(&mut self, partition: PartitionId, begins: bool) {
        let group = self.map.group(partition);
        let leads = group.is_some_and(|group| group.primary == Some(self.me()));
        if !leads || !self.registered {
            return self.on_scrubbed(partition, Step::NotLed);
        }
        self.wake_seat(partition);
        self.push(Rank::Rebalance, Work::Seat(partition, seat::Input::Scrub { begins }));
    }

    /// A seat has done what it was permitted to.
    pub(crate) fn on_scrubbed(&mut self, partition: PartitionId, step: Step) {
        self.push(Rank::Rebalance, Work::Scrub(Input::Told { partition, step }));
    }

    fn on_found(&mut self, partition: PartitionId, finding: &Finding, repairs: u64) {
        let Finding { node, trouble, column, after } = finding;
        let place = node.map(|node| format!(" on node {}", node.0)).unwrap_or_default();
        let key = match after.get(2..) {
            Some(rest) if !rest.is_empty() => format!(" behind the key {}", rest.escape_ascii()),
            Some(_) | None => String::new(),
        };
        let next = match (trouble.is_settled(), repairs) {
            (true, 1..) => "it is built anew from the others",
            _ => {
                "nothing was repaired: run `hikyaku check` on each node of the partition, keep copies of their \
                 data directories, and start the node that is wrong with an empty one"
            }
        };
        let number = partition.0;
        let what = format!("partition {number}{place}, {column:?}{key}: {trouble}; {next}");
        self.out.push(Outward::Log(LogEvent::Trouble { part: "scrub", user: None, what }));
    }

    /// An operator asks for a round. Only in group 0.
    pub(crate) fn on_scrub_asked(&mut self, token: Token) {
        let me = self.me();
        let others = self.map.nodes.keys().copied().filter(|node| *node != me);
        let (there, missed): (BTreeSet<_>, BTreeSet<_>) =
            others.partition(|node| self.peers.contains(node));
        let missed = missed.into_iter().collect();
        let all = self.map.partitions();
        let moved = all.filter(|(_, group)| group.primary.is_none()).map(|(id, _)| id).collect();
        let run = self.begin_run(Run {
            asker: Asker::Operator(token),
            groups_left: self.config.groups,
            nodes_left: there.clone(),
            missed,
            moved,
            round: Round::default(),
        });
        if let Some(run) = run {
            for node in there {
                self.post(node, Letter::ScrubAsked { run });
            }
        }
    }

    /// Another node's operator asks.
    pub(crate) fn on_node_scrub_asked(&mut self, node: NodeId, run: u64) {
        self.begin_run(Run {
            asker: Asker::Node(node, run),
            groups_left: self.config.groups,
            nodes_left: BTreeSet::new(),
            missed: Vec::new(),
            moved: BTreeSet::new(),
            round: Round::default(),
        });
    }

    fn begin_run(&mut self, mut run: Run) -> Option<u64> {
        let scrub = self.scrub.as_mut()?;
        if scrub.runs.len() >= RUNS_MAX {
            run.round.unfinished = u64::from(self.config.map.partitions);
            self.end_run(run);
            return None;
        }
        scrub.runs_made += 1;
        let number = scrub.runs_made;
        scrub.runs.insert(number, run);
        for group in (0..self.config.groups).map(GroupId) {
            if group == self.config.group {
                self.begin_round(number);
            } else {
                self.tell(group, Neighbour::ScrubAsked { run: number });
            }
        }
        Some(number)
    }

    /// Group 0 wants this group to scrub what it leads.
    pub(crate) fn begin_round(&mut self, run: u64) {
        self.push(Rank::Rebalance, Work::Scrub(Input::Asked { token: Token(run) }));
    }

    fn tell_round(&mut self, (run, round): (u64, Round)) {
        if self.config.group == GroupId(0) {
            self.on_group_scrubbed(run, &round);
        } else {
            self.tell(GroupId(0), Neighbour::Scrubbed { run, round });
        }
    }

    /// A group of this node has done its part.
    pub(crate) fn on_group_scrubbed(&mut self, number: u64, round: &Round) {
        let run = self.scrub.as_mut().and_then(|scrub| scrub.runs.get_mut(&number));
        if let Some(run) = run {
            run.groups_left = run.groups_left.saturating_sub(1);
            run.round.add(round);
            self.end_runs();
        }
    }

    /// Another node has done its part.
    pub(crate) fn on_node_scrubbed(&mut self, node: NodeId, (number, round): (u64, &Round)) {
        let run = self.scrub.as_mut().and_then(|scrub| scrub.runs.get_mut(&number));
        if let Some(run) = run
            && run.nodes_left.remove(&node)
        {
            run.round.add(round);
            self.end_runs();
        }
    }

    /// What a node would have answered is lost.
    pub(crate) fn miss_scrubs_of(&mut self, node: NodeId) {
        let Some(scrub) = &mut self.scrub else { return };
        for run in scrub.runs.values_mut() {
            if run.nodes_left.remove(&node) {
                run.missed.push(node);
            }
        }
        self.end_runs();
    }

    /// The primary of a partition is another: a round that is under way may look at it on neither.
    pub(crate) fn doubt_scrubs_of(&mut self, partition: PartitionId) {
        for run in self.scrub.iter_mut().flat_map(|scrub| scrub.runs.values_mut()) {
            run.moved.insert(partition);
        }
    }

    fn end_runs(&mut self) {
        let Some(scrub) = &mut self.scrub else { return };
        let done = |run: &Run| run.groups_left == 0 && run.nodes_left.is_empty();
        let ended: Vec<Run> =
            scrub.runs.extract_if(.., |_, run| done(run)).map(|(_, run)| run).collect();
        for run in ended {
            self.end_run(run);
        }
    }

    fn end_run(&mut self, run: Run) {
        let Run { asker, mut round, missed, moved, .. } = run;
        match asker {
            Asker::Operator(token) => {
                round.unfinished += moved.len() as u64;
                self.out.push(Outward::Scrubbed { token, round, missed });
            }
            // The node that asked follows the map itself.
            Asker::Node(node, run) => self.post(node, Letter::Scrubbed { run, round }),
        }
    }
}
