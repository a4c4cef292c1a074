use super::*;
use proptest::prelude::*;

fn columns() -> SearchColumns {
    SearchColumns {
        from: Bytes::from_static("zoë <zoe@example.org>".as_bytes()),
        to: Bytes::from_static(b"ann@example.net, list <team@lists.example.net>"),
        cc: Bytes::from_static(b"bob@example.net"),
        subject: Bytes::from_static(b"[builds] nightly failed"),
        ..SearchColumns::default()
    }
}

const HEADER: &[u8] =
    b"From: x\r\nList-Id: The Team\r\n <team.lists.example.net>\r\nX-Spam-Flag: YES\r\n\r\n";

fn holds(subject: Subject) -> bool {
    let facts = Facts { columns: &columns(), bytes: 1_000, header: Some(HEADER) };
    subject.holds(&facts)
}

fn text(text: &str) -> Test {
    Test::Contains(text.into())
}

fn is(text: &str) -> Test {
    Test::Is(text.into())
}

fn header(name: &str, text: &str) -> Subject {
    Subject::Header { name: name.into(), text: text.into() }
}

fn rule(conditions: Vec<Subject>, action: Action) -> Rule {
    let conditions = conditions.into_iter().map(|subject| Condition { subject, not: false });
    Rule {
        name: "a rule".into(),
        enabled: true,
        joined: Joined::All,
        conditions: conditions.collect(),
        action,
        then: Then::GoOn,
    }
}

fn into(name: &str) -> Action {
    let place = Some(Place::Folder(FolderName::new(name).expect("a name")));
    Action { place, ..Action::default() }
}

fn known(id: u32, name: &str) -> Place {
    Place::Known { id: FolderId(id), name: FolderName::new(name).expect("a name") }
}

fn file(rules: Vec<Rule>) -> Filing {
    Rules(rules).file(&Facts { columns: &columns(), bytes: 1_000, header: Some(HEADER) })
}

#[test]
fn texts_are_found_in_any_case_and_script() {
    assert!(holds(Subject::From(text("ZOE@"))));
    assert!(holds(Subject::From(text("Zoë"))));
    assert!(!holds(Subject::From(text("zoe <"))));
    assert!(holds(Subject::To(text("team@"))));
    assert!(holds(Subject::To(text("BOB@example.net"))), "Cc counts");
    assert!(holds(Subject::Subject(text("NIGHTLY"))));
    assert!(!holds(Subject::Subject(text("nightly ok"))));
}

#[test]
fn an_address_is_the_whole_address() {
    assert!(holds(Subject::From(is("zoe@example.org"))));
    assert!(!holds(Subject::From(is("oe@example.org"))));
    assert!(!holds(Subject::From(is("zoe@example.or"))));
    assert!(!holds(Subject::From(is(""))));
    assert!(holds(Subject::To(is("Ann@Example.Net"))));
    assert!(holds(Subject::Subject(is("[builds] Nightly failed"))));
    assert!(!holds(Subject::Subject(is("nightly failed"))));
}

#[test]
fn any_header_and_the_size_are_looked_at() {
    assert!(holds(header("list-id", "team.lists")));
    assert!(holds(header("X-Spam-Flag", "yes")));
    assert!(holds(header("X-Spam-Flag", "")), "there is one");
    assert!(!holds(header("X-Other", "")));
    assert!(holds(Subject::Larger(999)) && !holds(Subject::Larger(1_000)));
    assert!(holds(Subject::Smaller(1_001)) && !holds(Subject::Smaller(1_000)));
}

#[test]
fn conditions_join_and_may_be_turned_round() {
    let both = vec![Subject::From(text("zoe")), Subject::Subject(text("invoice"))];
    let mut one = rule(both, into("Zoe"));
    assert_eq!(file(vec![one.clone()]).place, None);
    one.joined = Joined::Any;
    assert_eq!(file(vec![one.clone()]).place, into("Zoe").place);
    one.joined = Joined::All;
    one.conditions[1].not = true;
    assert_eq!(file(vec![one.clone()]).place, into("Zoe").place);
    one.enabled = false;
    assert_eq!(file(vec![one]), Filing::default());
    for joined in [Joined::All, Joined::Any] {
        let all = Rule { joined, ..rule(vec![], into("All")) };
        assert_eq!(file(vec![all]).place, into("All").place, "{joined:?}");
    }
}

#[test]
fn what_rules_say_adds_up_until_one_stops() {
    let urgent = Keyword::new(b"urgent").expect("an atom");
    let tag = Action { flagged: true, keywords: vec![urgent.clone()], ..Action::default() };
    let seen = Action { seen: true, keywords: vec![urgent.clone()], ..into("Second") };
    let (first, second) = (rule(vec![], tag), rule(vec![], seen));
    let third = rule(vec![], Action { place: Some(Place::Trash), ..Action::default() });
    let filing = file(vec![first.clone(), second.clone(), third]);
    assert_eq!(filing.place, into("Second").place);
    assert!(filing.flags.has(SystemFlag::Flagged) && filing.flags.has(SystemFlag::Seen));
    assert_eq!(filing.keywords, [urgent]);
    let stopping = Rule { then: Then::Stop, ..first };
    let filing = file(vec![stopping, second]);
    assert!(filing.place.is_none() && !filing.flags.has(SystemFlag::Seen));
}

#[test]
fn the_bytes_of_rules() {
    let action = Action { seen: true, keywords: vec![], ..into("A") };
    let one = Rule { then: Then::Stop, ..rule(vec![Subject::From(is("b"))], action) };
    let golden = b"\x01\x01\x06a rule\x01\x00\x01\x01\x00\x01\x01\x01b\x01\x01\x01A\x01\x00\x00";
    assert_eq!(Rules::decode(Bytes::from_static(golden)), Ok(Rules(vec![one.clone()])));
    let mut two = one;
    two.action.place = Some(known(300, "A"));
    let new =
        b"\x02\x01\x06a rule\x01\x00\x01\x01\x00\x01\x01\x01b\x01\x04\xac\x02\x01A\x01\x00\x00";
    assert_eq!(Rules(vec![two.clone()]).encode(), Ok(Bytes::from_static(new)));
    assert_eq!(Rules::decode(Bytes::from_static(new)), Ok(Rules(vec![two])));
    for bytes in [&golden[..], new] {
        for len in 0..bytes.len() {
            assert!(Rules::decode(Bytes::copy_from_slice(&bytes[..len])).is_err(), "{len}");
        }
    }
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let many = vec![rule(vec![], into("A")); RULES_MAX + 1];
    assert_eq!(Rules(many).encode(), Err(RulesError::TooMany));
    let long = rule(vec![Subject::Subject(text(&"x".repeat(TEXT_BYTES_MAX + 1)))], into("A"));
    assert!(matches!(Rules(vec![long]).encode(), Err(RulesError::BadText(_))));
    let nameless = rule(vec![header("", "x")], into("A"));
    assert!(matches!(Rules(vec![nameless]).encode(), Err(RulesError::BadText(_))));
    let wide = rule(vec![Subject::Larger(1); CONDITIONS_MAX + 1], into("A"));
    assert!(matches!(Rules(vec![wide]).encode(), Err(RulesError::TooLong(_))));
}

fn any_subject() -> impl Strategy<Value = Subject> {
    let test = || {
        (".{0,20}", any::<bool>())
            .prop_map(|(text, is)| if is { Test::Is(text) } else { Test::Contains(text) })
    };
    prop_oneof![
        test().prop_map(Subject::From),
        test().prop_map(Subject::To),
        test().prop_map(Subject::Subject),
        ("[A-Za-z-]{1,20}", ".{0,20}").prop_map(|(name, text)| Subject::Header { name, text }),
        any::<u64>().prop_map(Subject::Larger),
        any::<u64>().prop_map(Subject::Smaller),
    ]
}

proptest! {
    #[test]
    fn rules_round_trip(
        subjects in prop::collection::vec((any_subject(), any::<bool>()), 0..5),
        id: u32,
    ) {
        let conditions = subjects.into_iter().map(|(subject, not)| Condition { subject, not });
        let action = Action { place: Some(Place::Junk), ..Action::default() };
        let one = Rule { conditions: conditions.collect(), ..rule(vec![], action) };
        let mut two = one.clone();
        two.action.place = Some(known(id, "Lists/stages"));
        let rules = Rules(vec![one, two]);
        let value = rules.encode().expect("within the limits");
        prop_assert_eq!(Rules::decode(value), Ok(rules));
    }

    #[test]
    fn any_bytes_are_rules_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _read = Rules::decode(Bytes::from(bytes));
    }
}
