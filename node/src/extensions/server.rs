//! The listener of the API for extensions: gRPC, with TLS off loopback.

use super::Service;
use super::api::extensions_server::ExtensionsServer;
use crate::admin::answer;
use crate::tls::TlsContext;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// Connections at once. Our choice: extensions are few, and each needs one.
const CONNECTIONS_MAX: usize = 256;
/// From the connection to the end of the TLS handshake. Our choice.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What the server needs.
pub struct ExtensionServer {
    pub service: Service,
    /// `Some`: every connection begins with a handshake.
    pub tls: Option<Arc<TlsContext>>,
}

/// Serves until it is told to stop. Streams are cut off: what was not acknowledged comes again.
pub async fn serve(
    listener: TcpListener,
    server: ExtensionServer,
    mut stopped: watch::Receiver<bool>,
) {
    let router =
        tonic::service::Routes::new(ExtensionsServer::new(server.service)).into_axum_router();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
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
    connections.shutdown().await;
}
