//! The bytes between nodes: golden ones, round trips, hostile ones, and frames.

mod frames;
mod golden;
mod hostile;
mod round_trip;
mod strategies;

use dds::PartitionId;
use dds::cluster::{Incarnation, NodeId, Session};
use dds::wire::{Channel, ClusterId, Envelope, FrameWriter, Framer, Item, decode_frame};

const PARTITION: PartitionId = PartitionId(0x0102);

fn envelope(channel: Channel) -> Envelope {
    Envelope {
        cluster: ClusterId(0x0807_0605_0403_0201),
        from: NodeId(1),
        to: NodeId(300),
        incarnation: Incarnation(11),
        session: Session(5),
        channel,
    }
}

/// The payloads of the frames that `items` make.
fn payloads(channel: Channel, items: &[Item<'_>]) -> Vec<bytes::Bytes> {
    let mut writer = FrameWriter::new(&envelope(channel));
    for item in items {
        writer.push(*item).expect("small");
    }
    cut(&writer.take())
        .into_iter()
        .map(|frame| {
            let frame = decode_frame(frame).expect("a frame");
            assert_eq!(frame.envelope, envelope(channel));
            frame.payload
        })
        .collect()
}

/// The frames in `bytes`, all of them whole.
fn cut(bytes: &[u8]) -> Vec<bytes::Bytes> {
    let (mut framer, mut frames) = (Framer::default(), Vec::new());
    assert_eq!(framer.feed(bytes), bytes.len());
    while let Some(frame) = framer.take().expect("frames") {
        frames.push(frame);
    }
    assert_eq!(framer.buffered(), 0);
    frames
}
