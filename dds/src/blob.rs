//! Large immutable values, kept in chunks outside the ordered log.

/// Bytes of every chunk of a blob but the last.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Names one blob, for ever. Its partition is that of its 16 bytes as a route key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct BlobId(pub u128);

impl BlobId {
    /// The bytes that route the blob, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}
