//! The clients' thread: keeps one request of every client under way, and counts; and what a run of one brick found.

use super::brick::Brick;
use super::client::{Client, Kind, Values};
use crate::bench::clock;
use crate::bench::latencies::{Latencies, Summary};
use crate::bench::shown::per_second;
use ::dds::{Request, Response, RouteKey};
use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use serde::Serialize;
use stages::StageSnapshot;
use std::time::{Duration, Instant};

/// Clients that write their values at once: they write large batches, and a run must not begin behind a full disk.
const PREPARED_AT_ONCE: usize = 4;

/// Our choice: what is over it was no moment.
const ASKED_AGAIN_MAX: u64 = 1_000_000;

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct Load {
    pub size: usize,
    pub clients: usize,
    pub reads_percent: u8,
    /// Values for the gets, over all clients.
    pub keys: u64,
    pub time: Duration,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub seconds: f64,
    pub gets: u64,
    pub puts: u64,
    pub gets_per_s: f64,
    pub puts_per_s: f64,
    pub get: Summary,
    pub put: Summary,
    /// CPU time of one operation.
    pub cpu: Cpu,
    pub groups_per_sync: f64,
    pub syncs_per_s: f64,
}

/// Microseconds of CPU per operation, by where they went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    pub total_us: f64,
    /// Clients, which a machine elsewhere would bear.
    pub clients_us: f64,
    /// Ports, shard, partition machine, reads from memory.
    pub worker_us: f64,
    /// Write batches, log, sync.
    pub writer_us: f64,
    pub readers_us: f64,
    /// Flush and compaction.
    pub background_us: f64,
}

/// Where requests go: the number that comes with each names the client.
pub trait Table {
    fn ask(&mut self, requests: Vec<(usize, Request)>);

    /// Waits for answers and appends them.
    ///
    /// # Errors
    /// When none will come.
    fn answers(&mut self, into: &mut Vec<(usize, Response)>) -> anyhow::Result<()>;
}

/// A client, which writes its routes in turn, and the request it has under way.
pub struct Seat {
    routes: Vec<Client>,
    turn: usize,
    kind: Kind,
    sent: Instant,
}

impl Seat {
    /// # Panics
    /// Without a route.
    #[must_use]
    pub fn new(routes: Vec<Client>) -> Self {
        assert!(!routes.is_empty(), "a client has a route");
        Self { routes, turn: 0, kind: Kind::Put, sent: Instant::now() }
    }

    fn client(&mut self) -> &mut Client {
        let turn = self.turn % self.routes.len();
        &mut self.routes[turn]
    }

    fn next(&mut self, load: &Load, values: &Values, now: Instant) -> Request {
        self.turn += 1;
        let (kind, request) = self.client().next(load.reads_percent, values);
        (self.kind, self.sent) = (kind, now);
        request
    }

    /// The next request before the run: of this route, or the first of the next.
    fn next_prepared(
        &mut self,
        response: &Response,
        values: &Values,
    ) -> anyhow::Result<Option<Request>> {
        if Client::is_open(response) {
            return Ok(Some(self.client().again(values)));
        }
        if let Some(request) = self.client().on_prepared(response, values)? {
            return Ok(Some(request));
        }
        self.turn += 1;
        Ok((self.turn < self.routes.len()).then(|| self.client().claim()))
    }
}

#[derive(Default)]
pub struct Counted {
    pub gets: Latencies,
    pub puts: Latencies,
    /// Requests whose outcome nobody knew, or that found nobody to do them.
    pub asked_again: u64,
}

/// Prepares the values, then loads the brick for `load.time`.
pub fn run(load: &Load, brick: &mut Brick) -> anyhow::Result<Outcome> {
    let values = Values::new(load.size);
    let mut seats = seats(load, brick);
    prepare(&mut seats, brick, &values)?;
    let (cpu, stats) = (clock::cpu_by_thread()?, brick.writer_stats.snapshot("writer"));
    let began = Instant::now();
    let counted = drive(load, &mut seats, brick, &values)?;
    let time = began.elapsed();
    let used = clock::used_since(&cpu)?;
    let (gets, puts) = (counted.gets.count(), counted.puts.count());
    let synced = brick.writer_stats.snapshot("writer");
    let syncs = synced.batch.count() - stats.batch.count();
    Ok(Outcome {
        seconds: time.as_secs_f64(),
        gets,
        puts,
        gets_per_s: per_second(gets, time),
        puts_per_s: per_second(puts, time),
        get: counted.gets.summary(),
        put: counted.puts.summary(),
        cpu: cpu_of(&used, gets + puts),
        groups_per_sync: groups(&synced, &stats) / syncs.max(1) as f64,
        syncs_per_s: per_second(syncs, time),
    })
}

fn groups(after: &StageSnapshot, before: &StageSnapshot) -> f64 {
    (after.served - before.served) as f64
}

fn cpu_of(used: &[(String, Duration)], operations: u64) -> Cpu {
    let mut cpu = Cpu::default();
    for (name, time) in used {
        let us = time.as_secs_f64() * 1e6 / operations.max(1) as f64;
        cpu.total_us += us;
        match name.as_str() {
            "worker" => cpu.worker_us += us,
            "writer" => cpu.writer_us += us,
            name if name.starts_with("reader-") => cpu.readers_us += us,
            name if name.starts_with("rocksdb") => cpu.background_us += us,
            _ => cpu.clients_us += us,
        }
    }
    cpu
}

fn seats(load: &Load, brick: &Brick) -> Vec<Seat> {
    let routes = (0_u64..).map(|number| Bytes::from(format!("bench{number:06}")));
    let routes = routes.filter(|route| brick.holds(route)).map(RouteKey);
    let keys = load.keys.div_ceil(load.clients as u64);
    let seat = |(number, route)| Seat::new(vec![Client::new(number, route, keys)]);
    (0_u64..).zip(routes).take(load.clients).map(seat).collect()
}

/// Claims the routes and writes the values for gets.
///
/// # Errors
/// When the table can't do it.
pub fn prepare(seats: &mut [Seat], table: &mut dyn Table, values: &Values) -> anyhow::Result<()> {
    let mut idle = 0..seats.len();
    let (mut under_way, mut got): (usize, Vec<(usize, Response)>) = (0, Vec::new());
    loop {
        let mut requests = Vec::new();
        for (at, response) in got.drain(..) {
            let seat = seats.get_mut(at).context("an answer to nobody")?;
            match seat.next_prepared(&response, values)? {
                Some(request) => requests.push((at, request)),
                None => under_way -= 1,
            }
        }
        while under_way < PREPARED_AT_ONCE
            && let Some(at) = idle.next()
            && let Some(seat) = seats.get_mut(at)
        {
            seat.turn = 0;
            requests.push((at, seat.client().claim()));
            under_way += 1;
        }
        if under_way == 0 {
            return Ok(());
        }
        table.ask(requests);
        table.answers(&mut got)?;
    }
}

/// Keeps one request of every client under way until the time is over.
///
/// # Errors
/// When an answer is wrong, or none comes.
pub fn drive(
    load: &Load,
    seats: &mut [Seat],
    table: &mut dyn Table,
    values: &Values,
) -> anyhow::Result<Counted> {
    let mut counted = Counted::default();
    let began = Instant::now();
    let ends = began + load.time;
    let first = seats.iter_mut().enumerate().map(|(at, seat)| (at, seat.next(load, values, began)));
    table.ask(first.collect());
    let (mut under_way, mut got) = (seats.len(), Vec::new());
    while under_way > 0 {
        table.answers(&mut got)?;
        let now = Instant::now();
        let mut requests = Vec::with_capacity(got.len());
        for (at, response) in got.drain(..) {
            let seat = seats.get_mut(at).context("an answer to nobody")?;
            if Client::is_open(&response) {
                counted.asked_again += 1;
                ensure!(counted.asked_again < ASKED_AGAIN_MAX, "the table stays unavailable");
                requests.push((at, seat.client().again(values)));
                continue;
            }
            if !Client::is_right(seat.kind, &response, values) {
                bail!("the hash table answered {response:?} to a {:?}", seat.kind);
            }
            match seat.kind {
                Kind::Get => counted.gets.add(now - seat.sent),
                Kind::Put => counted.puts.add(now - seat.sent),
            }
            if now >= ends {
                under_way -= 1;
            } else {
                requests.push((at, seat.next(load, values, now)));
            }
        }
        table.ask(requests);
    }
    Ok(counted)
}
