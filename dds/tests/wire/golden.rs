//! Bytes between nodes, to be added to and never edited.

use crate::{PARTITION, envelope, payloads};
use bytes::Bytes;
use dds::cluster::{NodeId, Session, Start};
use dds::links::{self, Run};
use dds::replica::{Body, Entry, Mark, Message, Page, Round, Seen, Slice, Stand};
use dds::wire::{
    Channel, FrameWriter, Item, PartitionMessage, RequestId, decode_exchange, decode_heartbeats,
    decode_packet,
};
use dds::{
    Batch, BlobId, Claimed, Column, Copying, Epoch, Expect, GroupVersion, Limits, Op, Outcome,
    PageSum, PartitionId, Precondition, Refusal, Report, Request, Residents, Response, RouteKey,
    Seq, SortKey, StoreOp, Version, Writer, layout,
};
use fsm::{Mono, Wall};
use std::sync::Arc;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn key(rest: &'static str) -> Bytes {
    [&PARTITION.0.to_be_bytes()[..], rest.as_bytes()].concat().into()
}

/// The payload of one item.
fn payload(channel: Channel, item: Item<'_>) -> Bytes {
    let [payload] = &payloads(channel, &[item])[..] else { panic!("one frame") };
    payload.clone()
}

fn entries() -> Vec<Arc<Entry>> {
    let ops = vec![
        StoreOp::Put { column: Column::Bodies, key: key("b"), value: text("body") },
        StoreOp::Delete { column: Column::Meta, key: key("d") },
        StoreOp::DeleteRange { column: Column::Meta, from: key("f"), to: key("t") },
        StoreOp::Put {
            column: Column::Log,
            key: layout::partition_key(PARTITION),
            value: text("record"),
        },
    ];
    let (before, hash) = (0x0102_0304, 0x0506_0708);
    let version = GroupVersion(9);
    vec![Arc::new(Entry { version, number: 258, before, hash, frees_space: true, ops })]
}

fn bodies() -> [Body; 22] {
    let mark = Mark { number: 300, hash: 0x0102_0304 };
    let standing = Stand { last: mark, applied: Mark::default(), whole: true, filling: None };
    let filling = Stand { whole: false, filling: Some((mark, 2)), ..standing };
    let page = [(Column::Meta, key("m"), text("value")), (Column::Bodies, key("n"), text(""))];
    [
        Body::Join,
        Body::Stand(standing),
        Body::Stand(filling),
        Body::Append { entries: entries(), decided: 257 },
        Body::Appended { through: 258, decided: 257 },
        Body::Fetch { after: 256 },
        Body::Fetched { entries: entries() },
        Body::DropTail { last: mark },
        Body::FetchBodies { keys: vec![key("b"), key("c")] },
        Body::Bodies { values: vec![(key("b"), Some(text(""))), (key("c"), None)] },
        Body::Fill { mark },
        Body::Filled { mark, index: 0 },
        Body::Page { mark, page: Page { index: 2, entries: page.to_vec(), last: true } },
        Body::Apart,
        Body::Failed,
        Body::Damaged,
        Body::Look(Slice {
            id: 0x0C0D,
            at: 258,
            column: Column::Bodies,
            after: text(""),
            bytes_max: 300,
        }),
        Body::Look(Slice { id: 1, at: 0, column: Column::Log, after: key("k"), bytes_max: 1 }),
        Body::Looked {
            id: 0x0C0D,
            seen: Seen::Sum(PageSum {
                sum: 0x0102 << 64 | 0x0304,
                entries: 2,
                bytes: 300,
                last: key("k"),
                more: true,
            }),
        },
        Body::Looked { id: 1, seen: Seen::Disturbed },
        Body::Looked { id: 1, seen: Seen::Damaged },
        Body::Doubt,
    ]
}

#[test]
fn messages() {
    let message = |body| Message { version: GroupVersion(9), round: Round(0x0A0B), body };
    for (body, golden) in bodies().into_iter().zip(MESSAGES) {
        let message = message(body);
        let item = Item::Message { partition: PARTITION, message: &message };
        let payload = payload(Channel::Replication, item);
        assert_eq!(hex(&payload), golden, "{message:?}");
        let expected = vec![PartitionMessage { partition: PARTITION, message: Ok(message) }];
        assert_eq!(decode_packet(payload, &Limits::default()), Ok(expected));
    }
}

#[test]
fn heartbeats() {
    let run = Run { session: Session(3), start: Start(4) };
    let sent = Mono(1_000_000_000);
    let ping = links::Message::Ping { run, sent, report: None };
    let pong = |granted| links::Message::Pong { run, sent, granted };
    let report = Report {
        load: 700,
        busiest: vec![(PartitionId(5), 300)],
        exhausted: true,
        residents: Some(Residents { accounts: 4, deliveries: 2 }),
        copies: vec![Copying { partition: PartitionId(6), node: NodeId(2), bytes: 9 }],
    };
    let telling = links::Message::Ping { run, sent, report: Some(Arc::new(report)) };
    let messages = [ping, pong(true), pong(false), telling];
    assert_eq!(messages.len(), HEARTBEATS.len());
    for (message, golden) in messages.into_iter().zip(HEARTBEATS) {
        let payload = payload(Channel::Heartbeat, Item::Heartbeat(&message));
        assert_eq!(hex(&payload), golden, "{message:?}");
        assert_eq!(decode_heartbeats(payload), Ok(vec![Ok(message)]));
    }
}

fn batch() -> Batch {
    let expect = |key, expect| Precondition { key: SortKey(text(key)), expect };
    let sort_key = |key| SortKey(text(key));
    Batch {
        route: RouteKey(text("route")),
        writer: Some(Writer { epoch: Epoch(2), seq: Seq(300) }),
        preconditions: vec![
            expect("a", Expect::Absent),
            expect("b", Expect::Present),
            expect("c", Expect::VersionIs(Version(0))),
        ],
        makes_way: true,
        ops: vec![
            Op::Put { key: sort_key("a"), value: text("value") },
            Op::Delete { key: sort_key("b") },
            Op::DeleteRange { from: sort_key("c"), to: sort_key("d") },
        ],
    }
}

fn requests() -> [Request; 10] {
    let route = RouteKey(text("route"));
    let blob = BlobId(0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10);
    let [from, to] = ["a", "b"].map(|key| SortKey(text(key)));
    let keys = vec![from.clone(), to.clone()];
    let expires = Wall(1_700_000_000_000);
    let without = Batch { writer: None, preconditions: vec![], ops: vec![], ..batch() };
    [
        Request::Claim { route: route.clone() },
        Request::Write(batch()),
        Request::Write(Batch { makes_way: false, ..without }),
        Request::Get { route: route.clone(), keys },
        Request::Scan { route, from, to, reverse: true, entries_max: 100 },
        Request::PutChunk { blob, index: 1, bytes: text("chunk"), expires },
        Request::RenewBlob { blob, expires: Wall(-1) },
        Request::ReadBlob { blob, offset: 5, len: 300 },
        Request::CollectBlobs { partition: PARTITION, expired_before: expires, blobs_max: 256 },
        Request::DropBlob { blob },
    ]
}

#[test]
fn asks() {
    let id = RequestId(300);
    for (request, golden) in requests().into_iter().zip(ASKS) {
        let payload = payload(Channel::Request, Item::Ask { id, request: &request });
        assert_eq!(hex(&payload), golden, "{request:?}");
        let read = decode_exchange(payload, &Limits::default()).expect("an exchange");
        assert_eq!((read.asks, read.answers), (vec![(id, Ok(request))], vec![]));
    }
}

fn refusals() -> [Refusal; 10] {
    [
        Refusal::PreconditionFailed { index: 0 },
        Refusal::Fenced { current: Epoch(3) },
        Refusal::SequenceGap { expected: Seq(4) },
        Refusal::Forgotten,
        Refusal::TooLarge { what: "batch" },
        Refusal::ReservedKey,
        Refusal::NoSpace,
        Refusal::Overloaded,
        Refusal::Unavailable,
        Refusal::Corrupt { what: "block".to_owned() },
    ]
}

fn responses() -> Vec<Response> {
    let version = Version(5);
    let entry = dds::Entry { key: SortKey(text("a")), value: text("value"), version };
    let mut responses = vec![
        Response::Claimed(Claimed { epoch: Epoch(3), previous: (Epoch(2), Seq(300)) }),
        Response::Wrote(Outcome::Committed { version }),
        Response::Wrote(Outcome::Refused(Refusal::Forgotten)),
        Response::Wrote(Outcome::Unknown),
        Response::Got(vec![Some((text("value"), version)), None, Some((text(""), version))]),
        Response::Scanned { entries: vec![entry], more: true },
        Response::BlobRead(text("bytes")),
        Response::Absent,
        Response::Collected { blobs: 256, more: true },
    ];
    responses.extend(refusals().map(Response::Refused));
    responses
}

#[test]
fn answers() {
    let id = RequestId(300);
    assert_eq!(responses().len(), ANSWERS.len());
    for (response, golden) in responses().into_iter().zip(ANSWERS) {
        let payload = payload(Channel::Request, Item::Answer { id, response: &response });
        assert_eq!(hex(&payload), golden, "{response:?}");
        let read = decode_exchange(payload, &Limits::default()).expect("an exchange");
        assert_eq!((read.asks, read.answers), (vec![], vec![(id, Ok(response))]));
    }
}

#[test]
fn frames() {
    let message = Message { version: GroupVersion(9), round: Round(1), body: Body::Join };
    let channels = [Channel::Replication, Channel::Bulk];
    for (channel, golden) in channels.into_iter().zip(FRAMES) {
        let mut writer = FrameWriter::new(&envelope(channel));
        for _ in 0..10 {
            let item = Item::Message { partition: PARTITION, message: &message };
            writer.push(item).expect("small");
        }
        assert_eq!(hex(&writer.take()), golden);
    }
}

const MESSAGES: [&str; 22] = [
    "0a100882021009190b0a0000000000005001",
    "0a1e0882021009190b0a0000000000005a0e0a0808ac02150403020112001801",
    "0a2a0882021009190b0a0000000000005a1a0a0808ac0215040302011200220c0a0808ac0215040302011002",
    "0a660882021009190b0a00000000000062560a5108091082021d0403020125080706052801320f080110021a03\
     0102622204626f64793209080210011a03010264320e080310011a0301026622030102743212080110031a0401\
     02007022067265636f7264108102",
    "0a160882021009190b0a0000000000006a06088202108102",
    "0a110882021009190b0a000000000000708002",
    "0a630882021009190b0a0000000000007a530a5108091082021d0403020125080706052801320f080110021a03\
     0102622204626f64793209080210011a03010264320e080310011a0301026622030102743212080110031a0401\
     02007022067265636f7264",
    "0a190882021009190b0a00000000000082010808ac021504030201",
    "0a1b0882021009190b0a0000000000008a010a0a030102620a03010263",
    "0a210882021009190b0a0000000000009201100a070a0301026212000a050a03010263",
    "0a190882021009190b0a0000000000009a010808ac021504030201",
    "0a1b0882021009190b0a000000000000a2010a0a0808ac021504030201",
    "0a3a0882021009190b0a000000000000aa01290a0c0a0808ac0215040302011002120e0801120301026d1a0576\
     616c756512070802120301026e1801",
    "0a110882021009190b0a000000000000b00101",
    "0a110882021009190b0a000000000000b80101",
    "0a110882021009190b0a000000000000c00101",
    "0a220882021009190b0a000000000000ca0111090d0c000000000000108202180228ac02",
    "0a230882021009190b0a000000000000ca01120901000000000000001803220301026b2801",
    "0a3a0882021009190b0a000000000000d20129090d0c000000000000121e0902010000000000001104030000\
     00000000180220ac022a0301026b3001",
    "0a1c0882021009190b0a000000000000d2010b0901000000000000001801",
    "0a1c0882021009190b0a000000000000d2010b0901000000000000002001",
    "0a110882021009190b0a000000000000d80101",
];

const HEARTBEATS: [&str; 4] = [
    "0a130a110803110400000000000000188094ebdc03",
    "0a1512130803110400000000000000188094ebdc032001",
    "0a1312110803110400000000000000188094ebdc03",
    "0a2f0a2d0803110400000000000000188094ebdc03221a08bc051205080510ac0218012204080410022a06080610021809",
];

const ASKS: [&str; 10] = [
    "0a0a08ac025205726f757465",
    "0a4908ac025a440a05726f7574651205080210ac021a050a016110011a050a016218011a050a0163200020012a\
     0c08011201611a0576616c75652a0508021201622a0808031201631a0164",
    "0a0c08ac025a070a05726f757465",
    "0a1208ac02620d0a05726f757465120161120162",
    "0a1608ac026a110a05726f7574651201611a016220012864",
    "0a2708ac0272220a100102030405060708090a0b0c0d0e0f1010011a056368756e6b2080a0abfef962",
    "0a1908ac027a140a100102030405060708090a0b0c0d0e0f101001",
    "0a1d08ac028201170a100102030405060708090a0b0c0d0e0f10100518ac02",
    "0a1308ac028a010d0882021080a0abfef962188002",
    "0a1608ac029201100102030405060708090a0b0c0d0e0f10",
];

const ANSWERS: [&str; 19] = [
    "120c08ac0252070803100218ac02",
    "120708ac025a020805",
    "120908ac025a0412022001",
    "120708ac025a021801",
    "121808ac0262130a090a0576616c756510050a000a040a001005",
    "121508ac026a100a0c0a0161120576616c756518051001",
    "120a08ac0272056279746573",
    "120508ac027801",
    "120b08ac028201050880021001",
    "120808ac028a01020800",
    "120808ac028a01021003",
    "120808ac028a01021804",
    "120808ac028a01022001",
    "120d08ac028a01072a056261746368",
    "120808ac028a01023001",
    "120808ac028a01023801",
    "120808ac028a01024001",
    "120808ac028a01024801",
    "120d08ac028a01075205626c6f636b",
];

const FRAMES: [&str; 2] = [
    "000000d60801110102030405060708180120ac02290b000000000000003005380342b48180000a100882021009\
     19010000000000000050010a10088202100919010000000000000050010a100882021009190100000000000000\
     50010a10088202100919010000000000000050010a10088202100919010000000000000050010a100882021009\
     19010000000000000050010a10088202100919010000000000000050010a100882021009190100000000000000\
     50010a10088202100919010000000000000050010a1008820210091901000000000000005001",
    "000000d60801110102030405060708180120ac02290b000000000000003005380442b48180000a100882021009\
     19010000000000000050010a10088202100919010000000000000050010a100882021009190100000000000000\
     50010a10088202100919010000000000000050010a10088202100919010000000000000050010a100882021009\
     19010000000000000050010a10088202100919010000000000000050010a100882021009190100000000000000\
     50010a10088202100919010000000000000050010a1008820210091901000000000000005001",
];
