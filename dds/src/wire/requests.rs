//! Requests that travel to the primary of their partition: asks in a payload of [`super::Channel::Request`].
//!
//! What a partition refuses as too large is malformed here; who asks is told the same either way. Reserved keys and what depends
//! on the state are left to the partition.

use super::bounds::{at_most, blob, number, partition, route, sort_key, value};
use super::items::Shape;
use super::{Decoded, Malformed, wire};
use crate::{
    Batch, BlobId, CHUNK_BYTES, Epoch, Expect, Limits, Op, Precondition, Request, Seq, SortKey,
    Version, Writer,
};
use bytes::Bytes;
use fsm::Wall;
use wire::OperationKind as Kind;
use wire::ask::Request as Wire;

pub(super) const ASKS: u32 = 1;

const BATCH: Shape = Shape(&[(3, &Shape::LEAF), (5, &Shape::LEAF)]);
const GET: Shape = Shape(&[(2, &Shape::LEAF)]);
pub(super) const ASK: Shape = Shape(&[(11, &BATCH), (12, &GET)]);

/// Names a request on its connection. Chosen by who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

#[must_use]
pub fn encode_ask(id: RequestId, request: &Request) -> wire::Ask {
    let request = match request {
        Request::Claim { route } => Wire::Claim(route.0.clone()),
        Request::Write(batch) => Wire::Write(wire_batch(batch)),
        Request::Get { route, keys } => Wire::Get(wire::Get {
            route: route.0.clone(),
            keys: keys.iter().map(|key| key.0.clone()).collect(),
        }),
        Request::Scan { route, from, to, reverse, entries_max } => Wire::Scan(wire::Scan {
            route: route.0.clone(),
            from: from.0.clone(),
            to: to.0.clone(),
            reverse: *reverse,
            entries_max: *entries_max as u64,
        }),
        Request::PutChunk { blob, index, bytes, expires } => Wire::PutChunk(wire::PutChunk {
            blob: wire_blob(*blob),
            index: *index,
            bytes: bytes.clone(),
            expires: expires.0,
        }),
        Request::RenewBlob { blob, expires } => {
            Wire::RenewBlob(wire::RenewBlob { blob: wire_blob(*blob), expires: expires.0 })
        }
        Request::ReadBlob { blob, offset, len } => {
            Wire::ReadBlob(wire::ReadBlob { blob: wire_blob(*blob), offset: *offset, len: *len })
        }
        Request::CollectBlobs { partition, expired_before, blobs_max } => {
            Wire::CollectBlobs(wire::CollectBlobs {
                partition: partition.0.into(),
                expired_before: expired_before.0,
                blobs_max: *blobs_max as u64,
            })
        }
        Request::DropBlob { blob } => Wire::DropBlob(wire_blob(*blob)),
    };
    wire::Ask { id: id.0, request: Some(request) }
}

/// # Errors
/// When it is of no known kind, or exceeds the limits.
pub fn decode_ask(record: wire::Ask, limits: &Limits) -> Decoded<Request> {
    Ok(match record.request.ok_or(Malformed("request of an unknown kind"))? {
        Wire::Claim(bytes) => Request::Claim { route: route(bytes)? },
        Wire::Write(record) => Request::Write(batch(record, limits)?),
        Wire::Get(record) => get(record, limits)?,
        Wire::Scan(record) => Request::Scan {
            route: route(record.route)?,
            from: sort_key(record.from, limits)?,
            to: sort_key(record.to, limits)?,
            reverse: record.reverse,
            entries_max: size(record.entries_max),
        },
        Wire::PutChunk(record) => {
            at_most(record.bytes.len(), CHUNK_BYTES, "chunk")?;
            let index = record.index;
            if index >= limits.blob_chunks_max {
                return Err(Malformed("blob"));
            }
            let (blob, expires) = (blob(&record.blob)?, Wall(record.expires));
            Request::PutChunk { blob, index, bytes: record.bytes, expires }
        }
        Wire::RenewBlob(record) => {
            Request::RenewBlob { blob: blob(&record.blob)?, expires: Wall(record.expires) }
        }
        Wire::ReadBlob(record) => {
            let wire::ReadBlob { blob: name, offset, len } = record;
            if len > limits.blob_read_bytes_max {
                return Err(Malformed("read of a blob"));
            }
            Request::ReadBlob { blob: blob(&name)?, offset, len }
        }
        Wire::CollectBlobs(record) => Request::CollectBlobs {
            partition: partition(record.partition)?,
            expired_before: Wall(record.expired_before),
            blobs_max: size(record.blobs_max),
        },
        Wire::DropBlob(name) => Request::DropBlob { blob: blob(&name)? },
    })
}

/// A count in memory: a larger one means all there are.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn wire_blob(blob: BlobId) -> Bytes {
    Bytes::copy_from_slice(&blob.to_bytes())
}

fn get(record: wire::Get, limits: &Limits) -> Decoded<Request> {
    let bytes = record.keys.iter().map(Bytes::len).sum();
    at_most(bytes, limits.batch_bytes_max, "keys of a get")?;
    at_most(record.keys.len(), limits.get_keys_max, "keys of a get")?;
    let keys = record.keys.into_iter().map(|key| sort_key(key, limits));
    Ok(Request::Get { route: route(record.route)?, keys: keys.collect::<Decoded<_>>()? })
}

fn wire_batch(batch: &Batch) -> wire::Batch {
    wire::Batch {
        route: batch.route.0.clone(),
        writer: batch
            .writer
            .map(|writer| wire::Writer { epoch: writer.epoch.0, seq: writer.seq.0 }),
        preconditions: batch.preconditions.iter().map(wire_precondition).collect(),
        makes_way: batch.makes_way,
        changes: batch.ops.iter().map(wire_change).collect(),
    }
}

fn batch(record: wire::Batch, limits: &Limits) -> Decoded<Batch> {
    at_most(record.preconditions.len(), limits.preconditions_max, "list of preconditions")?;
    at_most(record.changes.len(), limits.batch_ops_max, "batch")?;
    let keys = record.preconditions.iter().map(|precondition| precondition.key.len());
    let changes = record.changes.iter().map(|change| change.key.len() + change.value.len());
    at_most(keys.chain(changes).sum(), limits.batch_bytes_max, "batch")?;
    let preconditions = record.preconditions.into_iter().map(|record| precondition(record, limits));
    let ops = record.changes.into_iter().map(|record| change(record, limits));
    Ok(Batch {
        route: route(record.route)?,
        writer: record.writer.map(writer).transpose()?,
        preconditions: preconditions.collect::<Decoded<_>>()?,
        makes_way: record.makes_way,
        ops: ops.collect::<Decoded<_>>()?,
    })
}

fn writer(record: wire::Writer) -> Decoded<Writer> {
    Ok(Writer { epoch: Epoch(number(record.epoch)?), seq: Seq(number(record.seq)?) })
}

fn wire_precondition(precondition: &Precondition) -> wire::Precondition {
    let expect = match precondition.expect {
        Expect::Absent => wire::precondition::Expect::Absent(true),
        Expect::Present => wire::precondition::Expect::Present(true),
        Expect::VersionIs(version) => wire::precondition::Expect::VersionIs(version.0),
    };
    wire::Precondition { key: precondition.key.0.clone(), expect: Some(expect) }
}

fn precondition(record: wire::Precondition, limits: &Limits) -> Decoded<Precondition> {
    let expect = match record.expect.ok_or(Malformed("precondition of an unknown kind"))? {
        wire::precondition::Expect::Absent(_) => Expect::Absent,
        wire::precondition::Expect::Present(_) => Expect::Present,
        wire::precondition::Expect::VersionIs(version) => {
            Expect::VersionIs(Version(number(version)?))
        }
    };
    Ok(Precondition { key: sort_key(record.key, limits)?, expect })
}

fn wire_change(op: &Op) -> wire::Change {
    let (kind, key, value) = match op {
        Op::Put { key, value } => (Kind::Put, key, value.clone()),
        Op::Delete { key } => (Kind::Delete, key, Bytes::new()),
        Op::DeleteRange { from, to } => (Kind::DeleteRange, from, to.0.clone()),
    };
    wire::Change { kind: kind.into(), key: key.0.clone(), value }
}

fn change(record: wire::Change, limits: &Limits) -> Decoded<Op> {
    let key: SortKey = sort_key(record.key, limits)?;
    match Kind::try_from(record.kind) {
        Ok(Kind::Put) => Ok(Op::Put { key, value: value(record.value, limits)? }),
        Ok(Kind::Delete) if record.value.is_empty() => Ok(Op::Delete { key }),
        Ok(Kind::Delete) => Err(Malformed("delete with a value")),
        Ok(Kind::DeleteRange) => {
            Ok(Op::DeleteRange { from: key, to: sort_key(record.value, limits)? })
        }
        Ok(Kind::Unspecified) | Err(_) => Err(Malformed("change of an unknown kind")),
    }
}
