//! What this node has sent to others, counted: what a put costs is shown, not argued.

use dds::replica::{Body, Message};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use vspace::Packet;

/// Counters since the start; written by the thread of the connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Appends with entries of the log: the way there of a replication round.
    appends: AtomicU64,
    /// Acknowledgements of appends: the way back.
    acks: AtomicU64,
    /// Appends without entries: what is decided, when nothing follows that would tell it. Each is acknowledged, too.
    told: AtomicU64,
    /// Everything else that replicas say: who joins, who is filled.
    other_replication: AtomicU64,
    /// Requests for the hash table of another node.
    asks: AtomicU64,
    answers: AtomicU64,
    /// Tasks, completions and notices of users.
    letters: AtomicU64,
    /// Pings and the control plane.
    control: AtomicU64,
    /// Writes to a connection, each with all that waited for it.
    flushes: AtomicU64,
    bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub appends: u64,
    pub acks: u64,
    pub told: u64,
    pub other_replication: u64,
    pub asks: u64,
    pub answers: u64,
    pub letters: u64,
    pub control: u64,
    pub flushes: u64,
    pub bytes: u64,
}

impl Traffic {
    pub fn on_packet(&self, packet: &Packet) {
        let counter = match packet {
            Packet::Link(_) | Packet::Control(_) => &self.control,
            Packet::Replica { message: Message { body, .. }, .. } => match body {
                Body::Append { entries, .. } if entries.is_empty() => &self.told,
                Body::Append { .. } => &self.appends,
                Body::Appended { .. } => &self.acks,
                _ => &self.other_replication,
            },
            Packet::Ask { .. } => &self.asks,
            Packet::Answer { .. } => &self.answers,
            Packet::Letter(_) => &self.letters,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub fn on_flush(&self, bytes: usize) {
        self.flushes.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    #[must_use]
    pub fn sent(&self) -> Sent {
        let now = |counter: &AtomicU64| counter.load(Relaxed);
        Sent {
            appends: now(&self.appends),
            acks: now(&self.acks),
            told: now(&self.told),
            other_replication: now(&self.other_replication),
            asks: now(&self.asks),
            answers: now(&self.answers),
            letters: now(&self.letters),
            control: now(&self.control),
            flushes: now(&self.flushes),
            bytes: now(&self.bytes),
        }
    }
}

impl Sent {
    /// What was sent since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Of several nodes together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            appends: op(self.appends, other.appends),
            acks: op(self.acks, other.acks),
            told: op(self.told, other.told),
            other_replication: op(self.other_replication, other.other_replication),
            asks: op(self.asks, other.asks),
            answers: op(self.answers, other.answers),
            letters: op(self.letters, other.letters),
            control: op(self.control, other.control),
            flushes: op(self.flushes, other.flushes),
            bytes: op(self.bytes, other.bytes),
        }
    }
}
