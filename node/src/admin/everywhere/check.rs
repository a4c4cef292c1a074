//! A check of the whole cluster: every node verifies its own brick; then what they hold is compared.

use super::{Node, Peer, Said, answer, ask, compare, shares};
use crate::admin::own_session::status_of;
use crate::admin::{api, report};
use crate::control::Progress;
use tonic::Status;

/// Checks this node, and all others unless `this_node_only`.
pub async fn check(
    control: &Node,
    this_node_only: bool,
    progress: Progress,
) -> Result<api::CheckReport, Status> {
    let others = if this_node_only { Vec::new() } else { control.others() };
    if others.is_empty() {
        let checked = control.check(progress).await.map_err(|error| status_of(&error))?;
        return Ok(report::check(checked));
    }
    let progress = shares(&progress, others.len() + 1);
    let at = |node: &str| others.iter().position(|other| other == node).map_or(0, |at| at + 1);
    let own = async {
        let own = control.check(progress[0].clone()).await;
        own.map(report::check).map_err(|error| status_of(&error))
    };
    let call = |node: String, peer| check_peer(peer, progress[at(&node)].clone());
    let (own, said) = tokio::join!(own, ask(control, &others, call));
    let said: Said<_> = std::iter::once((control.node_name(), own)).chain(said).collect();
    let mut report = summed(&said);
    let present = said.iter().filter(|(_, said)| said.is_ok()).map(|(node, _)| node.clone());
    compare::copies(control, &present.skip(1).collect::<Vec<_>>(), &mut report).await;
    Ok(report)
}

async fn check_peer(mut peer: Peer, progress: Progress) -> Result<api::CheckReport, Status> {
    use api::check_reply::Step;
    let request = api::CheckRequest { this_node_only: true };
    let mut replies = peer.check(request).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        match reply.step {
            Some(Step::Progress(step)) => progress(step.done, step.total),
            Some(Step::Report(report)) => return Ok(report),
            None => {}
        }
    }
    Err(Status::unavailable("it ended the check without a report"))
}

/// What was said together. Findings say of which node they are.
fn summed(said: &Said<api::CheckReport>) -> api::CheckReport {
    let mut sum = api::CheckReport::default();
    for one in said {
        let answer = Some(answer(one));
        let (node, report) = (&one.0, one.1.as_ref());
        match report {
            Ok(report) => {
                sum.entries += report.entries;
                sum.bytes += report.bytes;
                sum.users = sum.users.max(report.users);
                sum.messages += report.messages;
                sum.blobs += report.blobs;
                let named = |it: &api::Finding| api::Finding {
                    thing: format!("node {node}: {}", it.thing),
                    ..it.clone()
                };
                sum.findings.extend(report.findings.iter().map(named));
            }
            Err(status) => sum.findings.push(api::Finding {
                thing: format!("node {node}"),
                reason: format!("did not answer: {}", status.message()),
                next_step: format!(
                    "look at its log and start it; when its host is gone for good, \
                     `hikyaku node remove {node}` once `hikyaku status` shows enough copies without it"
                ),
            }),
        }
        let report = report.cloned().unwrap_or_default();
        sum.nodes.push(api::NodeCheck {
            answer,
            entries: report.entries,
            bytes: report.bytes,
            users: report.users,
            messages: report.messages,
            blobs: report.blobs,
            findings: report.findings.len() as u64,
        });
    }
    sum
}
