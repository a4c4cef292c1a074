//! The stage that hashes: a bounded queue, fair per peer address, and a few threads.
//!
//! Every peer (an IPv4 address, or an IPv6 /64) has a queue of its own; threads take from the queues in turn, so that one
//! that tries many passwords delays itself. Invariants: at most `queue_max` jobs wait, at most half of them from one peer; each
//! accepted job is answered once, unless the pool is dropped.

use super::scheme::{self, StoredHash};
use super::{Argon2Cost, Secret, needs_upgrade};
use crate::control::StageReport;
use crate::metrics::Histogram;
use argon2::Block;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// One hash to make or to judge.
#[derive(Debug)]
pub struct HashJob {
    /// Comes back with the answer.
    pub id: u64,
    /// Whose turn it uses.
    pub peer: IpAddr,
    pub kind: HashKind,
}

#[derive(Debug)]
pub enum HashKind {
    /// Is `secret` the password behind `stored` (`$argon2id$...` or `{SCHEME}hash`)?
    Verify { stored: Arc<str>, secret: Secret },
    /// A new stored form.
    Make { secret: Secret },
}

/// The answer to a [`HashJob`].
#[derive(Debug)]
pub struct HashDone {
    pub id: u64,
    pub outcome: HashOutcome,
}

#[derive(Debug, PartialEq, Eq)]
pub enum HashOutcome {
    Matched {
        /// The stored form is foreign or weak: make a new one now, while the password is at hand.
        upgrade: bool,
    },
    /// Also when the stored form can't be read.
    Mismatched,
    Made(String),
    /// The password is too long, or the machine has no random numbers.
    Failed,
}

/// The queue is full: a temporary refusal. The job comes back.
#[derive(Debug, thiserror::Error)]
#[error("too many passwords wait to be judged")]
pub struct PoolBusy(pub HashJob);

type Callback = dyn Fn(HashDone) + Send + Sync;

/// Where one answer goes when it is not for the callback of the pool.
pub type Answer = Box<dyn FnOnce(HashOutcome) + Send>;

/// A job in the queue.
struct Queued {
    at: Instant,
    job: HashJob,
    answer: Option<Answer>,
}

/// The threads and their queue. Dropping it ends the threads after the job each has in hand.
pub struct HashPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    queue_max: usize,
    cost: Argon2Cost,
    /// A stored form that nobody's password matches: judged for unknown users, so that they cost the same time.
    decoy: Arc<str>,
    done: Box<Callback>,
    stats: Stats,
}

#[derive(Default)]
struct Queue {
    by_peer: BTreeMap<PeerKey, VecDeque<Queued>>,
    /// Peers with jobs, in order of their turns.
    turns: VecDeque<PeerKey>,
    waiting: usize,
    stopped: bool,
}

#[derive(Default)]
struct Stats {
    wait: Histogram,
    service: Histogram,
    processed: AtomicU64,
    wakes: AtomicU64,
    refusals: AtomicU64,
}

/// An IPv4 address, or the /64 of an IPv6 address: `protocols.md`, attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PeerKey(u128);

impl PeerKey {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 64 << 64),
        }
    }
}

impl HashPool {
    /// Starts the threads. `done` is called on one of them with every answer; it must not block.
    ///
    /// # Errors
    /// The machine gives no thread or no random numbers.
    pub fn start(
        config: &crate::config::Auth,
        done: impl Fn(HashDone) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let memory_kib = u32::try_from(config.argon2_memory.0 / 1024).unwrap_or(u32::MAX);
        let cost = Argon2Cost { memory_kib, iterations: config.argon2_iterations };
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            queue_max: config.hash_queue.try_into().unwrap_or(usize::MAX),
            cost,
            decoy: scheme::decoy(cost)?.into(),
            done: Box::new(done),
            stats: Stats::default(),
        });
        let mut threads = Vec::new();
        for number in 0..config.hash_threads {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("hash-{number}"));
            threads.push(thread.spawn(move || shared.run())?);
        }
        Ok(Self { shared, threads })
    }

    /// Queues a job. Cheap; never blocks on hashing.
    ///
    /// # Errors
    /// [`PoolBusy`] when the queue, or the peer's half of it, is full.
    pub fn submit(&self, job: HashJob) -> Result<(), PoolBusy> {
        self.push(job, None).map_err(|(busy, _)| busy)
    }

    /// Like `submit`, for one who wants the answer himself, on the thread that hashed: `answer` must not block.
    ///
    /// # Errors
    /// [`PoolBusy`], and `answer` unused.
    pub fn submit_to(&self, job: HashJob, answer: Answer) -> Result<(), (PoolBusy, Answer)> {
        self.push(job, Some(answer))
            .map_err(|(busy, answer)| (busy, answer.expect("what was given comes back")))
    }

    fn push(&self, job: HashJob, answer: Option<Answer>) -> Result<(), (PoolBusy, Option<Answer>)> {
        let shared = &self.shared;
        let mut queue = shared.lock();
        let peer = PeerKey::of(job.peer);
        let of_peer = queue.by_peer.get(&peer).map_or(0, VecDeque::len);
        if queue.waiting >= shared.queue_max || of_peer >= (shared.queue_max / 2).max(1) {
            drop(queue);
            shared.stats.refusals.fetch_add(1, Ordering::Relaxed);
            return Err((PoolBusy(job), answer));
        }
        queue.push(peer, Queued { at: Instant::now(), job, answer });
        drop(queue);
        shared.filled.notify_one();
        Ok(())
    }

    /// See [`Shared::decoy`].
    #[must_use]
    pub fn decoy(&self) -> Arc<str> {
        Arc::clone(&self.shared.decoy)
    }

    /// Its line in `status`.
    #[must_use]
    pub fn report(&self) -> StageReport {
        let stats = &self.shared.stats;
        let processed = stats.processed.load(Ordering::Relaxed);
        StageReport {
            name: "hash".to_owned(),
            depth: self.shared.lock().waiting as u64,
            depth_max: self.shared.queue_max as u64,
            depth_peak: None,
            wait: stats.wait.latency(),
            service: stats.service.latency(),
            processed,
            batches: processed,
            wakes: stats.wakes.load(Ordering::Relaxed),
            hops: processed.saturating_mul(2),
            refusals: stats.refusals.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for HashPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.filled.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn push(&mut self, peer: PeerKey, queued: Queued) {
        let jobs = self.by_peer.entry(peer).or_default();
        if jobs.is_empty() {
            self.turns.push_back(peer);
        }
        jobs.push_back(queued);
        self.waiting += 1;
    }

    fn pop(&mut self) -> Option<Queued> {
        let peer = self.turns.pop_front()?;
        let jobs = self.by_peer.get_mut(&peer)?;
        let job = jobs.pop_front()?;
        if jobs.is_empty() {
            self.by_peer.remove(&peer);
        } else {
            self.turns.push_back(peer);
        }
        self.waiting -= 1;
        Some(job)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut memory = Vec::new();
        while let Some(Queued { at, job, answer }) = self.next(&mut memory) {
            let begun = Instant::now();
            self.stats.wait.record(begun.duration_since(at));
            let id = job.id;
            let outcome = self.work(job.kind, &mut memory);
            self.stats.service.record(begun.elapsed());
            self.stats.processed.fetch_add(1, Ordering::Relaxed);
            match answer {
                Some(answer) => answer(outcome),
                None => (self.done)(HashDone { id, outcome }),
            }
        }
    }

    /// The next job; `None` when the pool stops. Memory is given back before a wait: an idle pool holds none.
    fn next(&self, memory: &mut Vec<Block>) -> Option<Queued> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            *memory = Vec::new();
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            self.stats.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn work(&self, kind: HashKind, memory: &mut Vec<Block>) -> HashOutcome {
        match kind {
            HashKind::Verify { stored, secret } => {
                let matched = StoredHash::parse(&stored)
                    .is_ok_and(|hash| hash.matches(secret.as_bytes(), memory));
                if matched {
                    HashOutcome::Matched { upgrade: needs_upgrade(&stored, self.cost) }
                } else {
                    HashOutcome::Mismatched
                }
            }
            HashKind::Make { secret } => match scheme::make(secret.as_bytes(), self.cost, memory) {
                Ok(made) => HashOutcome::Made(made),
                Err(_) => HashOutcome::Failed,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, Size};
    use std::sync::mpsc;

    fn cheap(hash_threads: u32, hash_queue: u32) -> Auth {
        let argon2_memory = Size(64 * 1024);
        Auth { argon2_memory, argon2_iterations: 1, hash_threads, hash_queue, ..Auth::default() }
    }

    fn job(id: u64, peer: &str) -> HashJob {
        let kind = HashKind::Make { secret: Secret::new(*b"secret") };
        HashJob { id, peer: peer.parse().expect("an address"), kind }
    }

    #[test]
    fn what_is_made_matches_and_the_decoy_never_does() {
        let (to, from) = mpsc::channel();
        let done = move |done| to.send(done).expect("the test waits");
        let pool = HashPool::start(&cheap(2, 16), done).expect("starts");
        pool.submit(job(1, "192.0.2.1")).expect("room");
        let HashOutcome::Made(stored) = from.recv().expect("answered").outcome else {
            panic!("not made")
        };
        for (stored, outcome) in [
            (stored.into(), HashOutcome::Matched { upgrade: false }),
            (pool.decoy(), HashOutcome::Mismatched),
            ("{PLAIN}secret".into(), HashOutcome::Matched { upgrade: true }),
            ("nonsense".into(), HashOutcome::Mismatched),
        ] {
            let kind = HashKind::Verify { stored, secret: Secret::new(*b"secret") };
            pool.submit(HashJob { kind, ..job(2, "192.0.2.1") }).expect("room");
            assert_eq!(from.recv().expect("answered").outcome, outcome);
        }
        assert_eq!(pool.report().processed, 5);
    }

    #[test]
    fn peers_take_turns() {
        let mut queue = Queue::default();
        for (id, peer) in [(1, "192.0.2.1"), (2, "192.0.2.1"), (3, "192.0.2.1"), (4, "192.0.2.2")] {
            let job = job(id, peer);
            queue.push(PeerKey::of(job.peer), Queued { at: Instant::now(), job, answer: None });
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|it| it.job.id).collect();
        assert_eq!(order, [1, 4, 2, 3]);
        assert!(queue.by_peer.is_empty() && queue.turns.is_empty() && queue.waiting == 0);
    }

    #[test]
    fn one_ipv6_network_is_one_peer() {
        let key = |ip: &str| PeerKey::of(ip.parse().expect("an address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }

    #[test]
    fn a_full_queue_refuses_and_one_peer_gets_half_of_it() {
        // No thread takes anything: the queue only fills.
        let pool = HashPool::start(&cheap(0, 4), |_| {}).expect("starts");
        let mut taken = 0;
        for id in 0..8 {
            taken += u32::from(pool.submit(job(id, "192.0.2.1")).is_ok());
        }
        assert_eq!(taken, 2);
        assert!(pool.submit(job(9, "192.0.2.2")).is_ok());
        assert!(pool.submit(job(10, "192.0.2.2")).is_ok());
        let PoolBusy(back) = pool.submit(job(11, "192.0.2.3")).expect_err("full");
        assert_eq!(back.id, 11);
        assert_eq!(pool.report().depth, 4);
    }
}
