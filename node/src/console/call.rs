//! Calls of the admin API, with answers as pages take them: as `--json` has them.

use super::trouble::Trouble;
use super::{Console, see, signed::Signed};
use crate::admin::api::{self, admin_server::Admin};
use axum::response::Response;
use operator_console::model;
use operator_console::sign_in::Notice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;
use tonic::{Request, Status};

/// How long a page waits for one node. Our choice: one that stands still must not keep the page of the others.
const NODE_TIME: Duration = Duration::from_secs(3);

/// An answer as a page takes it.
pub fn shown<T: DeserializeOwned>(
    reply: Result<tonic::Response<impl Serialize>, Status>,
) -> Result<T, Trouble> {
    let broken = |error: serde_json::Error| Trouble::Broken(error.to_string());
    let value = serde_json::to_value(reply?.into_inner()).map_err(broken)?;
    serde_json::from_value(value).map_err(broken)
}

/// What a node says in time.
pub async fn in_time<T>(
    call: impl Future<Output = Result<T, Trouble>>,
) -> Result<Result<T, Trouble>, Trouble> {
    let late = |_| Status::deadline_exceeded("it says nothing for three seconds");
    match tokio::time::timeout(NODE_TIME, call).await.map_err(late) {
        Ok(Err(Trouble::Broken(why))) => Err(Trouble::Broken(why)),
        Ok(said) => Ok(said),
        Err(late) => Ok(Err(late.into())),
    }
}

impl Console {
    pub async fn status(&self) -> Result<model::Status, Trouble> {
        shown(self.service.status(Request::new(api::StatusRequest::default())).await)
    }

    /// What the node that answers knows by itself.
    pub async fn own_status(&self) -> Result<model::Status, Trouble> {
        let request = api::StatusRequest { this_node_only: true, of: String::new() };
        shown(self.service.status(Request::new(request)).await)
    }

    pub async fn status_of(&self, node: &str) -> Result<model::Status, Trouble> {
        let request = api::StatusRequest { this_node_only: false, of: node.to_owned() };
        shown(self.service.status(Request::new(request)).await)
    }

    pub async fn history_of(&self, node: &str) -> Result<model::History, Trouble> {
        let request = api::StageHistoryRequest { of: node.to_owned() };
        shown(self.service.stage_history(Request::new(request)).await)
    }

    pub async fn sessions_of(&self, account: Option<&str>) -> Result<model::SessionList, Trouble> {
        let account = account.map(str::to_owned);
        let request = api::SessionListRequest { this_node_only: false, account };
        shown(self.service.session_list(Request::new(request)).await)
    }

    pub async fn events(
        &self,
        request: api::EventListRequest,
    ) -> Result<model::EventList, Trouble> {
        shown(self.service.event_list(Request::new(request)).await)
    }

    pub async fn accounts(
        &self,
        request: api::AccountListRequest,
    ) -> Result<model::AccountList, Trouble> {
        shown(self.service.account_list(Request::new(request)).await)
    }

    pub async fn aliases(&self, domain: Option<String>) -> Result<Vec<model::Alias>, Trouble> {
        let request = Request::new(api::AliasListRequest { domain });
        Ok(shown::<model::AliasList>(self.service.alias_list(request).await)?.aliases)
    }

    pub async fn domains(&self) -> Result<Vec<model::Domain>, Trouble> {
        let reply = self.service.domain_list(Request::new(api::DomainListRequest {})).await;
        Ok(shown::<model::DomainList>(reply)?.domains)
    }
}

impl Signed {
    /// Tells on the next page what came of an order, and goes there.
    pub fn done(&self, done: Result<impl Sized, Status>, what: String, then: &str) -> Response {
        let notice = match done {
            Ok(_) => Notice { text: what, refused: false },
            Err(status) => {
                Notice { text: super::trouble::sentence(status.message()), refused: true }
            }
        };
        self.console.signed().tell(&self.secret, notice);
        see(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits<T: DeserializeOwned>(reply: impl Serialize) {
        let shown: Result<T, Trouble> = shown(Ok(tonic::Response::new(reply)));
        shown.expect("the page finds every field that it shows");
    }

    #[test]
    fn pages_find_what_the_api_answers() {
        let full = api::StatusReply {
            listeners: vec![api::Listener::default()],
            stages: vec![api::Stage::default()],
            nodes: vec![api::Node::default()],
            admission: vec![api::Admission::default()],
            moves: vec![api::MoveUnderWay::default()],
            links: vec![api::Link::default()],
            behind: vec![api::Behind::default()],
            sums: Some(api::Sums { answers: vec![api::Answer::default()], ..Default::default() }),
            scrub: Some(api::ScrubState { last: Some(Default::default()), ..Default::default() }),
            cluster_state: Some(api::ClusterState::default()),
            store: Some(api::Store::default()),
            partitions: Some(api::Partitions::default()),
            ..Default::default()
        };
        fits::<model::Status>(full);
        fits::<model::Status>(api::StatusReply::default());
        let points = vec![api::StagePoint::default()];
        let stages = vec![api::StageSeries { points, ..Default::default() }];
        fits::<model::History>(api::StageHistoryReply { stages, ..Default::default() });
        let fields = vec![api::EventField::default()];
        let place = Some(api::EventPlace::default());
        let events = vec![api::Event { fields, place, ..Default::default() }];
        fits::<model::EventList>(api::EventListReply { events, ..Default::default() });
        let partitions = vec![api::Partition::default()];
        fits::<model::PartitionList>(api::PartitionListReply { partitions, total: 1 });
        let accounts = vec![api::Account::default()];
        fits::<model::AccountList>(api::AccountListReply { accounts, total: 1 });
        fits::<model::DomainList>(api::DomainListReply { domains: vec![Default::default()] });
        fits::<model::AliasList>(api::AliasListReply { aliases: vec![Default::default()] });
        let sessions = vec![api::Session::default()];
        fits::<model::SessionList>(api::SessionListReply { sessions, ..Default::default() });
        fits::<model::Locations>(api::WhereReply { locations: vec![Default::default()] });
    }
}
