//! Transcripts, and random lives in which every question is decided once and in time.

use super::*;
use fsm::{Budget, Host, Stepped, TimerOp, Wall};
use mailstore::face::{AskedMailbox, Place, Protocol, Ruling};
use proptest::prelude::*;

struct Bench {
    deciders: Deciders,
    host: Host,
    now: Mono,
    timer: Option<Mono>,
}

fn decider(name: &str, scope: Scope, seconds: u64) -> Decider {
    Decider { name: name.to_owned(), scope, deadline: Duration::from_secs(seconds) }
}

impl Bench {
    /// `first` sees everybody and has 5 s, `second` sees `two.example` and has 2 s.
    fn new() -> Self {
        let only = Scope::Only { domains: vec!["two.example".to_owned()], accounts: Vec::new() };
        let all = vec![decider("first", Scope::Everybody, 5), decider("second", only, 2)];
        Self { deciders: Deciders::new(all), host: Host::new(1, 1), now: Mono(0), timer: None }
    }

    fn step(&mut self, input: DecidersInput) -> Vec<DecidersEffect> {
        let mut stepped = Stepped::default();
        let now = (self.now, Wall(0));
        self.host.step(&mut self.deciders, &mut stepped, now, Budget::new(1000), input);
        for op in stepped.timers {
            self.timer = match op {
                TimerOp::Arm { key: _, at } => Some(at),
                TimerOp::Cancel { key: _ } => None,
            };
        }
        stepped.effects
    }

    fn ask(&mut self, token: u64) -> Vec<DecidersEffect> {
        let token = Token(token);
        self.step(DecidersInput::Asked { from: SessionId(1), token, question: question() })
    }

    /// Time passes until the timer is due.
    fn wait(&mut self) -> Vec<DecidersEffect> {
        self.now = self.timer.take().expect("a timer");
        self.step(DecidersInput::TimerFired(TIMER))
    }
}

/// For user 1 of `one.example` and user 2 of `two.example`.
fn question() -> Arc<Question> {
    let mailbox = |user: u64, domain: &str| {
        let address: Arc<str> = format!("u@{domain}").into();
        AskedMailbox { user: UserId(user), recipient: Arc::clone(&address), address }
    };
    Arc::new(Question {
        protocol: Protocol::Smtp,
        ip: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        helo: "client".to_owned(),
        submitter: None,
        reverse_path: "a@b.example".into(),
        mailboxes: vec![mailbox(1, "one.example"), mailbox(2, "two.example")],
        bytes: 3,
        head: bytes::Bytes::from_static(b"\r\nx"),
    })
}

fn says(user: u64, ruling: Ruling, place: Option<Place>) -> Decision {
    Decision { user: UserId(user), ruling, filing: Filing { place, ..Filing::default() } }
}

fn decided(token: u64, decisions: Vec<Decision>) -> DecidersEffect {
    DecidersEffect::Decide { to: SessionId(1), token: Token(token), decisions }
}

/// It was not asked.
fn missed(decider: usize, why: Missed) -> DecidersEffect {
    DecidersEffect::Missed { decider, id: None, why }
}

/// It was asked the first question.
fn lost(decider: usize, why: Missed) -> DecidersEffect {
    DecidersEffect::Missed { decider, id: Some(QuestionId(1)), why }
}

fn answered(decider: usize, id: u64, decisions: Vec<Decision>) -> DecidersInput {
    DecidersInput::Answered { decider, id: QuestionId(id), decisions }
}

#[test]
fn nobody_is_there_and_nothing_waits() {
    let mut bench = Bench::new();
    let effects = bench.ask(7);
    assert_eq!(effects, [missed(0, Missed::Away), missed(1, Missed::Away), decided(7, Vec::new())]);
    assert_eq!((bench.timer, bench.deciders.open()), (None, 0));
}

#[test]
fn what_several_say_adds_up_within_their_scopes() {
    let mut bench = Bench::new();
    for decider in [1, 0] {
        bench.step(DecidersInput::Joined { decider });
    }
    let asked = bench.ask(7);
    let [DecidersEffect::Ask { mailboxes: all, .. }, DecidersEffect::Ask { mailboxes: some, .. }] =
        &asked[..]
    else {
        panic!("{asked:?}")
    };
    assert_eq!((&all[..], &some[..]), (&[0, 1][..], &[1][..]));
    // The second is quicker, and speaks of a mailbox that is not its own.
    let junk = || vec![says(1, Ruling::Refuse, None), says(2, Ruling::Defer, Some(Place::Junk))];
    assert_eq!(bench.step(answered(1, 1, junk())), []);
    assert_eq!(bench.step(answered(1, 1, junk())), [], "it has answered");
    let effects = bench.step(answered(0, 1, vec![says(2, Ruling::Take, Some(Place::Trash))]));
    assert_eq!(effects, [decided(7, vec![says(2, Ruling::Defer, Some(Place::Trash))])]);
    assert_eq!(bench.timer, None);
}

#[test]
fn who_is_late_or_leaves_is_not_waited_for() {
    let mut bench = Bench::new();
    for decider in [0, 1] {
        bench.step(DecidersInput::Joined { decider });
    }
    bench.ask(7);
    assert_eq!(bench.wait(), [lost(1, Missed::Late)]);
    assert_eq!(bench.now, Mono(0).plus(Duration::from_secs(2)));
    assert_eq!(bench.step(answered(1, 1, vec![says(2, Ruling::Refuse, None)])), [], "too late");
    let effects = bench.step(DecidersInput::Left { decider: 0 });
    assert_eq!(effects, [lost(0, Missed::Away), decided(7, Vec::new())]);
}

#[test]
fn what_a_lost_connection_had_is_decided_without_it_and_the_next_question_goes_on() {
    let mut bench = Bench::new();
    bench.step(DecidersInput::Joined { decider: 0 });
    for token in [7, 8] {
        bench.ask(token);
    }
    let dropped = |id| DecidersInput::Dropped { decider: 0, id: QuestionId(id) };
    let lost =
        |id| DecidersEffect::Missed { decider: 0, id: Some(QuestionId(id)), why: Missed::Away };
    assert_eq!(bench.step(dropped(1)), [lost(1), decided(7, Vec::new())]);
    assert_eq!(bench.step(dropped(1)), [], "once");
    let effects = bench.step(answered(0, 2, vec![says(2, Ruling::Refuse, None)]));
    assert_eq!(effects, [decided(8, vec![says(2, Ruling::Refuse, None)])]);
    assert!(matches!(bench.ask(9)[..], [DecidersEffect::Ask { decider: 0, .. }, ..]));
}

#[test]
fn one_that_has_too_many_questions_is_passed_over() {
    let mut bench = Bench::new();
    bench.step(DecidersInput::Joined { decider: 0 });
    for token in 0..UNANSWERED_MAX as u64 {
        bench.ask(token);
    }
    let effects = bench.ask(1000);
    let away = missed(1, Missed::Away);
    assert_eq!(effects, [missed(0, Missed::Busy), away, decided(1000, Vec::new())]);
}

proptest! {
    #[test]
    fn every_question_is_decided_once_and_in_time(acts in prop::collection::vec((0_u8..5, 0_usize..2, 1_u64..20), 1..200)) {
        let mut bench = Bench::new();
        let (mut asked, mut heard) = (0_u64, BTreeSet::new());
        let mut begun: BTreeMap<u64, Mono> = BTreeMap::new();
        let mut connected = BTreeSet::new();
        for (act, decider, number) in acts {
            let effects = match act {
                0 => {
                    asked += 1;
                    begun.insert(asked, bench.now);
                    bench.ask(asked)
                }
                1 if connected.insert(decider) => bench.step(DecidersInput::Joined { decider }),
                2 if connected.remove(&decider) => bench.step(DecidersInput::Left { decider }),
                3 => bench.step(answered(decider, number, vec![says(2, Ruling::Refuse, None)])),
                4 if bench.timer.is_some() => bench.wait(),
                5 => bench.step(DecidersInput::Dropped { decider, id: QuestionId(number) }),
                _ => Vec::new(),
            };
            for effect in effects {
                match effect {
                    DecidersEffect::Decide { token, .. } => {
                        prop_assert!(heard.insert(token.0), "decided twice");
                        prop_assert!(bench.now.since(begun[&token.0]) <= Duration::from_secs(5));
                    }
                    DecidersEffect::Ask { decider, .. } => prop_assert!(connected.contains(&decider)),
                    DecidersEffect::Missed { .. } => {}
                }
            }
        }
        while bench.timer.is_some() {
            for effect in bench.wait() {
                if let DecidersEffect::Decide { token, .. } = effect {
                    prop_assert!(heard.insert(token.0), "decided twice");
                }
            }
        }
        prop_assert_eq!(heard.len() as u64, asked);
        prop_assert_eq!(bench.deciders.open(), 0);
    }
}
