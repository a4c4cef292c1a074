//! Log-ins: who is meant, whether the attempt is admitted, and what the hash pool says of the
//! secret.
//!
//! A secret verified a moment ago is known by a keyed tag and costs no hash. Equal attempts at the
//! same time share one hash. An account may have several credentials: they are tried in turn. A
//! name that nobody has is verified against a dummy hash, so that it costs the same time. A hash of
//! an imported scheme is replaced by one of ours once its secret was seen.
//! Invariants: at most `verifications_max` hashes and `logins_waiting_max` log-ins are under way; a
//! secret is kept no longer than its verification; what is answered holds for the account as it
//! stands now, not as it stood when the hash began.
//! Absences: nothing here hashes a password, or changes the tables.

use super::attempts::{Admission, Attempts, Net, Subject, Tag};
use super::bounded::Bounded;
use super::limits::Limits;
use super::plan_second_factor::plan_code;
use super::second_factor::STEP_SECONDS;
use super::tables::{AccountEntry, Name, Tables};
use super::{Effect, HashVerdict, answer};
use crate::address::Address;
use crate::face::{
    Account, AuthRefusal, Authenticate, CheckCode, DirectoryDone, Protocol, SessionId, UserId,
};
use crate::secret::guard;
use bytes::Bytes;
use fsm::{Cx, Digest, Mono, Token, Wall};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Which secret is being verified, for whom, for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    subject: Subject,
    protocol: Protocol,
    tag: Tag,
}

#[derive(Debug)]
struct Verification {
    question: Question,
    peer: IpAddr,
    secret: Bytes,
    stage: Stage,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
enum Stage {
    /// The pool compares with this credential; the others come next.
    Trying { credential: u64, next: VecDeque<u64> },
    /// Nobody has this name, or no credential is meant for this protocol.
    Dummy,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    from: SessionId,
    token: Token,
    net: Net,
}

#[derive(Clone, Copy, Debug)]
struct Verified {
    credential: u64,
    expires: Mono,
}

/// A hash of ours for a secret that has just been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    pub user: UserId,
    pub credential: u64,
    /// The hash to be replaced: if another stands there by then, nothing happens.
    pub old_phc: String,
}

/// All log-ins under way, and what is remembered of earlier ones.
#[derive(Debug)]
pub struct Logins {
    /// Drawn for each run of the process: tags mean nothing elsewhere.
    key: [u8; 16],
    dummy_phc: Arc<str>,
    attempts: Attempts,
    verified: Bounded<(UserId, Tag), Verified>,
    verifications: BTreeMap<Token, Verification>,
    by_question: BTreeMap<Question, Token>,
    upgrades: BTreeMap<Token, Upgrade>,
    waiting: usize,
    /// Dates of last use not yet written down.
    used: BTreeMap<(UserId, u64), Wall>,
}

/// How a verification ended.
#[derive(Clone, Debug)]
enum Outcome {
    Right {
        account: Account,
        credential: u64,
    },
    /// The password is right, and a code is asked for besides.
    CodeDue {
        account: Account,
        credential: u64,
    },
    Wrong,
    Refused(AuthRefusal),
}

impl Logins {
    #[must_use]
    pub fn new(limits: &Limits, key: [u8; 16], dummy_phc: Arc<str>) -> Self {
        Self {
            key,
            dummy_phc,
            attempts: Attempts::new(limits),
            verified: Bounded::new(limits.verified_max),
            verifications: BTreeMap::new(),
            by_question: BTreeMap::new(),
            upgrades: BTreeMap::new(),
            waiting: 0,
            used: BTreeMap::new(),
        }
    }

    /// A log-in attempt.
    pub fn on_attempt(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (limits, tables): (&Limits, &Tables),
        (from, token): (SessionId, Token),
        attempt: Authenticate,
    ) {
        let Authenticate { protocol, peer, name, secret } = attempt;
        let secret = guard(secret);
        let entry = account_named(tables, &name);
        if entry.is_none() && tables.damaged > 0 {
            return refuse(cx, (from, token), AuthRefusal::Unavailable);
        }
        let subject = match entry {
            Some(entry) => Subject::User(entry.record.user),
            None => Subject::Unknown(self.tag(&[], &name.to_ascii_lowercase()).0),
        };
        let tag = match subject {
            Subject::User(user) => self.tag(&user.0.to_be_bytes(), &secret),
            Subject::Unknown(name) => self.tag(&name.to_be_bytes(), &secret),
            Subject::Code(_) => return refuse(cx, (from, token), AuthRefusal::Unavailable),
        };
        let waiter = Waiter { from, token, net: Net::of(peer) };
        let admission =
            self.attempts.admit(limits, cx.mono(), (subject, waiter.net), (protocol, tag));
        match admission {
            Admission::Judge => {}
            Admission::KnownWrong => {
                return refuse(cx, (from, token), AuthRefusal::WrongCredentials);
            }
            Admission::Wait => return refuse(cx, (from, token), AuthRefusal::Throttled),
        }
        if let Some((account, credential)) = self.known(cx.mono(), entry, protocol, tag) {
            let outcome = judged(entry, account, (credential, protocol));
            return self.settle(cx, limits, &outcome, waiter);
        }
        let question = Question { subject, protocol, tag };
        let candidates = entry.map(|entry| candidates(entry, protocol)).unwrap_or_default();
        let stage = stage_of(candidates);
        let verification = Verification { question, peer, secret, stage, waiters: vec![waiter] };
        self.verify(cx, (limits, tables), verification);
    }

    /// Joins a verification of the same question, or begins one.
    fn verify(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (limits, tables): (&Limits, &Tables),
        verification: Verification,
    ) {
        let waiter = verification.waiters[0];
        let to = (waiter.from, waiter.token);
        let question = verification.question;
        if self.waiting >= limits.logins_waiting_max {
            return refuse(cx, to, AuthRefusal::Unavailable);
        }
        if let Some(under_way) =
            self.by_question.get(&question).and_then(|token| self.verifications.get_mut(token))
        {
            under_way.waiters.push(waiter);
            self.waiting += 1;
            return;
        }
        if !self.attempts.may_begin(limits, question.subject, waiter.net) {
            return refuse(cx, to, AuthRefusal::Throttled);
        }
        if self.verifications.len() >= limits.verifications_max {
            return refuse(cx, to, AuthRefusal::Unavailable);
        }
        self.expect(cx, &verification);
        self.attempts.begin(question.subject, waiter.net);
        self.waiting += 1;
        self.ask_pool(cx, tables, verification);
    }

    /// Lets the mailbox be loaded while the secret is hashed. Not for who was wrong lately: guessing must cost no more than
    /// a hash, and the time it takes must tell nothing.
    fn expect(&self, cx: &mut Cx<'_, Effect>, asked: &Verification) {
        let reads_mail = match asked.question.protocol {
            Protocol::Imap | Protocol::Pop3 => true,
            Protocol::Smtp | Protocol::Lmtp | Protocol::Submission | Protocol::Http => false,
        };
        if let (Subject::User(user), Stage::Trying { .. }) = (asked.question.subject, &asked.stage)
            && reads_mail
            && !self.attempts.is_suspect(asked.question.subject, Net::of(asked.peer))
        {
            cx.emit(Effect::Expected { user });
        }
    }

    /// Sends the hash at hand to the pool.
    fn ask_pool(&mut self, cx: &mut Cx<'_, Effect>, tables: &Tables, mut asked: Verification) {
        let phc = loop {
            match &mut asked.stage {
                Stage::Dummy => break self.dummy_phc.to_string(),
                Stage::Trying { credential, next } => {
                    if let Some(phc) = phc_of(tables, asked.question.subject, *credential) {
                        break phc;
                    }
                    match next.pop_front() {
                        Some(other) => *credential = other,
                        None => asked.stage = Stage::Dummy,
                    }
                }
            }
        };
        let token = cx.fresh_token();
        cx.emit(Effect::VerifyHash { token, peer: asked.peer, phc, secret: asked.secret.clone() });
        self.by_question.insert(asked.question, token);
        self.verifications.insert(token, asked);
    }

    /// The pool has judged. Unknown tokens belong to an earlier life of the directory.
    pub fn on_verdict(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (limits, tables): (&Limits, &Tables),
        token: Token,
        verdict: HashVerdict,
    ) {
        let Some(mut asked) = self.verifications.remove(&token) else { return };
        self.by_question.remove(&asked.question);
        let outcome = match (verdict, &mut asked.stage) {
            (HashVerdict::Busy, _) => Outcome::Refused(AuthRefusal::Unavailable),
            (HashVerdict::Matches, Stage::Trying { credential, next: _ }) => {
                let held = (asked.question.subject, *credential, asked.question.protocol);
                self.on_match(cx, tables, held, &asked.secret)
            }
            (HashVerdict::Matches, Stage::Dummy) | (HashVerdict::Differs, Stage::Dummy) => {
                Outcome::Wrong
            }
            (HashVerdict::Differs, Stage::Trying { credential, next }) => match next.pop_front() {
                Some(other) => {
                    *credential = other;
                    return self.ask_pool(cx, tables, asked);
                }
                None => Outcome::Wrong,
            },
        };
        self.finish(cx, limits, asked, &outcome);
    }

    fn on_match(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        tables: &Tables,
        (subject, credential, protocol): (Subject, u64, Protocol),
        secret: &Bytes,
    ) -> Outcome {
        let entry = match subject {
            Subject::User(user) => tables.accounts.get(&user),
            Subject::Unknown(_) | Subject::Code(_) => None,
        };
        let held = entry.and_then(|entry| {
            let held = entry.record.credentials.iter().find(|held| held.id == credential)?;
            Some((entry, held))
        });
        // The password may have changed while it was hashed, or is not enough any more.
        let held = held.filter(|(entry, held)| entry.record.admits(held, protocol));
        let Some((entry, held)) = held else {
            return Outcome::Refused(AuthRefusal::WrongCredentials);
        };
        if needs_upgrade(&held.phc) {
            let token = cx.fresh_token();
            let user = entry.record.user;
            self.upgrades.insert(token, Upgrade { user, credential, old_phc: held.phc.clone() });
            cx.emit(Effect::Rehash { token, secret: secret.clone() });
        }
        judged(Some(entry), account_of(entry), (credential, protocol))
    }

    /// Answers all who wait for a verification, and counts the outcome once per network.
    fn finish(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        limits: &Limits,
        asked: Verification,
        outcome: &Outcome,
    ) {
        let Question { subject, protocol, tag } = asked.question;
        let first = asked.waiters.first().map(|waiter| waiter.net);
        if let Some(net) = first {
            self.attempts.end(subject, net);
        }
        if let Outcome::Right { account, credential } | Outcome::CodeDue { account, credential } =
            outcome
        {
            let expires = cx.mono().plus(limits.verified_life);
            let verified = Verified { credential: *credential, expires };
            self.verified.put((account.user, tag), verified);
        }
        if matches!(outcome, Outcome::Wrong) {
            let mut nets: Vec<Net> = asked.waiters.iter().map(|waiter| waiter.net).collect();
            nets.sort_unstable();
            nets.dedup();
            for net in nets {
                self.attempts.failed(limits, cx.mono(), (subject, net), (protocol, tag));
            }
        }
        self.waiting -= asked.waiters.len();
        for waiter in asked.waiters {
            self.settle(cx, limits, outcome, waiter);
        }
    }

    fn settle(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        limits: &Limits,
        outcome: &Outcome,
        waiter: Waiter,
    ) {
        let to = (waiter.from, waiter.token);
        match outcome {
            Outcome::Right { account, credential } => {
                self.attempts.succeeded(limits, cx.mono(), account.user, waiter.net);
                self.used.insert((account.user, *credential), cx.wall());
                answer(cx, to, DirectoryDone::Authenticated(account.clone()));
            }
            // No network gets familiar by half of the proof, and what it was wrong about stays counted.
            Outcome::CodeDue { account, credential } => {
                self.used.insert((account.user, *credential), cx.wall());
                answer(cx, to, DirectoryDone::SecondFactorDue(account.clone()));
            }
            Outcome::Wrong => refuse(cx, to, AuthRefusal::WrongCredentials),
            Outcome::Refused(reason) => refuse(cx, to, *reason),
        }
    }

    /// A secret verified a moment ago, whose credential still stands and is meant for `protocol`.
    fn known(
        &self,
        now: Mono,
        entry: Option<&AccountEntry>,
        protocol: Protocol,
        tag: Tag,
    ) -> Option<(Account, u64)> {
        let entry = entry?;
        let verified = self.verified.peek(&(entry.record.user, tag))?;
        let held = entry.record.credentials.iter().find(|held| held.id == verified.credential)?;
        (now < verified.expires && entry.record.admits(held, protocol))
            .then(|| (account_of(entry), verified.credential))
    }

    /// Judges a code. True: it is right as things stand, and is to be used up by an order; else the asker has its answer.
    pub fn on_code(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (limits, tables): (&Limits, &Tables),
        to: (SessionId, Token),
        check: &CheckCode,
    ) -> bool {
        let (subject, net) = (Subject::Code(check.user), Net::of(check.peer));
        // What is wrong now may be right in another step.
        let step = cx.wall().unix_seconds().div_euclid(STEP_SECONDS);
        let scope = [check.user.0.to_be_bytes(), step.to_be_bytes()].concat();
        let secret = (Protocol::Http, self.tag(&scope, &check.code));
        match self.attempts.admit(limits, cx.mono(), (subject, net), secret) {
            Admission::Judge => {}
            Admission::KnownWrong => {
                refuse(cx, to, AuthRefusal::WrongCredentials);
                return false;
            }
            Admission::Wait => {
                refuse(cx, to, AuthRefusal::Throttled);
                return false;
            }
        }
        let enabled = tables.accounts.get(&check.user).is_some_and(|entry| entry.record.enabled);
        if enabled && plan_code(tables, (check.user, &check.code), cx.wall()).is_some() {
            self.attempts.succeeded(limits, cx.mono(), check.user, net);
            return true;
        }
        self.attempts.failed(limits, cx.mono(), (subject, net), secret);
        refuse(cx, to, AuthRefusal::WrongCredentials);
        false
    }

    /// Takes the upgrade that a new hash belongs to.
    pub fn take_upgrade(&mut self, token: Token) -> Option<Upgrade> {
        self.upgrades.remove(&token)
    }

    /// What was known of the secrets of `user` no longer holds.
    pub fn forget(&mut self, user: UserId) {
        self.verified.remove_range((user, Tag(0))..=(user, Tag(u128::MAX)));
        self.attempts.forget_secrets(user);
    }

    /// The date of last use, if it is not written down yet.
    #[must_use]
    pub fn last_used(&self, user: UserId, credential: u64) -> Option<Wall> {
        self.used.get(&(user, credential)).copied()
    }

    #[must_use]
    pub fn has_used(&self) -> bool {
        !self.used.is_empty()
    }

    /// Takes up to `max` dates of last use to be written down.
    pub fn take_used(&mut self, max: usize) -> Vec<((UserId, u64), Wall)> {
        std::iter::from_fn(|| self.used.pop_first()).take(max).collect()
    }

    /// Keyed hash of a secret or name; `scope` keeps equal secrets of different accounts apart.
    fn tag(&self, scope: &[u8], secret: &[u8]) -> Tag {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&(scope.len() as u64).to_le_bytes());
        hasher.write(scope);
        hasher.write(secret);
        Tag(hasher.finish128().as_u128())
    }

    pub fn digest(&self, digest: &mut Digest) {
        self.attempts.digest(digest);
        digest.word(self.verified.len() as u64);
        digest.word(self.verifications.len() as u64);
        digest.word(self.upgrades.len() as u64);
        digest.word(self.waiting as u64);
        digest.word(self.used.len() as u64);
    }
}

/// The account that a log-in name means: an address, or a local part alone when there is one
/// domain.
fn account_named<'a>(tables: &'a Tables, name: &[u8]) -> Option<&'a AccountEntry> {
    let address = if name.contains(&b'@') {
        Address::parse(name).ok()?
    } else {
        let mut domains = tables.domains.keys();
        let (Some(domain), None) = (domains.next(), domains.next()) else { return None };
        Address::parse(&[name, b"@", domain.as_str().as_bytes()].concat()).ok()?
    };
    match tables.names.get(&address.canonical())? {
        Name::Account(user) => tables.accounts.get(user),
        Name::Alias(_) => None,
    }
}

fn account_of(entry: &AccountEntry) -> Account {
    Account { user: entry.record.user, address: Arc::clone(&entry.address) }
}

/// The secret is right: that the account is disabled may be told.
fn judged(
    entry: Option<&AccountEntry>,
    account: Account,
    (credential, protocol): (u64, Protocol),
) -> Outcome {
    match entry {
        Some(entry)
            if entry.record.enabled
                && entry.record.second_factor.is_some()
                && protocol == Protocol::Http =>
        {
            Outcome::CodeDue { account, credential }
        }
        Some(entry) if entry.record.enabled => Outcome::Right { account, credential },
        Some(_) | None => Outcome::Refused(AuthRefusal::Disabled),
    }
}

/// Credentials meant for `protocol`, the one used last first: most log-ins cost one hash.
fn candidates(entry: &AccountEntry, protocol: Protocol) -> VecDeque<u64> {
    let mut usable: Vec<_> = entry
        .record
        .credentials
        .iter()
        .filter(|held| entry.record.admits(held, protocol))
        .collect();
    usable.sort_by_key(|held| std::cmp::Reverse(held.last_used));
    usable.into_iter().map(|held| held.id).collect()
}

fn stage_of(mut candidates: VecDeque<u64>) -> Stage {
    match candidates.pop_front() {
        Some(credential) => Stage::Trying { credential, next: candidates },
        None => Stage::Dummy,
    }
}

fn phc_of(tables: &Tables, subject: Subject, credential: u64) -> Option<String> {
    let Subject::User(user) = subject else { return None };
    let credentials = &tables.accounts.get(&user)?.record.credentials;
    Some(credentials.iter().find(|held| held.id == credential)?.phc.clone())
}

/// Imported schemes give way to argon2id.
fn needs_upgrade(phc: &str) -> bool {
    !phc.starts_with("$argon2id$")
}

fn refuse(cx: &mut Cx<'_, Effect>, to: (SessionId, Token), reason: AuthRefusal) {
    answer(cx, to, DirectoryDone::AuthRefused(reason));
}
