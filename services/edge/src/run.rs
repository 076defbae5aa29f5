//! The whole edge: serving first, then the table, then the bus; drained in the opposite order.

use crate::config::Config;
use crate::follow::{self, Replica};
use crate::http::App;
use crate::listen::{Listener, Mode, Place};
use crate::metrics::{Alarm, Metrics};
use crate::note::FreshnessNote;
use crate::pulse::{self, Origin};
use crate::report::{Reporter, Reports};
use crate::serve::{self, Speaks};
use crate::storage;
use crate::table::{Clocks, Table};
use anyhow::Context as _;
use keywheel_bus::{Bus, BusError, Follower, SharedFold};
use keywheel_domain::Span;
use keywheel_runtime::{Shutdown, clock};
use keywheel_token::id;
use keywheel_wire::subject::edge_durable;
use keywheel_wire::text::Id;
use keywheel_wire::usage::LastReport;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Where the places are written that the edge listens at, for whoever let it choose a port.
const HTTP_ADDRESS: &str = "http.addr";
const GRPC_ADDRESS: &str = "grpc.addr";
/// How long each part may take to end.
const DRAIN: Duration = Duration::from_secs(3);
const GOODBYE: Duration = Duration::from_secs(3);
const TASKS_DRAIN: Duration = Duration::from_secs(2);

/// Runs an edge until `shutdown`. Serves while the bus is away, from what it knows.
///
/// # Errors
/// When the configuration, the port, the folder or the credential cannot be used, or the bus denies
/// the credential something that an edge needs.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    // The context leaves the error itself in the chain of causes, where its exit code is found.
    config.check().context("configuration")?;
    let _lock = storage::lock(&config.data_dir)?;
    let edge = Edge::new(&config);
    let stop_serving = Shutdown::new();
    let served = start_serving(&config, &edge.app(&config), &stop_serving).await?;
    let ended = edge.work(&config, &shutdown, || drain(&stop_serving, served)).await;
    stop_serving.trigger();
    ended
}

async fn start_serving(config: &Config, app: &App, stop: &Shutdown) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let http = listen(config, &config.http.listen, config.http.socket_mode, HTTP_ADDRESS).await?;
    let mut listeners = vec![(http, Speaks::Http)];
    if let Some(place) = &config.grpc.listen {
        let grpc = listen(config, place, config.grpc.socket_mode, GRPC_ADDRESS).await?;
        listeners.push((grpc, Speaks::Grpc));
    }
    let head_time = millis(config.http.head_time.0);
    let start = |(listener, speaks)| {
        tokio::spawn(serve::serve(listener, speaks, app.clone(), head_time, stop.clone(), DRAIN))
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

struct Edge {
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    origin: Origin,
}

impl Edge {
    fn new(config: &Config) -> Self {
        let clocks =
            Clocks { boot_ms: clock::boot_ms, wall_ms: clock::wall_ms, machine_boot: clock::machine_boot() };
        let origin =
            Origin { edge: config.id.clone(), boot: Id(id::fresh()), version: env!("CARGO_PKG_VERSION") };
        let table = Table::new(config.id.clone(), config.lease.0, clocks);
        Self { table: Arc::new(table), metrics: Arc::new(Metrics::new()), origin }
    }

    fn app(&self, config: &Config) -> App {
        App {
            table: Arc::clone(&self.table),
            metrics: Arc::clone(&self.metrics),
            brand: Arc::new(config.key.0.clone()),
            trusted_proxies: config.http.trusted_proxies.clone().into(),
            origin: Arc::new(self.origin.clone()),
        }
    }

    /// Everything but serving, which `drain` ends: no answer may come after the last report.
    async fn work<Drained: Future<Output = ()>>(
        &self,
        config: &Config,
        shutdown: &Shutdown,
        drain: impl FnOnce() -> Drained,
    ) -> anyhow::Result<()> {
        let (replica, continues) = self.restore(&config.data_dir)?;
        let role = format!("edge-{}", config.id);
        let bus = Bus::connect(&config.bus.options(&role, true)).await?;
        let stop = Shutdown::new();
        let tasks = self.start(config, &bus, &replica, &stop);
        let reporter = Reporter::new(config.id.clone(), self.origin.boot, continues);
        let mut reports = Reports {
            reporter,
            table: Arc::clone(&self.table),
            bus: bus.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let ended = tokio::select! {
            never = reports.run(millis(config.report_every.0)) => match never {},
            ended = asked_to_end(&bus, shutdown) => ended,
        };
        drain().await;
        self.table.close();
        if ended.is_ok() {
            reports.say_goodbye(&replica.fold, GOODBYE).await;
        }
        stop.trigger();
        finish(tasks).await;
        bus.close().await;
        Ok(ended?)
    }

    /// Opens the database and lets it answer.
    fn restore(&self, data_dir: &Path) -> anyhow::Result<(Replica, Option<LastReport>)> {
        let opened = tokio::task::block_in_place(|| storage::open(data_dir, clock::wall_ms()))?;
        if let Some((aside, damage)) = opened.set_aside {
            self.metrics.alarm(Alarm::Damaged);
            tracing::error!(%damage, aside = %aside.display(), "the database was damaged; beginning anew");
        }
        let head = opened.fold.head();
        let noted: Option<FreshnessNote> = opened.freshness;
        tracing::info!(watermark = head.watermark, keys = opened.answers.keys(), "the table is loaded");
        self.table.restore(opened.answers, head, noted);
        let (table, metrics) = (Arc::clone(&self.table), Arc::clone(&self.metrics));
        Ok((Replica { table, fold: SharedFold::new(opened.fold), metrics }, opened.goodbye))
    }

    fn start(&self, config: &Config, bus: &Bus, replica: &Replica, stop: &Shutdown) -> Vec<JoinHandle<()>> {
        let follower = Follower::new(bus.clone(), replica.fold.clone(), edge_durable(&config.id));
        let pulses = pulse::run(
            bus.clone(),
            Arc::clone(&self.table),
            Arc::clone(&self.metrics),
            self.origin.clone(),
            millis(config.pulse_every.0),
            stop.clone(),
        );
        vec![
            tokio::spawn(follow::run(bus.clone(), follower, replica.clone(), stop.clone())),
            tokio::spawn(follow::keep(replica.clone(), stop.clone())),
            tokio::spawn(pulses),
        ]
    }
}

/// Until it is told to end, or denied what an edge needs. An edge does not stand in the bus's listing of
/// services: that would take permissions that it needs for nothing else; the roster and its pulses show it.
async fn asked_to_end(bus: &Bus, shutdown: &Shutdown) -> Result<(), BusError> {
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        detail = bus.denied() => Err(BusError::Denied(detail)),
    }
}

/// A part that does not end in time has nothing left that must be kept.
async fn finish(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        let abort = task.abort_handle();
        if tokio::time::timeout(TASKS_DRAIN, task).await.is_err() {
            abort.abort();
        }
    }
}

fn millis(span: Span) -> Duration {
    Duration::from_millis(span.0)
}
