//! The store writer: one thread that takes everything that has queued up, over all partitions, as one write with one sync,
//! while the next batch fills. No commit timer: what is queued is synced at once.
//!
//! Invariants: groups are committed in the order they were queued; a completion is sent only after the sync that covers it;
//! after a fatal error nothing is committed any more.

use crate::{Clock, Drained, PortReceiver, PortSender, StageStats, port};
use fsm::Mono;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use vspace::store::{Chains, Durability, Group, Store, StoreError};

/// A group to make durable. `reply` names the worker that waits, `ticket` what it waits for.
#[derive(Debug)]
pub struct CommitJob<K> {
    pub reply: usize,
    pub ticket: K,
    pub queued: Mono,
    pub group: Group,
    /// A write of groups that need not be synced is not.
    pub durability: Durability,
}

/// The completion of a [`CommitJob`].
#[derive(Clone, Debug)]
pub struct CommitDone<K> {
    pub ticket: K,
    pub queued: Mono,
    /// When the write began that holds it.
    pub began: Mono,
    pub result: Result<(), StoreError>,
}

/// Where the completions of one worker go.
pub type Done<K> = Box<dyn Fn(Mono, Vec<CommitDone<K>>) + Send>;

/// Told once, on the writer's thread, that the store must stop.
pub type OnFatal = Box<dyn FnOnce(&StoreError) + Send>;

/// How the writer batches. The defaults are the design; the others exist for the ablation of `make bench`.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Groups of one write.
    pub groups_max: usize,
    /// Bytes of one write: bounds the time of one sync and the memory of a batch.
    pub bytes_max: usize,
    pub durability: Durability,
    /// Batches queued from one worker before it has to wait.
    pub parcels_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            groups_max: 4096,
            bytes_max: 16 * 1024 * 1024,
            durability: Durability::Synced,
            parcels_max: 1 << 16,
        }
    }
}

/// When the write under way began, in nanoseconds; 0 when none is. For the watchdog.
#[derive(Clone, Debug, Default)]
pub struct WriteClock(Arc<AtomicU64>);

impl WriteClock {
    /// How long the write under way takes already.
    #[must_use]
    pub fn running(&self, now: Mono) -> Option<fsm::Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            began => Some(now.since(Mono(began))),
        }
    }
}

/// The running stage.
#[derive(Debug)]
pub struct Writer<K> {
    pub sender: PortSender<CommitJob<K>>,
    pub stats: Arc<StageStats>,
    pub clock: WriteClock,
    thread: JoinHandle<()>,
}

impl<K: Send + 'static> Writer<K> {
    /// Starts the writer's thread. `done[n]` sends completions to worker `n`; `on_fatal` is called once, on the writer's
    /// thread, when the store must stop.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(
        config: WriterConfig,
        store: Arc<dyn Store>,
        done: Vec<Done<K>>,
        on_fatal: OnFatal,
    ) -> std::io::Result<Self> {
        let stats = Arc::new(StageStats::default());
        let clock = WriteClock::default();
        let (sender, receiver) = port(config.parcels_max, &stats);
        let run = Run {
            config,
            store,
            done,
            on_fatal: Some(on_fatal),
            receiver,
            stats: Arc::clone(&stats),
            clock: clock.clone(),
            chains: Chains::default(),
        };
        let thread =
            std::thread::Builder::new().name("writer".into()).spawn(move || run.until_closed())?;
        Ok(Self { sender, stats, clock, thread })
    }

    /// Waits until everything queued is durable and the thread has ended. All other senders must be gone.
    pub fn join(self) {
        drop(self.sender);
        // A panic of the writer has already been printed; the node ends anyway.
        let _ended = self.thread.join();
    }
}

struct Run<K> {
    config: WriterConfig,
    store: Arc<dyn Store>,
    done: Vec<Done<K>>,
    on_fatal: Option<OnFatal>,
    receiver: PortReceiver<CommitJob<K>>,
    stats: Arc<StageStats>,
    clock: WriteClock,
    chains: Chains,
}

impl<K> Run<K> {
    fn until_closed(mut self) {
        let mut queued = Vec::new();
        loop {
            if queued.is_empty() {
                match self.receiver.drain(Clock.mono(), self.config.groups_max, &mut queued) {
                    Drained::Took(0) => {
                        self.receiver.wait();
                        continue;
                    }
                    Drained::Took(_) => {}
                    Drained::Disconnected => return,
                }
            }
            let rest = queued.split_off(self.batch_len(&queued));
            let batch = std::mem::replace(&mut queued, rest);
            self.commit(batch);
        }
    }

    /// How many of the queued jobs make the next write.
    fn batch_len(&self, queued: &[CommitJob<K>]) -> usize {
        let mut bytes = 0;
        let fits = queued.iter().take(self.config.groups_max).take_while(|job| {
            bytes += job.group.bytes;
            bytes <= self.config.bytes_max
        });
        fits.count().max(1)
    }

    fn commit(&mut self, batch: Vec<CommitJob<K>>) {
        let began = Clock.mono();
        self.clock.0.store(began.0.max(1), Relaxed);
        let needed = |job: &CommitJob<K>| job.durability == Durability::Synced;
        let durability = match self.config.durability {
            Durability::Synced if batch.iter().any(needed) => Durability::Synced,
            Durability::Synced | Durability::Buffered => Durability::Buffered,
        };
        let (jobs, groups): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|job| ((job.reply, job.ticket, job.queued), job.group)).unzip();
        let results = self.write(&groups, durability);
        self.clock.0.store(0, Relaxed);
        let now = Clock.mono();
        let service = u64::try_from(now.since(began).as_nanos()).unwrap_or(u64::MAX);
        self.stats.service.record(service, 1);
        self.stats.batch.record(jobs.len() as u64, 1);
        self.stats.served.fetch_add(jobs.len() as u64, Relaxed);
        let mut parcels: Vec<Vec<CommitDone<K>>> = self.done.iter().map(|_| Vec::new()).collect();
        for ((reply, ticket, queued), result) in jobs.into_iter().zip(results) {
            parcels[reply].push(CommitDone { ticket, queued, began, result });
        }
        for (send, parcel) in self.done.iter().zip(parcels) {
            send(now, parcel);
        }
    }

    fn write(&mut self, groups: &[Group], durability: Durability) -> Vec<Result<(), StoreError>> {
        if self.on_fatal.is_none() {
            let stopped = StoreError::Fatal("the store has stopped".into());
            return groups.iter().map(|_| Err(stopped.clone())).collect();
        }
        let results = self.chains.commit(&*self.store, groups, durability);
        let fatal = |result: &Result<(), StoreError>| matches!(result, Err(StoreError::Fatal(_)));
        if let Some(Err(error)) = results.iter().find(|result| fatal(result))
            && let Some(on_fatal) = self.on_fatal.take()
        {
            on_fatal(error);
        }
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use vspace::store::{Chain, Column, PartitionId, Read, ReadDone, StoreOp, Tier};

    /// Notes the size of every commit; refuses keys that begin with `!`.
    #[derive(Default)]
    struct Notes(Mutex<Vec<usize>>);

    impl Store for Notes {
        fn commit(&self, groups: &[Group], _durability: Durability) -> Result<(), StoreError> {
            let bad =
                |op: &StoreOp| matches!(op, StoreOp::Delete { key, .. } if key.starts_with(b"!"));
            if groups.iter().any(|group| group.ops.iter().any(bad)) {
                return Err(StoreError::NoSpace);
            }
            self.0.lock().expect("no panic").push(groups.len());
            Ok(())
        }

        fn read(&self, _read: &Read, _tier: Tier) -> Result<ReadDone, StoreError> {
            Ok(ReadDone::Miss)
        }
    }

    fn job(ticket: u32, key: &'static [u8]) -> CommitJob<u32> {
        let ops = vec![StoreOp::Delete { column: Column::Meta, key: Bytes::from_static(key) }];
        let group = Group {
            partition: PartitionId(u16::try_from(ticket).expect("small")),
            ops,
            bytes: 10,
            frees_space: true,
            chain: Chain::Starts,
        };
        let durability = Durability::Synced;
        CommitJob { reply: 0, ticket, queued: Mono(0), group, durability }
    }

    #[test]
    fn one_write_takes_all_that_is_queued_and_a_refused_group_refuses_no_other() {
        let (tell, told) = mpsc::channel();
        let store = Arc::new(Notes::default());
        let done: Done<u32> = Box::new(move |_, parcel| {
            tell.send(parcel).expect("the test listens");
        });
        let on_fatal = Box::new(|_: &StoreError| panic!("nothing is fatal here"));
        let shared: Arc<dyn Store> = Arc::<Notes>::clone(&store);
        let writer =
            Writer::start(WriterConfig::default(), shared, vec![done], on_fatal).expect("a thread");
        writer.sender.complete(Mono(1), vec![job(1, b"a"), job(2, b"!"), job(3, b"c")]);
        let results: Vec<_> = told
            .recv()
            .expect("the writer answers")
            .into_iter()
            .map(|done| (done.ticket, done.result.is_ok()))
            .collect();
        assert_eq!(results, [(1, true), (2, false), (3, true)]);
        writer.sender.complete(Mono(1), vec![job(4, b"a"), job(5, b"b")]);
        assert_eq!(told.recv().expect("the writer answers").len(), 2);
        writer.join();
        assert_eq!(*store.0.lock().expect("no panic"), [1, 1, 2]);
    }
}
