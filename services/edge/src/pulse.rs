//! The handshake with the log: a numbered pulse is stored, then the head is read. Only the two in this
//! order, timed from before them, prove that nothing up to that head was missed (SAFETY 1). Where several servers keep
//! the log, it is timed from when the one that told the head was last sure to lead.

use crate::metrics::{Metrics, Sent};
use crate::table::{Doubt, Status, Table};
use crate::witness::Witness;
use keywheel_bus::log::LogHead;
use keywheel_bus::{Bus, BusError};
use keywheel_domain::{At, EdgeId};
use keywheel_runtime::Shutdown;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::text::{Hex32, Id, Moment};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pulses follow each other at this distance where advances do not end: those in between gather for the next one.
const COALESCE: Duration = Duration::from_millis(25);
/// As many advances are told at once before that holds: a rotation has its two while others go on.
const AT_ONCE: u32 = 4;
/// A handshake that takes longer is given up: the next one proves more.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// How soon to look again whether the bus is back.
const AWAY: Duration = Duration::from_millis(100);

/// What pulses say of the process.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The edge's name on the roster.
    pub edge: EdgeId,
    /// One run of its process.
    pub boot: Id,
    /// Its program version.
    pub version: &'static str,
}

/// Pulses every `every` and soon after each advance, one after the other, until `stop`.
pub async fn run(
    bus: Bus,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    witness: Witness,
    origin: Origin,
    every: Duration,
    stop: Shutdown,
) {
    let mut pulses = Pulses { bus, table, metrics, witness, origin, number: 0, has_told: false };
    let mut visible = pulses.table.visible();
    let mut pace = Pace { even: Instant::now() };
    loop {
        tokio::time::sleep_until(pace.turn(Instant::now())).await;
        visible.mark_unchanged();
        let wait = if pulses.bus.is_connected() { pulses.one().await } else { AWAY.min(every) };
        tokio::select! {
            () = stop.requested() => return,
            () = tokio::time::sleep(wait.min(every)) => {}
            _ = visible.changed() => {}
        }
    }
}

/// When the next pulse may go out: of those that were not sent lately, up to [`AT_ONCE`] at once.
struct Pace {
    /// When one pulse for each [`COALESCE`] were sent.
    even: Instant,
}

impl Pace {
    /// When the one that is wanted `now` may go out; it is then taken to do so.
    fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.even.max(now);
        self.even = self.even.max(turn - COALESCE * (AT_ONCE - 1)) + COALESCE;
        turn
    }
}

/// The two questions of a handshake, apart from how they are asked.
trait Log {
    async fn store(&self, edge: &EdgeId, pulse: &Pulse) -> Result<(), BusError>;
    /// With how long ago whoever tells it was last sure to lead.
    async fn head(&self) -> Result<(LogHead, Duration), BusError>;
}

impl Log for Bus {
    async fn store(&self, edge: &EdgeId, pulse: &Pulse) -> Result<(), BusError> {
        self.put_pulse(edge, pulse).await
    }

    async fn head(&self) -> Result<(LogHead, Duration), BusError> {
        self.head_and_age().await
    }
}

struct Pulses<L> {
    bus: L,
    table: Arc<Table>,
    metrics: Arc<Metrics>,
    witness: Witness,
    origin: Origin,
    number: u64,
    has_told: bool,
}

impl<L: Log> Pulses<L> {
    /// One handshake; says how soon the next is wanted at the latest.
    async fn one(&mut self) -> Duration {
        self.number += 1;
        match tokio::time::timeout(HANDSHAKE_MAX, self.handshake()).await {
            Ok(Ok(Ok(()))) => {
                self.metrics.pulse(Sent::Acknowledged);
                return Duration::MAX;
            }
            Ok(Ok(Err(Doubt::Unconfirmed))) => {
                self.metrics.pulse(Sent::Acknowledged);
                return AWAY;
            }
            Ok(Ok(Err(Doubt::OtherLog))) if self.has_told => {}
            Ok(Ok(Err(Doubt::OtherLog))) => {
                self.has_told = true;
                tracing::error!("the head that was read is not that of the log that was applied");
            }
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a handshake took too long"),
        }
        self.metrics.pulse(Sent::Unclear);
        Duration::MAX
    }

    async fn handshake(&self) -> Result<Result<(), Doubt>, BusError> {
        let began = self.table.instant();
        let status = self.table.status();
        let visible = status.head.watermark;
        self.bus.store(&self.origin.edge, &self.pulse(&status, At(began.wall_ms))).await?;
        let (head, age) = self.bus.head().await?;
        Ok(self.table.prove(began.before(age), visible, head))
    }

    fn pulse(&self, status: &Status, clock: At) -> Pulse {
        Pulse {
            id: self.origin.edge.to_string(),
            boot: self.origin.boot,
            number: self.number,
            watermark: status.kept.watermark,
            chain: Hex32(status.kept.chain.0),
            digest: Hex32(status.kept.digest),
            clock: Moment(clock),
            keys: status.keys as u64,
            version: self.origin.version.to_owned(),
            lease_ms: status.length.0,
            agrees: self.witness.agreed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{EDGE, Scene};
    use crate::table::Clocks;
    use keywheel_domain::Span;
    use keywheel_domain::verdict::Freshness;
    use keywheel_table::fold::Head;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CLOCK: AtomicU64 = AtomicU64::new(10_000);
    const CREATED: At = At(77);

    fn clock() -> u64 {
        CLOCK.load(Ordering::SeqCst)
    }

    /// A log to which somebody appends just when the pulse is stored. Each question takes a second.
    struct Busy(AtomicU64);

    impl Log for Busy {
        async fn store(&self, _: &EdgeId, _: &Pulse) -> Result<(), BusError> {
            CLOCK.fetch_add(1000, Ordering::SeqCst);
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        async fn head(&self) -> Result<(LogHead, Duration), BusError> {
            CLOCK.fetch_add(1000, Ordering::SeqCst);
            Ok((LogHead { seq: self.0.load(Ordering::SeqCst), created: CREATED }, Duration::from_millis(250)))
        }
    }

    fn at(watermark: u64) -> Head {
        Head { watermark, ..Head::default() }
    }

    /// SAFETY 1: what stands in the log when the pulse is stored has to be applied, and the lease counts
    /// from before either question.
    #[test]
    fn a_few_pulses_go_out_at_once_and_many_at_a_distance() {
        let began = Instant::now();
        let mut pace = Pace { even: began };
        let now = began + COALESCE * 100;
        let turns: Vec<_> = (0..7).map(|_| pace.turn(now)).collect();
        let later = |steps: u32| now + COALESCE * steps;
        assert_eq!(turns, [now, now, now, now, later(1), later(2), later(3)]);
        assert_eq!(pace.turn(later(5)), later(5));
        assert_eq!(pace.turn(later(5)), later(5), "what was left out meanwhile, and no more");
        assert_eq!(pace.turn(later(5)), later(6));
    }

    #[tokio::test]
    async fn a_handshake_looks_at_the_head_after_its_pulse_and_counts_from_before_it() {
        let edge = EdgeId::parse(EDGE).unwrap();
        let clocks = Clocks { boot_ms: clock, wall_ms: clock, machine_boot: "b".to_owned() };
        let table = Arc::new(Table::new(edge.clone(), Span::secs(15), clocks));
        table.apply(&Scene::new().states, at(5), Some(CREATED));
        let origin = Origin { edge, boot: Id(1), version: "0" };
        let metrics = Arc::new(Metrics::new());
        let bus = Busy(AtomicU64::new(5));
        let witness = Witness::default();
        let pulses =
            Pulses { bus, table: Arc::clone(&table), metrics, witness, origin, number: 1, has_told: false };

        pulses.handshake().await.unwrap().unwrap();
        assert_ne!(table.status().freshness, Freshness::Fresh, "position 6 is not applied");
        table.apply(&std::collections::BTreeMap::new(), at(6), None);
        let status = table.status();
        assert_eq!(
            (status.freshness, status.age),
            (Freshness::Fresh, Some(Span(2250))),
            "and the leader's own age"
        );
    }
}
