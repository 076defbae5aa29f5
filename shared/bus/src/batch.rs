//! Atomic batches: many messages to one stream in one synced write, each under its own subject's
//! condition, all stored or none.

use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::HeaderMap;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use bytes::Bytes;
use keywheel_wire::subject;

/// Most messages that go out as one batch. The bus takes 1,000; half of it leaves several replicas
/// room at one queue, and syncs hardly more often.
pub const BATCH_MAX: usize = 500;

/// One message of a batch.
#[derive(Clone)]
pub(crate) struct Letter {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// The last sequence that the subject must have; nothing is checked where this says nothing.
    pub expects: Option<u64>,
}

impl Letter {
    /// Without headers of its own.
    pub fn new(subject: String, payload: Vec<u8>, expects: Option<u64>) -> Self {
        Self { subject, headers: HeaderMap::new(), payload: payload.into(), expects }
    }

    /// With its place in the batch: these headers stay on the stored message, and no reader minds.
    fn numbered(&self, batch: &str, number: usize, last: usize) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(subject::HEADER_BATCH, batch);
        headers.insert(subject::HEADER_BATCH_SEQUENCE, number.to_string());
        if number == last {
            headers.insert(subject::HEADER_BATCH_COMMIT, "1");
        }
        if let Some(expects) = self.expects {
            headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expects.to_string());
        }
        headers
    }
}

impl Bus {
    /// Publishes up to [`BATCH_MAX`] letters to one stream, and gives the sequence of the first: the
    /// others follow it without a gap. `None` when they are not known to be stored: nothing of them is,
    /// or all are and the answer was lost. Whoever asked then goes on singly under the same conditions,
    /// which finds out.
    pub(crate) async fn send_batch(&self, what: &'static str, letters: &[Letter]) -> Option<u64> {
        match self.try_batch(what, letters).await {
            Ok(first) => Some(first),
            Err(error) => {
                self.counts().unbatched();
                tracing::info!(%error, messages = letters.len(), "a batch was not stored; going on singly");
                None
            }
        }
    }

    async fn try_batch(&self, what: &'static str, letters: &[Letter]) -> Result<u64, BusError> {
        let inbox = self.client().new_inbox();
        let batch = inbox.rsplit('.').next().unwrap_or(&inbox);
        let Some((last, before)) = letters.split_last() else { return Ok(0) };
        for (at, letter) in before.iter().enumerate() {
            let headers = letter.numbered(batch, at + 1, letters.len());
            let (subject, payload) = (letter.subject.clone(), letter.payload.clone());
            self.client().publish_with_headers(subject, headers, payload).await.trying(what)?;
        }
        let headers = last.numbered(batch, letters.len(), letters.len());
        let (subject, payload) = (last.subject.clone(), last.payload.clone());
        let reply = self.client().request_with_headers(subject, headers, payload).await.trying(what)?;
        let count = letters.len() as u64;
        match serde_json::from_slice(&reply.payload).trying(what)? {
            Response::Ok(PublishAck { sequence, batch_size: Some(size), .. }) if size == count => {
                Ok(sequence + 1 - count)
            }
            Response::Ok(stored) => Err(BusError::failed(what)(&format!("answered with {stored:?}"))),
            Response::Err { error } => Err(BusError::failed(what)(&error)),
        }
    }
}
