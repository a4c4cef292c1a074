//! The checkers bite: each mistake made on purpose is noticed within a few seeds, and without it
//! the same seeds pass.

use sim::{Failure, Mutation, Options, Scenario, Table, World};

/// Seeds within which a mistake must be noticed.
const SEEDS: u64 = 8;

/// Messages lost or doubled, UIDs used twice or told wrongly, an index that lies.
const REAL_HARM: [&str; 8] = [
    "acknowledged_present",
    "at_most_once",
    "bodies_resolve",
    "check_is_clean",
    "index_matches",
    "told_one_story",
    "uids_never_reused",
    "uids_rise",
];

fn node(name: &str, seed: u64, mutation: Option<Mutation>) -> Option<Failure> {
    let scenario = Scenario::named(name).expect("a scenario");
    World::new(Options { seed, steps: 30_000, scenario, mutation }).run().failure
}

/// The first failure within the bound; the seed before the mistake passes without it.
fn noticed(run: impl Fn(u64, bool) -> Option<Failure>) -> Failure {
    for seed in 1..=SEEDS {
        if let Some(failure) = run(seed, true) {
            assert_eq!(run(seed, false), None, "seed {seed} fails without the mistake");
            return failure;
        }
    }
    panic!("not noticed within {SEEDS} seeds");
}

fn noticed_in(name: &str, mutation: Mutation) -> Failure {
    noticed(|seed, wrong| node(name, seed, wrong.then_some(mutation)))
}

#[test]
fn a_dropped_sync_is_noticed() {
    noticed_in("storm", Mutation::DropSync);
    noticed(|seed, wrong| {
        Table::new(seed, wrong.then_some(Mutation::DropSync)).run(20_000).failure
    });
}

#[test]
fn an_acknowledgement_before_the_write_is_durable_is_noticed() {
    noticed_in("storm", Mutation::AcknowledgeEarly);
}

#[test]
fn a_forgotten_outcome_is_noticed() {
    let failure = noticed_in("apart", Mutation::ForgetWindow);
    assert!(REAL_HARM.contains(&failure.invariant), "{failure}");
    let failure = noticed(|seed, wrong| {
        Table::new(seed, wrong.then_some(Mutation::ForgetWindow)).run(20_000).failure
    });
    assert_eq!(failure.invariant, "linearizable");
}

#[test]
fn a_uid_assigned_before_the_outcome_is_settled_is_noticed() {
    let failure = noticed_in("apart", Mutation::AssignEarly);
    assert!(REAL_HARM.contains(&failure.invariant), "{failure}");
}

#[test]
fn a_skipped_renewal_is_noticed() {
    let failure = noticed_in("blobs", Mutation::SkipRenewal);
    let blobs = ["blobs_kept", "bodies_resolve", "check_is_clean"];
    assert!(blobs.contains(&failure.invariant), "{failure}");
}

#[test]
fn a_forbidden_expunge_is_noticed() {
    let failure = noticed_in("calm", Mutation::ForbiddenExpunge);
    assert_eq!(failure.invariant, "told_one_story");
}

#[test]
fn a_release_of_a_blob_that_others_refer_to_is_noticed() {
    let failure = noticed_in("blobs", Mutation::ReleaseShared);
    let blobs = ["blobs_kept", "bodies_resolve", "check_is_clean"];
    assert!(blobs.contains(&failure.invariant), "{failure}");
}

#[test]
fn blobs_that_are_left_to_the_sweep_are_noticed() {
    let failure = noticed_in("churn", Mutation::KeepOwn);
    assert_eq!(failure.invariant, "space_comes_back", "{failure}");
}

#[test]
fn an_append_that_is_done_twice_is_noticed() {
    let failure = noticed_in("three-storm", Mutation::ForgetAppend);
    assert_eq!(failure.invariant, "at_most_once", "{failure}");
}

#[test]
fn a_gap_in_the_event_log_that_is_hidden_is_noticed() {
    let failure = noticed_in("storm", Mutation::HideGap);
    assert_eq!(failure.invariant, "events_seen", "{failure}");
}

#[test]
fn mail_that_expires_early_is_noticed() {
    let failure = noticed_in("storm", Mutation::ForgetSaved);
    assert!(REAL_HARM.contains(&failure.invariant), "{failure}");
}

#[test]
fn a_lost_wake_up_of_an_extension_is_noticed() {
    let failure = noticed_in("calm", Mutation::LoseWake);
    assert_eq!(failure.invariant, "events_fed", "{failure}");
}

#[test]
fn an_answer_before_the_decision_is_noticed() {
    let failure = noticed_in("decided", Mutation::DecideEarly);
    assert_eq!(failure.invariant, "decided", "{failure}");
}

#[test]
fn a_refusal_by_one_that_counts_for_all_is_noticed() {
    let failure = noticed_in("decided", Mutation::RefuseForAll);
    assert_eq!(failure.invariant, "decided", "{failure}");
}

#[test]
fn a_batch_taken_before_it_was_dealt_with_is_noticed() {
    let failure = noticed_in("three-storm", Mutation::TakeEarly);
    assert_eq!(failure.invariant, "events_fed", "{failure}");
}
