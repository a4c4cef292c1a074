//! The clients' thread: keeps one request of every client under way, and counts.

use super::brick::{Brick, CLIENTS};
use super::client::{Client, Kind, Values};
use crate::bench::clock;
use crate::bench::latencies::{Latencies, Summary};
use crate::bench::shown::per_second;
use ::dds::{Request, Response, RouteKey};
use anyhow::{Context, bail};
use bytes::Bytes;
use serde::Serialize;
use stages::{Clock, Drained, StageSnapshot};
use std::time::{Duration, Instant};
use vspace::{Inward, Neighbour};

/// Answers taken at once.
const DRAIN_MAX: usize = 1024;

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

/// A client and the request it has under way.
struct Seat {
    client: Client,
    kind: Kind,
    sent: Instant,
}

struct Counted {
    gets: Latencies,
    puts: Latencies,
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
    let seat = |(number, route)| Seat {
        client: Client::new(number, route, load),
        kind: Kind::Put,
        sent: Instant::now(),
    };
    (0_u64..).zip(routes).take(load.clients).map(seat).collect()
}

fn asked(origin: usize, request: Request) -> Inward {
    let (origin, request) = (origin as u64, Box::new(request));
    Inward::Neighbour(Neighbour::DdsAsked { from: CLIENTS, origin, request })
}

/// Waits for answers and appends them.
fn collect(brick: &Brick, got: &mut Vec<Inward>) -> anyhow::Result<()> {
    loop {
        match brick.answers.drain(Clock.mono(), DRAIN_MAX, got) {
            Drained::Took(0) => brick.answers.wait(),
            Drained::Took(_) => return Ok(()),
            Drained::Disconnected => bail!("the worker has ended"),
        }
    }
}

fn answer(inward: Inward) -> anyhow::Result<(usize, Response)> {
    match inward {
        Inward::Neighbour(Neighbour::DdsDone { origin, response }) => {
            Ok((usize::try_from(origin)?, *response))
        }
        other => bail!("the worker sent {other:?}"),
    }
}

fn prepare(seats: &mut [Seat], brick: &Brick, values: &Values) -> anyhow::Result<()> {
    let claims = seats.iter().enumerate().map(|(origin, seat)| asked(origin, seat.client.claim()));
    brick.requests.complete(Clock.mono(), claims.collect());
    let (mut waiting, mut got) = (seats.len(), Vec::new());
    while waiting > 0 {
        collect(brick, &mut got)?;
        let mut requests = Vec::new();
        for inward in got.drain(..) {
            let (origin, response) = answer(inward)?;
            let seat = seats.get_mut(origin).context("an answer to nobody")?;
            match seat.client.on_prepared(&response, values)? {
                Some(request) => requests.push(asked(origin, request)),
                None => waiting -= 1,
            }
        }
        brick.requests.complete(Clock.mono(), requests);
    }
    Ok(())
}

fn drive(
    load: &Load,
    seats: &mut [Seat],
    brick: &Brick,
    values: &Values,
) -> anyhow::Result<Counted> {
    let mut counted = Counted { gets: Latencies::default(), puts: Latencies::default() };
    let began = Instant::now();
    let ends = began + load.time;
    let first = seats.iter_mut().enumerate().map(|(origin, seat)| {
        let (kind, request) = seat.client.next(load.reads_percent, values);
        (seat.kind, seat.sent) = (kind, began);
        asked(origin, request)
    });
    brick.requests.complete(Clock.mono(), first.collect());
    let (mut under_way, mut got) = (seats.len(), Vec::new());
    while under_way > 0 {
        collect(brick, &mut got)?;
        let now = Instant::now();
        let mut requests = Vec::with_capacity(got.len());
        for inward in got.drain(..) {
            let (origin, response) = answer(inward)?;
            let seat = seats.get_mut(origin).context("an answer to nobody")?;
            if !Client::is_right(seat.kind, &response, values) {
                bail!("the hash table answered {response:?} to a {:?}", seat.kind);
            }
            match seat.kind {
                Kind::Get => counted.gets.add(now - seat.sent),
                Kind::Put => counted.puts.add(now - seat.sent),
            }
            if now >= ends {
                under_way -= 1;
                continue;
            }
            let (kind, request) = seat.client.next(load.reads_percent, values);
            (seat.kind, seat.sent) = (kind, now);
            requests.push(asked(origin, request));
        }
        brick.requests.complete(Clock.mono(), requests);
    }
    Ok(counted)
}
