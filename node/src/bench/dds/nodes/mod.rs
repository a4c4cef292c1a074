//! The hash table of a whole cluster: gets and puts at every node, against the number of nodes and of partitions, value size,
//! concurrency and share of reads.
//!
//! Each node is a process of this program with its own store, worker groups, writer and connections with the others; each has its
//! share of the clients, which ask partitions of all nodes in turn. All nodes share the machine and its disk: what is comparable
//! over their number is the cost of an operation, not the throughput.
//!
//! Invariant: what a run counts is of all nodes, from before the first request until all clients have ended.

mod children;
mod found;
mod node;
mod order;
mod split;
mod table;

pub use node::run as run_node;

use crate::bench::args::DdsArgs;
use crate::bench::plot;
use crate::bench::shown;
use crate::cli::output;
use children::Cluster;
use found::Line;
use order::Task;
use std::path::Path;

/// Runs every combination for every number of nodes and partitions.
pub fn run(args: &DdsArgs, parent: &Path, json: bool) -> anyhow::Result<()> {
    let points = super::points(args);
    let bar = shown::bar((points.len() * args.nodes.len() * args.partitions.len()) as u64);
    let mut lines = Vec::new();
    for &partitions in &args.partitions {
        for &nodes in &args.nodes {
            bar.set_message(format!("{nodes} nodes, {partitions} partitions"));
            let mut cluster = Cluster::start(args, (nodes, partitions), parent)?;
            for (round, &point) in points.iter().enumerate() {
                let keys = super::keys_of(args, point);
                let task = Task {
                    round: round as u64,
                    size: point.size,
                    clients: point.clients,
                    reads_percent: point.reads_percent,
                    keys: keys.div_ceil((point.clients * nodes) as u64),
                    millis: (args.secs * 1e3) as u64,
                    follow: args.follow,
                };
                let reports = cluster.run(&task)?;
                let line =
                    Line::new((nodes, cluster.replicas, partitions), (point, &task), &reports)?;
                if json {
                    output::text(&format!("{}\n", serde_json::to_string(&line)?))?;
                }
                lines.push(line);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    if !json {
        table(&lines)?;
    }
    if let Some(file) = &args.svg {
        let values = lines.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        plot::write(file, &values)?;
    }
    Ok(())
}

fn table(lines: &[Line]) -> anyhow::Result<()> {
    let rows: Vec<_> = lines.iter().map(Line::row).collect();
    output::table(&found::HEADER, &rows)?;
    let stages: Vec<_> = lines.iter().flat_map(Line::stage_rows).collect();
    if !stages.is_empty() {
        output::text("\n")?;
        output::table(&found::STAGE_HEADER, &stages)?;
    }
    Ok(())
}
