//! Transcripts of the queue, and a random model with crashes: every accepted recipient gets the
//! message.

mod model;

use super::*;
use crate::face::*;
use crate::test_dds::{Fault, TestDds};
use bytes::Bytes;
use dds::BlobId;
use fsm::{Budget, Duration, Host, Mono, Stepped, TimerOp, Wall};
use proptest::prelude::*;
use std::collections::BTreeSet;

const ASKER: SessionId = SessionId(1);

/// A queue with its store and its clock; masters are played by the test.
struct Bench {
    queue: Delivery,
    host: Host,
    dds: TestDds,
    now: Mono,
    timers: BTreeMap<TimerKey, Mono>,
    /// Effects not carried out yet.
    effects: VecDeque<Effect>,
    lives: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let mut bench = Self {
            queue: Delivery::new(Arc::new(limits), 0),
            host: Host::new(1, 1),
            dds: TestDds::default(),
            now: Mono(1_000_000_000_000),
            timers: BTreeMap::new(),
            effects: VecDeque::new(),
            lives: 1,
        };
        bench.step(Input::Resumed);
        bench
    }

    fn crash(&mut self) {
        self.lives += 1;
        self.queue = Delivery::new(Arc::clone(&self.queue.limits), 0);
        self.host = Host::new(self.lives, 1);
        self.dds = self.dds.restarted();
        self.timers.clear();
        self.effects.clear();
        self.step(Input::Resumed);
    }

    fn wall(&self) -> Wall {
        Wall(i64::try_from(self.now.0 / 1_000_000).unwrap())
    }

    fn step(&mut self, input: Input) {
        let mut stepped = Stepped::default();
        let now = (self.now, self.wall());
        self.host.step(&mut self.queue, &mut stepped, now, Budget::new(2000), input);
        for op in stepped.timers {
            match op {
                TimerOp::Arm { key, at } => self.timers.insert(key, at),
                TimerOp::Cancel { key } => self.timers.remove(&key),
            };
        }
        self.effects.extend(stepped.effects);
    }

    /// Carries out work for the store until only other effects are left, and takes those.
    fn settle(&mut self) -> Vec<Effect> {
        let mut seen = Vec::new();
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Dds { token, request } => {
                    let response = self.dds.answer(request);
                    self.step(Input::DdsDone { token, response });
                }
                other => seen.push(other),
            }
        }
        seen
    }

    fn ask(&mut self, token: u64, acceptance: Acceptance) -> Vec<Effect> {
        let task = DeliveryTask::Accept(acceptance);
        self.step(Input::Asked { from: ASKER, token: Token(token), task });
        self.settle()
    }

    fn user_done(&mut self, token: Token, result: Result<UserDone, TaskRefusal>) -> Vec<Effect> {
        self.step(Input::UserDone { token, result });
        self.settle()
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now = self.now.plus(time);
        while let Some((&key, _)) = self.timers.iter().find(|(_, at)| **at <= self.now) {
            self.timers.remove(&key);
            self.step(Input::TimerFired(key));
        }
        self.settle()
    }

    fn stored(&mut self) -> usize {
        self.dds.entries(route(0)).len()
    }
}

fn acceptance(id: u128, recipients: u64) -> Acceptance {
    let columns = Columns {
        envelope: Bytes::from(format!("(envelope of {id})")),
        search: SearchColumns {
            sent: Some(InternalDate { unix_seconds: -5, zone_minutes: -90 }),
            ..SearchColumns::default()
        },
        header_bytes: 7,
        ..Columns::default()
    };
    Acceptance {
        delivery: DeliveryId(id),
        body: Body::Inline(Bytes::from(format!("body of {id}"))),
        columns: Arc::new(columns),
        recipients: (0..recipients)
            .map(|n| AcceptedRecipient {
                user: UserId(n),
                recipient: format!("user{n}@x.example").into(),
                prefix: Bytes::from(format!("Delivered-To: user{n}@x.example\r\n")),
                filing: Filing::default(),
            })
            .collect(),
    }
}

fn answered(token: u64) -> Effect {
    let completion = Completion::Delivery(DeliveryDone::Accepted);
    Effect::Answer { to: ASKER, token: Token(token), completion }
}

fn refused(token: u64, reason: TaskRefusal) -> Effect {
    Effect::Answer { to: ASKER, token: Token(token), completion: Completion::Refused(reason) }
}

fn delivered() -> Result<UserDone, TaskRefusal> {
    Ok(UserDone::Delivered { folder: FolderName::inbox(), uid: Uid(1) })
}

/// The deliveries among effects, with their tokens.
fn deliveries(effects: &[Effect]) -> Vec<(Token, UserId, Deliver)> {
    let deliveries = effects.iter().filter_map(|effect| match effect {
        Effect::AskUser { token, user, task: UserTask::Deliver(deliver) } => {
            Some((*token, *user, deliver.clone()))
        }
        _ => None,
    });
    deliveries.collect()
}

#[test]
fn an_acceptance_is_answered_once_durable_and_then_fans_out() {
    let mut bench = Bench::new();
    bench.settle();
    let task = DeliveryTask::Accept(acceptance(5, 2));
    bench.step(Input::Asked { from: ASKER, token: Token(9), task });
    assert!(matches!(
        bench.effects.make_contiguous(),
        [Effect::Dds { request: Request::Write(_), .. }]
    ));
    let effects = bench.settle();
    assert_eq!(effects[0], answered(9));
    let asked = deliveries(&effects[1..]);
    let expected = acceptance(5, 2);
    for (n, (_, user, deliver)) in asked.iter().enumerate() {
        assert_eq!(*user, UserId(n as u64));
        assert_eq!(*deliver, expected.deliver_to(&expected.recipients[n]));
        assert_eq!(deliver.promise, Promise::Given);
    }
    assert_eq!(asked.len(), 2);
    assert_eq!(bench.stored(), 2);
    assert_eq!(bench.user_done(asked[1].0, delivered()), []);
    assert_eq!(bench.stored(), 2);
    assert_eq!(bench.user_done(asked[0].0, delivered()), []);
    assert_eq!((bench.stored(), bench.queue.depth()), (0, 0));
}

#[test]
fn after_a_crash_everybody_is_asked_again_with_the_same_task() {
    let mut bench = Bench::new();
    bench.settle();
    let before = deliveries(&bench.ask(1, acceptance(5, 3)));
    bench.user_done(before[0].0, delivered());
    bench.crash();
    let after = deliveries(&bench.settle());
    let tasks = |asked: &[(Token, UserId, Deliver)]| {
        asked.iter().map(|(_, user, deliver)| (*user, deliver.clone())).collect::<Vec<_>>()
    };
    let (mut before, mut after_tasks) = (tasks(&before), tasks(&after));
    before.sort_by_key(|(user, _)| *user);
    after_tasks.sort_by_key(|(user, _)| *user);
    assert_eq!(before, after_tasks);
    for (token, _, _) in after {
        bench.user_done(token, delivered());
    }
    assert_eq!(bench.stored(), 0);
}

#[test]
fn a_master_that_is_away_is_asked_again_and_holds_nobody_up() {
    let mut bench = Bench::new();
    bench.settle();
    let asked = deliveries(&bench.ask(1, acceptance(5, 2)));
    bench.user_done(asked[0].0, delivered());
    let mut token = asked[1].0;
    for _ in 0..20 {
        assert_eq!(deliveries(&bench.user_done(token, Err(TaskRefusal::Unavailable))), []);
        let again = deliveries(&bench.pass(Duration::from_secs(60)));
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].2, asked[1].2);
        token = again[0].0;
    }
    assert_eq!(bench.stored(), 3, "head, body, and who has it");
    assert_eq!(bench.queue.bytes_held, bench.queue.pending[&DeliveryId(5)].bytes);
    bench.crash();
    let again = deliveries(&bench.settle());
    assert_eq!(again.len(), 1, "who has it is remembered");
    bench.user_done(again[0].0, delivered());
    assert_eq!((bench.stored(), bench.queue.bytes_held), (0, 0));
}

#[test]
fn delays_are_logged_now_and_then() {
    let mut bench = Bench::new();
    bench.settle();
    let mut token = deliveries(&bench.ask(1, acceptance(5, 1)))[0].0;
    let mut lines = Vec::new();
    for _ in 0..40 {
        let over_quota = Ok(UserDone::Failed(UserError::OverQuota));
        let effects = bench.user_done(token, over_quota);
        lines.extend(effects.into_iter().filter(|effect| matches!(effect, Effect::Log(_))));
        token = deliveries(&bench.pass(Duration::from_secs(60)))[0].0;
    }
    let attempts: Vec<u32> = lines
        .iter()
        .map(|line| match line {
            Effect::Log(LogEvent::DeliveryDelayed { attempts, reason, .. }) => {
                assert_eq!(reason, "over quota");
                *attempts
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(attempts, [8, 16, 32]);
}

#[test]
fn a_removed_account_ends_its_delivery() {
    let mut bench = Bench::new();
    bench.settle();
    let asked = deliveries(&bench.ask(1, acceptance(5, 1)));
    let gone = Ok(UserDone::Failed(UserError::Disabled));
    assert!(matches!(bench.user_done(asked[0].0, gone)[..], [Effect::Log(_)]));
    assert_eq!(bench.stored(), 0);
}

#[test]
fn a_refused_write_is_a_temporary_answer_and_leaves_nothing() {
    for (fault, reason) in
        [(Fault::NoSpace, TaskRefusal::NoSpace), (Fault::Unavailable, TaskRefusal::Unavailable)]
    {
        let mut bench = Bench::new();
        bench.settle();
        bench.dds.next_fault = Some(fault);
        assert_eq!(bench.ask(1, acceptance(5, 2)), [refused(1, reason)]);
        assert_eq!((bench.stored(), bench.queue.depth(), bench.queue.bytes_held), (0, 0, 0));
        assert_eq!(bench.ask(2, acceptance(6, 2))[0], answered(2));
    }
}

#[test]
fn an_unknown_outcome_is_asked_again_until_it_is_known() {
    for fault in [Fault::AppliedUnknown, Fault::LostUnknown] {
        let mut bench = Bench::new();
        bench.settle();
        bench.dds.next_fault = Some(fault);
        assert_eq!(bench.ask(1, acceptance(5, 2)), []);
        let effects = bench.pass(Duration::from_secs(1));
        assert_eq!(effects[0], answered(1));
        assert_eq!(deliveries(&effects).len(), 2);
    }
}

#[test]
fn many_recipients_span_several_values_and_commits() {
    let limits = Limits { piece_bytes_max: 100, commit_bytes_max: 300, ..Limits::default() };
    let mut bench = Bench::with(limits.clone());
    bench.settle();
    let effects = bench.ask(1, acceptance(5, 40));
    assert_eq!(effects[0], answered(1));
    assert!(bench.stored() > 20);
    bench.crash();
    let again = deliveries(&bench.settle());
    let expected = acceptance(5, 40);
    assert_eq!(again.len(), 40);
    for (_, user, deliver) in &again {
        let recipient = &expected.recipients[usize::try_from(user.0).unwrap()];
        assert_eq!(*deliver, expected.deliver_to(recipient));
    }
    for (token, _, _) in again {
        bench.user_done(token, delivered());
    }
    assert_eq!(bench.stored(), 0);
}

#[test]
fn pieces_without_a_head_are_removed_at_the_next_start() {
    let limits = Limits { piece_bytes_max: 100, commit_bytes_max: 300, ..Limits::default() };
    let mut bench = Bench::with(limits);
    bench.settle();
    let task = DeliveryTask::Accept(acceptance(5, 40));
    bench.step(Input::Asked { from: ASKER, token: Token(1), task });
    for _ in 0..3 {
        if let Some(Effect::Dds { token, request }) = bench.effects.pop_front() {
            let response = bench.dds.answer(request);
            bench.step(Input::DdsDone { token, response });
        }
    }
    assert!(bench.stored() > 3);
    bench.crash();
    assert_eq!(deliveries(&bench.settle()), []);
    assert_eq!(bench.stored(), 0);
}

#[test]
fn a_blob_is_renewed_before_the_record_refers_to_it() {
    let mut bench = Bench::new();
    bench.settle();
    let mut with_blob = acceptance(5, 2);
    with_blob.body = Body::Blob { blob: BlobId(77), len: 1, holders: Holders::Several };
    assert_eq!(
        bench.ask(1, with_blob.clone()),
        [refused(1, TaskRefusal::Unavailable)],
        "the blob is gone"
    );
    bench.dds.put_blob(BlobId(77), bench.wall());
    let task = DeliveryTask::Accept(with_blob);
    bench.step(Input::Asked { from: ASKER, token: Token(2), task });
    let expires = bench.wall().plus(BLOB_LIFE);
    assert!(matches!(
        bench.effects.make_contiguous(),
        [Effect::Dds { request: Request::RenewBlob { blob: BlobId(77), expires: at }, .. }]
            if *at == expires
    ));
    let effects = bench.settle();
    assert_eq!(effects[0], answered(2));
    let (from, to) = EntryKind::Blob.range();
    let entries = bench.dds.entries(route(0));
    let reference = entries.iter().find(|(key, _)| *key >= from.0 && *key < to.0).unwrap();
    assert_eq!(read_blob(reference.1.clone()), Ok(BlobId(77)));
    for (token, _, _) in deliveries(&effects) {
        bench.user_done(token, delivered());
    }
    assert_eq!(bench.stored(), 0);
}

#[test]
fn limits_are_refusals() {
    let mut bench = Bench::with(Limits { acceptances_max: 1, ..Limits::default() });
    bench.settle();
    bench.ask(1, acceptance(5, 1));
    assert_eq!(bench.ask(2, acceptance(6, 1)), [refused(2, TaskRefusal::Overloaded)]);
    let mut bench = Bench::with(Limits { bytes_held_max: 10, ..Limits::default() });
    bench.settle();
    assert_eq!(bench.ask(1, acceptance(5, 1)), [refused(1, TaskRefusal::Overloaded)]);
    let mut bench = Bench::with(Limits { acceptances_waiting_max: 1, ..Limits::default() });
    let accept = |bench: &mut Bench, n| {
        let task = DeliveryTask::Accept(acceptance(n, 1));
        bench.step(Input::Asked { from: ASKER, token: Token(n as u64), task });
    };
    accept(&mut bench, 1);
    accept(&mut bench, 2);
    let effects = bench.settle();
    assert_eq!(effects[0], refused(2, TaskRefusal::Overloaded));
    assert_eq!(effects[1], answered(1));
    let mut bench = Bench::with(Limits { deliveries_max: 3, ..Limits::default() });
    bench.settle();
    let asked = deliveries(&bench.ask(1, acceptance(5, 9)));
    assert_eq!(asked.len(), 3);
    assert_eq!(deliveries(&bench.user_done(asked[0].0, delivered())).len(), 1);
}

#[test]
fn removals_that_were_refused_come_again_alone() {
    let mut bench = Bench::new();
    bench.settle();
    let asked = deliveries(&bench.ask(1, acceptance(5, 1)));
    bench.dds.next_fault = Some(Fault::Unavailable);
    bench.user_done(asked[0].0, delivered());
    assert_eq!(bench.stored(), 2);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.stored(), 0);
}

#[test]
fn who_lost_the_route_loads_again_and_then_answers() {
    for (fault, expected) in [
        (None, refused(1, TaskRefusal::Unavailable)),
        (Some(Fault::LostUnknown), refused(1, TaskRefusal::Unavailable)),
        (Some(Fault::AppliedUnknown), answered(1)),
    ] {
        let mut bench = Bench::new();
        bench.settle();
        if fault.is_none() {
            bench.dds.answer(Request::Claim { route: route(0) });
        }
        bench.dds.next_fault = fault;
        let mut effects = bench.ask(1, acceptance(5, 2));
        bench.dds.answer(Request::Claim { route: route(0) });
        effects.extend(bench.pass(Duration::from_secs(1)));
        assert!(matches!(effects[0], Effect::Log(LogEvent::Trouble { .. })), "{effects:?}");
        assert_eq!(effects[1], expected);
        let to = if expected == answered(1) { 2 } else { 0 };
        assert_eq!(deliveries(&effects).len(), to);
        assert_eq!(bench.stored(), to);
    }
}

#[test]
fn the_bytes_of_the_formats() {
    let head = Head {
        accepted: Wall(1000),
        body: format::BodyRef::Blob { blob: BlobId(2), len: 300 },
        recipients: 3,
        pieces: 0,
        first_piece: Bytes::from_static(b"xy"),
    };
    let golden =
        [&[1, 0xD0, 0x0F, 1][..], &2_u128.to_be_bytes(), &[0xAC, 0x02, 3, 0, 2, b'x', b'y']]
            .concat();
    assert_eq!(head.value(), golden);
    assert_eq!(Head::read(golden.into()), Ok(head));
    assert_eq!(format::done_value(&[0, 200])[..], [1, 2, 0, 0xC8, 1]);
    assert_eq!(format::read_done(format::done_value(&[0, 200])), Ok(vec![0, 200]));
    assert_eq!(format::blob_value(BlobId(1))[..], [&[1][..], &1_u128.to_be_bytes()].concat());
    assert_eq!(
        &format::key(Kind::Head, DeliveryId(1)).0[..],
        [&b"h"[..], &1_u128.to_be_bytes()].concat()
    );
    let golden: Vec<u8> = [
        &[1, 15][..],
        b"(envelope of 5)",
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 9, 0xB3, 0x01],
        &[7, 0, 0],
        &[1, 0, 15],
        b"user0@x.example",
        &[31],
        b"Delivered-To: user0@x.example\r\n",
    ]
    .concat();
    assert_eq!(format::payload(&acceptance(5, 1)), golden);
    let mut decided = acceptance(5, 1);
    decided.recipients[0].filing = Filing {
        place: Some(Place::Junk),
        flags: SystemFlags(4),
        keywords: Keyword::new(b"seen-it").into_iter().collect(),
    };
    let golden = [&[2][..], &golden[1..], &[1, 2], &[4], &[1, 7], b"seen-it"].concat();
    assert_eq!(format::payload(&decided), golden);
    let head = Head {
        accepted: Wall(1),
        body: format::BodyRef::Inline,
        recipients: 1,
        pieces: 0,
        first_piece: golden.into(),
    };
    let body = Bytes::from_static(b"body of 5");
    let stored = format::Stored { id: DeliveryId(5), head, body, pieces: Vec::new() };
    assert_eq!(stored.read(), Ok(decided));
}
