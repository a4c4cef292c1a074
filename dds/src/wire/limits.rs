//! Limits of what travels between nodes. Those of keys, values and batches are [`crate::Limits`].

/// Bytes of a frame, its length not counted. Our choice: above the largest group that the limits of a batch let through, and what
/// one connection may hold in memory.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// No number of versions, entries, epochs or batches reaches this. They count from 1 in steps of one, so that none ever will, and
/// arithmetic on what a peer said can't overflow.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Elements of all lists of a payload, however short it is. Our choice: more than the 32,768 entries of a page of the shortest keys.
pub const ELEMENTS_FREE: usize = 64 * 1024;

/// Bytes of a payload for each element beyond [`ELEMENTS_FREE`]. An element takes two bytes at least, and a hundred in memory;
/// those that machines make have a key of a partition, a route and more.
pub const ELEMENT_BYTES_MIN: usize = 8;

/// Bytes of a text about a failure; the rest is cut. Our choice.
pub const TEXT_BYTES_MAX: usize = 1024;
