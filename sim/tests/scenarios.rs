//! Every scenario holds, the seeds that once failed among them, and the runs hit what they are
//! there for.

use sim::coverage::Coverage;
use sim::{Options, Outcome, Scenario, Table, World};

fn run(name: &str, seed: u64, steps: u64) -> Outcome {
    if name == "table" {
        return Table::new(seed, None).run(steps);
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
    let names = Scenario::ALL.iter().map(|scenario| scenario.name).chain(["table"]);
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
    for fault in FAULTS {
        assert!(coverage.faults.contains_key(fault), "never happened: {fault}");
    }
    // A node alone has no other that could take over a mailbox.
    let alone = ["session: Notified, MasterChanged"];
    let never = coverage.inputs.iter().filter(|(_, count)| **count == 0);
    let never: Vec<_> = never.filter(|(kind, _)| !alone.contains(kind)).collect();
    assert!(never.is_empty(), "inputs that never came: {never:?}");
}

const FAULTS: [&str; 25] = [
    "IMAP client vanishes",
    "POP3 client vanishes",
    "answer of the table is lost",
    "completion of a read comes twice",
    "completion of a write comes late",
    "completion of a write comes twice",
    "crash between two effects",
    "crash loses what was not synced",
    "crash of the table",
    "crash: killed",
    "crash: power loss",
    "deliverer vanishes before the message",
    "deliverer vanishes within or behind the message",
    "disk is full",
    "disk stalls",
    "hash pool has no room",
    "node is told that space runs low",
    "node says that it stops",
    "operator ends sessions",
    "read fails",
    "read goes to the disk",
    "stored value is cut short",
    "stored value rots",
    "sync fails",
    "write fails",
];

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
