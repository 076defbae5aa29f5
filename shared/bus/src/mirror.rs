//! A region's mirror of the log: on a leaf, fed by a durable of the hub, read by the edges there. Positions and headers
//! are the log's own.

use crate::error::Trying;
use crate::topology::CONSUMERS_MAX;
use crate::{Bus, BusError};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, push};
use async_nats::jetstream::stream::{Config, External, Source, StorageType, StreamConsumerSource};
use keywheel_domain::LeafId;
use keywheel_wire::subject;
use std::time::Duration;

/// Messages on their way to a mirror at a time.
const UNTAKEN_MAX: i64 = 1000;
/// How often the hub is heard of while the log is quiet: a mirror that hears nothing asks anew.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Creates the durable that feeds a leaf's mirror, at the hub. Made here, once: whoever may make one by himself may have
/// what is stored sent to any subject. Needs the hub's admin credential.
///
/// # Errors
/// When the bus refuses.
pub async fn ensure_feed(hub: &Bus, leaf: &LeafId) -> Result<(), BusError> {
    let name = subject::leaf_durable(leaf);
    let config = push::Config {
        durable_name: Some(name.clone()),
        deliver_subject: subject::mirror(leaf),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::FlowControl,
        max_ack_pending: UNTAKEN_MAX,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        ..push::Config::default()
    };
    let stream = hub.stream(subject::EVENTS).await?;
    stream.get_or_create_consumer(&name, config).await.trying("creating a leaf's durable")?;
    Ok(())
}

/// Creates the mirror, at the leaf. Needs the leaf's own admin credential.
///
/// # Errors
/// When the bus refuses.
pub async fn ensure_mirror(at: &Bus, leaf: &LeafId) -> Result<(), BusError> {
    let feed = StreamConsumerSource::new(subject::leaf_durable(leaf), subject::mirror(leaf));
    let external = External { api_prefix: subject::API_MAPPED.to_owned(), delivery_prefix: None };
    let hub = Source {
        name: subject::EVENTS.to_owned(),
        external: Some(external),
        consumer: Some(feed),
        ..Source::default()
    };
    let config = Config {
        name: subject::EVENTS.to_owned(),
        mirror: Some(hub),
        storage: StorageType::File,
        num_replicas: 1,
        max_consumers: CONSUMERS_MAX,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    };
    at.context().get_or_create_stream(config).await.trying("creating the mirror")?;
    Ok(())
}
