//! One partition on a store in memory, for tests of machines; outcomes of writes get lost on
//! demand.

use bytes::Bytes;
use dds::{
    BlobId, Durability, Entry, GroupVersion, MemoryStore, Outcome, Partition, PartitionId, Refusal,
    Request, Response, RouteKey, SortKey, Store, Tier, partition,
};
use fsm::{Budget, Host, Mono, Stepped, Token, Wall};
use std::sync::Arc;

/// What happens to the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It applies, but the outcome is lost.
    AppliedUnknown,
    /// It does not apply, and the outcome is lost.
    LostUnknown,
    Unavailable,
    /// The store takes only what frees space.
    NoSpace,
}

pub struct TestDds {
    store: Arc<MemoryStore>,
    partition: Partition,
    host: Host,
    pub next_fault: Option<Fault>,
}

impl Default for TestDds {
    fn default() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }
}

impl TestDds {
    fn on(store: Arc<MemoryStore>) -> Self {
        let limits = Arc::new(dds::Limits::default());
        let partition = Partition::new(PartitionId(0), GroupVersion(1), limits);
        Self { store, partition, host: Host::new(1, 1), next_fault: None }
    }

    /// The same store after a restart.
    pub fn restarted(&self) -> Self {
        Self::on(Arc::clone(&self.store))
    }

    pub fn answer(&mut self, request: Request) -> Response {
        let fault =
            if matches!(request, Request::Write(_)) { self.next_fault.take() } else { None };
        match fault {
            None => self.run(request),
            Some(Fault::AppliedUnknown) => {
                self.run(request);
                Response::Wrote(Outcome::Unknown)
            }
            Some(Fault::LostUnknown) => Response::Wrote(Outcome::Unknown),
            Some(Fault::Unavailable) => Response::Wrote(Outcome::Refused(Refusal::Unavailable)),
            Some(Fault::NoSpace) => {
                self.store.set_bytes_max(Some(0));
                let response = self.run(request);
                self.store.set_bytes_max(None);
                response
            }
        }
    }

    fn run(&mut self, request: Request) -> Response {
        let mut inputs = vec![partition::Input::Asked { from: 0, token: Token(1), request }];
        let mut response = None;
        while let Some(input) = inputs.pop() {
            let mut stepped = Stepped::default();
            let now = (Mono(0), Wall(0));
            self.host.step(&mut self.partition, &mut stepped, now, Budget::new(9999), input);
            for effect in stepped.effects {
                match effect {
                    partition::Effect::Answer { to: _, token: _, response: r } => {
                        response = Some(r)
                    }
                    partition::Effect::Commit { token, group } => {
                        let result = self.store.commit(&[group], Durability::Synced);
                        inputs.push(partition::Input::Stored { token, result });
                    }
                    partition::Effect::Read { token, read } => {
                        let result = self.store.read(&read, Tier::Disk);
                        inputs.push(partition::Input::ReadDone { token, result });
                    }
                }
            }
        }
        response.expect("every request is answered")
    }

    /// All entries of a route.
    pub fn entries(&mut self, route: RouteKey) -> Vec<(Bytes, Bytes)> {
        let request = Request::Scan {
            route,
            from: SortKey(Bytes::from_static(b"\x01")),
            to: SortKey(Bytes::from_static(b"\xFF\xFF")),
            reverse: false,
            entries_max: 10_000,
        };
        match self.run(request) {
            Response::Scanned { entries, more: false } => {
                entries.into_iter().map(|Entry { key, value, .. }| (key.0, value)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Writes a blob of one byte.
    pub fn put_blob(&mut self, blob: BlobId, expires: Wall) {
        let bytes = Bytes::from_static(b"x");
        let response = self.run(Request::PutChunk { blob, index: 0, bytes, expires });
        assert!(matches!(response, Response::Wrote(Outcome::Committed { .. })), "{response:?}");
    }

    pub fn has_blob(&mut self, blob: BlobId) -> bool {
        self.run(Request::ReadBlob { blob, offset: 0, len: 1 }) != Response::Absent
    }
}
