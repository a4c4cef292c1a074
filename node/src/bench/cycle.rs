//! Store/retrieve cycles after section 4.1 of the NinjaMail paper: a message goes in by SMTP or LMTP, and comes out by POP3,
//! on a new connection, where it is deleted. Latency is split by stage.
//!
//! - protocol: from MAIL to the go-ahead for the message.
//! - store: from the end of the message to the promise to keep it.
//! - set-up: from the connection to POP3 to the end of the log-in.
//! - transfer: STAT, RETR, DELE, QUIT; the deletion is kept when QUIT is answered.

use super::args::CycleArgs;
use super::latencies::{Latencies, Summary};
use super::letter::Letters;
use super::shown;
use super::wire::Wire;
use crate::cli::output;
use anyhow::{Context, bail};
use serde::Serialize;
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

/// What the clients share.
struct Plan {
    entry: Entry,
    address: String,
    pop3: String,
    password: String,
    size: usize,
    measured_from: Instant,
    until: Instant,
}

#[derive(Default)]
struct Stages {
    protocol: Latencies,
    store: Latencies,
    set_up: Latencies,
    transfer: Latencies,
    cycle: Latencies,
    /// Log-ins that found nothing yet.
    again: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    clients: usize,
    size: usize,
    seconds: f64,
    cycles: u64,
    cycles_per_s: f64,
    protocol: Summary,
    store: Summary,
    set_up: Summary,
    transfer: Summary,
    cycle: Summary,
    looked_again: u64,
    errors: Vec<String>,
}

/// Runs cycles against the servers named.
pub async fn run(args: &CycleArgs, json: bool) -> anyhow::Result<()> {
    let (entry, address) = match (&args.smtp, &args.lmtp) {
        (Some(smtp), _) => (Entry::Smtp, smtp.clone()),
        (None, Some(lmtp)) => (Entry::Lmtp, lmtp.clone()),
        (None, None) => bail!("where mail goes in is not said: --smtp or --lmtp"),
    };
    let begins = Instant::now() + WARM_UP;
    let plan = Rc::new(Plan {
        entry,
        address,
        pop3: args.pop3.clone(),
        password: args.users.password.clone(),
        size: args.size,
        measured_from: begins,
        until: begins + Duration::from_secs_f64(args.secs.max(0.1)),
    });
    let local = LocalSet::new();
    let mut clients = Vec::new();
    for client in 0..args.clients {
        let users = args.users.of_client(client, args.clients)?;
        let plan = Rc::clone(&plan);
        clients.push(local.spawn_local(one_client(plan, client as u64, users)));
    }
    let progress = shown::bar(args.secs.ceil() as u64 + WARM_UP.as_secs());
    let (mut sum, mut errors) = (Stages::default(), Vec::new());
    local
        .run_until(async {
            let ticking = shown::tick(&progress);
            for client in clients {
                match client.await {
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
    let line = line_of(args, &sum, errors);
    if json {
        output::text(&format!("{}\n", serde_json::to_string(&line)?))?;
    } else {
        table(&line)?;
    }
    match line.errors.first() {
        Some(error) => bail!("{} of {} clients failed: {error}", line.errors.len(), args.clients),
        None => Ok(()),
    }
}

impl Stages {
    fn merge(&mut self, other: &Self) {
        self.protocol.merge(&other.protocol);
        self.store.merge(&other.store);
        self.set_up.merge(&other.set_up);
        self.transfer.merge(&other.transfer);
        self.cycle.merge(&other.cycle);
        self.again += other.again;
    }
}

fn line_of(args: &CycleArgs, sum: &Stages, errors: Vec<String>) -> Line {
    let cycles = sum.cycle.count();
    Line {
        bench: "cycle",
        clients: args.clients,
        size: args.size,
        seconds: args.secs,
        cycles,
        cycles_per_s: shown::per_second(cycles, Duration::from_secs_f64(args.secs)),
        protocol: sum.protocol.summary(),
        store: sum.store.summary(),
        set_up: sum.set_up.summary(),
        transfer: sum.transfer.summary(),
        cycle: sum.cycle.summary(),
        looked_again: sum.again,
        errors,
    }
}

fn table(line: &Line) -> anyhow::Result<()> {
    let row = |name: &str, it: &Summary| {
        let times = [it.mean_us, it.p50_us, it.p99_us, it.max_us].map(shown::number);
        std::iter::once(name.to_owned()).chain(times).collect::<Vec<_>>()
    };
    let rows = [
        row("protocol", &line.protocol),
        row("store", &line.store),
        row("set-up", &line.set_up),
        row("transfer", &line.transfer),
        row("whole cycle", &line.cycle),
    ];
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
    number: u64,
    users: Vec<String>,
) -> (Stages, Option<anyhow::Error>) {
    let mut stages = Stages::default();
    let mut letters = Letters::new(number + 1, plan.size);
    let result = cycles(&plan, &users, &mut letters, &mut stages).await;
    (stages, result.err())
}

async fn cycles(
    plan: &Plan,
    users: &[String],
    letters: &mut Letters,
    stages: &mut Stages,
) -> anyhow::Result<()> {
    for user in users {
        // What an earlier run left behind would be counted as ours.
        retrieve(plan, user, &mut Stages::default()).await.context("emptying an inbox")?;
    }
    let mut entry = Wire::connect(&plan.address).await?;
    entry.smtp_reply(b"220").await?;
    let hello: &[u8] = match plan.entry {
        Entry::Smtp => b"EHLO bench.src.test\r\n",
        Entry::Lmtp => b"LHLO bench.src.test\r\n",
    };
    entry.send(hello).await?;
    entry.smtp_reply(b"250").await?;
    for user in users.iter().cycle() {
        let began = Instant::now();
        if began >= plan.until {
            break;
        }
        let mut one = Stages::default();
        deliver(&mut entry, user, &letters.next_to(user), &mut one).await?;
        let mut looks = 0;
        while retrieve(plan, user, &mut one).await? == 0 {
            looks += 1;
            anyhow::ensure!(looks < LOOKS_MAX, "a message to {user} never became visible");
            one.again += 1;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        one.cycle.add(began.elapsed());
        if began >= plan.measured_from && Instant::now() <= plan.until {
            stages.merge(&one);
        }
    }
    entry.send(b"QUIT\r\n").await
}

async fn deliver(
    entry: &mut Wire,
    user: &str,
    letter: &[u8],
    stages: &mut Stages,
) -> anyhow::Result<()> {
    let began = Instant::now();
    // RFC 2920 3.1: DATA may be the last of a group of commands.
    let commands = format!("MAIL FROM:<s@src.test>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    entry.send(commands.as_bytes()).await?;
    entry.smtp_reply(b"250").await?;
    entry.smtp_reply(b"25").await?;
    entry.smtp_reply(b"354").await?;
    let sent = Instant::now();
    stages.protocol.add(sent - began);
    let mut message = Vec::with_capacity(letter.len() + 3);
    message.extend_from_slice(letter);
    message.extend_from_slice(b".\r\n");
    entry.send(&message).await?;
    // One recipient: LMTP answers once, as SMTP does. RFC 2033 4.2.
    entry.smtp_reply(b"250").await?;
    stages.store.add(sent.elapsed());
    Ok(())
}

/// Takes and deletes all messages of a user; how many there were.
async fn retrieve(plan: &Plan, user: &str, stages: &mut Stages) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut wire = Wire::connect(&plan.pop3).await?;
    wire.pop3_status().await?;
    wire.send(format!("USER {user}\r\n").as_bytes()).await?;
    wire.pop3_status().await?;
    wire.send(format!("PASS {}\r\n", plan.password).as_bytes()).await?;
    wire.pop3_status().await?;
    let logged_in = Instant::now();
    wire.send(b"STAT\r\n").await?;
    let stat = wire.pop3_status().await?;
    let count: u64 = stat.split_whitespace().next().context("STAT without a count")?.parse()?;
    for number in 1..=count {
        wire.send(format!("RETR {number}\r\n").as_bytes()).await?;
        wire.pop3_status().await?;
        wire.pop3_lines().await?;
        wire.send(format!("DELE {number}\r\n").as_bytes()).await?;
        wire.pop3_status().await?;
    }
    wire.send(b"QUIT\r\n").await?;
    wire.pop3_status().await?;
    if count > 0 {
        stages.set_up.add(logged_in - began);
        stages.transfer.add(logged_in.elapsed());
    }
    Ok(count)
}
