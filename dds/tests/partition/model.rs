//! Random requests, random order of completions, refused writes and crashes, against a model that does one thing after the
//! other.
//!
//! The model replays, route by route, the requests in the order they were asked, and demands that every answer is the one it
//! gives itself. What a refusal by the store says did not happen is left out. What a crash left unanswered must have
//! happened up to some point and not beyond; the store says up to which.

use crate::bench::*;
use bytes::Bytes;
use dds::layout::{self, WriterRecord};
use dds::memory_store::Faults;
use dds::partition::Input;
use dds::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Action {
    Write(Wanted),
    Claim(u8),
    /// Completes the read at this place in the queue.
    Read(usize),
    /// Commits that many groups as one write.
    Commit(usize),
    /// The same completion again.
    Again,
    /// The next commit finds no space; so do the next tries of single groups.
    Refuse(usize),
    Settle,
    Crash,
}

#[derive(Clone, Debug)]
struct Wanted {
    route: u8,
    /// `None`: no writer. Otherwise how far epoch and seq are from the next ones.
    writer: Option<(i8, i8)>,
    /// A key, and what to expect of it: absent, present, or a version as far back as said.
    precondition: Option<(u8, u8)>,
    ops: Vec<(u8, u8)>,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let off = prop_oneof![12 => Just(0_i8), 1 => -2..3_i8];
    let writer = prop::option::weighted(0.8, (off.clone(), off));
    let precondition = prop::option::weighted(0.3, (0..4_u8, 0..6_u8));
    let ops = prop::collection::vec((0..4_u8, 0..4_u8), 0..3);
    (0..2_u8, writer, precondition, ops).prop_map(|(route, writer, precondition, ops)| Wanted {
        route,
        writer,
        precondition,
        ops,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => wanted().prop_map(Action::Write),
        2 => (0..2_u8).prop_map(Action::Claim),
        8 => (0..4_usize).prop_map(Action::Read),
        8 => (1..5_usize).prop_map(Action::Commit),
        1 => Just(Action::Again),
        1 => (1..4_usize).prop_map(Action::Refuse),
        2 => Just(Action::Settle),
        1 => Just(Action::Crash),
    ]
}

/// One route as the model sees it.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<SortKey, (Bytes, Version)>,
    epoch: Epoch,
    last: Seq,
    outcomes: BTreeMap<Seq, Version>,
}

impl Model {
    /// Does `request`, and says what the answer is. `version` is what it gets if it writes.
    fn apply(&mut self, request: &Request, version: Version) -> Response {
        match request {
            Request::Claim { .. } => {
                let previous = (self.epoch, self.last);
                let epoch = Epoch(self.epoch.0 + 1);
                *self =
                    Self { entries: std::mem::take(&mut self.entries), epoch, ..Self::default() };
                Response::Claimed(Claimed { epoch, previous })
            }
            Request::Write(batch) => Response::Wrote(self.write(batch, version)),
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn write(&mut self, batch: &Batch, version: Version) -> Outcome {
        if let Some(Writer { epoch, seq }) = batch.writer {
            let expected = Seq(self.last.0 + 1);
            if epoch != self.epoch {
                return Outcome::Refused(Refusal::Fenced { current: self.epoch });
            }
            if let Some(version) = self.outcomes.get(&seq) {
                return Outcome::Committed { version: *version };
            }
            if seq != expected {
                return Outcome::Refused(Refusal::SequenceGap { expected });
            }
        }
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            let version = self.entries.get(&precondition.key).map(|(_, version)| *version);
            let holds = match precondition.expect {
                Expect::Absent => version.is_none(),
                Expect::Present => version.is_some(),
                Expect::VersionIs(expected) => version == Some(expected),
            };
            if !holds {
                return Outcome::Refused(Refusal::PreconditionFailed { index });
            }
        }
        for op in &batch.ops {
            match op {
                Op::Put { key, value } => {
                    self.entries.insert(key.clone(), (value.clone(), version));
                }
                Op::Delete { key } => {
                    self.entries.remove(key);
                }
                Op::DeleteRange { from, to } => {
                    self.entries.retain(|key, _| key < from || key >= to);
                }
            }
        }
        if let Some(Writer { seq, .. }) = batch.writer {
            self.last = seq;
            self.outcomes.insert(seq, version);
        }
        Outcome::Committed { version }
    }
}

struct Run {
    bench: Bench,
    models: [Model; 2],
    /// Unsettled questions of each route, in the order asked.
    asked: [Vec<(u64, Request)>; 2],
    /// What the clients believe: epoch and next seq.
    writers: [(i64, i64); 2],
    values: u32,
}

fn name(which: u8) -> RouteKey {
    route(if which == 0 { "anna" } else { "annabel" })
}

fn refused_by_store(response: &Response) -> bool {
    matches!(
        response,
        Response::Wrote(Outcome::Refused(Refusal::NoSpace | Refusal::Unavailable))
            | Response::Refused(Refusal::NoSpace | Refusal::Unavailable)
    )
}

impl Run {
    fn new() -> Self {
        Self {
            bench: Bench::new(Limits { routes_cached_max: 1, ..Limits::default() }),
            models: Default::default(),
            asked: Default::default(),
            writers: [(0, 1); 2],
            values: 0,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Write(wanted) => self.write(wanted),
            Action::Claim(which) => {
                self.writers[which as usize].0 += 1;
                self.writers[which as usize].1 = 1;
                self.ask(which, Request::Claim { route: name(which) });
            }
            Action::Read(index) => {
                if let Some(last) = self.bench.reads.len().checked_sub(1) {
                    self.bench.read_one(index.min(last));
                }
            }
            Action::Commit(count) => {
                self.bench.commit(count.min(self.bench.commits.len()));
            }
            Action::Again => self.again(),
            Action::Refuse(times) => {
                let commits = vec![StoreError::NoSpace; times];
                self.bench.store.set_faults(Faults { commits, ..Faults::default() });
            }
            Action::Settle => self.settle(),
            Action::Crash => self.crash(),
        }
    }

    fn ask(&mut self, which: u8, request: Request) {
        let number = self.bench.ask(request.clone());
        self.asked[which as usize].push((number, request));
    }

    fn write(&mut self, wanted: Wanted) {
        let (epoch, seq) = &mut self.writers[wanted.route as usize];
        let writer = wanted.writer.map(|(off_epoch, off_seq)| {
            let writer = (*epoch + i64::from(off_epoch), *seq + i64::from(off_seq));
            *seq += i64::from(off_epoch == 0 && off_seq == 0);
            (Epoch(writer.0.max(0) as u64), writer.1.max(0) as u64)
        });
        let values = &mut self.values;
        let ops = wanted.ops.iter().map(|(kind, key)| match kind {
            0 | 1 => {
                *values += 1;
                put(&[0x7E + key], values.to_string().as_bytes())
            }
            2 => Op::Delete { key: sort_key(&[0x7E + key]) },
            _ => Op::DeleteRange { from: sort_key(&[0x7F]), to: sort_key(&[0x7F + key]) },
        });
        let mut batch = batch(&name(wanted.route), writer, ops.collect());
        if let Some((key, expect)) = wanted.precondition {
            let key = sort_key(&[0x7E + key]);
            let known = self.models[wanted.route as usize].entries.get(&key);
            let expect = match expect {
                0 => Expect::Absent,
                1 => Expect::Present,
                back => {
                    // Never that of a write under way, which the model can't know.
                    let version = known.map_or(0, |(_, version)| version.0);
                    Expect::VersionIs(Version(version.saturating_sub(u64::from(back / 4))))
                }
            };
            batch.preconditions.push(Precondition { key, expect });
        }
        self.ask(wanted.route, Request::Write(batch));
    }

    /// A completion that nobody waits for is ignored.
    fn again(&mut self) {
        let before = self.bench.answers.len();
        self.bench.step(Input::Stored { token: fsm::Token(1), result: Ok(()) });
        assert_eq!(self.bench.answers.len(), before);
    }

    /// Completes everything; then every question has an answer, and it is the model's.
    fn settle(&mut self) {
        self.bench.settle();
        assert!(self.bench.machine.is_idle());
        for which in 0..2 {
            for (number, request) in std::mem::take(&mut self.asked[which]) {
                let answer = self.bench.answer(number);
                judge(&mut self.models[which], &request, &answer);
            }
            self.believe(which);
            assert_eq!(self.stored(which), state(&self.models[which]), "route {which}");
        }
        assert!(self.bench.answers.is_empty(), "one answer to each question");
    }

    /// The node dies and starts again.
    fn crash(&mut self) {
        for which in 0..2 {
            let model = &mut self.models[which];
            let mut open = Vec::new();
            for (number, request) in std::mem::take(&mut self.asked[which]) {
                if !self.bench.is_answered(number) {
                    open.push(request);
                    continue;
                }
                let answer = self.bench.answer(number);
                // A number sent again is answered when its group is durable, also while later ones are under way.
                if !open.is_empty() && !refused_by_store(&answer) {
                    let again = model.clone().apply(&request, Version(0));
                    assert_eq!(again, answer, "{request:?} with others before it still open");
                    continue;
                }
                judge(model, &request, &answer);
            }
            self.adopt(which, &open);
        }
        self.bench.restart(0);
        (0..2).for_each(|which| self.believe(which));
    }

    /// Finds out how many of the unanswered requests happened.
    fn adopt(&mut self, which: usize, open: &[Request]) {
        let stored = self.stored(which);
        let model = &mut self.models[which];
        for request in open {
            if state(model) == stored {
                break;
            }
            model.apply(request, Version(u64::MAX));
        }
        assert_eq!(state(model), stored, "route {which}: no prefix of {open:?} gives it");
        // What version they got only the store knows.
        for (column, key, value) in self.bench.store.durable() {
            let prefix = layout::prefix_bytes(&name(which as u8));
            let key = SortKey(key.slice(prefix.min(key.len())..));
            if let Some((known, version)) = model.entries.get_mut(&key)
                && column != Column::Log
                && let Ok((value, found)) = layout::split_entry(value)
                && value == *known
            {
                *version = found;
            }
        }
        let record = self.record(which);
        for (seq, version) in &mut self.models[which].outcomes {
            let found = record.version_of(*seq).expect("the window is wide");
            assert!(*version == Version(u64::MAX) || *version == found);
            *version = found;
        }
    }

    fn record(&self, which: usize) -> WriterRecord {
        let key = layout::writer_key(PARTITION, &name(which as u8));
        let durable = self.bench.store.durable();
        let stored = durable.iter().find(|(column, at, _)| *column == Column::Meta && *at == key);
        stored.map_or_else(WriterRecord::default, |(_, _, stored)| {
            WriterRecord::decode(stored).expect("a sound record")
        })
    }

    /// The clients learn where they stand.
    fn believe(&mut self, which: usize) {
        let model = &self.models[which];
        self.writers[which] = (model.epoch.0 as i64, model.last.0 as i64 + 1);
    }

    fn stored(&self, which: usize) -> State {
        let prefix = layout::entry_key(PARTITION, &name(which as u8), b"");
        let durable = self.bench.store.durable();
        let entries = durable.into_iter().filter(|(column, key, _)| {
            let mine = key.starts_with(&prefix) && key.get(prefix.len()) != Some(&0);
            let body = key.get(prefix.len()).is_some_and(|first| *first >= 0x80);
            assert!(!mine || body == (*column == Column::Bodies), "{key:?} in {column:?}");
            mine
        });
        let entries = entries.map(|(_, key, value)| {
            let (value, _) = layout::split_entry(value).expect("a sound entry");
            (SortKey(key.slice(prefix.len()..)), value)
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort();
        let record = self.record(which);
        (entries, record.epoch, record.last)
    }
}

type State = (Vec<(SortKey, Bytes)>, Epoch, Seq);

fn state(model: &Model) -> State {
    let entries = model.entries.iter().map(|(key, (value, _))| (key.clone(), value.clone()));
    (entries.collect(), model.epoch, model.last)
}

fn judge(model: &mut Model, request: &Request, answer: &Response) {
    if refused_by_store(answer) {
        return;
    }
    let version = match answer {
        Response::Wrote(Outcome::Committed { version }) => *version,
        _ => Version(0),
    };
    assert_eq!(model.apply(request, version), *answer, "{request:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_does_one_thing_after_the_other(
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut run = Run::new();
        for action in actions {
            run.act(action);
        }
        run.settle();
    }
}
