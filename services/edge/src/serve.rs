//! Accepts connections and answers on them, each within bounds, until it is told to drain.

use crate::address::Peer;
use crate::crowd::{Crowd, Guest};
use crate::envoy;
use crate::http::{App, answer, problem};
use crate::listen::{Listener, Stream};
use crate::pace::Paced;
use crate::wiped::Wiped;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keywheel_runtime::Shutdown;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How long a connection may idle: longer than gateways keep theirs, so that none is closed under them.
const IDLE_TIME: Duration = Duration::from_secs(75);
const REQUEST_TIME: Duration = Duration::from_secs(10);
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// What a connection holds in memory is bounded; this bounds the sum.
const HTTP_MAX: usize = 4000;
const GRPC_MAX: usize = 100;
/// For the database, the bus, the log and what a system adds.
const DESCRIPTORS_OWN: usize = 124;
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
    /// How many connections at once, in a process that may have so many `descriptors`. An Envoy keeps one gRPC
    /// connection for each of its threads.
    pub fn connections_max(self, descriptors: u64) -> usize {
        let rest = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_OWN);
        match self {
            Speaks::Http => rest.saturating_sub(GRPC_MAX).clamp(1, HTTP_MAX),
            Speaks::Grpc => rest.clamp(1, GRPC_MAX),
        }
    }
}

/// Within which bounds a listener is served.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many connections at once.
    pub connections: usize,
    /// A connection that asked nothing for so long is closed where another wants its place.
    pub grace: Duration,
    /// A request's head that has begun must be whole within this, and an answer taken.
    pub head_time: Duration,
    /// How long what was begun may take once it is told to stop.
    pub drain: Duration,
}

/// What a connection is answered with.
#[derive(Clone)]
struct Desk {
    speaks: Speaks,
    app: App,
    head_time: Duration,
    stop: Shutdown,
}

/// Serves until `stop`; then finishes what was begun, and closes what is left.
pub async fn serve(listener: Listener, speaks: Speaks, app: App, bounds: Bounds, stop: Shutdown) {
    let metrics = Arc::clone(&app.metrics);
    let crowd = Crowd::new(bounds.connections, bounds.grace, move |many| metrics.crowded_out(many));
    let desk = Desk { speaks, app, head_time: bounds.head_time, stop };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = desk.stop.requested() => break,
            accepted = accept(&listener, &crowd) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, peer, guest)) = accepted else { continue };
        let desk = desk.clone();
        connections.spawn(async move {
            match stream {
                Stream::Port(stream) => desk.converse(stream, peer, &guest).await,
                Stream::Socket(stream) => desk.converse(stream, peer, &guest).await,
            }
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.drain, ended).await.is_err() {
        tracing::warn!(open = connections.len(), "connections did not end in time; closing them");
        connections.shutdown().await;
    }
}

async fn accept(listener: &Listener, crowd: &Crowd) -> Option<(Stream, Peer, Guest)> {
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, crowd.admit().await)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection now");
            crowd.make_room();
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

impl Desk {
    async fn converse<S>(self, stream: S, peer: Peer, guest: &Guest)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let ended = match self.speaks {
            Speaks::Http => self.http(stream, peer, guest).await,
            Speaks::Grpc => self.grpc(stream, peer, guest).await,
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    async fn http<S>(self, stream: S, peer: Peer, guest: &Guest) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (stream, grown) = Wiped::new(stream);
        let (stream, pace) = Paced::new(stream, self.head_time);
        let app = self.app;
        let service = service_fn(|request: hyper::Request<Incoming>| {
            pace.step();
            let (app, pace, grown) = (&app, &pace, &grown);
            async move {
                let _asking = guest.asks();
                let answered = tokio::time::timeout(REQUEST_TIME, answer(app, peer, request)).await;
                pace.step();
                let mut response = answered.unwrap_or_else(|_| problem::too_slow());
                if grown.is_so() {
                    response.headers_mut().insert(CONNECTION, CLOSE);
                }
                Ok::<_, Infallible>(response)
            }
        });
        // At most 100 headers, which is what hyper holds without a request's having to allocate for it.
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_TIME)
                .max_buf_size(HEADER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.stop.requested() => {}
            () = guest.told_to_leave() => if !guest.is_asking() { return Ok(()) },
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }

    async fn grpc<S>(self, stream: S, peer: Peer, guest: &Guest) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let envoy = envoy::service(self.app, peer);
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (asking, answered) = (guest.asks(), envoy.call(request));
            async move {
                let _asking = asking;
                answered.await
            }
        });
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
            ended = connection.as_mut() => return ended,
            () = self.stop.requested() => {}
            () = guest.told_to_leave() => if !guest.is_asking() { return Ok(()) },
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }
}

#[cfg(test)]
mod tests;
