//! The blobs of a partition: records, chunks, index by expiry.

use super::source::{self, Pages};
use super::{RESTORE, Walk};
use bytes::Bytes;
use dds::layout::{self, BlobRecord};
use dds::{BlobId, CHUNK_BYTES, Column, PartitionId, StoreError};
use std::collections::BTreeMap;

/// A blob, and what was found of it.
#[derive(Debug)]
struct Seen {
    record: BlobRecord,
    chunks: u32,
    listed: u32,
}

type Blobs = BTreeMap<BlobId, Seen>;

impl Walk<'_> {
    /// Notes which blobs are not whole, and tells what is wrong whoever refers to them.
    pub(super) fn check_blobs(&mut self, partition: PartitionId) {
        let mut blobs = Blobs::new();
        let own = own_range(partition);
        let mut pages = Pages::new(Column::Meta, own.0.clone(), own.1.clone());
        loop {
            match pages.next(self.reads) {
                Ok(Some(page)) => {
                    for (key, value) in page {
                        self.count(&key, &value);
                        self.take_record(&mut blobs, &key, &value);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    let thing = format!("large bodies of partition {}", partition.0);
                    self.damage(thing, error.to_string());
                    break;
                }
            }
        }
        if self.read_chunks(&mut blobs, own).is_err() {
            self.read_chunks_singly(&mut blobs, partition);
        }
        self.counts.blobs += blobs.len() as u64;
        for (blob, seen) in blobs {
            if seen.listed != 1 {
                let reason = format!("listed {} times in the index by expiry", seen.listed);
                self.damage_of(named(blob), reason, RESTORE);
            }
            if seen.chunks != seen.record.chunks {
                let reason = format!("{} of {} chunks are there", seen.chunks, seen.record.chunks);
                self.broken_blobs.entry(blob).or_insert(reason);
            }
        }
    }

    fn take_record(&mut self, blobs: &mut Blobs, key: &Bytes, value: &Bytes) {
        let id = key.get(4..).and_then(|id| <[u8; 16]>::try_from(id).ok());
        match (key.get(3), id) {
            (Some(b'b'), Some(id)) => {
                let blob = BlobId(u128::from_be_bytes(id));
                match BlobRecord::decode(value) {
                    Ok(record) => {
                        blobs.insert(blob, Seen { record, chunks: 0, listed: 0 });
                    }
                    Err(error) => self.damage(named(blob), error.to_string()),
                }
            }
            (Some(b'e'), _) => {
                if let Ok((expires, blob)) = layout::split_expiry_key(key)
                    && let Some(seen) = blobs.get_mut(&blob)
                    && seen.record.expires == expires
                {
                    seen.listed += 1;
                }
            }
            _ => self.damage(format!("key {}", key.escape_ascii()), "of no known kind"),
        }
    }

    fn read_chunks(
        &mut self,
        blobs: &mut Blobs,
        (from, to): (Bytes, Bytes),
    ) -> Result<(), StoreError> {
        let mut pages = Pages::new(Column::Bodies, from, to);
        while let Some(page) = pages.next(self.reads)? {
            for (key, value) in page {
                self.count(&key, &value);
                self.take_chunk(blobs, &key, value.len());
            }
        }
        Ok(())
    }

    fn take_chunk(&mut self, blobs: &mut Blobs, key: &Bytes, len: usize) {
        let id = key.get(4..20).and_then(|id| <[u8; 16]>::try_from(id).ok());
        let index = key.get(20..).and_then(|index| <[u8; 4]>::try_from(index).ok());
        let (Some(b'c'), Some(id), Some(index)) = (key.get(3), id, index) else {
            return self.damage(format!("key {}", key.escape_ascii()), "of no known kind");
        };
        let blob = BlobId(u128::from_be_bytes(id));
        let index = u32::from_be_bytes(index);
        let Some(seen) = blobs.get_mut(&blob) else {
            return self.damage(named(blob), "has chunks and no record");
        };
        seen.chunks += 1;
        let last = index + 1 == seen.record.chunks;
        let wanted = if last { seen.record.last_bytes as usize } else { CHUNK_BYTES };
        // Chunks may come in any order: while one is missing the others say nothing.
        if len != wanted {
            let reason = format!("chunk {index} has {len} bytes instead of {wanted}");
            self.broken_blobs.insert(blob, reason);
        }
    }

    /// After an entry that can't be read: which blobs that concerns.
    fn read_chunks_singly(&mut self, blobs: &mut Blobs, partition: PartitionId) {
        for (blob, seen) in blobs {
            seen.chunks = seen.record.chunks;
            for index in 0..seen.record.chunks {
                let key = layout::chunk_key(partition, *blob, index);
                let reason = match source::get(self.reads, Column::Bodies, key) {
                    Ok(Some(_)) => continue,
                    Ok(None) => format!("chunk {index} is not there"),
                    Err(error) => format!("chunk {index} can't be read: {error}"),
                };
                self.broken_blobs.insert(*blob, reason);
            }
        }
    }

    /// Why bytes `..end` of a blob can't be read, if so.
    pub(super) fn blob_fault(&self, blob: BlobId, end: u64) -> Option<String> {
        if let Some(reason) = self.broken_blobs.get(&blob) {
            return Some(format!("{}: {reason}", named(blob)));
        }
        let partition = self.map.partition_of(&blob.to_bytes());
        if !(self.holds)(partition) {
            // Those who hold it know.
            return None;
        }
        let key = layout::blob_key(partition, blob);
        let record = match source::get(self.reads, Column::Meta, key) {
            Ok(Some(record)) => record,
            Ok(None) => return Some(format!("{} is not there", named(blob))),
            Err(error) => return Some(format!("{} can't be read: {error}", named(blob))),
        };
        let Ok(record) = BlobRecord::decode(&record) else {
            return Some(format!("the record of {} is damaged", named(blob)));
        };
        let whole = u64::from(record.chunks.saturating_sub(1)) * CHUNK_BYTES as u64;
        let len = whole + u64::from(record.last_bytes);
        (end > len).then(|| format!("{} has {len} bytes, {end} are needed", named(blob)))
    }

    pub(super) fn count(&mut self, key: &Bytes, value: &Bytes) {
        self.counts.entries += 1;
        self.counts.bytes += (key.len() + value.len()) as u64;
        if self.counts.entries.is_multiple_of(4096) {
            (self.tell)(super::Told::Progress(self.counts.bytes));
        }
    }
}

fn named(blob: BlobId) -> String {
    format!("blob {:032x}", blob.0)
}

/// What belongs to a partition itself.
fn own_range(partition: PartitionId) -> (Bytes, Bytes) {
    let [high, low] = partition.0.to_be_bytes();
    (Bytes::copy_from_slice(&[high, low, 0]), Bytes::copy_from_slice(&[high, low, 1]))
}
