//! The production master under the sessions: `mailstore::mailbox::Mailbox` on a partition on the
//! store in memory.

use bytes::Bytes;
use dds::{
    BlobId, Durability, GroupVersion, MemoryStore, Partition, PartitionId, RouteKey, SortKey,
    Store, Tier, partition,
};
use fsm::{Budget, Host, Machine, Mono, Stepped, TimerKey, TimerOp, Token, Wall};
use mailstore::face::*;
use mailstore::mailbox::{self, BodyReader, Mailbox};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub const USER: UserId = UserId(7);
/// Sessions of the tests begin here; below are the master and the blobs.
const BLOBS: u64 = 1;
const MASTER: u64 = 0;

/// Something on its way.
enum Work {
    Partition(partition::Input),
    Master(mailbox::Input),
    Commit(Token, Box<dds::Group>),
    Read(Token, dds::Read),
    Match(Token, mailbox::MatchJob),
}

pub struct Real {
    store: Arc<MemoryStore>,
    mailbox: Mailbox,
    host: Host,
    partition: Partition,
    partition_host: Host,
    work: VecDeque<Work>,
    /// What sessions get.
    pub said: VecDeque<(usize, SessionInput)>,
    /// Blob tasks by their token at the partition.
    blob_tasks: BTreeMap<Token, (usize, Token, BlobDone)>,
    blob_tokens: u64,
    under_way: BTreeSet<(u64, Token)>,
    timers: BTreeMap<TimerKey, Mono>,
    lives: u64,
    deliveries: u64,
}

impl Real {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let limits = Arc::new(dds::Limits::default());
        let mut real = Self {
            store,
            mailbox: Mailbox::new(USER, Arc::new(mailbox::Limits::default())),
            host: Host::new(1, 1),
            partition: Partition::new(PartitionId(0), GroupVersion(1), limits),
            partition_host: Host::new(1, 2),
            work: VecDeque::new(),
            said: VecDeque::new(),
            blob_tasks: BTreeMap::new(),
            blob_tokens: 0,
            under_way: BTreeSet::new(),
            timers: BTreeMap::new(),
            lives: 1,
            deliveries: 0,
        };
        real.begin_life();
        real
    }

    fn begin_life(&mut self) {
        self.work.push_back(Work::Master(mailbox::Input::AccountIs(AccountFacts {
            address: "ann@example.org".into(),
            quota_bytes: None,
            quota_messages: None,
            enabled: true,
        })));
    }

    /// Whether tasks are under way.
    pub fn is_quiet(&self) -> bool {
        self.under_way.is_empty() && self.blob_tasks.is_empty() && self.work.is_empty()
    }

    /// The master ends, with nothing under way, and another takes over.
    pub fn restart(&mut self, sessions: usize) {
        assert!(self.is_quiet());
        self.lives += 1;
        self.host = Host::new(self.lives, 1);
        self.mailbox = Mailbox::new(USER, Arc::new(mailbox::Limits::default()));
        self.timers.clear();
        self.begin_life();
        for session in 0..sessions {
            self.said.push_back((session, SessionInput::Notified(Notice::MasterChanged)));
        }
    }

    pub fn ask(&mut self, session: usize, token: Token, task: Task) {
        match task {
            Task::User { user, task } => {
                assert_eq!(user, USER);
                let from = SessionId(session as u64);
                self.under_way.insert((from.0, token));
                self.work.push_back(Work::Master(mailbox::Input::Asked { from, token, task }));
            }
            Task::Blob(task) => {
                let (request, done) = match task {
                    BlobTask::PutChunk { blob, index, bytes, life } => {
                        let expires = Wall(0).plus(life);
                        let request = dds::Request::PutChunk { blob, index, bytes, expires };
                        (request, BlobDone::Written)
                    }
                    BlobTask::Drop { blob } => (dds::Request::DropBlob { blob }, BlobDone::Dropped),
                };
                self.blob_tokens += 1;
                let at_partition = Token(self.blob_tokens);
                self.blob_tasks.insert(at_partition, (session, token, done));
                self.work.push_back(Work::Partition(partition::Input::Asked {
                    from: BLOBS,
                    token: at_partition,
                    request,
                }));
            }
            Task::Directory(_) | Task::Delivery(_) => panic!("not for the master: {task:?}"),
        }
    }

    /// Mail arrives.
    pub fn deliver(&mut self, message: NewMessage, to: FolderName) {
        self.deliveries += 1;
        let task = UserTask::Deliver(Deliver {
            delivery: DeliveryId(u128::from(self.deliveries)),
            recipient: "ann@example.org".into(),
            folder: to,
            prefix: Bytes::new(),
            body: message.body,
            columns: message.columns,
            filing: mailstore::face::Filing::default(),
            promise: Promise::Open,
        });
        let from = SessionId(1_000_000);
        let token = Token(self.deliveries);
        self.under_way.insert((from.0, token));
        self.work.push_back(Work::Master(mailbox::Input::Asked { from, token, task }));
    }

    /// Does the oldest thing there is to do.
    pub fn work_one(&mut self, now: (Mono, Wall)) -> bool {
        let Some(work) = self.work.pop_front() else { return self.fire_due(now) };
        match work {
            Work::Partition(input) => self.step_partition(now, input),
            Work::Master(input) => self.step_master(now, input),
            Work::Commit(token, group) => {
                let result = self.store.commit(&[*group], Durability::Synced);
                self.step_partition(now, partition::Input::Stored { token, result });
            }
            Work::Read(token, read) => {
                let result = self.store.read(&read, Tier::Disk);
                self.step_partition(now, partition::Input::ReadDone { token, result });
            }
            Work::Match(token, job) => {
                let hits = job.run(&mut Reader(self, now), &mailbox::NoIndex);
                self.work.push_back(Work::Master(mailbox::Input::Matched { token, hits }));
            }
        }
        true
    }

    fn fire_due(&mut self, now: (Mono, Wall)) -> bool {
        let due = self.timers.iter().find(|(_, at)| **at <= now.0).map(|(key, _)| *key);
        let Some(key) = due else { return false };
        self.timers.remove(&key);
        self.step_master(now, mailbox::Input::TimerFired(key));
        true
    }

    fn step_partition(&mut self, now: (Mono, Wall), input: partition::Input) {
        let mut stepped = Stepped::default();
        let budget = Budget::new(9999);
        self.partition_host.step(&mut self.partition, &mut stepped, now, budget, input);
        for effect in stepped.effects {
            match effect {
                partition::Effect::Answer { to: MASTER, token, response } => {
                    self.work.push_back(Work::Master(mailbox::Input::DdsDone { token, response }));
                }
                partition::Effect::Answer { to: _, token, response } => {
                    let (session, token, done) =
                        self.blob_tasks.remove(&token).expect("asked before");
                    assert!(
                        matches!(response, dds::Response::Wrote(dds::Outcome::Committed { .. })),
                        "{response:?}"
                    );
                    let completion = Completion::Blob(done);
                    self.said.push_back((session, SessionInput::Completed { token, completion }));
                }
                partition::Effect::Commit { token, group } => {
                    self.work.push_back(Work::Commit(token, Box::new(group)));
                }
                partition::Effect::Read { token, read } => {
                    self.work.push_back(Work::Read(token, read));
                }
            }
        }
    }

    fn step_master(&mut self, now: (Mono, Wall), input: mailbox::Input) {
        let mut stepped = Stepped::default();
        self.host.step(&mut self.mailbox, &mut stepped, now, Budget::new(2000), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in stepped.effects {
            match effect {
                mailbox::Effect::Answer { to, token, done } => {
                    assert!(self.under_way.remove(&(to.0, token)), "one answer for a task");
                    let completion = match done {
                        Ok(done) => Completion::User(done),
                        Err(refusal) => Completion::Refused(refusal),
                    };
                    if to.0 < 1_000_000 {
                        let input = SessionInput::Completed { token, completion };
                        self.said.push_back((to.0 as usize, input));
                    }
                }
                mailbox::Effect::Dds { token, request } => {
                    self.work.push_back(Work::Partition(partition::Input::Asked {
                        from: MASTER,
                        token,
                        request,
                    }));
                }
                mailbox::Effect::Notify { session, notice } => {
                    self.said.push_back((session.0 as usize, SessionInput::Notified(notice)));
                }
                mailbox::Effect::Match { token, job } => {
                    self.work.push_back(Work::Match(token, job));
                }
                mailbox::Effect::Log(_)
                | mailbox::Effect::Stirred { .. }
                | mailbox::Effect::Idle { .. } => {}
                mailbox::Effect::Erased { .. } => panic!("nobody removed the account"),
            }
        }
        if stepped.yielded {
            self.work.push_back(Work::Master(mailbox::Input::Resumed));
        }
    }

    /// Asks the partition on the side, without disturbing what is under way.
    fn read_now(&mut self, now: (Mono, Wall), request: dds::Request) -> dds::Response {
        let limits = Arc::new(dds::Limits::default());
        let mut partition = Partition::new(PartitionId(0), GroupVersion(1), limits);
        let mut host = Host::new(9, 9);
        let asked = partition::Input::Asked { from: 0, token: Token(1), request };
        let mut inputs = vec![asked];
        while let Some(input) = inputs.pop() {
            let mut stepped = Stepped::default();
            host.step(&mut partition, &mut stepped, now, Budget::new(9999), input);
            for effect in stepped.effects {
                match effect {
                    partition::Effect::Answer { to: _, token: _, response } => return response,
                    partition::Effect::Read { token, read } => {
                        let result = self.store.read(&read, Tier::Disk);
                        inputs.push(partition::Input::ReadDone { token, result });
                    }
                    partition::Effect::Commit { .. } => panic!("a read changes nothing"),
                }
            }
        }
        panic!("every request is answered")
    }

    /// The state of the machine, for traces.
    pub fn digest(&self) -> u64 {
        let mut digest = fsm::Digest::default();
        self.mailbox.digest(&mut digest);
        digest.value()
    }
}

struct Reader<'r>(&'r mut Real, (Mono, Wall));

impl BodyReader for Reader<'_> {
    fn value(&mut self, route: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let request = dds::Request::Get { route: route.clone(), keys: vec![key.clone()] };
        match self.0.read_now(self.1, request) {
            dds::Response::Got(mut values) => Ok(values.remove(0).map(|(value, _)| value)),
            other => panic!("{other:?}"),
        }
    }

    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal> {
        match self.0.read_now(self.1, dds::Request::ReadBlob { blob, offset, len }) {
            dds::Response::BlobRead(bytes) => Ok(Some(bytes)),
            dds::Response::Absent => Ok(None),
            other => panic!("{other:?}"),
        }
    }
}
