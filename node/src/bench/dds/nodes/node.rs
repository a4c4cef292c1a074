//! The process of one node: a node of the hash table, and its share of the clients.

use super::order::{Order, Report, Task, Word};
use super::table::{Hook, NodeTable};
use crate::bench::clock;
use crate::bench::dds::client::{Client, Values};
use crate::bench::dds::load::{self, Counted, Load, Seat};
use crate::config::Config;
use crate::serve::hash_table::{Counts, HashTableNode};
use ::dds::RouteKey;
use ::dds::cluster::{NodeId, NodeState};
use anyhow::{Context, bail};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the node looks whether the cluster is whole, and how long it must have been so.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const WHOLE_FOR: Duration = Duration::from_millis(400);
/// Our choice: above what 16,384 partitions take on a busy machine.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

/// Runs the node `name` of the file until standard input ends.
pub fn run(file: &Path, name: &str) -> anyhow::Result<()> {
    let (file, name) = (file.to_owned(), name.to_owned());
    // Clients have a thread of their own, so that their CPU is told from the node's.
    let thread = std::thread::Builder::new().name("clients".into());
    let clients = thread.spawn(move || obey(&file, &name))?;
    clients.join().map_err(|_| anyhow::anyhow!("the clients have panicked"))??;
    // What runs has promised nothing that anybody waits for; the directory is removed.
    std::process::exit(0)
}

fn obey(file: &Path, name: &str) -> anyhow::Result<()> {
    let config = Config::load(Some(file))?;
    let entry = config.node_named(Some(name))?.clone();
    let (hook, answers) = Hook::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let node = runtime.block_on(HashTableNode::start(&config, &entry, hook.clone()))?;
    until_whole(&node, config.node.len())?;
    say(&Word::Whole)?;
    let mut table = NodeTable::new(node, hook, answers);
    let mut prepared = None;
    let mut ran = None;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Order::Prepare(task) => {
                prepared = Some(prepare(&mut table, task)?);
                say(&Word::Prepared)?;
            }
            Order::Run => {
                let prepared = prepared.take().context("nothing was prepared")?;
                ran = Some(run_prepared(&mut table, prepared)?);
                say(&Word::Ran)?;
            }
            Order::Report => {
                let ran = ran.take().context("nothing ran")?;
                say(&Word::Report(Box::new(report(&mut table, ran)?)))?;
            }
        }
    }
    Ok(())
}

fn say(word: &Word) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, word)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Waits until every partition has its replicas, and nothing is about to move.
fn until_whole(node: &HashTableNode, nodes: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut since = began;
    while since.elapsed() < WHOLE_FOR {
        let view = node.view();
        let up = view.map.nodes.values().filter(|node| node.state == NodeState::Up).count();
        let state = view.state();
        let whole = up == nodes
            && view.session.is_some()
            && state.min_in_sync == state.min_in_sync_wanted
            && view.under_replicated() + view.unavailable() + state.moves == 0;
        if !whole {
            since = Instant::now();
        }
        if began.elapsed() > WHOLE_WITHIN {
            bail!("the cluster did not become whole: {up} of {nodes} nodes are up, {state:?}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

struct Prepared {
    load: Load,
    seats: Vec<Seat>,
    values: Values,
    follow: u64,
}

fn prepare(table: &mut NodeTable, task: Task) -> anyhow::Result<Prepared> {
    let values = Values::new(task.size);
    let mut seats = seats(&table.node, &task)?;
    table.follow = 0;
    load::prepare(&mut seats, table, &values)?;
    let load = Load {
        size: task.size,
        clients: task.clients,
        reads_percent: task.reads_percent,
        keys: task.keys,
        time: Duration::from_millis(task.millis),
    };
    Ok(Prepared { load, seats, values, follow: task.follow })
}

/// Every client has one route at every node that leads partitions, so that each asks all of them in turn.
fn seats(node: &HashTableNode, task: &Task) -> anyhow::Result<Vec<Seat>> {
    let view = node.view();
    let mut number = 0;
    let primaries: Vec<NodeId> = {
        let all = view.map.groups.iter().filter_map(|group| group.primary);
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    };
    let mut found: BTreeMap<NodeId, Vec<RouteKey>> = BTreeMap::new();
    while found.len() < primaries.len() || found.values().any(|some| some.len() < task.clients) {
        number += 1;
        if number > 1_000_000 {
            bail!("no routes were found for every node");
        }
        let route = Bytes::from(format!("{}.{}.{number}", node.me.0, task.round));
        let partition = node.places.map.partition_of(&route);
        let Some(primary) = view.map.group(partition).and_then(|group| group.primary) else {
            bail!("partition {} has no primary", partition.0);
        };
        let some = found.entry(primary).or_default();
        if some.len() < task.clients {
            some.push(RouteKey(route));
        }
    }
    let mut serial = u64::from(node.me.0) << 32;
    let seat = |at: usize| {
        let routes = primaries.iter().filter_map(|primary| found.get(primary)?.get(at).cloned());
        let clients = routes.map(|route| {
            serial += 1;
            Client::new(serial, route, task.keys)
        });
        // Clients begin at different nodes.
        let mut clients: Vec<Client> = clients.collect();
        let shift = at % clients.len().max(1);
        clients.rotate_left(shift);
        Seat::new(clients)
    };
    Ok((0..task.clients).map(seat).collect())
}

struct Ran {
    counted: Counted,
    seconds: f64,
    cpu: BTreeMap<String, Duration>,
    counts: Counts,
}

fn run_prepared(table: &mut NodeTable, prepared: Prepared) -> anyhow::Result<Ran> {
    let Prepared { load, mut seats, values, follow } = prepared;
    let (cpu, counts) = (clock::cpu_by_thread()?, table.node.counts());
    table.follow = follow;
    let began = Instant::now();
    let counted = if seats.is_empty() {
        Counted::default()
    } else {
        load::drive(&load, &mut seats, table, &values)?
    };
    Ok(Ran { counted, seconds: began.elapsed().as_secs_f64(), cpu, counts })
}

fn report(table: &mut NodeTable, ran: Ran) -> anyhow::Result<Report> {
    let (now, before) = (table.node.counts(), ran.counts);
    let cpu = clock::used_since(&ran.cpu)?;
    Ok(Report {
        seconds: ran.seconds,
        gets: ran.counted.gets,
        puts: ran.counted.puts,
        asked_again: ran.counted.asked_again,
        cpu: cpu.into_iter().map(|(name, time)| (name, time.as_secs_f64())).collect(),
        syncs: now.syncs - before.syncs,
        groups: now.groups - before.groups,
        sent: now.sent.since(before.sent),
        asked: table.asked_requests(),
        done: table.hook.done_requests(),
    })
}
