//! What can be said of a request before any state is looked at: limits and reserved keys.

use super::Core;
use crate::layout::{self, VERSION_BYTES};
use crate::{
    Batch, CHUNK_BYTES, Limits, Op, Outcome, Refusal, Request, Response, RouteKey, SortKey,
};

/// Kind, column, and the lengths of key, value and the whole, in an operation on the wire.
const OP_BYTES: usize = 24;

/// # Errors
/// Why the request is refused as it stands.
pub fn request(request: &Request, core: &Core) -> Result<(), Refusal> {
    match request {
        Request::CollectBlobs { partition, .. } if *partition != core.id => {
            Err(Refusal::Unavailable)
        }
        request => within(request, &core.limits),
    }
}

/// Whether a request keeps to the limits and the keys that are free. Whoever sends it to another node looks first: what is over
/// them may not fit into a frame.
///
/// # Errors
/// Why it is refused as it stands.
pub fn within(request: &Request, limits: &Limits) -> Result<(), Refusal> {
    match request {
        Request::Claim { route } => check_route(route),
        Request::Write(batch) => check_batch(batch, limits),
        Request::Get { route, keys } => {
            check_route(route)?;
            at_most(keys.len(), limits.get_keys_max, "keys of a get")?;
            let mut bytes = 0_usize;
            for key in keys {
                check_key(key, limits)?;
                bytes += key.0.len();
            }
            at_most(bytes, limits.batch_bytes_max, "keys of a get")
        }
        Request::Scan { route, from, to, .. } => {
            check_route(route)?;
            at_most(from.0.len().max(to.0.len()), limits.key_bytes_max, "key")
        }
        Request::PutChunk { index, bytes, .. } => {
            at_most(bytes.len(), CHUNK_BYTES, "chunk")?;
            if *index < limits.blob_chunks_max { Ok(()) } else { Err(too_large("blob")) }
        }
        Request::ReadBlob { len, .. } if *len > limits.blob_read_bytes_max => {
            Err(too_large("read of a blob"))
        }
        Request::ReadBlob { .. }
        | Request::CollectBlobs { .. }
        | Request::RenewBlob { .. }
        | Request::DropBlob { .. } => Ok(()),
    }
}

/// The answer that refuses `request`.
pub fn refused(request: &Request, refusal: Refusal) -> Response {
    match request {
        Request::Write(_)
        | Request::PutChunk { .. }
        | Request::RenewBlob { .. }
        | Request::DropBlob { .. } => Response::Wrote(Outcome::Refused(refusal)),
        Request::Claim { .. }
        | Request::Get { .. }
        | Request::Scan { .. }
        | Request::ReadBlob { .. }
        | Request::CollectBlobs { .. } => Response::Refused(refusal),
    }
}

fn check_batch(batch: &Batch, limits: &Limits) -> Result<(), Refusal> {
    check_route(&batch.route)?;
    at_most(batch.preconditions.len(), limits.preconditions_max, "list of preconditions")?;
    at_most(batch.ops.len(), limits.batch_ops_max, "batch")?;
    let mut bytes = 0_usize;
    for precondition in &batch.preconditions {
        check_key(&precondition.key, limits)?;
        bytes += precondition.key.0.len();
    }
    for op in &batch.ops {
        bytes += match op {
            Op::Put { key, value } => {
                check_key(key, limits)?;
                at_most(value.len(), limits.value_bytes_max, "value")?;
                key.0.len() + value.len()
            }
            Op::Delete { key } => {
                check_key(key, limits)?;
                key.0.len()
            }
            Op::DeleteRange { from, to } => {
                check_key(from, limits)?;
                at_most(to.0.len(), limits.key_bytes_max, "key")?;
                from.0.len() + to.0.len()
            }
        };
    }
    at_most(bytes, limits.batch_bytes_max, "batch")?;
    let prefix = layout::prefix_bytes(&batch.route);
    let entry = batch.ops.iter().map(|op| wire_bytes(op, prefix)).sum();
    at_most(entry, limits.entry_bytes_max, "batch")
}

/// What an operation comes to in an entry on the wire, at most. A range is one of each column.
fn wire_bytes(op: &Op, prefix: usize) -> usize {
    match op {
        Op::Put { key, value } => OP_BYTES + prefix + key.0.len() + VERSION_BYTES + value.len(),
        Op::Delete { key } => OP_BYTES + prefix + key.0.len(),
        Op::DeleteRange { from, to } => 2 * (OP_BYTES + 2 * prefix + from.0.len() + to.0.len()),
    }
}

fn check_route(route: &RouteKey) -> Result<(), Refusal> {
    // A route of length 0 is the scope of the partition itself: see the layout.
    if route.0.is_empty() {
        return Err(Refusal::ReservedKey);
    }
    at_most(route.0.len(), usize::from(u8::MAX), "route")
}

fn check_key(key: &SortKey, limits: &Limits) -> Result<(), Refusal> {
    match key.0.first() {
        None | Some(0) => Err(Refusal::ReservedKey),
        Some(_) => at_most(key.0.len(), limits.key_bytes_max, "key"),
    }
}

fn at_most(size: usize, max: usize, what: &'static str) -> Result<(), Refusal> {
    if size <= max { Ok(()) } else { Err(too_large(what)) }
}

fn too_large(what: &'static str) -> Refusal {
    Refusal::TooLarge { what }
}
