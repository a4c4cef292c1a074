//! Transcripts: what is asked of the directory, and what it asks and answers.

mod expected;

mod log_ins;
mod orders;
mod second_factor;

use super::format::Record;
use super::*;
use crate::face::*;
use crate::test_dds::{Fault, TestDds};
use dds::Claimed;
use fsm::{Budget, Duration, Host, Mono, Stepped, TimerOp, Wall};
use std::collections::BTreeMap;

const ASKER: SessionId = SessionId(1);

/// A directory with its store, its clock and a hash pool: the hash of `x` is `$argon2id$x`,
/// imported ones are `{SSHA512}x`.
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
        let restarted = self.dds.restarted();
        Self::with(Limits::default(), restarted)
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

#[test]
fn aliases_lead_to_every_mailbox_once() {
    let mut bench = Bench::peopled();
    assert_eq!(bench.alias("team@x.example", &["ann@x.example", "bob@x.example"]), AdminDone::Done);
    assert_eq!(
        bench.alias("all@x.example", &["TEAM@x.example", "ann+all@x.example"]),
        AdminDone::Done
    );
    assert_eq!(bench.mailboxes("team@x.example"), ["ann@x.example", "bob@x.example"]);
    let mut all = bench.mailboxes("all+x@x.example");
    all.sort();
    assert_eq!(all, ["ann@x.example", "bob@x.example"]);
    let AdminDone::Aliases(lines) = bench.admin(AdminTask::AliasList { domain: None }) else {
        panic!()
    };
    let aliases: Vec<&str> = lines.iter().map(|line| line.alias.as_str()).collect();
    assert_eq!(
        aliases,
        ["abuse@x.example", "all@x.example", "postmaster@x.example", "team@x.example"]
    );
    assert_eq!(lines[0].targets, ["ann@x.example"], "to the first account until set");
    bench.alias("abuse@x.example", &["bob@x.example"]);
    assert_eq!(bench.mailboxes("abuse@x.example"), ["bob@x.example"]);
    bench.done(AdminTask::AliasRemove { alias: "abuse@x.example".into() });
    assert_eq!(bench.mailboxes("abuse@x.example"), ["ann@x.example"]);
}

#[test]
fn aliases_that_leave_are_not_local() {
    let mut bench = Bench::peopled();
    assert_eq!(bench.alias("out@x.example", &["ann@x.example", "z@else.example"]), AdminDone::Done);
    assert_eq!(bench.resolved("out@x.example"), Resolved::NotLocal);
    bench.alias("via@x.example", &["out@x.example"]);
    assert_eq!(bench.resolved("via@x.example"), Resolved::NotLocal);
}

#[test]
fn alias_loops_are_refused_however_they_close() {
    let mut bench = Bench::peopled();
    let refused = |done: AdminDone| matches!(done, AdminDone::Refused(_));
    assert!(refused(bench.alias("a@x.example", &["a@x.example"])));
    assert!(refused(bench.alias("a@x.example", &["A+b@x.example"])), "nobody has it yet");
    bench.alias("postmaster@x.example", &["abuse@x.example"]);
    assert!(refused(bench.alias("abuse@x.example", &["postmaster@x.example"])));
    assert!(refused(bench.alias("abuse@x.example", &["postmaster+x@x.example"])));
    bench.alias("c@x.example", &["postmaster@x.example", "bob@x.example"]);
    assert!(refused(bench.alias("abuse@x.example", &["c@x.example"])));
    assert_eq!(bench.alias("abuse@x.example", &["bob@x.example"]), AdminDone::Done);
    assert_eq!(bench.mailboxes("c@x.example"), ["bob@x.example"]);
}

#[test]
fn deep_chains_of_aliases_are_refused() {
    let mut bench = Bench::peopled();
    let mut target = "ann@x.example".to_owned();
    for n in 0..9 {
        let alias = format!("a{n}@x.example");
        assert_eq!(bench.alias(&alias, &[&target]), AdminDone::Done, "{n}");
        target = alias;
    }
    assert_eq!(bench.mailboxes(&target), ["ann@x.example"]);
    bench.alias("a9@x.example", &[&target]);
    assert!(matches!(bench.alias("a10@x.example", &["a9@x.example"]), AdminDone::Refused(_)));
}

#[test]
fn catch_all_and_separator_are_settings_of_the_domain() {
    let mut bench = Bench::peopled();
    let set = |setting| AdminTask::DomainSet { domain: "x.example".into(), setting };
    bench.done(set(DomainSetting::CatchAll(Some("bob+rest@x.example".into()))));
    assert_eq!(bench.mailboxes("whoever@x.example"), ["bob@x.example"]);
    assert_eq!(bench.mailboxes("ann+x@x.example"), ["ann@x.example"]);
    bench.done(set(DomainSetting::SubaddressSeparator(Some('-'))));
    assert_eq!(bench.mailboxes("ann-x@x.example"), ["ann@x.example"]);
    assert_eq!(
        bench.resolved("ann+x@x.example"),
        Resolved::Unknown,
        "the catch-all's + is no more"
    );
    bench.done(set(DomainSetting::CatchAll(None)));
    assert_eq!(bench.resolved("whoever@x.example"), Resolved::Unknown);
    for bad in ['@', 'a', ' ', '"'] {
        bench.refused(set(DomainSetting::SubaddressSeparator(Some(bad))));
    }
    bench.refused(set(DomainSetting::CatchAll(Some("nobody@x.example".into()))));
    bench.refused(set(DomainSetting::CatchAll(Some("ann@else.example".into()))));
    bench.done(set(DomainSetting::DefaultQuotaBytes(Some(500))));
    bench.add("new@x.example", "$argon2id$x");
    let AdminDone::Domains(lines) = bench.admin(AdminTask::DomainList) else { panic!() };
    assert_eq!(lines[0].accounts, 3);
    let user = bench.user("new@x.example");
    bench.input(Input::AskedAccount { user });
    let facts = AccountFacts {
        address: "new@x.example".into(),
        quota_bytes: Some(500),
        quota_messages: None,
        enabled: true,
    };
    assert_eq!(bench.seen.last(), Some(&Effect::AccountIs { user, facts }));
}

#[test]
fn disabled_accounts_take_no_mail_and_log_nobody_in() {
    let mut bench = Bench::peopled();
    let user = bench.user("ann@x.example");
    bench.login("ann", "secret");
    bench.seen.clear();
    bench.done(AdminTask::AccountEnable { address: "ann@x.example".into(), on: false });
    let facts = AccountFacts {
        address: "ann@x.example".into(),
        quota_bytes: None,
        quota_messages: None,
        enabled: false,
    };
    let change = "account ann@x.example disabled".to_owned();
    assert_eq!(
        bench.seen,
        [
            Effect::AccountIs { user, facts },
            Effect::Kick { user, reason: "the account was disabled" },
            Effect::Log(LogEvent::Administered { change }),
        ]
    );
    assert_eq!(bench.resolved("ann@x.example"), Resolved::Disabled);
    assert_eq!(bench.login("ann", "secret"), refusal(AuthRefusal::Disabled));
    assert_eq!(bench.login("ann", "wrong"), refusal(AuthRefusal::WrongCredentials));
    bench.alias("team@x.example", &["ann@x.example", "bob@x.example"]);
    assert_eq!(bench.mailboxes("team@x.example"), ["bob@x.example"]);
    bench.done(AdminTask::AccountEnable { address: "ann@x.example".into(), on: true });
    bench.done(AdminTask::AccountEnable { address: "ann@x.example".into(), on: true });
    let welcome = welcome(&mut bench, "ann@x.example");
    assert_eq!(bench.login("ann", "secret"), welcome);
}
