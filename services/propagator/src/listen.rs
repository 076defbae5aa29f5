//! Pulses: heard as they are published, and read back where nothing was heard, because a subscription
//! may drop what the stream has kept.

use crate::clocks::{self, Clocks};
use crate::{SharedDesk, agreement};
use futures_util::StreamExt;
use keywheel_bus::{BusError, Gate};
use keywheel_domain::{Address, EdgeId, Span};
use keywheel_runtime::{Shutdown, clock};
use keywheel_token::id::derived;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::pulse::Pulse;
use keywheel_wire::text::{self, Moment};
use std::time::Duration;

/// How often some stored pulses' clocks are looked at, and how many: one after the other, all edges.
const CLOCKS_EVERY: Duration = Duration::from_secs(1);
const CLOCKS_AT_ONCE: usize = 20;

/// Listens until `shutdown`.
///
/// # Errors
/// Never for a passing reason: the bus being away is waited for.
pub async fn run(gate: &Gate, desk: &SharedDesk, lease: Span, shutdown: &Shutdown) -> Result<(), BusError> {
    tokio::join!(
        hear(gate, desk, shutdown),
        read_back(gate, desk, lease, shutdown),
        watch_clocks(gate, desk, shutdown)
    );
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
    let findings = desk.lock().hear(&edge, pulse, clock::boot_ms());
    desk.ring();
    for finding in findings {
        tell_agreement(gate, &finding).await;
    }
}

async fn tell_agreement(gate: &Gate, finding: &agreement::Finding) {
    match finding {
        agreement::Finding::Odd { who, watermark, agreeing } => {
            let others = if *agreeing == 1 { "one other".to_owned() } else { format!("{agreeing} others") };
            let detail = format!("{who} has another table at position {watermark} than {others} there");
            alarm(gate, "table_differs", detail, Some(*watermark)).await;
        }
        agreement::Finding::Again { who, watermark } => {
            let detail = format!("{who} has the same table again as the others, at position {watermark}");
            alarm(gate, "table_agrees_again", detail, Some(*watermark)).await;
        }
    }
}

/// An alarm about the fleet. Replicas that notice the same within a minute say it once.
async fn alarm(gate: &Gate, code: &str, detail: String, seq: Option<u64>) {
    tracing::error!(code, %detail, "an alarm about the fleet");
    let now = gate.now();
    let minute = (now.0 / 60_000).to_string();
    let id = text::id(derived(&["alarm", code, &detail, &minute]));
    let alarm = Alarm { code: code.to_owned(), detail, at: Moment(now), seq };
    if let Err(error) = gate.bus().notify(&Address::Installation, &id, &Notice::Alarm(alarm)).await {
        tracing::warn!(%error, "an alarm could not be published");
    }
}

/// Compares the clock in each edge's stored pulse with the bus's, by which it was stored: this
/// propagator's own may be off as well.
async fn watch_clocks(gate: &Gate, desk: &SharedDesk, shutdown: &Shutdown) {
    let (mut clocks, mut left) = (Clocks::default(), Vec::new());
    while shutdown.pause(CLOCKS_EVERY).await {
        if left.is_empty() {
            left = desk.lock().fleet().members(clock::boot_ms());
            clocks.keep_only(&left);
        }
        for edge in left.split_off(left.len().saturating_sub(CLOCKS_AT_ONCE)) {
            let Ok(Some(stored)) = gate.bus().last_pulse(&edge).await else { continue };
            let pulse = stored.pulse;
            let mark = (pulse.boot.0, pulse.number);
            match clocks.look(&edge, mark, pulse.clock.0.0, stored.at.0) {
                Some(clocks::Finding::Off(ahead)) => {
                    let off = Span(ahead.unsigned_abs() / 1000 * 1000);
                    let where_to = if ahead > 0 { "ahead of" } else { "behind" };
                    let detail = format!(
                        "edge {edge}'s clock is {off} {where_to} the bus's: keys expire there at the wrong time; set it"
                    );
                    alarm(gate, "clock_off", detail, None).await;
                }
                Some(clocks::Finding::Right) => {
                    alarm(gate, "clock_right_again", format!("edge {edge}'s clock is right again"), None)
                        .await;
                }
                None => {}
            }
        }
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
