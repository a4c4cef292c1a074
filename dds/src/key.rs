//! Keys: a route key decides the partition, a sort key orders the entries within a route.

use bytes::Bytes;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// Decides the partition; all entries of one route are written by one writer and live together. At most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey(pub Bytes);

/// Orders entries within a route, byte by byte. At most [`crate::Limits::key_bytes_max`]. Keys that begin with byte 0 belong
/// to the partition itself (writer records) and are refused in requests; the empty key is refused too. Keys whose first byte
/// is [`SortKey::BODY_FIRST`] or above are body keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey(pub Bytes);

impl SortKey {
    /// First byte of the least body key.
    pub const BODY_FIRST: u8 = 0x80;

    /// Whether the entry lives in the column for bodies ([`crate::Column::Bodies`]): written once, never rewritten by
    /// compaction, right for values over 1 KiB that do not change. All other entries live in [`crate::Column::Meta`].
    /// The key alone says it, so that a read asks one column, and the entries of a route still have one order.
    #[must_use]
    pub fn is_body(&self) -> bool {
        self.0.first().is_some_and(|&first| first >= Self::BODY_FIRST)
    }
}

/// Number of a partition, below [`DpMap::partitions`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct PartitionId(pub u16);

/// Version of a partition's replica group: rises whenever its members or its primary change. A group of one has one too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion(pub u64);

/// The DP map: route key to partition, by the top bits of SipHash-2-4. Fixed when the store is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DpMap {
    /// Count of partitions, a power of two, 1 to 16,384.
    pub partitions: u16,
    /// Key of the hash; drawn at random when the store is created.
    pub hash_key: (u64, u64),
}

impl DpMap {
    /// The partition that holds `route`.
    #[must_use]
    pub fn partition_of(&self, route: &[u8]) -> PartitionId {
        debug_assert!(self.partitions.is_power_of_two());
        let mut hasher = SipHasher24::new_with_keys(self.hash_key.0, self.hash_key.1);
        hasher.write(route);
        let bits = self.partitions.trailing_zeros();
        let top = hasher.finish().checked_shr(64 - bits).unwrap_or(0);
        PartitionId(u16::try_from(top).expect("at most 14 bits are kept"))
    }
}
