//! The items of a payload, one by one, each looked over before memory is spent on it.
//!
//! The decoder of a list makes an element of a hundred bytes from two of the wire. So the elements of all lists are counted first,
//! in the bytes.

use super::limits::{ELEMENT_BYTES_MIN, ELEMENTS_FREE};
use super::{Decoded, Malformed};
use bytes::Bytes;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// The fields of a message that are lists, or hold some: by number, with what stands in them.
pub(super) struct Shape(pub &'static [(u32, &'static Shape)]);

impl Shape {
    /// No lists.
    pub const LEAF: Shape = Shape(&[]);
}

/// See the head of the file.
pub(super) struct Items {
    rest: Bytes,
    /// Elements that may still come.
    elements: usize,
}

impl Items {
    pub fn new(payload: Bytes) -> Self {
        let elements = ELEMENTS_FREE.saturating_add(payload.len() / ELEMENT_BYTES_MIN);
        Self { rest: payload, elements }
    }

    /// The next item and the number of its list. Fields that are no lists are ignored.
    pub fn next(&mut self) -> Decoded<Option<(u32, Bytes)>> {
        while !self.rest.is_empty() {
            let malformed = Malformed("payload");
            let (tag, wire_type) = decode_key(&mut self.rest).map_err(|_| malformed)?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, &mut self.rest, DecodeContext::default())
                    .map_err(|_| malformed)?;
                continue;
            }
            let len = decode_varint(&mut self.rest).map_err(|_| malformed)?;
            let len = usize::try_from(len).ok().filter(|&len| len <= self.rest.len());
            return Ok(Some((tag, self.rest.split_to(len.ok_or(malformed)?))));
        }
        Ok(None)
    }

    /// Reads the item `bytes`, whose lists are `shape`.
    pub fn read<M: Message + Default>(
        &mut self,
        bytes: Bytes,
        shape: &Shape,
        what: &'static str,
    ) -> Decoded<M> {
        self.count(1)?;
        self.look_over(&bytes, shape).map_err(|broken| broken.unwrap_or(Malformed(what)))?;
        M::decode(bytes).map_err(|_| Malformed(what))
    }

    fn count(&mut self, elements: usize) -> Decoded<()> {
        let left = self.elements.checked_sub(elements);
        self.elements = left.ok_or(Malformed("payload: too many elements"))?;
        Ok(())
    }

    /// An error is too many elements, or none: the bytes are no message.
    fn look_over(&mut self, mut bytes: &[u8], shape: &Shape) -> Result<(), Option<Malformed>> {
        while !bytes.is_empty() {
            let (tag, wire_type) = decode_key(&mut bytes).map_err(|_| None)?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, &mut bytes, DecodeContext::default())
                    .map_err(|_| None)?;
                continue;
            }
            let len = decode_varint(&mut bytes).map_err(|_| None)?;
            let len = usize::try_from(len).ok().ok_or(None)?;
            let (inner, rest) = bytes.split_at_checked(len).ok_or(None)?;
            bytes = rest;
            if let Some((_, shape)) = shape.0.iter().find(|(list, _)| *list == tag) {
                self.count(1)?;
                // The depth is that of the shape.
                self.look_over_list(inner, shape)?;
            }
        }
        Ok(())
    }

    fn look_over_list(&mut self, inner: &[u8], shape: &Shape) -> Result<(), Option<Malformed>> {
        if shape.0.is_empty() { Ok(()) } else { self.look_over(inner, shape) }
    }
}
