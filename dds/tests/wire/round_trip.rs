//! What one node says is what another reads, in any number of frames.

use crate::strategies::{heartbeat, limits, message, request, response};
use crate::{PARTITION, cut, envelope, payloads};
use dds::wire::{
    Channel, FrameWriter, Item, PartitionMessage, RequestId, decode_exchange, decode_frame,
    decode_heartbeats, decode_packet,
};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn messages(messages in vec(message(), 1..6)) {
        let item = |message| Item::Message { partition: PARTITION, message };
        let items: Vec<_> = messages.iter().map(item).collect();
        let [payload] = &payloads(Channel::Replication, &items)[..] else { panic!("one frame") };
        let read = decode_packet(payload.clone(), &limits()).expect("a packet");
        let expected = messages.into_iter().map(|message| PartitionMessage {
            partition: PARTITION,
            message: Ok(message),
        });
        prop_assert_eq!(read, expected.collect::<Vec<_>>());
    }

    #[test]
    fn heartbeats(messages in vec(heartbeat(), 1..4)) {
        let items: Vec<_> = messages.iter().map(Item::Heartbeat).collect();
        let [payload] = &payloads(Channel::Heartbeat, &items)[..] else { panic!("one frame") };
        let expected = messages.into_iter().map(Ok).collect::<Vec<_>>();
        prop_assert_eq!(decode_heartbeats(payload.clone()), Ok(expected));
    }

    #[test]
    fn exchanges(
        asks in vec((any::<u64>().prop_map(RequestId), request()), 0..4),
        answers in vec((any::<u64>().prop_map(RequestId), response()), 1..4),
    ) {
        let ask = |(id, request)| Item::Ask { id, request };
        let answer = |(id, response)| Item::Answer { id, response };
        let asked = asks.iter().map(|(id, request)| ask((*id, request)));
        let answered = answers.iter().map(|(id, response)| answer((*id, response)));
        let items: Vec<_> = answered.chain(asked).collect();
        let [payload] = &payloads(Channel::Request, &items)[..] else { panic!("one frame") };
        let read = decode_exchange(payload.clone(), &limits()).expect("an exchange");
        let asks: Vec<_> = asks.into_iter().map(|(id, request)| (id, Ok(request))).collect();
        let answers: Vec<_> = answers.into_iter().map(|(id, answer)| (id, Ok(answer))).collect();
        prop_assert_eq!((read.asks, read.answers), (asks, answers));
    }

    #[test]
    fn small_frames(messages in vec(message(), 1..12), frame_bytes_max in 60_usize..2000) {
        let mut writer = FrameWriter::new(&envelope(Channel::Bulk)).with_frames_of(frame_bytes_max);
        let mut expected = Vec::new();
        for message in messages {
            let before = writer.bytes();
            match writer.push(Item::Message { partition: PARTITION, message: &message }) {
                Ok(()) => expected.push(message),
                Err(oversize) => {
                    prop_assert!(oversize.bytes > frame_bytes_max);
                    prop_assert_eq!(writer.bytes(), before);
                }
            }
        }
        let mut read = Vec::new();
        for frame in cut(&writer.take()) {
            prop_assert!(frame.len() <= frame_bytes_max);
            let payload = decode_frame(frame).expect("a frame").payload;
            let packet = decode_packet(payload, &limits()).expect("a packet");
            prop_assert!(!packet.is_empty());
            read.extend(packet.into_iter().map(|item| item.message.expect("a message")));
        }
        prop_assert_eq!(read, expected);
        prop_assert!(writer.take().is_empty());
    }
}
