//! The collector over a real partition: what is referred to stays, what had expired goes, and
//! errors void a sweep.

use super::*;
use crate::face::Holders;
use crate::mailbox::format::encode_blob_reference;
use crate::test_dds::TestDds;
use bytes::Bytes;
use dds::{Batch, Op, RouteKey};
use fsm::{Budget, Duration, Host, Stepped, TimerOp};

struct Bench {
    sweep: Sweep,
    host: Host,
    dds: TestDds,
    now: Mono,
    timers: BTreeMap<TimerKey, Mono>,
    users: Vec<UserId>,
    missing: u64,
    /// The answer to the next request of this kind is a refusal.
    refuse: Option<fn(&Request) -> bool>,
    log: Vec<LogEvent>,
    woken: Vec<UserId>,
    requests: Vec<Request>,
}

fn hour(hours: i64) -> Wall {
    Wall(hours * 3_600_000)
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let mut bench = Self {
            sweep: Sweep::new(Arc::new(limits), vec![0], 1),
            host: Host::new(1, 1),
            dds: TestDds::default(),
            now: Mono(100 * 3_600 * 1_000_000_000),
            timers: BTreeMap::new(),
            users: (1..=5).map(UserId).collect(),
            missing: 0,
            refuse: None,
            log: Vec::new(),
            woken: Vec::new(),
            requests: Vec::new(),
        };
        bench.step(Input::Resumed);
        bench
    }

    fn wall(&self) -> Wall {
        Wall(i64::try_from(self.now.0 / 1_000_000).unwrap())
    }

    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut stepped = Stepped::default();
            let now = (self.now, self.wall());
            self.host.step(&mut self.sweep, &mut stepped, now, Budget::new(2000), input);
            for op in stepped.timers {
                match op {
                    TimerOp::Arm { key, at } => self.timers.insert(key, at),
                    TimerOp::Cancel { key } => self.timers.remove(&key),
                };
            }
            for effect in stepped.effects {
                match effect {
                    Effect::Dds { token, request } => {
                        self.requests.push(request.clone());
                        let response = match self.refuse.take_if(|refuse| refuse(&request)) {
                            Some(_) => Response::Refused(Refusal::Unavailable),
                            None => self.dds.answer(request),
                        };
                        inputs.push_back(Input::DdsDone { token, response });
                    }
                    Effect::ListUsers { token, after, users_max } => {
                        let all = self.users.iter().copied().filter(|user| after < Some(*user));
                        let users: Vec<UserId> = all.clone().take(users_max).collect();
                        let more = all.count() > users.len();
                        let missing = self.missing;
                        inputs.push_back(Input::Users(UsersPage { token, users, more, missing }));
                    }
                    Effect::Wake { user } => self.woken.push(user),
                    Effect::Log(event) => self.log.push(event),
                }
            }
        }
    }

    /// Lets time pass until the collector rests again.
    fn sweep(&mut self) -> LogEvent {
        self.log.clear();
        for _ in 0..1000 {
            let (&key, &at) = self.timers.iter().min_by_key(|(_, at)| **at).unwrap();
            self.now = self.now.max(at);
            self.timers.remove(&key);
            self.step(Input::TimerFired(key));
            if let Some(last) = self.log.last() {
                return last.clone();
            }
        }
        panic!("the sweep never ends");
    }

    fn refer(&mut self, referrer: Referrer, name: u8, blob: u128) {
        let mut key = referrer.references().0.0.to_vec();
        key.push(name);
        let value = match referrer {
            Referrer::Queue(_) => Bytes::from([&[1][..], &blob.to_be_bytes()].concat()),
            Referrer::User(_) => encode_blob_reference(BlobId(blob), Holders::Several),
        };
        let put = Op::Put { key: SortKey(key.into()), value };
        self.write(referrer.route(), put);
    }

    fn write(&mut self, route: RouteKey, op: Op) {
        let batch = Batch {
            route,
            writer: None,
            preconditions: Vec::new(),
            makes_way: false,
            ops: vec![op],
        };
        let response = self.dds.answer(Request::Write(batch));
        assert!(matches!(response, Response::Wrote(Outcome::Committed { .. })), "{response:?}");
    }

    fn blobs(&mut self, blobs: std::ops::RangeInclusive<u128>) -> Vec<u128> {
        blobs.filter(|&blob| self.dds.has_blob(BlobId(blob))).collect()
    }
}

fn peopled(limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    for blob in 1..=9 {
        bench.dds.put_blob(BlobId(blob), hour(50));
    }
    bench.dds.put_blob(BlobId(10), hour(1000));
    bench.refer(Referrer::Queue(0), 1, 1);
    bench.refer(Referrer::User(UserId(1)), 1, 2);
    for n in 1..=4 {
        bench.refer(Referrer::User(UserId(4)), n, 2 + u128::from(n));
    }
    bench
}

fn small() -> Limits {
    Limits {
        users_per_page: 2,
        references_per_page: 3,
        renewals_max: 2,
        visits_per_burst: 2,
        blobs_per_collection: 1,
        ..Limits::default()
    }
}

#[test]
fn what_is_referred_to_stays_and_what_had_expired_goes() {
    for limits in [Limits::default(), small()] {
        let mut bench = peopled(limits);
        let swept = bench.sweep();
        assert!(
            matches!(swept, LogEvent::Swept { blobs_renewed: 6, blobs_collected: 3, .. }),
            "{swept:?}"
        );
        assert_eq!(bench.blobs(1..=10), [1, 2, 3, 4, 5, 6, 10]);
        let references = Referrer::Queue(0).references().0.0.to_vec();
        let gone = Op::Delete { key: SortKey([references, vec![1]].concat().into()) };
        bench.write(Referrer::Queue(0).route(), gone);
        bench.now = bench.now.plus(Duration::from_secs(24 * 3600));
        bench.sweep();
        assert_eq!(bench.blobs(1..=10), [2, 3, 4, 5, 6, 10]);
    }
}

#[test]
fn nothing_is_collected_before_every_reference_was_renewed() {
    let mut bench = peopled(small());
    bench.sweep();
    let first = bench.requests.iter().position(|r| matches!(r, Request::CollectBlobs { .. }));
    let last_renewal = bench.requests.iter().rposition(|r| matches!(r, Request::RenewBlob { .. }));
    assert!(first > last_renewal);
    let expected = Wall(bench.wall().0 - 600_000);
    for request in &bench.requests {
        if let Request::CollectBlobs { expired_before, .. } = request {
            assert!(*expired_before < expected, "the grace counts from the start of the sweep");
        }
    }
}

#[test]
fn an_error_voids_the_sweep_and_the_next_one_starts_over() {
    let scan: fn(&Request) -> bool = |request| matches!(request, Request::Scan { .. });
    let renew: fn(&Request) -> bool = |request| matches!(request, Request::RenewBlob { .. });
    for refuse in [scan, renew] {
        let mut bench = peopled(small());
        bench.refuse = Some(refuse);
        assert!(matches!(bench.sweep(), LogEvent::Trouble { .. }));
        assert_eq!(bench.blobs(1..=10).len(), 10, "nothing was collected");
        bench.sweep();
        assert_eq!(bench.blobs(1..=10), [1, 2, 3, 4, 5, 6, 10]);
    }
}

#[test]
fn users_that_cannot_be_listed_void_the_sweep() {
    let mut bench = peopled(Limits::default());
    bench.missing = 1;
    assert!(matches!(bench.sweep(), LogEvent::Trouble { .. }));
    assert_eq!(bench.blobs(1..=10).len(), 10);
}

#[test]
fn a_damaged_reference_voids_the_sweep() {
    let mut bench = peopled(Limits::default());
    let user = Referrer::User(UserId(3));
    let key = SortKey([&user.references().0.0[..], b"x"].concat().into());
    bench.write(user.route(), Op::Put { key, value: Bytes::from_static(b"\x01short") });
    assert!(matches!(bench.sweep(), LogEvent::Trouble { .. }));
    assert_eq!(bench.blobs(1..=10).len(), 10);
}

#[test]
fn a_blob_that_is_missing_in_two_sweeps_is_told_and_does_not_stop_the_others() {
    let mut bench = peopled(Limits::default());
    bench.refer(Referrer::User(UserId(2)), 1, 99);
    bench.sweep();
    assert!(matches!(bench.log[..], [LogEvent::Swept { .. }]), "it may have been deleted just now");
    bench.sweep();
    assert!(matches!(bench.log[0], LogEvent::Trouble { .. }));
    assert_eq!(bench.blobs(1..=10), [1, 2, 3, 4, 5, 6, 10]);
}

#[test]
fn low_space_begins_a_sweep_at_once() {
    let mut bench = peopled(Limits::default());
    bench.step(Input::RoomIs(Room::Scarce));
    assert_eq!(bench.blobs(1..=10), [1, 2, 3, 4, 5, 6, 10]);
}

#[test]
fn blobs_that_nobody_refers_to_live_shorter_while_there_is_little_room() {
    let mut bench = peopled(Limits::default());
    let life = bench.wall().plus(crate::face::BLOB_LIFE);
    bench.dds.put_blob(BlobId(11), life);
    bench.step(Input::RoomIs(Room::Scarce));
    assert_eq!(bench.blobs(10..=11), [10, 11], "it may be an upload");
    let minutes = |bench: &Bench| (bench.wall().0 - hour(100).0) / 60_000;
    while minutes(&bench) <= 14 {
        bench.sweep();
    }
    assert_eq!(bench.blobs(10..=11), [10, 11]);
    while minutes(&bench) <= 17 {
        bench.sweep();
    }
    assert_eq!(bench.blobs(1..=11), [1, 2, 3, 4, 5, 6, 10], "what is referred to was renewed");
    bench.step(Input::RoomIs(Room::Ample));
    bench.sweep();
    let before = minutes(&bench);
    bench.sweep();
    assert_eq!(minutes(&bench) - before, 30);
}

#[test]
fn every_mailbox_is_woken_once_a_day() {
    let mut bench = Bench::new(Limits::default());
    bench.users = (1..=500).map(UserId).collect();
    let began = bench.now;
    let mut most = 0;
    while bench.now.since(began) < Duration::from_secs(24 * 3600) {
        let before = bench.woken.len();
        bench.sweep();
        most = most.max(bench.woken.len() - before);
    }
    assert!(most <= 11, "{most} at once");
    bench.woken.truncate(500);
    bench.woken.sort_unstable();
    assert_eq!(bench.woken, bench.users);
    // Sweeps that come faster wake nobody twice.
    bench.woken.clear();
    bench.step(Input::RoomIs(Room::Scarce));
    for _ in 0..10 {
        bench.sweep();
    }
    assert!(bench.woken.len() <= 22, "{}", bench.woken.len());
}
