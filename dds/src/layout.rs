//! The physical layout: every key and record that a partition keeps in its brick. Big-endian numbers, so that keys sort.
//!
//! A physical key is `partition: u16, scope: u8, ...`. The scope is the length of a route, or 0 for what is the partition's
//! own. All keys of a partition, of a route and of a blob's chunks are therefore neighbours.
//!
//! | column | key after the partition number | value |
//! |---|---|---|
//! | Meta, Bodies | `len(route): u8, route, sort key` | `version: u64, value` |
//! | Meta | `len(route): u8, route, 0x00` | writer record |
//! | Log | `0, 'p'` | partition record |
//! | Log | `0, 'r'` | replica record |
//! | Log | `0, 'l', number: u64` | log entry (see `replica::entry`) |
//! | Meta | `0, 'b', blob: u128` | blob record |
//! | Meta | `0, 'e', expires: u64, blob: u128` | empty: the index by expiry |
//! | Bodies | `0, 'c', blob: u128, index: u32` | the bytes of the chunk, bare |
//!
//! - Partition record: `1: u8, replica-group version: u64, number of the last group: u64, its hash: u32`.
//! - Replica record: `1: u8, joined replica-group version: u64, state: u8` (0 under construction, 1 whole, 2 whole but doubted, 3
//!   cleared: nothing is left but this record).
//! - Writer record: `1: u8, epoch: u64, last seq: u64, version of last seq: u64`, then one LEB128 number per earlier batch
//!   of the window, oldest first: how far the version rose from that batch to the next.
//! - Blob record: `1: u8, version: u64, expires: u64, chunks: u32, bytes of the last chunk: u32`.
//! - Moments are milliseconds since 1970 with the sign bit flipped, so that they sort as unsigned numbers.
//!
//! Invariant: bytes that come from a disk are decoded without panics; what does not fit is a [`Damaged`].

use crate::{BlobId, Column, Epoch, PartitionId, RouteKey, Seq, SortKey, Version};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use fsm::Wall;

/// Bytes of the version before the value of an entry.
pub const VERSION_BYTES: usize = 8;

/// Bytes before the sort key in the physical key of an entry of `route`.
#[must_use]
pub fn prefix_bytes(route: &RouteKey) -> usize {
    3 + route.0.len()
}

const OWN: u8 = 0;
const FORMAT: u8 = 1;
const RECORD_KEY: u8 = 0;

/// What was read does not have the form of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a damaged {0}")]
pub struct Damaged(pub &'static str);

/// The column that keeps the entry `key`.
#[must_use]
pub fn column_of(key: &SortKey) -> Column {
    if key.is_body() { Column::Bodies } else { Column::Meta }
}

/// Appends the physical key of entry `key` of `route`.
pub fn put_entry_key(out: &mut BytesMut, partition: PartitionId, route: &RouteKey, key: &[u8]) {
    out.put_u16(partition.0);
    // Requests with longer routes are refused on arrival.
    out.put_u8(u8::try_from(route.0.len()).unwrap_or(u8::MAX));
    out.put_slice(&route.0);
    out.put_slice(key);
}

/// The physical key of entry `key` of `route`.
#[must_use]
pub fn entry_key(partition: PartitionId, route: &RouteKey, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(prefix_bytes(route) + key.len());
    put_entry_key(&mut out, partition, route, key);
    out.freeze()
}

/// Splits the stored value of an entry.
///
/// # Errors
/// When it is too short to hold a version.
pub fn split_entry(mut stored: Bytes) -> Result<(Bytes, Version), Damaged> {
    let version = stored.try_get_u64().map_err(|_| Damaged("entry"))?;
    Ok((stored, Version(version)))
}

/// The key of the writer record of `route`, in Meta.
#[must_use]
pub fn writer_key(partition: PartitionId, route: &RouteKey) -> Bytes {
    entry_key(partition, route, &[RECORD_KEY])
}

/// Appends the key of the writer record of `route`.
pub fn put_writer_key(out: &mut BytesMut, partition: PartitionId, route: &RouteKey) {
    put_entry_key(out, partition, route, &[RECORD_KEY]);
}

/// The key of the partition record, in Log.
#[must_use]
pub fn partition_key(partition: PartitionId) -> Bytes {
    let mut out = BytesMut::with_capacity(4);
    put_own(&mut out, partition, b'p');
    out.freeze()
}

/// Appends the key of the partition record.
pub fn put_partition_key(out: &mut BytesMut, partition: PartitionId) {
    put_own(out, partition, b'p');
}

/// The key of the replica record, in Log.
#[must_use]
pub fn replica_key(partition: PartitionId) -> Bytes {
    let mut out = BytesMut::with_capacity(4);
    put_own(&mut out, partition, b'r');
    out.freeze()
}

/// The key of a log entry, in Log.
#[must_use]
pub fn log_key(partition: PartitionId, number: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(12);
    put_own(&mut out, partition, b'l');
    out.put_u64(number);
    out.freeze()
}

/// All keys of a partition: from the first, to below the second. The last partition has no upper neighbour.
#[must_use]
pub fn partition_range(partition: PartitionId) -> (Bytes, Bytes) {
    let from = Bytes::copy_from_slice(&partition.0.to_be_bytes());
    let to = match partition.0.checked_add(1) {
        Some(next) => Bytes::copy_from_slice(&next.to_be_bytes()),
        None => Bytes::from_static(&[0xFF; 3]),
    };
    (from, to)
}

/// The key of a blob's record, in Meta.
#[must_use]
pub fn blob_key(partition: PartitionId, blob: BlobId) -> Bytes {
    let mut out = BytesMut::with_capacity(20);
    put_own(&mut out, partition, b'b');
    out.put_u128(blob.0);
    out.freeze()
}

/// The key of a blob's chunk, in Bodies.
#[must_use]
pub fn chunk_key(partition: PartitionId, blob: BlobId, index: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(24);
    put_own(&mut out, partition, b'c');
    out.put_u128(blob.0);
    out.put_u32(index);
    out.freeze()
}

/// The key of the index by expiry, in Meta. With blob 0 it is the bound below all blobs that expire at `expires`.
#[must_use]
pub fn expiry_key(partition: PartitionId, expires: Wall, blob: BlobId) -> Bytes {
    let mut out = BytesMut::with_capacity(28);
    put_own(&mut out, partition, b'e');
    out.put_u64(sortable(expires));
    out.put_u128(blob.0);
    out.freeze()
}

/// What a key of the index by expiry says.
///
/// # Errors
/// When it has another length.
pub fn split_expiry_key(key: &[u8]) -> Result<(Wall, BlobId), Damaged> {
    let damaged = Damaged("expiry key");
    let mut rest = key.get(4..).ok_or(damaged)?;
    let expires = rest.try_get_u64().map_err(|_| damaged)?;
    let blob = rest.try_get_u128().map_err(|_| damaged)?;
    if rest.is_empty() { Ok((from_sortable(expires), BlobId(blob))) } else { Err(damaged) }
}

fn put_own(out: &mut BytesMut, partition: PartitionId, kind: u8) {
    out.put_u16(partition.0);
    out.put_u8(OWN);
    out.put_u8(kind);
}

fn sortable(moment: Wall) -> u64 {
    moment.0.cast_unsigned() ^ (1 << 63)
}

fn from_sortable(bits: u64) -> Wall {
    Wall((bits ^ (1 << 63)).cast_signed())
}

/// Where a partition's log stands: what a group of one keeps of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionRecord {
    pub version: crate::GroupVersion,
    /// Number of the last group; the first has 1.
    pub number: u64,
    /// CRC-32C over that group's operations, seeded with the hash of the group before.
    pub hash: u32,
}

impl PartitionRecord {
    /// Bytes of the encoded record.
    pub const BYTES: usize = 21;

    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u64(self.version.0);
        out.put_u64(self.number);
        out.put_u32(self.hash);
    }

    /// # Errors
    /// When `stored` has another form.
    pub fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        let damaged = Damaged("partition record");
        let mut rest = stored;
        if stored.len() != Self::BYTES || rest.get_u8() != FORMAT {
            return Err(damaged);
        }
        let version = crate::GroupVersion(rest.get_u64());
        Ok(Self { version, number: rest.get_u64(), hash: rest.get_u32() })
    }
}

/// What a brick remembers of its membership in a replica group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// The last version that it has joined: whatever is older is refused.
    pub joined: crate::GroupVersion,
    /// Not a copy under construction.
    pub whole: bool,
    /// A scrub found it to differ from most others, or damaged: as a learner it keeps nothing. Only of one that is whole.
    pub doubted: bool,
    /// Nothing else of the partition is left here. Only of one that is not whole.
    pub cleared: bool,
}

impl Default for ReplicaRecord {
    fn default() -> Self {
        Self { joined: crate::GroupVersion(0), whole: true, doubted: false, cleared: false }
    }
}

impl ReplicaRecord {
    /// The encoded record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(10);
        out.put_u8(FORMAT);
        out.put_u64(self.joined.0);
        out.put_u8(match (self.whole, self.doubted, self.cleared) {
            (false, _, false) => 0,
            (true, false, _) => 1,
            (true, true, _) => 2,
            (false, _, true) => 3,
        });
        out.freeze()
    }

    /// # Errors
    /// When `stored` has another form.
    pub fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        match stored {
            [FORMAT, joined @ .., state @ 0..=3] => {
                let joined = joined.try_into().map_err(|_| Damaged("replica record"))?;
                let joined = crate::GroupVersion(u64::from_be_bytes(joined));
                let whole = matches!(state, 1 | 2);
                Ok(Self { joined, whole, doubted: *state == 2, cleared: *state == 3 })
            }
            _ => Err(Damaged("replica record")),
        }
    }
}

/// Who writes a route, and the outcomes of the last batches. Only committed batches have an outcome that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterRecord {
    pub epoch: Epoch,
    /// The last applied batch; 0 when the epoch has none.
    pub last: Seq,
    /// Version that the last applied batch got.
    pub version: Version,
    /// LEB128 rises of the version, oldest first, one per batch of the window but the last.
    rises: Vec<u8>,
}

impl WriterRecord {
    /// The record of a fresh epoch.
    #[must_use]
    pub fn claimed(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// Notes that the batch after `last` applied as `version`. Keeps the outcomes of `window` batches.
    pub fn advance(&mut self, version: Version, window: usize) {
        if self.last.0 > 0 {
            let rise = version.0.saturating_sub(self.version.0);
            put_leb128(&mut self.rises, rise);
            let kept = self.rises.iter().filter(|&&byte| byte < 0x80).count();
            for _ in window.max(1)..kept + 1 {
                let first = self.rises.iter().take_while(|&&byte| byte >= 0x80).count() + 1;
                self.rises.drain(..first.min(self.rises.len()));
            }
        }
        self.last = Seq(self.last.0.saturating_add(1));
        self.version = version;
    }

    /// The version that batch `seq` of this epoch got; `None` when it has left the window or did not apply.
    #[must_use]
    pub fn version_of(&self, seq: Seq) -> Option<Version> {
        let back = self.last.0.checked_sub(seq.0)?;
        if seq.0 == 0 {
            return None;
        }
        let mut rises = Vec::new();
        let mut rest = self.rises.as_slice();
        while let Some(rise) = take_leb128(&mut rest) {
            rises.push(rise);
        }
        let back = usize::try_from(back).ok().filter(|&back| back <= rises.len())?;
        let fall = rises.iter().rev().take(back).fold(0_u64, |sum, &rise| sum.saturating_add(rise));
        self.version.0.checked_sub(fall).map(Version)
    }

    /// Bytes of the encoded record.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        25 + self.rises.len()
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u64(self.epoch.0);
        out.put_u64(self.last.0);
        out.put_u64(self.version.0);
        out.put_slice(&self.rises);
    }

    /// # Errors
    /// When `stored` has another form.
    pub fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        let damaged = Damaged("writer record");
        let (mut head, rises) = stored.split_at_checked(25).ok_or(damaged)?;
        if head.get_u8() != FORMAT || rises.last().is_some_and(|&byte| byte >= 0x80) {
            return Err(damaged);
        }
        let (epoch, last) = (Epoch(head.get_u64()), Seq(head.get_u64()));
        let version = Version(head.get_u64());
        Ok(Self { epoch, last, version, rises: rises.to_vec() })
    }
}

fn put_leb128(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7F) as u8);
}

fn take_leb128(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    let mut shift = 0_u32;
    while let Some((&byte, tail)) = rest.split_first() {
        *rest = tail;
        let bits = u64::from(byte & 0x7F);
        number |= bits.checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
        shift = shift.saturating_add(7);
    }
    None
}

/// How much of a blob there is, and until when it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    pub version: Version,
    pub expires: Wall,
    /// One more than the highest index written.
    pub chunks: u32,
    /// Bytes of the chunk with the highest index.
    pub last_bytes: u32,
}

impl BlobRecord {
    /// Bytes of the encoded record.
    pub const BYTES: usize = 25;

    /// Appends the record.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        out.put_u64(self.version.0);
        out.put_u64(sortable(self.expires));
        out.put_u32(self.chunks);
        out.put_u32(self.last_bytes);
    }

    /// # Errors
    /// When `stored` has another form.
    pub fn decode(stored: &[u8]) -> Result<Self, Damaged> {
        let mut rest = stored;
        if stored.len() != Self::BYTES || rest.get_u8() != FORMAT {
            return Err(Damaged("blob record"));
        }
        let (version, expires) = (Version(rest.get_u64()), from_sortable(rest.get_u64()));
        Ok(Self { version, expires, chunks: rest.get_u32(), last_bytes: rest.get_u32() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(0x0102);

    fn route() -> RouteKey {
        RouteKey(Bytes::from_static(b"user"))
    }

    #[test]
    fn golden_keys() {
        assert_eq!(entry_key(P, &route(), b"key"), b"\x01\x02\x04userkey"[..]);
        assert_eq!(writer_key(P, &route()), b"\x01\x02\x04user\0"[..]);
        assert_eq!(partition_key(P), b"\x01\x02\0p"[..]);
        let blob = BlobId(0x10);
        let id = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
        assert_eq!(blob_key(P, blob), [&b"\x01\x02\0b"[..], id].concat());
        assert_eq!(chunk_key(P, blob, 258), [b"\x01\x02\0c", &id[..], b"\0\0\x01\x02"].concat());
        let expiry = expiry_key(P, Wall(1), blob);
        assert_eq!(expiry, [b"\x01\x02\0e\x80\0\0\0\0\0\0\x01", &id[..]].concat());
        assert_eq!(split_expiry_key(&expiry), Ok((Wall(1), blob)));
        assert!(expiry_key(P, Wall(-1), blob) < expiry_key(P, Wall(0), blob));
    }

    #[test]
    fn golden_records() {
        let mut out = BytesMut::new();
        let record =
            PartitionRecord { version: crate::GroupVersion(3), number: 258, hash: 0x0A0B_0C0D };
        record.encode(&mut out);
        assert_eq!(out, b"\x01\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01\x02\x0A\x0B\x0C\x0D"[..]);
        assert_eq!(PartitionRecord::decode(&out), Ok(record));

        let record =
            ReplicaRecord { joined: crate::GroupVersion(258), whole: false, ..Default::default() };
        assert_eq!(record.encode(), b"\x01\0\0\0\0\0\0\x01\x02\0"[..]);
        assert_eq!(ReplicaRecord::decode(&record.encode()), Ok(record));
        let record = ReplicaRecord { whole: true, doubted: true, ..record };
        assert_eq!(record.encode(), b"\x01\0\0\0\0\0\0\x01\x02\x02"[..]);
        assert_eq!(ReplicaRecord::decode(&record.encode()), Ok(record));
        let record = ReplicaRecord { whole: false, doubted: false, cleared: true, ..record };
        assert_eq!(record.encode(), b"\x01\0\0\0\0\0\0\x01\x02\x03"[..]);
        assert_eq!(ReplicaRecord::decode(&record.encode()), Ok(record));
        assert_eq!(log_key(P, 258), b"\x01\x02\0l\0\0\0\0\0\0\x01\x02"[..]);
        assert_eq!(replica_key(P), b"\x01\x02\0r"[..]);

        let mut out = BytesMut::new();
        let record = BlobRecord {
            version: Version(7),
            expires: Wall(-1),
            chunks: 2,
            last_bytes: 0x0001_0000,
        };
        record.encode(&mut out);
        let golden = b"\x01\0\0\0\0\0\0\0\x07\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\x02\0\x01\0\0";
        assert_eq!(out, golden[..]);
        assert_eq!(BlobRecord::decode(&out), Ok(record));

        let mut out = BytesMut::new();
        let mut record = WriterRecord::claimed(Epoch(5));
        for version in [10, 11, 311] {
            record.advance(Version(version), 8);
        }
        record.encode(&mut out);
        let golden = b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x01\x37\x01\xAC\x02";
        assert_eq!(out, golden[..]);
        assert_eq!(out.len(), record.encoded_bytes());
        assert_eq!(WriterRecord::decode(&out), Ok(record));
    }

    #[test]
    fn the_window_slides() {
        let mut record = WriterRecord::claimed(Epoch(1));
        assert_eq!(record.version_of(Seq(0)), None);
        for seq in 1..=10_u64 {
            record.advance(Version(seq * seq * 100), 4);
        }
        for seq in 7..=10 {
            assert_eq!(record.version_of(Seq(seq)), Some(Version(seq * seq * 100)), "{seq}");
        }
        for seq in [0, 1, 6, 11] {
            assert_eq!(record.version_of(Seq(seq)), None, "{seq}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_damaged(bytes: Vec<u8>) {
            let _ = PartitionRecord::decode(&bytes);
            let _ = BlobRecord::decode(&bytes);
            let _ = ReplicaRecord::decode(&bytes);
            let _ = split_expiry_key(&bytes);
            if let Ok(record) = WriterRecord::decode(&bytes) {
                for seq in 0..300 {
                    let _ = record.version_of(Seq(record.last.0.wrapping_sub(seq)));
                }
            }
        }
    }
}
