//! What the doctor sees at the bus and of the edges. Everything is asked for a bounded time, and nothing is changed.

use super::facts::{Answer, BusFacts, Facts, LogFacts};
use crate::installation::{connect_believing, monitor_urls};
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::place::Place;
use crate::settings::Fleet;
use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use keywheel_bus::Bus;
use keywheel_bus::connect::read_signers;
use keywheel_domain::{Address, EdgeId};
use keywheel_runtime::clock;
use keywheel_table::Replay;
use keywheel_wire::belief;
use keywheel_wire::signers::{Signers, When};
use keywheel_wire::subject::Service;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long pulses are listened to: an edge gives one a second.
const LISTEN: Duration = Duration::from_millis(2500);
/// How long services may take to say that they run.
const ANSWER: Duration = Duration::from_millis(1000);
/// How many of the newest messages are checked.
const CHECKED: u64 = 500;
/// How long the first answer may take: longer than a server that is busy.
const CONNECT: Duration = Duration::from_secs(10);

/// Looks at the bus and at every edge.
pub(super) async fn look(place: &Place, fleet: &Fleet, facts: &mut Facts) -> Result<()> {
    let monitor = Monitor::new()?;
    for edge in &fleet.edges {
        let entry = facts.edges.entry(edge.id.clone()).or_default();
        entry.is_ours = true;
        entry.http = Some((edge.url(), ask(&monitor, &edge.url()).await));
    }
    for (id, url) in place.edges()? {
        let entry = facts.edges.entry(id).or_default();
        if entry.http.is_none() {
            let answer = ask(&monitor, &url).await;
            entry.http = Some((url, answer));
        }
    }
    let operator = match connect(place, place.operator.clone(), &Role::Operator).await {
        Ok(operator) => operator,
        Err(why) => {
            facts.bus = Some(Err(format!("{why:#}")));
            return Ok(());
        }
    };
    let seen = look_at_bus(place, &monitor, &operator, facts).await;
    operator.close().await;
    facts.bus = Some(seen.map_err(|why| format!("{why:#}")));
    Ok(())
}

async fn ask(monitor: &Monitor, url: &str) -> Answer {
    match monitor.readiness(url).await {
        Ok(None) => Answer::Ready,
        Ok(Some(reason)) => Answer::Unready(reason),
        Err(_) => Answer::Silent,
    }
}

async fn connect(place: &Place, credentials: PathBuf, role: &Role) -> Result<Bus> {
    let server = &place.settings.server;
    // What cannot be read of it is a finding of its own; without it nothing is believed.
    let signers = read_signers(&place.signers).unwrap_or_else(|_| Arc::new(Signers::nobody()));
    let connecting = connect_believing(&place.home, server, credentials, role, signers);
    let connected = tokio::time::timeout(CONNECT, connecting);
    connected.await.context("it does not answer")?
}

async fn look_at_bus(
    place: &Place,
    monitor: &Monitor,
    operator: &Bus,
    facts: &mut Facts,
) -> Result<BusFacts> {
    let mut seen = BusFacts {
        server: operator.server_version(),
        instances: place.settings.instances,
        ..BusFacts::default()
    };
    look_at_servers(place, monitor, &mut seen).await;
    let (heard, services) = tokio::join!(hear(operator, facts), operator.ask_who_runs(ANSWER));
    heard?;
    seen.services = services?;
    seen.log = look_at_log(operator, facts).await.ok();
    let edges: Vec<EdgeId> = facts.edges.keys().cloned().collect();
    match connect(place, place.settings.server.admin(&place.home), &Role::Admin).await {
        Ok(admin) => {
            seen.streams = admin.look_at_streams().await;
            seen.durables = admin.look_at_durables(seen.instances, &edges).await?;
            admin.close().await;
        }
        Err(why) => {
            seen.admin = Some(format!("{why:#}"));
            seen.streams = operator.look_at_streams().await;
        }
    }
    Ok(seen)
}

/// Of several servers what the worst of them says.
async fn look_at_servers(place: &Place, monitor: &Monitor, seen: &mut BusFacts) {
    let mut all_sync = Some(true);
    for url in monitor_urls(monitor, &place.settings.server).await {
        let Some(url) = url else {
            all_sync = None;
            continue;
        };
        let syncs = monitor.syncs_always(&url).await.ok();
        all_sync =
            if syncs == Some(false) { syncs } else { all_sync.and_then(|all| syncs.map(|it| all && it)) };
        let clock = monitor.clock_ms(&url).await.ok().map(|ms| ahead(ms, clock::wall_ms()));
        seen.clock_ahead_ms = seen.clock_ahead_ms.into_iter().chain(clock).max_by_key(|ms| ms.unsigned_abs());
    }
    seen.syncs = all_sync;
}

async fn hear(operator: &Bus, facts: &mut Facts) -> Result<()> {
    let mut pulses = operator.pulses().await?;
    let listening = async {
        while let Some(pulse) = pulses.next().await {
            let Ok(pulse) = pulse else { continue };
            let Ok(id) = EdgeId::parse(&pulse.id) else { continue };
            let clock_ahead = ahead(pulse.clock.0.0, clock::wall_ms());
            facts.edges.entry(id).or_default().pulse = Some((pulse, clock_ahead));
        }
    };
    // Pulses never end by themselves.
    drop(tokio::time::timeout(LISTEN, listening).await);
    Ok(())
}

async fn look_at_log(operator: &Bus, facts: &mut Facts) -> Result<LogFacts> {
    let head = operator.head().await?;
    let mut roster = Replay::new(operator.signers());
    let mut from = 1;
    loop {
        let page = operator.page(from, Some(&Address::Installation)).await?;
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        for message in &page {
            // What is not believed is found below, or by `audit verify`.
            drop(roster.take(message));
        }
    }
    for (id, edge) in &mut facts.edges {
        edge.is_on_roster = Some(roster.state.edges.contains_key(id));
    }
    for id in roster.state.edges.keys() {
        facts.edges.entry(id.clone()).or_default().is_on_roster = Some(true);
    }
    let newest = operator.page(head.seq.saturating_sub(CHECKED).max(1), None).await?;
    let signers = operator.meet().await?;
    if facts.signers.is_none() {
        let is_believed =
            |(service, public): &&(Service, String)| signers.role(public, When::Now) == Ok(*service);
        facts.unlisted = facts.keys.iter().filter(|key| !is_believed(key)).cloned().collect();
    }
    let doubt = |message: &keywheel_table::Message| {
        let keywheel_table::Message { seq, subject, payload, signed } = message;
        let read = belief::event(&signers, *seq, subject, payload, signed.as_ref());
        read.err().map(|doubt| (message.seq, doubt.to_string()))
    };
    Ok(LogFacts {
        created: head.created.0,
        last: head.seq,
        checked: newest.len(),
        unbelieved: newest.iter().filter_map(doubt).collect(),
        head: operator.newest_head().await?,
    })
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(theirs).saturating_sub(signed(ours))
}
