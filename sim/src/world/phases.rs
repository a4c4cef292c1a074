//! The phases of a run: accounts, faults, healing, the last look.

use super::faults::Fault;
use super::{Event, Phase, Slot, World, wires};
use crate::clients::{Auditor, Client, Deliverer, DelivererKind, ImapClient, Pop3Client};
use crate::failure::Failure;
use crate::invariants::{self, Judged, Moment};
use crate::options::{FaultRates, Mutation};
use fsm::Token;
use mailstore::face::{
    AdminDone, AdminTask, Completion, DirectoryDone, DirectoryTask, Protocol, Task,
};
use std::collections::BTreeSet;
use vspace::{GroupId, Inward};

/// Virtual time in which everything must be finished once nothing goes wrong any more.
const FINISH_NANOS: u64 = 900 * 1_000_000_000;

/// Virtual time in which the space of deleted messages must be free: far less than a blob's life.
const SPACE_NANOS: u64 = 60 * 1_000_000_000;

impl World {
    pub(super) fn play(&mut self) -> Result<(), Failure> {
        self.set_up()?;
        self.begin_feeding();
        self.phase = Phase::Faults;
        for fault in Fault::ALL {
            self.plan_fault(fault);
        }
        while self.steps < self.options.steps && self.happen()? {
            self.read_events_sometimes()?;
        }
        self.wind_down()?;
        self.come_to_rest()?;
        self.check_feeding()?;
        let judged = self.judge(Moment::Finished)?;
        self.check_fed(&judged)?;
        self.check_readers(&judged)?;
        self.look_at_everything(&judged)?;
        self.await_space()?;
        self.await_erasure()
    }

    /// No account, no mailbox: neither left over nor founded again by mail that was promised.
    fn await_erasure(&mut self) -> Result<(), Failure> {
        if !self.harmed.is_none() {
            return Ok(());
        }
        let accounts = match self.operate(AdminTask::AccountList { domain: None })? {
            AdminDone::Accounts(entries) => entries,
            other => return Err(Failure::new("mailboxes_have_accounts", format!("{other:?}"))),
        };
        let users: BTreeSet<_> = accounts.iter().map(|entry| entry.user).collect();
        let end = self.schedule.now() + SPACE_NANOS;
        loop {
            let mut founded = self.judge(Moment::Finished)?.founded;
            founded.retain(|user| !users.contains(user));
            if founded.is_empty() {
                return Ok(());
            }
            if !self.pass_second()? || self.schedule.now() > end {
                let what = format!("mailboxes without an account: {founded:?}");
                return Err(Failure::new("mailboxes_have_accounts", what));
            }
        }
    }

    /// False when nothing is planned any more.
    pub(super) fn pass_second(&mut self) -> Result<bool, Failure> {
        let next = self.schedule.now() + 1_000_000_000;
        while self.schedule.now() < next {
            if !self.happen()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where nothing went wrong no sweep is needed to free what single mailboxes deleted.
    fn await_space(&mut self) -> Result<(), Failure> {
        if self.options.scenario.faults != FaultRates::default() {
            return Ok(());
        }
        let end = self.schedule.now() + SPACE_NANOS;
        loop {
            let garbage = self.judge(Moment::Finished)?.garbage;
            if garbage.is_empty() {
                return Ok(());
            }
            if !self.pass_second()? || self.schedule.now() > end {
                let what = format!("blobs that nobody refers to: {garbage:x?}");
                return Err(Failure::new("space_comes_back", what));
            }
        }
    }

    fn set_up(&mut self) -> Result<(), Failure> {
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        let load = self.options.scenario.load;
        self.operate(AdminTask::DomainAdd { domain: "example.org".into() })?;
        for number in 0..load.users {
            let address = format!("u{number}@example.org");
            let scheme = if number % 2 == 0 { "$argon2id$sim$" } else { "{SSHA512}" };
            let phc = format!("{scheme}pw{number}");
            self.operate(AdminTask::AccountAdd { address, phc })?;
        }
        for number in 0..load.users {
            let address = format!("u{number}@example.org");
            let done = self.operate(AdminTask::AccountShow { address })?;
            match done {
                AdminDone::Accounts(entries) if entries.len() == 1 => {
                    self.users.push(entries[0].user);
                }
                other => return Err(Failure::new("set_up", format!("{other:?}"))),
            }
        }
        self.make_clients();
        Ok(())
    }

    fn make_clients(&mut self) {
        let load = self.options.scenario.load;
        let users = load.users;
        for _ in 0..load.smtp_clients {
            self.add(Box::new(Deliverer::new(DelivererKind::Smtp, users)));
        }
        for _ in 0..load.lmtp_clients {
            self.add(Box::new(Deliverer::new(DelivererKind::Lmtp, users)));
        }
        // The first half of the sessions crowds on one user, one reads the mail of the last user,
        // which nobody changes, and the others look after all the rest.
        for number in 0..load.imap_clients {
            self.add(Box::new(match number {
                _ if number < load.imap_clients / 2 => ImapClient::new(0, false),
                _ if number + 1 == load.imap_clients => ImapClient::new(users - 1, true),
                _ => ImapClient::roaming(users),
            }));
        }
        for number in 0..load.pop3_clients {
            let user = users - 1 - number % users;
            self.add(Box::new(Pop3Client::new(user, user + 1 == users)));
        }
    }

    fn add(&mut self, client: Box<dyn Client>) {
        let index = self.clients.len();
        self.clients.push(Slot { client, session: None, serial: 0 });
        let nanos = self.rng.below(200_000_000);
        self.schedule.after(nanos, Event::Wake { client: index, serial: 0 });
    }

    /// Does what an operator asks, and waits for it.
    fn operate(&mut self, task: AdminTask) -> Result<AdminDone, Failure> {
        let token = Token(self.answers.len() as u64 + 1);
        let session = vspace::operator_id(1, 1);
        let task = Task::Directory(DirectoryTask::Admin(task));
        self.hand(0, GroupId(0), Inward::Operator { session, token, task })?;
        while !self.answers.contains_key(&token) && self.happen()? {}
        match self.answers.get(&token) {
            Some(Completion::Directory(DirectoryDone::Admin(done))) => Ok(done.clone()),
            other => Err(Failure::new("set_up", format!("{other:?}"))),
        }
    }

    /// Everything heals, clients finish, the queue empties. A node that stands still goes on in its time: what it has put off comes
    /// in order.
    fn wind_down(&mut self) -> Result<(), Failure> {
        self.phase = Phase::WindingDown;
        for node in &mut self.nodes {
            node.doomed = false;
            node.stalled_until = 0;
            node.disk.store.set_bytes_max(None);
            node.disk.store.set_faults(dds::memory_store::Faults::default());
        }
        self.heal_wires();
        for node in 0..self.nodes.len() {
            self.tell_space(node, vspace::Space::Ample);
        }
        for client in 0..self.clients.len() {
            let serial = self.clients[client].serial + 1;
            self.clients[client].serial = serial;
            self.schedule.after(1_000_000, Event::Wake { client, serial });
        }
        let end = self.schedule.now() + FINISH_NANOS;
        let mut look_at = self.schedule.now();
        while self.schedule.now() < end {
            if !self.happen()? {
                break;
            }
            if self.schedule.now() >= look_at {
                look_at = self.schedule.now() + 1_000_000_000;
                self.settle_members()?;
                self.replace_damaged()?;
                if self.has_finished() {
                    return Ok(());
                }
            }
        }
        if self.has_finished() || !self.harmed.is_none() {
            return Ok(());
        }
        let busy: Vec<_> = self.clients.iter().filter(|slot| !slot.client.is_quiet()).collect();
        let waits: Vec<_> =
            self.nodes.iter().flat_map(|node| &node.shards).map(vspace::Shard::waits).collect();
        let what = format!("queued {}, {waits:?}, clients {busy:?}", self.queued());
        Err(Failure::new("everything_finishes", what))
    }

    fn has_finished(&self) -> bool {
        self.nodes.iter().all(|node| node.is_up() && node.disk.is_idle())
            && self.clients.iter().all(|slot| slot.client.is_quiet())
            && self.queued() == 0
    }

    /// Acceptances in the delivery queue.
    fn queued(&self) -> usize {
        let is_head = |key: &[u8]| {
            let len = usize::from(key.get(2).copied().unwrap_or(0));
            key.get(3..3 + len).is_some_and(|route| route.starts_with(b"delivery"))
                && key.get(3 + len) == Some(&b'h')
        };
        let Some(map) = self.newest_map() else { return usize::MAX };
        // Who holds a partition no more may still have an older copy.
        let counts = |node: usize, key: &[u8]| {
            let partition = key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            let group = partition.and_then(|partition| map.group(dds::PartitionId(partition)));
            is_head(key) && group.and_then(|group| group.primary) == Some(wires::id_of(node))
        };
        let entries = self.nodes.iter().enumerate().map(|(at, node)| {
            // What is decided is in the log, and applied without a sync of its own.
            let entries = node.disk.store.visible();
            entries.iter().filter(|(_, key, _)| counts(at, key)).count()
        });
        entries.sum()
    }

    /// Judges what the store of the node holds.
    pub(super) fn judge(&mut self, moment: Moment) -> Result<Judged, Failure> {
        let whole;
        let store = match &self.nodes[..] {
            [one] => &one.disk.store,
            _ => {
                whole = self.whole_store()?;
                &whole
            }
        };
        if self.harmed.is_none() {
            invariants::check_is_clean(store, self.options.scenario.map())?;
        }
        let entries = store.durable();
        let users = (&self.users[..], &self.harmed, self.restored.steps);
        invariants::judge(entries, users, &mut self.ledger, moment)
    }

    /// Every partition as its primary has it.
    fn whole_store(&self) -> Result<dds::MemoryStore, Failure> {
        let Some(map) = self.newest_map() else {
            return Err(Failure::new("everything_finishes", "no node is up"));
        };
        let store = dds::MemoryStore::new();
        for (partition, group) in map.partitions() {
            let Some(primary) = group.primary else {
                let what = format!("{partition:?} has no primary");
                return Err(Failure::new("everything_finishes", what));
            };
            let disk = &self.nodes[usize::from(primary.0) - 1].disk;
            let of = |(column, key, _): &(dds::Column, bytes::Bytes, bytes::Bytes)| {
                let is_log = *column == dds::Column::Log && key.get(3) != Some(&b'p');
                key.starts_with(&partition.0.to_be_bytes()) && !is_log
            };
            let ops = disk.store.visible().into_iter().filter(of);
            let ops = ops.map(|(column, key, value)| dds::StoreOp::Put { column, key, value });
            let (ops, chain) = (ops.collect(), dds::Chain::Starts);
            let group = dds::Group { partition, ops, bytes: 0, frees_space: true, chain };
            let committed = dds::Store::commit(&store, &[group], dds::Durability::Synced);
            committed.map_err(|error| Failure::new("everything_finishes", error.to_string()))?;
        }
        Ok(store)
    }

    /// What clients are shown is what is stored.
    fn look_at_everything(&mut self, judged: &Judged) -> Result<(), Failure> {
        let first = self.clients.len();
        // A mailbox that nobody has looked at yet has no folders before it is.
        let shown = |decoded: &&crate::decoder::DecodedUser| !decoded.folders.is_empty();
        let users: Vec<_> =
            judged.users.iter().map(|decoded| decoded.as_ref().filter(shown)).collect();
        for (number, decoded) in (0..).zip(&users) {
            if decoded.is_some() {
                self.add(Box::new(Auditor::new(number)));
            }
        }
        let end = self.schedule.now() + FINISH_NANOS;
        while self.clients[first..].iter().any(|slot| !slot.client.is_quiet()) {
            if !self.happen()? || self.schedule.now() > end {
                let what = format!("{:?}", &self.clients[first..]);
                return Err(Failure::new("everything_finishes", what));
            }
        }
        let audits = std::mem::take(&mut self.ledger.audits);
        for (number, decoded) in (0..).zip(users) {
            if let Some(decoded) = decoded {
                let shown: Vec<_> =
                    audits.iter().filter(|audit| audit.user == number).cloned().collect();
                invariants::audit(number, decoded, &shown)?;
            }
        }
        Ok(())
    }

    /// With a mutation, what a client hears may not be what was said.
    pub(super) fn spoil(&mut self, client: usize, bytes: Vec<u8>) -> Vec<u8> {
        let wanted = self.options.mutation == Some(Mutation::ForbiddenExpunge)
            && self.phase == Phase::Faults
            && self.clients[client].client.protocol() == Protocol::Imap
            && bytes.starts_with(b"* ")
            && memchr::memmem::find(&bytes[..bytes.len().min(24)], b" FETCH (UID ").is_some();
        if wanted && self.rng.chance(1, 10) {
            return [&b"* 1 EXPUNGE\r\n"[..], &bytes].concat();
        }
        bytes
    }
}
