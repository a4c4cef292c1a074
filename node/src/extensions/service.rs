//! The gRPC service: who calls is known by its token, and gets no further than that allows.

use super::api::extensions_server::Extensions;
use super::api::{self, batch};
use super::borrowed::borrow;
use super::deciding::Deciding;
use super::feed::{self, Fed, Said};
use super::grant::{Grant, Grants};
use super::mail::{self, Mail};
use super::registry::{Registry, Standing};
use super::rewind::rewind;
use crate::admin::OwnSession;
use crate::config::Verb;
use crate::control::Control;
use dds::DpMap;
use events::{Batch, BatchId, Content, Kinds, Limits, Memory, QuestionId, Reach, Setup};
use mailstore::face::{EventChange, FolderId, UserId};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Messages of a stream on their way to a client. Our choice; beyond, it is waited for.
const STREAM_DEPTH: usize = 16;

type Replies<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// The stream of an extension that stands.
struct Subscription {
    number: u64,
    said: mpsc::UnboundedSender<Said>,
}

/// See the head of the file.
pub struct Service {
    control: Arc<dyn Control>,
    grants: Grants,
    registry: Arc<Registry>,
    map: DpMap,
    /// `None`: no extension of the file decides.
    deciding: Option<Deciding>,
    /// By name.
    subscriptions: Arc<Mutex<HashMap<String, Subscription>>>,
    numbers: std::sync::atomic::AtomicU64,
}

impl Service {
    #[must_use]
    pub fn new(
        control: Arc<dyn Control>,
        grants: Grants,
        (registry, map): (Arc<Registry>, DpMap),
        deciding: Option<Deciding>,
    ) -> Self {
        let subscriptions = Arc::default();
        let numbers = std::sync::atomic::AtomicU64::new(0);
        Self { control, grants, registry, map, deciding, subscriptions, numbers }
    }

    /// Who calls, if it may do this.
    fn caller<T>(&self, request: &Request<T>, verb: Verb) -> Result<Arc<Grant>, Status> {
        let Some(header) = request.metadata().get("authorization") else {
            return Err(Status::unauthenticated("the call carries no token of an extension"));
        };
        let grant = self.grants.of(header.as_bytes());
        let grant = grant.ok_or_else(|| {
            Status::unauthenticated("no [extensions.NAME] of this node has that token")
        })?;
        grant.allow(verb)?;
        Ok(grant)
    }

    /// A mailbox that the caller may see.
    async fn mail(&self, grant: &Grant, account: &str) -> Result<Mail, Status> {
        Mail::open(OwnSession::open(&self.control), &grant.scope, account).await
    }
}

/// Only those of the allowed types that are asked for.
fn narrowed(allowed: Kinds, wanted: &[String]) -> Result<Kinds, Status> {
    if wanted.is_empty() {
        return Ok(allowed);
    }
    let mut kinds = Kinds { arrived: false, flagged: false, vanished: false };
    for word in wanted {
        let (slot, may) = match word.as_str() {
            "arrived" => (&mut kinds.arrived, allowed.arrived),
            "flagged" => (&mut kinds.flagged, allowed.flagged),
            "vanished" => (&mut kinds.vanished, allowed.vanished),
            other => {
                let text = format!("{other:?}: events are arrived, flagged and vanished");
                return Err(Status::invalid_argument(text));
            }
        };
        if !may {
            let text =
                format!("the configuration of this extension does not allow {word:?} events");
            return Err(Status::permission_denied(text));
        }
        *slot = true;
    }
    Ok(kinds)
}

#[tonic::async_trait]
impl Extensions for Service {
    type SubscribeStream = Replies<api::Batch>;

    async fn subscribe(
        &self,
        request: Request<api::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let grant = self.caller(&request, Verb::Subscribe)?;
        let setup = Setup {
            subscriber: grant.subscriber.clone(),
            scope: grant.scope.clone(),
            kinds: narrowed(grant.kinds, &request.get_ref().events)?,
            reach: Reach::Everywhere,
            memory: Memory::Cursor,
            map: self.map,
            limits: Limits::default(),
        };
        let name = grant.subscriber.as_str().to_owned();
        let standing = self.registry.enter(&name, false);
        let (said, from_client) = mpsc::unbounded_channel();
        let number = self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let subscription = Subscription { number, said };
        // An earlier one ends: its feeder has nobody left who says anything.
        lock(&self.subscriptions).insert(name.clone(), subscription);
        let (to, replies) = mpsc::channel(STREAM_DEPTH);
        let stream = Stream {
            session: OwnSession::open(&self.control),
            control: Arc::clone(&self.control),
            subscriptions: Arc::clone(&self.subscriptions),
            place: (name, number),
            standing,
        };
        tokio::spawn(stream.run(setup, from_client, to));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn acknowledge(
        &self,
        request: Request<api::AcknowledgeRequest>,
    ) -> Result<Response<api::AcknowledgeReply>, Status> {
        let grant = self.caller(&request, Verb::Subscribe)?;
        let taken = Said::Taken(BatchId(request.get_ref().id));
        let told = lock(&self.subscriptions)
            .get(grant.subscriber.as_str())
            .is_some_and(|subscription| subscription.said.send(taken).is_ok());
        if told {
            return Ok(Response::new(api::AcknowledgeReply {}));
        }
        Err(Status::failed_precondition(
            "no stream of this extension stands at this node: what is not acknowledged comes again with the next",
        ))
    }

    async fn rewind(
        &self,
        request: Request<api::RewindRequest>,
    ) -> Result<Response<api::RewindReply>, Status> {
        let grant = self.caller(&request, Verb::Subscribe)?;
        let session = OwnSession::open(&self.control);
        let whose = (&grant.subscriber, &grant.scope);
        Ok(Response::new(rewind(session, whose, request.get_ref()).await?))
    }

    async fn list_folders(
        &self,
        request: Request<api::ListFoldersRequest>,
    ) -> Result<Response<api::ListFoldersReply>, Status> {
        let grant = self.caller(&request, Verb::Fetch)?;
        let mail = self.mail(&grant, &request.get_ref().account).await?;
        Ok(Response::new(api::ListFoldersReply { folders: mail.folders().await? }))
    }

    type ListMessagesStream = Replies<api::Message>;

    async fn list_messages(
        &self,
        request: Request<api::ListMessagesRequest>,
    ) -> Result<Response<Self::ListMessagesStream>, Status> {
        let grant = self.caller(&request, Verb::Fetch)?;
        let request = request.into_inner();
        let mail = self.mail(&grant, &request.account).await?;
        let folder = mail.open_folder(&request.folder).await?;
        let (to, replies) = mpsc::channel(STREAM_DEPTH);
        tokio::spawn(async move {
            if let Err(status) = mail.messages(&folder, &request.uids, &to).await {
                let _gone = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    type FetchStream = Replies<api::FetchReply>;

    async fn fetch(
        &self,
        request: Request<api::FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let grant = self.caller(&request, Verb::Fetch)?;
        let request = request.into_inner();
        let section = mail::section(&request.section, request.decoded)?;
        let mail = self.mail(&grant, &request.account).await?;
        let folder = mail.folder(&request.folder).await?;
        let (to, replies) = mpsc::channel(STREAM_DEPTH);
        tokio::spawn(async move {
            if let Err(status) = mail.read(folder, request.uid, section, &to).await {
                let _gone = to.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn update(
        &self,
        request: Request<api::UpdateRequest>,
    ) -> Result<Response<api::UpdateReply>, Status> {
        let grant = self.caller(&request, Verb::Update)?;
        let mail = self.mail(&grant, &request.get_ref().account).await?;
        Ok(Response::new(mail.update(request.into_inner()).await?))
    }

    type DecideStream = Replies<api::Question>;

    async fn decide(
        &self,
        request: Request<api::DecideRequest>,
    ) -> Result<Response<Self::DecideStream>, Status> {
        let grant = self.caller(&request, Verb::Decide)?;
        let name = grant.subscriber.as_str().to_owned();
        let gone = || Status::unavailable("the node stops");
        let deciding = self.deciding.clone().ok_or_else(gone)?;
        let mut seat = deciding.join(&name, None).ok_or_else(gone)?;
        let (to, replies) = mpsc::channel(STREAM_DEPTH);
        let (lend, mut borrowed) = mpsc::channel(STREAM_DEPTH);
        let others = borrow(Arc::clone(&self.control), (deciding, name.into()), lend);
        tokio::spawn(async move {
            tokio::pin!(others);
            loop {
                let question = tokio::select! {
                    own = seat.next() => own,
                    Some(question) = borrowed.recv() => Some(question),
                    () = &mut others => break,
                    () = to.closed() => break,
                };
                let Some(question) = question else {
                    let later = "another stream of this extension has begun at this node";
                    let _gone = to.send(Err(Status::aborted(later))).await;
                    break;
                };
                if to.send(Ok(question)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn answer(
        &self,
        request: Request<api::AnswerRequest>,
    ) -> Result<Response<api::AnswerReply>, Status> {
        let grant = self.caller(&request, Verb::Decide)?;
        let (name, answer) = (grant.subscriber.as_str(), request.into_inner());
        let gone = || Status::unavailable("the node stops");
        let deciding = self.deciding.as_ref().ok_or_else(gone)?;
        match deciding.borrowed.answer(name, &answer).await {
            Some(said) => said?,
            None => deciding.answer(name, QuestionId(answer.id), answer.verdicts).await?,
        }
        Ok(Response::new(api::AnswerReply {}))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream of batches, until its client or a later stream ends it.
struct Stream {
    control: Arc<dyn Control>,
    session: OwnSession,
    subscriptions: Arc<Mutex<HashMap<String, Subscription>>>,
    place: (String, u64),
    standing: Arc<Standing>,
}

type To = mpsc::Sender<Result<api::Batch, Status>>;

impl Stream {
    async fn run(self, setup: Setup, said: mpsc::UnboundedReceiver<Said>, to: To) {
        self.standing.begin();
        let (give, mut given) = mpsc::unbounded_channel();
        let feeding =
            feed::run(Arc::clone(&self.control), setup, (give, said), Arc::clone(&self.standing));
        let passing = async {
            while let Some(word) = given.recv().await {
                if let Fed::Give(batch) = word {
                    let message = self.message(batch).await;
                    if to.send(message).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = feeding => {
                let later = "another stream of this extension has begun at this node";
                let _gone = to.try_send(Err(Status::aborted(later)));
            }
            () = passing => {}
            () = to.closed() => {}
        }
        let mut all = lock(&self.subscriptions);
        let (name, number) = &self.place;
        if all.get(name).is_some_and(|subscription| subscription.number == *number) {
            all.remove(name);
            self.standing.end();
        }
    }

    async fn message(&self, batch: Batch) -> Result<api::Batch, Status> {
        let content = match batch.content {
            Content::Reset { at } => batch::Content::Reset(api::Reset { modseq: at.0 }),
            Content::Events { events, .. } => {
                let names = self.names(batch.user).await?;
                let event = |event: mailstore::face::Event| {
                    let (kind, uids) = match event.change {
                        EventChange::Arrived(uids) => ("arrived", uids),
                        EventChange::Flagged(uids) => ("flagged", uids),
                        EventChange::Vanished(uids) => ("vanished", uids),
                    };
                    let range = |&(first, last): &(u32, u32)| api::UidRange { first, last };
                    api::Event {
                        r#type: kind.to_owned(),
                        folder: names.get(&event.folder).cloned().unwrap_or_default(),
                        folder_id: event.folder.0,
                        uids: uids.ranges().iter().map(range).collect(),
                        modseq: event.mod_seq.0,
                    }
                };
                batch::Content::Events(api::Events {
                    events: events.into_iter().map(event).collect(),
                })
            }
        };
        Ok(api::Batch {
            id: batch.id.0,
            account: batch.account.to_string(),
            content: Some(content),
        })
    }

    /// Names of the folders of a user, by id.
    async fn names(&self, user: UserId) -> Result<HashMap<FolderId, String>, Status> {
        let folders = mail::folder_names(&self.session, user).await?;
        Ok(folders.into_iter().map(|(id, name, _)| (id, name.as_str().to_owned())).collect())
    }
}
