//! The events of the whole cluster, and what is asked of one other node.

use super::{Node, Said, answer, ask, reach};
use crate::admin::{api, report};
use crate::config::LogLevel;
use crate::control::{EventPlace, EventsWanted};
use std::collections::BTreeSet;
use tonic::Status;

/// Events that come when nobody says how many. Our choice: a page.
const LIMIT: u32 = 100;

/// Events of all nodes, or of the one that is meant, newest first.
pub async fn events(
    control: &Node,
    request: api::EventListRequest,
) -> Result<api::EventListReply, Status> {
    let me = control.node_name();
    let wanted = wanted(&me, &request)?;
    let limit = wanted.limit;
    let is_meant = |node: &str| request.node.is_empty() || request.node == node;
    let own = is_meant(&me).then(|| {
        let found = control.events(&wanted);
        api::EventListReply {
            events: found.events.into_iter().map(report::event).collect(),
            kinds: found.kinds,
            more: found.more,
            ends: vec![report::event_place(found.end)],
            answers: Vec::new(),
        }
    });
    let others = match (request.this_node_only, request.node.as_str()) {
        (true, _) => Vec::new(),
        (false, "") => control.others(),
        (false, node) if node == me => Vec::new(),
        (false, node) => vec![node.to_owned()],
    };
    let request = api::EventListRequest { this_node_only: true, node: String::new(), ..request };
    let call = |_, mut peer: super::Peer| {
        let request = request.clone();
        async move { Ok(peer.event_list(request).await?.into_inner()) }
    };
    let said: Said<api::EventListReply> = ask(control, &others, call).await;
    let mut answers: Vec<api::Answer> = said.iter().map(answer).collect();
    if own.is_some() {
        answers.insert(0, api::Answer { node: me, silent: None });
    }
    let all = own.into_iter().chain(said.into_iter().filter_map(|(_, said)| said.ok()));
    Ok(api::EventListReply { answers, ..merged(all, (limit, !request.after.is_empty())) })
}

/// What several nodes said together. `forward`: the oldest are wanted.
fn merged(
    all: impl Iterator<Item = api::EventListReply>,
    (limit, forward): (usize, bool),
) -> api::EventListReply {
    let (mut events, mut ends) = (Vec::new(), Vec::new());
    let (mut kinds, mut more) = (BTreeSet::new(), false);
    for said in all {
        events.extend(said.events);
        kinds.extend(said.kinds);
        ends.extend(said.ends);
        more |= said.more;
    }
    let order = |event: &api::Event| {
        let place = event.place.clone().unwrap_or_default();
        (place.unix_ms, place.node, place.number)
    };
    events.sort_by_cached_key(|event| std::cmp::Reverse(order(event)));
    more |= events.len() > limit;
    if forward {
        events.drain(..events.len().saturating_sub(limit));
    } else {
        events.truncate(limit);
    }
    let kinds = kinds.into_iter().collect();
    api::EventListReply { events, kinds, more, ends, answers: Vec::new() }
}

fn wanted(me: &str, request: &api::EventListRequest) -> Result<EventsWanted, Status> {
    let place = |it: &api::EventPlace| EventPlace {
        unix_ms: it.unix_ms,
        node: it.node.clone(),
        run: it.run,
        number: it.number,
    };
    let limit = if request.limit == 0 { LIMIT } else { request.limit };
    // A node that the caller knows nothing of yet tells all that it has.
    let unknown = EventPlace { node: me.to_owned(), ..EventPlace::default() };
    let after = request.after.iter().find(|it| it.node == me).map(place);
    Ok(EventsWanted {
        level: level(&request.level)?,
        kind: request.kind.clone(),
        text: request.text.to_lowercase(),
        limit: (limit as usize).min(crate::log::ANSWER_MAX),
        before: request.before.as_ref().map(place),
        after: if request.after.is_empty() { None } else { Some(after.unwrap_or(unknown)) },
    })
}

fn level(name: &str) -> Result<Option<LogLevel>, Status> {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];
    let found = levels.into_iter().find(|level| crate::log::level_name(*level) == name);
    match (name, found) {
        ("", _) => Ok(None),
        (_, Some(level)) => Ok(Some(level)),
        (_, None) => Err(Status::invalid_argument(format!(
            "{name}: no level; there is error, warn, info and debug"
        ))),
    }
}

/// What the stages of a node did; of the one that is asked when none is named.
pub async fn stage_history(control: &Node, of: &str) -> Result<api::StageHistoryReply, Status> {
    let me = control.node_name();
    if of.is_empty() || of == me {
        return Ok(report::history(me, control.stage_history()));
    }
    let mut peer = reach(control, of).await?;
    let request = api::StageHistoryRequest { of: String::new() };
    Ok(peer.stage_history(request).await?.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(node: &str, times: &[i64]) -> api::EventListReply {
        let event = |(number, unix_ms): (usize, &i64)| api::Event {
            place: Some(api::EventPlace {
                unix_ms: *unix_ms,
                node: node.to_owned(),
                run: 0,
                number: number as u64,
            }),
            ..api::Event::default()
        };
        let events = times.iter().enumerate().map(event).collect();
        api::EventListReply { events, kinds: vec!["a".to_owned()], ..Default::default() }
    }

    fn times(reply: &api::EventListReply) -> Vec<i64> {
        reply.events.iter().filter_map(|it| Some(it.place.as_ref()?.unix_ms)).collect()
    }

    #[test]
    fn events_of_nodes_are_one_list() {
        let all = || [said("a", &[9, 5, 1]), said("b", &[7, 2])].into_iter();
        let newest = merged(all(), (3, false));
        assert_eq!((times(&newest), newest.more), (vec![9, 7, 5], true));
        assert_eq!(newest.kinds, ["a"]);
        let oldest = merged(all(), (2, true));
        assert_eq!((times(&oldest), oldest.more), (vec![2, 1], true));
        assert!(!merged(all(), (5, false)).more);
    }

    #[test]
    fn who_follows_hears_all_of_a_node_that_is_new() {
        let after = vec![api::EventPlace { node: "a".to_owned(), run: 3, ..Default::default() }];
        let request = api::EventListRequest { after, ..Default::default() };
        assert_eq!(wanted("a", &request).expect("fine").after.map(|it| it.run), Some(3));
        assert_eq!(wanted("b", &request).expect("fine").after.map(|it| it.run), Some(0));
        assert!(wanted("b", &api::EventListRequest::default()).expect("fine").after.is_none());
        let request = api::EventListRequest { level: "loud".to_owned(), ..Default::default() };
        assert!(wanted("a", &request).is_err());
    }
}
