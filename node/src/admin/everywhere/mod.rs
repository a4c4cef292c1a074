//! What is asked of every node of the cluster: the one that is asked by an operator asks the others, over connections that the
//! secret of the cluster opens, by the same API.
//!
//! A node that does not answer is named, with the reason: an answer without it never looks like the whole.

mod backup;
mod check;
mod compare;
mod events;
mod looks;

pub use backup::backup;
pub use check::check;
pub use events::{events, stage_history};
pub use looks::{kick, sessions, status};

use super::api::{self, admin_client::AdminClient};
use super::own_session::status_of;
use crate::control::{ByteStream, Control, Progress};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A node that says nothing for as long, though it is asked whether it is there, does not answer. Our choice: a busy host may
/// stand still for some seconds, and a check of a dead one shall end.
const ASKED_AFTER: Duration = Duration::from_secs(3);
const SILENCE_MAX: Duration = Duration::from_secs(7);

/// A client of another node.
pub type Peer = AdminClient<Channel>;

type Node = Arc<dyn Control>;

/// What each of several nodes said, by name, in their order.
pub type Said<T> = Vec<(String, Result<T, Status>)>;

/// Connects to another node.
pub async fn reach(control: &Node, node: &str) -> Result<Peer, Status> {
    let stream = control.reach(node.to_owned()).await.map_err(|error| status_of(&error))?;
    let once: Mutex<Option<Box<dyn ByteStream>>> = Mutex::new(Some(stream));
    let connect = tower::service_fn(move |_| {
        let taken = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(
            // When it ends the call does: nothing is begun again behind its back.
            taken.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the connection ended")),
        )
    });
    let endpoint = Endpoint::from_static("http://node")
        .http2_keep_alive_interval(ASKED_AFTER)
        .keep_alive_timeout(SILENCE_MAX.saturating_sub(ASKED_AFTER))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector(connect).await;
    Ok(AdminClient::new(channel.map_err(|error| Status::unavailable(error.to_string()))?))
}

/// Asks nodes side by side, once it is clear which of them can be reached.
pub async fn ask<T, F>(
    control: &Node,
    nodes: &[String],
    call: impl Fn(String, Peer) -> F,
) -> Said<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let reaching = |node: &String| {
        let (control, node) = (Arc::clone(control), node.clone());
        async move { reach(&control, &node).await }
    };
    let reached = side_by_side(nodes.iter().map(reaching)).await;
    let calls = nodes.iter().zip(reached).map(|(node, peer)| {
        let call = peer.map(|peer| call(node.clone(), peer));
        async move { call?.await }
    });
    let said = side_by_side(calls).await;
    nodes.iter().cloned().zip(said).collect()
}

async fn side_by_side<T, F>(work: impl Iterator<Item = F>) -> Vec<Result<T, Status>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Status>> + Send + 'static,
{
    let under_way: Vec<_> = work.map(tokio::spawn).collect();
    let mut done = Vec::new();
    for task in under_way {
        // A task that panics has not answered.
        let ended = |_| Err(Status::internal("the call ended"));
        done.push(task.await.unwrap_or_else(ended));
    }
    done
}

/// Whether a node answered.
pub fn answer<T>((node, said): &(String, Result<T, Status>)) -> api::Answer {
    let silent = said.as_ref().err().map(|status| status.message().to_owned());
    api::Answer { node: node.clone(), silent }
}

/// Adds up how far several nodes are.
pub fn shares(progress: &Progress, nodes: usize) -> Vec<Progress> {
    let all: Arc<Mutex<BTreeMap<usize, (u64, u64)>>> = Arc::default();
    let share = |at: usize| -> Progress {
        let (all, progress) = (Arc::clone(&all), Arc::clone(progress));
        Arc::new(move |done, total| {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(at, (done, total));
            let sum = all.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            progress(sum.0, sum.1);
        })
    };
    (0..nodes).map(share).collect()
}
