//! Who belongs to the cluster: operators drain nodes, take them back or remove them, and removed ones join anew.
//!
//! States: nobody leaves, or one node drains; a node that was removed comes back on an empty disk.

use super::frames::{NEXT_RELEASE, THIS_RELEASE};
use super::{Event, Life, World, wires};
use crate::disk::End;
use crate::failure::Failure;
use dds::cluster::{Command, NodeState, Verdict};
use fsm::Token;
use vspace::{GroupId, Inward, Standing};

/// How often an operator asks again.
const ASK_EVERY_NANOS: u64 = 500_000_000;

/// Longest time that a drain is waited for; then the node is taken back.
const LEAVE_NANOS_MAX: u64 = 40_000_000_000;

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// The node that is to leave, and until when.
    leaving: Option<(usize, u64)>,
    /// When a disk was lost last.
    pub disk_lost_at: u64,
}

impl World {
    /// An operator drains a node, if none leaves.
    pub(super) fn let_leave(&mut self, node: usize) {
        let all_up = self.nodes.iter().all(crate::node::Node::is_up);
        if self.members.leaving.is_some() || !all_up {
            return;
        }
        self.coverage.fault("node is drained");
        self.command(Command::Drain { node: wires::id_of(node) });
        // Half of them are taken back before they can have gone.
        let patience =
            if self.rng.chance(1, 2) { LEAVE_NANOS_MAX } else { self.rng.below(2_000_000_000) };
        self.members.leaving = Some((node, self.schedule.now() + patience));
        self.schedule.after(ASK_EVERY_NANOS, Event::Leave);
    }

    pub(super) fn on_leave(&mut self) -> Result<(), Failure> {
        let Some((node, until)) = self.members.leaving else { return Ok(()) };
        let id = wires::id_of(node);
        let known = self.newest_map().and_then(|map| map.node(id)).map(|known| known.draining);
        if known.is_none() {
            return self.gone(node);
        }
        if self.phase == super::Phase::WindingDown || self.schedule.now() > until {
            if known == Some(true) {
                self.coverage.action("drained node is taken back");
                self.command(Command::Undrain { node: id });
                self.schedule.after(ASK_EVERY_NANOS, Event::Leave);
            } else {
                self.members.leaving = None;
            }
            return Ok(());
        }
        let draining = known == Some(true);
        let remove = Command::RemoveNode { node: id };
        self.command(if draining { remove } else { Command::Drain { node: id } });
        self.schedule.after(ASK_EVERY_NANOS, Event::Leave);
        Ok(())
    }

    /// What operators asked for may have come about late: drained nodes are taken back, removed ones join anew.
    pub(super) fn settle_members(&mut self) -> Result<(), Failure> {
        if self.nodes.len() < 2 || self.members.leaving.is_some() {
            return Ok(());
        }
        let Some(map) = self.newest_map() else { return Ok(()) };
        let draining = map.nodes.iter().find(|(_, node)| node.draining).map(|(id, _)| *id);
        let out = (0..self.nodes.len()).find(|node| map.node(wires::id_of(*node)).is_none());
        if let Some(node) = draining {
            self.command(Command::Undrain { node });
        }
        match out.filter(|node| self.nodes[*node].is_up() && !self.nodes[*node].joins) {
            Some(node) => self.gone(node),
            None => Ok(()),
        }
    }

    /// A node was removed: it ends, and joins anew on an empty disk.
    fn gone(&mut self, node: usize) -> Result<(), Failure> {
        if self.members.leaving.is_some_and(|(leaving, _)| leaving == node) {
            self.members.leaving = None;
        }
        self.coverage.fault("node is removed, and joins anew");
        self.end_node(node, End::Killed)?;
        self.nodes[node].disk.replace(&[]);
        self.nodes[node].rename();
        self.nodes[node].joins = true;
        let nanos = self.rng.below(5_000_000_000);
        self.schedule.after(nanos, Event::Restart { node });
        Ok(())
    }

    /// An operator asks some node for a change of the map.
    pub(super) fn command(&mut self, command: Command) {
        let now = self.schedule.now();
        let awake = |node: &crate::node::Node| node.is_up() && node.paused_until <= now;
        let able: Vec<_> = (0..self.nodes.len()).filter(|at| awake(&self.nodes[*at])).collect();
        let at = usize::try_from(self.rng.below(able.len() as u64)).unwrap_or(0);
        let Some(&node) = able.get(at) else { return };
        let token = Token(self.rng.next_u64());
        let life = self.life(node);
        self.arrive(life, GroupId(0), 1_000, Inward::Command { token, command });
    }

    /// A node ends, and starts with the next release; now and then with the one before. When all have the next one, an
    /// operator raises the level.
    pub(super) fn upgrade(&mut self, node: usize) -> Result<(), Failure> {
        let back = self.rng.chance(1, 4);
        let other = if back { THIS_RELEASE } else { NEXT_RELEASE };
        if self.nodes[node].release != other {
            self.coverage.fault(if back { "node is downgraded" } else { "node is upgraded" });
            self.end_node(node, End::Killed)?;
            self.nodes[node].release = other;
            self.restart_later(node);
        }
        let next = self.nodes.iter().filter(|node| node.release == NEXT_RELEASE).count();
        // Also when it must be refused.
        if next == self.nodes.len() || self.rng.chance(1, 4) {
            self.command(Command::RaiseFeatureLevel { level: NEXT_RELEASE });
        }
        Ok(())
    }

    /// A node that knows less than the cluster may use is told so, and ends.
    fn refuse_release(&mut self, node: usize) -> Result<(), Failure> {
        self.coverage.action("older release is refused");
        self.end_node(node, End::Killed)?;
        self.nodes[node].release = NEXT_RELEASE;
        self.restart_later(node);
        Ok(())
    }

    /// Nobody takes part who knows less than the cluster may use.
    fn check_level(&self) -> Result<(), Failure> {
        let Some(map) = self.newest_map() else { return Ok(()) };
        let level = map.settings.feature_level;
        match map
            .nodes
            .iter()
            // The founder is up before it has said what it knows.
            .filter(|(_, node)| node.session.0 > 0 && node.state == NodeState::Up)
            .find(|(_, node)| node.features < level)
        {
            Some((id, node)) => {
                let what = format!("{id:?} knows {}, the level is {level}", node.features);
                Err(Failure::new("all_know_the_level", what))
            }
            None => Ok(()),
        }
    }

    pub(super) fn on_verdict(&mut self, verdict: Verdict) {
        self.coverage.action(match verdict {
            Verdict::Done => "command done",
            Verdict::Refused(_) => "command refused",
            Verdict::OldImage | Verdict::Unknown => "command: unknown",
        });
    }

    /// What a node is to its cluster; true when it ends by that.
    pub(super) fn on_standing(&mut self, life: Life, standing: &Standing) -> Result<bool, Failure> {
        match standing {
            Standing::Registered(_) => {
                self.nodes[life.node].joins = false;
                self.coverage.action("node registered");
            }
            Standing::Stopped(why) if why.contains("start a newer release") => {
                self.refuse_release(life.node)?;
                return Ok(true);
            }
            Standing::Stopped(why) => panic!("the control plane of a node stopped: {why}"),
            Standing::Removed => {
                self.coverage.action("node hears that it was removed");
                self.gone(life.node)?;
                return Ok(true);
            }
            Standing::OldImage => {
                assert!(self.nodes[life.node].is_stale, "its disk was no older image");
                self.coverage.action("old image is noticed");
                // It keeps what it has, and takes another name: so does a real node when it is started again.
                self.end_node(life.node, End::Killed)?;
                self.nodes[life.node].rename();
                self.restart_later(life.node);
                return Ok(true);
            }
            Standing::Map(_) => self.check_level()?,
            Standing::Unregistered
            | Standing::Leader(_)
            | Standing::Reported { .. }
            | Standing::Event(_) => {}
        }
        Ok(false)
    }
}
