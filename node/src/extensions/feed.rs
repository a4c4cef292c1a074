//! Drives a [`Feeder`]: asks what it asks under one session, wakes it, and passes batches on.
//!
//! Everything that waits here is bounded: the feeder gives no more than its limits say, and asks of so many mailboxes at once.

use super::registry::Standing;
use crate::control::{Control, Woken};
use events::{Batch, BatchId, Effect, Feeder, Input, Reach, Setup, Why, Wish};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Token};
use mailstore::face::{Completion, ModSeq, SessionId, TaskRefusal, UserId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What whoever takes batches is told.
#[derive(Debug)]
pub enum Fed {
    Give(Batch),
    Recall { user: UserId },
    Gone { user: UserId, why: Why },
}

/// What it says.
#[derive(Debug)]
pub enum Said {
    Taken(BatchId),
    Recalled { user: UserId, known: Option<ModSeq> },
    Wished(Wish),
}

/// How often a feeder that follows the mailboxes of its node looks which these are.
const LED_EVERY: Duration = Duration::from_secs(1);

/// A running feeder.
struct Feed {
    control: Arc<dyn Control>,
    session: SessionId,
    feeder: Feeder,
    host: Host,
    timers: BTreeMap<TimerKey, Mono>,
    done: mpsc::UnboundedSender<(Token, Completion)>,
    to: mpsc::UnboundedSender<Fed>,
    standing: Arc<Standing>,
}

/// Closes the session when the feed ends, also when it is dropped.
struct OwnReader(Arc<dyn Control>, SessionId);

impl Drop for OwnReader {
    fn drop(&mut self) {
        self.0.close_session(self.1);
    }
}

/// Feeds until whoever takes is gone.
pub async fn run(
    control: Arc<dyn Control>,
    setup: Setup,
    (to, mut said): (mpsc::UnboundedSender<Fed>, mpsc::UnboundedReceiver<Said>),
    standing: Arc<Standing>,
) {
    let session = control.open_session();
    let _reader = OwnReader(Arc::clone(&control), session);
    let mut woken = control.feed(session);
    let (done, mut completions) = mpsc::unbounded_channel();
    let led = setup.reach == Reach::Led;
    let mut feed = Feed {
        host: Host::new(session.0, 1),
        feeder: Feeder::new(setup),
        timers: BTreeMap::new(),
        control,
        session,
        done,
        to,
        standing,
    };
    feed.step(Input::Resumed);
    let mut look = tokio::time::interval(LED_EVERY);
    loop {
        let deadline = feed.next_deadline();
        let input = tokio::select! {
            word = said.recv() => match word {
                Some(Said::Taken(batch)) => Input::Taken { batch },
                Some(Said::Recalled { user, known }) => Input::Recalled { user, known },
                Some(Said::Wished(wish)) => Input::Wished(wish),
                None => return,
            },
            Some(wake) = woken.recv() => match wake {
                Woken::Stirred(user) => Input::Stirred { user },
                Woken::Unsure(partitions) => {
                    Input::Unsure { partitions: partitions.iter().copied().collect() }
                }
            },
            Some((token, completion)) = completions.recv() => Input::Done { token, completion },
            _ = look.tick(), if led => Input::Led { partitions: feed.control.led() },
            () = tokio::time::sleep(deadline), if !feed.timers.is_empty() => {
                feed.fire();
                continue;
            }
            () = feed.to.closed() => return,
        };
        feed.step(input);
    }
}

impl Feed {
    fn next_deadline(&self) -> Duration {
        let now = stages::Clock.mono();
        self.timers.values().min().map_or(Duration::MAX, |at| at.since(now))
    }

    fn fire(&mut self) {
        let now = stages::Clock.mono();
        let due: Vec<TimerKey> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.timers.remove(&key);
            self.step(Input::TimerFired(key));
        }
    }

    fn step(&mut self, input: Input) {
        let mut stepped = Stepped::default();
        let now = (stages::Clock.mono(), stages::Clock.wall());
        self.host.step(&mut self.feeder, &mut stepped, now, Budget::new(1000), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        for effect in stepped.effects {
            self.on_effect(effect);
        }
        self.standing.set_lag(self.feeder.lag());
    }

    fn on_effect(&self, effect: Effect) {
        // Nobody takes: the loop ends by itself.
        let _sent = match effect {
            Effect::Give(batch) => self.to.send(Fed::Give(batch)),
            Effect::Recall { user } => self.to.send(Fed::Recall { user }),
            Effect::Gone { user, why } => self.to.send(Fed::Gone { user, why }),
            Effect::Ask { token, task } => {
                let (control, session) = (Arc::clone(&self.control), self.session);
                let done = self.done.clone();
                tokio::spawn(async move {
                    let refused = Completion::Refused(TaskRefusal::Unavailable);
                    let completion = control.submit(session, task).await.unwrap_or(refused);
                    let _told = done.send((token, completion));
                });
                Ok(())
            }
            Effect::Crowded { user } => {
                let name = self.standing.name.clone();
                let fields = vec![("extension", name), ("user", user.to_string())];
                let what = "a mailbox has too many subscribers";
                crate::log::note(crate::config::LogLevel::Warn, what, fields);
                Ok(())
            }
        };
    }
}

/// For [`Control::led`].
#[must_use]
pub fn led_by(
    map: &dds::cluster::ClusterMap,
    me: dds::cluster::NodeId,
) -> BTreeSet<dds::PartitionId> {
    let all = map.partitions().filter(|(_, group)| group.primary == Some(me));
    all.map(|(partition, _)| partition).collect()
}
