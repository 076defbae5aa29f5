//! Tables that are not what the log makes, with hashes that all fit: an edge finds that out by a signed head and reads
//! the log anew; where the head is the wrong one, it does so once.

use crate::begin;
use crate::process::{Process, config};
use crate::server::Server;
use crate::store::folded;
use crate::witness::{publish, told, until};
use keywheel_bus::snapshots::{Put, oldest};
use keywheel_table::fold::Head;
use keywheel_table::snapshot::export;
use keywheel_wire::notice::SignedHead;
use keywheel_wire::text::Hex32;
use rusqlite::{Connection, params};
use std::path::Path;

/// An edge whose turn comes at once.
async fn edge(server: &Server, folder: &Path) -> Process {
    let mut config = config(server, folder, "2s");
    config.heal_within.0.0 = 0;
    let process = Process::start_as(config, folder).await;
    process.until_ready(true).await;
    process
}

async fn read_anew(process: &Process, times: u64) {
    let is_done = async || {
        process.metric("alarms_total{kind=\"damaged\"}").await == times
            && process.metric("rebuilding").await == 0
    };
    until("it has read the log anew", is_done).await;
}

/// Puts a snapshot into the store that the log confirms at `late`, and that has the rows of `early`, as they lie in `odd`.
async fn put_odd_snapshot(server: &Server, folder: &Path, odd: &Path, early: Head, late: u64) {
    let (head, created, _) = folded(server, folder, late).await;
    let head = Head { digest: early.digest, ..head };
    let connection = Connection::open(odd).unwrap();
    let Head { watermark, chain, chain_before, digest: _ } = head;
    let update = "UPDATE head SET watermark = ?1, chain = ?2, chain_before = ?3";
    connection.execute(update, params![watermark, chain.0, chain_before.0]).unwrap();
    connection.execute("UPDATE note SET value = ?1 WHERE name = 'head'", [head.hash()]).unwrap();
    drop(connection);
    let mut bytes = Vec::new();
    assert_eq!(export(odd, &mut bytes).unwrap(), head);
    let bus = server.connect("propagator").await;
    let held = bus.slots().await.unwrap();
    let now = keywheel_domain::At(1_800_000_000_000);
    let (over, mut from) = (oldest(&held).unwrap(), bytes.as_slice());
    let put = bus.put_snapshot(over, &head, created, now, &mut from).await.unwrap();
    assert!(matches!(put, Put::Stored(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_edge_heals_itself_by_the_log_and_not_by_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, mut history) = begin(folder.path()).await;
    history.add_edge().await;
    let active = history.issue("active").await;
    let gone = history.issue("gone").await;
    let (early, _, path) = folded(&server, folder.path(), 3).await;
    let odd = folder.path().join("odd.db");
    std::fs::copy(&path, &odd).unwrap();
    let revoked = history.revoke("gone").await;
    put_odd_snapshot(&server, folder.path(), &odd, early, revoked).await;
    let process = edge(&server, folder.path()).await;
    assert_eq!(process.metric("snapshots_total").await, 1);
    assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 200), "it is odd");

    let (head, created, _) = folded(&server, folder.path(), revoked).await;
    publish(&server, "propagator", &told(head, created)).await;
    let heals = async || {
        assert_eq!(process.check(&active).await, 200, "it goes on answering");
        process.check(&gone).await == 401
    };
    until("it heals", heals).await;
    read_anew(&process, 1).await;
    assert_eq!(process.metric("snapshots_total").await, 1, "the log alone is read");
    let next = history.issue("next").await;
    let (head, created, _) = folded(&server, folder.path(), revoked + 1).await;
    publish(&server, "propagator", &told(head, created)).await;
    process.until_check(&next, 200).await;
    assert_eq!(process.metric("alarms_total{kind=\"damaged\"}").await, 1);
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_head_is_the_wrong_one_the_log_is_read_once_and_answers_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin, mut history) = begin(folder.path()).await;
    let mut seq = history.add_edge().await;
    let active = history.issue("active").await;
    seq += 1;
    let process = edge(&server, folder.path()).await;
    let mut head_of = async |history: &mut crate::history::History, client: &str| {
        history.issue(client).await;
        seq += 1;
        let (head, created, _) = folded(&server, folder.path(), seq).await;
        told(head, created)
    };
    let wrong = |head: SignedHead| SignedHead { digest: Hex32([9; 32]), ..head };
    let agrees = async |head: &SignedHead| {
        let expected = Some(head.seq);
        let edge = keywheel_domain::EdgeId::parse("e1").unwrap();
        until("it has heard that head", async || {
            assert_eq!(process.check(&active).await, 200);
            let pulse = admin.last_pulse(&edge).await.unwrap();
            pulse.and_then(|stored| stored.pulse.agrees).map(|agrees| agrees.seq) == expected
        })
        .await;
    };
    for (client, times) in [("a", 1), ("b", 1), ("c", 1)] {
        let head = wrong(head_of(&mut history, client).await);
        publish(&server, "propagator", &head).await;
        agrees(&head).await;
        read_anew(&process, times).await;
    }
    let head = head_of(&mut history, "d").await;
    publish(&server, "propagator", &head).await;
    agrees(&head).await;
    let head = wrong(head_of(&mut history, "e").await);
    publish(&server, "propagator", &head).await;
    agrees(&head).await;
    read_anew(&process, 2).await;
    process.stop().await.unwrap();
}
