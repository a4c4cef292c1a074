//! Passwords, attempts, credentials.

use super::*;

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
