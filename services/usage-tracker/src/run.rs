//! The loop: take reports, commit them, acknowledge them; then say in the log what they show.
//!
//! It may be ended at any moment. What was not committed comes again; what was committed and not
//! acknowledged is recognised; what should be in the log and is not is found again in ledger and fold.

use crate::Config;
use crate::agenda::Agenda;
use crate::ledger::Ledger;
use crate::looks::Looks;
use crate::removals::Removals;
use keywheel_bus::follow::Sink;
use keywheel_bus::gate::Sources;
use keywheel_bus::reports::Taken;
use keywheel_bus::{Bus, BusError, Gate, Station, Watch};
use keywheel_domain::event::FactKind;
use keywheel_domain::{Address, At, Event, KeyringId, Span};
use keywheel_runtime::{Shutdown, clock, observe};
use keywheel_table::Applied;
use keywheel_table::fold::Head;
use keywheel_wire::subject::Service;
use keywheel_wire::usage::Usage;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod prove;
mod record;
mod undo;

/// How long one taking of reports waits; what becomes due by time alone is seen no later.
const WAIT: Duration = Duration::from_secs(1);
/// How long a round at hand, and then the reports on their way, may take after the process was asked to
/// end. Those that are not taken come again, but late, and each edge's coverage breaks at such a gap.
const DRAIN: Duration = Duration::from_secs(3);

/// Several parts look at it, each for a short and synchronous while.
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    fn new(inner: T) -> Self {
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Runs the usage-tracker until it is asked to end.
///
/// # Errors
/// When a database cannot be used, the log is not the one that was followed before,
/// or the bus denies what this role needs.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let looks = Looks::default();
    let watch = Watch::new(Service::UsageTracker, |registry| looks.register(registry));
    tokio::select! {
        ended = track(&config, &watch, &looks, &shutdown) => ended,
        never = observe::run(config.observe.http, || Box::pin(watch.ready()), || Box::pin(watch.text())) => match never {},
    }
}

async fn track(config: &Config, watch: &Watch, looks: &Looks, shutdown: &Shutdown) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.data_dir)?;
    let ledger = Shared::new(Ledger::open(&config.data_dir.join("usage.db"))?);
    let sources = Sources { now, fresh_id: keywheel_token::id::fresh };
    let opening = Station::open(&config.bus, watch, config.instance, &config.data_dir, is_removal, sources);
    let station = tokio::select! {
        station = opening => station?,
        () = shutdown.requested() => return Ok(()),
    };
    let Station { bus, gate, follower, registered, database: _ } = station;
    let agenda = Shared::new(first_agenda(&gate)?);
    let mut tracker = Tracker::new(&gate, &ledger, &agenda, looks, config.lease.0)?;
    let ended = tokio::select! {
        ended = tracker.work(shutdown) => ended,
        ended = follower.run(Changes(agenda.clone()), std::future::pending()) => ended.map_err(Into::into),
        never = answer(&bus, &registered, &gate, &ledger) => match never {},
        denied = bus.denied() => Err(anyhow::anyhow!("the bus denied what this role needs: {denied}")),
    };
    bus.close().await;
    ended
}

fn now() -> At {
    At(clock::wall_ms())
}

/// A removed edge still counts for a lease, also when this process is restarted meanwhile.
fn is_removal(event: &Event) -> bool {
    event.fact.kind() == FactKind::EdgeRemoved
}

fn first_agenda(gate: &Gate) -> anyhow::Result<Agenda> {
    let mut agenda = Agenda::default();
    for (address, state) in gate.fold().lock().open_addresses()? {
        if let Some(keyring) = address.keyring() {
            agenda.update(keyring, &state, now());
        }
    }
    Ok(agenda)
}

/// Keeps the agenda as the log says.
struct Changes(Shared<Agenda>);

impl Sink for Changes {
    fn applied(&mut self, applied: Applied, _: Head) {
        let mut agenda = self.0.lock();
        for (address, state) in applied.changed {
            if let Some(keyring) = address.keyring() {
                agenda.update(keyring, &state, now());
            }
        }
    }
}

async fn answer(
    bus: &Bus,
    registered: &keywheel_bus::ask::Registered,
    gate: &Gate,
    ledger: &Shared<Ledger>,
) -> std::convert::Infallible {
    loop {
        let ended = bus.answer_usage(registered, |keyring| usage(gate, ledger, keyring)).await;
        tracing::warn!(?ended, "questions about usage are not answered now; trying again");
        tokio::time::sleep(WAIT).await;
    }
}

fn usage(gate: &Gate, ledger: &Shared<Ledger>, keyring: &KeyringId) -> Usage {
    let read = || -> anyhow::Result<Usage> {
        let roster = gate.fold().lock().load(&Address::Installation, None)?.state.edges;
        let ledger = ledger.lock();
        let refused = crate::answer::refused(ledger.refusals(keyring)?);
        let usage = crate::answer::usage(ledger.uses(keyring)?, roster.keys(), &ledger.coverage()?, now());
        Ok(Usage { refused, ..usage })
    };
    read().unwrap_or_else(|error| {
        tracing::error!(%error, %keyring, "a question about usage cannot be answered");
        Usage::default()
    })
}

/// The tracker's loop with what it works on.
struct Tracker<'a> {
    bus: &'a Bus,
    gate: &'a Gate,
    ledger: &'a Shared<Ledger>,
    agenda: &'a Shared<Agenda>,
    looks: &'a Looks,
    lease: Span,
    removals: Removals,
    /// Keyrings with a proof in the log, used since, or not looked at since the start.
    doubtful: BTreeSet<KeyringId>,
    /// Keyrings of which retired keys were refused, since the last look or before the start.
    refused: BTreeSet<KeyringId>,
}

impl<'a> Tracker<'a> {
    fn new(
        gate: &'a Gate,
        ledger: &'a Shared<Ledger>,
        agenda: &'a Shared<Agenda>,
        looks: &'a Looks,
        lease: Span,
    ) -> rusqlite::Result<Self> {
        let doubtful = agenda.lock().proved().cloned().collect();
        let refused = ledger.lock().refused()?;
        let (bus, removals) = (gate.bus(), Removals::new(lease));
        Ok(Self { bus, gate, ledger, agenda, looks, lease, removals, doubtful, refused })
    }

    async fn work(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut reports = self.bus.reports();
        loop {
            let taken = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                taken = reports.next(WAIT) => taken,
            };
            let overdue = async {
                shutdown.requested().await;
                tokio::time::sleep(DRAIN).await;
            };
            let done = tokio::select! {
                done = self.round(taken) => done,
                () = overdue => break,
            };
            if let Err(error) = done {
                wait_out(error)?;
                shutdown.pause(WAIT / 2).await;
            }
        }
        let drained = async { self.commit(&reports.rest().await?).await };
        match tokio::time::timeout(DRAIN, drained).await {
            Ok(Err(error)) => wait_out(error),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// A use that voids a proof is recorded before anything else is said.
    async fn round(&mut self, taken: Result<Vec<Taken>, BusError>) -> Result<(), Failure> {
        self.commit(&taken?).await?;
        self.void().await?;
        self.record_first_uses().await?;
        self.undo().await?;
        self.prove().await
    }

    async fn commit(&mut self, taken: &[Taken]) -> Result<(), Failure> {
        if taken.is_empty() {
            return Ok(());
        }
        self.looks.taken(taken);
        let told = tokio::task::block_in_place(|| self.ledger.lock().take(&arrived(taken)))?;
        let agenda = self.agenda;
        self.refused.extend(told.refused);
        self.doubtful.extend(told.used.into_iter().filter(|keyring| agenda.lock().is_proved(keyring)));
        for one in taken {
            one.done().await?;
        }
        Ok(())
    }

    /// Waits until the fold has everything that is in the log now: the roster, the policies and the
    /// keys are then at least as new as anything that was read before.
    async fn catch_up(&self) -> Result<(), BusError> {
        let head = self.bus.head().await?;
        self.gate.applied(head.seq).await
    }
}

fn arrived<'t>(taken: &'t [Taken]) -> Vec<crate::ledger::Arrived<'t>> {
    let arrived = |one: &'t Taken| crate::ledger::Arrived {
        edge: &one.edge,
        report: one.report.as_ref(),
        stored_at: one.stored_at,
    };
    taken.iter().map(arrived).collect()
}

/// Why a round ended early.
enum Failure {
    Bus(BusError),
    Ledger(rusqlite::Error),
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        Failure::Bus(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Ledger(error)
    }
}

impl From<keywheel_table::TableError> for Failure {
    fn from(error: keywheel_table::TableError) -> Self {
        Failure::Bus(error.into())
    }
}

/// Lets pass what the next round may do better.
fn wait_out(failure: Failure) -> anyhow::Result<()> {
    match failure {
        Failure::Ledger(error) => Err(error.into()),
        Failure::Bus(
            error @ (BusError::Table(_)
            | BusError::OtherLog(_)
            | BusError::Credentials(_)
            | BusError::Tls(_)
            | BusError::Denied(_)
            | BusError::NotEntitled(_)),
        ) => Err(error.into()),
        Failure::Bus(
            error @ (BusError::Unreachable { .. }
            | BusError::Failed { .. }
            | BusError::Full { .. }
            | BusError::Contended(_)
            | BusError::Frozen(_)
            | BusError::Malformed(_)
            | BusError::Stopped),
        ) => {
            tracing::warn!(%error, "a round ended early; trying again");
            Ok(())
        }
    }
}
