//! Pulses: heard as they are published, and read back where nothing was heard, because a subscription
//! may drop what the stream has kept.

use crate::SharedDesk;
use crate::fleet::Disagreement;
use futures_util::StreamExt;
use keywheel_bus::{BusError, Gate};
use keywheel_domain::{Address, EdgeId, Span};
use keywheel_runtime::{Shutdown, clock};
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::pulse::Pulse;
use keywheel_wire::text::Moment;
use std::time::Duration;

/// How far an edge's wall clock may be off before an alarm: expiry depends on it.
const CLOCK_OFF_MS_MAX: u64 = 2000;

/// Listens until `shutdown`.
///
/// # Errors
/// Never for a passing reason: the bus being away is waited for.
pub async fn run(gate: &Gate, desk: &SharedDesk, lease: Span, shutdown: &Shutdown) -> Result<(), BusError> {
    tokio::join!(hear(gate, desk, shutdown), read_back(gate, desk, lease, shutdown));
    Ok(())
}

async fn hear(gate: &Gate, desk: &SharedDesk, shutdown: &Shutdown) {
    while !shutdown.is_requested() {
        match gate.bus().pulses().await {
            Ok(mut pulses) => loop {
                let next = tokio::select! {
                    () = shutdown.requested() => return,
                    next = pulses.next() => next,
                };
                match next {
                    Some(Ok(pulse)) => take(gate, desk, &pulse).await,
                    Some(Err(error)) => tracing::warn!(%error, "an unreadable pulse"),
                    None => break,
                }
            },
            Err(error) => tracing::warn!(%error, "cannot listen to pulses now"),
        }
        shutdown.pause(Duration::from_millis(500)).await;
    }
}

async fn take(gate: &Gate, desk: &SharedDesk, pulse: &Pulse) {
    let Ok(edge) = EdgeId::parse(&pulse.id) else { return };
    let disagreement = desk.lock().hear(&edge, pulse, clock::boot_ms());
    desk.ring();
    if let Some(disagreement) = disagreement {
        odd_one(gate, &disagreement).await;
    }
    let off = gate.now().0.abs_diff(pulse.clock.0.0);
    if off > CLOCK_OFF_MS_MAX {
        tracing::warn!(%edge, off_ms = off, "an edge's clock is off");
    }
}

async fn odd_one(gate: &Gate, found: &Disagreement) {
    let Disagreement { edge, other, watermark } = found;
    tracing::error!(%edge, %other, watermark, "two edges at one position have different tables");
    let detail = format!("edges {edge} and {other} differ at position {watermark}");
    let at = Moment(gate.now());
    let alarm = Alarm { code: "edges_differ".to_owned(), detail, at, seq: Some(*watermark) };
    let id = format!("differ-{edge}-{other}-{watermark}");
    if let Err(error) = gate.bus().notify(&Address::Installation, &id, &Notice::Alarm(alarm)).await {
        tracing::warn!(%error, "an alarm could not be published");
    }
}

/// Reads back what is stored of edges that were not heard: only what is stored shows silence.
async fn read_back(gate: &Gate, desk: &SharedDesk, lease: Span, shutdown: &Shutdown) {
    let quiet = (lease.0 / 5).clamp(100, 3000);
    while shutdown.pause(Duration::from_millis(quiet / 2)).await {
        let unheard = desk.lock().fleet().unheard(quiet, clock::boot_ms());
        for edge in unheard {
            let began = clock::boot_ms();
            match gate.bus().last_pulse(&edge).await {
                Ok(stored) => {
                    let pulse = stored.as_ref().map(|stored| &stored.pulse);
                    desk.lock().find_stored(&edge, pulse, began, clock::boot_ms());
                    desk.ring();
                }
                Err(error) => tracing::debug!(%edge, %error, "a stored pulse could not be read"),
            }
        }
    }
}
