//! The edge as a process: serving first, then the table, then the bus; drained in the opposite order.

use crate::config::Config;
use crate::http::App;
use crate::listen::Listener;
use crate::place::{Mode, Place};
use crate::serve::{self, Bounds, Speaks};
use crate::storage;
use crate::upkeep::{OnDenial, Upkeep, millis};
use anyhow::Context as _;
use keywheel_runtime::{Shutdown, descriptors};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where the places are written that the edge listens at, for whoever let it choose a port.
const HTTP_ADDRESS: &str = "http.addr";
const GRPC_ADDRESS: &str = "grpc.addr";
/// How long what was asked may take to be answered.
const DRAIN: Duration = Duration::from_secs(3);
/// Whoever asked nothing for so long makes room where there is none: longer than a gateway under load pauses.
const GRACE: Duration = Duration::from_secs(1);

/// Runs an edge until `shutdown`. Serves while the bus is away, from what it knows.
///
/// # Errors
/// When the configuration, the port, the folder or the credential cannot be used, or the bus denies
/// the credential something that an edge needs.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    // The context leaves the error itself in the chain of causes, where its exit code is found.
    config.check().context("configuration")?;
    let _lock = storage::lock(&config.data_dir)?;
    let upkeep = Upkeep::new(&config);
    let stop_serving = Shutdown::new();
    let served = start_serving(&config, &upkeep.app(&config), &stop_serving).await?;
    let ended = keep(&upkeep, &config, &shutdown, || drain(&stop_serving, served)).await;
    stop_serving.trigger();
    ended
}

/// No answer may come after the last report: `drain` ends serving before it.
async fn keep<Drained: Future<Output = ()>>(
    upkeep: &Upkeep,
    config: &Config,
    shutdown: &Shutdown,
    drain: impl FnOnce() -> Drained,
) -> anyhow::Result<()> {
    let kept = upkeep.begin(config).await?;
    kept.work(shutdown, OnDenial::End, drain).await?;
    Ok(())
}

async fn start_serving(config: &Config, app: &App, stop: &Shutdown) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let http = listen(config, &config.http.listen, config.http.socket_mode, HTTP_ADDRESS).await?;
    let mut listeners = vec![(http, Speaks::Http)];
    if let Some(place) = &config.grpc.listen {
        let grpc = listen(config, place, config.grpc.socket_mode, GRPC_ADDRESS).await?;
        listeners.push((grpc, Speaks::Grpc));
    }
    let head_time = millis(config.http.head_time.0);
    let open_max = descriptors::raise();
    let start = |(listener, speaks): (Listener, Speaks)| {
        let connections = speaks.connections_max(open_max);
        let bounds = Bounds { connections, grace: GRACE, head_time, drain: DRAIN };
        tokio::spawn(serve::serve(listener, speaks, app.clone(), bounds, stop.clone()))
    };
    Ok(listeners.into_iter().map(start).collect())
}

async fn listen(config: &Config, asked: &Place, mode: Mode, note: &str) -> anyhow::Result<Listener> {
    let listener = Listener::bind(asked, mode).await?;
    let place = listener.place().context("cannot tell the address")?;
    write_whole(&config.data_dir.join(note), &place.to_string())?;
    tracing::info!(%place, edge = %config.id, "listening");
    Ok(listener)
}

/// Whoever reads the file sees all of it or none.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let draft = path.with_extension("addr.new");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

async fn drain(stop: &Shutdown, served: Vec<JoinHandle<()>>) {
    stop.trigger();
    for served in served {
        if let Err(error) = served.await {
            tracing::error!(%error, "serving ended badly");
        }
    }
}
