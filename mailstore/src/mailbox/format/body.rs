//! The body record of a message: a list of extents behind the trace prefix, with what is needed to read a part of it.

use super::{Damaged, Reader, Writer};
use bytes::Bytes;
use dds::BlobId;

/// Bytes of a message that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// In the body record itself.
    Inline(Bytes),
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
    Blob { blob: BlobId, offset: u64, len: u64 },
}

/// An extent before its bytes are cut.
enum Shape {
    Inline { len: u32 },
    Blob { blob: BlobId, offset: u64, len: u64 },
}

const INLINE: u8 = 0;
const BLOB: u8 = 1;

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
            Extent::Blob { .. } => &[],
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
        let extents = self.extents.iter().map(|extent| match extent {
            Extent::Inline(bytes) => bytes.len() as u64,
            Extent::Blob { len, .. } => *len,
        });
        extents.fold(self.prefix.len() as u64, u64::saturating_add)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blobs it refers to.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> + '_ {
        self.extents.iter().filter_map(|extent| match extent {
            Extent::Inline(_) => None,
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
            let extent_len = match extent {
                Extent::Inline(bytes) => bytes.len() as u64,
                Extent::Blob { len, .. } => *len,
            };
            let (from, to) = (offset.max(at), end.min(at.saturating_add(extent_len)));
            if from < to {
                pieces.push(match extent {
                    Extent::Inline(bytes) => Piece::Bytes(slice(bytes, from - at, to - at)),
                    Extent::Blob { blob, offset, len: _ } => Piece::Blob {
                        blob: *blob,
                        offset: offset.saturating_add(from - at),
                        len: to - from,
                    },
                });
            }
            at = at.saturating_add(extent_len);
        }
        pieces
    }
}

/// `from..to` of bytes that are known to reach so far; what lies beyond is left out.
fn slice(bytes: &Bytes, from: u64, to: u64) -> Bytes {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(clamp(from)..clamp(to))
}
