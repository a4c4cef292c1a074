//! A hash table in memory for tests of machines: claims, sequence, scans, blobs; and outcomes that get lost on demand.

use bytes::Bytes;
use dds::{
    Batch, BlobId, Claimed, Entry, Epoch, Op, Outcome, Refusal, Request, Response, RouteKey, Seq,
    SortKey, Version,
};
use fsm::Wall;
use std::collections::BTreeMap;

/// What happens to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It applies, but the outcome is lost.
    AppliedUnknown,
    /// It does not apply, and the outcome is lost.
    LostUnknown,
    Refused,
    NoSpace,
}

#[derive(Clone, Debug, Default)]
pub struct TestDds {
    pub entries: BTreeMap<(RouteKey, SortKey), Bytes>,
    pub writers: BTreeMap<RouteKey, (Epoch, Seq)>,
    pub blobs: BTreeMap<BlobId, Wall>,
    pub next_fault: Option<Fault>,
    versions: u64,
}

impl TestDds {
    pub fn answer(&mut self, request: Request) -> Response {
        match request {
            Request::Claim { route } => {
                let previous = self.writers.get(&route).copied().unwrap_or_default();
                let epoch = Epoch(previous.0.0 + 1);
                self.writers.insert(route, (epoch, Seq(0)));
                Response::Claimed(Claimed { epoch, previous })
            }
            Request::Write(batch) => Response::Wrote(self.write(batch)),
            Request::Get { route, keys } => Response::Got(
                keys.into_iter()
                    .map(|key| self.entries.get(&(route.clone(), key)).cloned())
                    .map(|value| value.map(|value| (value, Version(1))))
                    .collect(),
            ),
            Request::Scan { route, from, to, reverse, entries_max } => {
                assert!(!reverse, "not needed so far");
                let mut rest = self.entries.range((route.clone(), from)..(route, to));
                let entries: Vec<Entry> = rest
                    .by_ref()
                    .take(entries_max)
                    .map(|((_, key), value)| Entry {
                        key: key.clone(),
                        value: value.clone(),
                        version: Version(1),
                    })
                    .collect();
                Response::Scanned { entries, more: rest.next().is_some() }
            }
            Request::RenewBlob { blob, expires } => match self.blobs.get_mut(&blob) {
                Some(held) => {
                    *held = (*held).max(expires);
                    Response::Wrote(Outcome::Committed { version: Version(1) })
                }
                None => Response::Wrote(Outcome::Refused(Refusal::PreconditionFailed { index: 0 })),
            },
            Request::PutChunk { blob, index: _, bytes: _, expires } => {
                self.blobs.insert(blob, expires);
                Response::Wrote(Outcome::Committed { version: Version(1) })
            }
            Request::CollectBlobs { partition: _, expired_before, blobs_max } => {
                let gone: Vec<BlobId> = self
                    .blobs
                    .iter()
                    .filter(|(_, expires)| **expires < expired_before)
                    .map(|(blob, _)| *blob)
                    .take(blobs_max)
                    .collect();
                for blob in &gone {
                    self.blobs.remove(blob);
                }
                let more = self.blobs.values().any(|expires| *expires < expired_before);
                Response::Collected { blobs: gone.len(), more }
            }
            Request::ReadBlob { .. } | Request::DropBlob { .. } => panic!("not asked here"),
        }
    }

    fn write(&mut self, batch: Batch) -> Outcome {
        assert!(batch.preconditions.is_empty(), "not needed so far");
        let fault = self.next_fault.take();
        match fault {
            Some(Fault::LostUnknown) => return Outcome::Unknown,
            Some(Fault::Refused) => return Outcome::Refused(Refusal::Unavailable),
            Some(Fault::NoSpace) => return Outcome::Refused(Refusal::NoSpace),
            Some(Fault::AppliedUnknown) | None => {}
        }
        let outcome = self.apply(batch);
        if fault.is_some() { Outcome::Unknown } else { outcome }
    }

    fn apply(&mut self, batch: Batch) -> Outcome {
        let writer = batch.writer.expect("every batch here has a writer");
        let (epoch, seq) = self.writers.entry(batch.route.clone()).or_default();
        if writer.epoch != *epoch {
            return Outcome::Refused(Refusal::Fenced { current: *epoch });
        }
        if writer.seq.0 > seq.0 + 1 {
            return Outcome::Refused(Refusal::SequenceGap { expected: Seq(seq.0 + 1) });
        }
        let committed = Outcome::Committed { version: Version(self.versions) };
        if writer.seq.0 <= seq.0 {
            return committed;
        }
        *seq = writer.seq;
        self.versions += 1;
        let mut bytes = 0;
        for op in batch.ops {
            match op {
                Op::Put { key, value } => {
                    assert!(value.len() <= 64 * 1024 && key.0.len() <= 1024, "over the limits");
                    bytes += key.0.len() + value.len();
                    self.entries.insert((batch.route.clone(), key), value);
                }
                Op::Delete { key } => {
                    self.entries.remove(&(batch.route.clone(), key));
                }
                Op::DeleteRange { from, to } => {
                    let range = (batch.route.clone(), from)..(batch.route.clone(), to);
                    let gone: Vec<_> = self.entries.range(range).map(|(k, _)| k.clone()).collect();
                    for key in gone {
                        self.entries.remove(&key);
                    }
                }
            }
        }
        assert!(bytes <= 1024 * 1024, "over the limits");
        committed
    }
}
