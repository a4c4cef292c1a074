//! Transcripts: what is asked of the directory, and what it asks and answers.

mod expected;

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

#[test]
fn a_changed_password_ends_sessions_and_what_was_known() {
    let mut bench = Bench::peopled();
    let user = bench.user("ann@x.example");
    let welcome = welcome(&mut bench, "ann@x.example");
    assert_eq!(bench.login("ann", "secret"), welcome);
    assert_eq!(bench.login("ann", "new"), refusal(AuthRefusal::WrongCredentials));
    bench.seen.clear();
    let phc = "{ARGON2ID}$argon2id$new".to_owned();
    bench.done(AdminTask::AccountPassword { address: "ann@x.example".into(), phc });
    assert!(bench.seen.contains(&Effect::Kick { user, reason: "the password was changed" }));
    assert_eq!(bench.login("ann", "secret"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.login("ann", "new"), welcome, "though it was wrong a moment ago");
}

#[test]
fn a_password_changed_while_it_is_verified_does_not_open() {
    let mut bench = Bench::peopled();
    bench.held = Some(Vec::new());
    let token = bench.try_login("ann", "secret", Protocol::Imap, "192.0.2.1");
    let phc = "$argon2id$new".to_owned();
    bench.done(AdminTask::AccountPassword { address: "ann@x.example".into(), phc });
    bench.release();
    let wrong = Completion::Directory(refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.completion(token), wrong);
}

#[test]
fn imported_hashes_are_upgraded_at_the_first_log_in() {
    let mut bench = Bench::peopled();
    let scheme = |bench: &mut Bench| match bench
        .admin(AdminTask::CredentialList { address: "bob@x.example".into() })
    {
        AdminDone::Credentials(lines) => lines[0].scheme.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(scheme(&mut bench), "SSHA512");
    let welcome = welcome(&mut bench, "bob@x.example");
    assert_eq!(bench.login("bob", "wrong"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(scheme(&mut bench), "SSHA512");
    assert_eq!(bench.login("bob", "secret"), welcome);
    assert_eq!(scheme(&mut bench), "ARGON2ID");
    let mut bench = bench.restart();
    assert_eq!(scheme(&mut bench), "ARGON2ID");
    assert_eq!(bench.login("bob", "secret"), welcome);
}

#[test]
fn equal_attempts_share_one_hash() {
    let mut bench = Bench::peopled();
    bench.held = Some(Vec::new());
    let tokens: Vec<Token> = (0..100)
        .map(|_| bench.try_login("ann@x.example", "secret", Protocol::Imap, "192.0.2.1"))
        .collect();
    let wrong = bench.try_login("ann@x.example", "other", Protocol::Imap, "192.0.2.1");
    assert_eq!(bench.hashes, 2);
    bench.release();
    let welcome = Completion::Directory(welcome(&mut bench, "ann@x.example"));
    for token in tokens {
        assert_eq!(bench.completion(token), welcome);
    }
    let refused = Completion::Directory(refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.completion(wrong), refused);
}

#[test]
fn wrong_passwords_slow_down_the_pair_and_nobody_else() {
    let mut bench = Bench::peopled();
    for n in 0..5 {
        let secret = format!("guess {n}");
        assert_eq!(bench.login("ann", &secret), refusal(AuthRefusal::WrongCredentials));
    }
    let hashes = bench.hashes;
    assert_eq!(bench.login("ann", "secret"), refusal(AuthRefusal::Throttled));
    assert_eq!(bench.login("ann", "guess 4"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.hashes, hashes, "neither cost a hash");
    let welcome_ann = welcome(&mut bench, "ann@x.example");
    assert_eq!(bench.login_from("ann", "secret", "198.51.100.7"), welcome_ann);
    let welcome_bob = welcome(&mut bench, "bob@x.example");
    assert_eq!(bench.login("bob", "secret"), welcome_bob);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.login("ann", "secret"), welcome_ann);
}

#[test]
fn an_unknown_name_is_treated_like_a_known_one() {
    let mut bench = Bench::peopled();
    for n in 0..5 {
        let secret = format!("guess {n}");
        assert_eq!(bench.login("nobody", &secret), refusal(AuthRefusal::WrongCredentials));
    }
    assert_eq!(bench.login("Nobody", "guess 9"), refusal(AuthRefusal::Throttled));
    assert_eq!(bench.login("nobody2", "guess 9"), refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.login("\u{0}@", ""), refusal(AuthRefusal::WrongCredentials));
}

#[test]
fn a_busy_pool_is_a_temporary_answer_and_no_failure() {
    let mut bench = Bench::peopled();
    bench.held = Some(Vec::new());
    for n in 0..20 {
        let token = bench.try_login("ann", &format!("{n}"), Protocol::Imap, "192.0.2.1");
        let (hash, _, _) = bench.held.as_mut().and_then(Vec::pop).unwrap();
        bench.input(Input::Hashed { token: hash, verdict: HashVerdict::Busy });
        let unavailable = Completion::Directory(refusal(AuthRefusal::Unavailable));
        assert_eq!(bench.completion(token), unavailable);
    }
    bench.held = None;
    let welcome = welcome(&mut bench, "ann@x.example");
    assert_eq!(bench.login("ann", "secret"), welcome);
}

#[test]
fn verifications_are_bounded() {
    let limits = Limits { verifications_max: 2, logins_waiting_max: 3, ..Limits::default() };
    let mut bench = Bench::with(limits, Bench::peopled().dds);
    bench.held = Some(Vec::new());
    let first = bench.try_login("ann", "a", Protocol::Imap, "192.0.2.1");
    bench.try_login("bob", "a", Protocol::Imap, "192.0.2.1");
    let unavailable = Completion::Directory(refusal(AuthRefusal::Unavailable));
    let third = bench.try_login("carl", "a", Protocol::Imap, "192.0.2.1");
    assert_eq!(bench.completion(third), unavailable);
    bench.try_login("ann", "a", Protocol::Imap, "192.0.2.1");
    let fifth = bench.try_login("ann", "a", Protocol::Imap, "192.0.2.1");
    assert_eq!(bench.completion(fifth), unavailable);
    bench.release();
    let wrong = Completion::Directory(refusal(AuthRefusal::WrongCredentials));
    assert_eq!(bench.completion(first), wrong);
}

#[test]
fn further_credentials_may_be_limited_to_protocols() {
    let mut bench = Bench::peopled();
    let add = |label: &str, phc: &str, protocols| AdminTask::CredentialAdd {
        address: "ann@x.example".into(),
        label: label.into(),
        phc: phc.into(),
        protocols,
    };
    bench.done(add("printer", "$argon2id$print", Some(vec![Protocol::Submission])));
    bench.refused(add("printer", "$argon2id$print", None));
    bench.refused(add("password", "$argon2id$print", None));
    bench.refused(add("", "$argon2id$print", None));
    bench.refused(add("none", "$argon2id$print", Some(vec![])));
    let welcome = Completion::Directory(welcome(&mut bench, "ann@x.example"));
    let wrong = Completion::Directory(refusal(AuthRefusal::WrongCredentials));
    for _ in 0..2 {
        let imap = bench.try_login("ann", "print", Protocol::Imap, "192.0.2.1");
        assert_eq!(bench.completion(imap), wrong);
        let submission = bench.try_login("ann", "print", Protocol::Submission, "192.0.2.1");
        assert_eq!(bench.completion(submission), welcome);
    }
    assert_eq!(bench.hashes, 4, "IMAP tries the password alone; submission both, once");
    let list = AdminTask::CredentialList { address: "ann@x.example".into() };
    let AdminDone::Credentials(lines) = bench.admin(list.clone()) else { panic!() };
    let used: Vec<bool> = lines.iter().map(|line| line.last_used.is_some()).collect();
    assert_eq!((used, lines[1].kind), (vec![false, true], CredentialKind::AppPassword));
    bench.pass(Duration::from_secs(61));
    let mut bench = bench.restart();
    assert_eq!(bench.admin(list), AdminDone::Credentials(lines), "dates of use are written down");
    let remove = |label: &str| AdminTask::CredentialRemove {
        address: "ann@x.example".into(),
        label: label.into(),
    };
    bench.refused(remove("password"));
    bench.done(remove("printer"));
    let gone = bench.try_login("ann", "print", Protocol::Submission, "192.0.2.1");
    assert_eq!(bench.completion(gone), wrong);
}

#[test]
fn a_removed_account_is_erased_even_across_a_restart() {
    let mut bench = Bench::peopled();
    let user = bench.user("ann@x.example");
    bench.alias("sales@x.example", &["ann+sales@x.example"]);
    let remove = AdminTask::AccountRemove { address: "ann@x.example".into() };
    assert_eq!(
        bench.refused(remove.clone()),
        "account ann@x.example: alias sales@x.example leads to it; change that first"
    );
    bench.done(AdminTask::AliasRemove { alias: "sales@x.example".into() });
    bench.seen.clear();
    bench.done(remove);
    assert!(bench.seen.contains(&Effect::Kick { user, reason: "the account was removed" }));
    assert!(bench.seen.contains(&Effect::EraseUser { user }));
    assert_eq!(bench.resolved("ann@x.example"), Resolved::Unknown);
    assert_eq!(bench.mailboxes("postmaster@x.example"), ["bob@x.example"]);
    let mut bench = bench.restart();
    assert_eq!(bench.seen, [Effect::Ready, Effect::EraseUser { user }]);
    bench.input(Input::Erased { user });
    let bench = bench.restart();
    assert_eq!(bench.seen, [Effect::Ready]);
}

#[test]
fn domains_go_only_when_nothing_needs_them() {
    let mut bench = Bench::peopled();
    let remove = || AdminTask::DomainRemove { domain: "x.example".into() };
    assert_eq!(
        bench.refused(remove()),
        "domain x.example: it has 2 accounts; remove them first (`hikyaku account list` shows them)"
    );
    bench.done(AdminTask::DomainAdd { domain: "y.example".into() });
    bench.alias("a@x.example", &["ann@x.example"]);
    bench.alias("a@y.example", &["a@x.example"]);
    assert!(
        bench
            .refused(AdminTask::AliasRemove { alias: "a@x.example".into() })
            .contains("a@y.example")
    );
    bench.done(AdminTask::AliasRemove { alias: "a@y.example".into() });
    bench.alias("b@y.example", &["z@else.example"]);
    bench.done(AdminTask::DomainRemove { domain: "y.example".into() });
    assert_eq!(bench.resolved("b@y.example"), Resolved::NotLocal);
    bench.done(AdminTask::AliasRemove { alias: "a@x.example".into() });
    bench.done(AdminTask::AccountRemove { address: "ann@x.example".into() });
    bench.done(AdminTask::AccountRemove { address: "bob@x.example".into() });
    bench.done(remove());
    let mut bench = bench.restart();
    assert_eq!(bench.admin(AdminTask::DomainList), AdminDone::Domains(Vec::new()));
    assert_eq!(bench.resolved("Postmaster"), Resolved::Unknown);
}

#[test]
fn refusals_name_the_thing_the_reason_and_the_next_step() {
    let mut bench = Bench::peopled();
    let add = |address: &str, phc: &str| AdminTask::AccountAdd {
        address: address.into(),
        phc: phc.into(),
    };
    for (task, text) in [
        (
            add("carl@z.example", "$argon2id$x"),
            "account carl@z.example: the domain z.example is not here; `hikyaku domain add \
             z.example` adds it",
        ),
        (
            add("ANN@x.example", "$argon2id$x"),
            "account ann@x.example: an account has this address; `hikyaku account remove \
             ann@x.example` would remove it",
        ),
        (
            add("carl@x.example", "plain"),
            "account carl@x.example: the hash is of no known scheme; use ARGON2ID, BLF-CRYPT, \
             SHA512-CRYPT or SSHA512, or give the password itself",
        ),
        (
            add("carl", "x"),
            "\"carl\" is not an address (the address has no domain); write it as name@domain",
        ),
        (
            AdminTask::DomainAdd { domain: "X.EXAMPLE".into() },
            "domain x.example: it is here already; `hikyaku domain list` shows it",
        ),
        (
            AdminTask::AccountRemove { address: "carl@x.example".into() },
            "account carl@x.example: there is none; `hikyaku account list` shows all",
        ),
        (
            AdminTask::AliasRemove { alias: "postmaster@x.example".into() },
            "alias postmaster@x.example: every domain has it; `hikyaku alias add \
             postmaster@x.example TARGET` sets where it leads",
        ),
    ] {
        assert_eq!(bench.refused(task), text);
    }
}

#[test]
fn senders_may_use_their_addresses_and_aliases() {
    let mut bench = Bench::peopled();
    let user = bench.user("ann@x.example");
    bench.alias("sales@x.example", &["ann@x.example", "z@else.example"]);
    let set = DomainSetting::CatchAll(Some("ann@x.example".into()));
    bench.done(AdminTask::DomainSet { domain: "x.example".into(), setting: set });
    for (address, expected) in [
        ("Ann@X.example", true),
        ("ann+tag@x.example", true),
        ("sales@x.example", true),
        ("postmaster@x.example", true),
        ("bob@x.example", false),
        ("whoever@x.example", false),
        ("ann@else.example", false),
        ("not an address", false),
        ("", false),
    ] {
        let address = Bytes::copy_from_slice(address.as_bytes());
        let done = bench.call(DirectoryTask::CheckSender { user, address: address.clone() });
        assert_eq!(done, DirectoryDone::SenderChecked { allowed: expected }, "{address:?}");
    }
}

#[test]
fn a_bulk_import_shares_commits() {
    let mut bench = Bench::peopled();
    let mut stepped = Stepped::default();
    let now = (bench.now, Wall(0));
    for n in 0..300 {
        let address = format!("user{n}@x.example");
        let task = AdminTask::AccountAdd { address, phc: "$argon2id$pw".into() };
        let input =
            Input::Asked { from: ASKER, token: Token(1000 + n), task: DirectoryTask::Admin(task) };
        bench.host.step(&mut bench.directory, &mut stepped, now, Budget::new(1), input);
    }
    let mut writes = 0;
    let mut answers = 0;
    while !stepped.effects.is_empty() {
        for effect in std::mem::take(&mut stepped.effects) {
            match effect {
                Effect::Dds { token, request } => {
                    writes += 1;
                    let response = bench.dds.answer(request);
                    let input = Input::DdsDone { token, response };
                    bench.host.step(&mut bench.directory, &mut stepped, now, Budget::new(1), input);
                }
                Effect::Answer { completion, .. } => {
                    answers += 1;
                    let done = Completion::Directory(DirectoryDone::Admin(AdminDone::Done));
                    assert_eq!(completion, done);
                }
                _ => {}
            }
        }
    }
    assert_eq!((answers, writes), (300, 4));
    let mut bench = bench.restart();
    let AdminDone::Accounts(lines) = bench.admin(AdminTask::AccountList { domain: None }) else {
        panic!()
    };
    let users: BTreeSet<UserId> = lines.iter().map(|line| line.user).collect();
    assert_eq!((lines.len(), users.len()), (302, 302));
}

#[test]
fn two_new_accounts_of_one_name_are_one() {
    let mut bench = Bench::peopled();
    let mut stepped = Stepped::default();
    let add =
        || AdminTask::AccountAdd { address: "carl@x.example".into(), phc: "$argon2id$x".into() };
    for token in [50, 51] {
        let task = DirectoryTask::Admin(add());
        let input = Input::Asked { from: ASKER, token: Token(token), task };
        let now = (bench.now, Wall(0));
        bench.host.step(&mut bench.directory, &mut stepped, now, Budget::new(1), input);
    }
    for effect in stepped.effects {
        if let Effect::Dds { token, request } = effect {
            let response = bench.dds.answer(request);
            bench.input(Input::DdsDone { token, response });
        }
    }
    let done = Completion::Directory(DirectoryDone::Admin(AdminDone::Done));
    assert_eq!(bench.completion(Token(50)), done);
    assert!(matches!(
        bench.completion(Token(51)),
        Completion::Directory(DirectoryDone::Admin(AdminDone::Refused(_)))
    ));
}

#[test]
fn everything_survives_a_restart() {
    let mut bench = Bench::peopled();
    bench.alias("team@x.example", &["ann@x.example", "z@else.example"]);
    let set = AccountSetting::DisplayName("Ann \u{C5}.".into());
    bench.done(AdminTask::AccountSet { address: "ann@x.example".into(), setting: set });
    let set = AccountSetting::QuotaMessages(Some(7));
    bench.done(AdminTask::AccountSet { address: "ann@x.example".into(), setting: set });
    let digest = |bench: &Bench| {
        let mut digest = Digest::default();
        bench.directory.tables.digest(&mut digest);
        digest.value()
    };
    let before = digest(&bench);
    let bench = bench.restart();
    assert_eq!(digest(&bench), before);
    assert_eq!(bench.directory.tables.damaged, 0);
}

#[test]
fn trouble_of_the_store_is_told_and_overcome() {
    let mut bench = Bench::peopled();
    let add = || AdminTask::DomainAdd { domain: "y.example".into() };
    for (fault, reason) in
        [(Fault::NoSpace, TaskRefusal::NoSpace), (Fault::Unavailable, TaskRefusal::Unavailable)]
    {
        bench.dds.next_fault = Some(fault);
        let token = bench.ask(DirectoryTask::Admin(add()));
        assert_eq!(bench.completion(token), Completion::Refused(reason));
        assert_eq!(bench.resolved("a@y.example"), Resolved::NotLocal);
    }
    for (fault, domain) in [(Fault::AppliedUnknown, "y.example"), (Fault::LostUnknown, "z.example")]
    {
        bench.dds.next_fault = Some(fault);
        let token = bench.ask(DirectoryTask::Admin(AdminTask::DomainAdd { domain: domain.into() }));
        assert_eq!(bench.resolved("a@y.example") == Resolved::Unknown, domain == "z.example");
        bench.pass(Duration::from_secs(1));
        let done = Completion::Directory(DirectoryDone::Admin(AdminDone::Done));
        assert_eq!(bench.completion(token), done);
    }
    bench.dds.answer(Request::Claim { route: format::route() });
    let text = bench.refused(AdminTask::DomainAdd { domain: "w.example".into() });
    assert!(text.contains("look with the list command"), "{text}");
    bench.done(AdminTask::DomainAdd { domain: "w.example".into() });
    assert_eq!(bench.mailboxes("ann@x.example"), ["ann@x.example"]);
}

#[test]
fn a_damaged_record_makes_not_found_a_temporary_answer() {
    let mut bench = Bench::peopled();
    let key = format::account_key(bench.user("ann@x.example"));
    let ops = vec![dds::Op::Put { key, value: Bytes::from_static(b"\x01??") }];
    let batch = dds::Batch { route: format::route(), writer: None, preconditions: Vec::new(), ops };
    bench.dds.answer(Request::Write(batch));
    let mut bench = bench.restart();
    assert!(matches!(bench.seen[0], Effect::Log(LogEvent::Trouble { .. })));
    for address in ["ann@x.example", "whoever@x.example", "a@else.example"] {
        let address = Bytes::copy_from_slice(address.as_bytes());
        let token = bench.ask(DirectoryTask::Resolve { address });
        assert_eq!(bench.completion(token), Completion::Refused(TaskRefusal::Damaged));
    }
    assert_eq!(bench.login("ann", "secret"), refusal(AuthRefusal::Unavailable));
    assert_eq!(bench.mailboxes("bob@x.example"), ["bob@x.example"]);
    bench.seen.clear();
    bench.input(Input::AskedUsers { token: Token(3), after: None, users_max: 10 });
    assert!(matches!(&bench.seen[..], [Effect::UsersAre(page)] if page.missing == 1));
}

#[test]
fn users_are_listed_page_by_page() {
    let mut bench = Bench::peopled();
    bench.add("carl@x.example", "$argon2id$x");
    let (mut after, mut users) = (None, Vec::new());
    loop {
        bench.seen.clear();
        bench.input(Input::AskedUsers { token: Token(3), after, users_max: 2 });
        let Some(Effect::UsersAre(page)) = bench.seen.pop() else { panic!() };
        assert_eq!((page.token, page.missing), (Token(3), 0));
        after = page.users.last().copied();
        users.extend(page.users);
        if !page.more {
            break;
        }
    }
    assert_eq!(users.len(), 3);
    assert!(users.is_sorted());
}

#[test]
fn what_waits_for_the_load_is_bounded() {
    let limits = Limits { tasks_waiting_max: 2, ..Limits::default() };
    let mut directory =
        Directory::new(Setup { limits: Arc::new(limits), tag_key: [0; 16], dummy_phc: "".into() });
    let mut host = Host::new(1, 1);
    let mut stepped = Stepped::default();
    for token in 1..=3 {
        let task = DirectoryTask::Resolve { address: Bytes::new() };
        let input = Input::Asked { from: ASKER, token: Token(token), task };
        host.step(&mut directory, &mut stepped, (Mono(0), Wall(0)), Budget::new(1), input);
    }
    let completion = Completion::Refused(TaskRefusal::Overloaded);
    let refused = Effect::Answer { to: ASKER, token: Token(3), completion };
    assert_eq!(stepped.effects[1..], [refused]);
}

#[test]
fn the_bytes_of_the_formats() {
    let address = |text: &str| crate::address::Address::parse(text.as_bytes()).unwrap();
    let domain = Record::Domain(format::DomainRecord {
        domain: crate::address::Domain::parse("x.example").unwrap(),
        created: Wall(1),
        catch_all: Some(address("a@x.example")),
        subaddress_separator: Some('+'),
        default_quota_bytes: None,
    });
    let golden: &[&[u8]] = &[b"\x01\x09x.example\x02\x01\x0ba@x.example\x01\x2b\x00"];
    assert_eq!(domain.value(), golden.concat());
    assert_eq!(&domain.key().0[..], b"dx.example");
    let account = Record::Account(format::AccountRecord {
        user: UserId(300),
        address: address("A@x.example"),
        created: Wall(-1),
        enabled: true,
        display_name: "A".into(),
        quota_bytes: Some(128),
        quota_messages: None,
        next_credential: 3,
        credentials: vec![format::Credential {
            id: 2,
            kind: CredentialKind::AppPassword,
            label: "p".into(),
            created: Wall(0),
            last_used: Some(Wall(2)),
            protocols: Some(vec![Protocol::Imap, Protocol::Pop3]),
            phc: "$6$".into(),
        }],
    });
    let golden: &[&[u8]] = &[
        b"\x01\xac\x02\x0bA@x.example\x01\x01\x01A\x01\x80\x01\x00\x03",
        b"\x01\x02\x02\x01p\x00\x01\x04\x01\x02\x04\x05\x03$6$",
    ];
    assert_eq!(account.value(), golden.concat());
    assert_eq!(&account.key().0[..], b"m\0\0\0\0\0\0\x01\x2c");
    let alias = Record::Alias(format::AliasRecord {
        alias: address("B@x.example"),
        targets: vec![address("a@x.example"), address("\"c d\"@y.example")],
    });
    let golden: &[&[u8]] = &[b"\x01\x0bB@x.example\x02\x0ba@x.example\x0f\"c d\"@y.example"];
    assert_eq!(alias.value(), golden.concat());
    assert_eq!(&alias.key().0[..], b"nb@x.example");
    let erasing = Record::Erasing(UserId(1));
    assert_eq!(&erasing.value()[..], b"\x01\x01");
    assert_eq!(&erasing.key().0[..], b"x\0\0\0\0\0\0\0\x01");
    for record in [domain, account, alias, erasing] {
        assert_eq!(Record::read(&record.key(), record.value()), Ok(record));
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        letter in proptest::sample::select(b"dmnx?".to_vec()),
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        let key = SortKey(Bytes::copy_from_slice(&[letter]));
        let versioned = [&[1][..], &bytes].concat();
        let _ = Record::read(&key, versioned.into());
        let _ = Record::read(&key, bytes.into());
    }
}
