//! The worker groups of a node: what reaches them, and what they ask of the world.

use super::link::HOP_NANOS;
use super::{Event, Life, Phase, World};
use crate::disk::Job;
use crate::failure::Failure;
use crate::network::Connection;
use crate::node::{DiskReader, HonestIndex};
use crate::options::Mutation;
use dds::{ReadDone, StoreError, Tier};
use fsm::{Mono, Token};
use mailstore::directory::HashVerdict;
use mailstore::face::SessionInput;
use vspace::{ConnectionOrder, GroupId, Inward, Outward, SessionId, Ticket, WriteTimes};

/// The least weight of a task, in credits.
const TASK_BYTES: u64 = 1024;
/// Writes that a mailbox asks for without a task: one of housekeeping, released blobs, and messages
/// staged ahead of the answer.
const OWN_PER_MAILBOX: usize = 1 + 32 + 32;
/// The same of the sweep, the delivery queue and the directory.
const OWN_OF_NODE: usize = 64 + 32 + 32;

impl World {
    pub(super) fn accept(&mut self, node: usize, group: GroupId, inward: Inward) {
        let now = self.now(node);
        let shard = &mut self.nodes[node].shards[usize::from(group.0)];
        shard.set_now(now);
        shard.accept(inward);
    }

    pub(super) fn arrive(&mut self, life: Life, group: GroupId, nanos: u64, inward: Inward) {
        let inward = Box::new(inward);
        self.schedule.after(nanos, Event::Arrive { life, group, inward });
    }

    /// Brings something to a worker group at once, or when the node that stands still goes on.
    pub(super) fn hand(
        &mut self,
        node: usize,
        group: GroupId,
        inward: Inward,
    ) -> Result<(), Failure> {
        if self.nodes[node].paused_until > self.schedule.now() {
            let life = self.life(node);
            self.arrive(life, group, 1_000, inward);
            return Ok(());
        }
        self.accept(node, group, inward);
        self.run_group(node, group)
    }

    /// Runs one worker group until it rests, or for a while.
    pub(super) fn run_group(&mut self, node: usize, group: GroupId) -> Result<(), Failure> {
        let life = self.life(node);
        loop {
            let steps_max = if self.rng.chance(1, 16) { 1 + self.rng.below(12) } else { 512 };
            let steps_max = usize::try_from(steps_max).unwrap_or(1);
            let now = self.now(node);
            let mut out = std::mem::take(&mut self.outward);
            let shard = &mut self.nodes[node].shards[usize::from(group.0)];
            let before = shard.stats().steps;
            let mut more = shard.run(now, steps_max, &mut out);
            self.steps += shard.stats().steps - before;
            let end_at = self.end_within(node, out.len());
            for (at, outward) in out.drain(..).enumerate() {
                if end_at == Some(at) {
                    self.coverage.fault("crash between two effects");
                    return self.crash(node);
                }
                if let Outward::Standing(standing) = outward {
                    if self.on_standing(life, &standing)? {
                        return Ok(());
                    }
                    continue;
                }
                more |= self.on_outward(life, group, outward);
            }
            self.outward = out;
            if !more {
                break;
            }
            if self.rng.chance(1, 8) {
                self.schedule.after(1_000, Event::Run { life, group });
                break;
            }
        }
        self.plan_wake(life, group);
        Ok(())
    }

    /// Where among `effects` a doomed node ends.
    fn end_within(&mut self, node: usize, effects: usize) -> Option<usize> {
        let doomed = self.nodes[node].doomed && effects > 0;
        doomed.then(|| usize::try_from(self.rng.below(effects as u64)).unwrap_or(0))
    }

    fn plan_wake(&mut self, life: Life, group: GroupId) {
        let at = usize::from(group.0);
        let Some(deadline) = self.nodes[life.node].shards[at].next_deadline() else { return };
        let node = &mut self.nodes[life.node];
        let deadline = node.moment(deadline).max(self.schedule.now());
        if node.wakes[at].is_none_or(|planned| planned > deadline) {
            node.wakes[at] = Some(deadline);
            self.schedule.at(deadline, Event::Due { life, group, at: deadline });
        }
    }

    /// True when the group has something to do at once.
    fn on_outward(&mut self, life: Life, group: GroupId, outward: Outward) -> bool {
        match outward {
            Outward::Connection { session, order } => self.on_order(life, session, order),
            Outward::Commit { ticket, group: commit, durability } => {
                self.commit((life, group), ticket, commit, durability);
            }
            Outward::Read { ticket, read } => return self.read(life, group, ticket, read),
            Outward::Match { user, token, job } => {
                let (disk, map) = (&self.nodes[life.node].disk, self.options.scenario.map());
                let knows = token.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let index = HonestIndex { disk, map, knows };
                let hits = job.run(&mut DiskReader(disk, map), &index);
                let nanos = 20_000 + self.rng.below(3_000_000);
                self.coverage.action("body search");
                self.arrive(life, group, nanos, Inward::Matched { user, token, hits });
            }
            Outward::VerifyHash { token, peer: _, phc, secret } => {
                self.verify_hash(life, token, (&phc, &secret));
            }
            Outward::Rehash { token, secret } => {
                let secret = String::from_utf8_lossy(&secret).into_owned();
                let phc = Some(format!("$argon2id$sim${secret}"));
                self.arrive(life, GroupId(0), 30_000_000, Inward::Rehashed { token, phc });
            }
            Outward::Decide { session, token, question } => {
                self.on_question(life, (session, token), &question);
            }
            Outward::Log(event) => self.on_log(&event),
            Outward::OperatorDone { session, token, completion } => {
                if !self.is_fed(session, (token, &completion)) {
                    self.answers.insert(token, completion);
                }
            }
            Outward::OperatorNotice { session, notice: _ } => self.trace.word(session.0),
            Outward::Wake(wake) => self.on_wake(life, wake),
            Outward::Sessions { token: _, lines } => {
                self.coverage.action("sessions listed");
                self.trace.word(lines.len() as u64);
            }
            Outward::Kicked { token: _, count } => {
                self.coverage.action("sessions kicked");
                self.trace.word(count);
            }
            Outward::KickTold { .. } => self.coverage.action("kick answered"),
            Outward::Loaded { .. } => self.coverage.action("mailbox looked for"),
            // Nothing asks the hash table but the machines of a node.
            Outward::ClientDone { .. } | Outward::Passed(_) => {
                unreachable!("no client of the hash table asks")
            }
            Outward::Scrubbed { round, missed, .. } => {
                self.coverage.action("scrub that was asked for ends");
                self.trace.word(round.bytes + missed.len() as u64);
            }
            Outward::Neighbour { group: to, message } => self.carry(life, to, message),
            Outward::Peer { to, packet } => self.depart(life, to, packet),
            Outward::Decided { token: _, verdict } => self.on_verdict(verdict),
            Outward::Standing(_) => {}
            Outward::Ready => self.coverage.action("directory ready"),
        }
        false
    }

    fn verify_hash(&mut self, life: Life, token: Token, (phc, secret): (&str, &[u8])) {
        let busy = self.phase == Phase::Faults
            && self.rng.chance(self.options.scenario.faults.hash_busy, 10_000);
        let verdict = if busy {
            self.coverage.fault("hash pool has no room");
            HashVerdict::Busy
        } else if crate::node::secret_in(phc).map(str::as_bytes) == Some(secret) {
            HashVerdict::Matches
        } else {
            HashVerdict::Differs
        };
        let nanos = if busy { HOP_NANOS } else { 5_000_000 + self.rng.below(30_000_000) };
        self.arrive(life, GroupId(0), nanos, Inward::Hashed { token, verdict });
    }

    fn on_log(&mut self, event: &vspace::LogEvent) {
        if let vspace::LogEvent::Trouble { part, .. } = event {
            self.coverage.action(match *part {
                "mailbox" => "trouble reported: mailbox",
                "directory" => "trouble reported: directory",
                "delivery" => "trouble reported: delivery",
                "scrub" => panic!("nothing is damaged, and the scrub says {event:?}"),
                _ => "trouble reported: other",
            });
        }
        if let vspace::LogEvent::Swept { blobs_collected, .. } = event {
            self.coverage.action("sweep done");
            *self.coverage.actions.entry("blobs collected").or_default() += blobs_collected;
        }
        if matches!(event, vspace::LogEvent::DeliveryDelayed { .. }) {
            self.coverage.action("delivery delayed");
        }
    }

    fn commit(
        &mut self,
        (life, from): (Life, GroupId),
        ticket: Ticket,
        group: dds::Group,
        durability: dds::Durability,
    ) {
        let queued = self.schedule.now();
        if self.options.mutation == Some(Mutation::AcknowledgeEarly) && self.phase == Phase::Faults
        {
            let now = Mono(queued);
            let times = WriteTimes { queued: now, began: now, ended: Mono(queued + 1_000) };
            let stored = Inward::Stored { ticket, result: Ok(()), times };
            self.arrive(life, from, HOP_NANOS, stored);
        }
        self.nodes[life.node].disk.submit(Job { from, ticket, queued, group, durability });
        self.assert_queue_is_bounded(life.node);
        self.begin_write(life);
    }

    /// What waits for the writer was admitted: one write per task at a time, and what machines do of
    /// their own accord. So the lanes that never refuse are bounded by credits.
    fn assert_queue_is_bounded(&self, node: usize) {
        let node = &self.nodes[node];
        let held: Vec<_> = node.shards.iter().map(vspace::Shard::population).collect();
        let credits: u64 = held.iter().map(|held| held.credits_taken).sum();
        let mailboxes: usize = held.iter().map(|held| held.mailboxes).sum();
        let admitted = usize::try_from(credits / TASK_BYTES).unwrap_or(usize::MAX);
        let seats: usize = held.iter().map(|held| held.partitions).sum();
        let bound = admitted + mailboxes * OWN_PER_MAILBOX + seats + OWN_OF_NODE;
        let depth = node.disk.depth();
        assert!(depth <= bound, "{depth} writes wait, {admitted} tasks are admitted");
    }

    fn begin_write(&mut self, life: Life) {
        if !self.nodes[life.node].disk.begin() {
            return;
        }
        let now = self.schedule.now();
        let stall = self.nodes[life.node].stalled_until.saturating_sub(now);
        let nanos = stall + 100_000 + self.rng.below(2_000_000);
        self.schedule.after(nanos, Event::Written { life });
    }

    pub(super) fn on_written(&mut self, life: Life) -> Result<(), Failure> {
        let now = self.schedule.now();
        let mutation = self.options.mutation.filter(|_| self.phase == Phase::Faults);
        let done = self.nodes[life.node].disk.finish(&mut self.rng, mutation);
        if done.iter().any(|done| matches!(done.result, Err(StoreError::Fatal(_)))) {
            // A node whose sync failed does not know what it holds: it ends before anybody is told.
            return self.crash(life.node);
        }
        for done in done {
            let queued = Mono(done.queued);
            let times = WriteTimes { queued, began: queued, ended: Mono(now) };
            let (ticket, result) = (done.ticket, done.result);
            let mut nanos = HOP_NANOS;
            if self.strikes(self.options.scenario.faults.late) {
                self.coverage.fault("completion of a write comes late");
                nanos += self.rng.below(50_000_000);
            }
            if self.strikes(self.options.scenario.faults.twice) {
                self.coverage.fault("completion of a write comes twice");
                let result = result.clone();
                let again = nanos + self.rng.below(20_000_000);
                self.arrive(life, done.from, again, Inward::Stored { ticket, result, times });
            }
            if self.options.mutation == Some(Mutation::AcknowledgeEarly)
                && self.phase == Phase::Faults
            {
                continue;
            }
            self.arrive(life, done.from, nanos, Inward::Stored { ticket, result, times });
        }
        self.begin_write(life);
        Ok(())
    }

    /// Whether a fault of this chance in 10,000 happens now.
    pub(super) fn strikes(&mut self, chance: u64) -> bool {
        self.phase == Phase::Faults && chance > 0 && self.rng.chance(chance, 10_000)
    }

    fn read(&mut self, life: Life, group: GroupId, ticket: Ticket, read: dds::Read) -> bool {
        let faults = self.options.scenario.faults;
        // A node whose control plane can't be read does not start; that is no fault to live with.
        let sums = matches!(read, dds::Read::Sum { .. });
        if ticket.partition == dds::control::CONTROL || !(sums || self.strikes(faults.miss)) {
            let disk = &self.nodes[life.node].disk;
            let result = disk.read(&read, Tier::Memory);
            assert!(!matches!(result, Ok(ReadDone::Miss)), "misses are decided here");
            self.accept(life.node, group, Inward::ReadDone { ticket, result });
            return true;
        }
        self.coverage.fault("read goes to the disk");
        let mut result = self.nodes[life.node].disk.read(&read, Tier::Disk);
        if self.strikes(faults.read_error) {
            self.coverage.fault("read fails");
            result = Err(StoreError::Io("injected".into()));
        }
        let nanos = 50_000 + self.rng.below(5_000_000);
        if self.strikes(faults.twice) {
            self.coverage.fault("completion of a read comes twice");
            let result = result.clone();
            self.arrive(life, group, nanos * 2, Inward::ReadDone { ticket, result });
        }
        self.arrive(life, group, nanos, Inward::ReadDone { ticket, result });
        false
    }

    fn on_order(&mut self, life: Life, session: SessionId, order: ConnectionOrder) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        match order {
            ConnectionOrder::Send(bytes) => connection.outbound.extend_from_slice(&bytes),
            ConnectionOrder::AwaitDrained => connection.drain_wanted = true,
            ConnectionOrder::PauseReading => connection.paused = true,
            ConnectionOrder::ResumeReading => connection.paused = false,
            ConnectionOrder::StartTls => connection.tls_wanted = true,
            ConnectionOrder::InputTaken => connection.taking = false,
            ConnectionOrder::Close => connection.closing = true,
        }
        self.tend(life, session);
    }

    /// Plans what a connection needs.
    pub(super) fn tend(&mut self, life: Life, session: SessionId) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        let speaks = !connection.outbound.is_empty() || connection.drain_wanted;
        if (speaks || connection.closing) && !connection.hearing {
            connection.hearing = true;
            let nanos = 20_000 + self.rng.below(400_000);
            self.schedule.after(nanos, Event::Hear { life, session });
        }
        if connection.may_feed() {
            connection.feeding = true;
            let nanos = 10_000 + self.rng.below(200_000);
            self.schedule.after(nanos, Event::Feed { life, session });
        }
    }

    pub(super) fn on_feed(&mut self, life: Life, session: SessionId) -> Result<(), Failure> {
        let Some(connection) = self.connections.get_mut(&session) else { return Ok(()) };
        connection.feeding = false;
        if !connection.may_feed() {
            return Ok(());
        }
        let group = connection.group;
        let input = match feed(connection) {
            Some(input) => input,
            None => return Ok(()),
        };
        self.accept(life.node, group, Inward::Session { session, input });
        self.run_group(life.node, group)?;
        self.tend(life, session);
        Ok(())
    }

    /// The group that takes the next connection.
    pub(super) fn next_group(&mut self, node: usize) -> GroupId {
        let groups = self.nodes[node].shards.len() as u64;
        GroupId(u8::try_from(self.rng.below(groups)).unwrap_or(0))
    }

    /// A node starts on what its disk holds.
    pub(super) fn start(&mut self, node: usize) -> Result<(), Failure> {
        if self.nodes[node].is_up() {
            return Ok(());
        }
        let now = self.now(node);
        let scenario = (&self.options.scenario, self.restored);
        self.nodes[node].start(scenario, self.options.seed, now);
        self.plan_meetings(node);
        for group in (0..self.options.scenario.groups).map(GroupId) {
            self.run_group(node, group)?;
            if !self.nodes[node].is_up() {
                break;
            }
        }
        Ok(())
    }
}

/// The next thing that the session of a connection gets.
fn feed(connection: &mut Connection) -> Option<SessionInput> {
    if std::mem::take(&mut connection.tls_wanted) {
        let info = mailstore::face::TlsInfo { version: "TLSv1.3", cipher: "TLS_SIM" };
        return Some(SessionInput::TlsStarted(info));
    }
    let piece = connection.inbound.pop_front()?;
    connection.taking = true;
    Some(SessionInput::Received(piece))
}
