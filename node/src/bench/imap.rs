//! IMAP load: connections that each log in, select their inbox, and draw commands from a mix, against any server.
//!
//! Every connection has a user of its own while there are enough of them. Inboxes are filled up first, so that commands have
//! something to work on; what was there stays, flags change.

use super::args::ImapArgs;
use super::latencies::{Latencies, Summary};
use super::letter::Letters;
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Command {
    Login,
    Select,
    List,
    /// FLAGS and ENVELOPE of the last 50: what a client shows first.
    Fetch,
    /// One whole message.
    Body,
    Store,
    Search,
    Noop,
    Append,
}

impl Command {
    const ALL: [(Self, &str); 9] = [
        (Self::Login, "login"),
        (Self::Select, "select"),
        (Self::List, "list"),
        (Self::Fetch, "fetch"),
        (Self::Body, "body"),
        (Self::Store, "store"),
        (Self::Search, "search"),
        (Self::Noop, "noop"),
        (Self::Append, "append"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(command, _)| *command == self).map_or("", |(_, name)| name)
    }
}

/// Commands and their weights.
#[derive(Debug, PartialEq, Eq)]
struct Mix(Vec<(Command, usize)>);

impl Mix {
    fn parse(parts: &[String]) -> anyhow::Result<Self> {
        let mut mix = Vec::new();
        for part in parts {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let known = Command::ALL.iter().find(|(_, known)| *known == name.trim());
            let (command, _) = known.with_context(|| format!("--mix: {name} is no command"))?;
            let weight: u16 = weight.trim().parse().with_context(|| format!("--mix: {part}"))?;
            mix.push((*command, usize::from(weight)));
        }
        let mix = Self(mix);
        anyhow::ensure!(mix.total() > 0, "--mix: all weights are 0");
        Ok(mix)
    }

    fn total(&self) -> usize {
        self.0.iter().map(|(_, weight)| weight).sum()
    }

    fn draw(&self, letters: &mut Letters) -> Command {
        let mut left = letters.below(self.total());
        for (command, weight) in &self.0 {
            if left < *weight {
                return *command;
            }
            left -= weight;
        }
        Command::Noop
    }
}

struct Plan {
    address: String,
    password: String,
    fill: u32,
    size: usize,
    mix: Mix,
    think: Duration,
    secs: Duration,
}

#[derive(Default)]
struct Counts {
    times: BTreeMap<Command, Latencies>,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    clients: usize,
    seconds: f64,
    commands_per_s: f64,
    mib_per_s: f64,
    commands: Vec<Row>,
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    command: &'static str,
    count: u64,
    per_s: f64,
    #[serde(flatten)]
    times: Summary,
}

/// Loads the server named.
pub async fn run(args: &ImapArgs, json: bool) -> anyhow::Result<()> {
    let plan = Rc::new(Plan {
        address: args.imap.clone(),
        password: args.users.password.clone(),
        fill: args.fill,
        size: args.size,
        mix: Mix::parse(&args.mix)?,
        think: Duration::from_millis(args.think_ms),
        secs: Duration::from_secs_f64(args.secs.max(0.1)),
    });
    let local = LocalSet::new();
    let filled = Rc::new(tokio::sync::Barrier::new(args.clients));
    let mut clients = Vec::new();
    for client in 0..args.clients {
        let user = args.users.address(client);
        clients.push(local.spawn_local(one_client(
            Rc::clone(&plan),
            Rc::clone(&filled),
            client as u64,
            user,
        )));
    }
    let progress = shown::bar(args.secs.ceil() as u64 + WARM_UP.as_secs());
    let (mut sum, mut errors) = (Counts::default(), Vec::new());
    local
        .run_until(async {
            let ticking = shown::tick(&progress);
            for client in clients {
                match client.await {
                    Ok((counts, error)) => {
                        sum.merge(&counts);
                        errors.extend(error.map(|error| format!("{error:#}")));
                    }
                    Err(error) => errors.push(error.to_string()),
                }
            }
            ticking.abort();
        })
        .await;
    progress.finish_and_clear();
    report(args, &sum, errors, json)
}

impl Counts {
    fn merge(&mut self, other: &Self) {
        for (command, times) in &other.times {
            self.times.entry(*command).or_default().merge(times);
        }
        self.bytes += other.bytes;
    }
}

fn report(args: &ImapArgs, sum: &Counts, errors: Vec<String>, json: bool) -> anyhow::Result<()> {
    let time = Duration::from_secs_f64(args.secs.max(0.1));
    let row = |(command, times): (&Command, &Latencies)| Row {
        command: command.name(),
        count: times.count(),
        per_s: shown::per_second(times.count(), time),
        times: times.summary(),
    };
    let line = Line {
        bench: "imap",
        clients: args.clients,
        seconds: time.as_secs_f64(),
        commands_per_s: shown::per_second(sum.times.values().map(Latencies::count).sum(), time),
        mib_per_s: sum.bytes as f64 / time.as_secs_f64() / f64::from(1 << 20),
        commands: sum.times.iter().map(row).collect(),
        errors,
    };
    if json {
        output::text(&format!("{}\n", serde_json::to_string(&line)?))?;
    } else {
        let cells = |row: &Row| {
            let times = [row.per_s, row.times.mean_us, row.times.p50_us, row.times.p99_us];
            let numbers = times.into_iter().chain([row.times.max_us]).map(shown::number);
            std::iter::once(row.command.to_owned()).chain(numbers).collect::<Vec<_>>()
        };
        let rows: Vec<_> = line.commands.iter().map(cells).collect();
        output::table(&["COMMAND", "PER S", "MEAN US", "P50", "P99", "MAX"], &rows)?;
        output::text(&format!(
            "{} commands/s, {} MiB/s: {} connections, {} s\n",
            shown::number(line.commands_per_s),
            shown::number(line.mib_per_s),
            line.clients,
            line.seconds
        ))?;
    }
    match line.errors.first() {
        Some(error) => bail!("{} of {} clients failed: {error}", line.errors.len(), line.clients),
        None => Ok(()),
    }
}

async fn one_client(
    plan: Rc<Plan>,
    filled: Rc<tokio::sync::Barrier>,
    number: u64,
    user: String,
) -> (Counts, Option<anyhow::Error>) {
    let mut counts = Counts::default();
    let mut letters = Letters::new(number + 1, plan.size);
    let opened = Session::open(&plan, &user, &mut letters).await;
    // Also when it failed: the others wait here for all.
    filled.wait().await;
    let result = match opened {
        Ok(mut session) => session.load(&plan, &user, &mut letters, &mut counts).await,
        Err(error) => Err(error),
    };
    (counts, result.err())
}

/// A logged-in connection with the inbox selected.
struct Session {
    wire: Wire,
    commands: u64,
    /// Messages in the inbox.
    exists: u32,
}

impl Session {
    async fn login(plan: &Plan, user: &str) -> anyhow::Result<Self> {
        let mut wire = Wire::connect(&plan.address).await?;
        wire.line().await?;
        let mut session = Self { wire, commands: 0, exists: 0 };
        session.command(&format!("LOGIN {user} {}", plan.password)).await?;
        Ok(session)
    }

    async fn open(plan: &Plan, user: &str, letters: &mut Letters) -> anyhow::Result<Self> {
        let mut session = Self::login(plan, user).await?;
        session.command("SELECT INBOX").await?;
        while session.exists < plan.fill {
            session.append(&letters.next_to(user)).await.context("filling an inbox")?;
        }
        Ok(session)
    }

    async fn command(&mut self, text: &str) -> anyhow::Result<()> {
        self.commands += 1;
        let tag = format!("b{}", self.commands);
        self.wire.send(format!("{tag} {text}\r\n").as_bytes()).await?;
        self.done(&tag).await.with_context(|| format!("{} failed", verb(text)))
    }

    async fn done(&mut self, tag: &str) -> anyhow::Result<()> {
        let exists = &mut self.exists;
        self.wire.imap_done(tag, |line| *exists = exists_in(line).unwrap_or(*exists)).await
    }

    async fn append(&mut self, letter: &[u8]) -> anyhow::Result<()> {
        self.commands += 1;
        let tag = format!("b{}", self.commands);
        let line = format!("{tag} APPEND INBOX {{{}}}\r\n", letter.len());
        self.wire.send(line.as_bytes()).await?;
        loop {
            // Untagged lines may come before the go-ahead. RFC 9051 7.
            let go_ahead = self.wire.line().await?;
            match go_ahead.first() {
                Some(b'+') => break,
                Some(b'*') => self.exists = exists_in(go_ahead).unwrap_or(self.exists),
                _ => bail!("APPEND failed: {}", String::from_utf8_lossy(go_ahead)),
            }
        }
        self.wire.send(letter).await?;
        self.wire.send(b"\r\n").await?;
        let before = self.exists;
        self.done(&tag).await?;
        if self.exists == before {
            // RFC 9051 6.3.12: the server should tell at once, but need not.
            self.command("NOOP").await?;
        }
        anyhow::ensure!(self.exists > before, "a message appended is not in the inbox");
        Ok(())
    }

    async fn load(
        &mut self,
        plan: &Plan,
        user: &str,
        letters: &mut Letters,
        counts: &mut Counts,
    ) -> anyhow::Result<()> {
        let begins = Instant::now() + WARM_UP;
        let until = begins + plan.secs;
        let mut bytes_before = self.wire.bytes_in;
        loop {
            let command = plan.mix.draw(letters);
            let began = Instant::now();
            if began >= until {
                return self.command("LOGOUT").await;
            }
            self.run(command, plan, user, letters).await?;
            let ended = Instant::now();
            if began >= begins && ended <= until {
                counts.times.entry(command).or_default().add(ended - began);
                counts.bytes += self.wire.bytes_in.saturating_sub(bytes_before);
            }
            bytes_before = self.wire.bytes_in;
            if !plan.think.is_zero() {
                tokio::time::sleep(plan.think).await;
            }
        }
    }

    async fn run(
        &mut self,
        command: Command,
        plan: &Plan,
        user: &str,
        letters: &mut Letters,
    ) -> anyhow::Result<()> {
        let one = letters.below(self.exists.max(1) as usize) + 1;
        if self.exists == 0 && matches!(command, Command::Fetch | Command::Body | Command::Store) {
            return self.command("NOOP").await;
        }
        match command {
            Command::Login => {
                *self = Self::login(plan, user).await?;
                self.command("SELECT INBOX").await
            }
            Command::Select => self.command("SELECT INBOX").await,
            Command::List => self.command("LIST \"\" \"*\"").await,
            Command::Fetch => {
                let from = self.exists.saturating_sub(49).max(1);
                let range = format!("{from}:{}", self.exists);
                self.command(&format!("FETCH {range} (UID FLAGS INTERNALDATE ENVELOPE)")).await
            }
            Command::Body => self.command(&format!("FETCH {one} (BODY.PEEK[])")).await,
            Command::Store => {
                let sign = ["+", "-"][letters.below(2)];
                self.command(&format!("STORE {one} {sign}FLAGS.SILENT (\\Flagged)")).await
            }
            Command::Search => self.command("SEARCH FROM \"s7@src.test\"").await,
            Command::Noop => self.command("NOOP").await,
            Command::Append => self.append(&letters.next_to(user)).await,
        }
    }
}

fn verb(text: &str) -> &str {
    text.split(' ').next().unwrap_or(text)
}

/// `* 23 EXISTS`. RFC 9051 7.4.1.
fn exists_in(line: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(line.strip_prefix(b"* ")?).ok()?;
    text.strip_suffix(" EXISTS")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_names_commands_with_weights() {
        let parse =
            |text: &str| Mix::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let mix = parse("noop=3,fetch").expect("two commands");
        assert_eq!(mix, Mix(vec![(Command::Noop, 3), (Command::Fetch, 1)]));
        let mut letters = Letters::new(1, 100);
        let fetches = (0..1000).filter(|_| mix.draw(&mut letters) == Command::Fetch).count();
        assert!((150..350).contains(&fetches), "{fetches}");
        assert!(parse("noop=0").is_err() && parse("dance").is_err() && parse("noop=x").is_err());
    }

    #[test]
    fn exists_is_read_from_untagged_lines() {
        assert_eq!(exists_in(b"* 23 EXISTS"), Some(23));
        assert_eq!(exists_in(b"* 23 RECENT"), None);
        assert_eq!(exists_in(b"b1 OK done"), None);
    }
}
