//! What goes wrong, and what it leaves behind.

use super::{Event, Phase, World};
use crate::coverage::Coverage;
use crate::disk::End;
use crate::failure::Failure;
use crate::invariants;
use crate::network::Connection;
use dds::StoreError;
use fsm::Token;
use mailstore::face::{AdminTask, DirectoryTask, Task};
use vspace::{GroupId, INPUT_KINDS, Inward, SessionId, Shard, Space};

/// Up to so many messages every crash is judged; with more of them, fewer crashes are.
const LOOKS_MESSAGES: u64 = 300;

/// Longest time that a node is down, by the wall clock.
const AWAY_MS_MAX: u64 = 20 * 60 * 1_000;

/// Something that goes wrong now and then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Crash,
    SyncError,
    WriteError,
    Stall,
    Full,
    Rot,
    Cut,
    Kick,
    Rival,
    /// No fault: the store is copied.
    BackUp,
    /// The disk is lost; a new one gets the last copy.
    Restore,
    /// No fault: an operator changes accounts that no client uses.
    Administer,
    Reset,
    Still,
    Pause,
    /// The primary of a partition stands still.
    Stop,
    /// The leader of the control group ends.
    Leader,
    Control,
    Split,
    Blackout,
    Wipe,
    Decay,
    Image,
    /// No fault: an operator moves a primary.
    Move,
    Leave,
    /// A node starts with another release.
    Upgrade,
}

impl Fault {
    pub const ALL: [Self; 26] = [
        Self::Crash,
        Self::SyncError,
        Self::WriteError,
        Self::Stall,
        Self::Full,
        Self::Rot,
        Self::Cut,
        Self::Kick,
        Self::Rival,
        Self::BackUp,
        Self::Restore,
        Self::Administer,
        Self::Reset,
        Self::Still,
        Self::Pause,
        Self::Stop,
        Self::Leader,
        Self::Control,
        Self::Split,
        Self::Blackout,
        Self::Wipe,
        Self::Decay,
        Self::Image,
        Self::Move,
        Self::Leave,
        Self::Upgrade,
    ];
}

impl World {
    fn mean_ms(&self, fault: Fault) -> u64 {
        let rates = &self.options.scenario.faults;
        match fault {
            Fault::Crash => rates.crash_ms,
            Fault::SyncError => rates.sync_error_ms,
            // Given as a chance per write: about a hundred writes a second.
            Fault::WriteError => 100_000_u64.checked_div(rates.write_error).unwrap_or(0),
            Fault::Stall => rates.stall_ms,
            Fault::Full => rates.full_ms,
            Fault::Rot => rates.rot_ms,
            Fault::Cut => rates.cut_ms,
            Fault::Kick => rates.kick_ms,
            Fault::Rival => rates.rival_ms,
            Fault::BackUp => rates.backup_ms,
            Fault::Restore => rates.restore_ms,
            Fault::Administer => 3_000,
            Fault::Reset => rates.reset_ms,
            Fault::Still => rates.still_ms,
            Fault::Pause => rates.pause_ms,
            Fault::Stop => rates.stop_ms,
            Fault::Leader => rates.leader_ms,
            Fault::Control => rates.control_ms,
            Fault::Split => rates.split_ms,
            Fault::Blackout => rates.blackout_ms,
            Fault::Wipe => rates.wipe_ms,
            Fault::Decay => rates.decay_ms,
            Fault::Image => rates.image_ms,
            Fault::Move => rates.move_ms,
            Fault::Leave => rates.leave_ms,
            Fault::Upgrade => rates.upgrade_ms,
        }
    }

    /// Plans the next fault of a kind.
    pub(super) fn plan_fault(&mut self, fault: Fault) {
        let mean_ms = self.mean_ms(fault);
        if mean_ms > 0 {
            let nanos = self.rng.below(mean_ms * 2 * 1_000_000);
            self.schedule.after(nanos, Event::Fault(fault));
        }
    }

    pub(super) fn on_fault(&mut self, fault: Fault) -> Result<(), Failure> {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        self.plan_fault(fault);
        let count = self.nodes.len() as u64;
        let node = if count > 1 { usize::try_from(self.rng.below(count)).unwrap_or(0) } else { 0 };
        if !self.nodes[node].is_up() {
            return Ok(());
        }
        match fault {
            Fault::Crash => self.nodes[node].doomed = true,
            Fault::SyncError => {
                self.coverage.fault("sync fails");
                self.nodes[node].disk.fail_next(StoreError::Fatal("injected".into()));
            }
            Fault::WriteError => {
                self.coverage.fault("write fails");
                self.nodes[node].disk.fail_next(StoreError::Io("injected".into()));
            }
            Fault::Stall => {
                self.coverage.fault("disk stalls");
                let nanos = self.rng.below(6_000_000_000);
                self.nodes[node].stalled_until = self.schedule.now() + nanos;
            }
            Fault::Full => self.fill(node),
            Fault::Rot => {
                if let Some((_, key)) = self.nodes[node].disk.rot(&mut self.rng) {
                    self.coverage.fault("stored value rots");
                    self.harmed.note(&key);
                }
            }
            Fault::Cut => {
                if let Some((_, key)) = self.nodes[node].disk.cut(&mut self.rng) {
                    self.coverage.fault("stored value is cut short");
                    self.harmed.note(&key);
                }
            }
            Fault::Kick => self.kick(node)?,
            Fault::Rival => self.rival(node),
            Fault::BackUp => self.back_up(node),
            Fault::Restore => self.restore(node)?,
            Fault::Administer => self.administer(node)?,
            Fault::Reset => self.reset_a_wire(),
            Fault::Still => self.still_a_wire(),
            Fault::Pause => {
                self.coverage.fault("node stands still");
                let nanos = self.rng.below(30_000_000_000);
                // Never shorter: what was put off comes before what came later.
                let until = self.schedule.now() + nanos;
                let node = &mut self.nodes[node];
                node.paused_until = node.paused_until.max(until);
            }
            Fault::Stop => self.stop_primary(),
            Fault::Leader => self.end_leader(),
            Fault::Control => self.silence_control(),
            Fault::Split => self.split(),
            Fault::Blackout => self.black_out()?,
            Fault::Wipe => self.wipe(node)?,
            Fault::Decay => self.decay(node),
            Fault::Image => self.image()?,
            Fault::Move => self.move_some(node),
            Fault::Leave => self.let_leave(node),
            Fault::Upgrade => self.upgrade(node)?,
        }
        Ok(())
    }

    fn fill(&mut self, node: usize) {
        self.coverage.fault("disk is full");
        let room = usize::try_from(self.rng.below(20_000)).unwrap_or(0);
        let store = &self.nodes[node].disk.store;
        store.set_bytes_max(Some(store.bytes() + room));
        if self.rng.chance(1, 2) {
            self.coverage.fault("node is told that space runs low");
            self.tell_space(node, Space::Low);
        }
        let life = self.life(node);
        let nanos = 100_000_000 + self.rng.below(3_000_000_000);
        self.schedule.after(nanos, Event::Emptied { life });
    }

    /// All worker groups learn how much space the store has.
    pub(super) fn tell_space(&mut self, node: usize, space: Space) {
        let life = self.life(node);
        if self.nodes[node].is_up() {
            for group in (0..self.options.scenario.groups).map(GroupId) {
                self.arrive(life, group, 1_000, Inward::SpaceIs(space));
            }
        }
    }

    fn kick(&mut self, node: usize) -> Result<(), Failure> {
        let group = self.next_group(node);
        let token = Token(self.rng.next_u64());
        let kinds = if self.options.scenario.load.scrub_ms > 0 { 4 } else { 3 };
        match self.rng.below(kinds) {
            3 => {
                self.accept(node, GroupId(0), Inward::Scrub { token });
                self.run_group(node, GroupId(0))
            }
            0 => {
                self.coverage.fault("node says that it stops");
                self.hand(node, group, Inward::ShutDown)
            }
            1 => self.hand(node, group, Inward::ListSessions { token }),
            _ => {
                let here = self.connections.values().filter(|one| one.group == group);
                let sessions = here.map(|connection| connection.session).collect();
                self.coverage.fault("operator ends sessions");
                self.hand(node, group, Inward::KickSessions { token, sessions })
            }
        }
    }

    /// Another master claims a mailbox: the one of this node is fenced at its next write.
    fn rival(&mut self, node: usize) {
        let at = usize::try_from(self.rng.below(self.users.len() as u64)).unwrap_or(0);
        let Some(&user) = self.users.get(at) else { return };
        self.coverage.fault("another master claims a mailbox");
        let life = self.life(node);
        self.claim_for_nobody(life, mailstore::mailbox::route(user));
    }

    /// An operator adds, fills, changes or removes an account; whether it succeeds is the
    /// operator's business.
    fn administer(&mut self, node: usize) -> Result<(), Failure> {
        let address = format!("t{}@example.org", self.rng.below(3));
        let task = match self.rng.below(5) {
            0 | 1 => AdminTask::AccountAdd { address, phc: "$argon2id$sim$temporary".into() },
            2 => AdminTask::AccountRemove { address },
            3 => AdminTask::AccountEnable { address, on: self.rng.chance(1, 2) },
            _ => AdminTask::AliasAdd {
                alias: format!("a{}@example.org", self.rng.below(4)),
                targets: vec![address],
            },
        };
        self.coverage.action("account changed");
        let (session, token) =
            (vspace::operator_id(super::wires::id_of(node).0, 2), Token(self.rng.next_u64()));
        let task = Task::Directory(DirectoryTask::Admin(task));
        self.hand(node, GroupId(0), Inward::Operator { session, token, task })?;
        if !self.nodes[node].is_up() {
            return Ok(());
        }
        self.hand(node, GroupId(0), Inward::OperatorGone { session })
    }

    /// A node ends: connections break, the disk keeps what it must, and what it keeps is judged.
    pub(super) fn crash(&mut self, node: usize) -> Result<(), Failure> {
        let end = if self.rng.chance(1, 2) { End::PowerLoss } else { End::Killed };
        self.end_node(node, end)?;
        self.restart_later(node);
        Ok(())
    }

    pub(super) fn end_node(&mut self, node: usize, end: End) -> Result<(), Failure> {
        self.coverage.fault(match end {
            End::PowerLoss => "crash: power loss",
            End::Killed => "crash: killed",
        });
        for shard in std::mem::take(&mut self.nodes[node].shards) {
            count_inputs(&mut self.coverage, &shard);
            self.trace.word(shard.trace());
        }
        let dead = &mut self.nodes[node];
        dead.incarnation += 1;
        let lost = dead.disk.end(&mut self.rng, end);
        dead.disk.store.set_bytes_max(None);
        if !self.unsettled.is_empty() {
            self.coverage.fault("crash while an outcome is unknown");
            self.unsettled.clear();
        }
        if lost > 0 {
            self.coverage.fault("crash loses what was not synced");
        }
        self.part_all(node);
        self.end_extension_of(node);
        self.break_connections(node)?;
        // What is lost stays lost: with much mail it is enough to look now and then, and at the
        // end.
        if self.nodes.len() == 1 && self.rng.below(self.ledger.next_id() + 1) < LOOKS_MESSAGES {
            self.judge(invariants::Moment::Crashed)?;
        }
        Ok(())
    }

    /// A node that has ended starts again, sooner or later.
    pub(super) fn restart_later(&mut self, node: usize) {
        let mut away_ms = self.rng.below(2_000);
        if self.rng.chance(1, 4) {
            self.coverage.fault("node is down for long");
            away_ms = self.rng.below(AWAY_MS_MAX);
        }
        self.wall_skew_ms += i64::try_from(away_ms).unwrap_or(0);
        let nanos = 2_000_000 + self.rng.below(300_000_000);
        self.schedule.after(nanos, Event::Restart { node });
    }

    /// What was sent before the end may still be heard.
    fn break_connections(&mut self, node: usize) -> Result<(), Failure> {
        let of_node = |session: &SessionId, _: &mut Connection| {
            vspace::node_of(*session) == super::wires::id_of(node)
        };
        let broken: Vec<_> = self.connections.extract_if(.., of_node).collect();
        for (session, connection) in broken {
            let mut bytes = connection.outbound;
            let heard = self.rng.below(bytes.len() as u64 + 1);
            bytes.truncate(usize::try_from(heard).unwrap_or(0));
            if !bytes.is_empty() {
                let heard =
                    self.with_client(connection.client, |client, cx| client.heard(cx, &bytes));
                heard?;
            }
            self.hang_up(connection.client, session)?;
        }
        Ok(())
    }
}

/// Adds what a shard stepped with to the coverage.
pub(super) fn count_inputs(coverage: &mut Coverage, shard: &Shard) {
    for (kind, count) in INPUT_KINDS.iter().zip(shard.stats().inputs) {
        coverage.input(kind, count);
    }
}
