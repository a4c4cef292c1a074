//! Equal options give equal runs.

use sim::{Options, Scenario, Table, World};

fn trace(name: &str, seed: u64) -> (u64, u64) {
    let scenario = Scenario::named(name).expect("a scenario");
    let options = Options { seed, steps: 15_000, scenario, mutation: None };
    let outcome = World::new(options).run();
    assert_eq!(outcome.failure, None, "{name}, seed {seed}");
    (outcome.trace, outcome.steps)
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    for name in ["steady", "storm", "blobs", "damage"] {
        assert_eq!(trace(name, 5), trace(name, 5), "{name}");
        assert_ne!(trace(name, 5), trace(name, 6), "{name}");
    }
    let table = |seed| Table::new(seed, None).run(5_000).trace;
    assert_eq!(table(5), table(5));
    assert_ne!(table(5), table(6));
}
