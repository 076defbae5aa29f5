//! Accepts connections and answers on them, each within bounds, until it is told to drain.

use crate::address::Peer;
use crate::envoy;
use crate::http::{App, answer, problem};
use crate::listen::{Listener, Stream};
use crate::pace::Paced;
use crate::wiped::Wiped;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keywheel_runtime::Shutdown;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How long a connection may idle: longer than gateways keep theirs, so that none is closed under them.
const IDLE_TIME: Duration = Duration::from_secs(75);
const REQUEST_TIME: Duration = Duration::from_secs(10);
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const STREAMS_MAX: u32 = 1024;
const PING_EVERY: Duration = Duration::from_secs(20);
/// After a refused accept, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What is spoken on a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http,
    /// gRPC, as Envoy asks.
    Grpc,
}

impl Speaks {
    /// Together they stay below the 1,024 descriptors that a process commonly has. An Envoy keeps one
    /// gRPC connection for each of its threads.
    fn connections_max(self) -> usize {
        match self {
            Speaks::Http => 800,
            Speaks::Grpc => 100,
        }
    }
}

/// What a connection is answered with.
#[derive(Clone)]
struct Desk {
    speaks: Speaks,
    app: App,
    head_time: Duration,
    stop: Shutdown,
}

/// Serves until `stop`; then finishes what was begun within `drain` and closes what is left. A request's
/// head that has begun must be whole within `head_time`.
pub async fn serve(
    listener: Listener,
    speaks: Speaks,
    app: App,
    head_time: Duration,
    stop: Shutdown,
    drain: Duration,
) {
    let slots = Arc::new(Semaphore::new(speaks.connections_max()));
    let desk = Desk { speaks, app, head_time, stop };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = desk.stop.requested() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, slot)) = accepted else { continue };
        let desk = desk.clone();
        connections.spawn(async move {
            match stream {
                Stream::Port(stream) => desk.converse(stream, peer).await,
                Stream::Socket(stream) => desk.converse(stream, peer).await,
            }
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

async fn accept(listener: &Listener, slots: &Arc<Semaphore>) -> Option<(Stream, Peer, OwnedSemaphorePermit)> {
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

impl Desk {
    async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S, peer: Peer) {
        let ended = match self.speaks {
            Speaks::Http => self.http(stream, peer).await,
            Speaks::Grpc => self.grpc(stream, peer).await,
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, peer: Peer) -> hyper::Result<()> {
        let (stream, grown) = Wiped::new(stream);
        let (stream, pace) = Paced::new(stream, self.head_time);
        let app = self.app;
        let service = service_fn(|request: hyper::Request<Incoming>| {
            pace.step();
            let (app, pace, grown) = (&app, &pace, &grown);
            async move {
                let answered = tokio::time::timeout(REQUEST_TIME, answer(app, peer, request)).await;
                pace.step();
                let mut response = answered.unwrap_or_else(|_| problem::too_slow());
                if grown.is_so() {
                    response.headers_mut().insert(CONNECTION, CLOSE);
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_TIME)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEADER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    async fn grpc<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        stream: S,
        peer: Peer,
    ) -> hyper::Result<()> {
        let service = envoy::service(self.app, peer);
        let mut connection = std::pin::pin!(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_EVERY)
                .max_concurrent_streams(STREAMS_MAX)
                .max_header_list_size(HEADER_BYTES_MAX.try_into().expect("it fits"))
                .serve_connection(TokioIo::new(Wiped::new(stream).0), service)
        );
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}

#[cfg(test)]
mod tests;
