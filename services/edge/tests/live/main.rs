//! An edge against a real nats-server, through what others see of it. Needs `KEYWHEEL_TEST_NATS`, the
//! path of a nats-server binary; without it nothing is tested here.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

mod damage;
mod history;
#[cfg(feature = "axum")]
mod layer;
mod library;
mod process;
mod server;

use history::History;
use keywheel_bus::topology;
use keywheel_domain::EdgeId;
use keywheel_wire::usage::Report;
use process::Process;
use server::Server;
use std::time::Duration;

const SOON: Duration = Duration::from_millis(500);

/// A server with everything made, an empty log, and a folder for the edge.
async fn begin(folder: &std::path::Path) -> Option<(Server, keywheel_bus::Bus, History)> {
    let Some(server) = Server::start(folder) else {
        eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
        return None;
    };
    let admin = server.admin().await;
    topology::ensure(&admin, 1, 1).await.unwrap();
    topology::ensure_edge(&admin, &EdgeId::parse("e1").unwrap()).await.unwrap();
    let history = History::new(&server).await;
    Some((server, admin, history))
}

/// Reports that lie in the queue now.
async fn reports(admin: &keywheel_bus::Bus) -> Vec<Report> {
    let (mut queue, mut reports) = (admin.reports(), Vec::new());
    loop {
        let taken = queue.next(SOON).await.unwrap();
        if taken.is_empty() || reports.len() > 100 {
            return reports;
        }
        for each in taken {
            each.done().await.unwrap();
            reports.extend(each.report);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_follows_answers_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, admin, mut history)) = begin(folder.path()).await else { return };
    let process = Process::start(&server, folder.path(), "2s").await;
    assert_eq!(process.get("/livez", "").await.0, 200);

    let active = history.issue("active").await;
    assert_eq!(process.check(&active).await, 503, "not on the roster");
    let added = history.add_edge().await;
    process.until_ready(true).await;
    assert_eq!(process.check(&active).await, 200);
    process.until_check(&active, 200).await;
    assert_eq!(process.check("kw_live_x").await, 401);

    let edge = EdgeId::parse("e1").unwrap();
    let pulse = admin.last_pulse(&edge).await.unwrap().unwrap().pulse;
    assert_eq!((pulse.id.as_str(), pulse.lease_ms), ("e1", 2000));
    assert!(pulse.watermark <= added && pulse.number > 0);

    let late = history.issue("late").await;
    process.until_check(&late, 200).await;
    let revoked = history.revoke("late").await;
    process.until_check(&late, 401).await;
    tokio::time::sleep(SOON).await;
    let pulse = admin.last_pulse(&edge).await.unwrap().unwrap().pulse;
    assert_eq!(pulse.watermark, revoked, "a pulse comes soon after an advance");

    let accepted = process.accepted();
    process.stop().await.unwrap();
    let found = reports(&admin).await;
    assert_eq!(found.iter().map(|report| report.number).collect::<Vec<_>>(), numbers(found.len()));
    let uses: u64 = found.iter().flat_map(|report| &report.uses).map(|each| each.uses).sum();
    assert_eq!(uses, accepted);
    let (last, before) = found.split_last().unwrap();
    assert!(last.goodbye && before.iter().all(|report| !report.goodbye));

    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_check(&active, 200).await;
    process.until_ready(true).await;
    tokio::time::sleep(SOON).await;
    let found = reports(&admin).await;
    let continues = found[0].continues.unwrap();
    assert_eq!((continues.boot, continues.number), (last.boot, last.number));
    assert_ne!(found[0].boot, last.boot);

    history.remove_edge().await;
    process.until_check(&active, 503).await;
    process.stop().await.unwrap();
}

fn numbers(count: usize) -> Vec<u64> {
    (0..count as u64).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_serves_on_while_the_bus_is_away_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let (active, strict) = (history.issue("active").await, history.issue("strict").await);
    history.make_strict("strict").await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_ready(true).await;
    assert_eq!((process.check(&active).await, process.check(&strict).await), (200, 200));
    tokio::time::sleep(Duration::from_millis(1500)).await;

    server.kill();
    process.until_ready(false).await;
    assert_eq!((process.check(&active).await, process.check(&strict).await), (200, 503));
    let (_, headers, _) = process.get("/v1/check", &format!("x-api-key: {active}\r\n")).await;
    assert!(headers.contains("x-keywheel-stale-age: "), "{headers}");
    process.stop().await.unwrap();

    let process = Process::start(&server, folder.path(), "2s").await;
    assert_eq!((process.check(&active).await, process.check(&strict).await), (200, 503));
    assert_eq!(process.get("/livez", "").await.0, 200);

    server.restart();
    // Pulses are kept in memory: a lone server that restarts has forgotten their stream.
    topology::ensure(&server.admin().await, 1, 1).await.unwrap();
    process.until_ready(true).await;
    assert_eq!((process.check(&active).await, process.check(&strict).await), (200, 200));
    let late = history.issue("late").await;
    process.until_check(&late, 200).await;
    let first = reports(&admin).await;
    assert!(first.iter().all(|report| report.continues.is_none()), "the goodbye was not acknowledged");
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_rebuilt_and_serves_nobody_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, _admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let active = history.issue("active").await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_ready(true).await;
    process.stop().await.unwrap();

    std::fs::write(folder.path().join("edge/edge.db"), vec![7; 8192]).unwrap();
    server.kill();
    let process = Process::start(&server, folder.path(), "2s").await;
    assert_eq!(process.check(&active).await, 503);
    server.restart();
    // Pulses are kept in memory: a lone server that restarts has forgotten their stream.
    topology::ensure(&server.admin().await, 1, 1).await.unwrap();
    process.until_ready(true).await;
    assert_eq!(process.check(&active).await, 200);
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_created_anew_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let (active, strict) = (history.issue("active").await, history.issue("strict").await);
    history.make_strict("strict").await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_ready(true).await;

    server.kill();
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    server.restart();
    let again = server.admin().await;
    topology::ensure(&again, 1, 1).await.unwrap();
    topology::ensure_edge(&again, &EdgeId::parse("e1").unwrap()).await.unwrap();
    let mut other = History::new(&server).await;
    other.add_edge().await;
    for client in ["a", "b", "c", "d"] {
        other.issue(client).await;
    }
    process.until_ready(false).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(process.get("/readyz", "").await.0, 503, "it does not come back by itself");
    assert_eq!((process.check(&active).await, process.check(&strict).await), (200, 503));
    assert!(process.get("/metrics", "").await.2.contains("alarms_total{kind=\"diverged\"} 1"));
    drop(admin);
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_lacks_a_permission_ends_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _admin, _history)) = begin(folder.path()).await else { return };
    let path = folder.path().join("nats.conf");
    let configuration = std::fs::read_to_string(&path).unwrap().replace("\"kw.edge.e1.pulse\", ", "");
    std::fs::write(&path, configuration).unwrap();
    let mut server = server;
    server.restart();
    let process = Process::start(&server, folder.path(), "2s").await;
    let ended = tokio::time::timeout(Duration::from_secs(10), process.ended()).await.unwrap();
    assert!(ended.unwrap_err().to_string().contains("Permissions Violation"));
}
