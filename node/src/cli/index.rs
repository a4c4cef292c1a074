//! `index`, and what `status` says of it.

use super::args::{Cli, IndexCommand};
use super::client::{connect, told};
use super::output;
use crate::admin::api;
use std::process::ExitCode;

pub async fn index(cli: &Cli, command: &IndexCommand) -> anyhow::Result<ExitCode> {
    let order = match command {
        IndexCommand::Status => api::IndexOrder::None,
        IndexCommand::Rebuild => api::IndexOrder::Rebuild,
        IndexCommand::Drop => api::IndexOrder::Drop,
    };
    let request = api::IndexRequest { order: order.into() };
    let reply = connect(cli).await?.index(request).await;
    let state = reply.map_err(|status| told(&status))?.into_inner();
    if cli.json {
        output::json(&state)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::text(match command {
        IndexCommand::Status => "",
        IndexCommand::Rebuild => "it is built anew; `hikyaku index status` tells how far it is\n",
        IndexCommand::Drop => "it is deleted; `hikyaku index rebuild` makes another\n",
    })?;
    output::text(&status_text(Some(&state)))?;
    Ok(ExitCode::SUCCESS)
}

/// In a few lines.
pub fn status_text(state: Option<&api::IndexState>) -> String {
    let Some(it) = state else { return String::new() };
    if it.off {
        return "no full-text index: it was dropped; `hikyaku index rebuild` makes one\n"
            .to_owned();
    }
    let mut text = format!(
        "full-text index: {} messages in {}, {} mailboxes with something to be indexed; of {} messages that searches \
         asked for {} were decided without reading\n",
        it.messages,
        output::size(it.disk_bytes),
        it.due,
        it.asked,
        it.decided,
    );
    if let Some(error) = &it.error {
        text.push_str(&format!(
            "the full-text index could not be written, and is tried again: {error}\n"
        ));
    }
    text
}
