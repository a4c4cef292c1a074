//! A backup of the whole cluster: every node copies its own brick, then each copy is completed with the manifest.

use super::{Node, Peer, Said, answer, ask, shares};
use crate::admin::own_session::status_of;
use crate::admin::{api, report};
use crate::control::{BackupStep, Progress};
use crate::manifest::Manifest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tonic::Status;

/// Does what is asked for: a step on this node, or the backup of the cluster.
pub async fn backup(
    control: &Node,
    request: api::BackupRequest,
    progress: Progress,
) -> Result<api::BackupReport, Status> {
    let all = request.step() == api::BackupStep::All && !control.others().is_empty();
    if all {
        of_cluster(control, Path::new(&request.dir), progress).await
    } else {
        step(control, request, progress).await
    }
}

/// A step on this node.
async fn step(
    control: &Node,
    request: api::BackupRequest,
    progress: Progress,
) -> Result<api::BackupReport, Status> {
    let dir = PathBuf::from(&request.dir);
    let step = match request.step() {
        api::BackupStep::Copy => BackupStep::Copy,
        api::BackupStep::Finish => BackupStep::Finish { manifest: request.manifest },
        api::BackupStep::All | api::BackupStep::Alone => BackupStep::Alone,
    };
    let done = control.backup(dir, step, progress).await.map_err(|error| status_of(&error))?;
    Ok(report::backup(done))
}

async fn of_cluster(
    control: &Node,
    dir: &Path,
    progress: Progress,
) -> Result<api::BackupReport, Status> {
    let before = control.holders().await.map_err(|error| status_of(&error))?;
    let others = control.others();
    let asked = [vec![control.node_name()], others].concat();
    let part = |node: &str| dir.join(node).to_string_lossy().into_owned();
    let copy = |node: &str| api::BackupRequest {
        dir: part(node),
        step: api::BackupStep::Copy.into(),
        manifest: String::new(),
    };
    let copied = each(control, &asked, (&copy, &progress)).await;
    let after = control.holders().await.map_err(|error| status_of(&error))?;
    let mut nodes = BTreeMap::new();
    for (name, said) in &copied {
        let number =
            before.nodes.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
        if let (Ok(said), Some(number)) = (said, number) {
            let incarnation = u64::from_str_radix(&said.incarnation, 16);
            let incarnation =
                incarnation.map_err(|_| Status::internal(format!("{name}: no incarnation")))?;
            nodes.insert(number, (name.clone(), incarnation));
        }
    }
    let backup = crate::serve::draw().map_err(|error| Status::internal(error.to_string()))?;
    let cluster = control.status().await.map_err(|error| status_of(&error))?.cluster;
    let manifest = Manifest::of((backup, cluster), nodes, (&before, &after));
    let text = manifest.encode();
    let finish = |node: &str| api::BackupRequest {
        dir: part(node),
        step: api::BackupStep::Finish.into(),
        manifest: text.clone(),
    };
    let parts: Vec<String> = manifest.nodes.values().map(|(name, _)| name.clone()).collect();
    let finished = each(control, &parts, (&finish, &progress)).await;
    Ok(summed((dir, &manifest), &copied, &finished))
}

/// Asks nodes, this one among them, for one step.
async fn each(
    control: &Node,
    nodes: &[String],
    (request, progress): (&(dyn Fn(&str) -> api::BackupRequest + Sync), &Progress),
) -> Said<api::BackupReport> {
    let progress = shares(progress, nodes.len());
    let at = |node: &str| nodes.iter().position(|other| other == node).unwrap_or(0);
    let me = control.node_name();
    let others: Vec<String> = nodes.iter().filter(|node| **node != me).cloned().collect();
    let own = async {
        if !nodes.contains(&me) {
            return None;
        }
        Some(step(control, request(&me), progress[at(&me)].clone()).await)
    };
    let call = |node: String, peer| ask_peer(peer, request(&node), progress[at(&node)].clone());
    let (own, said) = tokio::join!(own, ask(control, &others, call));
    own.map(|own| (me, own)).into_iter().chain(said).collect()
}

async fn ask_peer(
    mut peer: Peer,
    request: api::BackupRequest,
    progress: Progress,
) -> Result<api::BackupReport, Status> {
    use api::backup_reply::Step;
    let mut replies = peer.backup(request).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        match reply.step {
            Some(Step::Progress(step)) => progress(step.done, step.total),
            Some(Step::Report(report)) => return Ok(report),
            None => {}
        }
    }
    Err(Status::unavailable("it ended the backup without a report"))
}

/// What was done. A part that is missing is a finding when nothing makes up for it.
fn summed(
    (dir, manifest): (&Path, &Manifest),
    copied: &Said<api::BackupReport>,
    finished: &Said<api::BackupReport>,
) -> api::BackupReport {
    let mut sum = api::BackupReport { dir: dir.display().to_string(), ..Default::default() };
    let finding = |thing: String, reason: String| api::Finding {
        thing,
        reason,
        next_step: "this backup is not complete: remove it, and back up again".to_owned(),
    };
    for one in copied {
        let last = finished.iter().find(|(node, _)| *node == one.0).unwrap_or(one);
        let report = last.1.clone().unwrap_or_default();
        sum.files += report.files;
        sum.bytes += report.bytes;
        let named = |it: api::Finding| api::Finding {
            thing: format!("node {}: {}", one.0, it.thing),
            ..it
        };
        sum.findings.extend(report.findings.into_iter().map(named));
        if let (Ok(_), Err(status)) = (&one.1, &last.1) {
            // The manifest in the other parts counts on it.
            sum.findings.push(finding(format!("node {}", one.0), status.message().to_owned()));
        }
        let (answer, part) = (Some(answer(last)), dir.join(&one.0).display().to_string());
        sum.nodes.push(api::NodeBackup {
            answer,
            dir: part,
            files: report.files,
            bytes: report.bytes,
        });
    }
    let missing = manifest.missing();
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let reason = "none of the copies was in sync all the time, or the nodes that hold them did not answer";
        sum.findings.push(finding(format!("partitions {}", list.join(", ")), reason.to_owned()));
    }
    sum
}
