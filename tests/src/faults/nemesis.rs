//! Does what the plan says, and undoes it.

use super::fleet::Fleet;
use super::ledger::Entry;
use super::plan::{Fault, Kind};
use super::scene::Scene;
use crate::link::{Flow, Link, Way};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// By how much what is delayed comes late.
const LATE: Duration = Duration::from_millis(150);
/// No file of an edge is smaller, so that none can be written to any more.
const FILE_BYTES: u64 = 1024;

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
    let step = fault.step();
    let Fault { number, kind, target, .. } = fault;
    let target = fleet.met(target).await;
    scene.write(&Entry::Fault {
        at: scene.moments.now(),
        number,
        kind: kind.word().to_owned(),
        target: target.clone(),
    });
    begin(&fleet, kind, &target, step).await?;
    sleep_until(until).await;
    heal(&fleet, kind, &target).await?;
    scene.write(&Entry::Healed { at: scene.moments.now(), number });
    Ok(())
}

async fn begin(fleet: &Fleet, kind: Kind, target: &str, step: i32) -> anyhow::Result<()> {
    let each = |harm: fn(&Link, Way)| {
        fleet.links(target).map(|links| links.into_iter().for_each(|(link, out)| harm(link, out)))
    };
    match kind {
        Kind::Kill => fleet.process(target)?.down(Signal::SIGKILL).await,
        Kind::Restart => fleet.process(target)?.down(Signal::SIGTERM).await,
        Kind::Pause => fleet.process(target)?.signal(Signal::SIGSTOP),
        Kind::Cut => each(|link, _| link.cut())?,
        Kind::Mute => each(|link, out| link.flow(out, Flow::Held))?,
        Kind::Deaf => each(|link, out| link.flow(out.back(), Flow::Held))?,
        Kind::Delay => each(|link, out| {
            link.flow(out, Flow::Slow(LATE));
            link.flow(out.back(), Flow::Slow(LATE));
        })?,
        Kind::HalfOpen => each(|link, out| {
            link.flow(out, Flow::Lost);
            link.flow(out.back(), Flow::Lost);
        })?,
        Kind::Clock => fleet.clocks()?.set(target, step).await?,
        Kind::Disk => fleet.process(target)?.file_size_max(Some(FILE_BYTES)).await?,
    }
    Ok(())
}

async fn heal(fleet: &Fleet, kind: Kind, target: &str) -> anyhow::Result<()> {
    match kind {
        Kind::Kill | Kind::Restart => fleet.process(target)?.up(),
        Kind::Pause => fleet.process(target)?.signal(Signal::SIGCONT),
        Kind::Cut | Kind::Mute | Kind::Deaf | Kind::Delay | Kind::HalfOpen => {
            fleet.links(target)?.into_iter().for_each(|(link, _)| link.mend());
        }
        Kind::Clock => fleet.clocks()?.set(target, 0).await?,
        Kind::Disk => fleet.process(target)?.file_size_max(None).await?,
    }
    Ok(())
}
