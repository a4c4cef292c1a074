//! Bytes between nodes: cuts change no frame, and what decodes is said again and means the same.
#![no_main]

use bytes::Bytes;
use dds::Limits;
use dds::cluster::{Incarnation, NodeId, Session};
use dds::wire::{
    Channel, ClusterId, Envelope, Frame, FrameError, FrameWriter, Framer, Item, PartitionMessage,
    decode_exchange, decode_frame, decode_heartbeats, decode_letters, decode_packet,
};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: usize = 4096;

/// Counts small enough to be exceeded. What a key or a value may be at least is said by the layout.
fn limits() -> Limits {
    Limits {
        key_bytes_max: 16,
        value_bytes_max: 64,
        batch_bytes_max: 256,
        preconditions_max: 2,
        blob_chunks_max: 16,
        blob_read_bytes_max: 128,
        ..Limits::default()
    }
}

fn framed(stream: &[u8], cut: usize) -> (Vec<Bytes>, Option<FrameError>) {
    let (mut framer, mut frames) = (Framer::new(FRAME_BYTES_MAX), Vec::new());
    for mut piece in stream.chunks(cut) {
        loop {
            piece = &piece[framer.feed(piece)..];
            assert!(framer.buffered() <= FRAME_BYTES_MAX + 4);
            match framer.take() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if piece.is_empty() => break,
                Ok(None) => {}
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The payload of what is said again.
fn said(channel: Channel, items: &[Item<'_>]) -> Bytes {
    let envelope = Envelope {
        cluster: ClusterId(1),
        from: NodeId(1),
        to: NodeId(2),
        incarnation: Incarnation(3),
        session: Session(4),
        channel,
    };
    let mut writer = FrameWriter::new(&envelope);
    for item in items {
        writer.push(*item).expect("no larger than what was read");
    }
    let bytes = writer.take();
    if items.is_empty() {
        return bytes;
    }
    let mut framer = Framer::default();
    assert_eq!(framer.feed(&bytes), bytes.len());
    let frame = framer.take().expect("sound").expect("whole");
    assert_eq!(framer.take(), Ok(None));
    let Frame { envelope: read, payload } = decode_frame(frame).expect("a frame");
    assert_eq!(read, envelope);
    payload
}

fn packet(payload: Bytes) {
    let Ok(packet) = decode_packet(payload, &limits()) else { return };
    let item = |item: &PartitionMessage| Some((item.partition, item.message.clone().ok()?));
    let read: Vec<_> = packet.iter().filter_map(item).collect();
    let items: Vec<_> = read
        .iter()
        .map(|(partition, message)| Item::Message { partition: *partition, message })
        .collect();
    let again = decode_packet(said(Channel::Bulk, &items), &limits()).expect("what was said");
    let again: Vec<_> = again.iter().map(|again| item(again).expect("sound")).collect();
    assert_eq!(again, read);
}

fn exchange(payload: Bytes) {
    let Ok(mut exchange) = decode_exchange(payload, &limits()) else { return };
    exchange.asks.retain(|(_, request)| request.is_ok());
    exchange.answers.retain(|(_, response)| response.is_ok());
    let asks = exchange
        .asks
        .iter()
        .map(|(id, request)| Item::Ask { id: *id, request: request.as_ref().expect("kept") });
    let answers = exchange
        .answers
        .iter()
        .map(|(id, response)| Item::Answer { id: *id, response: response.as_ref().expect("kept") });
    let items: Vec<_> = asks.chain(answers).collect();
    assert_eq!(decode_exchange(said(Channel::Request, &items), &limits()), Ok(exchange));
}

fn heartbeats(payload: Bytes) {
    let Ok(mut messages) = decode_heartbeats(payload) else { return };
    messages.retain(Result::is_ok);
    let items: Vec<_> = messages.iter().flatten().map(Item::Heartbeat).collect();
    assert_eq!(decode_heartbeats(said(Channel::Heartbeat, &items)), Ok(messages));
}

fn letters(payload: Bytes) {
    let Ok(letters) = decode_letters(payload) else { return };
    let items: Vec<_> = letters.iter().map(|letter| Item::Letter(letter)).collect();
    assert_eq!(decode_letters(said(Channel::Letter, &items)), Ok(letters));
}

fuzz_target!(|data: &[u8]| {
    let [options, content @ ..] = data else { return };
    let payload = Bytes::copy_from_slice(content);
    match options & 3 {
        0 => packet(payload),
        1 => exchange(payload),
        2 => heartbeats(payload),
        _ => {
            let cut = 1 + usize::from(options >> 2);
            let whole = framed(content, content.len().max(1));
            assert_eq!(whole, framed(content, cut));
            for frame in whole.0 {
                let Ok(Frame { envelope, payload }) = decode_frame(frame) else { continue };
                match envelope.channel {
                    Channel::Heartbeat => heartbeats(payload),
                    Channel::Control => {}
                    Channel::Replication | Channel::Bulk => packet(payload),
                    Channel::Request => exchange(payload),
                    Channel::Letter => letters(payload),
                }
            }
        }
    }
});
