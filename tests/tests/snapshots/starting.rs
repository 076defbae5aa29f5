//! Cold starts: with a snapshot that the log confirms, past one that contradicts it, and by the log itself.

use crate::begin;
use crate::history::History;
use crate::process::{Process, config};
use crate::server::Server;
use crate::store::{context, forge, write};
use async_nats::jetstream::message::PublishMessage;
use keywheel_domain::At;
use keywheel_wire::snapshot::{Count, Manifest, Slot};
use keywheel_wire::subject;
use keywheel_wire::text::{Hex32, Id, Moment};
use std::path::Path;
use std::time::{Duration, Instant};

/// An edge with nothing of its own, once it is ready; stops it and gives what it said.
struct Cold {
    bytes_fetched: bool,
    refused: u64,
    info: serde_json::Value,
}

async fn info(process: &Process) -> serde_json::Value {
    serde_json::from_str(&process.get("/v1/info", "").await.2).unwrap()
}

async fn cold(server: &Server, folder: &Path, keys: &[(&str, u16)]) -> Cold {
    let _ = std::fs::remove_dir_all(folder.join("edge"));
    let process = Process::start(server, folder, "5s").await;
    process.until_ready(true).await;
    for (key, status) in keys {
        assert_eq!(process.check(key).await, *status, "{key}");
    }
    let cold = Cold {
        bytes_fetched: process.metric("snapshots_total").await == 1,
        refused: process.metric("alarms_total{kind=\"snapshot\"}").await,
        info: info(&process).await,
    };
    process.stop().await.unwrap();
    assert!(!folder.join("edge/edge.snapshot").exists(), "what was fetched stays");
    cold
}

/// A log of some keys, one of them revoked, with a snapshot of each of two positions.
async fn two(server: &Server, folder: &Path, history: &mut History) -> (Vec<String>, Vec<Manifest>) {
    history.add_edge().await;
    let (active, gone) = (history.issue("active").await, history.issue("gone").await);
    let first = history.revoke("gone").await;
    let older = write(server, folder, first).await;
    let late = history.issue("late").await;
    let second = history.make_strict("active").await;
    let newer = write(server, folder, second).await;
    (vec![active, gone, late], vec![older, newer])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_edge_begins_with_a_snapshot_and_ends_where_the_log_does() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, mut history) = begin(folder.path()).await;
    let (keys, manifests) = two(&server, folder.path(), &mut history).await;
    let newest = history.issue("newest").await;
    let expected = [(keys[0].as_str(), 200), (&keys[1], 401), (&keys[2], 200), (&newest, 200)];
    let by_snapshot = cold(&server, folder.path(), &expected).await;
    assert_eq!((by_snapshot.bytes_fetched, by_snapshot.refused), (true, 0));
    assert_ne!(manifests[0].name, manifests[1].name, "the older one is kept");

    let mut alone = config(&server, folder.path(), "5s");
    alone.snapshots = false;
    std::fs::remove_dir_all(folder.path().join("edge")).unwrap();
    let process = Process::start_as(alone, folder.path()).await;
    process.until_ready(true).await;
    let by_log = info(&process).await;
    assert_eq!(process.metric("snapshots_total").await, 0, "it was told not to");
    for field in ["watermark", "chain", "digest", "keys"] {
        assert_eq!(by_snapshot.info[field], by_log[field], "{field}");
    }
    assert!(by_log["digest"].is_string(), "{by_log}");
    process.stop().await.unwrap();

    // What an edge has is not replaced: it goes on from there.
    let process = Process::start(&server, folder.path(), "5s").await;
    process.until_ready(true).await;
    assert_eq!(process.metric("snapshots_total").await, 0);
    process.stop().await.unwrap();
}

/// A change to a manifest, and who signs it then.
type Change = (&'static str, &'static str, fn(&mut Manifest));

const CHANGES: [Change; 9] = [
    ("not the propagator", "issuer", |_| {}),
    ("another installation", "propagator", |it| it.metadata.installation = Id(8)),
    ("another log", "propagator", |it| it.metadata.log_created = Moment(At(1))),
    ("another chain", "propagator", |it| it.metadata.chain = Hex32([7; 32])),
    ("another chain before", "propagator", |it| it.metadata.chain_before = Hex32([7; 32])),
    ("another table", "propagator", |it| it.metadata.table_digest = Hex32([7; 32])),
    ("beyond the log", "propagator", |it| it.metadata.watermark = Count::of(1_000_000).unwrap()),
    ("a chunk too many", "propagator", |it| it.chunks += 1),
    ("other bytes", "propagator", |it| it.digest.0[0] ^= 1),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_contradicts_the_log_or_itself_is_refused_and_an_older_one_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, mut history) = begin(folder.path()).await;
    let (keys, manifests) = two(&server, folder.path(), &mut history).await;
    let expected = [(keys[0].as_str(), 200), (&keys[1], 401), (&keys[2], 200)];
    let newest = &manifests[1];
    for (what, signer, change) in CHANGES {
        let mut forged = newest.clone();
        change(&mut forged);
        forge(&server, signer, &forged).await;
        let cold = cold(&server, folder.path(), &expected).await;
        assert_eq!((cold.bytes_fetched, cold.refused), (true, 1), "{what}");
    }
    forge(&server, "propagator", newest).await;
    let sound = cold(&server, folder.path(), &expected).await;
    assert_eq!((sound.bytes_fetched, sound.refused), (true, 0), "the manifest as it was");

    // Moved to the other's slot, with its own chunks and with the other's.
    let mut moved = newest.clone();
    moved.name.clone_from(&manifests[0].name);
    forge(&server, "propagator", &moved).await;
    moved.nuid.clone_from(&moved.name);
    forge(&server, "propagator", &moved).await;
    let moved = cold(&server, folder.path(), &expected).await;
    assert!(moved.bytes_fetched);
    let mut older = manifests[0].clone();
    older.metadata.table_digest = Hex32([7; 32]);
    forge(&server, "propagator", &older).await;
    let mut format = newest.clone();
    format.metadata.format = Count::of(99).unwrap();
    forge(&server, "propagator", &format).await;
    let by_log = cold(&server, folder.path(), &expected).await;
    assert_eq!((by_log.bytes_fetched, by_log.refused), (false, 1), "a format of later is no alarm");
    assert_eq!(by_log.info["digest"], sound.info["digest"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_and_missing_chunks_are_noticed_and_the_log_read_instead() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin, mut history) = begin(folder.path()).await;
    history.add_edge().await;
    let active = history.issue("active").await;
    let seq = history.make_strict("active").await;
    let manifest = write(&server, folder.path(), seq).await;
    let context = context(&server).await;
    let stream = context.get_stream("OBJ_KW_SNAPSHOTS").await.unwrap();
    let slot = Slot::named(&manifest.name).unwrap();
    let chunk = stream.get_raw_message(manifest.metadata.first_chunk.get()).await.unwrap().payload;

    stream.delete_message(manifest.metadata.first_chunk.get()).await.unwrap();
    let missing = cold(&server, folder.path(), &[(&active, 200)]).await;
    assert_eq!((missing.bytes_fetched, missing.refused), (false, 1));
    let held = admin.slots().await.unwrap();
    assert!(held.iter().all(|held| held.manifest.is_none()), "it is written over first: {held:?}");

    for (what, bytes) in [
        ("cut", chunk[..chunk.len() - 1].to_vec()),
        ("altered", flipped(&chunk)),
        ("long", [&chunk[..], b"x"].concat()),
    ] {
        let message = PublishMessage::build().payload(bytes.into());
        let put = context.send_publish(subject::chunks(slot), message).await.unwrap().await.unwrap();
        let mut forged = manifest.clone();
        forged.metadata.first_chunk = Count::of(put.sequence).unwrap();
        forged.metadata.last_chunk = forged.metadata.first_chunk;
        forge(&server, "propagator", &forged).await;
        let found = cold(&server, folder.path(), &[(&active, 200)]).await;
        assert_eq!((found.bytes_fetched, found.refused), (false, 1), "{what}");
    }
    let again = write(&server, folder.path(), seq).await;
    let sound = cold(&server, folder.path(), &[(&active, 200)]).await;
    assert_eq!(
        (sound.bytes_fetched, sound.refused),
        (true, 1),
        "beside the one that is still wrong: {again:?}"
    );
}

fn flipped(chunk: &[u8]) -> Vec<u8> {
    let mut bytes = chunk.to_vec();
    bytes[chunk.len() / 2] ^= 1;
    bytes
}

/// What answers is held against the log at its own position, whatever the database begins with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_lost_under_way_begins_with_a_snapshot_and_answers_never_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, mut history) = begin(folder.path()).await;
    history.add_edge().await;
    let (active, gone) = (history.issue("active").await, history.issue("gone").await);
    let seq = history.make_strict("active").await;
    let process = Process::start(&server, folder.path(), "60s").await;
    process.until_ready(true).await;
    assert_eq!(process.check(&gone).await, 200);
    // It is in the snapshot as an accepted key; revoked after.
    write(&server, folder.path(), seq).await;
    history.revoke("gone").await;
    process.until_check(&gone, 401).await;
    std::fs::remove_file(folder.path().join("edge/edge.db")).unwrap();
    let began = Instant::now();
    while process.metric("alarms_total{kind=\"damaged\"}").await == 0
        || process.metric("rebuilding").await == 1
    {
        assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 401));
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.metric("snapshots_total").await, 1);
    assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 401));
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_ends_while_it_fetches_fetches_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, _admin, mut history) = begin(folder.path()).await;
    let (keys, _) = two(&server, folder.path(), &mut history).await;
    // Half of a download, as a killed process leaves it, and no bus at first.
    std::fs::create_dir_all(folder.path().join("edge")).unwrap();
    std::fs::write(folder.path().join("edge/edge.snapshot"), b"kwsnap and more that was cut").unwrap();
    server.kill();
    let process = Process::start(&server, folder.path(), "5s").await;
    assert_eq!(process.check(&keys[0]).await, 503);
    server.restart();
    process.until_ready(true).await;
    assert_eq!((process.check(&keys[0]).await, process.check(&keys[1]).await), (200, 401));
    assert_eq!(process.metric("snapshots_total").await, 1);
    process.stop().await.unwrap();
}
