//! Bytes that no sound node of this release sends.

use crate::strategies::{limits, message, request, response};
use crate::{PARTITION, payloads};
use bytes::Bytes;
use dds::replica::Body;
use dds::wire::{
    Channel, ELEMENTS_FREE, Exchange, Item, Malformed, PartitionMessage, RequestId,
    decode_exchange, decode_frame, decode_heartbeats, decode_packet,
};
use proptest::prelude::*;
use prost::Message as _;
use proto::peer as wire;
use wire::OperationKind as Kind;
use wire::partition_message::Body as Wire;

fn decode_all(bytes: &Bytes) {
    let _ = decode_frame(bytes.clone());
    let _ = decode_heartbeats(bytes.clone());
    let _ = decode_packet(bytes.clone(), &limits());
    let _ = decode_exchange(bytes.clone(), &limits());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_decode_or_are_malformed(bytes: Vec<u8>) {
        decode_all(&bytes.into());
    }

    #[test]
    fn forged_messages_decode_or_are_malformed(
        message in message(),
        request in request(),
        response in response(),
        at: prop::sample::Index,
        bit in 0_u8..8,
        cut: prop::sample::Index,
    ) {
        let message = Item::Message { partition: PARTITION, message: &message };
        let id = RequestId(1);
        let asked = Item::Ask { id, request: &request };
        let answered = Item::Answer { id, response: &response };
        let packets = payloads(Channel::Bulk, &[message, message]);
        for payload in packets.into_iter().chain(payloads(Channel::Request, &[asked, answered])) {
            let mut forged = payload.to_vec();
            let at = at.index(forged.len());
            forged[at] ^= 1 << bit;
            decode_all(&forged.clone().into());
            forged.truncate(cut.index(forged.len()));
            decode_all(&forged.into());
        }
    }
}

fn packet(messages: Vec<wire::PartitionMessage>) -> Bytes {
    wire::Packet { messages }.encode_to_vec().into()
}

fn with_body(body: Wire) -> wire::PartitionMessage {
    wire::PartitionMessage { partition: PARTITION.0.into(), version: 1, round: 1, body: Some(body) }
}

/// What becomes of a message with `body`.
fn read(body: Wire) -> Result<Body, Malformed> {
    read_message(with_body(body))
}

fn read_message(message: wire::PartitionMessage) -> Result<Body, Malformed> {
    let sound = with_body(Wire::Join(true));
    let payload = packet(vec![sound.clone(), message, sound]);
    let read = decode_packet(payload, &limits()).expect("a packet");
    let [first, PartitionMessage { message, .. }, last] = &read[..] else { panic!("{read:?}") };
    assert!(first.message.is_ok() && last.message.is_ok(), "the others count");
    message.clone().map(|message| message.body)
}

fn key() -> Bytes {
    Bytes::copy_from_slice(&PARTITION.0.to_be_bytes())
}

fn read_operation(operation: wire::Operation) -> Result<Body, Malformed> {
    let entry = wire::Entry { operations: vec![operation], ..wire::Entry::default() };
    read(Wire::Append(wire::Append { entries: vec![entry], decided: 0 }))
}

#[test]
fn a_body_of_a_newer_release_is_named_and_the_others_count() {
    let mut newer = with_body(Wire::Join(true));
    newer.body = None;
    let mut bytes = newer.encode_to_vec();
    // Field 200, of bytes.
    bytes.extend(b"\xC2\x0C\x03new");
    let mut payload = packet(vec![with_body(Wire::Join(true))]).to_vec();
    payload.extend([0x0A, u8::try_from(bytes.len()).expect("short")]);
    payload.extend(bytes);
    payload.extend(packet(vec![with_body(Wire::Apart(true))]));
    let read = decode_packet(payload.into(), &limits()).expect("a packet");
    let bodies: Vec<_> =
        read.into_iter().map(|item| item.message.map(|message| message.body)).collect();
    let unknown = Malformed("body of an unknown kind");
    assert_eq!(bodies, [Ok(Body::Join), Err(unknown), Ok(Body::Apart)]);
    assert_eq!(unknown.to_string(), "malformed body of an unknown kind");
}

#[test]
fn fields_of_a_newer_release_are_ignored() {
    let entry = wire::Entry { number: 3, ..wire::Entry::default() };
    let mut bytes =
        with_body(Wire::Append(wire::Append { entries: vec![entry], decided: 2 })).encode_to_vec();
    let known = decode_packet(wrapped(&bytes), &limits()).expect("a packet");
    // A varint, eight bytes, some bytes, a group, and four bytes.
    bytes
        .extend(b"\xC0\x0C\x07\xC1\x0C12345678\xC2\x0C\x03new\xC3\x0C\x08\x01\xC4\x0C\xC5\x0C1234");
    let mut payload = b"\xC2\x0C\x03new".to_vec();
    payload.extend(wrapped(&bytes));
    payload.extend(b"\xC0\x0C\x07\xC3\x0C\xC4\x0C");
    assert_eq!(decode_packet(payload.into(), &limits()), Ok(known));
    let heartbeats = Bytes::from_static(b"\x0A\x06\x0A\x02\x08\x05\x50\x01\x12\x01x");
    assert_eq!(decode_heartbeats(heartbeats).expect("heartbeats").len(), 1);
    assert_eq!(
        decode_exchange(Bytes::from_static(b"\x1A\x01x"), &limits()),
        Ok(Exchange::default())
    );
}

fn wrapped(message: &[u8]) -> Bytes {
    [&[0x0A, u8::try_from(message.len()).expect("short")], message].concat().into()
}

#[test]
fn operations_that_no_machine_makes() {
    let sound = wire::Operation {
        kind: Kind::Put.into(),
        column: wire::Column::Meta.into(),
        key: key(),
        value: Bytes::from_static(b"value"),
    };
    assert!(read_operation(sound.clone()).is_ok());
    let wrong = |operation| read_operation(operation).expect_err("malformed").0;
    let log = wire::Column::Log.into();
    let [delete, range] = [Kind::Delete, Kind::DeleteRange].map(Into::into);
    let record = dds::layout::partition_key(PARTITION);
    let replica = dds::layout::replica_key(PARTITION);
    let other = Bytes::from_static(b"\x01\x03");
    for (operation, what) in [
        (wire::Operation { kind: 0, ..sound.clone() }, "operation of an unknown kind"),
        (wire::Operation { kind: 4, ..sound.clone() }, "operation of an unknown kind"),
        (wire::Operation { column: 0, ..sound.clone() }, "unknown column"),
        (wire::Operation { column: 4, ..sound.clone() }, "unknown column"),
        (wire::Operation { key: Bytes::new(), ..sound.clone() }, "key of another partition"),
        (wire::Operation { key: other.clone(), ..sound.clone() }, "key of another partition"),
        (
            wire::Operation { kind: range, value: other, ..sound.clone() },
            "key of another partition",
        ),
        (wire::Operation { kind: delete, ..sound.clone() }, "delete with a value"),
        (wire::Operation { column: log, key: replica, ..sound.clone() }, "key of the log"),
        (
            wire::Operation { column: log, key: record, kind: range, ..sound.clone() },
            "operation on the log",
        ),
        (wire::Operation { key: vec![1; 300].into(), ..sound.clone() }, "key"),
        (wire::Operation { value: vec![0; 256 * 1024 + 1].into(), ..sound }, "value"),
    ] {
        assert_eq!(wrong(operation), what);
    }
}

#[test]
fn messages_that_no_machine_makes() {
    let wrong = |body| read(body).expect_err("malformed").0;
    let stand = wire::Stand { last: Some(wire::Mark::default()), ..wire::Stand::default() };
    assert_eq!(wrong(Wire::Stand(stand)), "mark");
    assert_eq!(wrong(Wire::Filled(wire::Place::default())), "mark");
    assert_eq!(wrong(Wire::Page(wire::Page::default())), "place");
    let place = wire::Place { mark: Some(wire::Mark::default()), index: u32::MAX };
    assert_eq!(wrong(Wire::Filled(place)), "page out of range");
    let place = wire::Place { mark: Some(wire::Mark::default()), index: 0 };
    let entry = wire::PageEntry { column: wire::Column::Log.into(), key: key(), value: key() };
    let page = wire::Page { place: Some(place), entries: vec![entry], last: true };
    assert_eq!(wrong(Wire::Page(page)), "column of a page");
    for number in [1 << 62, u64::MAX] {
        assert_eq!(wrong(Wire::Fetch(number)), "number out of range");
        assert_eq!(wrong(Wire::Fill(wire::Mark { number, hash: 0 })), "number out of range");
        let newer = wire::PartitionMessage { version: number, ..with_body(Wire::Join(true)) };
        assert_eq!(read_message(newer), Err(Malformed("number out of range")));
    }
    let far = wire::PartitionMessage { partition: 16_384, ..with_body(Wire::Join(true)) };
    assert_eq!(decode_packet(packet(vec![far]), &limits()), Err(Malformed("partition number")));
}

/// An item with so many elements that each take two bytes.
fn empty_elements(path: &[u8], list: u8, elements: usize) -> Bytes {
    let mut bytes: Vec<u8> = std::iter::repeat_n([list << 3 | 2, 0], elements).flatten().collect();
    for field in path.iter().rev() {
        let mut outer = Vec::new();
        prost::encoding::encode_key(
            (*field).into(),
            prost::encoding::WireType::LengthDelimited,
            &mut outer,
        );
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(bytes);
        bytes = outer;
    }
    bytes.into()
}

#[test]
fn the_elements_of_all_lists_are_counted_before_they_are_made() {
    let too_many = Some(Malformed("payload: too many elements"));
    let limits = limits();
    let packet =
        |path, list, elements| decode_packet(empty_elements(path, list, elements), &limits).err();
    let exchange =
        |path, list, elements| decode_exchange(empty_elements(path, list, elements), &limits).err();
    let many = 2 * ELEMENTS_FREE;
    // Messages, entries and their operations, keys, bodies, entries of pages.
    assert_eq!(packet(&[], 1, many), too_many);
    for (path, list) in [
        (&[1, 12][..], 1),
        (&[1, 12, 1], 6),
        (&[1, 15], 1),
        (&[1, 15, 1], 6),
        (&[1, 17], 1),
        (&[1, 18], 1),
        (&[1, 21], 2),
    ] {
        assert_eq!(packet(path, list, many), too_many, "{path:?}");
        assert_eq!(packet(path, list, ELEMENTS_FREE - 10), None, "{path:?}");
    }
    assert_eq!(exchange(&[], 1, many), too_many);
    assert_eq!(exchange(&[], 2, many), too_many);
    // Preconditions and changes, keys, slots, entries of scans.
    for (path, list) in [(&[1, 11], 3), (&[1, 11], 5), (&[1, 12], 2), (&[2, 12], 1), (&[2, 13], 1)]
    {
        assert_eq!(exchange(path, list, many), too_many, "{path:?}");
        assert_eq!(exchange(path, list, ELEMENTS_FREE - 10), None, "{path:?}");
    }
    assert_eq!(decode_heartbeats(empty_elements(&[], 1, many)).err(), too_many);
    let unknown = Err(Malformed("heartbeat of an unknown kind"));
    assert_eq!(decode_heartbeats(empty_elements(&[], 1, 2)), Ok(vec![unknown; 2]));
}

fn read_ask(request: wire::ask::Request) -> &'static str {
    let ask = wire::Ask { id: 7, request: Some(request) };
    let good = wire::Ask { id: 8, request: Some(wire::ask::Request::Claim(key())) };
    let payload = wire::Exchange { asks: vec![ask, good], answers: vec![] }.encode_to_vec();
    let read = decode_exchange(payload.into(), &limits()).expect("an exchange");
    let [(RequestId(7), Err(malformed)), (RequestId(8), Ok(_))] = &read.asks[..] else {
        panic!("{read:?}")
    };
    malformed.0
}

fn change(kind: Kind, key: usize, value: usize) -> wire::Change {
    wire::Change { kind: kind.into(), key: vec![1; key].into(), value: vec![1; value].into() }
}

#[test]
fn requests_over_the_limits() {
    use wire::ask::Request as Ask;
    let long = |bytes: usize| Bytes::from(vec![1; bytes]);
    let batch =
        |change| Ask::Write(wire::Batch { changes: vec![change], ..wire::Batch::default() });
    let many = wire::Batch {
        preconditions: vec![wire::Precondition::default(); 4],
        ..wire::Batch::default()
    };
    let large =
        wire::Batch { changes: vec![change(Kind::Put, 20, 60); 6], ..wire::Batch::default() };
    let vague = wire::Batch {
        preconditions: vec![wire::Precondition::default()],
        ..wire::Batch::default()
    };
    let stray = wire::Batch {
        writer: Some(wire::Writer { epoch: u64::MAX, seq: 1 }),
        ..wire::Batch::default()
    };
    let get = |keys| Ask::Get(wire::Get { route: key(), keys });
    let scan = wire::Scan { route: key(), from: key(), to: long(21), ..wire::Scan::default() };
    let chunk =
        |blob, index, bytes| Ask::PutChunk(wire::PutChunk { blob, index, bytes, expires: 0 });
    for (request, what) in [
        (Ask::Claim(long(256)), "route"),
        (batch(change(Kind::Put, 21, 0)), "key"),
        (batch(change(Kind::Put, 20, 61)), "value"),
        (batch(change(Kind::Delete, 20, 1)), "delete with a value"),
        (batch(change(Kind::DeleteRange, 20, 21)), "key"),
        (batch(change(Kind::Unspecified, 20, 1)), "change of an unknown kind"),
        (Ask::Write(many), "list of preconditions"),
        (Ask::Write(large), "batch"),
        (Ask::Write(vague), "precondition of an unknown kind"),
        (Ask::Write(stray), "number out of range"),
        (get(vec![long(20); 21]), "keys of a get"),
        (get(vec![long(21)]), "key"),
        (Ask::Scan(scan), "key"),
        (chunk(long(15), 0, key()), "blob name"),
        (chunk(long(17), 0, key()), "blob name"),
        (chunk(long(16), 10, key()), "blob"),
        (chunk(long(16), 9, long(dds::CHUNK_BYTES + 1)), "chunk"),
        (Ask::ReadBlob(wire::ReadBlob { blob: long(16), offset: 0, len: 101 }), "read of a blob"),
        (Ask::DropBlob(Bytes::new()), "blob name"),
        (
            Ask::CollectBlobs(wire::CollectBlobs { partition: 16_384, ..Default::default() }),
            "partition number",
        ),
    ] {
        assert_eq!(read_ask(request), what);
    }
}

fn read_answer(response: Option<wire::answer::Response>) -> Result<dds::Response, Malformed> {
    let answer = wire::Answer { id: 7, response };
    let payload = wire::Exchange { asks: vec![], answers: vec![answer] }.encode_to_vec();
    let mut read = decode_exchange(payload.into(), &limits()).expect("an exchange");
    read.answers.pop().expect("one").1
}

#[test]
fn responses_that_no_machine_gives() {
    use wire::answer::Response as Answer;
    let wrong = |response| read_answer(response).expect_err("malformed").0;
    let refused = |reason| Answer::Refused(wire::Refusal { reason });
    let slots = |value, version| wire::Got { slots: vec![wire::Slot { value, version }] };
    let text = wire::refusal::Reason::Corrupt("x".repeat(1025));
    for (response, what) in [
        (None, "response of an unknown kind"),
        (Some(refused(None)), "refusal of an unknown kind"),
        (Some(refused(Some(text))), "text"),
        (Some(Answer::Wrote(wire::Outcome { outcome: None })), "outcome of an unknown kind"),
        (Some(Answer::Got(slots(None, 1))), "version of nothing"),
        (Some(Answer::Got(slots(Some(vec![0; 61].into()), 1))), "value"),
        (Some(Answer::BlobRead(vec![0; 101].into())), "read of a blob"),
    ] {
        assert_eq!(wrong(response), what);
    }
    let newer = wire::refusal::Reason::TooLarge("moon".to_owned());
    let what = "request or its answer";
    let refusal = dds::Response::Refused(dds::Refusal::TooLarge { what });
    assert_eq!(read_answer(Some(refused(Some(newer)))), Ok(refusal));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let what = "é".repeat(600) + "x";
    let response = dds::Response::Refused(dds::Refusal::Corrupt { what });
    let item = Item::Answer { id: RequestId(1), response: &response };
    let [payload] = &payloads(Channel::Request, &[item])[..] else { panic!("one frame") };
    let read = decode_exchange(payload.clone(), &limits()).expect("an exchange");
    let cut = dds::Refusal::Corrupt { what: "é".repeat(512) };
    assert_eq!(read.answers, [(RequestId(1), Ok(dds::Response::Refused(cut)))]);
}
