//! Orders of operators, and what is stored of them.

use super::*;

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
    let batch = dds::Batch {
        route: format::route(),
        writer: None,
        preconditions: Vec::new(),
        makes_way: false,
        ops,
    };
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
    let facts = bench.directory.tables.facts(UserId(999));
    assert!(!facts.enabled && !facts.is_removed(), "the damaged record may be its own");
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
        second_factor: None,
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
