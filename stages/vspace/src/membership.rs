//! The machines that make a node part of its cluster, in group 0: control, links and fills. What they learn goes to every group.

use crate::following::News;
use crate::names::{GroupId, MachineId};
use crate::queue::Rank;
use crate::reports::Reports;
use crate::shard::{Shard, Slot, Work};
use crate::work::{Neighbour, Outward, Packet, Standing, Ticket};
use dds::cluster::{
    Command, Delta, GroupChange, Incarnation, NodeId, NodeState, Session, Settings, Site, Start,
    Verdict,
};
use dds::control::{self, Boot, CONTROL, Control};
use dds::fills::{self, Fills};
use dds::links::{self, Links};
use dds::{Durability, GroupVersion, PartitionId, replica, seat};
use fsm::Token;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a node is told of itself, once.
#[derive(Clone, Debug)]
pub struct MembershipSetup {
    /// Of the data directory.
    pub incarnation: Incarnation,
    /// Drawn when the process starts.
    pub start: Start,
    pub site: Site,
    /// The highest feature level that this release knows.
    pub features: u32,
    pub boot: Boot,
    pub control: control::Limits,
    pub links: links::Limits,
    pub replica: Arc<replica::Limits>,
    pub fills: fills::Limits,
}

impl Membership {
    /// Whether this node leads the control group.
    pub fn leads(&self) -> bool {
        self.control.machine.term_led().is_some()
    }
}

/// The highest feature level that this release knows.
const FEATURES: u32 = dds::cluster::PLACES;

impl MembershipSetup {
    /// A node that founds a cluster of its own.
    #[must_use]
    pub fn alone(map: &dds::DpMap) -> Self {
        let settings = Settings {
            partitions: map.partitions,
            hash_key: map.hash_key,
            replicas: 3,
            min_in_sync: 1,
            min_in_sync_wanted: 2,
            feature_level: FEATURES,
        };
        Self {
            incarnation: Incarnation(1),
            start: Start(1),
            site: Site { weight: 100, ..Site::default() },
            features: FEATURES,
            boot: Boot::Found(settings),
            control: control::Limits::default(),
            links: links::Limits::default(),
            replica: Arc::default(),
            fills: fills::Limits::default(),
        }
    }
}

/// Who waits for the verdict on a command.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Seat { partition: PartitionId, expect: GroupVersion, change: GroupChange },
    Operator(Token),
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Membership {
    pub control: Slot<Control>,
    links: Slot<Links>,
    fills: Slot<Fills>,
    pub reports: Reports,
    start: Start,
    registered: bool,
    asked: BTreeMap<Token, Asked>,
    asked_count: u64,
}

impl Shard {
    pub(crate) fn start_membership(&mut self) {
        let setup = &self.config.membership;
        let node = self.me();
        let control = Control::new(control::Config {
            node,
            incarnation: setup.incarnation,
            start: setup.start,
            seed: self.config.seed,
            site: setup.site.clone(),
            features: setup.features,
            boot: setup.boot.clone(),
            limits: setup.control.clone(),
        });
        let links = Links::new(node, setup.links.clone(), self.now.0);
        let start = setup.start;
        let fills = Fills::new(setup.fills.clone());
        let (control_host, links_host) = (self.new_host(), self.new_host());
        let fills_host = self.new_host();
        self.membership = Some(Box::new(Membership {
            control: Slot { machine: control, host: control_host },
            links: Slot { machine: links, host: links_host },
            fills: Slot { machine: fills, host: fills_host },
            reports: Reports::default(),
            start,
            registered: false,
            asked: BTreeMap::new(),
            asked_count: 0,
        }));
        self.push(Rank::Completion, Work::Control(control::Input::Started));
    }

    pub(crate) fn step_control(&mut self, input: control::Input) {
        let Some(mut membership) = self.membership.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.control);
        let slot = &mut membership.control;
        self.step_machine(
            MachineId::Control,
            (&mut slot.machine, &mut slot.host),
            &mut stepped,
            input,
        );
        self.membership = Some(membership);
        for effect in stepped.effects.drain(..) {
            self.on_control_effect(effect);
        }
        self.buffers.control = stepped;
    }

    fn on_control_effect(&mut self, effect: control::Effect) {
        use control::Effect;
        match effect {
            Effect::Send { to, bytes } => self.send(to, Packet::Control(bytes)),
            Effect::Store { token, group } => {
                let ticket = Ticket { partition: CONTROL, token };
                let durability = Durability::Synced;
                self.out.push(Outward::Commit { ticket, group, durability });
            }
            Effect::Read { token, read } => {
                let ticket = Ticket { partition: CONTROL, token };
                self.out.push(Outward::Read { ticket, read });
            }
            Effect::Changed(delta) => self.on_map_changed(delta),
            Effect::Decided { from: _, token, verdict } => self.on_decided(token, verdict),
            Effect::Leader(leader) => self.out.push(Outward::Standing(Standing::Leader(leader))),
            Effect::Registered(session) => self.on_registered(session),
            Effect::Unregistered => {
                self.push(Rank::Completion, Work::Links(links::Input::RunIs(None)));
                self.out.push(Outward::Standing(Standing::Unregistered));
            }
            Effect::Removed => self.out.push(Outward::Standing(Standing::Removed)),
            Effect::OldImage => self.out.push(Outward::Standing(Standing::OldImage)),
            Effect::Stopped(stop) => {
                self.out.push(Outward::Standing(Standing::Stopped(stop.to_string())));
            }
            Effect::Log(event) => self.out.push(Outward::Standing(Standing::Event(event))),
        }
    }

    /// The map has changed: links first, because they know until when leases may hold.
    fn on_map_changed(&mut self, delta: Delta) {
        let Some(membership) = &self.membership else { return };
        if (delta.whole || !delta.nodes.is_empty())
            && let Some(map) = membership.control.machine.map()
        {
            let state = |known: &dds::cluster::Node| links::NodeState {
                run: links::Run { session: known.session, start: known.start },
                is_up: known.state == NodeState::Up,
            };
            let nodes = map.nodes.iter().map(|(node, known)| (*node, state(known))).collect();
            self.step_links(links::Input::NodesAre(nodes));
        }
        let Some(membership) = &self.membership else { return };
        let fence_at = membership.links.machine.fence_at();
        let delta = Arc::new(delta);
        self.out.push(Outward::Standing(Standing::Map(Arc::clone(&delta))));
        let left = delta.whole || delta.nodes.iter().any(|(_, known)| known.is_none());
        self.tell_all(News::Map { delta, fence_at });
        if left {
            self.tell_exhausted();
        }
    }

    fn on_registered(&mut self, session: Session) {
        let Some(membership) = &mut self.membership else { return };
        let run = links::Run { session, start: membership.start };
        let first = !std::mem::replace(&mut membership.registered, true);
        self.step_links(links::Input::RunIs(Some(run)));
        self.out.push(Outward::Standing(Standing::Registered(session)));
        if first {
            self.tell_all(News::Registered);
        }
    }

    /// Tells every group of this node, this one included.
    pub(crate) fn tell_all(&mut self, news: News) {
        for group in (0..self.config.groups).map(GroupId) {
            if group != self.config.group {
                self.tell(group, Neighbour::News(news.clone()));
            }
        }
        self.on_news(news);
    }

    pub(crate) fn step_links(&mut self, input: links::Input) {
        let Some(mut membership) = self.membership.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.links);
        let slot = &mut membership.links;
        self.step_machine(
            MachineId::Links,
            (&mut slot.machine, &mut slot.host),
            &mut stepped,
            input,
        );
        self.membership = Some(membership);
        for effect in stepped.effects.drain(..) {
            match effect {
                links::Effect::Send { to, message } => self.send(to, Packet::Link(message)),
                links::Effect::LeaseIs { from, until } => {
                    self.tell_all(News::Lease { from, until });
                }
                links::Effect::Heard { node, run } => {
                    let session = run.session;
                    let input = control::Input::Heard { node, session };
                    self.push(Rank::Completion, Work::Control(input));
                }
                links::Effect::Reported { node, report } => self.on_reported(node, report),
                links::Effect::Silent { node } => self.tell_all(News::Silent { node }),
            }
        }
        self.buffers.links = stepped;
    }

    pub(crate) fn step_fills(&mut self, input: fills::Input) {
        let Some(mut membership) = self.membership.take() else { return };
        let mut stepped = std::mem::take(&mut self.buffers.fills);
        let slot = &mut membership.fills;
        self.step_machine(
            MachineId::Fills,
            (&mut slot.machine, &mut slot.host),
            &mut stepped,
            input,
        );
        self.membership = Some(membership);
        for fills::Effect::Granted { partition } in stepped.effects.drain(..) {
            let granted = Neighbour::PageGranted { partition };
            let group = self.group_of_partition(partition);
            if group == self.config.group {
                self.on_neighbour(granted);
            } else {
                self.tell(group, granted);
            }
        }
        self.buffers.fills = stepped;
    }

    /// A seat of any group asks the map for a change.
    pub(crate) fn on_change_asked(
        &mut self,
        partition: PartitionId,
        (expect, change): (GroupVersion, GroupChange),
    ) {
        let command = Command::ChangeGroup { partition, expect, change, by: self.me() };
        self.propose(Asked::Seat { partition, expect, change }, command);
    }

    pub(crate) fn on_operator_command(&mut self, token: Token, command: Command) {
        self.propose(Asked::Operator(token), command);
    }

    fn propose(&mut self, asked: Asked, command: Command) {
        let Some(membership) = &mut self.membership else { return };
        membership.asked_count += 1;
        let token = Token(membership.asked_count);
        membership.asked.insert(token, asked);
        let input = control::Input::Propose { from: 0, token, command };
        self.push(Rank::Completion, Work::Control(input));
    }

    fn on_decided(&mut self, token: Token, verdict: Verdict) {
        let Some(membership) = &mut self.membership else { return };
        match (membership.asked.remove(&token), verdict) {
            (Some(Asked::Operator(token)), verdict) => {
                self.out.push(Outward::Decided { token, verdict });
            }
            (Some(Asked::Seat { partition, expect, change }), Verdict::Refused(_)) => {
                let input = seat::Input::ChangeRefused { expect, change };
                let group = self.group_of_partition(partition);
                if group == self.config.group {
                    self.push(Rank::Completion, Work::Seat(partition, input));
                } else {
                    self.tell(group, Neighbour::ChangeRefused { partition, expect, change });
                }
            }
            (Some(Asked::Seat { .. }) | None, _) => {}
        }
    }

    /// A node that knows of no cluster yet asks whomever it is connected with.
    pub(crate) fn ask_to_join(&mut self) {
        if self.membership.is_none() || self.map.is_founded() {
            return;
        }
        for node in self.peers.clone() {
            let input = control::Input::Heard { node, session: Session(0) };
            self.push(Rank::Completion, Work::Control(input));
        }
        // It hears of nobody before it has read its records.
        self.look_soon();
    }

    /// This node, as the cluster knows it.
    pub(crate) fn me(&self) -> NodeId {
        NodeId(self.config.node)
    }
}
