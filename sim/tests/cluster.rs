//! Clusters under faults hold, and mistakes made on purpose are noticed.

use sim::coverage::Coverage;
use sim::{Cluster, ClusterMutation, ClusterOptions, ClusterScenario, Failure, Outcome};

const STEPS: u64 = 60_000;
/// Seeds of each scenario.
const SEEDS: std::ops::Range<u64> = 1..131;

fn run(name: &str, seed: u64, mutation: Option<ClusterMutation>) -> Outcome {
    let scenario = ClusterScenario::named(name).expect("a scenario");
    let options = ClusterOptions { seed, steps: STEPS, scenario, mutation, watch: None };
    Cluster::new(options).run()
}

/// Runs the seeds of a scenario; everything that it is there for happens.
fn holds(name: &str, faults: &[&str]) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in SEEDS {
        let outcome = run(name, seed, None);
        if let Some(failure) = outcome.failure {
            panic!(
                "{failure}\nreplay: cargo run --release -p sim -- --seed {seed} --scenario {name} \
                 --steps {STEPS}"
            );
        }
        coverage.add(&outcome.coverage);
    }
    let never: Vec<_> = faults.iter().filter(|fault| coverage.faults[**fault] == 0).collect();
    assert!(never.is_empty(), "never happened: {never:?}");
    coverage
}

#[test]
fn calm_holds() {
    holds("cluster-calm", &["answer of the table is lost"]);
}

#[test]
fn storm_holds() {
    holds(
        "cluster-storm",
        &[
            "control majority is gone",
            "disk is replaced",
            "disk stalls",
            "message comes late",
            "message comes twice",
            "message is lost",
            "node of a cluster ends",
            "node stands still",
            "nodes don't hear each other",
            "write fails",
        ],
    );
}

#[test]
fn partition_holds() {
    holds("cluster-partition", &["nodes don't hear each other", "node stands still"]);
}

#[test]
fn crash_holds() {
    holds("cluster-crash", &["node of a cluster ends", "all nodes lose power"]);
}

#[test]
fn disks_hold() {
    holds("cluster-disks", &["disk is replaced", "write fails"]);
}

#[test]
fn blackout_holds() {
    holds("cluster-blackout", &["all nodes lose power"]);
}

#[test]
fn images_hold() {
    holds("cluster-images", &["disk is an older image"]);
}

#[test]
fn three_hold() {
    holds("cluster-three", &["node of a cluster ends"]);
}

#[test]
fn fill_holds() {
    holds("cluster-fill", &["disk is replaced"]);
}

#[test]
fn a_copy_that_does_not_wait_for_its_turn_is_noticed() {
    let failure = noticed("cluster-fill", ClusterMutation::FillUnpaced, 4);
    assert_eq!(failure.invariant, "filled_at_pace", "{failure}");
}

#[test]
fn recover_holds() {
    holds("cluster-recover", &["majority of disks is lost"]);
}

#[test]
fn steady_holds() {
    holds("cluster-steady", &["node of a cluster ends"]);
}

#[test]
fn scrub_holds() {
    holds("cluster-scrub", &["disk is replaced", "write fails", "message is lost"]);
}

#[test]
fn rot_is_repaired() {
    holds(
        "cluster-rot",
        &[
            "stored value changes in silence",
            "stored value rots",
            "stored value vanishes in silence",
        ],
    );
}

#[test]
fn stray_values_are_repaired() {
    holds("cluster-stray", &["stored value appears in silence", "node of a cluster ends"]);
}

#[test]
fn moves_hold() {
    let coverage = holds(
        "cluster-moves",
        &["partition is placed by an operator", "node of a cluster ends", "disk is replaced"],
    );
    assert!(coverage.actions["copy is told of"] > 0);
}

#[test]
fn work_moves_and_rests() {
    let faults = ["node of a cluster ends", "control majority is gone"];
    let coverage = holds("cluster-hot", &faults);
    assert!(coverage.actions["work has moved"] > 100, "{:?}", coverage.actions);
}

#[test]
fn full_disks_hold() {
    let coverage = holds("cluster-full", &["disk is full", "node of a cluster ends"]);
    assert!(coverage.actions["blind write is refused"] > 0);
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let trace = |seed| {
        let outcome = run("cluster-storm", seed, None);
        (outcome.trace, outcome.steps)
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}

/// The first failure within so many seeds; the same seed holds without the mistake.
fn noticed(name: &str, mutation: ClusterMutation, seeds: u64) -> Failure {
    for seed in 1..=seeds {
        if let Some(failure) = run(name, seed, Some(mutation)).failure {
            assert_eq!(run(name, seed, None).failure, None, "seed {seed} fails without it");
            return failure;
        }
    }
    panic!("{} was not noticed within {seeds} seeds", mutation.name());
}

fn linearizable_no_more(name: &str, mutation: ClusterMutation, seeds: u64) {
    let failure = noticed(name, mutation, seeds);
    assert_eq!(failure.invariant, "linearizable", "{failure}");
}

#[test]
fn a_skipped_fence_is_noticed() {
    linearizable_no_more("cluster-partition", ClusterMutation::SkipFence, 4);
}

#[test]
fn an_acknowledgement_without_the_last_member_is_noticed() {
    // Whichever is seen first: a member without the entry, or a reader without it.
    let failure = noticed("cluster-partition", ClusterMutation::AcknowledgeAlone, 4);
    let harm = ["linearizable", "replicas_agree"];
    assert!(harm.contains(&failure.invariant), "{failure}");
}

#[test]
fn an_acknowledgement_below_the_least_set_is_noticed() {
    linearizable_no_more("cluster-disks", ClusterMutation::BelowMin, 60);
}

#[test]
fn a_learner_promoted_too_early_is_noticed() {
    noticed("cluster-storm", ClusterMutation::PromoteEarly, 4);
}

#[test]
fn a_learner_that_a_move_promotes_too_early_is_noticed() {
    noticed("cluster-moves", ClusterMutation::PromoteEarly, 4);
}

#[test]
fn work_that_moves_without_hysteresis_is_noticed() {
    let failure = noticed("cluster-hot", ClusterMutation::NoHysteresis, 8);
    assert_eq!(failure.invariant, "work_rests", "{failure}");
}

#[test]
fn a_read_without_a_lease_is_noticed() {
    linearizable_no_more("cluster-partition", ClusterMutation::ReadWithoutLease, 4);
}

#[test]
fn an_answer_that_does_not_wait_is_noticed() {
    linearizable_no_more("cluster-partition", ClusterMutation::AnswerEarly, 6);
}

#[test]
fn a_forgotten_reconciliation_is_noticed() {
    noticed("cluster-partition", ClusterMutation::ForgetReconciliation, 12);
}

#[test]
fn an_incarnation_used_again_is_noticed() {
    linearizable_no_more("cluster-disks", ClusterMutation::ReuseIncarnation, 80);
}

#[test]
fn a_comparison_at_different_places_is_noticed() {
    let failure = noticed("cluster-scrub", ClusterMutation::CompareElsewhere, 50);
    assert_eq!(failure.invariant, "scrub_is_right", "{failure}");
}

#[test]
fn a_difference_that_is_overlooked_is_noticed() {
    noticed("cluster-rot", ClusterMutation::OverlookRot, 4);
}

#[test]
fn a_lost_tail_that_is_passed_off_as_whole_is_noticed() {
    linearizable_no_more("cluster-images", ClusterMutation::RejoinWithLostTail, 50);
}

#[test]
fn a_stale_founder_is_noticed() {
    linearizable_no_more("cluster-recover", ClusterMutation::RecoverStale, 40);
}
