//! `stages` and `partitions`: what a node did lately, and who holds what.

use super::args::{Cli, PartitionsArgs, StagesArgs};
use super::client::{connect, told};
use super::output;
use crate::admin::api;
use std::process::ExitCode;

pub async fn stages(cli: &Cli, args: &StagesArgs) -> anyhow::Result<ExitCode> {
    let request = api::StageHistoryRequest { of: args.of.clone().unwrap_or_default() };
    let reply = connect(cli).await?.stage_history(request).await;
    let reply = reply.map_err(|status| told(&status))?.into_inner();
    if cli.json {
        output::json(&reply)?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = [
        "STAGE",
        "DEPTH NOW/MOST",
        "DONE/s MEAN/MOST",
        "WAIT us MEAN/MOST",
        "WORK us MEAN/MOST",
        "BATCH",
        "REFUSED",
    ];
    output::table(&header, &reply.stages.iter().map(row).collect::<Vec<_>>())?;
    let seconds: u64 = reply.stages.first().map_or(0, |it| sum(it, |it| it.elapsed_ms)) / 1000;
    output::text(&format!("node {}, the last {seconds} s\n", reply.node))?;
    Ok(ExitCode::SUCCESS)
}

fn sum(series: &api::StageSeries, of: impl Fn(&api::StagePoint) -> u64) -> u64 {
    series.points.iter().map(of).sum()
}

fn row(series: &api::StageSeries) -> Vec<String> {
    let most = |of: &dyn Fn(&api::StagePoint) -> u64| series.points.iter().map(of).max();
    let pair = |mean: u64, most: Option<u64>| format!("{mean}/{}", most.unwrap_or(0));
    let rate = |it: &api::StagePoint| per_second(it.processed, it.elapsed_ms);
    let (done, batches) = (sum(series, |it| it.processed), sum(series, |it| it.batches));
    // Each mean counts as often as what it is of.
    let weighted = |of: &dyn Fn(&api::StagePoint) -> (u64, u64)| {
        let sums = series.points.iter().map(of).fold((0_u64, 0_u64), |sums, (mean, count)| {
            (sums.0.saturating_add(mean.saturating_mul(count)), sums.1 + count)
        });
        sums.0.checked_div(sums.1).unwrap_or(0)
    };
    let tenths = done.saturating_mul(10).checked_div(batches).unwrap_or(0);
    vec![
        series.name.clone(),
        pair(series.points.last().map_or(0, |it| it.depth), most(&|it| it.depth)),
        pair(per_second(done, sum(series, |it| it.elapsed_ms)), most(&rate)),
        pair(weighted(&|it| (it.wait_us, it.processed)), most(&|it| it.wait_us)),
        pair(weighted(&|it| (it.service_us, it.batches)), most(&|it| it.service_us)),
        format!("{}.{}", tenths / 10, tenths % 10),
        sum(series, |it| it.refusals).to_string(),
    ]
}

fn per_second(count: u64, elapsed_ms: u64) -> u64 {
    count.saturating_mul(1000).checked_div(elapsed_ms).unwrap_or(0)
}

pub async fn partitions(cli: &Cli, args: &PartitionsArgs) -> anyhow::Result<ExitCode> {
    let state = args.state.clone().unwrap_or_default();
    let request = api::PartitionListRequest { state, offset: 0, limit: 0 };
    let reply = connect(cli).await?.partition_list(request).await;
    let partitions = reply.map_err(|status| told(&status))?.into_inner().partitions;
    if cli.json {
        output::json(&partitions)?;
        return Ok(ExitCode::SUCCESS);
    }
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |it: &api::Partition| {
        vec![
            it.partition.to_string(),
            it.state.clone(),
            or_none(it.primary.clone()),
            or_none(it.in_sync.join(",")),
            or_none(it.learners.join(",")),
            it.version.to_string(),
            or_none(it.placed.clone()),
        ]
    };
    let header = ["PARTITION", "STATE", "LEADS", "IN SYNC", "FILLING", "VERSION", "PLACED"];
    output::table(&header, &partitions.iter().map(row).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}
