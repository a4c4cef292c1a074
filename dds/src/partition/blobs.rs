//! Judges the tasks of a blob. Chunk, record and expiry index change in one group, so no crash leaves one without the other;
//! and the collector's deletion is judged here against the record as it will be, so that a renewal under way saves the blob.

use super::group_builder::GroupBuilder;
use super::log::Plan;
use super::reads::{self, BlobRange};
use super::subject::Task;
use crate::layout::{self, BlobRecord, Damaged};
use crate::{BlobId, CHUNK_BYTES, Column, Outcome, PartitionId, Refusal, Response, Version};
use bytes::{Bytes, BytesMut};
use fsm::Wall;

/// What a task of a blob comes to.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing has to be written.
    Answer(Response),
    /// This is to be written, and then the record is this.
    Commit(Plan, Option<BlobRecord>),
}

/// One blob, as its tasks find it.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    pub partition: PartitionId,
    pub id: BlobId,
    /// `None`: there is no such blob.
    pub record: Option<BlobRecord>,
    /// The version of the next group.
    pub version: Version,
    /// The version of the last group: the answer to what was true already.
    pub last: Version,
}

impl Blob {
    /// Judges `task`, which must be one of a blob.
    pub fn judge(&self, task: Task) -> Verdict {
        match task {
            Task::PutChunk { index, bytes, expires } => self.put_chunk(index, bytes, expires),
            Task::Renew { expires } => self.renew(expires),
            Task::Drop => match self.record {
                Some(record) => self.delete(&record, committed(self.version)),
                None => Verdict::Answer(committed(self.last)),
            },
            Task::Collect { listed, expired_before } => self.collect(listed, expired_before),
            Task::Claim | Task::Write(_) => unreachable!("tasks of routes go to routes"),
        }
    }

    fn put_chunk(&self, index: u32, bytes: Bytes, expires: Wall) -> Verdict {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (chunks, last_bytes) = match self.record {
            Some(BlobRecord { chunks, last_bytes, .. }) if index + 1 < chunks => {
                if bytes.len() != CHUNK_BYTES {
                    return refused(Refusal::TooLarge { what: "gap behind a short chunk" });
                }
                (chunks, last_bytes)
            }
            Some(BlobRecord { chunks, last_bytes, .. })
                if index >= chunks && last_bytes as usize != CHUNK_BYTES =>
            {
                return refused(Refusal::TooLarge { what: "gap behind a short chunk" });
            }
            Some(_) | None => (index + 1, len),
        };
        let expires = self.record.map_or(expires, |record| record.expires.max(expires));
        let record = BlobRecord { version: self.version, expires, chunks, last_bytes };
        let mut builder = self.builder(4);
        builder.put(Column::Bodies, layout::chunk_key(self.partition, self.id, index), bytes);
        self.put_record(&mut builder, &record);
        self.commit(builder, record, false)
    }

    fn renew(&self, expires: Wall) -> Verdict {
        match self.record {
            None => refused(Refusal::PreconditionFailed { index: 0 }),
            Some(record) if record.expires >= expires => Verdict::Answer(committed(record.version)),
            Some(record) => {
                let record = BlobRecord { version: self.version, expires, ..record };
                let mut builder = self.builder(3);
                self.put_record(&mut builder, &record);
                // Without renewals no sweep is complete, and without a sweep nothing is ever collected.
                self.commit(builder, record, true)
            }
        }
    }

    fn collect(&self, listed: Wall, expired_before: Wall) -> Verdict {
        match self.record {
            Some(record) if record.expires == listed => {
                if record.expires < expired_before {
                    self.delete(&record, Response::Collected { blobs: 1, more: false })
                } else {
                    Verdict::Answer(Response::Collected { blobs: 0, more: false })
                }
            }
            // Renewed or dropped since the index was read. What the index still lists is a leftover.
            Some(_) | None => {
                let mut builder = self.builder(1);
                builder.delete(Column::Meta, layout::expiry_key(self.partition, listed, self.id));
                let response = Response::Collected { blobs: 0, more: false };
                let plan = Plan { builder, response, touched: Vec::new(), frees_space: true };
                Verdict::Commit(plan, self.record)
            }
        }
    }

    fn delete(&self, record: &BlobRecord, response: Response) -> Verdict {
        let mut builder = self.builder(2 + record.chunks as usize);
        for index in 0..record.chunks {
            builder.delete(Column::Bodies, layout::chunk_key(self.partition, self.id, index));
        }
        builder.delete(Column::Meta, layout::blob_key(self.partition, self.id));
        builder.delete(Column::Meta, layout::expiry_key(self.partition, record.expires, self.id));
        let plan = Plan { builder, response, touched: Vec::new(), frees_space: true };
        Verdict::Commit(plan, None)
    }

    fn put_record(&self, builder: &mut GroupBuilder, record: &BlobRecord) {
        let expiry = |expires| layout::expiry_key(self.partition, expires, self.id);
        let listed = self.record.map(|before| before.expires);
        if listed != Some(record.expires) {
            if let Some(listed) = listed {
                builder.delete(Column::Meta, expiry(listed));
            }
            builder.put(Column::Meta, expiry(record.expires), Bytes::new());
        }
        let mut value = BytesMut::with_capacity(BlobRecord::BYTES);
        record.encode(&mut value);
        builder.put(Column::Meta, layout::blob_key(self.partition, self.id), value.freeze());
    }

    fn builder(&self, ops: usize) -> GroupBuilder {
        GroupBuilder::new(self.partition, ops, 0)
    }

    fn commit(&self, builder: GroupBuilder, record: BlobRecord, frees_space: bool) -> Verdict {
        let response = committed(self.version);
        let plan = Plan { builder, response, touched: Vec::new(), frees_space };
        Verdict::Commit(plan, Some(record))
    }
}

/// The answer to a read whose chunks ended within the range, given what the record says.
pub fn at_end(
    range: BlobRange,
    bytes: Bytes,
    record: Result<Vec<Option<Bytes>>, Refusal>,
) -> Response {
    let stored = match record {
        Ok(values) => values.into_iter().next().flatten(),
        Err(refusal) => return Response::Refused(refusal),
    };
    match stored.map(|stored| BlobRecord::decode(&stored)) {
        None => Response::Absent,
        Some(Err(damaged)) => Response::Refused(reads::corrupt(damaged)),
        Some(Ok(record)) if range.bytes_in(&record) == bytes.len() as u64 => {
            Response::BlobRead(bytes)
        }
        Some(Ok(_)) => Response::Refused(reads::corrupt(Damaged("blob: a chunk is missing"))),
    }
}

fn committed(version: Version) -> Response {
    Response::Wrote(Outcome::Committed { version })
}

fn refused(refusal: Refusal) -> Verdict {
    Verdict::Answer(Response::Wrote(Outcome::Refused(refusal)))
}
