//! Clients of the hash table: writers with and without numbers, and readers, at any node.

use dds::{Batch, Epoch, Op, PartitionId, Request, RouteKey, SortKey};
use fsm::Rng;

/// What a client waits for.
#[derive(Clone, Debug)]
pub enum Doing {
    Rest,
    Claim,
    /// A numbered write, asked until the answer is definite.
    Numbered {
        key: u64,
        value: u64,
        batch: Batch,
    },
    Blind {
        key: u64,
        value: u64,
    },
    Read {
        key: u64,
        from: u64,
    },
}

/// See the head of the file.
#[derive(Debug)]
pub struct Client {
    pub route: u64,
    pub numbered: bool,
    pub epoch: Option<Epoch>,
    pub seq: u64,
    pub doing: Doing,
    /// The request whose answer counts; earlier ones were given up.
    pub origin: u64,
    pub asked_at: u64,
    /// The node that it asks: as it last heard, the primary.
    pub node: u16,
}

/// Keys of a route that are judged.
pub const KEYS: u64 = 2;

pub fn route_key(route: u64) -> RouteKey {
    RouteKey(format!("route-{route}").into_bytes().into())
}

pub fn sort_key(key: u64) -> SortKey {
    // Every other one in the column for bodies.
    let first = if key.is_multiple_of(2) { 0x20 } else { 0x90 };
    SortKey(vec![first, u8::try_from(key).unwrap_or(0)].into())
}

/// A key that is written, deleted and not judged.
fn scratch_key(at: u64) -> SortKey {
    SortKey(vec![0xA0, u8::try_from(at).unwrap_or(0)].into())
}

/// A write of a value, with some more that tries the log: large bodies, deletions, ranges.
pub fn ops(rng: &mut Rng, key: u64, value: u64) -> Vec<Op> {
    let mut bytes = value.to_be_bytes().to_vec();
    if rng.chance(1, 3) {
        bytes.resize(1500, 7);
    }
    let mut ops = vec![Op::Put { key: sort_key(key), value: bytes.into() }];
    match rng.below(8) {
        0 => ops.push(Op::Put { key: scratch_key(rng.below(6)), value: vec![1; 2000].into() }),
        1 => ops.push(Op::Delete { key: scratch_key(rng.below(6)) }),
        2 => {
            let from = rng.below(6);
            ops.push(Op::DeleteRange { from: scratch_key(from), to: scratch_key(from + 2) });
        }
        _ => {}
    }
    ops
}

/// The partition that a request goes to.
pub fn partition_of(request: &Request, map: &dds::DpMap) -> PartitionId {
    request.partition(map)
}

pub fn number(bytes: &[u8]) -> u64 {
    bytes.get(..8).and_then(|head| head.try_into().ok()).map_or(0, u64::from_be_bytes)
}
