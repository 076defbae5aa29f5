//! What there is at the bus, for whoever looks for what is wrong: streams, durables, who answers. Changes nothing.

use crate::error::Trying;
use crate::log::millis;
use crate::{Bus, BusError, topology};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::Info;
use futures_util::StreamExt;
use keywheel_domain::{At, EdgeId};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A stream or a durable, as far as it could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is there.
    Found(T),
    /// It is not.
    Missing,
    /// It could not be asked about.
    Unseen(String),
}

/// A stream that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFound {
    /// When it was created: another time is another stream.
    pub created: At,
    /// Its first sequence; 0 where it holds nothing and never did.
    pub first: u64,
    /// Its last sequence.
    pub last: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many copies it is to have.
    pub replicas: usize,
    /// Copies that are away or behind, by the server's name.
    pub behind: Vec<String>,
    /// Whether one of the copies leads; a stream of one copy always has one.
    pub is_led: bool,
    /// Where its configuration is not what it should be.
    pub differences: Vec<String>,
}

/// Who answers when every service is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answering {
    /// Such as `keywheel-issuer`.
    pub name: String,
    /// Its program's version.
    pub version: String,
    /// What it says of itself; `instance` among it.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Bus {
    /// The server's version, as it said when the connection was made.
    pub fn server_version(&self) -> String {
        self.client().server_info().version
    }

    /// Every stream of the contract, and how it stands. Needs the admin credential for most of them.
    pub async fn look_at_streams(&self) -> Vec<(String, Seen<StreamFound>)> {
        let mut seen = Vec::new();
        for wanted in topology::streams(1) {
            let found = match self.context().get_stream(&wanted.name).await {
                Ok(stream) => Seen::Found(found(&wanted, stream.cached_info())),
                Err(error) => match error.kind() {
                    GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                        Seen::Missing
                    }
                    GetStreamErrorKind::JetStream(_)
                    | GetStreamErrorKind::EmptyName
                    | GetStreamErrorKind::Request
                    | GetStreamErrorKind::InvalidStreamName => Seen::Unseen(error.to_string()),
                },
            };
            seen.push((wanted.name, found));
        }
        seen
    }

    /// Every durable that `instances` replicas of each service and these edges read by, with the messages that it was
    /// not given yet.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn look_at_durables(
        &self,
        instances: u32,
        edges: &[EdgeId],
    ) -> Result<Vec<(String, Seen<u64>)>, BusError> {
        let edges = edges.iter().map(topology::edge);
        let mut seen = Vec::new();
        for (stream, config) in topology::durables(instances).into_iter().chain(edges) {
            let name = config.durable_name.unwrap_or_default();
            let stream = self.stream(stream).await?;
            let found = match stream.consumer_info(&name).await {
                Ok(info) => Seen::Found(info.num_pending),
                Err(error) => match error.kind() {
                    ConsumerInfoErrorKind::NotFound | ConsumerInfoErrorKind::StreamNotFound => Seen::Missing,
                    ConsumerInfoErrorKind::InvalidName
                    | ConsumerInfoErrorKind::Offline
                    | ConsumerInfoErrorKind::Request
                    | ConsumerInfoErrorKind::JetStream(_)
                    | ConsumerInfoErrorKind::TimedOut
                    | ConsumerInfoErrorKind::NoResponders => Seen::Unseen(error.to_string()),
                },
            };
            seen.push((name, found));
        }
        Ok(seen)
    }

    /// Every service that answers within `patience`. Needs the operator's credential.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub async fn ask_who_runs(&self, patience: Duration) -> Result<Vec<Answering>, BusError> {
        const WHAT: &str = "asking which services run";
        let inbox = self.client().new_inbox();
        let mut answers = self.client().subscribe(inbox.clone()).await.trying(WHAT)?;
        self.client().publish_with_reply("$SRV.PING", inbox, Vec::new().into()).await.trying(WHAT)?;
        let mut found = Vec::new();
        let listening = async {
            while let Some(answer) = answers.next().await {
                found.extend(serde_json::from_slice::<Answering>(&answer.payload).ok());
            }
        };
        // However many answer, how many there are nobody knows.
        drop(tokio::time::timeout(patience, listening).await);
        Ok(found)
    }
}

fn found(wanted: &async_nats::jetstream::stream::Config, info: &Info) -> StreamFound {
    let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    let behind = peers.filter(|peer| peer.offline || !peer.current).map(|peer| peer.name.clone());
    StreamFound {
        created: millis(info.created),
        first: info.state.first_sequence,
        last: info.state.last_sequence,
        messages: info.state.messages,
        bytes: info.state.bytes,
        replicas: info.config.num_replicas,
        behind: behind.collect(),
        is_led: info.cluster.as_ref().is_none_or(|cluster| cluster.leader.is_some()),
        differences: topology::compare(wanted, &info.config),
    }
}
