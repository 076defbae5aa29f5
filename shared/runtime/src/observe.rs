//! `/livez`, `/readyz` and `/metrics` of a service, for orchestrators and Prometheus. Whoever watches must not stop
//! the work: a port that is taken is waited for, and everything here is small and bounded.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Connections at once; a Prometheus and an orchestrator keep one each.
const CONNECTIONS_MAX: usize = 32;
const HEADERS_MAX: usize = 100;
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// A connection has so long for all that it asks: whoever idles leaves its place to others.
const CONNECTION_TIME: Duration = Duration::from_secs(75);
const HEAD_TIME: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(2);

const METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer that takes a while.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers at `listen` for as long as this is polled; nowhere without it. `ready` says whether the service can do its
/// work now, else why not in one word; `metrics` gives OpenMetrics text.
pub async fn run<'a>(
    listen: Option<SocketAddr>,
    ready: impl Fn() -> Asked<'a, Result<(), &'static str>> + Sync,
    metrics: impl Fn() -> Asked<'a, String> + Sync,
) -> Infallible {
    let Some(listen) = listen else { return std::future::pending().await };
    let listener = bind(listen).await;
    let mut connections = FuturesUnordered::new();
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            Some(()) = connections.next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => connections.push(converse(stream, &ready, &metrics)),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection now");
                    tokio::time::sleep(AGAIN).await;
                }
            },
        }
    }
}

async fn bind(listen: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(listen).await {
            Ok(listener) => {
                tracing::info!(%listen, "telling how it stands");
                return listener;
            }
            Err(error) if !is_told => {
                tracing::error!(%listen, %error, "cannot tell how it stands (observe.http); trying again");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn converse<'a>(
    stream: TcpStream,
    ready: &(impl Fn() -> Asked<'a, Result<(), &'static str>> + Sync),
    metrics: &(impl Fn() -> Asked<'a, String> + Sync),
) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, ready, metrics).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIME, connection).await {
        tracing::trace!(%error, "a connection ended");
    }
}

async fn answer<'a, B>(
    request: &Request<B>,
    ready: &(impl Fn() -> Asked<'a, Result<(), &'static str>> + Sync),
    metrics: &(impl Fn() -> Asked<'a, String> + Sync),
) -> Response<Full<Bytes>> {
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !is_get => {
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET, HEAD\n".to_owned());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
        // Never asks about the bus: restarting this process does not bring that back.
        "/livez" => respond(StatusCode::OK, PLAIN, "ok\n".to_owned()),
        "/readyz" => match ready().await {
            Ok(()) => respond(StatusCode::OK, JSON, r#"{"ready":true}"#.to_owned()),
            Err(reason) => {
                let text = format!(r#"{{"ready":false,"reason":"{reason}"}}"#);
                respond(StatusCode::SERVICE_UNAVAILABLE, JSON, text)
            }
        },
        "/metrics" => respond(StatusCode::OK, METRICS, metrics().await),
        _ => respond(StatusCode::NOT_FOUND, PLAIN, "not found\n".to_owned()),
    }
}

fn respond(status: StatusCode, kind: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn service(listen: SocketAddr, ready: Result<(), &'static str>) -> tokio::task::JoinHandle<Infallible> {
        let ready = move || -> Asked<'static, Result<(), &'static str>> { Box::pin(async move { ready }) };
        tokio::spawn(run(Some(listen), ready, || Box::pin(async { "figures\n".to_owned() })))
    }

    /// Connects as soon as somebody listens.
    async fn connect(listen: SocketAddr) -> TcpStream {
        loop {
            if let Ok(stream) = TcpStream::connect(listen).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ask(listen: SocketAddr, line: &str) -> String {
        let mut stream = connect(listen).await;
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_waited_for_and_each_path_answers() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = taken.local_addr().unwrap();
        let serving = service(listen, Err("behind"));
        tokio::task::yield_now().await;
        drop(taken);
        for (line, status, body) in [
            ("GET /livez", "200", "ok\n"),
            ("GET /readyz", "503", r#"{"ready":false,"reason":"behind"}"#),
            ("GET /metrics", "200", "figures\n"),
            ("GET /livez/deeper", "404", "not found\n"),
            ("POST /metrics", "405", "GET, HEAD\n"),
            ("HEAD /livez", "200", ""),
        ] {
            let answer = ask(listen, line).await;
            let (head, said) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!((&head[9..12], said), (status, body), "{line}: {head}");
            assert_eq!(head.contains("allow: GET, HEAD"), status == "405", "{line}: {head}");
        }
        serving.abort();
        let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let serving = service(listen, Ok(()));
        assert!(ask(listen, "GET /readyz").await.ends_with(r#"{"ready":true}"#));
        serving.abort();
    }

    #[tokio::test]
    async fn connections_beyond_the_bound_wait_until_one_ends() {
        let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let serving = service(listen, Ok(()));
        let mut idle = vec![connect(listen).await];
        while idle.len() < CONNECTIONS_MAX {
            idle.push(connect(listen).await);
        }
        let mut late = Box::pin(ask(listen, "GET /livez"));
        let soon = Duration::from_millis(300);
        assert!(tokio::time::timeout(soon, &mut late).await.is_err(), "there is no place left");
        idle.pop();
        assert!(late.await.ends_with("ok\n"));
        serving.abort();
    }
}
