//! Store/retrieve cycles after section 4.1 of the NinjaMail paper: a message goes in by SMTP or LMTP, and comes out by POP3,
//! on a new connection, where it is deleted. Latency is split by stage; one begins where the one before it ends.
//!
//! - connect, greeting: a connection for every message, as an MTA makes them; the banner and EHLO. None with `--reuse`.
//! - envelope: from MAIL to the go-ahead for the message.
//! - store: from there to the promise to keep it.
//! - wait: until POP3 shows it: there is nothing to wait for as a rule.
//! - log-in: a connection to POP3 and its log-in.
//! - fetch: STAT and RETR.
//! - delete: DELE and QUIT; the deletion is kept when QUIT is answered.
//!
//! The paper on the cluster with the MTA-MDA structure looks at a delivery from inside: MTA, set-up, store, transfer. From outside
//! the first three here are its MTA and set-up, and store is its store and transfer. In four parts of the whole cycle: protocol
//! (connect, greeting, envelope), store, set-up (log-in), transfer (fetch, delete).

use super::args::CycleArgs;
use super::latencies::{Latencies, Summary};
use super::letter::Letters;
use super::plot;
use super::shown;
use super::wire::Wire;
use crate::cli::output;
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const WARM_UP: Duration = Duration::from_secs(1);
/// A message may become visible a little after it was accepted; then POP3 asks again.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
const LOOKS_MAX: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Smtp,
    Lmtp,
}

/// Stages of a cycle, in order.
pub const STAGES: [&str; 8] =
    ["connect", "greeting", "envelope", "store", "wait", "log_in", "fetch", "delete"];
const CONNECT: usize = 0;
const GREETING: usize = 1;
const ENVELOPE: usize = 2;
const STORE: usize = 3;
const WAIT: usize = 4;
const LOG_IN: usize = 5;
const FETCH: usize = 6;
const DELETE: usize = 7;

/// What the means of the stages may be off from that of the cycle.
const OFF_MAX: f64 = 0.02;

/// What the clients share.
struct Plan {
    entry: Entry,
    /// Of every node; each client speaks to one.
    addresses: Vec<String>,
    pop3: Vec<String>,
    reuse: bool,
    password: String,
    size: usize,
    measured_from: Instant,
    until: Instant,
}

/// Times of one cycle, each from where the one before it ended.
struct Stamps {
    began: Instant,
    last: Instant,
    stages: [Duration; STAGES.len()],
    again: u64,
}

impl Stamps {
    fn new() -> Self {
        let now = Instant::now();
        Self { began: now, last: now, stages: [Duration::ZERO; STAGES.len()], again: 0 }
    }

    fn stage_ends(&mut self, stage: usize) {
        let now = Instant::now();
        self.stages[stage] += now - self.last;
        self.last = now;
    }
}

#[derive(Default)]
struct Stages {
    each: [Latencies; STAGES.len()],
    protocol: Latencies,
    transfer: Latencies,
    cycle: Latencies,
    /// Log-ins that found nothing yet.
    again: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    /// That clients speak to.
    nodes: usize,
    clients: usize,
    size: usize,
    seconds: f64,
    cycles: u64,
    cycles_per_s: f64,
    stages: BTreeMap<&'static str, Summary>,
    protocol: Summary,
    store: Summary,
    set_up: Summary,
    transfer: Summary,
    cycle: Summary,
    /// The means of the stages together, against that of the cycle.
    sum_over_total: f64,
    looked_again: u64,
    errors: Vec<String>,
}

/// Runs cycles against the servers named, for every number of clients.
pub async fn run(args: &CycleArgs, json: bool) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for &clients in &args.clients {
        let line = one_run(args, clients).await?;
        if json {
            output::text(&format!("{}\n", serde_json::to_string(&line)?))?;
        } else {
            table(&line)?;
        }
        if let Some(error) = line.errors.first() {
            bail!("{} of {clients} clients failed: {error}", line.errors.len());
        }
        let off = (line.sum_over_total - 1.0).abs();
        anyhow::ensure!(
            line.cycles == 0 || off <= OFF_MAX,
            "the stages do not add up to the cycle: {line:?}"
        );
        lines.push(serde_json::to_value(&line)?);
    }
    if let Some(file) = &args.svg {
        plot::write(file, &lines)?;
    }
    Ok(())
}

async fn one_run(args: &CycleArgs, clients: usize) -> anyhow::Result<Line> {
    let (entry, addresses) =
        if args.lmtp.is_empty() { (Entry::Smtp, &args.smtp) } else { (Entry::Lmtp, &args.lmtp) };
    let begins = Instant::now() + WARM_UP;
    let plan = Rc::new(Plan {
        entry,
        addresses: addresses.clone(),
        pop3: args.pop3.clone(),
        reuse: args.reuse,
        password: args.users.password.clone(),
        size: args.size,
        measured_from: begins,
        until: begins + Duration::from_secs_f64(args.secs.max(0.1)),
    });
    let local = LocalSet::new();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let users = args.users.of_client(client, clients)?;
        tasks.push(local.spawn_local(one_client(Rc::clone(&plan), client, users)));
    }
    let progress = shown::bar(args.secs.ceil() as u64 + WARM_UP.as_secs());
    let (mut sum, mut errors) = (Stages::default(), Vec::new());
    local
        .run_until(async {
            let ticking = shown::tick(&progress);
            for task in tasks {
                match task.await {
                    Ok((stages, error)) => {
                        sum.merge(&stages);
                        errors.extend(error.map(|error| format!("{error:#}")));
                    }
                    Err(error) => errors.push(error.to_string()),
                }
            }
            ticking.abort();
        })
        .await;
    progress.finish_and_clear();
    Ok(line_of(args, (plan.addresses.len(), clients), &sum, errors))
}

impl Stages {
    fn add(&mut self, one: &Stamps) {
        for (times, &time) in self.each.iter_mut().zip(&one.stages) {
            times.add(time);
        }
        self.protocol.add(one.stages[CONNECT] + one.stages[GREETING] + one.stages[ENVELOPE]);
        self.transfer.add(one.stages[FETCH] + one.stages[DELETE]);
        self.cycle.add(one.began.elapsed());
        self.again += one.again;
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.each.iter_mut().zip(&other.each) {
            mine.merge(theirs);
        }
        self.protocol.merge(&other.protocol);
        self.transfer.merge(&other.transfer);
        self.cycle.merge(&other.cycle);
        self.again += other.again;
    }
}

fn line_of(
    args: &CycleArgs,
    (nodes, clients): (usize, usize),
    sum: &Stages,
    errors: Vec<String>,
) -> Line {
    let cycles = sum.cycle.count();
    let each = sum.each.each_ref().map(Latencies::summary);
    let together: f64 = each.iter().map(|stage| stage.mean_us).sum();
    Line {
        bench: "cycle",
        nodes,
        clients,
        size: args.size,
        seconds: args.secs,
        cycles,
        cycles_per_s: shown::per_second(cycles, Duration::from_secs_f64(args.secs)),
        stages: STAGES.into_iter().zip(each).collect(),
        protocol: sum.protocol.summary(),
        store: each[STORE],
        set_up: each[LOG_IN],
        transfer: sum.transfer.summary(),
        cycle: sum.cycle.summary(),
        sum_over_total: together / sum.cycle.summary().mean_us.max(1e-9),
        looked_again: sum.again,
        errors,
    }
}

fn table(line: &Line) -> anyhow::Result<()> {
    let row = |name: &str, it: &Summary| {
        let times = [it.mean_us, it.p50_us, it.p99_us, it.max_us].map(shown::number);
        std::iter::once(name.replace('_', "-")).chain(times).collect::<Vec<_>>()
    };
    let stages = STAGES.iter().filter_map(|stage| Some(row(stage, line.stages.get(stage)?)));
    let whole = row("whole cycle", &line.cycle);
    let rows: Vec<_> = stages.chain([whole]).collect();
    output::table(&["STAGE", "MEAN US", "P50", "P99", "MAX"], &rows)?;
    let rate = shown::number(line.cycles_per_s);
    output::text(&format!(
        "{rate} cycles/s: {} clients, {} bytes, {} s\n",
        line.clients, line.size, line.seconds
    ))?;
    Ok(())
}

/// Cycles until the time is over; what was measured, and why it ended early.
async fn one_client(
    plan: Rc<Plan>,
    number: usize,
    users: Vec<String>,
) -> (Stages, Option<anyhow::Error>) {
    let mut stages = Stages::default();
    let result = cycles(&plan, number, &users, &mut stages).await;
    (stages, result.err())
}

async fn cycles(
    plan: &Plan,
    number: usize,
    users: &[String],
    stages: &mut Stages,
) -> anyhow::Result<()> {
    let of = |addresses: &[String]| addresses.get(number % addresses.len().max(1)).cloned();
    let (entry, pop3) = (of(&plan.addresses), of(&plan.pop3));
    let (entry, pop3) = (entry.context("no --smtp")?, pop3.context("no --pop3")?);
    let mut letters = Letters::new(number as u64 + 1, plan.size);
    for user in users {
        // What an earlier run left behind would be counted as ours.
        retrieve((plan, &pop3), user, &mut Stamps::new()).await.context("emptying an inbox")?;
    }
    let mut kept = None;
    for user in users.iter().cycle() {
        if Instant::now() >= plan.until {
            break;
        }
        let letter = letters.next_to(user);
        let mut one = Stamps::new();
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => enter(plan, &entry, &mut one).await?,
        };
        deliver(&mut wire, user, &letter, &mut one).await?;
        if plan.reuse {
            kept = Some(wire);
        } else {
            wire.send(b"QUIT\r\n").await?;
        }
        let mut looks = 0;
        while retrieve((plan, &pop3), user, &mut one).await? == 0 {
            looks += 1;
            anyhow::ensure!(looks < LOOKS_MAX, "a message to {user} never became visible");
            one.again += 1;
            tokio::time::sleep(LOOK_AGAIN).await;
            one.stage_ends(WAIT);
        }
        if one.began >= plan.measured_from && Instant::now() <= plan.until {
            stages.add(&one);
        }
    }
    match kept {
        Some(mut wire) => wire.send(b"QUIT\r\n").await,
        None => Ok(()),
    }
}

/// A connection on which mail may be sent.
async fn enter(plan: &Plan, address: &str, one: &mut Stamps) -> anyhow::Result<Wire> {
    let mut wire = Wire::connect(address).await?;
    one.stage_ends(CONNECT);
    wire.smtp_reply(b"220").await?;
    let hello: &[u8] = match plan.entry {
        Entry::Smtp => b"EHLO bench.src.test\r\n",
        Entry::Lmtp => b"LHLO bench.src.test\r\n",
    };
    wire.send(hello).await?;
    wire.smtp_reply(b"250").await?;
    one.stage_ends(GREETING);
    Ok(wire)
}

async fn deliver(
    entry: &mut Wire,
    user: &str,
    letter: &[u8],
    one: &mut Stamps,
) -> anyhow::Result<()> {
    // RFC 2920 3.1: DATA may be the last of a group of commands.
    let commands = format!("MAIL FROM:<s@src.test>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    entry.send(commands.as_bytes()).await?;
    entry.smtp_reply(b"250").await?;
    entry.smtp_reply(b"25").await?;
    entry.smtp_reply(b"354").await?;
    one.stage_ends(ENVELOPE);
    let mut message = Vec::with_capacity(letter.len() + 3);
    message.extend_from_slice(letter);
    message.extend_from_slice(b".\r\n");
    entry.send(&message).await?;
    // One recipient: LMTP answers once, as SMTP does. RFC 2033 4.2.
    entry.smtp_reply(b"250").await?;
    one.stage_ends(STORE);
    Ok(())
}

/// Takes and deletes all messages of a user; how many there were. When there is none yet, all of it was waiting.
async fn retrieve(
    (plan, pop3): (&Plan, &str),
    user: &str,
    one: &mut Stamps,
) -> anyhow::Result<u64> {
    let mut wire = Wire::connect(pop3).await?;
    wire.pop3_status().await?;
    wire.send(format!("USER {user}\r\n").as_bytes()).await?;
    wire.pop3_status().await?;
    wire.send(format!("PASS {}\r\n", plan.password).as_bytes()).await?;
    wire.pop3_status().await?;
    let logged_in = Instant::now();
    wire.send(b"STAT\r\n").await?;
    let stat = wire.pop3_status().await?;
    let count: u64 = stat.split_whitespace().next().context("STAT without a count")?.parse()?;
    if count > 0 {
        one.stages[LOG_IN] += logged_in - one.last;
        one.last = logged_in;
    }
    for number in 1..=count {
        wire.send(format!("RETR {number}\r\n").as_bytes()).await?;
        wire.pop3_status().await?;
        wire.pop3_lines().await?;
    }
    one.stage_ends(if count > 0 { FETCH } else { WAIT });
    for number in 1..=count {
        wire.send(format!("DELE {number}\r\n").as_bytes()).await?;
        wire.pop3_status().await?;
    }
    wire.send(b"QUIT\r\n").await?;
    wire.pop3_status().await?;
    // Closing belongs to it: the next cycle begins behind it.
    drop(wire);
    one.stage_ends(if count > 0 { DELETE } else { WAIT });
    Ok(count)
}
