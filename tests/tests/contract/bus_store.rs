//! What lies in the streams, read with the administrator's credential and held against the description of the bus.

use crate::asyncapi::{AsyncApi, Found};
use keywheel_bus::connect::inbox_prefix;
use keywheel_tests::Stack;
use std::collections::BTreeSet;

/// The bus of a running stack.
pub struct Store {
    context: async_nats::jetstream::Context,
    api: AsyncApi,
}

impl Store {
    pub async fn open(stack: &Stack) -> Store {
        let context = crate::schemas::read_json(&stack.home().join("context.json"));
        let seed = std::fs::read_to_string(context["admin_credentials"].as_str().unwrap()).unwrap();
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        let options = options.custom_inbox_prefix(inbox_prefix("admin"));
        let client = options.connect(&stack.context.nats_url).await.unwrap();
        Store { context: async_nats::jetstream::new(client), api: AsyncApi::load() }
    }

    /// How many messages a stream has now.
    pub async fn count(&self, stream: &str) -> u64 {
        self.context.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    async fn messages(&self, name: &str) -> Vec<Found> {
        let stream = self.context.get_stream(name).await.unwrap();
        let state = stream.cached_info().state.clone();
        let mut found = Vec::new();
        for seq in state.first_sequence..=state.last_sequence {
            // Of a stream that keeps the last message of a subject the others are gone.
            let Ok(message) = stream.get_raw_message(seq).await else { continue };
            let headers = message.headers.iter().map(|(name, values)| {
                (name.to_string(), values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            });
            found.push(Found {
                stream: name.to_owned(),
                subject: message.subject.to_string(),
                headers: headers.collect(),
                payload: message.payload.to_vec(),
            });
        }
        found
    }

    /// Holds every message of a stream against the description; gives the names of those that were there.
    pub async fn check(&self, stream: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for found in self.messages(stream).await {
            match self.api.check(&found) {
                Ok(message) => drop(seen.insert(message)),
                Err(error) => {
                    panic!("{}: {error}\n{}", found.subject, String::from_utf8_lossy(&found.payload))
                }
            }
        }
        seen
    }
}
