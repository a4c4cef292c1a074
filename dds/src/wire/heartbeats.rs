//! Pings and their answers: payloads of [`super::Channel::Heartbeat`].

use super::items::{Items, Shape};
use super::{Decoded, Malformed, wire};
use crate::cluster::{Session, Start};
use crate::links::{Message, Run};
use bytes::Bytes;
use fsm::Mono;
use wire::heartbeat::Body;

pub(super) const HEARTBEATS: u32 = 1;

#[must_use]
pub fn encode_heartbeat(message: &Message) -> wire::Heartbeat {
    let body = match *message {
        Message::Ping { run, sent } => {
            Body::Ping(wire::Ping { session: run.session.0, start: run.start.0, sent: sent.0 })
        }
        Message::Pong { run, sent, granted } => Body::Pong(wire::Pong {
            session: run.session.0,
            start: run.start.0,
            sent: sent.0,
            granted,
        }),
    };
    wire::Heartbeat { body: Some(body) }
}

/// One of an unknown kind is an error of its own.
///
/// # Errors
/// When the bytes are no list of heartbeats.
pub fn decode_heartbeats(payload: Bytes) -> Decoded<Vec<Result<Message, Malformed>>> {
    let mut items = Items::new(payload);
    let mut messages = Vec::new();
    while let Some((tag, bytes)) = items.next()? {
        if tag == HEARTBEATS {
            messages.push(heartbeat(items.read(bytes, &Shape::LEAF, "heartbeat")?));
        }
    }
    Ok(messages)
}

fn heartbeat(record: wire::Heartbeat) -> Decoded<Message> {
    let run = |session, start| Run { session: Session(session), start: Start(start) };
    match record.body.ok_or(Malformed("heartbeat of an unknown kind"))? {
        Body::Ping(ping) => {
            Ok(Message::Ping { run: run(ping.session, ping.start), sent: Mono(ping.sent) })
        }
        Body::Pong(pong) => {
            let (run, sent) = (run(pong.session, pong.start), Mono(pong.sent));
            Ok(Message::Pong { run, sent, granted: pong.granted })
        }
    }
}
