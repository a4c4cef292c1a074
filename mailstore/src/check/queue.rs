//! The delivery queue: what was accepted and is not delivered everywhere yet.

use super::Walk;
use super::source::Pages;
use crate::delivery::EntryKind;
use crate::delivery::format::{self, BodyRef, Head, Stored};
use crate::face::DeliveryId;
use bytes::Bytes;
use dds::{BlobId, Column, PartitionId, RouteKey, SortKey, layout};
use std::collections::BTreeMap;

/// A queue on the way.
#[derive(Debug, Default)]
pub struct QueueCheck {
    heads: BTreeMap<DeliveryId, Head>,
    pieces: BTreeMap<DeliveryId, Vec<Bytes>>,
    blobs: BTreeMap<DeliveryId, BlobId>,
}

impl QueueCheck {
    /// Takes a record; why it is wrong, if so.
    pub fn take(&mut self, key: &SortKey, value: Bytes) -> Result<(), String> {
        let reason = |what: &str| format!("record {}: {what}", key.0.escape_ascii());
        let id = format::id_of(key).ok_or_else(|| reason("its key is malformed"))?;
        let read = match key.0.first() {
            Some(b'd') => format::read_done(value).map(drop),
            Some(b'h') => Head::read(value).map(|head| {
                self.heads.insert(id, head);
            }),
            Some(b'p') => {
                self.pieces.entry(id).or_default().push(value);
                Ok(())
            }
            Some(b'r') => format::read_blob(value).map(|blob| {
                self.blobs.insert(id, blob);
            }),
            _ => return Err(reason("of no known kind")),
        };
        read.map_err(|error| reason(&error.to_string()))
    }
}

impl Walk<'_> {
    pub(super) fn finish_queue(
        &mut self,
        partition: PartitionId,
        route: &RouteKey,
        mut queue: QueueCheck,
    ) {
        let mut bodies = self.read_queued_bodies(partition, route);
        for (id, head) in std::mem::take(&mut queue.heads) {
            let thing = format!("accepted message {:032x}", id.0);
            let body = match head.body {
                BodyRef::Inline => bodies.remove(&id),
                BodyRef::Blob { blob, len } => {
                    if let Some(reason) = self.blob_fault(blob, len) {
                        self.damage(thing.clone(), reason);
                    }
                    if queue.blobs.get(&id) != Some(&blob) {
                        let reason = format!("no sweep renews its blob {:032x}", blob.0);
                        self.damage(thing.clone(), reason);
                    }
                    Some(Bytes::new())
                }
            };
            let Some(body) = body else {
                self.damage(thing, "its body is not there");
                continue;
            };
            let pieces = queue.pieces.remove(&id).unwrap_or_default();
            if pieces.len() != head.pieces as usize {
                let reason = format!("{} of {} pieces are there", pieces.len(), head.pieces);
                self.damage(thing, reason);
            } else if let Err(error) = (Stored { id, head, body, pieces }).read() {
                self.damage(thing, format!("its recipients: {error}"));
            }
        }
    }

    fn read_queued_bodies(
        &mut self,
        partition: PartitionId,
        route: &RouteKey,
    ) -> BTreeMap<DeliveryId, Bytes> {
        let (from, to) = EntryKind::Body.range();
        let key = |sort: &SortKey| layout::entry_key(partition, route, &sort.0);
        let mut pages = Pages::new(Column::Bodies, key(&from), key(&to));
        let prefix = layout::prefix_bytes(route);
        let mut bodies = BTreeMap::new();
        loop {
            match pages.next(self.reads) {
                Ok(Some(page)) => {
                    for (key, stored) in page {
                        self.count(&key, &stored);
                        let id = format::id_of(&SortKey(key.slice(prefix..)));
                        if let (Some(id), Ok((body, _))) = (id, layout::split_entry(stored)) {
                            bodies.insert(id, body);
                        }
                    }
                }
                Ok(None) => return bodies,
                Err(error) => {
                    self.damage("a body in the delivery queue", error.to_string());
                    return bodies;
                }
            }
        }
    }
}
