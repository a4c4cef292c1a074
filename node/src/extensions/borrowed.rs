//! An extension that decides and is connected to this node is asked by the others as well: this node calls each of them, takes the questions
//! for which nobody is connected there, and brings back what is said of them.
//!
//! Invariants: a node waits for an answer by its own clock, however it asks; whoever is connected to a node is asked there and nowhere else.
//! Absences: nothing is kept here that the asking node does not know: when a call ends, it goes on without an answer.

use super::api;
use super::deciding::Deciding;
use crate::admin::api as admin;
use crate::admin::{Peer, reach};
use crate::control::Control;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// How often it is looked which nodes there are, and how long a node is left alone after a call that ended. Our choice.
const AGAIN: Duration = Duration::from_secs(1);
/// The same for one whose file does not know the extension.
const AGAIN_IF_UNKNOWN: Duration = Duration::from_secs(30);
/// Questions of other nodes whose answers are waited for. Beyond them the oldest are forgotten; they are late by then.
const BORROWED_MAX: usize = 4096;
/// In the ids of questions of other nodes: no node asks so many questions of its own.
const BORROWED: u64 = 1 << 62;

/// Questions of other nodes that an extension has here, by the ids that it knows them by.
#[derive(Clone, Default)]
pub struct Borrowed(Arc<Mutex<Questions>>);

#[derive(Default)]
struct Questions {
    taken: u64,
    open: BTreeMap<u64, Question>,
}

/// Where an answer goes.
#[derive(Clone)]
struct Question {
    extension: Arc<str>,
    peer: Peer,
    /// As the node that asks knows it.
    id: u64,
}

impl Borrowed {
    /// Takes a question; the id under which it is answered.
    fn take(&self, question: Question) -> u64 {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        questions.taken += 1;
        let id = BORROWED | questions.taken;
        questions.open.insert(id, question);
        if questions.open.len() > BORROWED_MAX {
            questions.open.pop_first();
        }
        id
    }

    /// Brings an answer to the node that asked; `None`: it is a question of this node.
    pub async fn answer(
        &self,
        extension: &str,
        answer: &api::AnswerRequest,
    ) -> Option<Result<(), Status>> {
        if answer.id & BORROWED == 0 {
            return None;
        }
        let found = {
            let questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            questions.open.get(&answer.id).filter(|it| *it.extension == *extension).cloned()
        };
        let Some(mut question) = found else {
            return Some(Err(Status::failed_precondition(
                "the question is not waited for any more",
            )));
        };
        let own = api::AnswerRequest { id: question.id, verdicts: answer.verdicts.clone() };
        let request = admin::StandInAnswerRequest {
            extension: extension.to_owned(),
            answer: own.encode_to_vec(),
        };
        let said = question.peer.stand_in_answer(request).await.map(drop);
        // What is not understood may be said in other words.
        if said.as_ref().err().is_none_or(|status| status.code() != Code::InvalidArgument) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&answer.id);
        }
        Some(said)
    }
}

/// Asks the other nodes for questions, until it is dropped or nobody takes them.
pub async fn borrow(
    control: Arc<dyn Control>,
    (deciding, extension): (Deciding, Arc<str>),
    to: mpsc::Sender<api::Question>,
) {
    let mut calls = JoinSet::new();
    let mut called = BTreeSet::new();
    loop {
        for node in control.others() {
            if called.insert(node.clone()) {
                let call = Call {
                    control: Arc::clone(&control),
                    borrowed: deciding.borrowed.clone(),
                    extension: Arc::clone(&extension),
                    node,
                    to: to.clone(),
                };
                calls.spawn(call.again_and_again());
            }
        }
        tokio::select! {
            () = to.closed() => return,
            Some(Ok(node)) = calls.join_next() => {
                called.remove(&node);
            }
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// To one node.
struct Call {
    control: Arc<dyn Control>,
    borrowed: Borrowed,
    extension: Arc<str>,
    node: String,
    to: mpsc::Sender<api::Question>,
}

impl Call {
    /// As long as the node is one of the cluster.
    async fn again_and_again(self) -> String {
        while !self.to.is_closed() && self.control.others().contains(&self.node) {
            let again = match self.once().await.err().map(|status| status.code()) {
                Some(Code::NotFound | Code::Unimplemented) => AGAIN_IF_UNKNOWN,
                Some(_) | None => AGAIN,
            };
            tokio::time::sleep(again).await;
        }
        self.node
    }

    async fn once(&self) -> Result<(), Status> {
        let mut peer = reach(&self.control, &self.node).await?;
        let request = admin::StandInRequest {
            extension: self.extension.to_string(),
            node: self.control.node_name(),
        };
        let mut questions = peer.stand_in(request).await?.into_inner();
        while let Some(asked) = questions.message().await? {
            let wrong = |_| Status::internal("a question that this release does not understand");
            let mut question = api::Question::decode(asked.question.as_slice()).map_err(wrong)?;
            let (extension, peer) = (Arc::clone(&self.extension), peer.clone());
            question.id = self.borrowed.take(Question { extension, peer, id: question.id });
            if self.to.send(question).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Gives another node the questions that are asked here, as long as it listens.
///
/// # Errors
/// No extension of that name decides here.
pub fn lend(
    deciding: Option<&Deciding>,
    request: &admin::StandInRequest,
    to: mpsc::Sender<Result<admin::StandInQuestion, Status>>,
) -> Result<(), Status> {
    let admin::StandInRequest { extension, node } = request;
    let mut seat = deciding.and_then(|it| it.join(extension, Some(node))).ok_or_else(|| {
        Status::not_found(format!("{extension}: cluster.toml of this node names none that decides"))
    })?;
    tokio::spawn(async move {
        loop {
            let question = tokio::select! {
                question = seat.next() => question,
                () = to.closed() => return,
            };
            let Some(question) = question else { return };
            let question = question.encode_to_vec();
            if to.send(Ok(admin::StandInQuestion { question })).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// What an extension says that is connected to another node.
///
/// # Errors
/// As [`Deciding::answer`].
pub async fn answered(
    deciding: Option<&Deciding>,
    request: admin::StandInAnswerRequest,
) -> Result<(), Status> {
    let admin::StandInAnswerRequest { extension, answer } = request;
    let gone = || Status::unavailable("the node starts or stops");
    let deciding = deciding.ok_or_else(gone)?;
    let wrong = |_| Status::invalid_argument("the answer is no AnswerRequest");
    let api::AnswerRequest { id, verdicts } =
        api::AnswerRequest::decode(answer.as_slice()).map_err(wrong)?;
    deciding.answer(&extension, events::QuestionId(id), verdicts).await
}
