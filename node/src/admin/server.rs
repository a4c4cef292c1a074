//! The listener of the admin API: gRPC and HTTP on one port, HTTP/1.1 and HTTP/2, with TLS off loopback.

use super::api::admin_server::AdminServer as GrpcServer;
use super::service::Service;
use super::token::Token;
use crate::control::{ByteStream, Control};
use crate::metrics::COUNTERS;
use crate::passwords::HashPool;
use crate::tls::TlsContext;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

/// Connections at once. Our choice: operators are few.
const CONNECTIONS_MAX: usize = 256;
/// From the connection to the end of the TLS handshake. Our choice.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long calls under way may take when the node stops. Our choice.
const STOP_TIME: Duration = Duration::from_secs(5);

/// What the server needs.
#[derive(Clone)]
pub struct AdminServer {
    pub control: Arc<dyn Control>,
    pub hashes: Arc<HashPool>,
    pub token: Token,
    /// `Some`: every connection begins with a handshake.
    pub tls: Option<Arc<TlsContext>>,
    /// `[metrics] enabled`.
    pub metrics: bool,
}

/// Connections of other nodes, which have proved who they are.
type Calls = UnboundedReceiver<Box<dyn ByteStream>>;

/// Serves until `stopped` is done, then finishes what is under way.
pub async fn serve(
    (listener, mut calls): (TcpListener, Option<Calls>),
    server: AdminServer,
    stopped: impl Future<Output = ()> + Send,
) {
    let router = router(&server);
    let inside = router_inside(&server);
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(stopped);
    loop {
        let accepted = tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => accepted,
            call = next_call(&mut calls) => {
                connections.spawn(answer(call, inside.clone()));
                continue;
            }
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: leave others the time to give some back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (router, tls) = (router.clone(), server.tls.clone());
        connections.spawn(async move {
            let _permit = permit;
            match tls {
                None => answer(stream, router).await,
                Some(tls) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(tls.admin_config());
                    let handshake = tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        answer(stream, router).await;
                    }
                }
            }
        });
    }
    let finish = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut off.
    let _ = tokio::time::timeout(STOP_TIME, finish).await;
}

/// Serves one connection to its end.
pub async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let service = TowerToHyperService::new(router);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(hyper_util::rt::TokioTimer::new());
    // A connection that breaks is the client's loss alone.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// The next connection of another node. None ever comes to a node alone.
async fn next_call(calls: &mut Option<Calls>) -> Box<dyn ByteStream> {
    let call = match calls {
        Some(calls) => calls.recv().await,
        None => None,
    };
    match call {
        Some(call) => call,
        None => std::future::pending().await,
    }
}

/// What other nodes may ask: no token opens it, but the secret of the cluster.
fn router_inside(server: &AdminServer) -> Router {
    let service = Service::new(Arc::clone(&server.control), Arc::clone(&server.hashes));
    tonic::service::Routes::new(GrpcServer::new(service)).into_axum_router()
}

fn router(server: &AdminServer) -> Router {
    let service = Service::new(Arc::clone(&server.control), Arc::clone(&server.hashes));
    let token = server.token.clone();
    let check = move |request: Request<()>| match request.metadata().get("authorization") {
        Some(shown) if token.is_shown_by(shown.as_bytes()) => Ok(request),
        Some(_) => Err(Status::unauthenticated("the admin token is not that of this node")),
        None => Err(Status::unauthenticated("the call carries no admin token")),
    };
    let grpc = InterceptedService::new(GrpcServer::new(service), check);
    let pages = tonic::service::Routes::new(grpc).into_axum_router();
    let (metrics, ready) = (server.clone(), Arc::clone(&server.control));
    pages
        .route("/metrics", get(move || metrics_page(metrics.clone())))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(move || std::future::ready(ready_page(ready.is_ready()))))
}

async fn metrics_page(server: AdminServer) -> Response {
    if !server.metrics {
        return (StatusCode::NOT_FOUND, "metrics.enabled is false\n").into_response();
    }
    match server.control.status().await {
        Ok(status) => {
            let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            (content_type, crate::metrics::render(&status, &COUNTERS)).into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

fn ready_page(is_ready: bool) -> Response {
    if is_ready {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}
