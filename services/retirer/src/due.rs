//! What the log alone says is due. Nothing is remembered: the open keyrings are looked through again
//! and again, so that a restart forgets nothing.

use crate::waits::Waits;
use keywheel_bus::{BusError, Gate};
use keywheel_domain::due::{Waiting, retirement};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Act, Actor, Address, KeyState, State, Version, next};
use keywheel_runtime::Shutdown;
use keywheel_token::id::derived;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::subject;
use keywheel_wire::text::Moment;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the open keyrings are looked through.
const EVERY: Duration = Duration::from_millis(250);

/// Retires what is due until `shutdown`.
///
/// # Errors
/// When the database fails; the bus being away is waited for.
pub async fn run(gate: &Gate, waits: &Waits, shutdown: &Shutdown) -> Result<(), BusError> {
    let mut alarmed = BTreeSet::new();
    while shutdown.pause(EVERY).await {
        let open = gate.fold().lock().open_addresses()?;
        waits.show(open.iter().map(|(_, state)| state), gate.now());
        for (address, state) in open {
            match retire(gate, &address, &state).await {
                Err(BusError::Table(error)) => return Err(error.into()),
                Err(error) => tracing::warn!(%address, %error, "a due retirement waits"),
                Ok(()) => {}
            }
            for version in held(&state, gate) {
                if alarmed.insert((address.clone(), version)) {
                    alarm(gate, &address, version).await;
                }
            }
        }
    }
    Ok(())
}

/// Executes the next due retirement of a keyring. Its id names the overlap that it ends, so that
/// replicas do it once, and a version that was revived can be retired again.
async fn retire(gate: &Gate, address: &Address, state: &State) -> Result<(), BusError> {
    let Some(act) = next(state, gate.now()) else { return Ok(()) };
    let Act::Retire { version, .. } = &act else { return Ok(()) };
    let overlap = match state.keys.get(version).map(|key| &key.state) {
        Some(KeyState::Retiring(overlap)) => overlap.since.0,
        Some(KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. })
        | None => 0,
    };
    let parts = ["retire", &subject::event(address), &version.0.to_string(), &overlap.to_string()];
    let actor = Actor::service("retirer");
    let executed = gate.execute(address, CommandId(derived(&parts)), &actor, act.clone()).await?;
    tracing::info!(%address, %version, ?executed, "a version's time had come");
    Ok(())
}

/// Versions past their deadline whose policy is to hold, or whose successor nobody uses.
fn held(state: &State, gate: &Gate) -> Vec<Version> {
    let now = gate.now();
    let is_held = |version: &Version, since: &keywheel_domain::key::Overlap| {
        since.deadline <= now
            && matches!(
                retirement(state, *version, now),
                Err(Waiting::Successor | Waiting::Quiet { .. } | Waiting::OverlapMin { .. })
            )
    };
    let overdue = |(version, key): (&Version, &keywheel_domain::Key)| match &key.state {
        KeyState::Retiring(overlap) if is_held(version, overlap) => Some(*version),
        KeyState::Retiring(_)
        | KeyState::Issued
        | KeyState::Active
        | KeyState::Retired { .. }
        | KeyState::Revoked { .. } => None,
    };
    state.keys.iter().filter_map(overdue).collect()
}

async fn alarm(gate: &Gate, address: &Address, version: Version) {
    let detail =
        format!("{address} {version} is past overlap_max and held: it is still used, or nothing newer is");
    tracing::warn!(%address, %version, "held past its deadline");
    let alarm = Alarm { code: "overlap_held".to_owned(), detail, at: Moment(gate.now()), seq: None };
    let id = format!("held-{}-{}", subject::event(address), version.0);
    if let Err(error) = gate.bus().notify(address, &id, &Notice::Alarm(alarm)).await {
        tracing::warn!(%error, "an alarm could not be published");
    }
}
