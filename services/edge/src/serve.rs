//! Accepts connections and answers on them, each within bounds, until it is told to drain.

use crate::http::{Peer, problem};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keywheel_runtime::Shutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Stays below the 1,024 descriptors that a process commonly has.
const CONNECTIONS_MAX: usize = 900;
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// Also how long a connection may idle: longer than gateways keep theirs.
const HEADER_TIME: Duration = Duration::from_secs(75);
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// After a refused accept, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`; then finishes what was begun within `drain` and closes what is left.
pub async fn serve(listener: TcpListener, router: Router, stop: Shutdown, drain: Duration) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.requested() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, slot)) = accepted else { continue };
        let connection = answer(stream, peer, router.clone(), stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(drain, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time; closing them");
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection now");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

async fn answer(stream: TcpStream, peer: SocketAddr, router: Router, stop: Shutdown) {
    // Answers are one small packet: waiting to fill it would only cost time.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(router.clone(), request, peer));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection ended");
    }
}

async fn respond(
    router: Router,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer.ip()));
    match tokio::time::timeout(REQUEST_TIME, router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(problem::too_slow()),
    }
}
