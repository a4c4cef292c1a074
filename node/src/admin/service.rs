//! The calls of the admin API.

use super::api::{self, admin_server::Admin};
use super::own_session::{OwnSession, status_of, unexpected};
use super::{accounts, directory, everywhere, export, import, report};
use crate::control::{Control, IndexOrder, Kick, NodeChange, NodeProgress, Progress};
use crate::extensions;
use crate::passwords::HashPool;
use mailstore::face::{AdminDone, AdminTask, SessionId};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Replies of a stream that may wait for the client.
const STREAM_REPLIES_MAX: usize = 16;
/// Lines of an account import that are hashed at once, at most.
const IMPORTED_AT_ONCE: usize = 8;

pub type Replies<T> = ReceiverStream<Result<T, Status>>;

#[derive(Clone)]
pub struct Service {
    control: Arc<dyn Control>,
    hashes: Arc<HashPool>,
}

impl Service {
    pub fn new(control: Arc<dyn Control>, hashes: Arc<HashPool>) -> Self {
        Self { control, hashes }
    }

    fn session(&self) -> OwnSession {
        OwnSession::open(&self.control)
    }

    async fn done(&self, task: AdminTask) -> Result<Response<api::Done>, Status> {
        directory::done(&self.session(), task).await?;
        Ok(Response::new(api::Done {}))
    }

    async fn import_account(&self, request: api::AccountImportRequest) -> api::AccountImportReply {
        let add = async {
            let phc = directory::stored_form(&self.hashes, &request.secret).await?;
            let task = AdminTask::AccountAdd { address: request.address, phc };
            directory::done(&self.session(), task).await
        };
        let refused = add.await.err().map(|status| status.message().to_owned());
        api::AccountImportReply { line: request.line, refused }
    }
}

/// Sends progress to the client, as far as it keeps up.
fn progress_to<T: Send + 'static>(
    to: &mpsc::Sender<Result<T, Status>>,
    wrap: impl Fn(api::Progress) -> T + Send + Sync + 'static,
) -> Progress {
    let to = to.clone();
    Arc::new(move |done, total| {
        // A client that is slow to read misses a step of the bar, nothing else.
        let _ = to.try_send(Ok(wrap(api::Progress { done, total })));
    })
}

/// A change is done once it has been for so many looks.
const LOOKS_AT_REST: u32 = 5;

/// Between two looks at a change that takes its time.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

impl Service {
    /// Asks for a change of a node, and tells how far it is until it is done.
    async fn follow_node(
        &self,
        node: String,
        change: NodeChange,
    ) -> Result<Response<Replies<api::NodeReply>>, Status> {
        let asked = self.control.change_node(node.clone(), change).await;
        asked.map_err(|error| status_of(&error))?;
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        let control = Arc::clone(&self.control);
        tokio::spawn(async move {
            let mut rests = 0;
            loop {
                let progress = control.node_progress(node.clone(), change).await;
                // The controller takes a moment to see what there is to do, and does it in parts.
                let is_over = match &progress {
                    Ok(NodeProgress { done, total, .. }) if done >= total && *total > 0 => {
                        rests += 1;
                        rests > LOOKS_AT_REST
                    }
                    Ok(_) => {
                        rests = 0;
                        false
                    }
                    Err(_) => true,
                };
                let reply = progress.map_err(|error| status_of(&error)).map(|progress| {
                    let NodeProgress { done, total, waits_for } = progress;
                    api::NodeReply { done, total, waits_for }
                });
                // Who asked has gone: the change goes on without being watched.
                if to.send(reply).await.is_err() || is_over {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

#[tonic::async_trait]
impl Admin for Service {
    type AccountImportStream = Replies<api::AccountImportReply>;
    type ImportStream = Replies<api::ImportReply>;
    type ExportStream = Replies<api::ExportReply>;
    type NodeJoinStream = Replies<api::NodeReply>;
    type NodeDrainStream = Replies<api::NodeReply>;
    type CheckStream = Replies<api::CheckReply>;
    type BackupStream = Replies<api::BackupReply>;
    type StandInStream = Replies<api::StandInQuestion>;

    async fn domain_add(
        &self,
        request: Request<api::DomainAddRequest>,
    ) -> Result<Response<api::Done>, Status> {
        self.done(AdminTask::DomainAdd { domain: request.into_inner().domain }).await
    }

    async fn domain_remove(
        &self,
        request: Request<api::DomainRemoveRequest>,
    ) -> Result<Response<api::Done>, Status> {
        self.done(AdminTask::DomainRemove { domain: request.into_inner().domain }).await
    }

    async fn domain_set(
        &self,
        request: Request<api::DomainSetRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let request = request.into_inner();
        let session = self.session();
        for setting in directory::domain_settings(&request)? {
            let task = AdminTask::DomainSet { domain: request.domain.clone(), setting };
            directory::done(&session, task).await?;
        }
        Ok(Response::new(api::Done {}))
    }

    async fn domain_list(
        &self,
        _: Request<api::DomainListRequest>,
    ) -> Result<Response<api::DomainListReply>, Status> {
        match self.session().order(AdminTask::DomainList).await? {
            AdminDone::Domains(entries) => {
                let domains = entries.into_iter().map(directory::domain).collect();
                Ok(Response::new(api::DomainListReply { domains }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn alias_add(
        &self,
        request: Request<api::AliasAddRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let alias = request.into_inner().alias.unwrap_or_default();
        self.done(AdminTask::AliasAdd { alias: alias.alias, targets: alias.targets }).await
    }

    async fn alias_remove(
        &self,
        request: Request<api::AliasRemoveRequest>,
    ) -> Result<Response<api::Done>, Status> {
        self.done(AdminTask::AliasRemove { alias: request.into_inner().alias }).await
    }

    async fn alias_list(
        &self,
        request: Request<api::AliasListRequest>,
    ) -> Result<Response<api::AliasListReply>, Status> {
        let domain = request.into_inner().domain;
        match self.session().order(AdminTask::AliasList { domain }).await? {
            AdminDone::Aliases(entries) => {
                let aliases = entries.into_iter().map(directory::alias).collect();
                Ok(Response::new(api::AliasListReply { aliases }))
            }
            _ => Err(unexpected()),
        }
    }

    async fn account_add(
        &self,
        request: Request<api::AccountAddRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let request = request.into_inner();
        let phc = directory::stored_form(&self.hashes, &request.secret).await?;
        self.done(AdminTask::AccountAdd { address: request.address, phc }).await
    }

    async fn account_remove(
        &self,
        request: Request<api::AccountRemoveRequest>,
    ) -> Result<Response<api::Done>, Status> {
        self.done(AdminTask::AccountRemove { address: request.into_inner().address }).await
    }

    async fn account_list(
        &self,
        request: Request<api::AccountListRequest>,
    ) -> Result<Response<api::AccountListReply>, Status> {
        Ok(Response::new(accounts::list(&self.control, request.into_inner()).await?))
    }

    async fn account_password(
        &self,
        request: Request<api::AccountPasswordRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let request = request.into_inner();
        let phc = directory::stored_form(&self.hashes, &request.secret).await?;
        self.done(AdminTask::AccountPassword { address: request.address, phc }).await
    }

    async fn account_enable(
        &self,
        request: Request<api::AccountEnableRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let api::AccountEnableRequest { address, on } = request.into_inner();
        self.done(AdminTask::AccountEnable { address, on }).await
    }

    async fn account_second_factor_off(
        &self,
        request: Request<api::AccountSecondFactorOffRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let api::AccountSecondFactorOffRequest { address } = request.into_inner();
        self.done(AdminTask::SecondFactorOff { address }).await
    }

    async fn account_set(
        &self,
        request: Request<api::AccountSetRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let request = request.into_inner();
        let (session, address) = (self.session(), request.address.clone());
        for setting in directory::account_settings(request) {
            let task = AdminTask::AccountSet { address: address.clone(), setting };
            directory::done(&session, task).await?;
        }
        Ok(Response::new(api::Done {}))
    }

    async fn account_import(
        &self,
        request: Request<Streaming<api::AccountImportRequest>>,
    ) -> Result<Response<Self::AccountImportStream>, Status> {
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        let (service, mut lines) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut under_way = tokio::task::JoinSet::new();
            while let Some(Ok(line)) = lines.next().await {
                if under_way.len() >= IMPORTED_AT_ONCE {
                    let _ = under_way.join_next().await;
                }
                let (service, to) = (service.clone(), to.clone());
                under_way.spawn(async move {
                    let reply = service.import_account(line).await;
                    // The client went away: the account is made all the same.
                    let _ = to.send(Ok(reply)).await;
                });
            }
            while under_way.join_next().await.is_some() {}
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn session_list(
        &self,
        request: Request<api::SessionListRequest>,
    ) -> Result<Response<api::SessionListReply>, Status> {
        Ok(Response::new(everywhere::sessions(&self.control, request.into_inner()).await?))
    }

    async fn session_kick(
        &self,
        request: Request<api::SessionKickRequest>,
    ) -> Result<Response<api::SessionKickReply>, Status> {
        use api::session_kick_request::Whom;
        let request = request.into_inner();
        let whom = match &request.whom {
            Some(Whom::Session(session)) => Kick::Session(SessionId(*session)),
            Some(Whom::Account(account)) => Kick::Account(account.clone()),
            Some(Whom::Ip(ip)) => Kick::Ip(
                ip.parse().map_err(|_| Status::invalid_argument(format!("{ip}: no address")))?,
            ),
            None => return Err(Status::invalid_argument("whom to kick is not said")),
        };
        // Sessions on nodes that do not answer end when they are reached.
        let user = match &request.whom {
            Some(Whom::Account(account)) if !request.this_node_only => {
                Some(self.session().account(account).await?)
            }
            _ => None,
        };
        let reply = everywhere::kick(&self.control, (whom, request)).await?;
        if let Some(user) = user {
            let told = self.control.kick_everywhere(user).await;
            told.map_err(|error| status_of(&error))?;
        }
        Ok(Response::new(reply))
    }

    async fn import(
        &self,
        request: Request<Streaming<api::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        let (session, requests) = (self.session(), request.into_inner());
        let message_bytes_max = self.control.message_bytes_max();
        tokio::spawn(async move {
            let done = import::run(session, message_bytes_max, requests, &to).await;
            if let Err(status) = done {
                let _ = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn export(
        &self,
        request: Request<api::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let session = self.session();
        let user = session.account(&request.into_inner().account).await?;
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        tokio::spawn(async move {
            if let Err(status) = export::run(session, user, &to).await {
                let _ = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn status(
        &self,
        request: Request<api::StatusRequest>,
    ) -> Result<Response<api::StatusReply>, Status> {
        Ok(Response::new(everywhere::status(&self.control, request.into_inner()).await?))
    }

    async fn r#where(
        &self,
        request: Request<api::WhereRequest>,
    ) -> Result<Response<api::WhereReply>, Status> {
        let accounts = self.session().resolve(&request.into_inner().address).await?;
        let mut locations = Vec::new();
        for (account, user) in accounts {
            let it = self.control.locate(user).await.map_err(|error| status_of(&error))?;
            locations.push(api::Location {
                account: account.to_string(),
                user: format!("{:016x}", user.0),
                node: it.node,
                partition: u32::from(it.partition),
                worker: u32::from(it.worker),
                loaded: it.loaded,
                trouble: it.trouble,
                in_sync: it.in_sync,
            });
        }
        Ok(Response::new(api::WhereReply { locations }))
    }

    async fn node_join(
        &self,
        request: Request<api::NodeRequest>,
    ) -> Result<Response<Self::NodeJoinStream>, Status> {
        Ok(self.follow_node(request.into_inner().node, NodeChange::Join).await?)
    }

    async fn node_drain(
        &self,
        request: Request<api::NodeRequest>,
    ) -> Result<Response<Self::NodeDrainStream>, Status> {
        Ok(self.follow_node(request.into_inner().node, NodeChange::Drain).await?)
    }

    async fn node_remove(
        &self,
        request: Request<api::NodeRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let done = self.control.change_node(request.into_inner().node, NodeChange::Remove).await;
        done.map_err(|error| status_of(&error))?;
        Ok(Response::new(api::Done {}))
    }

    async fn r#move(
        &self,
        request: Request<api::MoveRequest>,
    ) -> Result<Response<api::MoveReply>, Status> {
        let api::MoveRequest { address, node } = request.into_inner();
        let (account, user) = match self.session().resolve(&address).await?.as_slice() {
            [(account, user)] => (account.to_string(), *user),
            _ => return Err(Status::invalid_argument(format!("{address} is not one account"))),
        };
        let moved = self.control.move_user(user, node).await;
        let moved = moved.map_err(|error| status_of(&error))?;
        Ok(Response::new(api::MoveReply {
            account,
            partition: moved.partition.into(),
            from: moved.from,
            to: moved.to,
            elapsed_ms: moved.elapsed_ms,
        }))
    }

    async fn check(
        &self,
        request: Request<api::CheckRequest>,
    ) -> Result<Response<Self::CheckStream>, Status> {
        use api::check_reply::Step;
        let this_node_only = request.into_inner().this_node_only;
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        let control = Arc::clone(&self.control);
        tokio::spawn(async move {
            let wrap = |progress| api::CheckReply { step: Some(Step::Progress(progress)) };
            let done = everywhere::check(&control, this_node_only, progress_to(&to, wrap)).await;
            let reply = done.map(|done| api::CheckReply { step: Some(Step::Report(done)) });
            let _ = to.send(reply).await;
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn scrub(
        &self,
        _: Request<api::ScrubRequest>,
    ) -> Result<Response<api::ScrubReply>, Status> {
        let report = self.control.scrub().await.map_err(|error| status_of(&error))?;
        Ok(Response::new(report::scrub(report)))
    }

    async fn index(
        &self,
        request: Request<api::IndexRequest>,
    ) -> Result<Response<api::IndexState>, Status> {
        let order = match request.into_inner().order() {
            api::IndexOrder::None => None,
            api::IndexOrder::Rebuild => Some(IndexOrder::Rebuild),
            api::IndexOrder::Drop => Some(IndexOrder::Drop),
        };
        if let Some(order) = order {
            self.control.order_index(order).map_err(|error| status_of(&error))?;
        }
        Ok(Response::new(report::index(self.control.index())))
    }

    async fn backup(
        &self,
        request: Request<api::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        use api::backup_reply::Step;
        let request = request.into_inner();
        if !Path::new(&request.dir).is_absolute() {
            return Err(Status::invalid_argument("the directory must be absolute"));
        }
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        let control = Arc::clone(&self.control);
        tokio::spawn(async move {
            let wrap = |progress| api::BackupReply { step: Some(Step::Progress(progress)) };
            let done = everywhere::backup(&control, request, progress_to(&to, wrap)).await;
            let reply = done.map(|done| api::BackupReply { step: Some(Step::Report(done)) });
            let _ = to.send(reply).await;
        });
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn survey(
        &self,
        request: Request<api::SurveyRequest>,
    ) -> Result<Response<api::SurveyReply>, Status> {
        let number = |partition: &u32| {
            u16::try_from(*partition).map_err(|_| Status::invalid_argument("no such partition"))
        };
        let wanted =
            request.into_inner().partitions.iter().map(number).collect::<Result<_, _>>()?;
        let surveyed = self.control.survey(wanted).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(report::survey(surveyed)))
    }

    async fn stage_history(
        &self,
        request: Request<api::StageHistoryRequest>,
    ) -> Result<Response<api::StageHistoryReply>, Status> {
        let of = request.into_inner().of;
        Ok(Response::new(everywhere::stage_history(&self.control, &of).await?))
    }

    async fn event_list(
        &self,
        request: Request<api::EventListRequest>,
    ) -> Result<Response<api::EventListReply>, Status> {
        Ok(Response::new(everywhere::events(&self.control, request.into_inner()).await?))
    }

    async fn extension_rewind(
        &self,
        request: Request<api::ExtensionRewindRequest>,
    ) -> Result<Response<api::ExtensionRewindReply>, Status> {
        let api::ExtensionRewindRequest { extension, account, to, since } = request.into_inner();
        let whose = self.control.subscription(&extension).ok_or_else(|| {
            Status::not_found(format!(
                "{extension}: cluster.toml of this node names none that subscribes"
            ))
        })?;
        let request = extensions::api::RewindRequest { account, to, modseq: 0, since };
        let whose = (&whose.subscriber, &whose.scope);
        let done = extensions::rewind(self.session(), whose, &request).await?;
        let extensions::api::RewindReply { rewound, reset } = done;
        Ok(Response::new(api::ExtensionRewindReply { rewound, reset }))
    }

    async fn stand_in(
        &self,
        request: Request<api::StandInRequest>,
    ) -> Result<Response<Self::StandInStream>, Status> {
        let (to, replies) = mpsc::channel(STREAM_REPLIES_MAX);
        extensions::lend(self.control.deciding().as_ref(), request.get_ref(), to)?;
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn stand_in_answer(
        &self,
        request: Request<api::StandInAnswerRequest>,
    ) -> Result<Response<api::Done>, Status> {
        let deciding = self.control.deciding();
        extensions::answered(deciding.as_ref(), request.into_inner()).await?;
        Ok(Response::new(api::Done {}))
    }

    async fn partition_list(
        &self,
        request: Request<api::PartitionListRequest>,
    ) -> Result<Response<api::PartitionListReply>, Status> {
        let api::PartitionListRequest { state, offset, limit } = request.into_inner();
        let states = ["", "whole", "few", "too few", "leaderless", "moving"];
        if !states.contains(&&*state) {
            let known = states[1..].join(", ");
            return Err(Status::invalid_argument(format!("{state}: no state; there is {known}")));
        }
        let mut found = self.control.partitions();
        found.retain(|it| match &*state {
            "" => true,
            "moving" => it.is_moving,
            state => it.state == state,
        });
        let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let page = found.into_iter().skip(offset as usize).take(limit);
        let partitions = page.map(report::partition).collect();
        Ok(Response::new(api::PartitionListReply { partitions, total }))
    }
}
