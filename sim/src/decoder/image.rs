//! What a brick holds, taken apart by physical keys.

use super::cursor::{Unreadable, big_endian};
use bytes::Bytes;
use dds::Column;
use std::collections::BTreeMap;

/// Entries of one route by sort key, versions left out.
pub type Route = BTreeMap<Bytes, Bytes>;

/// A blob and its chunks.
#[derive(Clone, Debug, Default)]
pub struct Blob {
    pub record: Option<Bytes>,
    pub chunks: BTreeMap<u32, Bytes>,
    /// How often the index by expiry names it.
    pub listed: u32,
}

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub routes: BTreeMap<Bytes, Route>,
    pub blobs: BTreeMap<u128, Blob>,
}

impl Image {
    /// # Errors
    /// A key of no known form.
    pub fn new(entries: Vec<(Column, Bytes, Bytes)>) -> Result<Self, Unreadable> {
        let mut image = Self::default();
        for (column, key, value) in entries {
            let Some((&scope, rest)) = key.get(2..).and_then(<[u8]>::split_first) else {
                return Err(Unreadable(format!("key {key:?}")));
            };
            if key.starts_with(&dds::control::CONTROL.0.to_be_bytes()) {
                continue;
            }
            if scope == 0 {
                image.own(column, rest, value)?;
                continue;
            }
            let len = usize::from(scope);
            if rest.len() <= len {
                return Err(Unreadable(format!("key {key:?}")));
            }
            let route = key.slice(3..3 + len);
            let sort_key = key.slice(3 + len..);
            if sort_key[0] == 0 {
                // The writer's record.
                continue;
            }
            let is_body = sort_key[0] >= 0x80;
            if is_body != (column == Column::Bodies) || value.len() < 8 {
                return Err(Unreadable(format!("entry {key:?} in {column:?}")));
            }
            image.routes.entry(route).or_default().insert(sort_key, value.slice(8..));
        }
        Ok(image)
    }

    /// What belongs to a partition itself.
    fn own(&mut self, column: Column, rest: &[u8], value: Bytes) -> Result<(), Unreadable> {
        match (column, rest[0], rest.len()) {
            // Where the log stands, and what the replica has joined.
            (Column::Log, b'p' | b'r', 1) => {}
            (Column::Meta, b'b', 17) => {
                self.blobs.entry(big_endian(&rest[1..])).or_default().record = Some(value);
            }
            (Column::Meta, b'e', 25) => {
                self.blobs.entry(big_endian(&rest[9..])).or_default().listed += 1;
            }
            (Column::Bodies, b'c', 21) => {
                let index = u32::try_from(big_endian(&rest[17..])).unwrap_or(u32::MAX);
                let blob = self.blobs.entry(big_endian(&rest[1..17])).or_default();
                blob.chunks.insert(index, value);
            }
            _ => return Err(Unreadable(format!("key {rest:?} in {column:?}"))),
        }
        Ok(())
    }

    /// Bytes `offset..offset + len` of a blob; `None` when any is missing.
    #[must_use]
    pub fn blob_range(&self, blob: u128, offset: u64, len: u64) -> Option<Vec<u8>> {
        let blob = self.blobs.get(&blob)?;
        blob.record.as_ref()?;
        let mut all = Vec::new();
        for (place, (&index, chunk)) in (0_u32..).zip(&blob.chunks) {
            if index != place {
                return None;
            }
            all.extend_from_slice(chunk);
        }
        let from = usize::try_from(offset).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        all.get(from..to).map(<[u8]>::to_vec)
    }
}
