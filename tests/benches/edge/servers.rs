//! Servers inside the bench, each on a thread of its own and all on one core: the edge's own serving, and bare ones
//! of hyper as floors.

use crate::keys::{Bare, Text};
use anyhow::Context as _;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keywheel_edge::http::App;
use keywheel_edge::listen::Listener;
use keywheel_edge::serve::{Bounds, Speaks, serve};
use keywheel_runtime::Shutdown;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

const LONG: Duration = Duration::from_secs(60);
const BOUNDS: Bounds =
    Bounds { connections: 800, grace: LONG, head_time: LONG, drain: Duration::from_millis(100) };

/// A server until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    stop: Shutdown,
    thread: Option<JoinHandle<()>>,
}

/// What a bare server looks at.
#[derive(Clone)]
pub enum Looks {
    /// The key in `X-API-Key`, in a bare map.
    Up(Arc<Bare>),
    /// Nothing.
    Away,
}

/// Keeps this thread, and all that it starts, on the first core; which other one is left for who asks.
pub fn take_one_core() -> Option<usize> {
    let all = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|core| all.is_set(*core).unwrap_or(false));
    let (first, other) = (cores.next()?, cores.next()?);
    let mut own = CpuSet::new();
    own.set(first).ok()?;
    sched_setaffinity(Pid::from_raw(0), &own).ok()?;
    Some(other)
}

impl Server {
    /// The edge.
    pub fn edge(app: App) -> anyhow::Result<Server> {
        Server::start(|listener, stop| serve(Listener::Port(listener), Speaks::Http, app, BOUNDS, stop))
    }

    /// The least that hyper does.
    pub fn bare(looks: Looks) -> anyhow::Result<Server> {
        Server::start(|listener, stop| async move {
            let accept = async {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let _ = stream.set_nodelay(true);
                    let looks = looks.clone();
                    let service = service_fn(move |request| {
                        let answer = answer(&looks, &request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            };
            tokio::select! {
                () = accept => {}
                () = stop.requested() => {}
            }
        })
    }

    fn start<Serving: Future<Output = ()>>(
        serving: impl FnOnce(TcpListener, Shutdown) -> Serving + Send + 'static,
    ) -> anyhow::Result<Server> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (address, stop) = (listener.local_addr()?, Shutdown::new());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stopped = stop.clone();
        let work = move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it listens and does not block");
                serving(listener, stopped).await;
            });
        };
        let thread = std::thread::Builder::new().spawn(work).context("a thread")?;
        Ok(Server { address, stop, thread: Some(thread) })
    }
}

fn answer(looks: &Looks, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let is_good = match looks {
        Looks::Up(bare) => {
            let shown = request.headers().get("x-api-key").map(|value| value.as_bytes());
            let text: Option<&Text> = shown.and_then(|shown| shown.try_into().ok());
            text.is_some_and(|text| bare.verify(text))
        }
        Looks::Away => true,
    };
    let mut response = Response::default();
    if !is_good {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.trigger();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
