//! A table that is kept in step with the log and reports what it is used for: the same in a process of its own and
//! inside a service.

use crate::config::Config;
use crate::copy::LogCopy;
use crate::follow::{self, Replica};
use crate::http::App;
use crate::metrics::{Alarm, Metrics};
use crate::note::FreshnessNote;
use crate::pulse::{self, Origin};
use crate::report::{Reporter, Reports};
use crate::scrub;
use crate::storage;
use crate::table::{Clocks, Table};
use crate::turn::Turn;
use crate::witness::{self, Witness};
use keywheel_bus::{Bus, BusError, SharedFold};
use keywheel_domain::Span;
use keywheel_runtime::{Shutdown, clock};
use keywheel_token::id;
use keywheel_wire::subject::edge_durable;
use keywheel_wire::text::Id;
use keywheel_wire::usage::LastReport;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long each part may take to end.
const GOODBYE: Duration = Duration::from_secs(3);
const TASKS_DRAIN: Duration = Duration::from_secs(2);

/// A table with what is known of whoever answers from it.
pub struct Upkeep {
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    origin: Origin,
}

/// A table that is kept.
pub struct Kept {
    fold: SharedFold,
    reports: Reports,
    tasks: Vec<JoinHandle<()>>,
    stop: Shutdown,
    every: Duration,
}

/// What it means that the bus denies something that an edge needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDenial {
    /// The end: whoever started the process sees it and mends the credential.
    End,
    /// Nothing but what is logged: a service goes on with what is known, and grows stale.
    GoOn,
}

impl Upkeep {
    /// A table that serves nobody yet.
    pub fn new(config: &Config) -> Self {
        let clocks =
            Clocks { boot_ms: clock::boot_ms, wall_ms: clock::wall_ms, machine_boot: clock::machine_boot() };
        let origin =
            Origin { edge: config.id.clone(), boot: Id(id::fresh()), version: env!("CARGO_PKG_VERSION") };
        let table = Table::new(config.id.clone(), config.lease.0, clocks);
        Self { table: Arc::new(table), metrics: Arc::new(Metrics::new()), origin }
    }

    /// What answers from it.
    pub fn app(&self, config: &Config) -> App {
        App {
            table: Arc::clone(&self.table),
            metrics: Arc::clone(&self.metrics),
            brand: Arc::new(config.key.0.clone()),
            trusted_proxies: config.http.trusted_proxies.clone().into(),
            origin: Arc::new(self.origin.clone()),
        }
    }

    /// Loads the table and begins to keep it. The folder must be held: [`storage::lock`].
    ///
    /// # Errors
    /// When the folder or the credential cannot be used.
    ///
    /// # Panics
    /// On a runtime of a single thread.
    pub async fn begin(&self, config: &Config) -> anyhow::Result<Kept> {
        let (replica, continues) = self.restore(config)?;
        let role = format!("edge-{}", config.id);
        let bus = Bus::connect(&config.bus.options(&role, true)).await?;
        self.metrics.watch(config.data_dir.clone(), bus.clone());
        let stop = Shutdown::new();
        let tasks = self.start(config, &bus, &replica, &stop);
        let reports = Reports {
            reporter: Reporter::new(config.id.clone(), self.origin.boot, continues),
            table: Arc::clone(&self.table),
            bus,
            metrics: Arc::clone(&self.metrics),
        };
        Ok(Kept { fold: replica.fold, reports, tasks, stop, every: millis(config.report_every.0) })
    }

    /// Opens the database and lets it answer.
    fn restore(&self, config: &Config) -> anyhow::Result<(Replica, Option<LastReport>)> {
        let opened = tokio::task::block_in_place(|| {
            storage::open(&config.data_dir, clock::wall_ms(), &config.bus.signers)
        })?;
        if let Some((aside, damage)) = opened.set_aside {
            self.metrics.alarm(Alarm::Damaged);
            tracing::error!(%damage, aside = %aside.display(), "the database was damaged; beginning anew");
        }
        let head = opened.fold.head();
        let noted: Option<FreshnessNote> = opened.freshness;
        tracing::info!(watermark = head.watermark, keys = opened.answers.keys(), "the table is loaded");
        self.table.restore(opened.answers, head, noted);
        let (table, metrics) = (Arc::clone(&self.table), Arc::clone(&self.metrics));
        let (data_dir, signers) = (config.data_dir.clone(), Arc::clone(&config.bus.signers));
        let witness = Witness::restored(head.watermark, opened.heads);
        let fold = SharedFold::new(opened.fold);
        let replica = Replica::new(table, fold, metrics, data_dir, signers).witnessed(witness);
        let copy =
            config.keep_log.then(|| LogCopy::open(&config.data_dir, config.bus.signers.installation()));
        let replica = replica.copying(copy.transpose()?);
        Ok((replica, opened.goodbye))
    }

    fn start(&self, config: &Config, bus: &Bus, replica: &Replica, stop: &Shutdown) -> Vec<JoinHandle<()>> {
        let durable = edge_durable(&config.id);
        let turn = Turn::of(&config.id, config.heal_within.0);
        let pulses = pulse::run(
            bus.clone(),
            Arc::clone(&self.table),
            Arc::clone(&self.metrics),
            replica.witness.clone(),
            self.origin.clone(),
            millis(config.pulse_every.0),
            stop.clone(),
        );
        vec![
            tokio::spawn(follow::run(bus.clone(), durable, replica.clone(), config.snapshots, stop.clone())),
            tokio::spawn(scrub::run(replica.clone(), stop.clone())),
            tokio::spawn(follow::keep(replica.clone(), stop.clone())),
            tokio::spawn(witness::run(bus.clone(), replica.clone(), turn, stop.clone())),
            tokio::spawn(pulses),
        ]
    }
}

impl Kept {
    /// Keeps it until `shutdown`; then ends what answers by `drain`, reports all that is left and says goodbye.
    /// Whether that was acknowledged: the next process goes on from there.
    ///
    /// # Errors
    /// What the bus denied, where that is the end.
    pub async fn work<Drained: Future<Output = ()>>(
        mut self,
        shutdown: &Shutdown,
        on_denial: OnDenial,
        drain: impl FnOnce() -> Drained,
    ) -> Result<bool, BusError> {
        let (bus, table) = (self.reports.bus.clone(), Arc::clone(&self.reports.table));
        let ended = tokio::select! {
            never = self.reports.run(self.every) => match never {},
            ended = asked_to_end(&bus, shutdown, on_denial) => ended,
        };
        drain().await;
        table.close();
        let is_reported = match &ended {
            Ok(()) => self.reports.say_goodbye(&self.fold, GOODBYE).await,
            Err(_) => false,
        };
        self.stop.trigger();
        finish(self.tasks).await;
        bus.close().await;
        ended.map(|()| is_reported)
    }
}

/// Until it is told to end, or denied what an edge needs. An edge does not stand in the bus's listing of
/// services: that would take permissions that it needs for nothing else; the roster and its pulses show it.
async fn asked_to_end(bus: &Bus, shutdown: &Shutdown, on_denial: OnDenial) -> Result<(), BusError> {
    tokio::select! {
        () = shutdown.requested() => Ok(()),
        detail = bus.denied(), if on_denial == OnDenial::End => Err(BusError::Denied(detail)),
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

/// As the clocks of tasks have it.
pub(crate) fn millis(span: Span) -> Duration {
    Duration::from_millis(span.0)
}
