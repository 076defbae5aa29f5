//! What operators watch. No label carries a key or a client.

use crate::table::{Status, Table};
use keywheel_domain::verdict::Freshness;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

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
}

/// Whether the bus took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has acknowledged it.
    Acknowledged,
    /// It has not, or it is not known.
    Unclear,
}

/// The metrics of one process.
pub struct Metrics {
    registry: Registry,
    verdicts: Family<Verdict, Counter>,
    durations: Family<Endpoint, Histogram, fn() -> Histogram>,
    alarms: Family<Kind, Counter>,
    pulses: Family<Outcome, Counter>,
    reports: Family<Outcome, Counter>,
    watermark: Gauge,
    lag: Gauge,
    lease_age: Seconds,
    is_fresh: Gauge,
    is_serving: Gauge,
    is_rebuilding: Gauge,
    keys: Gauge,
}

impl Metrics {
    /// All at nothing.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("keywheel_edge"),
            verdicts: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1e-6, 2.0, 20))),
            alarms: Family::default(),
            pulses: Family::default(),
            reports: Family::default(),
            watermark: Gauge::default(),
            lag: Gauge::default(),
            lease_age: Seconds::default(),
            is_fresh: Gauge::default(),
            is_serving: Gauge::default(),
            is_rebuilding: Gauge::default(),
            keys: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("verdicts", "Answers, by endpoint and reason", self.verdicts.clone());
        registry.register("check_duration_seconds", "From request to answer", self.durations.clone());
        registry.register("alarms", "What somebody should look at", self.alarms.clone());
        registry.register("pulses", "Handshakes with the log", self.pulses.clone());
        registry.register("reports", "Attempts to report use", self.reports.clone());
        registry.register("watermark", "Log sequence that answers", self.watermark.clone());
        registry.register("lag", "Messages between the log's head and the watermark", self.lag.clone());
        registry.register("lease_age_seconds", "Since the last proof; -1 when never", self.lease_age.clone());
        registry.register("fresh", "1 while the lease holds", self.is_fresh.clone());
        registry.register("serving", "1 while keys are answered for", self.is_serving.clone());
        registry.register("rebuilding", "1 while the database is rebuilt", self.is_rebuilding.clone());
        registry.register("keys", "Keys in the table", self.keys.clone());
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
        self.durations.get_or_create(&Endpoint { endpoint }).observe(took.as_secs_f64());
    }

    /// Counts an alarm.
    pub fn alarm(&self, alarm: Alarm) {
        self.alarms.get_or_create(&Kind { kind: alarm.word() }).inc();
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
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    fn observe(&self, status: &Status) {
        let lag = status.log_head.saturating_sub(status.head.watermark);
        self.watermark.set(signed(status.head.watermark));
        self.lag.set(signed(lag));
        self.lease_age.set(status.age.map_or(-1.0, |age| Duration::from_millis(age.0).as_secs_f64()));
        self.is_fresh.set(i64::from(status.freshness == Freshness::Fresh));
        self.is_serving.set(i64::from(status.freshness != Freshness::NotServing));
        self.is_rebuilding.set(i64::from(status.kept != status.head));
        self.keys.set(i64::try_from(status.keys).unwrap_or(i64::MAX));
    }
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
    fn word(self) -> &'static str {
        match self {
            Alarm::Message => "message",
            Alarm::Diverged => "diverged",
            Alarm::Damaged => "damaged",
            Alarm::Storage => "storage",
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
