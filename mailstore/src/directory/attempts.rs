//! Limits on log-in attempts.
//!
//! Wrong passwords slow down the pair of account and network (/24 or /64): after a few, each
//! imposes a wait that doubles. An account-wide count makes strangers wait when many networks guess
//! at one account, but never a network that lately logged in. The same wrong password again is no
//! new guess: it is answered from memory, and not counted, so that a forgotten device with an old
//! password locks nobody out.
//! Invariants: memory is bounded by the limits; whether an account exists changes nothing here.
//! Absences: nothing here knows passwords, only their keyed tags.

use super::bounded::Bounded;
use super::limits::Limits;
use crate::face::{Protocol, UserId};
use fsm::{Digest, Duration, Mono};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Keyed hash of a secret: equal tags mean equal secrets of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u128);

/// At whom the attempts aim. A name that nobody has is counted like one that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    User(UserId),
    /// Keyed hash of the name.
    Unknown(u128),
    /// The second factor of a user: who gets so far has the password, and that it is right makes no wrong code good.
    Code(UserId),
}

impl Subject {
    /// Wrong secrets from everywhere, within which time, before strangers wait.
    fn bounds(self, limits: &Limits) -> (u32, Duration) {
        match self {
            Self::User(_) | Self::Unknown(_) => {
                (limits.account_failures_max, limits.account_window)
            }
            Self::Code(_) => (limits.code_failures_max, limits.code_window),
        }
    }
}

/// The network that a client stands in: /24 or /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Net {
    V4([u8; 3]),
    V6([u8; 8]),
}

impl Net {
    const FIRST: Self = Self::V4([0; 3]);
    const LAST: Self = Self::V6([0xFF; 8]);

    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u16::to_be_bytes);
                Self::V6([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]])
            }
        }
    }
}

/// Whether an attempt may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Judge,
    /// This very secret was wrong a moment ago.
    KnownWrong,
    Wait,
}

/// Wrong passwords remembered of one pair.
const WRONG_TAGS: usize = 4;

#[derive(Clone, Debug)]
struct Pair {
    failures: u32,
    last: Mono,
    not_before: Mono,
    wrong: [Option<(Protocol, Tag)>; WRONG_TAGS],
}

#[derive(Clone, Debug)]
struct Count {
    since: Mono,
    failures: u32,
}

/// What is remembered of attempts.
#[derive(Debug)]
pub struct Attempts {
    pairs: Bounded<(Subject, Net), Pair>,
    counts: Bounded<Subject, Count>,
    familiar: Bounded<(UserId, Net), Mono>,
    /// Verifications under way per pair: parallel guesses don't outrun the count.
    under_way: BTreeMap<(Subject, Net), u32>,
}

impl Attempts {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            pairs: Bounded::new(limits.pairs_max),
            counts: Bounded::new(limits.accounts_counted_max),
            familiar: Bounded::new(limits.familiar_max),
            under_way: BTreeMap::new(),
        }
    }

    /// Judges an attempt before any work is done for it.
    #[must_use]
    pub fn admit(
        &self,
        limits: &Limits,
        now: Mono,
        (subject, net): (Subject, Net),
        secret: (Protocol, Tag),
    ) -> Admission {
        if let Some(pair) = self.pairs.peek(&(subject, net)) {
            let fresh = now.since(pair.last) < limits.failures_forgotten;
            if fresh && pair.wrong.contains(&Some(secret)) {
                return Admission::KnownWrong;
            }
            if now < pair.not_before {
                return Admission::Wait;
            }
        }
        if self.stranger_waits(limits, now, subject, net) {
            return Admission::Wait;
        }
        Admission::Judge
    }

    /// Whether the pair may have one more secret verified at the same time.
    #[must_use]
    pub fn may_begin(&self, limits: &Limits, subject: Subject, net: Net) -> bool {
        self.under_way.get(&(subject, net)).is_none_or(|&count| count < limits.failures_free)
    }

    /// Whether strangers, or this network, have been wrong about it lately.
    #[must_use]
    pub fn is_suspect(&self, subject: Subject, net: Net) -> bool {
        self.counts.peek(&subject).is_some() || self.pairs.peek(&(subject, net)).is_some()
    }

    fn stranger_waits(&self, limits: &Limits, now: Mono, subject: Subject, net: Net) -> bool {
        let (failures_max, window) = subject.bounds(limits);
        let over = self
            .counts
            .peek(&subject)
            .is_some_and(|count| now.since(count.since) < window && count.failures >= failures_max);
        over && !self.is_familiar(limits, now, subject, net)
    }

    fn is_familiar(&self, limits: &Limits, now: Mono, subject: Subject, net: Net) -> bool {
        match subject {
            Subject::User(user) | Subject::Code(user) => self
                .familiar
                .peek(&(user, net))
                .is_some_and(|&at| now.since(at) < limits.familiar_life),
            Subject::Unknown(_) => false,
        }
    }

    pub fn begin(&mut self, subject: Subject, net: Net) {
        *self.under_way.entry((subject, net)).or_insert(0) += 1;
    }

    pub fn end(&mut self, subject: Subject, net: Net) {
        if let Some(count) = self.under_way.get_mut(&(subject, net)) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&(subject, net));
            }
        }
    }

    /// The secret was wrong.
    pub fn failed(
        &mut self,
        limits: &Limits,
        now: Mono,
        (subject, net): (Subject, Net),
        secret: (Protocol, Tag),
    ) {
        let mut pair = self
            .pairs
            .remove(&(subject, net))
            .filter(|pair| now.since(pair.last) < limits.failures_forgotten)
            .unwrap_or(Pair { failures: 0, last: now, not_before: now, wrong: [None; WRONG_TAGS] });
        pair.wrong[pair.failures as usize % WRONG_TAGS] = Some(secret);
        pair.failures = pair.failures.saturating_add(1);
        pair.last = now;
        pair.not_before = now.plus(slowdown(limits, pair.failures));
        self.pairs.put((subject, net), pair);
        if !self.is_familiar(limits, now, subject, net) {
            self.count(limits, now, subject);
        }
    }

    fn count(&mut self, limits: &Limits, now: Mono, subject: Subject) {
        let mut count = self
            .counts
            .remove(&subject)
            .filter(|count| now.since(count.since) < subject.bounds(limits).1)
            .unwrap_or(Count { since: now, failures: 0 });
        count.failures = count.failures.saturating_add(1);
        self.counts.put(subject, count);
    }

    /// The secret was right: the pair starts afresh, and the network is no stranger.
    pub fn succeeded(&mut self, limits: &Limits, now: Mono, user: UserId, net: Net) {
        self.pairs.remove(&(Subject::User(user), net));
        self.pairs.remove(&(Subject::Code(user), net));
        if self.familiar.peek(&(user, net)).is_none() {
            let (count, oldest) = self.familiar.oldest_of((user, Net::FIRST)..=(user, Net::LAST));
            if let Some(oldest) = oldest.filter(|_| count >= limits.familiar_per_account_max) {
                self.familiar.remove(&oldest);
            }
        }
        self.familiar.put((user, net), now);
    }

    /// The operator changed which secrets are right: what was known to be wrong is not any more.
    pub fn forget_secrets(&mut self, user: UserId) {
        for subject in [Subject::User(user), Subject::Code(user)] {
            self.pairs.remove_range((subject, Net::FIRST)..=(subject, Net::LAST));
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(self.pairs.len() as u64);
        digest.word(self.counts.len() as u64);
        digest.word(self.familiar.len() as u64);
        digest.word(self.under_way.len() as u64);
    }
}

/// The wait after the `failures`-th wrong password: none at first, then doubling.
fn slowdown(limits: &Limits, failures: u32) -> Duration {
    let Some(beyond) = failures.checked_sub(limits.failures_free) else { return Duration::ZERO };
    let factor = 1_u32.checked_shl(beyond.min(31)).unwrap_or(u32::MAX);
    limits.slowdown_min.saturating_mul(factor).min(limits.slowdown_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: Subject = Subject::User(UserId(1));
    const NET: Net = Net::V4([192, 0, 2]);

    fn second(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    fn secret(n: u128) -> (Protocol, Tag) {
        (Protocol::Imap, Tag(n))
    }

    #[test]
    fn networks_are_24_and_64_bits_wide() {
        let net = |ip: &str| Net::of(ip.parse().unwrap());
        assert_eq!(net("192.0.2.1"), net("192.0.2.200"));
        assert_ne!(net("192.0.2.1"), net("192.0.3.1"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.9"));
        assert_eq!(net("2001:db8:1:2::1"), net("2001:db8:1:2:ffff::"));
        assert_ne!(net("2001:db8:1:2::1"), net("2001:db8:1:3::1"));
    }

    #[test]
    fn a_pair_is_slowed_down_and_others_are_not() {
        let limits = Limits::default();
        let mut attempts = Attempts::new(&limits);
        for n in 0..u128::from(limits.failures_free) {
            let now = second(100);
            assert_eq!(attempts.admit(&limits, now, (USER, NET), secret(n)), Admission::Judge);
            attempts.failed(&limits, now, (USER, NET), secret(n));
        }
        let admit = |at, subject, net| attempts.admit(&limits, at, (subject, net), secret(99));
        assert_eq!(admit(second(101), USER, NET), Admission::Wait);
        assert_eq!(admit(second(102), USER, NET), Admission::Judge);
        assert_eq!(admit(second(101), USER, Net::V4([1, 2, 3])), Admission::Judge);
        assert_eq!(admit(second(101), Subject::User(UserId(2)), NET), Admission::Judge);
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let limits = Limits::default();
        assert_eq!(slowdown(&limits, limits.failures_free - 1), Duration::ZERO);
        assert_eq!(slowdown(&limits, limits.failures_free), limits.slowdown_min);
        assert_eq!(slowdown(&limits, limits.failures_free + 1), limits.slowdown_min * 2);
        assert_eq!(slowdown(&limits, u32::MAX), limits.slowdown_max);
    }

    #[test]
    fn the_same_wrong_secret_is_not_counted_again() {
        let limits = Limits::default();
        let mut attempts = Attempts::new(&limits);
        attempts.failed(&limits, second(1), (USER, NET), secret(1));
        let admit =
            |attempts: &Attempts| attempts.admit(&limits, second(2), (USER, NET), secret(1));
        assert_eq!(admit(&attempts), Admission::KnownWrong);
        attempts.forget_secrets(UserId(1));
        assert_eq!(admit(&attempts), Admission::Judge);
    }

    #[test]
    fn an_account_under_attack_still_serves_familiar_networks() {
        let limits = Limits { account_failures_max: 10, ..Limits::default() };
        let mut attempts = Attempts::new(&limits);
        let home = Net::V4([10, 0, 0]);
        attempts.succeeded(&limits, second(1), UserId(1), home);
        for n in 0..10 {
            attempts.failed(&limits, second(2), (USER, Net::V4([n, 0, 0])), secret(n.into()));
        }
        let admit = |at, net| attempts.admit(&limits, at, (USER, net), secret(77));
        assert_eq!(admit(second(3), Net::V4([200, 0, 0])), Admission::Wait);
        assert_eq!(admit(second(3), home), Admission::Judge);
        assert_eq!(admit(second(2 + 600), Net::V4([200, 0, 0])), Admission::Judge);
    }

    #[test]
    fn parallel_guesses_count_as_they_start() {
        let limits = Limits::default();
        let mut attempts = Attempts::new(&limits);
        for _ in 0..limits.failures_free {
            assert!(attempts.may_begin(&limits, USER, NET));
            attempts.begin(USER, NET);
        }
        assert!(!attempts.may_begin(&limits, USER, NET));
        attempts.end(USER, NET);
        assert!(attempts.may_begin(&limits, USER, NET));
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits { pairs_max: 8, familiar_per_account_max: 2, ..Limits::default() };
        let mut attempts = Attempts::new(&limits);
        for n in 0..100 {
            attempts.failed(&limits, second(1), (USER, Net::V4([n, 0, 0])), secret(1));
            attempts.succeeded(&limits, second(1), UserId(7), Net::V4([n, 0, 0]));
        }
        assert_eq!((attempts.pairs.len(), attempts.familiar.len()), (8, 2));
    }
}
