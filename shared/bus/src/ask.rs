//! Micro service registration, so that `nats micro ls` finds every process, and questions to services
//! about what they know beside the log.

use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::service::{Service as Micro, ServiceExt};
use futures_util::StreamExt;
use keywheel_domain::KeyringId;
use keywheel_wire::snapshot::{Answer, Manifest};
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
            if !is_to_an_inbox(&request) {
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

    /// Answers those who ask for a snapshot until the connection ends, one after the other.
    ///
    /// # Errors
    /// When the bus refuses the endpoint.
    pub async fn answer_snapshots<F: Future<Output = Result<Manifest, BusError>> + Send>(
        &self,
        registered: &Registered,
        write: impl Fn() -> F + Send,
    ) -> Result<(), BusError> {
        let endpoint =
            registered._service.endpoint_builder().name("snapshot").add(subject::ASK_SNAPSHOT).await;
        let mut requests = endpoint.trying("offering the snapshot endpoint")?;
        while let Some(request) = requests.next().await {
            if !is_to_an_inbox(&request) {
                continue;
            }
            let answer = match write().await {
                Ok(manifest) => Answer { manifest: Some(manifest), error: None },
                Err(error) => Answer { manifest: None, error: Some(error.to_string()) },
            };
            let payload = serde_json::to_vec(&answer).trying("writing an answer")?;
            if let Err(error) = request.respond(Ok(payload.into())).await {
                tracing::debug!(%error, "an answer could not be sent");
            }
        }
        Ok(())
    }

    /// Has the propagator write a snapshot. The inner error says why it did not.
    ///
    /// # Errors
    /// When nobody answers within `patience`.
    pub async fn ask_snapshot(&self, patience: Duration) -> Result<Result<Manifest, String>, BusError> {
        const WHAT: &str = "asking the propagator for a snapshot";
        let request = async_nats::Request::new().timeout(Some(patience));
        let reply = self.client().send_request(subject::ASK_SNAPSHOT, request).await.trying(WHAT)?;
        let answer: Answer = serde_json::from_slice(&reply.payload).trying(WHAT)?;
        Ok(answer.manifest.ok_or_else(|| answer.error.unwrap_or_else(|| "it did not say why".to_owned())))
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

/// Whoever asks chooses where the answer goes; it must not go into a stream.
fn is_to_an_inbox(request: &async_nats::service::Request) -> bool {
    request.message.reply.as_ref().is_some_and(|reply| reply.starts_with("_INBOX"))
}
