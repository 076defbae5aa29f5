//! When all faults are healed: waits until everything has come to rest, then writes down what there is.

use super::fleet::Fleet;
use super::ledger::Entry;
use super::operator::Open;
use super::scene::Scene;
use anyhow::Context as _;
use keywheel_bus::log::Pages;
use keywheel_domain::Event;
use keywheel_table::fold::{Fold, Options};
use keywheel_table::{Message, Replay};
use keywheel_wire::{event, subject, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The log has to stand still for this long: longer than a quiet proof takes.
const STILL: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until commands have outcomes, revocations receipts, edges the head, and nothing is written any more.
///
/// # Errors
/// With what is still not so when patience ends.
pub async fn await_rest(scene: &Scene, fleet: &Fleet, open: &Open) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let (mut head, mut since) = (0, Instant::now());
    loop {
        let now = scene.bus.head().await.map_or(head, |head| head.seq);
        if now != head {
            (head, since) = (now, Instant::now());
        }
        let restless = restless(scene, fleet, open, head).await;
        if restless.is_empty() && since.elapsed() >= STILL {
            return Ok(());
        }
        let why = if restless.is_empty() { "the log still grows".to_owned() } else { restless.join(", ") };
        anyhow::ensure!(Instant::now() < deadline, "not at rest after {PATIENCE:?}: {why}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn restless(scene: &Scene, fleet: &Fleet, open: &Open, head: u64) -> Vec<String> {
    let mut restless = Vec::new();
    for (count, what) in [(&open.outcomes, "outcomes"), (&open.receipts, "receipts")] {
        match count.load(Ordering::SeqCst) {
            0 => {}
            count => restless.push(format!("{count} {what} are awaited")),
        }
    }
    for edge in &scene.edges {
        let info = fleet.info(&edge.http).await;
        if !info.as_ref().is_some_and(|info| info.lease.fresh && info.watermark == head) {
            restless.push(format!("{} is not at {head}: {info:?}", edge.id));
        }
    }
    restless
}

/// Writes down the whole log, and what each edge's table is beside a fold of our own in `folder`.
///
/// # Errors
/// When the log cannot be read or folded, or an edge does not answer.
pub async fn write_down(scene: &Scene, fleet: &Fleet, folder: &Path) -> anyhow::Result<()> {
    let options = Options { commands: false, pending: |_: &Event| false, doubts: false };
    let mut fold = Fold::open(&folder.join("fold.db"), options, scene.bus.signers())?;
    let mut replays = BTreeMap::new();
    let mut from = 1;
    loop {
        let page = scene.bus.page_stored(from, Pages::All).await?;
        let Some((last, _)) = page.last() else { break };
        from = last.seq + 1;
        for (message, at) in &page {
            let stored = scene.moments.of(*at);
            scene.write(&logged(scene, &mut replays, message, stored));
        }
        let messages: Vec<Message> = page.into_iter().map(|(message, _)| message).collect();
        fold.apply(&messages, &[])?;
    }
    let folded = text::hex(&fold.head().digest);
    for edge in &scene.edges {
        let info = fleet.info(&edge.http).await.with_context(|| format!("edge {} is silent", edge.id))?;
        let (edge, position, digest) = (edge.id.clone(), info.watermark, info.digest);
        scene.write(&Entry::Table { edge, position, digest, folded: folded.clone() });
    }
    Ok(())
}

fn logged(scene: &Scene, replays: &mut BTreeMap<String, Replay>, message: &Message, stored: u64) -> Entry {
    let fresh = || Replay::new(scene.bus.signers());
    let replay = replays.entry(message.subject.clone()).or_insert_with(fresh);
    let event = match replay.take(message) {
        Ok(_) => event::to_json(&message.payload).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    let keyring = subject::event_place(&message.subject).replace('.', "/");
    let (sequence, payload) = (message.seq, text::hex(&message.payload));
    Entry::Logged { sequence, stored, keyring, event, payload }
}
