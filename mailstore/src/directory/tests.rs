//! Transcripts: what is asked of the directory, and what it asks and answers.

use super::*;
use crate::face::*;
use crate::test_dds::{Fault, TestDds};
use fsm::{Budget, Duration, Host, Mono, Stepped, TimerOp, Wall};
use std::collections::BTreeMap;

const ASKER: SessionId = SessionId(1);

/// A directory with its store, its clock and a hash pool: the hash of `x` is `$argon2id$x`, imported ones are `{SSHA512}x`.
struct Bench {
    directory: Directory,
    host: Host,
    dds: TestDds,
    now: Mono,
    timers: BTreeMap<TimerKey, Mono>,
    /// What came out besides `Dds` and hash work.
    seen: Vec<Effect>,
    hashes: usize,
    /// Hash work not done yet, when it is held back.
    held: Option<Vec<(Token, String, Bytes)>>,
    tokens: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default(), TestDds::default())
    }

    fn with(limits: Limits, dds: TestDds) -> Self {
        let directory = Directory::new(Setup {
            limits: Arc::new(limits),
            tag_key: [7; 16],
            dummy_phc: "$argon2id$?".into(),
        });
        let mut bench = Self {
            directory,
            host: Host::new(1, 1),
            dds,
            now: Mono(1_000_000_000_000),
            timers: BTreeMap::new(),
            seen: Vec::new(),
            hashes: 0,
            held: None,
            tokens: 0,
        };
        bench.input(Input::Resumed);
        bench
    }

    /// Two accounts in one domain.
    fn peopled() -> Self {
        let mut bench = Self::new();
        bench.done(AdminTask::DomainAdd { domain: "X.example".into() });
        bench.add("ann@x.example", "$argon2id$secret");
        bench.now = bench.now.plus(Duration::from_secs(1));
        bench.add("bob@x.example", "{SSHA512}secret");
        bench
    }

    fn restart(self) -> Self {
        Self::with(Limits::default(), self.dds)
    }

    fn input(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut stepped = Stepped::default();
            let now = (self.now, Wall(i64::try_from(self.now.0 / 1_000_000).unwrap()));
            self.host.step(&mut self.directory, &mut stepped, now, Budget::new(2000), input);
            for op in stepped.timers {
                match op {
                    TimerOp::Arm { key, at } => self.timers.insert(key, at),
                    TimerOp::Cancel { key } => self.timers.remove(&key),
                };
            }
            for effect in stepped.effects {
                match effect {
                    Effect::Dds { token, request } => {
                        let response = self.dds.answer(request);
                        inputs.push_back(Input::DdsDone { token, response });
                    }
                    Effect::VerifyHash { token, peer: _, phc, secret } => {
                        self.hashes += 1;
                        match &mut self.held {
                            Some(held) => held.push((token, phc, secret)),
                            None => inputs.push_back(hashed(token, &phc, &secret)),
                        }
                    }
                    Effect::Rehash { token, secret } => {
                        let secret = std::str::from_utf8(&secret).unwrap();
                        let phc = Some(format!("$argon2id${secret}"));
                        inputs.push_back(Input::Rehashed { token, phc });
                    }
                    other => self.seen.push(other),
                }
            }
        }
    }

    fn release(&mut self) {
        for (token, phc, secret) in self.held.take().unwrap_or_default() {
            self.input(hashed(token, &phc, &secret));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        while let Some((&key, _)) = self.timers.iter().find(|(_, at)| **at <= self.now) {
            self.timers.remove(&key);
            self.input(Input::TimerFired(key));
        }
    }

    fn ask(&mut self, task: DirectoryTask) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.input(Input::Asked { from: ASKER, token, task });
        token
    }

    /// The completion of a task, which must be there.
    fn completion(&mut self, token: Token) -> Completion {
        let at = self
            .seen
            .iter()
            .position(|effect| matches!(effect, Effect::Answer { token: t, .. } if *t == token))
            .unwrap_or_else(|| panic!("no answer to {token:?} in {:?}", self.seen));
        match self.seen.remove(at) {
            Effect::Answer { to: ASKER, token: _, completion } => completion,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, task: DirectoryTask) -> DirectoryDone {
        let token = self.ask(task);
        match self.completion(token) {
            Completion::Directory(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn admin(&mut self, task: AdminTask) -> AdminDone {
        match self.call(DirectoryTask::Admin(task)) {
            DirectoryDone::Admin(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn done(&mut self, task: AdminTask) {
        assert_eq!(self.admin(task), AdminDone::Done);
    }

    fn refused(&mut self, task: AdminTask) -> String {
        match self.admin(task) {
            AdminDone::Refused(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, address: &str, phc: &str) {
        self.done(AdminTask::AccountAdd { address: address.into(), phc: phc.into() });
    }

    fn alias(&mut self, alias: &str, targets: &[&str]) -> AdminDone {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        self.admin(AdminTask::AliasAdd { alias: alias.into(), targets })
    }

    fn resolved(&mut self, address: &str) -> Resolved {
        match self
            .call(DirectoryTask::Resolve { address: Bytes::copy_from_slice(address.as_bytes()) })
        {
            DirectoryDone::Resolved(resolved) => resolved,
            other => panic!("{other:?}"),
        }
    }

    /// The addresses of the mailboxes behind an address.
    fn mailboxes(&mut self, address: &str) -> Vec<String> {
        match self.resolved(address) {
            Resolved::Local(found) => found.iter().map(|one| one.address.to_string()).collect(),
            other => panic!("{address}: {other:?}"),
        }
    }

    fn try_login(&mut self, name: &str, secret: &str, protocol: Protocol, peer: &str) -> Token {
        self.ask(DirectoryTask::Authenticate(Authenticate {
            protocol,
            peer: peer.parse().unwrap(),
            name: Bytes::copy_from_slice(name.as_bytes()),
            secret: Bytes::copy_from_slice(secret.as_bytes()),
        }))
    }

    fn login(&mut self, name: &str, secret: &str) -> DirectoryDone {
        self.login_from(name, secret, "192.0.2.1")
    }

    fn login_from(&mut self, name: &str, secret: &str, peer: &str) -> DirectoryDone {
        let token = self.try_login(name, secret, Protocol::Imap, peer);
        match self.completion(token) {
            Completion::Directory(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn user(&mut self, address: &str) -> UserId {
        match self.admin(AdminTask::AccountShow { address: address.into() }) {
            AdminDone::Accounts(lines) => lines[0].user,
            other => panic!("{other:?}"),
        }
    }
}

fn hashed(token: Token, phc: &str, secret: &[u8]) -> Input {
    let matches = ["$argon2id$", "{SSHA512}"]
        .iter()
        .any(|scheme| phc.strip_prefix(scheme).is_some_and(|rest| rest.as_bytes() == secret));
    let verdict = if matches { HashVerdict::Matches } else { HashVerdict::Differs };
    Input::Hashed { token, verdict }
}

fn refusal(reason: AuthRefusal) -> DirectoryDone {
    DirectoryDone::AuthRefused(reason)
}

fn welcome(bench: &mut Bench, address: &str) -> DirectoryDone {
    let user = bench.user(address);
    DirectoryDone::Authenticated(Account { user, address: address.into() })
}

#[test]
fn it_claims_scans_and_is_ready() {
    let mut directory = Directory::new(Setup {
        limits: Arc::new(Limits::default()),
        tag_key: [0; 16],
        dummy_phc: "".into(),
    });
    let mut host = Host::new(1, 1);
    let mut step = |input| {
        let mut stepped = Stepped::default();
        host.step(&mut directory, &mut stepped, (Mono(0), Wall(0)), Budget::new(1), input);
        stepped.effects
    };
    let claim = Request::Claim { route: format::route() };
    assert_eq!(step(Input::Resumed), [Effect::Dds { token: Token(1), request: claim }]);
    let response = Response::Claimed(Claimed { epoch: Epoch(4), previous: Default::default() });
    let scan = step(Input::DdsDone { token: Token(1), response });
    assert!(matches!(scan[..], [Effect::Dds { token: Token(2), request: Request::Scan { .. } }]));
    let task = DirectoryTask::Resolve { address: Bytes::from("a@b") };
    assert_eq!(step(Input::Asked { from: ASKER, token: Token(9), task }), []);
    let response = Response::Scanned { entries: Vec::new(), more: false };
    assert_eq!(
        step(Input::DdsDone { token: Token(2), response }),
        [
            Effect::Ready,
            Effect::Answer {
                to: ASKER,
                token: Token(9),
                completion: Completion::Directory(DirectoryDone::Resolved(Resolved::NotLocal))
            }
        ]
    );
}

#[test]
fn addresses_lead_to_their_mailboxes() {
    let mut bench = Bench::peopled();
    assert_eq!(bench.mailboxes("ANN@X.EXAMPLE"), ["ann@x.example"]);
    assert_eq!(bench.mailboxes("\"ann\"@x.example"), ["ann@x.example"]);
    assert_eq!(bench.mailboxes("bob+lists+a@x.example"), ["bob@x.example"]);
    for implied in ["postmaster@x.example", "Postmaster", "abuse@x.example", "abuse+x@x.example"] {
        assert_eq!(bench.mailboxes(implied), ["ann@x.example"], "{implied}");
    }
    assert_eq!(bench.resolved("carl@x.example"), Resolved::Unknown);
    assert_eq!(bench.resolved("ann@y.example"), Resolved::NotLocal);
    assert_eq!(bench.resolved("ann"), Resolved::Malformed);
    assert_eq!(bench.resolved(""), Resolved::Malformed);
}

#[test]
fn log_ins_are_verified_and_then_known_for_a_while() {
    let mut bench = Bench::peopled();
    let welcome = welcome(&mut bench, "ann@x.example");
    assert_eq!(bench.login("ann@x.example", "secret"), welcome);
    assert_eq!(bench.login("Ann", "secret"), welcome);
    assert_eq!(bench.hashes, 1);
    bench.pass(Duration::from_secs(301));
    assert_eq!(bench.login("ann", "secret"), welcome);
    assert_eq!(bench.hashes, 2);
    assert_eq!(bench.login("ann", "Secret"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.login("nobody", "secret"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.hashes, 4, "an unknown name costs a hash, too");
}
