//! The second factor: who gets in, and what a code is good for.

use super::*;
use crate::directory::second_factor::{STEP_SECONDS, code_at, recovery_hash};
use proptest::prelude::*;

const ANN: &str = "ann@x.example";
const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.7";

fn secret() -> TotpSecret {
    TotpSecret::new(b"12345678901234567890").expect("20 bytes")
}

impl Bench {
    /// The code of the step so many behind the present one.
    fn code(&self, ahead: i64) -> String {
        let seconds = i64::try_from(self.now.0 / 1_000_000_000).expect("soon");
        code_at(&secret(), seconds / STEP_SECONDS + ahead)
    }

    fn next_step(&mut self) {
        self.pass(Duration::from_secs(STEP_SECONDS.unsigned_abs()));
    }

    fn turn_on(&mut self, code: String) -> AdminDone {
        let user = self.user(ANN);
        let recovery = vec![recovery_hash(user, b"ABCD"), recovery_hash(user, b"EFGH")];
        let address = ANN.to_owned();
        self.admin(AdminTask::SecondFactorOn { address, secret: secret(), code, recovery })
    }

    /// Ann has a second factor, and a step has passed.
    fn guarded() -> Self {
        let mut bench = Self::peopled();
        let code = bench.code(0);
        assert_eq!(bench.turn_on(code), AdminDone::Done);
        bench.next_step();
        bench
    }

    fn through(&mut self, secret: &str, protocol: Protocol) -> DirectoryDone {
        let token = self.try_login("ann", secret, protocol, HOME);
        match self.completion(token) {
            Completion::Directory(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn check(&mut self, code: &str, peer: &str) -> DirectoryDone {
        let user = self.user(ANN);
        let (peer, code) = (peer.parse().expect("an address"), code.to_owned().into());
        self.call(DirectoryTask::CheckCode(CheckCode { user, peer, code }))
    }

    fn factor(&mut self) -> Option<SecondFactorEntry> {
        match self.admin(AdminTask::SecondFactorShow { address: ANN.into() }) {
            AdminDone::SecondFactor(factor) => factor,
            other => panic!("{other:?}"),
        }
    }

    fn add_app_password(&mut self) {
        self.done(AdminTask::CredentialAdd {
            address: ANN.into(),
            label: "phone".into(),
            phc: "$argon2id$app".into(),
            protocols: Some(vec![Protocol::Imap]),
        });
    }
}

fn wrong() -> DirectoryDone {
    refusal(AuthRefusal::WrongCredentials)
}

#[test]
fn with_a_second_factor_mail_takes_app_passwords_and_webmail_asks_for_a_code() {
    let mut bench = Bench::peopled();
    let (user, welcome) = (bench.user(ANN), welcome(&mut bench, ANN));
    bench.add_app_password();
    let mail = [Protocol::Imap, Protocol::Pop3, Protocol::Submission, Protocol::Smtp];
    for protocol in mail.into_iter().chain([Protocol::Http]) {
        assert_eq!(bench.through("secret", protocol), welcome, "{protocol:?}");
    }
    bench.seen.clear();
    let code = bench.code(0);
    assert_eq!(bench.turn_on(code), AdminDone::Done);
    let reason = "log-ins need a second factor now";
    assert!(bench.seen.contains(&Effect::Kick { user, reason }), "sessions end");
    for protocol in mail {
        assert_eq!(bench.through("secret", protocol), wrong(), "{protocol:?}: though known before");
    }
    assert_eq!(bench.through("app", Protocol::Imap), welcome);
    assert_eq!(bench.through("app", Protocol::Pop3), wrong(), "not meant for it");
    assert_eq!(bench.through("app", Protocol::Http), wrong(), "webmail takes none");
    let account = Account { user, address: ANN.into() };
    for _ in 0..2 {
        assert_eq!(
            bench.through("secret", Protocol::Http),
            DirectoryDone::SecondFactorDue(account.clone())
        );
    }
    bench.done(AdminTask::SecondFactorOff { address: ANN.into() });
    assert_eq!(
        bench.through("secret", Protocol::Imap),
        welcome,
        "though it was wrong a moment ago"
    );
    assert_eq!(bench.through("secret", Protocol::Http), welcome);
}

#[test]
fn a_factor_turned_on_while_a_password_is_verified_counts() {
    let mut bench = Bench::peopled();
    bench.held = Some(Vec::new());
    let imap = bench.try_login("ann", "secret", Protocol::Imap, HOME);
    let http = bench.try_login("ann", "secret", Protocol::Http, HOME);
    let code = bench.code(0);
    assert_eq!(bench.turn_on(code), AdminDone::Done);
    bench.release();
    assert_eq!(bench.completion(imap), Completion::Directory(wrong()));
    let due = bench.completion(http);
    assert!(matches!(due, Completion::Directory(DirectoryDone::SecondFactorDue(_))), "{due:?}");
}

#[test]
fn codes_open_once_and_survive_a_restart() {
    let mut bench = Bench::guarded();
    let welcome = welcome(&mut bench, ANN);
    let before = bench.code(-1);
    assert_eq!(bench.check(&before, HOME), wrong(), "used to turn it on");
    let code = bench.code(0);
    assert_eq!(bench.check(&code, HOME), welcome);
    assert_eq!(bench.check(&code, HOME), wrong());
    assert_eq!(bench.check(" abcd ", HOME), welcome);
    assert_eq!(bench.check("ABCD", HOME), wrong());
    let mut bench = bench.restart();
    assert_eq!(bench.directory.tables.damaged, 0);
    assert_eq!(bench.check(&code, HOME), wrong());
    assert_eq!(bench.check("ABCD", HOME), wrong());
    assert_eq!(bench.factor().map(|it| it.recovery_left), Some(1));
    bench.done(AdminTask::SecondFactorRecovery {
        address: ANN.into(),
        recovery: vec![recovery_hash(bench_user(&welcome), b"NEW")],
    });
    assert_eq!(bench.check("EFGH", HOME), wrong(), "replaced");
    assert_eq!(bench.check("new", HOME), welcome);
}

fn bench_user(welcome: &DirectoryDone) -> UserId {
    match welcome {
        DirectoryDone::Authenticated(account) => account.user,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_can_not_be_turned_on_or_off() {
    let mut bench = Bench::peopled();
    let text = bench.refused(AdminTask::SecondFactorOff { address: ANN.into() });
    assert!(text.contains("no second factor"), "{text}");
    let AdminDone::Refused(text) = bench.turn_on("000000".into()) else { panic!() };
    assert!(text.contains("not the code"), "{text}");
    let many = AdminTask::SecondFactorOn {
        address: ANN.into(),
        secret: secret(),
        code: bench.code(0),
        recovery: vec![[0; RECOVERY_HASH_BYTES]; 17],
    };
    bench.refused(many);
    assert_eq!(bench.factor(), None);
    assert_eq!(bench.check("ABCD", HOME), wrong(), "no code is asked for");
    let mut bench = Bench::guarded();
    let code = bench.code(0);
    assert!(matches!(bench.turn_on(code), AdminDone::Refused(_)), "another one on top of it");
    bench.done(AdminTask::AccountEnable { address: ANN.into(), on: false });
    let code = bench.code(0);
    assert_eq!(bench.check(&code, HOME), wrong(), "disabled");
}

#[test]
fn guesses_are_slowed_down_and_the_password_does_not_help() {
    let mut bench = Bench::guarded();
    let welcome = welcome(&mut bench, ANN);
    for n in 0..5 {
        assert_eq!(bench.check(&format!("wrong {n}"), HOME), wrong());
        let due = bench.through("secret", Protocol::Http);
        assert!(matches!(due, DirectoryDone::SecondFactorDue(_)), "{due:?}");
    }
    let code = bench.code(0);
    assert_eq!(bench.check(&code, HOME), refusal(AuthRefusal::Throttled));
    assert_eq!(bench.check(&code, ELSEWHERE), welcome, "another network");
    bench.next_step();
    let code = bench.code(0);
    assert_eq!(bench.check(&code, HOME), welcome, "after the wait");
}

#[test]
fn many_networks_that_guess_wait_and_familiar_ones_do_not() {
    let mut bench = Bench::guarded();
    let welcome = welcome(&mut bench, ANN);
    let code = bench.code(0);
    assert_eq!(bench.check(&code, HOME), welcome);
    for n in 0..10 {
        assert_eq!(bench.check(&format!("wrong {n}"), &format!("10.0.{n}.1")), wrong());
    }
    bench.next_step();
    let code = bench.code(0);
    assert_eq!(bench.check(&code, ELSEWHERE), refusal(AuthRefusal::Throttled));
    assert_eq!(bench.check(&code, HOME), welcome);
}

#[test]
fn the_bytes_of_an_account_with_a_second_factor() {
    let mut bench = Bench::guarded();
    let user = bench.user(ANN);
    let entry = &bench.directory.tables.accounts[&user];
    let record = format::AccountRecord {
        credentials: Vec::new(),
        created: Wall(0),
        user: UserId(1),
        second_factor: Some(super::super::second_factor::SecondFactor {
            secret: secret(),
            since: Wall(1),
            last_step: 2,
            recovery: vec![[9; RECOVERY_HASH_BYTES]],
        }),
        ..entry.record.clone()
    };
    let record = Record::Account(record);
    let golden: &[&[u8]] = &[
        b"\x02\x01\x0dann@x.example\x00\x01\x00\x00\x00\x02\x00",
        b"\x1412345678901234567890\x02\x04\x01\x20",
        &[9; 32],
    ];
    assert_eq!(record.value(), golden.concat());
    assert_eq!(Record::read(&record.key(), record.value()), Ok(record));
}

proptest! {
    /// Whatever the store does, and whoever asks twice: every code, of the app or for recovery, opens once at most.
    #[test]
    fn a_code_opens_once_at_most(
        steps in proptest::collection::vec((0_u8..6, 0_usize..3, 0_u8..4), 1..30),
    ) {
        let mut bench = Bench::guarded();
        let mut opened = std::collections::BTreeSet::new();
        for (what, which, fault) in steps {
            let code = [bench.code(0), "ABCD".to_owned(), "EFGH".to_owned()][which].clone();
            let key = if which == 0 { (bench.now.0 / 30_000_000_000, code.clone()) } else { (0, code.clone()) };
            match what {
                0 => bench.next_step(),
                1 => bench = bench.restart(),
                _ => {
                    bench.dds.next_fault = match fault {
                        1 => Some(Fault::AppliedUnknown),
                        2 => Some(Fault::LostUnknown),
                        3 => Some(Fault::Unavailable),
                        _ => None,
                    };
                    let user = bench.user(ANN);
                    let check = CheckCode { user, peer: HOME.parse().expect("an address"), code: code.into() };
                    let tokens = [
                        bench.ask(DirectoryTask::CheckCode(check.clone())),
                        bench.ask(DirectoryTask::CheckCode(check)),
                    ];
                    bench.dds.next_fault = None;
                    bench.pass(Duration::from_secs(1));
                    for token in tokens {
                        if let Completion::Directory(DirectoryDone::Authenticated(_)) = bench.completion(token) {
                            prop_assert!(opened.insert(key.clone()), "{key:?} opened twice");
                        }
                    }
                }
            }
        }
    }
}
