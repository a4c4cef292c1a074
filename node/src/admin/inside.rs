//! What the node itself does with the means of operators: the demonstration domain is made like any other.

use super::api::import_reply::Outcome;
use super::api::import_request::Step;
use super::api::{ImportOpen, ImportRequest, MessageHeader};
use super::own_session::OwnSession;
use super::{directory, import};
use crate::control::Control;
use crate::passwords::HashPool;
use anyhow::{anyhow, bail};
use mailstore::face::{AccountSetting, AdminDone, AdminTask};
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

fn told(status: &Status) -> anyhow::Error {
    anyhow!("{}", status.message())
}

/// An order to the directory.
///
/// # Errors
/// What the directory said.
pub async fn order(control: &Arc<dyn Control>, task: AdminTask) -> anyhow::Result<AdminDone> {
    OwnSession::open(control).order(task).await.map_err(|status| told(&status))
}

/// An account with a password and the name of a person.
///
/// # Errors
/// What the directory or the hash pool said.
pub async fn make_account(
    control: &Arc<dyn Control>,
    hashes: &Arc<HashPool>,
    (address, password): (&str, &str),
    name: &str,
) -> anyhow::Result<()> {
    let phc = directory::stored_form(hashes, password).await.map_err(|status| told(&status))?;
    order(control, AdminTask::AccountAdd { address: address.to_owned(), phc }).await?;
    let setting = AccountSetting::DisplayName(name.to_owned());
    order(control, AdminTask::AccountSet { address: address.to_owned(), setting }).await?;
    Ok(())
}

/// Imports messages as a client would.
///
/// # Errors
/// The first message that was refused, or what ended the import.
pub async fn import_all(
    control: &Arc<dyn Control>,
    account: &str,
    messages: Vec<(MessageHeader, Vec<u8>)>,
) -> anyhow::Result<()> {
    let mut steps = vec![Step::Open(ImportOpen { account: account.to_owned() })];
    for (header, bytes) in messages {
        steps.extend([Step::Message(header), Step::Data(bytes)]);
    }
    // Room for every answer: nobody takes them before the import is over.
    let (to, mut replies) = mpsc::channel(steps.len());
    let requests = steps.into_iter().map(|step| Ok(ImportRequest { step: Some(step) }));
    let session = OwnSession::open(control);
    import::run(session, control.message_bytes_max(), tokio_stream::iter(requests), &to)
        .await
        .map_err(|status| told(&status))?;
    drop(to);
    while let Some(reply) = replies.recv().await {
        if let Some(Outcome::Refused(reason)) = reply.map_err(|status| told(&status))?.outcome {
            bail!("{reason}");
        }
    }
    Ok(())
}
