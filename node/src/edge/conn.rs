//! A connection: moves bytes between its stream and its session machine, and decides nothing.
//!
//! States: `Handshaking` (TLS) -> `Open` -> `Closing` (flushes, then ends). Between a read and the turn that hands it to the
//! machine nothing more is read, so a connection holds at most one read of input; output is bounded by the session, which
//! waits for `Drained`.
//!
//! Must not know: any protocol.

use super::hub::Hub;
use super::stream::Stream;
use bytes::{Buf, Bytes};
use mailstore::face::{Peer, SessionId, SessionInput, TlsInfo};
use rustls::CipherSuite;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;

/// Below so many queued bytes a session is told `Drained`.
const LOW_WATER_BYTES: usize = 64 * 1024;
/// Slices of one write.
const SLICES_MAX: usize = 32;
/// Small reads are copied out, so that a session may keep a slice without holding a whole read buffer.
const COPY_BYTES_MAX: usize = 1024;

/// What is left to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Reads nothing more; ends when the output is flushed.
    Closing,
    Ended,
}

/// The state of one connection; shared by its task and the worker loop of the same thread.
#[derive(Debug)]
pub struct Conn {
    session: SessionId,
    stream: Stream,
    phase: Phase,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    wants_drained: bool,
    wants_tls: bool,
    paused: bool,
    /// A read waits for the next turn of the worker.
    input_pending: bool,
    told_closed: bool,
    /// In the list of connections to flush at the end of the turn.
    touched: bool,
    /// Who this is, until the session has been opened: under implicit TLS that waits for the handshake.
    opening: Option<Box<Peer>>,
    waker: Option<Waker>,
}

impl Conn {
    /// A fresh connection. A stream that is handshaking tells its session nothing until TLS stands.
    pub fn new(session: SessionId, stream: Stream, opening: Option<Box<Peer>>) -> Self {
        Self {
            session,
            stream,
            phase: Phase::Open,
            out: VecDeque::new(),
            out_bytes: 0,
            wants_drained: false,
            wants_tls: false,
            paused: false,
            input_pending: false,
            told_closed: false,
            touched: false,
            opening,
            waker: None,
        }
    }

    pub fn send(&mut self, bytes: Bytes) {
        if self.phase == Phase::Open && !bytes.is_empty() {
            self.out_bytes += bytes.len();
            self.out.push_back(bytes);
        }
    }

    /// Notes that the worker's turn queued something; true the first time.
    pub fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    pub fn await_drained(&mut self) {
        self.wants_drained = true;
    }

    pub fn pause(&mut self) {
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.paused = false;
        self.wake();
    }

    pub fn start_tls(&mut self) {
        self.wants_tls = true;
        self.wake();
    }

    pub fn close(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
        self.wake();
    }

    /// The machine has had what was read: more may be read.
    pub fn input_taken(&mut self) {
        if std::mem::take(&mut self.input_pending) {
            self.wake();
        }
    }

    /// Ends a connection whose TLS handshake is still under way: it has had its time.
    pub fn end_handshake(&mut self) {
        if matches!(self.stream, Stream::Handshaking(_)) {
            self.close();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Writes at once what the kernel takes, from the worker's turn. What remains is left to the connection's task.
    pub fn flush_now(&mut self, hub: &Hub) {
        self.touched = false;
        if let Stream::Plain(socket) = &self.stream {
            while self.out_bytes > 0 {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let count = fill(&self.out, &mut slices);
                match socket.try_write_vectored(&slices[..count]) {
                    Ok(0) => break,
                    Ok(written) => advance(&mut self.out, &mut self.out_bytes, written),
                    // Errors show again in the task, which then ends the connection.
                    Err(_) => break,
                }
            }
        }
        self.tell_drained(hub);
        if self.out_bytes > 0 || self.phase != Phase::Open || self.wants_tls {
            self.wake();
        }
    }

    fn tell_drained(&mut self, hub: &Hub) {
        if self.wants_drained && self.out_bytes < LOW_WATER_BYTES {
            self.wants_drained = false;
            hub.push(self.session, SessionInput::Drained);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, hub: &Hub) -> Poll<()> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        match self.poll_io(cx, hub) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_ended) => {
                self.phase = Phase::Ended;
                self.stream = Stream::Gone;
                self.out.clear();
                self.out_bytes = 0;
                self.tell_closed(hub);
                Poll::Ready(())
            }
        }
    }

    fn tell_closed(&mut self, hub: &Hub) {
        if !std::mem::replace(&mut self.told_closed, true) && self.opening.is_none() {
            hub.push(self.session, SessionInput::PeerClosed);
        }
    }

    /// Ready when the connection has ended, one way or the other.
    fn poll_io(&mut self, cx: &mut Context<'_>, hub: &Hub) -> Poll<io::Result<()>> {
        if let Stream::Handshaking(_) = self.stream {
            match self.stream.poll_handshake(cx) {
                Poll::Ready(Ok(())) => self.on_handshaken(hub),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.phase == Phase::Open => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
        let flushed = self.poll_flush(cx)?;
        self.tell_drained(hub);
        if flushed.is_ready() {
            if self.phase == Phase::Closing {
                return self.stream.poll_shutdown(cx);
            }
            if std::mem::take(&mut self.wants_tls) {
                let plain = std::mem::replace(&mut self.stream, Stream::Gone);
                self.stream = plain.start_tls(hub.tls_config());
                hub.watch_handshake(self.session);
                return self.poll_io(cx, hub);
            }
        }
        self.poll_read(cx, hub)
    }

    fn on_handshaken(&mut self, hub: &Hub) {
        let Stream::Tls(stream) = &self.stream else { return };
        let tls = settled(stream.get_ref().1);
        match self.opening.take() {
            Some(mut peer) => {
                peer.tls = Some(tls);
                hub.open(*peer);
            }
            None => hub.push(self.session, SessionInput::TlsStarted(tls)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while self.out_bytes > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = fill(&self.out, &mut slices);
            match self.stream.poll_write(cx, &slices[..count]) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => advance(&mut self.out, &mut self.out_bytes, written),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        match self.stream.poll_flush(cx) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(result) => result.map(Poll::Ready),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, hub: &Hub) -> Poll<io::Result<()>> {
        if self.paused || self.input_pending || self.phase != Phase::Open {
            return Poll::Pending;
        }
        let mut pooled = hub.read_buffer();
        let mut buf = ReadBuf::new(&mut pooled);
        match self.stream.poll_read(cx, &mut buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
        }
        let read = buf.filled().len();
        if read == 0 {
            // The client ended its side; the session cleans up and closes.
            drop(pooled);
            self.tell_closed(hub);
            self.paused = true;
            return Poll::Pending;
        }
        let bytes = if read <= COPY_BYTES_MAX {
            Bytes::copy_from_slice(&pooled[..read])
        } else {
            pooled.split_to(read).freeze()
        };
        drop(pooled);
        self.input_pending = true;
        hub.push(self.session, SessionInput::Received(bytes));
        Poll::Pending
    }
}

/// What a handshake settled.
pub fn settled(connection: &rustls::CommonState) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(_) | None => "TLSv1.2",
    };
    let suite = connection.negotiated_cipher_suite();
    TlsInfo { version, cipher: suite.map_or("unknown", |suite| iana_name(suite.suite())) }
}

/// The name of a cipher suite as registered; those of TLS 1.3 have another in rustls.
fn iana_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn fill<'a>(out: &'a VecDeque<Bytes>, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
    let mut count = 0;
    for (slice, bytes) in slices.iter_mut().zip(out) {
        *slice = IoSlice::new(bytes);
        count += 1;
    }
    count
}

fn advance(out: &mut VecDeque<Bytes>, out_bytes: &mut usize, mut written: usize) {
    *out_bytes -= written;
    while written > 0 {
        let Some(front) = out.front_mut() else { return };
        if written < front.len() {
            front.advance(written);
            return;
        }
        written -= front.len();
        out.pop_front();
    }
    if out.is_empty() {
        out.shrink_to_fit();
    }
}

/// The task that drives one connection until it ends.
pub struct ConnTask {
    pub session: SessionId,
    pub conn: Rc<RefCell<Conn>>,
    pub hub: Rc<Hub>,
}

impl Future for ConnTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ended = self.conn.borrow_mut().poll(cx, &self.hub);
        if ended.is_ready() {
            self.hub.forget(self.session);
        }
        ended
    }
}
