//! Streams and durables: made once, left alone, checked field by field.

use crate::server::Server;
use crate::stage::server;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use keywheel_bus::topology;
use keywheel_domain::EdgeId;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ensured_is_verified() {
    let server = Server::start();
    let bus = server.bus("admin").await;
    let missing = topology::verify(&bus, 1).await.unwrap();
    assert_eq!(missing.len(), 9, "{missing:#?}");
    topology::ensure(&bus, 1, 2).await.unwrap();
    assert_eq!(topology::verify(&bus, 1).await.unwrap(), [""; 0]);
    topology::ensure(&bus, 1, 2).await.unwrap();
    assert_eq!(topology::verify(&bus, 1).await.unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reader_has_its_durable() {
    let (server, bus) = server().await;
    let edge = EdgeId::parse("edge-a").unwrap();
    topology::ensure_edge(&bus, &edge).await.unwrap();
    topology::ensure_edge(&bus, &edge).await.unwrap();
    let stranger = server.stranger().await;
    for (stream, name, acknowledged, filters) in [
        ("KW_EVENTS", "issuer-1", AckPolicy::None, 0),
        ("KW_EVENTS", "issuer-2", AckPolicy::None, 0),
        ("KW_EVENTS", "usage-tracker-2", AckPolicy::None, 0),
        ("KW_EVENTS", "edge-edge-a", AckPolicy::None, 0),
        ("KW_COMMANDS", "issuer", AckPolicy::Explicit, 5),
        ("KW_COMMANDS", "propagator", AckPolicy::Explicit, 5),
        ("KW_COMMANDS", "retirer", AckPolicy::Explicit, 2),
        ("KW_USAGE", "usage-tracker", AckPolicy::Explicit, 0),
    ] {
        let stream = stranger.get_stream(stream).await.unwrap();
        let consumer: PullConsumer = stream.get_consumer(name).await.unwrap();
        let config = &consumer.cached_info().config;
        assert_eq!(config.ack_policy, acknowledged, "{name}");
        assert_eq!(config.filter_subjects.len(), filters, "{name}");
        assert_eq!(config.filter_subject, "", "{name}");
    }
    topology::remove_edge(&bus, &edge).await.unwrap();
    topology::remove_edge(&bus, &edge).await.unwrap();
    let events = stranger.get_stream("KW_EVENTS").await.unwrap();
    assert!(
        events.get_consumer::<async_nats::jetstream::consumer::pull::Config>("edge-edge-a").await.is_err()
    );
}

fn in_memory(config: &mut Config) {
    (config.storage, config.persist_mode) = (StorageType::Memory, None);
}

/// Every stream once with one field changed: named, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_field_is_named() {
    let server = Server::start();
    let bus = server.bus("admin").await;
    let stranger = server.stranger().await;
    type Change = fn(&mut Config);
    let rounds: [&[(&str, Change, &str)]; 2] = [
        &[
            ("KW_EVENTS", |c| c.deny_purge = false, "deny_purge is false, should be true"),
            ("KW_COMMANDS", |c| drop(c.subjects.pop()), "subjects is "),
            ("KW_RESULTS", |c| c.max_age = Duration::from_secs(60), "max_age is 60s, should be 86400s"),
            (
                "KW_USAGE",
                |c| c.retention = RetentionPolicy::Limits,
                "retention is Limits, should be WorkQueue",
            ),
            ("KW_STAGE", |c| c.max_messages_per_subject = 2, "max_msgs_per_subject is 2, should be 1"),
            ("KW_DELIVERY", |c| c.allow_message_ttl = false, "allow_msg_ttl is false, should be true"),
            ("KW_PULSE", in_memory, "storage is Memory, should be File"),
            ("KW_NOTICES", |c| c.deny_delete = false, "deny_delete is false, should be true"),
        ],
        &[
            ("KW_EVENTS", |c| c.max_messages = 1000, "max_msgs/max_bytes is 1000/0, should be 0/0"),
            ("KW_COMMANDS", |c| c.allow_atomic_publish = false, "allow_atomic is false, should be true"),
            ("KW_RESULTS", |c| c.allow_direct = false, "allow_direct is false, should be true"),
            ("KW_PULSE", |c| c.max_consumers = -1, "max_consumers is -1, should be a positive number"),
            ("KW_STAGE", |c| c.allow_message_ttl = true, "allow_msg_ttl is true, should be false"),
            ("KW_NOTICES", |c| c.max_bytes = 1 << 20, "max_msgs/max_bytes is 0/1048576, should be 0/0"),
        ],
    ];
    for round in rounds {
        for mut config in topology::streams(1) {
            let _ = stranger.delete_stream(&config.name).await;
            let name = config.name.clone();
            for (_, change, _) in round.iter().filter(|(stream, ..)| *stream == name) {
                change(&mut config);
            }
            stranger.create_stream(config).await.unwrap();
        }
        let differences = topology::verify(&bus, 1).await.unwrap();
        assert_eq!(differences.len(), round.len(), "{differences:#?}");
        for (stream, _, expected) in round {
            let expected = format!("{stream}: {expected}");
            assert!(
                differences.iter().any(|said| said.starts_with(&expected)),
                "{expected}: {differences:#?}"
            );
        }
    }
}
