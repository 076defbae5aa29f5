//! Appending: one writer wins, an unclear answer is cleared up, nothing is stored twice.

use crate::server::PUBLIC;
use crate::stage::{Writer, eventually, keyring, plain_event, server};
use keywheel_bus::gate::Sources;
use keywheel_bus::log::Appended;
use keywheel_bus::{BusError, Station, Watch};
use keywheel_domain::At;
use keywheel_wire::event::Link;
use keywheel_wire::signature::Verifier;
use keywheel_wire::subject::Service;
use keywheel_wire::{subject, text};
use std::num::NonZeroU32;

const FIRST: Link = Link { revision: 1, prev: None };

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_one_wins() {
    let (server, one) = server().await;
    let other = server.bus("issuer").await;
    for n in 0..25 {
        let (a, b) = (plain_event(&keyring(n)), plain_event(&keyring(n)));
        let (a, b) = tokio::join!(one.append(&a, FIRST, 0), other.append(&b, FIRST, 0));
        let seq = u64::from(n) + 1;
        match (a.unwrap(), b.unwrap()) {
            (Appended::Stored(at), Appended::Conflict) | (Appended::Conflict, Appended::Stored(at)) => {
                assert_eq!(at, seq);
            }
            both => panic!("{both:?}"),
        }
        assert_eq!(one.head().await.unwrap().seq, seq);
    }
}

/// What follows a lost acknowledgement is the same message under the same condition.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_again_is_stored_once() {
    let (server, bus) = server().await;
    let other = server.bus("issuer").await;
    let mut writer = Writer::default();
    writer.append(&bus, &keyring(1)).await;
    let event = plain_event(&keyring(0));
    assert_eq!(bus.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(2));
    assert_eq!(bus.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(2));
    assert_eq!(other.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(2));

    // Also when somebody wrote on top of it before it was asked again.
    let on_top = plain_event(&keyring(0));
    assert_eq!(other.append(&on_top, FIRST, 2).await.unwrap(), Appended::Stored(3));
    assert_eq!(bus.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(2));
    assert_eq!(bus.head().await.unwrap().seq, 3);
}

/// Beyond the bus's own window of duplicates the condition alone must do.
#[tokio::test(flavor = "multi_thread")]
async fn the_condition_alone_keeps_an_event_single() {
    let (server, bus) = server().await;
    let stranger = server.stranger().await;
    let mut config = keywheel_bus::topology::streams(1).swap_remove(0);
    config.duplicate_window = std::time::Duration::from_millis(100);
    stranger.update_stream(config).await.unwrap();
    let event = plain_event(&keyring(0));
    assert_eq!(bus.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(1));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(bus.append(&event, FIRST, 0).await.unwrap(), Appended::Stored(1));
    assert_eq!(bus.head().await.unwrap().seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_stores_nothing() {
    let (_server, bus) = server().await;
    let mut writer = Writer::default();
    for _ in 0..3 {
        writer.append(&bus, &keyring(0)).await;
    }
    writer.append(&bus, &keyring(1)).await;
    for expects in [0, 1, 2, 4, 5, 99] {
        let appended = bus.append(&plain_event(&keyring(0)), FIRST, expects).await.unwrap();
        assert_eq!(appended, Appended::Conflict, "{expects}");
    }
    assert_eq!(bus.head().await.unwrap().seq, 4);
    assert_eq!(bus.append(&plain_event(&keyring(0)), FIRST, 3).await.unwrap(), Appended::Stored(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_outlives_a_restart_of_the_bus() {
    let (mut server, bus) = server().await;
    let mut writer = Writer::default();
    writer.append(&bus, &keyring(0)).await;
    server.kill();
    eventually("the loss is noticed", || async { !bus.is_connected() }).await;
    let event = plain_event(&keyring(1));
    let appending = {
        let (bus, event) = (bus.clone(), event.clone());
        tokio::spawn(async move { bus.append(&event, FIRST, 0).await })
    };
    server.run();
    assert_eq!(appending.await.unwrap().unwrap(), Appended::Stored(2));
    assert_eq!(bus.head().await.unwrap().seq, 2, "what was acknowledged is there, and nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_who_wrote_it() {
    let (server, bus) = server().await;
    let event = plain_event(&keyring(0));
    bus.append(&event, FIRST, 0).await.unwrap();
    let stream = server.stranger().await.get_stream("KW_EVENTS").await.unwrap();
    let message = stream.get_raw_message(1).await.unwrap();
    let header = |name: &str| message.headers.get(name).unwrap().as_str().to_owned();
    assert_eq!(message.subject.as_str(), "kw.evt.acme.client-0");
    assert_eq!(header(subject::HEADER_ID), text::id(event.id.0));
    assert_eq!(header(subject::HEADER_TYPE), "PolicySet");
    assert_eq!(header(subject::HEADER_V), "1");
    assert_eq!(header(subject::HEADER_SIGNER), PUBLIC);
    let signature = header(subject::HEADER_SIGNATURE);
    assert!(Verifier::parse(PUBLIC).unwrap().verify(&signature, &message.subject, &message.payload));
}

/// Appended, it would be answered for, and skipped by everybody.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_would_believe_is_not_appended() {
    let (mut server, bus) = server().await;
    server.take_for(Service::Retirer);
    let retirer = server.bus("retirer").await;
    let refused = retirer.append(&plain_event(&keyring(0)), FIRST, 0).await;
    assert!(matches!(&refused, Err(BusError::NotEntitled(why)) if why.contains("may not write PolicySet")));
    let sources = Sources { now: || At(1), fresh_id: || 1 };
    let folder = tempfile::tempdir().unwrap();
    let config = server.config();
    let station = Station::open(
        &config,
        &Watch::new(Service::Issuer, |_| ()),
        NonZeroU32::MIN,
        folder.path(),
        |_| false,
        sources,
    )
    .await;
    let Err(BusError::NotEntitled(why)) = station else { panic!("a retirer is no issuer") };
    assert!(why.contains("is the retirer's key, not the issuer's"), "{why}");
    assert_eq!(bus.head().await.unwrap().seq, 0);
}
