//! Frames to one node on one channel, appended to one buffer.
//!
//! What is pushed goes into the frame that is open; a full one is closed, and another begins behind it. So a flush is one buffer,
//! written once, whatever number of partitions it speaks for, and each item is encoded straight into it.
//!
//! A frame is `length: u32 big-endian, envelope, payload`. The length of the payload is known at its end, so its place is
//! kept: four bytes of a varint, with leading zeros if need be, which every reader of the format takes.

use super::frame::{Channel, Envelope};
use super::limits::FRAME_BYTES_MAX;
use super::{RequestId, encode_answer, encode_ask, encode_heartbeat, encode_message};
use super::{heartbeats, packet, requests, responses};
use crate::{PartitionId, Request, Response, links, replica};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

const LENGTH_BYTES: usize = 4;
const PAYLOAD_LENGTH_BYTES: usize = 4;
/// Number of the payload in `Frame`.
const PAYLOAD: u32 = 8;

/// One thing to say. Each kind has its channel.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    Heartbeat(&'a links::Message),
    /// In replication and in bulk.
    Message {
        partition: PartitionId,
        message: &'a replica::Message,
    },
    Ask {
        id: RequestId,
        request: &'a Request,
    },
    Answer {
        id: RequestId,
        response: &'a Response,
    },
    /// What this crate knows nothing about.
    Letter(&'a [u8]),
}

/// The item alone is too large for a frame. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are too many for a frame")]
pub struct Oversize {
    pub bytes: usize,
}

/// See the head of the file.
#[derive(Debug)]
pub struct FrameWriter {
    channel: Channel,
    /// The fields before the payload, and the key of the payload.
    head: Vec<u8>,
    out: BytesMut,
    /// Where the open frame begins.
    open: Option<usize>,
    frame_bytes_max: usize,
}

impl FrameWriter {
    #[must_use]
    pub fn new(envelope: &Envelope) -> Self {
        let mut head = envelope.encode();
        encode_key(PAYLOAD, WireType::LengthDelimited, &mut head);
        let (out, open) = (BytesMut::new(), None);
        Self { channel: envelope.channel, head, out, open, frame_bytes_max: FRAME_BYTES_MAX }
    }

    /// With smaller frames, for a simulation.
    #[must_use]
    pub fn with_frames_of(self, frame_bytes_max: usize) -> Self {
        Self { frame_bytes_max: frame_bytes_max.min(FRAME_BYTES_MAX), ..self }
    }

    /// Appends `item`.
    ///
    /// # Errors
    /// When it is too large for any frame.
    ///
    /// # Panics
    /// When it does not belong on this channel.
    pub fn push(&mut self, item: Item<'_>) -> Result<(), Oversize> {
        match item {
            Item::Heartbeat(message) => {
                assert_eq!(self.channel, Channel::Heartbeat);
                self.append(heartbeats::HEARTBEATS, &encode_heartbeat(message))
            }
            Item::Message { partition, message } => {
                assert!(matches!(self.channel, Channel::Replication | Channel::Bulk));
                self.append(packet::MESSAGES, &encode_message(partition, message))
            }
            Item::Ask { id, request } => {
                assert_eq!(self.channel, Channel::Request);
                self.append(requests::ASKS, &encode_ask(id, request))
            }
            Item::Answer { id, response } => {
                assert_eq!(self.channel, Channel::Request);
                self.append(responses::ANSWERS, &encode_answer(id, response))
            }
            Item::Letter(bytes) => {
                assert_eq!(self.channel, Channel::Letter);
                self.append_with(super::LETTERS, bytes.len(), |out| out.put_slice(bytes))
            }
        }
    }

    /// Appends a frame of its own for a payload that has been encoded elsewhere: a control message.
    ///
    /// # Errors
    /// When it is too large for a frame.
    pub fn push_payload(&mut self, payload: &[u8]) -> Result<(), Oversize> {
        self.check_size(payload.len())?;
        self.close();
        self.open();
        self.out.put_slice(payload);
        self.close();
        Ok(())
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Whole frames with all that was pushed; empty when that is nothing.
    #[must_use]
    pub fn take(&mut self) -> Bytes {
        self.close();
        self.out.split().freeze()
    }

    fn append(&mut self, list: u32, item: &impl Message) -> Result<(), Oversize> {
        self.append_with(list, item.encoded_len(), |out| item.encode_raw(out))
    }

    fn append_with(
        &mut self,
        list: u32,
        len: usize,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Oversize> {
        // The numbers of the lists are below 16: their keys take one byte.
        let needed = 1 + encoded_len_varint(len as u64) + len;
        self.check_size(needed)?;
        let payload = self.open.map_or(0, |open| self.out.len() - open - self.before_payload());
        if payload > 0 && self.check_size(payload + needed).is_err() {
            self.close();
        }
        if self.open.is_none() {
            self.open();
        }
        self.out.reserve(needed);
        encode_key(list, WireType::LengthDelimited, &mut self.out);
        encode_varint(len as u64, &mut self.out);
        put(&mut self.out);
        Ok(())
    }

    /// Whether a payload of that size fits into a frame.
    fn check_size(&self, payload: usize) -> Result<(), Oversize> {
        let bytes = self.before_payload() - LENGTH_BYTES + payload;
        if bytes <= self.frame_bytes_max { Ok(()) } else { Err(Oversize { bytes }) }
    }

    fn before_payload(&self) -> usize {
        LENGTH_BYTES + self.head.len() + PAYLOAD_LENGTH_BYTES
    }

    fn open(&mut self) {
        self.open = Some(self.out.len());
        self.out.put_u32(0);
        self.out.put_slice(&self.head);
        self.out.put_slice(&[0; PAYLOAD_LENGTH_BYTES]);
    }

    /// Fills in the lengths.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let payload = self.out.len() - open - self.before_payload();
        let length = u32::try_from(self.out.len() - open - LENGTH_BYTES)
            .expect("a frame has at most FRAME_BYTES_MAX");
        let payload_at = open + LENGTH_BYTES + self.head.len();
        self.out[open..open + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        self.out[payload_at..payload_at + PAYLOAD_LENGTH_BYTES]
            .copy_from_slice(&padded_varint(payload));
    }
}

/// A varint of four bytes: 28 bits, more than the size of a frame has.
fn padded_varint(number: usize) -> [u8; PAYLOAD_LENGTH_BYTES] {
    const { assert!(FRAME_BYTES_MAX < 1 << 28) };
    let group = |index: usize| (number >> (7 * index)).to_le_bytes()[0] & 0x7F;
    [group(0) | 0x80, group(1) | 0x80, group(2) | 0x80, group(3)]
}
