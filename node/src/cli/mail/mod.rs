//! `import` and `export`: mail in files to and from a running node.

mod folder_dir;
mod maildir;
mod mbox;
mod source;
mod write;

use super::args::{Cli, ExportArgs, ImportArgs};
use super::client::{connect, told};
use super::{operate, output};
use crate::admin::api;
use anyhow::bail;
use source::{Found, find};
use std::process::ExitCode;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of a message in one step of the stream.
const PIECE_BYTES: usize = 256 * 1024;
/// Steps on their way to the node.
const STEPS_AHEAD: usize = 16;

/// What became of an import.
#[derive(Default, serde::Serialize)]
struct Imported {
    stored: u64,
    already_there: u64,
    refused: Vec<Refused>,
}

#[derive(serde::Serialize)]
struct Refused {
    message: String,
    reason: String,
}

pub async fn import(cli: &Cli, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let mut found = Vec::new();
    for path in &args.paths {
        find(path, args.folder.as_deref(), &mut found)?;
    }
    let mut client = connect(cli).await?;
    let bar = operate::progress_bar("importing")?;
    bar.set_length(found.len() as u64);
    let names: Vec<String> = found.iter().map(Found::name).collect();
    let (to, from) = mpsc::channel(STEPS_AHEAD);
    let account = args.account.clone();
    let sender = tokio::task::spawn_blocking(move || send(account, found, &to));
    let replies = client.import(ReceiverStream::new(from)).await;
    let mut replies = replies.map_err(|status| told(&status))?.into_inner();
    let mut imported = Imported::default();
    let mut names = names.into_iter();
    while let Some(reply) = replies.next().await {
        use api::import_reply::Outcome;
        let reply = reply.map_err(|status| told(&status))?;
        let message = names.next().unwrap_or_default();
        match reply.outcome {
            Some(Outcome::StoredUid(_)) => imported.stored += 1,
            Some(Outcome::AlreadyThere(_)) => imported.already_there += 1,
            Some(Outcome::Refused(reason)) => imported.refused.push(Refused { message, reason }),
            None => bail!("the node's answer is empty; is it of another version?"),
        }
        bar.inc(1);
    }
    sender.await??;
    if names.next().is_some() {
        bail!("the node ended the import early; run it again: nothing is added twice");
    }
    bar.finish_and_clear();
    if cli.json {
        output::json(&imported)?;
    } else {
        for it in &imported.refused {
            eprintln!("{}: {}", it.message, it.reason);
        }
        output::text(&format!(
            "{} messages imported, {} were there already, {} refused\n",
            imported.stored,
            imported.already_there,
            imported.refused.len()
        ))?;
    }
    Ok(if imported.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Steps = mpsc::Sender<api::ImportRequest>;

/// Reads everything and sends it, on a thread that may block. Ends early, without an error, when the node ended the stream:
/// its answers say why.
fn send(account: String, found: Vec<Found>, to: &Steps) -> anyhow::Result<()> {
    use api::import_request::Step;
    let step = |step: Step| to.blocking_send(api::ImportRequest { step: Some(step) }).is_ok();
    if !step(Step::Open(api::ImportOpen { account })) {
        return Ok(());
    }
    for message in found {
        let bytes = message.read()?;
        let header = api::MessageHeader { bytes: bytes.len() as u64, ..message.into_header() };
        let sent = step(Step::Message(header))
            && bytes.chunks(PIECE_BYTES).all(|piece| step(Step::Data(piece.to_vec())));
        if !sent {
            return Ok(());
        }
    }
    Ok(())
}

pub async fn export(cli: &Cli, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    use api::export_reply::Step;
    let mut client = connect(cli).await?;
    let request = api::ExportRequest { account: args.account.clone() };
    let replies = client.export(request).await;
    let mut replies = replies.map_err(|status| told(&status))?.into_inner();
    let mut writer = write::MaildirWriter::create(&args.dir)?;
    let bar = operate::progress_bar("exporting")?;
    while let Some(reply) = replies.next().await {
        match reply.map_err(|status| told(&status))?.step {
            Some(Step::Folder(folder)) => {
                bar.inc_length(folder.messages);
                writer.folder(&folder.name)?;
            }
            Some(Step::Message(header)) => writer.begin(header)?,
            Some(Step::Data(data)) => {
                writer.data(&data)?;
            }
            None => {}
        }
        bar.set_position(writer.messages());
    }
    let (folders, messages) = writer.finish()?;
    bar.finish_and_clear();
    if cli.json {
        output::json(&serde_json::json!({"folders": folders, "messages": messages}))?;
    } else {
        let dir = args.dir.display();
        output::text(&format!("{messages} messages in {folders} folders written to {dir}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
