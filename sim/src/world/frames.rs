//! Packets as the bytes that the transport of a real node makes of them, and what a newer release adds to them.
//!
//! A newer release puts fields into everything that an older one does not know, and says things of kinds that it does not know. It must
//! overlook the first and skip the second, and take the rest of the same frame as if they were not there.

use super::World;
use bytes::Bytes;
use dds::cluster::{Incarnation, NodeId, Session};
use dds::wire::{
    Channel, ClusterId, Envelope, FrameWriter, Framer, Item, Malformed, decode_exchange,
    decode_frame, decode_heartbeats, decode_letters, decode_packet,
};
use vspace::{Letter, Packet};

/// The release that is written here, and the one after it: what each knows.
pub const THIS_RELEASE: u32 = dds::cluster::PLACES;
pub const NEXT_RELEASE: u32 = THIS_RELEASE + 1;

/// Of fields that no release has yet.
const LATER: u32 = 1_000;
/// Of the payload in a frame.
const PAYLOAD: u32 = 8;
/// Of lists that no release has yet.
const LATER_LIST: u32 = 15;

fn channel_of(packet: &Packet) -> Channel {
    match packet {
        Packet::Link(_) => Channel::Heartbeat,
        Packet::Control(_) => Channel::Control,
        Packet::Replica { .. } => Channel::Replication,
        Packet::Ask { .. } | Packet::Answer { .. } => Channel::Request,
        Packet::Letter(_) => Channel::Letter,
    }
}

impl World {
    /// What arrives of a packet: `None` when it is too large to be sent.
    pub(super) fn through_bytes(
        &mut self,
        (from, to): (NodeId, NodeId),
        packet: &Packet,
        release: u32,
    ) -> Option<Packet> {
        let channel = channel_of(packet);
        let (cluster, incarnation, session) = (ClusterId(1), Incarnation(1), Session(1));
        let envelope = Envelope { cluster, from, to, incarnation, session, channel };
        let mut writer = FrameWriter::new(&envelope);
        let written = match packet {
            Packet::Link(message) => writer.push(Item::Heartbeat(message)),
            Packet::Control(bytes) => writer.push_payload(bytes),
            Packet::Replica { partition, message } => {
                writer.push(Item::Message { partition: *partition, message })
            }
            Packet::Ask { id, request } => writer.push(Item::Ask { id: *id, request }),
            Packet::Answer { id, response } => writer.push(Item::Answer { id: *id, response }),
            Packet::Letter(letter) => writer.push(Item::Letter(&letter.encode())),
        };
        written.ok()?;
        let mut framer = Framer::default();
        let mut bytes = writer.take();
        if release > THIS_RELEASE {
            bytes = later_frame(&bytes, channel).into();
            self.coverage.action("packet of a newer release");
        }
        assert_eq!(framer.feed(&bytes), bytes.len(), "one frame is taken at once");
        let frame = framer.take().ok().flatten().expect("a whole frame was fed");
        match self.read_frame(frame) {
            Ok(packet) => Some(packet),
            Err(error) => panic!("{packet:?} can't be read: {error:?}"),
        }
    }

    /// The one item of a frame that is of a known kind.
    fn read_frame(&mut self, bytes: Bytes) -> Result<Packet, Malformed> {
        let frame = decode_frame(bytes)?;
        let (payload, limits) = (frame.payload, &self.limits);
        let none = Malformed("nothing is known of it");
        match frame.envelope.channel {
            Channel::Heartbeat => {
                let known = decode_heartbeats(payload)?.into_iter().find_map(Result::ok);
                known.map(Packet::Link).ok_or(none)
            }
            Channel::Control => Ok(Packet::Control(payload)),
            Channel::Replication | Channel::Bulk => {
                let known = decode_packet(payload, limits)?.into_iter().find_map(|item| {
                    let (partition, message) = (item.partition, item.message.ok()?);
                    Some(Packet::Replica { partition, message })
                });
                known.ok_or(none)
            }
            Channel::Request => {
                let exchange = decode_exchange(payload, limits)?;
                let asks = exchange.asks.into_iter();
                let ask = asks.filter_map(|(id, it)| Some(Packet::Ask { id, request: it.ok()? }));
                let answers = exchange.answers.into_iter();
                let answer =
                    answers.filter_map(|(id, it)| Some(Packet::Answer { id, response: it.ok()? }));
                ask.chain(answer).next().ok_or(none)
            }
            Channel::Letter => {
                let letters = decode_letters(payload)?;
                let known = letters.iter().find_map(|bytes| Letter::decode(bytes).ok());
                known.map(Packet::Letter).ok_or(none)
            }
        }
    }
}

/// The same frame, its length before it, with what an older release does not know.
fn later_frame(bytes: &[u8], channel: Channel) -> Vec<u8> {
    let mut frame = Vec::new();
    for (field, value) in fields(bytes.get(4..).unwrap_or_default()) {
        match (field, value) {
            (PAYLOAD, Value::Bytes(payload)) => {
                let payload = later_payload(payload, channel);
                put_bytes(&mut frame, PAYLOAD, &payload);
            }
            (field, Value::Bytes(bytes)) => put_bytes(&mut frame, field, bytes),
            (field, Value::Number(number)) => put_number(&mut frame, field, number),
            (field, Value::Fixed64(fixed)) => {
                put_varint(&mut frame, u64::from(field) << 3 | 1);
                frame.extend_from_slice(fixed);
            }
        }
    }
    put_later(&mut frame);
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes()[..], &frame].concat()
}

fn later_payload(payload: &[u8], channel: Channel) -> Vec<u8> {
    let mut out = Vec::new();
    if channel == Channel::Control {
        out.extend_from_slice(payload);
        put_later(&mut out);
        return out;
    }
    put_bytes(&mut out, LATER_LIST, b"of a list that comes later");
    for (list, value) in fields(payload) {
        let Value::Bytes(item) = value else { continue };
        if channel == Channel::Letter {
            // A kind of letter that comes later.
            put_bytes(&mut out, list, b"\x81\xA5Later\x80");
            put_bytes(&mut out, list, &later_letter(item));
            continue;
        }
        let mut kind = Vec::new();
        put_bytes(&mut kind, 99, b"of a kind that comes later");
        put_bytes(&mut out, list, &kind);
        let mut item = item.to_vec();
        put_later(&mut item);
        put_bytes(&mut out, list, &item);
    }
    out
}

/// A letter whose record has one field more: `{kind: {fields}}` in MessagePack.
fn later_letter(letter: &[u8]) -> Vec<u8> {
    let mut out = letter.to_vec();
    let name = match letter {
        [0x81, name, ..] if name & 0xE0 == 0xA0 => usize::from(name & 0x1F),
        // A kind without fields.
        _ => return out,
    };
    if let Some(head) = out.get_mut(2 + name)
        && (0x80..0x8F).contains(head)
    {
        *head += 1;
        out.extend_from_slice(b"\xA5later\x93\x01\x02\x03");
    }
    out
}

enum Value<'a> {
    Number(u64),
    Fixed64(&'a [u8]),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message that this program has written.
fn fields(mut bytes: &[u8]) -> Vec<(u32, Value<'_>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)),
            1 => Value::Fixed64(split(&mut bytes, 8)),
            _ => {
                let len = varint(&mut bytes);
                Value::Bytes(split(&mut bytes, usize::try_from(len).unwrap_or(0)))
            }
        };
        all.push((u32::try_from(key >> 3).unwrap_or(0), value));
    }
    all
}

fn split<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(len);
    *bytes = rest;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = split(bytes, 1)[0];
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Two fields that come later.
fn put_later(out: &mut Vec<u8>) {
    put_number(out, LATER, 7);
    put_bytes(out, LATER + 1, b"later");
}
