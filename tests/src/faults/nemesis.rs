//! Does what the plan says, and undoes it.

use super::fleet::Fleet;
use super::ledger::Entry;
use super::plan::{Fault, Kind};
use super::scene::Scene;
use nix::sys::signal::Signal;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Carries out the whole plan; when it returns, everything is healed.
///
/// # Errors
/// When a fault cannot be done.
pub async fn attack(scene: Arc<Scene>, fleet: Arc<Fleet>, plan: Vec<Fault>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for fault in plan {
        sleep_until(began + fault.at).await;
        running.spawn(strike(Arc::clone(&scene), Arc::clone(&fleet), fault));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

async fn strike(scene: Arc<Scene>, fleet: Arc<Fleet>, fault: Fault) -> anyhow::Result<()> {
    let until = Instant::now() + fault.lasts;
    let Fault { number, kind, target, .. } = fault;
    scene.write(&Entry::Fault {
        at: scene.moments.now(),
        number,
        kind: kind.word().to_owned(),
        target: target.clone(),
    });
    let process = fleet.process(&target)?;
    match kind {
        Kind::Kill => process.down(Signal::SIGKILL).await,
        Kind::Restart => process.down(Signal::SIGTERM).await,
        Kind::Pause => process.signal(Signal::SIGSTOP),
    }
    sleep_until(until).await;
    match kind {
        Kind::Kill | Kind::Restart => process.up(),
        Kind::Pause => process.signal(Signal::SIGCONT),
    }
    scene.write(&Entry::Healed { at: scene.moments.now(), number });
    Ok(())
}
