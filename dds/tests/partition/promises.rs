//! What a partition promises to its clients, one promise a test.

use crate::bench::*;
use bytes::Bytes;
use dds::cluster::{Incarnation, NodeId, Session};
use dds::memory_store::Faults;
use dds::replica::{Body, Entry, Mark, Message, Round};
use dds::*;

fn new_bench() -> Bench {
    Bench::new(Limits::default())
}

#[test]
fn what_is_written_is_read_and_scanned_over_both_columns() {
    let (mut bench, user) = (new_bench(), route("user"));
    let epoch = bench.claim(&user).epoch;
    let ops = vec![put(b"\x90body", b"B"), put(b"b", b"2"), put(b"a", b"1"), put(b"c", b"3")];
    let wrote = bench.call(Request::Write(batch(&user, Some((epoch, 1)), ops)));
    assert_eq!(wrote, committed(2));
    let keys = vec![sort_key(b"\x90body"), sort_key(b"a"), sort_key(b"x"), sort_key(b"c")];
    let got = bench.call(Request::Get { route: user.clone(), keys });
    let value = |value: &'static [u8]| Some((Bytes::from_static(value), Version(2)));
    assert_eq!(got, Response::Got(vec![value(b"B"), value(b"1"), None, value(b"3")]));
    let mut scan = |from: &[u8], to: &[u8], reverse, entries_max| {
        let (from, to) = (sort_key(from), sort_key(to));
        match bench.call(Request::Scan { route: user.clone(), from, to, reverse, entries_max }) {
            Response::Scanned { entries, more } => {
                (entries.into_iter().map(|entry| entry.key.0).collect::<Vec<_>>(), more)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(scan(b"", b"\xFF", false, 9).0, [&b"a"[..], b"b", b"c", b"\x90body"]);
    assert_eq!(scan(b"b", b"\xFF", true, 9).0, [&b"\x90body"[..], b"c", b"b"]);
    assert_eq!(scan(b"a", b"c", false, 9), (vec![b"a"[..].into(), b"b"[..].into()], false));
    assert_eq!(scan(b"a", b"\xFF", false, 2), (vec![b"a"[..].into(), b"b"[..].into()], true));
    assert_eq!(scan(b"c", b"\xFF", true, 1), (vec![b"\x90body"[..].into()], true));
    assert_eq!(scan(b"c", b"a", false, 9), (vec![], false));
}

#[test]
fn deleted_ranges_span_the_columns() {
    let (mut bench, user) = (new_bench(), route("user"));
    let ops = vec![put(b"a", b"1"), put(b"b", b"2"), put(b"\x80", b"3"), put(b"\x90", b"4")];
    bench.call(Request::Write(batch(&user, None, ops)));
    let ops = vec![
        Op::DeleteRange { from: sort_key(b"b"), to: sort_key(b"\x90") },
        Op::Delete { key: sort_key(b"absent") },
    ];
    assert_eq!(bench.call(Request::Write(batch(&user, None, ops))), committed(2));
    assert_eq!(bench.get(&user, b"a"), Some(Bytes::from_static(b"1")));
    assert_eq!(bench.get(&user, b"b"), None);
    assert_eq!(bench.get(&user, b"\x80"), None);
    assert_eq!(bench.get(&user, b"\x90"), Some(Bytes::from_static(b"4")));
}

#[test]
fn batches_of_an_epoch_are_pipelined_and_answered_when_durable() {
    let (mut bench, user) = (new_bench(), route("user"));
    let epoch = bench.claim(&user).epoch;
    let asked: Vec<_> = (1..=3)
        .map(|seq| {
            let ops = vec![put(b"k", format!("{seq}").as_bytes())];
            bench.ask(Request::Write(batch(&user, Some((epoch, seq)), ops)))
        })
        .collect();
    assert!(bench.reads.is_empty(), "the writer record is cached");
    let chains: Vec<_> = bench.commits.iter().map(|(_, group)| group.chain).collect();
    assert_eq!(chains, [Chain::Starts, Chain::Follows, Chain::Follows]);
    assert!(bench.answers.is_empty());
    bench.commit(2);
    assert!(!bench.is_answered(asked[2]));
    assert_eq!(bench.answer(asked[0]), committed(2));
    assert_eq!(bench.answer(asked[1]), committed(3));
    let get = |bench: &mut Bench| {
        let asked = bench.ask(Request::Get { route: user.clone(), keys: vec![sort_key(b"k")] });
        bench.settle_reads();
        bench.answer(asked)
    };
    let value = |value: &'static [u8], version| {
        Response::Got(vec![Some((Bytes::from_static(value), Version(version)))])
    };
    assert_eq!(get(&mut bench), value(b"2", 3), "reads see what is durable");
    bench.settle();
    assert_eq!(get(&mut bench), value(b"3", 4));
    assert_eq!(bench.answer(asked[2]), committed(4));
}

#[test]
fn a_gap_refuses_what_follows_and_a_number_sent_again_gets_its_outcome() {
    let (mut bench, user) = (new_bench(), route("user"));
    let epoch = bench.claim(&user).epoch;
    let write = |seq| Request::Write(batch(&user, Some((epoch, seq)), vec![put(b"k", b"v")]));
    let expected = Seq(1);
    assert_eq!(bench.call(write(2)), refused(Refusal::SequenceGap { expected }));
    assert_eq!(bench.call(write(0)), refused(Refusal::SequenceGap { expected }));
    let (first, again) = (bench.ask(write(1)), bench.ask(write(1)));
    let gap = bench.ask(write(3));
    assert!(bench.answers.is_empty(), "what depends on a group waits for it");
    assert_eq!(bench.commits.len(), 1);
    bench.settle();
    assert_eq!(bench.answer(first), committed(2));
    assert_eq!(bench.answer(again), committed(2));
    assert_eq!(bench.answer(gap), refused(Refusal::SequenceGap { expected: Seq(2) }));
    assert_eq!(bench.call(write(2)), committed(3));
    bench.restart(0);
    assert_eq!(bench.call(write(1)), committed(2));
    assert_eq!(bench.call(write(2)), committed(3));
    assert_eq!(bench.call(write(3)), committed(4));
}

#[test]
fn outcomes_leave_the_window() {
    let mut bench = Bench::new(Limits { window_batches_max: 2, ..Limits::default() });
    let user = route("user");
    let epoch = bench.claim(&user).epoch;
    let write = |seq| Request::Write(batch(&user, Some((epoch, seq)), vec![put(b"k", b"v")]));
    for seq in 1..=3 {
        assert_eq!(bench.call(write(seq)), committed(seq + 1));
    }
    assert_eq!(bench.call(write(1)), refused(Refusal::Forgotten));
    assert_eq!(bench.call(write(2)), committed(3));
    let asked: Vec<_> = (4..=6).map(|seq| bench.ask(write(seq))).collect();
    assert_eq!(bench.answer(asked[2]), refused(Refusal::Overloaded));
}

#[test]
fn a_claim_fences_the_writer_before_it_also_in_flight() {
    let (mut bench, user) = (new_bench(), route("user"));
    let old = bench.claim(&user);
    assert_eq!(old, Claimed { epoch: Epoch(1), previous: (Epoch(0), Seq(0)) });
    let write =
        |epoch, seq| Request::Write(batch(&user, Some((epoch, seq)), vec![put(b"k", b"v")]));
    let first = bench.ask(write(old.epoch, 1));
    let claim = bench.ask(Request::Claim { route: user.clone() });
    let fenced = bench.ask(write(old.epoch, 2));
    assert!(bench.answers.is_empty(), "the fence is not durable yet");
    bench.settle();
    assert_eq!(bench.answer(first), committed(2));
    let claimed = Claimed { epoch: Epoch(2), previous: (Epoch(1), Seq(1)) };
    assert_eq!(bench.answer(claim), Response::Claimed(claimed));
    let current = Epoch(2);
    assert_eq!(bench.answer(fenced), refused(Refusal::Fenced { current }));
    bench.restart(0);
    assert_eq!(bench.call(write(Epoch(1), 2)), refused(Refusal::Fenced { current }));
    assert_eq!(bench.call(write(Epoch(3), 1)), refused(Refusal::Fenced { current }));
    assert_eq!(bench.call(write(Epoch(2), 1)), committed(4));
}

fn with(mut batch: Batch, key: &[u8], expect: Expect) -> Request {
    batch.preconditions.push(Precondition { key: sort_key(key), expect });
    Request::Write(batch)
}

#[test]
fn preconditions_see_what_is_under_way() {
    let (mut bench, user) = (new_bench(), route("user"));
    let create =
        |value: &[u8]| with(batch(&user, None, vec![put(b"k", value)]), b"k", Expect::Absent);
    let (first, second) = (bench.ask(create(b"1")), bench.ask(create(b"2")));
    bench.settle_reads();
    assert_eq!(bench.commits.len(), 1);
    assert!(bench.answers.is_empty(), "the refusal waits for what it depends on");
    bench.settle();
    assert_eq!(bench.answer(first), committed(1));
    assert_eq!(bench.answer(second), refused(Refusal::PreconditionFailed { index: 0 }));
    let replace = |version| {
        let expect = Expect::VersionIs(Version(version));
        with(batch(&user, None, vec![put(b"k", b"3")]), b"k", expect)
    };
    let (stale, right, late) =
        (bench.ask(replace(9)), bench.ask(replace(1)), bench.ask(replace(1)));
    bench.settle();
    assert_eq!(bench.answer(stale), refused(Refusal::PreconditionFailed { index: 0 }));
    assert_eq!(bench.answer(right), committed(2));
    assert_eq!(bench.answer(late), refused(Refusal::PreconditionFailed { index: 0 }));
    let delete = Op::DeleteRange { from: sort_key(b"a"), to: sort_key(b"z") };
    bench.ask(Request::Write(batch(&user, None, vec![delete])));
    let present = bench.ask(with(batch(&user, None, vec![]), b"k", Expect::Present));
    bench.settle();
    assert_eq!(bench.answer(present), refused(Refusal::PreconditionFailed { index: 0 }));
    assert_eq!(bench.call(create(b"4")), committed(4));
}

#[test]
fn a_precondition_read_that_began_before_a_commit_does_not_miss_it() {
    let (mut bench, user) = (new_bench(), route("user"));
    let first = bench.ask(Request::Write(batch(&user, None, vec![put(b"k", b"1")])));
    bench.settle_reads();
    let second = bench.ask(with(batch(&user, None, vec![]), b"k", Expect::Absent));
    let (token, read) = bench.reads.pop_front().expect("the precondition is read");
    let stale = bench.store.read(&read, Tier::Disk);
    bench.commit(1);
    bench.step(dds::partition::Input::ReadDone { token, result: stale });
    bench.settle();
    assert_eq!(bench.answer(first), committed(1));
    assert_eq!(bench.answer(second), refused(Refusal::PreconditionFailed { index: 0 }));
}

#[test]
fn a_refused_group_takes_those_behind_it_along() {
    let (mut bench, user, other) = (new_bench(), route("user"), route("other"));
    let epoch = bench.claim(&user).epoch;
    let write = |seq| Request::Write(batch(&user, Some((epoch, seq)), vec![put(b"k", b"v")]));
    let (first, second, again) = (bench.ask(write(1)), bench.ask(write(2)), bench.ask(write(2)));
    let elsewhere = bench.ask(Request::Write(batch(&other, None, vec![put(b"k", b"v")])));
    let no_space = Faults { commits: vec![StoreError::NoSpace], ..Faults::default() };
    bench.store.set_faults(no_space);
    bench.commit(1);
    assert_eq!(bench.answer(first), refused(Refusal::NoSpace));
    let meanwhile = bench.ask(write(1));
    bench.settle();
    for asked in [second, again, elsewhere] {
        assert_eq!(bench.answer(asked), refused(Refusal::NoSpace));
    }
    assert_eq!(bench.answer(meanwhile), committed(2), "judged anew from what is durable");
    assert_eq!(bench.call(write(2)), committed(3));
    assert_eq!(bench.get(&other, b"k"), None);
}

#[test]
fn after_a_fatal_error_outcomes_are_unknown_until_asked_again() {
    let (mut bench, user) = (new_bench(), route("user"));
    let epoch = bench.claim(&user).epoch;
    let write = |seq| Request::Write(batch(&user, Some((epoch, seq)), vec![put(b"k", b"v")]));
    let (first, second) = (bench.ask(write(1)), bench.ask(write(2)));
    let fatal = StoreError::Fatal("a failed sync".into());
    bench.store.set_faults(Faults { commits: vec![fatal], ..Faults::default() });
    bench.settle();
    assert_eq!(bench.answer(first), Response::Wrote(Outcome::Unknown));
    assert_eq!(bench.answer(second), Response::Wrote(Outcome::Unknown));
    assert_eq!(bench.call(write(3)), refused(Refusal::Unavailable));
    bench.restart(1);
    assert_eq!(bench.call(write(1)), committed(2));
    assert_eq!(bench.call(write(2)), committed(3));
}

#[test]
fn a_newer_replica_group_fences_an_older_one() {
    let (mut bench, user) = (new_bench(), route("user"));
    bench.claim(&user);
    bench.machine = Partition::new(PARTITION, GroupVersion(0), bench.limits.clone());
    let refused = bench.call(Request::Claim { route: user });
    assert_eq!(refused, Response::Refused(Refusal::Unavailable));
}

#[test]
fn limits_and_reserved_keys_are_refused() {
    let (mut bench, user) = (new_bench(), route("user"));
    let mut write = |ops| bench.call(Request::Write(batch(&user, None, ops)));
    let too_large = |what| refused(Refusal::TooLarge { what });
    assert_eq!(write(vec![put(b"\0k", b"v")]), refused(Refusal::ReservedKey));
    assert_eq!(write(vec![put(b"", b"v")]), refused(Refusal::ReservedKey));
    assert_eq!(write(vec![put(&[1; 1025], b"v")]), too_large("key"));
    assert_eq!(write(vec![put(b"k", &[0; 64 * 1024 + 1])]), too_large("value"));
    let ops = (1..=17).map(|key| put(&[key], &[0; 64 * 1024])).collect();
    assert_eq!(write(ops), too_large("batch"));
    let ops = (1..=15).map(|key| put(&[key], &[0; 64 * 1024])).collect();
    assert_eq!(write(ops), committed(1));
    let deletions = |count: u32| {
        (0..count).map(|key| Op::Delete { key: sort_key(&[&[1][..], &key.to_be_bytes()].concat()) })
    };
    assert_eq!(write(deletions(32 * 1024).collect()), committed(2));
    assert_eq!(write(deletions(32 * 1024 + 1).collect()), too_large("batch"));
    let keys = vec![sort_key(b"k"); 32 * 1024 + 1];
    let got = bench.call(Request::Get { route: user.clone(), keys });
    assert_eq!(got, Response::Refused(Refusal::TooLarge { what: "keys of a get" }));
    // With the longest route each key counts as it is stored.
    let long = RouteKey("r".repeat(255).into());
    let mut write = |ops| bench.call(Request::Write(batch(&long, None, ops)));
    let range = |_| Op::DeleteRange { from: sort_key(b"\x01"), to: sort_key(b"\xFF") };
    assert_eq!(write((0..7_700).map(range).collect()), committed(3));
    assert_eq!(write((0..8_000).map(range).collect()), too_large("batch"));
    let empty = bench.call(Request::Claim { route: route("") });
    assert_eq!(empty, Response::Refused(Refusal::ReservedKey));
}

/// The largest batch that is taken, by the bytes of its entry: a frame has room for that.
#[test]
fn what_is_taken_fits_into_a_frame() {
    let mut bench = new_bench();
    let long = RouteKey("r".repeat(255).into());
    let range = |_| Op::DeleteRange { from: sort_key(b"\x01"), to: sort_key(b"\xFF") };
    let mut ops: Vec<Op> = (0..6_500).map(range).collect();
    ops.extend((1..=15).map(|key| put(&[key], &[0; 64 * 1024])));
    bench.ask(Request::Write(batch(&long, None, ops)));
    bench.settle_reads();
    let group = bench.commits[0].1.clone();
    let entry = Entry::of_group(group, Mark::default()).expect("a group");
    assert!(entry.ops.len() > 13_000);
    let body = Body::Append { entries: vec![entry.into()], decided: 0 };
    let message = Message { version: GroupVersion(1), round: Round(1), body };
    let envelope = wire::Envelope {
        cluster: wire::ClusterId(1),
        from: NodeId(1),
        to: NodeId(2),
        incarnation: Incarnation(1),
        session: Session(0),
        channel: wire::Channel::Replication,
    };
    let mut writer = wire::FrameWriter::new(&envelope);
    let item = wire::Item::Message { partition: PARTITION, message: &message };
    assert_eq!(writer.push(item), Ok(()));
    let mut framer = wire::Framer::default();
    let bytes = writer.take();
    let mut rest = &bytes[..];
    let frame = loop {
        rest = &rest[framer.feed(rest)..];
        if let Some(frame) = framer.take().expect("frames") {
            break frame;
        }
    };
    let payload = wire::decode_frame(frame).expect("a frame").payload;
    let read = wire::decode_packet(payload, &Limits::default()).expect("a packet");
    assert_eq!(read[0].message.as_ref(), Ok(&message));
}

#[test]
fn groups_that_delete_and_put_no_body_free_space() {
    let (mut bench, user) = (new_bench(), route("user"));
    let mut frees_as = |makes_way, ops| {
        bench.ask(Request::Write(Batch { makes_way, ..batch(&user, None, ops) }));
        bench.settle_reads();
        let frees = bench.commits[0].1.frees_space;
        bench.settle();
        frees
    };
    let delete = Op::Delete { key: sort_key(b"k") };
    assert!(frees_as(true, vec![put(b"header", b"v")]));
    assert!(!frees_as(true, vec![put(b"\x80body", b"v")]), "whatever it says");
    let mut frees = |ops| frees_as(false, ops);
    assert!(frees(vec![delete.clone()]));
    assert!(frees(vec![delete.clone(), put(b"header", b"v")]));
    assert!(!frees(vec![put(b"header", b"v")]));
    assert!(!frees(vec![delete, put(b"\x80body", b"v")]));
}

#[test]
fn damaged_records_refuse_and_do_not_panic() {
    let (mut bench, user) = (new_bench(), route("user"));
    let epoch = bench.claim(&user).epoch;
    bench.call(Request::Write(batch(&user, Some((epoch, 1)), vec![put(b"k", b"v")])));
    for (column, key, _) in bench.store.durable() {
        assert!(bench.store.corrupt(column, &key, Bytes::from_static(b"\x09rot")));
    }
    bench.restart(0);
    let keys = vec![sort_key(b"k")];
    let got = bench.call(Request::Get { route: user.clone(), keys });
    assert!(matches!(got, Response::Refused(Refusal::Corrupt { .. })), "{got:?}");
    let claimed = bench.call(Request::Claim { route: user });
    assert!(matches!(claimed, Response::Refused(Refusal::Corrupt { .. })), "{claimed:?}");
}

#[test]
fn many_routes_are_forgotten_and_read_again() {
    let mut bench = Bench::new(Limits { routes_cached_max: 4, ..Limits::default() });
    let routes: Vec<_> =
        (0..20_u8).map(|number| RouteKey(Bytes::copy_from_slice(&[number, 1]))).collect();
    let epochs: Vec<_> = routes.iter().map(|route| bench.claim(route).epoch).collect();
    for seq in 1..=2 {
        for (route, epoch) in routes.iter().zip(&epochs) {
            let wrote = bench.call(Request::Write(batch(route, Some((*epoch, seq)), vec![])));
            assert!(matches!(wrote, Response::Wrote(Outcome::Committed { .. })));
        }
    }
}
