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
    request: api::SessionListRequest,
) -> Result<api::SessionListReply, Status> {
    let this_node_only = request.this_node_only;
    let me = control.node_name();
    let own = async {
        let own = control.sessions().await.map_err(|error| status_of(&error))?;
        let named = |it| api::Session { node: me.clone(), ..report::session(it) };
        let is_wanted = |it: &api::Session| match (&request.account, &it.account) {
            (None, _) => true,
            (Some(wanted), Some(account)) => account.eq_ignore_ascii_case(wanted),
            (Some(_), None) => false,
        };
        let sessions = own.into_iter().map(named).filter(is_wanted).collect();
        Ok::<_, Status>(api::SessionListReply { sessions, answers: Vec::new() })
    };
    let others = others(control, this_node_only);
    let call = |_, mut peer: super::Peer| {
        let request = api::SessionListRequest { this_node_only: true, ..request.clone() };
        async move { Ok(peer.session_list(request).await?.into_inner()) }
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
pub async fn status(
    control: &Node,
    api::StatusRequest { this_node_only, of }: api::StatusRequest,
) -> Result<api::StatusReply, Status> {
    let alone = api::StatusRequest { this_node_only: true, of: String::new() };
    if !of.is_empty() && of != control.node_name() {
        let mut peer = super::reach(control, &of).await?;
        return Ok(peer.status(alone).await?.into_inner());
    }
    let this_node_only = this_node_only || !of.is_empty();
    let own = control.status().await.map_err(|error| status_of(&error))?;
    let mut status = report::status(own);
    let others = others(control, this_node_only);
    if others.is_empty() {
        let own = status.clone();
        tell_of_nodes(&mut status.nodes, std::slice::from_ref(&own));
        return Ok(status);
    }
    let call = |_, mut peer: super::Peer| {
        let request = alone.clone();
        async move { Ok(peer.status(request).await?.into_inner()) }
    };
    let users = tokio::time::timeout(USERS_TIME, users_by_master(control));
    let (said, users) = tokio::join!(ask(control, &others, call), users);
    let said: Said<api::StatusReply> = said;
    let answers = answers(&status.node, &said);
    let mut present: Vec<api::StatusReply> =
        said.into_iter().filter_map(|(_, said)| said.ok()).collect();
    status.behind.extend(present.iter().flat_map(|it| it.behind.clone()));
    // Every node tells both of the whole cluster.
    let (accounts, deliveries_pending) = (status.accounts, status.deliveries_pending);
    let mut sums = api::Sums { answers, accounts, deliveries_pending, ..api::Sums::default() };
    for one in std::iter::once(&status).chain(&present) {
        sums.sessions += one.sessions;
        sums.users_loaded += one.users_loaded;
        let store = one.store.clone().unwrap_or_default();
        sums.disk_bytes_used += store.disk_bytes_used;
        sums.extensions.extend(one.extensions.iter().cloned());
        sums.errors.extend(store.errors.iter().map(|error| format!("node {}: {error}", one.node)));
    }
    sums.extensions.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
    present.push(status.clone());
    tell_of_nodes(&mut status.nodes, &present);
    for node in &mut status.nodes {
        let users = users.as_ref().ok().and_then(|users| users.as_ref().ok());
        let number = u16::try_from(node.number).unwrap_or(0);
        node.users = users.map(|users| users.get(&number).copied().unwrap_or(0));
    }
    status.sums = Some(sums);
    Ok(status)
}

/// What nodes say of themselves.
fn tell_of_nodes(nodes: &mut [api::Node], present: &[api::StatusReply]) {
    for node in nodes {
        let Some(told) = present.iter().find(|it| it.node == node.name) else { continue };
        node.users_loaded = Some(told.users_loaded);
        node.sessions = Some(told.sessions);
        node.version = Some(told.version.clone());
        node.uptime_seconds = Some(told.uptime_seconds);
        let Some(store) = &told.store else { continue };
        node.disk_bytes_used = Some(store.disk_bytes_used);
        node.disk_bytes_free = Some(store.disk_bytes_free);
        node.space = Some(store.space.clone());
    }
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
