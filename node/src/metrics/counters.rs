//! Counters of events: fed by the log, whatever its level.

use mailstore::face::{AuthRefusal, LogEvent, Protocol};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the process.
pub static COUNTERS: Counters = Counters::new();

pub const PROTOCOLS: [Protocol; 6] = [
    Protocol::Smtp,
    Protocol::Lmtp,
    Protocol::Submission,
    Protocol::Imap,
    Protocol::Pop3,
    Protocol::Http,
];

/// What became of log-ins: the label `result`.
pub const AUTH_RESULTS: [&str; 5] =
    ["accepted", "wrong-credentials", "disabled", "throttled", "unavailable"];

/// A counter that any thread may raise.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one protocol.
#[derive(Debug)]
pub struct ByProtocol {
    pub connections: Counter,
    pub auth: [Counter; AUTH_RESULTS.len()],
    pub refused: Counter,
    pub sessions_ended: Counter,
    pub commands: Counter,
    pub errors: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
}

impl ByProtocol {
    const fn new() -> Self {
        Self {
            connections: Counter::new(),
            auth: [const { Counter::new() }; AUTH_RESULTS.len()],
            refused: Counter::new(),
            sessions_ended: Counter::new(),
            commands: Counter::new(),
            errors: Counter::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
        }
    }
}

/// Everything that is counted by event.
#[derive(Debug)]
pub struct Counters {
    by_protocol: [ByProtocol; PROTOCOLS.len()],
    pub received: Counter,
    pub received_bytes: Counter,
    pub delivered: Counter,
    pub delayed: Counter,
    pub blobs_collected: Counter,
    pub troubles: Counter,
    /// Moves of hot partitions that this node has chosen.
    pub relieved: Counter,
    /// Lines that the log had no room for.
    pub log_dropped: Counter,
}

/// The place of a refusal in [`AUTH_RESULTS`].
#[must_use]
pub const fn auth_result(refusal: AuthRefusal) -> usize {
    match refusal {
        AuthRefusal::WrongCredentials => 1,
        AuthRefusal::Disabled => 2,
        AuthRefusal::Throttled => 3,
        AuthRefusal::Unavailable => 4,
    }
}

impl Counters {
    const fn new() -> Self {
        Self {
            by_protocol: [const { ByProtocol::new() }; PROTOCOLS.len()],
            received: Counter::new(),
            received_bytes: Counter::new(),
            delivered: Counter::new(),
            delayed: Counter::new(),
            blobs_collected: Counter::new(),
            troubles: Counter::new(),
            relieved: Counter::new(),
            log_dropped: Counter::new(),
        }
    }

    #[must_use]
    pub fn of(&self, protocol: Protocol) -> &ByProtocol {
        let [smtp, lmtp, submission, imap, pop3, http] = &self.by_protocol;
        match protocol {
            Protocol::Smtp => smtp,
            Protocol::Lmtp => lmtp,
            Protocol::Submission => submission,
            Protocol::Imap => imap,
            Protocol::Pop3 => pop3,
            Protocol::Http => http,
        }
    }

    /// Counts an event on its way to the log.
    pub fn count(&self, event: &LogEvent) {
        match event {
            LogEvent::Connected { protocol, .. } => self.of(*protocol).connections.add(1),
            LogEvent::AuthFailed { protocol, reason, .. } => {
                self.count_auth(*protocol, auth_result(*reason));
            }
            LogEvent::AuthSucceeded { protocol, .. } => self.count_auth(*protocol, 0),
            LogEvent::Received(event) => {
                self.received.add(1);
                self.received_bytes.add(event.bytes);
            }
            LogEvent::Delivered { .. } => self.delivered.add(1),
            LogEvent::Refused { protocol, .. } => self.of(*protocol).refused.add(1),
            LogEvent::SessionEnded { protocol, counts, .. } => {
                let of = self.of(*protocol);
                of.sessions_ended.add(1);
                of.commands.add(counts.commands);
                of.errors.add(counts.errors);
                of.bytes_in.add(counts.bytes_in);
                of.bytes_out.add(counts.bytes_out);
            }
            LogEvent::Administered { .. } => {}
            LogEvent::DeliveryDelayed { .. } => self.delayed.add(1),
            LogEvent::Swept { blobs_collected, .. } => self.blobs_collected.add(*blobs_collected),
            LogEvent::Trouble { .. } => self.troubles.add(1),
        }
    }

    fn count_auth(&self, protocol: Protocol, result: usize) {
        if let Some(counter) = self.of(protocol).auth.get(result) {
            counter.add(1);
        }
    }
}
