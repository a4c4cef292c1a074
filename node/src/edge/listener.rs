//! Listeners: binding, accepting, the PROXY protocol, and how many connections one address may hold.

use super::group::{Arrival, ArrivedSocket};
use super::proxy;
use crate::config::{Address, Listener, Network, Service as Listened, TlsMode};
use mailstore::face::{Peer, Protocol, SessionId};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;
/// How long a proxy may take for its header.
const PROXY_HEADER_TIME: Duration = Duration::from_secs(5);

/// A socket that listens, not yet registered with a runtime.
pub enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A bound listener and its address.
pub struct Bound {
    pub socket: Socket,
    pub state: Arc<ListenerState>,
}

/// What is known and counted of a listener.
#[derive(Debug)]
pub struct ListenerState {
    pub config: Listener,
    /// With the port that the kernel chose.
    pub address: String,
    pub open: AtomicU64,
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
}

impl ListenerState {
    /// Nobody came yet.
    pub fn new(config: Listener, address: String) -> Self {
        let (open, accepted, refused) = Default::default();
        Self { config, address, open, accepted, refused }
    }
}

/// What every connection's peer is told, and how many may come.
#[derive(Debug)]
pub struct Doorkeeper {
    pub hostname: Arc<str>,
    pub plaintext_on_loopback: bool,
    pub lmtp_from: Vec<Network>,
    connections_max: AtomicU64,
    connections_per_ip_max: AtomicU64,
    open: Mutex<(u64, HashMap<IpAddr, u64>)>,
}

impl Doorkeeper {
    pub fn new(hostname: Arc<str>, config: &crate::config::Config) -> Self {
        Self {
            hostname,
            plaintext_on_loopback: config.auth.allow_plaintext_on_loopback,
            lmtp_from: config.listen.lmtp_from.clone(),
            connections_max: u64::from(config.limits.connections).into(),
            connections_per_ip_max: u64::from(config.limits.connections_per_ip).into(),
            open: Mutex::default(),
        }
    }

    /// Other limits, for connections from now on.
    pub fn set_limits(&self, limits: &crate::config::Limits) {
        self.connections_max.store(limits.connections.into(), Relaxed);
        self.connections_per_ip_max.store(limits.connections_per_ip.into(), Relaxed);
    }

    /// Counts a connection; false when there are too many. Loopback is not limited by address.
    fn enter(&self, ip: IpAddr) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = open.1.get(&ip).copied().unwrap_or(0);
        let crowded = !ip.is_loopback() && of_ip >= self.connections_per_ip_max.load(Relaxed);
        if crowded || open.0 >= self.connections_max.load(Relaxed) {
            return false;
        }
        open.0 += 1;
        open.1.insert(ip, of_ip + 1);
        true
    }

    /// A connection has ended.
    pub fn leave(&self, ip: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        if let Some(count) = open.1.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                open.1.remove(&ip);
            }
        }
    }

    fn peer(&self, listener: &Listener, ip: IpAddr) -> Peer {
        let local = ip.to_canonical().is_loopback();
        let unix = matches!(listener.address, Address::Unix(_));
        Peer {
            session: SessionId(0),
            protocol: protocol_of(listener.service),
            ip: ip.to_canonical(),
            hostname: Arc::clone(&self.hostname),
            tls: None,
            tls_available: listener.tls == TlsMode::StartTls,
            plaintext_auth: self.plaintext_on_loopback && (local || unix),
            trusted: local || unix || self.lmtp_from.iter().any(|network| network.contains(ip)),
        }
    }
}

fn protocol_of(service: Listened) -> Protocol {
    match service {
        Listened::Smtp => Protocol::Smtp,
        Listened::Lmtp => Protocol::Lmtp,
        Listened::Submission | Listened::Submissions => Protocol::Submission,
        Listened::Imap | Listened::Imaps => Protocol::Imap,
        Listened::Pop3 | Listened::Pop3s => Protocol::Pop3,
        Listened::Http
        | Listened::Https
        | Listened::Admin
        | Listened::Node
        | Listened::Extensions
        | Listened::Socketmap => Protocol::Http,
    }
}

/// Binds a mail listener.
///
/// # Errors
/// When the address can't be bound.
pub fn bind(config: &Listener) -> io::Result<Bound> {
    let (socket, address) = match &config.address {
        Address::Tcp(address) => {
            let listener = bind_tcp(*address)?;
            let bound = listener.local_addr()?.to_string();
            (Socket::Tcp(listener), bound)
        }
        Address::Unix(path) => {
            // A socket left behind by an earlier run: nobody listens there.
            if std::os::unix::net::UnixStream::connect(path).is_err() && path.exists() {
                std::fs::remove_file(path)?;
            }
            let listener = std::os::unix::net::UnixListener::bind(path)?;
            let mode = config.mode.unwrap_or(0o660);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
            listener.set_nonblocking(true)?;
            (Socket::Unix(listener), format!("unix:{}", path.display()))
        }
    };
    Ok(Bound { socket, state: Arc::new(ListenerState::new(config.clone(), address)) })
}

fn bind_tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until the task is dropped; hands every connection to `arrive`.
///
/// # Errors
/// When the socket can't be registered with the runtime.
pub async fn accept_on(
    bound: Bound,
    index: usize,
    door: Arc<Doorkeeper>,
    arrive: std::rc::Rc<dyn Fn(Arrival)>,
) -> io::Result<()> {
    let state = bound.state;
    match bound.socket {
        Socket::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((stream, from)) => {
                        let found = Found { index, ip: from.ip(), state: Arc::clone(&state) };
                        let (door, arrive) = (Arc::clone(&door), std::rc::Rc::clone(&arrive));
                        if proxied(&state.config, from.ip()) {
                            tokio::task::spawn_local(async move {
                                let read = proxy::read_header(&stream);
                                let header = tokio::time::timeout(PROXY_HEADER_TIME, read).await;
                                if let Ok(Ok(source)) = header {
                                    let ip = source.unwrap_or(found.ip);
                                    admit_tcp(stream, Found { ip, ..found }, &door, &*arrive);
                                }
                            });
                        } else {
                            admit_tcp(stream, found, &door, &*arrive);
                        }
                    }
                    Err(_) => rest_after_error().await,
                }
            }
        }
        Socket::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
                        let found = Found { index, ip, state: Arc::clone(&state) };
                        if let Ok(stream) = stream.into_std() {
                            found.admit(ArrivedSocket::Unix(stream), &door, &*arrive);
                        }
                    }
                    Err(_) => rest_after_error().await,
                }
            }
        }
    }
}

fn proxied(config: &Listener, ip: IpAddr) -> bool {
    config.proxy_protocol_from.iter().any(|network| network.contains(ip))
}

/// Out of descriptors, most likely: others must end before more can begin.
async fn rest_after_error() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn admit_tcp(
    stream: tokio::net::TcpStream,
    found: Found,
    door: &Doorkeeper,
    arrive: &dyn Fn(Arrival),
) {
    if let Ok(stream) = stream.into_std() {
        found.admit(ArrivedSocket::Tcp(stream), door, arrive);
    }
}

/// A connection that was accepted, and from whom.
struct Found {
    index: usize,
    ip: IpAddr,
    state: Arc<ListenerState>,
}

impl Found {
    fn admit(self, socket: ArrivedSocket, door: &Doorkeeper, arrive: &dyn Fn(Arrival)) {
        let peer = door.peer(&self.state.config, self.ip);
        if !door.enter(peer.ip) {
            self.state.refused.fetch_add(1, Relaxed);
            turn_away(&socket, &self.state.config);
            return;
        }
        self.state.accepted.fetch_add(1, Relaxed);
        self.state.open.fetch_add(1, Relaxed);
        let implicit_tls = self.state.config.tls == TlsMode::Implicit;
        arrive(Arrival { socket, peer, listener: self.index, implicit_tls });
    }
}

/// Says in the protocol's words that there are too many connections.
fn turn_away(socket: &ArrivedSocket, config: &Listener) {
    use std::io::Write;
    let words: &[u8] = match (config.tls, protocol_of(config.service)) {
        (TlsMode::Implicit, _) | (_, Protocol::Http) => return,
        (_, Protocol::Smtp | Protocol::Lmtp | Protocol::Submission) => {
            b"421 4.3.2 too many connections, try again later\r\n"
        }
        (_, Protocol::Imap) => b"* BYE [LIMIT] too many connections, try again later\r\n",
        (_, Protocol::Pop3) => b"-ERR [SYS/TEMP] too many connections, try again later\r\n",
    };
    // A client that does not even take one line learns it from the end of the connection.
    let _said = match socket {
        ArrivedSocket::Tcp(stream) => (&*stream).write(words),
        ArrivedSocket::Unix(stream) => (&*stream).write(words),
    };
}
