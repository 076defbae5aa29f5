//! Publishes where the log stands, signed: whoever has seen it refuses a log whose history was another.

use keywheel_bus::{BusError, Gate};
use keywheel_domain::{Address, At};
use keywheel_runtime::{Shutdown, clock};
use keywheel_table::fold::Head;
use keywheel_wire::notice::{Notice, SignedHead};
use keywheel_wire::text::{Hex32, Id, Moment};
use std::time::Duration;

/// While there are new events.
const BUSY: Duration = Duration::from_secs(1);
/// Otherwise, in milliseconds.
const QUIET_MS: u64 = 60_000;

/// Publishes until `shutdown`; the bus being away is waited for.
///
/// # Errors
/// When the database fails.
pub async fn run(gate: &Gate, shutdown: &Shutdown) -> Result<(), BusError> {
    let mut told = None;
    while shutdown.pause(BUSY).await {
        let (head, now) = (gate.fold().head(), clock::boot_ms());
        if !is_due(told, head.watermark, now) {
            continue;
        }
        let Some(created) = gate.fold().log_created()? else { continue };
        let minute = gate.now().0 / QUIET_MS;
        // Replicas that stand at the same position say it once.
        let id = format!("head-{}-{minute}", head.watermark);
        match gate.bus().notify(&Address::Installation, &id, &notice(gate, head, created)).await {
            Ok(()) => told = Some((head.watermark, now)),
            Err(error) => tracing::warn!(%error, "the head of the log could not be published; trying again"),
        }
    }
    Ok(())
}

/// Whether a position is to be told at `now`, where another was told before (and when).
fn is_due(told: Option<(u64, u64)>, watermark: u64, now: u64) -> bool {
    watermark > 0 && told.is_none_or(|(seq, at)| seq != watermark || now >= at + QUIET_MS)
}

fn notice(gate: &Gate, head: Head, created: At) -> Notice {
    Notice::Head(SignedHead {
        installation: Id(gate.bus().signers().installation().0),
        log_created: Moment(created),
        seq: head.watermark,
        chain: Hex32(head.chain.0),
        digest: Hex32(head.digest),
        at: Moment(gate.now()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_told_when_there_is_something_new_and_every_minute() {
        assert!(!is_due(None, 0, 0), "an empty log");
        assert!(is_due(None, 5, 0));
        assert!(!is_due(Some((5, 1000)), 5, 60_999));
        assert!(is_due(Some((5, 1000)), 5, 61_000));
        assert!(is_due(Some((5, 1000)), 6, 1001));
    }
}
