//! Extensions that are part of the program: each a machine on a thread of its own, made anew with a pause when it panics.
//!
//! To add one, implement [`events::Extension`] and start it in [`start_all`]: its setup, and a closure that makes the machine. The
//! closure is called on the machine's thread, at every restart.

use super::feed::{self, Fed, Said};
use super::registry::{Registry, Standing};
use crate::admin::OwnSession;
use crate::config::LogLevel;
use crate::control::Control;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use events::{Extension, ExtensionEffect, ExtensionInput, Kinds, Memory, Reach, Setup};
use fsm::{Budget, Host, Mono, Stepped, TimerKey, TimerOp, Token};
use mailstore::face::{Completion, Scope, Subscriber, Task, TaskRefusal};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The pause before an extension that panicked is made anew; doubled up to a minute while it panics within that.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What reaches the thread of an extension.
enum Inbox {
    Fed(Fed),
    Done(Token, Completion),
    Stop,
}

/// How a life of an extension ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Stopped,
    Panicked,
}

/// The running extensions.
pub struct Inside {
    stop: watch::Sender<bool>,
    tasks: tokio::task::JoinSet<()>,
    control: Arc<dyn Control>,
    registry: Arc<Registry>,
}

impl Inside {
    #[must_use]
    pub fn new(control: Arc<dyn Control>, registry: Arc<Registry>) -> Self {
        Self {
            stop: watch::channel(false).0,
            tasks: tokio::task::JoinSet::new(),
            control,
            registry,
        }
    }

    /// Runs an extension until the node stops.
    pub fn start<E: Extension>(
        &mut self,
        setup: Setup,
        make: impl Fn() -> E + Clone + Send + 'static,
    ) {
        let standing = self.registry.enter(setup.subscriber.as_str(), true);
        let (control, stopped) = (Arc::clone(&self.control), self.stop.subscribe());
        self.tasks.spawn(supervise(control, (setup, make), standing, stopped));
    }

    /// Ends all of them: each is told, and given the time that one step takes.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Life after life.
async fn supervise<E: Extension>(
    control: Arc<dyn Control>,
    (setup, make): (Setup, impl Fn() -> E + Clone + Send + 'static),
    standing: Arc<Standing>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_FIRST;
    while !*stopped.borrow() {
        let began = std::time::Instant::now();
        standing.begin();
        let life = (setup.clone(), make.clone());
        let ended = live(&control, life, &standing, &mut stopped).await;
        if ended == Ended::Stopped {
            standing.connected.store(false, Relaxed);
            return;
        }
        standing.end();
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_FIRST;
        }
        let fields = vec![
            ("extension", standing.name.clone()),
            ("again_in_seconds", pause.as_secs().to_string()),
        ];
        crate::log::note(LogLevel::Error, "an extension panicked", fields);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.changed() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn live<E: Extension>(
    control: &Arc<dyn Control>,
    (setup, make): (Setup, impl Fn() -> E + Send + 'static),
    standing: &Arc<Standing>,
    stopped: &mut watch::Receiver<bool>,
) -> Ended {
    let (inbox, from) = crossbeam_channel::unbounded();
    let (to_thread, mut fed) = mpsc::unbounded_channel();
    let (said, from_thread) = mpsc::unbounded_channel();
    let (tell_end, mut end) = oneshot::channel();
    let desk = Desk {
        session: Arc::new(OwnSession::open(control)),
        runtime: tokio::runtime::Handle::current(),
        inbox: inbox.clone(),
        said,
    };
    let thread = std::thread::Builder::new().name(format!("ext-{}", standing.name));
    let started = thread.spawn(move || {
        let run = AssertUnwindSafe(move || run(make(), &from, &desk));
        let ended = if catch_unwind(run).is_ok() { Ended::Stopped } else { Ended::Panicked };
        // Nobody waits when the node has ended.
        let _told = tell_end.send(ended);
    });
    if started.is_err() {
        return Ended::Panicked;
    }
    let feeding =
        feed::run(Arc::clone(control), setup, (to_thread, from_thread), Arc::clone(standing));
    tokio::pin!(feeding);
    loop {
        tokio::select! {
            () = &mut feeding => return end.await.unwrap_or(Ended::Panicked),
            ended = &mut end => return ended.unwrap_or(Ended::Panicked),
            Some(word) = fed.recv() => {
                let _sent = inbox.send(Inbox::Fed(word));
            }
            _ = stopped.changed() => {
                let _sent = inbox.send(Inbox::Stop);
            }
        }
    }
}

/// Where the thread of an extension puts what it asks.
struct Desk {
    session: Arc<OwnSession>,
    runtime: tokio::runtime::Handle,
    inbox: Sender<Inbox>,
    said: mpsc::UnboundedSender<Said>,
}

impl Desk {
    fn ask(&self, token: Token, task: Task) {
        let (session, inbox) = (Arc::clone(&self.session), self.inbox.clone());
        self.runtime.spawn(async move {
            let refused = Completion::Refused(TaskRefusal::Unavailable);
            let completion = session.ask(task).await.unwrap_or(refused);
            let _sent = inbox.send(Inbox::Done(token, completion));
        });
    }

    fn on_effect(&self, effect: ExtensionEffect) {
        match effect {
            ExtensionEffect::Take(batch) => {
                let _said = self.said.send(Said::Taken(batch));
            }
            ExtensionEffect::Recalled { user, known } => {
                let _said = self.said.send(Said::Recalled { user, known });
            }
            ExtensionEffect::Wished(wish) => {
                let _said = self.said.send(Said::Wished(wish));
            }
            ExtensionEffect::Ask { token, task } => self.ask(token, task),
            ExtensionEffect::Log(event) => crate::log::write_event(event),
        }
    }
}

/// Steps the machine until it is told to stop.
fn run<E: Extension>(mut machine: E, from: &Receiver<Inbox>, desk: &Desk) {
    let mut host = Host::new(stages::Clock.mono().0, 1);
    let mut timers: BTreeMap<TimerKey, Mono> = BTreeMap::new();
    let mut resumes = true;
    loop {
        let word = if resumes { from.try_recv().ok().map(input_of) } else { None };
        let input = match word {
            Some(input) => input,
            // Others had their turn.
            None if std::mem::take(&mut resumes) => ExtensionInput::Resumed,
            None => match wait(from, &mut timers) {
                Some(input) => input,
                None => return,
            },
        };
        let stops = matches!(input, ExtensionInput::Stopping);
        let mut stepped = Stepped::default();
        let now = (stages::Clock.mono(), stages::Clock.wall());
        host.step(&mut machine, &mut stepped, now, Budget::new(1000), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => timers.insert(key, at),
                TimerOp::Cancel { key } => timers.remove(&key),
            };
        }
        stepped.effects.into_iter().for_each(|effect| desk.on_effect(effect));
        if stops {
            return;
        }
        resumes |= stepped.yielded;
    }
}

/// The next input; `None`: nobody is left to bring one.
fn wait(from: &Receiver<Inbox>, timers: &mut BTreeMap<TimerKey, Mono>) -> Option<ExtensionInput> {
    let first = timers.iter().min_by_key(|(_, at)| **at).map(|(key, at)| (*key, *at));
    let received = match first {
        None => from.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some((_, at)) => from.recv_timeout(at.since(stages::Clock.mono())),
    };
    match (received, first) {
        (Ok(word), _) => Some(input_of(word)),
        (Err(RecvTimeoutError::Timeout), Some((key, _))) => {
            timers.remove(&key);
            Some(ExtensionInput::TimerFired(key))
        }
        (Err(_), _) => None,
    }
}

fn input_of(word: Inbox) -> ExtensionInput {
    match word {
        Inbox::Fed(Fed::Give(batch)) => ExtensionInput::Given(batch),
        Inbox::Fed(Fed::Recall { user }) => ExtensionInput::Recall { user },
        Inbox::Fed(Fed::Gone { user, why }) => ExtensionInput::Gone { user, why },
        Inbox::Done(token, completion) => ExtensionInput::Done { token, completion },
        Inbox::Stop => ExtensionInput::Stopping,
    }
}

/// Name of the full-text index among subscribers.
pub const INDEX: &str = "index";

/// Starts the extensions that are part of the program. `index` makes the one that keeps the full-text index.
pub fn start_all(
    mut inside: Inside,
    map: dds::DpMap,
    index: impl Fn() -> index::Follower + Clone + Send + 'static,
) -> Inside {
    if let Some(subscriber) = Subscriber::new(INDEX) {
        let setup = Setup {
            subscriber,
            scope: Scope::Everybody,
            kinds: Kinds { arrived: true, flagged: false, vanished: true },
            reach: Reach::Led,
            // What it knows of a mailbox is in the index, on the disk of this node.
            memory: Memory::Own,
            map,
            // It holds what it is given for a moment, so that many mailboxes share a commit.
            limits: events::Limits {
                // A new mailbox wakes who has read in its worker group; before anybody has, it is found by this alone.
                roll_call: fsm::Duration::from_secs(20),
                first_roll_call: fsm::Duration::from_secs(10),
                mailboxes_at_once: 1_024,
                tasks_at_once: 64,
                reading_events_max: 1_024,
                batches_given_max: 2_048,
                ..events::Limits::default()
            },
        };
        inside.start(setup, index);
    }
    inside
}
