//! What operators watch at a deciding service. No label carries a tenant, a client, a key or its kid.

use crate::{Bus, Gate};
use keywheel_domain::event::FactKind;
use keywheel_domain::key::Cause;
use keywheel_domain::{Event, Fact};
use keywheel_wire::body::{cause_word, type_word};
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::{Service, Verb};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the fold may take to show what the log had when somebody asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// The codes that alarms are counted by; one that is missing here counts as [`OTHER`].
pub const ALARMS: [&str; 10] = [
    "malformed",
    "not_believed",
    "frozen",
    "overlap_held",
    "schedule_held",
    "auto_rollback",
    "table_differs",
    "table_agrees_again",
    "clock_off",
    "clock_right_again",
];
/// An alarm of a code, or a command of a verb, that has no name here.
pub const OTHER: &str = "other";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// What is counted as it happens, by whoever shares the connection.
#[derive(Clone, Debug)]
pub struct Counts {
    commands: Family<Decided, Counter>,
    decision: Histogram,
    backlog: Gauge,
    conflicts: Counter,
    unbatched: Counter,
    events: Family<Written, Counter>,
    retired: Family<Ended, Counter>,
    alarms: Family<Kind, Counter>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            commands: Family::default(),
            decision: durations(),
            backlog: Gauge::default(),
            conflicts: Counter::default(),
            unbatched: Counter::default(),
            events: Family::default(),
            retired: Family::default(),
            alarms: Family::default(),
        }
    }
}

/// A histogram of durations, in seconds: from a millisecond to an hour.
pub fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 22))
}

impl Counts {
    fn register(&self, registry: &mut Registry) {
        registry.register("commands", "Commands by verb and outcome", self.commands.clone());
        let decision = self.decision.clone();
        registry.register("decision_seconds", "From a command's taking to its stored outcome", decision);
        registry.register("backlog", "Commands in the queue after the last taking", self.backlog.clone());
        let conflicts = self.conflicts.clone();
        registry.register("conflicts", "Appends that somebody else came before; decided again", conflicts);
        let unbatched = self.unbatched.clone();
        registry.register("unbatched", "Batches that were not stored and were sent singly", unbatched);
        registry.register("events", "Events that this service appended, by type", self.events.clone());
        registry.register("retired", "Decisions that ended a key, by cause", self.retired.clone());
        registry.register("alarms", "Alarms that this service published, by kind", self.alarms.clone());
    }

    /// What has not happened yet is 0 and not missing: else its first time is no increase.
    fn begin_at_nothing(&self, service: Service) {
        for verb in Verb::ALL.into_iter().filter(|verb| verb.decided_by() == service) {
            for outcome in [Word::Accepted, Word::Unchanged, Word::Rejected] {
                self.commands.get_or_create(&decided(Some(verb), outcome)).inc_by(0);
            }
        }
        for kind in FactKind::ALL {
            self.events.get_or_create(&Written { event: type_word(kind) }).inc_by(0);
        }
        for cause in [Cause::Superseded, Cause::Requested, Cause::Revoked, Cause::Expired, Cause::Cancelled] {
            self.retired.get_or_create(&Ended { cause: cause_word(cause) }).inc_by(0);
        }
        for kind in ALARMS {
            self.alarms.get_or_create(&Kind { kind }).inc_by(0);
        }
    }

    /// A command has its outcome. Without a verb it could not be read.
    pub(crate) fn settled(&self, verb: Option<Verb>, outcome: Word) {
        self.commands.get_or_create(&decided(verb, outcome)).inc();
    }

    /// So long after its command was taken an outcome was stored.
    pub(crate) fn took(&self, time: Duration) {
        self.decision.observe(time.as_secs_f64());
    }

    /// So many commands lie in the queue.
    pub(crate) fn waiting(&self, commands: u64) {
        self.backlog.set(signed(commands));
    }

    pub(crate) fn conflict(&self) {
        self.conflicts.inc();
    }

    pub(crate) fn unbatched(&self) {
        self.unbatched.inc();
    }

    pub(crate) fn appended(&self, event: &Event) {
        self.events.get_or_create(&Written { event: type_word(event.fact.kind()) }).inc();
        if let Fact::KeyRetired(ended) = &event.fact {
            self.retired.get_or_create(&Ended { cause: cause_word(ended.cause) }).inc();
        }
    }

    pub(crate) fn alarm(&self, code: &str) {
        let kind = ALARMS.into_iter().find(|known| *known == code).unwrap_or(OTHER);
        self.alarms.get_or_create(&Kind { kind }).inc();
    }
}

fn decided(verb: Option<Verb>, outcome: Word) -> Decided {
    let outcome = match outcome {
        Word::Accepted => "accepted",
        Word::Unchanged => "unchanged",
        Word::Rejected => "rejected",
    };
    Decided { verb: verb.map_or(OTHER, Verb::word), outcome }
}

/// How a deciding service stands, for whoever asks it from outside.
pub struct Watch {
    service: Service,
    registry: Registry,
    counts: Arc<Counts>,
    /// Once there is a connection.
    gate: OnceLock<Gate>,
    watermark: Gauge,
    lag: Gauge,
    is_connected: Gauge,
    connections: Counter,
}

impl Watch {
    /// All at nothing. `register` adds what only this service has.
    pub fn new(service: Service, register: impl FnOnce(&mut Registry)) -> Self {
        let label = ("service".into(), service.name().into());
        let mut registry = Registry::with_prefix_and_labels("keywheel_service", [label].into_iter());
        let counts = Arc::new(Counts::default());
        counts.register(&mut registry);
        counts.begin_at_nothing(service);
        let (watermark, lag) = (Gauge::default(), Gauge::default());
        let (is_connected, connections) = (Gauge::default(), Counter::default());
        registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("watermark", "Log sequence that decisions rest on", watermark.clone());
        registry.register("lag", "Messages between the log's head and the watermark", lag.clone());
        registry.register("bus_connected", "1 while the connection stands", is_connected.clone());
        registry.register("bus_connections", "How often it was made", connections.clone());
        register(&mut registry);
        Self { service, registry, counts, gate: OnceLock::new(), watermark, lag, is_connected, connections }
    }

    /// Whose this is.
    pub fn service(&self) -> Service {
        self.service
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    pub(crate) fn opened(&self, gate: Gate) {
        // A process opens one station; the first one stays.
        let _ = self.gate.set(gate);
    }

    /// Whether it can decide now: connected, and the fold has what the log had when this was asked.
    ///
    /// # Errors
    /// In one word, why not.
    pub async fn ready(&self) -> Result<(), &'static str> {
        let gate = self.gate.get().filter(|gate| gate.bus().is_connected()).ok_or("not_connected")?;
        let head = async { gate.bus().head().await.map_err(|_| "not_connected") };
        let head = tokio::time::timeout(PATIENCE, head).await.map_err(|_| "not_connected")??;
        let applied = tokio::time::timeout(PATIENCE, gate.applied(head.seq)).await;
        if matches!(applied, Ok(Ok(()))) { Ok(()) } else { Err("behind") }
    }

    /// All of it as OpenMetrics text. The lag is the last one known where the log cannot be asked.
    pub async fn text(&self) -> String {
        if let Some(gate) = self.gate.get() {
            self.observe(gate.bus());
            if let Ok(Ok(head)) = tokio::time::timeout(PATIENCE, gate.bus().head()).await {
                let own = gate.fold().head().watermark;
                self.watermark.set(signed(own));
                self.lag.set(signed(head.seq.saturating_sub(own)));
            }
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    fn observe(&self, bus: &Bus) {
        self.is_connected.set(i64::from(bus.is_connected()));
        self.connections.inner().store(bus.connections(), Ordering::Relaxed);
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
