//! `session`, `status`, `where`, `check` and `backup`: looking at a running node, and copying it.

use super::args::{
    BackupArgs, CheckArgs, Cli, KickArgs, SessionCommand, SessionListArgs, StatusArgs, WhereArgs,
};
use super::client::{connect, told};
use super::output;
use crate::admin::api;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::time::Duration;
use tokio_stream::StreamExt;

pub async fn session(cli: &Cli, command: &SessionCommand) -> anyhow::Result<ExitCode> {
    match command {
        SessionCommand::List(args) => list(cli, args).await,
        SessionCommand::Kick(args) => kick(cli, args).await,
    }
}

/// Names the nodes that did not answer, on standard error; whether all did.
pub fn all_answered(answers: &[api::Answer]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for answer in answers {
        if let Some(why) = &answer.silent {
            eprintln!("hikyaku: node {} did not answer: {why}", answer.node);
            code = ExitCode::FAILURE;
        }
    }
    code
}

async fn list(cli: &Cli, args: &SessionListArgs) -> anyhow::Result<ExitCode> {
    let account = args.account.clone();
    let request = api::SessionListRequest { this_node_only: args.here.this_node, account };
    let reply = connect(cli).await?.session_list(request).await;
    let reply = reply.map_err(|status| told(&status))?.into_inner();
    let (sessions, code) = (reply.sessions, all_answered(&reply.answers));
    if cli.json {
        output::json(&sessions)?;
        return Ok(code);
    }
    let row = |it: &api::Session| {
        // What browsers send and get is not counted.
        let is_browser = it.protocol == "http";
        let bytes = |n| if is_browser { "-".to_owned() } else { output::size(n) };
        vec![
            it.session.to_string(),
            it.node.clone(),
            it.protocol.clone(),
            it.ip.clone(),
            it.account.clone().unwrap_or_else(|| "-".to_owned()),
            it.tls.clone().unwrap_or_else(|| "plain".to_owned()),
            it.activity.clone(),
            duration(it.connected_seconds),
            duration(it.idle_seconds),
            bytes(it.bytes_in),
            bytes(it.bytes_out),
        ]
    };
    let header = [
        "SESSION",
        "NODE",
        "PROTOCOL",
        "FROM",
        "ACCOUNT",
        "TLS",
        "STATE",
        "CONNECTED",
        "IDLE",
        "IN",
        "OUT",
    ];
    output::table(&header, &sessions.iter().map(row).collect::<Vec<_>>())?;
    Ok(code)
}

async fn kick(cli: &Cli, args: &KickArgs) -> anyhow::Result<ExitCode> {
    use api::session_kick_request::Whom;
    let whom = match (args.session, &args.account, args.ip) {
        (Some(session), ..) => Whom::Session(session),
        (None, Some(account), _) => Whom::Account(account.clone()),
        (None, None, Some(ip)) => Whom::Ip(ip.to_string()),
        (None, None, None) => bail!("whom to kick is not said: see --help"),
    };
    let request = api::SessionKickRequest { whom: Some(whom), this_node_only: false };
    let reply = connect(cli).await?.session_kick(request).await;
    let reply = reply.map_err(|status| told(&status))?.into_inner();
    let code = all_answered(&reply.answers);
    if cli.json {
        output::json(&reply)?;
    } else {
        output::text(&format!("{} sessions ended\n", reply.ended))?;
        if args.account.is_some() && reply.answers.iter().any(|it| it.silent.is_some()) {
            output::text(
                "on nodes that did not answer they go on, and end when the node is reached\n",
            )?;
        }
    }
    Ok(code)
}

pub fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) if hours < 48 => format!("{hours}h{minutes:02}m"),
        (hours, ..) => format!("{}d{}h", hours / 24, hours % 24),
    }
}

pub async fn status(cli: &Cli, args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let of = args.of.clone().unwrap_or_default();
    let request = api::StatusRequest { this_node_only: args.here.this_node, of };
    let reply = connect(cli).await?.status(request).await;
    let status = reply.map_err(|status| told(&status))?.into_inner();
    if cli.json {
        output::json(&status)?;
    } else {
        show_status(&status)?;
    }
    // Trouble is a failure, so that scripts notice.
    Ok(if is_well(&status) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn extension(it: &api::ExtensionState) -> Vec<String> {
    let state = match (it.inside, it.connected, it.asked_at.as_str()) {
        (true, true, _) => "runs".to_owned(),
        (true, false, _) => "restarts".to_owned(),
        (false, true, _) => "connected".to_owned(),
        (false, false, "") => "not connected".to_owned(),
        (false, false, node) => format!("asked at {node}"),
    };
    let missed = it.missed_away + it.missed_late + it.missed_busy;
    let counts = [it.given, it.taken, it.resets, it.decided, missed, it.ended];
    let counts = counts.map(|count| count.to_string());
    let head = [it.name.clone(), it.node.clone(), state];
    let head = [&head[..], &[it.mailboxes.to_string(), it.behind.to_string()]].concat();
    [head, vec![duration(it.behind_seconds)], counts.to_vec()].concat()
}

fn is_well(status: &api::StatusReply) -> bool {
    let store = status.store.clone().unwrap_or_default();
    let partitions = status.partitions.unwrap_or_default();
    let others = status.sums.as_ref().is_none_or(|sums| sums.errors.is_empty());
    status.state != "failed"
        && store.errors.is_empty()
        && others
        && partitions.unavailable == 0
        && super::scrub::is_well(status.scrub.as_ref())
}

fn copies_and_index(status: &api::StatusReply) -> String {
    let scrub = super::scrub::status_text(status.scrub.as_ref());
    scrub + &super::index::status_text(status.index.as_ref())
}

fn show_status(status: &api::StatusReply) -> anyhow::Result<()> {
    let store = status.store.clone().unwrap_or_default();
    let partitions = status.partitions.unwrap_or_default();
    let mut text = format!(
        "{} of cluster {}: {}, version {}, up {}, pid {}\ndata {}: {} used, {} free, space {}\n",
        status.node,
        status.cluster,
        status.state,
        status.version,
        duration(status.uptime_seconds),
        status.pid,
        status.data,
        output::size(store.disk_bytes_used),
        output::size(store.disk_bytes_free),
        store.space,
    );
    if !status.sync {
        text.push_str("WARNING: store.sync is false: nothing that is acknowledged is safe\n");
    }
    text.push_str(&format!(
        "{} partitions: {} awake, {} under-replicated, {} unavailable\n\
         {} accounts, {} loaded, {} sessions, {} deliveries pending\n\
         {} groups in {} batches, {} syncs, {} written\n",
        partitions.count,
        partitions.awake,
        partitions.under_replicated,
        partitions.unavailable,
        status.accounts,
        status.users_loaded,
        status.sessions,
        status.deliveries_pending,
        store.groups,
        store.batches,
        store.syncs,
        output::size(store.bytes_written),
    ));
    for error in &store.errors {
        text.push_str(&format!("ERROR: {error}\n"));
    }
    text.push_str(&copies_and_index(status));
    text.push('\n');
    output::text(&text)?;
    if status.nodes.len() > 1 {
        show_cluster(status)?;
    }
    let listener = |it: &api::Listener| {
        let counts = [it.connections, it.accepted, it.refused].map(|count| count.to_string());
        [vec![it.name.clone(), it.address.clone()], counts.to_vec()].concat()
    };
    let rows: Vec<_> = status.listeners.iter().map(listener).collect();
    output::table(&["LISTENER", "ADDRESS", "OPEN", "ACCEPTED", "REFUSED"], &rows)?;
    output::text("\n")?;
    show_work(status)
}

/// Extensions, stages, and what is let in.
fn show_work(status: &api::StatusReply) -> anyhow::Result<()> {
    let extensions = status.sums.as_ref().map_or(&status.extensions, |sums| &sums.extensions);
    if !extensions.is_empty() {
        let header = [
            "EXTENSION",
            "NODE",
            "STATE",
            "MAILBOXES",
            "BEHIND",
            "FOR",
            "GIVEN",
            "TAKEN",
            "RESETS",
            "DECIDED",
            "MISSED",
            "ENDED",
        ];
        output::table(&header, &extensions.iter().map(extension).collect::<Vec<_>>())?;
        output::text("\n")?;
    }
    let header = [
        "STAGE",
        "DEPTH",
        "MAX",
        "WAIT P50/P99 us",
        "WORK P50/P99 us",
        "DONE",
        "BATCH",
        "WAKES",
        "HOPS",
        "REFUSED",
    ];
    output::table(&header, &status.stages.iter().map(stage).collect::<Vec<_>>())?;
    output::text("\n")?;
    let header = ["ADMISSION", "UNDER WAY", "ALLOWED", "WAITING", "MAX", "HELD", "REFUSED"];
    Ok(output::table(&header, &status.admission.iter().map(admission).collect::<Vec<_>>())?)
}

fn show_cluster(status: &api::StatusReply) -> anyhow::Result<()> {
    let cluster = status.cluster_state.unwrap_or_default();
    let min = match (cluster.min_in_sync, cluster.min_in_sync_wanted) {
        (now, wanted) if now == wanted => now.to_string(),
        (now, wanted) => format!("{now} (to be {wanted})"),
    };
    output::text(&format!(
        "{} replicas, {min} in sync before anything is acknowledged; {} moves under way, {} partitions placed by \
         `move`; map {}\n",
        cluster.replicas, cluster.moves, cluster.placed, cluster.map_index
    ))?;
    output::text(&format!(
        "partitions: {} whole, {} with fewer copies, {} with too few to acknowledge, {} without a primary\n\
         copies: {} of {} in sync, {} being filled\n",
        cluster.whole,
        cluster.few,
        cluster.too_few,
        cluster.leaderless,
        cluster.copies_in_sync,
        cluster.copies_wanted,
        cluster.filling
    ))?;
    if let Some(sums) = &status.sums {
        let silent = sums.answers.iter().filter(|it| it.silent.is_some()).count();
        output::text(&format!(
            "all nodes that answer ({} of {}): {} sessions, {} accounts, {} loaded, {} deliveries pending, {} used\n",
            sums.answers.len() - silent,
            sums.answers.len(),
            sums.sessions,
            sums.accounts,
            sums.users_loaded,
            sums.deliveries_pending,
            output::size(sums.disk_bytes_used)
        ))?;
        for error in &sums.errors {
            output::text(&format!("ERROR: {error}\n"))?;
        }
    }
    output::text("\n")?;
    let node = |it: &api::Node| {
        let role = match (it.leader, it.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "-",
        };
        let mut state = it.state.clone();
        state.push_str(if it.draining { ", draining" } else { "" });
        state.push_str(if it.exhausted { ", no space" } else { "" });
        let counts = [it.primaries, it.in_sync, it.learning].map(|count| count.to_string());
        let named = [it.name.clone(), it.address.clone(), state, role.to_owned()];
        let told = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
        let users = [it.users, it.users_loaded, it.sessions, it.load].map(told);
        [named.to_vec(), counts.to_vec(), users.to_vec(), vec![it.session.to_string()]].concat()
    };
    let header = [
        "NODE", "ADDRESS", "STATE", "CONTROL", "LEADS", "IN SYNC", "FILLING", "USERS", "LOADED",
        "SESSIONS", "LOAD", "START",
    ];
    output::table(&header, &status.nodes.iter().map(node).collect::<Vec<_>>())?;
    output::text("\n")?;
    if status.moves.is_empty() {
        return Ok(());
    }
    let header = ["PARTITION", "LED BY", "NODE", "STEP", "COPIED", "ORDERED"];
    output::table(&header, &status.moves.iter().map(move_under_way).collect::<Vec<_>>())?;
    Ok(output::text("\n")?)
}

fn move_under_way(it: &api::MoveUnderWay) -> Vec<String> {
    vec![
        it.partition.to_string(),
        if it.primary.is_empty() { "(none)".to_owned() } else { it.primary.clone() },
        it.node.clone(),
        it.step.clone(),
        output::size(it.copied_bytes),
        if it.ordered { "by move" } else { "-" }.to_owned(),
    ]
}

fn admission(it: &api::Admission) -> Vec<String> {
    vec![
        it.name.clone(),
        output::size(it.taken_bytes),
        output::size(it.allowed_bytes),
        it.waiting.to_string(),
        it.waiting_max.to_string(),
        it.held.to_string(),
        it.refused.to_string(),
    ]
}

fn stage(it: &api::Stage) -> Vec<String> {
    let quantiles = |latency: Option<api::Latency>| {
        let latency = latency.unwrap_or_default();
        format!("{}/{}", latency.p50_us, latency.p99_us)
    };
    let batch = it.processed.saturating_mul(10).checked_div(it.batches).unwrap_or(0);
    vec![
        it.name.clone(),
        it.depth.to_string(),
        // Lanes of completions have no bound of their own.
        if it.depth_max == 0 { "-".to_owned() } else { it.depth_max.to_string() },
        quantiles(it.wait),
        quantiles(it.service),
        it.processed.to_string(),
        format!("{}.{}", batch / 10, batch % 10),
        it.wakes.to_string(),
        it.hops.to_string(),
        it.refusals.to_string(),
    ]
}

pub async fn r#where(cli: &Cli, args: &WhereArgs) -> anyhow::Result<ExitCode> {
    let request = api::WhereRequest { address: args.address.clone() };
    let reply = connect(cli).await?.r#where(request).await;
    let locations = reply.map_err(|status| told(&status))?.into_inner().locations;
    if cli.json {
        output::json(&locations)?;
    } else {
        let row = |it: &api::Location| {
            vec![
                it.account.clone(),
                it.node.clone(),
                it.in_sync.join(","),
                it.partition.to_string(),
                it.worker.to_string(),
                if it.loaded { "loaded" } else { "asleep" }.to_owned(),
                it.trouble.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        };
        let header = ["ACCOUNT", "NODE", "IN SYNC", "PARTITION", "WORKER", "MASTER", "TROUBLE"];
        output::table(&header, &locations.iter().map(row).collect::<Vec<_>>())?;
    }
    let is_well = locations.iter().all(|it| it.trouble.is_none());
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A bar that shows rate and time left; hidden when standard error is no terminal.
pub fn progress_bar(what: &'static str) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    let template = format!("{what} {{bar:32}} {{pos}}/{{len}}, {{per_sec}}, {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&template)?);
    bar.enable_steady_tick(Duration::from_millis(250));
    Ok(bar)
}

pub async fn check(cli: &Cli, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    use api::check_reply::Step;
    let request = api::CheckRequest { this_node_only: args.this_node };
    let reply = connect(cli).await?.check(request).await;
    let mut replies = reply.map_err(|status| told(&status))?.into_inner();
    let bar = progress_bar("checking")?;
    while let Some(reply) = replies.next().await {
        match reply.map_err(|status| told(&status))?.step {
            Some(Step::Progress(progress)) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
            Some(Step::Report(report)) => {
                bar.finish_and_clear();
                return show_check(cli, &report);
            }
            None => {}
        }
    }
    bail!("the node ended the check without a report; look at its log")
}

fn show_backup(cli: &Cli, report: &api::BackupReport) -> anyhow::Result<ExitCode> {
    if cli.json {
        output::json(report)?;
    } else {
        let size = output::size(report.bytes);
        let mut text = format!("{}: {} files, {size}\n", report.dir, report.files);
        for it in &report.nodes {
            let answer = it.answer.clone().unwrap_or_default();
            text.push_str(&match answer.silent {
                None => format!("node {}: {} on its host\n", answer.node, it.dir),
                Some(why) => format!("node {}: no part of it: {why}\n", answer.node),
            });
        }
        if !report.findings.is_empty() && report.nodes.is_empty() {
            text.push_str("complete, but what is damaged in the store is damaged in the copy; keep older backups:\n");
        }
        text.push_str(&findings_text(&report.findings));
        output::text(&text)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings_text(findings: &[api::Finding]) -> String {
    let line = |it: &api::Finding| format!("{}: {}; {}\n", it.thing, it.reason, it.next_step);
    findings.iter().map(line).collect()
}

pub fn show_check(cli: &Cli, report: &api::CheckReport) -> anyhow::Result<ExitCode> {
    let is_clean = report.findings.is_empty();
    if cli.json {
        output::json(report)?;
    } else {
        let mut text = format!(
            "{} entries, {}, {} users, {} messages, {} large bodies: {} findings\n",
            report.entries,
            output::size(report.bytes),
            report.users,
            report.messages,
            report.blobs,
            report.findings.len(),
        );
        for it in &report.nodes {
            let answer = it.answer.clone().unwrap_or_default();
            text.push_str(&match answer.silent {
                None => format!(
                    "node {}: {} entries, {}, {} messages: {} findings\n",
                    answer.node,
                    it.entries,
                    output::size(it.bytes),
                    it.messages,
                    it.findings
                ),
                Some(_) => format!("node {}: did not answer\n", answer.node),
            });
        }
        if !report.nodes.is_empty() {
            text.push_str(&format!(
                "{} copies of partitions compared, {} changed all the time\n",
                report.copies_compared, report.copies_moving
            ));
        }
        text.push_str(&findings_text(&report.findings));
        output::text(&text)?;
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub async fn backup(cli: &Cli, args: &BackupArgs) -> anyhow::Result<ExitCode> {
    use api::backup_reply::Step;
    let dir = std::path::absolute(&args.dir).context("the directory of the backup")?;
    let dir = dir.to_str().context("the path of the backup must be UTF-8")?.to_owned();
    let step = if args.this_node { api::BackupStep::Alone } else { api::BackupStep::All };
    let request = api::BackupRequest { dir, step: step.into(), manifest: String::new() };
    let reply = connect(cli).await?.backup(request).await;
    let mut replies = reply.map_err(|status| told(&status))?.into_inner();
    let bar = progress_bar("copying")?;
    while let Some(reply) = replies.next().await {
        match reply.map_err(|status| told(&status))?.step {
            Some(Step::Progress(progress)) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
            Some(Step::Report(report)) => {
                bar.finish_and_clear();
                return show_backup(cli, &report);
            }
            None => {}
        }
    }
    bail!("the node ended the backup without a report; look at its log, and remove the directory")
}
