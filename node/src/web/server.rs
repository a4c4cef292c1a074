//! The listeners of the webmail: HTTP/1.1 and HTTP/2, with TLS or behind a proxy.

use super::{Came, Web, router};
use crate::config::Network;
use crate::edge::ListenerState;
use crate::tls::TlsContext;
use axum::Router;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use html::date::DateStyle;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Connections at once. Our choice: live updates keep one open for each tab.
const CONNECTIONS_MAX: usize = 10_000;
/// From the connection to the end of the TLS handshake. Our choice.
const HANDSHAKE_TIME: Duration = Duration::from_secs(20);
/// From the first byte of a request to the end of its header. Our choice: a slow client must not hold a connection.
const HEADER_TIME: Duration = Duration::from_secs(20);
/// How long requests under way may take when the node stops. Our choice.
const STOP_TIME: Duration = Duration::from_secs(5);

/// One listener.
#[derive(Clone)]
pub struct WebServer {
    pub web: Arc<Web>,
    pub tls: Option<Arc<TlsContext>>,
    /// Where HTTPS is, for those who came without; `None`: nowhere.
    pub https_port: Option<u16>,
    /// Its connections, counted.
    pub state: Arc<ListenerState>,
}

/// A connection that is open, until it is dropped.
struct Open(Arc<ListenerState>);

impl Open {
    fn of(state: &Arc<ListenerState>) -> Self {
        state.accepted.fetch_add(1, Relaxed);
        state.open.fetch_add(1, Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Serves until `stopped` changes, then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    server: WebServer,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    let router = router(Arc::clone(&server.web));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: leave others the time to give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            server.state.refused.fetch_add(1, Relaxed);
            continue;
        };
        let (router, server) = (router.clone(), server.clone());
        let open = Open::of(&server.state);
        connections.spawn(async move {
            let (_permit, _open) = (permit, open);
            connection(stream, peer, router, server).await;
        });
    }
    let finish = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off.
    let _ = tokio::time::timeout(STOP_TIME, finish).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, server: WebServer) {
    // Answers are whole: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    match &server.tls {
        None => answer(stream, (peer, None), router, server).await,
        Some(tls) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.admin_config());
            let handshake = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                let tls = crate::edge::settled(stream.get_ref().1);
                let tls = Some((tls.version, tls.cipher));
                answer(stream, (peer, tls), router, server).await;
            }
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, tls): (SocketAddr, Option<(&'static str, &'static str)>),
    router: Router,
    server: WebServer,
) {
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (router, server) = (router.clone(), server.clone());
            async move {
                let came = Came { tls, ..came(&server, peer, request.headers()) };
                if let Some(https) = elsewhere(&server, peer, came, &request) {
                    return Ok(https);
                }
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(came);
                router.oneshot(request).await
            }
        });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(Duration::from_secs(60)));
    // A connection that breaks is the client's loss alone.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// Who asks: the peer, or whom a trusted proxy names.
fn came(server: &WebServer, peer: SocketAddr, headers: &axum::http::HeaderMap) -> Came {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let dates = DateStyle::of_languages(text("accept-language").unwrap_or_default());
    let (ip, secure) = (peer.ip().to_canonical(), server.tls.is_some());
    let direct = Came { ip, secure, tls: None, dates };
    if !server.web.trusted_proxies.iter().any(|proxy: &Network| proxy.contains(direct.ip)) {
        return direct;
    }
    // The last entry is the one that the proxy itself wrote.
    let last = text("x-forwarded-for").and_then(|list| list.rsplit(',').next());
    let ip = last.and_then(|ip| ip.trim().parse().ok()).unwrap_or(direct.ip);
    let secure = direct.secure || text("x-forwarded-proto") == Some("https");
    Came { ip, secure, tls: None, dates }
}

/// Passwords do not cross a network in the clear: who comes without TLS is sent to where it is, but on loopback.
fn elsewhere<B>(
    server: &WebServer,
    peer: SocketAddr,
    came: Came,
    request: &hyper::Request<B>,
) -> Option<Response> {
    if came.secure || peer.ip().is_loopback() && came.ip.is_loopback() {
        return None;
    }
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let host = request.headers().get(header::HOST).and_then(|it| it.to_str().ok());
    let host = host.and_then(|host| host.parse::<Uri>().ok());
    let target = match (&server.web.public_url, server.https_port, &host) {
        (Some(public), _, _) if public.starts_with("https://") => format!("{public}{path}"),
        (_, Some(port), Some(host)) => format!("https://{}:{port}{path}", host.host()?),
        _ => {
            let text = "Webmail is served over HTTPS only: set listen.https.\n";
            return Some((axum::http::StatusCode::FORBIDDEN, text).into_response());
        }
    };
    Some(Redirect::permanent(&target).into_response())
}
