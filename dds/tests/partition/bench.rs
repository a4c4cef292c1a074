//! One partition on a store in memory, with every completion in the test's hands.

use bytes::Bytes;
use dds::partition::{Effect, Input};
use dds::*;
use fsm::{Budget, Host, Mono, Stepped, Token, Wall};
use std::collections::VecDeque;
use std::sync::Arc;

pub const PARTITION: PartitionId = PartitionId(7);

pub struct Bench {
    pub store: Arc<MemoryStore>,
    pub chains: Chains,
    pub machine: Partition,
    pub limits: Arc<Limits>,
    host: Host,
    pub commits: VecDeque<(Token, Group)>,
    pub reads: VecDeque<(Token, Read)>,
    /// (number of the question, answer), in the order given.
    pub answers: Vec<(u64, Response)>,
    pub asked: u64,
}

impl Bench {
    pub fn new(limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self {
            store: Arc::new(MemoryStore::new()),
            chains: Chains::default(),
            machine: Partition::new(PARTITION, GroupVersion(1), Arc::clone(&limits)),
            limits,
            host: Host::new(1, 1),
            commits: VecDeque::new(),
            reads: VecDeque::new(),
            answers: Vec::new(),
            asked: 0,
        }
    }

    /// The node dies and starts again; `survivors` of the unsynced groups survive.
    pub fn restart(&mut self, survivors: usize) {
        self.store.power_loss(survivors);
        self.chains = Chains::default();
        self.machine = Partition::new(PARTITION, GroupVersion(1), Arc::clone(&self.limits));
        self.commits.clear();
        self.reads.clear();
    }

    pub fn step(&mut self, input: Input) {
        let mut stepped = Stepped::default();
        let now = (Mono(0), Wall(0));
        self.host.step(&mut self.machine, &mut stepped, now, Budget::new(1000), input);
        assert!(stepped.timers.is_empty(), "a partition has no timers");
        for effect in stepped.effects {
            match effect {
                Effect::Answer { to, token, response } => {
                    assert_eq!(to, token.0 + 1000, "the asker comes back as it was given");
                    self.answers.push((token.0, response));
                }
                Effect::Commit { token, group } => {
                    let bytes: usize = group.ops.iter().map(op_bytes).sum();
                    assert_eq!(bytes, group.bytes, "the weight of a group is that of its ops");
                    self.commits.push_back((token, group));
                }
                Effect::Read { token, read } => self.reads.push_back((token, read)),
            }
        }
    }

    /// Asks without completing anything; returns the question's number.
    pub fn ask(&mut self, request: Request) -> u64 {
        self.asked += 1;
        let (token, from) = (Token(self.asked), self.asked + 1000);
        self.step(Input::Asked { from, token, request });
        self.asked
    }

    pub fn read_one(&mut self, index: usize) {
        let (token, read) = self.reads.remove(index).expect("a read is under way");
        let result = self.store.read(&read, Tier::Disk);
        self.step(Input::ReadDone { token, result });
    }

    /// Commits the first `count` queued groups as one write.
    pub fn commit(&mut self, count: usize) {
        let (tokens, groups): (Vec<_>, Vec<_>) = self.commits.drain(..count).unzip();
        let results = self.chains.commit(&*self.store, &groups, Durability::Synced);
        for (token, result) in tokens.into_iter().zip(results) {
            self.step(Input::Stored { token, result });
        }
    }

    /// Completes everything.
    pub fn settle(&mut self) {
        loop {
            if !self.reads.is_empty() {
                self.read_one(0);
            } else if !self.commits.is_empty() {
                self.commit(self.commits.len());
            } else {
                return;
            }
        }
    }

    /// Completes reads only.
    pub fn settle_reads(&mut self) {
        while !self.reads.is_empty() {
            self.read_one(0);
        }
    }

    /// Asks, completes everything, and takes the one answer.
    pub fn call(&mut self, request: Request) -> Response {
        let number = self.ask(request);
        self.settle();
        self.answer(number)
    }

    pub fn answer(&mut self, number: u64) -> Response {
        let at = self.answers.iter().position(|(asked, _)| *asked == number);
        self.answers.remove(at.expect("the question has been answered")).1
    }

    pub fn is_answered(&self, number: u64) -> bool {
        self.answers.iter().any(|(asked, _)| *asked == number)
    }

    pub fn claim(&mut self, route: &RouteKey) -> Claimed {
        match self.call(Request::Claim { route: route.clone() }) {
            Response::Claimed(claimed) => claimed,
            other => panic!("claimed: {other:?}"),
        }
    }

    pub fn get(&mut self, route: &RouteKey, key: &[u8]) -> Option<Bytes> {
        let keys = vec![sort_key(key)];
        match self.call(Request::Get { route: route.clone(), keys }) {
            Response::Got(mut values) => values.remove(0).map(|(value, _)| value),
            other => panic!("got: {other:?}"),
        }
    }
}

fn op_bytes(op: &StoreOp) -> usize {
    match op {
        StoreOp::Put { key, value, .. } => key.len() + value.len(),
        StoreOp::Delete { key, .. } => key.len(),
        StoreOp::DeleteRange { from, to, .. } => from.len() + to.len(),
    }
}

pub fn route(name: &'static str) -> RouteKey {
    RouteKey(Bytes::from_static(name.as_bytes()))
}

pub fn sort_key(key: &[u8]) -> SortKey {
    SortKey(Bytes::copy_from_slice(key))
}

pub fn put(key: &[u8], value: &[u8]) -> Op {
    Op::Put { key: sort_key(key), value: Bytes::copy_from_slice(value) }
}

pub fn batch(route: &RouteKey, writer: Option<(Epoch, u64)>, ops: Vec<Op>) -> Batch {
    let writer = writer.map(|(epoch, seq)| Writer { epoch, seq: Seq(seq) });
    Batch { route: route.clone(), writer, preconditions: Vec::new(), makes_way: false, ops }
}

pub fn committed(version: u64) -> Response {
    Response::Wrote(Outcome::Committed { version: Version(version) })
}

pub fn refused(refusal: Refusal) -> Response {
    Response::Wrote(Outcome::Refused(refusal))
}
