//! A queue into a stage's thread: batches, two lanes, and a wake only when the thread sleeps.
//!
//! *Completions* never block and are never refused: what they answer was admitted, so their number is bounded by what is
//! under way; the most there ever were is kept, for whoever doubts it. *Tasks* are bounded and refused when the lane is full. A batch is one queue entry, so a hop costs a share of one
//! channel operation; the receiver's flag is looked at once per batch.

use crate::StageStats;
use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use fsm::Mono;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::Thread;

/// Messages that travel together, and when they were sent.
#[derive(Debug)]
struct Parcel<T> {
    sent: Mono,
    messages: Vec<T>,
}

#[derive(Debug, Default)]
struct Parking {
    /// The receiver sleeps or is about to: whoever clears this wakes it.
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
    senders: AtomicUsize,
}

impl Parking {
    /// True when the receiver slept.
    fn wake(&self) -> bool {
        // The message was queued before this look: either the receiver sees it after it set `parked`, or we see `parked`.
        let slept = self.parked.load(SeqCst) && self.parked.swap(false, SeqCst);
        if slept {
            let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        slept
    }
}

/// A sender's hold on the receiver: the last one that is dropped wakes it.
#[derive(Debug)]
struct Tie(Arc<Parking>);

impl Tie {
    fn new(parking: &Arc<Parking>) -> Self {
        parking.senders.fetch_add(1, SeqCst);
        Self(Arc::clone(parking))
    }
}

impl Clone for Tie {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, SeqCst) == 1 {
            self.0.wake();
        }
    }
}

/// A plain thread that waits.
struct Sleeper(Thread);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The sending side. Cheap to clone.
#[derive(Debug)]
pub struct PortSender<T> {
    completions: Sender<Parcel<T>>,
    tasks: Sender<Parcel<T>>,
    stats: Arc<StageStats>,
    parcel_max: usize,
    /// Dropped behind the channels: who is woken by it finds them closed.
    tie: Tie,
}

impl<T> Clone for PortSender<T> {
    fn clone(&self) -> Self {
        Self {
            completions: self.completions.clone(),
            tasks: self.tasks.clone(),
            stats: Arc::clone(&self.stats),
            parcel_max: self.parcel_max,
            tie: self.tie.clone(),
        }
    }
}

impl<T> PortSender<T> {
    /// The same queue, for batches of at most so many completions: the ablation of `make bench` sends them one by one.
    #[must_use]
    pub fn in_parcels_of(mut self, parcel_max: usize) -> Self {
        self.parcel_max = parcel_max;
        self
    }

    /// Sends completions. Nothing happens when the receiver is gone: the node is stopping.
    pub fn complete(&self, now: Mono, messages: Vec<T>) {
        if messages.len() <= self.parcel_max {
            return self.complete_parcel(now, messages);
        }
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            self.complete_parcel(now, messages.by_ref().take(self.parcel_max).collect());
        }
    }

    fn complete_parcel(&self, now: Mono, messages: Vec<T>) {
        if messages.is_empty() {
            return;
        }
        self.stats.on_queued(messages.len() as u64);
        if self.completions.send(Parcel { sent: now, messages }).is_ok() {
            self.nudge();
        }
    }

    /// Sends tasks, all or none.
    ///
    /// # Errors
    /// Gives the tasks back when the lane is full or the receiver is gone.
    pub fn try_send(&self, now: Mono, messages: Vec<T>) -> Result<(), Vec<T>> {
        if messages.is_empty() {
            return Ok(());
        }
        let count = messages.len() as u64;
        self.stats.on_queued(count);
        match self.tasks.try_send(Parcel { sent: now, messages }) {
            Ok(()) => {
                self.nudge();
                Ok(())
            }
            Err(TrySendError::Full(parcel) | TrySendError::Disconnected(parcel)) => {
                self.stats.depth.fetch_sub(count, Relaxed);
                self.stats.refusals.fetch_add(count, Relaxed);
                Err(parcel.messages)
            }
        }
    }

    /// Wakes the receiver without a message: it shall look at something else.
    pub fn nudge(&self) {
        if self.tie.0.wake() {
            self.stats.wakes.fetch_add(1, Relaxed);
        }
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct PortReceiver<T> {
    completions: Receiver<Parcel<T>>,
    tasks: Receiver<Parcel<T>>,
    parking: Arc<Parking>,
    stats: Arc<StageStats>,
}

/// Whether anything can still arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// So many messages were taken.
    Took(usize),
    /// Nothing is queued, and every sender is gone.
    Disconnected,
}

/// A queue whose task lane holds at most `task_parcels_max` batches.
#[must_use]
pub fn port<T>(
    task_parcels_max: usize,
    stats: &Arc<StageStats>,
) -> (PortSender<T>, PortReceiver<T>) {
    let (complete, completions) = crossbeam_channel::unbounded();
    let (send, tasks) = crossbeam_channel::bounded(task_parcels_max);
    let parking = Arc::new(Parking::default());
    let sender = PortSender {
        completions: complete,
        tasks: send,
        stats: Arc::clone(stats),
        parcel_max: usize::MAX,
        tie: Tie::new(&parking),
    };
    (sender, PortReceiver { completions, tasks, parking, stats: Arc::clone(stats) })
}

impl<T> PortReceiver<T> {
    /// Takes messages, completions first, until at least `messages_max` are taken or nothing is queued.
    pub fn drain(&self, now: Mono, messages_max: usize, into: &mut Vec<T>) -> Drained {
        let before = into.len();
        let mut lanes_closed = 0;
        for lane in [&self.completions, &self.tasks] {
            while into.len() - before < messages_max {
                match lane.try_recv() {
                    Ok(parcel) => self.take(now, parcel, into),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        lanes_closed += 1;
                        break;
                    }
                }
            }
        }
        let took = into.len() - before;
        if took == 0 && lanes_closed == 2 { Drained::Disconnected } else { Drained::Took(took) }
    }

    fn take(&self, now: Mono, parcel: Parcel<T>, into: &mut Vec<T>) {
        let count = parcel.messages.len() as u64;
        self.stats.depth.fetch_sub(count, Relaxed);
        self.stats.hops.fetch_add(count, Relaxed);
        let wait = u64::try_from(now.since(parcel.sent).as_nanos()).unwrap_or(u64::MAX);
        self.stats.wait.record(wait, count);
        into.extend(parcel.messages);
    }

    /// Whom to wake.
    pub fn set_waker(&self, waker: Waker) {
        *self.parking.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }

    /// Announces that the receiver is going to sleep; false when it must look at the queue once more instead.
    #[must_use]
    pub fn park(&self) -> bool {
        self.parking.parked.store(true, SeqCst);
        let is_idle = self.completions.is_empty() && self.tasks.is_empty();
        if is_idle && self.parking.senders.load(SeqCst) > 0 {
            return true;
        }
        self.unpark();
        false
    }

    /// The receiver is awake for another reason.
    pub fn unpark(&self) {
        self.parking.parked.store(false, SeqCst);
    }

    /// Sleeps this thread until something is queued, every sender is gone, or somebody nudges it.
    ///
    /// It gives up its processor at once. To wait as the channel does, which looks again several times and yields in between,
    /// costs a slice of others' time where processors are busy.
    pub fn wait(&self) {
        self.set_waker(Waker::from(Arc::new(Sleeper(std::thread::current()))));
        if self.park() {
            while self.parking.parked.load(SeqCst) {
                std::thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_full_task_lane_refuses_and_completions_still_pass() {
        let stats = Arc::new(StageStats::default());
        let (sender, receiver) = port(1, &stats);
        assert_eq!(sender.try_send(Mono(0), vec![1, 2]), Ok(()));
        assert_eq!(sender.try_send(Mono(0), vec![3]), Err(vec![3]));
        sender.complete(Mono(0), vec![9]);
        let mut got = Vec::new();
        assert_eq!(receiver.drain(Mono(5), 10, &mut got), Drained::Took(3));
        assert_eq!(got, [9, 1, 2]);
        let seen = stats.snapshot("test");
        assert_eq!((seen.depth, seen.hops, seen.refusals), (0, 3, 1));
        assert_eq!(seen.depth_peak, 3);
        drop(sender);
        assert_eq!(receiver.drain(Mono(5), 10, &mut got), Drained::Disconnected);
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let stats = Arc::new(StageStats::default());
        let (sender, receiver) = port(8, &stats);
        let count = Arc::new(Count::default());
        receiver.set_waker(Waker::from(Arc::clone(&count)));
        sender.complete(Mono(0), vec![1]);
        assert_eq!(count.0.load(SeqCst), 0);
        assert!(!receiver.park(), "something is queued");
        receiver.drain(Mono(0), 10, &mut Vec::new());
        assert!(receiver.park());
        sender.complete(Mono(0), vec![2]);
        sender.complete(Mono(0), vec![3]);
        assert_eq!(count.0.load(SeqCst), 1);
        assert_eq!(stats.snapshot("test").wakes, 1);
    }

    /// Takes all that comes, until the senders are gone; how many messages that were.
    fn take_all(receiver: &PortReceiver<u64>) -> usize {
        let mut all = 0;
        loop {
            match receiver.drain(Mono(0), 10, &mut Vec::new()) {
                Drained::Took(0) => receiver.wait(),
                Drained::Took(count) => all += count,
                Drained::Disconnected => return all,
            }
        }
    }

    /// A thread that does so.
    fn taker(receiver: PortReceiver<u64>) -> std::thread::JoinHandle<usize> {
        let thread = std::thread::Builder::new();
        thread.spawn(move || take_all(&receiver)).expect("a thread")
    }

    #[test]
    fn a_waiting_thread_misses_nothing() {
        const MESSAGES: u64 = 100_000;
        let stats = Arc::new(StageStats::default());
        let (sender, receiver) = port(8, &stats);
        let thread = taker(receiver);
        let senders: Vec<_> = (0..4).map(|_| sender.clone()).collect();
        drop(sender);
        std::thread::scope(|scope| {
            for (which, sender) in senders.into_iter().enumerate() {
                scope.spawn(move || {
                    for n in 0..MESSAGES / 4 {
                        if which == 0 {
                            while sender.try_send(Mono(0), vec![n]).is_err() {}
                        } else {
                            sender.complete(Mono(0), vec![n]);
                        }
                        // Often enough that the receiver sleeps between two.
                        if n % 64 == 0 {
                            std::thread::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(thread.join().expect("it ends with its senders"), MESSAGES as usize);
    }

    #[test]
    fn a_waiting_thread_ends_with_its_senders() {
        for round in 0..1000 {
            let stats = Arc::new(StageStats::default());
            let (sender, receiver) = port(8, &stats);
            let thread = taker(receiver);
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            drop(sender);
            assert_eq!(thread.join().expect("no panic"), 0);
        }
    }
}
