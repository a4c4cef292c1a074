//! The first start of a node whose file lists several: it joins the cluster that one of the others knows, or founds one when it
//! is the first in the list and every other says that it knows of none.
//!
//! A node that can't be reached may know one: it is waited for. So a node that has lost its disk never founds a second cluster.

use super::handshake::{self, Kind};
use super::{Credentials, Other, stream};
use crate::config::LogLevel;
use crate::serve::identity::Known;
use dds::DpMap;
use dds::cluster::{Incarnation, NodeId};
use mailstore::mailbox::Restored;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const ASK_EVERY: Duration = Duration::from_millis(300);
/// How long a node with data waits at its start for what others know. Our choice: a dead host must not keep it from starting;
/// whom it can't ask now it hears of when they connect.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Rounds of asking between two lines of the log.
const ROUNDS_SILENT: u32 = 16;

/// What a node begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// There is none: this node founds it.
    Found,
    Join(Known),
}

/// What one of the others says that has data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub name: String,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub known: Known,
}

/// What one of the others says.
enum Word {
    Knows(Told),
    KnowsNone,
    Silent,
}

/// Asks the others until it is clear what to do. Meanwhile it answers those who ask the same.
///
/// # Errors
/// When the address can't be listened on.
pub async fn find_cluster(
    credentials: Arc<Credentials>,
    listen: SocketAddr,
    others: &[Other],
    founds: bool,
) -> anyhow::Result<Cluster> {
    let listener = tokio::net::TcpListener::from_std(super::bind(listen)?)?;
    let answering = Arc::clone(&credentials);
    let answers = async move {
        // Side by side: who calls and says nothing must not keep others from being answered.
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, from)) if under_way.len() < super::HANDSHAKES_MAX => {
                        let answering = Arc::clone(&answering);
                        under_way.spawn(async move {
                            let answered = async {
                                let stream = stream::accept(socket, answering.tls.as_ref()).await?;
                                handshake::answer(stream, &answering).await
                            };
                            if let Err(error) = answered.await {
                                error.note(&from.ip().to_string());
                            }
                        });
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(_ended) = under_way.join_next() => {}
            }
        }
    };
    tokio::select! {
        cluster = ask_all(&credentials, others, founds) => Ok(cluster),
        () = answers => unreachable!("it answers for ever"),
    }
}

async fn ask_all(credentials: &Credentials, others: &[Other], founds: bool) -> Cluster {
    let mut rounds = 0;
    loop {
        let mut silent = Vec::new();
        for other in others {
            match ask(credentials, other).await {
                Word::Knows(told) => return Cluster::Join(told.known),
                Word::KnowsNone => {}
                Word::Silent => silent.push(other.name.clone()),
            }
        }
        let first = others.iter().all(|other| other.node > credentials.node);
        if first && (silent.is_empty() || founds) {
            return Cluster::Found;
        }
        if rounds % ROUNDS_SILENT == 0 {
            let what = "waiting for the other nodes: this one has no data yet, and must not found a second cluster";
            let with = vec![("not reached", silent.join(", "))];
            crate::log::note(LogLevel::Info, what, with);
        }
        rounds += 1;
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// What those of the others know that answer at once. For a node that has data: it may be of another cluster than they are.
pub async fn ask_once(credentials: &Arc<Credentials>, others: &[Other]) -> Vec<Told> {
    let mut asked = tokio::task::JoinSet::new();
    for other in others {
        let (credentials, other) = (Arc::clone(credentials), other.clone());
        asked.spawn(
            async move { tokio::time::timeout(ANSWER_TIME, ask(&credentials, &other)).await },
        );
    }
    let mut known = Vec::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok(Ok(Word::Knows(told))) = answer {
            known.push(told);
        }
    }
    known
}

async fn ask(credentials: &Credentials, other: &Other) -> Word {
    let asked = async {
        let stream = stream::connect(other.address, credentials.tls.as_ref()).await?;
        let node: NodeId = other.node;
        handshake::call(stream, credentials, (node, Kind::Probe, 0)).await
    };
    match asked.await {
        Ok((hello, welcome, _)) => match welcome.map {
            Some((partitions, hash_key)) => {
                let (steps, unix_micros) = welcome.restored;
                let map = DpMap { partitions, hash_key };
                let restored = Restored { steps, unix_micros };
                let known = Known { map, restored, life: welcome.life };
                let (node, incarnation) = (other.node, Incarnation(hello.incarnation));
                Word::Knows(Told { name: other.name.clone(), node, incarnation, known })
            }
            None => Word::KnowsNone,
        },
        Err(error) => {
            error.note(&other.name);
            Word::Silent
        }
    }
}
