//! `scrub`, and what `status` says of it.

use super::args::Cli;
use super::client::{connect, told};
use super::{operate, output};
use crate::admin::api;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub async fn scrub(cli: &Cli) -> anyhow::Result<ExitCode> {
    let bar = indicatif::ProgressBar::new_spinner().with_message("comparing all copies");
    bar.enable_steady_tick(Duration::from_millis(250));
    let reply = connect(cli).await?.scrub(api::ScrubRequest {}).await;
    bar.finish_and_clear();
    let reply = reply.map_err(|status| told(&status))?.into_inner();
    let round = reply.round.unwrap_or_default();
    if cli.json {
        output::json(&reply)?;
    } else {
        let mut text = format!("{}\n", round_text(&round));
        if round.repaired > 0 {
            text.push_str("wrong copies are being built anew: `hikyaku status` counts them as under-replicated\n");
        }
        if round.undecided > 0 {
            text.push_str("nobody can say who is right: the logs of the nodes name the places\n");
        }
        if round.unfinished > 0 {
            text.push_str("partitions lacked a copy, or changed meanwhile: scrub again when all copies are in sync\n");
        }
        for node in &reply.missed_nodes {
            text.push_str(&format!("node {node} was not there: scrub again when it is up\n"));
        }
        output::text(&text)?;
    }
    let clean = round.differences == 0 && round.unfinished == 0 && reply.missed_nodes.is_empty();
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The last round found nothing that is open still.
pub fn is_well(state: Option<&api::ScrubState>) -> bool {
    state.and_then(|state| state.last).is_none_or(|round| round.undecided == 0)
}

/// For `status`.
pub fn status_text(state: Option<&api::ScrubState>) -> String {
    let Some(state) = state else { return String::new() };
    let all = state.all.unwrap_or_default();
    let mut text = match &state.last {
        Some(round) => format!("last scrub {}: {}\n", ago(round.ended_ms), round_text(round)),
        None => format!("no scrub has ended since the start; so far {}\n", round_text(&all)),
    };
    for finding in &state.findings {
        text.push_str(&format!("SCRUB: {finding}\n"));
    }
    text
}

fn round_text(round: &api::ScrubRound) -> String {
    let api::ScrubRound { partitions, differences, repaired, undecided, unfinished, .. } = round;
    let mut text = format!(
        "{partitions} partitions, {}, {differences} differences, {repaired} repaired",
        output::size(round.bytes)
    );
    if *undecided > 0 {
        text.push_str(&format!(", {undecided} undecided"));
    }
    if *unfinished > 0 {
        text.push_str(&format!(", {unfinished} partitions not compared to their end"));
    }
    text
}

fn ago(ended_ms: i64) -> String {
    let ended = Duration::from_millis(u64::try_from(ended_ms).unwrap_or(0));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", operate::duration(since.saturating_sub(ended).as_secs()))
}
