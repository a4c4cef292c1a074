//! One connection's byte stream: TCP or a unix socket, plain or under TLS.
//!
//! An idle plain stream owns no buffer. `Handshaking` is a state of its own, so that a slow handshake costs no more than its
//! own memory.

use rustls::ServerConfig;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};

/// A socket without TLS.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Writes without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel's buffer is full, and whatever the socket says.
    pub fn try_write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            Self::Unix(stream) => stream.try_write_vectored(slices),
        }
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Socket::Unix(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}

/// What a connection reads from and writes to.
pub enum Stream {
    Plain(Socket),
    Handshaking(Box<Accept<Socket>>),
    Tls(Box<TlsStream<Socket>>),
    /// Between states, and after the end.
    Gone,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Handshaking(_) => "Handshaking",
            Self::Tls(_) => "Tls",
            Self::Gone => "Gone",
        })
    }
}

impl Stream {
    /// The same stream, about to negotiate TLS as the server. Only a plain stream can.
    #[must_use]
    pub fn start_tls(self, config: Arc<ServerConfig>) -> Self {
        match self {
            Self::Plain(socket) => {
                Self::Handshaking(Box::new(TlsAcceptor::from(config).accept(socket)))
            }
            other @ (Self::Handshaking(_) | Self::Tls(_) | Self::Gone) => other,
        }
    }

    /// Drives a handshake under way; ready at once when there is none.
    ///
    /// # Errors
    /// When the handshake fails; the stream is gone then.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Handshaking(accept) = self else { return Poll::Ready(Ok(())) };
        let result = ready!(Pin::new(&mut **accept).poll(cx));
        *self = Self::Gone;
        *self = Self::Tls(Box::new(result?));
        Poll::Ready(Ok(()))
    }

    /// Reads what is there into `buf`.
    ///
    /// # Errors
    /// Whatever the socket or TLS says.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Handshaking(_) => Poll::Pending,
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Writes what fits.
    ///
    /// # Errors
    /// Whatever the socket or TLS says.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
            Self::Handshaking(_) => Poll::Pending,
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Hands to the kernel what TLS still holds back.
    ///
    /// # Errors
    /// Whatever the socket or TLS says.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Plain(_) | Self::Handshaking(_) | Self::Gone => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing side: close_notify under TLS, then FIN.
    ///
    /// # Errors
    /// Whatever the socket or TLS says.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Handshaking(_) | Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
