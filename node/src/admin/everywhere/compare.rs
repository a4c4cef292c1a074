//! What does not fit between nodes: partitions that nobody leads, or that too few hold; and copies that have applied the same
//! groups and hold something else.

use super::{Node, ask};
use crate::admin::{api, report};
use crate::control::HoldersReport;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Looks at copies that differ in position before they count as moving. Our choice.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// The copies of one partition by node.
type Copies = BTreeMap<String, api::Copy>;

/// Compares what this node and `others` hold, and adds to the report what is wrong.
pub async fn copies(control: &Node, others: &[String], report: &mut api::CheckReport) {
    match control.holders().await {
        Ok(holders) => groups(&holders, report),
        Err(error) => report.findings.push(finding(
            "the cluster map".to_owned(),
            error.to_string(),
            "a majority of the voters must be up: see `hikyaku status`",
        )),
    }
    let mut open: BTreeMap<u32, Copies> = BTreeMap::new();
    let mut wanted: Vec<u16> = Vec::new();
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        open = survey(control, others, (&wanted, &mut *report)).await;
        open.retain(|partition, copies| !settle(*partition, copies, report));
        wanted = open.keys().filter_map(|&partition| u16::try_from(partition).ok()).collect();
        if wanted.is_empty() {
            return;
        }
    }
    report.copies_moving += open.values().map(|copies| copies.len() as u64).sum::<u64>();
}

fn finding(thing: String, reason: String, next_step: &str) -> api::Finding {
    api::Finding { thing, reason, next_step: next_step.to_owned() }
}

/// What the map says is wrong.
fn groups(holders: &HoldersReport, report: &mut api::CheckReport) {
    let some = |wrong: &dyn Fn(usize) -> bool| -> Vec<String> {
        (0..holders.groups.len()).filter(|&at| wrong(at)).map(|at| at.to_string()).collect()
    };
    let leaderless = some(&|at| holders.groups[at].primary.is_none());
    let few = some(&|at| {
        let group = &holders.groups[at];
        group.primary.is_some() && group.in_sync.len() < usize::from(holders.min_in_sync)
    });
    let next_step = "start the nodes that hold them: see `hikyaku status`";
    for (partitions, reason) in [
        (leaderless, "nobody leads them"),
        (few, "too few nodes hold them: nothing is acknowledged"),
    ] {
        if !partitions.is_empty() {
            let thing = format!("partitions {}", partitions.join(", "));
            report.findings.push(finding(thing, reason.to_owned(), next_step));
        }
    }
}

/// The copies of all nodes, by partition. Who does not answer any more is a finding.
async fn survey(
    control: &Node,
    others: &[String],
    (wanted, report): (&[u16], &mut api::CheckReport),
) -> BTreeMap<u32, Copies> {
    let request =
        api::SurveyRequest { partitions: wanted.iter().copied().map(u32::from).collect() };
    let own = control.survey(wanted.to_vec());
    let call = |_, mut peer: super::Peer| {
        let request = request.clone();
        async move { Ok(peer.survey(request).await?.into_inner()) }
    };
    let (own, said) = tokio::join!(own, ask(control, others, call));
    let own = own.map(report::survey).map_err(|error| super::status_of(&error));
    let said = std::iter::once((control.node_name(), own)).chain(said);
    let mut found: BTreeMap<u32, Copies> = BTreeMap::new();
    let mut silent = BTreeSet::new();
    for (node, reply) in said {
        match reply {
            Ok(reply) => {
                for copy in reply.copies {
                    found.entry(copy.partition).or_default().insert(node.clone(), copy);
                }
            }
            Err(status) => {
                silent.insert((node, status.message().to_owned()));
            }
        }
    }
    for (node, why) in silent {
        let thing = format!("node {node}: what it holds");
        if !report.findings.iter().any(|it| it.thing == thing) {
            report.findings.push(finding(thing, why, "look at its log, and check again"));
        }
    }
    found
}

/// Compares the copies of a partition. False: they are not at the same position; look again.
fn settle(partition: u32, copies: &Copies, report: &mut api::CheckReport) -> bool {
    let mut rest = copies.iter();
    let Some((first, one)) = rest.next() else { return true };
    let place = |copy: &api::Copy| (copy.number, copy.hash);
    let comparable = |copy: &api::Copy| place(copy) == place(one) && copy.bodies.is_some();
    if !copies.values().all(comparable) {
        return false;
    }
    for (node, copy) in rest {
        if (copy.meta, copy.bodies) != (one.meta, one.bodies) {
            let what =
                if copy.meta == one.meta { "other bodies than" } else { "something else than" };
            report.findings.push(finding(
                format!("partition {partition} on node {node}"),
                format!("holds {what} node {first}, though both have applied the same {} groups", one.number),
                "find out which is right (`hikyaku check` names what is damaged in it); then stop the other node, empty \
                 its data directory and start it: it is filled anew",
            ));
        }
    }
    report.copies_compared += copies.len() as u64;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(list: &[(&str, u64, u64, Option<u64>)]) -> Copies {
        let copy = |&(node, number, meta, bodies): &(&str, u64, u64, Option<u64>)| {
            let copy = api::Copy { partition: 7, number, hash: 1, meta, bodies };
            (node.to_owned(), copy)
        };
        list.iter().map(copy).collect()
    }

    #[test]
    fn copies_at_one_position_are_compared_and_others_are_looked_at_again() {
        let mut report = api::CheckReport::default();
        let same = copies(&[("a", 5, 10, Some(20)), ("b", 5, 10, Some(20))]);
        assert!(settle(7, &same, &mut report) && report.findings.is_empty());
        assert_eq!(report.copies_compared, 2);
        for moving in [
            copies(&[("a", 5, 10, Some(20)), ("b", 6, 11, Some(21))]),
            copies(&[("a", 5, 10, None), ("b", 5, 10, Some(21))]),
        ] {
            assert!(!settle(7, &moving, &mut report) && report.findings.is_empty());
        }
        let other =
            copies(&[("a", 5, 10, Some(20)), ("b", 5, 10, Some(21)), ("c", 5, 9, Some(20))]);
        assert!(settle(7, &other, &mut report));
        let things: Vec<&str> = report.findings.iter().map(|it| &*it.thing).collect();
        assert_eq!(things, ["partition 7 on node b", "partition 7 on node c"]);
        assert!(report.findings[0].reason.contains("other bodies"));
    }
}
