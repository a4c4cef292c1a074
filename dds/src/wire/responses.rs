//! Answers to the requests of other nodes, in a payload of [`super::Channel::Request`].

use super::bounds::{number, sort_key, value};
use super::items::Shape;
use super::limits::{FRAME_BYTES_MAX, TEXT_BYTES_MAX};
use super::{Decoded, Malformed, RequestId, bounds, wire};
use crate::{Claimed, Entry, Epoch, Limits, Outcome, Refusal, Response, Seq, Version};
use bytes::Bytes;
use wire::answer::Response as Wire;
use wire::refusal::Reason;

pub(super) const ANSWERS: u32 = 2;

const PLAIN: Shape = Shape(&[(1, &Shape::LEAF)]);
pub(super) const ANSWER: Shape = Shape(&[(12, &PLAIN), (13, &PLAIN)]);

/// What [`Refusal::TooLarge`] tells of. Another name, of a newer release, is read as [`SOMETHING`].
const LARGE: [&str; 11] = [
    "route",
    "key",
    "value",
    "batch",
    "list of preconditions",
    "keys of a get",
    "chunk",
    "blob",
    "read of a blob",
    "gap behind a short chunk",
    SOMETHING,
];
/// Tags, lengths and version of a slot, at most.
const SLOT_BYTES: usize = 24;
const SOMETHING: &str = "request or its answer";

#[must_use]
pub fn encode_answer(id: RequestId, response: &Response) -> wire::Answer {
    let response = match response {
        Response::Claimed(claimed) => Wire::Claimed(wire::Claimed {
            epoch: claimed.epoch.0,
            previous_epoch: claimed.previous.0.0,
            previous_seq: claimed.previous.1.0,
        }),
        Response::Wrote(outcome) => Wire::Wrote(wire_outcome(outcome)),
        Response::Got(slots) => {
            Wire::Got(wire::Got { slots: slots.iter().map(wire_slot).collect() })
        }
        Response::Scanned { entries, more } => Wire::Scanned(wire::Scanned {
            entries: entries.iter().map(wire_entry).collect(),
            more: *more,
        }),
        Response::BlobRead(bytes) => Wire::BlobRead(bytes.clone()),
        Response::Absent => Wire::Absent(true),
        Response::Collected { blobs, more } => {
            Wire::Collected(wire::Collected { blobs: *blobs as u64, more: *more })
        }
        Response::Refused(refusal) => Wire::Refused(wire_refusal(refusal)),
    };
    wire::Answer { id: id.0, response: Some(response) }
}

/// The answer itself, or where it would not fit into a frame a refusal that says so: who asks for less gets it.
#[must_use]
pub fn answer_that_fits(response: Response) -> Response {
    let too_large = match &response {
        Response::Got(slots) => {
            let bytes = |slot: &Option<(Bytes, Version)>| {
                SLOT_BYTES + slot.as_ref().map_or(0, |(value, _)| value.len())
            };
            slots.iter().map(bytes).sum::<usize>() > FRAME_BYTES_MAX / 2
        }
        // Their own limits are below that.
        Response::Claimed(_)
        | Response::Wrote(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. }
        | Response::Refused(_) => false,
    };
    if too_large { Response::Refused(Refusal::TooLarge { what: SOMETHING }) } else { response }
}

/// # Errors
/// When it is of no known kind, or exceeds the limits.
pub fn decode_answer(record: wire::Answer, limits: &Limits) -> Decoded<Response> {
    Ok(match record.response.ok_or(Malformed("response of an unknown kind"))? {
        Wire::Claimed(record) => {
            let previous =
                (Epoch(number(record.previous_epoch)?), Seq(number(record.previous_seq)?));
            Response::Claimed(Claimed { epoch: Epoch(number(record.epoch)?), previous })
        }
        Wire::Wrote(record) => Response::Wrote(outcome(record)?),
        Wire::Got(record) => {
            let slots = record.slots.into_iter().map(|record| slot(record, limits));
            Response::Got(slots.collect::<Decoded<_>>()?)
        }
        Wire::Scanned(record) => {
            let entries = record.entries.into_iter().map(|record| entry(record, limits));
            Response::Scanned { entries: entries.collect::<Decoded<_>>()?, more: record.more }
        }
        Wire::BlobRead(bytes) => {
            let max = usize::try_from(limits.blob_read_bytes_max).unwrap_or(usize::MAX);
            bounds::at_most(bytes.len(), max, "read of a blob")?;
            Response::BlobRead(bytes)
        }
        Wire::Absent(_) => Response::Absent,
        Wire::Collected(record) => {
            let blobs = usize::try_from(record.blobs).map_err(|_| Malformed("count of blobs"))?;
            Response::Collected { blobs, more: record.more }
        }
        Wire::Refused(record) => Response::Refused(refusal(record)?),
    })
}

fn wire_slot(slot: &Option<(Bytes, Version)>) -> wire::Slot {
    match slot {
        Some((value, version)) => wire::Slot { value: Some(value.clone()), version: version.0 },
        None => wire::Slot { value: None, version: 0 },
    }
}

fn slot(record: wire::Slot, limits: &Limits) -> Decoded<Option<(Bytes, Version)>> {
    match record.value {
        Some(bytes) => Ok(Some((value(bytes, limits)?, Version(number(record.version)?)))),
        None if record.version == 0 => Ok(None),
        None => Err(Malformed("version of nothing")),
    }
}

fn wire_entry(entry: &Entry) -> wire::ScannedEntry {
    wire::ScannedEntry {
        key: entry.key.0.clone(),
        value: entry.value.clone(),
        version: entry.version.0,
    }
}

fn entry(record: wire::ScannedEntry, limits: &Limits) -> Decoded<Entry> {
    Ok(Entry {
        key: sort_key(record.key, limits)?,
        value: value(record.value, limits)?,
        version: Version(number(record.version)?),
    })
}

fn wire_outcome(outcome: &Outcome) -> wire::Outcome {
    let outcome = match outcome {
        Outcome::Committed { version } => wire::outcome::Outcome::Committed(version.0),
        Outcome::Refused(refusal) => wire::outcome::Outcome::Refused(wire_refusal(refusal)),
        Outcome::Unknown => wire::outcome::Outcome::Unknown(true),
    };
    wire::Outcome { outcome: Some(outcome) }
}

fn outcome(record: wire::Outcome) -> Decoded<Outcome> {
    Ok(match record.outcome.ok_or(Malformed("outcome of an unknown kind"))? {
        wire::outcome::Outcome::Committed(version) => {
            Outcome::Committed { version: Version(number(version)?) }
        }
        wire::outcome::Outcome::Refused(record) => Outcome::Refused(refusal(record)?),
        wire::outcome::Outcome::Unknown(_) => Outcome::Unknown,
    })
}

fn wire_refusal(refusal: &Refusal) -> wire::Refusal {
    let reason = match refusal {
        Refusal::PreconditionFailed { index } => Reason::PreconditionFailed(*index as u64),
        Refusal::Fenced { current } => Reason::Fenced(current.0),
        Refusal::SequenceGap { expected } => Reason::SequenceGap(expected.0),
        Refusal::Forgotten => Reason::Forgotten(true),
        Refusal::TooLarge { what } => Reason::TooLarge((*what).to_owned()),
        Refusal::ReservedKey => Reason::ReservedKey(true),
        Refusal::NoSpace => Reason::NoSpace(true),
        Refusal::Overloaded => Reason::Overloaded(true),
        Refusal::Unavailable => Reason::Unavailable(true),
        Refusal::Corrupt { what } => {
            let end = what.floor_char_boundary(TEXT_BYTES_MAX);
            Reason::Corrupt(what.get(..end).unwrap_or_default().to_owned())
        }
    };
    wire::Refusal { reason: Some(reason) }
}

fn refusal(record: wire::Refusal) -> Decoded<Refusal> {
    Ok(match record.reason.ok_or(Malformed("refusal of an unknown kind"))? {
        Reason::PreconditionFailed(index) => {
            let index = usize::try_from(index).map_err(|_| Malformed("precondition"))?;
            Refusal::PreconditionFailed { index }
        }
        Reason::Fenced(current) => Refusal::Fenced { current: Epoch(number(current)?) },
        Reason::SequenceGap(expected) => Refusal::SequenceGap { expected: Seq(number(expected)?) },
        Reason::Forgotten(_) => Refusal::Forgotten,
        Reason::TooLarge(what) => {
            let known = LARGE.into_iter().find(|known| *known == what);
            Refusal::TooLarge { what: known.unwrap_or(SOMETHING) }
        }
        Reason::ReservedKey(_) => Refusal::ReservedKey,
        Reason::NoSpace(_) => Refusal::NoSpace,
        Reason::Overloaded(_) => Refusal::Overloaded,
        Reason::Unavailable(_) => Refusal::Unavailable,
        Reason::Corrupt(what) => {
            bounds::at_most(what.len(), TEXT_BYTES_MAX, "text")?;
            Refusal::Corrupt { what }
        }
    })
}
