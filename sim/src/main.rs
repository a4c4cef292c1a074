//! `sim`: runs one seed or many, prints what was hit and, at a failure, the command that repeats
//! it.

use sim::coverage::Coverage;
use sim::{
    Cluster, ClusterMutation, ClusterOptions, ClusterScenario, Mutation, Options, Outcome,
    Scenario, Table, World,
};
use std::ops::Range;
use std::process::ExitCode;

const USAGE: &str = "usage: sim [--seed N | --seeds A..B | --runs N | --forever] [--steps N] \
                     [--scenario NAME | --scenario all | --scenario clusters] [--mutate NAME] \
                     [--watch PARTITION] [--list]";

/// What the command line asks for.
struct Asked {
    seeds: Range<u64>,
    steps: u64,
    worlds: Vec<Kind>,
    mutation: Option<Mistake>,
    watch: Option<u16>,
}

/// What is simulated.
#[derive(Clone, Copy)]
enum Kind {
    Node(Scenario),
    /// The hash table of one node by itself.
    Table,
    /// The hash table of several nodes.
    Cluster(ClusterScenario),
}

#[derive(Clone, Copy)]
enum Mistake {
    Node(Mutation),
    Cluster(ClusterMutation),
}

impl Mistake {
    fn named(name: &str) -> Option<Self> {
        let node = Mutation::named(name).map(Self::Node);
        node.or_else(|| ClusterMutation::named(name).map(Self::Cluster))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Node(mutation) => mutation.name(),
            Self::Cluster(mutation) => mutation.name(),
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Node(scenario) => scenario.name,
            Self::Table => "table",
            Self::Cluster(scenario) => scenario.name,
        }
    }

    fn run(self, asked: &Asked, seed: u64) -> Outcome {
        let (node, cluster) = match asked.mutation {
            Some(Mistake::Node(mutation)) => (Some(mutation), None),
            Some(Mistake::Cluster(mutation)) => (None, Some(mutation)),
            None => (None, None),
        };
        let steps = asked.steps;
        match self {
            Self::Node(scenario) => {
                World::new(Options { seed, steps, scenario, mutation: node }).run()
            }
            Self::Table => Table::new(seed, node).run(steps),
            Self::Cluster(scenario) => {
                let (mutation, watch) = (cluster, asked.watch);
                Cluster::new(ClusterOptions { seed, steps, scenario, mutation, watch }).run()
            }
        }
    }
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
        worlds: vec![Kind::Node(Scenario::ALL[0])],
        mutation: None,
        watch: None,
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
                asked.worlds = worlds("all")?;
            }
            "--forever" => asked.seeds = asked.seeds.start..u64::MAX,
            "--steps" => asked.steps = number(&value()?)?,
            "--scenario" => asked.worlds = worlds(&value()?)?,
            "--mutate" => {
                let name = value()?;
                let mutation = Mistake::named(&name).ok_or(format!("no mutation {name}"))?;
                asked.mutation = Some(mutation);
            }
            "--watch" => {
                let partition = u16::try_from(number(&value()?)?);
                asked.watch = Some(partition.map_err(|_| "no such partition")?);
            }
            "--list" => {
                for scenario in Scenario::ALL {
                    println!("{:<18} {}", scenario.name, scenario.about);
                }
                for scenario in ClusterScenario::ALL {
                    println!("{:<18} {}", scenario.name, scenario.about);
                }
                for mutation in Mutation::ALL {
                    println!("--mutate {}", mutation.name());
                }
                for mutation in ClusterMutation::ALL {
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

fn worlds(name: &str) -> Result<Vec<Kind>, String> {
    let nodes = Scenario::ALL.into_iter().map(Kind::Node);
    let clusters = ClusterScenario::ALL.into_iter().map(Kind::Cluster);
    let all = nodes.chain([Kind::Table]).chain(clusters);
    let chosen: Vec<Kind> = match name {
        "all" => all.collect(),
        "clusters" => all.filter(|kind| matches!(kind, Kind::Cluster(_))).collect(),
        name => all.filter(|kind| kind.name() == name).collect(),
    };
    if chosen.is_empty() { Err(format!("no scenario {name}")) } else { Ok(chosen) }
}

fn run(asked: &Asked) -> ExitCode {
    let mut coverage = Coverage::default();
    let mut failures = 0_u64;
    for seed in asked.seeds.clone() {
        for kind in &asked.worlds {
            let began = clock::nanos();
            let outcome = kind.run(asked, seed);
            let nanos = clock::nanos() - began;
            coverage.add(&outcome.coverage);
            report(asked, (kind.name(), seed), &outcome, nanos);
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
