//! The propagator: keeps the live picture of the roster, passes barriers, releases sealed secrets,
//! writes receipts.
//!
//! # Layout
//! - [`fleet`]: what is known of each edge, by this propagator's own clock
//! - [`agreement`]: whose table differs from the others'; [`clocks`]: whose clock is off
//! - [`desk`]: the work that events leave behind, and when each piece may be done; no I/O
//! - [`carry`]: does it
//! - [`commands`]: the roster and passing the barrier by hand
//! - [`figures`]: what operators watch
//! - [`listen`]: pulses, heard and read back
//! - [`doubts`]: alarms of messages that nobody applies
//! - [`heads`]: where the log stands, signed; [`snapshots`]: of its fold, for edges that start; [`config`]: what it is told

pub mod agreement;
pub mod carry;
pub mod clocks;
pub mod commands;
pub mod config;
pub mod desk;
pub mod doubts;
pub mod figures;
pub mod fleet;
pub mod heads;
pub mod listen;
pub mod snapshots;

use crate::carry::Carrier;
pub use crate::config::Config;
use crate::desk::Desk;
use crate::figures::Figures;
use keywheel_bus::follow::Sink;
use keywheel_bus::gate::Sources;
use keywheel_bus::{Bus, BusError, Station, Watch, intake};
use keywheel_domain::{Address, At, Event, Fact, Span};
use keywheel_runtime::{Shutdown, clock, observe};
use keywheel_table::{Applied, fold::Head};
use keywheel_wire::subject::Service;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The desk, shared by the tasks that feed it and the one that works it off.
#[derive(Clone)]
pub struct SharedDesk {
    desk: Arc<Mutex<Desk>>,
    bell: Arc<Notify>,
}

impl SharedDesk {
    fn new(desk: Desk) -> Self {
        Self { desk: Arc::new(Mutex::new(desk)), bell: Arc::new(Notify::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something lies there which may make some work ready.
    fn ring(&self) {
        self.bell.notify_one();
    }

    /// Resolves when it was rung since the last time.
    async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// Runs until `shutdown`.
///
/// # Errors
/// When the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), BusError> {
    let figures = Figures::default();
    let watch = Watch::new(Service::Propagator, |registry| figures.register(registry));
    let desk = SharedDesk::new(Desk::new(config.lease.0));
    let metrics = || -> observe::Asked<'_, String> {
        figures.look(&desk.lock(), clock::boot_ms());
        Box::pin(watch.text())
    };
    tokio::select! {
        ended = work(&config, &watch, &figures, &desk, &shutdown) => ended,
        never = observe::run(config.observe.http, || Box::pin(watch.ready()), metrics) => match never {},
    }
}

async fn work(
    config: &Config,
    watch: &Watch,
    figures: &Figures,
    desk: &SharedDesk,
    shutdown: &Shutdown,
) -> Result<(), BusError> {
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, watch, config.instance, &config.data_dir, leaves_work, sources).await?;
    let late = tokio::select! {
        late = heads_late(&station.bus) => late,
        () = shutdown.requested() => HEADS_LATE,
    };
    desk.lock().told_late(late);
    let roster = station.gate.fold().lock().load(&Address::Installation, None)?.state.edges;
    desk.lock().set_roster(roster, clock::boot_ms());
    let (gate, figures) = (station.gate.clone(), figures.clone());
    let carrier = Carrier { gate, desk: desk.clone(), figures, lease: config.lease.0 };
    let writer = snapshots::Writer::new(station.gate.clone(), station.database.clone(), config.snapshot);
    let handler = commands::Propagator { desk: desk.clone(), gate: station.gate.clone() };
    let work = async {
        tokio::try_join!(
            intake::run(&station.gate, Service::Propagator, &handler, shutdown.requested()),
            listen::run(&station.gate, desk, config.lease.0, shutdown),
            carrier.run(shutdown),
            doubts::run(&station.gate, shutdown),
            heads::run(&station.gate, shutdown),
            writer.run(&station.registered, shutdown),
        )
        .map(|_| ())
    };
    station.serve(Intray { desk: desk.clone() }, work).await
}

/// How long a server of a cluster may go on telling the head of the log as its leader, after another took the lead and
/// appended. On two loaded cores that was seen for up to 6.7 s, where it still reached one of the others; with a margin.
/// It delays only what waits for an edge that does not say how far it is.
pub const HEADS_LATE: Span = Span::secs(12);

async fn heads_late(bus: &Bus) -> Span {
    match bus.is_log_kept_by_several().await {
        Ok(false) => Span(0),
        Ok(true) => HEADS_LATE,
        Err(error) => {
            tracing::warn!(%error, "cannot ask how many servers keep the log; taking it for several");
            HEADS_LATE
        }
    }
}

/// Events that leave work which must survive a restart.
fn leaves_work(event: &Event) -> bool {
    match &event.fact {
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeyRetired(_)
        | Fact::RolledBack(_)
        | Fact::EdgeRemoved(_) => true,
        Fact::KeySeen(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => false,
    }
}

/// Puts what was applied on the desk.
struct Intray {
    desk: SharedDesk,
}

impl Sink for Intray {
    fn applied(&mut self, applied: Applied, head: Head) {
        let now = clock::boot_ms();
        let mut desk = self.desk.lock();
        if let Some(installation) = applied.changed.get(&Address::Installation) {
            desk.set_roster(installation.edges.clone(), now);
        }
        for recorded in &applied.events {
            desk.take(recorded, now);
        }
        desk.stand(head);
        drop(desk);
        if !applied.events.is_empty() {
            self.desk.ring();
        }
    }
}
