//! The hash table as the clients of one node see it, and where the requests that are followed have passed.

use super::order::{Asked, Done};
use crate::bench::dds::load::Table;
use crate::serve::HashTableClients;
use crate::serve::hash_table::HashTableNode;
use ::dds::{Request, Response};
use anyhow::bail;
use fsm::Mono;
use stages::{Clock, Drained, PortReceiver, PortSender, StageStats, port};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use vspace::{DdsResponse, Inward, Passed, TraceId, WriteTimes};

/// Answers taken at once.
const DRAIN_MAX: usize = 1024;
/// Nothing is sent on the lane of tasks here.
const PARCELS_MAX: usize = 1;
/// A number that a request is known by: how many there were before, and its client below.
const CLIENT_BITS: u32 = 20;

/// What workers tell the clients.
pub struct Hook {
    answering: PortSender<(u64, DdsResponse)>,
    passed: Mutex<Vec<(Passed, Mono)>>,
}

impl HashTableClients for Hook {
    fn done(&self, answers: Vec<(u64, DdsResponse)>) {
        self.answering.complete(Clock.mono(), answers);
    }

    fn passed(&self, passed: Passed) {
        let now = Clock.mono();
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).push((passed, now));
    }
}

impl Hook {
    /// A hook, and where the answers arrive.
    pub fn new() -> (Arc<Self>, PortReceiver<(u64, DdsResponse)>) {
        let (answering, answers) = port(PARCELS_MAX, &Arc::new(StageStats::default()));
        (Arc::new(Self { answering, passed: Mutex::default() }), answers)
    }

    /// The requests that this node has done since the last call.
    pub fn done_requests(&self) -> Vec<Done> {
        #[derive(Default)]
        struct Stamps {
            taken: Option<Mono>,
            written: Option<WriteTimes>,
            answered: Option<Mono>,
        }
        let mut requests: BTreeMap<TraceId, Stamps> = BTreeMap::new();
        let passed =
            std::mem::take(&mut *self.passed.lock().unwrap_or_else(PoisonError::into_inner));
        for (passed, now) in passed {
            match passed {
                Passed::Taken { trace, at } => requests.entry(trace).or_default().taken = Some(at),
                Passed::Stored { trace, times } => {
                    requests.entry(trace).or_default().written = Some(times);
                }
                Passed::Answered { trace } => {
                    requests.entry(trace).or_default().answered = Some(now);
                }
            }
        }
        let done = |(trace, stamps): (TraceId, Stamps)| {
            let TraceId { node, origin } = trace;
            let written = stamps.written.map(|times| (times.began.0, times.ended.0));
            let (taken, answered) = (stamps.taken?.0, stamps.answered?.0);
            Some(Done { node: node.0, origin, taken, written, answered })
        };
        requests.into_iter().filter_map(done).collect()
    }
}

/// See the head of the file.
pub struct NodeTable {
    pub node: HashTableNode,
    pub hook: Arc<Hook>,
    answers: PortReceiver<(u64, DdsResponse)>,
    /// One request in so many is followed; 0: none.
    pub follow: u64,
    sent: u64,
    under_way: BTreeMap<u64, (bool, Mono, Instant)>,
    asked: Vec<Asked>,
}

impl NodeTable {
    pub fn new(
        node: HashTableNode,
        hook: Arc<Hook>,
        answers: PortReceiver<(u64, DdsResponse)>,
    ) -> Self {
        let (under_way, asked) = (BTreeMap::new(), Vec::new());
        Self { node, hook, answers, follow: 0, sent: 0, under_way, asked }
    }

    /// The requests that were followed since the last call.
    pub fn asked_requests(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    fn inward(&mut self, (at, request): (usize, Request), now: (Mono, Instant)) -> Inward {
        self.sent += 1;
        let origin = self.sent << CLIENT_BITS | at as u64;
        let followed = self.follow > 0 && self.sent.is_multiple_of(self.follow);
        if followed {
            let is_put = matches!(request, Request::Write(_));
            self.under_way.insert(origin, (is_put, now.0, now.1));
        }
        Inward::Client { origin, followed, request: Box::new(request) }
    }

    fn on_answer(&mut self, origin: u64, now: (Mono, Instant)) {
        if self.under_way.is_empty() {
            return;
        }
        if let Some((is_put, asked, began)) = self.under_way.remove(&origin) {
            let took = u64::try_from((now.1 - began).as_nanos()).unwrap_or(u64::MAX);
            let node = self.node.me.0;
            let answered = now.0.0;
            self.asked.push(Asked { node, origin, is_put, asked: asked.0, answered, took });
        }
    }
}

impl Table for NodeTable {
    fn ask(&mut self, requests: Vec<(usize, Request)>) {
        let now = (Clock.mono(), Instant::now());
        let mut groups: Vec<Vec<Inward>> = self.node.ports().iter().map(|_| Vec::new()).collect();
        for (at, request) in requests {
            let partition = request.partition(&self.node.places.map);
            let group = usize::from(self.node.places.group_of_partition(partition).0);
            let inward = self.inward((at, request), now);
            groups[group].push(inward);
        }
        for (port, inward) in self.node.ports().iter().zip(groups) {
            port.complete(now.0, inward);
        }
    }

    fn answers(&mut self, into: &mut Vec<(usize, Response)>) -> anyhow::Result<()> {
        let mut got = Vec::new();
        loop {
            match self.answers.drain(Clock.mono(), DRAIN_MAX, &mut got) {
                Drained::Took(0) => self.answers.wait(),
                Drained::Took(_) => break,
                Drained::Disconnected => bail!("the node has ended"),
            }
        }
        let now = (Clock.mono(), Instant::now());
        for (origin, response) in got {
            self.on_answer(origin, now);
            into.push((usize::try_from(origin & ((1 << CLIENT_BITS) - 1))?, response));
        }
        Ok(())
    }
}
