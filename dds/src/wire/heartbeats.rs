//! Pings and their answers: payloads of [`super::Channel::Heartbeat`].

use super::items::{Items, Shape};
use super::{Decoded, Malformed, bounds, wire};
use crate::cluster::{NodeId, Session, Start};
use crate::links::{Message, Run};
use crate::report::{Copying, REPORT_PARTITIONS_MAX, Report, Residents};
use bytes::Bytes;
use fsm::Mono;
use std::sync::Arc;
use wire::heartbeat::Body;

pub(super) const HEARTBEATS: u32 = 1;

/// The lists of a report.
const REPORT: Shape = Shape(&[(2, &Shape::LEAF), (5, &Shape::LEAF)]);
const PING: Shape = Shape(&[(4, &REPORT)]);
const HEARTBEAT: Shape = Shape(&[(1, &PING)]);

#[must_use]
pub fn encode_heartbeat(message: &Message) -> wire::Heartbeat {
    let body = match message {
        Message::Ping { run, sent, report } => Body::Ping(wire::Ping {
            session: run.session.0,
            start: run.start.0,
            sent: sent.0,
            report: report.as_deref().map(wire_report),
        }),
        Message::Pong { run, sent, granted } => Body::Pong(wire::Pong {
            session: run.session.0,
            start: run.start.0,
            sent: sent.0,
            granted: *granted,
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
            messages.push(heartbeat(items.read(bytes, &HEARTBEAT, "heartbeat")?));
        }
    }
    Ok(messages)
}

fn heartbeat(record: wire::Heartbeat) -> Decoded<Message> {
    let run = |session, start| Run { session: Session(session), start: Start(start) };
    match record.body.ok_or(Malformed("heartbeat of an unknown kind"))? {
        Body::Ping(ping) => {
            let (run, sent) = (run(ping.session, ping.start), Mono(ping.sent));
            Ok(Message::Ping {
                run,
                sent,
                report: ping.report.map(|record| Arc::new(report(record))),
            })
        }
        Body::Pong(pong) => {
            let (run, sent) = (run(pong.session, pong.start), Mono(pong.sent));
            Ok(Message::Pong { run, sent, granted: pong.granted })
        }
    }
}

fn wire_report(report: &Report) -> wire::Report {
    let busy = |(partition, load): &(crate::PartitionId, u32)| wire::PartitionLoad {
        partition: partition.0.into(),
        load: *load,
    };
    let copy = |copying: &Copying| wire::Copy {
        partition: copying.partition.0.into(),
        node: copying.node.0.into(),
        bytes: copying.bytes,
    };
    wire::Report {
        load: report.load,
        busiest: report.busiest.iter().map(busy).collect(),
        exhausted: report.exhausted,
        residents: report
            .residents
            .map(|Residents { accounts, deliveries }| wire::Residents { accounts, deliveries }),
        copies: report.copies.iter().map(copy).collect(),
    }
}

/// What makes no sense in it is left out: a ping counts whatever its sender says of itself.
fn report(record: wire::Report) -> Report {
    let busy =
        |each: &wire::PartitionLoad| Some((bounds::partition(each.partition).ok()?, each.load));
    let copy = |each: &wire::Copy| {
        let partition = bounds::partition(each.partition).ok()?;
        let node = u16::try_from(each.node).ok().filter(|node| *node > 0).map(NodeId)?;
        Some(Copying { partition, node, bytes: each.bytes })
    };
    Report {
        load: record.load,
        busiest: record.busiest.iter().filter_map(busy).take(REPORT_PARTITIONS_MAX).collect(),
        exhausted: record.exhausted,
        residents: record
            .residents
            .map(|wire::Residents { accounts, deliveries }| Residents { accounts, deliveries }),
        copies: record.copies.iter().filter_map(copy).take(REPORT_PARTITIONS_MAX).collect(),
    }
}
