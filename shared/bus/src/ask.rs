//! Micro service registration, so that `nats micro ls` finds every process, and questions to services
//! about what they know beside the log.

use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::service::{Service as Micro, ServiceExt};
use futures_util::StreamExt;
use keywheel_domain::KeyringId;
use keywheel_wire::subject;
use keywheel_wire::usage::Usage;
use std::time::Duration;

/// A registration; it ends when dropped.
pub struct Registered {
    _service: Micro,
}

impl Bus {
    /// Registers this process under `name` with `metadata`.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn register(
        &self,
        name: &str,
        version: &str,
        metadata: &[(&str, &str)],
    ) -> Result<Registered, BusError> {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let service = self
            .client()
            .service_builder()
            .metadata(metadata.collect())
            .start(format!("keywheel-{name}"), version)
            .await
            .trying("registering the service")?;
        Ok(Registered { _service: service })
    }

    /// Answers usage questions until the connection ends.
    ///
    /// # Errors
    /// When the bus refuses the endpoint.
    pub async fn answer_usage(
        &self,
        registered: &Registered,
        answer: impl Fn(&KeyringId) -> Usage + Send,
    ) -> Result<(), BusError> {
        let endpoint = registered._service.endpoint_builder().name("usage").add(subject::ASK_USAGE_ALL).await;
        let mut requests = endpoint.trying("offering the usage endpoint")?;
        while let Some(request) = requests.next().await {
            // Whoever asks chooses where the answer goes; it must not go into a stream.
            let to_an_inbox = request.message.reply.as_ref().is_some_and(|reply| reply.starts_with("_INBOX"));
            if !to_an_inbox {
                continue;
            }
            let usage = match subject::parse_ask_usage(&request.message.subject) {
                Ok(keyring) => answer(&keyring),
                Err(_) => Usage::default(),
            };
            let payload = serde_json::to_vec(&usage).trying("writing an answer")?;
            if let Err(error) = request.respond(Ok(payload.into())).await {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
        Ok(())
    }

    /// Asks the usage-tracker who uses which version of a keyring.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub async fn ask_usage(&self, keyring: &KeyringId) -> Result<Usage, BusError> {
        let request = self.client().request(subject::ask_usage(keyring), Vec::new().into());
        let reply = tokio::time::timeout(Duration::from_secs(2), request).await;
        let reply = reply.trying("asking the usage-tracker")?.trying("asking the usage-tracker")?;
        serde_json::from_slice(&reply.payload).trying("reading the usage-tracker's answer")
    }
}
