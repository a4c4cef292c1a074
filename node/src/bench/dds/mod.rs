//! The microbenchmark of the hash table: gets/s and puts/s against value size, concurrency and share of reads.
//!
//! Requests go the way that a machine's request goes whose route lives in another worker group: through the group's port, its
//! shard, the partition machine, the writer with its synced groups or the block cache, and back. Clients share one thread.
//!
//! Invariants: every client has one request under way; a put is counted when its durable outcome arrived; every run has a
//! store of its own.

mod brick;
mod client;
mod load;
mod nodes;

pub use nodes::run_node;

use super::args::{DdsArgs, Sync};
use super::shown;
use crate::cli::output;
use anyhow::Context;
use brick::Brick;
use load::{Load, Outcome};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One combination.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    size: usize,
    clients: usize,
    reads_percent: u8,
}

/// Measures every combination.
pub fn run(args: &DdsArgs, dir: Option<&Path>, json: bool) -> anyhow::Result<()> {
    check(args)?;
    let parent = dir.map_or_else(std::env::temp_dir, Path::to_path_buf);
    if !args.nodes.is_empty() {
        return nodes::run(args, &parent, json);
    }
    let points = points(args);
    let bar = shown::bar(points.len() as u64);
    let mut rows = Vec::new();
    for point in points {
        bar.set_message(format!(
            "{} bytes, {} clients, {} % gets",
            point.size, point.clients, point.reads_percent
        ));
        let outcome = measure(args, point, &parent)?;
        if json {
            output::text(&format!(
                "{}\n",
                serde_json::to_string(&Line::new(point, args, &outcome))?
            ))?;
        } else {
            rows.push(row(point, &outcome));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !json {
        let header = [
            "BYTES",
            "CLIENTS",
            "GETS %",
            "GETS/S",
            "PUTS/S",
            "GET P50 US",
            "GET P99",
            "PUT P50 US",
            "PUT P99",
            "CPU US/OP",
            "WORKER",
            "WRITER",
            "FLUSH",
            "OPS/SYNC",
        ];
        output::table(&header, &rows)?;
    }
    Ok(())
}

fn check(args: &DdsArgs) -> anyhow::Result<()> {
    let value_max = ::dds::Limits::default().value_bytes_max;
    let fits = args.sizes.iter().all(|&size| (1..=value_max).contains(&size));
    anyhow::ensure!(fits, "--sizes: a value has 1 to {value_max} bytes");
    let clients = args.clients.iter().all(|&clients| (1..=100_000).contains(&clients));
    anyhow::ensure!(clients, "--clients: 1 to 100000");
    anyhow::ensure!(args.nodes.iter().all(|nodes| (1..=9).contains(nodes)), "--nodes: 1 to 9");
    let counts = args.partitions.iter();
    let counts = counts.filter(|count| !count.is_power_of_two() || **count > 16_384);
    anyhow::ensure!(counts.count() == 0, "--partitions: powers of two, 1 to 16384");
    anyhow::ensure!(args.reads.iter().all(|&reads| reads <= 100), "--reads: 0 to 100 percent");
    anyhow::ensure!((0.1..=86_400.0).contains(&args.secs), "--secs: 0.1 to 86400");
    anyhow::ensure!(
        args.cache >= 1 && args.write_buffer >= 1,
        "a budget of memory is at least 1 MiB"
    );
    Ok(())
}

fn points(args: &DdsArgs) -> Vec<Point> {
    let mut points = Vec::new();
    for &size in &args.sizes {
        for &clients in &args.clients {
            points.extend(args.reads.iter().map(|&reads_percent| Point {
                size,
                clients,
                reads_percent,
            }));
        }
    }
    points
}

/// Removes the directory of a run, whatever becomes of the run.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("hikyaku: {} is left behind: {error}", self.0.display());
        }
    }
}

fn measure(args: &DdsArgs, point: Point, parent: &Path) -> anyhow::Result<Outcome> {
    let dir = parent.join(format!("hikyaku-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("{} can't be made", dir.display()))?;
    let scratch = Scratch(dir);
    let mut brick = Brick::start(args, &scratch.0)?;
    let load = Load {
        size: point.size,
        clients: point.clients,
        reads_percent: point.reads_percent,
        keys: keys_of(args, point),
        time: Duration::from_secs_f64(args.secs),
    };
    let outcome = load::run(&load, &mut brick);
    brick.stop();
    outcome
}

/// Values for the gets: as many as half of the cache holds.
fn keys_of(args: &DdsArgs, point: Point) -> u64 {
    match point.reads_percent {
        0 => 0,
        _ => args.keys.min((args.cache << 19) as u64 / point.size as u64).max(1),
    }
}

/// One line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    bench: &'static str,
    #[serde(flatten)]
    point: Point,
    synced: bool,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

impl<'a> Line<'a> {
    fn new(point: Point, args: &DdsArgs, outcome: &'a Outcome) -> Self {
        Self { bench: "dds", point, synced: args.sync == Sync::Always, outcome }
    }
}

fn row(point: Point, outcome: &Outcome) -> Vec<String> {
    let or_dash = |present: bool, value: f64| {
        if present { shown::number(value) } else { "-".to_owned() }
    };
    let (gets, puts) = (point.reads_percent > 0, point.reads_percent < 100);
    vec![
        point.size.to_string(),
        point.clients.to_string(),
        point.reads_percent.to_string(),
        or_dash(gets, outcome.gets_per_s),
        or_dash(puts, outcome.puts_per_s),
        or_dash(gets, outcome.get.p50_us),
        or_dash(gets, outcome.get.p99_us),
        or_dash(puts, outcome.put.p50_us),
        or_dash(puts, outcome.put.p99_us),
        shown::number(outcome.cpu.total_us),
        shown::number(outcome.cpu.worker_us),
        shown::number(outcome.cpu.writer_us),
        shown::number(outcome.cpu.background_us),
        or_dash(puts, outcome.groups_per_sync),
    ]
}
