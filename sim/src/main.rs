//! `sim`: runs one seed or many, prints what was hit and, at a failure, the command that repeats
//! it.

use sim::coverage::Coverage;
use sim::{Mutation, Options, Outcome, Scenario, Table, World};
use std::ops::Range;
use std::process::ExitCode;

const USAGE: &str = "usage: sim [--seed N | --seeds A..B | --runs N | --forever] [--steps N] \
                     [--scenario NAME | --scenario all | --scenario table] [--mutate NAME] [--list]";

/// What the command line asks for.
struct Asked {
    seeds: Range<u64>,
    steps: u64,
    scenarios: Vec<Scenario>,
    /// The hash table by itself.
    table: bool,
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    match asked(std::env::args().skip(1)) {
        Ok(Some(asked)) => run(&asked),
        Ok(None) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("sim: {what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn asked(mut args: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut asked = Asked {
        seeds: 1..2,
        steps: 100_000,
        scenarios: vec![Scenario::ALL[0]],
        table: false,
        mutation: None,
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--seed" => {
                let seed = number(&value()?)?;
                asked.seeds = seed..seed.saturating_add(1);
            }
            "--seeds" => {
                let range = value()?;
                let (from, to) = range.split_once("..").ok_or("--seeds takes A..B")?;
                asked.seeds = number(from)?..number(to)?;
            }
            // So many seeds of every scenario.
            "--runs" => {
                asked.seeds = 1..number(&value()?)?.saturating_add(1);
                (asked.scenarios, asked.table) = scenarios("all")?;
            }
            "--forever" => asked.seeds = asked.seeds.start..u64::MAX,
            "--steps" => asked.steps = number(&value()?)?,
            "--scenario" => (asked.scenarios, asked.table) = scenarios(&value()?)?,
            "--mutate" => {
                let name = value()?;
                let mutation = Mutation::named(&name).ok_or(format!("no mutation {name}"))?;
                asked.mutation = Some(mutation);
            }
            "--list" => {
                for scenario in Scenario::ALL {
                    println!("{:<10} {}", scenario.name, scenario.about);
                }
                for mutation in Mutation::ALL {
                    println!("--mutate {}", mutation.name());
                }
                return Ok(None);
            }
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(Some(asked))
}

fn number(word: &str) -> Result<u64, String> {
    word.replace('_', "").parse().map_err(|_| format!("{word} is no number"))
}

/// Nodes to run, and whether the table runs by itself.
fn scenarios(name: &str) -> Result<(Vec<Scenario>, bool), String> {
    match name {
        "all" => Ok((Scenario::ALL.to_vec(), true)),
        "table" => Ok((Vec::new(), true)),
        name => {
            let one = Scenario::named(name).ok_or(format!("no scenario {name}"))?;
            Ok((vec![one], false))
        }
    }
}

fn run(asked: &Asked) -> ExitCode {
    let mut coverage = Coverage::default();
    let mut failures = 0_u64;
    for seed in asked.seeds.clone() {
        for &scenario in &asked.scenarios {
            let options = Options { seed, steps: asked.steps, scenario, mutation: asked.mutation };
            let began = clock::nanos();
            let outcome = World::new(options).run();
            let nanos = clock::nanos() - began;
            coverage.add(&outcome.coverage);
            report(asked, (scenario.name, seed), &outcome, nanos);
            failures += u64::from(outcome.failure.is_some());
        }
        if asked.table {
            let began = clock::nanos();
            let outcome = Table::new(seed, asked.mutation).run(asked.steps);
            let nanos = clock::nanos() - began;
            coverage.add(&outcome.coverage);
            report(asked, ("table", seed), &outcome, nanos);
            failures += u64::from(outcome.failure.is_some());
        }
    }
    print!("{}", coverage.report());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(asked: &Asked, (scenario, seed): (&str, u64), outcome: &Outcome, nanos: u64) {
    let rate = u128::from(outcome.steps) * 1_000_000_000 / u128::from(nanos.max(1));
    println!(
        "{} seed {}: {} steps, {} virtual ms, {} promises kept, {} bodies compared, trace {:016x}, \
         {rate} steps/s of one core",
        scenario,
        seed,
        outcome.steps,
        outcome.virtual_ms,
        outcome.promised,
        outcome.bodies_checked,
        outcome.trace,
    );
    if let Some(failure) = &outcome.failure {
        let mutate = asked.mutation.map(|m| format!(" --mutate {}", m.name()));
        println!("FAILED {failure}");
        println!(
            "replay: cargo run --release -p sim -- --seed {} --scenario {} --steps {}{}",
            seed,
            scenario,
            asked.steps,
            mutate.unwrap_or_default()
        );
    }
}

mod clock {
    //! The only clock: for the speed that is printed.

    use std::sync::OnceLock;

    /// Nanoseconds that this thread has had a core; where the system does not tell, nanoseconds
    /// that have passed.
    pub fn nanos() -> u64 {
        let had = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let had = had.and_then(|line| line.split(' ').next()?.parse().ok());
        had.unwrap_or_else(passed)
    }

    #[expect(clippy::disallowed_types, reason = "measures real time; nothing is decided by it")]
    fn passed() -> u64 {
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}
