//! The envelope of a frame: who says it to whom, in which life, and on which channel.

use super::{Decoded, Malformed};
use crate::cluster::{Incarnation, NodeId, Session};
use bytes::Bytes;
use prost::Message;
use proto::cluster as wire;

/// The only version there is: the form of frames. What payloads may hold is said by the feature level of the cluster.
pub(super) const WIRE_VERSION: u32 = 1;

/// Names a cluster: drawn at random when it is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub u64);

/// What the payload of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// [`super::decode_heartbeats`].
    Heartbeat,
    /// A message of [`crate::control`], with a codec of its own.
    Control,
    /// [`super::decode_packet`].
    Replication,
    /// Also [`super::decode_packet`]: what may wait.
    Bulk,
    /// [`super::decode_exchange`].
    Request,
    /// [`super::decode_letters`].
    Letter,
}

/// What stands before the payload of a frame. Whether sender, cluster and session are the right ones is for the receiver to judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub cluster: ClusterId,
    pub from: NodeId,
    pub to: NodeId,
    /// Of the sender.
    pub incarnation: Incarnation,
    /// Of the sender.
    pub session: Session,
    pub channel: Channel,
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub envelope: Envelope,
    pub payload: Bytes,
}

impl Envelope {
    /// The fields before the payload.
    pub(super) fn encode(&self) -> Vec<u8> {
        let channel = match self.channel {
            Channel::Heartbeat => wire::Channel::Heartbeat,
            Channel::Control => wire::Channel::Control,
            Channel::Replication => wire::Channel::Replication,
            Channel::Bulk => wire::Channel::Bulk,
            Channel::Request => wire::Channel::Request,
            Channel::Letter => wire::Channel::Letter,
        };
        let frame = wire::Frame {
            wire_version: WIRE_VERSION,
            cluster: self.cluster.0,
            from: self.from.0.into(),
            to: self.to.0.into(),
            incarnation: self.incarnation.0,
            session: self.session.0,
            channel: channel.into(),
            payload: Bytes::new(),
        };
        frame.encode_to_vec()
    }
}

/// Reads what stood behind a length.
///
/// # Errors
/// When it is no frame of a version and a channel that are known. The connection ends.
pub fn decode_frame(bytes: Bytes) -> Decoded<Frame> {
    let frame = wire::Frame::decode(bytes).map_err(|_| Malformed("frame"))?;
    if frame.wire_version != WIRE_VERSION {
        return Err(Malformed("frame of an unknown version"));
    }
    let channel = match wire::Channel::try_from(frame.channel) {
        Ok(wire::Channel::Heartbeat) => Channel::Heartbeat,
        Ok(wire::Channel::Control) => Channel::Control,
        Ok(wire::Channel::Replication) => Channel::Replication,
        Ok(wire::Channel::Bulk) => Channel::Bulk,
        Ok(wire::Channel::Request) => Channel::Request,
        Ok(wire::Channel::Letter) => Channel::Letter,
        Ok(wire::Channel::Unspecified) | Err(_) => {
            return Err(Malformed("frame of an unknown channel"));
        }
    };
    let envelope = Envelope {
        cluster: ClusterId(frame.cluster),
        from: node(frame.from)?,
        to: node(frame.to)?,
        incarnation: Incarnation(frame.incarnation),
        session: Session(frame.session),
        channel,
    };
    Ok(Frame { envelope, payload: frame.payload })
}

fn node(number: u32) -> Decoded<NodeId> {
    let number = u16::try_from(number).ok().filter(|&number| number > 0);
    number.map(NodeId).ok_or(Malformed("node number"))
}
