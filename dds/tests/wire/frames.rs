//! The framer and the envelope.

use crate::{PARTITION, cut, envelope};
use bytes::Bytes;
use dds::replica::{Body, Entry, Message, Page};
use dds::wire::{
    Channel, FRAME_BYTES_MAX, FrameError, FrameWriter, Framer, Item, Malformed, answer_that_fits,
    decode_exchange, decode_frame, decode_packet,
};
use dds::{Column, GroupVersion, Limits, StoreOp};
use prost::Message as _;
use std::sync::Arc;

fn stream(frames: &[&[u8]]) -> Vec<u8> {
    let prefixed = |frame: &&[u8]| {
        let length = u32::try_from(frame.len()).expect("small").to_be_bytes();
        [&length[..], frame].concat()
    };
    frames.iter().flat_map(prefixed).collect()
}

fn feed_all(framer: &mut Framer, mut bytes: &[u8]) -> Result<Vec<Bytes>, FrameError> {
    let mut frames = Vec::new();
    loop {
        let used = framer.feed(bytes);
        bytes = &bytes[used..];
        while let Some(frame) = framer.take()? {
            frames.push(frame);
        }
        if bytes.is_empty() {
            return Ok(frames);
        }
        assert!(used > 0, "it makes progress");
    }
}

#[test]
fn cuts_change_nothing() {
    let frames = [&b"one"[..], b"", b"0123456789", b"x", b"last"];
    let stream = stream(&frames);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let mut framer = Framer::new(10);
            let mut read = Vec::new();
            for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                read.extend(feed_all(&mut framer, piece).expect("frames"));
            }
            assert_eq!(read, frames, "cut at {first} and {second}");
            assert_eq!(framer.buffered(), 0);
        }
    }
}

#[test]
fn byte_by_byte() {
    let frames = [&b"one"[..], b"", b"0123456789"];
    let mut framer = Framer::new(10);
    let mut read = Vec::new();
    for byte in stream(&frames) {
        read.extend(feed_all(&mut framer, &[byte]).expect("frames"));
        assert!(framer.buffered() < 14);
    }
    assert_eq!(read, frames);
}

#[test]
fn no_more_than_one_frame_is_kept() {
    let stream = stream(&[&[7; 10], &[8; 10], &[9; 10]]);
    let mut framer = Framer::new(10);
    assert_eq!(framer.feed(&stream), 14);
    assert_eq!(framer.feed(&stream[14..]), 0);
    assert_eq!(framer.take(), Ok(Some(Bytes::from_static(&[7; 10]))));
    assert_eq!(framer.take(), Ok(None));
    assert_eq!(framer.feed(&stream[14..]), 14);
}

#[test]
fn an_error_is_final() {
    let stream = [&stream(&[b"good"])[..], b"\0\0\0\x0B", &stream(&[b"late"])].concat();
    for cut in 0..=stream.len() {
        let mut framer = Framer::new(10);
        let error = FrameError::TooLong { bytes: 11 };
        let first = feed_all(&mut framer, &stream[..cut]);
        assert_eq!(first.is_err(), cut >= 12, "cut at {cut}");
        let rest = feed_all(&mut framer, &stream[cut..]);
        assert_eq!(rest, Err(error));
        assert_eq!(framer.feed(b"\0\0\0\0"), 0);
        assert_eq!((framer.take(), framer.buffered()), (Err(error), 0));
    }
    let mut framer = Framer::default();
    assert_eq!(framer.feed(&[1, 0, 0, 1]), 4);
    assert_eq!(framer.take(), Err(FrameError::TooLong { bytes: FRAME_BYTES_MAX + 1 }));
}

#[test]
fn frames_of_other_releases() {
    let sound = proto::cluster::Frame {
        wire_version: 1,
        cluster: 1,
        from: 1,
        to: 2,
        incarnation: 3,
        session: 4,
        channel: 5,
        payload: Bytes::from_static(b"payload"),
    };
    let read = |frame: &proto::cluster::Frame| {
        decode_frame(frame.encode_to_vec().into()).map(|frame| frame.envelope.channel)
    };
    assert_eq!(read(&sound), Ok(Channel::Request));
    let newer = proto::cluster::Frame { wire_version: 2, ..sound.clone() };
    assert_eq!(read(&newer), Err(Malformed("frame of an unknown version")));
    let other = proto::cluster::Frame { channel: 7, ..sound.clone() };
    assert_eq!(read(&other), Err(Malformed("frame of an unknown channel")));
    let nobody = proto::cluster::Frame { from: 0, ..sound.clone() };
    assert_eq!(read(&nobody), Err(Malformed("node number")));
    let far = proto::cluster::Frame { to: 70_000, ..sound };
    assert_eq!(read(&far), Err(Malformed("node number")));
    assert_eq!(decode_frame(Bytes::new()), Err(Malformed("frame of an unknown version")));
}

#[test]
fn a_payload_that_was_encoded_elsewhere() {
    let mut writer = FrameWriter::new(&envelope(Channel::Control));
    assert_eq!(writer.push_payload(b"one"), Ok(()));
    assert_eq!(writer.push_payload(b""), Ok(()));
    assert!(writer.push_payload(&vec![0; FRAME_BYTES_MAX]).is_err());
    let payloads = cut(&writer.take()).into_iter().map(|frame| {
        let frame = decode_frame(frame).expect("a frame");
        assert_eq!(frame.envelope, envelope(Channel::Control));
        frame.payload
    });
    assert_eq!(payloads.collect::<Vec<_>>(), [&b"one"[..], b""]);
}

/// A body and a page of the largest values.
fn large_messages() -> [Message; 2] {
    let key = Bytes::copy_from_slice(&PARTITION.0.to_be_bytes());
    let value = Bytes::from(vec![7; 256 * 1024]);
    let ops = vec![StoreOp::Put { column: Column::Bodies, key: key.clone(), value: value.clone() }];
    let version = GroupVersion(1);
    let entry = Entry { version, number: 1, before: 0, hash: 0, frees_space: false, ops };
    let bodies = [
        Body::Append { entries: vec![Arc::new(entry)], decided: 0 },
        Body::Page {
            mark: dds::replica::Mark::default(),
            page: Page { index: 0, entries: vec![(Column::Bodies, key, value)], last: true },
        },
    ];
    bodies.map(|body| Message { version, round: dds::replica::Round(1), body })
}

#[test]
fn values_are_not_copied() {
    let mut writer = FrameWriter::new(&envelope(Channel::Bulk));
    for message in &large_messages() {
        writer.push(Item::Message { partition: PARTITION, message }).expect("small");
    }
    let [frame] = &cut(&writer.take())[..] else { panic!("one frame") };
    let range = frame.as_ptr_range();
    let payload = decode_frame(frame.clone()).expect("a frame").payload;
    assert!(range.contains(&payload.as_ptr()));
    let packet = decode_packet(payload, &Limits::default()).expect("a packet");
    let values = packet.iter().map(|item| match item.message.as_ref().expect("sound").body {
        Body::Append { ref entries, .. } => match &entries[0].ops[0] {
            StoreOp::Put { value, .. } => value.clone(),
            other => panic!("{other:?}"),
        },
        Body::Page { ref page, .. } => page.entries[0].2.clone(),
        ref other => panic!("{other:?}"),
    });
    for value in values {
        assert_eq!(value.len(), 256 * 1024);
        assert!(range.contains(&value.as_ptr()));
    }
}

#[test]
fn a_full_frame_is_followed_by_another() {
    let [message, _] = large_messages();
    let mut writer = FrameWriter::new(&envelope(Channel::Replication));
    for _ in 0..100 {
        writer.push(Item::Message { partition: PARTITION, message: &message }).expect("small");
    }
    let frames = cut_in_turn(&writer.take());
    assert_eq!(frames.len(), 2);
    let mut read = 0;
    for frame in frames {
        assert!(frame.len() <= FRAME_BYTES_MAX);
        let payload = decode_frame(frame).expect("a frame").payload;
        read += decode_packet(payload, &Limits::default()).expect("a packet").len();
    }
    assert_eq!(read, 100);
}

#[test]
fn an_answer_that_is_too_large_says_so() {
    let value = Some((Bytes::from(vec![7; 64 * 1024]), dds::Version(1)));
    let got = |count: usize| dds::Response::Got(vec![value.clone(); count]);
    let small = answer_that_fits(got(127));
    assert_eq!(small, got(127));
    let mut writer = FrameWriter::new(&envelope(Channel::Request));
    let answer = |response| Item::Answer { id: dds::wire::RequestId(1), response };
    assert_eq!(writer.push(answer(&small)), Ok(()));
    let large = got(300);
    assert!(writer.push(answer(&large)).is_err());
    let refused = answer_that_fits(got(300));
    assert!(matches!(refused, dds::Response::Refused(dds::Refusal::TooLarge { .. })));
    // Many that are not there take room, too.
    let nothing = dds::Response::Got(vec![None; 32 * 1024]);
    assert_eq!(answer_that_fits(nothing.clone()), nothing);
    assert_eq!(writer.push(answer(&nothing)), Ok(()));
    let payloads = cut_in_turn(&writer.take()).into_iter();
    let read = payloads.flat_map(|frame| {
        let payload = decode_frame(frame).expect("a frame").payload;
        decode_exchange(payload, &Limits::default()).expect("an exchange").answers
    });
    assert!(read.map(|(_, answer)| answer).eq([Ok(small), Ok(nothing)]));
}

fn cut_in_turn(bytes: &[u8]) -> Vec<Bytes> {
    feed_all(&mut Framer::default(), bytes).expect("frames")
}
