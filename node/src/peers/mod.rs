//! Connections with the other nodes of the cluster, on a thread of their own.
//!
//! Each pair of nodes has three connections ([`Wire`]): for pings and the control plane, for logs, requests and tasks, and for what
//! is large and may wait, so that a page of a partition delays neither a ping nor an entry. The node with the higher number makes
//! them. A link is up while all stand; when one ends the others are ended too, so that both sides know that something may be lost.
//! Two nodes that do not reach each other are connected through a third one (`ways`).
//!
//! Absences: nothing here decides; what a packet means is the machines' to know.

mod bootstrap;
mod carry;
mod credentials;
mod handshake;
mod standing;
mod stream;
mod traffic;
mod ways;

pub use bootstrap::{Cluster, Told, ask_once, find_cluster};
pub use credentials::{Credentials, TlsPair, read_secret};
pub use standing::Standings;
pub use stream::client_config;
pub use traffic::{Sent, Traffic};

use crate::control::ByteStream;
use crate::life::Stranger;
use carry::Lanes;
use dds::cluster::NodeId;
use handshake::{Hello, Kind};
use stages::{Clock, PortSender};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use vspace::{Inward, LinkState, Packet, Places, Wire};

/// The connections of a link.
const WIRES: [Wire; 3] = [Wire::Control, Wire::Data, Wire::Bulk];

/// Greetings under way at once. Our choice: three of every node of a large cluster; who does not belong to it takes no more.
const HANDSHAKES_MAX: usize = 64;

/// Connections of others that this node carries at once. Our choice: more than the pairs of nodes of a cluster that is worth keeping.
const RELAYS_MAX: usize = 64;

/// Packets that may wait for one node. Our choice: more than the windows of replication let through on a connection that works.
const WAITING_MAX: usize = 100_000;

/// Packets of one turn of a worker, in order.
pub type Batch = Vec<(NodeId, Packet)>;

/// Another node, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub node: NodeId,
    pub name: String,
    pub address: SocketAddr,
}

/// What the thread needs to know.
#[derive(Clone)]
pub struct Setup {
    pub credentials: Arc<Credentials>,
    pub places: Places,
    pub listen: SocketAddr,
    pub others: Vec<Other>,
    pub ports: Vec<PortSender<Inward>>,
    pub limits: Arc<dds::Limits>,
    /// Connections on which another node calls the admin API go there.
    pub admin: mpsc::UnboundedSender<Box<dyn ByteStream>>,
    /// Told of nodes of other clusters that have proved that they know the secret.
    pub on_stranger: Arc<dyn Fn(Stranger) + Send + Sync>,
    pub traffic: Arc<Traffic>,
    pub standings: Arc<Standings>,
}

/// Starts the thread. What is sent into the channel leaves; what arrives goes to the worker groups.
///
/// # Errors
/// When the address can't be listened on, or the thread can't be started.
pub fn start(setup: Setup) -> anyhow::Result<mpsc::UnboundedSender<Batch>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = bind(setup.listen)?;
    std::thread::Builder::new().name("peers".into()).spawn(move || {
        if let Err(error) = run(setup, listener, receiver) {
            eprintln!("hikyaku: the connections with other nodes ended: {error}");
            std::process::abort();
        }
    })?;
    Ok(sender)
}

fn bind(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    use anyhow::Context;
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    let bound = socket.bind(&address.into()).and_then(|()| socket.listen(128));
    bound.with_context(|| {
        format!(
            "the node can't listen for others on {address}: is it running already? See node.address"
        )
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn run(
    setup: Setup,
    listener: std::net::TcpListener,
    outgoing: mpsc::UnboundedReceiver<Batch>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let relays = Semaphore::new(RELAYS_MAX);
    let hub = Rc::new(Hub { setup, peers: RefCell::default(), relays });
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        for other in hub.setup.others.clone() {
            if other.node < hub.setup.credentials.node {
                tokio::task::spawn_local(ways::dial_always(Rc::clone(&hub), other));
            }
        }
        tokio::task::spawn_local(send_all(Rc::clone(&hub), outgoing));
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            match listener.accept().await {
                Ok((socket, from)) => {
                    // Who is one too many calls again.
                    if let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() {
                        let hub = Rc::clone(&hub);
                        tokio::task::spawn_local(welcome(hub, (socket, from), permit));
                    }
                }
                // Out of descriptors, or the caller has gone: others may come.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
}

/// What the tasks of the thread share.
struct Hub {
    setup: Setup,
    peers: RefCell<BTreeMap<NodeId, Link>>,
    /// Room for connections of others that go through this node.
    relays: Semaphore,
}

/// The connections with one node.
#[derive(Default)]
struct Link {
    /// Which of the calls of the other node its connections are of, and the directory of that process.
    made: (u64, u64),
    lanes: BTreeMap<Wire, Lane>,
    /// Rises when a connection ends or is replaced.
    life: u64,
}

struct Lane {
    queue: mpsc::UnboundedSender<Vec<Packet>>,
    /// Packets that were not written yet.
    waiting: Rc<Cell<usize>>,
    /// Ends the connection when it is dropped.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Link {
    fn is_up(&self) -> bool {
        self.lanes.len() == WIRES.len()
    }
}

impl Hub {
    /// Sends to every worker group.
    fn tell_all(&self, node: NodeId, link: LinkState) {
        for port in &self.setup.ports {
            port.complete(Clock.mono(), vec![Inward::Link { node, link }]);
        }
    }

    /// A connection stands: it carries packets until either side ends it.
    async fn carry(self: &Rc<Self>, wire: Wire, hello: Hello, stream: stream::Stream) {
        let node = NodeId(hello.node);
        let (queue, outgoing) = mpsc::unbounded_channel();
        let waiting = Rc::new(Cell::new(0));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let lane = Lane { queue, waiting: Rc::clone(&waiting), _stop: stop };
        let Some(life) = self.place(wire, &hello, lane) else { return };
        let lanes = Lanes { setup: &self.setup, peer: &hello };
        tokio::select! {
            () = lanes.run(stream, (outgoing, &waiting)) => {}
            _stopped = stopped => {}
        }
        let mut peers = self.peers.borrow_mut();
        if let Some(link) = peers.get_mut(&node)
            && link.life == life
        {
            self.end(node, link);
        }
    }

    /// Makes a connection part of the link; which life of it that is. `None`: it is not wanted.
    fn place(&self, wire: Wire, hello: &Hello, lane: Lane) -> Option<u64> {
        let node = NodeId(hello.node);
        let mut peers = self.peers.borrow_mut();
        let link = peers.entry(node).or_default();
        let made = (hello.pair, hello.incarnation);
        if link.is_up() && link.made.1 != hello.incarnation {
            // The one that is connected may be either; it must not be torn between them.
            handshake::Refused::Twice(hello.node).note(&hello.name);
            return None;
        }
        if link.lanes.contains_key(&wire) || link.made != made {
            // It has begun anew, and this side has not noticed the end.
            self.end(node, link);
        }
        link.made = made;
        link.lanes.insert(wire, lane);
        if link.is_up() {
            let with = vec![("node", hello.name.clone())];
            crate::log::note(crate::config::LogLevel::Info, "node reached", with);
            self.setup.standings.on_up(node);
            self.tell_all(node, LinkState::Up);
        }
        Some(link.life)
    }

    /// A connection was not made.
    fn refused(&self, error: &handshake::Refused, whom: &str) {
        error.note(whom);
        if let handshake::Refused::OtherCluster(stranger) = error {
            (self.setup.on_stranger)(*stranger);
        }
    }

    /// Ends the link with a node, if it is up.
    fn end_link(&self, node: NodeId) {
        if let Some(link) = self.peers.borrow_mut().get_mut(&node) {
            self.end(node, link);
        }
    }

    /// Nodes that are reached, besides `node`.
    fn reached_besides(&self, node: NodeId) -> Vec<Other> {
        let peers = self.peers.borrow();
        let is_up = |other: &&Other| peers.get(&other.node).is_some_and(Link::is_up);
        let others = self.setup.others.iter().filter(|other| other.node != node);
        others.filter(is_up).cloned().collect()
    }

    /// All connections end.
    fn end(&self, node: NodeId, link: &mut Link) {
        if link.is_up() {
            let known = self.setup.others.iter().find(|other| other.node == node);
            let name = known.map_or_else(|| node.0.to_string(), |other| other.name.clone());
            let with = vec![("node", name)];
            crate::log::note(crate::config::LogLevel::Warn, "node lost", with);
            self.setup.standings.on_lost(node);
            self.tell_all(node, LinkState::Lost);
        }
        link.lanes.clear();
        link.life += 1;
    }
}

/// Distributes what the workers send.
async fn send_all(hub: Rc<Hub>, mut outgoing: mpsc::UnboundedReceiver<Batch>) {
    while let Some(batch) = outgoing.recv().await {
        let mut lanes: BTreeMap<(NodeId, Wire), Vec<Packet>> = BTreeMap::new();
        for (node, packet) in batch {
            lanes.entry((node, packet.wire())).or_default().push(packet);
        }
        let mut peers = hub.peers.borrow_mut();
        for ((node, wire), packets) in lanes {
            let Some(link) = peers.get_mut(&node) else { continue };
            let Some(lane) = link.lanes.get(&wire) else { continue };
            lane.waiting.set(lane.waiting.get() + packets.len());
            if lane.waiting.get() > WAITING_MAX {
                // It takes nothing: what waits is worth less than the memory.
                hub.end(node, link);
                continue;
            }
            // A lane that ends loses what it had: the link is told lost.
            let _sent = lane.queue.send(packets);
        }
    }
}

/// A connection for calls of the admin API of another node.
///
/// # Errors
/// It can't be reached, or is no node of the cluster.
pub async fn call_admin(
    credentials: &Credentials,
    other: &Other,
) -> Result<Box<dyn ByteStream>, handshake::Refused> {
    let stream = stream::connect(other.address, credentials.tls.as_ref()).await?;
    let asked = (other.node, Kind::Admin, 0);
    let (_, _, stream) = handshake::call(stream, credentials, asked).await?;
    Ok(stream.bytes)
}

/// Somebody calls.
async fn welcome(
    hub: Rc<Hub>,
    (socket, from): (tokio::net::TcpStream, SocketAddr),
    permit: tokio::sync::OwnedSemaphorePermit,
) {
    let credentials = Arc::clone(&hub.setup.credentials);
    let answered = async {
        let stream = stream::accept(socket, credentials.tls.as_ref()).await?;
        handshake::answer(stream, &credentials).await
    };
    let answered = answered.await;
    drop(permit);
    match answered {
        Ok((_, Kind::Admin, stream)) => {
            // Nobody takes it any more when the node stops.
            let _taken = hub.setup.admin.send(stream.bytes);
        }
        Ok((hello, Kind::Relay, stream)) => {
            if let Err(error) = ways::relay(&hub, stream).await {
                error.note(&hello.name);
            }
        }
        Ok((hello, kind, stream)) => {
            if let Some(wire) = kind.wire() {
                hub.carry(wire, hello, stream).await;
            }
        }
        Err(error) => hub.refused(&error, &from.ip().to_string()),
    }
}
