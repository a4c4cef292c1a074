//! `node` and `move`: who is of the cluster, and where mailboxes are.

use super::args::{Cli, MoveArgs, NodeCommand};
use super::client::{connect, told};
use super::{operate, output};
use crate::admin::api;
use anyhow::bail;
use std::process::ExitCode;
use tokio_stream::StreamExt;
use tonic::{Response, Streaming};

pub async fn node(cli: &Cli, command: &NodeCommand) -> anyhow::Result<ExitCode> {
    let request = |name: &String| api::NodeRequest { node: name.clone() };
    let mut client = connect(cli).await?;
    match command {
        NodeCommand::Join(args) => {
            let replies = client.node_join(request(&args.name)).await;
            follow(replies.map_err(|status| told(&status))?, "filling").await?;
            done(cli, &format!("{} holds its share\n", args.name))
        }
        NodeCommand::Drain(args) => {
            let replies = client.node_drain(request(&args.name)).await;
            follow(replies.map_err(|status| told(&status))?, "draining").await?;
            done(cli, &format!("{} holds nothing\n", args.name))
        }
        // It needs no running node.
        NodeCommand::UnsafeRecover(args) => super::offline::unsafe_recover(cli, args),
        NodeCommand::Remove(args) => {
            let reply = client.node_remove(request(&args.name)).await;
            reply.map_err(|status| told(&status))?;
            done(
                cli,
                &format!(
                    "{} is removed: take it out of the files when it was the last\n",
                    args.name
                ),
            )
        }
    }
}

fn done(cli: &Cli, text: &str) -> anyhow::Result<ExitCode> {
    if cli.json {
        output::json(&serde_json::json!({ "done": true }))?;
    } else {
        output::text(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows how far the change is, until it is done.
async fn follow(
    replies: Response<Streaming<api::NodeReply>>,
    what: &'static str,
) -> anyhow::Result<()> {
    let mut replies = replies.into_inner();
    let bar = operate::progress_bar(what)?;
    let mut said = String::new();
    let mut last = None;
    while let Some(reply) = replies.next().await {
        let reply = reply.map_err(|status| told(&status))?;
        bar.set_length(reply.total);
        bar.set_position(reply.done);
        if !reply.waits_for.is_empty() && reply.waits_for != said {
            bar.suspend(|| eprintln!("waiting for {}", reply.waits_for));
            said.clone_from(&reply.waits_for);
        }
        last = Some((reply.done, reply.total));
    }
    bar.finish_and_clear();
    match last {
        Some((done, total)) if done >= total => Ok(()),
        Some(_) | None => {
            bail!("the node that was asked has stopped: look at `hikyaku status` of another")
        }
    }
}

pub async fn r#move(cli: &Cli, args: &MoveArgs) -> anyhow::Result<ExitCode> {
    let node = args.to.clone().unwrap_or_default();
    let request = api::MoveRequest { address: args.address.clone(), node };
    let reply = connect(cli).await?.r#move(request).await;
    let reply = reply.map_err(|status| told(&status))?.into_inner();
    if cli.json {
        output::json(&reply)?;
    } else if reply.to.is_empty() {
        output::text(&format!(
            "{}, partition {}: at {}; from now on placement decides\n",
            reply.account, reply.partition, reply.from
        ))?;
    } else {
        output::text(&format!(
            "{}, partition {}: from {} to {} in {} ms\n",
            reply.account, reply.partition, reply.from, reply.to, reply.elapsed_ms
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
