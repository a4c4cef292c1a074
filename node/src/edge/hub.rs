//! What the connections of one worker thread share: their inputs for the next turn, the read buffer, the TLS material.
//!
//! Single-threaded: everything here is touched by tasks of one thread only.

use super::conn::Conn;
use bytes::BytesMut;
use mailstore::face::{LogEvent, Notice, Peer, Question, SessionId, SessionInput};
use rustls::ServerConfig;
use stages::{HashOrder, Host};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;
use vspace::{
    Completion, ConnectionOrder, DdsResponse, Inward, NodeId, Packet, Passed, SessionLine,
    Standing, Verdict, Wake,
};

/// Bytes of one read buffer.
const READ_BYTES: usize = 64 * 1024;
/// A read is offered at least this much room.
const READ_BYTES_MIN: usize = 16 * 1024;

/// From the first byte of a TLS handshake to its end. Our choice; a slow link needs a few round trips.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);

/// What the node does for its workers; shared by all of them.
pub trait Service: Send + Sync {
    fn tls_config(&self) -> Arc<ServerConfig>;
    fn log(&self, event: LogEvent);
    /// `group` gets the completion.
    fn hash(&self, group: usize, order: HashOrder);
    fn decide(&self, session: SessionId, token: fsm::Token, question: Arc<Question>);
    fn operator_done(&self, session: SessionId, token: fsm::Token, completion: Completion);
    fn operator_notice(&self, session: SessionId, notice: Notice);
    fn wake(&self, wake: Wake);
    fn sessions(&self, token: fsm::Token, lines: Vec<SessionLine>);
    fn kicked(&self, token: fsm::Token, count: u64);
    fn kick_told(&self, token: fsm::Token, unanswered: Vec<NodeId>);
    fn loaded(&self, token: fsm::Token, loaded: bool);
    fn clients_done(&self, answers: Vec<(u64, DdsResponse)>);
    fn passed(&self, passed: Passed);
    fn scrubbed(&self, token: fsm::Token, round: dds::scrub::Round, missed: Vec<NodeId>);
    /// To other nodes, in order.
    fn packets(&self, packets: Vec<(NodeId, Packet)>);
    fn standing(&self, standing: Standing);
    fn decided(&self, token: fsm::Token, verdict: Verdict);
    fn ready(&self);
    /// A connection of this listener ended.
    fn connection_ended(&self, came: (usize, IpAddr));
}

/// A connection, the listener it came through, and from where.
struct Entry {
    conn: Rc<RefCell<Conn>>,
    came: (usize, IpAddr),
}

/// The shared state of one worker thread's connections.
pub struct Hub {
    group: usize,
    service: Arc<dyn Service>,
    inputs: RefCell<Vec<Inward>>,
    conns: RefCell<HashMap<SessionId, Entry>>,
    touched: RefCell<Vec<Rc<RefCell<Conn>>>>,
    read_buffer: RefCell<BytesMut>,
    loop_waker: RefCell<Option<Waker>>,
    /// The loop has been woken since it last ran.
    scheduled: Cell<bool>,
}

impl Hub {
    pub fn new(group: usize, service: Arc<dyn Service>) -> Self {
        Self {
            group,
            service,
            inputs: RefCell::default(),
            conns: RefCell::default(),
            touched: RefCell::default(),
            read_buffer: RefCell::default(),
            loop_waker: RefCell::default(),
            scheduled: Cell::new(false),
        }
    }

    /// Queues an input for the next turn.
    pub fn push(&self, session: SessionId, input: SessionInput) {
        self.inputs.borrow_mut().push(Inward::Session { session, input });
        self.schedule();
    }

    /// Begins a session.
    pub fn open(&self, peer: Peer) {
        let session = peer.session;
        self.inputs.borrow_mut().push(Inward::Opened { session, peer: Arc::new(peer) });
        self.schedule();
    }

    pub fn add(&self, session: SessionId, came: (usize, IpAddr), conn: Rc<RefCell<Conn>>) {
        self.conns.borrow_mut().insert(session, Entry { conn, came });
    }

    /// The connection has ended.
    pub fn forget(&self, session: SessionId) {
        if let Some(entry) = self.conns.borrow_mut().remove(&session) {
            self.service.connection_ended(entry.came);
        }
    }

    /// Room to read into: at least [`READ_BYTES_MIN`] bytes.
    pub fn read_buffer(&self) -> RefMut<'_, BytesMut> {
        let mut buffer = self.read_buffer.borrow_mut();
        if buffer.len() < READ_BYTES_MIN {
            *buffer = BytesMut::zeroed(READ_BYTES);
        }
        buffer
    }

    /// Gives the handshake of a connection its time, and ends it then.
    pub fn watch_handshake(&self, session: SessionId) {
        let Some(conn) = self.conns.borrow().get(&session).map(|entry| Rc::downgrade(&entry.conn))
        else {
            return;
        };
        tokio::task::spawn_local(async move {
            tokio::time::sleep(HANDSHAKE_TIME).await;
            if let Some(conn) = conn.upgrade() {
                conn.borrow_mut().end_handshake();
            }
        });
    }

    pub fn tls_config(&self) -> Arc<ServerConfig> {
        self.service.tls_config()
    }

    /// Who runs the turns.
    pub fn set_loop_waker(&self, waker: &Waker) {
        let mut known = self.loop_waker.borrow_mut();
        if known.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    fn schedule(&self) {
        if !self.scheduled.replace(true)
            && let Some(waker) = &*self.loop_waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Everything queued since the last turn.
    pub fn take_inputs(&self, into: &mut Vec<Inward>) {
        self.scheduled.set(false);
        into.append(&mut self.inputs.borrow_mut());
    }

    /// Writes out what the turn queued.
    pub fn flush_touched(&self) {
        let mut touched = std::mem::take(&mut *self.touched.borrow_mut());
        for conn in touched.drain(..) {
            conn.borrow_mut().flush_now(self);
        }
        *self.touched.borrow_mut() = touched;
    }
}

/// The worker's face of the hub.
pub struct HubHost(pub Rc<Hub>);

impl Host for HubHost {
    fn connection(&mut self, session: SessionId, order: ConnectionOrder) {
        let conns = self.0.conns.borrow();
        let Some(Entry { conn, .. }) = conns.get(&session) else { return };
        let mut state = conn.borrow_mut();
        match order {
            ConnectionOrder::Send(bytes) => state.send(bytes),
            ConnectionOrder::AwaitDrained => state.await_drained(),
            ConnectionOrder::PauseReading => return state.pause(),
            ConnectionOrder::ResumeReading => return state.resume(),
            ConnectionOrder::InputTaken => return state.input_taken(),
            ConnectionOrder::StartTls => state.start_tls(),
            ConnectionOrder::Close => state.close(),
        }
        if state.touch() {
            self.0.touched.borrow_mut().push(Rc::clone(conn));
        }
    }

    fn log(&mut self, event: LogEvent) {
        self.0.service.log(event);
    }

    fn hash(&mut self, order: HashOrder) {
        self.0.service.hash(self.0.group, order);
    }

    fn decide(&mut self, session: SessionId, token: fsm::Token, question: Arc<Question>) {
        self.0.service.decide(session, token, question);
    }

    fn operator_done(&mut self, session: SessionId, token: fsm::Token, completion: Completion) {
        self.0.service.operator_done(session, token, completion);
    }

    fn operator_notice(&mut self, session: SessionId, notice: Notice) {
        self.0.service.operator_notice(session, notice);
    }

    fn wake(&mut self, wake: Wake) {
        self.0.service.wake(wake);
    }

    fn sessions(&mut self, token: fsm::Token, lines: Vec<SessionLine>) {
        self.0.service.sessions(token, lines);
    }

    fn kicked(&mut self, token: fsm::Token, count: u64) {
        self.0.service.kicked(token, count);
    }

    fn kick_told(&mut self, token: fsm::Token, unanswered: Vec<NodeId>) {
        self.0.service.kick_told(token, unanswered);
    }

    fn loaded(&mut self, token: fsm::Token, loaded: bool) {
        self.0.service.loaded(token, loaded);
    }

    fn clients_done(&mut self, answers: Vec<(u64, DdsResponse)>) {
        self.0.service.clients_done(answers);
    }

    fn passed(&mut self, passed: Passed) {
        self.0.service.passed(passed);
    }

    fn scrubbed(&mut self, token: fsm::Token, round: dds::scrub::Round, missed: Vec<NodeId>) {
        self.0.service.scrubbed(token, round, missed);
    }

    fn packets(&mut self, packets: Vec<(NodeId, Packet)>) {
        self.0.service.packets(packets);
    }

    fn standing(&mut self, standing: Standing) {
        self.0.service.standing(standing);
    }

    fn decided(&mut self, token: fsm::Token, verdict: Verdict) {
        self.0.service.decided(token, verdict);
    }

    fn ready(&mut self) {
        self.0.service.ready();
    }
}
