//! The body record of a message: a list of extents behind the trace prefix, with what is needed to read a part of it.

use super::{Damaged, Reader, Writer};
use crate::face::LONE_BYTES_MAX;
use bytes::Bytes;
use dds::BlobId;

/// Bytes of a message that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// In the body record itself.
    Inline(Bytes),
    /// In records of its own, [`PIECE_BYTES`] each: piece 0 and on.
    Pieces { len: u64 },
    /// `offset..offset + len` of a blob.
    Blob { blob: BlobId, offset: u64, len: u64 },
}

/// Everything about the bytes of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyRecord {
    /// Bytes of the header, the empty line included, the trace prefix left out.
    pub header_bytes: u64,
    /// The trace prefix.
    pub prefix: Bytes,
    /// The part table; `None` when it stands apart.
    pub parts: Option<Bytes>,
    /// What follows the prefix, in order.
    pub extents: Vec<Extent>,
    /// Prefix and first inline extent in one piece, so that most reads are one slice.
    lead: Bytes,
}

/// A piece of a message: known, or yet to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Bytes(Bytes),
    /// `offset..offset + len` of the record [`super::keys::body_piece`].
    Kept {
        piece: u16,
        offset: usize,
        len: usize,
    },
    Blob {
        blob: BlobId,
        offset: u64,
        len: u64,
    },
}

/// An extent before its bytes are cut.
enum Shape {
    Inline { len: u32 },
    Pieces { len: u64 },
    Blob { blob: BlobId, offset: u64, len: u64 },
}

const INLINE: u8 = 0;
const BLOB: u8 = 1;
const PIECES: u8 = 2;

/// Bytes of a piece, the last one left out. Part of the format.
pub const PIECE_BYTES: usize = 60 * 1024;

/// Pieces of the longest body that is kept in pieces.
pub const PIECES_MAX: u16 = 4;

const LONE: u64 = LONE_BYTES_MAX as u64;
const _: () = assert!(LONE_BYTES_MAX == PIECE_BYTES * PIECES_MAX as usize);

/// The pieces of a body, in order.
pub fn pieces_of(body: &Bytes) -> impl Iterator<Item = (u16, Bytes)> + '_ {
    let cut = (0..body.len()).step_by(PIECE_BYTES);
    (0..).zip(cut.map(|at| body.slice(at..body.len().min(at + PIECE_BYTES))))
}

impl BodyRecord {
    /// The value of a message: one extent. `parts` of `None` stand apart.
    #[must_use]
    pub fn encode(
        header_bytes: u64,
        prefix: &[u8],
        parts: Option<&[u8]>,
        extent: &Extent,
    ) -> Bytes {
        let inline = match extent {
            Extent::Inline(bytes) => bytes.as_ref(),
            Extent::Pieces { .. } | Extent::Blob { .. } => &[],
        };
        let tables = parts.map_or(0, <[u8]>::len);
        let mut writer = Writer::new(inline.len() + prefix.len() + tables + 48);
        writer.number(header_bytes);
        writer.number(prefix.len() as u64);
        // Zero says that the table stands apart.
        writer.number(parts.map_or(0, |parts| parts.len() as u64 + 1));
        writer.number(1);
        match extent {
            Extent::Inline(bytes) => {
                writer.byte(INLINE);
                writer.number(bytes.len() as u64);
            }
            Extent::Pieces { len } => {
                writer.byte(PIECES);
                writer.number(*len);
            }
            Extent::Blob { blob, offset, len } => {
                writer.byte(BLOB);
                writer.wide(blob.0);
                writer.number(*offset);
                writer.number(*len);
            }
        }
        writer.raw(parts.unwrap_or_default());
        writer.raw(prefix);
        writer.raw(inline);
        writer.finish()
    }

    /// # Errors
    /// When it is no body record.
    pub fn decode(value: &Bytes) -> Result<Self, Damaged> {
        let mut reader = Reader::new(value, "body record")?;
        let header_bytes = reader.number()?;
        let prefix_len = reader.number32()? as usize;
        let parts_len = reader.number32()? as usize;
        let count = reader.number()?;
        let mut shapes = Vec::new();
        for _ in 0..count {
            // A shape takes at least two bytes, so that the loop ends with the value.
            shapes.push(match reader.byte()? {
                INLINE => Shape::Inline { len: reader.number32()? },
                PIECES => match reader.number()? {
                    len @ ..=LONE => Shape::Pieces { len },
                    _ => return Err(reader.damaged()),
                },
                BLOB => Shape::Blob {
                    blob: BlobId(reader.wide()?),
                    offset: reader.number()?,
                    len: reader.number()?,
                },
                _ => return Err(reader.damaged()),
            });
        }
        let parts = match parts_len.checked_sub(1) {
            Some(len) => Some(value.slice_ref(reader.raw(len)?)),
            None => None,
        };
        let from_prefix = value.slice_ref(reader.rest());
        let prefix = value.slice_ref(reader.raw(prefix_len)?);
        let mut lead_len = prefix_len;
        let mut extents = Vec::with_capacity(shapes.len());
        for shape in shapes {
            match shape {
                Shape::Inline { len } => {
                    let len = len as usize;
                    if extents.is_empty() {
                        lead_len = lead_len.saturating_add(len);
                    }
                    extents.push(Extent::Inline(value.slice_ref(reader.raw(len)?)));
                }
                Shape::Pieces { len } => extents.push(Extent::Pieces { len }),
                Shape::Blob { blob, offset, len } => {
                    extents.push(Extent::Blob { blob, offset, len });
                }
            }
        }
        let damaged = reader.damaged();
        reader.finish()?;
        let lead = from_prefix.get(..lead_len).map(|lead| value.slice_ref(lead)).ok_or(damaged)?;
        Ok(Self { header_bytes, prefix, parts, extents, lead })
    }

    /// Bytes of the message, trace prefix included: RFC822.SIZE.
    #[must_use]
    pub fn len(&self) -> u64 {
        let extents = self.extents.iter().map(Extent::len);
        extents.fold(self.prefix.len() as u64, u64::saturating_add)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blobs it refers to.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.extents.iter().filter_map(|extent| match extent {
            Extent::Inline(_) | Extent::Pieces { .. } => None,
            Extent::Blob { blob, .. } => Some(*blob),
        })
    }

    /// Bytes `offset..offset + len` of the message (offset 0 is the first byte of the prefix), cut at its end.
    #[must_use]
    pub fn range(&self, offset: u64, len: u64) -> Vec<Piece> {
        let end = offset.saturating_add(len).min(self.len());
        if offset >= end {
            return Vec::new();
        }
        // Nearly always: everything asked for lies in one piece.
        if end <= self.lead.len() as u64 {
            return vec![Piece::Bytes(slice(&self.lead, offset, end))];
        }
        let mut pieces = Vec::new();
        let mut at = self.prefix.len() as u64;
        if offset < at {
            pieces.push(Piece::Bytes(slice(&self.prefix, offset, at)));
        }
        for extent in &self.extents {
            let extent_len = extent.len();
            let (from, to) = (offset.max(at), end.min(at.saturating_add(extent_len)));
            if from < to {
                extent.cut(from - at, to - at, &mut pieces);
            }
            at = at.saturating_add(extent_len);
        }
        pieces
    }
}

impl Extent {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Pieces { len } | Self::Blob { len, .. } => *len,
        }
    }

    /// Adds where its bytes `from..to` lie.
    fn cut(&self, from: u64, to: u64, pieces: &mut Vec<Piece>) {
        match self {
            Self::Inline(bytes) => pieces.push(Piece::Bytes(slice(bytes, from, to))),
            Self::Pieces { .. } => cut_pieces(from, to, pieces),
            Self::Blob { blob, offset, len: _ } => pieces.push(Piece::Blob {
                blob: *blob,
                offset: offset.saturating_add(from),
                len: to - from,
            }),
        }
    }
}

/// Bytes `from..to` of pieces.
fn cut_pieces(from: u64, to: u64, pieces: &mut Vec<Piece>) {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(LONE_BYTES_MAX).min(LONE_BYTES_MAX);
    let (mut at, to) = (clamp(from), clamp(to));
    while at < to {
        let (piece, offset) = (at / PIECE_BYTES, at % PIECE_BYTES);
        let len = (PIECE_BYTES - offset).min(to - at);
        pieces.push(Piece::Kept { piece: u16::try_from(piece).unwrap_or(PIECES_MAX), offset, len });
        at += len;
    }
}

/// `from..to` of bytes that are known to reach so far; what lies beyond is left out.
fn slice(bytes: &Bytes, from: u64, to: u64) -> Bytes {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(clamp(from)..clamp(to))
}
