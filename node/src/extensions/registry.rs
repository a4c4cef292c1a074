//! Which extensions there are, and how far each is: for `status` and metrics.

use crate::config::Config;
use crate::control::ExtensionReport;
use events::Lag;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of one extension on this node.
#[derive(Debug, Default)]
pub struct Standing {
    pub name: String,
    /// Part of the program.
    pub inside: bool,
    /// It is asked for decisions, wherever it is connected.
    decides: bool,
    pub connected: AtomicBool,
    /// It is connected here for decisions.
    decides_here: AtomicBool,
    /// Where it is asked for decisions, if it is.
    asked_at: Mutex<Option<AskedAt>>,
    /// Messages that it decided about, and those that went on without it: not connected, too late, with too many questions.
    pub decided: AtomicU64,
    pub missed_away: AtomicU64,
    pub missed_late: AtomicU64,
    pub missed_busy: AtomicU64,
    /// Times it ended by itself: a panic, or a connection that broke.
    pub ended: AtomicU64,
    lag: Mutex<Lag>,
    /// Of streams that have ended.
    before: Mutex<Lag>,
}

impl Standing {
    pub fn set_lag(&self, lag: Lag) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }

    /// Who is asked for decisions has changed.
    pub fn show_decider(&self, asked_at: Option<AskedAt>) {
        self.decides_here.store(matches!(asked_at, Some(None)), Relaxed);
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = asked_at;
    }

    /// A life of it begins.
    pub fn begin(&self) {
        self.connected.store(true, Relaxed);
    }

    /// A life of it has ended: counters go on from there.
    pub fn end(&self) {
        self.connected.store(false, Relaxed);
        self.ended.fetch_add(1, Relaxed);
        let lag = std::mem::take(&mut *self.lag.lock().unwrap_or_else(PoisonError::into_inner));
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.given += lag.given;
        before.taken += lag.taken;
        before.resets += lag.resets;
    }

    fn report(&self, node: &str) -> ExtensionReport {
        let asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let named = |at: AskedAt| at.map_or_else(|| node.to_owned(), |other| other.to_string());
        let lag = *self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stages::Clock.mono();
        ExtensionReport {
            name: self.name.clone(),
            inside: self.inside,
            connected: self.connected.load(Relaxed) || self.decides_here.load(Relaxed),
            mailboxes: lag.mailboxes,
            behind: lag.behind,
            behind_seconds: lag.since.map_or(0, |since| now.since(since).as_secs()),
            given: before.given + lag.given,
            taken: before.taken + lag.taken,
            resets: before.resets + lag.resets,
            ended: self.ended.load(Relaxed),
            decided: self.decided.load(Relaxed),
            missed_away: self.missed_away.load(Relaxed),
            missed_late: self.missed_late.load(Relaxed),
            missed_busy: self.missed_busy.load(Relaxed),
            decides: self.decides,
            asked_at: asked_at.map(named).unwrap_or_default(),
        }
    }
}

/// The node by which an extension is asked; `None`: this one.
type AskedAt = Option<Arc<str>>;

/// All extensions of a node.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<String, Arc<Standing>>>);

impl Registry {
    /// With those of the file.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut all = BTreeMap::new();
        for (name, extension) in &config.extensions {
            let decides = extension.verbs.contains(&crate::config::Verb::Decide);
            let standing = Standing { name: name.clone(), decides, ..Standing::default() };
            all.insert(name.clone(), Arc::new(standing));
        }
        Self(Mutex::new(all))
    }

    /// The standing of an extension, made when it is not known yet.
    pub fn enter(&self, name: &str, inside: bool) -> Arc<Standing> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = all.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Standing { name: name.to_owned(), inside, ..Standing::default() })
        });
        Arc::clone(standing)
    }

    /// `node`: this one.
    #[must_use]
    pub fn reports(&self, node: &str) -> Vec<ExtensionReport> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().map(|standing| standing.report(node)).collect()
    }
}
