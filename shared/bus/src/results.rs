//! Outcomes and intents: one last message for each command id, changed only by comparison (SAFETY 12).

use crate::batch::Letter;
use crate::error::Trying;
use crate::log::{is_conflict, millis};
use crate::{Bus, BusError};
use async_nats::jetstream::message::PublishMessage;
use keywheel_domain::At;
use keywheel_domain::event::CommandId;
use keywheel_wire::outcome::{self, Intent, Outcome, Result as Entry};
use keywheel_wire::subject;
use keywheel_wire::text::Id;
use serde::Serialize;
use std::collections::HashMap;

/// What lies under a command id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its sequence in the stream, on which a change is conditional.
    pub seq: u64,
    /// When it was written, by the bus's clock.
    pub at: At,
    /// What it says.
    pub entry: Entry,
}

impl Bus {
    /// What lies under a command id now, as the leader says.
    ///
    /// # Errors
    /// When the bus cannot be asked, or something unreadable lies there.
    pub async fn result(&self, id: CommandId) -> Result<Option<Last>, BusError> {
        let message = self.last_message(subject::RESULTS, &subject::result(id.0)).await?;
        let read = |message: async_nats::jetstream::message::StreamMessage| {
            let entry = outcome::read(&message.payload)?;
            Ok(Last { seq: message.sequence, at: millis(message.time), entry })
        };
        message.map(read).transpose()
    }

    /// Waits for a command's outcome by direct get, for those who may not ask the leader.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn outcome(&self, id: CommandId) -> Result<Option<Outcome>, BusError> {
        let stream = self.stream(subject::RESULTS).await?;
        match stream.direct_get_last_for_subject(subject::result(id.0)).await {
            Ok(message) => match outcome::read(&message.payload)? {
                Entry::Final(outcome) => Ok(Some(outcome)),
                Entry::Intent(_) => Ok(None),
            },
            Err(error) if error.kind() == async_nats::jetstream::stream::DirectGetErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error).trying("reading an outcome"),
        }
    }

    /// The outcomes that there are of up to 1,000 commands, by one direct get.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn outcomes(&self, ids: &[CommandId]) -> Result<HashMap<CommandId, Outcome>, BusError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let subjects: Vec<_> = ids.iter().map(|id| subject::result(id.0)).collect();
        let request = serde_json::json!({ "multi_last": subjects, "batch": ids.len() });
        let found = self.direct_get(subject::RESULTS, &request).await?;
        let read =
            |(message, _): &(keywheel_table::Message, At)| match outcome::read(&message.payload).ok()? {
                Entry::Final(outcome) => Some((CommandId(outcome.command_id.0), outcome)),
                Entry::Intent(_) => None,
            };
        Ok(found.iter().filter_map(read).collect())
    }

    /// Writes an intent over `expects` (0: nothing). False when something else lies there.
    pub(crate) async fn put_intent(&self, id: CommandId, on: u64, expects: u64) -> Result<bool, BusError> {
        self.put_result(id, expects, &Intent { command_id: Id(id.0), intent: on }).await
    }

    /// Writes the outcome over `expects` (0: nothing). False when something else lies there.
    pub(crate) async fn put_outcome(&self, outcome: &Outcome, expects: u64) -> Result<bool, BusError> {
        self.put_result(CommandId(outcome.command_id.0), expects, outcome).await
    }

    /// Writes many entries over what each expects, in one batch; gives the sequence of the first, `None`
    /// when they are not known to be written.
    pub(crate) async fn put_results<E: Serialize>(&self, entries: &[(CommandId, u64, E)]) -> Option<u64> {
        let letter = |(id, expects, entry): &(CommandId, u64, E)| {
            let payload = serde_json::to_vec(entry).ok()?;
            Some(Letter::new(subject::result(id.0), payload, Some(*expects)))
        };
        let letters = entries.iter().map(letter).collect::<Option<Vec<_>>>()?;
        self.send_batch("writing outcomes", &letters).await
    }

    async fn put_result(
        &self,
        id: CommandId,
        expects: u64,
        entry: &impl Serialize,
    ) -> Result<bool, BusError> {
        let payload = serde_json::to_vec(entry).trying("writing an outcome")?;
        let message = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(expects);
        let sent = self.context().send_publish(subject::result(id.0), message).await;
        let stored = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error).trying("writing an outcome"),
        }
    }
}
