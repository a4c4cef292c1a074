//! Any message that a sound node could send, within small limits.

use crate::PARTITION;
use bytes::Bytes;
use dds::cluster::{NodeId, Session, Start};
use dds::layout;
use dds::links;
use dds::replica::{Body, Entry, LOOK_BYTES_MAX, Mark, Message, Page, Round, Seen, Slice, Stand};
use dds::wire::NUMBER_MAX;
use dds::{
    Batch, BlobId, Claimed, Column, Copying, Epoch, Expect, GroupVersion, Limits, Op, Outcome,
    PageSum, PartitionId, Precondition, REPORT_PARTITIONS_MAX, Refusal, Report, Request, Residents,
    Response, RouteKey, Seq, SortKey, StoreOp, Version, Writer,
};
use fsm::{Mono, Wall};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::sync::Arc;

pub fn limits() -> Limits {
    Limits {
        key_bytes_max: 20,
        value_bytes_max: 60,
        batch_bytes_max: 400,
        preconditions_max: 3,
        blob_chunks_max: 10,
        blob_read_bytes_max: 100,
        ..Limits::default()
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, 0..NUMBER_MAX, Just(NUMBER_MAX - 1)]
}

fn physical_key() -> impl Strategy<Value = Bytes> {
    bytes(30).prop_map(|rest| [&PARTITION.0.to_be_bytes()[..], &rest].concat().into())
}

fn data_column() -> impl Strategy<Value = Column> {
    prop_oneof![Just(Column::Meta), Just(Column::Bodies)]
}

fn store_op() -> impl Strategy<Value = StoreOp> {
    let record = || Just(layout::partition_key(PARTITION));
    prop_oneof![
        (data_column(), physical_key(), bytes(80))
            .prop_map(|(column, key, value)| { StoreOp::Put { column, key, value } }),
        (data_column(), physical_key()).prop_map(|(column, key)| StoreOp::Delete { column, key }),
        (data_column(), physical_key(), physical_key())
            .prop_map(|(column, from, to)| StoreOp::DeleteRange { column, from, to }),
        (record(), bytes(20))
            .prop_map(|(key, value)| { StoreOp::Put { column: Column::Log, key, value } }),
    ]
}

fn entry() -> impl Strategy<Value = Arc<Entry>> {
    let marks = (number(), number(), any::<u32>(), any::<u32>(), any::<bool>());
    (marks, vec(store_op(), 0..5)).prop_map(
        |((version, number, before, hash, frees_space), ops)| {
            let version = GroupVersion(version);
            Arc::new(Entry { version, number, before, hash, frees_space, ops })
        },
    )
}

fn mark() -> impl Strategy<Value = Mark> {
    (number(), any::<u32>()).prop_map(|(number, hash)| Mark { number, hash })
}

fn index() -> impl Strategy<Value = u32> {
    0..u32::MAX
}

fn stand() -> impl Strategy<Value = Stand> {
    (mark(), mark(), any::<bool>(), option::of((mark(), index())))
        .prop_map(|(last, applied, whole, filling)| Stand { last, applied, whole, filling })
}

fn page() -> impl Strategy<Value = Page> {
    (index(), vec((data_column(), physical_key(), bytes(80)), 0..5), any::<bool>())
        .prop_map(|(index, entries, last)| Page { index, entries, last })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Join),
        stand().prop_map(Body::Stand),
        (vec(entry(), 0..4), number())
            .prop_map(|(entries, decided)| Body::Append { entries, decided }),
        (number(), number()).prop_map(|(through, decided)| Body::Appended { through, decided }),
        number().prop_map(|after| Body::Fetch { after }),
        vec(entry(), 0..4).prop_map(|entries| Body::Fetched { entries }),
        mark().prop_map(|last| Body::DropTail { last }),
        vec(physical_key(), 0..5).prop_map(|keys| Body::FetchBodies { keys }),
        vec((physical_key(), option::of(bytes(80))), 0..5)
            .prop_map(|values| Body::Bodies { values }),
        mark().prop_map(|mark| Body::Fill { mark }),
        (mark(), index()).prop_map(|(mark, index)| Body::Filled { mark, index }),
        (mark(), page()).prop_map(|(mark, page)| Body::Page { mark, page }),
        Just(Body::Apart),
        Just(Body::Failed),
        Just(Body::Damaged),
        slice().prop_map(Body::Look),
        (any::<u64>(), seen()).prop_map(|(id, seen)| Body::Looked { id, seen }),
        Just(Body::Doubt),
    ]
}

fn key_or_none() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just(Bytes::new()), physical_key()]
}

fn slice() -> impl Strategy<Value = Slice> {
    let column = prop_oneof![data_column(), Just(Column::Log)];
    let place = (any::<u64>(), number(), column, key_or_none());
    (place, 0..=LOOK_BYTES_MAX).prop_map(|((id, at, column, after), bytes_max)| Slice {
        id,
        at,
        column,
        after,
        bytes_max,
    })
}

fn seen() -> impl Strategy<Value = Seen> {
    let sum = (any::<u128>(), number(), number(), key_or_none(), any::<bool>());
    prop_oneof![
        sum.prop_map(|(sum, entries, bytes, last, more)| {
            Seen::Sum(PageSum { sum, entries, bytes, last, more })
        }),
        Just(Seen::Disturbed),
        Just(Seen::Damaged),
    ]
}

pub fn message() -> impl Strategy<Value = Message> {
    (number(), any::<u64>(), body()).prop_map(|(version, round, body)| Message {
        version: GroupVersion(version),
        round: Round(round),
        body,
    })
}

pub fn heartbeat() -> impl Strategy<Value = links::Message> {
    let run = (any::<u64>(), any::<u64>())
        .prop_map(|(session, start)| links::Run { session: Session(session), start: Start(start) });
    let granted = option::of(any::<bool>());
    (run, any::<u64>(), granted, option::of(report())).prop_map(|(run, sent, granted, report)| {
        let sent = Mono(sent);
        match granted {
            None => links::Message::Ping { run, sent, report: report.map(Arc::new) },
            Some(granted) => links::Message::Pong { run, sent, granted },
        }
    })
}

fn report() -> impl Strategy<Value = Report> {
    let partition = || (0..16_384_u16).prop_map(PartitionId);
    let copy = (partition(), 1..u16::MAX, any::<u64>())
        .prop_map(|(partition, node, bytes)| Copying { partition, node: NodeId(node), bytes });
    let residents = (any::<u64>(), any::<u64>())
        .prop_map(|(accounts, deliveries)| Residents { accounts, deliveries });
    (
        any::<u64>(),
        vec((partition(), any::<u32>()), 0..=REPORT_PARTITIONS_MAX),
        any::<bool>(),
        option::of(residents),
        vec(copy, 0..=REPORT_PARTITIONS_MAX),
    )
        .prop_map(|(load, busiest, exhausted, residents, copies)| Report {
            load,
            busiest,
            exhausted,
            residents,
            copies,
        })
}

fn route() -> impl Strategy<Value = RouteKey> {
    bytes(255).prop_map(RouteKey)
}

fn sort_key() -> impl Strategy<Value = SortKey> {
    bytes(20).prop_map(SortKey)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (sort_key(), bytes(60)).prop_map(|(key, value)| Op::Put { key, value }),
        sort_key().prop_map(|key| Op::Delete { key }),
        (sort_key(), sort_key()).prop_map(|(from, to)| Op::DeleteRange { from, to }),
    ]
}

fn precondition() -> impl Strategy<Value = Precondition> {
    let expect = prop_oneof![
        Just(Expect::Absent),
        Just(Expect::Present),
        number().prop_map(|version| Expect::VersionIs(Version(version))),
    ];
    (sort_key(), expect).prop_map(|(key, expect)| Precondition { key, expect })
}

fn batch() -> impl Strategy<Value = Batch> {
    let writer =
        (number(), number()).prop_map(|(epoch, seq)| Writer { epoch: Epoch(epoch), seq: Seq(seq) });
    let lists = (vec(precondition(), 0..=3), vec(op(), 0..4));
    (route(), option::of(writer), any::<bool>(), lists).prop_map(
        |(route, writer, makes_way, (preconditions, ops))| Batch {
            route,
            writer,
            preconditions,
            makes_way,
            ops,
        },
    )
}

fn blob() -> impl Strategy<Value = BlobId> {
    any::<u128>().prop_map(BlobId)
}

fn wall() -> impl Strategy<Value = Wall> {
    any::<i64>().prop_map(Wall)
}

pub fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        route().prop_map(|route| Request::Claim { route }),
        batch().prop_map(Request::Write),
        (route(), vec(sort_key(), 0..5)).prop_map(|(route, keys)| Request::Get { route, keys }),
        (route(), sort_key(), sort_key(), any::<bool>(), any::<usize>()).prop_map(
            |(route, from, to, reverse, entries_max)| {
                Request::Scan { route, from, to, reverse, entries_max }
            }
        ),
        (blob(), 0..10_u32, bytes(100), wall()).prop_map(|(blob, index, bytes, expires)| {
            Request::PutChunk { blob, index, bytes, expires }
        }),
        (blob(), wall()).prop_map(|(blob, expires)| Request::RenewBlob { blob, expires }),
        (blob(), any::<u64>(), 0..=100_u64).prop_map(|(blob, offset, len)| Request::ReadBlob {
            blob,
            offset,
            len
        }),
        (0..16_384_u16, wall(), any::<usize>()).prop_map(
            |(partition, expired_before, blobs_max)| {
                let partition = PartitionId(partition);
                Request::CollectBlobs { partition, expired_before, blobs_max }
            }
        ),
        blob().prop_map(|blob| Request::DropBlob { blob }),
    ]
}

/// All that a partition says of what is too large.
const LARGE: [&str; 10] = [
    "route",
    "key",
    "value",
    "batch",
    "list of preconditions",
    "keys of a get",
    "chunk",
    "blob",
    "read of a blob",
    "gap behind a short chunk",
];

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        any::<usize>().prop_map(|index| Refusal::PreconditionFailed { index }),
        number().prop_map(|current| Refusal::Fenced { current: Epoch(current) }),
        number().prop_map(|expected| Refusal::SequenceGap { expected: Seq(expected) }),
        Just(Refusal::Forgotten),
        proptest::sample::select(&LARGE[..]).prop_map(|what| Refusal::TooLarge { what }),
        Just(Refusal::ReservedKey),
        Just(Refusal::NoSpace),
        Just(Refusal::Overloaded),
        Just(Refusal::Unavailable),
        ".{0,40}".prop_map(|what| Refusal::Corrupt { what }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        number().prop_map(|version| Outcome::Committed { version: Version(version) }),
        refusal().prop_map(Outcome::Refused),
        Just(Outcome::Unknown),
    ]
}

pub fn response() -> impl Strategy<Value = Response> {
    let entry = (sort_key(), bytes(60), number()).prop_map(|(key, value, version)| dds::Entry {
        key,
        value,
        version: Version(version),
    });
    let slot = option::of((bytes(60), number().prop_map(Version)));
    prop_oneof![
        (number(), number(), number()).prop_map(|(epoch, before, seq)| {
            let previous = (Epoch(before), Seq(seq));
            Response::Claimed(Claimed { epoch: Epoch(epoch), previous })
        }),
        outcome().prop_map(Response::Wrote),
        vec(slot, 0..5).prop_map(Response::Got),
        (vec(entry, 0..5), any::<bool>())
            .prop_map(|(entries, more)| Response::Scanned { entries, more }),
        bytes(100).prop_map(Response::BlobRead),
        Just(Response::Absent),
        (any::<usize>(), any::<bool>())
            .prop_map(|(blobs, more)| Response::Collected { blobs, more }),
        refusal().prop_map(Response::Refused),
    ]
}
