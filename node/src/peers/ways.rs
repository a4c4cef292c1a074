//! Ways to another node: straight, or through a third one while the network between the two fails and both reach that one.
//!
//! The third carries bytes and no more: the two greet each other through it as they would without it, with TLS and proofs of their own, and their
//! link is like any other, with its end told to both sides. So what fails between two hosts stays between them, and no machine knows
//! of it. Only a host that does not answer is reached so: a process that has ended is nowhere else either.
//!
//! A third node reaches straight only, so that no way goes in a circle.

use super::handshake::{self, Hello, Kind, Refused};
use super::stream::{self, Stream};
use super::{Hub, Other, WIRES};
use crate::config::LogLevel;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;
use vspace::Wire;

/// Between two attempts to reach a node. Our choice: a restarted node is found soon, a dead one costs little.
const DIAL_EVERY: Duration = Duration::from_millis(200);

/// Between two looks whether the straight way works again, and how many in a row have to succeed before it is taken: the change
/// ends the link for a moment. Our choice: a network that flaps does not count as mended.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOKS_WANTED: u32 = 3;

/// Asks a third node for the way to another one.
#[derive(Debug, Serialize, Deserialize)]
struct WayTo {
    node: u16,
}

/// Its answer. When it reaches that node, whatever follows is carried.
#[derive(Debug, Serialize, Deserialize)]
struct Reached {
    reached: bool,
}

/// The connections of a link, greeted.
type Greeted = Vec<(Wire, Hello, Stream)>;

/// Keeps the connections with one node.
pub async fn dial_always(hub: Rc<Hub>, other: Other) {
    loop {
        match dial(&hub, &other).await {
            Ok((greeted, third)) => keep(&hub, &other, (greeted, third)).await,
            Err(error) => hub.refused(&error, &other.name),
        }
        tokio::time::sleep(DIAL_EVERY).await;
    }
}

/// Until the link ends; one that goes through a third node, until the straight way is there again.
async fn keep(hub: &Rc<Hub>, other: &Other, (greeted, third): (Greeted, Option<String>)) {
    let mut carried = tokio::task::JoinSet::new();
    for (wire, hello, stream) in greeted {
        let hub = Rc::clone(hub);
        carried.spawn_local(async move { hub.carry(wire, hello, stream).await });
    }
    // When one ends the link does, and with it the others.
    let ended = async { while carried.join_next().await.is_some() {} };
    let Some(third) = third else { return ended.await };
    hub.setup.standings.on_carried(other.node, &third);
    let with = vec![("node", other.name.clone()), ("through", third)];
    crate::log::note(LogLevel::Warn, "a node is reached through another one only", with);
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        () = straight_again(hub, other) => {
            let with = vec![("node", other.name.clone())];
            crate::log::note(LogLevel::Info, "a node is reached straight again", with);
            hub.end_link(other.node);
            ended.await;
        }
    }
}

/// Dials straight, else through those who are reached. With the name of who is between.
async fn dial(hub: &Hub, other: &Other) -> Result<(Greeted, Option<String>), Refused> {
    let number = crate::serve::draw().unwrap_or_default();
    let straight = async |wire| {
        let stream = stream::connect(other.address, hub.setup.credentials.tls.as_ref()).await?;
        let (hello, stream) = greet(hub, other, (Kind::of(wire), number), stream).await?;
        Ok((wire, hello, stream))
    };
    let unreached = match all(straight).await {
        Ok(greeted) => return Ok((greeted, None)),
        Err(Refused::NoWay(error)) => Refused::NoWay(error),
        Err(error) => return Err(error),
    };
    for third in hub.reached_besides(other.node) {
        let through = async |wire| {
            let stream = ask_for_way(hub, &third, (other, number)).await?;
            let (hello, stream) = greet(hub, other, (Kind::of(wire), number), stream).await?;
            Ok((wire, hello, stream))
        };
        if let Ok(greeted) = all(through).await {
            return Ok((greeted, Some(third.name)));
        }
    }
    Err(unreached)
}

/// All connections of a link, or the first reason why not.
async fn all(
    make: impl AsyncFn(Wire) -> Result<(Wire, Hello, Stream), Refused>,
) -> Result<Greeted, Refused> {
    let [control, data, bulk] = WIRES;
    let (control, data, bulk) = tokio::try_join!(make(control), make(data), make(bulk))?;
    Ok(vec![control, data, bulk])
}

async fn greet(
    hub: &Hub,
    other: &Other,
    (kind, number): (Kind, u64),
    stream: Stream,
) -> Result<(Hello, Stream), Refused> {
    let call = (other.node, kind, number);
    let (hello, _, stream) = handshake::call(stream, &hub.setup.credentials, call).await?;
    Ok((hello, stream))
}

/// A connection with `other` that `third` carries, not greeted yet.
async fn ask_for_way(
    hub: &Hub,
    third: &Other,
    (other, number): (&Other, u64),
) -> Result<Stream, Refused> {
    let tls = hub.setup.credentials.tls.as_ref();
    let stream = stream::connect(third.address, tls).await?;
    let (_, mut stream) = greet(hub, third, (Kind::Relay, number), stream).await?;
    handshake::send(&mut stream, &WayTo { node: other.node.0 }).await?;
    let (answer, _): (Reached, _) = handshake::receive(&mut stream).await?;
    if !answer.reached {
        return Err(Refused::NoWay(std::io::ErrorKind::HostUnreachable.into()));
    }
    stream::connect_over(stream.bytes, other.address, tls).await
}

/// Carries a connection of the caller to the node that it names, until either ends.
pub async fn relay(hub: &Hub, mut stream: Stream) -> Result<(), Refused> {
    let (WayTo { node }, _) = handshake::receive(&mut stream).await?;
    let other = hub.setup.others.iter().find(|other| other.node.0 == node);
    let room = hub.relays.try_acquire().ok();
    let socket = match (other, &room) {
        (Some(other), Some(_)) => stream::reach(other.address).await.ok(),
        _ => None,
    };
    handshake::send(&mut stream, &Reached { reached: socket.is_some() }).await?;
    let Some(mut socket) = socket else { return Ok(()) };
    let (mut from_there, mut to_there) = socket.split();
    let (mut from_here, mut to_here) = tokio::io::split(stream.bytes);
    tokio::select! {
        // A node ends whole connections: when one direction has ended nobody waits for the other.
        _ended = tokio::io::copy(&mut from_here, &mut to_there) => {}
        _ended = tokio::io::copy(&mut from_there, &mut to_here) => {}
    }
    Ok(())
}

/// Returns once the other node is reached without a third one, and was for a while.
async fn straight_again(hub: &Hub, other: &Other) {
    let mut looks = 0;
    while looks < LOOKS_WANTED {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = async {
            let stream = stream::connect(other.address, hub.setup.credentials.tls.as_ref()).await?;
            greet(hub, other, (Kind::Probe, 0), stream).await
        };
        looks = if look.await.is_ok() { looks + 1 } else { 0 };
    }
}
