//! The streams and durables: created by the one credential that may, or only checked.

use crate::batch::BATCH_MAX;
use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use keywheel_domain::EdgeId;
use keywheel_wire::command::COMMAND_BYTES_MAX;
use keywheel_wire::delivery::SEALED_BYTES_MAX;
use keywheel_wire::event::EVENT_BYTES_MAX;
use keywheel_wire::notice::NOTICE_BYTES_MAX;
use keywheel_wire::outcome::OUTCOME_BYTES_MAX;
use keywheel_wire::pulse::PULSE_BYTES_MAX;
use keywheel_wire::snapshot::CHUNK_BYTES_MAX;
use keywheel_wire::subject::{self, Service, Verb};
use keywheel_wire::usage::REPORT_BYTES_MAX;
use std::time::Duration;

/// Consumers that one stream may have; the server's own default of 1,000 is below a large fleet.
pub(crate) const CONSUMERS_MAX: i32 = 100_000;
/// Messages that the replicas of one service may have in hand together: room for several that each take a
/// whole batch.
const UNACKNOWLEDGED_MAX: i64 = 16 * BATCH_MAX as i64;
/// What headers may add to a payload's own bound.
const HEADER_BYTES: usize = 4096;
/// More than a command has, so that one that is too large is answered and not only refused.
const COMMAND_STORED_MAX: usize = 2 * COMMAND_BYTES_MAX;
/// Messages that may wait in a queue; whoever sends one more is refused, and tries again.
const QUEUED_MAX: i64 = 1_000_000;
/// The same for one keyring and verb: whoever goes round in a loop fills no queue.
const QUEUED_OF_ONE_MAX: i64 = 1000;
/// The same for one edge. An edge whose report is not taken goes on counting in its own memory, where a version costs the
/// same however often it is used: the fewer wait here, the sooner the usage-tracker has caught up.
const REPORTS_OF_ONE_MAX: i64 = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every stream as PROTOCOL section 2 has it.
pub fn streams(replicas: usize) -> Vec<Config> {
    // Nothing is stored that its readers would not read.
    let file = |name: &str, subjects: Vec<String>, payload_max: usize| Config {
        max_message_size: i32::try_from(payload_max + HEADER_BYTES).unwrap_or(i32::MAX),
        name: name.to_owned(),
        subjects,
        storage: StorageType::File,
        num_replicas: replicas,
        max_consumers: CONSUMERS_MAX,
        allow_direct: true,
        ..Config::default()
    };
    let all = |subject: &str| vec![subject.to_owned()];
    vec![
        Config {
            deny_delete: true,
            deny_purge: true,
            allow_atomic_publish: true,
            duplicate_window: Duration::from_secs(120),
            ..file(subject::EVENTS, all(subject::EVENTS_ALL), EVENT_BYTES_MAX)
        },
        Config {
            retention: RetentionPolicy::WorkQueue,
            allow_atomic_publish: true,
            max_messages: QUEUED_MAX,
            max_messages_per_subject: QUEUED_OF_ONE_MAX,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..file(
                subject::COMMANDS,
                Verb::ALL.iter().map(|verb| verb.filter()).collect(),
                COMMAND_STORED_MAX,
            )
        },
        Config {
            max_age: DAY,
            max_messages_per_subject: 1,
            allow_atomic_publish: true,
            ..file(subject::RESULTS, all(subject::RESULTS_ALL), OUTCOME_BYTES_MAX)
        },
        Config {
            retention: RetentionPolicy::WorkQueue,
            max_messages: QUEUED_MAX,
            max_messages_per_subject: REPORTS_OF_ONE_MAX,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            ..file(subject::USAGE, all(subject::USAGE_ALL), REPORT_BYTES_MAX)
        },
        Config {
            max_messages_per_subject: 1,
            allow_atomic_publish: true,
            ..file(subject::STAGE, all(subject::STAGE_ALL), SEALED_BYTES_MAX)
        },
        Config {
            max_messages_per_subject: 1,
            allow_message_ttl: true,
            allow_atomic_publish: true,
            ..file(subject::DELIVERY, all(subject::DELIVERY_ALL), SEALED_BYTES_MAX)
        },
        // Synced like the rest: an edge's last contact is read from here, so that a pulse which was
        // acknowledged and then lost would let its horizon end too early; and a lone server forgets a
        // memory stream altogether when it restarts, after which no edge could renew its lease.
        Config {
            max_messages_per_subject: 1,
            ..file(subject::PULSE, all(subject::PULSE_ALL), PULSE_BYTES_MAX)
        },
        Config { deny_delete: true, ..file(subject::NOTICES, all(subject::NOTICES_ALL), NOTICE_BYTES_MAX) },
        snapshots(file),
    ]
}

/// As every client makes an object store. What is written over goes by rollup, which takes no permission to delete
/// anything.
fn snapshots(file: impl Fn(&str, Vec<String>, usize) -> Config) -> Config {
    let subjects = [subject::CHUNKS_ALL, subject::MANIFESTS_ALL].map(str::to_owned);
    Config {
        allow_rollup: true,
        discard: DiscardPolicy::New,
        ..file(subject::SNAPSHOTS_STREAM, subjects.into(), CHUNK_BYTES_MAX)
    }
}

/// Copies of the log; nothing where there is no log. Needs the admin credential.
///
/// # Errors
/// When the bus cannot be asked.
pub async fn copies(bus: &Bus) -> Result<Option<usize>, BusError> {
    match bus.context().get_stream(subject::EVENTS).await {
        Ok(stream) => Ok(Some(stream.cached_info().config.num_replicas)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error).trying("asking about the log"),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Creates the log with `copies`, or with one where the servers cannot keep so many apart, and says with how many.
/// Needs the admin credential.
///
/// # Errors
/// When the bus refuses.
pub async fn begin_log(bus: &Bus, copies: usize) -> Result<usize, BusError> {
    let log = |copies| {
        let log = streams(copies).into_iter().find(|config| config.name == subject::EVENTS);
        bus.context().create_stream(log.expect("the log is one of the streams"))
    };
    match log(copies).await {
        Ok(_) => Ok(copies),
        Err(error) if are_too_many(&error) => {
            log(1).await.trying("creating the log")?;
            Ok(1)
        }
        Err(error) => Err(error).trying("creating the log"),
    }
}

fn are_too_many(error: &CreateStreamError) -> bool {
    const TOO_MANY: [ErrorCode; 2] = [ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED, ErrorCode::CLUSTER_NO_PEERS];
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if TOO_MANY.contains(&error.error_code()))
}

/// The log's own stream.
pub(crate) fn log(replicas: usize) -> Config {
    streams(replicas).swap_remove(0)
}

/// Creates what is missing, for `instances` replicas of each service. Needs the admin credential.
/// What exists is left as it is: [`verify`] says where it differs.
///
/// # Errors
/// When the bus refuses.
pub async fn ensure(bus: &Bus, replicas: usize, instances: u32) -> Result<(), BusError> {
    for config in streams(replicas) {
        bus.context().get_or_create_stream(config).await.trying("creating a stream")?;
    }
    for (stream, config) in durables(instances) {
        ensure_durable(bus, stream, config).await?;
    }
    Ok(())
}

/// The durables of `instances` replicas of each service, each with its stream.
pub(crate) fn durables(instances: u32) -> Vec<(&'static str, pull::Config)> {
    let mut durables = Vec::new();
    for service in Service::ALL {
        let replays = (1..=instances).map(|instance| log_durable(&service.log_durable(instance)));
        durables.extend(replays.map(|config| (subject::EVENTS, config)));
        let filters: Vec<String> =
            Verb::ALL.iter().filter(|verb| verb.decided_by() == service).map(|verb| verb.filter()).collect();
        if !filters.is_empty() {
            durables.push((subject::COMMANDS, queue(service.name(), filters)));
        }
    }
    durables.push((subject::USAGE, queue(Service::UsageTracker.name(), Vec::new())));
    durables
}

/// The durable of an edge, with its stream.
pub(crate) fn edge(edge: &EdgeId) -> (&'static str, pull::Config) {
    (subject::EVENTS, log_durable(&subject::edge_durable(edge)))
}

/// Creates the durable by which an edge replays the log. Needs the admin credential.
///
/// # Errors
/// When the bus refuses.
pub async fn ensure_edge(bus: &Bus, id: &EdgeId) -> Result<(), BusError> {
    let (stream, config) = edge(id);
    ensure_durable(bus, stream, config).await
}

/// Deletes an edge's durable. Needs the admin credential. One that is gone already is fine.
///
/// # Errors
/// When the bus refuses.
pub async fn remove_edge(bus: &Bus, edge: &EdgeId) -> Result<(), BusError> {
    let stream = bus.stream(subject::EVENTS).await?;
    match stream.delete_consumer(&subject::edge_durable(edge)).await {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().contains("not found") => Ok(()),
        Err(error) => Err(error).trying("deleting an edge's durable"),
    }
}

/// Every message once and in order, position kept by the reader beside its data.
fn log_durable(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    }
}

/// A work queue: each message until it is acknowledged, shared by replicas.
fn queue(name: &str, filter_subjects: Vec<String>) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: UNACKNOWLEDGED_MAX,
        filter_subjects,
        ..pull::Config::default()
    }
}

async fn ensure_durable(bus: &Bus, stream: &'static str, config: pull::Config) -> Result<(), BusError> {
    let name = config.durable_name.clone().unwrap_or_default();
    let stream = bus.stream(stream).await?;
    stream.get_or_create_consumer(&name, config).await.trying("creating a durable")?;
    Ok(())
}

/// What differs between the streams that are and those that should be, with at least so many copies; empty when nothing
/// does. Writes nothing.
///
/// # Errors
/// When the bus cannot be asked.
pub async fn verify(bus: &Bus, copies: usize) -> Result<Vec<String>, BusError> {
    let mut differences = Vec::new();
    for wanted in streams(copies) {
        match bus.context().get_stream(&wanted.name).await {
            Err(error) => differences.push(format!("{}: {error}", wanted.name)),
            Ok(stream) => differences.extend(compare(&wanted, &stream.cached_info().config)),
        }
    }
    Ok(differences)
}

pub(crate) fn compare(wanted: &Config, found: &Config) -> Vec<String> {
    let mut differences = Vec::new();
    let mut check = |field: &str, wanted: String, found: String| {
        if wanted != found {
            differences.push(format!("{field} is {found}, should be {wanted}"));
        }
    };
    let sorted = |config: &Config| {
        let mut subjects = config.subjects.clone();
        subjects.sort();
        subjects.join(" ")
    };
    check("subjects", sorted(wanted), sorted(found));
    check("storage", format!("{:?}", wanted.storage), format!("{:?}", found.storage));
    check("retention", format!("{:?}", wanted.retention), format!("{:?}", found.retention));
    check("max_age", format!("{:?}", wanted.max_age), format!("{:?}", found.max_age));
    check("deny_delete", wanted.deny_delete.to_string(), found.deny_delete.to_string());
    check("deny_purge", wanted.deny_purge.to_string(), found.deny_purge.to_string());
    check("allow_direct", wanted.allow_direct.to_string(), found.allow_direct.to_string());
    check("allow_rollup_hdrs", wanted.allow_rollup.to_string(), found.allow_rollup.to_string());
    check("allow_atomic", wanted.allow_atomic_publish.to_string(), found.allow_atomic_publish.to_string());
    check("allow_msg_ttl", wanted.allow_message_ttl.to_string(), found.allow_message_ttl.to_string());
    let mode = |config: &Config| format!("{:?}", config.persist_mode.unwrap_or_default());
    check("persist_mode", mode(wanted), mode(found));
    let last = |config: &Config| config.max_messages_per_subject.max(0).to_string();
    check("max_msgs_per_subject", last(wanted), last(found));
    let limits = |config: &Config| format!("{}/{}", config.max_messages.max(0), config.max_bytes.max(0));
    check("max_msgs/max_bytes", limits(wanted), limits(found));
    check("max_msg_size", wanted.max_message_size.to_string(), found.max_message_size.to_string());
    let discards = |config: &Config| {
        let of_one = if config.discard_new_per_subject { ", also of one subject" } else { "" };
        format!("{:?}{of_one}", config.discard)
    };
    check("discard", discards(wanted), discards(found));
    let markers = |config: &Config| config.subject_delete_marker_ttl.is_some().to_string();
    check("subject_delete_marker_ttl", markers(wanted), markers(found));
    if found.num_replicas < wanted.num_replicas {
        check("num_replicas", wanted.num_replicas.to_string(), found.num_replicas.to_string());
    }
    if found.max_consumers <= 0 {
        check("max_consumers", "a positive number".to_owned(), found.max_consumers.to_string());
    }
    differences.into_iter().map(|difference| format!("{}: {difference}", wanted.name)).collect()
}
