//! A log that is not the one that was followed: the follower ends rather than go on.

use crate::server::Server;
use crate::stage::{Replica, Writer, server};
use async_nats::jetstream::stream::Config;
use keywheel_bus::{BusError, topology};
use keywheel_table::TableError;

fn is_diverged(error: &BusError) -> bool {
    matches!(error, BusError::OtherLog(_) | BusError::Table(TableError::Diverged { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_while_nobody_looked() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append_many(&bus, 5).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(5).await;
    replica.stop().await;

    server.stranger().await.delete_stream("KW_EVENTS").await.unwrap();
    topology::ensure(&bus, 1, 2).await.unwrap();
    Writer::default().append_many(&bus, 9).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    let (fold, witness) = (replica.fold.clone(), replica.witness.clone());
    let error = replica.ends().await;
    assert!(is_diverged(&error), "{error}");
    assert_eq!((fold.head().watermark, witness.seqs().len()), (5, 0), "nothing of it was applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_under_a_follower() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append_many(&bus, 3).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(3).await;
    server.stranger().await.delete_stream("KW_EVENTS").await.unwrap();
    topology::ensure(&bus, 1, 2).await.unwrap();
    Writer::default().append_many(&bus, 9).await;
    let error = replica.ends().await;
    assert!(is_diverged(&error), "{error}");
}

/// The bus lost everything and comes back with streams of the same names.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_lost() {
    let ((mut server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append_many(&bus, 3).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(3).await;
    server.kill();
    server.forget();
    server.run();
    let bus = server.bus("admin").await;
    topology::ensure(&bus, 1, 2).await.unwrap();
    Writer::default().append_many(&bus, 2).await;
    let fold = replica.fold.clone();
    let error = replica.ends().await;
    assert!(is_diverged(&error), "{error}");
    assert_eq!(fold.head().watermark, 3);
}

/// A stream of the right age with another message where the fold stands.
#[tokio::test(flavor = "multi_thread")]
async fn another_message_at_the_watermark() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut writer = Writer::default();
    writer.append_many(&bus, 3).await;
    let other = tempfile::tempdir().unwrap();
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(3).await;
    replica.stop().await;

    // A fold of another past, that knows this stream by its time of creation.
    let created = bus.head().await.unwrap().created.0.to_be_bytes().to_vec();
    let altered = Replica::open(&server, 1, other.path()).await;
    let mut past = bus.page(1, None).await.unwrap();
    past[2].payload[40] ^= 1;
    altered.fold.lock().apply(&past, &[("stream-created", created)]).unwrap();
    drop(altered);
    let error = Replica::start(&server, 1, other.path()).await.ends().await;
    assert!(is_diverged(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_the_fold() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append_many(&bus, 3).await;
    let ahead = Replica::open(&server, 1, folder.path()).await;
    let mut known = bus.page(1, None).await.unwrap();
    known.push(keywheel_table::Message {
        seq: 4,
        subject: "kw.evt.acme.client-0".into(),
        payload: vec![],
        signed: None,
    });
    ahead.fold.lock().apply(&known, &[]).unwrap();
    drop(ahead);
    let error = Replica::start(&server, 1, folder.path()).await.ends().await;
    assert!(is_diverged(&error) && error.to_string().contains("it ends at 3"), "{error}");
}

/// Even with the same messages: what an edge acknowledged to the one is not known to the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_log() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append_many(&bus, 3).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(3).await;
    replica.stop().await;
    let messages = bus.page(1, None).await.unwrap();
    let stranger = server.stranger().await;
    stranger.delete_stream("KW_EVENTS").await.unwrap();
    topology::ensure(&bus, 1, 2).await.unwrap();
    for message in messages {
        stranger.publish(message.subject, message.payload.into()).await.unwrap().await.unwrap();
    }
    let error = Replica::start(&server, 1, folder.path()).await.ends().await;
    assert!(is_diverged(&error) && error.to_string().contains("created anew"), "{error}");
}

/// A server that lost one of the messages that were applied has lost nobody knows what else.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lacks_a_message_below_the_watermark() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let (bus, stranger) = (server.bus("admin").await, server.stranger().await);
    // A healthy log lets nobody take one away.
    let config = topology::streams(1).into_iter().find(|config| config.name == "KW_EVENTS").unwrap();
    let stream = stranger.create_stream(Config { deny_delete: false, ..config }).await.unwrap();
    topology::ensure(&bus, 1, 2).await.unwrap();
    Writer::default().append_many(&bus, 5).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    replica.reaches(5).await;
    assert!(stream.delete_message(3).await.unwrap());
    let error = replica.ends().await;
    assert!(is_diverged(&error) && error.to_string().contains("1 of its messages are gone"), "{error}");
}
