//! Pages that show: overview, nodes, partitions, sessions, events.

use super::call::{in_time, shown};
use super::signed::Signed;
use super::{Fields, Trouble, address, page};
use crate::admin::api::{self, admin_server::Admin};
use axum::extract::Path;
use axum::http::Uri;
use axum::response::Response;
use operator_console::health;
use operator_console::model::{Event, EventList, EventPlace, PartitionList, Session};
use operator_console::pages::{
    EventFilter, EventsPage, NodePage, NodesPage, OverviewPage, Pager, Part, PartitionsPage,
    SessionsPage,
};
use tonic::Request;

/// Warnings on the overview.
const WARNINGS: u32 = 8;
/// Lines of a page. Our choice.
const PARTITIONS: u32 = 64;
const EVENTS: u32 = 100;
const SESSIONS: usize = 500;

pub async fn overview(signed: Signed) -> Result<Response, Trouble> {
    let console = &signed.console;
    let warnings = api::EventListRequest {
        level: "warn".to_owned(),
        limit: WARNINGS,
        ..api::EventListRequest::default()
    };
    let (status, sessions, events) =
        tokio::join!(console.status(), console.sessions_of(None), console.events(warnings));
    let status = status?;
    let concerns = health::judge(&status);
    let (users, events) = (sessions?.users(), events?.events);
    let frame = signed.frame(Part::Overview, "Overview");
    page(&OverviewPage { frame, status, concerns, users, events })
}

pub async fn nodes(signed: Signed) -> Result<Response, Trouble> {
    let status = signed.console.status().await?;
    page(&NodesPage { frame: signed.frame(Part::Nodes, "Nodes"), status })
}

pub async fn node(signed: Signed, Path(name): Path<String>) -> Result<Response, Trouble> {
    let console = &signed.console;
    let here = console.own_status().await?;
    let Some(known) = here.node_named(&name).cloned() else {
        return Err(Trouble::NotFound(format!("The cluster has no node {name}.")));
    };
    let (own, history) =
        tokio::join!(in_time(console.status_of(&name)), in_time(console.history_of(&name)));
    let (own, silent) = match own? {
        Ok(own) => (Some(own), String::new()),
        Err(Trouble::Refused(status)) => (None, super::trouble::sentence(status.message())),
        Err(trouble) => return Err(trouble),
    };
    let frame = signed.frame(Part::Nodes, &format!("Node {name}"));
    let alone = here.is_alone();
    let shown = NodePage { frame, known, alone, own, silent, ..NodePage::default() };
    page(&shown.with_history(&history?.unwrap_or_default()))
}

pub async fn partitions(signed: Signed, uri: Uri) -> Result<Response, Trouble> {
    let query = Fields::of_query(&uri);
    let (state, offset) = (query.get("state").to_owned(), query.number("offset"));
    let request = api::PartitionListRequest {
        state: state.clone(),
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        limit: PARTITIONS,
    };
    let console = &signed.console;
    let list = console.service.partition_list(Request::new(request));
    let (status, list) = tokio::join!(console.status(), list);
    let (status, list): (_, PartitionList) = (status?, shown(list)?);
    let at = |offset: u64| {
        let offset = if offset == 0 { String::new() } else { offset.to_string() };
        address("/partitions", &[("state", &state), ("offset", &offset)]) + "#list"
    };
    let counts = (offset, list.partitions.len() as u64, list.total.into());
    let pager = Pager::new(counts, PARTITIONS.into(), at);
    let frame = signed.frame(Part::Partitions, "Partitions");
    page(&PartitionsPage { frame, status, list, pager, state: state.clone() })
}

pub async fn sessions(signed: Signed, uri: Uri) -> Result<Response, Trouble> {
    let search = Fields::of_query(&uri).get("q").to_owned();
    let mut list = signed.console.sessions_of(None).await?;
    let wanted = search.to_lowercase();
    let has = |it: &Session| {
        let account = it.account.clone().unwrap_or_default();
        [&account, &it.ip, &it.protocol, it.over(), &it.node]
            .iter()
            .any(|text| text.to_lowercase().contains(&wanted))
    };
    list.sessions.retain(has);
    let (total, users) = (list.sessions.len(), list.users());
    let protocols = list.users_by_protocol();
    let protocols = protocols.into_iter().map(|(name, users)| (name.to_owned(), users)).collect();
    list.sessions.sort_by(|a, b| (&a.account, a.session).cmp(&(&b.account, b.session)));
    list.sessions.truncate(SESSIONS);
    let frame = signed.frame(Part::Sessions, "Sessions");
    page(&SessionsPage { frame, list, search, total, users, protocols })
}

pub async fn events(signed: Signed, uri: Uri) -> Result<Response, Trouble> {
    let query = Fields::of_query(&uri);
    let wanted = EventFilter {
        node: query.get("node").to_owned(),
        level: query.get("level").to_owned(),
        kind: query.get("kind").to_owned(),
        text: query.get("text").to_owned(),
    };
    let before = place(query.get("before"));
    let request = api::EventListRequest {
        node: wanted.node.clone(),
        level: wanted.level.clone(),
        kind: wanted.kind.clone(),
        text: wanted.text.clone(),
        limit: EVENTS,
        before: before.clone(),
        ..api::EventListRequest::default()
    };
    let console = &signed.console;
    let (list, here) = tokio::join!(console.events(request), console.own_status());
    let (list, here): (EventList, _) = (list?, here?);
    let at = |before: &str| {
        let EventFilter { node, level, kind, text } = &wanted;
        let query: [(&str, &str); 5] =
            [("node", node), ("level", level), ("kind", kind), ("text", text), ("before", before)];
        address("/events", &query)
    };
    let last = list.events.last().filter(|_| list.more);
    let older = last.map(|event: &Event| at(&written(&event.place)));
    let newest = before.map(|_| at(""));
    let nodes = here.nodes.iter().map(|node| node.name.clone()).collect();
    let frame = signed.frame(Part::Events, "Events");
    page(&EventsPage { frame, list, nodes, older, newest, wanted: wanted.clone() })
}

/// A place in the events, for an address: the name of the node may hold anything.
fn written(place: &EventPlace) -> String {
    format!("{}.{}.{}", place.unix_ms, place.number, place.node)
}

fn place(text: &str) -> Option<api::EventPlace> {
    let mut parts = text.splitn(3, '.');
    let (unix_ms, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(api::EventPlace { unix_ms, number, node: parts.next()?.to_owned(), run: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_from_addresses() {
        let it = EventPlace { unix_ms: 17, number: 4, node: "node.1".to_owned(), run: 0 };
        let back = place(&written(&it)).expect("a place");
        assert_eq!((back.unix_ms, back.number, back.node.as_str()), (17, 4, "node.1"));
        for wrong in ["", "1", "1.2", "x.2.n"] {
            assert!(place(wrong).is_none(), "{wrong}");
        }
    }
}
