//! What nodes say to each other about partitions, as bytes: `proto/hikyaku/peer/v1/peer.proto`, in the frames of
//! `proto/hikyaku/cluster/v1/cluster.proto`.
//!
//! On a connection each frame stands behind its length: [`Framer`] cuts the bytes that arrive into frames, [`FrameWriter`] puts all
//! that a flush has to say to one node, over all partitions, into one buffer. A frame is an [`Envelope`] and a payload; the
//! channel says what the payload is, and so which of the `decode_` functions reads it.
//!
//! What is wrong with a payload as a whole is an error of the connection. What is wrong with one item of it, a limit exceeded or a
//! kind that only a newer release knows, is an error of that item, and the others count: one partition does not stop the rest.
//!
//! Invariants: any bytes are decoded without panics, with memory in proportion to their length; what was decoded is within the
//! limits, keeps to the keys of its partition, and has numbers that can be counted on. Values are not copied: they refer to the
//! buffer of the frame, and hold it as long as they live.
//!
//! Absences: no socket and no clock; nothing here knows what a message is for, or who is primary.

mod bounds;
mod frame;
mod frame_writer;
mod framer;
mod heartbeats;
mod items;
mod limits;
mod packet;
mod requests;
mod responses;

pub use crate::cluster::Malformed;
pub use frame::{Channel, ClusterId, Envelope, Frame, decode_frame};
pub use frame_writer::{FrameWriter, Item, Oversize};
pub use framer::{FrameError, Framer};
pub use heartbeats::{decode_heartbeats, encode_heartbeat};
pub use limits::{ELEMENT_BYTES_MIN, ELEMENTS_FREE, FRAME_BYTES_MAX, NUMBER_MAX, TEXT_BYTES_MAX};
pub use packet::{PartitionMessage, decode_packet, encode_message};
pub use requests::{RequestId, decode_ask, encode_ask};
pub use responses::{answer_that_fits, decode_answer, encode_answer};

use bytes::Bytes;
use items::Items;
use proto::peer as wire;

type Decoded<T> = Result<T, Malformed>;

/// Number of the list in a payload of [`Channel::Letter`].
const LETTERS: u32 = 1;

/// Reads the payload of a frame of [`Channel::Letter`].
///
/// # Errors
/// When the bytes are no list.
pub fn decode_letters(payload: Bytes) -> Decoded<Vec<Bytes>> {
    let mut items = Items::new(payload);
    let mut letters = Vec::new();
    while let Some((tag, bytes)) = items.next()? {
        if tag == LETTERS {
            letters.push(bytes);
        }
    }
    Ok(letters)
}

/// What a payload of [`Channel::Request`] holds. Who can't read an ask answers it with a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    pub asks: Vec<(RequestId, Result<crate::Request, Malformed>)>,
    pub answers: Vec<(RequestId, Result<crate::Response, Malformed>)>,
}

/// Reads the payload of a frame of [`Channel::Request`].
///
/// # Errors
/// When the bytes are no list of requests and responses.
pub fn decode_exchange(payload: Bytes, limits: &crate::Limits) -> Decoded<Exchange> {
    let mut exchange = Exchange::default();
    let mut items = Items::new(payload);
    while let Some((tag, bytes)) = items.next()? {
        match tag {
            requests::ASKS => {
                let ask: wire::Ask = items.read(bytes, &requests::ASK, "ask")?;
                exchange.asks.push((RequestId(ask.id), decode_ask(ask, limits)));
            }
            responses::ANSWERS => {
                let answer: wire::Answer = items.read(bytes, &responses::ANSWER, "answer")?;
                exchange.answers.push((RequestId(answer.id), decode_answer(answer, limits)));
            }
            _ => {}
        }
    }
    Ok(exchange)
}
