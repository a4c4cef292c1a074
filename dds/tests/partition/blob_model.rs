//! Random tasks of a few blobs, random order of completions, refused writes and crashes. What was promised to live is there,
//! and every record has its one place in the index by expiry, and every chunk its record.

use crate::bench::*;
use bytes::Bytes;
use dds::layout::{self, BlobRecord};
use dds::memory_store::Faults;
use dds::*;
use fsm::Wall;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Action {
    Put { blob: u8, index: u32, expires: i64 },
    Renew { blob: u8, expires: i64 },
    Drop { blob: u8 },
    Collect { expired_before: i64, blobs_max: usize },
    Read(usize),
    Commit(usize),
    Refuse,
    Settle,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0..3_u8, 0..3_u32, 0..50_i64)
            .prop_map(|(blob, index, expires)| Action::Put { blob, index, expires }),
        6 => (0..3_u8, 0..50_i64).prop_map(|(blob, expires)| Action::Renew { blob, expires }),
        1 => (0..3_u8).prop_map(|blob| Action::Drop { blob }),
        4 => (0..50_i64, 1..4_usize).prop_map(|(expired_before, blobs_max)| Action::Collect {
            expired_before,
            blobs_max,
        }),
        10 => (0..4_usize).prop_map(Action::Read),
        8 => (1..4_usize).prop_map(Action::Commit),
        1 => Just(Action::Refuse),
        1 => Just(Action::Settle),
        1 => Just(Action::Crash),
    ]
}

struct Run {
    bench: Bench,
    /// What each question would promise: a blob lives until then.
    promising: BTreeMap<u64, (u8, i64)>,
    promised: [Option<i64>; 3],
    /// By question, the last question when it was answered, and before when a blob must have expired that it takes.
    collecting: BTreeMap<u64, (Option<u64>, i64)>,
    dropped: [u64; 3],
}

fn id(blob: u8) -> BlobId {
    BlobId(u128::from(blob) + 1)
}

impl Run {
    fn new() -> Self {
        Self {
            bench: Bench::new(Limits { routes_cached_max: 1, ..Limits::default() }),
            promising: BTreeMap::new(),
            promised: [None; 3],
            collecting: BTreeMap::new(),
            dropped: [0; 3],
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Put { blob, index, expires } => {
                let bytes = Bytes::from(vec![blob; CHUNK_BYTES]);
                let asked =
                    Request::PutChunk { blob: id(blob), index, bytes, expires: Wall(expires) };
                let number = self.bench.ask(asked);
                self.promising.insert(number, (blob, expires));
            }
            Action::Renew { blob, expires } => {
                let asked = Request::RenewBlob { blob: id(blob), expires: Wall(expires) };
                let number = self.bench.ask(asked);
                self.promising.insert(number, (blob, expires));
            }
            Action::Drop { blob } => {
                self.dropped[blob as usize] = self.bench.ask(Request::DropBlob { blob: id(blob) });
                self.promised[blob as usize] = None;
            }
            Action::Collect { expired_before, blobs_max } => {
                let partition = PARTITION;
                let before = Wall(expired_before);
                let asked = Request::CollectBlobs { partition, expired_before: before, blobs_max };
                let number = self.bench.ask(asked);
                self.collecting.insert(number, (None, expired_before));
                for promised in &mut self.promised {
                    *promised = promised.filter(|expires| *expires >= expired_before);
                }
            }
            Action::Read(index) => {
                if let Some(last) = self.bench.reads.len().checked_sub(1) {
                    self.bench.read_one(index.min(last));
                }
            }
            Action::Commit(count) => self.bench.commit(count.min(self.bench.commits.len())),
            Action::Refuse => {
                let commits = vec![StoreError::NoSpace; 2];
                self.bench.store.set_faults(Faults { commits, ..Faults::default() });
            }
            Action::Settle => {
                self.bench.settle();
                assert!(self.bench.machine.is_idle(), "every question has its answer");
            }
            Action::Crash => {
                self.note_answers();
                self.bench.restart(0);
                self.promising.clear();
                self.collecting.clear();
            }
        }
        self.note_answers();
        self.check();
    }

    fn note_answers(&mut self) {
        let answers = std::mem::take(&mut self.bench.answers);
        for (number, _) in &answers {
            if let Some((answered, _)) = self.collecting.get_mut(number) {
                *answered = Some(self.bench.asked);
            }
        }
        for (number, answer) in answers {
            let Some((blob, expires)) = self.promising.remove(&number) else { continue };
            // A collection judges a blob some time before it is answered.
            let collected = self.collecting.values().any(|(answered, before)| {
                answered.is_none_or(|last| last >= number) && *before > expires
            });
            let granted = matches!(answer, Response::Wrote(Outcome::Committed { .. }));
            if granted && !collected && self.dropped[blob as usize] < number {
                let promised = &mut self.promised[blob as usize];
                *promised = Some(promised.unwrap_or(expires).max(expires));
            }
        }
    }

    /// Holds at every moment, because every group is atomic.
    fn check(&self) {
        let durable = self.bench.store.durable();
        let keys: BTreeSet<_> = durable.iter().map(|(column, key, _)| (*column, key)).collect();
        let mut records = BTreeMap::new();
        for blob in 0..3 {
            let key = layout::blob_key(PARTITION, id(blob));
            let stored =
                durable.iter().find(|(column, at, _)| (*column, at) == (Column::Meta, &key));
            if let Some((_, _, stored)) = stored {
                let record = BlobRecord::decode(stored).expect("a sound record");
                let listed = layout::expiry_key(PARTITION, record.expires, id(blob));
                assert!(keys.contains(&(Column::Meta, &listed)), "blob {blob} is not listed");
                records.insert(id(blob), record);
            }
            if let Some(promised) = self.promised[blob as usize] {
                let lives = records.get(&id(blob)).map(|record| record.expires);
                assert!(lives >= Some(Wall(promised)), "blob {blob}: {promised} but {lives:?}");
            }
        }
        let listed = keys.iter().filter(|(column, key)| *column == Column::Meta && key[3] == b'e');
        assert_eq!(listed.count(), records.len(), "a leftover in the index");
        for (_, key) in keys.iter().filter(|(column, _)| *column == Column::Bodies) {
            let blob = BlobId(u128::from_be_bytes(key[4..20].try_into().expect("16 bytes")));
            let index = u32::from_be_bytes(key[20..].try_into().expect("4 bytes"));
            assert!(records.get(&blob).is_some_and(|record| index < record.chunks), "{key:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn promised_blobs_live_and_nothing_is_left_behind(
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut run = Run::new();
        for action in actions {
            run.act(action);
        }
        run.act(Action::Settle);
    }
}
