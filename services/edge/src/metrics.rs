//! What operators watch. No label carries a key or a client.

use crate::storage;
use crate::stripes::Stripes;
use crate::table::{Answered, Status, Table};
use keywheel_bus::Bus;
use keywheel_domain::Span;
use keywheel_domain::verdict::{Freshness, Refusal};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The endpoint that a check inside a service is counted under.
const INSIDE: &str = "library";

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    endpoint: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Endpoint {
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A message of the log was not believed or not understood.
    Message,
    /// The log is not the one that was applied.
    Diverged,
    /// The database, or the table in memory, was damaged and is replaced.
    Damaged,
    /// The database does not take what is to be kept.
    Storage,
    /// A snapshot that lies in the store is not one of this log.
    Snapshot,
}

/// Whether the bus took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has acknowledged it.
    Acknowledged,
    /// It has not, or it is not known.
    Unclear,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Of so many checks inside a service one is timed: reading clocks would take longer than the check.
const TIMED_EVERY: u64 = 64;

/// Checks inside a service, where counting must not cost more than the check: each thread counts for
/// itself, and is added up when somebody looks.
#[derive(Default)]
struct Inside {
    begun: AtomicU64,
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// The folder of the database and the connection, once there are.
    watched: OnceLock<(PathBuf, Bus)>,
    verdicts: Family<Verdict, Counter>,
    inside: Stripes<Inside>,
    durations: Durations<Endpoint>,
    requests: Durations<Route>,
    alarms: Family<Kind, Counter>,
    pulses: Family<Outcome, Counter>,
    reports: Family<Outcome, Counter>,
    snapshots: Counter,
    watermark: Gauge,
    lag: Gauge,
    lag_seconds: Seconds,
    lease_age: Seconds,
    lease_left: Seconds,
    is_fresh: Gauge,
    is_serving: Gauge,
    is_rebuilding: Gauge,
    keys: Gauge,
    keyrings: Gauge,
    database: Gauge,
    waiting: Gauge,
    is_connected: Gauge,
    connections: Counter,
    crowded_out: Counter,
}

impl Metrics {
    /// All at nothing.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("keywheel_edge"),
            watched: OnceLock::new(),
            verdicts: Family::default(),
            inside: Stripes::default(),
            durations: Family::new_with_constructor(buckets),
            requests: Family::new_with_constructor(buckets),
            alarms: Family::default(),
            pulses: Family::default(),
            reports: Family::default(),
            snapshots: Counter::default(),
            watermark: Gauge::default(),
            lag: Gauge::default(),
            lag_seconds: Seconds::default(),
            lease_age: Seconds::default(),
            lease_left: Seconds::default(),
            is_fresh: Gauge::default(),
            is_serving: Gauge::default(),
            is_rebuilding: Gauge::default(),
            keys: Gauge::default(),
            keyrings: Gauge::default(),
            database: Gauge::default(),
            waiting: Gauge::default(),
            is_connected: Gauge::default(),
            connections: Counter::default(),
            crowded_out: Counter::default(),
        };
        metrics.register();
        metrics.begin_at_nothing();
        metrics
    }

    /// What has not happened yet is 0 and not missing: else its first time is no increase.
    fn begin_at_nothing(&self) {
        for alarm in Alarm::ALL {
            self.alarms.get_or_create(&Kind { kind: alarm.word() }).inc_by(0);
        }
        for sent in [Sent::Acknowledged, Sent::Unclear] {
            self.pulses.get_or_create(&Outcome { outcome: sent.word() }).inc_by(0);
            self.reports.get_or_create(&Outcome { outcome: sent.word() }).inc_by(0);
        }
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        registry.register("verdicts", "Answers, by endpoint and reason", self.verdicts.clone());
        let durations = self.durations.clone();
        registry.register(
            "check_duration_seconds",
            "From a key to its verdict; in a library of one in 64",
            durations,
        );
        let requests = self.requests.clone();
        registry.register("http_request_duration_seconds", "From a request's head to its answer", requests);
        registry.register("alarms", "What somebody should look at", self.alarms.clone());
        registry.register("pulses", "Handshakes with the log", self.pulses.clone());
        registry.register("reports", "Attempts to report use", self.reports.clone());
        registry.register("snapshots", "Beginnings of a table with a snapshot", self.snapshots.clone());
        let waiting = self.waiting.clone();
        registry.register("versions_waiting", "Versions whose use no report has carried yet", waiting);
        registry.register("watermark", "Log sequence that answers", self.watermark.clone());
        registry.register("lag", "Messages between the log's head and the watermark", self.lag.clone());
        let lag_seconds = self.lag_seconds.clone();
        registry.register("lag_seconds", "Since the table was known to be whole; 0 while it is", lag_seconds);
        registry.register("lease_age_seconds", "Since the last proof; -1 when never", self.lease_age.clone());
        let lease_left = self.lease_left.clone();
        registry.register("lease_remaining_seconds", "Until the table is stale without a proof", lease_left);
        registry.register("fresh", "1 while the lease holds", self.is_fresh.clone());
        registry.register("serving", "1 while keys are answered for", self.is_serving.clone());
        registry.register("rebuilding", "1 while the database is rebuilt", self.is_rebuilding.clone());
        registry.register("keys", "Keys in the table", self.keys.clone());
        registry.register("keyrings", "Keyrings in the table", self.keyrings.clone());
        registry.register("database_bytes", "The table on disk", self.database.clone());
        registry.register("bus_connected", "1 while the connection stands", self.is_connected.clone());
        registry.register("bus_connections", "How often it was made", self.connections.clone());
        let crowded_out = self.crowded_out.clone();
        registry.register("crowded_out", "Idle connections closed to let others in", crowded_out);
    }

    /// Counts an answer. `reason` is `ok` or the code of a refusal.
    pub fn answered(
        &self,
        endpoint: &'static str,
        outcome: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        self.verdicts.get_or_create(&Verdict { endpoint, outcome, reason }).inc();
        self.timed(endpoint, took);
    }

    fn timed(&self, endpoint: &'static str, took: Duration) {
        self.durations.get_or_create(&Endpoint { endpoint }).observe(took.as_secs_f64());
    }

    /// Runs a check inside a service, and counts what it says.
    pub(crate) fn inside(&self, check: impl FnOnce() -> Answered) -> Answered {
        let own = self.inside.own();
        // Not added up exactly where threads share it: it only says which one is timed.
        let nth = own.begun.load(Ordering::Relaxed);
        own.begun.store(nth.wrapping_add(1), Ordering::Relaxed);
        let began = nth.is_multiple_of(TIMED_EVERY).then(Instant::now);
        let answered = check();
        let counter = match &answered.outcome {
            Ok(_) => &own.accepted,
            Err(refusal) => &own.refused[*refusal as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(began) = began {
            self.timed(INSIDE, began.elapsed());
        }
        answered
    }

    /// What threads have counted for themselves since somebody looked.
    fn gather(&self) {
        let add = |outcome, reason, counter: &AtomicU64| {
            let count = counter.swap(0, Ordering::Relaxed);
            if count > 0 {
                self.verdicts.get_or_create(&Verdict { endpoint: INSIDE, outcome, reason }).inc_by(count);
            }
        };
        for thread in self.inside.all() {
            add("accepted", "ok", &thread.accepted);
            for (refusal, counter) in Refusal::ALL.iter().zip(&thread.refused) {
                add(outcome_of(*refusal), refusal.code(), counter);
            }
        }
    }

    /// Counts a request over HTTP. `route` is one of few words, never a path.
    pub(crate) fn requested(&self, route: &'static str, took: Duration) {
        self.requests.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// What is looked at when somebody asks.
    pub(crate) fn watch(&self, data_dir: PathBuf, bus: Bus) {
        // The first one stays: a process has one.
        let _ = self.watched.set((data_dir, bus));
    }

    /// Counts an alarm.
    pub fn alarm(&self, alarm: Alarm) {
        self.alarms.get_or_create(&Kind { kind: alarm.word() }).inc();
    }

    /// Counts connections that were closed to make room.
    #[cfg(feature = "server")]
    pub(crate) fn crowded_out(&self, many: usize) {
        self.crowded_out.inc_by(many as u64);
    }

    /// Counts a beginning with a snapshot.
    pub fn begun(&self) {
        self.snapshots.inc();
    }

    /// Counts a handshake.
    pub fn pulse(&self, sent: Sent) {
        self.pulses.get_or_create(&Outcome { outcome: sent.word() }).inc();
    }

    /// Counts an attempt to report.
    pub fn report(&self, sent: Sent) {
        self.reports.get_or_create(&Outcome { outcome: sent.word() }).inc();
    }

    /// All of it as text, with the table's state now.
    pub fn text(&self, table: &Table) -> String {
        self.observe(&table.status());
        self.gather();
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    fn observe(&self, status: &Status) {
        let lag = status.log_head.saturating_sub(status.head.watermark);
        let left = Span(status.age.map_or(0, |age| status.length.0.saturating_sub(age.0)));
        self.watermark.set(signed(status.head.watermark));
        self.lag.set(signed(lag));
        self.lag_seconds.set(if lag == 0 { 0.0 } else { status.age.map_or(0.0, seconds) });
        self.lease_age.set(status.age.map_or(-1.0, seconds));
        self.lease_left.set(seconds(left));
        self.is_fresh.set(i64::from(status.freshness == Freshness::Fresh));
        self.is_serving.set(i64::from(status.freshness != Freshness::NotServing));
        self.is_rebuilding.set(i64::from(status.kept != status.head));
        self.keys.set(signed(status.keys as u64));
        self.keyrings.set(signed(status.keyrings as u64));
        self.waiting.set(signed(status.waiting as u64));
        if let Some((data_dir, bus)) = self.watched.get() {
            self.database.set(signed(storage::bytes(data_dir)));
            self.is_connected.set(i64::from(bus.is_connected()));
            self.connections.inner().store(bus.connections(), Ordering::Relaxed);
        }
    }
}

/// The word for a refusal's kind.
pub(crate) fn outcome_of(refusal: Refusal) -> &'static str {
    if refusal.is_definite() { "refused" } else { "unavailable" }
}

fn buckets() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 2.0, 20))
}

fn seconds(span: Span) -> f64 {
    Duration::from_millis(span.0).as_secs_f64()
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Alarm {
    const ALL: [Alarm; 5] =
        [Alarm::Message, Alarm::Diverged, Alarm::Damaged, Alarm::Storage, Alarm::Snapshot];

    fn word(self) -> &'static str {
        match self {
            Alarm::Message => "message",
            Alarm::Diverged => "diverged",
            Alarm::Damaged => "damaged",
            Alarm::Storage => "storage",
            Alarm::Snapshot => "snapshot",
        }
    }
}

impl Sent {
    fn word(self) -> &'static str {
        match self {
            Sent::Acknowledged => "acknowledged",
            Sent::Unclear => "unclear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counters of refusals are found by their place.
    #[test]
    fn each_refusal_is_at_its_own_place() {
        for (place, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, place, "{refusal:?}");
        }
    }

    #[test]
    fn what_threads_count_for_themselves_is_shown_together() {
        let metrics = Metrics::new();
        let said = |outcome| Answered { outcome, stale_for: None };
        std::thread::scope(|scope| {
            for refusal in [Refusal::Revoked, Refusal::Revoked, Refusal::Stale] {
                let (metrics, said) = (&metrics, &said);
                scope.spawn(move || (0..3).for_each(|_| drop(metrics.inside(|| said(Err(refusal))))));
            }
        });
        metrics.gather();
        metrics.gather();
        let count = |outcome, reason| {
            metrics.verdicts.get_or_create(&Verdict { endpoint: INSIDE, outcome, reason }).get()
        };
        assert_eq!((count("refused", "revoked"), count("unavailable", "stale")), (6, 3));
    }
}
