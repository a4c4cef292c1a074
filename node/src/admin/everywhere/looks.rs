//! Sessions and status of the whole cluster.

use super::{Node, Said, answer, ask};
use crate::admin::own_session::{OwnSession, status_of};
use crate::admin::{api, report};
use crate::control::Kick;
use mailstore::face::{AdminDone, AdminTask, UserId};
use std::time::Duration;
use tonic::Status;

/// How long a status waits for the directory. Our choice: while nobody leads it, the rest is all the more wanted.
const USERS_TIME: Duration = Duration::from_secs(1);

/// The other nodes, unless only this one is meant.
fn others(control: &Node, this_node_only: bool) -> Vec<String> {
    if this_node_only { Vec::new() } else { control.others() }
}

/// Who is connected, and with which node.
pub async fn sessions(
    control: &Node,
    this_node_only: bool,
) -> Result<api::SessionListReply, Status> {
    let me = control.node_name();
    let own = async {
        let own = control.sessions().await.map_err(|error| status_of(&error))?;
        let named = |it| api::Session { node: me.clone(), ..report::session(it) };
        let sessions = own.into_iter().map(named).collect();
        Ok::<_, Status>(api::SessionListReply { sessions, answers: Vec::new() })
    };
    let others = others(control, this_node_only);
    let request = api::SessionListRequest { this_node_only: true };
    let call = |_, mut peer: super::Peer| async move {
        Ok(peer.session_list(request).await?.into_inner())
    };
    let (own, said) = tokio::join!(own, ask(control, &others, call));
    let mut reply: api::SessionListReply = own?;
    let said: Said<_> = said;
    reply.answers = answers(&me, &said);
    reply
        .sessions
        .extend(said.into_iter().filter_map(|(_, said)| said.ok()).flat_map(|it| it.sessions));
    Ok(reply)
}

/// Ends sessions wherever they are.
pub async fn kick(
    control: &Node,
    (whom, request): (Kick, api::SessionKickRequest),
) -> Result<api::SessionKickReply, Status> {
    let ended = control.kick(whom).await.map_err(|error| status_of(&error))?;
    let others = others(control, request.this_node_only);
    let request = api::SessionKickRequest { this_node_only: true, ..request };
    let call = |_, mut peer: super::Peer| {
        let request = request.clone();
        async move { Ok(peer.session_kick(request).await?.into_inner()) }
    };
    let said: Said<api::SessionKickReply> = ask(control, &others, call).await;
    let more: u64 = said.iter().filter_map(|(_, said)| said.as_ref().ok()).map(|it| it.ended).sum();
    Ok(api::SessionKickReply { ended: ended + more, answers: answers(&control.node_name(), &said) })
}

fn answers<T>(me: &str, said: &Said<T>) -> Vec<api::Answer> {
    let own = api::Answer { node: me.to_owned(), silent: None };
    std::iter::once(own).chain(said.iter().map(answer)).collect()
}

/// The status of this node, with what the others add to it.
pub async fn status(control: &Node, this_node_only: bool) -> Result<api::StatusReply, Status> {
    let own = control.status().await.map_err(|error| status_of(&error))?;
    let mut status = report::status(own);
    let others = others(control, this_node_only);
    if others.is_empty() {
        return Ok(status);
    }
    let request = api::StatusRequest { this_node_only: true };
    let call =
        |_, mut peer: super::Peer| async move { Ok(peer.status(request).await?.into_inner()) };
    let users = tokio::time::timeout(USERS_TIME, users_by_master(control));
    let (said, users) = tokio::join!(ask(control, &others, call), users);
    let said: Said<api::StatusReply> = said;
    let answers = answers(&status.node, &said);
    let present: Vec<api::StatusReply> =
        said.into_iter().filter_map(|(_, said)| said.ok()).collect();
    // Every node tells both of the whole cluster.
    let (accounts, deliveries_pending) = (status.accounts, status.deliveries_pending);
    let mut sums = api::Sums { answers, accounts, deliveries_pending, ..api::Sums::default() };
    for one in std::iter::once(&status).chain(&present) {
        sums.sessions += one.sessions;
        sums.users_loaded += one.users_loaded;
        let store = one.store.clone().unwrap_or_default();
        sums.disk_bytes_used += store.disk_bytes_used;
        sums.errors.extend(store.errors.iter().map(|error| format!("node {}: {error}", one.node)));
    }
    for node in &mut status.nodes {
        let own = (node.name == status.node).then_some((status.users_loaded, status.sessions));
        let other = present.iter().find(|it| it.node == node.name);
        let told = own.or_else(|| other.map(|it| (it.users_loaded, it.sessions)));
        node.users_loaded = told.map(|told| told.0);
        node.sessions = told.map(|told| told.1);
        let users = users.as_ref().ok().and_then(|users| users.as_ref().ok());
        let number = u16::try_from(node.number).unwrap_or(0);
        node.users = users.map(|users| users.get(&number).copied().unwrap_or(0));
    }
    status.sums = Some(sums);
    Ok(status)
}

/// How many accounts have which node as their master.
async fn users_by_master(control: &Node) -> Result<std::collections::BTreeMap<u16, u64>, Status> {
    let session = OwnSession::open(control);
    match session.order(AdminTask::AccountList { domain: None }).await? {
        AdminDone::Accounts(accounts) => {
            let users: Vec<UserId> = accounts.iter().map(|account| account.user).collect();
            Ok(control.masters(&users))
        }
        _ => Err(Status::internal("the directory answers something else")),
    }
}
