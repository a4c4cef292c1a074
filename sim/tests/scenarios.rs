//! Every scenario holds, the seeds that once failed among them, and the runs hit what they are
//! there for.

use sim::coverage::Coverage;
use sim::{Cluster, ClusterOptions, ClusterScenario, Options, Outcome, Scenario, Table, World};

fn run(name: &str, seed: u64, steps: u64) -> Outcome {
    if name == "table" {
        return Table::new(seed, None).run(steps);
    }
    if let Some(scenario) = ClusterScenario::named(name) {
        let options = ClusterOptions { seed, steps, scenario, mutation: None, watch: None };
        return Cluster::new(options).run();
    }
    let scenario = Scenario::named(name).expect("a scenario");
    World::new(Options { seed, steps, scenario, mutation: None }).run()
}

/// Seeds drawn once; each scenario runs them all.
const SEEDS: std::ops::Range<u64> = 1..9;
const STEPS: u64 = 60_000;

#[test]
fn every_scenario_holds_and_every_fault_happens() {
    let mut coverage = Coverage::default();
    let clusters = ClusterScenario::ALL.iter().map(|scenario| scenario.name);
    let nodes = Scenario::ALL.iter().map(|scenario| scenario.name);
    let names = nodes.chain(["table"]).chain(clusters);
    for name in names {
        for seed in SEEDS {
            let outcome = run(name, seed, STEPS);
            if let Some(failure) = outcome.failure {
                panic!(
                    "{failure}\nreplay: cargo run --release -p sim -- --seed {seed} \
                     --scenario {name} --steps {STEPS}"
                );
            }
            coverage.add(&outcome.coverage);
        }
    }
    println!("{}", coverage.report());
    assert_eq!(coverage.never(), [""; 0], "never happened");
}

/// Lines of `scenario seed steps`, as printed by a failing run; `#` begins a comment.
#[test]
fn seeds_that_failed_once_hold() {
    for line in include_str!("../seeds.txt").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, seed, steps] = words[..] else {
            assert!(words.is_empty(), "not a seed: {line}");
            continue;
        };
        let (seed, steps) = (seed.parse().expect("a seed"), steps.parse().expect("steps"));
        assert_eq!(run(name, seed, steps).failure, None, "{line}");
    }
}
