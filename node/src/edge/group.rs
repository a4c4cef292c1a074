//! The thread of one worker group: its sockets, its sessions' connections and its worker, on one single-threaded runtime.
//!
//! The worker's loop is a task among the connections' tasks: connections that became readable are polled first, each puts what
//! it read into the hub, then the loop takes all of it in one turn. The thread sleeps in the runtime's poll and nowhere else.

use super::conn::{Conn, ConnTask};
use super::hub::{Hub, HubHost, Service};
use super::listener::{Bound, Doorkeeper};
use super::stream::{Socket, Stream};
use mailstore::face::Peer;
use stages::{Clock, Turn, Worker};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, Sleep};
use vspace::Inward;

/// A connection on its way from the listener to its worker.
pub struct Arrival {
    pub socket: ArrivedSocket,
    /// All but the session's id, which the worker gives.
    pub peer: Peer,
    pub listener: usize,
    pub implicit_tls: bool,
}

/// A socket that is not yet registered with a runtime.
pub enum ArrivedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Where a group's connections come from.
pub struct Entrance {
    pub arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// Listeners that this group accepts on, by their number; connections go to all groups in turn.
    pub listeners: Vec<(usize, Bound)>,
    pub groups: Vec<mpsc::UnboundedSender<Arrival>>,
    pub door: Arc<Doorkeeper>,
    /// Changes when the node takes no more connections.
    pub closing: watch::Receiver<bool>,
}

/// Runs the group until every sender to its worker is gone. Blocks the thread.
///
/// # Errors
/// When the runtime can't be built.
pub fn run(
    worker: Worker,
    group: usize,
    service: Arc<dyn Service>,
    entrance: Entrance,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hub = Rc::new(Hub::new(group, service));
    let worker = Rc::new(RefCell::new(worker));
    let local = LocalSet::new();
    let next_group = Rc::new(std::cell::Cell::new(0_usize));
    for (index, bound) in entrance.listeners {
        let (groups, next) = (entrance.groups.clone(), Rc::clone(&next_group));
        let arrive = Rc::new(move |arrival| {
            let group = next.replace(next.get().wrapping_add(1)) % groups.len();
            // A group that is gone is stopping, and so are we.
            let _sent = groups[group].send(arrival);
        });
        let door = Arc::clone(&entrance.door);
        let mut closing = entrance.closing.clone();
        local.spawn_local(async move {
            let address = bound.state.address.clone();
            tokio::select! {
                result = super::listener::accept_on(bound, index, door, arrive) => {
                    if let Err(error) = result {
                        eprintln!("hikyaku: the listener on {address} stopped: {error}");
                    }
                }
                // Also when the node is gone.
                _closing = closing.changed() => {}
            }
        });
    }
    local.spawn_local(welcome(Rc::clone(&hub), Rc::clone(&worker), entrance.arrivals));
    let turns = Turns {
        worker,
        host: HubHost(Rc::clone(&hub)),
        hub,
        sleep: Box::pin(tokio_sleep(&runtime)),
        waker_set: false,
        inward: Vec::new(),
    };
    runtime.block_on(local.run_until(turns));
    Ok(())
}

fn tokio_sleep(runtime: &tokio::runtime::Runtime) -> Sleep {
    let _entered = runtime.enter();
    tokio::time::sleep_until(Instant::now())
}

async fn welcome(
    hub: Rc<Hub>,
    worker: Rc<RefCell<Worker>>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
) {
    while let Some(arrival) = arrivals.recv().await {
        let Ok(socket) = register(arrival.socket) else { continue };
        let session = worker.borrow_mut().shard().next_session();
        let peer = Peer { session, ..arrival.peer };
        let ip = peer.ip;
        let conn = if arrival.implicit_tls {
            let stream = Stream::Plain(socket).start_tls(hub.tls_config());
            Conn::new(session, stream, Some(Box::new(peer)))
        } else {
            hub.open(peer);
            Conn::new(session, Stream::Plain(socket), None)
        };
        let conn = Rc::new(RefCell::new(conn));
        hub.add(session, (arrival.listener, ip), Rc::clone(&conn));
        if arrival.implicit_tls {
            hub.watch_handshake(session);
        }
        tokio::task::spawn_local(ConnTask { session, conn, hub: Rc::clone(&hub) });
    }
}

fn register(socket: ArrivedSocket) -> std::io::Result<Socket> {
    match socket {
        ArrivedSocket::Tcp(stream) => {
            stream.set_nonblocking(true)?;
            // Replies are whole: waiting for more only delays them.
            stream.set_nodelay(true)?;
            tokio::net::TcpStream::from_std(stream).map(Socket::Tcp)
        }
        ArrivedSocket::Unix(stream) => {
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream).map(Socket::Unix)
        }
    }
}

/// The worker's loop as a task.
struct Turns {
    worker: Rc<RefCell<Worker>>,
    hub: Rc<Hub>,
    host: HubHost,
    sleep: Pin<Box<Sleep>>,
    waker_set: bool,
    inward: Vec<Inward>,
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.hub.set_loop_waker(cx.waker());
        let mut worker = this.worker.borrow_mut();
        if !this.waker_set {
            worker.port().set_waker(cx.waker().clone());
            this.waker_set = true;
        }
        worker.port().unpark();
        this.hub.take_inputs(&mut this.inward);
        worker.take(&mut this.inward);
        let turn = worker.turn(&mut this.host);
        this.hub.flush_touched();
        match turn {
            Turn::Closed => Poll::Ready(()),
            Turn::More => {
                // Sockets get their turn first.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Rest(deadline) => {
                if !worker.port().park() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                if let Some(deadline) = deadline {
                    let after = deadline.since(Clock.mono());
                    this.sleep.as_mut().reset(Instant::now() + after);
                    if this.sleep.as_mut().poll(cx).is_ready() {
                        cx.waker().wake_by_ref();
                    }
                }
                Poll::Pending
            }
        }
    }
}
