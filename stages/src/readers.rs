//! The reader pool: a few threads for what may touch the disk or take long, so that no worker ever does.
//!
//! A worker sends all that its machines asked for as one batch; the readers share it, job by job.

use crate::{Clock, Drained, PortReceiver, PortSender, StageStats, port};
use fsm::Mono;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Work for a reader: run to its end on one thread; what it returns goes to the worker that asked.
pub type ReadTask<D> = Box<dyn FnOnce() -> D + Send>;

/// A task and who waits for it.
pub struct ReadJob<D> {
    pub reply: usize,
    pub task: ReadTask<D>,
}

impl<D> std::fmt::Debug for ReadJob<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadJob").field("reply", &self.reply).finish_non_exhaustive()
    }
}

/// What the readers share: whoever holds the lock takes the next job.
struct Jobs<D> {
    receiver: PortReceiver<ReadJob<D>>,
    /// Of a batch of which some are taken.
    left: VecDeque<ReadJob<D>>,
}

impl<D> Jobs<D> {
    /// Waits for a job; nothing when all senders are gone.
    fn next(&mut self) -> Option<ReadJob<D>> {
        let mut batch = Vec::new();
        while self.left.is_empty() {
            match self.receiver.drain(Clock.mono(), 1, &mut batch) {
                Drained::Took(0) => self.receiver.wait(),
                Drained::Took(_) => self.left.extend(batch.drain(..)),
                Drained::Disconnected => return None,
            }
        }
        self.left.pop_front()
    }
}

type Done<D> = Arc<dyn Fn(usize, Mono, Vec<D>) + Send + Sync>;

/// The running pool.
#[derive(Debug)]
pub struct Readers<D> {
    pub sender: PortSender<ReadJob<D>>,
    pub stats: Arc<StageStats>,
    threads: Vec<JoinHandle<()>>,
}

impl<D: Send + 'static> Readers<D> {
    /// Starts `threads` readers. `done` sends completions to the worker named.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub fn start(threads: usize, parcels_max: usize, done: Done<D>) -> std::io::Result<Self> {
        let stats = Arc::new(StageStats::default());
        let (sender, receiver) = port(parcels_max, &stats);
        let jobs = Arc::new(Mutex::new(Jobs { receiver, left: VecDeque::new() }));
        let threads = (0..threads.max(1))
            .map(|index| {
                let (jobs, done) = (Arc::clone(&jobs), Arc::clone(&done));
                let stats = Arc::clone(&stats);
                std::thread::Builder::new()
                    .name(format!("reader-{index}"))
                    .spawn(move || until_closed(&jobs, &done, &stats))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { sender, stats, threads })
    }

    /// Waits until all queued tasks are done. All other senders must be gone.
    pub fn join(self) {
        drop(self.sender);
        for thread in self.threads {
            // A panic of a reader has already been printed; the node ends anyway.
            let _ended = thread.join();
        }
    }
}

fn until_closed<D>(jobs: &Mutex<Jobs<D>>, done: &Done<D>, stats: &StageStats) {
    loop {
        // One reader waits at the queue; the others wait for their turn at the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(job) = job else {
            return;
        };
        let began = Clock.mono();
        let answer = (job.task)();
        let now = Clock.mono();
        let service = u64::try_from(now.since(began).as_nanos()).unwrap_or(u64::MAX);
        stats.service.record(service, 1);
        stats.batch.record(1, 1);
        stats.served.fetch_add(1, Relaxed);
        done(job.reply, now, vec![answer]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn every_task_is_answered_to_its_worker() {
        let (tell, told) = mpsc::channel();
        let tell = Mutex::new(tell);
        let done: Done<u64> = Arc::new(move |reply, _, answers| {
            let tell = tell.lock().expect("no panic");
            tell.send((reply, answers)).expect("the test listens");
        });
        let readers = Readers::start(3, 100, done).expect("threads");
        for n in 0..50_u64 {
            let job = ReadJob {
                reply: usize::try_from(n % 2).expect("small"),
                task: Box::new(move || n * n),
            };
            readers.sender.try_send(Mono(0), vec![job]).expect("room for 100");
        }
        readers.join();
        let mut got: Vec<_> = told.iter().take(50).collect();
        got.sort_by_key(|(_, answers)| answers[0]);
        let expected: Vec<_> = (0..50_u64).map(|n| ((n % 2) as usize, vec![n * n])).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn the_jobs_of_one_batch_are_shared() {
        let done: Done<()> = Arc::new(|_, _, _| {});
        let readers = Readers::start(2, 100, done).expect("threads");
        let (tell, told) = mpsc::sync_channel::<()>(0);
        // Neither ends before the other has begun.
        let jobs = vec![
            ReadJob { reply: 0, task: Box::new(move || tell.send(()).expect("it listens")) },
            ReadJob { reply: 0, task: Box::new(move || told.recv().expect("it tells")) },
        ];
        readers.sender.try_send(Mono(0), jobs).expect("room");
        readers.join();
    }
}
