//! Following the log: all of it, in order, once, whatever comes between.

use crate::server::signers;
use crate::stage::{Replica, Writer, eventually, keyring, server};
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use keywheel_bus::follow::Sink;
use keywheel_bus::{Follower, SharedFold};
use keywheel_table::fold::Head;
use keywheel_table::{Applied, Fold, Options};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

const OPTIONS: Options = Options { commands: true, pending: |_| false, doubts: false };

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_log_comes_in_order_and_once() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut writer = Writer::default();
    writer.append_many(&bus, 20).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(20).await;
    writer.append_many(&bus, 20).await;
    replica.reaches(40).await;
    assert_eq!(replica.witness.seqs(), (1..=40).collect::<Vec<_>>());
    assert!(replica.witness.seen().alarms.is_empty());
    assert_eq!(replica.fold.log_created().unwrap(), Some(bus.head().await.unwrap().created));
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_and_a_lost_fold_begins_anew() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut writer = Writer::default();
    writer.append_many(&bus, 10).await;
    let first = Replica::start(&server, 1, folder.path()).await;
    first.reaches(10).await;
    let head = first.fold.head();
    first.stop().await;

    writer.append_many(&bus, 5).await;
    let second = Replica::start(&server, 1, folder.path()).await;
    assert_eq!(second.fold.head(), head);
    second.reaches(15).await;
    assert_eq!(second.witness.seqs(), (11..=15).collect::<Vec<_>>());
    let head = second.fold.head();
    second.stop().await;

    let elsewhere = tempfile::tempdir().unwrap();
    let third = Replica::start(&server, 1, elsewhere.path()).await;
    third.reaches(15).await;
    assert_eq!(third.witness.seqs(), (1..=15).collect::<Vec<_>>());
    assert_eq!(third.fold.head(), head, "the same fold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_bus_is_outlived() {
    let ((mut server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut writer = Writer::default();
    writer.append_many(&bus, 5).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(5).await;
    server.kill();
    eventually("the loss is noticed", || async { !bus.is_connected() }).await;
    server.run();
    eventually("the bus is back", || async { bus.is_connected() }).await;
    writer.append_many(&bus, 5).await;
    replica.reaches(10).await;
    assert_eq!(replica.witness.seqs(), (1..=10).collect::<Vec<_>>());
    replica.stop().await;
}

/// A pull ends after two seconds. What the next one brings goes on from there and is no gap: who took it for one would
/// begin anew with every pull.
#[tokio::test(flavor = "multi_thread")]
async fn one_pull_after_the_other_is_no_new_beginning() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let listener = server.stranger().await.client();
    let mut begun = listener.subscribe("$JS.API.CONSUMER.RESET.KW_EVENTS.>").await.unwrap();
    listener.flush().await.unwrap();
    let replica = Replica::start(&server, 1, folder.path()).await;
    let mut writer = Writer::default();
    for count in 1..=12 {
        writer.append(&bus, &keyring(0)).await;
        replica.reaches(count).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    replica.stop().await;
    listener.flush().await.unwrap();
    let mut count = 0;
    while tokio::time::timeout(Duration::from_millis(200), begun.next()).await.is_ok_and(|one| one.is_some())
    {
        count += 1;
    }
    assert_eq!(count, 1, "the reader began so often");
}

/// Somebody else takes messages from the durable: what it takes is missed, noticed and read again.
#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_mended() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let replica = Replica::start(&server, 1, folder.path()).await;
    let mut writer = Writer::default();
    writer.append(&bus, &keyring(0)).await;
    replica.reaches(1).await;

    let stolen = Arc::new(AtomicU64::new(0));
    let thief = {
        let (stream, stolen) =
            (server.stranger().await.get_stream("KW_EVENTS").await.unwrap(), stolen.clone());
        tokio::spawn(async move {
            let durable: PullConsumer = stream.get_consumer("issuer-1").await.unwrap();
            loop {
                let mut batch = durable.batch().max_messages(1).messages().await.unwrap();
                while let Some(Ok(_)) = batch.next().await {
                    stolen.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    while stolen.load(Ordering::Relaxed) < 5 {
        writer.append(&bus, &keyring(0)).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    thief.abort();
    let last = bus.head().await.unwrap().seq;
    replica.reaches(last).await;
    assert_eq!(replica.witness.seqs(), (1..=last).collect::<Vec<_>>(), "none missing, none twice");
    replica.stop().await;
}

/// Nothing follows what is missing: only the head of the log shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_last_message_is_noticed() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut writer = Writer::default();
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(writer.append(&bus, &keyring(0)).await).await;
    let stream = server.stranger().await.get_stream("KW_EVENTS").await.unwrap();
    let durable: PullConsumer = stream.get_consumer("issuer-1").await.unwrap();
    let mut pull = durable.batch().max_messages(1).messages().await.unwrap();
    // Whoever waits longer gets the next message, so one of the first two is stolen.
    let stolen = loop {
        let last = writer.append(&bus, &keyring(0)).await;
        let soon = std::time::Duration::from_millis(150);
        if let Ok(Some(Ok(message))) = tokio::time::timeout(soon, pull.next()).await {
            assert_eq!(message.info().unwrap().stream_sequence, last);
            break last;
        }
    };
    replica.reaches(stolen).await;
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_the_shell_are_committed_with_what_is_applied() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.witness.seen().notes.push(("freshness", vec![7]));
    Writer::default().append(&bus, &keyring(0)).await;
    let noted = || async { replica.fold.lock().note("freshness").unwrap() == Some(vec![7]) };
    eventually("the note is there", noted).await;
    assert!(replica.witness.seen().notes.is_empty());
    replica.stop().await;
}

/// Looks at the database and the watermark whenever it is passed something.
struct Auditor {
    path: PathBuf,
    told: watch::Receiver<u64>,
    looks: Arc<AtomicU64>,
}

impl Sink for Auditor {
    fn applied(&mut self, applied: Applied, head: Head) {
        if applied.events.is_empty() {
            return;
        }
        let committed = Fold::open(&self.path, OPTIONS, signers()).unwrap();
        assert_eq!(committed.head(), head, "passed on before it was committed");
        assert!(*self.told.borrow() < head.watermark, "told before it was passed on");
        self.looks.fetch_add(1, Ordering::SeqCst);
    }
}

/// SAFETY 10: committed, then visible, then told.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_was_passed_on_and_what_is_passed_on_was_committed() {
    let (_server, bus) = server().await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("audited.db");
    let fold = Fold::open(&path, OPTIONS, signers()).unwrap();
    let follower = Follower::new(bus.clone(), SharedFold::new(fold), "issuer-1".to_owned());
    let (mut told, looks) = (follower.watermark(), Arc::new(AtomicU64::new(0)));
    let auditor = Auditor { path, told: told.clone(), looks: Arc::clone(&looks) };
    let following = tokio::spawn(async move { follower.run(auditor, std::future::pending()).await });
    let mut writer = Writer::default();
    for n in 0..20 {
        let seq = writer.append(&bus, &keyring(n % 3)).await;
        let reached = tokio::time::timeout(Duration::from_secs(20), told.wait_for(|at| *at >= seq));
        reached.await.expect("the follower looked").unwrap();
    }
    assert!(looks.load(Ordering::SeqCst) > 0);
    assert!(!following.is_finished());
    following.abort();
}
