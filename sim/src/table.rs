//! The hash table by itself: one partition machine on a simulated disk, writers with and without
//! numbers, readers, lost answers and crashes. Judged by linearizability of each key.
//!
//! A writer with numbers asks again under the same number until it gets a definite answer, as the
//! contract of the table says. A writer without numbers that gets none never learns what became of
//! its write.

use crate::coverage::Coverage;
use crate::disk::{Disk, End, Job};
use crate::failure::Failure;
use crate::invariants::History;
use crate::options::Mutation;
use crate::schedule::Schedule;
use crate::world::Outcome;
use bytes::Bytes;
use dds::partition::{Effect, Input, Partition};
use dds::{
    Batch, Durability, Epoch, GroupVersion, Op, PartitionId, Refusal, Request, Response, RouteKey,
    Seq, SortKey, Tier, Writer, layout,
};
use fsm::{Budget, Digest, Host, Machine, Mono, Rng, Stepped, Token, Wall};
use std::collections::BTreeMap;
use std::sync::Arc;
use vspace::{GroupId, Ticket};

const PARTITION: PartitionId = PartitionId(3);
const ROUTES: u64 = 2;
const KEYS: u64 = 2;
const CLIENTS: u64 = 8;

#[derive(Debug)]
enum Event {
    Act {
        client: usize,
    },
    /// A request reaches the partition.
    Asked {
        life: u32,
        origin: u64,
        request: Request,
    },
    Answered {
        origin: u64,
        response: Response,
    },
    Stored {
        life: u32,
        token: Token,
        result: Result<(), dds::StoreError>,
    },
    Read {
        life: u32,
        token: Token,
        read: dds::Read,
    },
    Written {
        life: u32,
    },
    Crash,
    Restart,
}

/// What a client waits for.
#[derive(Clone, Debug)]
enum Doing {
    Rest,
    Claim,
    /// A numbered write, asked until the answer is definite.
    Numbered {
        key: u64,
        value: u64,
        batch: Batch,
    },
    Blind {
        key: u64,
        value: u64,
    },
    Read {
        key: u64,
        from: u64,
    },
}

#[derive(Debug)]
struct Client {
    route: u64,
    /// Writes with numbers; the others write blindly and read.
    numbered: bool,
    epoch: Option<Epoch>,
    seq: u64,
    doing: Doing,
    /// The request whose answer counts; earlier ones were given up.
    origin: u64,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Table {
    rng: Rng,
    schedule: Schedule<Event>,
    disk: Disk,
    partition: Option<(Partition, Host)>,
    life: u32,
    clients: Vec<Client>,
    origins: u64,
    values: u64,
    histories: BTreeMap<(u64, u64), History>,
    steps: u64,
    trace: Digest,
    coverage: Coverage,
    mutation: Option<Mutation>,
    answered: u64,
}

impl Table {
    #[must_use]
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let clients = (0..CLIENTS).map(|number| Client {
            route: number % ROUTES,
            numbered: number < ROUTES,
            epoch: None,
            seq: 1,
            doing: Doing::Rest,
            origin: 0,
        });
        let mut table = Self {
            rng: Rng::new(seed, 0x7AB1E),
            schedule: Schedule::default(),
            disk: Disk::default(),
            partition: None,
            life: 0,
            clients: clients.collect(),
            origins: 0,
            values: 0,
            histories: BTreeMap::new(),
            steps: 0,
            trace: Digest::default(),
            coverage: Coverage::default(),
            mutation,
            answered: 0,
        };
        table.schedule.after(0, Event::Restart);
        table.schedule.after(20_000_000, Event::Crash);
        for client in 0..table.clients.len() {
            table.schedule.after(1_000_000, Event::Act { client });
        }
        table
    }

    /// Runs `steps` steps of the partition, and judges.
    #[must_use]
    pub fn run(mut self, steps: u64) -> Outcome {
        let mut failure = None;
        while self.steps < steps && failure.is_none() {
            failure = self.happen().err();
        }
        let histories = std::mem::take(&mut self.histories);
        let failure = failure.or_else(|| histories.values().find_map(|one| one.check().err()));
        Outcome {
            failure,
            trace: self.trace.value(),
            steps: self.steps,
            virtual_ms: self.schedule.now() / 1_000_000,
            promised: self.answered,
            bodies_checked: 0,
            coverage: self.coverage,
        }
    }

    fn happen(&mut self) -> Result<(), Failure> {
        let Some(event) = self.schedule.next() else { return Ok(()) };
        self.trace.word(self.schedule.now());
        match event {
            Event::Act { client } => self.act(client),
            Event::Asked { life, origin, request } => {
                if life == self.life {
                    self.step(Input::Asked { from: origin, token: Token(0), request });
                }
            }
            Event::Answered { origin, response } => self.on_answered(origin, response)?,
            Event::Stored { life, token, result } => {
                if life == self.life {
                    self.step(Input::Stored { token, result });
                }
            }
            Event::Read { life, token, read } => {
                if life == self.life {
                    let result = self.disk.read(&read, Tier::Disk);
                    self.step(Input::ReadDone { token, result });
                }
            }
            Event::Written { life } => {
                if life == self.life {
                    self.on_written();
                }
            }
            Event::Crash => self.crash(),
            Event::Restart => {
                self.life += 1;
                let machine = Partition::new(PARTITION, GroupVersion(1), Arc::default());
                self.partition = Some((machine, Host::new(1, u64::from(self.life))));
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input) {
        let Some((partition, host)) = &mut self.partition else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let now = (Mono(self.schedule.now()), Wall(0));
        host.step(partition, &mut stepped, now, Budget::new(2_000), input);
        partition.digest(&mut self.trace);
        let life = self.life;
        for effect in stepped.effects {
            match effect {
                Effect::Answer { to, token: _, response } => {
                    if self.rng.chance(1, 6) {
                        self.coverage.fault("answer of the table is lost");
                        continue;
                    }
                    let nanos = self.rng.below(1_000_000);
                    self.schedule.after(nanos, Event::Answered { origin: to, response });
                }
                Effect::Commit { token, group } => {
                    let ticket = Ticket { partition: PARTITION, token };
                    let queued = self.schedule.now();
                    self.disk.submit(Job {
                        from: GroupId(0),
                        ticket,
                        queued,
                        group,
                        durability: Durability::Synced,
                    });
                    self.begin_write();
                }
                Effect::Read { token, read } => {
                    let nanos = self.rng.below(300_000);
                    self.schedule.after(nanos, Event::Read { life, token, read });
                }
            }
        }
    }

    fn begin_write(&mut self) {
        if self.disk.begin() {
            let nanos = 50_000 + self.rng.below(1_000_000);
            self.schedule.after(nanos, Event::Written { life: self.life });
        }
    }

    fn on_written(&mut self) {
        let life = self.life;
        for done in self.disk.finish(&mut self.rng, self.mutation) {
            let (token, result) = (done.ticket.token, done.result);
            if self.rng.chance(1, 10) {
                self.coverage.fault("completion of a write comes twice");
                let result = result.clone();
                self.schedule.after(900_000, Event::Stored { life, token, result });
            }
            let nanos = self.rng.below(800_000);
            self.schedule.after(nanos, Event::Stored { life, token, result });
        }
        self.begin_write();
    }

    fn crash(&mut self) {
        let nanos = 5_000_000 + self.rng.below(30_000_000);
        self.schedule.after(nanos, Event::Crash);
        if self.partition.take().is_none() {
            return;
        }
        let end = if self.rng.chance(1, 2) { End::PowerLoss } else { End::Killed };
        self.coverage.fault("crash of the table");
        self.disk.end(&mut self.rng, end);
        if self.mutation == Some(Mutation::ForgetWindow) {
            self.forget_window();
        }
        let nanos = self.rng.below(2_000_000);
        self.schedule.after(nanos, Event::Restart);
    }

    /// The record of each writer forgets its last batch.
    fn forget_window(&mut self) {
        for route in 0..ROUTES {
            let key = layout::writer_key(PARTITION, &route_key(route));
            let stored = self.disk.store.durable().into_iter().find(|(_, at, _)| *at == key);
            let Some((column, _, value)) = stored else { continue };
            let mut forged = value.to_vec();
            let last = u64::from_be_bytes(forged[9..17].try_into().unwrap_or_default());
            if last > 0 {
                forged[9..17].copy_from_slice(&(last - 1).to_be_bytes());
                self.disk.store.corrupt(column, &key, forged.into());
            }
        }
    }

    /// A client whose turn has come: begins something, or asks again.
    fn act(&mut self, index: usize) {
        let wait = 500_000 + self.rng.below(3_000_000);
        self.schedule.after(wait, Event::Act { client: index });
        let client = &self.clients[index];
        let route = route_key(client.route);
        let request = match &client.doing {
            Doing::Rest => return self.begin(index),
            Doing::Claim => Request::Claim { route },
            // A pause, in which others read and write.
            Doing::Numbered { .. } if self.rng.chance(4, 5) => return,
            Doing::Numbered { batch, .. } => {
                self.coverage.action("numbered write asked again");
                Request::Write(batch.clone())
            }
            // Never asked again: what became of it stays unknown.
            Doing::Blind { .. } | Doing::Read { .. } => {
                if self.rng.chance(1, 4) {
                    self.clients[index].doing = Doing::Rest;
                }
                return;
            }
        };
        self.ask(index, request);
    }

    fn begin(&mut self, index: usize) {
        let now = self.schedule.now();
        let key = self.rng.below(KEYS);
        let client = &self.clients[index];
        let (route, numbered, epoch) = (client.route, client.numbered, client.epoch);
        let name = route_key(route);
        if self.rng.chance(1, 2) {
            self.clients[index].doing = Doing::Read { key, from: now };
            return self.ask(index, Request::Get { route: name, keys: vec![sort_key(key)] });
        }
        if numbered && (epoch.is_none() || self.rng.chance(1, 200)) {
            self.clients[index].doing = Doing::Claim;
            return self.ask(index, Request::Claim { route: name });
        }
        self.values += 1;
        let value = self.values;
        let history = self.histories.entry((route, key)).or_default();
        history.write_begins(value, now);
        let writer = epoch.map(|epoch| Writer { epoch, seq: Seq(self.clients[index].seq) });
        let put = Op::Put { key: sort_key(key), value: value.to_be_bytes().to_vec().into() };
        let batch = Batch {
            route: name,
            writer,
            preconditions: Vec::new(),
            makes_way: false,
            ops: vec![put],
        };
        self.clients[index].doing = match writer {
            Some(_) => Doing::Numbered { key, value, batch: batch.clone() },
            None => Doing::Blind { key, value },
        };
        self.ask(index, Request::Write(batch));
    }

    fn ask(&mut self, index: usize, request: Request) {
        self.origins += 1;
        self.clients[index].origin = self.origins;
        let (life, origin) = (self.life, self.origins);
        let nanos = self.rng.below(500_000);
        self.schedule.after(nanos, Event::Asked { life, origin, request });
    }

    fn on_answered(&mut self, origin: u64, response: Response) -> Result<(), Failure> {
        let Some(index) = self.clients.iter().position(|client| client.origin == origin) else {
            return Ok(());
        };
        self.answered += 1;
        let now = self.schedule.now();
        let client = &mut self.clients[index];
        let doing = std::mem::replace(&mut client.doing, Doing::Rest);
        let route = client.route;
        match (doing, response) {
            (Doing::Claim, Response::Claimed(claimed)) => {
                client.epoch = Some(claimed.epoch);
                client.seq = 1;
                self.coverage.action("claimed");
            }
            (Doing::Read { key, from }, Response::Got(found)) => {
                let bytes = found.into_iter().next().flatten();
                let value = bytes.map_or(0, |(bytes, _)| number(&bytes));
                self.histories.entry((route, key)).or_default().read(value, from, now)?;
                self.coverage.action("read");
            }
            (doing @ (Doing::Numbered { .. } | Doing::Blind { .. }), Response::Wrote(outcome)) => {
                self.on_wrote(index, doing, outcome);
            }
            (Doing::Rest | Doing::Claim | Doing::Read { .. }, _)
            | (Doing::Numbered { .. } | Doing::Blind { .. }, _) => {}
        }
        Ok(())
    }

    fn on_wrote(&mut self, index: usize, doing: Doing, outcome: dds::Outcome) {
        let now = self.schedule.now();
        let client = &mut self.clients[index];
        let (key, value) = match &doing {
            Doing::Numbered { key, value, .. } | Doing::Blind { key, value } => (*key, *value),
            Doing::Rest | Doing::Claim | Doing::Read { .. } => return,
        };
        let history = self.histories.entry((client.route, key)).or_default();
        match (doing, outcome) {
            (Doing::Numbered { .. }, dds::Outcome::Committed { .. }) => {
                client.seq += 1;
                history.write_ends(value, now);
                self.coverage.action("numbered write");
            }
            (Doing::Blind { .. }, dds::Outcome::Committed { .. }) => {
                history.write_ends(value, now);
                self.coverage.action("blind write");
            }
            // Another epoch, or a place that was lost: an earlier try may have applied, no later one
            // will.
            (
                Doing::Numbered { .. },
                dds::Outcome::Refused(Refusal::Fenced { .. } | Refusal::SequenceGap { .. }),
            ) => {
                client.epoch = None;
                self.coverage.action("fenced");
            }
            (again @ Doing::Numbered { .. }, _) => client.doing = again,
            (Doing::Blind { .. }, dds::Outcome::Refused(_)) => history.write_refused(value),
            (Doing::Blind { .. } | Doing::Rest | Doing::Claim | Doing::Read { .. }, _) => {}
        }
    }
}

fn route_key(route: u64) -> RouteKey {
    RouteKey(Bytes::copy_from_slice(&route.to_be_bytes()))
}

fn sort_key(key: u64) -> SortKey {
    SortKey(Bytes::copy_from_slice(&[0x20, key.to_be_bytes()[7]]))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}
